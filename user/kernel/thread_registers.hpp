// What the threads of a process have in their registers: places from which a program holds memory, as on its stacks.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

struct bpf_program;

namespace memtrace {

struct ThreadRegisters {
    std::uint64_t stack_pointer = 0;
    std::vector<std::uint64_t> values;
};

/// Of all threads of `tgid`, which is among the kernel half's `slots`; `list_threads` is the loaded program of that name. Nothing where
/// the list cannot be had, or a thread runs on a processor at this moment, as nobody knows what such a one has in its registers.
std::optional<std::vector<ThreadRegisters>> read_thread_registers(const bpf_program* list_threads, std::uint32_t tgid);

} // namespace memtrace
