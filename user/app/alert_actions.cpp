#include "app/alert_actions.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "app/run_command.hpp"
#include "base/clock.hpp"
#include "base/fd.hpp"
#include "proc/memory.hpp"
#include "proc/process.hpp"
#include "report/alert_messages.hpp"

namespace memtrace {

namespace {

constexpr std::size_t kMaxJobs = 16;

/// A descriptor of the very process that the alert is about.
Result<UniqueFd> open_target(const ActionTarget& target) {
    auto fd = open_pidfd(target.pid);
    const auto info = read_process_info(target.pid);
    if (!fd || !info || rfc3339(info->start_wall_ns) != target.start_time) {
        return fail("process " + std::to_string(target.pid) + " is gone");
    }
    return fd;
}

Status send_signal(const ActionTarget& target, int number) {
    const auto fd = open_target(target);
    if (!fd) {
        return tl::unexpected(fd.error());
    }
    if (::syscall(SYS_pidfd_send_signal, fd->get(), number, nullptr, 0) != 0) {
        return fail_errno("cannot send signal " + std::to_string(number), errno);
    }
    return {};
}

/// The kernel gives back what it can, and says EAGAIN where that was less than asked for.
Status reclaim(const ActionTarget& target, std::uint64_t bytes) {
    const auto known = open_target(target);
    const auto directory = known ? read_cgroup_directory(target.pid) : Result<std::string>(tl::unexpected(known.error()));
    if (!directory) {
        return tl::unexpected(directory.error());
    }
    const auto path = *directory + "/memory.reclaim";
    const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    if (!fd) {
        return fail_errno("cannot open " + path, errno);
    }
    const auto text = std::to_string(bytes);
    if (::write(fd.get(), text.data(), text.size()) < 0) {
        return errno == EAGAIN ? fail("the kernel could reclaim but a part of it") : fail_errno("cannot write " + path, errno);
    }
    return {};
}

} // namespace

AlertActions::AlertActions(std::vector<ActionConfig> actions, std::function<Status()> snapshot, Say say)
    : actions_(std::move(actions)), snapshot_(std::move(snapshot)), say_(std::move(say)), thread_([this] { run(); }) {}

AlertActions::~AlertActions() {
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        stopping_ = true;
    }
    changed_.notify_one();
    thread_.join();
}

void AlertActions::take(const Alert& alert, const ActionTarget& target, const std::string& message, std::uint64_t now_ns) {
    for (const auto& action : actions_) {
        if (!matches(alert, action.match)) {
            continue;
        }
        const auto [taken, first] = taken_ns_.try_emplace({action.name, target.pid}, now_ns);
        if (!first && now_ns - taken->second < action.cooldown_ns) {
            continue;
        }
        taken->second = now_ns;
        submit(action, alert, target, message);
    }
}

void AlertActions::submit(const ActionConfig& action, const Alert& alert, const ActionTarget& target,
                          const std::string& message) {
    const auto what = "action " + action.name + " (" + action_type_name(action.type) + ") because of " + alert_line(alert);
    if (action.dry_run) {
        return say_(what + ": a dry run, nothing is done");
    }
    if (action.type == ActionType::snapshot) {
        const auto status = snapshot_();
        return say_(what + ": " + (status ? "done" : status.error().message));
    }
    Job job{what, {}};
    switch (action.type) {
    case ActionType::cleanup: {
        const std::vector<std::string> command{
            "/proc/self/exe",           "cleanup", "--pid",
            std::to_string(target.pid), "--level", action.level == 1 ? "low" : action.level == 2 ? "high" : "critical"};
        job.run = [command, timeout = action.timeout_ns] { return run_command(command, "", timeout); };
        break;
    }
    case ActionType::command:
        job.run = [action, message] { return run_command(action.command, message, action.timeout_ns); };
        break;
    case ActionType::signal:
        job.run = [target, number = action.signal] { return send_signal(target, number); };
        break;
    case ActionType::reclaim:
        job.run = [target, bytes = action.bytes] { return reclaim(target, bytes); };
        break;
    case ActionType::snapshot:
        break;
    }
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (jobs_.size() < kMaxJobs) {
            jobs_.push_back(std::move(job));
            changed_.notify_one();
            return;
        }
    }
    say_(what + ": not done, as " + std::to_string(kMaxJobs) + " others wait");
}

void AlertActions::run() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
        changed_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
        if (stopping_) {
            break;
        }
        const auto job = std::move(jobs_.front());
        jobs_.pop_front();
        lock.unlock();
        const auto status = job.run();
        say_(job.what + ": " + (status ? "done" : status.error().message));
        lock.lock();
    }
    for (const auto& job : jobs_) {
        say_(job.what + ": not done, as memtrace ends");
    }
}

} // namespace memtrace
