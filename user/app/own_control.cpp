#include "app/own_control.hpp"

#include <malloc.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "app/timetable.hpp"
#include "base/clock.hpp"
#include "proc/memory.hpp"
#include "proc/process.hpp"

namespace memtrace {

namespace {

constexpr std::uint64_t kAskEvery = 5 * kNanosPerSecond;
constexpr double kEarly = 0.05; ///< of the time between two looks at ages: a report is not late for that

double to_s(std::uint64_t ns) {
    return static_cast<double>(ns) / static_cast<double>(kNanosPerSecond);
}

std::uint64_t usual_memory() {
    const auto bytes =
        static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    const auto limit = read_memory_limit(::getpid());
    return usual_own_memory(bytes, limit.cgroup ? limit.limit_bytes : 0);
}

OwnSettings settings_of(const Options& options) {
    OwnSettings settings;
    settings.cpu_budget = options.own_cpu;
    settings.memory_budget = options.own_memory ? *options.own_memory : usual_memory();
    settings.interval_s = to_s(options.interval_ns);
    settings.tick_s = to_s(tick_period(options));
    settings.snapshot_s = options.snapshot_dir.empty() || !options.snapshot_by_interval ? 0 : to_s(options.snapshot_interval_ns);
    settings.push_s = options.push_profiles.empty() ? 0 : to_s(options.push_interval_ns);
    return settings;
}

} // namespace

double OwnControl::cpu_seconds() {
    timespec time{};
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

OwnControl::OwnControl(const Options& options, std::function<void(const std::string&)> say)
    : settings_(settings_of(options)), say_(std::move(say)), state_(initial_own_state(settings_)) {}

void OwnControl::change(const Options& options) {
    settings_ = settings_of(options);
    state_ = change_own_settings(std::move(state_), settings_);
}

void OwnControl::begin(std::uint64_t now_ns) {
    asked_ns_ = now_ns;
    cpu_s_ = cpu_seconds();
    use_ = {};
}

void OwnControl::add(OwnWork& work, double cpu_s) {
    work.times += 1;
    work.cpu_s += std::max(cpu_s, 0.0);
}

bool OwnControl::ages_due(std::uint64_t now_ns) const {
    return to_s(now_ns - ages_ns_) >= state_.knobs.ages_s * (1 - kEarly);
}

void OwnControl::ticked(double cpu_s, bool with_ages, std::uint64_t now_ns) {
    const double took = cpu_seconds() - cpu_s;
    if (!with_ages) {
        tick_cpu_s_ = took;
        add(use_.ticks, took);
        return;
    }
    ages_ns_ = now_ns;
    const double plain = std::min(tick_cpu_s_, took);
    add(use_.ticks, plain);
    add(use_.ages, took - plain);
}

void OwnControl::reported(double cpu_s) {
    add(use_.reports, cpu_seconds() - cpu_s);
}

void OwnControl::pushed(double cpu_s) {
    add(use_.pushes, cpu_seconds() - cpu_s);
}

void OwnControl::wrote_snapshots(double cpu_s) {
    const double took = cpu_seconds() - cpu_s;
    if (settings_.snapshot_s > 0) {
        add(use_.snapshots, took);
    } else {
        cpu_s_ += took;
    }
}

bool OwnControl::run(std::uint64_t now_ns, std::size_t sites) {
    if (now_ns - asked_ns_ < kAskEvery) {
        return false;
    }
    const double cpu_s = cpu_seconds();
    use_.seconds = to_s(now_ns - asked_ns_);
    use_.cpu_s = std::max(cpu_s - cpu_s_, 0.0);
    use_.sites = sites;
    if (const auto usage = read_process_usage(::getpid())) {
        use_.rss_bytes = usage->rss_bytes;
    }
    asked_ns_ = now_ns;
    cpu_s_ = cpu_s;
    auto decision = keep_own_budget(state_, settings_, std::exchange(use_, {}));
    const bool was_short = state_.short_of_memory;
    state_ = std::move(decision.state);
    ratio_ = decision.cpu_ratio;
    if (!decision.changed) {
        return false;
    }
    if (state_.short_of_memory && !was_short) {
        ::malloc_trim(0); // what large reports left behind
    }
    reason_ = state_.step == 0 && !state_.short_of_memory ? "" : decision.reason;
    say_(decision.reason);
    return true;
}

CollectorSample OwnControl::sample(std::uint64_t forgotten) const {
    const auto& knobs = state_.knobs;
    const auto usage = read_process_usage(::getpid());
    const double since_s = to_s(monotonic_ns() - asked_ns_);
    const double young = ratio_ == 0 && since_s > 0 ? (cpu_seconds() - cpu_s_) / since_s : ratio_;
    return {young,
            settings_.cpu_budget,
            usage ? usage->rss_bytes : 0,
            settings_.memory_budget,
            knobs.interval_s,
            knobs.tick_s,
            knobs.ages_s,
            knobs.sites_listed,
            knobs.max_sites == ~std::size_t{0} ? 0 : knobs.max_sites,
            forgotten,
            reason_};
}

} // namespace memtrace
