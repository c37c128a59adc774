// What is made of resources and pools: what nobody can give back any more is found, and nothing of a program that hands them around.
#include "model/resources.hpp"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "analyze/resource_findings.hpp"

namespace memtrace {
namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;

class Program {
public:
    explicit Program(const ResourceTable::Limits& limits = {}) : table(limits) {}

    Program& by(std::int32_t tid, std::uint32_t stack = 0) {
        tid_ = tid;
        stack_ = {stack};
        return *this;
    }
    void tell(ResourceAction action, const std::string& kind, std::uint64_t id, std::uint64_t parent = 0,
              std::uint64_t age_ns = 0) {
        table.on(ResourceTold{origin(), action, kind, id, parent, 100, "name", age_ns, age_ns / 2});
    }
    void acquire(const std::string& kind, std::uint64_t id, std::uint64_t parent = 0) {
        tell(ResourceAction::acquired, kind, id, parent);
    }
    void touch(const std::string& kind, std::uint64_t id) { tell(ResourceAction::touched, kind, id); }
    void release(const std::string& kind, std::uint64_t id) { tell(ResourceAction::released, kind, id); }
    void end_thread(std::int32_t tid) { table.on(ThreadEnded{{1}, now, tid}); }
    void pool(PoolAction action, std::uint64_t in_use, std::uint64_t limit) {
        table.on(PoolTold{origin(), action, 0x4000, "connections", in_use, limit});
    }
    void pass(double seconds) {
        now += static_cast<std::uint64_t>(seconds * kSecond);
        table.settle(now);
    }
    /// "cursor 4 probable leaked": those that something is wrong with.
    [[nodiscard]] std::string found() const {
        std::string text;
        for (const auto& resource : table.resources()) {
            if (!resource.held) {
                continue;
            }
            const auto& kind = table.kinds().at(resource.kind);
            const auto judgement = judge_resource(resource, kind, table.certain(resource), now);
            if (judgement.verdict != SiteVerdict::stable) {
                text += (text.empty() ? "" : ", ") + kind.name + ' ' + std::to_string(resource.id) + ' ' +
                        site_verdict_name(judgement.verdict) +
                        (judgement.leaked    ? " leaked"
                         : judgement.overdue ? " overdue"
                                             : "");
            }
        }
        return text;
    }
    [[nodiscard]] std::string pool_verdict() const { return site_verdict_name(judge_pool(table.pools().at(0), now).verdict); }
    [[nodiscard]] const ResourceKind& kind(const std::string& name) const {
        for (const auto& kind : table.kinds()) {
            if (kind.name == name) {
                return kind;
            }
        }
        ADD_FAILURE() << "no kind " << name;
        return table.kinds().front();
    }

    ResourceTable table;
    std::uint64_t now = 1000 * kSecond;

private:
    ContractOrigin origin() {
        now += 1000;
        return {{1}, now, tid_, stack_};
    }
    std::int32_t tid_ = 1;
    StackId stack_;
};

TEST(Resources, HeldAndReleasedLeavesFiguresOfItsKind) {
    Program program;
    program.acquire("cursor", 4);
    EXPECT_EQ(program.kind("cursor").live, 1U);
    EXPECT_EQ(program.kind("cursor").bytes, 100U);
    program.pass(10);
    program.touch("cursor", 4);
    program.pass(2);
    program.release("cursor", 4);
    const auto& kind = program.kind("cursor");
    EXPECT_EQ(kind.live, 0U);
    EXPECT_EQ(kind.bytes, 0U);
    EXPECT_EQ(kind.released, 1U);
    EXPECT_GE(kind.lifetimes.quantile(0.5), 12 * kSecond);
    EXPECT_LE(kind.lifetimes.quantile(0.5), 15 * kSecond);
    EXPECT_GE(kind.idle.quantile(0.99), 10 * kSecond) << "the longest of its two times without use";
    EXPECT_LE(kind.idle.quantile(0.99), 12 * kSecond + kSecond / 2);
}

TEST(Resources, QuantilesAreAtMostAFifthTooLong) {
    DurationHistogram histogram;
    EXPECT_EQ(histogram.quantile(0.5), 0U);
    for (std::uint64_t i = 1; i <= 1000; ++i) {
        histogram.add(i * 1'000'000);
    }
    for (const double q : {0.01, 0.5, 0.9, 0.99, 1.0}) {
        const double exact = q * 1e9;
        const auto quantile = static_cast<double>(histogram.quantile(q));
        EXPECT_GE(quantile, exact) << q;
        EXPECT_LE(quantile, exact * 1.25) << q;
    }
    histogram.add(UINT64_MAX);
    EXPECT_EQ(histogram.quantile(1), UINT64_MAX);
}

TEST(Resources, WhatBelongsToAPoolOutlivesTheThreadThatUsedIt) {
    Program program;
    program.by(2).acquire("connection", 4, 0x4000);
    program.pool(PoolAction::got, 1, 8);
    program.acquire("connection", 5, 0x4001);
    program.end_thread(2);
    program.pass(3);
    EXPECT_EQ(program.found(), "connection 5 probable leaked");
}

TEST(Resources, ThreadEndsHoldingACursor) {
    Program program;
    program.by(7, 11).acquire("cursor", 4);
    program.end_thread(7);
    EXPECT_EQ(program.found(), "") << "what it told last may be on its way";
    program.pass(3);
    EXPECT_EQ(program.found(), "cursor 4 probable leaked");
    for (std::uint64_t id = 10; id < 20; ++id) { // the program gives others of its kind back where it took them
        program.by(8).acquire("cursor", id);
        program.release("cursor", id);
    }
    EXPECT_EQ(program.found(), "cursor 4 probable leaked") << "never definite: it may be in a cache that others use";
}

TEST(Resources, AThreadThatIsJoinedLeavesItsResourceToAnother) {
    Program program;
    program.by(7).acquire("file", 4);
    program.end_thread(7);
    program.by(8).touch("file", 4);
    program.pass(60);
    EXPECT_EQ(program.found(), "") << "another thread uses it";
    program.by(7).acquire("file", 5);
    program.end_thread(7);
    program.pass(3);
    program.by(8).release("file", 5);
    program.by(7).acquire("file", 6);
    program.end_thread(7);
    program.pass(3);
    EXPECT_EQ(program.found(), "file 6 suspect") << "in this program that was no leak the last time";
}

TEST(Resources, AnotherThreadOfTheSameNumberIsAnother) {
    Program program;
    program.by(7).acquire("cursor", 4);
    program.end_thread(7);
    program.by(7).acquire("cursor", 5);
    program.pass(3);
    EXPECT_EQ(program.found(), "cursor 4 probable leaked");
}

TEST(Resources, ParentReleasedBeforeItsChild) {
    Program program;
    program.acquire("connection", 3);
    program.acquire("cursor", 3); // ids are unique within a kind only
    program.acquire("cursor", 4, 3);
    program.release("connection", 3);
    EXPECT_EQ(program.found(), "");
    program.pass(3);
    EXPECT_EQ(program.found(), "cursor 4 probable leaked");
    program.release("cursor", 4);
    EXPECT_EQ(program.found(), "");
    EXPECT_EQ(program.kind("cursor").outlived_parent, 1U);
}

TEST(Resources, ChildrenReleasedJustAfterTheirParentAreNotLate) {
    Program program;
    program.acquire("connection", 3);
    program.acquire("cursor", 4, 3);
    program.release("connection", 3);
    program.release("cursor", 4);
    program.pass(60);
    EXPECT_EQ(program.found(), "");
    EXPECT_EQ(program.kind("cursor").outlived_parent, 0U);
}

TEST(Resources, OlderThanItsKindEverGets) {
    Program program;
    program.acquire("statement", 1);
    for (std::uint64_t id = 100; id < 220; ++id) {
        program.acquire("statement", id);
        program.pass(0.1);
        program.release("statement", id);
    }
    EXPECT_EQ(program.found(), "") << "old for its kind, but not for long";
    program.pass(60);
    EXPECT_EQ(program.found(), "statement 1 suspect");
    program.touch("statement", 1);
    EXPECT_EQ(program.found(), "") << "it is in use";
}

TEST(Resources, FewReleasedOnesSayNothingOfAge) {
    Program program;
    program.acquire("connection", 1);
    for (std::uint64_t id = 100; id < 150; ++id) {
        program.acquire("connection", id);
        program.release("connection", id);
    }
    program.pass(3600);
    EXPECT_EQ(program.found(), "");
}

TEST(Resources, AnnouncedOnesHaveTheAgeThatIsTold) {
    Program program;
    program.by(7).tell(ResourceAction::alive, "connection", 1, 0, 600 * kSecond);
    const auto& resource = program.table.resources().at(0);
    EXPECT_EQ(resource.born_ns, program.now - 600 * kSecond);
    EXPECT_EQ(resource.used_ns, program.now - 300 * kSecond);
    program.end_thread(7); // who announced it
    program.pass(60);
    EXPECT_EQ(program.found(), "");
}

TEST(Resources, DoubleRelease) {
    Program program;
    program.by(1, 11).acquire("file", 4);
    program.by(1, 12).release("file", 4);
    program.by(2, 13).release("file", 4);
    ASSERT_EQ(program.table.errors().size(), 1U);
    const auto& error = program.table.errors().front();
    EXPECT_TRUE(error.double_release);
    EXPECT_EQ(error.acquired.stack.value, 11U);
    EXPECT_EQ(error.released.stack.value, 12U);
    EXPECT_EQ(error.used.stack.value, 13U);
    EXPECT_TRUE(error.certain);
}

TEST(Resources, UseAfterRelease) {
    Program program;
    program.acquire("file", 4);
    program.by(1).release("file", 4);
    program.by(2).touch("file", 4);
    EXPECT_TRUE(program.table.errors().empty()) << "it may have been used before, and told after";
    program.by(1).touch("file", 4);
    ASSERT_EQ(program.table.errors().size(), 1U);
    EXPECT_FALSE(program.table.errors().front().double_release);
    program.acquire("file", 4);
    program.touch("file", 4);
    EXPECT_EQ(program.table.errors().size(), 1U) << "the next one of that number";
}

TEST(Resources, AnIdThatIsTakenAgainBeforeItsReleaseIsToldIsNoError) {
    Program program;
    program.by(1).acquire("file", 4);
    program.by(2).acquire("file", 4); // the system gave the number out again: thread 1 has closed it
    program.by(1).release("file", 4);
    EXPECT_EQ(program.kind("file").live, 1U);
    program.by(2).release("file", 4);
    program.pass(60);
    EXPECT_TRUE(program.table.errors().empty());
    EXPECT_EQ(program.kind("file").live, 0U);
    EXPECT_EQ(program.table.counters().missed_releases, 0U);
}

TEST(Resources, AnIdThatIsTakenAgainWithoutAReleaseIsAMissedOne) {
    Program program;
    program.by(1).acquire("file", 4);
    program.by(2).acquire("file", 4);
    program.pass(3);
    EXPECT_EQ(program.table.counters().missed_releases, 1U);
}

TEST(Resources, WhatWasHeldAtALossIsUncertain) {
    Program program;
    program.by(7).acquire("cursor", 4);
    program.table.lost(program.now);
    program.end_thread(7);
    program.pass(3);
    EXPECT_EQ(program.found(), "cursor 4 suspect leaked");
    program.release("cursor", 4);
    program.release("cursor", 4);
    EXPECT_FALSE(program.table.errors().at(0).certain);
}

TEST(Resources, ThereIsRoomForSoManyAndTheRestIsCounted) {
    Program program({.resources = 2, .kinds = 2, .errors = 1, .released = 2, .pools = 0, .cleanups = 1});
    for (std::uint64_t id = 1; id <= 3; ++id) {
        program.acquire("file", id);
    }
    program.acquire("another", 1);
    program.pool(PoolAction::got, 1, 2);
    const auto& counters = program.table.counters();
    program.release("another", 1);
    program.release("yet another", 1);
    EXPECT_EQ(counters.resources_refused, 1U);
    EXPECT_EQ(counters.kinds_refused, 3U);
    EXPECT_TRUE(program.table.errors().empty()) << "two kinds without room are not one kind";
    EXPECT_EQ(counters.pools_refused, 1U);
    for (std::uint64_t round = 0; round < 100; ++round) {
        program.release("file", 1);
        program.by(1, static_cast<std::uint32_t>(round)).release("file", 1);
        program.acquire("file", 1);
    }
    EXPECT_EQ(program.table.errors().size(), 1U);
    EXPECT_GT(counters.errors_refused, 0U);
    EXPECT_LE(program.table.resources().size(), 3U);
}

TEST(Resources, NonsenseIsBorne) {
    const std::vector<std::uint64_t> values{0, 1, 2, 3, 4, 1ull << 63, UINT64_MAX};
    const std::vector<std::string> kinds{"", "file", "cursor", "lock"};
    for (unsigned seed = 0; seed < 20; ++seed) {
        std::mt19937 random(seed);
        const auto pick = [&](std::size_t size) { return std::uniform_int_distribution<std::size_t>(0, size - 1)(random); };
        const auto value = [&] { return values[pick(values.size())]; };
        ResourceTable table({.resources = 8, .kinds = 3, .errors = 5, .released = 4, .pools = 2, .cleanups = 2});
        for (int i = 0; i < 10'000; ++i) {
            const ContractOrigin origin{{1}, value(), static_cast<std::int32_t>(pick(3)), {}};
            switch (pick(10)) {
            case 0:
                table.on(ThreadEnded{{1}, value(), static_cast<std::int32_t>(pick(3))});
                break;
            case 1:
                table.on(PoolTold{origin, static_cast<PoolAction>(pick(4)), value(), "p", value(), value()});
                break;
            case 2:
                table.on(CleanupTold{origin, pick(2) == 0, static_cast<std::uint32_t>(value()), value(), value()});
                break;
            case 3:
                table.settle(value());
                break;
            default:
                table.on(ResourceTold{origin, static_cast<ResourceAction>(pick(4)), kinds[pick(kinds.size())], value(), value(),
                                      value(), "n", value(), value()});
            }
        }
        std::vector<std::uint64_t> held(table.kinds().size());
        for (const auto& resource : table.resources()) {
            if (resource.held) {
                ++held.at(resource.kind);
                static_cast<void>(judge_resource(resource, table.kinds().at(resource.kind), true, value()));
            }
        }
        for (std::size_t kind = 0; kind < held.size(); ++kind) {
            EXPECT_EQ(table.kinds()[kind].live, held[kind]) << "seed " << seed;
        }
        EXPECT_LE(table.pools().size(), 2U);
        EXPECT_LE(table.cleanups().size(), 2U);
    }
}

// ---- of the kernel -----------------------------------------------------------------------------------------------------------------

class KernelProgram {
public:
    ResourceTable table;
    std::uint64_t now = kSecond;

    void tell(ResourceAction action, std::uint64_t id, std::uint32_t stack = 0, std::int32_t tid = 1) {
        table.on(ResourceTold{{{1}, now++, tid, {stack}}, action, "fd:file", id, 0, 0, "name", 0, 0, true});
    }
    [[nodiscard]] std::string sites() const {
        std::string text;
        for (const auto& site : table.sites()) {
            text += "[" + std::to_string(site.stack.value) + ": " + std::to_string(site.held) + " of " +
                    std::to_string(site.acquired) + ", -" + std::to_string(site.released) + "]";
        }
        return text;
    }
};

TEST(KernelResources, AreCountedByPlace) {
    KernelProgram program;
    program.tell(ResourceAction::alive, 1, 9); // the stack is the announcer's
    program.tell(ResourceAction::acquired, 3, 1);
    program.tell(ResourceAction::acquired, 4, 1);
    program.tell(ResourceAction::acquired, 5, 2);
    program.tell(ResourceAction::released, 3);
    program.tell(ResourceAction::released, 1);
    EXPECT_EQ(program.sites(), "[0: 0 of 1, -1][1: 1 of 2, -1][2: 1 of 1, -0]");
    EXPECT_EQ(program.table.kinds().at(1).live, 2U);
}

TEST(KernelResources, AnnouncedBeforeItsAcquisitionIsHeardOfIsOne) {
    KernelProgram program;
    program.tell(ResourceAction::alive, 3);
    program.tell(ResourceAction::acquired, 3, 1);
    EXPECT_EQ(program.sites(), "[0: 0 of 0, -0][1: 1 of 1, -0]");
    EXPECT_EQ(program.table.kinds().at(1).acquired, 1U);
    program.table.settle(program.now + 60 * kSecond);
    EXPECT_EQ(program.table.counters().missed_releases, 0U);
}

TEST(KernelResources, BelongToTheProcessAndToNoThreadOfIt) {
    KernelProgram program;
    for (std::uint64_t id = 10; id < 200; ++id) { // short-lived ones: the one that stays is unusually old
        program.tell(ResourceAction::acquired, id, 1);
        program.tell(ResourceAction::released, id);
    }
    program.tell(ResourceAction::acquired, 3, 1, 7);
    program.table.on(ThreadEnded{{1}, program.now, 7});
    program.now += 3600 * kSecond;
    program.table.settle(program.now);
    for (const auto& resource : program.table.resources()) {
        EXPECT_EQ(judge_resource(resource, program.table.kinds().at(resource.kind), true, program.now).verdict,
                  SiteVerdict::stable);
    }
    EXPECT_TRUE(program.table.errors().empty());
}

TEST(KernelResources, AreNobodysParent) {
    KernelProgram program;
    program.tell(ResourceAction::acquired, 5, 1);
    program.table.on(ResourceTold{{{1}, program.now, 1, {}}, ResourceAction::acquired, "session", 5, 0, 0, "", 0, 0});
    program.table.on(ResourceTold{{{1}, program.now, 1, {}}, ResourceAction::acquired, "cursor", 6, 5, 0, "", 0, 0});
    const auto& parent = program.table.resources().at(program.table.resources().back().parent_index);
    EXPECT_EQ(program.table.kinds().at(parent.kind).name, "session");
}

TEST(KernelResources, SitesFindNoRoomAndAreCounted) {
    KernelProgram program;
    ResourceTable::Limits limits;
    limits.sites = 1;
    program.table = ResourceTable(limits);
    program.tell(ResourceAction::acquired, 3, 1);
    program.tell(ResourceAction::acquired, 4, 2);
    program.tell(ResourceAction::released, 4);
    EXPECT_EQ(program.sites(), "[1: 1 of 1, -0]");
    EXPECT_EQ(program.table.counters().sites_refused, 1U);
}

// ---- places that acquire more and more ---------------------------------------------------------------------------------------------

/// 64 looks over `lasted` seconds at what is held after a share of them has passed.
template <typename Held>
ResourceSiteJudgement judge_held(double lasted, std::uint64_t acquired, std::uint64_t released, const Held& held,
                                 const ResourceLimitState& limit = {}) {
    std::vector<double> at;
    std::vector<double> values;
    for (int i = 0; i < 64; ++i) {
        at.push_back(lasted * i / 63);
        values.push_back(held(i / 63.0));
    }
    constexpr double kSites = 10; // that are judged at once
    const auto trend = find_trend(at, values, {});
    SiteHistory history;
    history.counted = Counted::resources;
    history.points = at.size();
    history.lasted_s = lasted - at[trend.begin];
    history.allocs = acquired;
    history.frees = released;
    history.live_objects = acquired - released;
    return judge_resource_site(history, trend, std::min(1.0, kSites * trend.p), limit);
}

TEST(ResourceSites, OneThatOnlyAcquiresLeaks) {
    const auto rising = [](double share) { return 200 * share; };
    const auto judgement = judge_held(400, 200, 0, rising, {800, 1024});
    EXPECT_EQ(judgement.verdict, SiteVerdict::definite);
    EXPECT_NEAR(judgement.growth_per_s, 0.5, 0.01);
    EXPECT_EQ(judgement.evidence,
              "grew by 0.5 a second for 7 min, p < 0.001; 100 % of its 200 acquisitions were never released; the process "
              "holds 800 of the 1024 that it may have: at that rate for 448 s more");
    EXPECT_EQ(judge_held(20, 200, 0, rising).verdict, SiteVerdict::probable);
}

TEST(ResourceSites, PastItsLimitThereIsNoTimeLeft) {
    const auto judgement = judge_held(100, 200, 0, [](double share) { return 200 * share; }, {2000, 1024});
    EXPECT_NE(judgement.evidence.find("at that rate for 0 s more"), std::string::npos) << judgement.evidence;
}

TEST(ResourceSites, AFewOpenedOneAfterTheOtherAreNone) {
    EXPECT_EQ(judge_held(100, 9, 0, [](double share) { return static_cast<int>(9 * share); }).verdict, SiteVerdict::stable);
}

TEST(ResourceSites, WhereMostAreReleasedABriefRiseIsTheLoad) {
    const auto rising = [](double share) { return 50 * share; };
    EXPECT_EQ(judge_held(20, 10'000, 9'950, rising).verdict, SiteVerdict::stable);
    EXPECT_EQ(judge_held(600, 10'000, 9'950, rising).verdict, SiteVerdict::suspect); // one in 200 is not released
}

TEST(ResourceSites, OnesThatAreHeldAtOnceOrComeAndGoAreStable) {
    EXPECT_EQ(judge_held(100, 500, 0, [](double) { return 500; }).verdict, SiteVerdict::stable);
    EXPECT_EQ(judge_held(100, 500, 0, [](double share) { return share < 0.3 ? 500 * share / 0.3 : 500; }).verdict,
              SiteVerdict::cache_like);
    std::mt19937 random(1);
    EXPECT_EQ(judge_held(100, 10'000, 9'980, [&](double) { return 20.0 + static_cast<double>(random() % 10); }).verdict,
              SiteVerdict::stable);
}

TEST(Resources, PoolFromWhichNothingComesBackIsExhausted) {
    Program program;
    program.pool(PoolAction::limited, 0, 2);
    program.pool(PoolAction::got, 1, 2);
    program.pool(PoolAction::got, 2, 2);
    EXPECT_EQ(program.pool_verdict(), "stable") << "full, but nobody waits";
    program.pool(PoolAction::waited, 2, 2);
    EXPECT_EQ(program.pool_verdict(), "suspect");
    program.pass(3);
    EXPECT_EQ(program.pool_verdict(), "definite");
    program.pool(PoolAction::put, 1, 2);
    EXPECT_EQ(program.pool_verdict(), "stable");
    EXPECT_EQ(program.table.pools().at(0).peak, 2U);
}

TEST(Resources, BusyPoolIsNotExhausted) {
    Program program;
    for (int i = 0; i < 100; ++i) {
        program.pool(PoolAction::got, 2, 2);
        program.pool(PoolAction::waited, 2, 2);
        program.pool(PoolAction::put, 1, 2);
        program.pool(PoolAction::got, 2, 2);
        program.pass(0.5);
    }
    EXPECT_EQ(program.pool_verdict(), "suspect");
    EXPECT_EQ(program.table.pools().at(0).waits, 100U);
    program.table.reported();
    EXPECT_EQ(program.pool_verdict(), "stable") << "nobody waited since";
}

TEST(Resources, CleanupsAreMatchedByTheirLevel) {
    Program program;
    program.table.on(CleanupTold{{{1}, 1000, 1, {}}, false, 3, 1 << 20, 0});
    program.table.on(CleanupTold{{{1}, 2000, 2, {}}, false, 1, 1 << 10, 0});
    program.table.on(CleanupTold{{{1}, 5000, 1, {}}, true, 3, 900'000, 12});
    const auto& cleanups = program.table.cleanups();
    ASSERT_EQ(cleanups.size(), 2U);
    EXPECT_TRUE(cleanups[0].ended);
    EXPECT_EQ(cleanups[0].ended_ns - cleanups[0].began_ns, 4000U);
    EXPECT_EQ(cleanups[0].freed_bytes, 900'000U);
    EXPECT_EQ(cleanups[0].released, 12U);
    EXPECT_FALSE(cleanups[1].ended);
}

// ---- kinds of which more is known ----------------------------------------------------------------------------------------------

TEST(Resources, AgeBeyondTheLimitOfItsKindIsReportedWhateverIsUsual) {
    Program program;
    program.table.on(ResourceKindDefined{{1}, "transaction", 30 * kSecond, 0, false, true});
    program.by(1).acquire("transaction", 7);
    program.pass(29.9);
    EXPECT_EQ(program.found(), "");
    program.pass(0.2);
    EXPECT_EQ(program.found(), "transaction 7 probable overdue");
    program.release("transaction", 7);
    EXPECT_EQ(program.found(), "");
}

TEST(Resources, TimeUnusedBeyondTheLimitOfItsKindIsReported) {
    Program program;
    program.table.on(ResourceKindDefined{{1}, "transaction", 0, 10 * kSecond, false, true});
    program.by(1).acquire("transaction", 7);
    program.pass(9);
    program.touch("transaction", 7);
    program.pass(9);
    EXPECT_EQ(program.found(), "");
    program.pass(1);
    EXPECT_EQ(program.found(), "transaction 7 probable overdue");
}

TEST(Resources, AKindOfWhichNotAllIsToldHasNoErrors) {
    Program program;
    program.table.on(ResourceKindDefined{{1}, "ssl", 0, 0, false, true});
    program.by(1).acquire("ssl", 7);
    program.release("ssl", 7);
    program.release("ssl", 7);
    program.touch("ssl", 7);
    EXPECT_TRUE(program.table.errors().empty());
    EXPECT_EQ(program.table.counters().unknown_resources, 2U);
}

TEST(Resources, WhatBelongsToItsUserOutlivesWhoAcquiredIt) {
    Program program;
    program.table.on(ResourceKindDefined{{1}, "pthread", 0, 0, false, false});
    program.by(1).acquire("pthread", 7);
    program.acquire("pthread", 8);
    program.end_thread(1);
    program.by(2).touch("pthread", 8);
    program.end_thread(2);
    program.pass(3);
    EXPECT_EQ(program.found(), "pthread 8 probable leaked");
}

TEST(Resources, ThreadsAreJoinedAfterTheirEndOrNever) {
    Program program;
    program.table.on(ResourceKindDefined{{1}, "pthread", 0, 0, false, false});
    for (std::uint64_t thread = 10; thread < 20; ++thread) {
        program.by(1).acquire("pthread", thread);
        program.by(static_cast<std::int32_t>(thread)).touch("pthread", thread);
        program.end_thread(static_cast<std::int32_t>(thread));
        if (thread != 13) {
            program.by(1).release("pthread", thread);
        }
    }
    EXPECT_EQ(program.found(), "");
    program.pass(3);
    EXPECT_EQ(program.found(), "pthread 13 probable leaked");
    program.by(1).release("pthread", 13); // this program waits for a while
    program.acquire("pthread", 20);
    program.by(20).touch("pthread", 20);
    program.end_thread(20);
    program.pass(3);
    EXPECT_EQ(program.found(), "pthread 20 suspect");
}

} // namespace
} // namespace memtrace
