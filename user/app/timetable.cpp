#include "app/timetable.hpp"

namespace memtrace {

namespace {

constexpr std::uint64_t kNever = ~std::uint64_t{0};
constexpr std::uint64_t kShortestTick = 200'000'000;
constexpr std::uint64_t kLongestTick = 10'000'000'000;
constexpr std::uint64_t kTicksPerReport = 10; ///< growth is judged on ticks, which are finer than reports

std::uint64_t to_ns(double seconds) {
    return static_cast<std::uint64_t>(seconds * static_cast<double>(kNanosPerSecond));
}

} // namespace

std::uint64_t tick_period(const Options& options) {
    return std::clamp(options.interval_ns / kTicksPerReport, kShortestTick, kLongestTick);
}

void Calendar::reckon(std::uint64_t wall) {
    last_wall_ = wall;
    next_wall_ = kNever;
    for (const auto& schedule : schedules_) {
        next_wall_ = std::min(next_wall_, next_moment(schedule, wall));
    }
}

std::uint64_t Calendar::next() const {
    const auto wall = wall_ns();
    return schedules_.empty() ? kNever : monotonic_ns() + next_wall_ - std::min(wall, next_wall_);
}

bool Calendar::due() {
    const auto wall = wall_ns();
    const bool now = !schedules_.empty() && wall >= next_wall_;
    if (now || wall + kNanosPerSecond < last_wall_) { // put back, there may be an earlier one
        reckon(wall);
    }
    last_wall_ = wall;
    return now;
}

Timetable::Timetable(const Options& options, bool has_snapshots, std::uint64_t begin_ns)
    : ticks(begin_ns + tick_period(options), tick_period(options)), reports(begin_ns + options.interval_ns, options.interval_ns),
      snapshots(has_snapshots && options.snapshot_by_interval ? begin_ns + options.snapshot_interval_ns : kNever,
                options.snapshot_interval_ns),
      pushes(options.push_profiles.empty() ? kNever : begin_ns + options.push_interval_ns, options.push_interval_ns),
      calendar(has_snapshots ? options.snapshot_at : std::vector<Schedule>()) {}

std::uint64_t Timetable::next() const {
    return std::min({ticks.next(), reports.next(), snapshots.next(), pushes.next(), calendar.next()});
}

void Timetable::set_periods(double tick_s, double report_s, double snapshot_s, double push_s) {
    ticks.set_period(to_ns(tick_s));
    reports.set_period(to_ns(report_s));
    snapshots.set_period(to_ns(snapshot_s)); // its next moment is never where none are wanted
    pushes.set_period(to_ns(push_s));        // likewise
}

bool Timetable::snapshot_due(std::uint64_t now_ns) {
    const bool by_interval = snapshots.due(now_ns);
    return calendar.due() || by_interval;
}

} // namespace memtrace
