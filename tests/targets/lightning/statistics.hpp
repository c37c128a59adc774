// What the server counts, since its start. One X-macro names the counters: the members and the lines of STATS come from it.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

// clang-format off
#define LIGHTNING_COUNTERS(X)                                        \
    X(gets) X(puts) X(deletes) X(scans) X(scan_rows)                 \
    X(not_found) X(rejected) X(cache_hits) X(cache_misses)           \
    X(sessions_opened) X(sessions_closed) X(sessions_refused)        \
    X(sessions_reaped)                                               \
    X(cursors_opened) X(cursors_closed)
// clang-format on

namespace lightning {

struct Statistics {
#define LIGHTNING_MEMBER(name) std::atomic<std::uint64_t> name{0};
    LIGHTNING_COUNTERS(LIGHTNING_MEMBER)
#undef LIGHTNING_MEMBER

    /// "stat NAME VALUE" lines.
    [[nodiscard]] std::string text() const {
        std::string out;
#define LIGHTNING_LINE(name) out += "stat " #name " " + std::to_string(name.load()) + "\n";
        LIGHTNING_COUNTERS(LIGHTNING_LINE)
#undef LIGHTNING_LINE
        return out;
    }
};

} // namespace lightning
