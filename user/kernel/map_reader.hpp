// What both tiers read out of their maps. Hash maps in batches: a system call for thousands of entries instead of two for each.
#pragma once

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <cerrno>
#include <memory>
#include <optional>
#include <vector>

#include "base/result.hpp"
#include "bpf/types.h"

namespace memtrace {

constexpr std::uint32_t kMapBatch = 16'384;

template <typename Key, typename Value, typename Visit>
Status read_map(int map_fd, const Visit& visit) {
    const auto keys = std::make_unique<Key[]>(kMapBatch);
    const auto values = std::make_unique<Value[]>(kMapBatch);
    std::uint32_t position = 0;
    for (bool first = true;; first = false) {
        std::uint32_t count = kMapBatch;
        const int error =
            bpf_map_lookup_batch(map_fd, first ? nullptr : &position, &position, keys.get(), values.get(), &count, nullptr);
        if (error != 0 && error != -ENOENT) {
            return fail_errno("cannot read the kernel half's maps", -error);
        }
        for (std::uint32_t i = 0; i < count; ++i) {
            visit(keys[i], values[i]);
        }
        if (error == -ENOENT) {
            return {};
        }
    }
}

/// Those that are not there are passed over.
template <typename Keys>
void delete_keys(int map_fd, const Keys& keys) {
    for (const auto& key : keys) {
        bpf_map_delete_elem(map_fd, &key);
    }
}

/// Deletes the entries of a hash map that `doomed` accepts.
template <typename Key, typename Value, typename Doomed>
void erase_from_map(int map_fd, const Doomed& doomed) {
    std::vector<Key> keys;
    (void)read_map<Key, Value>(map_fd, [&](const Key& key, const Value& value) {
        if (doomed(key, value)) {
            keys.push_back(key);
        }
    });
    delete_keys(map_fd, keys);
}

/// nullopt: there is none of that key.
inline std::optional<mt_stack> read_stack_map(int map_fd, std::uint64_t key) {
    mt_stack stack;
    if (bpf_map_lookup_elem(map_fd, &key, &stack) != 0 || stack.depth > MT_MAX_FRAMES) {
        return std::nullopt;
    }
    return stack;
}

/// The same; where there is none, the first address alone, which is `code`.
inline mt_stack read_stack_or_code(int map_fd, std::uint64_t key, std::uint64_t code) {
    if (const auto stack = key != 0 ? read_stack_map(map_fd, key) : std::nullopt) {
        return *stack;
    }
    mt_stack alone{};
    alone.depth = 1;
    alone.flags = MT_STACK_TRUNCATED;
    alone.certain = 1;
    alone.address[0] = code;
    return alone;
}

/// Zeroes a slot on all CPUs.
template <typename Value>
void zero_per_cpu(int map_fd, std::uint32_t slot) {
    static_assert(sizeof(Value) % 8 == 0, "the kernel's values lie eight bytes apart");
    const std::vector<Value> zero(static_cast<std::size_t>(libbpf_num_possible_cpus()));
    bpf_map_update_elem(map_fd, &slot, zero.data(), BPF_ANY);
}

/// The sum over all CPUs of a process's counters.
inline mt_counters read_counter_map(int map_fd, mt_process_key process) {
    const std::uint32_t slot = MT_PROCESS_SLOT(process);
    std::vector<mt_counters> per_cpu(static_cast<std::size_t>(libbpf_num_possible_cpus()));
    mt_counters sum{};
    if (bpf_map_lookup_elem(map_fd, &slot, per_cpu.data()) == 0) {
        for (const auto& cpu : per_cpu) {
            for (std::size_t i = 0; i < MT_COUNTER_COUNT; ++i) {
                sum.value[i] += cpu.value[i];
            }
        }
    }
    return sum;
}

} // namespace memtrace
