// Writes .eh_frame byte by byte, for tests.
#pragma once

#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <string>
#include <vector>

namespace memtrace {

using Bytes = std::vector<int>;

class FrameSectionBuilder {
public:
    static constexpr std::uint64_t kAddress = 0x10000; ///< of the section

    /// Augmentation "zR" (and what `more` adds), pc-relative 4-byte pointers; returns its offset.
    std::size_t common(const Bytes& program = {0x0c, 7, 8, 0x90, 1}, const std::string& more = "") {
        std::string body = std::string("\1zR") + more + '\0';
        body += {'\1', '\x78', '\x10', '\1', '\x1b'}; // code 1, data -8, register 16, one byte of augmentation, its encoding
        return entry(0, body, program);
    }
    void function(std::size_t common_offset, std::uint64_t begin, std::uint32_t size, const Bytes& program = {}) {
        const auto at = bytes_.size();
        const auto place = kAddress + at + 8;
        std::string body = number(static_cast<std::uint32_t>(begin - place)) + number(size) + '\0';
        entry(static_cast<std::uint32_t>(at + 4 - common_offset), body, program);
    }
    void raw(const std::string& bytes) { bytes_ += bytes; }
    [[nodiscard]] const std::string& bytes() const { return bytes_; }

private:
    static std::string number(std::uint32_t value) {
        std::string out(4, '\0');
        std::memcpy(out.data(), &value, sizeof(value));
        return out;
    }
    std::size_t entry(std::uint32_t id, std::string body, const Bytes& program) {
        const auto at = bytes_.size();
        for (const int byte : program) {
            body += static_cast<char>(byte);
        }
        bytes_ += number(static_cast<std::uint32_t>(body.size() + 4)) + number(id) + body;
        return at;
    }
    std::string bytes_;
};

} // namespace memtrace
