// How long the BPF programs themselves run, by the kernel's own statistics. Keeping these costs every program on the machine some
// nanoseconds a run, so they are on for short windows only: from the start until there are enough runs, then once in a while,
// because programs get slower as maps fill.
#pragma once

#include <cstdint>
#include <vector>

#include "base/fd.hpp"

namespace memtrace {

class ProgramTimer {
public:
    /// `program_fds` must outlive this.
    explicit ProgramTimer(const std::vector<int>& program_fds);
    ProgramTimer() = default;

    /// Opens or closes the window where it is due. To be called often; `now_ns` is monotonic.
    void update(std::uint64_t now_ns);
    /// Mean time of one run of the program that was `index`-th, nanoseconds; 0 where none has been seen.
    [[nodiscard]] double mean_ns(std::size_t index) const { return programs_[index].mean_ns; }

private:
    struct Program {
        int fd = -1;
        std::uint64_t runs = 0; ///< as of the window's start
        std::uint64_t time_ns = 0;
        double mean_ns = 0;
    };

    std::uint64_t read_window();

    std::vector<Program> programs_;
    UniqueFd statistics_; ///< open: the kernel counts
    std::uint64_t opened_ns_ = 0;
    std::uint64_t next_ns_ = 0;
};

} // namespace memtrace
