// What is answered to whom: rules of access, paths, and the page under hostile names.
#include "serve/respond.hpp"

#include <gtest/gtest.h>

#include "report/render.hpp"
#include "serve/page.hpp"
#include "tests/unit/report_sample.hpp"

namespace memtrace {
namespace {

const ServeRules kOpen{"", 5, 30};
const ServeRules kGuarded{"0123456789abcdef", 5, 30};

HttpRequest get(std::string_view path) {
    return {"GET", path, "127.0.0.1:9464", "", std::nullopt, false};
}

Publication two_processes() {
    auto second = test::sample_report();
    second.process.pid = 77;
    second.process.comm = "other";
    return {{test::sample_report(), second}, {}};
}

HttpResponse ask(const HttpRequest& request, const ServeRules& rules = kOpen, double age_s = 1) {
    const auto publication = two_processes();
    return respond(request, rules, &publication, age_s);
}

unsigned status_from(std::string_view host) {
    auto request = get("/metrics");
    request.host = host;
    return ask(request).status;
}

TEST(Respond, Metrics) {
    const auto response = ask(get("/metrics"));
    EXPECT_EQ(response.status, 200U);
    EXPECT_EQ(response.type, "text/plain; version=0.0.4; charset=utf-8");
    EXPECT_TRUE(test::contains(response.body, "memtrace_live_bytes{pid=\"77\",comm=\"other\"}"));
}

TEST(Respond, SnapshotOfAProcessCanBeReadBack) {
    auto request = get("/api/report");
    request.pid = "77";
    const auto response = ask(request);
    EXPECT_EQ(response.type, "application/json");
    const auto report = parse_json_report(response.body);
    ASSERT_TRUE(report) << report.error().message;
    EXPECT_EQ(report->process.pid, 77);
    EXPECT_EQ(report->sites.size(), 2U);
}

TEST(Respond, SnapshotsOfAllAreOneALine) {
    const auto response = ask(get("/api/report"));
    EXPECT_EQ(response.type, "application/x-ndjson");
    EXPECT_EQ(test::occurrences(response.body, "\n"), 2U);
}

TEST(Respond, UnknownThingsAreNotFound) {
    EXPECT_EQ(ask(get("/etc/passwd")).status, 404U);
    EXPECT_EQ(ask(get("")).status, 404U);
    for (const auto& [pid, status] : {std::pair("5", 404U), {"", 400U}, {"77x", 400U}, {"99999999999", 400U}, {"-1", 404U}}) {
        auto request = get("/api/report");
        request.pid = pid;
        EXPECT_EQ(ask(request).status, status) << pid;
    }
    auto post = get("/metrics");
    post.method = "POST";
    EXPECT_EQ(ask(post).status, 405U);
}

TEST(Respond, BeforeTheFirstReport) {
    EXPECT_EQ(respond(get("/metrics"), kOpen, nullptr, 1).status, 200U);
    EXPECT_EQ(respond(get("/"), kOpen, nullptr, 1).status, 200U);
    EXPECT_EQ(respond(get("/healthz"), kOpen, nullptr, 1).status, 200U);
    EXPECT_EQ(respond(get("/api/report"), kOpen, nullptr, 1).status, 503U);
}

TEST(Respond, HealthIsThatReportsGoOn) {
    EXPECT_EQ(ask(get("/healthz"), kOpen, 30).status, 200U);
    EXPECT_EQ(ask(get("/healthz"), kOpen, 31).status, 503U);
}

TEST(Respond, WithoutATokenOnlyThisMachinesOwnNamesAreAnswered) {
    for (const char* host : {"127.0.0.1:9464", "127.0.0.1", "localhost", "localhost:9464", "[::1]:9464", "[::1]"}) {
        EXPECT_EQ(status_from(host), 200U) << host;
    }
    for (const char* host :
         {"", "rebound.example:9464", "localhost.example", "127.0.0.1.example", "[::1].example", "[::1", "1.2.3.4:80:x"}) {
        EXPECT_EQ(status_from(host), 403U) << host;
    }
}

TEST(Respond, WithATokenItIsNeededEverywhere) {
    for (const char* path : {"/", "/metrics", "/api/report", "/healthz", "/nowhere"}) {
        const auto response = ask(get(path), kGuarded);
        EXPECT_EQ(response.status, 401U) << path;
        EXPECT_EQ(response.authenticate, "Bearer");
    }
    for (const char* wrong : {"Bearer", "Bearer ", "Bearer 0123456789abcde", "Bearer 0123456789abcdef0",
                              "Bearer 0123456789abcdeF", "Basic 0123456789abcdef", "0123456789abcdef"}) {
        auto request = get("/metrics");
        request.authorization = wrong;
        EXPECT_EQ(ask(request, kGuarded).status, 401U) << wrong;
    }
    auto request = get("/metrics");
    request.host = "db1.example:9464";
    request.authorization = "Bearer 0123456789abcdef";
    EXPECT_EQ(ask(request, kGuarded).status, 200U);
}

TEST(Page, ShowsOneProcessOrAllOfThem) {
    const auto overview = ask(get("/")).body;
    EXPECT_TRUE(test::contains(overview, "2 processes"));
    EXPECT_FALSE(test::contains(overview, "open_00000000000000aa"));
    auto request = get("/");
    request.pid = "77";
    const auto page = ask(request).body;
    EXPECT_TRUE(test::contains(page, "open_00000000000000aa"));
    EXPECT_TRUE(test::contains(page, "1 call site leaks 200 KiB/s"));
    EXPECT_TRUE(test::contains(page, "http-equiv=\"refresh\" content=\"5\""));
    request.hold = true;
    EXPECT_FALSE(test::contains(ask(request).body, "http-equiv"));
}

TEST(Page, PolicyAllowsItsOwnStyleAndNothingElse) {
    const auto first = ask(get("/"));
    const auto second = ask(get("/"));
    const auto begin = first.policy.find("'nonce-") + 7;
    const auto nonce = first.policy.substr(begin, 32);
    EXPECT_TRUE(first.policy.starts_with("default-src 'none'; style-src 'nonce-" + nonce + "'"));
    EXPECT_TRUE(test::contains(first.body, "<style nonce=\"" + nonce + "\">"));
    EXPECT_FALSE(test::contains(second.policy, nonce)) << "each page has its own";
    EXPECT_FALSE(test::contains(first.body, "<script"));
    EXPECT_FALSE(test::contains(first.body, " style="));
}

TEST(Page, HostileNamesAreText) {
    const std::string hostile = "<script>alert(1)</script>\"'&\x1b[31m\xff";
    auto report = test::sample_report();
    report.process.comm = hostile;
    report.process.exe = hostile;
    report.process.state = hostile;
    report.verdict.class_name = hostile;
    report.verdict.text = hostile;
    report.coverage.mode = hostile;
    report.coverage.mode_reason = hostile;
    report.coverage.sources = {hostile};
    report.coverage.lost = {{hostile, 1}};
    for (auto& site : report.sites) {
        site.id = hostile;
        site.verdict = hostile;
        site.evidence = hostile;
        site.allocator = hostile;
        site.function = hostile;
        site.stack[0].function = hostile;
        site.stack[0].file = hostile;
        site.stack[1].function.clear();
        site.stack[1].module = hostile;
    }
    report.references.followed = true;
    ReportCycle cycle;
    cycle.objects = {{hostile, hostile, 1, 1, 1}};
    cycle.verdict = hostile;
    report.references.cycles = {cycle};
    ReportReferenceError error;
    error.kind = error.type = error.verdict = hostile;
    report.references.errors = {error};
    report.resources.kinds = {{hostile, 1, 1, 1, 1, 0, 0, 0, 0}};
    ReportPool pool;
    pool.name = pool.verdict = hostile;
    report.resources.pools = {pool};
    auto other = report;
    other.process.pid = 77;
    const Publication publication{{report, other}, {}};
    auto request = get("/");
    request.pid = "77";
    const auto page = respond(request, kOpen, &publication, 1).body;
    EXPECT_FALSE(test::contains(page, "<script"));
    EXPECT_FALSE(test::contains(page, "\x1b"));
    EXPECT_FALSE(test::contains(page, "\xff"));
    EXPECT_FALSE(test::contains(page, "\"'&"));
    EXPECT_GT(test::occurrences(page, "&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;?[31m?"), 20U);
}

} // namespace
} // namespace memtrace
