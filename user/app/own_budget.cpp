#include "app/own_budget.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "report/format.hpp"

namespace memtrace {

namespace {

constexpr double kMinute = 60; // seconds
// Shares of the budget: what a step down aims at, what the step above must look like for a climb. The gap is what noise has to cross.
constexpr double kDownAim = 0.85;
constexpr double kUpAim = 0.7;
constexpr double kLeastAim = 0.25;    // of the budget, whatever is not governed takes
constexpr double kFirstPatience = 60; // seconds
constexpr double kMostPatience = 1'920;
constexpr double kMemory = 0.5; // of costs, of the newest in the mean
constexpr double kLongestInterval = 600;
constexpr double kLongestAges = 3'600;
constexpr std::uint64_t kUsualMemory = 512ULL << 20;
constexpr double kMemoryHigh = 0.9;
constexpr double kMemoryLow = 0.75;
constexpr std::size_t kFewEnded = 16;
constexpr std::size_t kFewListed = 100;

struct Step {
    double ages;
    double ticks;
    std::size_t listed;
    double reports;
};
constexpr std::array<Step, 14> kSteps{{{1, 1, 1'000, 1},
                                       {2, 1, 1'000, 1},
                                       {4, 2, 1'000, 1},
                                       {8, 2, 1'000, 1},
                                       {8, 5, 500, 1},
                                       {16, 5, 300, 1},
                                       {16, 10, 100, 1},
                                       {32, 10, 100, 1},
                                       {32, 10, 100, 2},
                                       {32, 10, 100, 4},
                                       {32, 10, 100, 8},
                                       {32, 10, 100, 16},
                                       {32, 10, 100, 32},
                                       {32, 10, 100, 64}}};

OwnKnobs knobs_of(const OwnSettings& settings, std::size_t step) {
    const auto& of = kSteps[step];
    OwnKnobs knobs;
    knobs.interval_s = std::max(settings.interval_s, std::min(settings.interval_s * of.reports, kLongestInterval));
    knobs.tick_s = std::min(std::max(settings.tick_s, settings.tick_s * of.ticks * of.reports), knobs.interval_s);
    knobs.ages_s = std::max(knobs.interval_s, std::min(knobs.interval_s * of.ages, kLongestAges));
    knobs.snapshot_s = settings.snapshot_s * of.reports;
    knobs.push_s = settings.push_s * of.reports;
    knobs.sites_listed = of.listed;
    return knobs;
}

/// CPU seconds, of which work that is done less than once a minute counts by its share of one.
double counted(const OwnKnobs& knobs, const OwnUse& use) {
    double cpu_s = use.cpu_s;
    for (const auto& [work, period_s] :
         {std::pair{use.ticks, knobs.tick_s}, std::pair{use.ages, knobs.ages_s}, std::pair{use.reports, knobs.interval_s},
          std::pair{use.snapshots, knobs.snapshot_s}, std::pair{use.pushes, knobs.push_s}}) {
        cpu_s -= period_s > kMinute ? work.cpu_s * (1 - kMinute / period_s) : 0;
    }
    return std::max(cpu_s, 0.0);
}

void learn(double& cost, const OwnWork& work) {
    if (work.times > 0) {
        const double now = work.cpu_s / work.times;
        cost = cost > 0 ? kMemory * cost + (1 - kMemory) * now : now;
    }
}

std::string describe(const OwnKnobs& knobs) {
    return "reports every " + human_duration(knobs.interval_s) + " of " + std::to_string(knobs.sites_listed) +
           " call sites, ticks every " + human_duration(knobs.tick_s) + ", ages every " + human_duration(knobs.ages_s);
}

bool is_sound(const OwnUse& use) {
    const std::array values{use.seconds,         use.cpu_s,           use.ticks.times,   use.ticks.cpu_s,
                            use.ages.times,      use.ages.cpu_s,      use.reports.times, use.reports.cpu_s,
                            use.snapshots.times, use.snapshots.cpu_s, use.pushes.times,  use.pushes.cpu_s};
    return use.seconds > 0 && std::all_of(values.begin(), values.end(), [](double v) { return std::isfinite(v) && v >= 0; });
}

double minute_cpu(const OwnState& state) {
    double sum = 0;
    for (const auto& [at, cpu] : state.minute) {
        sum += cpu;
    }
    return sum;
}

void move_to(OwnState& state, const OwnSettings& settings, std::size_t step) {
    const auto max_sites = state.knobs.max_sites;
    const auto ended_kept = state.knobs.ended_kept;
    state.step = step;
    state.knobs = knobs_of(settings, step);
    state.knobs.max_sites = max_sites;
    state.knobs.ended_kept = ended_kept;
    if (state.short_of_memory) {
        state.knobs.sites_listed = std::min(state.knobs.sites_listed, kFewListed);
    }
    state.minute.clear();
    state.minute_from_s = state.now_s;
    state.affordable_since_s = -1;
}

void govern_memory(OwnDecision& decision, const OwnSettings& settings, const OwnUse& use) {
    auto& state = decision.state;
    if (settings.memory_budget == 0 || use.rss_bytes == 0) {
        return;
    }
    const double share = static_cast<double>(use.rss_bytes) / static_cast<double>(settings.memory_budget);
    if (!state.short_of_memory && share > kMemoryHigh) {
        state.short_of_memory = true;
        state.knobs.max_sites = use.sites;
        state.knobs.ended_kept = kFewEnded;
        state.knobs.sites_listed = std::min(state.knobs.sites_listed, kFewListed);
        decision.changed = true;
        decision.reason = "memtrace holds " + std::to_string(use.rss_bytes >> 20) + " MiB of the " +
                          std::to_string(settings.memory_budget >> 20) + " MiB of --own-memory: call sites beyond the " +
                          std::to_string(use.sites) + " known are not told apart from here on";
    } else if (state.short_of_memory && share < kMemoryLow) {
        state.short_of_memory = false;
        state.knobs.max_sites = ~std::size_t{0};
        state.knobs.ended_kept = OwnKnobs{}.ended_kept;
        state.knobs.sites_listed = kSteps[state.step].listed;
        decision.changed = true;
        decision.reason = "memtrace holds " + std::to_string(use.rss_bytes >> 20) + " MiB: new call sites are told apart again";
    }
}

/// What the governed work may take, where all together may take `share` of the budget.
double aim(const OwnState& state, const OwnSettings& settings, double share) {
    return std::max(share * settings.cpu_budget - state.other_share, share * kLeastAim * settings.cpu_budget);
}

void step_down(OwnDecision& decision, const OwnSettings& settings) {
    auto& state = decision.state;
    auto step = state.step;
    while (step + 1 < kSteps.size() && governed_share(state, settings, step) > aim(state, settings, kDownAim)) {
        ++step;
    }
    if (state.climbed_at_s >= 0 && state.now_s - state.climbed_at_s < 2 * kMinute) { // the climb was wrong
        state.patience_s = std::min(2 * state.patience_s, kMostPatience);
    }
    state.climbed_at_s = -1;
    if (step == state.step) { // it helps no more
        return;
    }
    move_to(state, settings, step);
    decision.changed = true;
    decision.reason = "memtrace itself takes " + human_percent(decision.cpu_ratio) + " of a core, more than --own-cpu " +
                      human_percent(settings.cpu_budget) + ": " + describe(state.knobs);
}

void step_up(OwnDecision& decision, const OwnSettings& settings) {
    auto& state = decision.state;
    if (state.climbed_at_s >= 0 && state.now_s - state.climbed_at_s >= 2 * kMinute) {
        state.climbed_at_s = -1;
        state.patience_s = kFirstPatience;
    }
    if (state.step == 0 || governed_share(state, settings, state.step - 1) > aim(state, settings, kUpAim)) {
        state.affordable_since_s = -1;
        return;
    }
    if (state.affordable_since_s < 0) {
        state.affordable_since_s = state.now_s;
    }
    if (state.now_s - state.affordable_since_s < state.patience_s) {
        return;
    }
    move_to(state, settings, state.step - 1);
    state.climbed_at_s = state.now_s;
    decision.changed = true;
    decision.reason = "memtrace itself takes " + human_percent(decision.cpu_ratio) + " of a core, well below --own-cpu " +
                      human_percent(settings.cpu_budget) + ": " + describe(state.knobs);
}

} // namespace

std::uint64_t usual_own_memory(std::uint64_t machine_bytes, std::uint64_t cgroup_bytes) {
    const auto usual = std::max(kUsualMemory, machine_bytes / 50);
    return cgroup_bytes != 0 ? std::min(usual, cgroup_bytes / 2) : usual;
}

OwnState initial_own_state(const OwnSettings& settings) {
    OwnState state;
    state.knobs = knobs_of(settings, 0);
    state.affordable_since_s = -1;
    return state;
}

OwnState change_own_settings(OwnState state, const OwnSettings& settings) {
    move_to(state, settings, state.step);
    return state;
}

double governed_share(const OwnState& state, const OwnSettings& settings, std::size_t step) {
    const auto knobs = knobs_of(settings, std::min(step, kSteps.size() - 1));
    // Half of a report's cost goes with the number of sites listed.
    const double listed = 0.5 + 0.5 * static_cast<double>(knobs.sites_listed) / static_cast<double>(kSteps[state.step].listed);
    return state.tick_cost_s / knobs.tick_s + state.ages_cost_s / knobs.ages_s + state.report_cost_s * listed / knobs.interval_s +
           (knobs.snapshot_s > 0 ? state.snapshot_cost_s / knobs.snapshot_s : 0) +
           (knobs.push_s > 0 ? state.push_cost_s / knobs.push_s : 0);
}

OwnDecision keep_own_budget(const OwnState& before, const OwnSettings& settings, const OwnUse& use) {
    OwnDecision decision;
    auto& state = decision.state = before;
    if (!is_sound(use)) {
        return decision;
    }
    state.now_s += use.seconds;
    state.minute.emplace_back(state.now_s, counted(state.knobs, use));
    while (state.minute.front().first <= state.now_s - kMinute) {
        state.minute_from_s = state.minute.front().first;
        state.minute.pop_front();
    }
    const double spent = minute_cpu(state);
    decision.cpu_ratio = spent / (state.now_s - state.minute_from_s);
    learn(state.tick_cost_s, use.ticks);
    learn(state.ages_cost_s, use.ages);
    learn(state.report_cost_s, use.reports);
    learn(state.snapshot_cost_s, use.snapshots);
    learn(state.push_cost_s, use.pushes);
    const double known = use.ticks.cpu_s + use.ages.cpu_s + use.reports.cpu_s + use.snapshots.cpu_s + use.pushes.cpu_s;
    state.other_share = kMemory * state.other_share + (1 - kMemory) * std::max(use.cpu_s - known, 0.0) / use.seconds;
    govern_memory(decision, settings, use);
    if (settings.cpu_budget <= 0 || decision.changed) {
        return decision;
    }
    if (spent > settings.cpu_budget * kMinute) {
        step_down(decision, settings);
    } else {
        step_up(decision, settings);
    }
    return decision;
}

} // namespace memtrace
