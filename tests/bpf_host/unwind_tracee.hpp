// A stopped process and two ways to unwind it: ours, by tables and bpf/unwind.h, and libdw's.
#pragma once

#include <elfutils/libdwfl.h>
#include <fcntl.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>

#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "proc/maps.hpp"
#include "tests/bpf_host/unwind_native.hpp"
#include "unwind/object_table.hpp"
#include "unwind/space.hpp"

namespace memtrace::native {

/// Return addresses, innermost first; the first is the instruction itself.
using Frames = std::vector<std::uint64_t>;

class Tracee {
public:
    explicit Tracee(pid_t pid) : pid_(pid) {
        machine_.read = [this](auto... arguments) { return read(arguments...); };
    }
    Tracee(const Tracee&) = delete;
    Tracee& operator=(const Tracee&) = delete;
    ~Tracee() { dwfl_end(dwfl_); }

    /// Looks at what is mapped now; to be called again when that may have changed.
    void learn() {
        const auto mappings = read_maps(pid_).value_or(std::vector<Mapping>{});
        std::vector<mt_unwind_range> ranges;
        for (const auto& mapping : mappings) {
            if (mapping.executable) {
                ranges.push_back(range_of(mapping));
            }
        }
        machine_.shards.push_back(encode_space(ranges));
        space_ = static_cast<std::uint32_t>(machine_.shards.size() - 1);
        dwfl_end(dwfl_);
        static const Dwfl_Callbacks callbacks = {dwfl_linux_proc_find_elf, dwfl_standard_find_debuginfo, nullptr, nullptr};
        dwfl_ = dwfl_begin(&callbacks);
        dwfl_linux_proc_report(dwfl_, pid_);
        dwfl_report_end(dwfl_, nullptr, nullptr);
        dwfl_linux_proc_attach(dwfl_, pid_, true);
    }

    struct Walk {
        Frames frames;
        std::uint32_t stop;
        bool complete;
        std::uint32_t certain; ///< so many of the frames
        bool recalled;         ///< as it was here before with the same words on the stack
        bool recalled_wrong;   ///< that was another walk
    };
    /// From the instruction that it stands at.
    Walk walk() {
        machine = &machine_;
        user_regs_struct regs{};
        ptrace(PTRACE_GETREGS, pid_, 0, &regs);
        const std::uint64_t saved[] = {regs.r8,  regs.r9,  regs.r10, regs.r11, regs.r12, regs.r13, regs.r14, regs.r15, regs.rdi,
                                       regs.rsi, regs.rbp, regs.rbx, regs.rdx, regs.rax, regs.rcx, regs.rsp, regs.rip};
        std::memcpy(context_, saved, sizeof(saved));
        mt_cursor cursor{};
        cursor.context = kContextAt;
        cursor.space = space_;
        cursor.exact = 1;
        auto stack = std::make_unique<mt_stack>();
        stack->address[0] = regs.rip;
        mt_recipe recipe{};
        recipe.space = space_;
        recipe.pc = regs.rip;
        recipe.sp = regs.rsp;
        recipe.bp = regs.rbp;
        recipe.bx = regs.rbx;
        const auto window = std::make_unique<mt_stack_window>();
        mt_unwind(stack.get(), &recipe, window.get(), &cursor, MT_MAX_FRAMES);
        Walk walk{{stack->address, stack->address + stack->depth},
                  cursor.stop,
                  (stack->flags & MT_STACK_TRUNCATED) == 0,
                  stack->certain,
                  false,
                  false};
        recall(*stack, recipe, walk);
        return walk;
    }

    struct ReferenceFrame {
        std::uint64_t pc;
        bool activation; ///< pc may be the instruction itself, where in our stacks it is always the address behind its first byte
    };
    std::vector<ReferenceFrame> reference() const {
        std::vector<ReferenceFrame> frames;
        dwfl_getthread_frames(
            dwfl_, pid_,
            [](Dwfl_Frame* frame, void* out) -> int {
                Dwarf_Addr pc = 0;
                bool activation = false;
                if (dwfl_frame_pc(frame, &pc, &activation)) {
                    static_cast<std::vector<ReferenceFrame>*>(out)->push_back({pc, activation});
                }
                return DWARF_CB_OK;
            },
            &frames);
        return frames;
    }

private:
    static constexpr std::uint64_t kContextAt = 64; ///< no process has anything there

    bool read(void* to, std::uint32_t size, std::uint64_t at) const {
        if (at >= kContextAt && at + size <= kContextAt + sizeof(context_)) {
            std::memcpy(to, reinterpret_cast<const char*>(context_) + (at - kContextAt), size);
            return true;
        }
        const iovec local{to, size};
        const iovec remote{reinterpret_cast<void*>(at), size};
        return process_vm_readv(pid_, &local, 1, &remote, 1, 0) == static_cast<ssize_t>(size);
    }

    /// Whether an earlier walk is taken for this one, and rightly so. Where not, it is remembered.
    void recall(const mt_stack& stack, const mt_recipe& recipe, Walk& walk) {
        auto& here = walks_[{recipe.pc, recipe.sp}];
        const auto window = std::make_unique<mt_stack_window>();
        const auto again = std::make_unique<mt_stack>();
        again->address[0] = stack.address[0];
        for (const auto& known : here) {
            if (mt_begins_alike(&known, &recipe) && mt_words_alike(&known, window.get(), again.get())) {
                walk.recalled = true;
                walk.recalled_wrong = walk.recalled_wrong || again->depth != stack.depth || again->flags != stack.flags ||
                                      again->certain != stack.certain || known.stack_hash != recipe.stack_hash ||
                                      std::memcmp(again->address, stack.address, stack.depth * sizeof(stack.address[0])) != 0;
            }
        }
        if (!walk.recalled && (recipe.needs & MT_NEEDS_MORE) == 0) {
            here.push_back(recipe);
        }
    }

    mt_unwind_range range_of(const Mapping& mapping) {
        mt_unwind_range range{mapping.start, mapping.end, 0, MT_NO_SHARD, 0, MT_RANGE_BARE};
        if (mapping.file.inode == 0) {
            return range;
        }
        auto known = objects_.find(mapping.file);
        if (known == objects_.end()) {
            const auto fd = open_mapped(pid_, mapping);
            auto object = fd ? UnwindObject::from_file(fd->get()) : tl::unexpected(fd.error());
            const auto table = object ? object->build() : std::nullopt;
            if (!table) {
                return range;
            }
            machine_.shards.push_back(table->words());
            const auto shard = static_cast<std::uint32_t>(machine_.shards.size() - 1);
            known = objects_.emplace(mapping.file, Object{std::move(*object), table->first(), shard}).first;
        }
        const auto linked = known->second.object.linked_address(mapping.file_offset);
        if (linked) {
            range.delta = static_cast<std::uint32_t>(*linked - known->second.first);
            range.shard = known->second.shard;
            range.state = MT_RANGE_READY;
        }
        return range;
    }

    struct Object {
        UnwindObject object;
        std::uint64_t first;
        std::uint32_t shard;
    };
    pid_t pid_;
    Machine machine_;
    std::map<FileIdentity, Object> objects_;
    std::map<std::pair<std::uint64_t, std::uint64_t>, std::vector<mt_recipe>> walks_; ///< by pc and sp
    std::uint32_t space_ = 0;
    Dwfl* dwfl_ = nullptr;
    std::uint64_t context_[23] = {};
};

} // namespace memtrace::native
