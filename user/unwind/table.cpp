#include "unwind/table.hpp"

#include <algorithm>
#include <cstring>

namespace memtrace {

namespace {

constexpr std::uint32_t kBucketBytes = 1u << MT_BUCKET_SHIFT;

std::uint32_t whole_blocks(std::uint64_t words) {
    return static_cast<std::uint32_t>((words + MT_BLOCK_WORDS - 1) / MT_BLOCK_WORDS * MT_BLOCK_WORDS);
}

/// Where everything lies, given how much there is of it.
mt_unwind_header lay_out(std::uint32_t size, std::uint32_t rows, std::uint32_t rules) {
    mt_unwind_header header{};
    header.magic = MT_UNWIND_MAGIC;
    header.size = size;
    header.buckets = (size + kBucketBytes - 1) / kBucketBytes;
    header.rows = rows;
    header.rules = rules;
    header.rules_at = MT_BLOCK_WORDS;
    header.index_at = header.rules_at + whole_blocks(std::uint64_t{rules} * MT_RULE_WORDS);
    header.rows_at = header.index_at + whole_blocks(std::uint64_t{header.buckets} + 1);
    header.words = header.rows_at + whole_blocks(rows);
    return header;
}

/// Rows of one bucket must ascend, and refer to rules that are there.
bool rows_make_sense(const mt_unwind_header& header, const std::uint32_t* words) {
    const auto* index = words + header.index_at;
    const auto* rows = words + header.rows_at;
    if (index[0] != 0 || index[header.buckets] != header.rows || (rows[0] & MT_ROW_OFFSET_MASK) != 0 || index[1] == 0) {
        return false;
    }
    for (std::uint32_t bucket = 0; bucket < header.buckets; ++bucket) {
        if (index[bucket + 1] < index[bucket] || index[bucket + 1] > header.rows ||
            index[bucket + 1] - index[bucket] > kBucketBytes) {
            return false;
        }
        for (std::uint32_t row = index[bucket]; row < index[bucket + 1]; ++row) {
            const bool ascends = row == index[bucket] || (rows[row] & MT_ROW_OFFSET_MASK) > (rows[row - 1] & MT_ROW_OFFSET_MASK);
            if (!ascends || rows[row] >> MT_ROW_RULE_SHIFT >= header.rules) {
                return false;
            }
        }
    }
    return true;
}

bool rules_make_sense(const mt_unwind_header& header, const std::uint32_t* words) {
    for (std::uint32_t i = 0; i < header.rules; ++i) {
        mt_unwind_rule rule;
        std::memcpy(&rule, words + header.rules_at + std::size_t{i} * MT_RULE_WORDS, sizeof(rule));
        if (rule.cfa > MT_CFA_UNSUPPORTED || rule.base >= MT_DWARF_RA || rule.bp > MT_SAVED_LOST || rule.bx > MT_SAVED_LOST ||
            (i == 0) != (rule.cfa == MT_CFA_NONE)) {
            return false;
        }
    }
    return true;
}

} // namespace

const mt_unwind_header& UnwindTable::header() const {
    return *reinterpret_cast<const mt_unwind_header*>(words_.data());
}

std::optional<UnwindTable> UnwindTable::from_words(std::uint64_t first, std::vector<std::uint32_t> words) {
    mt_unwind_header header;
    if (words.size() < MT_BLOCK_WORDS) {
        return std::nullopt;
    }
    std::memcpy(&header, words.data(), sizeof(header));
    if (header.magic != MT_UNWIND_MAGIC || header.size == 0 || header.size > MT_MAX_CODE_BYTES || header.rows == 0 ||
        header.rows > header.size || header.rules == 0 || header.rules > MT_MAX_RULES) {
        return std::nullopt;
    }
    const auto expected = lay_out(header.size, header.rows, header.rules);
    if (std::memcmp(&header, &expected, sizeof(header)) != 0 || words.size() != header.words ||
        !rows_make_sense(header, words.data()) || !rules_make_sense(header, words.data())) {
        return std::nullopt;
    }
    return UnwindTable(first, std::move(words));
}

// ---- building -----------------------------------------------------------------------------------------------------------------

std::size_t TableBuilder::RuleHash::operator()(const mt_unwind_rule& rule) const noexcept {
    std::uint64_t halves[2];
    std::memcpy(halves, &rule, sizeof(halves));
    std::uint64_t hash = halves[0] * 0x9fb21c651e98df25ull ^ halves[1];
    hash *= 0x9fb21c651e98df25ull;
    return hash ^ hash >> 32;
}
bool TableBuilder::RuleEqual::operator()(const mt_unwind_rule& a, const mt_unwind_rule& b) const noexcept {
    return std::memcmp(&a, &b, sizeof(a)) == 0;
}

TableBuilder::TableBuilder(std::uint64_t first) : first_(first) {
    number_of({}); // MT_CFA_NONE is number 0
    rows_.push_back({0, 0});
}

std::uint32_t TableBuilder::number_of(const mt_unwind_rule& rule) {
    const auto [entry, fresh] = numbers_.try_emplace(rule, static_cast<std::uint32_t>(rules_.size()));
    if (fresh) {
        rules_.push_back(rule);
    }
    return entry->second;
}

void TableBuilder::add(std::uint64_t address, const mt_unwind_rule& rule) {
    const auto offset = address - first_;
    if (address < first_ || offset > MT_MAX_CODE_BYTES || offset < rows_.back().offset) {
        return;
    }
    const auto number = number_of(rule);
    if (offset == rows_.back().offset) {
        rows_.back().rule = number;
        if (rows_.size() >= 2 && rows_[rows_.size() - 2].rule == number) {
            rows_.pop_back();
        }
    } else if (rows_.back().rule != number) {
        rows_.push_back({static_cast<std::uint32_t>(offset), number});
    }
}

std::optional<UnwindTable> TableBuilder::finish(std::uint64_t end) {
    const auto size = end - first_;
    if (rules_.size() < 2 || rules_.size() > MT_MAX_RULES || size == 0 || size > MT_MAX_CODE_BYTES) {
        return std::nullopt;
    }
    while (rows_.back().offset >= size) {
        rows_.pop_back();
    }
    const auto header = lay_out(static_cast<std::uint32_t>(size), static_cast<std::uint32_t>(rows_.size()),
                                static_cast<std::uint32_t>(rules_.size()));
    std::vector<std::uint32_t> words(header.words);
    std::memcpy(words.data(), &header, sizeof(header));
    std::memcpy(words.data() + header.rules_at, rules_.data(), rules_.size() * sizeof(mt_unwind_rule));
    std::uint32_t row = 0;
    for (std::uint32_t bucket = 0; bucket <= header.buckets; ++bucket) {
        for (; row < rows_.size() && rows_[row].offset >> MT_BUCKET_SHIFT < bucket; ++row) {
            words[header.rows_at + row] = (rows_[row].offset & MT_ROW_OFFSET_MASK) | rows_[row].rule << MT_ROW_RULE_SHIFT;
        }
        words[header.index_at + bucket] = row;
    }
    return UnwindTable(first_, std::move(words));
}

namespace {

/// Code that is described by one function's entry.
struct Piece {
    std::uint64_t begin;
    std::uint64_t end;
    const FunctionEntry* function;
    const CommonEntry* common;
    const FrameSection* section;
};

/// Sorted and disjoint: where two functions describe the same code, the one that begins later does.
std::vector<Piece> pieces_of(const FrameSection& section, const FrameFunctions& found) {
    std::vector<Piece> pieces;
    for (std::size_t i = 0; i < found.functions.size(); ++i) {
        const auto& function = found.functions[i];
        const auto end = i + 1 < found.functions.size() ? std::min(function.end, found.functions[i + 1].begin) : function.end;
        if (function.begin < end) {
            pieces.push_back({function.begin, end, &function, &found.common[function.common], &section});
        }
    }
    return pieces;
}

/// Adds to `pieces` what `more` says of code between them.
void fill_gaps(std::vector<Piece>& pieces, const std::vector<Piece>& more) {
    std::vector<Piece> fresh;
    auto next = pieces.begin();
    for (auto piece : more) {
        while (next != pieces.end() && next->end <= piece.begin) {
            ++next;
        }
        const auto end = piece.end;
        for (auto taken = next; piece.begin < end; ++taken) {
            const bool free = taken == pieces.end() || taken->begin >= end;
            piece.end = free ? end : taken->begin;
            if (piece.begin < piece.end) {
                fresh.push_back(piece);
            }
            piece.begin = free ? end : taken->end;
        }
    }
    const auto middle = static_cast<std::ptrdiff_t>(pieces.size());
    pieces.insert(pieces.end(), fresh.begin(), fresh.end());
    std::inplace_merge(pieces.begin(), pieces.begin() + middle, pieces.end(),
                       [](const Piece& a, const Piece& b) { return a.begin < b.begin; });
}

/// The rules of a piece; none behind it.
void add_rules(const Piece& piece, TableBuilder& builder) {
    const auto& function = *piece.function;
    const CfaProgram program{piece.section->bytes.substr(function.program, function.program_size),
                             piece.section->address + function.program, function.begin};
    run_cfa_program(*piece.common, program, piece.common->initial, [&](std::uint64_t address, const CfaState* state) {
        if (address < piece.end) {
            mt_unwind_rule unsupported{};
            unsupported.cfa = MT_CFA_UNSUPPORTED;
            builder.add(std::max(address, piece.begin),
                        state != nullptr ? encode_rule(*state, piece.common->is_signal) : unsupported);
        }
    });
    builder.add(piece.end, {});
}

} // namespace

std::optional<UnwindTable> build_table(const FrameSection& section, const FrameSection& more) {
    const auto found = read_frame_section(section);
    const auto found_more = read_frame_section(more);
    auto pieces = pieces_of(section, found);
    fill_gaps(pieces, pieces_of(more, found_more));
    if (pieces.empty()) {
        return std::nullopt;
    }
    const auto first = pieces.front().begin & ~std::uint64_t{kBucketBytes - 1};
    TableBuilder builder(first);
    std::uint64_t end = first;
    for (const auto& piece : pieces) {
        add_rules(piece, builder);
        if (piece.end - first <= MT_MAX_CODE_BYTES) {
            end = piece.end;
        }
    }
    return builder.finish(end);
}

} // namespace memtrace
