#include "app/delivery_queue.hpp"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <utility>

#include "app/run_command.hpp"
#include "base/clock.hpp"
#include "store/snapshots.hpp"

namespace memtrace {

namespace {

constexpr std::uint64_t kLongestPause = 300'000'000'000;
constexpr std::uint64_t kMostDoublings = 20; ///< a second becomes twelve days: far beyond the longest pause
constexpr const char* kSuffix = ".json";

/// Of the first in a row, and of those after it.
std::uint64_t pause_after(std::uint64_t first_ns, std::uint64_t failures) {
    return std::min(first_ns << std::min(failures, kMostDoublings), kLongestPause);
}

} // namespace

DeliveryQueue::DeliveryQueue(DeliverySettings settings, Say say)
    : settings_(std::move(settings)), say_(std::move(say)), news_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      thread_([this] { run(); }) {}

DeliveryQueue::~DeliveryQueue() {
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        stopping_ = true;
    }
    changed_.notify_one();
    thread_.join();
}

void DeliveryQueue::send(std::string message, std::vector<std::string> more) {
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        inbox_bytes_ += message.size();
        inbox_.push_back({std::move(message), std::move(more), ""});
        for (; is_surplus(inbox_.size(), inbox_bytes_); ++unsaid_) { // its thread is busy with one that hangs
            inbox_bytes_ -= inbox_.front().text.size();
            inbox_.pop_front();
            ++counts_.lost;
        }
    }
    (void)::eventfd_write(news_.get(), 1);
    changed_.notify_one();
}

std::size_t DeliveryQueue::waiting() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return inbox_.size() + waiting_;
}

DeliveryCounts DeliveryQueue::counts() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return counts_;
}

/// Two queues at work on one spool would hand over everything twice: it is whose the lock is.
void DeliveryQueue::open_spool() {
    if (settings_.spool.empty()) {
        return;
    }
    if (settings_.after.valid()) {
        settings_.after.wait();
    }
    ::mkdir(settings_.spool.c_str(), 0700);
    const auto lock = settings_.spool + "/" + settings_.spool_name + ".lock";
    lock_ = UniqueFd(::open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (!lock_ || ::flock(lock_.get(), LOCK_EX | LOCK_NB) != 0) {
        const bool shared = lock_ && errno == EWOULDBLOCK;
        say_(settings_.name + " keeps its " + settings_.what + " in memory only: " +
             (shared ? "another memtrace uses " + settings_.spool
                     : fail_errno("cannot use " + settings_.spool, errno).value().message));
        settings_.spool.clear();
    }
}

/// What an earlier run could not hand over, the oldest first: names sort by time.
void DeliveryQueue::recover() {
    if (settings_.spool.empty()) {
        return;
    }
    std::vector<std::string> files;
    std::error_code error;
    for (std::filesystem::directory_iterator entry(settings_.spool, error), end; !error && entry != end; entry.increment(error)) {
        const auto name = entry->path().filename().string();
        if (name.starts_with(settings_.spool_name + ".") && name.ends_with(kSuffix)) {
            files.push_back(entry->path().string());
        }
    }
    std::sort(files.begin(), files.end());
    for (const auto& file : files) {
        std::stringstream text;
        text << std::ifstream(file).rdbuf();
        queue_.push_back({text.str(), {}, file});
        bytes_ += queue_.back().text.size();
    }
    if (!files.empty()) {
        say_(settings_.name + ": " + std::to_string(files.size()) + " " + settings_.what +
             " of an earlier run are to be handed over");
    }
}

/// Not kept on disk, it is still in memory.
void DeliveryQueue::store(Message& message) {
    if (settings_.spool.empty()) {
        return;
    }
    last_file_ = std::max(wall_ns(), last_file_ + 1);
    auto number = std::to_string(last_file_);
    number.insert(0, 20 - number.size(), '0');
    const auto file = settings_.spool + "/" + settings_.spool_name + "." + number + kSuffix;
    const auto status = write_file_atomically(file, message.text);
    if (status) {
        message.file = file;
    } else if (!store_failed_) {
        say_(settings_.name + ": " + status.error().message + "; its " + settings_.what + " are in memory only");
    }
    store_failed_ = !status;
}

/// New messages, into the queue and the spool.
void DeliveryQueue::take_in() {
    std::deque<Message> fresh;
    std::uint64_t dropped = 0;
    eventfd_t count = 0;
    (void)::eventfd_read(news_.get(), &count);
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        fresh.swap(inbox_);
        inbox_bytes_ = 0;
        dropped = std::exchange(unsaid_, 0);
        waiting_ = handing_over_ + queue_.size() + fresh.size();
    }
    for (auto& message : fresh) {
        bytes_ += message.text.size();
        queue_.push_back(std::move(message));
        store(queue_.back());
    }
    drop_surplus(dropped);
}

bool DeliveryQueue::is_surplus(std::size_t count, std::size_t bytes) const {
    return count > settings_.most_waiting || (bytes > settings_.most_bytes && count > 1);
}

/// `dropped`: of what came since, already.
void DeliveryQueue::drop_surplus(std::uint64_t dropped) {
    for (; is_surplus(queue_.size(), bytes_); ++dropped) {
        forget_front(&DeliveryCounts::lost);
    }
    if (dropped != 0 && !dropping_) { // once for as long as nothing gets through
        say_(settings_.name + ": " + std::to_string(dropped) + " of its oldest " + settings_.what +
             " are dropped: " + std::to_string(queue_.size()) + " wait already");
        dropping_ = true;
    }
}

void DeliveryQueue::forget_front(std::uint64_t DeliveryCounts::* counter) {
    if (!queue_.front().file.empty()) {
        ::unlink(queue_.front().file.c_str());
    }
    bytes_ -= queue_.front().text.size();
    queue_.pop_front();
    const std::lock_guard<std::mutex> lock(mutex_);
    waiting_ = handing_over_ + queue_.size();
    ++(counts_.*counter);
}

/// What comes in meanwhile goes into the spool at once, however long this takes.
Status DeliveryQueue::hand_over_front() {
    auto command = settings_.command;
    auto message = std::move(queue_.front());
    queue_.pop_front();
    command.insert(command.end(), message.more.begin(), message.more.end());
    handing_over_ = 1;
    auto status = run_command(command, message.text, settings_.timeout_ns, {news_.get(), [this] { take_in(); }});
    handing_over_ = 0;
    queue_.push_front(std::move(message));
    return status;
}

/// False: it is to be tried again later.
bool DeliveryQueue::deliver_front() {
    const auto status = hand_over_front();
    if (status) {
        if (failures_ != 0 || refused_) {
            say_(settings_.name + " takes " + settings_.what + " again");
        }
        failures_ = 0;
        refused_ = false;
        dropping_ = false;
        forget_front(&DeliveryCounts::delivered);
        return true;
    }
    const bool hopeless = settings_.hopeless && settings_.hopeless(status.error());
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        ++counts_.failures;
    }
    if (hopeless ? !refused_ : failures_ == 0) {
        say_(settings_.name + ": " + status.error().message + (hopeless ? "; it is dropped" : "; it is tried again"));
    }
    if (hopeless) { // it answers: what follows need not wait
        refused_ = true;
        forget_front(&DeliveryCounts::lost);
        return true;
    }
    next_ns_ = monotonic_ns() + pause_after(settings_.first_pause_ns, failures_++);
    drop_surplus(0); // it is one more again
    return false;
}

void DeliveryQueue::run() {
    open_spool();
    recover();
    for (;;) {
        take_in();
        if (!queue_.empty() && monotonic_ns() >= next_ns_) {
            deliver_front();
        }
        std::unique_lock<std::mutex> lock(mutex_);
        const auto news = [this] { return stopping_ || !inbox_.empty(); };
        if (queue_.empty()) {
            changed_.wait(lock, news);
        } else if (const auto now = monotonic_ns(); now < next_ns_) {
            changed_.wait_for(lock, std::chrono::nanoseconds(next_ns_ - now), news);
        }
        if (stopping_) {
            break;
        }
    }
    end();
}

void DeliveryQueue::end() {
    take_in();
    const auto end_ns = monotonic_ns() + settings_.timeout_ns;
    while (!queue_.empty() && monotonic_ns() < end_ns && deliver_front()) {
    }
    const auto lost = static_cast<std::size_t>(
        std::count_if(queue_.begin(), queue_.end(), [](const Message& message) { return message.file.empty(); }));
    {
        const std::lock_guard<std::mutex> guard(mutex_);
        counts_.lost += lost;
    }
    if (lost != 0) {
        say_(settings_.name + ": " + std::to_string(lost) + " " + settings_.what + " are lost: it did not take them");
    }
    if (queue_.size() != lost) {
        say_(settings_.name + ": " + std::to_string(queue_.size() - lost) + " " + settings_.what +
             " are left to the next run in " + settings_.spool);
    }
}

} // namespace memtrace
