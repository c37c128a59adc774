#include "config/resource_config.hpp"

#include <charconv>
#include <cmath>

#include "base/clock.hpp"
#include "config/config_file.hpp"
#include "config/toml_table.hpp"

namespace memtrace {

namespace {

constexpr double kMaxFactor = 1e6;

void read_count(TomlTable& table, const char* key, std::uint64_t& to) {
    if (const auto text = table.value(key)) {
        std::uint32_t count = 0;
        const auto* const end = text->data() + text->size();
        const auto [parsed, problem] = std::from_chars(text->data(), end, count);
        problem == std::errc() && parsed == end&& count != 0 ? void(to = count) : table.complain(key, "is no number from 1 on");
    }
}

void read_factor(TomlTable& table, const char* key, double& to) {
    if (const auto text = table.value(key)) {
        double factor = 0;
        const auto* const end = text->data() + text->size();
        const auto [parsed, problem] = std::from_chars(text->data(), end, factor);
        problem == std::errc() && parsed == end&& factor >= 1 && factor <= kMaxFactor
            ? void(to = factor)
            : table.complain(key, "is no number from 1 to 1000000");
    }
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
    read_factor(table, "factor", out.factor);
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
    std::optional<ResourceThresholds> found;
    std::string where;
    for (const auto& file : files) {
        const auto text = read_config_file(file);
        auto parsed =
            text ? parse_resource_config(*text, file) : Result<std::optional<ResourceThresholds>>(tl::unexpected(text.error()));
        if (!parsed) {
            return tl::unexpected(parsed.error());
        }
        if (*parsed && found) {
            return fail(std::string(file).append(": [resources] is in ").append(where).append(" already"));
        }
        where = *parsed ? file : where;
        found = *parsed ? *parsed : found;
    }
    return found.value_or(ResourceThresholds{});
}

} // namespace memtrace
