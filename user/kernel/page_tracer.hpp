// The pages tier's kernel half (bpf/pages.bpf.c) as the collector sees it: where memory becomes resident, and what is mapped, of the
// processes that are added. Load tries what this kernel offers; what it lacks is left out. One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "base/result.hpp"
#include "bpf/pages.h"
#include "kernel/stack_maps.hpp"

namespace memtrace {

struct PageLimits {
    std::uint32_t max_processes = 4'096;
    std::uint32_t max_sites = 16'384;
    std::uint32_t max_stacks = 16'384;
    std::uint32_t max_frames = 64;
};

class PageTracer {
public:
    /// Loads and attaches; nothing is told of any process yet. An error: this kernel offers neither of the two parts. Stacks
    /// are unwound by `maps`, of the processes that these know; without, they follow frame pointers.
    static Result<PageTracer> load(const PageLimits& limits, const std::optional<StackMaps>& maps);
    ~PageTracer();
    PageTracer(PageTracer&&) noexcept;
    PageTracer& operator=(PageTracer&&) noexcept;

    /// What is seen, for people: "touched memory, mmap, munmap, mremap, brk", or a part of it; never empty.
    [[nodiscard]] const std::string& source() const;

    /// The key of the address space that the process has now. Exec advances it in the kernel.
    Result<mt_process_key> add_process(std::int32_t pid);
    void set_active(std::int32_t pid, bool active);
    void remove_process(std::int32_t pid);
    /// After an exec: makes what belongs to the new key, which it returns; the old image's sites and totals go.
    std::optional<mt_process_key> adopt_image(std::int32_t pid);

    [[nodiscard]] std::optional<mt_page_process> read_process(std::int32_t pid) const;
    Status read_sites(const std::function<void(std::uint64_t key, const mt_page_site&)>& visit) const;
    /// Of a site or a record, which say both; without its stack where none was stored.
    [[nodiscard]] mt_stack read_stack(std::uint64_t key, std::uint64_t code) const;
    /// What named it is gone: a record is read once, sites go with their process. Others may name it still.
    void forget_stack(std::uint64_t key);
    /// Takes away the stacks that were forgotten and that nothing names, where these are many. `take_records` takes all records that wait, and
    /// returns the stacks of those that are to be read later.
    void make_room(const std::function<std::set<std::uint64_t>()>& take_records);
    /// Those of this tier; the rest is zero.
    [[nodiscard]] mt_counters read_counters(mt_process_key process) const;

    /// A descriptor that becomes readable when records should be taken before the next tick, and the call that takes all of them.
    [[nodiscard]] int records_fd() const;
    void read_records(const std::function<void(const mt_page_record&)>& visit);

private:
    struct Impl;
    explicit PageTracer(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

} // namespace memtrace
