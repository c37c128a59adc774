#include "app/profile_pusher.hpp"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <sstream>
#include <utility>

#include "app/http_post.hpp"
#include "base/clock.hpp"
#include "base/fd.hpp"
#include "base/host_name.hpp"
#include "report/build.hpp"
#include "report/render.hpp"

namespace memtrace {

namespace {

constexpr std::uint64_t kTimeout = 10'000'000'000; ///< for one attempt, and for what waits in the end

/// What the store will not take, however often it is asked: 413 is a profile too large, the others say that it is none.
bool is_refusal(const Error& error) {
    return std::ranges::any_of(std::initializer_list<const char*>{"400", "413", "415", "422"}, [&](const char* status) {
        return error.message.ends_with(std::string("returned error: ") + status);
    });
}

DeliverySettings delivery_settings(const Options& options, const PushTarget& target) {
    const bool pyroscope = target.store == ProfileStore::pyroscope;
    DeliverySettings settings;
    settings.name = target.url;
    settings.what = "profiles";
    settings.command =
        http_post_command({pyroscope ? "application/octet-stream" : "application/json", options.push_header_file, kTimeout});
    settings.timeout_ns = kTimeout;
    settings.most_waiting = ProfilePusher::kMostWaiting;
    settings.most_bytes = ProfilePusher::kMostBytes;
    settings.hopeless = is_refusal;
    return settings;
}

} // namespace

Result<std::unique_ptr<ProfilePusher>> ProfilePusher::open(const Options& options, DeliveryQueue::Say say) {
    auto target = parse_push_target(options.push_profiles);
    if (!target) {
        return tl::unexpected(target.error().in("--push-profiles"));
    }
    auto labels = parse_push_labels(options.push_labels);
    if (!labels) {
        return tl::unexpected(labels.error().in("--push-label"));
    }
    if (!options.push_header_file.empty() && !UniqueFd(::open(options.push_header_file.c_str(), O_RDONLY | O_CLOEXEC))) {
        return fail_errno("--push-header-file: cannot open " + options.push_header_file, errno);
    }
    auto settings = delivery_settings(options, *target);
    return std::unique_ptr<ProfilePusher>(
        new ProfilePusher(std::move(*target), std::move(*labels), std::move(settings), std::move(say)));
}

ProfilePusher::ProfilePusher(PushTarget target, ProfileLabels labels, DeliverySettings settings, DeliveryQueue::Say say)
    : target_(std::move(target)), labels_(std::move(labels)), host_(host_name()), queue_(std::move(settings), std::move(say)) {}

ProfileLabels ProfilePusher::labels_of(const Report& report, const std::string& target) const {
    auto labels = labels_;
    labels.try_emplace("host", host_);
    labels.try_emplace("pid", std::to_string(report.process.pid));
    labels.try_emplace("service_name", report.process.comm);
    labels.try_emplace("target", target);
    std::erase_if(labels, [](const auto& label) { return label.second.empty(); });
    return labels;
}

void ProfilePusher::push(const Model& model, const std::function<std::string(std::int32_t pid)>& target_of) {
    const auto& processes = model.processes();
    const std::set<ProcessId> known(processes.begin(), processes.end());
    std::erase_if(over_, [&](ProcessId id) { return !known.contains(id); });
    for (const auto id : processes) {
        const bool over = model.process(id)->ended.has_value();
        if (over && !over_.insert(id).second) {
            continue;
        }
        auto& told = told_[id];
        if (!over) { // it has the name no longer when it has ended
            told.target = target_of(model.process(id)->about.pid);
        }
        push(build_report(model, id), told);
        if (over) {
            told_.erase(id);
        }
    }
}

void ProfilePusher::complete(std::vector<Report>& reports) const {
    const auto counts = queue_.counts();
    for (auto& report : reports) {
        auto& counters = report.coverage.counters;
        counters["profiles_pushed"] = counts.delivered;
        counters["profiles_lost"] = counts.lost;
        counters["profile_push_failures"] = counts.failures;
    }
}

void ProfilePusher::push(Report report, Told& told) {
    const bool pyroscope = target_.store == ProfileStore::pyroscope;
    const auto until_s = report.time_unix_ns / kNanosPerSecond;
    const auto begin_s = until_s - std::min(until_s, static_cast<std::uint64_t>(report.duration_s));
    const auto from_s = std::exchange(told.until_s, until_s);
    auto labels = labels_of(report, told.target);
    auto service = report.process.comm;
    std::ostringstream bytes;
    render_pprof(profile_part(std::move(report), pyroscope ? &told.allocated : nullptr), bytes);
    if (!pyroscope) {
        return queue_.send(parca_body(labels, std::move(bytes).str()), {target_.url});
    }
    if (auto given = labels.extract("service_name")) { // is what a profile is named by there
        service = std::move(given.mapped());
    }
    queue_.send(std::move(bytes).str(),
                {target_.url + pyroscope_query(service, labels, from_s != 0 ? from_s : begin_s, until_s)});
}

} // namespace memtrace
