// Starts a program so that it can be followed from its first instruction: it is stopped (ptrace) from exec until the dynamic
// linker has mapped its libraries, probes are placed as each of them appears, and then it is let go for good.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/result.hpp"

namespace memtrace {

class Launcher {
public:
    /// Forks, and execs `command` (found through PATH). Returns with the child stopped right after a successful exec. It gets our
    /// standard descriptors, signal mask and group. If memtrace dies before release(), the child dies too: it has done nothing yet.
    static Result<Launcher> start(const std::vector<std::string>& command);

    [[nodiscard]] std::int32_t pid() const { return pid_; }

    /// Lets it run through the dynamic linker, calling `mapped` after each new executable mapping, and detaches at its first system
    /// call from outside the linker: all libraries are mapped by then, and no constructor has run unseen.
    /// A static program is let go at once.
    Status run_through_linker(const std::function<void()>& mapped);

    /// After the process has ended: takes it out of the process table.
    void reap() const;

private:
    explicit Launcher(std::int32_t pid) : pid_(pid) {}
    std::int32_t pid_;
};

} // namespace memtrace
