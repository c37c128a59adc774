#include "kernel/program_timer.hpp"

#include <bpf/bpf.h>

#include <optional>

namespace memtrace {

namespace {

constexpr std::uint64_t kEnoughRuns = 5'000;
constexpr std::uint64_t kLongestWindow = 1'000'000'000;
constexpr std::uint64_t kPause = 10'000'000'000;

std::optional<bpf_prog_info> read_info(int fd) {
    bpf_prog_info info{};
    std::uint32_t size = sizeof(info);
    if (bpf_obj_get_info_by_fd(fd, &info, &size) != 0) {
        return std::nullopt;
    }
    return info;
}

} // namespace

ProgramTimer::ProgramTimer(const std::vector<int>& program_fds) {
    for (const int fd : program_fds) {
        programs_.push_back({fd, 0, 0, 0});
    }
}

/// Takes the means of what ran since the window was opened; the number of those runs.
std::uint64_t ProgramTimer::read_window() {
    std::uint64_t total = 0;
    for (auto& program : programs_) {
        const auto info = read_info(program.fd);
        if (info && info->run_cnt > program.runs) {
            const auto runs = info->run_cnt - program.runs;
            program.mean_ns = static_cast<double>(info->run_time_ns - program.time_ns) / static_cast<double>(runs);
            total += runs;
        }
    }
    return total;
}

void ProgramTimer::update(std::uint64_t now_ns) {
    if (statistics_) {
        if (read_window() >= kEnoughRuns || now_ns - opened_ns_ >= kLongestWindow) {
            statistics_.reset();
            next_ns_ = now_ns + kPause;
        }
        return;
    }
    if (now_ns < next_ns_ || programs_.empty()) {
        return;
    }
    for (auto& program : programs_) {
        if (const auto info = read_info(program.fd)) {
            program.runs = info->run_cnt;
            program.time_ns = info->run_time_ns;
        }
    }
    statistics_ = UniqueFd(bpf_enable_stats(BPF_STATS_RUN_TIME));
    opened_ns_ = now_ns;
    if (!statistics_) { // since Linux 5.8; without it the programs' own time is left out
        next_ns_ = ~0ull;
    }
}

} // namespace memtrace
