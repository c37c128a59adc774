#include "report/profile_post.hpp"

#include <algorithm>
#include <cctype>

#include <nlohmann/json.hpp>

namespace memtrace {

namespace {

constexpr const char* kMetric = "memory"; ///< what profiles of the heap are called in both stores

std::string base64(const std::string& bytes) {
    static constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string text;
    text.reserve((bytes.size() + 2) / 3 * 4);
    for (std::size_t i = 0; i < bytes.size(); i += 3) {
        const auto byte = [&](std::size_t at) { return at < bytes.size() ? static_cast<unsigned char>(bytes[at]) : 0U; };
        const auto group = byte(i) << 16 | byte(i + 1) << 8 | byte(i + 2);
        for (int shift = 18; shift >= 0; shift -= 6) {
            text += kDigits[group >> shift & 63];
        }
    }
    text.replace(text.size() - (3 - bytes.size() % 3) % 3, std::string::npos, (3 - bytes.size() % 3) % 3, '=');
    return text;
}

std::string percent_encoded(const std::string& text) {
    static constexpr char kDigits[] = "0123456789ABCDEF";
    std::string encoded;
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (std::isalnum(byte) != 0 || c == '-' || c == '_' || c == '.' || c == '~') {
            encoded += c;
        } else {
            encoded += {'%', kDigits[byte >> 4], kDigits[byte & 15]};
        }
    }
    return encoded;
}

/// Its parser knows no quotes: what would end a name or a value becomes '_'.
std::string without(std::string text, bool (*forbidden)(char)) {
    for (char& c : text) {
        c = forbidden(c) ? '_' : c;
    }
    return text;
}

void take_away(std::pair<std::uint64_t, std::uint64_t>& before, ReportSite& site) {
    const auto since = [](std::uint64_t& now, std::uint64_t& then) { // an estimate may fall
        const auto all = now;
        now = all > then ? all - then : 0;
        then = std::max(all, then);
    };
    since(site.allocs, before.first);
    since(site.allocated_bytes, before.second);
}

} // namespace

Report profile_part(Report report, AllocatedBefore* before) {
    Report profile;
    profile.tool_version = std::move(report.tool_version);
    profile.time_unix_ns = report.time_unix_ns;
    profile.min_age_s = report.min_age_s;
    profile.process = std::move(report.process);
    profile.coverage = std::move(report.coverage);
    profile.sites = std::move(report.sites);
    for (auto& site : profile.sites) {
        if (before != nullptr) {
            take_away((*before)[site.id], site);
        }
        for (auto* label : {&site.id, &site.allocator, &site.function, &site.verdict}) {
            label->clear();
        }
    }
    return profile;
}

std::string pyroscope_query(const std::string& service, const ProfileLabels& labels, std::uint64_t from_s,
                            std::uint64_t until_s) {
    auto name = without(service, [](char c) {
        return std::isalnum(static_cast<unsigned char>(c)) == 0 && c != '-' && c != '_' && c != '.' && c != '/';
    });
    if (name.empty()) {
        name = "unknown";
    }
    name += '{';
    for (const auto& [key, value] : labels) {
        name += (name.ends_with('{') ? "" : ",") + key + "=" +
                without(value, [](char c) { return c == ',' || c == '}' || std::iscntrl(static_cast<unsigned char>(c)) != 0; });
    }
    name += '}';
    return "?name=" + percent_encoded(name) + "&from=" + std::to_string(from_s) + "&until=" + std::to_string(until_s) +
           "&spyName=memtrace&format=pprof";
}

std::string parca_body(const ProfileLabels& labels, const std::string& pprof) {
    auto list = nlohmann::json::array({{{"name", "__name__"}, {"value", kMetric}}});
    for (const auto& [name, value] : labels) {
        list.push_back({{"name", name}, {"value", value}});
    }
    const nlohmann::json request{
        {"series", {{{"labels", {{"labels", std::move(list)}}}, {"samples", {{{"rawProfile", base64(pprof)}}}}}}}};
    return request.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

} // namespace memtrace
