// Compact unwind information of one object, in the layout that the kernel half reads: bpf/unwind_table.h has it. Made of the
// functions of a frame section; a table that comes from a file is checked before it is used. Pure functions.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <unordered_map>
#include <vector>

#include "bpf/unwind_table.h"
#include "unwind/frame_section.hpp"

namespace memtrace {

class UnwindTable {
public:
    /// Takes words as they lie in a file. Nothing where they are no table: then they would be refused, or worse, believed.
    static std::optional<UnwindTable> from_words(std::uint64_t first, std::vector<std::uint32_t> words);

    /// The address, as linked, of offset 0.
    [[nodiscard]] std::uint64_t first() const { return first_; }
    /// Bytes of code that it describes.
    [[nodiscard]] std::uint32_t size() const { return header().size; }
    [[nodiscard]] std::uint32_t rows() const { return header().rows; }
    [[nodiscard]] std::uint32_t rules() const { return header().rules; }
    [[nodiscard]] const std::vector<std::uint32_t>& words() const { return words_; }
    [[nodiscard]] const mt_unwind_header& header() const;

private:
    friend class TableBuilder;
    UnwindTable(std::uint64_t first, std::vector<std::uint32_t> words) : first_(first), words_(std::move(words)) {}
    std::uint64_t first_;
    std::vector<std::uint32_t> words_;
};

/// Takes rules in ascending order of address.
class TableBuilder {
public:
    /// `first`: the lowest address that will come.
    explicit TableBuilder(std::uint64_t first);
    /// `rule` holds from `address` on, until the next. An address again: the last time counts. Below the last one, or too far from
    /// the first: left out.
    void add(std::uint64_t address, const mt_unwind_rule& rule);
    /// `end`: of the described code. Nothing where there is no rule, or there are more than the layout has room for.
    std::optional<UnwindTable> finish(std::uint64_t end);

private:
    struct Row {
        std::uint32_t offset;
        std::uint32_t rule;
    };
    struct RuleHash {
        std::size_t operator()(const mt_unwind_rule& rule) const noexcept;
    };
    struct RuleEqual {
        bool operator()(const mt_unwind_rule& a, const mt_unwind_rule& b) const noexcept;
    };
    std::uint32_t number_of(const mt_unwind_rule& rule);

    std::uint64_t first_;
    std::vector<Row> rows_;
    std::vector<mt_unwind_rule> rules_;
    std::unordered_map<mt_unwind_rule, std::uint32_t, RuleHash, RuleEqual> numbers_;
};

/// The table of all functions in a section, and of those in `more` for code that the first does not describe; nothing where there are none.
std::optional<UnwindTable> build_table(const FrameSection& section, const FrameSection& more = {});

} // namespace memtrace
