#include "app/call_rate.hpp"

#include <poll.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "app/collector.hpp"
#include "base/clock.hpp"
#include "kernel/heap_tracer.hpp"
#include "report/format.hpp"

namespace memtrace {

namespace {

constexpr std::uint64_t kUsualWindow = 200'000'000;
constexpr std::uint64_t kLongestWindow = 1'000'000'000;
constexpr std::uint64_t kLook = 100'000'000; ///< between two looks at whether enough has been seen
constexpr double kEnoughCalls = 1'000;

/// What a second holds of many programs, so that tables are made in no time; what does not fit is counted all the same.
constexpr TracerLimits kLimits{
    .max_live = 100'000, .max_sites = 8'192, .max_stacks = 8'192, .max_processes = 16, .max_frames = 16};

/// Of all threads, to the nanosecond: /proc counts in ticks of 10 ms, too coarse for a short window.
Result<std::uint64_t> read_cpu_ns(std::int32_t pid) {
    clockid_t clock{};
    timespec time{};
    if (const int error = clock_getcpuclockid(pid, &clock); error != 0) {
        return fail_errno("cannot read the CPU time of process " + std::to_string(pid), error);
    }
    if (clock_gettime(clock, &time) != 0) {
        return fail_errno("cannot read the CPU time of process " + std::to_string(pid), errno);
    }
    return static_cast<std::uint64_t>(time.tv_sec) * kNanosPerSecond + static_cast<std::uint64_t>(time.tv_nsec);
}

/// What the collector's events tell: allocations by function, and that an exec has put another program in the target's place.
class Observed {
public:
    void take(const Event& event) {
        if (const auto* site = std::get_if<SiteDefined>(&event)) {
            names_[site->site.value] = site->function;
        } else if (const auto* sample = std::get_if<SiteSample>(&event)) {
            allocs_[sample->site.value] = sample->allocs;
        } else if (const auto* ended = std::get_if<ProcessEnded>(&event)) {
            replaced_ = replaced_ || ended->reason == EndReason::exec;
        }
    }
    [[nodiscard]] bool replaced() const { return replaced_; }
    [[nodiscard]] std::map<std::string, std::uint64_t> allocations() const {
        std::map<std::string, std::uint64_t> out;
        for (const auto& [site, allocs] : allocs_) {
            if (const auto name = names_.find(site); name != names_.end() && allocs != 0) {
                out[name->second] += allocs;
            }
        }
        return out;
    }

private:
    std::unordered_map<std::uint32_t, std::string> names_;
    std::unordered_map<std::uint32_t, std::uint64_t> allocs_;
    bool replaced_ = false;
};

void add(GovernorInterval& sum, const GovernorInterval& more) {
    sum.enters += more.enters;
    sum.kept += more.kept;
    sum.kept_bytes += more.kept_bytes;
    sum.returns += more.returns;
    sum.frees += more.frees;
    sum.added_ns += more.added_ns;
}

/// The target's window: waits, serves meanwhile what the kernel half asks for, and counts.
struct Window {
    std::int32_t pid;
    const HeapTracer& tracer;
    Collector& collector;
    const Observed& observed;
    const StopSignals& signals;

    [[nodiscard]] Status wait(std::uint64_t until_ns) const;
    /// Adds to `load` what has been counted when it is over, but for the last part of it.
    [[nodiscard]] Status run(GovernorInterval& load, std::uint64_t begin_ns, std::optional<std::uint64_t> window_ns) const;
    /// A rate would be neither program's.
    [[nodiscard]] Status check_image() const {
        return observed.replaced() ? fail(name() + " has become another program while its calls were counted") : Status();
    }
    [[nodiscard]] std::string name() const { return "process " + std::to_string(pid); }
};

Status Window::wait(std::uint64_t until_ns) const {
    for (auto now = monotonic_ns(); now < until_ns; now = monotonic_ns()) {
        const int pidfd = collector.watched().front().second;
        std::array<pollfd, 3> fds{{{signals.fd(), POLLIN, 0}, {pidfd, POLLIN, 0}, {tracer.events_fd(), POLLIN, 0}}};
        const auto left_ms = std::min<std::uint64_t>((until_ns - now + 999'999) / 1'000'000, 1 << 30);
        if (::poll(fds.data(), fds.size(), static_cast<int>(left_ms)) < 0 && errno != EINTR) {
            return fail_errno("cannot wait for events", errno);
        }
        if (fds[0].revents != 0) {
            return fail("stopped before the calls of " + name() + " were counted; nothing is attached any more");
        }
        if (fds[1].revents != 0) {
            return fail(name() + " has ended while its calls were counted");
        }
        if (fds[2].revents != 0) {
            collector.handle_kernel_events();
        }
        if (auto status = check_image(); !status) {
            return status;
        }
    }
    return {};
}

Status Window::run(GovernorInterval& load, std::uint64_t begin_ns, std::optional<std::uint64_t> window_ns) const {
    const auto last_ns = begin_ns + window_ns.value_or(kLongestWindow);
    for (auto until_ns = begin_ns + window_ns.value_or(kUsualWindow);; until_ns = std::min(until_ns + kLook, last_ns)) {
        if (auto status = wait(until_ns); !status || until_ns == last_ns) {
            return status;
        }
        add(load, collector.take_load());
        if (load.enters + load.frees >= kEnoughCalls) {
            return {};
        }
    }
}

// ---- words --------------------------------------------------------------------------------------------------------------------

template <typename... Values>
std::string words(const char* format, Values... values) {
    char text[240];
    std::snprintf(text, sizeof(text), format, values...);
    return text;
}

/// "1,234", "0.50": calls a second.
std::string per_second(double count, double seconds) {
    const double rate = count / seconds;
    return (rate < 10 ? words("%.2f", rate) : human_count(static_cast<std::uint64_t>(std::llround(rate)))) + "/s";
}

/// " (malloc 1,200/s, calloc 34/s)", the most frequent first.
std::string by_function(const CallRate& rate) {
    std::vector<std::pair<std::string, std::uint64_t>> functions(rate.allocations.begin(), rate.allocations.end());
    std::stable_sort(functions.begin(), functions.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
    std::string text;
    for (const auto& [name, count] : functions) {
        text += (text.empty() ? " (" : ", ") + name + " " + per_second(static_cast<double>(count), rate.load.seconds);
    }
    return text.empty() ? text : text + ")";
}

std::string describe_calls(const CallRate& rate) {
    const auto& load = rate.load;
    return words("  calls in %.0f ms: ", load.seconds * 1e3) + per_second(load.enters, load.seconds) + " allocations" +
           by_function(rate) + ", " + per_second(load.frees, load.seconds) + " frees" + "; it used " +
           human_percent(load.cpu_seconds / load.seconds) + " of a CPU\n";
}

std::string describe_share(const CallRate& rate, double share) {
    std::string text = "  exact tracing would take " + human_percent(share) +
                       " of its CPU time, as it did while they were counted" +
                       words(": %.0f ns an allocation, %.0f ns its return, %.0f ns a free\n", rate.costs.enter_ns,
                             rate.costs.return_ns, rate.costs.free_ns);
    if (share >= 0.1) { // time that the probes took was the target's to call in
        text += "  without probes it may call up to " +
                (share > 0.9 ? std::string("more than 10") : words("%.1f", 1 / (1 - share))) + " times as often\n";
    }
    return text;
}

} // namespace

Result<CallRate> measure_call_rate(std::int32_t pid, const std::string& allocator, const KernelFeatures& features,
                                   std::optional<std::uint64_t> window_ns, const StopSignals& signals) {
    auto tracer = HeapTracer::load(kLimits, features.best_method(), features);
    if (!tracer) {
        return tl::unexpected(tracer.error());
    }
    Observed observed;
    Collector collector(*tracer, {allocator, 0}, [&](const Event& event) { observed.take(event); });
    if (auto status = collector.follow(pid, Collector::Stage::running, false); !status) {
        return tl::unexpected(status.error());
    }
    CallRate rate;
    auto& load = rate.load;
    const auto cpu_before = read_cpu_ns(pid);
    const auto begin_ns = monotonic_ns();
    collector.activate(pid);
    const Window window{pid, *tracer, collector, observed, signals};
    auto status = window.run(load, begin_ns, window_ns);
    const auto cpu_after = read_cpu_ns(pid);
    const auto end_ns = monotonic_ns();
    add(load, collector.take_load());
    if (status) {
        status = collector.tick(false, false); // times the programs, and names the sites
    }
    collector.handle_kernel_events(); // an exec, perhaps
    collector.deactivate_all();
    if (status) {
        status = window.check_image();
    }
    if (!status) {
        return tl::unexpected(status.error());
    }
    if (!cpu_before || !cpu_after) {
        return tl::unexpected((cpu_before ? cpu_after : cpu_before).error());
    }
    load.seconds = load.open_seconds = static_cast<double>(end_ns - begin_ns) / static_cast<double>(kNanosPerSecond);
    load.cpu_seconds = load.open_cpu_seconds =
        static_cast<double>(*cpu_after - std::min(*cpu_before, *cpu_after)) / static_cast<double>(kNanosPerSecond);
    load.kept_bytes += collector.take_load().kept_bytes; // the sites' bytes are known since the tick
    rate.allocations = observed.allocations();
    rate.costs = collector.probe_costs();
    return rate;
}

std::string describe_call_rate(const CallRate& rate, double budget) {
    const auto& load = rate.load;
    if (load.enters + load.frees <= 0) {
        return words("  no call was seen in %.0f ms: what tracing takes is not known; it would begin exact\n",
                     load.seconds * 1e3);
    }
    GovernorSettings settings;
    settings.budget = budget;
    settings.costs = rate.costs;
    const auto decision = govern(initial_governor_state(settings), settings, load);
    const auto choice = "  --sample auto --max-overhead " + words("%g%%", budget * 100) + " would choose ";
    if (decision.state.slow.own_s <= 0) { // too little for the governor too
        return describe_calls(rate) + choice + knobs_name(decision.state.knobs) +
               ": its CPU time is too little to take a share of\n";
    }
    const double exact = expected_overhead(decision.state, settings, GovernorKnobs{});
    return describe_calls(rate) + describe_share(rate, exact) + choice + knobs_name(decision.state.knobs) +
           (decision.changed ? ", expected to take " + human_percent(decision.expected) + ": exact is over the budget\n"
                             : ": exact is within the budget\n");
}

} // namespace memtrace
