// Gives the kernel half the unwind tables of what is mapped into the followed processes. Works beside tracing, on a thread of its own:
// until a process's tables are there its stacks follow frame pointers, and an object that has come since makes them end early.
//
//   map      the process's executable mappings, as they are now -> objects not seen before are compiled, or come from the cache
//            -> one shard with their tables, one with the process's ranges -> visible to the kernel half, by one store
//   forget   the process is gone, or has another image: its ranges go, and tables that no other process uses
//
// An object is one file, whatever processes map it: its table is shared. What is called from here returns at once.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "kernel/heap_tracer.hpp"
#include "proc/maps.hpp"

namespace memtrace {

class UnwindLoader {
public:
    /// `tracer` must outlive this. `cache_directory`: where tables are kept for the next run; empty: nowhere.
    UnwindLoader(HeapTracer& tracer, std::string cache_directory);
    /// Drops what has not begun, waits for what has.
    ~UnwindLoader();
    UnwindLoader(const UnwindLoader&) = delete;
    UnwindLoader& operator=(const UnwindLoader&) = delete;

    void map(mt_process_key process, std::int32_t pid, const std::vector<Mapping>& mappings);
    void forget(mt_process_key process);

    /// Waits until all that was asked for is done. False: not within `patience`.
    bool wait(std::chrono::milliseconds patience);
    /// What went wrong since the last call.
    std::optional<Error> take_error();

private:
    class Worker;
    std::unique_ptr<Worker> worker_;
};

} // namespace memtrace
