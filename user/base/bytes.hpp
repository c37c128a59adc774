// Bounds-checked little-endian reads and writes over foreign bytes. A read past the end sets failed() and yields zero: check
// failed() once after a group of reads.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>

namespace memtrace {

class ByteReader {
public:
    explicit ByteReader(std::string_view bytes) : rest_(bytes) {}

    template <typename T>
        requires std::is_integral_v<T> || std::is_floating_point_v<T>
    T read() {
        T value{};
        if (rest_.size() < sizeof(T)) {
            failed_ = true;
            rest_ = {};
            return value;
        }
        std::memcpy(&value, rest_.data(), sizeof(T));
        rest_.remove_prefix(sizeof(T));
        return value;
    }

    /// A string written by ByteWriter::string: u32 length, bytes. The view points into the input.
    std::string_view string() { return bytes(read<std::uint32_t>()); }

    std::string_view bytes(std::size_t count) {
        if (rest_.size() < count) {
            failed_ = true;
            rest_ = {};
            return {};
        }
        auto view = rest_.substr(0, count);
        rest_.remove_prefix(count);
        return view;
    }

    [[nodiscard]] bool failed() const { return failed_; }
    [[nodiscard]] std::size_t remaining() const { return rest_.size(); }

private:
    std::string_view rest_;
    bool failed_ = false;
};

class ByteWriter {
public:
    template <typename T>
        requires std::is_integral_v<T> || std::is_floating_point_v<T>
    void write(T value) {
        char raw[sizeof(T)];
        std::memcpy(raw, &value, sizeof(T));
        out_.append(raw, sizeof(T));
    }
    void string(std::string_view text) {
        write(static_cast<std::uint32_t>(text.size()));
        out_.append(text);
    }
    [[nodiscard]] const std::string& data() const { return out_; }
    void clear() { out_.clear(); }

private:
    std::string out_;
};

} // namespace memtrace
