// Listens, gives each connection a thread with a session in it, and joins what has ended. One thread, the caller's, runs it; it
// also takes SIGUSR1 (print the truth to stdout), SIGTERM and SIGINT (end), which have to be blocked in every thread.
#pragma once

#include <atomic>
#include <list>
#include <string>
#include <thread>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "session.hpp"

namespace lightning {

/// Blocks the signals that a Server takes; before the first thread is started.
void block_server_signals();

class Server {
public:
    static memtrace::Result<Server> on_socket(const Shared& shared, const std::string& path);
    /// On 127.0.0.1; port 0 lets the kernel choose.
    static memtrace::Result<Server> on_port(const Shared& shared, std::uint16_t port);

    /// "unix:PATH" or "tcp:127.0.0.1:PORT".
    [[nodiscard]] const std::string& address() const { return address_; }
    /// Until SIGTERM or SIGINT. Then ends every session, joins every thread.
    memtrace::Status run();

private:
    struct Worker {
        memtrace::resource_handle<memtrace::UniqueFd> socket;
        std::atomic<bool> ended{false};
        memtrace::resource_handle<std::thread> thread; ///< joined at its end
    };

    explicit Server(const Shared& shared) : shared_(shared) {}
    memtrace::Status listen_at(const void* address, unsigned bytes, int family);
    void accept_one();
    void work(Worker& worker);
    void reap();
    void stop();
    bool take_signal();

    Shared shared_;
    std::string address_;
    memtrace::UniqueFd listener_;
    memtrace::UniqueFd signals_;
    memtrace::UniqueFd ended_; ///< an eventfd: some worker has ended
    std::list<Worker> workers_;
};

} // namespace lightning
