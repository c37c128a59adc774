#include "wire.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace lightning {

bool Wire::fill() {
    ssize_t got = 0;
    do {
        got = ::recv(fd_, buffer_.data(), buffer_.size(), 0);
    } while (got < 0 && errno == EINTR);
    begin_ = 0;
    end_ = got > 0 ? static_cast<std::size_t>(got) : 0;
    return got > 0;
}

ReadLine Wire::read_line(std::string& line, std::size_t limit) {
    line.clear();
    bool too_long = false;
    while (true) {
        if (drained() && !fill()) {
            return ReadLine::closed;
        }
        const char* start = buffer_.data() + begin_;
        const auto* newline = static_cast<const char*>(std::memchr(start, '\n', end_ - begin_));
        const std::size_t count = newline != nullptr ? static_cast<std::size_t>(newline - start) : end_ - begin_;
        too_long = too_long || line.size() + count > limit;
        if (!too_long) {
            line.append(start, count);
        }
        begin_ += count + (newline != nullptr ? 1 : 0);
        if (newline != nullptr) {
            return too_long ? ReadLine::too_long : ReadLine::line;
        }
    }
}

bool Wire::read_exactly(char* out, std::size_t count) {
    while (count > 0) {
        if (drained() && !fill()) {
            return false;
        }
        const auto step = std::min(count, end_ - begin_);
        if (out != nullptr) {
            std::memcpy(out, buffer_.data() + begin_, step);
            out += step;
        }
        begin_ += step;
        count -= step;
    }
    return true;
}

bool Wire::write_all(std::string_view bytes) const {
    while (!bytes.empty()) {
        const auto put = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put <= 0) {
            return false;
        }
        bytes.remove_prefix(static_cast<std::size_t>(put));
    }
    return true;
}

} // namespace lightning
