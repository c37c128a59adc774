#include "config/daemon_config.hpp"

#include <algorithm>
#include <array>
#include <optional>

#include "config/config_file.hpp"
#include "config/toml_table.hpp"

namespace memtrace {

namespace {

constexpr std::array kKinds{"pid_file", "comm", "cgroup", "unit"};
constexpr std::size_t kMaxTargets = 256;
constexpr std::size_t kLongestComm = 15; ///< the kernel's TASK_COMM_LEN, less its zero

bool is_name(const std::string& text) {
    return text.size() <= 64 && std::all_of(text.begin(), text.end(), [](unsigned char c) {
               return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.' || c == '@';
           });
}

Result<TargetConfig> read_target(const std::string& file, const toml::table& node) {
    TomlTable table(file, node);
    TargetConfig target;
    table.text("name", target.name);
    table.flag("follow", target.follow);
    const char* given = nullptr;
    for (std::size_t i = 0; i < kKinds.size(); ++i) {
        if (!table.has(kKinds.at(i))) {
            continue;
        }
        if (given != nullptr) {
            table.complain(kKinds.at(i), std::string("and ") + given + " are two ways to find one target: give one");
        }
        given = kKinds.at(i);
        target.kind = static_cast<TargetKind>(i);
        table.text(given, target.value);
    }
    if (target.name.empty() || !is_name(target.name)) {
        table.complain("name", "is needed: letters, digits, - _ . and @");
    }
    if (given == nullptr) {
        table.complain("target", "needs one of pid_file, comm, cgroup and unit");
    } else if (target.kind == TargetKind::comm && target.value.size() > kLongestComm) {
        table.complain(given, "is longer than a process's name can be: 15 characters, see /proc/PID/comm");
    } else if (target.kind == TargetKind::unit && target.value.find('/') != std::string::npos) {
        table.complain(given, "is no unit's name, such as \"postgresql@17-main.service\"");
    } else if (std::any_of(target.value.begin(), target.value.end(), [](unsigned char c) { return std::iscntrl(c) != 0; })) {
        table.complain(given, "has characters that cannot be printed");
    } else if ((target.kind == TargetKind::pid_file || target.kind == TargetKind::cgroup) && !target.value.starts_with('/')) {
        table.complain(given, "is no path from the root");
    }
    auto status = table.done();
    return status ? Result<TargetConfig>(std::move(target)) : tl::unexpected(status.error());
}

/// The value as on the command line, behind "--option"; nothing: it can be none.
std::optional<std::string> text_of(const toml::node& value) {
    auto text = toml_text(value);
    return !text || text->empty() || text->find('\n') != std::string::npos ? std::nullopt : text;
}

Result<TraceSetting> read_setting(const std::string& file, const toml::key& key, const toml::node& value) {
    TraceSetting setting{std::string(key.str()), {}, toml_place(file, key.source())};
    const auto option = "--" + setting.option;
    if (const auto flag = value.value_exact<bool>()) {
        setting.words = *flag ? std::vector<std::string>{option} : std::vector<std::string>{};
        return setting;
    }
    const auto add = [&](const toml::node& node) {
        const auto text = text_of(node);
        if (text) {
            setting.words.push_back(option + "=" + *text);
        }
        return text.has_value();
    };
    const auto* const array = value.as_array();
    const bool taken = array == nullptr ? add(value) : std::all_of(array->begin(), array->end(), add);
    return taken ? Result<TraceSetting>(std::move(setting))
                 : fail(setting.place + ": " + setting.option + " is a text or a number, true or false, or an array of texts");
}

Status read_trace(const std::string& file, const toml::table& document, DaemonConfig& config) {
    const auto* const node = document.get("trace");
    const auto* const trace = node != nullptr ? node->as_table() : nullptr;
    if (trace == nullptr) {
        return node == nullptr ? Status() : fail(toml_place(file, node->source()) + ": trace is a table: [trace]");
    }
    for (const auto& [key, value] : *trace) {
        auto setting = read_setting(file, key, value);
        if (!setting) {
            return tl::unexpected(setting.error());
        }
        config.settings.push_back(std::move(*setting));
    }
    return {};
}

} // namespace

const char* target_kind_name(TargetKind kind) {
    return kKinds.at(static_cast<std::size_t>(kind));
}

Result<DaemonConfig> parse_daemon_config(std::string_view text, const std::string& name) {
    const auto document = parse_toml(text, name);
    if (!document) {
        return tl::unexpected(document.error());
    }
    DaemonConfig config;
    TomlTable root(name, *document);
    const auto* const targets = root.tables("target");
    for (std::size_t i = 0; targets != nullptr && i < targets->size(); ++i) {
        auto target = read_target(name, *targets->get(i)->as_table());
        if (!target) {
            return tl::unexpected(target.error());
        }
        const auto& all = config.targets;
        if (std::any_of(all.begin(), all.end(), [&](const TargetConfig& other) { return other.name == target->name; })) {
            return fail(toml_place(name, targets->get(i)->source()) + ": there is a target " + target->name + " already");
        }
        config.targets.push_back(std::move(*target));
    }
    if (auto status = root.status(); !status) {
        return tl::unexpected(status.error());
    }
    if (config.targets.size() > kMaxTargets) {
        return fail(name + ": more than " + std::to_string(kMaxTargets) + " targets");
    }
    auto status = read_trace(name, *document, config);
    return status ? Result<DaemonConfig>(std::move(config)) : tl::unexpected(status.error());
}

Result<DaemonConfig> read_daemon_config(const std::vector<std::string>& files) {
    DaemonConfig all;
    for (const auto& file : files) {
        const auto text = read_config_file(file);
        auto config = text ? parse_daemon_config(*text, file) : Result<DaemonConfig>(tl::unexpected(text.error()));
        if (!config) {
            return config;
        }
        if (!all.settings.empty() && !config->settings.empty()) {
            return fail(config->settings.front().place + ": [trace] is in another file already");
        }
        for (auto& target : config->targets) {
            if (std::any_of(all.targets.begin(), all.targets.end(),
                            [&](const auto& other) { return other.name == target.name; })) {
                return fail(std::string(file).append(": there is a target ").append(target.name).append(" in another file"));
            }
            all.targets.push_back(std::move(target));
        }
        std::move(config->settings.begin(), config->settings.end(), std::back_inserter(all.settings));
    }
    if (all.targets.empty()) {
        return fail("nothing to follow: the configuration " + files.front() + " has no [[target]]");
    }
    return all;
}

} // namespace memtrace
