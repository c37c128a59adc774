#include "base/listen_address.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <charconv>

namespace memtrace {

namespace {

bool is_loopback(const in_addr& address) {
    return ntohl(address.s_addr) >> 24 == 127;
}

/// Whether `host` is an address: then says of which kind.
bool read_host(const std::string& host, bool bracketed, ListenAddress& out) {
    in_addr v4{};
    in6_addr v6{};
    if (!bracketed && ::inet_pton(AF_INET, host.c_str(), &v4) == 1) {
        out.loopback = is_loopback(v4);
        return true;
    }
    if (bracketed && ::inet_pton(AF_INET6, host.c_str(), &v6) == 1) {
        out.ipv6 = true;
        out.loopback = IN6_IS_ADDR_LOOPBACK(&v6);
        return true;
    }
    return false;
}

} // namespace

Result<ListenAddress> parse_listen_address(const std::string& text) {
    ListenAddress out;
    const auto colon = text.rfind(':');
    const auto bad = [&text] {
        return fail("\"" + text + "\" is no address and port to listen on: write 127.0.0.1:9464 or [::1]:9464");
    };
    if (colon == std::string::npos) {
        return bad();
    }
    const auto [end, error] = std::from_chars(text.data() + colon + 1, text.data() + text.size(), out.port);
    if (error != std::errc() || end != text.data() + text.size()) {
        return bad();
    }
    std::string host = text.substr(0, colon);
    if (host == "localhost") {
        host = "127.0.0.1";
    }
    const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
    out.host = bracketed ? host.substr(1, host.size() - 2) : host;
    return read_host(out.host, bracketed, out) ? Result<ListenAddress>(out) : bad();
}

std::string listen_address_text(const ListenAddress& address) {
    return (address.ipv6 ? "[" + address.host + "]" : address.host) + ":" + std::to_string(address.port);
}

} // namespace memtrace
