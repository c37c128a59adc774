// Figures and names for people.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "report/format.hpp"
#include "report/render.hpp"
#include "report/text_parts.hpp"

namespace memtrace {
namespace {

TEST(ReportFormatName, EveryFormatIsReadBackByItsName) {
    for (const auto format : {ReportFormat::text, ReportFormat::json, ReportFormat::pprof, ReportFormat::folded}) {
        const auto parsed = parse_report_format(format_name(format));
        ASSERT_TRUE(parsed);
        EXPECT_EQ(*parsed, format);
    }
    EXPECT_STREQ(format_extension(ReportFormat::text), "txt");
    EXPECT_STREQ(format_extension(ReportFormat::json), "json");
    EXPECT_STREQ(format_extension(ReportFormat::pprof), "pb.gz");
    EXPECT_STREQ(format_extension(ReportFormat::folded), "folded");
}

TEST(ReportFormatName, UnknownNameIsAnErrorThatListsTheKnown) {
    const auto parsed = parse_report_format("yaml");
    ASSERT_FALSE(parsed);
    EXPECT_EQ(parsed.error().message, "unknown report format 'yaml': use text, json, pprof or folded");
}

TEST(HumanFigures, BytesUseBinaryUnits) {
    EXPECT_EQ(human_bytes(0), "0 B");
    EXPECT_EQ(human_bytes(1023), "1023 B");
    EXPECT_EQ(human_bytes(1024), "1.0 KiB");
    EXPECT_EQ(human_bytes(1536), "1.5 KiB");
    EXPECT_EQ(human_bytes((1 << 20) - 1), "1.0 MiB"); // not 1024.0 KiB
    EXPECT_EQ(human_bytes(std::uint64_t{5} << 30), "5.0 GiB");
    EXPECT_EQ(human_bytes(std::numeric_limits<std::uint64_t>::max()), "16.0 EiB");
}

TEST(HumanFigures, SignedBytesReachTheEndsOfTheirType) {
    EXPECT_EQ(human_signed_bytes(0), "0 B");
    EXPECT_EQ(human_signed_bytes(1536), "+1.5 KiB");
    EXPECT_EQ(human_signed_bytes(-512), "-512 B");
    EXPECT_EQ(human_signed_bytes(std::numeric_limits<std::int64_t>::min()), "-8.0 EiB");
}

TEST(HumanFigures, RatesSayWhenTheyAreTinyOrNoNumber) {
    EXPECT_EQ(human_rate(2048), "+2.0 KiB/s");
    EXPECT_EQ(human_rate(-2048), "-2.0 KiB/s");
    EXPECT_EQ(human_rate(0.25), "+<1 B/s");
    EXPECT_EQ(human_rate(-0.25), "-<1 B/s");
    EXPECT_EQ(human_rate(0), "0 B/s");
    EXPECT_EQ(human_rate(std::nan("")), "unknown rate");
    EXPECT_EQ(human_rate(1e300), "+7.8 EiB/s");
}

TEST(HumanFigures, CountsAreGrouped) {
    EXPECT_EQ(human_count(0), "0");
    EXPECT_EQ(human_count(999), "999");
    EXPECT_EQ(human_count(1000), "1,000");
    EXPECT_EQ(human_count(1234567), "1,234,567");
    EXPECT_EQ(human_signed_count(-1234), "-1,234");
    EXPECT_EQ(human_signed_count(5), "+5");
}

TEST(HumanFigures, DurationsUseTwoUnits) {
    EXPECT_EQ(human_duration(0), "0s");
    EXPECT_EQ(human_duration(-1), "0s");
    EXPECT_EQ(human_duration(std::nan("")), "0s");
    EXPECT_EQ(human_duration(0.35), "350ms");
    EXPECT_EQ(human_duration(1.5), "1.5s");
    EXPECT_EQ(human_duration(5), "5s");
    EXPECT_EQ(human_duration(12), "12s");
    EXPECT_EQ(human_duration(59.97), "1m00s"); // not 60s
    EXPECT_EQ(human_duration(185), "3m05s");
    EXPECT_EQ(human_duration(7620), "2h07m");
    EXPECT_EQ(human_duration(273600), "3d04h");
}

TEST(HumanFigures, PercentagesKeepTheDigitsThatSaySomething) {
    EXPECT_EQ(human_percent(0), "0.00 %");
    EXPECT_EQ(human_percent(0.00041), "0.04 %");
    EXPECT_EQ(human_percent(0.0361), "3.6 %");
    EXPECT_EQ(human_percent(0.5), "50 %");
    EXPECT_EQ(human_percent(std::nan("")), "? %");
}

TEST(Arithmetic, SumsAndDifferencesStayInRange) {
    constexpr auto most = std::numeric_limits<std::uint64_t>::max();
    EXPECT_EQ(saturating_add(most, 1), most);
    EXPECT_EQ(saturating_add(2, 3), 5U);
    EXPECT_EQ(difference(5, 8), -3);
    EXPECT_EQ(difference(most, 0), std::numeric_limits<std::int64_t>::max());
    EXPECT_EQ(difference(0, most), std::numeric_limits<std::int64_t>::min());
}

TEST(Printable, ControlCharactersCannotReachTheTerminal) {
    EXPECT_EQ(printable("plain::name<int>"), "plain::name<int>");
    EXPECT_EQ(printable("\x1b[2Jgone\n\t\x7f"), "?[2Jgone???");
    EXPECT_EQ(printable("\xc2\x9b"
                        "2J"),
              "??2J"); // the 8-bit form of the same escape
    EXPECT_EQ(printable(std::string("a\0b", 3)), "a?b");
}

TEST(Printable, ValidUtf8StaysAndInvalidBytesAreReplaced) {
    EXPECT_EQ(printable("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80"), "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80");
    EXPECT_EQ(printable("\xff\xfe"), "??");
    EXPECT_EQ(printable("cut \xe2\x82"), "cut ??");
    EXPECT_EQ(printable("\xc0\xaf"), "??");           // overlong '/'
    EXPECT_EQ(printable("\xe0\x80\xaf"), "???");      // overlong in three bytes
    EXPECT_EQ(printable("\xed\xa0\x80"), "???");      // a surrogate
    EXPECT_EQ(printable("\xf5\x80\x80\x80"), "????"); // past the last character
}

TEST(Shorten, CutsTheMiddleAndNeverACharacter) {
    EXPECT_EQ(shorten("short", 10), "short");
    const std::string cut = shorten("the_beginning_of_a_long_name_and_its_end", 20);
    EXPECT_EQ(cut.size(), 20U);
    EXPECT_TRUE(cut.starts_with("the_begin"));
    EXPECT_TRUE(cut.ends_with("ts_end"));
    std::string euros;
    for (int i = 0; i < 40; ++i) {
        euros += "\xe2\x82\xac";
    }
    for (std::size_t width = 8; width < 30; ++width) {
        const std::string part = shorten(euros, width);
        EXPECT_EQ(part, printable(part)) << width;
        EXPECT_LE(part.size(), width);
    }
}

TEST(FrameName, FallsBackToModuleAndOffset) {
    EXPECT_EQ(frame_name({"work", "", 0, "/lib/libx.so", 0x10, false, ""}), "work");
    EXPECT_EQ(frame_name({"", "", 0, "/lib/libx.so.6", 0x1abc, false, ""}), "[libx.so.6+0x1abc]");
    EXPECT_EQ(frame_name({"", "", 0, "", 0x7f00, false, ""}), "[0x7f00]");
    EXPECT_EQ(frame_location({"", "", 0, "/lib/libx.so.6", 0x1abc, false, ""}, true), "[/lib/libx.so.6+0x1abc]");
    EXPECT_EQ(base_name("/a/b"), "b");
    EXPECT_EQ(base_name("b"), "b");
    EXPECT_EQ(base_name("/a/"), "/a/");
    EXPECT_EQ(base_name(""), "");
}

TEST(Wrapped, BreaksAtSpacesAndKeepsLongWords) {
    EXPECT_EQ(wrapped("one two three", 0, 2, 80), "one two three");
    EXPECT_EQ(wrapped("one two three", 0, 2, 8), "one two\n  three");
    EXPECT_EQ(wrapped("one two", 6, 2, 8), "one\n  two");
    EXPECT_EQ(wrapped("unbreakable", 0, 2, 4), "unbreakable");
    EXPECT_EQ(wrapped("", 0, 2, 4), "");
}

} // namespace
} // namespace memtrace
