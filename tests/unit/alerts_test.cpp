// What becomes of alerts as observations come and go.
#include "analyze/alerts.hpp"

#include <gtest/gtest.h>

#include <iterator>
#include <random>

namespace memtrace {
namespace {

constexpr std::uint64_t kProcess = 7;

AlertRule above(double threshold, double for_s = 0, double cooldown_s = 0) {
    return {.name = "big",
            .subject = AlertSubject::live_bytes,
            .threshold = threshold,
            .clear = threshold,
            .for_s = for_s,
            .cooldown_s = cooldown_s};
}

/// One process, observed once in a while.
class Watched {
public:
    explicit Watched(std::vector<AlertRule> rules, std::vector<AlertSilence> silences = {})
        : book(std::move(rules), std::move(silences)) {}

    /// "firing big, resolved big": what is to be told, `seconds` after the time before.
    std::string after(double seconds, const std::vector<Observation>& observations) {
        now_.seconds += seconds;
        now_.unix_ns += static_cast<std::uint64_t>(seconds * 1e9);
        return names(book.update(kProcess, {{"comm", "db"}}, observations, now_));
    }
    std::string after(double seconds, double live_bytes) {
        return after(seconds, {{AlertSubject::live_bytes, "", live_bytes, {}, "so much is live"}});
    }
    [[nodiscard]] std::string shown() const { return names(book.alerts(kProcess)); }
    static std::string names(const std::vector<Alert>& alerts) {
        std::string text;
        for (const auto& alert : alerts) {
            text += (text.empty() ? "" : ", ") + std::string(alert_state_name(alert.state)) + " " + alert.name;
        }
        return text;
    }

    AlertBook book;

private:
    AlertTime now_{100, 1'700'000'000'000'000'000};
};

TEST(Alerts, FiresAtItsThresholdAndIsResolvedBelow) {
    Watched watched({above(10)});
    EXPECT_EQ(watched.after(1, 9.9), "");
    EXPECT_EQ(watched.after(1, 10), "firing big");
    EXPECT_EQ(watched.after(1, 11), "") << "told of once";
    EXPECT_EQ(watched.shown(), "firing big");
    EXPECT_EQ(watched.book.alerts(kProcess).at(0).value, 11);
    EXPECT_EQ(watched.after(1, 9.9), "resolved big");
    EXPECT_EQ(watched.shown(), "");
    EXPECT_EQ(watched.after(1, 1), "");
}

TEST(Alerts, MustLastForItsTime) {
    Watched watched({above(10, 5)});
    EXPECT_EQ(watched.after(1, 20), "");
    EXPECT_EQ(watched.shown(), "pending big");
    EXPECT_EQ(watched.after(4.9, 20), "");
    EXPECT_EQ(watched.after(1, 1), "") << "what never fired is not resolved";
    EXPECT_EQ(watched.after(1, 20), "");
    EXPECT_EQ(watched.after(5, 20), "firing big");
}

TEST(Alerts, GoOnWhereTheRuleIsTheSameAfterAChange) {
    auto other = above(5);
    other.name = "other";
    Watched watched({above(10)});
    EXPECT_EQ(watched.after(1, 20), "firing big");
    watched.book.change({other, above(10)}, {});
    EXPECT_EQ(watched.shown(), "firing big");
    EXPECT_EQ(watched.after(1, 20), "firing other") << "big was told of before";
    watched.book.change({other}, {});
    EXPECT_EQ(watched.shown(), "firing other");
    EXPECT_EQ(watched.after(1, 20), "resolved big");
    EXPECT_EQ(watched.after(1, 20), "") << "told of once";
}

TEST(Alerts, OfARuleThatIsGoneAreResolvedWithTheProcessToo) {
    Watched watched({above(10)});
    EXPECT_EQ(watched.after(1, 20), "firing big");
    watched.book.change({above(11)}, {});
    EXPECT_EQ(Watched::names(watched.book.end(kProcess, 1)), "resolved big");
    EXPECT_EQ(Watched::names(watched.book.end(kProcess, 1)), "");
}

TEST(Alerts, ThatPendedUnderARuleThatIsGoneAreForgotten) {
    Watched watched({above(10, 5)});
    EXPECT_EQ(watched.after(1, 20), "");
    watched.book.change({above(10, 6)}, {});
    EXPECT_EQ(watched.after(5, 20), "") << "the new rule's time begins now";
    EXPECT_EQ(watched.after(6, 20), "firing big");
}

TEST(Alerts, HysteresisKeepsItFiring) {
    auto rule = above(10);
    rule.clear = 6;
    Watched watched({rule});
    EXPECT_EQ(watched.after(1, 7), "");
    EXPECT_EQ(watched.after(1, 10), "firing big");
    EXPECT_EQ(watched.after(1, 6), "");
    EXPECT_EQ(watched.after(1, 5.9), "resolved big");
    EXPECT_EQ(watched.after(1, 7), "");
}

TEST(Alerts, BelowIsTheOtherWayRound) {
    AlertRule rule{.name = "soon", .subject = AlertSubject::time_to_limit, .below = true, .threshold = 60, .clear = 90};
    Watched watched({rule});
    const auto left = [&](double seconds) { return watched.after(1, {{AlertSubject::time_to_limit, "", seconds, {}, ""}}); };
    EXPECT_EQ(left(61), "");
    EXPECT_EQ(left(60), "firing soon");
    EXPECT_EQ(left(90), "");
    EXPECT_EQ(left(91), "resolved soon");
}

TEST(Alerts, WithinItsCooldownItIsShownAndNotToldOf) {
    Watched watched({above(10, 0, 60)});
    EXPECT_EQ(watched.after(1, 20), "firing big");
    EXPECT_EQ(watched.after(1, 1), "resolved big");
    for (int i = 0; i < 10; ++i) {
        EXPECT_EQ(watched.after(1, 20), "");
        EXPECT_EQ(watched.shown(), "firing big");
        EXPECT_EQ(watched.after(1, 1), "") << "nobody was told that it fires again";
    }
    EXPECT_EQ(watched.after(1, 20), "");
    EXPECT_EQ(watched.after(50, 20), "firing big") << "it still does when the time is over";
}

TEST(Alerts, WhatIsNotObservedAnyMoreIsResolved) {
    Watched watched({above(10)});
    watched.after(1, 20);
    EXPECT_EQ(watched.after(1, std::vector<Observation>()), "resolved big");
}

TEST(Alerts, EachKeyIsAnAlertOfItsOwn) {
    AlertRule rule{
        .name = "leak", .subject = AlertSubject::site, .threshold = 2, .clear = 2, .match = {{"function", "cursor_*"}}};
    Watched watched({rule});
    const auto sites = [](std::initializer_list<std::pair<const char*, double>> ranks) {
        std::vector<Observation> observations;
        for (const auto& [function, rank] : ranks) {
            observations.push_back({AlertSubject::site, function, rank, {{"function", function}}, ""});
        }
        return observations;
    };
    EXPECT_EQ(watched.after(1, sites({{"cursor_b", 2}, {"cursor_a", 3}, {"session", 3}, {"cursor_c", 1}})),
              "firing leak, firing leak");
    EXPECT_EQ(watched.book.alerts(kProcess).at(0).labels.at("function"), "cursor_a");
    EXPECT_EQ(watched.book.alerts(kProcess).at(0).labels.at("comm"), "db");
    EXPECT_EQ(watched.after(1, sites({{"cursor_a", 3}})), "resolved leak");
}

TEST(Alerts, SilencesHideUntilTheirTime) {
    Watched watched({above(10)}, {{{{"alert", "b?g"}, {"comm", "d*"}}, 1'700'000'000'000'000'000 + 5'000'000'000}});
    EXPECT_EQ(watched.after(1, 20), "");
    EXPECT_EQ(watched.shown(), "silenced big");
    EXPECT_EQ(watched.after(3, 20), "");
    EXPECT_EQ(watched.after(1, 20), "firing big");
    Watched other({above(10)}, {{{{"comm", "redis"}}, 0}});
    EXPECT_EQ(other.after(1, 20), "firing big");
}

TEST(Alerts, ASilencedOneThatEndsWasNeverToldOf) {
    Watched watched({above(10)}, {{{}, 0}});
    watched.after(1, 20);
    EXPECT_EQ(watched.after(1, 1), "");
}

TEST(Alerts, TheEndOfAProcessResolvesWhatWasToldOfIt) {
    Watched watched({above(10), above(15, 100)});
    EXPECT_EQ(watched.after(1, 20), "firing big");
    EXPECT_EQ(Watched::names(watched.book.end(kProcess + 1, 1)), "");
    EXPECT_EQ(Watched::names(watched.book.end(kProcess, 1)), "resolved big");
    EXPECT_EQ(watched.shown(), "");
}

TEST(Alerts, ThereIsRoomForSoManyAndTheRestIsCounted) {
    AlertRule rule{.name = "leak", .subject = AlertSubject::site, .threshold = 2, .clear = 2};
    Watched watched({rule});
    std::vector<Observation> observations;
    for (std::size_t i = 0; i < AlertBook::kMaxAlerts + 5; ++i) {
        observations.push_back({AlertSubject::site, std::to_string(i), 2, {}, ""});
    }
    watched.after(1, observations);
    EXPECT_EQ(watched.book.alerts(kProcess).size(), AlertBook::kMaxAlerts);
    EXPECT_EQ(watched.book.refused(), 5U);
}

TEST(Alerts, WhateverHappensFiringAndResolvedAlternate) {
    std::mt19937 random(1);
    auto rule = above(10, 3, 7);
    rule.clear = 8;
    Watched watched({rule});
    std::string before = "resolved big";
    int told = 0;
    for (int i = 0; i < 20'000; ++i) {
        const auto news =
            watched.after(std::uniform_real_distribution<>(0, 3)(random), std::uniform_real_distribution<>(6, 14)(random));
        if (!news.empty()) {
            EXPECT_NE(news, before);
            before = news;
            ++told;
        }
    }
    EXPECT_GT(told, 100);
}

TEST(Alerts, Patterns) {
    EXPECT_TRUE(is_like("", ""));
    EXPECT_TRUE(is_like("", "*"));
    EXPECT_FALSE(is_like("", "?"));
    EXPECT_TRUE(is_like("postgres", "post*"));
    EXPECT_TRUE(is_like("postgres", "*g*s"));
    EXPECT_TRUE(is_like("postgres", "p?st*re?"));
    EXPECT_FALSE(is_like("postgres", "post"));
    EXPECT_FALSE(is_like("postgres", "*x*"));
    EXPECT_TRUE(is_like("aab", "*ab"));
    EXPECT_TRUE(is_like("abc", "abc**"));
    EXPECT_FALSE(is_like(std::string(10'000, 'a'), "*a*a*a*a*a*a*b"));
}

TEST(Alerts, TheDefaultsAreSound) {
    for (const auto& rule : default_alert_rules()) {
        AlertSubject subject{};
        ASSERT_TRUE(parse_alert_subject(alert_subject_name(rule.subject), subject)) << rule.name;
        EXPECT_EQ(subject, rule.subject);
        EXPECT_TRUE(rule.below ? rule.clear >= rule.threshold : rule.clear <= rule.threshold) << rule.name;
    }
    AlertSeverity severity{};
    EXPECT_TRUE(parse_alert_severity("emergency", severity));
    EXPECT_FALSE(parse_alert_severity("loud", severity));
}

TEST(Alerts, OfAProcessThatIsLeftCanBeToldAndGoOn) {
    Watched watched({above(10)});
    EXPECT_EQ(watched.after(1, 20), "firing big");
    EXPECT_EQ(Watched::names(watched.book.to_resolve(kProcess, 1)), "resolved big");
    EXPECT_TRUE(watched.book.to_resolve(kProcess + 1, 1).empty());
    EXPECT_EQ(watched.shown(), "firing big");
    EXPECT_EQ(Watched::names(watched.book.end(kProcess, 1)), "resolved big");
    EXPECT_TRUE(watched.book.to_resolve(kProcess, 1).empty());
}

struct DefaultRule {
    const char* name;
    AlertSubject subject;
    AlertSeverity severity;
    double fine; ///< does not fire, however long
    double bad;  ///< fires after `for_s`
    double for_s;
};

constexpr DefaultRule kDefaults[]{
    {"leak-definite", AlertSubject::site, AlertSeverity::critical, 2, 3, 30},
    {"leak-probable", AlertSubject::site, AlertSeverity::warning, 1, 2, 60},
    {"memory-ends-soon", AlertSubject::time_to_limit, AlertSeverity::critical, 6 * 3'600 + 1, 6 * 3'600, 60},
    {"memory-ends-now", AlertSubject::time_to_limit, AlertSeverity::emergency, 901, 900, 30},
    {"resource-leak", AlertSubject::resource, AlertSeverity::warning, 1, 2, 30},
    {"pool-exhausted", AlertSubject::pool, AlertSeverity::critical, 2, 3, 10},
    {"reference-error", AlertSubject::reference, AlertSeverity::warning, 1, 2, 0},
    {"tracing-loss", AlertSubject::loss, AlertSeverity::warning, 0, 1, 0},
    {"tracing-overhead", AlertSubject::overhead, AlertSeverity::warning, 0.099, 0.1, 60},
};

TEST(DefaultAlertRules, FireWhereTheyShould) {
    const auto rules = default_alert_rules();
    ASSERT_EQ(rules.size(), std::size(kDefaults));
    for (std::size_t i = 0; i < rules.size(); ++i) {
        const auto& expected = kDefaults[i];
        const auto observed = [&](double value) {
            return std::vector<Observation>{{expected.subject, "", value, {{"class", "leak"}}, ""}};
        };
        EXPECT_EQ(rules[i].name, expected.name);
        EXPECT_EQ(rules[i].severity, expected.severity) << expected.name;
        EXPECT_EQ(rules[i].cooldown_s, 300) << expected.name;
        Watched watched({rules[i]});
        const auto fires = std::string("firing ") + expected.name;
        EXPECT_EQ(watched.after(1, observed(expected.fine)), "") << expected.name;
        EXPECT_EQ(watched.shown(), "") << expected.name;
        if (expected.for_s > 0) {
            EXPECT_EQ(watched.after(1, observed(expected.bad)), "") << expected.name;
            EXPECT_EQ(watched.after(expected.for_s - 1, observed(expected.bad)), "") << expected.name;
        }
        EXPECT_EQ(watched.after(1, observed(expected.bad)), fires);
    }
}

TEST(DefaultAlertRules, OfMemoryAreOnLeaksAndHaveHysteresis) {
    for (const auto& rule : default_alert_rules()) {
        if (rule.subject != AlertSubject::time_to_limit) {
            continue;
        }
        const auto observed = [&](double value, const char* class_name) {
            return std::vector<Observation>{{rule.subject, "", value, {{"class", class_name}}, ""}};
        };
        Watched watched({rule});
        (void)watched.after(1, observed(1, "cache-growth"));
        EXPECT_EQ(watched.after(600, observed(1, "cache-growth")), "") << "what warms up grows as fast";
        (void)watched.after(1, observed(1, "leak"));
        EXPECT_EQ(watched.after(600, observed(1, "leak")), "firing " + rule.name);
        EXPECT_EQ(watched.after(1, observed(rule.threshold * 1.5, "leak")), "");
        EXPECT_EQ(watched.after(1, observed(rule.threshold * 1.5 + 1, "leak")), "resolved " + rule.name);
    }
}

TEST(DefaultAlertRules, OneBurstOfLossesIsTold) {
    Watched watched(default_alert_rules());
    const auto lost = [](double events) { return std::vector<Observation>{{AlertSubject::loss, "", events, {}, ""}}; };
    EXPECT_EQ(watched.after(1, lost(0)), "");
    EXPECT_EQ(watched.after(5, lost(1'000)), "firing tracing-loss");
    EXPECT_EQ(watched.after(5, lost(0)), "resolved tracing-loss");
    EXPECT_EQ(watched.after(5, lost(7)), "") << "its cooldown is not over";
}

} // namespace
} // namespace memtrace
