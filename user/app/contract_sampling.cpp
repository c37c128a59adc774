#include "app/contract_sampling.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace memtrace {

namespace {

constexpr unsigned kMostByCost = 6;
constexpr unsigned kMost = 10;
constexpr double kRoom = 0.7; ///< of the budget: below it, hearing of twice as many objects is tried
constexpr double kMaxPatience = 600;
/// Of a second, that hearing of it may take anyway: of a program that does next to nothing else, whatever is heard is most of what it does.
constexpr double kIdle = 0.01;

void raise(ContractSampling& state) {
    ++state.shift;
    state.calm_s = 0;
    if (state.lowered_at_s >= 0 && state.now_s - state.lowered_at_s < 3 * state.patience_s) {
        state.patience_s = std::min(2 * state.patience_s, kMaxPatience); // lowering it was a mistake
    }
    state.lowered_at_s = -1;
}

std::string one_in(unsigned shift) {
    return shift == 0 ? "all objects" : "one object in " + std::to_string(1u << shift);
}

std::string percent(double share) {
    char text[32];
    std::snprintf(text, sizeof(text), "%.1f %%", share * 100);
    return text;
}

} // namespace

ContractDecision sample_contract(const ContractSampling& before, double budget, const ContractLoad& load) {
    ContractDecision decision;
    decision.state = before;
    auto& state = decision.state;
    if (!std::isfinite(load.seconds) || load.seconds <= 0) {
        return decision;
    }
    state.now_s += load.seconds;
    const bool counts = load.cpu_ns > 0 && load.told_ns > kIdle * 1e9 * load.seconds;
    const double share = counts ? std::min(load.told_ns / load.cpu_ns, 1.0) : 0;
    if (load.lost != 0 && state.shift < kMost) {
        raise(state);
        decision.reason = std::to_string(load.lost) + " records of what the program tells were lost: ";
    } else if (budget > 0 && share > budget && state.shift < kMostByCost) {
        raise(state);
        decision.reason =
            "hearing what the program tells takes " + percent(share) + " of its CPU time, budget " + percent(budget) + ": ";
    } else if (load.most_kept_bytes != 0 && load.kept_bytes > load.most_kept_bytes && state.shift < kMost) {
        raise(state);
        decision.reason = "what is kept of its objects takes " + std::to_string(load.kept_bytes >> 20) +
                          " MiB, and memtrace is short of memory: ";
    } else if (load.lost != 0 || load.most_kept_bytes != 0 || (budget > 0 && share > kRoom * budget)) {
        state.calm_s = 0;
    } else if (state.shift != 0) {
        state.calm_s += load.seconds;
    }
    if (state.shift != 0 && state.calm_s >= state.patience_s) {
        --state.shift;
        state.calm_s = 0;
        state.lowered_at_s = state.now_s;
        decision.reason = "nothing lost, and room in the budget: ";
    }
    if (state.lowered_at_s >= 0 && state.now_s - state.lowered_at_s >= 3 * state.patience_s) {
        state.lowered_at_s = -1;
        state.patience_s = std::max(state.patience_s / 2, ContractSampling{}.patience_s);
    }
    decision.changed = state.shift != before.shift;
    decision.reason += decision.changed ? one_in(state.shift) : "";
    return decision;
}

} // namespace memtrace
