// Lines to the user on standard error, all of one form: "memtrace: ..."; and what standard output is.
#pragma once

#include <string>

#include "base/result.hpp"

namespace memtrace {

/// Threads: any. Waits for who reads it, unless there is a MessageQueue.
void say(const std::string& text);
/// The line as it is.
void say_line(const std::string& line);
/// Prints the error and returns the exit status that goes with it.
int fail_with(const Error& error);
/// Standard output is a terminal, and NO_COLOR is not set.
bool colour_wanted();
/// The exit status, once all is on standard output; says where it could not be.
int check_stdout();

} // namespace memtrace
