#include "app/http_post.hpp"

#include <algorithm>

#include "base/clock.hpp"

namespace memtrace {

std::vector<std::string> http_post_command(const HttpPost& post) {
    const auto seconds = std::max<std::uint64_t>(post.timeout_ns / kNanosPerSecond, 1);
    std::vector<std::string> command{
        "curl", "--silent",   "--show-error",          "--fail",   "--request",
        "POST", "--max-time", std::to_string(seconds), "--header", "Content-Type: " + post.content_type};
    if (!post.header_file.empty()) {
        command.insert(command.end(), {"--header", "@" + post.header_file});
    }
    command.insert(command.end(), {"--data-binary", "@-"});
    return command;
}

} // namespace memtrace
