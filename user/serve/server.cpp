#include "serve/server.hpp"

#include <arpa/inet.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <iterator>

#include "base/clock.hpp"
#include "base/fd.hpp"
#include "base/signal_guard.hpp"

namespace memtrace {

namespace {

constexpr unsigned kThreads = 2;

/// A body until libmicrohttpd has sent it, or given up.
class Body {
public:
    Body(std::string text, std::atomic<std::size_t>& unread) : text_(std::move(text)), unread_(unread) {
        unread_ += text_.size();
    }
    Body(const Body&) = delete;
    Body& operator=(const Body&) = delete;
    ~Body() { unread_ -= text_.size(); }
    [[nodiscard]] std::string& text() { return text_; }

private:
    std::string text_;
    std::atomic<std::size_t>& unread_;
};

void free_body(void* body) {
    delete static_cast<Body*>(body);
}

std::string_view or_empty(const char* text) {
    return text != nullptr ? text : std::string_view();
}

MHD_Result send_response(MHD_Connection* connection, HttpResponse answer, std::atomic<std::size_t>& unread) {
    auto* const body = new Body(std::move(answer.body), unread); // the response's, once there is one
    auto& text = body->text();
    auto* const response = ::MHD_create_response_from_buffer_with_free_callback_cls(text.size(), text.data(), free_body, body);
    if (response == nullptr) {
        delete body;
        return MHD_NO;
    }
    const std::pair<const char*, const std::string> headers[] = {{MHD_HTTP_HEADER_CONTENT_TYPE, answer.type},
                                                                 {"Content-Security-Policy", answer.policy},
                                                                 {"X-Content-Type-Options", "nosniff"},
                                                                 {"Referrer-Policy", "no-referrer"},
                                                                 {MHD_HTTP_HEADER_CACHE_CONTROL, "no-store"},
                                                                 {MHD_HTTP_HEADER_CONNECTION, "close"},
                                                                 {MHD_HTTP_HEADER_WWW_AUTHENTICATE, answer.authenticate}};
    for (const auto& [name, value] : headers) {
        if (!value.empty()) {
            (void)::MHD_add_response_header(response, name, value.c_str());
        }
    }
    const auto queued = ::MHD_queue_response(connection, answer.status, response);
    ::MHD_destroy_response(response);
    return queued;
}

/// Called once the headers are there. A body, which no request that is answered has, is not waited for.
MHD_Result on_request(void* server, MHD_Connection* connection, const char* url, const char* method, const char* /*version*/,
                      const char* /*data*/, std::size_t* /*size*/, void** /*state*/) {
    const auto header = [connection](const char* name) {
        return or_empty(::MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name));
    };
    HttpRequest request{or_empty(method), or_empty(url), header(MHD_HTTP_HEADER_HOST), header(MHD_HTTP_HEADER_AUTHORIZATION),
                        std::nullopt,     false};
    if (const char* const pid = ::MHD_lookup_connection_value(connection, MHD_GET_ARGUMENT_KIND, "pid")) {
        request.pid = pid;
    }
    request.hold = ::MHD_lookup_connection_value_n(connection, MHD_GET_ARGUMENT_KIND, "hold", 4, nullptr, nullptr) == MHD_YES;
    auto& self = *static_cast<Server*>(server);
    return send_response(connection, self.answer(request), self.unread_bytes());
}

void on_connection(void* server, MHD_Connection* connection, void** /*context*/, MHD_ConnectionNotificationCode what) {
    if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
        static_cast<Server*>(server)->closed(connection);
    } else if (const auto* info = ::MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)) {
        static_cast<Server*>(server)->opened(connection, info->connect_fd);
    }
}

void on_log(void* server, const char* format, va_list arguments) {
    char text[256];
    std::vsnprintf(text, sizeof(text), format, arguments);
    static_cast<Server*>(server)->said(text);
}

Result<UniqueFd> listen_on(const ListenAddress& address, unsigned backlog) {
    sockaddr_in v4{};
    v4.sin_family = AF_INET;
    v4.sin_port = htons(address.port);
    sockaddr_in6 v6{};
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(address.port);
    (void)::inet_pton(address.ipv6 ? AF_INET6 : AF_INET, address.host.c_str(),
                      address.ipv6 ? static_cast<void*>(&v6.sin6_addr) : &v4.sin_addr); // the address has been read before
    const auto* const where = address.ipv6 ? reinterpret_cast<const sockaddr*>(&v6) : reinterpret_cast<const sockaddr*>(&v4);
    const auto size = static_cast<socklen_t>(address.ipv6 ? sizeof(v6) : sizeof(v4));
    UniqueFd fd(::socket(where->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const int on = 1; // an earlier run's connections may linger
    if (!fd || ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 || ::bind(fd.get(), where, size) != 0 ||
        ::listen(fd.get(), static_cast<int>(backlog)) != 0) {
        return fail_errno("cannot listen on " + listen_address_text(address), errno);
    }
    return fd;
}

std::uint16_t bound_port(int fd) {
    sockaddr_storage address{};
    socklen_t size = sizeof(address);
    if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
        return 0;
    }
    return ntohs(address.ss_family == AF_INET6 ? reinterpret_cast<const sockaddr_in6&>(address).sin6_port
                                               : reinterpret_cast<const sockaddr_in&>(address).sin_port);
}

} // namespace

Server::Server(const ServerSettings& settings) : settings_(settings), published_ns_(monotonic_ns()) {}

Result<std::unique_ptr<Server>> Server::start(const ServerSettings& settings) {
    auto socket = listen_on(settings.address, settings.limits.connections);
    if (!socket) {
        return tl::unexpected(socket.error());
    }
    std::unique_ptr<Server> server(new Server(settings));
    server->settings_.address.port = bound_port(socket->get());
    if (auto status = server->serve(socket->get()); !status) {
        return tl::unexpected(status.error());
    }
    (void)socket->release(); // the daemon owns it now
    return server;
}

Status Server::serve(int socket) {
    const auto& limits = settings_.limits;
    const bool tls = !settings_.certificate_pem.empty();
    const auto function = [](auto* pointer) { return reinterpret_cast<std::intptr_t>(pointer); };
    const MHD_OptionItem tls_options[] = {
        {MHD_OPTION_HTTPS_MEM_CERT, 0, settings_.certificate_pem.data()},
        {MHD_OPTION_HTTPS_MEM_KEY, 0, settings_.key_pem.data()},
        {MHD_OPTION_HTTPS_PRIORITIES, 0, const_cast<char*>("NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2")},
        {MHD_OPTION_END, 0, nullptr}};
    const MHD_OptionItem none[] = {{MHD_OPTION_END, 0, nullptr}};
    const MHD_OptionItem options[] = {
        {MHD_OPTION_EXTERNAL_LOGGER, function(&on_log), this}, // first: it is used by the others
        {MHD_OPTION_LISTEN_SOCKET, socket, nullptr},
        {MHD_OPTION_THREAD_POOL_SIZE, kThreads, nullptr},
        {MHD_OPTION_CONNECTION_LIMIT, limits.connections, nullptr},
        {MHD_OPTION_CONNECTION_TIMEOUT, limits.idle_s, nullptr},
        {MHD_OPTION_CONNECTION_MEMORY_LIMIT, static_cast<std::intptr_t>(limits.request_bytes), nullptr},
        {MHD_OPTION_NOTIFY_CONNECTION, function(&on_connection), this},
        {MHD_OPTION_END, 0, nullptr}};
    const unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_ERROR_LOG | (tls ? static_cast<unsigned>(MHD_USE_TLS) : 0U);
    const SignalGuard guard; // inherited by the threads
    daemon_ = ::MHD_start_daemon(flags, 0, nullptr, nullptr, &on_request, this, MHD_OPTION_ARRAY, options, MHD_OPTION_ARRAY,
                                 tls ? tls_options : none, MHD_OPTION_END);
    const std::lock_guard lock(said_mutex_);
    if (daemon_ == nullptr) {
        return fail("cannot serve on " + listen_address_text(settings_.address) +
                    (tls ? " with that certificate and key: " : ": ") +
                    (said_.empty() ? "libmicrohttpd does not say why" : said_.substr(0, said_.find('\n'))));
    }
    started_ = true;
    return {};
}

Server::~Server() {
    if (daemon_ != nullptr) {
        ::MHD_stop_daemon(daemon_);
    }
}

void Server::publish(Publication publication) {
    auto next = std::make_shared<const Publication>(std::move(publication));
    const std::lock_guard lock(current_mutex_);
    current_.swap(next); // the old one goes after the lock, unless somebody reads it
    published_ns_ = monotonic_ns();
}

void Server::set_interval(double interval_s, double healthy_s) {
    const std::lock_guard lock(current_mutex_);
    settings_.rules.interval_s = interval_s;
    settings_.rules.healthy_s = healthy_s;
}

HttpResponse Server::answer(const HttpRequest& request) {
    std::shared_ptr<const Publication> current;
    std::uint64_t published_ns = 0;
    ServeRules rules;
    {
        const std::lock_guard lock(current_mutex_);
        rules = settings_.rules;
        current = current_;
        published_ns = published_ns_;
    }
    if (unread_bytes_ > settings_.limits.unread_bytes) {
        HttpResponse busy;
        busy.status = 503;
        busy.body = "busy: clients have not read what they asked for\n";
        return busy;
    }
    const auto age_ns = monotonic_ns() - published_ns;
    return respond(request, rules, current.get(), static_cast<double>(age_ns) / static_cast<double>(kNanosPerSecond));
}

void Server::opened(MHD_Connection* connection, int fd) {
    const std::lock_guard lock(connections_mutex_);
    connections_[connection] = {fd, monotonic_ns()};
}

void Server::closed(MHD_Connection* connection) {
    const std::lock_guard lock(connections_mutex_);
    connections_.erase(connection);
}

void Server::end_old_connections() {
    const auto now = monotonic_ns();
    const std::lock_guard lock(connections_mutex_);
    for (const auto& [connection, opened] : connections_) {
        if (now - opened.since_ns > settings_.limits.longest_ns) {
            (void)::shutdown(opened.fd, SHUT_RDWR); // its thread sees the end and closes it
        }
    }
}

void Server::said(const char* text) {
    const std::lock_guard lock(said_mutex_);
    if (!started_ && said_.size() < 1024) {
        said_ += text;
    }
}

std::string Server::url() const {
    return (settings_.certificate_pem.empty() ? "http://" : "https://") + listen_address_text(settings_.address) + "/";
}

} // namespace memtrace
