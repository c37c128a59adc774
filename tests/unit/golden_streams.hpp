// Event streams with a plot, for the golden tests: what a run would have seen, second by second, without chance or clock.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "model/events.hpp"
#include "model/survival_table.hpp"

namespace memtrace::golden {

constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr std::uint64_t kWall = 1'767'323'045 * kSecond; // 2026-01-02T03:04:05Z
constexpr std::uint64_t kMono = 5'000 * kSecond;

/// Events of a run, one tick a second; a report every twenty.
class Run {
public:
    explicit Run(std::uint64_t min_age_ns = 0) {
        RunStarted run;
        run.version = "0.1.0";
        run.wall_ns = kWall;
        run.mono_ns = kMono;
        run.min_age_ns = min_age_ns;
        run.max_live = 1'000'000;
        run.kernel_bytes = 96'000'000;
        run.trap_ns = 800;
        add(run);
    }

    /// A process with its program as module 10 * id + 1 and its C library as module 10 * id + 2.
    void start(std::uint32_t id, std::int32_t pid, const std::string& comm, std::vector<std::string> cmdline) {
        ProcessStarted process;
        process.process = {id};
        process.pid = pid;
        process.start_wall_ns = kWall - 3'600 * kSecond;
        process.attach_mono_ns = attached_ = now();
        process.comm = comm;
        process.exe = "/opt/db/bin/" + comm;
        process.cmdline = std::move(cmdline);
        process.sources = {"libc.so.6: malloc, calloc, realloc, free"};
        add(process);
        add(ModuleMapped{{10 * id + 1}, {id}, process.exe, "0123456789abcdef0123456789abcdef01234567"});
        add(ModuleMapped{{10 * id + 2}, {id}, "/usr/lib/x86_64-linux-gnu/libc.so.6", "fedcba98"});
    }

    /// A site whose stack has these return addresses in the program, innermost first.
    void site(std::uint32_t id, std::uint32_t process, const std::string& function, const std::vector<std::uint64_t>& callers,
              bool truncated = false) {
        StackDefined stack{{id}, {process}, truncated, {}};
        for (const auto caller : callers) {
            stack.frames.push_back({{10 * process + 1}, caller});
        }
        add(stack);
        add(SiteDefined{{id}, {process}, {id}, "libc", function});
    }
    void name(std::uint32_t process, std::uint64_t caller, std::vector<SymbolLine> lines) {
        add(SymbolResolved{{{10 * process + 1}, caller}, std::move(lines)});
    }
    /// Totals of blocks of one size.
    void sample(std::uint32_t site, std::uint64_t allocs, std::uint64_t frees, std::uint64_t size) {
        SiteSample sample;
        sample.site = {site};
        sample.allocs = allocs;
        sample.frees = frees;
        sample.allocated_bytes = allocs * size;
        sample.freed_bytes = frees * size;
        sample.oldest_ns = allocs > frees ? attached_ + kSecond : 0;
        add(sample);
    }
    void usage(std::uint32_t process, std::uint64_t rss_bytes, std::uint64_t cpu_ns, double probe_ns = 0) {
        ProcessSample sample;
        sample.process = {process};
        sample.rss_bytes = rss_bytes;
        sample.cpu_ns = cpu_ns;
        sample.probe_ns = probe_ns;
        add(sample);
    }
    void count(std::uint32_t process, const std::string& counter, std::uint64_t value, bool loss = false) {
        add(CounterSample{{process}, counter, value, loss});
    }
    void end(std::uint32_t process, EndReason reason) { add(ProcessEnded{{process}, reason}); }
    void tick() {
        ++seconds_;
        add(TickEnded{kWall + seconds_ * kSecond, now()});
        if (seconds_ % 20 == 0) {
            add(ReportDue{false});
        }
    }
    void finish() { add(ReportDue{true}); }
    void add(Event event) { events_.push_back(std::move(event)); }

    [[nodiscard]] std::uint64_t now() const { return kMono + seconds_ * kSecond; }
    [[nodiscard]] const std::vector<Event>& events() const { return events_; }

private:
    std::vector<Event> events_;
    std::uint64_t seconds_ = 0;
    std::uint64_t attached_ = 0; ///< when the newest process was
};

/// A database that forgets cursors: one site grows steadily, a cache has filled up, a third one turns over.
inline std::vector<Event> leak() {
    Run run;
    run.start(1, 4711, "lightningd", {"/opt/db/bin/lightningd", "--socket", "/run/lightning.sock"});
    run.site(1, 1, "malloc", {0x1a20, 0x2400, 0x3000});
    run.site(2, 1, "realloc", {0x4100, 0x3000});
    run.site(3, 1, "calloc", {0x5100, 0x2400, 0x3000});
    run.name(1, 0x1a20,
             {{"operator_new_array", "alloc.hpp", 12, true}, {"Cursor::open(Session&, Key const&)", "cursor.cpp", 45, false}});
    run.name(1, 0x2400, {{"Session::serve()", "session.cpp", 120, false}});
    run.name(1, 0x3000, {{"main", "lightningd.cpp", 17, false}});
    run.name(1, 0x4100, {{"Cache::grow(unsigned long)", "cache.cpp", 88, false}});
    run.name(1, 0x5100, {{"Session::parse()", "", 0, false}});
    run.usage(1, 120 << 20, 40 * kSecond);
    for (std::uint64_t second = 1; second <= 70; ++second) {
        run.sample(1, 25 * second, 0, 512);
        if (second <= 5) {
            run.sample(2, second, second - 1, 200'000 * second);
        }
        run.sample(3, 300 * second + 7, 300 * second, 64);
        run.usage(1, (120 << 20) + second * 12'800, 40 * kSecond + second * kSecond / 4, static_cast<double>(second) * 953 * 900);
        run.count(1, "hits_enter", 326 * second);
        run.count(1, "hits_return", 326 * second);
        run.count(1, "hits_free", 301 * second);
        run.count(1, "unmatched_frees", second < 30 ? second : 30);
        run.tick();
    }
    run.end(1, EndReason::detached);
    run.finish();
    return run.events();
}

/// A database that forgets one cursor in ten, in a cgroup that bounds it; births of live blocks are read every ten seconds.
inline std::vector<Event> ages() {
    Run run;
    run.start(1, 4718, "lightningd", {"/opt/db/bin/lightningd"});
    run.site(1, 1, "malloc", {0x1a20, 0x3000});
    run.name(1, 0x1a20, {{"Cursor::open(Session&, Key const&)", "cursor.cpp", 45, false}});
    run.name(1, 0x3000, {{"main", "lightningd.cpp", 17, false}});
    std::vector<std::uint64_t> starts{run.now()};
    const auto attached = run.now();
    for (std::uint64_t second = 1; second <= 110; ++second) {
        const auto live = 5 * second; // of fifty a second
        SiteSample sample{{1}, 50 * second, 50 * second - live, 25'600 * second, 23'040 * second, 0, 0, attached + kSecond};
        const auto now = attached + second * kSecond;
        for (std::size_t i = 0; second % 10 == 0 && i < starts.size(); ++i) {
            sample.births.push_back(5 * ((i + 1 < starts.size() ? starts[i + 1] : now) - starts[i]) / kSecond);
        }
        run.add(sample);
        run.usage(1, (120 << 20) + second * 2'560, 40 * kSecond + second * kSecond / 4);
        if (second % 10 == 0) {
            cut_cohorts(starts, now);
            run.add(CohortsCut{{1}, starts});
            run.add(MemorySample{{1}, 90 << 20, 30 << 20, 0, 0, 1 << 20, true, 512 << 20, (400 << 20) + second * 2'560});
        }
        run.tick();
    }
    run.end(1, EndReason::detached);
    run.finish();
    return run.events();
}

/// A server that keeps what it needs, and exits.
inline std::vector<Event> healthy() {
    Run run;
    run.start(1, 4712, "server", {"server", "--quiet"});
    run.site(1, 1, "malloc", {0x1000});
    run.site(2, 1, "malloc", {0x2000, 0x1000}, true);
    run.name(1, 0x1000, {{"main", "main.c", 5, false}});
    for (std::uint64_t second = 1; second <= 45; ++second) {
        run.sample(1, 40, 0, 1'000);
        run.sample(2, 50 * second + (second * 7) % 5, 50 * second - 20, 256);
        run.usage(1, 30 << 20, second * kSecond / 10);
        run.count(1, "hits_enter", 50 * second);
        run.tick();
    }
    run.end(1, EndReason::exited);
    run.tick();
    run.finish();
    return run.events();
}

/// A launcher that becomes another program: one pid, two images; and a second process beside it.
inline std::vector<Event> exec() {
    Run run;
    run.start(1, 4713, "launcher", {"launcher", "backend"});
    run.start(2, 4714, "other", {});
    run.site(1, 1, "malloc", {0x1000});
    run.site(2, 2, "posix_memalign", {0x1000});
    run.name(1, 0x1000, {{"main", "launcher.c", 9, false}});
    for (std::uint64_t second = 1; second <= 12; ++second) {
        run.sample(1, second, 0, 4'096);
        run.sample(2, 2 * second, second, 128);
        run.tick();
    }
    run.end(1, EndReason::exec);
    run.start(3, 4713, "backend", {"backend"});
    run.site(3, 3, "malloc", {0x1000});
    run.name(3, 0x1000, {{"main", "backend.c", 21, false}});
    for (std::uint64_t second = 1; second <= 30; ++second) {
        run.sample(3, 10 + second, 2 + second, 100);
        run.tick();
    }
    run.end(3, EndReason::exited);
    run.end(2, EndReason::detached);
    run.finish();
    return run.events();
}

/// More live blocks and sites than there was room for, in a process whose names are not to be printed as they are.
inline std::vector<Event> loss() {
    Run run(5 * kSecond);
    run.start(1, 4715, "bad\x1b[31mname", {"prog", "line\nbreak", "\xff\xfe"});
    run.site(1, 1, "malloc", {0x1000}, true);
    run.add(SiteDefined{{2}, {1}, {}, "", "(more call sites than the site table holds)"});
    run.add(SiteDefined{{3}, {1}, {99}, "jemalloc", "malloc"}); // its stack was never told
    run.name(1, 0x1000, {{"evil();\x07", "/tmp/a\tb.c", 1, false}});
    for (std::uint64_t second = 1; second <= 9; ++second) {
        for (const std::uint32_t site : {1U, 2U, 3U}) {
            SiteSample sample;
            sample.site = {site};
            sample.allocs = 1'000 * second;
            sample.frees = 10 * second;
            sample.allocated_bytes = 64'000 * second;
            sample.freed_bytes = 640 * second;
            sample.aged_objects = second > 5 ? 1'000 * (second - 5) : 0;
            sample.aged_bytes = 64 * sample.aged_objects;
            sample.oldest_ns = kMono + kSecond;
            run.add(sample);
        }
        run.count(1, "live_full", 123'456 * second, true);
        run.count(1, "live_full_bytes", 7'901'184 * second, true);
        run.count(1, "sites_full", 77 * second, true);
        run.count(1, "events_lost", 0, true);
        run.count(1, "unmatched_frees", 1, false);
        run.tick();
    }
    run.end(1, EndReason::detached);
    run.finish();
    return run.events();
}

/// A database that tells of its objects and resources: sessions and their cursors refer to each other through a vector, a buffer is given
/// back twice, a thread ends with a cursor open, and a pool runs dry.
inline std::vector<Event> told() {
    Run run;
    run.start(1, 4716, "lightningd", {"lightningd"});
    const auto stack = [&](std::uint32_t id, std::uint64_t caller, const std::string& function) {
        run.add(StackDefined{{id}, {1}, false, {{{11}, caller}, {{11}, 0x3000}}});
        run.name(1, caller, {{function, "lightningd.cpp", id, false}});
    };
    run.name(1, 0x3000, {{"main", "lightningd.cpp", 17, false}});
    stack(1, 0x1000, "Session::open_cursor()");
    stack(2, 0x1100, "Cursor::Cursor(Session&)");
    stack(3, 0x1200, "Buffer::pin()");
    stack(4, 0x1300, "Buffer::unpin()");
    stack(5, 0x1400, "Buffer::abandon()");
    stack(6, 0x1500, "Pool::get()");
    run.add(ContractStarted{{1}, {"memtrace: object_create, object_destroy, ref_acquire, ref_release"}, 1});
    const auto origin = [&](std::int32_t tid, std::uint32_t from) { return ContractOrigin{{1}, run.now(), tid, {from}}; };
    const auto object = [&](ObjectAction action, std::uint64_t address, std::uint64_t bytes, const std::string& type) {
        run.add(ObjectTold{origin(4717, 1), action, address, bytes, type, 0, 0});
    };
    const auto reference = [&](ReferenceAction action, std::uint64_t address, std::uint64_t handle, std::uint64_t count,
                               std::uint32_t from) {
        run.add(ReferenceTold{origin(4717, from), action, address, handle, 0, true, count});
    };
    for (std::uint64_t i = 0; i < 3; ++i) { // three sessions, all but the first forgotten
        const auto session = 0x10000 + i * 0x1000;
        const auto cursor = session + 0x400;
        object(ObjectAction::created, session, 256, "Session");
        object(ObjectAction::created, cursor, 128, "Cursor");
        reference(ReferenceAction::acquired, session, 0x7f0000 + i * 8, 1, 1);
        reference(ReferenceAction::acquired, cursor, 0x50000 + i * 0x100, 1, 1);
        reference(ReferenceAction::acquired, session, cursor + 16, 2, 2);
        run.add(HandlePlaced{{1}, 0x50000 + i * 0x100, HandlePlace::object, session});
        if (i > 0) {
            reference(ReferenceAction::released, session, 0x7f0000 + i * 8, 1, 1);
        }
    }
    object(ObjectAction::created, 0x20000, 8192, "Buffer");
    reference(ReferenceAction::acquired, 0x20000, 0x7f0100, 1, 3);
    reference(ReferenceAction::acquired, 0x20000, 0x7f0200, 2, 3);
    reference(ReferenceAction::released, 0x20000, 0x7f0100, 1, 4);
    reference(ReferenceAction::released, 0x20000, 0x7f0100, 0, 5);
    object(ObjectAction::destroyed, 0x20000, 0, "");
    run.add(ResourceTold{origin(4717, 1), ResourceAction::acquired, "session", 1, 0, 256, "client 1", 0, 0});
    run.add(ResourceTold{origin(4718, 1), ResourceAction::acquired, "cursor", 7, 1, 128, "select 1", 0, 0});
    run.add(ThreadEnded{{1}, run.now(), 4718});
    run.add(PoolTold{origin(4717, 6), PoolAction::got, 0x30000, "connections", 4, 4});
    run.add(PoolTold{origin(4717, 6), PoolAction::waited, 0x30000, "connections", 4, 4});
    run.add(CleanupTold{origin(4717, 6), false, 2, 1 << 20, 0});
    run.tick();
    run.add(CleanupTold{origin(4717, 6), true, 2, 700'000, 3});
    for (int second = 0; second < 8; ++second) {
        run.tick();
    }
    run.end(1, EndReason::detached);
    run.finish();
    return run.events();
}

} // namespace memtrace::golden
