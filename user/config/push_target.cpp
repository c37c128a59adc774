#include "config/push_target.hpp"

#include <string_view>

namespace memtrace {

namespace {

struct Form {
    const char* scheme;
    ProfileStore store;
    std::string_view path; ///< of its API
};
constexpr Form kForms[]{{"pyroscope+", ProfileStore::pyroscope, "/ingest"},
                        {"parca+", ProfileStore::parca, "/api/profiles/writeraw"}};
constexpr std::string_view kWriteRaw = "/profiles/writeraw"; ///< what is above it may differ: behind a proxy

bool is_http(const std::string& url) {
    for (const std::string_view scheme : {"http://", "https://"}) {
        if (url.starts_with(scheme)) {
            return url.size() > scheme.size() && url[scheme.size()] != '/';
        }
    }
    return false;
}

bool is_label_name(std::string_view name) {
    constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_";
    return !name.empty() && name.find_first_not_of(std::string(kLetters) + "0123456789") == std::string_view::npos &&
           kLetters.find(name[0]) != std::string_view::npos && !name.starts_with("__");
}

} // namespace

Result<PushTarget> parse_push_target(const std::string& text) {
    const auto bad = [&](const char* why) { return fail("\"" + text + "\" " + why); };
    if (text.find_first_of("?# \t\r\n") != std::string::npos) {
        return bad("has a query, a fragment or a blank in it: memtrace adds the query");
    }
    std::string url = text;
    while (url.ends_with('/')) {
        url.pop_back();
    }
    for (const auto& form : kForms) {
        if (url.starts_with(form.scheme)) {
            url.erase(0, std::string_view(form.scheme).size());
            if (!is_http(url)) {
                return bad("is no address: after the + comes http://HOST or https://HOST");
            }
            return PushTarget{form.store, url.ends_with(form.path) ? url : url.append(form.path)};
        }
    }
    if (is_http(url) && url.ends_with("/ingest")) {
        return PushTarget{ProfileStore::pyroscope, url};
    }
    if (is_http(url) && url.ends_with(kWriteRaw)) {
        return PushTarget{ProfileStore::parca, url};
    }
    return bad("does not say what is there: write pyroscope+http://HOST:4040 or parca+http://HOST:7070");
}

Result<std::map<std::string, std::string>> parse_push_labels(const std::vector<std::string>& texts) {
    std::map<std::string, std::string> labels;
    for (const auto& text : texts) {
        const auto equals = text.find('=');
        const auto name = text.substr(0, equals);
        if (equals == std::string::npos || !is_label_name(name)) {
            return fail("\"" + text + "\" is no label: write NAME=VALUE, the name of letters, digits and _");
        }
        if (!labels.emplace(name, text.substr(equals + 1)).second) {
            return fail("the label " + name + " is given twice");
        }
    }
    return labels;
}

} // namespace memtrace
