// Numbers, strings and pointers as DWARF writes them. Foreign bytes.
#pragma once

#include <cstdint>
#include <string_view>

namespace memtrace {

/// Bounds-checked reads of DWARF's numbers. A read past the end sets failed() and yields zero.
class DwarfReader {
public:
    explicit DwarfReader(std::string_view bytes) : all_(bytes) {}

    [[nodiscard]] bool failed() const { return failed_; }
    [[nodiscard]] bool at_end() const { return at_ >= all_.size(); }
    [[nodiscard]] std::size_t position() const { return at_; }
    std::uint64_t fixed(std::size_t size); ///< 1, 2, 4 or 8 bytes
    std::uint64_t uleb();
    std::int64_t sleb();
    std::string_view bytes(std::uint64_t count);
    std::string_view string(); ///< up to a zero byte, which is passed over

private:
    std::string_view all_;
    std::size_t at_ = 0;
    bool failed_ = false;
};

/// How pointers are written: DW_EH_PE_*.
constexpr std::uint8_t kPointerAbsolute = 0x00;
constexpr std::uint8_t kPointerOmitted = 0xff;

/// A pointer in the `encoding`; `address` is that of the reader's first byte, for those relative to their own place. Sets failed()
/// through an impossible read where the encoding is not supported.
std::uint64_t read_pointer(DwarfReader& reader, std::uint8_t encoding, std::uint64_t address);

} // namespace memtrace
