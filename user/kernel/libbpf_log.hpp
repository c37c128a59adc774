// libbpf's messages: kept off the terminal, the last of them kept for our own error lines.
#pragma once

#include <string>

namespace memtrace {

/// Redirects libbpf's output into a buffer; to stderr as well where MEMTRACE_LIBBPF_LOG is set in the environment.
void capture_libbpf_log();

/// The newest warning, one line.
std::string libbpf_log_tail();

} // namespace memtrace
