#include "app/message.hpp"

#include <cstdio>

#include "config/options.hpp"

namespace memtrace {

void say(const std::string& text) {
    std::fprintf(stderr, "memtrace: %s\n", text.c_str());
}

int fail_with(const Error& error) {
    say(error.message);
    return kExitFailed;
}

} // namespace memtrace
