// The maps by which the kernel half unwinds stacks (bpf/user_stack.h): who is followed, the unwind tables, the walks that are known again. The
// heap's object has them; every other object that takes stacks is given the same ones, between open and load.
#pragma once

#include <array>
#include <span>

#include "base/result.hpp"

struct bpf_object;

namespace memtrace {

/// Gives `object`, opened and not loaded yet, another object's maps in the place of its own of the same names. `maps` are descriptors, as many.
Status share_maps(bpf_object* object, std::span<const char* const> names, std::span<const int> maps);

/// The descriptors of an object's maps by their names, in that order; as many.
void find_maps(const bpf_object* object, std::span<const char* const> names, std::span<int> maps);

/// By name, as bpf/process_maps.h and bpf/unwind_maps.h define them.
constexpr std::array kStackMaps = {"slots", "processes", "unwind_shards", "known_walks"};

/// Descriptors in the order of kStackMaps. They belong to the HeapTracer, and need to be open only while an object is loaded.
using StackMaps = std::array<int, kStackMaps.size()>;

/// Of an object that is loaded.
StackMaps stack_maps_of(const bpf_object* object);

/// Gives `object`, opened and not loaded yet, `maps` in the place of its own.
Status share_stack_maps(bpf_object* object, const StackMaps& maps);

} // namespace memtrace
