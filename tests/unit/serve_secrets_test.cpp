// Files that hold a secret, and how a token is compared.
#include "serve/secrets.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace memtrace {
namespace {

class SecretFile : public ::testing::Test {
protected:
    void SetUp() override {
        char name[] = "/tmp/memtrace-secret-XXXXXX";
        directory_ = ::mkdtemp(name);
    }
    void TearDown() override { std::filesystem::remove_all(directory_); }
    std::string write(const std::string& content, mode_t mode = 0600) {
        const auto path = directory_ + "/token";
        std::ofstream(path, std::ios::binary) << content;
        EXPECT_EQ(::chmod(path.c_str(), mode), 0);
        return path;
    }
    std::string directory_;
};

TEST_F(SecretFile, TokenIsItsOneLine) {
    const auto token = read_token_file(write("0123456789abcdef\n"));
    ASSERT_TRUE(token) << token.error().message;
    EXPECT_EQ(*token, "0123456789abcdef");
    EXPECT_TRUE(read_token_file(write("0123456789abcdef", 0640)));
}

TEST_F(SecretFile, OthersMustNotReadIt) {
    const auto token = read_token_file(write("0123456789abcdef\n", 0644));
    ASSERT_FALSE(token);
    EXPECT_NE(token.error().message.find("chmod o="), std::string::npos) << token.error().message;
}

TEST_F(SecretFile, WhatIsNoTokenIsRefused) {
    for (const std::string content : {"", "\n", "too short", "0123456789 abcdef", "0123456789abcdef\nsecond"}) {
        EXPECT_FALSE(read_token_file(write(content))) << content;
    }
    EXPECT_FALSE(read_token_file(write(std::string(1'000'000, 'x'))));
    EXPECT_FALSE(read_token_file(directory_));
    EXPECT_FALSE(read_token_file(directory_ + "/none"));
    EXPECT_FALSE(read_token_file("/dev/zero"));
}

TEST(ConstantTime, OnlyTheSecretIsEqual) {
    EXPECT_TRUE(equal_in_constant_time("secret", "secret"));
    for (const char* given : {"", "s", "secre", "secret2", "Secret", "secretsecret"}) {
        EXPECT_FALSE(equal_in_constant_time(given, "secret")) << given;
    }
    EXPECT_FALSE(equal_in_constant_time("", "")) << "no secret admits nobody";
}

} // namespace
} // namespace memtrace
