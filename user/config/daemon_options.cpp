#include "config/daemon_options.hpp"

#include <algorithm>

namespace memtrace {

namespace {

constexpr std::string_view kBegin = "memtrace: ";
constexpr std::string_view kEnd = "; see memtrace --help\n";

/// The file's own texts may have anything in them.
ParsedCommandLine wrong(std::string text) {
    std::replace_if(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < ' '; }, '?');
    return {std::nullopt, std::string(kBegin) + text + "\n", kExitFailed};
}

/// Of what parse_words said.
std::string reason_of(const std::string& text) {
    const auto begin = text.starts_with(kBegin) ? kBegin.size() : 0;
    return text.substr(begin, text.ends_with(kEnd) ? text.size() - begin - kEnd.size() : std::string::npos);
}

/// What is wrong with a setting by itself; empty: nothing.
std::string complaint(const TraceSetting& setting) {
    if (!is_daemon_option(setting.option)) {
        return setting.place + ": " + setting.option +
               " is unknown here: [trace] has long options of memtrace daemon, see --help";
    }
    std::vector<std::string> words{"memtrace", "daemon"};
    words.insert(words.end(), setting.words.begin(), setting.words.end());
    const auto parsed = parse_words(words, OptionRules::alone);
    return parsed.options ? "" : setting.place + ": " + reason_of(parsed.text);
}

} // namespace

ParsedCommandLine with_daemon_config(const std::vector<std::string>& words, const Options& options) {
    const auto config = read_daemon_config(options.configs);
    if (!config) {
        return wrong(config.error().message);
    }
    auto all = words;
    for (const auto& setting : config->settings) {
        if (const auto text = complaint(setting); !text.empty()) {
            return wrong(text);
        }
        // Recipes are one more file, not another one.
        if (setting.option == "config" || !options.settings.contains(setting.option)) {
            all.insert(all.end(), setting.words.begin(), setting.words.end());
        }
    }
    auto parsed = parse_words(all, OptionRules::together);
    if (!parsed.options) {
        return wrong(options.configs.front() + ": " + reason_of(parsed.text));
    }
    parsed.options->targets = config->targets;
    parsed.options->command_line = words;
    return parsed;
}

} // namespace memtrace
