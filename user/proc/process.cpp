#include "proc/process.hpp"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <climits>
#include <filesystem>
#include <sstream>

#include "base/clock.hpp"

namespace memtrace {

namespace {

std::string proc_path(std::int32_t pid, const char* name) {
    return "/proc/" + std::to_string(pid) + "/" + name;
}

Error gone(std::int32_t pid) {
    return {"no process " + std::to_string(pid) + ": it has exited or never was", ESRCH};
}

/// The fields of /proc/PID/stat after the comm, which may hold blanks and parentheses: [0] is the state (field 3).
Result<std::vector<std::string>> stat_fields(std::int32_t pid) {
    auto text = read_file(proc_path(pid, "stat"));
    if (!text) {
        return tl::unexpected(gone(pid));
    }
    const auto close = text->rfind(')');
    std::vector<std::string> fields;
    std::istringstream rest(close == std::string::npos ? "" : text->substr(close + 1));
    for (std::string field; rest >> field;) {
        fields.push_back(field);
    }
    if (fields.size() < 22) {
        return tl::unexpected(gone(pid));
    }
    return fields;
}

/// A program that sets its own title pads the space of its old arguments with blanks or zeros.
void trim_title(std::vector<std::string>& arguments) {
    while (arguments.size() > 1 && arguments.back().empty()) {
        arguments.pop_back();
    }
    if (arguments.size() == 1) {
        arguments.front().resize(arguments.front().find_last_not_of(' ') + 1);
    }
}

/// A tool of Valgrind's, as in .../valgrind/memcheck-amd64-linux. It runs what it translates the program's code into: an instruction that the kernel
/// has put a breakpoint in place of ends the program by SIGTRAP, since the breakpoint that is hit is the translation's.
bool is_valgrind(const std::filesystem::path& exe) {
    return exe.parent_path().filename() == "valgrind" && exe.filename().string().ends_with("-linux");
}

std::uint64_t to_number(const std::string& text) {
    std::uint64_t value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
}

constexpr std::size_t kState = 0;
constexpr std::size_t kParent = 1;
constexpr std::size_t kFlags = 6;
constexpr std::size_t kUserTime = 11;
constexpr std::size_t kSystemTime = 12;
constexpr std::size_t kStartTime = 19;
constexpr std::size_t kRssPages = 21;
constexpr std::uint64_t kKernelThread = 0x00200000; // PF_KTHREAD

std::uint64_t boot_wall_ns() {
    timespec boot{};
    clock_gettime(CLOCK_BOOTTIME, &boot);
    return wall_ns() - (static_cast<std::uint64_t>(boot.tv_sec) * kNanosPerSecond + static_cast<std::uint64_t>(boot.tv_nsec));
}

std::uint64_t ticks_to_ns(std::uint64_t ticks) {
    return ticks * (kNanosPerSecond / static_cast<std::uint64_t>(sysconf(_SC_CLK_TCK)));
}

} // namespace

Result<std::string> read_file(const std::string& path) {
    const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) {
        return fail_errno("cannot read " + path, errno);
    }
    std::string text;
    char buffer[16384];
    for (;;) {
        const ssize_t count = ::read(fd.get(), buffer, sizeof(buffer));
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0) {
            return fail_errno("cannot read " + path, errno);
        }
        if (count == 0) {
            return text;
        }
        text.append(buffer, static_cast<std::size_t>(count));
    }
}

RootPrefix::RootPrefix(std::int32_t pid) {
    char root[PATH_MAX];
    const ssize_t length = ::readlink(proc_path(pid, "root").c_str(), root, sizeof(root));
    if (length > 1) {
        prefix_.assign(root, static_cast<std::size_t>(length));
    }
}

void RootPrefix::strip(std::string& path) const {
    if (!prefix_.empty() && path.size() > prefix_.size() && path.starts_with(prefix_) && path[prefix_.size()] == '/') {
        path.erase(0, prefix_.size());
    }
}

Result<ProcessInfo> read_process_info(std::int32_t pid) {
    const auto fields = stat_fields(pid);
    if (!fields) {
        return tl::unexpected(fields.error());
    }
    if (to_number((*fields)[kFlags]) & kKernelThread) {
        return fail("process " + std::to_string(pid) + " is a kernel thread: it has no user memory to trace");
    }
    if ((*fields)[kState] == "Z" || (*fields)[kState] == "X") {
        return fail("process " + std::to_string(pid) + " has ended already (a zombie): trace its successor");
    }
    ProcessInfo info;
    info.pid = pid;
    info.start_ticks = to_number((*fields)[kStartTime]);
    info.start_wall_ns = boot_wall_ns() + ticks_to_ns(info.start_ticks);
    if (auto comm = read_file(proc_path(pid, "comm"))) {
        info.comm = comm->substr(0, comm->find('\n'));
    }
    char exe[PATH_MAX];
    const ssize_t length = ::readlink(proc_path(pid, "exe").c_str(), exe, sizeof(exe));
    if (length < 0) {
        return errno == ENOENT || errno == ESRCH ? tl::unexpected(gone(pid))
                                                 : fail_errno("cannot see the program of process " + std::to_string(pid), errno);
    }
    info.exe.assign(exe, static_cast<std::size_t>(length));
    if (const auto mark = info.exe.rfind(" (deleted)"); mark != std::string::npos && mark + 10 == info.exe.size()) {
        info.exe.resize(mark);
    }
    RootPrefix(pid).strip(info.exe);
    if (is_valgrind(info.exe)) {
        return fail("process " + std::to_string(pid) +
                    " runs under Valgrind, where a probe would end it: run the program without it");
    }
    if (auto text = read_file(proc_path(pid, "cmdline"))) {
        std::istringstream arguments(*text);
        for (std::string argument; std::getline(arguments, argument, '\0');) {
            info.cmdline.push_back(argument);
        }
        trim_title(info.cmdline);
    }
    return info;
}

Result<ProcessIdentity> read_process_identity(std::int32_t pid) {
    const auto fields = stat_fields(pid);
    if (!fields) {
        return tl::unexpected(fields.error());
    }
    const auto& state = (*fields)[kState];
    return ProcessIdentity{to_number((*fields)[kStartTime]), static_cast<std::int32_t>(to_number((*fields)[kParent])),
                           state == "Z" || state == "X"};
}

Result<ProcessUsage> read_process_usage(std::int32_t pid) {
    const auto fields = stat_fields(pid);
    if (!fields) {
        return tl::unexpected(fields.error());
    }
    ProcessUsage usage;
    usage.rss_bytes = to_number((*fields)[kRssPages]) * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
    usage.cpu_ns = ticks_to_ns(to_number((*fields)[kUserTime]) + to_number((*fields)[kSystemTime]));
    return usage;
}

Result<UniqueFd> open_pidfd(std::int32_t pid) {
    UniqueFd fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    if (!fd) {
        const int error = errno;
        if (error == EINVAL || error == ENOENT) {
            return fail(std::to_string(pid) + " is a thread, not a process: name the process that it belongs to");
        }
        return error == ESRCH ? tl::unexpected(gone(pid)) : fail_errno("cannot watch process " + std::to_string(pid), error);
    }
    return fd;
}

std::vector<std::int32_t> list_processes() {
    std::vector<std::int32_t> pids;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator("/proc", error)) {
        const std::string name = entry.path().filename();
        if (!name.empty() && std::all_of(name.begin(), name.end(), [](char c) { return c >= '0' && c <= '9'; })) {
            pids.push_back(static_cast<std::int32_t>(to_number(name)));
        }
    }
    std::sort(pids.begin(), pids.end());
    return pids;
}

std::map<std::string, std::vector<std::int32_t>> list_by_comm(const std::set<std::string>& names) {
    std::map<std::string, std::vector<std::int32_t>> found;
    for (const auto pid : names.empty() ? std::vector<std::int32_t>() : list_processes()) {
        const auto text = read_file(proc_path(pid, "comm"));
        if (auto comm = text ? text->substr(0, text->find('\n')) : ""; names.contains(comm) && pid != ::getpid()) {
            found[comm].push_back(pid);
        }
    }
    return found;
}

Result<std::vector<std::int32_t>> find_by_comm(const std::string& name) {
    auto found = list_by_comm({name})[name];
    if (found.empty()) {
        return fail("no process is called \"" + name + "\" (names are cut to 15 characters: see /proc/PID/comm)");
    }
    return found;
}

std::vector<std::int32_t> list_cgroup(const std::string& path) {
    std::error_code error;
    std::vector<std::int32_t> found;
    const auto add = [&found](const std::string& directory) {
        const auto text = read_file(directory + "/cgroup.procs");
        std::istringstream lines(text ? *text : "");
        for (std::string line; std::getline(lines, line);) {
            found.push_back(static_cast<std::int32_t>(to_number(line)));
        }
    };
    add(path);
    std::filesystem::recursive_directory_iterator entry(path, error); // which goes while others come and go
    for (const std::filesystem::recursive_directory_iterator end; !error && entry != end; entry.increment(error)) {
        std::error_code gone;
        if (entry->is_directory(gone)) {
            add(entry->path());
        }
    }
    std::sort(found.begin(), found.end());
    found.erase(std::unique(found.begin(), found.end()), found.end());
    std::erase_if(found, [](std::int32_t pid) { return pid == 0 || pid == ::getpid(); });
    return found;
}

Result<std::vector<std::int32_t>> find_by_cgroup(const std::string& path) {
    std::error_code error;
    if (!std::filesystem::exists(path + "/cgroup.procs", error)) {
        return fail(path + " is no cgroup directory: it has no cgroup.procs");
    }
    auto found = list_cgroup(path);
    if (found.empty()) {
        return fail("no process is in the cgroup " + path);
    }
    return found;
}

} // namespace memtrace
