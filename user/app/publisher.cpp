#include "app/publisher.hpp"

#include <unistd.h>

#include <algorithm>

#include "base/clock.hpp"
#include "proc/process.hpp"
#include "serve/secrets.hpp"

namespace memtrace {

namespace {

constexpr double kShortestHealthy = 30; ///< seconds
constexpr double kHealthyIntervals = 3;

double healthy_s(double interval_s) {
    return std::max(kShortestHealthy, kHealthyIntervals * interval_s);
}

/// Reads the secrets and the certificate.
Result<ServerSettings> server_settings(const Options& options) {
    ServerSettings settings;
    const auto address = parse_listen_address(options.listen);
    if (!address) {
        return tl::unexpected(address.error());
    }
    settings.address = *address;
    settings.rules.interval_s = static_cast<double>(options.interval_ns) / static_cast<double>(kNanosPerSecond);
    settings.rules.healthy_s = healthy_s(settings.rules.interval_s);
    if (!options.listen_token_file.empty()) {
        const auto token = read_token_file(options.listen_token_file);
        if (!token) {
            return tl::unexpected(token.error().in("--listen-token-file"));
        }
        settings.rules.token = *token;
    }
    if (!options.listen_certificate.empty()) {
        const auto certificate = read_certificate_file(options.listen_certificate);
        const auto key = read_secret_file(options.listen_key);
        if (!certificate || !key) {
            return tl::unexpected((certificate ? key.error() : certificate.error()).in("--listen-tls"));
        }
        settings.certificate_pem = *certificate;
        settings.key_pem = *key;
    }
    return settings;
}

} // namespace

Result<Publisher> Publisher::open(const Options& options) {
    const auto settings = server_settings(options);
    if (!settings) {
        return tl::unexpected(settings.error());
    }
    auto server = Server::start(*settings);
    if (!server) {
        return tl::unexpected(server.error());
    }
    return Publisher(std::move(*server));
}

void Publisher::set_interval(double interval_s) {
    server_->set_interval(interval_s, healthy_s(interval_s));
}

void Publisher::ticked(std::uint64_t duration_ns) {
    ticks_.add(static_cast<double>(duration_ns) / static_cast<double>(kNanosPerSecond));
    server_->end_old_connections();
}

void Publisher::publish(std::vector<Report> reports, CollectorCost cost) {
    if (const auto usage = read_process_usage(::getpid())) {
        cost.cpu_s = static_cast<double>(usage->cpu_ns) / static_cast<double>(kNanosPerSecond);
        cost.rss_bytes = usage->rss_bytes;
    }
    cost.ticks = ticks_;
    server_->publish({std::move(reports), std::move(cost)});
}

} // namespace memtrace
