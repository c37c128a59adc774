#include "symbol/safe_open.hpp"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace memtrace {
namespace {

/// Turns an O_PATH descriptor into one to read from. Opening a device or a FIFO could block or have effects: look first.
Result<UniqueFd> reopen_regular(const UniqueFd& location, const std::string& path) {
    struct stat status{};
    if (::fstat(location.get(), &status) != 0) {
        return fail_errno("cannot look at " + path, errno);
    }
    if (!S_ISREG(status.st_mode)) {
        return fail(path + " is not a regular file");
    }
    UniqueFd fd(::open(("/proc/self/fd/" + std::to_string(location.get())).c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) {
        return fail_errno("cannot open " + path, errno);
    }
    return fd;
}

} // namespace

Result<UniqueFd> open_regular(const std::string& path) {
    UniqueFd location(::open(path.c_str(), O_PATH | O_CLOEXEC));
    if (!location) {
        return fail_errno("cannot open " + path, errno);
    }
    return reopen_regular(location, path);
}

Result<UniqueFd> open_root(const std::string& path) {
    UniqueFd root(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!root) {
        return fail_errno("cannot open the directory " + path, errno);
    }
    return root;
}

Result<UniqueFd> open_below(const UniqueFd& root, const std::string& path) {
    struct open_how how{};
    how.flags = O_PATH | O_CLOEXEC;
    how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
    UniqueFd location(static_cast<int>(::syscall(SYS_openat2, root.get(), path.c_str(), &how, sizeof(how))));
    if (!location) {
        return fail_errno("cannot open " + path, errno);
    }
    return reopen_regular(location, path);
}

} // namespace memtrace
