// The process that asks debuginfod servers, and what it says to the one that made it: packets of a kind and a text. See debuginfod.hpp.
//
//   helper, once      kHelperReady; or kHelperFailed, why
//   for each build-id: raw bytes, a packet of their own
//                     kHelperFound, the file's path; or kHelperFailed, why: empty where no server has it
#pragma once

#include <sys/types.h>

#include <cstddef>

namespace memtrace {

struct DebuginfodSettings;

constexpr char kHelperReady = 'r';
constexpr char kHelperFound = 'f';
constexpr char kHelperFailed = 'x';
constexpr std::size_t kLongestPacket = 8192;
constexpr std::size_t kLongestBuildId = 64;

/// Serves `socket` until its other end is closed or `parent` has ended. To be called in a new process, of which it takes over all
/// descriptors but standard error, the environment and the signals.
[[noreturn]] void run_debuginfod_helper(int socket, pid_t parent, const DebuginfodSettings& settings);

} // namespace memtrace
