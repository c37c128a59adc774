// The server on a socket of its own: what it answers, and what clients that do not keep to the rules cost it.
#include "serve/server.hpp"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <chrono>
#include <functional>
#include <thread>

#include "base/fd.hpp"
#include "tests/unit/report_sample.hpp"

namespace memtrace {
namespace {

constexpr auto kPatience = std::chrono::seconds(60);

bool comes_true(const std::function<bool()>& condition) {
    for (const auto end = std::chrono::steady_clock::now() + kPatience; std::chrono::steady_clock::now() < end;) {
        if (condition()) {
            return true;
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return false;
}

std::unique_ptr<Server> start(ServerLimits limits = {}, const std::string& address = "127.0.0.1:0") {
    ServerSettings settings;
    settings.address = *parse_listen_address(address);
    settings.limits = limits;
    auto server = Server::start(settings);
    EXPECT_TRUE(server) << server.error().message;
    return server ? std::move(*server) : nullptr;
}

class Client {
public:
    explicit Client(const Server& server) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        const auto url = server.url();
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        address.sin_port = htons(static_cast<std::uint16_t>(std::stoi(url.substr(url.rfind(':') + 1))));
        EXPECT_EQ(::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    }
    void send(const std::string& text) const { (void)!::send(fd_.get(), text.data(), text.size(), MSG_NOSIGNAL); }
    void get(const std::string& path) const { send("GET " + path + " HTTP/1.1\r\nHost: localhost\r\n\r\n"); }
    /// All that comes until the server closes.
    [[nodiscard]] std::string read() const {
        std::string text;
        char buffer[4096];
        pollfd ready{fd_.get(), POLLIN, 0};
        while (::poll(&ready, 1, std::chrono::milliseconds(kPatience).count()) > 0) {
            const auto got = ::recv(fd_.get(), buffer, sizeof(buffer), 0);
            if (got <= 0) {
                return text;
            }
            text.append(buffer, static_cast<std::size_t>(got));
        }
        ADD_FAILURE() << "the server does not close";
        return text;
    }

private:
    UniqueFd fd_;
};

std::string answer_to(const Server& server, const std::string& request) {
    const Client client(server);
    client.send(request);
    return client.read();
}

std::string status_of(const std::string& answer) {
    return answer.substr(0, answer.find("\r\n"));
}

TEST(Server, AnswersWithWhatWasPublishedLast) {
    const auto server = start();
    const std::string ask = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
    EXPECT_FALSE(test::contains(answer_to(*server, ask), "memtrace_live_bytes{"));
    server->publish({{test::sample_report()}, {}});
    const auto answer = answer_to(*server, ask);
    EXPECT_EQ(status_of(answer), "HTTP/1.1 200 OK");
    EXPECT_TRUE(test::contains(answer, "memtrace_live_bytes{pid=\"1234\",comm=\"lightning\"} 7340032"));
    EXPECT_TRUE(test::contains(answer, "X-Content-Type-Options: nosniff"));
    server->publish({});
    EXPECT_FALSE(test::contains(answer_to(*server, ask), "memtrace_live_bytes{"));
}

TEST(Server, HeadHasNoBody) {
    const auto server = start();
    const auto answer = answer_to(*server, "HEAD /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    EXPECT_EQ(status_of(answer), "HTTP/1.1 200 OK");
    EXPECT_TRUE(answer.ends_with("\r\n\r\n"));
}

TEST(Server, BodiesOfRequestsAreNotWaitedFor) {
    const auto server = start();
    const auto answer = answer_to(*server, "POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n");
    EXPECT_EQ(status_of(answer), "HTTP/1.1 405 Method Not Allowed");
}

TEST(Server, GarbageAndEndlessHeadersAreTurnedAway) {
    const auto server = start();
    answer_to(*server, "\x16\x03\x01 no request at all\r\n\r\n");
    answer_to(*server, "GET / HTTP/1.1\r\nHost: localhost\r\nX: " + std::string(1'000'000, 'x'));
    EXPECT_EQ(status_of(answer_to(*server, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")), "HTTP/1.1 200 OK");
}

TEST(Server, ConnectionsThatLastTooLongAreEnded) {
    ServerLimits limits;
    limits.longest_ns = 1;
    limits.idle_s = 1'000;
    const auto server = start(limits);
    const Client dripping(*server);
    dripping.send("GET /metrics HTTP/1.1\r\nX: ");
    std::atomic<bool> ended = false;
    std::thread owner([&] {
        while (!ended) {
            server->end_old_connections();
            std::this_thread::sleep_for(std::chrono::milliseconds(5));
        }
    });
    EXPECT_EQ(dripping.read(), "");
    ended = true;
    owner.join();
}

TEST(Server, ClientsThatDoNotReadCannotFillTheMemory) {
    ServerLimits limits;
    limits.unread_bytes = 1 << 20;
    limits.idle_s = 1'000;
    const auto server = start(limits);
    server->publish({{test::large_report(5'000, 16)}, {}}); // more than socket buffers take
    {
        const Client lazy(*server);
        lazy.get("/api/report");
        EXPECT_TRUE(comes_true([&] { return server->unread_bytes() > limits.unread_bytes; }));
        EXPECT_EQ(status_of(answer_to(*server, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")),
                  "HTTP/1.1 503 Service Unavailable");
    }
    EXPECT_TRUE(comes_true([&] { return server->unread_bytes() == 0; }));
    EXPECT_EQ(status_of(answer_to(*server, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")), "HTTP/1.1 200 OK");
}

TEST(Server, ReadersSeeOnePublicationWhileOthersCome) {
    const auto server = start();
    auto one = test::sample_report();
    auto other = one;
    one.totals.live_bytes = one.totals.live_objects = 1;
    other.totals.live_bytes = other.totals.live_objects = 2;
    server->publish({{one}, {}});
    std::atomic<bool> stop = false;
    std::thread owner([&] {
        while (!stop) {
            server->publish({{one}, {}});
            server->publish({{other}, {}});
        }
    });
    for (int i = 0; i < 50; ++i) {
        const auto answer = answer_to(*server, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
        const bool first = test::contains(answer, "memtrace_live_bytes{pid=\"1234\",comm=\"lightning\"} 1\n");
        EXPECT_TRUE(test::contains(answer, "memtrace_live_objects{pid=\"1234\",comm=\"lightning\"} " +
                                               std::string(first ? "1\n" : "2\n")));
    }
    stop = true;
    owner.join();
}

TEST(Server, PortThatIsTakenIsAnError) {
    const auto server = start();
    ServerSettings settings;
    const auto url = server->url();
    settings.address = *parse_listen_address(url.substr(7, url.size() - 8));
    const auto second = Server::start(settings);
    ASSERT_FALSE(second);
    EXPECT_TRUE(test::contains(second.error().message, "cannot listen on 127.0.0.1:")) << second.error().message;
}

} // namespace
} // namespace memtrace
