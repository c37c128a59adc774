#include "store/snapshots.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <climits>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <map>
#include <optional>
#include <sstream>

#include "base/clock.hpp"
#include "base/path.hpp"
#include "base/write_all.hpp"
#include "store/atomic_file.hpp"

namespace memtrace {

namespace {

constexpr ReportFormat kAllFormats[] = {ReportFormat::text, ReportFormat::json, ReportFormat::pprof, ReportFormat::folded};

/// Where a chain of symbolic links ends; `path` itself where it cannot be followed.
std::string resolved(const std::string& path) {
    char buffer[PATH_MAX];
    return ::realpath(path.c_str(), buffer) == nullptr ? path : std::string(buffer);
}

Status write_through(const std::string& path, const std::string& bytes) {
    const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY));
    if (!fd) {
        return fail_errno("cannot open", errno);
    }
    return write_all(fd.get(), bytes);
}

enum class Kind : std::uint8_t { regular_or_new, directory, other };

Kind kind_of(const std::string& path) {
    struct stat info{};
    if (::stat(path.c_str(), &info) != 0 || S_ISREG(info.st_mode)) {
        return Kind::regular_or_new;
    }
    return S_ISDIR(info.st_mode) ? Kind::directory : Kind::other;
}

Status write_whole(const std::string& path, const std::string& bytes) {
    const auto kind = kind_of(path);
    if (kind == Kind::directory) {
        return fail_errno("cannot write", EISDIR);
    }
    if (kind == Kind::other) {
        return write_through(path, bytes);
    }
    const std::string target = resolved(path);
    auto file = TemporaryFile::create(directory_of(target));
    if (!file) {
        return tl::unexpected(file.error());
    }
    if (auto status = file->fill(bytes); !status) {
        return status;
    }
    if (auto status = file->publish(target); !status) {
        return status;
    }
    return sync_directory(directory_of(target));
}

/// "YYYYMMDDTHHMMSS.mmmZ": as long as any other, so that names sort by time.
std::string stamp(std::uint64_t wall) {
    const auto seconds = static_cast<time_t>(wall / kNanosPerSecond);
    std::tm utc{};
    gmtime_r(&seconds, &utc);
    char date[32];
    std::strftime(date, sizeof(date), "%Y%m%dT%H%M%S", &utc);
    char text[48];
    std::snprintf(text, sizeof(text), "%s.%03uZ", date, static_cast<unsigned>(wall % kNanosPerSecond / 1'000'000));
    return text;
}

std::string stem_prefix(std::int32_t pid) {
    return "memtrace-" + std::to_string(pid) + "-";
}

bool matches(std::string_view text, std::string_view pattern) {
    return text.size() == pattern.size() && std::equal(text.begin(), text.end(), pattern.begin(), [](char c, char p) {
               return p == '0' ? std::isdigit(static_cast<unsigned char>(c)) != 0 : c == p;
           });
}

/// The stem of a snapshot of `pid`, none where `name` is not exactly what write() makes: the retention removes nothing else.
std::optional<std::string> stem_of(const std::string& name, std::int32_t pid) {
    const std::string prefix = stem_prefix(pid);
    if (!name.starts_with(prefix)) {
        return std::nullopt;
    }
    for (const auto format : kAllFormats) {
        const std::string ending = std::string(".") + format_extension(format);
        if (!name.ends_with(ending) || name.size() < prefix.size() + ending.size()) {
            continue;
        }
        const std::string moment = name.substr(prefix.size(), name.size() - prefix.size() - ending.size());
        if (matches(moment, "00000000T000000.000Z") || matches(moment, "00000000T000000.000Z_000")) {
            return prefix + moment;
        }
    }
    return std::nullopt;
}

bool exists(const std::string& path) {
    struct stat info{};
    return ::lstat(path.c_str(), &info) == 0;
}

Status make_directory(const std::string& path) {
    if (::mkdir(path.c_str(), 0755) == 0) {
        return sync_directory(directory_of(path));
    }
    if (errno == ENOENT) {
        return fail("its parent does not exist: create it first");
    }
    if (errno != EEXIST) {
        return fail_errno("cannot create the directory", errno);
    }
    struct stat info{};
    if (::stat(path.c_str(), &info) != 0) {
        return fail_errno("cannot open", errno);
    }
    return S_ISDIR(info.st_mode) ? Status{} : fail("not a directory");
}

} // namespace

Status write_file_atomically(const std::string& path, const std::string& bytes) {
    auto status = write_whole(path, bytes);
    return status ? status : tl::unexpected(status.error().in(path));
}

Status check_writable(const std::string& path) {
    const auto kind = kind_of(path);
    if (kind == Kind::directory) {
        return fail_errno(path + ": cannot write", EISDIR);
    }
    if (kind == Kind::other) {
        return {}; // opening it may already act on it
    }
    auto probe = TemporaryFile::create(directory_of(resolved(path)));
    return probe ? Status{} : tl::unexpected(probe.error().in(path));
}

Result<SnapshotDirectory> SnapshotDirectory::open(const std::string& path, std::vector<ReportFormat> formats, unsigned keep) {
    const std::string context = "snapshot directory " + path;
    std::sort(formats.begin(), formats.end());
    formats.erase(std::unique(formats.begin(), formats.end()), formats.end());
    if (formats.empty()) {
        return fail(context + ": no snapshot format given");
    }
    std::string trimmed = path;
    while (trimmed.size() > 1 && trimmed.back() == '/') {
        trimmed.pop_back();
    }
    if (auto status = make_directory(trimmed); !status) {
        return tl::unexpected(status.error().in(context));
    }
    remove_leftovers(trimmed);
    // A file that is made and dropped: permission bits say nothing to root, and nothing of a read-only file system.
    if (auto probe = TemporaryFile::create(trimmed); !probe) {
        return tl::unexpected(probe.error().in(context));
    }
    return SnapshotDirectory(trimmed, std::move(formats), keep);
}

Result<std::string> SnapshotDirectory::free_stem(const Report& report) const {
    const std::string first = stem_prefix(report.process.pid) + stamp(report.time_unix_ns);
    for (unsigned attempt = 0; attempt < 1000; ++attempt) {
        char suffix[8] = "";
        if (attempt > 0) {
            std::snprintf(suffix, sizeof(suffix), "_%03u", attempt); // '_' sorts after the '.' of the ending
        }
        std::string stem = first + suffix;
        if (std::none_of(std::begin(kAllFormats), std::end(kAllFormats),
                         [&](ReportFormat format) { return exists(path_ + "/" + stem + "." + format_extension(format)); })) {
            return stem;
        }
    }
    return fail("1000 snapshots of the same millisecond are there already");
}

Status SnapshotDirectory::write(const Report& report) {
    const auto failed = [&](const Error& error) { return tl::unexpected(error.in("cannot write a snapshot to " + path_)); };
    written_.clear();
    const auto stem = free_stem(report);
    if (!stem) {
        return failed(stem.error());
    }
    std::vector<TemporaryFile> files;
    for (const auto format : formats_) {
        std::ostringstream bytes;
        render(report, format, TextOptions{}, bytes);
        auto file = TemporaryFile::create(path_);
        if (!file) {
            return failed(file.error());
        }
        if (auto status = file->fill(std::move(bytes).str()); !status) {
            return failed(status.error());
        }
        files.push_back(std::move(*file));
    }
    std::vector<std::string> published;
    for (std::size_t i = 0; i < files.size(); ++i) {
        const std::string path = path_ + "/" + *stem + "." + format_extension(formats_[i]);
        if (auto status = files[i].publish(path); !status) {
            for (const auto& earlier : published) { // a moment is there in all its formats or not at all
                ::unlink(earlier.c_str());
            }
            return failed(status.error());
        }
        published.push_back(path);
    }
    written_ = std::move(published);
    if (auto status = sync_directory(path_); !status) {
        return failed(status.error());
    }
    return apply_retention(report.process.pid, *stem);
}

Status SnapshotDirectory::apply_retention(std::int32_t pid, const std::string& written_stem) const {
    if (keep_ == 0) {
        return {};
    }
    std::map<std::string, std::vector<std::string>> moments; // stem -> files, oldest first
    std::error_code error;
    for (std::filesystem::directory_iterator entry(path_, error), end; !error && entry != end; entry.increment(error)) {
        // What was just written is kept even where it sorts first: the clock may have been set back.
        if (const auto stem = stem_of(entry->path().filename().string(), pid); stem && *stem != written_stem) {
            moments[*stem].push_back(entry->path().string());
        }
    }
    if (error) {
        return fail("old snapshots in " + path_ + " cannot be listed: " + error.message());
    }
    Status status;
    std::size_t surplus = moments.size() - std::min<std::size_t>(moments.size(), keep_ - 1);
    for (auto moment = moments.begin(); surplus > 0; ++moment, --surplus) {
        for (const auto& path : moment->second) {
            if (::unlink(path.c_str()) != 0 && errno != ENOENT && status) {
                status = fail_errno("old snapshots cannot be removed: " + path, errno);
            }
        }
    }
    return status;
}

} // namespace memtrace
