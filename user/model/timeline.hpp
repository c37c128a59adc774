// A figure over time in bounded memory: fine where it is recent, coarse where it is old.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace memtrace {

/// A cascade of rings. The first holds the newest 64 ticks, each further one the newest 64 of fourfold width: with a tick of half a second
/// that is half a minute, two, eight, half an hour, two hours, nine, 36 and six days. What four entries become is the smallest of them:
/// what was held all that time. For figures that only rise (time, CPU time) that is the first of them, so entries of one number belong together.
///
/// Ticks are numbered from 1 by whoever owns the series, all of a process alike; ticks before the first add() count as zero. A float is
/// good to one part in 16 million, at half the memory of an integer: at most 2 KiB a series, and nothing before the first add().
template <typename T>
class Rings {
public:
    static constexpr std::size_t kLevels = 8;
    static constexpr std::size_t kEntries = 64;
    static constexpr std::uint64_t kFold = 4;
    static constexpr unsigned kFoldBits = 2;
    static_assert(kFold == 1U << kFoldBits);

    /// `tick` is the one after that of the call before.
    void add(std::uint64_t tick, T value) {
        store(0, tick, value);
        for (std::size_t level = 1; level < kLevels && tick % kFold == 0; ++level) {
            value = at(level - 1, tick);
            for (std::uint64_t back = 1; back < kFold; ++back) {
                value = std::min(value, at(level - 1, tick - back));
            }
            tick /= kFold;
            store(level, tick, value);
        }
    }

    /// As add() of the same value at each tick after `from`, the one of the call before, up to `to`; at most some hundred steps.
    void add_run(std::uint64_t from, std::uint64_t to, T value) {
        std::array<T, kLevels> firsts; // of each level: the entry that has ticks of before the run in it too
        firsts[0] = value;
        for (std::size_t level = 1; level < kLevels; ++level) {
            firsts[level] = firsts[level - 1];
            const std::uint64_t known = from >> (kFoldBits * (level - 1));
            for (std::uint64_t part = (from >> (kFoldBits * level)) * kFold + 1; part <= known; ++part) {
                firsts[level] = std::min(firsts[level], at(level - 1, part));
            }
        }
        for (std::size_t level = 0; level < kLevels; ++level) {
            const std::uint64_t first = (from >> (kFoldBits * level)) + 1;
            const std::uint64_t last = to >> (kFoldBits * level);
            for (std::uint64_t entry = std::max(first, last > kEntries ? last - kEntries + 1 : 1); entry <= last; ++entry) {
                store(level, entry, entry == first ? firsts[level] : value);
            }
        }
    }

    /// The finest ring that holds everything since tick 1; the coarsest, where none does. `tick`: the newest one.
    static std::size_t whole_run(std::uint64_t tick) {
        std::size_t level = 0;
        for (; level + 1 < kLevels && tick > kEntries; ++level) {
            tick /= kFold;
        }
        return level;
    }

    /// The entries of a ring, the oldest first. `tick`: the newest one.
    [[nodiscard]] std::vector<double> read(std::size_t level, std::uint64_t tick) const {
        for (std::size_t i = 0; i < level; ++i) {
            tick /= kFold;
        }
        std::vector<double> values;
        for (std::uint64_t entry = tick > kEntries ? tick - kEntries + 1 : 1; entry <= tick; ++entry) {
            values.push_back(static_cast<double>(at(level, entry)));
        }
        return values;
    }

    [[nodiscard]] bool empty() const { return values_.empty(); }
    [[nodiscard]] std::size_t bytes() const { return values_.capacity() * sizeof(T); }

private:
    [[nodiscard]] T at(std::size_t level, std::uint64_t entry) const {
        const std::size_t place = level * kEntries + entry % kEntries;
        return place < values_.size() ? values_[place] : T{};
    }
    void store(std::size_t level, std::uint64_t entry, T value) {
        if (const std::size_t needed = (level + 1) * kEntries; values_.size() < needed) {
            values_.reserve(needed);
            values_.resize(needed);
        }
        values_[level * kEntries + entry % kEntries] = value;
    }

    std::vector<T> values_;
};

using Timeline = Rings<float>;

/// The timeline of a figure that mostly stands still, as that of one site of 50,000: ticks at which it stayed as it was cost nothing, and
/// are filled in when it changes, or is read. Takes no memory before it is above zero at a tick.
class LazyTimeline {
public:
    /// At all ticks from the one after that of the call before, up to `tick`, it was `value`.
    void fill(std::uint64_t tick, float value) {
        if (values_.empty() && value == 0) {
            filled_ = tick;
        }
        if (filled_ < tick) {
            values_.add_run(filled_, tick, value);
            filled_ = tick;
        }
    }
    /// As that of Timeline; since the last fill() it is `value`.
    [[nodiscard]] std::vector<double> read(std::size_t level, std::uint64_t tick, float value) const {
        auto whole = *this;
        whole.fill(tick, value);
        return whole.values_.read(level, tick);
    }
    /// Whether it was above zero at a tick up to `tick`; since the last fill() it is `value`.
    [[nodiscard]] bool any(std::uint64_t tick, float value) const { return !values_.empty() || (tick > filled_ && value != 0); }
    [[nodiscard]] std::size_t bytes() const { return values_.bytes(); }

private:
    Timeline values_;
    std::uint64_t filled_ = 0; ///< the last tick that is
};

} // namespace memtrace
