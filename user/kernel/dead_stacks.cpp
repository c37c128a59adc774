#include "kernel/dead_stacks.hpp"

#include <bpf/bpf.h>

#include <cerrno>
#include <utility>

#include "base/fd.hpp"
#include "kernel/map_reader.hpp"

namespace memtrace {

/// The kernel waits where user space changes a map of maps (commit "bpf: wait for running BPF programs when updating map-in-map"): by RCU,
/// under which all programs run that may not sleep. None of ours may.
Status wait_for_programs() {
    const UniqueFd inner(
        bpf_map_create(BPF_MAP_TYPE_ARRAY, "wait_inner", sizeof(std::uint32_t), sizeof(std::uint32_t), 1, nullptr));
    LIBBPF_OPTS(bpf_map_create_opts, options, .inner_map_fd = static_cast<__u32>(inner.get()));
    const UniqueFd outer(inner ? bpf_map_create(BPF_MAP_TYPE_ARRAY_OF_MAPS, "wait_outer", sizeof(std::uint32_t),
                                                sizeof(std::uint32_t), 1, &options)
                               : -1);
    const std::uint32_t first = 0;
    const int value = inner.get();
    if (!outer || bpf_map_update_elem(outer.get(), &first, &value, BPF_ANY) != 0) {
        return fail_errno("cannot wait for the kernel half's programs", errno);
    }
    return {};
}

void DeadStacks::add(std::uint64_t key) {
    if (key != 0) {
        keys_.insert(key);
    }
}

void DeadStacks::take_out() {
    const auto keys = std::exchange(keys_, {});
    for (const auto key : keys) {
        if (const auto stack = read_stack_map(map_fd_, key)) {
            copies_.emplace(key, *stack);
        }
    }
    delete_keys(map_fd_, keys);
    waited_ = wait_for_programs().has_value();
}

std::optional<mt_stack> DeadStacks::find(std::uint64_t key) const {
    const auto found = copies_.find(key);
    return found == copies_.end() ? std::nullopt : std::optional(found->second);
}

void DeadStacks::settle(const std::set<std::uint64_t>* named) {
    std::erase_if(copies_, [&](const auto& copy) {
        const bool wanted = !waited_ || named == nullptr || named->contains(copy.first);
        return !wanted || bpf_map_update_elem(map_fd_, &copy.first, &copy.second, BPF_NOEXIST) == 0 || errno == EEXIST;
    });
}

} // namespace memtrace
