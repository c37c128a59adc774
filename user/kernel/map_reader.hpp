// Reads a BPF hash map in batches: a system call for thousands of entries instead of two for each.
#pragma once

#include <bpf/bpf.h>

#include <cerrno>
#include <memory>

#include "base/result.hpp"

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

} // namespace memtrace
