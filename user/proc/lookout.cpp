#include "proc/lookout.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "base/clock.hpp"
#include "base/fd.hpp"
#include "proc/process.hpp"

namespace memtrace {

namespace {

constexpr const char* kCgroups = "/sys/fs/cgroup";
constexpr const char* kSuffixes[] = {".service", ".scope", ".slice"}; ///< of units that have processes
constexpr std::uint64_t kClockSlack = 2 * kNanosPerSecond; ///< start times are told in ticks, and the clock may have been set

bool is_directory(const std::string& path) {
    struct stat info{};
    return ::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

void add_below(const std::string& root, const std::string& name, std::vector<std::string>& found) {
    std::error_code error;
    std::filesystem::recursive_directory_iterator entry(root, error);
    for (const std::filesystem::recursive_directory_iterator end; !error && entry != end; entry.increment(error)) {
        std::error_code gone;
        if (entry->is_directory(gone) && entry->path().filename() == name) {
            found.push_back(entry->path());
            entry.disable_recursion_pending(); // what is below belongs to it
        }
    }
}

} // namespace

std::map<std::string, std::vector<std::int32_t>> list_by_comm(const std::set<std::string>& names) {
    std::map<std::string, std::vector<std::int32_t>> found;
    for (const auto pid : names.empty() ? std::vector<std::int32_t>() : list_processes()) {
        const auto text = read_file("/proc/" + std::to_string(pid) + "/comm");
        if (auto comm = text ? text->substr(0, text->find('\n')) : ""; names.contains(comm) && pid != ::getpid()) {
            found[comm].push_back(pid);
        }
    }
    return found;
}

std::vector<std::int32_t> list_by_pid_file(const std::string& path) {
    const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)); // which a pipe would make wait else
    struct stat info{};
    char text[32];
    const auto count = fd && ::fstat(fd.get(), &info) == 0 && S_ISREG(info.st_mode) ? ::read(fd.get(), text, sizeof(text)) : -1;
    const char* begin = text;
    const char* const end = text + std::max<ssize_t>(count, 0);
    begin = std::find_if(begin, end, [](char c) { return c != ' ' && c != '\t' && c != '\n'; });
    std::int32_t pid = 0;
    const auto process = std::from_chars(begin, end, pid).ec == std::errc() && pid > 0 && pid != ::getpid()
                             ? read_process_info(pid)
                             : Result<ProcessInfo>(fail("no number"));
    const auto written_ns = static_cast<std::uint64_t>(info.st_mtim.tv_sec) * kNanosPerSecond;
    return process && process->start_wall_ns <= written_ns + kClockSlack ? std::vector{pid} : std::vector<std::int32_t>();
}

std::vector<std::string> cgroup_roots() {
    const std::string root = kCgroups;
    std::vector<std::string> found;
    for (const char* const name : {"/systemd", "/unified"}) { // version 1, alone and with 2 beside it
        if (is_directory(root + name)) {
            found.push_back(root + name);
        }
    }
    return found.empty() ? std::vector{root} : found;
}

UnitCgroups::UnitCgroups(std::string unit) : unit_(std::move(unit)) {
    if (std::none_of(std::begin(kSuffixes), std::end(kSuffixes), [&](const char* suffix) { return unit_.ends_with(suffix); })) {
        unit_ += kSuffixes[0];
    }
}

std::vector<std::int32_t> UnitCgroups::list(const std::vector<std::string>& roots) {
    std::erase_if(directories_, [](const std::string& directory) { return !is_directory(directory); });
    if (directories_.empty()) {
        for (const auto& root : roots) {
            add_below(root, unit_, directories_);
        }
    }
    std::vector<std::int32_t> found;
    for (const auto& directory : directories_) {
        const auto pids = list_cgroup(directory);
        found.insert(found.end(), pids.begin(), pids.end());
    }
    std::sort(found.begin(), found.end());
    found.erase(std::unique(found.begin(), found.end()), found.end());
    return found;
}

} // namespace memtrace
