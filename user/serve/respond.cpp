#include "serve/respond.hpp"

#include <charconv>
#include <cstdio>
#include <sstream>

#include "report/render.hpp"
#include "serve/page.hpp"
#include "serve/secrets.hpp"

namespace memtrace {

namespace {

HttpResponse refuse(unsigned status, std::string text) {
    HttpResponse response;
    response.status = status;
    response.body = std::move(text) + '\n';
    return response;
}

/// An address, or localhost. A web page that a browser on this machine shows can have the name of its own server lead to 127.0.0.1 and
/// then read what is served there; that name is in the Host header.
bool names_this_machine(std::string_view host) {
    const auto colon = host.rfind(':');
    const bool has_port =
        colon != std::string_view::npos && host.find_first_not_of("0123456789", colon + 1) == std::string_view::npos;
    const auto name = has_port && !host.ends_with(']') ? host.substr(0, colon) : host;
    const bool v6 = name.size() > 2 && name.front() == '[' && name.back() == ']';
    return name == "localhost" || (v6 && name.find_first_not_of("0123456789abcdefABCDEF:.", 1) == name.size() - 1) ||
           (!name.empty() && name.find_first_not_of("0123456789.") == std::string_view::npos);
}

bool authorized(std::string_view authorization, const std::string& token) {
    constexpr std::string_view kBearer = "Bearer ";
    return authorization.starts_with(kBearer) && equal_in_constant_time(authorization.substr(kBearer.size()), token);
}

HttpResponse health(const ServeRules& rules, double age_s) {
    if (age_s <= rules.healthy_s) {
        return refuse(200, "ok");
    }
    char text[64];
    std::snprintf(text, sizeof(text), "no report for %.0f s", age_s);
    return refuse(503, text);
}

HttpResponse metrics(const Publication& publication) {
    HttpResponse response;
    response.type = "text/plain; version=0.0.4; charset=utf-8";
    std::ostringstream out;
    render_metrics(publication, out);
    response.body = std::move(out).str();
    return response;
}

/// The last report of the process; none is not found.
const Report* find_report(const Publication& publication, std::int32_t pid) {
    const Report* found = nullptr;
    for (const auto& report : publication.reports) {
        found = report.process.pid == pid ? &report : found;
    }
    return found;
}

/// One snapshot, or one a line.
HttpResponse snapshots(const Publication& publication, const Report* only) {
    std::ostringstream out;
    for (const auto& report : publication.reports) {
        if (only == nullptr || only == &report) {
            render_json(report, out);
        }
    }
    HttpResponse response;
    response.type = only != nullptr || publication.reports.size() == 1 ? "application/json" : "application/x-ndjson";
    response.body = std::move(out).str();
    return response;
}

HttpResponse page(const Publication& publication, const Report* only, const HttpRequest& request, const ServeRules& rules) {
    const auto nonce = page_nonce();
    HttpResponse response;
    response.type = "text/html; charset=utf-8";
    response.policy += "; style-src 'nonce-" + nonce + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    std::ostringstream out;
    render_page(publication, only, {nonce, request.hold ? 0 : rules.interval_s}, out);
    response.body = std::move(out).str();
    return response;
}

} // namespace

HttpResponse respond(const HttpRequest& request, const ServeRules& rules, const Publication* publication, double age_s) {
    if (request.method != "GET" && request.method != "HEAD") {
        return refuse(405, "only GET and HEAD are answered");
    }
    if (rules.token.empty() ? !names_this_machine(request.host) : !authorized(request.authorization, rules.token)) {
        auto response = rules.token.empty() ? refuse(403, "ask for localhost, or for an address, by that name")
                                            : refuse(401, "a bearer token is asked for (--listen-token-file)");
        response.authenticate = rules.token.empty() ? "" : "Bearer";
        return response;
    }
    const bool page_asked = request.path == "/";
    if (request.path == "/healthz") {
        return health(rules, age_s);
    }
    if (!page_asked && request.path != "/metrics" && request.path != "/api/report") {
        return refuse(404, "here are /, /metrics, /api/report and /healthz");
    }
    const Publication nothing;
    const auto& current = publication != nullptr ? *publication : nothing;
    if (request.path == "/metrics") {
        return metrics(current);
    }
    const Report* only = nullptr;
    if (request.pid) {
        std::int32_t pid = 0;
        const auto [end, error] = std::from_chars(request.pid->data(), request.pid->data() + request.pid->size(), pid);
        if (error != std::errc() || end != request.pid->data() + request.pid->size()) {
            return refuse(400, "pid is no process id");
        }
        only = find_report(current, pid);
        if (only == nullptr) {
            return refuse(404, "there is no report of that process");
        }
    }
    if (page_asked) {
        return page(current, only, request, rules);
    }
    return current.reports.empty() ? refuse(503, "there is no report yet") : snapshots(current, only);
}

} // namespace memtrace
