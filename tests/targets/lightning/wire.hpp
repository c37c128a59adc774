// Buffered reading from, and whole writing to, a connected socket; used by both ends. Not thread-safe. Does not own the socket.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>

namespace lightning {

enum class ReadLine { line, too_long, closed };

class Wire {
public:
    explicit Wire(int fd) : fd_(fd) {}

    /// The next line without its newline. A line of more than `limit` bytes is read to its end and thrown away.
    ReadLine read_line(std::string& line, std::size_t limit);
    /// Exactly `count` bytes; false if the connection ended, failed or timed out before. A null `out` throws them away.
    bool read_exactly(char* out, std::size_t count);
    bool write_all(std::string_view bytes) const;
    /// Nothing read and not used yet: the peer waits for us, not we for it.
    [[nodiscard]] bool drained() const { return begin_ == end_; }

private:
    bool fill();

    int fd_;
    std::size_t begin_ = 0;
    std::size_t end_ = 0;
    std::array<char, 4096> buffer_{};
};

} // namespace lightning
