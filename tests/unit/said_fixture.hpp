// For tests of what says things and works on a thread of its own.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <mutex>
#include <string>
#include <thread>

namespace memtrace::test {

class SaidFixture : public testing::Test {
protected:
    std::function<void(const std::string&)> say() {
        return [this](const std::string& line) {
            const std::lock_guard<std::mutex> lock(mutex_);
            said_ += line + "\n";
        };
    }
    [[nodiscard]] std::string said() {
        const std::lock_guard<std::mutex> lock(mutex_);
        return said_;
    }
    template <typename Condition>
    static void await(const Condition& condition) {
        while (!condition()) {
            std::this_thread::yield();
        }
    }

private:
    std::mutex mutex_;
    std::string said_;
};

} // namespace memtrace::test
