// The command by which something is posted: curl, with the body on its standard input. In a process of its own, which can be killed, no
// server can hold memtrace up, and no TLS library is in it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace memtrace {

struct HttpPost {
    std::string content_type;
    std::string header_file; ///< of more headers, such as one with a token, which is no one else's to read; empty: none
    std::uint64_t timeout_ns;
};

/// All but the URL, which comes last. An answer of 400 and above is a failure: "The requested URL returned error: 503".
std::vector<std::string> http_post_command(const HttpPost& post);

} // namespace memtrace
