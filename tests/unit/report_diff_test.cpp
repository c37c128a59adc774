// What changed between two reports.
#include <gtest/gtest.h>

#include "tests/unit/report_sample.hpp"

namespace memtrace {
namespace {

using namespace test;

std::string diff_of(const Report& before, const Report& after, const TextOptions& options = {}) {
    std::ostringstream out;
    render_diff(before, after, options, out);
    return out.str();
}

Report report_with(std::vector<ReportSite> sites) {
    Report report = sample_report();
    report.sites = std::move(sites);
    report.totals.live_bytes = report.totals.live_objects = 0;
    for (const auto& entry : report.sites) {
        report.totals.live_bytes += entry.live_bytes;
        report.totals.live_objects += entry.live_objects;
    }
    return report;
}

Report later(Report report) {
    report.time = "2026-01-02T03:05:05.678Z";
    report.time_unix_ns += 60'000'000'000;
    return report;
}

TEST(RenderDiff, WholeDiff) {
    const Report before =
        report_with({site("grew", 1024, 1), site("gone", 2048, 2), site("shrank", 4096, 4), site("same", 10, 1)});
    const Report after =
        later(report_with({site("grew", 3072, 3), site("new", 512, 1), site("shrank", 1024, 1), site("same", 10, 1)}));
    EXPECT_EQ(diff_of(before, after), R"(memtrace diff  2026-01-02T03:04:05.678Z -> 2026-01-02T03:05:05.678Z (1m00s later)
lightning (pid 1234)
live      7.0 KiB -> 4.5 KiB (-2.5 KiB), 8 -> 6 blocks (-2)

grew: 1 site, +2.0 KiB
  +2.0 KiB  1.0 KiB -> 3.0 KiB (+2.0 KiB), 1 -> 3 blocks (+2)
    malloc, site grew
      #0 open_grew (cursor.cpp:42:11) [lightning+0x1234]
      #1 main (main.cpp:7) [lightning+0x1000]

new: 1 site, +512 B
  +512 B  0 B -> 512 B (+512 B), 0 -> 1 block (+1)
    malloc, site new
      #0 open_new (cursor.cpp:42:11) [lightning+0x1234]
      #1 main (main.cpp:7) [lightning+0x1000]

gone: 1 site, -2.0 KiB
  -2.0 KiB  2.0 KiB -> 0 B (-2.0 KiB), 2 -> 0 blocks (-2)
    malloc, site gone
      #0 open_gone (cursor.cpp:42:11) [lightning+0x1234]
      #1 main (main.cpp:7) [lightning+0x1000]

shrank: 1 site, -3.0 KiB
  -3.0 KiB  4.0 KiB -> 1.0 KiB (-3.0 KiB), 4 -> 1 block (-3)
    malloc, site shrank
      #0 open_shrank (cursor.cpp:42:11) [lightning+0x1234]
      #1 main (main.cpp:7) [lightning+0x1000]

1 site unchanged
)");
}

TEST(RenderDiff, TheSameReportTwiceChangedNothing) {
    const std::string text = diff_of(sample_report(), sample_report());
    EXPECT_TRUE(contains(text, "nothing changed: 2 sites hold what they held before\n"));
    EXPECT_FALSE(contains(text, "grew:"));
    EXPECT_FALSE(contains(text, "note:"));
    EXPECT_TRUE(contains(diff_of(Report{}, Report{}), "nothing changed: 0 sites"));
}

TEST(RenderDiff, LargestChangeComesFirst) {
    const Report before = report_with({site("a", 100, 1), site("b", 100, 1), site("c", 100, 1)});
    const Report after = report_with({site("a", 200, 1), site("b", 900, 1), site("c", 500, 1)});
    const std::string text = diff_of(before, after);
    EXPECT_LT(text.find("site b"), text.find("site c"));
    EXPECT_LT(text.find("site c"), text.find("site a"));
}

TEST(RenderDiff, SitesWithOneIdAreSummed) {
    const Report before = report_with({site("x", 100, 1), site("x", 200, 2)});
    const Report after = report_with({site("x", 250, 2), site("x", 250, 2), site("x", 100, 1)});
    EXPECT_TRUE(contains(diff_of(before, after), "+300 B  300 B -> 600 B (+300 B), 3 -> 5 blocks (+2)"));
    EXPECT_TRUE(contains(diff_of(report_with({site("x", 100, 1), site("x", 200, 2)}), report_with({site("x", 300, 3)})),
                         "nothing changed: 1 site holds"));
}

TEST(RenderDiff, SiteKeptWithNothingLiveIsGoneAndComesBackAsNew) {
    const Report with = report_with({site("x", 100, 1)});
    const Report without = report_with({site("x", 0, 0)});
    EXPECT_TRUE(contains(diff_of(with, without), "gone: 1 site, -100 B"));
    EXPECT_TRUE(contains(diff_of(without, with), "new: 1 site, +100 B"));
    EXPECT_TRUE(contains(diff_of(without, without), "nothing changed"));
    EXPECT_TRUE(contains(diff_of(without, report_with({})), "nothing changed"));
}

TEST(RenderDiff, BlocksAloneCanGrow) {
    EXPECT_TRUE(contains(diff_of(report_with({site("x", 100, 1)}), report_with({site("x", 100, 5)})), "1 -> 5 blocks (+4)"));
    EXPECT_TRUE(contains(diff_of(report_with({site("x", 100, 5)}), report_with({site("x", 100, 1)})), "shrank: 1 site, 0 B"));
}

TEST(RenderDiff, AnotherProgramIsNoted) {
    Report other = sample_report();
    other.process.exe = "/usr/sbin/mariadbd";
    other.process.comm = "mariadbd";
    const std::string text = diff_of(sample_report(), other);
    EXPECT_TRUE(contains(text, "note: different programs: /usr/lib/db/bin/lightning and /usr/sbin/mariadbd\n"));
    EXPECT_TRUE(contains(text, "lightning (pid 1234) -> mariadbd (pid 1234)\n"));
}

TEST(RenderDiff, AnotherProcessOfTheSameProgramIsNoted) {
    Report other = sample_report();
    other.process.start_time = "2026-01-02T03:01:00.000Z"; // the same pid again
    EXPECT_TRUE(contains(diff_of(sample_report(), other), "note: two processes of the same program\n"));
}

TEST(RenderDiff, WrongOrderOtherModeAndLossAreNoted) {
    EXPECT_TRUE(contains(diff_of(later(sample_report()), sample_report()), "wrong way round"));
    Report other = sample_report();
    other.coverage.mode = "sampled";
    other.coverage.lost["ring_full"] = 1;
    EXPECT_TRUE(contains(diff_of(sample_report(), other), "note: not measured in the same way: exact and sampled\n"));
    EXPECT_TRUE(contains(diff_of(sample_report(), other), "note: events were lost"));
}

TEST(RenderDiff, TopBoundsEachSectionAndTheRestIsSummed) {
    const Report after = large_report(30, 2);
    Report before = after;
    for (auto& entry : before.sites) {
        entry.live_bytes -= 1024;
    }
    const std::string text = diff_of(before, after, {.top = 4});
    EXPECT_EQ(occurrences(text, ", site "), 4U);
    EXPECT_TRUE(contains(text, "grew: 30 sites, +30.0 KiB\n"));
    EXPECT_TRUE(contains(text, "  26 more sites, +26.0 KiB\n"));
}

TEST(RenderDiff, StacksShowTheirTopFrames) {
    Report before = large_report(1, 20);
    Report after = before;
    after.sites[0].live_bytes += 1;
    EXPECT_TRUE(contains(diff_of(before, after), "      ... 14 more frames\n"));
    EXPECT_FALSE(contains(diff_of(before, after, {.verbose = true}), "more frames"));
}

TEST(RenderDiff, HugeFiguresDoNotRunOver) {
    const std::uint64_t most = UINT64_MAX;
    const std::string text =
        diff_of(report_with({site("x", most, most), site("x", most, most)}), report_with({site("y", most, most)}));
    EXPECT_TRUE(contains(text, "gone: 1 site, -8.0 EiB"));
    EXPECT_TRUE(contains(text, "new: 1 site, +8.0 EiB"));
}

TEST(RenderDiff, ControlSequencesDoNotReachTheTerminal) {
    Report evil = sample_report();
    evil.process.comm = evil.process.exe = evil.time = "\x1b[2J";
    evil.sites[0].id = evil.sites[0].function = evil.sites[0].stack[0].function = "\x1b[2J";
    evil.coverage.mode = "\x1b[2J";
    EXPECT_FALSE(contains(diff_of(sample_report(), evil), "\x1b"));
    EXPECT_TRUE(contains(diff_of(sample_report(), evil, {.colour = true}), "\x1b[1mgrew") ||
                contains(diff_of(sample_report(), evil, {.colour = true}), "\x1b[1mnew"));
}

// ---- what a program tells of itself -------------------------------------------------------------------------------------------

ReportCycle cycle_of(const std::string& a, const std::string& b, const std::string& function, std::uint64_t count) {
    ReportCycle cycle;
    cycle.objects = {{"0x10", a, 64, 1, 0}, {"0x20", b, 32, 1, 0}};
    cycle.handles = {{"0x10", "0x20", "0x18", site(function, 1, 1).stack}, {"0x20", "0x10", "0x28", {}}};
    cycle.bytes = 96;
    cycle.count = count;
    cycle.total_bytes = 96 * count;
    return cycle;
}

ReportResource leaked(const std::string& kind, const std::string& id, const std::string& function) {
    ReportResource resource;
    resource.kind = kind;
    resource.id = id;
    resource.state = "leaked";
    resource.acquired_at = site(function, 1, 1).stack;
    return resource;
}

TEST(RenderDiff, NewCyclesErrorsLeaksAndKindsThatGrew) {
    Report before = report_with({site("same", 10, 1)});
    before.references.cycles = {cycle_of("Session", "Cursor", "peer", 1), cycle_of("Page", "Page", "page", 2)};
    before.resources.listed = {leaked("cursor", "1", "cursor")};
    before.resources.kinds = {{.kind = "cursor", .live = 3, .leaked = 1}, {.kind = "file", .live = 9}};
    Report after = later(before);
    // The same ones by other addresses, the one way round or the other, and one more of them.
    after.references.cycles = {cycle_of("Cursor", "Session", "peer", 2), cycle_of("Page", "Page", "page", 2)};
    std::swap(after.references.cycles[0].handles[0], after.references.cycles[0].handles[1]);
    after.references.errors.resize(1);
    after.references.errors[0].kind = "double_release";
    after.references.errors[0].type = "Buffer";
    after.references.errors[0].count = 5;
    after.resources.listed = {leaked("cursor", "7", "cursor"), leaked("cursor", "8", "cursor"), leaked("fd", "3", "file")};
    after.resources.kinds = {
        {.kind = "cursor", .live = 8, .leaked = 2}, {.kind = "fd", .live = 1, .leaked = 1}, {.kind = "file", .live = 4}};
    EXPECT_EQ(diff_of(before, after), R"(memtrace diff  2026-01-02T03:04:05.678Z -> 2026-01-02T03:05:05.678Z (1m00s later)
lightning (pid 1234)
live      10 B -> 10 B (0 B), 1 -> 1 block (0)

new cycles of references: 1
  +1  1 -> 2  cycle of 2 objects: Cursor Session
      #0 open_peer (cursor.cpp:42:11) [lightning+0x1234]
      #1 main (main.cpp:7) [lightning+0x1000]

new reference errors: 1
  +5  0 -> 5  double_release of Buffer

newly leaked resources: 2
  +1  1 -> 2  cursor, leaked
      #0 open_cursor (cursor.cpp:42:11) [lightning+0x1234]
      #1 main (main.cpp:7) [lightning+0x1000]
  +1  0 -> 1  fd, leaked
      #0 open_file (cursor.cpp:42:11) [lightning+0x1234]
      #1 main (main.cpp:7) [lightning+0x1000]

kinds of resources that grew: 2
  +5  3 -> 8  cursor, leaked 1 -> 2
  +1  0 -> 1  fd, leaked 0 -> 1

1 site unchanged
)");
    EXPECT_NE(diff_of(after, after).find("nothing changed"), std::string::npos);
}

} // namespace
} // namespace memtrace
