// Reports that the tests of the renderers start from.
#pragma once

#include <sstream>
#include <string>

#include "report/render.hpp"

namespace memtrace::test {

inline ReportFrame frame(std::string function, std::string file, std::uint32_t line, std::uint64_t offset,
                         std::uint32_t column = 0) {
    return {std::move(function), std::move(file), line, "/usr/lib/db/bin/lightning", offset, false, "a1b2c3", column};
}

inline ReportSite site(std::string id, std::uint64_t live_bytes, std::uint64_t live_objects) {
    ReportSite result;
    result.id = std::move(id);
    result.live_bytes = live_bytes;
    result.live_objects = live_objects;
    result.allocs = live_objects + 10;
    result.frees = 10;
    result.allocated_bytes = live_bytes + 1000;
    result.freed_bytes = 1000;
    result.oldest_age_s = 42;
    result.verdict = "stable";
    result.confidence = 0.5;
    result.allocator = "libc";
    result.function = "malloc";
    result.stack = {frame("open_" + result.id, "/src/cursor.cpp", 42, 0x1234, 11), frame("main", "/src/main.cpp", 7, 0x1000)};
    return result;
}

/// Two sites: 0xaa is a leak of 3 MiB, 0xbb holds 4 MiB.
inline Report sample_report() {
    Report report;
    report.tool_version = "0.1.0";
    report.time = "2026-01-02T03:04:05.678Z";
    report.time_unix_ns = 1'767'323'045'678'000'000;
    report.duration_s = 90;
    report.interval_s = 5;
    report.process = {1234,
                      "2026-01-02T03:00:00.000Z",
                      "lightning",
                      "/usr/lib/db/bin/lightning",
                      {"lightning", "--port", "7000"},
                      120 << 20,
                      "running"};
    report.coverage.sources = {"libc.so.6: malloc, calloc, realloc, free"};
    report.coverage.unmatched_frees = 3;
    report.coverage.counters = {{"allocs_seen", 100}, {"live_map_full", 0}};
    report.coverage.overhead = {0.0036, std::nullopt, 860, 4200};
    report.coverage.max_live = 1 << 20;
    report.coverage.kernel_bytes = 64 << 20;
    ReportSite big = site("00000000000000bb", 4 << 20, 100);
    ReportSite leak = site("00000000000000aa", 3 << 20, 3000);
    leak.verdict = "definite";
    leak.confidence = 0.95;
    leak.evidence = "grew in each of the last 12 intervals";
    leak.grown_bytes = 1 << 20;
    leak.growth_bytes_per_s = 200 << 10;
    report.sites = {big, leak};
    report.totals = {7 << 20, 3100, 5000, 1900, 9 << 20, 2 << 20, {7 << 20, 7 << 20}, 1 << 20};
    report.verdict = {"leak", "1 call site leaks 200 KiB/s", {{"slope", "200 KiB/s"}}};
    return report;
}

/// `sites` sites of `depth` frames each.
inline Report large_report(std::size_t sites, std::size_t depth) {
    Report report = sample_report();
    report.sites.clear();
    for (std::size_t i = 0; i < sites; ++i) {
        ReportSite entry = site(std::to_string(i), 1'000'000 - i, 5);
        entry.stack.clear();
        for (std::size_t j = 0; j < depth; ++j) {
            entry.stack.push_back(
                frame("namespace_" + std::to_string(j) + "::function_" + std::to_string(i * j % 1000) + "(int, char const*)",
                      "/src/some/where/file.cpp", static_cast<std::uint32_t>(j), i * 16 + j));
        }
        report.sites.push_back(std::move(entry));
    }
    return report;
}

inline std::string text_of(const Report& report, const TextOptions& options = {}) {
    std::ostringstream out;
    render_text(report, options, out);
    return out.str();
}

inline std::string json_of(const Report& report) {
    std::ostringstream out;
    render_json(report, out);
    return out.str();
}

inline bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

inline std::size_t occurrences(const std::string& text, const std::string& part) {
    std::size_t count = 0;
    for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size())) {
        ++count;
    }
    return count;
}

} // namespace memtrace::test
