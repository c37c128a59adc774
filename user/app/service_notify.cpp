#include "app/service_notify.hpp"

#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/clock.hpp"

namespace memtrace {

namespace {

constexpr std::uint64_t kNanosPerMicro = 1'000;

/// A variable, which is gone after that.
std::string take_variable(const char* name) {
    const char* const value = std::getenv(name);
    std::string text = value != nullptr ? value : "";
    ::unsetenv(name);
    return text;
}

std::uint64_t number(const std::string& text) {
    std::uint64_t value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
}

} // namespace

Result<ServiceNotify> ServiceNotify::take_environment() {
    ServiceNotify notify;
    auto address = take_variable("NOTIFY_SOCKET");
    const auto watchdog_us = number(take_variable("WATCHDOG_USEC"));
    const auto watchdog_pid = take_variable("WATCHDOG_PID");
    if (address.empty()) {
        return notify;
    }
    if ((address[0] != '/' && address[0] != '@') || address.size() < 2 || address.size() >= sizeof(sockaddr_un::sun_path)) {
        return fail("NOTIFY_SOCKET is no socket that can be reached: \"" + address + "\"");
    }
    if (address[0] == '@') {
        address[0] = '\0';
    }
    notify.address_ = address;
    notify.socket_ = UniqueFd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (!notify.socket_) {
        return fail_errno("cannot make a socket for the service manager", errno);
    }
    // A manager that does not read must not hold up the tracing.
    const timeval patience{1, 0};
    (void)::setsockopt(notify.socket_.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    if (watchdog_us > 0 && (watchdog_pid.empty() || number(watchdog_pid) == static_cast<std::uint64_t>(::getpid()))) {
        notify.period_ns_ = std::max<std::uint64_t>(watchdog_us * kNanosPerMicro / 2, 1);
        notify.next_ns_ = monotonic_ns();
    }
    return notify;
}

void ServiceNotify::send(const std::string& text) const {
    if (!socket_) {
        return;
    }
    sockaddr_un to{};
    to.sun_family = AF_UNIX;
    std::memcpy(to.sun_path, address_.data(), address_.size());
    const auto size = offsetof(sockaddr_un, sun_path) + address_.size() + (address_[0] == '/' ? 1 : 0);
    (void)::sendto(socket_.get(), text.data(), text.size(), MSG_NOSIGNAL, reinterpret_cast<const sockaddr*>(&to),
                   static_cast<socklen_t>(size));
}

void ServiceNotify::reloading() {
    send("RELOADING=1\nMONOTONIC_USEC=" + std::to_string(monotonic_ns() / kNanosPerMicro));
}

void ServiceNotify::status(const std::string& text) {
    if (std::exchange(status_, text) != text) {
        send("STATUS=" + text);
    }
}

void ServiceNotify::feed(std::uint64_t now_ns) {
    if (period_ns_ != 0 && now_ns >= next_ns_) {
        send("WATCHDOG=1");
        next_ns_ = now_ns + period_ns_;
    }
}

} // namespace memtrace
