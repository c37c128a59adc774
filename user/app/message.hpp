// Lines to the user on standard error, all of one form: "memtrace: ...".
#pragma once

#include <string>

#include "base/result.hpp"

namespace memtrace {

void say(const std::string& text);
/// Prints the error and returns the exit status that goes with it.
int fail_with(const Error& error);

} // namespace memtrace
