// Messages to sinks arrive once each, in order, whatever fails in between; programs that hang are killed.
#include "app/alert_sink.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "app/run_command.hpp"
#include "base/clock.hpp"
#include "tests/unit/said_fixture.hpp"

namespace memtrace {
namespace {

constexpr std::uint64_t kSoon = 1'000'000; // ns
constexpr std::uint64_t kLong = 60'000'000'000;

/// A directory, removed in the end; what is said.
class AlertSinkTest : public test::SaidFixture {
protected:
    AlertSinkTest() {
        char name[] = "/tmp/memtrace-sink-XXXXXX";
        directory_ = ::mkdtemp(name);
    }
    ~AlertSinkTest() override { std::filesystem::remove_all(directory_); }

    /// Appends what it gets to `directory/got`; fails while `directory/broken` is there.
    [[nodiscard]] SinkConfig appending() const {
        SinkConfig config;
        config.name = "file";
        config.type = SinkType::command;
        config.command = {"sh", "-c", "test ! -e broken && cat >> got || { echo out of order >&2; exit 3; }"};
        config.command[2] = "cd " + directory_ + " && " + config.command[2];
        config.timeout_ns = kLong;
        return config;
    }
    [[nodiscard]] std::string got() const {
        std::stringstream text;
        text << std::ifstream(directory_ + "/got").rdbuf();
        return text.str();
    }
    void broken(bool yes) const {
        yes ? void(std::ofstream(directory_ + "/broken")) : void(std::filesystem::remove(directory_ + "/broken"));
    }
    std::string directory_;
};

TEST_F(AlertSinkTest, MessagesArriveInOrder) {
    {
        AlertSink sink(appending(), "", say());
        for (int i = 0; i < 20; ++i) {
            sink.send(std::to_string(i) + "\n");
        }
        await([&] { return sink.waiting() == 0; });
    }
    EXPECT_EQ(got(), "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n13\n14\n15\n16\n17\n18\n19\n");
    EXPECT_EQ(said(), "");
}

TEST_F(AlertSinkTest, WhatFailsIsTriedAgain) {
    broken(true);
    AlertSink sink(appending(), "", say(), kSoon);
    sink.send("one ");
    sink.send("two");
    await([&] { return !said().empty(); });
    EXPECT_EQ(said(), "sink file: sh failed with status 3: out of order; it is tried again\n");
    EXPECT_EQ(sink.waiting(), 2U);
    broken(false);
    await([&] { return sink.waiting() == 0; });
    EXPECT_EQ(got(), "one two");
}

TEST_F(AlertSinkTest, TheSpoolOutlastsTheRun) {
    broken(true);
    const auto spool = directory_ + "/spool";
    {
        AlertSink sink(appending(), spool, say(), kLong);
        sink.send("one ");
        sink.send("two ");
        await([&] { return sink.waiting() == 2 && !said().empty(); });
    }
    EXPECT_NE(said().find("2 messages are left to the next run in " + spool), std::string::npos) << said();
    broken(false);
    {
        AlertSink sink(appending(), spool, say());
        sink.send("three");
    }
    EXPECT_EQ(got(), "one two three");
    std::size_t files = 0;
    for (const auto& entry : std::filesystem::directory_iterator(spool)) {
        files += entry.path().extension() == ".json" ? 1 : 0;
    }
    EXPECT_EQ(files, 0U);
}

TEST_F(AlertSinkTest, ASpoolIsOneRunsAtATime) {
    const auto spool = directory_ + "/spool";
    AlertSink first(appending(), spool, say());
    first.send("1");
    await([&] { return first.waiting() == 0; });
    AlertSink second(appending(), spool, say());
    await([&] { return !said().empty(); });
    EXPECT_EQ(said(), "sink file keeps its messages in memory only: another memtrace uses " + spool + "\n");
    second.send("2");
    await([&] { return second.waiting() == 0; });
    EXPECT_EQ(got(), "12");
}

TEST_F(AlertSinkTest, WithoutASpoolWhatWasNotTakenIsLostAndSaidSo) {
    broken(true);
    {
        AlertSink sink(appending(), "", say(), kLong);
        sink.send("one");
        await([&] { return !said().empty(); });
    }
    EXPECT_NE(said().find("1 messages are lost"), std::string::npos) << said();
}

TEST_F(AlertSinkTest, AProgramThatHangsIsKilledAndNobodyWaitsForIt) {
    auto config = appending();
    config.command = {"sh", "-c", "sleep 1000 & sleep 1000"};
    config.timeout_ns = 50'000'000;
    AlertSink sink(config, "", say(), kLong);
    sink.send("one");
    await([&] { return !said().empty(); });
    EXPECT_EQ(said(), "sink file: sh took too long, and was killed; it is tried again\n");
}

TEST_F(AlertSinkTest, SoManyWaitAtMost) {
    broken(true);
    AlertSink sink(appending(), "", say(), kLong);
    for (std::size_t i = 0; i < AlertSink::kMaxWaiting + 10; ++i) {
        sink.send("x");
    }
    await([&] { return said().find("of its oldest messages are dropped") != std::string::npos; });
    await([&] { return sink.waiting() == AlertSink::kMaxWaiting; });
    broken(false);
}

TEST(RunCommand, TellsWhatBecameOfIt) {
    EXPECT_TRUE(run_command({"cat"}, std::string(1 << 20, 'x'), kLong));
    EXPECT_TRUE(run_command({"true"}, "what nobody reads", kLong));
    EXPECT_EQ(run_command({"sh", "-c", "kill -9 $$"}, "", kLong).error().message, "sh was ended by signal 9");
    EXPECT_EQ(run_command({"sh", "-c", "yes | head -c 1000000 >&2; echo; echo the end >&2; exit 7"}, "", kLong).error().message,
              "sh failed with status 7: the end");
    EXPECT_EQ(run_command({"/no/such/program"}, "", kLong).error().message,
              "cannot run /no/such/program: No such file or directory");
    EXPECT_EQ(run_command({"sh", "-c", "yes >&2"}, "", 50'000'000).error().message, "sh took too long, and was killed");
}

TEST(DeliveryCommand, OfAWebhookIsCurl) {
    SinkConfig config;
    config.type = SinkType::alertmanager;
    config.url = "http://127.0.0.1:9093";
    config.header_file = "/etc/token";
    const std::vector<std::string> expected{"curl",
                                            "--silent",
                                            "--show-error",
                                            "--fail",
                                            "--request",
                                            "POST",
                                            "--max-time",
                                            "10",
                                            "--header",
                                            "Content-Type: application/json",
                                            "--header",
                                            "@/etc/token",
                                            "--data-binary",
                                            "@-",
                                            "http://127.0.0.1:9093/api/v2/alerts"};
    EXPECT_EQ(delivery_command(config), expected);
}

} // namespace
} // namespace memtrace
