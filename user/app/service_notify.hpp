// Tells the service manager how it stands: systemd's protocol of sd_notify(3), which takes a datagram and no library. Without a NOTIFY_SOCKET in
// the environment nothing is sent.
#pragma once

#include <cstdint>
#include <string>

#include "base/fd.hpp"
#include "base/result.hpp"

namespace memtrace {

class ServiceNotify {
public:
    ServiceNotify() = default; ///< nobody is told
    /// Takes what the manager says out of the environment, so that nobody whom we start speaks for us.
    static Result<ServiceNotify> take_environment();

    void ready() { send("READY=1"); }
    void reloading();
    void stopping() { send("STOPPING=1\nSTATUS=taking the last reports"); }
    /// One line for people. Said again only where it is another one.
    void status(const std::string& text);

    /// When the watchdog is to be fed next, monotonic nanoseconds: at half of its time. Only the loop does that: where it hangs, the watchdog bites.
    [[nodiscard]] std::uint64_t next_ns() const { return next_ns_; }
    void feed(std::uint64_t now_ns);

private:
    void send(const std::string& text) const;

    UniqueFd socket_;     ///< none: there is no manager
    std::string address_; ///< as in sockaddr_un; an abstract one begins with a zero
    std::string status_;
    std::uint64_t period_ns_ = 0; ///< 0: there is no watchdog
    std::uint64_t next_ns_ = ~std::uint64_t{0};
};

} // namespace memtrace
