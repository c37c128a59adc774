// Puts the budget for memtrace itself to work: measures what its work takes, asks app/own_budget every few seconds, and has the loop do what
// that says. One thread; the CPU time is that of all threads.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "app/own_budget.hpp"
#include "config/options.hpp"
#include "model/events.hpp"

namespace memtrace {

class OwnControl {
public:
    /// `say` is told of every change, in a sentence.
    OwnControl(const Options& options, std::function<void(const std::string&)> say);
    /// Other options from now on. What is done less stays done less, by as much.
    void change(const Options& options);

    /// Work counts from here on: what the start took does not.
    void begin(std::uint64_t now_ns);
    /// Does what is due: asks, where it was not asked for some seconds. `sites`: told apart now. True where the knobs have changed.
    bool run(std::uint64_t now_ns, std::size_t sites);

    [[nodiscard]] const OwnKnobs& knobs() const { return state_.knobs; }
    /// What may be kept of the objects that programs tell of, where memory is short; 0: it is not.
    [[nodiscard]] std::uint64_t most_told_bytes() const { return state_.short_of_memory ? settings_.memory_budget / 4 : 0; }
    /// Whether the ages of all live blocks are to be read in a tick at `now_ns`.
    [[nodiscard]] bool ages_due(std::uint64_t now_ns) const;
    /// A tick has ended that began when the CPU time was `cpu_s`.
    void ticked(double cpu_s, bool with_ages, std::uint64_t now_ns);
    void reported(double cpu_s);
    void pushed(double cpu_s);
    /// Those by calendar do not count where there are no others: no step changes them.
    void wrote_snapshots(double cpu_s);

    /// As of now, for the model.
    [[nodiscard]] CollectorSample sample(std::uint64_t forgotten) const;
    /// Of this process, all threads, since it started.
    static double cpu_seconds();

private:
    static void add(OwnWork& work, double cpu_s);

    OwnSettings settings_;
    std::function<void(const std::string&)> say_;
    OwnState state_;
    OwnUse use_;            ///< since it was asked last
    double tick_cpu_s_ = 0; ///< of the last tick without ages
    double cpu_s_ = 0;      ///< when it was asked last
    std::uint64_t asked_ns_ = 0;
    std::uint64_t ages_ns_ = 0; ///< when ages were read last
    double ratio_ = 0;
    std::string reason_; ///< for the present knobs
};

} // namespace memtrace
