#include "app/launcher.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/fd.hpp"
#include "proc/maps.hpp"

namespace memtrace {

namespace {

/// In the child, after fork: only what is safe there. Reports the errno of a failed exec through the pipe.
[[noreturn]] void become(const std::vector<std::string>& command, int error_pipe) {
    std::vector<char*> arguments;
    for (const auto& argument : command) {
        arguments.push_back(const_cast<char*>(argument.c_str()));
    }
    arguments.push_back(nullptr);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    for (const int ignored : {SIGPIPE, SIGXFSZ}) { // which memtrace ignores for itself
        signal(ignored, SIG_DFL);
    }
    if (ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) == 0) {
        raise(SIGSTOP);
        execvp(arguments[0], arguments.data());
    }
    const int error = errno;
    (void)!::write(error_pipe, &error, sizeof(error));
    _exit(127);
}

/// Waits for the next stop. False: the process has ended.
bool wait_for_stop(std::int32_t pid, int& status) {
    while (waitpid(pid, &status, __WALL) < 0) {
        if (errno != EINTR) {
            return false;
        }
    }
    return WIFSTOPPED(status);
}

bool is_syscall_stop(int status) {
    return WSTOPSIG(status) == (SIGTRAP | 0x80);
}
bool is_event_stop(int status) {
    return status >> 16 != 0;
}

/// The dynamic linker's address range: that of the file in which the first instruction lies, while the program itself waits.
bool in_file_of(const std::vector<Mapping>& mappings, const FileIdentity& file, std::uint64_t address) {
    for (const auto& mapping : mappings) {
        if (mapping.file == file && address >= mapping.start && address < mapping.end) {
            return true;
        }
    }
    return false;
}

FileIdentity file_at(const std::vector<Mapping>& mappings, std::uint64_t address) {
    for (const auto& mapping : mappings) {
        if (address >= mapping.start && address < mapping.end) {
            return mapping.file;
        }
    }
    return {};
}

Result<__ptrace_syscall_info> syscall_info(std::int32_t pid) {
    __ptrace_syscall_info info{};
    if (ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(info), &info) <= 0) {
        return fail_errno("cannot follow the start of the command", errno);
    }
    return info;
}

} // namespace

Result<Launcher> Launcher::start(const std::vector<std::string>& command) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return fail_errno("cannot make a pipe", errno);
    }
    const UniqueFd read_end(ends[0]);
    UniqueFd write_end(ends[1]);
    const pid_t pid = fork();
    if (pid < 0) {
        return fail_errno("cannot start a process", errno);
    }
    if (pid == 0) {
        become(command, write_end.get());
    }
    write_end.reset();
    int status = 0;
    bool alive = wait_for_stop(pid, status); // its SIGSTOP
    if (alive) {
        ptrace(PTRACE_SETOPTIONS, pid, nullptr, PTRACE_O_EXITKILL | PTRACE_O_TRACEEXEC | PTRACE_O_TRACESYSGOOD);
        ptrace(PTRACE_CONT, pid, nullptr, nullptr);
        alive = wait_for_stop(pid, status); // the exec
    }
    if (!alive) {
        int error = 0;
        if (::read(read_end.get(), &error, sizeof(error)) != sizeof(error)) {
            error = ECHILD;
        }
        return fail_errno("cannot run " + command.front(), error);
    }
    return Launcher(pid);
}

Status Launcher::run_through_linker(const std::function<void()>& mapped) {
    const auto at_exec = read_maps(pid_);
    if (!at_exec) {
        return tl::unexpected(at_exec.error());
    }
    if (!has_linker(*at_exec)) {
        ptrace(PTRACE_DETACH, pid_, nullptr, nullptr);
        return {};
    }
    auto info = syscall_info(pid_);
    if (!info) {
        return tl::unexpected(info.error());
    }
    const FileIdentity linker = file_at(*at_exec, info->instruction_pointer);
    bool mapping_code = false;
    int deliver = 0;
    for (;;) {
        if (ptrace(PTRACE_SYSCALL, pid_, nullptr, deliver) != 0) {
            return {}; // it has been killed: its pidfd says so
        }
        int status = 0;
        if (!wait_for_stop(pid_, status)) {
            return {};
        }
        deliver = 0;
        if (!is_syscall_stop(status)) {
            deliver = is_event_stop(status) ? 0 : WSTOPSIG(status);
            continue;
        }
        info = syscall_info(pid_);
        if (!info) {
            return tl::unexpected(info.error());
        }
        if (info->op == PTRACE_SYSCALL_INFO_ENTRY) {
            if (!in_file_of(*at_exec, linker, info->instruction_pointer)) {
                break;
            }
            mapping_code = info->entry.nr == SYS_mmap && (info->entry.args[2] & PROT_EXEC) != 0;
        } else if (mapping_code) {
            mapping_code = false;
            mapped();
        }
    }
    ptrace(PTRACE_DETACH, pid_, nullptr, nullptr);
    return {};
}

void Launcher::reap() const {
    waitpid(pid_, nullptr, WNOHANG | __WALL);
}

} // namespace memtrace
