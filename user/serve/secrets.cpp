#include "serve/secrets.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/fd.hpp"

namespace memtrace {

namespace {

constexpr std::size_t kMaxBytes = std::size_t{256} << 10;
constexpr std::size_t kShortestToken = 16;

Result<std::string> read_small_file(const std::string& path, bool secret) {
    const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)); // a pipe is refused, not waited for
    struct stat status{};
    if (!fd || ::fstat(fd.get(), &status) != 0) {
        return fail_errno("cannot read " + path, errno);
    }
    if (!S_ISREG(status.st_mode)) {
        return fail(path + " is no regular file");
    }
    if (secret && (status.st_mode & S_IRWXO) != 0) {
        return fail(path + " holds a secret and is open to every user: chmod o= " + path);
    }
    std::string content(kMaxBytes + 1, '\0');
    std::size_t size = 0;
    for (;;) {
        const auto got = ::read(fd.get(), content.data() + size, content.size() - size);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return fail_errno("cannot read " + path, errno);
        }
        size += static_cast<std::size_t>(got);
        if (size > kMaxBytes) {
            return fail(path + " is too large");
        }
        if (got == 0) {
            content.resize(size);
            return content;
        }
    }
}

} // namespace

Result<std::string> read_secret_file(const std::string& path) {
    return read_small_file(path, true);
}

Result<std::string> read_certificate_file(const std::string& path) {
    return read_small_file(path, false);
}

Result<std::string> read_token_file(const std::string& path) {
    auto token = read_secret_file(path);
    if (!token) {
        return token;
    }
    while (!token->empty() && (token->back() == '\n' || token->back() == '\r')) {
        token->pop_back();
    }
    if (token->size() < kShortestToken ||
        !std::all_of(token->begin(), token->end(), [](char c) { return c > ' ' && c < 0x7f; })) {
        return fail(path + " holds no token: one line of 16 characters and more, without blanks");
    }
    return token;
}

bool equal_in_constant_time(std::string_view given, std::string_view secret) {
    volatile unsigned char difference = given.size() == secret.size() ? 0 : 1;
    for (std::size_t i = 0; i < given.size() && !secret.empty(); ++i) {
        difference = static_cast<unsigned char>(difference | (given[i] ^ secret[i % secret.size()]));
    }
    return difference == 0 && !secret.empty();
}

} // namespace memtrace
