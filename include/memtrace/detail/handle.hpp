// What tracked_ptr and tracked_weak have in common: a share in a block, taken, moved and given back in the name of this handle, whose
// address is what tracers are told.
#pragma once

#include <cstdint>
#include <utility>

#include "memtrace/detail/control_block.hpp"

namespace memtrace {
namespace detail {

struct strong_share {
    static constexpr int kStrong = 1;
    static std::uint64_t add(control_block& block) noexcept { return block.add(); }
    static void tell(control_block& block, const void* handle, std::uint64_t word) noexcept { block.tell_added(handle, word); }
    static bool release(control_block& block, const void* handle) noexcept { return block.release(handle); }
    static void end(control_block& block) noexcept { block.end(); }
};

struct weak_share {
    static constexpr int kStrong = 0;
    static std::uint64_t add(control_block& block) noexcept { return block.add_weak(); }
    static void tell(control_block& block, const void* handle, std::uint64_t word) noexcept {
        block.tell_added_weak(handle, word);
    }
    static bool release(control_block& block, const void* handle) noexcept { return block.release_weak(handle); }
    static void end(control_block& block) noexcept { block.end_block(); }
};

/// Begins where the tracked_ptr or tracked_weak begins: `this` is the address of both.
///
/// Functions that give a share up return the block where it was the last one. The caller ends it (finish), once it has brought its
/// own pointer up to date: destructors may look at the handle.
template <class Share>
class handle {
public:
    constexpr handle() noexcept = default;
    handle(const handle&) = delete;
    handle& operator=(const handle&) = delete;
    ~handle() { finish(release()); }

    [[nodiscard]] control_block* block() const noexcept { return block_; }

    static void finish(control_block* last) noexcept {
        if (last != nullptr) {
            Share::end(*last);
        }
    }

    /// For a handle that is empty: a share of its own.
    void acquire(control_block* block) noexcept {
        block_ = block;
        if (block != nullptr) {
            Share::tell(*block, this, Share::add(*block));
        }
    }

    /// For a handle that is empty: a share that it was given already.
    void accept(control_block* block) noexcept { block_ = block; }

    /// For a handle that is empty: the share of `other`.
    void take(handle& other) noexcept {
        block_ = std::exchange(other.block_, nullptr);
        if (block_ != nullptr) {
            block_->move(&other, this, Share::kStrong);
        }
    }

    [[nodiscard]] control_block* release() noexcept {
        auto* old = std::exchange(block_, nullptr);
        return old != nullptr && Share::release(*old, this) ? old : nullptr;
    }

    /// The new share first: the old one may be all that keeps the other handle, and with it the block, as in `p = p->next`.
    [[nodiscard]] control_block* acquire_instead(control_block* block) noexcept {
        if (block == block_) {
            return nullptr;
        }
        const std::uint64_t word = block != nullptr ? Share::add(*block) : 0;
        auto* last = release();
        block_ = block;
        if (block != nullptr) {
            Share::tell(*block, this, word);
        }
        return last;
    }

    /// Not for itself. `other` may be gone with the old share: it is not looked at after that.
    [[nodiscard]] control_block* take_instead(handle& other) noexcept {
        auto* taken = std::exchange(other.block_, nullptr);
        auto* last = release();
        block_ = taken;
        if (taken != nullptr) {
            taken->move(&other, this, Share::kStrong);
        }
        return last;
    }

    void swap(handle& other) noexcept {
        if (MEMTRACE_ENABLED(ref_move) && block_ != other.block_) {
            tell_swap(other);
        }
        std::swap(block_, other.block_);
    }

private:
    __attribute__((noinline, cold)) void tell_swap(handle& other) noexcept {
        const handle between;
        if (block_ != nullptr) {
            block_->move(this, &between, Share::kStrong);
        }
        if (other.block_ != nullptr) {
            other.block_->move(&other, this, Share::kStrong);
        }
        if (block_ != nullptr) {
            block_->move(&between, &other, Share::kStrong);
        }
    }

    control_block* block_ = nullptr;
};

} // namespace detail
} // namespace memtrace
