#include "unwind/dwarf_reader.hpp"

#include <cstring>

namespace memtrace {

std::uint64_t DwarfReader::fixed(std::size_t size) {
    std::uint64_t value = 0;
    if (size > sizeof(value) || all_.size() - at_ < size) {
        failed_ = true;
        at_ = all_.size();
        return 0;
    }
    std::memcpy(&value, all_.data() + at_, size);
    at_ += size;
    return value;
}

std::uint64_t DwarfReader::uleb() {
    std::uint64_t value = 0;
    for (unsigned shift = 0;; shift += 7) {
        const auto byte = fixed(1);
        if (failed_) {
            return 0;
        }
        value |= shift < 64 ? (byte & 0x7f) << shift : 0;
        if ((byte & 0x80) == 0) {
            return value;
        }
    }
}

std::int64_t DwarfReader::sleb() {
    std::uint64_t value = 0;
    for (unsigned shift = 0;;) {
        const auto byte = fixed(1);
        if (failed_) {
            return 0;
        }
        value |= shift < 64 ? (byte & 0x7f) << shift : 0;
        shift += 7;
        if ((byte & 0x80) == 0) {
            if (shift < 64 && (byte & 0x40) != 0) {
                value |= ~std::uint64_t{0} << shift;
            }
            return static_cast<std::int64_t>(value);
        }
    }
}

std::string_view DwarfReader::bytes(std::uint64_t count) {
    if (all_.size() - at_ < count) {
        failed_ = true;
        at_ = all_.size();
        return {};
    }
    const auto view = all_.substr(at_, count);
    at_ += count;
    return view;
}

std::string_view DwarfReader::string() {
    const auto end = all_.find('\0', at_);
    if (end == std::string_view::npos) {
        failed_ = true;
        at_ = all_.size();
        return {};
    }
    const auto view = all_.substr(at_, end - at_);
    at_ = end + 1;
    return view;
}

std::uint64_t read_pointer(DwarfReader& reader, std::uint8_t encoding, std::uint64_t address) {
    const auto place = address + reader.position();
    std::uint64_t value = 0;
    switch (encoding & 0x0f) {
    case 0x00: // absolute
    case 0x04: // 8 bytes
    case 0x0c:
        value = reader.fixed(8);
        break;
    case 0x01:
        value = reader.uleb();
        break;
    case 0x02:
        value = reader.fixed(2);
        break;
    case 0x03:
        value = reader.fixed(4);
        break;
    case 0x09:
        value = static_cast<std::uint64_t>(reader.sleb());
        break;
    case 0x0a:
        value = static_cast<std::uint64_t>(static_cast<std::int16_t>(reader.fixed(2)));
        break;
    case 0x0b:
        value = static_cast<std::uint64_t>(static_cast<std::int32_t>(reader.fixed(4)));
        break;
    default:
        reader.fixed(~std::size_t{0});
        return 0;
    }
    switch (encoding & 0xf0) {
    case 0x00:
        return value;
    case 0x10: // relative to its own place
        return value + place;
    default:
        reader.fixed(~std::size_t{0});
        return 0;
    }
}

} // namespace memtrace
