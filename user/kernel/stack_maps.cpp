#include "kernel/stack_maps.hpp"

#include <bpf/libbpf.h>

#include <string>

namespace memtrace {

StackMaps stack_maps_of(const bpf_object* object) {
    StackMaps maps{};
    for (std::size_t i = 0; i < maps.size(); ++i) {
        maps[i] = bpf_object__find_map_fd_by_name(object, kStackMaps[i]);
    }
    return maps;
}

Status share_stack_maps(bpf_object* object, const StackMaps& maps) {
    for (std::size_t i = 0; i < maps.size(); ++i) {
        auto* const map = bpf_object__find_map_by_name(object, kStackMaps[i]);
        if (map == nullptr) {
            return fail(std::string("an object that unwinds stacks has no map ") + kStackMaps[i]);
        }
        if (const int error = bpf_map__reuse_fd(map, maps[i]); error != 0) {
            return fail_errno(std::string("cannot share the map ") + kStackMaps[i], -error);
        }
    }
    return {};
}

} // namespace memtrace
