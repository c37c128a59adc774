#include "unwind/frame_section.hpp"

#include <algorithm>
#include <optional>
#include <unordered_map>

namespace memtrace {

namespace {

/// One entry of the section, common or a function's.
struct Entry {
    std::size_t id_at = 0; ///< offset of the field that says which of the two
    std::uint64_t id = 0;
    bool is_64bit = false;
    std::size_t body = 0; ///< offset behind that field
    std::size_t end = 0;
};

class Reader {
public:
    explicit Reader(const FrameSection& section) : section_(section) {}

    FrameFunctions read() {
        std::size_t at = 0;
        while (const auto entry = entry_at(at)) {
            at = entry->end;
            if (!is_common(*entry)) {
                read_function(*entry);
            }
        }
        auto& functions = out_.functions;
        std::stable_sort(functions.begin(), functions.end(), [](const auto& a, const auto& b) { return a.begin < b.begin; });
        return std::move(out_);
    }

private:
    /// Nothing: the end, by its mark, by the section's size, or because it makes no sense.
    [[nodiscard]] std::optional<Entry> entry_at(std::size_t at) const {
        if (at >= section_.bytes.size()) {
            return std::nullopt;
        }
        DwarfReader reader(section_.bytes.substr(at));
        Entry entry;
        auto size = reader.fixed(4);
        entry.is_64bit = size == 0xffffffff;
        if (entry.is_64bit) {
            size = reader.fixed(8);
        }
        entry.id_at = at + reader.position();
        const std::size_t id_size = entry.is_64bit && section_.is_debug_frame ? 8 : 4;
        if (reader.failed() || size < id_size || size > section_.bytes.size() - entry.id_at) {
            return std::nullopt;
        }
        entry.id = reader.fixed(id_size);
        entry.body = at + reader.position();
        entry.end = entry.id_at + size;
        return entry;
    }

    [[nodiscard]] bool is_common(const Entry& entry) const {
        if (!section_.is_debug_frame) {
            return entry.id == 0;
        }
        return entry.id == (entry.is_64bit ? ~std::uint64_t{0} : 0xffffffff);
    }

    /// The index of the common entry at `offset`; nothing where there is none that can be used.
    std::optional<std::uint32_t> common_at(std::uint64_t offset) {
        if (offset == last_offset_) {
            return last_common_;
        }
        const auto known = known_.find(offset);
        auto index = known == known_.end() ? std::nullopt : known->second;
        if (known == known_.end()) {
            const auto entry = offset < section_.bytes.size() ? entry_at(offset) : std::nullopt;
            if (entry && is_common(*entry)) {
                if (const auto common = read_common(*entry)) {
                    index = static_cast<std::uint32_t>(out_.common.size());
                    out_.common.push_back(*common);
                }
            }
            known_.emplace(offset, index);
        }
        last_offset_ = offset;
        last_common_ = index;
        return index;
    }

    std::optional<CommonEntry> read_common(const Entry& entry) {
        DwarfReader reader(section_.bytes.substr(0, entry.end));
        reader.bytes(entry.body);
        CommonEntry common;
        const auto version = reader.fixed(1);
        const auto augmentation = reader.string();
        if (version == 4 && (reader.fixed(1) != 8 || reader.fixed(1) != 0)) { // address and segment selector size
            return std::nullopt;
        }
        common.code_align = reader.uleb();
        common.data_align = reader.sleb();
        const auto return_address = version == 1 ? reader.fixed(1) : reader.uleb();
        if (reader.failed() || version == 0 || version > 4 || return_address != MT_DWARF_RA ||
            !read_augmentation(reader, augmentation, common)) {
            return std::nullopt;
        }
        const auto at = reader.position();
        const CfaProgram program{section_.bytes.substr(at, entry.end - at), section_.address + at, 0};
        bool fine = true;
        CfaState state;
        run_cfa_program(common, program, {}, [&](std::uint64_t, const CfaState* now) {
            fine = now != nullptr;
            state = now != nullptr ? *now : CfaState{};
        });
        common.initial = state;
        return fine ? std::optional(common) : std::nullopt;
    }

    bool read_augmentation(DwarfReader& reader, std::string_view augmentation, CommonEntry& common) const {
        if (augmentation.empty()) {
            return true;
        }
        if (augmentation.front() != 'z') {
            return false;
        }
        common.has_augmentation = true;
        const auto size = reader.uleb();
        const auto end = reader.position() + size;
        for (const char letter : augmentation.substr(1)) {
            if (letter == 'R') {
                common.pointer_encoding = static_cast<std::uint8_t>(reader.fixed(1));
            } else if (letter == 'P') {
                const auto encoding = static_cast<std::uint8_t>(reader.fixed(1));
                read_pointer(reader, encoding & 0x0f, section_.address); // only how long it is matters
            } else if (letter == 'L') {
                reader.fixed(1);
            } else if (letter == 'S') {
                common.is_signal = true;
            } else if (letter != 'B') {
                break; // its size says where it ends
            }
        }
        if (reader.failed() || reader.position() > end) {
            return false;
        }
        reader.bytes(end - reader.position());
        return !reader.failed();
    }

    void read_function(const Entry& entry) {
        const auto common_offset = section_.is_debug_frame ? entry.id : entry.id_at - entry.id;
        if (!section_.is_debug_frame && entry.id > entry.id_at) {
            return;
        }
        const auto index = common_at(common_offset);
        if (!index) {
            return;
        }
        const auto& common = out_.common[*index];
        DwarfReader reader(section_.bytes.substr(0, entry.end));
        reader.bytes(entry.body);
        FunctionEntry function;
        function.begin = read_pointer(reader, common.pointer_encoding, section_.address);
        const auto size = read_pointer(reader, common.pointer_encoding & 0x0f, section_.address);
        if (common.has_augmentation) {
            reader.bytes(reader.uleb());
        }
        function.end = function.begin + size;
        // Functions that the linker has dropped are at address 0, or where else no code is.
        if (reader.failed() || size == 0 || function.end < function.begin || function.begin == 0 ||
            function.begin < section_.code_begin || function.end > section_.code_end) {
            return;
        }
        function.common = *index;
        function.program = static_cast<std::uint32_t>(reader.position());
        function.program_size = static_cast<std::uint32_t>(entry.end - reader.position());
        out_.functions.push_back(function);
    }

    const FrameSection& section_;
    FrameFunctions out_;
    std::unordered_map<std::uint64_t, std::optional<std::uint32_t>> known_;
    std::uint64_t last_offset_ = ~std::uint64_t{0};
    std::optional<std::uint32_t> last_common_;
};

} // namespace

FrameFunctions read_frame_section(const FrameSection& section) {
    return Reader(section).read();
}

} // namespace memtrace
