// What call sites do, second by second. Each behaviour owns its blocks; a site may have several.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <numbers>
#include <vector>

#include "tests/corpus/simulation.hpp"

namespace memtrace::corpus {

/// What a site does in each second, at a load of 1 where it is usual.
using Behaviour = std::function<void(Simulation&, double load)>;

struct LeakSettings {
    double rate = 1; ///< blocks leaked a second
    std::uint32_t size = 64;
    double fraction = 1;   ///< of the allocations that are leaked; the others live
    double lifetime_s = 2; ///< for so long on average
    int onset_s = 0;
    int burst_s = 1; ///< all of so many seconds at once
};
inline Behaviour leak(std::uint32_t site, LeakSettings s) {
    return [=](Simulation& sim, double load) {
        if (sim.now_s() % s.burst_s != 0) {
            return;
        }
        for (auto n = sim.poisson(load * s.burst_s * s.rate / s.fraction); n > 0; --n) {
            const auto block = sim.allocate(site, s.size);
            if (sim.now_s() < s.onset_s || sim.uniform() >= s.fraction) {
                sim.free_after(block, sim.exponential(s.lifetime_s));
            }
        }
    };
}

/// Blocks that live for a random time.
inline Behaviour turnover(std::uint32_t site, double rate, std::uint32_t size, double lifetime_s) {
    return [=](Simulation& sim, double load) {
        for (auto n = sim.poisson(load * rate); n > 0; --n) {
            sim.free_after(sim.allocate(site, size), sim.exponential(lifetime_s));
        }
    };
}

/// Lifetimes with a long tail.
inline Behaviour heavy_tail(std::uint32_t site, double rate, std::uint32_t size, double median_s, double sigma) {
    return [=](Simulation& sim, double load) {
        for (auto n = sim.poisson(load * rate); n > 0; --n) {
            sim.free_after(sim.allocate(site, size), sim.log_normal(median_s, sigma));
        }
    };
}

/// Sessions with a random lifetime which were there before, so many on average.
inline Behaviour sessions(std::uint32_t site, double count, std::uint32_t size, double lifetime_s, bool before) {
    return [=, started = false](Simulation& sim, double load) mutable {
        for (auto n = before && !started ? sim.poisson(count) : 0; n > 0; --n) {
            sim.free_after(Simulation::older(site, size), sim.exponential(lifetime_s));
        }
        started = true;
        for (auto n = sim.poisson(load * count / lifetime_s); n > 0; --n) {
            sim.free_after(sim.allocate(site, size), sim.exponential(lifetime_s));
        }
    };
}

/// A cache of so many keys, asked for at random: it fills up the slower the fuller it is.
inline Behaviour warm_up(std::uint32_t site, double keys, std::uint32_t size, double tau_s) {
    return [=, filled = 0.0](Simulation& sim, double load) mutable {
        for (auto n = sim.poisson(load * (keys - filled) / tau_s); n > 0 && filled < keys; --n, ++filled) {
            sim.allocate(site, size);
        }
    };
}

/// First in, first out, at a steady rate: straight up until it is full. `full`: it was so before.
inline Behaviour fifo_cache(std::uint32_t site, std::size_t capacity, std::uint32_t size, double rate, bool full) {
    auto held = std::make_shared<std::deque<Block>>();
    if (full) {
        held->assign(capacity, Simulation::older(site, size));
    }
    return [=](Simulation& sim, double load) {
        for (auto n = sim.poisson(load * rate); n > 0; --n) {
            held->push_back(sim.allocate(site, size));
            if (held->size() > capacity) {
                sim.free(held->front());
                held->pop_front();
            }
        }
    };
}

/// Least recently used, keys of a Zipf-like popularity: few stay for good, most pass through. Sampled by its misses.
inline Behaviour lru_cache(std::uint32_t site, std::size_t capacity, std::uint32_t size, double requests, std::size_t keys,
                           bool full) {
    struct State {
        std::vector<std::int64_t> used; ///< by key: sequence of the last use, -1 = not held
        std::vector<Block> blocks;
        std::deque<std::pair<std::size_t, std::int64_t>> order;
        std::size_t held = 0;
        std::int64_t sequence = 0;
    };
    auto state = std::make_shared<State>();
    state->used.assign(keys, -1);
    state->blocks.resize(keys);
    const auto touch = [=](Simulation& sim, std::size_t key, bool older) {
        if (state->used[key] < 0) {
            state->blocks[key] = older ? Simulation::older(site, size) : sim.allocate(site, size);
            ++state->held;
        }
        state->used[key] = ++state->sequence;
        state->order.emplace_back(key, state->sequence);
        while (state->held > capacity) {
            const auto [oldest, when] = state->order.front();
            state->order.pop_front();
            if (state->used[oldest] == when) {
                sim.free(state->blocks[oldest]);
                state->used[oldest] = -1;
                --state->held;
            }
        }
    };
    const auto draw = [=](Simulation& sim) { // popularity falls with the cube root of the rank's share
        const double u = sim.uniform();
        return std::min(static_cast<std::size_t>(static_cast<double>(keys) * u * u * u), keys - 1);
    };
    return [=, primed = !full](Simulation& sim, double load) mutable {
        while (!primed && state->held < capacity) {
            touch(sim, draw(sim), true);
        }
        primed = true;
        for (auto n = sim.poisson(load * requests); n > 0; --n) {
            touch(sim, draw(sim), false);
        }
    };
}

/// Whatever is put in replaces something at random, once it is full.
inline Behaviour random_cache(std::uint32_t site, std::size_t capacity, std::uint32_t size, double rate) {
    auto held = std::make_shared<std::vector<Block>>();
    return [=](Simulation& sim, double load) {
        for (auto n = sim.poisson(load * rate); n > 0; --n) {
            const auto block = sim.allocate(site, size);
            if (held->size() < capacity) {
                held->push_back(block);
            } else {
                auto& place = (*held)[sim.below(capacity)];
                sim.free(place);
                place = block;
            }
        }
    };
}

/// A pool that keeps what it ever needed at once: it grows with each new record.
inline Behaviour high_water_pool(std::uint32_t site, double mean_in_use, std::uint32_t size) {
    return [=, peak = 0.0](Simulation& sim, double load) mutable {
        const auto in_use = static_cast<double>(sim.poisson(load * mean_in_use));
        for (; peak < in_use; ++peak) {
            sim.allocate(site, size);
        }
    };
}

/// Collects for so long, then frees all: batches, log rotation, a sort.
inline Behaviour sawtooth(std::uint32_t site, double rate, std::uint32_t size, int period_s, int phase_s) {
    auto held = std::make_shared<std::vector<Block>>();
    return [=](Simulation& sim, double load) {
        for (auto n = sim.poisson(load * rate); n > 0; --n) {
            held->push_back(sim.allocate(site, size));
        }
        if ((sim.now_s() + phase_s) % period_s == 0) {
            for (const auto& block : *held) {
                sim.free(block);
            }
            held->clear();
        }
    };
}

/// A hash table of a growing number of entries: one block, twice as large each time. Entries come ever more slowly.
inline Behaviour doubling_table(std::uint32_t site, double entries, double tau_s) {
    return [=, held = Block{}, size = 0u, filled = 0.0](Simulation& sim, double load) mutable {
        filled += load * (entries - filled) / tau_s;
        const auto needed = static_cast<std::uint32_t>(filled * 16 / 0.75);
        if (needed > size) {
            const auto next = std::max(size * 2, 1024u);
            const auto grown = sim.allocate(site, next);
            if (size != 0) {
                sim.free(held);
            }
            held = grown;
            size = next;
        }
    };
}

/// A vector that is appended to without end within bounds of one block: realloc by realloc.
inline Behaviour growing_buffer(std::uint32_t site, double bytes_per_s) {
    return [=, held = Block{}, size = 0.0](Simulation& sim, double load) mutable {
        const bool first = size == 0;
        size += load * bytes_per_s;
        if (!first) {
            sim.free(held);
        }
        held = sim.allocate(site, static_cast<std::uint32_t>(size));
    };
}

/// Something built at a moment, and kept: so many blocks.
inline Behaviour step(std::uint32_t site, std::size_t blocks, std::uint32_t size, int at_s) {
    return [=](Simulation& sim, double) {
        for (std::size_t i = 0; sim.now_s() == at_s && i < blocks; ++i) {
            sim.allocate(site, size);
        }
    };
}

/// Load over time.
using Load = std::function<double(int second)>;
inline Load steady() {
    return [](int) { return 1.0; };
}
inline Load diurnal(int period_s, double depth, double phase) {
    return
        [=](int second) { return 1 + depth * std::sin(2 * std::numbers::pi * (static_cast<double>(second) / period_s + phase)); };
}
inline Load stepping(int at_s, double to) {
    return [=](int second) { return second < at_s ? 1.0 : to; };
}

} // namespace memtrace::corpus
