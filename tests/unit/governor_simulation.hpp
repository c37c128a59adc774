// A target that allocates, and the collector that counts its probes' hits: what the governor's tests run against. Deterministic.
#pragma once

#include <cmath>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "app/governor.hpp"

namespace memtrace {

struct SimulatedLoad {
    double allocs = 0; ///< in a second of own work; as many frees
    double bytes = 100;
    double work = 0.5;  ///< seconds of own work that each second brings
    bool greedy = true; ///< takes `work` seconds of CPU time whatever it gets done; else gets its work done, on up to 8 CPUs
};

class GovernorSimulation {
public:
    explicit GovernorSimulation(GovernorSettings s) : settings(s), state(initial_governor_state(s)) {}

    GovernorSettings settings;
    GovernorState state;
    double noise = 0;     ///< relative, standard deviation
    double true_cost = 1; ///< of the target's hits over the calibrated costs
    bool uneven = false;  ///< intervals from 0.3 to 2 s
    std::vector<std::string> reasons;
    int mode_changes = 0;
    int changes = 0;
    double now = 0;
    double added = 0; ///< seconds, all told
    double cpu = 0;

    [[nodiscard]] double overhead() const { return cpu > 0 ? added / cpu : 0; }
    void forget() {
        added = cpu = 0;
        mode_changes = changes = 0;
    }

    void run(double seconds, const std::function<SimulatedLoad(double)>& load) {
        for (const double end = now + seconds; now < end;) {
            run_interval(load);
        }
    }
    void run(double seconds, SimulatedLoad load) {
        run(seconds, [load](double) { return load; });
    }

private:
    static constexpr double kSlice = 0.01;
    std::mt19937_64 random_{1};
    double since_change_ = 0;

    void run_interval(const std::function<SimulatedLoad(double)>& load) {
        GovernorInterval m;
        const int slices = uneven ? 30 + static_cast<int>(random_() % 170) : 100;
        for (int i = 0; i < slices; ++i) {
            run_slice(load(now), m);
            now += kSlice;
            since_change_ += kSlice;
        }
        std::normal_distribution<double> normal;
        for (double* value : {&m.enters, &m.frees, &m.added_ns}) {
            *value *= std::max(0.0, 1 + noise * normal(random_));
        }
        const auto before = state.knobs;
        auto decision = govern(state, settings, m);
        state = decision.state;
        if (decision.changed) {
            ++changes;
            mode_changes += state.knobs.mode != before.mode;
            since_change_ = 0;
            reasons.push_back(decision.reason);
        }
    }

    void run_slice(const SimulatedLoad& load, GovernorInterval& m) {
        const auto& knobs = state.knobs;
        const bool attached = knobs.mode == TraceMode::exact || knobs.mode == TraceMode::sampled;
        const bool open = attached || std::fmod(since_change_, knobs.period_s) < knobs.window_s;
        double p = 1;
        if (knobs.interval_bytes != 0) {
            p = -std::expm1(-load.bytes / static_cast<double>(knobs.interval_bytes));
        }
        const double returned = settings.costs.return_declinable ? p : 1;
        double x = 0;
        if (open) {
            x = load.allocs * true_cost * 1e-9 *
                (settings.costs.enter_ns + returned * settings.costs.return_ns + settings.costs.free_ns);
        }
        const double own = load.greedy ? load.work * kSlice / (1 + x) : std::min(load.work, 8 / (1 + x)) * kSlice;
        const double had = own * (1 + x);
        m.seconds += kSlice;
        m.cpu_seconds += had;
        cpu += had;
        added += had - own;
        if (open) {
            const double hits = load.allocs * own;
            m.open_seconds += kSlice;
            m.open_cpu_seconds += had;
            m.enters += hits;
            m.kept += hits * p;
            m.kept_bytes += hits * p * load.bytes;
            m.returns += hits * returned;
            m.frees += hits;
            m.added_ns += (had - own) * 1e9;
        }
    }
};

} // namespace memtrace
