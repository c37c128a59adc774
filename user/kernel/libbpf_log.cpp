#include "kernel/libbpf_log.hpp"

#include <bpf/libbpf.h>

#include <cstdarg>
#include <cstdio>
#include <cstdlib>

namespace memtrace {

namespace {

std::string& last_warning() {
    static std::string text = "no reason given";
    return text;
}

int keep(libbpf_print_level level, const char* format, va_list arguments) {
    static const bool verbose = std::getenv("MEMTRACE_LIBBPF_LOG") != nullptr;
    if (verbose) { // whole: the verifier's log comes as one message of many kilobytes
        va_list copy;
        va_copy(copy, arguments);
        std::vfprintf(stderr, format, copy);
        va_end(copy);
    }
    char line[4096];
    std::vsnprintf(line, sizeof(line), format, arguments);
    if (level == LIBBPF_WARN) {
        last_warning() = std::string(line).substr(0, std::string(line).find('\n'));
    }
    return 0;
}

} // namespace

void capture_libbpf_log() {
    libbpf_set_print(keep);
}

std::string libbpf_log_tail() {
    return last_warning();
}

} // namespace memtrace
