#include "store/atomic_file.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <filesystem>

#include "base/write_all.hpp"

namespace memtrace {

namespace {

constexpr const char* kPrefix = ".memtrace-";
constexpr const char* kSuffix = ".tmp";
constexpr mode_t kMode = 0644;

bool is_temporary_name(const std::string& name) {
    return name.starts_with(kPrefix) && name.ends_with(kSuffix);
}

std::string next_temporary_path(const std::string& directory) {
    static std::atomic<unsigned> counter{0};
    return directory + "/" + kPrefix + std::to_string(::getpid()) + "-" + std::to_string(counter++) + kSuffix;
}

/// Locks `fd`; false where the file was taken for a leftover and removed before that.
bool lock_in_time(int fd) {
    while (::flock(fd, LOCK_EX) != 0) {
        if (errno != EINTR) {
            return true; // a file system without locks: then leftovers are told by nothing, and it is worth the risk
        }
    }
    struct stat info{};
    return ::fstat(fd, &info) != 0 || info.st_nlink > 0;
}

} // namespace

Result<TemporaryFile> TemporaryFile::create(const std::string& directory) {
    constexpr int kAttempts = 10'000; // names of a process with our pid in another container, or before a reboot
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
        std::string path = next_temporary_path(directory);
        UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, kMode));
        if (!fd && errno != EEXIST) {
            return fail_errno("cannot create a file in " + directory, errno);
        }
        if (fd && lock_in_time(fd.get())) {
            return TemporaryFile(std::move(fd), std::move(path));
        }
    }
    return fail("cannot create a file in " + directory + ": too many temporary files (.memtrace-*.tmp), remove them");
}

TemporaryFile::TemporaryFile(TemporaryFile&& other) noexcept : fd_(std::move(other.fd_)), path_(std::exchange(other.path_, {})) {}

TemporaryFile::~TemporaryFile() {
    if (!path_.empty()) {
        ::unlink(path_.c_str());
    }
}

Status TemporaryFile::fill(const std::string& bytes) {
    if (auto status = write_all(fd_.get(), bytes); !status) {
        return status;
    }
    if (::fsync(fd_.get()) != 0) {
        return fail_errno("cannot write to the disk", errno);
    }
    return {};
}

Status TemporaryFile::publish(const std::string& path) {
    if (::rename(path_.c_str(), path.c_str()) != 0) {
        return fail_errno("cannot rename the complete file", errno);
    }
    path_.clear();
    return {};
}

Status sync_directory(const std::string& directory) {
    const UniqueFd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd) {
        return errno == EACCES ? Status{} : fail_errno("cannot open " + directory, errno); // writable but not readable: no way to
    }
    if (::fsync(fd.get()) != 0 && errno != EINVAL && errno != ENOTSUP) { // not every file system can
        return fail_errno("cannot sync " + directory, errno);
    }
    return {};
}

void remove_leftovers(const std::string& directory) {
    std::error_code error;
    for (std::filesystem::directory_iterator entry(directory, error), end; !error && entry != end; entry.increment(error)) {
        const std::string path = entry->path().string();
        if (!is_temporary_name(entry->path().filename().string())) {
            continue;
        }
        const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
        struct stat info{};
        if (fd && ::fstat(fd.get(), &info) == 0 && S_ISREG(info.st_mode) && ::flock(fd.get(), LOCK_EX | LOCK_NB) == 0) {
            ::unlink(path.c_str()); // while we hold the lock: its maker, if it has yet to lock it, finds out and makes another
        }
    }
}

} // namespace memtrace
