#include "server.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

namespace lightning {
namespace {

constexpr std::size_t kMaxSessions = 256;
constexpr const char* kPool = "sessions"; ///< for tracers: those that there are, of so many

sigset_t server_signals() {
    sigset_t set;
    sigemptyset(&set);
    for (const int signal : {SIGUSR1, SIGTERM, SIGINT}) {
        sigaddset(&set, signal);
    }
    return set;
}

} // namespace

void block_server_signals() {
    const auto set = server_signals();
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

memtrace::Status Server::listen_at(const void* address, unsigned bytes, int family) {
    listener_.reset(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int yes = 1;
    ::setsockopt(listener_.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (::bind(listener_.get(), static_cast<const sockaddr*>(address), bytes) != 0) {
        return memtrace::fail_errno("cannot bind " + address_, errno);
    }
    if (::listen(listener_.get(), SOMAXCONN) != 0) {
        return memtrace::fail_errno("cannot listen on " + address_, errno);
    }
    const auto set = server_signals();
    signals_.reset(::signalfd(-1, &set, SFD_CLOEXEC));
    ended_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!signals_ || !ended_) {
        return memtrace::fail_errno("cannot make a descriptor", errno);
    }
    return {};
}

memtrace::Result<Server> Server::on_socket(const Shared& shared, const std::string& path) {
    Server server(shared);
    server.address_ = "unix:" + path;
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) {
        return memtrace::fail("the socket's path is too long: " + path);
    }
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    ::unlink(path.c_str()); // what an earlier server left there
    if (auto status = server.listen_at(&address, sizeof address, AF_UNIX); !status) {
        return tl::unexpected(status.error());
    }
    return server;
}

memtrace::Result<Server> Server::on_port(const Shared& shared, std::uint16_t port) {
    Server server(shared);
    server.address_ = "tcp:127.0.0.1:" + std::to_string(port);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    if (auto status = server.listen_at(&address, sizeof address, AF_INET); !status) {
        return tl::unexpected(status.error());
    }
    socklen_t bytes = sizeof address;
    ::getsockname(server.listener_.get(), reinterpret_cast<sockaddr*>(&address), &bytes);
    server.address_ = "tcp:127.0.0.1:" + std::to_string(ntohs(address.sin_port));
    return server;
}

memtrace::Status Server::run() {
    while (true) {
        std::array<pollfd, 3> wait = {{{listener_.get(), POLLIN, 0}, {signals_.get(), POLLIN, 0}, {ended_.get(), POLLIN, 0}}};
        if (::poll(wait.data(), wait.size(), -1) < 0 && errno != EINTR) {
            const int error = errno;
            stop();
            return memtrace::fail_errno("poll", error);
        }
        if ((wait[2].revents & POLLIN) != 0) {
            reap();
        }
        if ((wait[1].revents & POLLIN) != 0 && take_signal()) {
            stop();
            return {};
        }
        if ((wait[0].revents & POLLIN) != 0) {
            accept_one();
        }
    }
}

/// True if it is time to end.
bool Server::take_signal() {
    signalfd_siginfo taken{};
    if (::read(signals_.get(), &taken, sizeof taken) != sizeof taken) {
        return false;
    }
    if (taken.ssi_signo != SIGUSR1) {
        return true;
    }
    std::fputs(shared_.board.truth().c_str(), stdout);
    std::fflush(stdout);
    return false;
}

void Server::accept_one() {
    memtrace::UniqueFd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!socket) {
        return; // the client has gone again, or descriptors have run out: the next one will tell
    }
    if (workers_.size() >= kMaxSessions) {
        ++shared_.statistics.sessions_refused;
        memtrace_pool_wait(&workers_, kPool, workers_.size(), kMaxSessions);
        (void)Wire(socket.get()).write_all("ERR limit the server has 256 sessions\n");
        return;
    }
    const int yes = 1; // fails on a unix socket, where it is not needed
    ::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    auto& worker = workers_.emplace_back();
    memtrace_pool_get(&workers_, kPool, workers_.size(), kMaxSessions);
    worker.socket = {std::move(socket), {"socket", address_}};
    std::thread thread([this, &worker] { work(worker); });
    const memtrace::resource_info info("thread", "session", 0, worker.socket.id());
    worker.thread = {std::move(thread), info, [](std::thread& ended) { ended.join(); }}; // BUG thread-never-joined acquired
}

void Server::work(Worker& worker) {
    {
        const auto session = memtrace::make_tracked<Session>(shared_, worker.socket->get(), worker.socket.id());
        session->run();
    }
    // The descriptor itself is closed by reap(): stop() may be about to use it.
    ::shutdown(worker.socket->get(), SHUT_RDWR);
    worker.ended = true;
    const std::uint64_t one = 1;
    (void)!::write(ended_.get(), &one, sizeof one);
}

void Server::reap() {
    std::uint64_t count = 0;
    (void)!::read(ended_.get(), &count, sizeof count);
    for (auto worker = workers_.begin(); worker != workers_.end();) {
        if (worker->ended) {
            if (shared_.board.on(Bug::thread_never_joined)) {
                shared_.forgotten.keep(std::move(worker->thread));
            }
            worker = workers_.erase(worker);
            ++shared_.statistics.sessions_reaped;
            memtrace_pool_put(&workers_, kPool, workers_.size(), kMaxSessions);
        } else {
            ++worker;
        }
    }
}

void Server::stop() {
    listener_.reset();
    for (auto& worker : workers_) {
        ::shutdown(worker.socket->get(), SHUT_RDWR);
    }
    workers_.clear();
}

} // namespace lightning
