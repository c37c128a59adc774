// One connection of the load generator: sends requests, reads and checks the answers. Not thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "wire.hpp"

namespace lightning {

/// Where the server listens.
struct Address {
    std::string socket; ///< a unix socket's path; empty: `port` on 127.0.0.1
    std::uint16_t port = 0;
};

/// What came of a request.
enum class Outcome : std::uint8_t {
    fine,
    rejected, ///< the server said ERR
    wrong,    ///< an answer that the protocol does not allow, or a value that was never put
    gone,     ///< the connection ended, failed or timed out
};

class Client {
public:
    static memtrace::Result<Client> connect(const Address& address);

    Outcome put(const std::string& key, std::size_t value_bytes);
    Outcome get(const std::string& key);
    Outcome remove(const std::string& key);
    /// A whole scan: opens, reads `batches` batches, closes unless `forget`.
    Outcome scan(const std::string& start, std::size_t buffer_bytes, unsigned batches, bool forget);
    /// A malformed request, of one of several kinds; `rejected` is what it ought to come to.
    Outcome bad(unsigned kind, std::size_t value_bytes);

private:
    explicit Client(memtrace::UniqueFd socket) : socket_(std::move(socket)), wire_(socket_.get()) {}
    Outcome send_and_read(std::string_view request);
    Outcome expect(std::string_view request, std::string_view answer);
    Outcome next_batch(const std::string& cursor, bool& done);

    memtrace::UniqueFd socket_;
    Wire wire_;
    std::string line_;
};

} // namespace lightning
