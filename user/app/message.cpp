#include "app/message.hpp"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <iostream>

#include "app/message_queue.hpp"
#include "config/options.hpp"

namespace memtrace {

void say(const std::string& text) {
    say_line("memtrace: " + text);
}

void say_line(const std::string& line) {
    if (!MessageQueue::take(line)) {
        std::fprintf(stderr, "%s\n", line.c_str());
    }
}

int fail_with(const Error& error) {
    say(error.message);
    return kExitFailed;
}

bool colour_wanted() {
    return ::isatty(STDOUT_FILENO) != 0 && std::getenv("NO_COLOR") == nullptr;
}

int check_stdout() {
    std::cout.flush();
    return std::cout ? kExitFine : fail_with({"cannot write to standard output", 0});
}

} // namespace memtrace
