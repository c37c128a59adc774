// What is answered to a request: a pure function of it and of what was published last, so that it can be tested without a network.
// Any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "report/prometheus.hpp"

namespace memtrace {

/// What counts of a request. The texts are foreign bytes; absent headers and arguments are empty.
struct HttpRequest {
    std::string_view method;
    std::string_view path; ///< unescaped, without arguments
    std::string_view host;
    std::string_view authorization;
    std::optional<std::string_view> pid; ///< ?pid=
    bool hold = false;                   ///< ?hold: the page does not refresh itself
};

struct HttpResponse {
    unsigned status = 200;
    std::string type = "text/plain; charset=utf-8";
    std::string body;
    std::string policy = "default-src 'none'"; ///< Content-Security-Policy
    std::string authenticate;                  ///< WWW-Authenticate
};

struct ServeRules {
    std::string token;     ///< of readers; empty: none is asked for, which is only for loopback
    double interval_s = 5; ///< between publications
    double healthy_s = 30; ///< without a new publication for so long, /healthz says that something is wrong
};

/// `publication` is null before the first one; `age_s` is the time since it, or since the start.
HttpResponse respond(const HttpRequest& request, const ServeRules& rules, const Publication* publication, double age_s);

} // namespace memtrace
