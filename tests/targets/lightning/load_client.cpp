#include "load_client.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>

namespace lightning {
namespace {

constexpr std::size_t kMaxAnswerLine = 4096;
constexpr timeval kAnswerTimeout = {.tv_sec = 10, .tv_usec = 0};

/// A value tells which key it belongs to, so that a mix-up shows.
std::string value_of(const std::string& key, std::size_t bytes) {
    std::string value = key + ":";
    value.resize(std::max(bytes, value.size()), '.');
    return value;
}

std::optional<std::size_t> number(std::string_view text) {
    std::size_t value = 0;
    const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc{} && stop == text.data() + text.size() ? std::optional(value) : std::nullopt;
}

bool dial(int fd, const void* address, socklen_t bytes) {
    return ::connect(fd, static_cast<const sockaddr*>(address), bytes) == 0;
}

bool dial(int fd, const Address& to) {
    if (to.socket.empty()) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        address.sin_port = htons(to.port);
        const int yes = 1;
        ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        return dial(fd, &address, sizeof address);
    }
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    to.socket.copy(address.sun_path, sizeof address.sun_path - 1);
    return dial(fd, &address, sizeof address);
}

} // namespace

memtrace::Result<Client> Client::connect(const Address& address) {
    memtrace::UniqueFd fd(::socket(address.socket.empty() ? AF_INET : AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    for (const int way : {SO_RCVTIMEO, SO_SNDTIMEO}) {
        ::setsockopt(fd.get(), SOL_SOCKET, way, &kAnswerTimeout, sizeof kAnswerTimeout);
    }
    if (!dial(fd.get(), address)) {
        return memtrace::fail_errno("cannot connect", errno);
    }
    return Client(std::move(fd));
}

Outcome Client::send_and_read(std::string_view request) {
    if (!wire_.write_all(request) || wire_.read_line(line_, kMaxAnswerLine) != ReadLine::line) {
        return Outcome::gone;
    }
    return line_.starts_with("ERR ") ? Outcome::rejected : Outcome::fine;
}

Outcome Client::expect(std::string_view request, std::string_view answer) {
    const auto outcome = send_and_read(request);
    return outcome == Outcome::fine && line_ != answer ? Outcome::wrong : outcome;
}

Outcome Client::put(const std::string& key, std::size_t value_bytes) {
    const auto value = value_of(key, value_bytes);
    return expect("PUT " + key + " " + std::to_string(value.size()) + "\n" + value + "\n", "OK");
}

Outcome Client::get(const std::string& key) {
    const auto outcome = send_and_read("GET " + key + "\n");
    if (outcome != Outcome::fine || line_ == "NOTFOUND") {
        return outcome;
    }
    const auto bytes = line_.starts_with("VALUE ") ? number(std::string_view(line_).substr(6)) : std::nullopt;
    if (!bytes) {
        return Outcome::wrong;
    }
    std::string value(*bytes + 1, '\0');
    if (!wire_.read_exactly(value.data(), value.size())) {
        return Outcome::gone;
    }
    return value == value_of(key, *bytes) + "\n" ? Outcome::fine : Outcome::wrong;
}

Outcome Client::remove(const std::string& key) {
    return expect("DEL " + key + "\n", "OK");
}

Outcome Client::next_batch(const std::string& cursor, bool& done) {
    const auto outcome = send_and_read("SCAN NEXT " + cursor + " 100\n");
    if (outcome != Outcome::fine) {
        return outcome;
    }
    // ROWS COUNT BYTES done|more
    const auto last = line_.rfind(' ');
    const auto before = last == std::string::npos ? last : line_.rfind(' ', last - 1);
    if (!line_.starts_with("ROWS ") || before == std::string::npos) {
        return Outcome::wrong;
    }
    done = line_.ends_with(" done");
    const auto bytes = number(std::string_view(line_).substr(before + 1, last - before - 1));
    if (!bytes) {
        return Outcome::wrong;
    }
    return wire_.read_exactly(nullptr, *bytes) ? Outcome::fine : Outcome::gone;
}

Outcome Client::scan(const std::string& start, std::size_t buffer_bytes, unsigned batches, bool forget) {
    const auto opened = send_and_read("SCAN OPEN " + start + " " + std::to_string(buffer_bytes) + "\n");
    if (opened != Outcome::fine) {
        return opened;
    }
    if (!line_.starts_with("CURSOR ")) {
        return Outcome::wrong;
    }
    const std::string cursor = line_.substr(7);
    bool done = false;
    for (unsigned i = 0; i < batches && !done; ++i) {
        if (const auto outcome = next_batch(cursor, done); outcome != Outcome::fine) {
            return outcome;
        }
    }
    return forget ? Outcome::fine : expect("SCAN CLOSE " + cursor + "\n", "OK");
}

Outcome Client::bad(unsigned kind, std::size_t value_bytes) {
    const std::string value(value_bytes, 'x');
    const std::array requests = {
        "PUT k " + std::to_string(value.size()) + "\n" + value + "x\n",                            // longer than it says
        "PUT " + std::string(300, 'k') + " " + std::to_string(value.size()) + "\n" + value + "\n", // key too long
        std::string("FROBNICATE\n"),
        std::string("SCAN NEXT 99999999 1\n"),
        std::string("GET  two-blanks\n"),
        std::string(3000, 'z') + "\n",
    };
    const auto outcome = send_and_read(requests[kind % requests.size()]);
    return outcome == Outcome::fine ? Outcome::wrong : outcome;
}

} // namespace lightning
