#include "store/recording.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cerrno>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

#include "tests/unit/recording_helpers.hpp"

namespace memtrace {
namespace {

using namespace testing;

std::string slurp(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

class RecordingFile : public ::testing::Test {
protected:
    RecordingFile() {
        auto pattern = (std::filesystem::temp_directory_path() / "memtrace-recording-XXXXXX").string();
        directory_ = ::mkdtemp(pattern.data());
    }
    ~RecordingFile() override { std::filesystem::remove_all(directory_); }
    [[nodiscard]] std::string path(const std::string& name = "run.rec") const { return directory_ / name; }

    std::filesystem::path directory_;
};

TEST_F(RecordingFile, RoundTripOfEveryKind) {
    std::vector<bool> seen(std::variant_size_v<Event>);
    auto writer = RecordingWriter::create(path());
    ASSERT_TRUE(writer) << writer.error().message;
    for (const auto& event : sample_events()) {
        ASSERT_TRUE(writer->write(event));
        seen[event.index()] = true;
    }
    ASSERT_TRUE(writer->close());
    for (std::size_t i = 0; i < seen.size(); ++i) {
        EXPECT_TRUE(seen[i]) << "the sample lacks alternative " << i;
    }
    EXPECT_EQ(slurp(path()), sample_stream().bytes);
    const auto got = read_all(RecordingReader::open(path()));
    EXPECT_EQ(got.error, "");
    EXPECT_EQ(got.unknown, 0U);
    expect_prefix(got.events, sample_events().size());
}

// Compared field by field: equal records would not show a field that is never written.
TEST(RecordingStream, FieldsComeBackAsTheyWere) {
    const auto got = read_bytes(sample_stream().bytes).events;
    const auto& run = std::get<RunStarted>(got[0]);
    EXPECT_EQ(run.version, "0.1.0");
    EXPECT_EQ(run.wall_ns, 1'700'000'000'000'000'000U);
    EXPECT_EQ(run.kernel_bytes, 4096U);
    EXPECT_TRUE(std::isnan(run.trap_ns));
    const auto& process = std::get<ProcessStarted>(got[2]);
    EXPECT_EQ(process.pid, 4711);
    EXPECT_EQ(process.start_wall_ns, 5U);
    EXPECT_EQ(process.attach_mono_ns, 6U);
    EXPECT_TRUE(process.from_start);
    EXPECT_EQ(process.comm, "postgres");
    EXPECT_EQ(process.cmdline.size(), 40U);
    EXPECT_EQ(process.cmdline.back(), "--arg39");
    EXPECT_EQ(process.sources, std::vector<std::string>{"libc.so.6: malloc"});
    const auto& odd = std::get<ProcessStarted>(got[4]);
    EXPECT_EQ(odd.comm, "\xff\xfe");
    EXPECT_EQ(odd.exe, "/tmp/\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\x8c");
    EXPECT_EQ(odd.cmdline, (std::vector<std::string>{"", std::string("a\0b", 3), ""}));
    EXPECT_EQ(std::get<ProcessEnded>(got[6]).reason, EndReason::exec);
    const auto& stack = std::get<StackDefined>(got[10]);
    EXPECT_TRUE(stack.truncated);
    EXPECT_EQ(stack.frames, (std::vector<Frame>{{{1}, 0x1234}, {{0}, ~0ULL}, {{~0U}, 0}}));
    const auto& symbol = std::get<SymbolResolved>(got[12]);
    EXPECT_EQ(symbol.frame, (Frame{{1}, 0x1234}));
    EXPECT_EQ(symbol.lines[1], (SymbolLine{"main", "", ~0U, false}));
    const auto& site = std::get<SiteSample>(got[17]);
    EXPECT_EQ(site.allocs, 1U);
    EXPECT_EQ(site.freed_bytes, 4U);
    EXPECT_EQ(site.oldest_ns, 7U);
    const auto& counter = std::get<CounterSample>(got[22]);
    EXPECT_EQ(counter.name, "live_full");
    EXPECT_EQ(counter.value, 17U);
    EXPECT_TRUE(counter.loss);
}

TEST_F(RecordingFile, TruncatedFileGivesTheSameAsTruncatedBytes) {
    const auto sample = sample_stream();
    for (std::size_t cut = 0; cut < sample.bytes.size(); cut += 37) {
        std::ofstream(path(), std::ios::binary | std::ios::trunc) << sample.bytes.substr(0, cut);
        const auto got = read_all(RecordingReader::open(path()));
        EXPECT_EQ(got.error, path() + ": truncated at byte " + std::to_string(cut) + ": the recording stopped early (killed?)");
        expect_prefix(got.events, events_before(sample, cut));
    }
}

TEST_F(RecordingFile, EventAtTheLimitGoesThroughAndOneOverItIsRefused) {
    CounterSample sample;
    sample.name.assign(kMaxPayload - (4 + 4 + 8 + 1), 'n');
    auto writer = RecordingWriter::create(path());
    ASSERT_TRUE(writer);
    ASSERT_TRUE(writer->write(sample));
    sample.name += 'n';
    const auto refused = writer->write(sample);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().message, "cannot record an event of 16777217 bytes: the limit is 16777216");
    ASSERT_TRUE(writer->write(ReportDue{true}));
    const auto got = read_all(RecordingReader::open(path()));
    EXPECT_EQ(got.error, "");
    ASSERT_EQ(got.events.size(), 2U);
    EXPECT_EQ(std::get<CounterSample>(got.events[0]).name.size(), sample.name.size() - 1);
}

TEST_F(RecordingFile, EventThatNoReaderAcceptsIsRefused) {
    auto writer = RecordingWriter::create(path());
    ASSERT_TRUE(writer);
    EXPECT_FALSE(writer->write(SymbolResolved{}));
    EXPECT_TRUE(writer->write(ReportDue{true}));
    EXPECT_EQ(read_all(RecordingReader::open(path())).error, "");
}

// Several times the reader's buffer, with records of many sizes across its borders.
TEST_F(RecordingFile, LongRecordingIsReadInPieces) {
    constexpr std::uint64_t kEvents = 20'000;
    auto writer = RecordingWriter::create(path());
    ASSERT_TRUE(writer);
    for (std::uint64_t i = 0; i < kEvents; ++i) {
        ASSERT_TRUE(writer->write(CounterSample{{1}, std::string(i % 257, 'c'), i, false}));
    }
    ASSERT_TRUE(writer->write(ReportDue{true}));
    auto reader = RecordingReader::open(path());
    ASSERT_TRUE(reader);
    for (std::uint64_t i = 0; i < kEvents; ++i) {
        const auto event = reader->next();
        ASSERT_TRUE(event) << event.error().message;
        const auto& counter = std::get<CounterSample>(event->value());
        ASSERT_EQ(counter.value, i);
        ASSERT_EQ(counter.name.size(), i % 257);
    }
    const auto size = std::filesystem::file_size(path());
    EXPECT_GT(size, std::uintmax_t{2} << 20);
    std::filesystem::resize_file(path(), size - 1);
    const auto got = read_all(RecordingReader::open(path()));
    EXPECT_EQ(got.error, path() + ": truncated at byte " + std::to_string(size - 1) + ": the recording stopped early (killed?)");
    EXPECT_EQ(got.events.size(), kEvents + 1);
}

TEST_F(RecordingFile, FlushedEventsAreReadableWhileTheWriterLives) {
    auto writer = RecordingWriter::create(path());
    ASSERT_TRUE(writer);
    EXPECT_EQ(std::filesystem::file_size(path()), 12U);
    ASSERT_TRUE(writer->write(TickEnded{1, 2}));
    EXPECT_EQ(std::filesystem::file_size(path()), 12U);
    ASSERT_TRUE(writer->flush());
    EXPECT_EQ(std::filesystem::file_size(path()), 12U + 28U);
    const auto got = read_all(RecordingReader::open(path()));
    EXPECT_EQ(got.events.size(), 1U);
    EXPECT_EQ(got.error, path() + ": truncated at byte 40: the recording stopped early (killed?)");
}

TEST_F(RecordingFile, NothingIsWrittenAfterTheEnd) {
    auto writer = RecordingWriter::create(path());
    ASSERT_TRUE(writer);
    ASSERT_TRUE(writer->write(ReportDue{true}));
    EXPECT_FALSE(writer->write(ReportDue{}));
    EXPECT_TRUE(writer->flush());
    EXPECT_TRUE(writer->close());
    EXPECT_TRUE(writer->close());
    EXPECT_FALSE(writer->write(ReportDue{}));
    EXPECT_EQ(read_all(RecordingReader::open(path())).error, "");
}

TEST_F(RecordingFile, OverwritesALongerFileAndNarrowsItsMode) {
    std::ofstream(path()) << std::string(10'000, 'x');
    ASSERT_EQ(::chmod(path().c_str(), 0644), 0);
    auto writer = RecordingWriter::create(path());
    ASSERT_TRUE(writer);
    ASSERT_TRUE(writer->write(ReportDue{true}));
    EXPECT_EQ(read_all(RecordingReader::open(path())).error, "");
    struct stat file{};
    ASSERT_EQ(::stat(path().c_str(), &file), 0);
    EXPECT_EQ(file.st_mode & 07777, 0600U);
}

TEST_F(RecordingFile, NewFileIsPrivateAndNotInherited) {
    const auto old = ::umask(0);
    auto writer = RecordingWriter::create(path());
    ::umask(old);
    ASSERT_TRUE(writer);
    struct stat file{};
    ASSERT_EQ(::stat(path().c_str(), &file), 0);
    EXPECT_EQ(file.st_mode & 07777, 0600U);
    unsigned found = 0;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
        std::error_code gone; // the iterator's own descriptor
        if (std::filesystem::read_symlink(entry, gone) == path()) {
            ++found;
            EXPECT_TRUE(::fcntl(std::stoi(entry.path().filename()), F_GETFD) & FD_CLOEXEC);
        }
    }
    EXPECT_EQ(found, 1U);
}

TEST_F(RecordingFile, PlacesThatCannotTakeARecordingAreRefused) {
    const auto directory = RecordingWriter::create(directory_);
    ASSERT_FALSE(directory);
    EXPECT_EQ(directory.error().message,
              "cannot record to " + directory_.string() + ": it exists and is not a regular file: give another name");
    EXPECT_FALSE(RecordingWriter::create("/dev/zero"));
    const auto missing = RecordingWriter::create(path("no/such/directory"));
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().errnum, ENOENT);
    EXPECT_NE(missing.error().message.find(path("no/such/directory")), std::string::npos);
}

TEST_F(RecordingFile, DevNullTakesARecording) {
    auto writer = RecordingWriter::create("/dev/null");
    ASSERT_TRUE(writer) << writer.error().message;
    EXPECT_TRUE(writer->write(ReportDue{true}));
    EXPECT_TRUE(writer->close());
}

TEST_F(RecordingFile, FullDeviceIsAnErrorAtOnce) {
    const auto writer = RecordingWriter::create("/dev/full");
    ASSERT_FALSE(writer);
    EXPECT_EQ(writer.error().errnum, ENOSPC);
    EXPECT_EQ(writer.error().message, "cannot record to /dev/full: No space left on device");
}

TEST_F(RecordingFile, WriteThatFailsLaterIsAnErrorAndStaysOne) {
    ASSERT_EQ(::mkfifo(path().c_str(), 0600), 0);
    const auto old = std::signal(SIGPIPE, SIG_IGN);
    UniqueFd reader(::open(path().c_str(), O_RDONLY | O_NONBLOCK));
    auto writer = RecordingWriter::create(path());
    ASSERT_TRUE(writer) << writer.error().message;
    reader.reset();
    ASSERT_TRUE(writer->write(TickEnded{1, 2}));
    const auto failed = writer->flush();
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().errnum, EPIPE);
    for (const auto& again : {writer->flush(), writer->write(ReportDue{}), writer->close(), writer->close()}) {
        ASSERT_FALSE(again);
        EXPECT_EQ(again.error().message, failed.error().message);
    }
    std::signal(SIGPIPE, old);
}

TEST_F(RecordingFile, FifoWithoutAReaderIsAnErrorAtOnce) {
    ASSERT_EQ(::mkfifo(path().c_str(), 0600), 0);
    const auto writer = RecordingWriter::create(path());
    ASSERT_FALSE(writer);
    EXPECT_EQ(writer.error().errnum, ENXIO);
    EXPECT_EQ(writer.error().message, "cannot record to " + path() + ": nobody reads from this fifo: start its reader first");
}

TEST_F(RecordingFile, FifoWhoseReaderSleepsDoesNotHangTheWriter) {
    ASSERT_EQ(::mkfifo(path().c_str(), 0600), 0);
    const UniqueFd sleeper(::open(path().c_str(), O_RDONLY | O_NONBLOCK));
    auto writer = RecordingWriter::create(path(), std::chrono::milliseconds(20));
    ASSERT_TRUE(writer) << writer.error().message;
    ASSERT_TRUE(writer->write(CounterSample{{1}, std::string(200'000, 'c'), 1, false}));
    const auto failed = writer->flush();
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().errnum, ETIMEDOUT);
    EXPECT_EQ(writer->close().error().errnum, ETIMEDOUT);
}

// A pipe holds 64 KiB: the writer's calls come back short or wait, the reader's come back short.
TEST_F(RecordingFile, FifoFromWriterToReader) {
    ASSERT_EQ(::mkfifo(path().c_str(), 0600), 0);
    const UniqueFd early(::open(path().c_str(), O_RDONLY | O_NONBLOCK)); // the writer wants a reader from the beginning
    ReadBack got;
    std::thread reader([&] { got = read_all(RecordingReader::open(path())); });
    {
        auto writer = RecordingWriter::create(path());
        EXPECT_TRUE(writer);
        for (int i = 0; writer && i < 5'000; ++i) {
            EXPECT_TRUE(writer->write(CounterSample{{1}, std::string(100, 'c'), 1, false}));
        }
        EXPECT_TRUE(writer && writer->write(ReportDue{true}));
    }
    reader.join();
    EXPECT_EQ(got.error, "");
    EXPECT_EQ(got.events.size(), 5'001U);
}

TEST_F(RecordingFile, WhatCannotBeReadIsAnError) {
    const auto missing = RecordingReader::open(path());
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().errnum, ENOENT);
    const auto directory = RecordingReader::open(directory_);
    ASSERT_FALSE(directory);
    EXPECT_EQ(directory.error().errnum, EISDIR);
    EXPECT_NE(read_all(RecordingReader::open("/dev/zero")).error.find("not a recording"), std::string::npos);
}

} // namespace
} // namespace memtrace
