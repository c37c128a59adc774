// The files of --listen: the token of readers, the certificate and its key.
#pragma once

#include <string>
#include <string_view>

#include "base/result.hpp"

namespace memtrace {

/// The content of a file that only its owner and group can read. One that others can is an error: whoever can read it has the secret.
Result<std::string> read_secret_file(const std::string& path);

/// The content of a file that everybody may read. Both are small; larger ones, and devices, are refused.
Result<std::string> read_certificate_file(const std::string& path);

/// The token in a secret file: its one line, 16 characters and more, without blanks.
Result<std::string> read_token_file(const std::string& path);

/// Whether both are the same. Takes as long for a wrong one as for the right one, so that it cannot be guessed by the time of the
/// answer; only the length of `given` shows in it.
bool equal_in_constant_time(std::string_view given, std::string_view secret);

} // namespace memtrace
