// A program that is run and waited for, with a time limit.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/result.hpp"

namespace memtrace {

/// What else is to be done while it runs.
struct Meanwhile {
    int fd = -1;                 ///< there is something whenever this is readable
    std::function<void()> run{}; ///< leaves it unreadable
};

/// Runs `command` (looked for in PATH) with `input` as its standard input; what it prints goes nowhere, but for the last line of its
/// standard error, which is in the error where its status is not 0. After `timeout_ns` it and its children are killed. Its environment
/// is ours. Threads: any.
Status run_command(const std::vector<std::string>& command, const std::string& input, std::uint64_t timeout_ns,
                   const Meanwhile& meanwhile = {});

} // namespace memtrace
