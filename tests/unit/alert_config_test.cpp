// What is read from TOML of alerts, and what is refused, with its place.
#include "config/alert_config.hpp"

#include <gtest/gtest.h>

#include <signal.h>

namespace memtrace {
namespace {

constexpr const char* kAll = R"(
[alerts]
spool = "/var/spool/x"

[[alert]]
name = "old-cursors"
when = "resource-age"
at_least = "10m"
clear = "5m"
for = "30s"
cooldown = "1h"
severity = "critical"
match = { kind = "cursor*" }

[[alert]]
name = "memory-ends-soon"
when = "time-to-limit"
at_most = "2h"

[[alert]]
name = "fast"
when = "site-rate"
at_least = "1MiB"

[[alert]]
name = "dear"
when = "overhead"
at_least = "7.5%"

[[silence]]
match = { alert = "fast", comm = "redis*" }
until = 2030-01-02T03:04:05+01:00

[[sink]]
name = "ops"
type = "webhook"
url = "https://example.org/hook"
header_file = "/etc/token"
severity = "warning"
timeout = "3s"

[[sink]]
name = "am"
type = "alertmanager"
url = "http://127.0.0.1:9093"
repeat = "20s"

[[action]]
name = "give-back"
do = "cleanup"
level = "critical"
match = { severity = "emergency" }
cooldown = "1m"
dry_run = true

[[action]]
name = "poke"
do = "signal"
signal = "SIGUSR1"
match = { alert = "fast" }

[resource]
anything = "is another's to read"
)";

const AlertRule& rule_of(const AlertConfig& config, const std::string& name) {
    for (const auto& rule : config.rules) {
        if (rule.name == name) {
            return rule;
        }
    }
    ADD_FAILURE() << "no rule " << name;
    return config.rules.at(0);
}

TEST(AlertConfig, IsReadWhole) {
    const auto parsed = parse_alert_config(kAll, "x.toml");
    ASSERT_TRUE(parsed) << parsed.error().message;
    const auto& config = *parsed;
    ASSERT_TRUE(config);
    EXPECT_EQ(config->spool, "/var/spool/x");
    EXPECT_EQ(config->rules.size(), default_alert_rules().size() + 3) << "one takes the place of a default";
    const auto& cursors = rule_of(*config, "old-cursors");
    EXPECT_EQ(cursors.subject, AlertSubject::resource_age);
    EXPECT_EQ(cursors.threshold, 600);
    EXPECT_EQ(cursors.clear, 300);
    EXPECT_EQ(cursors.for_s, 30);
    EXPECT_EQ(cursors.cooldown_s, 3'600);
    EXPECT_EQ(cursors.severity, AlertSeverity::critical);
    EXPECT_EQ(cursors.match.at("kind"), "cursor*");
    EXPECT_TRUE(rule_of(*config, "memory-ends-soon").below);
    EXPECT_EQ(rule_of(*config, "memory-ends-soon").clear, 7'200);
    EXPECT_EQ(rule_of(*config, "fast").threshold, 1 << 20);
    EXPECT_DOUBLE_EQ(rule_of(*config, "dear").threshold, 0.075);
    ASSERT_EQ(config->silences.size(), 1U);
    EXPECT_EQ(config->silences[0].until_unix_ns, 1'893'549'845'000'000'000U);
    ASSERT_EQ(config->sinks.size(), 2U);
    EXPECT_EQ(config->sinks[0].type, SinkType::webhook);
    EXPECT_EQ(config->sinks[0].severity, AlertSeverity::warning);
    EXPECT_EQ(config->sinks[0].timeout_ns, 3'000'000'000U);
    EXPECT_EQ(config->sinks[1].repeat_ns, 20'000'000'000U);
    ASSERT_EQ(config->actions.size(), 2U);
    EXPECT_EQ(config->actions[0].level, 3U);
    EXPECT_TRUE(config->actions[0].dry_run);
    EXPECT_EQ(config->actions[1].signal, SIGUSR1);
}

TEST(AlertConfig, WithoutAnythingTheDefaultsHold) {
    const auto silent = parse_alert_config("[[resource]]\nkind = \"x\"", "x.toml");
    ASSERT_TRUE(silent);
    EXPECT_FALSE(*silent);
    EXPECT_EQ(AlertConfig().rules.size(), default_alert_rules().size());
    const auto none = parse_alert_config("[alerts]\ndefaults = false", "x.toml");
    ASSERT_TRUE(none && *none);
    EXPECT_TRUE((*none)->rules.empty());
    EXPECT_TRUE((*none)->sinks.empty());
}

TEST(AlertConfig, TheExampleIsUnderstood) {
    const auto config = read_alert_config({"scripts/alerts/alerts.toml"});
    ASSERT_TRUE(config) << config.error().message;
    EXPECT_EQ(config->rules.size(), default_alert_rules().size() + 1);
    EXPECT_FALSE(read_alert_config({"scripts/alerts/alerts.toml", "scripts/alerts/alerts.toml"}));
}

TEST(AlertConfig, WhatMakesNoSenseIsRefusedWithItsPlace) {
    const std::pair<const char*, const char*> kRefused[]{
        {"[[alert]]\nname = \"a\"\nwhen = \"loss\"\nat_least = 1\ncolour = \"red\"", "x.toml:5: colour is unknown here"},
        {"[[alert]]\nwhen = \"loss\"\nat_least = 1", "x.toml:1: name is missing"},
        {"[[alert]]\nname = \"a\"\nwhen = \"weather\"\nat_least = 1", "x.toml:3: when is nothing that is observed"},
        {"[[alert]]\nname = \"a\"\nwhen = \"loss\"", "x.toml:1: at_least or at_most"},
        {"[[alert]]\nname = \"a\"\nwhen = \"loss\"\nat_least = 1\nat_most = 2", "x.toml:4: at_least or at_most"},
        {"[[alert]]\nname = \"a\"\nwhen = \"loss\"\nat_least = 1\nclear = 2", "x.toml:5: clear lies on the wrong side"},
        {"[[alert]]\nname = \"a\"\nwhen = \"site\"\nat_least = 1", "x.toml:4: at_least is none of suspect"},
        {"[[alert]]\nname = \"a\"\nwhen = \"loss\"\nat_least = true", "x.toml:4: at_least is neither a number"},
        {"[[alert]]\nname = \"a\"\nwhen = \"loss\"\nat_least = 1\nfor = \"soon\"", "x.toml:5: for is no duration"},
        {"[[alert]]\nname = \"a\"\nwhen = \"loss\"\nat_least = 1\nmatch = { kind = 1 }",
         "x.toml:5: match is not a table of texts"},
        {"[[alert]]\nname = \"a\"\nwhen = \"loss\"\nat_least = 1\nseverity = \"bad\"", "x.toml:5: severity is none of"},
        {"[alert]\nname = \"a\"", "x.toml:1: alert is written [[alert]]"},
        {"[[silence]]\nuntil = 2030-01-01T00:00:00Z", "x.toml:1: match is missing"},
        {"[[silence]]\nmatch = { alert = \"*\" }\nuntil = 2030-01-01T00:00:00", "x.toml:3: until is no moment"},
        {"[[sink]]\nname = \"a\"\ntype = \"pager\"", "x.toml:3: type is none of log"},
        {"[[sink]]\nname = \"a/b\"\ntype = \"log\"", "x.toml:2: name is missing, or has something in it"},
        {"[[sink]]\nname = \"a\"\ntype = \"webhook\"\nurl = \"file:///etc\"", "x.toml:4: url is missing, or is no http"},
        {"[[sink]]\nname = \"a\"\ntype = \"log\"\nurl = \"http://x\"", "x.toml:4: url is unknown here"},
        {"[[sink]]\nname = \"a\"\ntype = \"log\"\n[[sink]]\nname = \"a\"\ntype = \"log\"", "x.toml:5: name is taken"},
        {"[[action]]\nname = \"a\"\ndo = \"signal\"\nsignal = \"LOUD\"\nmatch = { alert = \"b\" }",
         "x.toml:4: signal is missing, or"},
        {"[[action]]\nname = \"a\"\ndo = \"snapshot\"", "x.toml:1: match is missing"},
        {"[[action]]\nname = \"a\"\ndo = \"reclaim\"\nmatch = { alert = \"b\" }", "x.toml:1: bytes is missing"},
        {"[[alert]\n", "x.toml:1: "},
        {"alerts = 1", "x.toml:1: alerts is a table"},
    };
    for (const auto& [text, expected] : kRefused) {
        const auto config = parse_alert_config(text, "x.toml");
        ASSERT_FALSE(config) << text;
        EXPECT_EQ(config.error().message.substr(0, std::string(expected).size()), expected) << text;
    }
}

} // namespace
} // namespace memtrace
