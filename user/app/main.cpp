// memtrace: which call sites of a running program leak.
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>

#include "app/commands.hpp"
#include "app/session.hpp"
#include "config/options.hpp"

namespace {

/// Started with a standard descriptor closed, what is opened next would get its number, and reports would be written in there. For
/// reading only: writing to it is an error then, as it should be.
void fill_standard_descriptors() {
    int fd = 0;
    while (fd >= 0 && fd <= STDERR_FILENO) {
        fd = ::open("/dev/null", O_RDONLY);
    }
    if (fd > STDERR_FILENO) {
        ::close(fd);
    }
}

} // namespace

int main(int argc, char** argv) {
    using namespace memtrace;
    fill_standard_descriptors();
    const auto parsed = parse_command_line(argc, argv);
    if (!parsed.options) {
        std::fputs(parsed.text.c_str(), parsed.exit_status == kExitFine ? stdout : stderr);
        return parsed.exit_status;
    }
    const auto& options = *parsed.options;
    switch (options.command) {
    case Command::trace:
    case Command::daemon:
        return run_session(options);
    case Command::report:
        return run_report(options);
    case Command::diff:
        return run_diff(options);
    case Command::probes:
        return run_probes(options);
    case Command::doctor:
        return run_doctor();
    case Command::replay:
        return run_replay(options);
    case Command::cleanup:
        return run_cleanup(options);
    }
    return kExitUsage;
}
