// Who is to be followed: what the daemon's targets name, looked for again and again. Knows who is followed and who could not be, so that
// each process is tried once: a process is its pid and its start time. One thread.
//
//   look --> newcomers, to be followed --> took     followed until ended(), or until change() lets it go
//                                     \--> refused  not tried again as long as it lives and is the same program
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "config/daemon_config.hpp"
#include "proc/lookout.hpp"

namespace memtrace {

class Targets {
public:
    struct Newcomer {
        std::int32_t pid = 0;
        std::uint64_t start_ticks = 0; ///< as ProcessInfo's
        std::string target;            ///< its name
        bool follow = false;           ///< children too
    };

    explicit Targets(std::vector<TargetConfig> targets) : targets_(std::move(targets)) {}

    /// Those that are wanted and neither followed nor refused.
    std::vector<Newcomer> look();
    void took(const Newcomer& newcomer);
    void refused(const Newcomer& newcomer);
    /// Children of followed processes are followed without our asking: of the same target.
    void joined(std::int32_t pid);
    void ended(std::int32_t pid) { followed_.erase(pid); }
    /// Other targets from now on. Returns whom nobody wants any more, until ended() is told of them.
    [[nodiscard]] std::vector<std::int32_t> change(std::vector<TargetConfig> targets);

    [[nodiscard]] bool has(std::int32_t pid) const { return followed_.contains(pid); }
    /// The target's name; empty: that of a child whose parent was gone before it was seen.
    [[nodiscard]] std::string name_of(std::int32_t pid) const;

private:
    struct Refused {
        std::uint64_t start_ticks = 0;
        std::string exe; ///< where an exec makes it another program
        bool seen = false;
    };

    bool is_refused(std::int32_t pid, std::uint64_t start_ticks);

    std::vector<TargetConfig> targets_;
    UnitCgroups units_;
    std::map<std::int32_t, std::string> followed_; ///< -> target
    std::map<std::int32_t, Refused> refused_;
};

} // namespace memtrace
