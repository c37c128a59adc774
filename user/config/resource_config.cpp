#include "config/resource_config.hpp"

#include <charconv>
#include <limits>
#include <system_error>

#include "base/clock.hpp"
#include "config/config_file.hpp"
#include "config/toml_table.hpp"

namespace memtrace {

namespace {

constexpr double kMaxFactor = 1e6;

/// `to` stays as it is where the key is absent, or its value none of these; `are`: in words.
template <typename Number, typename To>
void read_number(TomlTable& table, const char* key, Number most, const char* are, To& to) {
    const auto text = table.value(key);
    if (!text) {
        return;
    }
    Number number = 0;
    const auto* const end = text->data() + text->size();
    const auto [parsed, problem] = std::from_chars(text->data(), end, number);
    if (problem == std::errc() && parsed == end && number >= 1 && number <= most) {
        to = number;
    } else {
        table.complain(key, are);
    }
}

void read_count(TomlTable& table, const char* key, std::uint64_t& to) {
    read_number(table, key, std::numeric_limits<std::uint32_t>::max(), "is no number from 1 on", to);
}

} // namespace

Result<std::optional<ResourceThresholds>> parse_resource_config(std::string_view text, const std::string& name) {
    const auto document = parse_toml(text, name);
    if (!document) {
        return tl::unexpected(document.error());
    }
    const auto* const node = document->get("resources");
    if (node == nullptr) {
        return std::nullopt;
    }
    if (!node->is_table()) {
        return fail(toml_place(name, node->source()) + ": resources is a table: [resources]");
    }
    TomlTable table(name, *node->as_table());
    ResourceThresholds out;
    const auto least_settle = out.settle_ns;
    auto busy_ns = static_cast<std::uint64_t>(out.busy_s) * kNanosPerSecond;
    read_count(table, "min_released", out.min_released);
    read_number(table, "factor", kMaxFactor, "is no number from 1 to 1000000", out.factor);
    table.duration("min_age", out.min_age_ns);
    table.duration("settle", out.settle_ns);
    read_count(table, "sure_released", out.sure_released);
    read_count(table, "min_acquired", out.min_acquired);
    table.duration("busy_for", busy_ns);
    out.busy_s = static_cast<double>(busy_ns) / static_cast<double>(kNanosPerSecond);
    if (out.settle_ns < least_settle) {
        table.complain("settle", "is less than 2s, which threads may take to tell of what they did");
    }
    auto status = table.done();
    return status ? Result<std::optional<ResourceThresholds>>(out) : tl::unexpected(status.error());
}

Result<ResourceThresholds> read_resource_config(const std::vector<std::string>& files) {
    const auto said = read_from_one_file(files, parse_resource_config, "[resources] is");
    return said ? Result<ResourceThresholds>(said->value_or(ResourceThresholds{})) : tl::unexpected(said.error());
}

} // namespace memtrace
