// An address and port to listen on, as people write it.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.hpp"

namespace memtrace {

struct ListenAddress {
    std::string host = "127.0.0.1"; ///< an IPv4 or IPv6 address, without brackets
    std::uint16_t port = 0;         ///< 0: the kernel chooses one
    bool ipv6 = false;
    bool loopback = true; ///< only reachable from this machine
};

/// "127.0.0.1:9464", "[::1]:9464", "localhost:9464" (which is 127.0.0.1). Names are not looked up.
Result<ListenAddress> parse_listen_address(const std::string& text);

/// "127.0.0.1:9464", "[::1]:9464".
std::string listen_address_text(const ListenAddress& address);

} // namespace memtrace
