// Owner of one malloc block that some bug may forget. The destructor frees; dispose() is the place of the bug: with the bug off
// it frees as well, with the bug on it counts the block as lost and drops the only pointer to it. Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <utility>

#include "bugs.hpp"

namespace lightning {

class Block {
public:
    Block() = default;
    /// Empty if malloc failed. `board` has to outlive the block.
    Block(BugBoard& board, Bug bug, std::size_t bytes)
        : board_(&board), bug_(bug), size_(bytes), data_(static_cast<char*>(info(bug).allocate(bytes))) {
        if (data_ != nullptr) {
            board.allocated(bug, bytes);
        }
    }
    Block(Block&& other) noexcept
        : board_(other.board_), bug_(other.bug_), size_(other.size_), data_(std::exchange(other.data_, nullptr)) {}
    Block(const Block&) = delete;
    Block& operator=(const Block&) = delete;
    Block& operator=(Block&&) = delete;
    ~Block() { release(); }

    explicit operator bool() const { return data_ != nullptr; }
    [[nodiscard]] char* data() const { return data_; }
    [[nodiscard]] std::size_t size() const { return size_; }

    void dispose() {
        if (data_ != nullptr && board_->on(bug_)) {
            board_->lost(bug_, size_);
            data_ = nullptr;
        }
        release();
    }

private:
    void release() {
        if (data_ != nullptr) {
            std::free(std::exchange(data_, nullptr));
            board_->freed(bug_, size_);
        }
    }

    BugBoard* board_ = nullptr;
    Bug bug_{};
    std::size_t size_ = 0;
    char* data_ = nullptr;
};

} // namespace lightning
