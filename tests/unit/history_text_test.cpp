// What people see of a history.
#include <gtest/gtest.h>

#include <sstream>

#include "report/history_view.hpp"
#include "report/sparkline.hpp"

namespace memtrace {
namespace {

HistoryView view_of(const std::vector<std::uint64_t>& live, std::int64_t step_ms = 5'000) {
    constexpr std::int64_t kStart = 1'767'268'800'000;
    HistoryView view;
    view.process.pid = 42;
    view.process.comm = "lightning";
    view.process.state = "running";
    for (std::size_t i = 0; i < live.size(); ++i) {
        HistorySample sample;
        sample.at_ms = kStart + static_cast<std::int64_t>(i) * step_ms;
        sample.live_bytes = live[i];
        sample.verdict = "healthy";
        sample.mode = "exact";
        view.samples.push_back(sample);
    }
    return view;
}

std::string text_of(const HistoryView& view, const HistoryTextOptions& options = {}) {
    std::ostringstream out;
    render_history_text(view, options, out);
    return out.str();
}

/// The line that begins with a word.
std::string line_of(const std::string& text, const std::string& word) {
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
        if (line.starts_with(word)) {
            return line;
        }
    }
    return "";
}

TEST(HistoryText, ACurveFromItsLowestToItsHighest) {
    EXPECT_EQ(sparkline({0, 1, 2, 3, 4, 5, 6, 7}, true), "▁▂▃▄▅▆▇█");
    EXPECT_EQ(sparkline({0, 1, 2, 3, 4, 5, 6, 7}, false), "_.-=+*%#");
    EXPECT_EQ(sparkline({5, std::nullopt, 5}, false), "_ _");
    EXPECT_EQ(sparkline({1e300, -1e300}, false), "#_");
    EXPECT_EQ(sparkline({}, true), "");
}

TEST(HistoryText, GrowthWithItsBounds) {
    const auto line = line_of(text_of(view_of({1 << 20, 4 << 20, 2 << 20})), "live");
    EXPECT_EQ(line, "live      _#-  1.0 MiB -> 2.0 MiB (+1.0 MiB), 1.0 MiB to 4.0 MiB");
}

TEST(HistoryText, TimeWithoutReportsIsAGap) {
    auto view = view_of({1, 2, 3, 4});
    EXPECT_EQ(text_of(view).find("gap"), std::string::npos);
    view.samples[3].at_ms += 3'600'000;
    EXPECT_NE(text_of(view).find("; 1 gap of 1h00m"), std::string::npos) << text_of(view);
}

TEST(HistoryText, ASitesRowHoldsUntilTheNextOne) {
    auto view = view_of({1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1});
    HistorySite site;
    site.id = "aa";
    site.function = "malloc";
    site.samples = {{view.samples[0].at_ms, 10, 1, 1, 0, 0, "stable"}, {view.samples[8].at_ms, 20, 2, 2, 0, 0, "stable"}};
    view.sites = {site};
    EXPECT_NE(text_of(view).find("  ________########  10 B -> 20 B"), std::string::npos) << text_of(view);
}

TEST(HistoryText, NamesSendATerminalNothing) {
    auto view = view_of({1, 2});
    view.process.comm = view.process.state = view.process.cmdline = "\x1b[31mred\n";
    view.verdicts = {{0, "\x1b[0m", "\x1b]0;title\a"}};
    view.alerts = {{0, "\x1b", "\x1b", "\x1b", 0, 0, 0, "{", "\x1b\n"}};
    view.snapshots = {{0, "\x1b", "/tmp/\x1b", true}};
    view.kinds = {{"\x1b", {{0, 1, 1, 0, 0, "\x1b"}}}};
    for (const auto& options : {HistoryTextOptions{}, HistoryTextOptions{.sites = true, .alerts = true, .snapshots = true}}) {
        EXPECT_EQ(text_of(view, options).find('\x1b'), std::string::npos);
    }
    std::ostringstream list;
    render_history_list({view.process}, {view.samples[0]}, {}, list);
    EXPECT_EQ(list.str().find('\x1b'), std::string::npos);
    std::ostringstream json;
    render_history_json(view, json);
    EXPECT_EQ(json.str().find('\x1b'), std::string::npos);
}

TEST(HistoryText, NothingInThatTime) {
    EXPECT_NE(text_of(view_of({})).find("nothing was reported of it between"), std::string::npos);
}

} // namespace
} // namespace memtrace
