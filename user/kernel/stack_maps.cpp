#include "kernel/stack_maps.hpp"

#include <bpf/libbpf.h>

#include <string>

namespace memtrace {

void find_maps(const bpf_object* object, std::span<const char* const> names, std::span<int> maps) {
    for (std::size_t i = 0; i < names.size(); ++i) {
        maps[i] = bpf_object__find_map_fd_by_name(object, names[i]);
    }
}

StackMaps stack_maps_of(const bpf_object* object) {
    StackMaps maps{};
    find_maps(object, kStackMaps, maps);
    return maps;
}

Status share_maps(bpf_object* object, std::span<const char* const> names, std::span<const int> maps) {
    for (std::size_t i = 0; i < names.size(); ++i) {
        auto* const map = bpf_object__find_map_by_name(object, names[i]);
        if (map == nullptr) {
            return fail(std::string("an object that is to share it has no map ") + names[i]);
        }
        if (const int error = bpf_map__reuse_fd(map, maps[i]); error != 0) {
            return fail_errno(std::string("cannot share the map ") + names[i], -error);
        }
    }
    return {};
}

Status share_stack_maps(bpf_object* object, const StackMaps& maps) {
    return share_maps(object, kStackMaps, maps);
}

} // namespace memtrace
