// Writes the inputs that fuzz_snapshot_json starts from into a directory: a bare snapshot and one with every field in use.
#include <cstdio>
#include <fstream>
#include <string>

#include "report/render.hpp"

namespace {

using namespace memtrace;

ReportSite site(const std::string& id, std::uint64_t live_bytes) {
    ReportSite result;
    result.id = id;
    result.live_bytes = live_bytes;
    result.live_objects = 3;
    result.allocs = 10;
    result.frees = 7;
    result.allocated_bytes = 2 * live_bytes;
    result.freed_bytes = live_bytes;
    result.oldest_age_s = 12.25;
    result.growth_bytes_per_s = -1.5e-3;
    result.verdict = "probable";
    result.confidence = 0.75;
    result.evidence = "grew in 9 of 10 intervals";
    result.allocator = "libc";
    result.function = "malloc";
    result.stack_truncated = true;
    result.stack = {{"inner(int, char**)", "a.cpp", 12, "/usr/bin/d\xc3\xa4mon", 0x1234, true, "00ff"},
                    {"", "", 0, "", 0xffff'ffff'ffff'ffff, false, ""}};
    return result;
}

Report full_report() {
    Report report;
    report.tool_version = "0.1.0";
    report.time = "2026-01-02T03:04:05.678Z";
    report.duration_s = 60.5;
    report.min_age_s = 1;
    report.process = {4711,    "2026-01-01T00:00:00.000Z", "postgres", "/usr/bin/postgres", {"postgres", "-D", ""}, 1 << 20,
                      "exited"};
    report.coverage.sources = {"libc.so.6: malloc, free"};
    report.coverage.unmatched_frees = 2;
    report.coverage.lost = {{"live_full", 1}};
    report.coverage.counters = {{"live_full", 1}, {"hits", 99}};
    report.coverage.overhead = {0.01, 0.05, 740, 1000};
    report.coverage.from_start = true;
    report.coverage.max_live = 1'000'000;
    report.coverage.kernel_bytes = 1 << 26;
    report.totals.live_bytes = 300;
    report.totals.live_objects = 6;
    report.totals.live_bytes_ci95[1] = 310.5;
    report.verdict = {"leak", "one site \"grows\"", {{"slope", "up"}}};
    report.sites = {site("0123456789abcdef", 200), site("fedcba9876543210", 100)};
    return report;
}

bool write_seed(const std::string& path, const Report& report) {
    std::ofstream out(path, std::ios::binary);
    render_json(report, out);
    return static_cast<bool>(out.flush());
}

} // namespace

int main(int argc, char** argv) {
    if (argc != 2) {
        std::fprintf(stderr, "usage: %s DIRECTORY\n", argv[0]);
        return 2;
    }
    const std::string directory = argv[1];
    if (!write_seed(directory + "/bare", Report{}) || !write_seed(directory + "/full", full_report())) {
        std::fprintf(stderr, "%s: cannot write to %s\n", argv[0], argv[1]);
        return 1;
    }
    return 0;
}
