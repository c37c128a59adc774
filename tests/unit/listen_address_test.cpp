#include "base/listen_address.hpp"

#include <gtest/gtest.h>

namespace memtrace {
namespace {

TEST(ListenAddress, Loopback) {
    for (const char* text : {"127.0.0.1:9464", "127.9.9.9:1", "[::1]:9464", "127.0.0.1:0"}) {
        const auto address = parse_listen_address(text);
        ASSERT_TRUE(address) << text;
        EXPECT_TRUE(address->loopback) << text;
        EXPECT_EQ(listen_address_text(*address), text);
    }
    EXPECT_EQ(listen_address_text(*parse_listen_address("localhost:80")), "127.0.0.1:80");
}

TEST(ListenAddress, OthersCanBeReachedFromElsewhere) {
    for (const char* text : {"0.0.0.0:9464", "10.0.0.1:9464", "[::]:9464", "[fe80::1]:9464", "[::ffff:127.0.0.1]:65535"}) {
        const auto address = parse_listen_address(text);
        ASSERT_TRUE(address) << text;
        EXPECT_FALSE(address->loopback) << text;
    }
    EXPECT_TRUE(parse_listen_address("[::]:1")->ipv6);
}

TEST(ListenAddress, AnythingElseIsRefused) {
    for (const char* text :
         {"", ":", "9464", ":9464", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1: 1", "127.0.0.1:1x",
          "127.1:80", "::1:9464", "[127.0.0.1]:80", "[]:80", "[::1:80", "db1.example:9464", "http://127.0.0.1:80"}) {
        const auto address = parse_listen_address(text);
        EXPECT_FALSE(address) << text;
        EXPECT_NE(address.error().message.find("127.0.0.1:9464"), std::string::npos);
    }
}

} // namespace
} // namespace memtrace
