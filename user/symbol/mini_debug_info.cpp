#include "symbol/mini_debug_info.hpp"

#include <lzma.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "proc/elf_handle.hpp"

namespace memtrace {
namespace {

// The largest programs have some ten megabytes of symbols. xz -9 takes 65 MiB to unpack whatever it was given.
constexpr std::size_t kMaxUnpacked = std::size_t{128} << 20;
constexpr std::uint64_t kMaxDecoder = std::uint64_t{96} << 20;
constexpr std::size_t kChunk = std::size_t{1} << 18;

/// The bytes of .gnu_debugdata, in libelf's memory; empty where there are none.
std::string_view packed_bytes(Elf* elf) {
    GElf_Shdr header;
    Elf_Scn* const section =
        find_section(elf, ".gnu_debugdata", header, [](const GElf_Shdr& found) { return found.sh_type == SHT_PROGBITS; });
    const Elf_Data* data = section != nullptr ? elf_rawdata(section, nullptr) : nullptr;
    return data != nullptr && data->d_buf != nullptr ? std::string_view(static_cast<const char*>(data->d_buf), data->d_size)
                                                     : std::string_view();
}

/// One .xz stream, whole; nothing where it is damaged or goes beyond the limits.
std::optional<std::string> unpack(std::string_view packed) {
    lzma_stream stream = LZMA_STREAM_INIT;
    if (lzma_stream_decoder(&stream, kMaxDecoder, 0) != LZMA_OK) {
        return std::nullopt;
    }
    std::string out;
    std::string chunk(kChunk, '\0');
    stream.next_in = reinterpret_cast<const std::uint8_t*>(packed.data());
    stream.avail_in = packed.size();
    lzma_ret state = LZMA_OK;
    while (state == LZMA_OK && out.size() <= kMaxUnpacked) {
        stream.next_out = reinterpret_cast<std::uint8_t*>(chunk.data());
        stream.avail_out = chunk.size();
        state = lzma_code(&stream, LZMA_FINISH);
        out.append(chunk, 0, chunk.size() - stream.avail_out);
    }
    lzma_end(&stream);
    return state == LZMA_STREAM_END && out.size() <= kMaxUnpacked ? std::optional(std::move(out)) : std::nullopt;
}

} // namespace

std::unique_ptr<ElfImage> open_mini_debug_info(const ElfImage& main) {
    const auto packed = packed_bytes(main.elf());
    auto bytes = packed.empty() ? std::nullopt : unpack(packed);
    return bytes ? ElfImage::open_memory(std::move(*bytes)) : nullptr;
}

} // namespace memtrace
