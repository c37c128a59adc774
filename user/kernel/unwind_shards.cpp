#include "kernel/unwind_shards.hpp"

#include <bpf/bpf.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstring>

#include "base/fd.hpp"
#include "bpf/unwind_table.h"

namespace memtrace {

namespace {

constexpr std::uint32_t kFlags = 1u << 12 | 1u << 10; // BPF_F_INNER_MAP, BPF_F_MMAPABLE: as in bpf/unwind_maps.h

std::uint64_t bytes_of(const std::vector<std::uint32_t>& words) {
    return (words.size() * sizeof(std::uint32_t) + 4095) / 4096 * 4096; // of a map that can be mapped
}

Result<UniqueFd> make_shard(const std::vector<std::uint32_t>& words) {
    if (words.empty() || words.size() % MT_BLOCK_WORDS != 0) {
        return fail("a shard of no blocks");
    }
    LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = kFlags);
    const auto blocks = static_cast<std::uint32_t>(words.size() / MT_BLOCK_WORDS);
    UniqueFd fd(
        bpf_map_create(BPF_MAP_TYPE_ARRAY, "unwind_shard", sizeof(std::uint32_t), sizeof(mt_unwind_block), blocks, &options));
    if (!fd) {
        return fail_errno("cannot create a map for unwind tables", errno);
    }
    const std::size_t size = bytes_of(words);
    void* const memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
    if (memory == MAP_FAILED) {
        return fail_errno("cannot fill a map with unwind tables", errno);
    }
    std::memcpy(memory, words.data(), words.size() * sizeof(std::uint32_t));
    ::munmap(memory, size);
    return fd;
}

} // namespace

UnwindShards::UnwindShards(int outer_fd, std::uint32_t capacity) : outer_fd_(outer_fd), sizes_(capacity) {
    for (std::uint32_t number = MT_NO_SHARD + 1; number < capacity; ++number) {
        free_.push_back(number);
    }
}

Result<std::vector<std::uint32_t>> UnwindShards::take(std::size_t count) {
    if (count > free_.size()) {
        return fail("more unwind tables than there is room for");
    }
    const auto end = free_.begin() + static_cast<std::ptrdiff_t>(count);
    std::vector<std::uint32_t> numbers(free_.begin(), end);
    free_.erase(free_.begin(), end);
    return numbers;
}

Status UnwindShards::put(const std::vector<std::uint32_t>& numbers, const std::vector<std::vector<std::uint32_t>>& contents) {
    std::vector<UniqueFd> owners;
    std::vector<int> fds;
    for (const auto& words : contents) {
        auto fd = make_shard(words);
        if (!fd) {
            return tl::unexpected(fd.error());
        }
        fds.push_back(fd->get());
        owners.push_back(std::move(*fd));
    }
    // Together they wait once; kernels that cannot do that take them one by one.
    auto count = static_cast<std::uint32_t>(fds.size());
    if (bpf_map_update_batch(outer_fd_, numbers.data(), fds.data(), &count, nullptr) != 0) {
        for (std::size_t i = 0; i < numbers.size(); ++i) {
            if (bpf_map_update_elem(outer_fd_, &numbers[i], &fds[i], BPF_ANY) != 0) {
                const int error = errno;
                for (const auto number : numbers) {
                    bpf_map_delete_elem(outer_fd_, &number);
                }
                return fail_errno("cannot put in unwind tables", error);
            }
        }
    }
    for (std::size_t i = 0; i < numbers.size(); ++i) {
        sizes_[numbers[i]] = bytes_of(contents[i]);
        bytes_ += sizes_[numbers[i]];
    }
    return {};
}

void UnwindShards::remove(const std::vector<std::uint32_t>& numbers) {
    for (const auto number : numbers) {
        bpf_map_delete_elem(outer_fd_, &number);
        bytes_ -= sizes_[number];
        sizes_[number] = 0;
        free_.push_back(number);
    }
}

} // namespace memtrace
