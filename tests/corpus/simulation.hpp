// A process whose allocations are made up, traced in virtual time: blocks come and go, and what memtrace would have seen of them goes
// as events into a Model. Deterministic by seed; no clock, no I/O.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "model/model.hpp"

namespace memtrace::corpus {

constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr std::uint64_t kAttachedNs = 1'000'000 * kSecond;
constexpr std::int32_t kBefore = -1; ///< born before the tracing

/// How the process is traced. Times in ticks.
struct Tracing {
    std::uint64_t interval_bytes = 0; ///< of Poisson sampling; 0 = exact
    int window = 0;                   ///< allocations are watched for so long, frees for twice that ...
    int period = 0;                   ///< ... in every so many; 0 = always
    bool from_start = false;
};

struct Block {
    std::uint32_t site = 0;
    std::int32_t born = 0; ///< tick
    std::uint32_t size = 0;
    bool recorded = false;
};

class Simulation {
public:
    static constexpr int kTicksPerReport = 10; ///< a tick is a second

    Simulation(std::uint64_t seed, const Tracing& tracing) : random_(seed), tracing_(tracing) {
        model_.apply(RunStarted{"corpus", 0, kAttachedNs, 0, 1'000'000, 0, 800});
        ProcessStarted process;
        process.process = kProcess;
        process.pid = 1;
        process.attach_mono_ns = kAttachedNs;
        process.from_start = tracing.from_start;
        model_.apply(process);
        if (tracing.interval_bytes != 0 || tracing.period != 0) {
            const auto mode = tracing.period != 0 ? TraceMode::windowed : TraceMode::sampled;
            model_.apply(ModeChanged{kProcess, mode, tracing.interval_bytes, static_cast<double>(tracing.window),
                                     static_cast<double>(tracing.period), 0.05, "the corpus says so"});
        }
    }

    static constexpr ProcessId kProcess{1};

    /// A call site; its number is that of its SiteId.
    std::uint32_t add_site() {
        const auto id = static_cast<std::uint32_t>(sites_.size() + 1);
        sites_.emplace_back();
        model_.apply(StackDefined{{id}, kProcess, false, {{{}, id}}});
        model_.apply(SiteDefined{{id}, kProcess, {id}, "libc", "malloc"});
        return id;
    }

    Block allocate(std::uint32_t site, std::uint32_t size) {
        true_live_ += size;
        Block block{site, tick_, size, false};
        const bool watched = tracing_.period == 0 || tick_ % tracing_.period < tracing_.window;
        if (!watched || uniform() >= kept(size)) {
            return block;
        }
        block.recorded = true;
        auto& seen = sites_[site - 1];
        const double weight = 1 / kept(size);
        seen.allocs += weight;
        seen.allocated_bytes += weight * size;
        seen.births.resize(static_cast<std::size_t>(tick_) + 1);
        seen.births.back() += weight;
        return block;
    }
    /// One that was there before.
    static Block older(std::uint32_t site, std::uint32_t size) { return {site, kBefore, size, false}; }

    void free(const Block& block) {
        true_live_ -= std::min<double>(block.size, true_live_);
        if (tracing_.period != 0 && tick_ % tracing_.period >= 2 * tracing_.window) {
            return;
        }
        if (!block.recorded) {
            ++unmatched_;
            return;
        }
        auto& seen = sites_[block.site - 1];
        const double weight = 1 / kept(block.size);
        seen.frees += weight;
        seen.freed_bytes += weight * block.size;
        seen.births[static_cast<std::size_t>(block.born)] -= weight;
    }
    /// Frees it after so many seconds.
    void free_after(const Block& block, double seconds) {
        const auto due = static_cast<std::size_t>(tick_) + static_cast<std::size_t>(std::max(std::ceil(seconds), 1.0));
        if (due < kFarAway) {
            due_.resize(std::max(due_.size(), due + 1));
            due_[due].push_back(block);
        }
    }

    /// The process works so hard in this second: 1 is usual.
    void work(double load) { cpu_s_ += 0.3 * load; }

    /// Ends the second. True: a report is due.
    bool tick() {
        const bool reading = (tick_ + 1) % kTicksPerReport == 0;
        for (std::size_t i = 0; i < sites_.size(); ++i) {
            tell(static_cast<std::uint32_t>(i + 1), sites_[i], reading);
        }
        ++tick_;
        peak_ = std::max(peak_ * 0.9999, true_live_); // what an allocator gives back, it gives back late
        const auto rss = static_cast<std::uint64_t>(kBaseBytes + peak_ * 1.05);
        model_.apply(ProcessSample{kProcess, rss, static_cast<std::uint64_t>(cpu_s_ * 1e9), 0});
        model_.apply(CounterSample{kProcess, "unmatched_frees", unmatched_, false});
        if (reading) {
            cut_cohorts(cohorts_, now_ns());
            model_.apply(CohortsCut{kProcess, cohorts_});
        }
        model_.apply(TickEnded{now_ns(), now_ns()});
        if (static_cast<std::size_t>(tick_) < due_.size()) {
            for (const auto& block : due_[static_cast<std::size_t>(tick_)]) {
                free(block);
            }
            due_[static_cast<std::size_t>(tick_)] = {};
        }
        return reading;
    }
    void reported() { model_.apply(ReportDue{}); }

    [[nodiscard]] const Model& model() const { return model_; }
    [[nodiscard]] int now_s() const { return tick_; }
    double uniform() { return std::uniform_real_distribution<double>(0, 1)(random_); }
    std::uint64_t poisson(double mean) { return mean > 0 ? std::poisson_distribution<std::uint64_t>(mean)(random_) : 0; }
    double exponential(double mean) { return -mean * std::log1p(-uniform()); }
    double log_normal(double median, double sigma) {
        return std::lognormal_distribution<double>(std::log(median), sigma)(random_);
    }
    std::size_t below(std::size_t count) {
        return std::min(static_cast<std::size_t>(uniform() * static_cast<double>(count)), count - 1);
    }

private:
    static constexpr double kBaseBytes = 64 << 20; ///< of its RSS: code, what was there before
    static constexpr std::size_t kFarAway = 100'000;

    struct Seen {
        double allocs = 0, frees = 0, allocated_bytes = 0, freed_bytes = 0;
        std::vector<double> births; ///< live blocks by the tick of their birth
        bool told_births = false;
    };

    [[nodiscard]] double kept(double size) const {
        return tracing_.interval_bytes == 0 ? 1 : -std::expm1(-size / static_cast<double>(tracing_.interval_bytes));
    }
    [[nodiscard]] std::uint64_t now_ns() const { return kAttachedNs + static_cast<std::uint64_t>(tick_) * kSecond; }

    void tell(std::uint32_t id, Seen& seen, bool reading) {
        SiteSample sample;
        sample.site = {id};
        sample.allocs = static_cast<std::uint64_t>(seen.allocs + 0.5);
        sample.frees = static_cast<std::uint64_t>(seen.frees + 0.5);
        sample.allocated_bytes = static_cast<std::uint64_t>(seen.allocated_bytes);
        sample.freed_bytes = static_cast<std::uint64_t>(seen.freed_bytes);
        if (reading && (seen.told_births || sample.allocs > sample.frees)) {
            seen.told_births = true;
            std::vector<double> live(cohorts_.size());
            for (std::size_t i = 0, cohort = 0; i < seen.births.size(); ++i) {
                while (cohort + 1 < cohorts_.size() && cohorts_[cohort + 1] <= kAttachedNs + i * kSecond) {
                    ++cohort;
                }
                live[cohort] += seen.births[i];
            }
            for (const double blocks : live) {
                sample.births.push_back(static_cast<std::uint64_t>(std::max(blocks, 0.0) + 0.5));
            }
        }
        model_.apply(sample);
    }

    std::mt19937_64 random_;
    Tracing tracing_;
    Model model_;
    std::vector<Seen> sites_;
    std::vector<std::vector<Block>> due_; ///< by tick
    std::vector<std::uint64_t> cohorts_{kAttachedNs};
    std::int32_t tick_ = 0;
    std::uint64_t unmatched_ = 0;
    double true_live_ = 0;
    double peak_ = 0;
    double cpu_s_ = 10;
};

} // namespace memtrace::corpus
