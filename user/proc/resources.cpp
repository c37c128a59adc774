#include "proc/resources.hpp"

#include <dirent.h>
#include <linux/magic.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <climits>
#include <memory>
#include <sstream>

#include "proc/process.hpp"

namespace memtrace {

namespace {

constexpr std::uint64_t kPidfsMagic = 0x50494446; ///< PID_FS_MAGIC, of newer headers

std::string proc_path(std::int32_t pid, const char* name) {
    return "/proc/" + std::to_string(pid) + "/" + name;
}

struct DirectoryCloser {
    void operator()(DIR* directory) const { ::closedir(directory); }
};

/// The entries of a directory whose names are numbers.
HeldNumbers list_numbers(const std::string& path) {
    std::vector<std::uint32_t> numbers;
    const std::unique_ptr<DIR, DirectoryCloser> directory(::opendir(path.c_str()));
    if (directory == nullptr) {
        return std::nullopt;
    }
    while (const auto* entry = ::readdir(directory.get())) {
        const std::string_view name = entry->d_name;
        std::uint32_t number = 0;
        const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
        if (error == std::errc() && end == name.data() + name.size()) {
            numbers.push_back(number);
        }
    }
    return numbers;
}

} // namespace

HeldNumbers list_descriptors(std::int32_t pid) {
    return list_numbers(proc_path(pid, "fd"));
}

HeldNumbers list_threads(std::int32_t pid) {
    return list_numbers(proc_path(pid, "task"));
}

HeldNumbers list_timers(std::int32_t pid) {
    const auto text = read_file(proc_path(pid, "timers"));
    if (!text) {
        return std::nullopt;
    }
    std::vector<std::uint32_t> timers;
    std::istringstream lines(*text);
    for (std::string line; std::getline(lines, line);) {
        std::istringstream words(line);
        std::string key;
        std::uint32_t timer = 0;
        if (words >> key >> timer && key == "ID:") {
            timers.push_back(timer);
        }
    }
    return timers;
}

std::optional<std::uint64_t> count_descriptors(std::int32_t pid) {
    struct stat status{};
    if (::stat(proc_path(pid, "fd").c_str(), &status) != 0 || status.st_size == 0) {
        return std::nullopt;
    }
    return static_cast<std::uint64_t>(status.st_size);
}

std::uint64_t descriptor_limit(std::int32_t pid) {
    constexpr std::string_view kLine = "\nMax open files";
    rlimit limits{};
    if (::prlimit(pid, RLIMIT_NOFILE, nullptr, &limits) == 0) {
        return limits.rlim_cur == RLIM_INFINITY ? 0 : limits.rlim_cur;
    }
    if (errno != EPERM) { // of other users' processes: it takes CAP_SYS_RESOURCE, the file does not
        return 0;
    }
    const auto text = read_file(proc_path(pid, "limits"));
    const auto line = text ? text->find(kLine) : std::string::npos;
    if (line == std::string::npos) {
        return 0;
    }
    const auto number = text->find_first_not_of(' ', line + kLine.size());
    std::uint64_t limit = 0; // "unlimited" is no number
    std::from_chars(text->data() + std::min(number, text->size()), text->data() + text->size(), limit);
    return limit;
}

std::optional<DescriptorInfo> describe_descriptor(std::int32_t pid, std::uint32_t descriptor) {
    const auto path = proc_path(pid, "fd/") + std::to_string(descriptor);
    char target[PATH_MAX];
    struct stat status{};
    const auto length = ::readlink(path.c_str(), target, sizeof(target));
    if (length < 0 || ::stat(path.c_str(), &status) != 0) {
        return std::nullopt;
    }
    constexpr std::string_view kAnonymous = "anon_inode:";
    constexpr std::string_view kMemory = "/memfd:";
    std::string_view name(target, static_cast<std::size_t>(length));
    if (name.starts_with(kAnonymous)) {
        name.remove_prefix(kAnonymous.size());
        return DescriptorInfo{descriptor_kind(0, ANON_INODE_FS_MAGIC, name), std::string(name)};
    }
    const std::uint64_t magic = name.starts_with("pidfd:") ? kPidfsMagic : 0;
    name.remove_prefix(name.starts_with(kMemory) ? 1 : 0); // as the kernel itself calls it
    return DescriptorInfo{descriptor_kind(status.st_mode, magic, name), std::string(name)};
}

std::string descriptor_kind(std::uint32_t mode, std::uint64_t magic, std::string_view name) {
    if (magic == kPidfsMagic) {
        return "fd:pidfd";
    }
    if (magic == ANON_INODE_FS_MAGIC) { // "[eventpoll]", "inotify"
        name = name.starts_with('[') && name.ends_with(']') ? name.substr(1, name.size() - 2) : name;
        return "fd:" + (name == "eventpoll" ? "epoll" : name.empty() ? "anonymous" : std::string(name));
    }
    switch (mode & S_IFMT) {
    case S_IFSOCK:
        return "fd:socket";
    case S_IFIFO:
        return "fd:pipe";
    case S_IFDIR:
        return "fd:directory";
    case S_IFCHR:
    case S_IFBLK:
        return "fd:device";
    default:
        return name.starts_with("memfd:") ? "fd:memfd" : "fd:file";
    }
}

} // namespace memtrace
