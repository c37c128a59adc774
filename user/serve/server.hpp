// The HTTP side of a run: /metrics, /api/report, /healthz and the page (README.md in this folder).
//
//   owning thread                              2 threads of libmicrohttpd
//   publish(new Publication) ---> current_ ---> respond() ---> client
//
// The owner hands over what is finished and never waits for a client; the threads see nothing but what was handed over. A client costs
// a connection, which are few, for a bounded time, whatever it does or leaves undone (ServerLimits).
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "base/listen_address.hpp"
#include "base/result.hpp"
#include "serve/respond.hpp"

struct MHD_Connection;
struct MHD_Daemon;

namespace memtrace {

struct ServerLimits {
    unsigned connections = 32;
    unsigned idle_s = 5;                       ///< without a byte in either direction
    std::uint64_t longest_ns = 30'000'000'000; ///< of a connection, from accepting it
    std::size_t request_bytes = std::size_t{32} << 10;
    std::size_t unread_bytes = std::size_t{64} << 20; ///< of answers under way; above that requests are turned away
};

struct ServerSettings {
    ListenAddress address;
    ServeRules rules;
    std::string certificate_pem; ///< and those above it; empty: no TLS
    std::string key_pem;
    ServerLimits limits = {};
};

class Server {
public:
    /// Listens, and answers from then on. Its threads do not take the signals that end a process.
    static Result<std::unique_ptr<Server>> start(const ServerSettings& settings);
    /// Ends all connections.
    ~Server();
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;

    /// What is answered from now on.
    void publish(Publication publication);
    /// As ServeRules has them, from now on.
    void set_interval(double interval_s, double healthy_s);

    /// Ends connections that have lasted too long. To be called every few seconds.
    void end_old_connections();

    /// "http://127.0.0.1:9464/".
    [[nodiscard]] std::string url() const;

    // For the callbacks of libmicrohttpd, in its threads.
    HttpResponse answer(const HttpRequest& request);
    void opened(MHD_Connection* connection, int fd);
    void closed(MHD_Connection* connection);
    /// While it starts: why it does not. Later: what clients do wrong, which is nobody's concern.
    void said(const char* text);
    std::atomic<std::size_t>& unread_bytes() { return unread_bytes_; }

private:
    explicit Server(const ServerSettings& settings);
    Status serve(int socket);

    struct Opened {
        int fd; ///< of libmicrohttpd; valid until closed()
        std::uint64_t since_ns;
    };

    ServerSettings settings_;
    std::mutex current_mutex_;
    std::shared_ptr<const Publication> current_;
    std::uint64_t published_ns_; ///< or started
    std::mutex connections_mutex_;
    std::map<MHD_Connection*, Opened> connections_;
    std::mutex said_mutex_;
    std::string said_;
    bool started_ = false;
    std::atomic<std::size_t> unread_bytes_ = 0; ///< of answers that clients have not read yet
    MHD_Daemon* daemon_ = nullptr;
};

} // namespace memtrace
