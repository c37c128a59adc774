#include "base/bytes.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>

namespace memtrace {
namespace {

TEST(Bytes, NumbersAreLittleEndianAndUnpadded) {
    ByteWriter out;
    out.write<std::uint8_t>(0x01);
    out.write<std::uint16_t>(0x0302);
    out.write<std::uint32_t>(0x07060504);
    out.write<std::uint64_t>(0x0f0e0d0c0b0a0908);
    out.write<std::int32_t>(-2);
    EXPECT_EQ(out.data(), "\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\xfe\xff\xff\xff");
}

TEST(Bytes, NumbersComeBack) {
    const auto nan = std::bit_cast<double>(0x7ff4'0000'dead'beefULL);
    ByteWriter out;
    out.write(std::numeric_limits<std::int64_t>::min());
    out.write(std::numeric_limits<std::uint64_t>::max());
    out.write(nan);
    out.write(-0.0);
    ByteReader in(out.data());
    EXPECT_EQ(in.read<std::int64_t>(), std::numeric_limits<std::int64_t>::min());
    EXPECT_EQ(in.read<std::uint64_t>(), std::numeric_limits<std::uint64_t>::max());
    EXPECT_EQ(std::bit_cast<std::uint64_t>(in.read<double>()), 0x7ff4'0000'dead'beefULL);
    EXPECT_TRUE(std::signbit(in.read<double>()));
    EXPECT_FALSE(in.failed());
    EXPECT_EQ(in.remaining(), 0U);
}

TEST(Bytes, StringsCarryTheirLength) {
    const std::string zero_inside("a\0b", 3);
    ByteWriter out;
    out.string(zero_inside);
    out.string("");
    EXPECT_EQ(out.data(), std::string("\3\0\0\0a\0b\0\0\0\0", 11));
    ByteReader in(out.data());
    EXPECT_EQ(in.string(), zero_inside);
    EXPECT_EQ(in.string(), "");
    EXPECT_FALSE(in.failed());
}

TEST(Bytes, ClearForgetsWhatWasWritten) {
    ByteWriter out;
    out.write<std::uint64_t>(1);
    out.clear();
    EXPECT_EQ(out.data(), "");
}

TEST(Bytes, ReadPastTheEndFailsAndYieldsZero) {
    ByteReader in("\xff\xff\xff");
    EXPECT_EQ(in.read<std::uint32_t>(), 0U);
    EXPECT_TRUE(in.failed());
    EXPECT_EQ(in.remaining(), 0U);
}

// One check after a group of reads must do: a failure is not forgotten, and what would still fit is not handed out.
TEST(Bytes, FailureSticks) {
    ByteReader in("\xff\xff\xff");
    in.read<std::uint64_t>();
    EXPECT_EQ(in.read<std::uint8_t>(), 0U);
    EXPECT_EQ(in.string(), "");
    EXPECT_EQ(in.bytes(0), "");
    EXPECT_TRUE(in.failed());
}

TEST(Bytes, LengthThatLiesFails) {
    for (const std::uint32_t length : {4U, 0x7fff'ffffU, 0xffff'ffffU}) {
        ByteWriter out;
        out.write(length);
        const auto bytes = out.data() + "abc";
        ByteReader in(bytes);
        EXPECT_EQ(in.string(), "") << length;
        EXPECT_TRUE(in.failed()) << length;
    }
}

TEST(Bytes, ExactlyAllBytesMayBeRead) {
    ByteReader in("abc");
    EXPECT_EQ(in.bytes(2), "ab");
    EXPECT_EQ(in.remaining(), 1U);
    EXPECT_EQ(in.read<char>(), 'c');
    EXPECT_EQ(in.bytes(0), "");
    EXPECT_FALSE(in.failed());
    EXPECT_EQ(in.bytes(std::numeric_limits<std::size_t>::max()), "");
    EXPECT_TRUE(in.failed());
}

TEST(Bytes, EmptyInput) {
    ByteReader in({});
    EXPECT_FALSE(in.failed());
    EXPECT_EQ(in.read<std::uint8_t>(), 0U);
    EXPECT_TRUE(in.failed());
}

} // namespace
} // namespace memtrace
