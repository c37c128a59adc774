// For tests of local time.
#pragma once

#include <cstdlib>
#include <ctime>
#include <optional>
#include <string>

namespace memtrace::test {

/// A time zone, for as long as it lives.
class Zone {
public:
    explicit Zone(const char* text) {
        if (const char* before = std::getenv("TZ")) {
            before_ = before;
        }
        set(text);
    }
    Zone(const Zone&) = delete;
    Zone& operator=(const Zone&) = delete;
    ~Zone() { set(before_ ? before_->c_str() : nullptr); }

private:
    static void set(const char* text) {
        text != nullptr ? ::setenv("TZ", text, 1) : ::unsetenv("TZ");
        ::tzset();
    }

    std::optional<std::string> before_;
};

} // namespace memtrace::test
