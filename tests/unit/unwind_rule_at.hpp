// The rule that a table has for an address, read as the layout says and not as the kernel half does: row by row.
#pragma once

#include <cstdint>
#include <cstring>

#include "unwind/table.hpp"

namespace memtrace {

inline mt_unwind_rule rule_at(const UnwindTable& table, std::uint64_t address) {
    const auto& header = table.header();
    const auto* words = table.words().data();
    std::uint32_t number = 0;
    std::uint32_t bucket = 0;
    for (std::uint32_t row = 0; row < header.rows; ++row) {
        while (words[header.index_at + bucket + 1] <= row) {
            ++bucket;
        }
        if (table.first() + bucket * 256 + (words[header.rows_at + row] & MT_ROW_OFFSET_MASK) > address) {
            break;
        }
        number = words[header.rows_at + row] >> MT_ROW_RULE_SHIFT;
    }
    mt_unwind_rule rule;
    std::memcpy(&rule, words + header.rules_at + number * MT_RULE_WORDS, sizeof(rule));
    return rule;
}

} // namespace memtrace
