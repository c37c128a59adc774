// bpf/unwind.h compiled natively: shards are vectors, memory is what a function reads. One walk at a time, on one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "bpf/unwind_table.h"

namespace memtrace::native {

using Shard = std::vector<std::uint32_t>;
using ReadMemory = std::function<bool(void* to, std::uint32_t size, std::uint64_t at)>; ///< false: cannot be read
using ReplacedAddress = std::function<std::uint64_t(std::uint64_t slot)>;

struct Machine {
    std::vector<Shard> shards{{}}; ///< by number; the first is none
    ReadMemory read;
    ReplacedAddress replaced = [](std::uint64_t) { return 0; };
};

/// What the primitives of bpf/unwind.h refer to.
inline Machine* machine = nullptr;

} // namespace memtrace::native

using mt_shard_handle = const memtrace::native::Shard*;

static inline mt_shard_handle mt_shard_at(__u32 shard) {
    const auto& shards = memtrace::native::machine->shards;
    return shard < shards.size() && !shards[shard].empty() ? &shards[shard] : nullptr;
}
static inline const mt_unwind_block* mt_block_at(mt_shard_handle shard, __u32 block) {
    const auto at = std::uint64_t{block} * MT_BLOCK_WORDS;
    return at + MT_BLOCK_WORDS <= shard->size() ? reinterpret_cast<const mt_unwind_block*>(shard->data() + at) : nullptr;
}
static inline int mt_read_user(void* to, __u32 size, __u64 at) {
    return memtrace::native::machine->read(to, size, at) ? 0 : -14;
}
static inline __u64 mt_replaced_address(__u64 slot) {
    return memtrace::native::machine->replaced(slot);
}
#define MT_GLOBAL static inline

#include "bpf/unwind.h"
