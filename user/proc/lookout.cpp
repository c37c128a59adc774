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

std::string with_suffix(const std::string& unit) {
    const bool has_one =
        std::any_of(std::begin(kSuffixes), std::end(kSuffixes), [&](const char* suffix) { return unit.ends_with(suffix); });
    return has_one ? unit : unit + kSuffixes[0];
}

/// Adds the directories below `root` to the lists that `found` has for their names.
void add_below(const std::string& root, const std::multimap<std::string, std::vector<std::string>*>& found) {
    std::error_code error;
    std::filesystem::recursive_directory_iterator entry(root, error);
    for (const std::filesystem::recursive_directory_iterator end; !error && entry != end; entry.increment(error)) {
        std::error_code gone;
        const auto [begin, last] = found.equal_range(entry->path().filename());
        if (begin != last && entry->is_directory(gone)) { // and goes on below it: a user's manager is a unit that has units
            std::for_each(begin, last, [&](const auto& unit) { unit.second->push_back(entry->path()); });
        }
    }
}

} // namespace

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

UnitCgroups::Pids UnitCgroups::list(const std::set<std::string>& units, const std::vector<std::string>& roots) {
    std::erase_if(directories_, [&](const auto& entry) { return !units.contains(entry.first); });
    std::multimap<std::string, std::vector<std::string>*> missing; // two may be one: "a" and "a.service"
    for (const auto& unit : units) {
        auto& directories = directories_[unit];
        std::erase_if(directories, [](const std::string& directory) { return !is_directory(directory); });
        if (directories.empty()) {
            missing.emplace(with_suffix(unit), &directories);
        }
    }
    if (!missing.empty()) {
        for (const auto& root : roots) {
            add_below(root, missing);
        }
    }
    Pids found;
    for (const auto& [unit, directories] : directories_) {
        std::set<std::int32_t> pids;
        for (const auto& directory : directories) {
            const auto there = list_cgroup(directory);
            pids.insert(there.begin(), there.end());
        }
        found[unit].assign(pids.begin(), pids.end());
    }
    return found;
}

} // namespace memtrace
