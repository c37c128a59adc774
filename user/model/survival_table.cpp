#include "model/survival_table.hpp"

#include <algorithm>

namespace memtrace {

namespace {

constexpr double kNanosPerSecond = 1e9;

double seconds(std::uint64_t from_ns, std::uint64_t to_ns) {
    return to_ns > from_ns ? static_cast<double>(to_ns - from_ns) / kNanosPerSecond : 0;
}

/// Added to a float, which holds large sums well enough.
void add(float& sum, double value) {
    sum = static_cast<float>(static_cast<double>(sum) + value);
}

} // namespace

void cut_cohorts(std::vector<std::uint64_t>& starts, std::uint64_t now_ns) {
    if (!starts.empty() && now_ns <= starts.back()) {
        return;
    }
    starts.push_back(now_ns);
    if (starts.size() <= kMaxCohorts) {
        return;
    }
    std::size_t best = 1;
    double least = 2;
    for (std::size_t i = 1; i + 1 < starts.size(); ++i) {
        const double share = seconds(starts[i - 1], starts[i + 1]) / seconds(starts[i - 1], now_ns);
        if (share < least) {
            least = share;
            best = i;
        }
    }
    starts.erase(starts.begin() + static_cast<std::ptrdiff_t>(best));
}

void AgeClasses::expose(double from_age_s, double to_age_s, double blocks, double died) {
    const double length = to_age_s - from_age_s;
    for (std::size_t i = 0; i < kCount && length > 0; ++i) {
        const double end = i + 1 < kCount ? std::min(to_age_s, age_s(i + 1)) : to_age_s;
        const double within = end - std::max(from_age_s, age_s(i));
        if (within > 0) {
            add(exposure_s[i], blocks * within);
            add(deaths[i], died * within / length);
        }
    }
}

AgeClasses& AgeClasses::operator+=(const AgeClasses& other) {
    born += other.born;
    kept += other.kept;
    for (std::size_t i = 0; i < kCount; ++i) {
        deaths[i] += other.deaths[i];
        exposure_s[i] += other.exposure_s[i];
    }
    return *this;
}

AgeClasses& AgeClasses::operator-=(const AgeClasses& other) {
    born = std::max(born - other.born, 0.0);
    kept = std::max(kept - other.kept, 0.0);
    for (std::size_t i = 0; i < kCount; ++i) {
        deaths[i] = std::max(deaths[i] - other.deaths[i], 0.0F);
        exposure_s[i] = std::max(exposure_s[i] - other.exposure_s[i], 0.0F);
    }
    return *this;
}

void SurvivalTable::read(std::span<const std::uint64_t> starts, std::span<const std::uint64_t> live, std::uint64_t allocs,
                         std::uint64_t now_ns) {
    if (starts.empty() || live.size() != starts.size()) {
        return;
    }
    cohorts_.resize(starts.size()); // a site read first: what it did before counts as the last cohort's
    for (std::size_t i = 0; i + 1 < starts.size(); ++i) {
        auto& cohort = cohorts_[i];
        const auto before = static_cast<double>(cohort.live);
        cohort.live = std::min(live[i], cohort.live); // what is read late is not born again
        const auto after = static_cast<double>(cohort.live);
        if (before > 0 && read_ns_ != 0) {
            const auto middle = starts[i] + (starts[i + 1] - starts[i]) / 2;
            ages_.expose(seconds(middle, read_ns_), seconds(middle, now_ns), (before + after) / 2, before - after);
        }
    }
    auto& newest = cohorts_.back();
    const auto born = allocs > newest.allocs_before ? allocs - newest.allocs_before : 0;
    newest.live = std::min(live.back(), born);
    ages_.born += static_cast<double>(born);
    ages_.kept += static_cast<double>(newest.live);
    read_ns_ = now_ns;
}

void SurvivalTable::cut(std::span<const std::uint64_t> from, std::span<const std::uint64_t> to, std::uint64_t allocs) {
    if (cohorts_.size() != from.size() || cohorts_.empty() || to.empty() || to.size() > kMaxCohorts) {
        return;
    }
    std::array<Cohort, kMaxCohorts> next{};
    for (std::size_t i = from.size(); i-- > 0;) { // backwards: the earliest of those merged tells what was allocated before
        const auto into = static_cast<std::size_t>(std::upper_bound(to.begin(), to.end(), from[i]) - to.begin());
        auto& cohort = next[into == 0 ? 0 : into - 1];
        cohort.allocs_before = cohorts_[i].allocs_before;
        cohort.live += cohorts_[i].live;
    }
    next[to.size() - 1].allocs_before = allocs;
    cohorts_.assign(next.begin(), next.begin() + static_cast<std::ptrdiff_t>(to.size()));
}

} // namespace memtrace
