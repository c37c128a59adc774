#include "app/told_interval.hpp"

#include <algorithm>
#include <cmath>

namespace memtrace {

namespace {

constexpr std::uint64_t kSmall = 64;   // so many times a small block it stands for: then the formulas differ by less than 1 %
constexpr std::uint64_t kAlike = 50;   // values that differ by less than one in so many are one
constexpr unsigned kAgree = 4;         // of blocks that are small, 1 in 128 has two marks: in a row, fewer than 1 in 10^8
constexpr std::uint64_t kRounded = 64; // how much less than itself, one in so many, a block may stand for by rounding

bool are_alike(std::uint64_t a, std::uint64_t b) {
    return std::max(a, b) - std::min(a, b) <= std::max(a, b) / kAlike;
}

/// 0 where it would have been kept for certain.
std::uint64_t by_formula(std::uint64_t size, std::uint64_t weight) {
    const double kept = static_cast<double>(size) / static_cast<double>(weight);
    return size >= weight ? 0 : static_cast<std::uint64_t>(std::lround(-static_cast<double>(size) / std::log1p(-kept)));
}

} // namespace

bool ToldInterval::add(std::uint64_t size, std::uint64_t weight) {
    if (size == 0 || weight == 0) {
        return false;
    }
    return size <= weight / kSmall ? add_small(by_formula(size, weight)) : add_other(size, weight);
}

bool ToldInterval::add_small(std::uint64_t interval) {
    agreed_ = are_alike(interval, candidate_) ? agreed_ + 1 : 1;
    candidate_ = interval;
    if (by_small_ && agreed_ < kAgree) {
        return false;
    }
    by_small_ = true;
    return change(interval);
}

bool ToldInterval::add_other(std::uint64_t size, std::uint64_t weight) {
    by_marks_ = by_marks_ || weight < size - size / kRounded;
    least_weight_ = least_weight_ == 0 ? weight : std::min(least_weight_, weight);
    if (by_small_) {
        return false;
    }
    return change(by_marks_ ? least_weight_ : std::max(value_, by_formula(size, weight)));
}

bool ToldInterval::change(std::uint64_t interval) {
    if (are_alike(interval, value_)) {
        return false;
    }
    value_ = interval;
    return true;
}

} // namespace memtrace
