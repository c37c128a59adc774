// .eh_frame is foreign bytes, and so are the tables made of it once they lie in a file. The first byte chooses: the rest is a section
// (.eh_frame or .debug_frame), or the words of a table, or a shard of the kernel half as it is, with rows that nobody has checked.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string_view>

#include "tests/bpf_host/unwind_native.hpp"
#include "unwind/space.hpp"
#include "unwind/table.hpp"

namespace {

using namespace memtrace;

// Not assert(): it has to hold in an optimized build.
void require(bool condition) {
    if (!condition) {
        std::abort();
    }
}

/// Memory that depends on nothing but the address: return addresses into the code, small numbers, and holes.
bool read_memory(void* to, std::uint32_t size, std::uint64_t at) {
    for (std::uint32_t i = 0; i < size; i += 8) {
        const auto word = (at + i) * 0x9fb21c651e98df25ull;
        const std::uint64_t value = word >> 60 < 10 ? 0x400000 + (word >> 32 & 0xfff) : word >> 60 < 14 ? at + 64 : word;
        if (word >> 40 == 0) {
            return false;
        }
        std::memcpy(static_cast<char*>(to) + i, &value, std::min<std::uint32_t>(8, size - i));
    }
    return true;
}

/// Walks from many places through code that `shard` describes, 4 KiB of it at 0x400000.
void walk(const std::vector<std::uint32_t>& shard, bool checked, std::uint32_t delta) {
    native::Machine machine;
    machine.read = read_memory;
    machine.shards.push_back(shard);
    const mt_unwind_range range{0x400000, 0x401000, delta, 1, 0, MT_RANGE_READY};
    machine.shards.push_back(encode_space({range}));
    native::machine = &machine;
    const auto stack = std::make_unique<mt_stack>();
    const auto again = std::make_unique<mt_stack>();
    const auto window = std::make_unique<mt_stack_window>();
    for (std::uint64_t pc = 0x400000; pc < 0x401000; pc += 509) {
        mt_cursor cursor{};
        cursor.space = 2;
        stack->address[0] = pc;
        mt_recipe recipe{};
        recipe.pc = pc;
        recipe.sp = 0x7f0000001000 + (pc << 4);
        recipe.bp = recipe.sp + 32;
        const auto hash = mt_unwind(stack.get(), &recipe, window.get(), &cursor, MT_MAX_FRAMES);
        if ((recipe.needs & MT_NEEDS_MORE) == 0) {
            mt_window_close(window.get());
            require(mt_words_alike(&recipe, window.get(), again.get()) == 1);
            require(again->depth == stack->depth && recipe.stack_hash == hash);
            require(std::equal(again->address + 1, again->address + again->depth, stack->address + 1));
        }
        require(stack->depth >= 1 && stack->depth <= MT_MAX_FRAMES);
        require(stack->certain >= 1 && stack->certain <= stack->depth);
        require(cursor.stop <= MT_UNWIND_DEEP && cursor.stop != MT_UNWIND_END);
        require(!checked || cursor.stop == 0 || cursor.stop >= MT_UNWIND_UNMAPPED);
    }
}

/// What was built is what a file may hold, and each row is found.
void check_table(const UnwindTable& table) {
    const auto again = UnwindTable::from_words(table.first(), table.words());
    require(again && again->words() == table.words());
    native::Machine machine;
    machine.shards.push_back(table.words());
    native::machine = &machine;
    const auto& header = table.header();
    mt_cursor cursor{};
    cursor.shard = 1;
    cursor.buckets = header.buckets;
    cursor.index_at = header.index_at;
    cursor.rows_at = header.rows_at;
    cursor.rules_at = header.rules_at;
    const auto* words = table.words().data();
    for (std::uint32_t bucket = 0; bucket < header.buckets; ++bucket) {
        for (std::uint32_t row = words[header.index_at + bucket]; row < words[header.index_at + bucket + 1]; ++row) {
            const auto word = words[header.rows_at + row];
            mt_unwind_rule rule;
            require(mt_find_rule(&cursor, bucket * 256 + (word & MT_ROW_OFFSET_MASK), &rule) == 1);
            require(std::memcmp(&rule, words + header.rules_at + (word >> MT_ROW_RULE_SHIFT) * MT_RULE_WORDS, sizeof(rule)) == 0);
        }
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 1) {
        return 0;
    }
    const std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
    if (data[0] % 4 < 2) {
        // The same bytes at another place describe other code, where they are relative to it: that fills gaps.
        const bool is_debug_frame = data[0] % 4 == 1;
        if (const auto table = build_table({rest, 0x10000, is_debug_frame}, {rest, 0x10040, is_debug_frame})) {
            if (table->words().size() < 1 << 16) {
                check_table(*table);
                walk(table->words(), true, 0);
            }
        }
        return 0;
    }
    std::vector<std::uint32_t> words(rest.size() / sizeof(std::uint32_t));
    if (words.empty()) {
        return 0;
    }
    std::memcpy(words.data(), rest.data(), words.size() * sizeof(std::uint32_t));
    if (data[0] % 4 == 2) {
        if (const auto table = UnwindTable::from_words(0, words)) {
            walk(table->words(), true, 0);
        }
        return 0;
    }
    walk(words, false, data[0] >> 2);
    return 0;
}
