// What became of a site's blocks by their age. Passive; filled from counts of allocations and from births of live blocks, read now and
// then: the kernel half need not remember when what was freed had been born.
//
//   cohorts    allocated between two readings; merged as they age, so that a fixed number covers the run
//   reading    how many of each cohort are live: those missing since the reading before have died, at an age known to that time
//   classes    of age, each twice as wide as the one before: deaths, and the time that blocks were exposed to them
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace memtrace {

constexpr std::size_t kMaxCohorts = 24;

/// Begins a new cohort at `now_ns`, the end of the one before. Where there are too many, two neighbours become one: those whose ages
/// differ least in proportion, so resolution goes with the age. The first one keeps its beginning.
void cut_cohorts(std::vector<std::uint64_t>& starts, std::uint64_t now_ns);

/// Sums over the run. Where allocations are sampled, of what the samples stand for.
struct AgeClasses {
    static constexpr std::size_t kCount = 18; ///< below 1 s, 1 to 2 s, 2 to 4 s, ... and from 65,536 s on
    double born = 0;                          ///< allocated before the last reading
    double kept = 0;                          ///< of those, live at the first reading after
    std::array<float, kCount> deaths{};       ///< after that, by age
    std::array<float, kCount> exposure_s{};   ///< block seconds lived at that age, while watched

    /// The least age of a class, in seconds.
    static double age_s(std::size_t of_class) {
        return of_class == 0 ? 0 : static_cast<double>(std::uint64_t{1} << (of_class - 1));
    }
    void expose(double from_age_s, double to_age_s, double blocks, double died);
    AgeClasses& operator+=(const AgeClasses& other);
    AgeClasses& operator-=(const AgeClasses& other);
};

/// Of one site. At most 580 bytes.
class SurvivalTable {
public:
    struct Cohort {
        std::uint64_t allocs_before = 0; ///< allocations of the site when it began
        std::uint64_t live = 0;          ///< of its blocks, at the last reading
    };

    /// A reading at `now_ns`: of the blocks born since each of `starts`, up to the next one, so many are live.
    void read(std::span<const std::uint64_t> starts, std::span<const std::uint64_t> live, std::uint64_t allocs,
              std::uint64_t now_ns);
    /// Cohorts are cut: `from` becomes `to`, the last of which begins now.
    void cut(std::span<const std::uint64_t> from, std::span<const std::uint64_t> to, std::uint64_t allocs);

    [[nodiscard]] const AgeClasses& ages() const { return ages_; }
    /// Parallel to the process's starts; empty before the first reading.
    [[nodiscard]] const std::vector<Cohort>& cohorts() const { return cohorts_; }

private:
    AgeClasses ages_;
    std::vector<Cohort> cohorts_;
    std::uint64_t read_ns_ = 0; ///< the reading before; 0 = none
};

} // namespace memtrace
