// Labelled workloads: a process whose sites behave as it says, among them some that leak; around them thirty that do what all programs do.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "tests/corpus/behaviours.hpp"

namespace memtrace::corpus {

constexpr int kHalfHour = 1800; ///< seconds

struct Scene {
    explicit Scene(Simulation& simulation) : sim(simulation) {}
    std::uint32_t site(bool leaks = false) {
        const auto id = sim.add_site();
        leaking.push_back(leaks);
        return id;
    }
    void add(Behaviour behaviour) { behaviours.push_back(std::move(behaviour)); }
    Simulation& sim;
    std::vector<bool> leaking; ///< by site, from 1
    std::vector<Behaviour> behaviours;
    Load load = steady();
    int onset_s = 0; ///< of the leaks
};

struct Workload {
    std::string name;
    int duration_s;
    Tracing tracing;
    std::function<void(Scene&)> set_up;
};

/// What runs beside it: most of it short-lived, some of it long-lived or built at the start.
inline void add_background(Scene& scene) {
    for (int i = 0; i < 12; ++i) {
        scene.add(turnover(scene.site(), scene.sim.exponential(8), 64, scene.sim.exponential(3) + 0.2));
    }
    for (int i = 0; i < 6; ++i) {
        scene.add(heavy_tail(scene.site(), scene.sim.exponential(2), 256, 5, 1.5));
    }
    for (int i = 0; i < 6; ++i) {
        scene.add(step(scene.site(), 1 + scene.sim.below(200), 1024, static_cast<int>(scene.sim.below(20))));
    }
    for (int i = 0; i < 4; ++i) {
        scene.add(sessions(scene.site(), 20 + scene.sim.exponential(100), 2048, 30 + scene.sim.exponential(200), i % 2 == 0));
    }
    scene.add(high_water_pool(scene.site(), 200, 512));
    scene.add(random_cache(scene.site(), 500, 128, 20));
}

inline std::vector<Workload> leaking_workloads() {
    std::vector<Workload> all;
    const auto add = [&](const std::string& name, int duration, Tracing tracing, std::function<void(Scene&)> set_up) {
        all.push_back({"leak: " + name, duration, tracing, std::move(set_up)});
    };
    const auto plain = [&](const std::string& name, LeakSettings settings, Tracing tracing = {}, int duration = kHalfHour) {
        add(name, duration, tracing, [settings](Scene& scene) {
            scene.onset_s = settings.onset_s;
            scene.add(leak(scene.site(true), settings));
        });
    };
    const Tracing sampled{64 << 10, 0, 0, false};
    plain("10 B/s, all", {.rate = 0.16, .size = 64});
    plain("10 B/s, 10 %", {.rate = 0.16, .size = 64, .fraction = 0.1});
    plain("10 B/s, 1 %", {.rate = 0.16, .size = 64, .fraction = 0.01});
    plain("100 B/s, all", {.rate = 1, .size = 100});
    plain("100 B/s, half", {.rate = 1, .size = 100, .fraction = 0.5});
    plain("100 B/s, 10 %", {.rate = 0.4, .size = 256, .fraction = 0.1, .lifetime_s = 10});
    plain("100 B/s, 1 %", {.rate = 0.4, .size = 256, .fraction = 0.01});
    plain("1 KB/s, all", {.rate = 4, .size = 256});
    plain("1 KB/s, 30 %", {.rate = 4, .size = 256, .fraction = 0.3, .lifetime_s = 30});
    plain("1 KB/s, 5 %", {.rate = 4, .size = 256, .fraction = 0.05});
    plain("1 KB/s, 1 %", {.rate = 4, .size = 256, .fraction = 0.01, .lifetime_s = 1});
    plain("10 KB/s, all", {.rate = 10, .size = 1024});
    plain("10 KB/s, 10 %", {.rate = 10, .size = 1024, .fraction = 0.1, .lifetime_s = 20});
    plain("10 KB/s, 1 %", {.rate = 5, .size = 2048, .fraction = 0.01, .lifetime_s = 5});
    plain("100 KB/s, all", {.rate = 50, .size = 2048});
    plain("100 KB/s, 2 %", {.rate = 6, .size = 16384, .fraction = 0.02});
    plain("100 KB/s, 1 %", {.rate = 3, .size = 32768, .fraction = 0.01, .lifetime_s = 4});
    plain("in bursts of a minute", {.rate = 2, .size = 512, .burst_s = 60});
    plain("begins after ten minutes", {.rate = 5, .size = 512, .fraction = 0.2, .onset_s = 600});
    plain("begins after twenty minutes", {.rate = 5, .size = 512, .fraction = 1, .onset_s = 1200});
    plain("five minutes of 1 KB/s", {.rate = 4, .size = 256}, {}, 300);
    plain("five minutes of 10 KB/s, 10 %", {.rate = 10, .size = 1024, .fraction = 0.1}, {}, 300);
    plain("sampled, 100 KB/s, all", {.rate = 50, .size = 2048}, sampled);
    plain("sampled, 100 KB/s, 10 %", {.rate = 25, .size = 4096, .fraction = 0.1}, sampled);
    plain("sampled, 10 KB/s, all", {.rate = 10, .size = 1024}, sampled);
    plain("sampled, 1 MB/s, 20 %", {.rate = 60, .size = 16384, .fraction = 0.2, .lifetime_s = 3}, sampled);
    const auto hidden = [&](const std::string& name, LeakSettings settings, auto behaviour, Load load = steady(),
                            Tracing tracing = {}) {
        add("hidden in " + name, kHalfHour, tracing, [=](Scene& scene) {
            const auto site = scene.site(true);
            scene.add(leak(site, settings));
            scene.add(behaviour(site));
            scene.load = load;
        });
    };
    hidden("an LRU cache that fills up", {.rate = 2, .size = 1024},
           [](std::uint32_t site) { return lru_cache(site, 2'000, 1024, 200, 20'000, false); });
    hidden("a full LRU cache", {.rate = 4, .size = 1024},
           [](std::uint32_t site) { return lru_cache(site, 2'000, 1024, 200, 20'000, true); });
    hidden("a FIFO cache", {.rate = 3, .size = 512}, [](std::uint32_t site) { return fifo_cache(site, 3'000, 512, 30, false); });
    hidden("a pool", {.rate = 1, .size = 512}, [](std::uint32_t site) { return high_water_pool(site, 400, 512); });
    hidden("sessions", {.rate = 1, .size = 2048}, [](std::uint32_t site) { return sessions(site, 200, 2048, 60, false); });
    hidden("log rotation", {.rate = 2, .size = 256}, [](std::uint32_t site) { return sawtooth(site, 40, 256, 60, 0); });
    hidden("slow log rotation", {.rate = 4, .size = 256}, [](std::uint32_t site) { return sawtooth(site, 8, 256, 240, 0); });
    hidden("a growing hash table", {.rate = 3, .size = 64}, [](std::uint32_t site) { return doubling_table(site, 20'000, 300); });
    hidden("a cache that warms up", {.rate = 4, .size = 256}, [](std::uint32_t site) { return warm_up(site, 5'000, 256, 120); });
    hidden("random replacement", {.rate = 2, .size = 256}, [](std::uint32_t site) { return random_cache(site, 2'000, 256, 60); });
    hidden(
        "load that rises and falls", {.rate = 3, .size = 512}, [](std::uint32_t site) { return turnover(site, 30, 512, 3); },
        diurnal(900, 0.6, 0));
    hidden(
        "load that falls", {.rate = 6, .size = 512}, [](std::uint32_t site) { return turnover(site, 30, 512, 3); },
        diurnal(3600, 0.6, 0.25));
    hidden(
        "load that doubles", {.rate = 3, .size = 512}, [](std::uint32_t site) { return turnover(site, 30, 512, 3); },
        stepping(900, 2));
    return all;
}

inline std::vector<Workload> healthy_workloads() {
    std::vector<Workload> all;
    const auto add = [&](const std::string& name, auto behaviour, Load load = steady(), Tracing tracing = {},
                         int duration = kHalfHour) {
        all.push_back({"healthy: " + name, duration, tracing, [=](Scene& scene) {
                           scene.load = load;
                           scene.add(behaviour(scene.site()));
                       }});
    };
    const Tracing sampled{64 << 10, 0, 0, false};
    for (const int minutes : {1, 3, 10, 30}) {
        const double tau = 60.0 * minutes / 3; // 95 % full then
        add(
            "warm-up of " + std::to_string(minutes) + " min", [=](std::uint32_t s) { return warm_up(s, 20'000, 512, tau); },
            steady(), {}, 3600);
        add(
            "small warm-up of " + std::to_string(minutes) + " min", [=](std::uint32_t s) { return warm_up(s, 1'500, 512, tau); },
            steady(), {}, 3600);
        add(
            "FIFO cache that fills in " + std::to_string(minutes) + " min",
            [=](std::uint32_t s) { return fifo_cache(s, static_cast<std::size_t>(20 * 60 * minutes), 256, 20, false); }, steady(),
            {}, 3600);
    }
    add("LRU cache that fills up", [](std::uint32_t s) { return lru_cache(s, 2'000, 1024, 200, 20'000, false); });
    add("full LRU cache", [](std::uint32_t s) { return lru_cache(s, 2'000, 1024, 200, 20'000, true); });
    add("large full LRU cache", [](std::uint32_t s) { return lru_cache(s, 20'000, 1024, 60, 200'000, true); });
    add("full FIFO cache", [](std::uint32_t s) { return fifo_cache(s, 10'000, 512, 20, true); });
    add("full FIFO cache, slow", [](std::uint32_t s) { return fifo_cache(s, 10'000, 512, 3, true); });
    add("random replacement", [](std::uint32_t s) { return random_cache(s, 5'000, 512, 20); });
    add("pool", [](std::uint32_t s) { return high_water_pool(s, 50, 4096); });
    add("large pool", [](std::uint32_t s) { return high_water_pool(s, 4'000, 512); });
    add("log rotation, 1 min", [](std::uint32_t s) { return sawtooth(s, 40, 256, 60, 0); });
    add("log rotation, 5 min", [](std::uint32_t s) { return sawtooth(s, 20, 256, 300, 130); });
    add("log rotation, 12 min", [](std::uint32_t s) { return sawtooth(s, 10, 256, 720, 400); });
    add("batch of 7 s", [](std::uint32_t s) { return sawtooth(s, 100, 1024, 7, 0); });
    add("hash table", [](std::uint32_t s) { return doubling_table(s, 50'000, 400); });
    add("hash table, slow", [](std::uint32_t s) { return doubling_table(s, 500'000, 2'000); });
    add("buffer that grows", [](std::uint32_t s) { return growing_buffer(s, 500); });
    add("step", [](std::uint32_t s) { return step(s, 3'000, 512, 700); });
    for (const double lifetime : {30.0, 300.0, 1500.0, 6000.0}) {
        const auto name = std::to_string(static_cast<int>(lifetime)) + " s";
        add("sessions of " + name, [=](std::uint32_t s) { return sessions(s, 300, 2048, lifetime, true); });
        add("few sessions of " + name, [=](std::uint32_t s) { return sessions(s, 30, 8192, lifetime, true); });
    }
    add(
        "load that rises and falls, 20 min", [](std::uint32_t s) { return sessions(s, 300, 2048, 120, true); },
        diurnal(1200, 0.7, 0));
    add(
        "load that rises and falls, 1 h", [](std::uint32_t s) { return sessions(s, 300, 2048, 120, true); },
        diurnal(3600, 0.7, -0.25), {}, 3600);
    add("load that doubles", [](std::uint32_t s) { return sessions(s, 300, 2048, 60, true); }, stepping(900, 2));
    add("long tail", [](std::uint32_t s) { return heavy_tail(s, 20, 512, 10, 2); });
    add("turnover", [](std::uint32_t s) { return turnover(s, 200, 128, 1); });
    add("sampled: turnover", [](std::uint32_t s) { return turnover(s, 300, 4096, 5); }, steady(), sampled);
    add("sampled: sessions", [](std::uint32_t s) { return sessions(s, 300, 16384, 200, true); }, steady(), sampled);
    add("sampled: full FIFO cache", [](std::uint32_t s) { return fifo_cache(s, 10'000, 4096, 20, true); }, steady(), sampled);
    add("sampled: warm-up of 3 min", [](std::uint32_t s) { return warm_up(s, 20'000, 4096, 60); }, steady(), sampled);
    add("sampled: log rotation", [](std::uint32_t s) { return sawtooth(s, 40, 8192, 60, 0); }, steady(), sampled);
    return all;
}

/// Runs of hours: leaks that begin after four of them, and what comes and goes in hours. Only few: each takes seconds.
inline std::vector<Workload> late_workloads() {
    constexpr int kOnset = 8 * kHalfHour;
    constexpr int kEnd = kOnset + kHalfHour;
    const Tracing sampled{64 << 10, 0, 0, false};
    std::vector<Workload> all;
    const auto late = [&](const std::string& name, LeakSettings settings, Tracing tracing = {}) {
        settings.onset_s = kOnset;
        all.push_back({"late leak: " + name, kEnd, tracing, [=](Scene& scene) {
                           scene.onset_s = kOnset;
                           scene.add(leak(scene.site(true), settings));
                       }});
    };
    late("2 KB/s, all", {.rate = 4, .size = 512});
    late("10 KB/s, 20 %", {.rate = 10, .size = 1024, .fraction = 0.2, .lifetime_s = 5});
    late("sampled, 100 KB/s, all", {.rate = 50, .size = 2048}, sampled);
    all.push_back({"late leak: in a full FIFO cache", kEnd, {}, [](Scene& scene) {
                       scene.onset_s = kOnset;
                       const auto site = scene.site(true);
                       scene.add(fifo_cache(site, 2'000, 1024, 2, false));
                       scene.add(leak(site, {.rate = 10, .size = 1024, .onset_s = kOnset}));
                   }});
    const auto healthy = [&](const std::string& name, auto behaviour, Load load = steady(), Tracing tracing = {}) {
        all.push_back({"hours: " + name, kEnd, tracing, [=](Scene& scene) {
                           scene.load = load;
                           scene.add(behaviour(scene.site()));
                       }});
    };
    healthy("log rotation, 100 min", [](std::uint32_t s) { return sawtooth(s, 4, 256, 6'000, 0); });
    healthy("log rotation, 20 min", [](std::uint32_t s) { return sawtooth(s, 8, 256, 1'200, 700); });
    healthy("FIFO cache that fills in 1 h", [](std::uint32_t s) { return fifo_cache(s, 10'800, 512, 3, false); });
    healthy("random replacement", [](std::uint32_t s) { return random_cache(s, 3'000, 512, 3); });
    healthy("sampled: sessions", [](std::uint32_t s) { return sessions(s, 300, 16384, 1'000, true); }, steady(), sampled);
    healthy(
        "load that rises and falls, 2 h", [](std::uint32_t s) { return sessions(s, 200, 2048, 120, true); },
        diurnal(7'200, 0.7, 0));
    return all;
}

/// What windows see: no verdict above suspect is given, whatever is there.
inline std::vector<Workload> windowed_workloads() {
    const Tracing windowed{0, 2, 20, false};
    return {
        {"windowed: leak of 10 KB/s", 1800, windowed,
         [](Scene& scene) { scene.add(leak(scene.site(true), {.rate = 10, .size = 1024})); }},
        {"windowed: leak of 100 KB/s, 10 %", 1800, windowed,
         [](Scene& scene) { scene.add(leak(scene.site(true), {.rate = 25, .size = 4096, .fraction = 0.1, .lifetime_s = 1})); }},
        {"windowed: turnover", 1800, windowed, [](Scene& scene) { scene.add(turnover(scene.site(), 200, 128, 1)); }},
        {"windowed: sessions", 1800, windowed, [](Scene& scene) { scene.add(sessions(scene.site(), 300, 2048, 300, true)); }}};
}

} // namespace memtrace::corpus
