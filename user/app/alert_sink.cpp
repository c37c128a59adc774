#include "app/alert_sink.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "app/run_command.hpp"
#include "base/clock.hpp"
#include "store/snapshots.hpp"

namespace memtrace {

namespace {

constexpr std::uint64_t kLongestPause = 300'000'000'000;
constexpr std::uint64_t kMostDoublings = 20; ///< a second becomes twelve days: far beyond the longest pause
constexpr const char* kSuffix = ".json";

std::string seconds_text(std::uint64_t ns) {
    return std::to_string(std::max<std::uint64_t>(ns / kNanosPerSecond, 1));
}

} // namespace

std::vector<std::string> delivery_command(const SinkConfig& config) {
    if (config.type == SinkType::command) {
        return config.command;
    }
    std::vector<std::string> command{"curl",         "--silent",
                                     "--show-error", "--fail",
                                     "--request",    "POST",
                                     "--max-time",   seconds_text(config.timeout_ns),
                                     "--header",     "Content-Type: application/json"};
    if (!config.header_file.empty()) {
        command.insert(command.end(), {"--header", "@" + config.header_file});
    }
    const auto path = config.type == SinkType::alertmanager ? "/api/v2/alerts" : "";
    command.insert(command.end(), {"--data-binary", "@-", config.url + path});
    return command;
}

AlertSink::AlertSink(SinkConfig config, std::string spool, Say say, std::uint64_t first_pause_ns)
    : config_(std::move(config)), command_(delivery_command(config_)), spool_(std::move(spool)), say_(std::move(say)),
      first_pause_ns_(first_pause_ns), thread_([this] { run(); }) {}

AlertSink::~AlertSink() {
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        stopping_ = true;
    }
    changed_.notify_one();
    thread_.join();
}

void AlertSink::send(std::string message) {
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        inbox_.push_back(std::move(message));
    }
    changed_.notify_one();
}

std::size_t AlertSink::waiting() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return inbox_.size() + waiting_;
}

/// What an earlier run could not hand over, the oldest first: names sort by time.
void AlertSink::recover() {
    if (spool_.empty()) {
        return;
    }
    ::mkdir(spool_.c_str(), 0700);
    const auto lock = spool_ + "/" + config_.name + ".lock";
    lock_ = UniqueFd(::open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (!lock_ || ::flock(lock_.get(), LOCK_EX | LOCK_NB) != 0) {
        const bool shared = lock_ && errno == EWOULDBLOCK;
        say_("sink " + config_.name + " keeps its messages in memory only: " +
             (shared ? "another memtrace uses " + spool_ : fail_errno("cannot use " + spool_, errno).value().message));
        spool_.clear();
        return;
    }
    std::vector<std::string> files;
    std::error_code error;
    for (std::filesystem::directory_iterator entry(spool_, error), end; !error && entry != end; entry.increment(error)) {
        const auto name = entry->path().filename().string();
        if (name.starts_with(config_.name + ".") && name.ends_with(kSuffix)) {
            files.push_back(entry->path().string());
        }
    }
    std::sort(files.begin(), files.end());
    for (const auto& file : files) {
        std::stringstream text;
        text << std::ifstream(file).rdbuf();
        queue_.push_back({text.str(), file});
    }
    if (!files.empty()) {
        say_("sink " + config_.name + ": " + std::to_string(files.size()) + " messages of an earlier run are to be handed over");
    }
}

/// Not kept on disk, it is still in memory.
void AlertSink::store(Message& message) {
    if (spool_.empty()) {
        return;
    }
    last_file_ = std::max(wall_ns(), last_file_ + 1);
    auto number = std::to_string(last_file_);
    number.insert(0, 20 - number.size(), '0');
    const auto file = spool_ + "/" + config_.name + "." + number + kSuffix;
    const auto status = write_file_atomically(file, message.text);
    if (status) {
        message.file = file;
    } else if (!store_failed_) {
        say_("sink " + config_.name + ": " + status.error().message + "; its messages are in memory only");
    }
    store_failed_ = !status;
}

/// New messages, into the queue and the spool.
void AlertSink::take_in() {
    std::vector<std::string> fresh;
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        fresh.swap(inbox_);
        waiting_ = queue_.size() + fresh.size();
    }
    for (auto& text : fresh) {
        queue_.push_back({std::move(text), ""});
        store(queue_.back());
    }
    if (queue_.size() > kMaxWaiting) {
        say_("sink " + config_.name + ": " + std::to_string(queue_.size() - kMaxWaiting) +
             " of its oldest messages are dropped: " + std::to_string(kMaxWaiting) + " wait already");
    }
    while (queue_.size() > kMaxWaiting) {
        forget_front();
    }
}

void AlertSink::forget_front() {
    if (!queue_.front().file.empty()) {
        ::unlink(queue_.front().file.c_str());
    }
    queue_.pop_front();
    const std::lock_guard<std::mutex> lock(mutex_);
    waiting_ = queue_.size();
}

bool AlertSink::deliver_front() {
    const auto status = run_command(command_, queue_.front().text, config_.timeout_ns);
    if (status) {
        if (failures_ != 0) {
            say_("sink " + config_.name + " takes messages again");
        }
        failures_ = 0;
        forget_front();
        return true;
    }
    const auto pause = std::min(first_pause_ns_ << std::min(failures_++, kMostDoublings), kLongestPause);
    next_ns_ = monotonic_ns() + pause;
    if (failures_ == 1) {
        say_("sink " + config_.name + ": " + status.error().message + "; it is tried again");
    }
    return false;
}

void AlertSink::run() {
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

void AlertSink::end() {
    take_in();
    const auto end_ns = monotonic_ns() + config_.timeout_ns;
    while (!queue_.empty() && monotonic_ns() < end_ns && deliver_front()) {
    }
    const auto lost = static_cast<std::size_t>(
        std::count_if(queue_.begin(), queue_.end(), [](const Message& message) { return message.file.empty(); }));
    if (lost != 0) {
        say_("sink " + config_.name + ": " + std::to_string(lost) + " messages are lost: it did not take them");
    }
    if (queue_.size() != lost) {
        say_("sink " + config_.name + ": " + std::to_string(queue_.size() - lost) + " messages are left to the next run in " +
             spool_);
    }
}

} // namespace memtrace
