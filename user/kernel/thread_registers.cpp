#include "kernel/thread_registers.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <iterator>
#include <memory>

#include "base/fd.hpp"
#include "bpf/types.h"

namespace memtrace {

std::optional<std::vector<ThreadRegisters>> read_thread_registers(const bpf_program* list_threads, std::uint32_t tgid) {
    const std::unique_ptr<bpf_link, int (*)(bpf_link*)> link(bpf_program__attach_iter(list_threads, nullptr), bpf_link__destroy);
    const UniqueFd list(link == nullptr ? -1 : bpf_iter_create(bpf_link__fd(link.get())));
    std::vector<ThreadRegisters> threads;
    std::array<mt_thread_registers, 16> some{};
    while (list) {
        const auto bytes =
            ::read(list.get(), some.data(), sizeof(some)); // whole records: what does not fit comes with the next read
        if (bytes < 0) {
            return std::nullopt;
        }
        if (bytes == 0) {
            break;
        }
        const auto count = static_cast<std::size_t>(bytes) / sizeof(some[0]);
        for (std::size_t i = 0; i < count; ++i) {
            const auto& thread = some[i];
            if (thread.tgid != tgid) {
                continue;
            }
            if (thread.runs != 0) {
                return std::nullopt;
            }
            threads.push_back({thread.stack_pointer, {std::begin(thread.registers), std::end(thread.registers)}});
        }
    }
    return threads.empty() ? std::nullopt : std::optional(std::move(threads));
}

} // namespace memtrace
