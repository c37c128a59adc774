// What bugs keep from being given back: nobody looks at it until the server ends, and it goes then, as LevelDB must not end before its
// iterators. Any thread.
#pragma once

#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace lightning {

class Forgotten {
public:
    template <typename T>
    void keep(T value) {
        const std::lock_guard lock(mutex_);
        kept_.push_back(std::make_shared<T>(std::move(value)));
    }

private:
    std::mutex mutex_;
    std::vector<std::shared_ptr<void>> kept_; ///< guarded by mutex_
};

} // namespace lightning
