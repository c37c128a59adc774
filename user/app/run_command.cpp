#include "app/run_command.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <string_view>

#include "base/clock.hpp"
#include "base/fd.hpp"
#include "base/write_all.hpp"

namespace memtrace {

namespace {

constexpr std::size_t kMaxSaid = 4'096;
constexpr std::uint64_t kMillisecond = 1'000'000;

/// Whatever it does with its input, nobody waits for it to be read.
Result<UniqueFd> file_of(const std::string& input) {
    UniqueFd fd(::memfd_create("memtrace-input", MFD_CLOEXEC));
    if (!fd) {
        return fail_errno("cannot make a file in memory", errno);
    }
    if (auto status = write_all(fd.get(), input); !status) {
        return tl::unexpected(status.error());
    }
    ::lseek(fd.get(), 0, SEEK_SET);
    return fd;
}

/// In a process group of its own, with all signals as they were before us.
Result<std::int32_t> spawn(const std::vector<std::string>& command, int input, int errors) {
    std::vector<char*> arguments;
    for (const auto& argument : command) {
        arguments.push_back(const_cast<char*>(argument.c_str()));
    }
    arguments.push_back(nullptr);
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, input, STDIN_FILENO);
    posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_adddup2(&files, errors, STDERR_FILENO);
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setpgroup(&attributes, 0);
    sigset_t signals;
    sigemptyset(&signals);
    posix_spawnattr_setsigmask(&attributes, &signals);
    sigfillset(&signals);
    posix_spawnattr_setsigdefault(&attributes, &signals);
    std::int32_t pid = 0;
    const int error = ::posix_spawnp(&pid, arguments[0], &files, &attributes, arguments.data(), environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
    return error == 0 ? Result<std::int32_t>(pid) : fail_errno("cannot run " + command[0], error);
}

/// Reads what it says until it has ended. False: the time is over.
bool await_end(std::int32_t pid, int errors, std::uint64_t end_ns, const Meanwhile& meanwhile, std::string& said) {
    const UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    bool open = true;
    for (;;) {
        const auto now = monotonic_ns();
        if (now >= end_ns) {
            return false;
        }
        pollfd fds[]{{process.get(), POLLIN, 0}, {open ? errors : -1, POLLIN, 0}, {meanwhile.fd, POLLIN, 0}};
        const auto left_ms = std::min<std::uint64_t>((end_ns - now) / kMillisecond + 1, 1'000);
        (void)::poll(fds, std::size(fds), static_cast<int>(left_ms));
        if (fds[2].revents != 0) {
            meanwhile.run();
        }
        if (fds[1].revents != 0) {
            char buffer[1'024];
            const auto count = ::read(errors, buffer, sizeof(buffer));
            open = count > 0;
            said.append(buffer, open ? static_cast<std::size_t>(count) : 0);
            said.erase(0, said.size() - std::min(said.size(), kMaxSaid));
        } else if (fds[0].revents != 0) {
            return true;
        }
    }
}

std::string last_line(std::string_view text) {
    const auto end = text.find_last_not_of("\r\n ");
    text = end == std::string_view::npos ? std::string_view() : text.substr(0, end + 1);
    return std::string(text.substr(text.rfind('\n') + 1));
}

} // namespace

Status run_command(const std::vector<std::string>& command, const std::string& input, std::uint64_t timeout_ns,
                   const Meanwhile& meanwhile) {
    const auto file = file_of(input);
    if (!file) {
        return tl::unexpected(file.error());
    }
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) {
        return fail_errno("cannot make a pipe", errno);
    }
    const UniqueFd reader(ends[0]);
    UniqueFd writer(ends[1]);
    const auto end_ns = monotonic_ns() + timeout_ns;
    const auto pid = spawn(command, file->get(), writer.get());
    if (!pid) {
        return tl::unexpected(pid.error());
    }
    writer.reset();
    std::string said;
    const bool ended = await_end(*pid, reader.get(), end_ns, meanwhile, said);
    ::kill(-*pid, SIGKILL); // and what it left behind
    int status = 0;
    while (::waitpid(*pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (!ended) {
        return fail(command[0] + " took too long, and was killed");
    }
    if (status == 0) {
        return {};
    }
    const auto how = WIFSIGNALED(status) ? " was ended by signal " + std::to_string(WTERMSIG(status))
                                         : " failed with status " + std::to_string(WEXITSTATUS(status));
    const auto why = last_line(said);
    return fail(command[0] + how + (why.empty() ? "" : ": " + why));
}

} // namespace memtrace
