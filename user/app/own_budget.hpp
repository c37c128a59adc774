// Keeps what memtrace itself takes under a budget: from what its work has cost lately to how often it is done, and how much of it.
//
// CPU time is a share of one core, averaged over a minute: --own-cpu 1% is 0.6 s in any 60 s. Work that is done less than once a minute, as
// looks at ages may be, counts by its share of one. What the start takes (programs, tables, names) does not count. Above it a step down a ladder is taken, at once as many as it needs, and the minute begins anew. Up again by one step, after
// the step above has looked affordable for a while, which doubles each time that it was not.
//
//   step     0    1    2    3    4    5    6    7    8    9   10 ...
//   ages     1    2    4    8    8   16   16   32   32   32   32     reports from one look at the ages of all live blocks to the next
//   ticks    1    1    2    2    5    5   10   10   10   10   10     times the usual time between two
//   listed 1000 1000 1000 1000 500  300  100  100  100  100  100     sites of a process in a periodic report
//   reports  1    1    1    1    1    1    1    1    2    4    8     times --interval, as snapshots are times --snapshot-interval, and
//                                                                   pushes times --push-interval
//
// What no step changes (attaching to processes that come and go, names, the web server) is left out of that choice: where it takes most of the
// budget, or all, the rest is kept to a quarter of it, and no further.
//
// Memory is the resident set. Above 90 % of --own-memory no more call sites are told apart, little of ended processes is kept, and fewer of
// the objects that programs tell of (app/contract_sampling); below 75 % they are again. A pure function: no clock, no I/O.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <utility>

namespace memtrace {

struct OwnSettings {
    double cpu_budget = 0.01;        ///< of a core; 0 = none
    std::uint64_t memory_budget = 0; ///< bytes; 0 = none
    double interval_s = 5;           ///< between reports, as asked for
    double tick_s = 0.5;             ///< between ticks, as usual
    double snapshot_s = 0;           ///< between snapshots; 0 = none
    double push_s = 0;               ///< between pushes of profiles; 0 = none
};

/// What to do now.
struct OwnKnobs {
    double interval_s = 5;
    double tick_s = 0.5;
    double ages_s = 5;
    double snapshot_s = 0;
    double push_s = 0;
    std::size_t sites_listed = 1'000;
    std::size_t max_sites = ~std::size_t{0};
    std::size_t ended_kept = 200; ///< processes
};

/// Work of one kind: how often it was done, and the CPU seconds that it took.
struct OwnWork {
    double times = 0;
    double cpu_s = 0;
};

/// What was done since the last call.
struct OwnUse {
    double seconds = 0;
    double cpu_s = 0; ///< of all threads
    OwnWork ticks;    ///< without looks at ages
    OwnWork ages;
    OwnWork reports;
    OwnWork snapshots;
    OwnWork pushes;
    std::uint64_t rss_bytes = 0;
    std::size_t sites = 0; ///< that are told apart
};

/// All that keep_own_budget() remembers.
struct OwnState {
    std::size_t step = 0;
    OwnKnobs knobs;
    double now_s = 0;
    std::deque<std::pair<double, double>> minute; ///< when, CPU seconds: of the last minute, or since the last change
    double minute_from_s = 0;
    double tick_cost_s = 0; ///< one of each kind costs that, lately
    double ages_cost_s = 0;
    double report_cost_s = 0;
    double snapshot_cost_s = 0;
    double push_cost_s = 0;
    double other_share = 0;        ///< of a core, for all else
    double affordable_since_s = 0; ///< the step above looks so; < 0: it does not
    double patience_s = 60;
    double climbed_at_s = -1;
    bool short_of_memory = false;
};

struct OwnDecision {
    OwnState state; ///< for the next call; state.knobs is what to do now
    bool changed = false;
    double cpu_ratio = 0; ///< over the last minute, or what there is of it; rarer work by its share
    std::string reason;   ///< a sentence with figures, where changed
};

/// The memory budget where none is given: of the machine's memory a fiftieth, but no less than what a million live blocks and 50,000 call
/// sites need, and no more than half of what the own cgroup may have (0 = has no limit).
std::uint64_t usual_own_memory(std::uint64_t machine_bytes, std::uint64_t cgroup_bytes);

OwnState initial_own_state(const OwnSettings& settings);

/// The same step, of other settings.
OwnState change_own_settings(OwnState state, const OwnSettings& settings);

/// To be called every few seconds.
OwnDecision keep_own_budget(const OwnState& state, const OwnSettings& settings, const OwnUse& use);

/// Share of a core that what is governed takes at that step, by its costs lately.
double governed_share(const OwnState& state, const OwnSettings& settings, std::size_t step);

} // namespace memtrace
