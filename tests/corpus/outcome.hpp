// Running a workload through the model and the report builder, and what came of it.
#pragma once

#include "report/build.hpp"
#include "tests/corpus/workloads.hpp"

namespace memtrace::corpus {

struct SiteOutcome {
    bool leaks = false;
    std::string verdict;    ///< at the end
    std::string evidence;   ///< likewise
    bool called = false;    ///< probable or definite at the end
    int first_s = -1;       ///< when it was called so first; -1 = never
    int called_s = 0;       ///< for how long it was called so
    bool definite = false;  ///< was called that at some time
    double detected_s = -1; ///< from the leak's onset until it was called so for good; -1 = not
};

inline bool is_called(const std::string& verdict) {
    return verdict == "probable" || verdict == "definite";
}

/// In the order of the sites. `seed` decides everything that is random.
inline std::vector<SiteOutcome> run(const Workload& workload, std::uint64_t seed) {
    Simulation sim(seed, workload.tracing);
    Scene scene(sim);
    workload.set_up(scene);
    add_background(scene);
    std::vector<SiteOutcome> outcomes(scene.leaking.size());
    for (std::size_t i = 0; i < outcomes.size(); ++i) {
        outcomes[i].leaks = scene.leaking[i];
    }
    for (int second = 0; second < workload.duration_s; ++second) {
        const double load = scene.load(second);
        sim.work(load);
        for (const auto& behave : scene.behaviours) {
            behave(sim, load);
        }
        if (!sim.tick()) {
            continue;
        }
        const auto report = build_report(sim.model(), Simulation::kProcess);
        for (const auto& site : report.sites) {
            const auto id = site.stack.front().offset; // as add_site made it
            auto& outcome = outcomes[id - 1];
            outcome.verdict = site.verdict;
            outcome.evidence = site.evidence;
            outcome.called = is_called(site.verdict);
            outcome.definite = outcome.definite || site.verdict == "definite";
            if (outcome.called) {
                outcome.called_s += Simulation::kTicksPerReport;
                outcome.first_s = outcome.first_s < 0 ? sim.now_s() : outcome.first_s;
                outcome.detected_s = outcome.detected_s < 0 ? sim.now_s() - scene.onset_s : outcome.detected_s;
            } else {
                outcome.detected_s = -1;
            }
        }
        sim.reported();
    }
    return outcomes;
}

} // namespace memtrace::corpus
