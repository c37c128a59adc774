#include "symbol/debuginfod_helper.hpp"

#include <dlfcn.h>
#include <elfutils/debuginfod.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

#include "base/clock.hpp"
#include "symbol/debuginfod.hpp"

namespace memtrace {
namespace {

constexpr int kSocket = 3; // standard descriptors come before it

/// The library, loaded when it is needed: a memtrace that asks nobody has no code for the network in it.
struct Library {
    decltype(&debuginfod_begin) begin = nullptr;
    decltype(&debuginfod_find_debuginfo) find = nullptr;
    decltype(&debuginfod_set_progressfn) set_progress = nullptr;
    decltype(&debuginfod_set_user_data) set_user_data = nullptr;
    decltype(&debuginfod_get_user_data) get_user_data = nullptr;
};

template <typename Function>
bool look_up(void* library, const char* name, Function& function) {
    function = reinterpret_cast<Function>(::dlsym(library, name));
    return function != nullptr;
}

bool load(Library& library) {
    void* const handle = ::dlopen("libdebuginfod.so.1", RTLD_NOW | RTLD_LOCAL);
    return handle != nullptr && look_up(handle, "debuginfod_begin", library.begin) &&
           look_up(handle, "debuginfod_find_debuginfo", library.find) &&
           look_up(handle, "debuginfod_set_progressfn", library.set_progress) &&
           look_up(handle, "debuginfod_set_user_data", library.set_user_data) &&
           look_up(handle, "debuginfod_get_user_data", library.get_user_data);
}

/// What bounds the transfer at work.
struct Watch {
    const Library* library = nullptr;
    std::uint64_t deadline_ns = 0;
    std::uint64_t max_bytes = 0;
    bool late = false;
    bool large = false;
};
const Library* loaded = nullptr; // by the helper, once

Watch* watch_of(debuginfod_client* client) {
    return static_cast<Watch*>(loaded->get_user_data(client));
}

/// Called at least once a second. Anything but 0 ends the transfer.
int on_progress(debuginfod_client* client, long done, long total) {
    Watch& watch = *watch_of(client);
    watch.late = monotonic_ns() > watch.deadline_ns;
    const long most = std::max(done, total);
    watch.large = most > 0 && static_cast<std::uint64_t>(most) > watch.max_bytes;
    return watch.late || watch.large ? 1 : 0;
}

std::uint64_t whole_seconds(std::uint64_t ns) {
    return std::max<std::uint64_t>((ns + 999'999'999) / 1'000'000'000, 1);
}

/// The user's own limits hold where they are stricter: of all that can be set, those in the environment are the library's own.
std::uint64_t stricter(const char* variable, std::uint64_t limit) {
    const char* text = ::getenv(variable);
    const auto asked = text != nullptr ? std::strtoull(text, nullptr, 10) : 0;
    const auto value = asked > 0 ? std::min<std::uint64_t>(asked, limit) : limit;
    ::setenv(variable, std::to_string(value).c_str(), 1);
    return value;
}

void answer(char kind, std::string text) {
    text.resize(std::min(text.size(), kLongestPacket - 1));
    text.insert(text.begin(), kind);
    if (::send(kSocket, text.data(), text.size(), MSG_NOSIGNAL) < 0) {
        ::_exit(0);
    }
}

void look_for(debuginfod_client* client, const std::string& build_id, Watch& watch, std::uint64_t total_left_ns) {
    char* path = nullptr;
    const int fd =
        loaded->find(client, reinterpret_cast<const unsigned char*>(build_id.data()), static_cast<int>(build_id.size()), &path);
    if (fd >= 0 && path != nullptr) {
        answer(kHelperFound, path);
    } else if (watch.late) {
        answer(kHelperFailed, total_left_ns == 0 ? "the time for debug files is over" : "it takes too long");
    } else if (watch.large || fd == -EFBIG) {
        answer(kHelperFailed, "it is larger than " + std::to_string(watch.max_bytes) + " bytes");
    } else {
        answer(kHelperFailed, fd == -ENOENT ? "" : std::strerror(-fd));
    }
    if (fd >= 0) {
        ::close(fd);
    }
    std::free(path);
}

[[noreturn]] void serve(const DebuginfodSettings& settings) {
    Watch watch;
    watch.max_bytes = stricter("DEBUGINFOD_MAXSIZE", settings.max_bytes);
    stricter("DEBUGINFOD_MAXTIME", whole_seconds(settings.file_ns));
    stricter("DEBUGINFOD_TIMEOUT", whole_seconds(settings.file_ns));
    ::setenv("DEBUGINFOD_URLS", settings.servers.c_str(), 1);
    ::unsetenv("DEBUGINFOD_PROGRESS"); // it would write to the terminal
    ::unsetenv("DEBUGINFOD_VERBOSE");
    Library library;
    loaded = &library;
    if (!load(library)) {
        const char* why = ::dlerror();
        answer(kHelperFailed, why != nullptr ? why : "libdebuginfod lacks a function");
        ::_exit(1);
    }
    debuginfod_client* const client = library.begin();
    if (client == nullptr) {
        answer(kHelperFailed, "libdebuginfod does not start");
        ::_exit(1);
    }
    library.set_user_data(client, &watch);
    library.set_progress(client, on_progress);
    answer(kHelperReady, "");
    std::uint64_t left_ns = settings.total_ns;
    std::array<char, kLongestBuildId> buffer{};
    for (;;) {
        const ssize_t size = ::recv(kSocket, buffer.data(), buffer.size(), 0);
        if (size < 0 && errno == EINTR) {
            continue;
        }
        if (size <= 0) {
            ::_exit(0);
        }
        const auto begin = monotonic_ns();
        watch.deadline_ns = begin + std::min(settings.file_ns, left_ns);
        watch.late = watch.large = false;
        look_for(client, std::string(buffer.data(), static_cast<std::size_t>(size)), watch, left_ns);
        left_ns -= std::min(left_ns, monotonic_ns() - begin);
    }
}

} // namespace

void run_debuginfod_helper(int socket, pid_t parent, const DebuginfodSettings& settings) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::prctl(PR_SET_NAME, "memtrace-names");
    if (::getppid() != parent) { // it ended before that
        ::_exit(0);
    }
    // Ctrl-C goes to all processes of a terminal: how long to go on is the tracer's to say.
    ::signal(SIGINT, SIG_IGN);
    ::signal(SIGTERM, SIG_IGN);
    if (socket != kSocket) {
        ::dup2(socket, kSocket);
    }
    ::close_range(kSocket + 1, ~0u, 0);
    serve(settings);
}

} // namespace memtrace
