#include "store/event_codec.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <utility>

#include "base/bytes.hpp"
#include "tests/unit/sample_events.hpp"

namespace memtrace {
namespace {

std::string record_of(const Event& event) {
    std::string record;
    EXPECT_TRUE(append_event(record, event)) << "alternative " << event.index();
    return record;
}

std::string payload_of(const Event& event) {
    return record_of(event).substr(kRecordHeaderSize);
}

void pack_one(ByteWriter& out, const char* text) {
    out.string(text);
}
void pack_one(ByteWriter& out, auto number) {
    out.write(number);
}

// The values one after the other, texts with their length in front: written here as README.md's table has them, so that the
// codec's own list of fields is not what it is tested with.
std::string packed(auto... values) {
    ByteWriter out;
    (pack_one(out, values), ...);
    return out.data();
}

using u8 = std::uint8_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;

TEST(EventCodec, PayloadsAreThoseOfTheSpecification) {
    EXPECT_EQ(payload_of(RunStarted{"0.1", 1, 2, 3, 4, 5, 0.5}), packed("0.1", u64{1}, u64{2}, u64{3}, u64{4}, u64{5}, 0.5));
    EXPECT_EQ(payload_of(ProcessStarted{{1}, -2, 3, 4, true, "comm", "exe", {"a", ""}, {"s"}}),
              packed(u32{1}, std::int32_t{-2}, u64{3}, u64{4}, u8{1}, "comm", "exe", u32{2}, "a", "", u32{1}, "s"));
    EXPECT_EQ(payload_of(ProcessEnded{{7}, EndReason::exited}), packed(u32{7}, u8{0}));
    EXPECT_EQ(payload_of(ProcessEnded{{7}, EndReason::exec}), packed(u32{7}, u8{1}));
    EXPECT_EQ(payload_of(ProcessEnded{{7}, EndReason::detached}), packed(u32{7}, u8{2}));
    EXPECT_EQ(payload_of(ModuleMapped{{1}, {2}, "path", "build"}), packed(u32{1}, u32{2}, "path", "build"));
    EXPECT_EQ(payload_of(StackDefined{{1}, {2}, true, {{{3}, 4}, {{5}, 6}}}),
              packed(u32{1}, u32{2}, u8{1}, u32{2}, u32{3}, u64{4}, u32{5}, u64{6}));
    EXPECT_EQ(payload_of(SymbolResolved{{{1}, 2}, {{"f", "file", 3, true, 9}, {"g", "", 4, false}}}),
              packed(u32{1}, u64{2}, u32{2}, "f", "file", u32{3}, u8{1}, "g", "", u32{4}, u8{0}, u32{2}, u32{9}, u32{0}));
    EXPECT_EQ(payload_of(SiteDefined{{1}, {2}, {3}, "libc", "malloc"}), packed(u32{1}, u32{2}, u32{3}, "libc", "malloc"));
    EXPECT_EQ(payload_of(SiteSample{{1}, 2, 3, 4, 5, 6, 7, 8, 0.5, 1.5, 9, 10}),
              packed(u32{1}, u64{2}, u64{3}, u64{4}, u64{5}, u64{6}, u64{7}, u64{8}, 0.5, 1.5, u64{9}, u64{10}, u32{0}));
    EXPECT_EQ(payload_of(CohortsCut{{1}, {2, 3}}), packed(u32{1}, u32{2}, u64{2}, u64{3}));
    EXPECT_EQ(payload_of(ProcessForgotten{{7}}), packed(u32{7}));
    EXPECT_EQ(payload_of(CollectorSample{0.5, 1.5, 2, 3, 4.5, 5.5, 6.5, 7, 8, 9, "why"}),
              packed(0.5, 1.5, u64{2}, u64{3}, 4.5, 5.5, 6.5, u64{7}, u64{8}, u64{9}, "why"));
    EXPECT_EQ(payload_of(ModeChanged{{1}, TraceMode::windowed, 2, 0.5, 1.5, 0.05, "why"}),
              packed(u32{1}, u8{2}, u64{2}, 0.5, 1.5, 0.05, "why"));
    EXPECT_EQ(payload_of(ProcessSample{{1}, 2, 3, 0.5}), packed(u32{1}, u64{2}, u64{3}, 0.5));
    EXPECT_EQ(payload_of(CounterSample{{1}, "name", 2, true}), packed(u32{1}, "name", u64{2}, u8{1}));
    EXPECT_EQ(payload_of(TickEnded{1, 2}), packed(u64{1}, u64{2}));
    EXPECT_EQ(payload_of(ThreadEnded{{1}, 2, -3}), packed(u32{1}, u64{2}, std::int32_t{-3}));
    EXPECT_EQ(payload_of(HandlePlaced{{1}, 2, HandlePlace::object, 3}), packed(u32{1}, u64{2}, u8{2}, u64{3}));
    EXPECT_EQ(payload_of(ReportDue{true}), packed(u8{1}));
}

TEST(EventCodec, PayloadsOfTheContractAreThoseOfTheSpecification) {
    const ContractOrigin origin{{1}, 2, -3, {4}};
    const auto told = packed(u32{1}, u64{2}, std::int32_t{-3}, u32{4});
    EXPECT_EQ(payload_of(ContractStarted{{1}, {"a", "b"}, 16}), packed(u32{1}, u32{2}, "a", "b", u32{16}));
    EXPECT_EQ(payload_of(ObjectTold{origin, ObjectAction::destroyed, 5, 6, "T", 7, 8}),
              told + packed(u8{2}, u64{5}, u64{6}, "T", u64{7}, u64{8}));
    EXPECT_EQ(payload_of(ReferenceTold{origin, ReferenceAction::moved, 5, 6, 7, true, 8}),
              told + packed(u8{2}, u64{5}, u64{6}, u64{7}, u8{1}, u64{8}));
    EXPECT_EQ(payload_of(StorageTold{origin, StorageAction::moved, 5, 6, 7, 8}),
              told + packed(u8{2}, u64{5}, u64{6}, u64{7}, u64{8}));
    EXPECT_EQ(payload_of(ResourceTold{origin, ResourceAction::released, "kind", 5, 6, 7, "name", 8, 9, true}),
              told + packed(u8{3}, "kind", u64{5}, u64{6}, u64{7}, "name", u64{8}, u64{9}, u8{1}));
    EXPECT_EQ(payload_of(ResourcesStarted{{1}, {"a"}, 1024}), packed(u32{1}, u32{1}, "a", u64{1024}));
    EXPECT_EQ(payload_of(PoolTold{origin, PoolAction::limited, 5, "name", 6, 7}),
              told + packed(u8{3}, u64{5}, "name", u64{6}, u64{7}));
    EXPECT_EQ(payload_of(CleanupTold{origin, true, 3, 5, 6}), told + packed(u8{1}, u32{3}, u64{5}, u64{6}));
}

// The bytes of README.md, written out by hand: whoever changes them breaks recordings that exist.
TEST(EventCodec, BytesAreThoseOfTheSpecification) {
    const std::string expected("\x0b\x00"         // kind 11: TickEnded
                               "\x00\x00"         // flags
                               "\x10\x00\x00\x00" // 16 bytes
                               "\x1e\x02\xa4\x0f" // CRC-32, as Python's zlib.crc32 computes it
                               "\x08\x07\x06\x05\x04\x03\x02\x01"
                               "\x02\x00\x00\x00\x00\x00\x00\x00",
                               28);
    EXPECT_EQ(record_of(TickEnded{0x0102030405060708, 2}), expected);
}

TEST(EventCodec, KindNumbersAreThoseOfTheSpecification) {
    std::vector<unsigned> kinds(std::variant_size_v<Event>);
    for (const auto& event : testing::sample_events()) {
        kinds[event.index()] = parse_record_header(record_of(event)).kind;
    }
    EXPECT_EQ(kinds, (std::vector<unsigned>{1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 17, 11, 12, 13, 14, 15, 16,
                                            18, 19, 20, 21, 22, 23, 24, 25, 26, 28, 29, 30, 27, 31, 32, 33}));
}

TEST(EventCodec, NaNKeepsItsBits) {
    const auto bits = 0x7ff4'0000'dead'beefULL;
    RunStarted run;
    run.trap_ns = std::bit_cast<double>(bits);
    const auto event = decode_event(1, payload_of(run));
    ASSERT_TRUE(event && *event);
    EXPECT_EQ(std::bit_cast<std::uint64_t>(std::get<RunStarted>(**event).trap_ns), bits);
}

// Whether the payload of an event may end there, because fields were added behind it later.
bool may_end_at(const Event& event, std::size_t size, std::size_t whole) {
    if (const auto* symbol = std::get_if<SymbolResolved>(&event)) {
        return size == whole - 4 - 4 * symbol->lines.size();
    }
    if (std::holds_alternative<ProcessSample>(event)) {
        return size == 4 + 8 + 8;
    }
    if (std::holds_alternative<ResourceTold>(event)) {
        return size == whole - 1;
    }
    return std::holds_alternative<SiteSample>(event) && size >= 4 + 7 * 8 && size <= 4 + 11 * 8 && (size - 4) % 8 == 0;
}

// Every payload cut at every byte: a field is missing, and that is said, not guessed. But for the cut that an older version made.
TEST(EventCodec, MissingFieldsAreDamage) {
    for (const auto& event : testing::sample_events()) {
        const auto payload = payload_of(event);
        const auto kind = parse_record_header(record_of(event)).kind;
        EXPECT_TRUE(decode_event(kind, payload));
        for (std::size_t size = 0; size < payload.size(); ++size) {
            if (may_end_at(event, size, payload.size())) {
                continue;
            }
            EXPECT_FALSE(decode_event(kind, payload.substr(0, size))) << "kind " << kind << " cut at " << size;
        }
    }
}

TEST(EventCodec, FieldsAddedLaterAreZeroInOlderRecordings) {
    const auto event = decode_event(9, packed(u32{1}, u64{2}, u64{3}));
    ASSERT_TRUE(event && *event);
    const auto& sample = std::get<ProcessSample>(**event);
    EXPECT_EQ(sample.cpu_ns, 3U);
    EXPECT_EQ(sample.probe_ns, 0.0);
    const auto named = decode_event(6, packed(u32{1}, u64{2}, u32{1}, "f", "file", u32{3}, u8{0}));
    ASSERT_TRUE(named && *named);
    EXPECT_EQ(std::get<SymbolResolved>(**named).lines, (std::vector<SymbolLine>{{"f", "file", 3, false, 0}}));
}

TEST(EventCodec, ColumnsAreAsManyAsLinesOrNone) {
    const auto lines = packed(u32{1}, u64{2}, u32{2}, "f", "file", u32{3}, u8{1}, "g", "", u32{4}, u8{0});
    for (const auto& [columns, fine] : {std::pair{packed(u32{0}), true},
                                        {packed(u32{2}, u32{5}, u32{6}), true},
                                        {packed(u32{1}, u32{5}), false},
                                        {packed(u32{3}, u32{5}, u32{6}, u32{7}), false}}) {
        EXPECT_EQ(decode_event(6, lines + columns).has_value(), fine) << columns.size();
    }
}

std::string decode_error(std::uint16_t kind, const ByteWriter& payload) {
    const auto event = decode_event(kind, payload.data());
    return event ? "none" : event.error().message;
}

TEST(EventCodec, CountsThatLieReserveNothing) {
    ByteWriter stack; // 3 frames fit into what follows, 4 do not
    stack.write<std::uint32_t>(1);
    stack.write<std::uint32_t>(1);
    stack.write<std::uint8_t>(0);
    for (const auto& [count, expected] : {std::pair{0xffff'ffffU, "a count exceeds what the record can hold"},
                                          {4U, "a count exceeds what the record can hold"},
                                          {3U, "none"}}) {
        auto payload = stack;
        payload.write(count);
        for (int i = 0; i < 3; ++i) {
            payload.write<std::uint32_t>(1);
            payload.write<std::uint64_t>(2);
        }
        EXPECT_EQ(decode_error(5, payload), expected) << count;
    }
    ByteWriter lines;
    lines.write<std::uint32_t>(1);
    lines.write<std::uint64_t>(2);
    lines.write<std::uint32_t>(0x8000'0000);
    EXPECT_EQ(decode_error(6, lines), "a count exceeds what the record can hold");
}

TEST(EventCodec, StringLengthsThatLieAreDamage) {
    ByteWriter module;
    module.write<std::uint32_t>(1);
    module.write<std::uint32_t>(1);
    module.write<std::uint32_t>(0xffff'fff0);
    EXPECT_EQ(decode_error(4, module), "it ends within a field");
}

TEST(EventCodec, ValuesOutOfRangeAreDamage) {
    ByteWriter ended;
    ended.write<std::uint32_t>(1);
    ended.write<std::uint8_t>(3);
    EXPECT_EQ(decode_error(3, ended), "the reason for a process's end is unknown");
    ByteWriter report;
    report.write<std::uint8_t>(2);
    EXPECT_EQ(decode_error(12, report), "a flag is neither 0 nor 1");
    ByteWriter symbol;
    symbol.write<std::uint32_t>(1);
    symbol.write<std::uint64_t>(2);
    symbol.write<std::uint32_t>(0);
    EXPECT_EQ(decode_error(6, symbol), "a resolved symbol has no line");
}

} // namespace
} // namespace memtrace
