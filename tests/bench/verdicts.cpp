// `make bench-verdicts`: how often verdicts are right, on the workloads of tests/corpus.
//
//   verdicts [--seed N] [--runs N] [--only TEXT] [--verbose]
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tests/corpus/outcome.hpp"

namespace {

using namespace memtrace;
using namespace memtrace::corpus;

/// Of the figure. What thresholds were chosen on had seeds below 1000.
constexpr std::uint64_t kFirstSeed = 20'000;

struct Arguments {
    std::uint64_t seed = kFirstSeed;
    std::uint64_t runs = 2;
    std::string only;
    bool verbose = false;
};

struct Sums {
    int leaks = 0;
    int found = 0;
    int others = 0;
    int false_calls = 0;   ///< at the end
    int ever_false = 0;    ///< at any report
    int ever_definite = 0; ///< likewise, definite
    std::vector<double> first_s;
    std::vector<double> detected_s;
};

void run_all(const std::vector<Workload>& workloads, const Arguments& arguments, Sums& sums) {
    for (std::size_t i = 0; i < workloads.size(); ++i) {
        if (workloads[i].name.find(arguments.only) == std::string::npos) {
            continue;
        }
        for (std::uint64_t run_number = 0; run_number < arguments.runs; ++run_number) {
            const auto outcomes = run(workloads[i], arguments.seed + 100 * run_number + i);
            for (std::size_t site = 0; site < outcomes.size(); ++site) {
                const auto& outcome = outcomes[site];
                (outcome.leaks ? sums.leaks : sums.others) += 1;
                sums.found += outcome.leaks && outcome.called ? 1 : 0;
                sums.false_calls += !outcome.leaks && outcome.called ? 1 : 0;
                sums.ever_false += !outcome.leaks && outcome.first_s >= 0 ? 1 : 0;
                sums.ever_definite += !outcome.leaks && outcome.definite ? 1 : 0;
                if (outcome.leaks && outcome.first_s >= 0) {
                    sums.first_s.push_back(outcome.first_s);
                }
                if (outcome.leaks && outcome.called) {
                    sums.detected_s.push_back(outcome.detected_s);
                }
                const bool wrong = outcome.leaks != outcome.called || (!outcome.leaks && outcome.definite);
                if (wrong || (arguments.verbose && site == 0)) {
                    std::printf("%-44s site %zu: %s%s (first %d s, for %d s, found after %.0f s): %s\n",
                                workloads[i].name.c_str(), site + 1, outcome.leaks ? "LEAK " : "", outcome.verdict.c_str(),
                                outcome.first_s, outcome.called_s, outcome.detected_s, outcome.evidence.c_str());
                }
            }
        }
    }
}

double quantile(std::vector<double> values, double q) {
    if (values.empty()) {
        return 0;
    }
    std::sort(values.begin(), values.end());
    return values[static_cast<std::size_t>(q * static_cast<double>(values.size() - 1))];
}

void print(const char* name, const Sums& sums) {
    const int called = sums.found + sums.false_calls;
    std::printf("%-10s %3d leaks, %d found: recall %.3f; %d other sites, %d called at the end: precision %.3f; %d called at some "
                "time: %.3f\n",
                name, sums.leaks, sums.found, sums.leaks > 0 ? static_cast<double>(sums.found) / sums.leaks : 0, sums.others,
                sums.false_calls, called > 0 ? static_cast<double>(sums.found) / called : 1, sums.ever_false,
                sums.found + sums.ever_false > 0 ? static_cast<double>(sums.found) / (sums.found + sums.ever_false) : 1);
    std::printf("%-10s time to detection: median %.0f s, 90 %% within %.0f s, all within %.0f s (called first: median %.0f s); "
                "definite and wrong at some time: %d\n",
                "", quantile(sums.detected_s, 0.5), quantile(sums.detected_s, 0.9), quantile(sums.detected_s, 1),
                quantile(sums.first_s, 0.5), sums.ever_definite);
}

} // namespace

int main(int argc, char** argv) {
    Arguments arguments;
    for (int i = 1; i < argc; ++i) {
        const bool more = i + 1 < argc;
        if (more && std::strcmp(argv[i], "--seed") == 0) {
            arguments.seed = std::strtoull(argv[++i], nullptr, 10);
        } else if (more && std::strcmp(argv[i], "--runs") == 0) {
            arguments.runs = std::strtoull(argv[++i], nullptr, 10);
        } else if (more && std::strcmp(argv[i], "--only") == 0) {
            arguments.only = argv[++i];
        } else if (std::strcmp(argv[i], "--verbose") == 0) {
            arguments.verbose = true;
        } else {
            std::fprintf(stderr, "usage: verdicts [--seed N] [--runs N] [--only TEXT] [--verbose]\n");
            return 2;
        }
    }
    Sums sums;
    run_all(leaking_workloads(), arguments, sums);
    run_all(healthy_workloads(), arguments, sums);
    print("verdicts", sums);
    Sums late;
    run_all(late_workloads(), arguments, late);
    print("late", late);
    Sums windowed;
    run_all(windowed_workloads(), arguments, windowed);
    print("windowed", windowed);
    return 0;
}
