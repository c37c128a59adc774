// Recordings that are damaged, cut short, foreign, or from a later version.
#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "tests/unit/recording_helpers.hpp"

namespace memtrace {
namespace {

using namespace testing;

TEST(RecordingDamage, TruncatedAtEveryByte) {
    const auto sample = sample_stream();
    for (std::size_t cut = 0; cut < sample.bytes.size(); ++cut) {
        const auto got = read_bytes(sample.bytes.substr(0, cut));
        EXPECT_EQ(got.error, "recording: truncated at byte " + std::to_string(cut) + ": the recording stopped early (killed?)");
        ASSERT_EQ(got.events.size(), events_before(sample, cut)) << "cut at " << cut;
    }
}

TEST(RecordingDamage, EveryFlippedBitIsFound) {
    const auto sample = sample_stream();
    for (std::size_t at = 0; at < sample.bytes.size(); ++at) {
        for (const int mask : {0x01, 0x10, 0x80, 0xff}) {
            auto bytes = sample.bytes;
            bytes[at] = static_cast<char>(bytes[at] ^ mask);
            const auto got = read_bytes(std::move(bytes));
            EXPECT_NE(got.error, "") << "byte " << at;
            // Nothing at or beyond the damage is handed out, all before it is.
            expect_prefix(got.events, events_before(sample, at));
        }
    }
}

TEST(RecordingDamage, OffsetIsThatOfTheDamagedRecord) {
    const auto sample = sample_stream();
    auto bytes = sample.bytes;
    bytes[sample.ends[3] - 1] ^= 1;
    EXPECT_EQ(read_bytes(std::move(bytes)).error,
              "recording: damaged at byte " + std::to_string(sample.ends[2]) + ": the checksum does not match");
}

TEST(RecordingDamage, LostAndDoubledRecordsAreFound) {
    const auto tick = record_of(TickEnded{1, 2});
    EXPECT_EQ(read_bytes(header_bytes() + tick + tick + end_record(2)).error, "");
    EXPECT_NE(read_bytes(header_bytes() + tick + end_record(2)).error.find("counts 2 records, the file holds 1"),
              std::string::npos);
    EXPECT_NE(read_bytes(header_bytes() + tick + tick + tick + end_record(2)).error.find("damaged"), std::string::npos);
}

TEST(RecordingDamage, BytesAfterTheEndAreFound) {
    const auto sample = sample_stream();
    const auto got = read_bytes(sample.bytes + "x");
    EXPECT_EQ(got.error,
              "recording: damaged at byte " + std::to_string(sample.bytes.size()) + ": there are bytes after the end record");
    EXPECT_EQ(got.events.size(), sample.ends.size());
}

TEST(RecordingDamage, ShortEndRecordIsFound) {
    std::string end;
    append_record(end, kEndKind, "1234567");
    EXPECT_NE(read_bytes(header_bytes() + end).error.find("damaged at byte 12: the end record is too short"), std::string::npos);
}

TEST(RecordingHeader, OtherVersionsAreRefusedClearly) {
    const auto newer = read_bytes(header_bytes(2) + end_record(0)).error;
    EXPECT_NE(newer.find("format version 2 is newer than this memtrace reads (1)"), std::string::npos) << newer;
    EXPECT_NE(read_bytes(header_bytes(0) + end_record(0)).error, "");
    EXPECT_NE(read_bytes(header_bytes(1, 1) + end_record(0)).error.find("flags"), std::string::npos);
    EXPECT_EQ(read_bytes(header_bytes() + end_record(0)).error, "");
}

TEST(RecordingHeader, ForeignFilesAreNotCalledTruncated) {
    for (const std::string text : {"{", "{\"schema\": \"memtrace.snapshot/1\"}", "MTREX", "MTREC\n\n\n\n\n\n\n\n"}) {
        EXPECT_EQ(read_bytes(text).error, "recording: not a recording of memtrace: it begins with other bytes");
    }
}

TEST(RecordingGrowth, UnknownKindsAreSkippedAndCounted) {
    std::string strange;
    append_record(strange, 0x7000, "something new");
    append_record(strange, 0, "");
    append_record(strange, 0xfffe, std::string(1000, 'x'));
    const auto tick = record_of(TickEnded{1, 2});
    const auto got = read_bytes(header_bytes() + strange + tick + strange + end_record(7));
    EXPECT_EQ(got.error, "");
    EXPECT_EQ(got.unknown, 6U);
    ASSERT_EQ(got.events.size(), 1U);
    EXPECT_EQ(record_of(got.events[0]), tick);
}

TEST(RecordingGrowth, ExtraPayloadAndFlagsAreIgnored) {
    std::string bytes = header_bytes();
    for (const auto& event : sample_events()) {
        const auto known = record_of(event);
        std::string longer;
        append_record(longer, parse_record_header(known).kind, known.substr(kRecordHeaderSize) + "new fields");
        longer[2] = 0x55; // a record flag of the future
        const auto crc = record_crc(longer);
        std::memcpy(longer.data() + 8, &crc, sizeof(crc));
        bytes += longer;
    }
    const auto got = read_bytes(bytes + end_record(sample_events().size()));
    EXPECT_EQ(got.error, "");
    expect_prefix(got.events, sample_events().size());
}

TEST(RecordingDamage, SizeOverTheLimitIsDamage) {
    std::string record;
    append_record(record, 13, std::string(kMaxPayload + 1, 'x'));
    const auto got = read_bytes(header_bytes() + record + end_record(1));
    EXPECT_EQ(got.error, "recording: damaged at byte 12: a record of 16777217 bytes is over the limit");
}

} // namespace
} // namespace memtrace
