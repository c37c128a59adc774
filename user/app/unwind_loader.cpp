#include "app/unwind_loader.hpp"

#include <signal.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "app/unwind_registry.hpp"

namespace memtrace {

namespace {

struct Request {
    mt_process_key process = 0;
    std::int32_t pid = 0; ///< 0: forget it
    std::vector<Mapping> mappings;
};

} // namespace

class UnwindLoader::Worker {
public:
    Worker(HeapTracer& tracer, std::string cache_directory) : registry_(tracer, std::move(cache_directory)) {
        sigset_t all;
        sigset_t before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before); // signals are the main thread's
        thread_ = std::thread([this] { run(); });
        pthread_sigmask(SIG_SETMASK, &before, nullptr);
    }
    Worker(const Worker&) = delete;
    Worker& operator=(const Worker&) = delete;
    ~Worker() {
        {
            const std::lock_guard lock(mutex_);
            stop_ = true;
        }
        work_.notify_all();
        thread_.join();
    }

    void ask(Request request) {
        {
            const std::lock_guard lock(mutex_);
            // Only the newest mappings of a process matter.
            std::erase_if(queue_, [&](const Request& waiting) { return waiting.process == request.process; });
            queue_.push_back(std::move(request));
        }
        work_.notify_all();
    }

    bool wait(std::chrono::milliseconds patience) {
        std::unique_lock lock(mutex_);
        return idle_.wait_for(lock, patience, [this] { return queue_.empty() && !busy_; });
    }

    std::optional<Error> take_error() {
        const std::lock_guard lock(mutex_);
        return std::exchange(error_, std::nullopt);
    }

private:
    void run() {
        std::unique_lock lock(mutex_);
        for (;;) {
            work_.wait(lock, [this] { return stop_ || !queue_.empty(); });
            if (stop_) {
                return;
            }
            const auto request = std::move(queue_.front());
            queue_.pop_front();
            busy_ = true;
            lock.unlock();
            Status status;
            if (request.pid == 0) {
                registry_.forget(request.process);
            } else {
                status = registry_.map(request.process, request.pid, request.mappings);
            }
            lock.lock();
            busy_ = false;
            if (!status) {
                error_ = status.error().in("stacks of process " + std::to_string(request.pid) + " may be cut short");
            }
            idle_.notify_all();
        }
    }

    UnwindRegistry registry_; ///< the thread's
    std::mutex mutex_;        ///< of what follows
    std::condition_variable work_;
    std::condition_variable idle_;
    std::deque<Request> queue_;
    std::optional<Error> error_;
    bool busy_ = false;
    bool stop_ = false;
    std::thread thread_;
};

UnwindLoader::UnwindLoader(HeapTracer& tracer, std::string cache_directory)
    : worker_(std::make_unique<Worker>(tracer, std::move(cache_directory))) {}
UnwindLoader::~UnwindLoader() = default;

void UnwindLoader::map(mt_process_key process, std::int32_t pid, const std::vector<Mapping>& mappings) {
    Request request{process, pid, {}};
    std::copy_if(mappings.begin(), mappings.end(), std::back_inserter(request.mappings),
                 [](const Mapping& mapping) { return mapping.executable; });
    worker_->ask(std::move(request));
}

void UnwindLoader::forget(mt_process_key process) {
    worker_->ask({process, 0, {}});
}

bool UnwindLoader::wait(std::chrono::milliseconds patience) {
    return worker_->wait(patience);
}

std::optional<Error> UnwindLoader::take_error() {
    return worker_->take_error();
}

} // namespace memtrace
