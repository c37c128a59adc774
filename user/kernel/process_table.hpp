// The kernel half's array of followed processes (struct mt_process), mapped into this process: single fields can be written while the
// kernel half writes others, as exec does with the key. One thread.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/result.hpp"
#include "bpf/types.h"

namespace memtrace {

class ProcessTable {
public:
    /// Maps the array map `map_fd` of `entries` processes.
    static Result<ProcessTable> map(int map_fd, std::uint32_t entries);
    ProcessTable() = default;

    /// By slot, or by a key, which holds it.
    [[nodiscard]] mt_process& operator[](mt_process_key key) const { return memory_.get()[MT_PROCESS_SLOT(key)]; }

    /// Writes a field that the kernel half looks at at any time.
    template <typename T>
    static void store(T& field, T value) {
        std::atomic_ref(field).store(value, std::memory_order_release);
    }

private:
    struct Unmap {
        std::size_t size = 0;
        void operator()(mt_process* memory) const;
    };
    std::unique_ptr<mt_process, Unmap> memory_{nullptr, Unmap{}};
};

} // namespace memtrace
