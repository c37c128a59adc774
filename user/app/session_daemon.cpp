// Session, what is the daemon's alone: targets that come and go, the configuration read again, the service manager.
#include <algorithm>
#include <map>

#include "app/session_state.hpp"
#include "base/clock.hpp"
#include "proc/process.hpp"

namespace memtrace {

namespace {

constexpr std::uint64_t kLookEvery = 2 * kNanosPerSecond;
constexpr std::uint64_t kLongestLook = kNanosPerSecond; ///< attaching to many newcomers: what else is due comes between
constexpr std::uint64_t kYoung = kNanosPerSecond;       ///< such a process may not have its libraries yet

using Take = void (*)(Options& to, const Options& from);

template <auto... kMembers>
void take(Options& to, const Options& from) {
    ((to.*kMembers = from.*kMembers), ...);
}

/// Options that change while memtrace runs, with what they are in; all others take a restart.
const std::map<std::string, Take>& live_options() {
    static const std::map<std::string, Take> options{
        {"interval", take<&Options::interval_ns>},
        {"top", take<&Options::top>},
        {"max-overhead", take<&Options::max_overhead>},
        {"sample", take<&Options::sample, &Options::sample_interval>},
        {"out", take<&Options::out>},
        {"output", take<&Options::output>},
        {"snapshot-at", take<&Options::snapshot_at, &Options::snapshot_by_interval>},
        {"snapshot-interval", take<&Options::snapshot_interval_ns, &Options::snapshot_by_interval>},
        {"snapshot-dir", take<&Options::snapshot_dir>},
        {"snapshot-keep", take<&Options::snapshot_keep>},
        {"snapshot-format", take<&Options::snapshot_formats>},
        {"quiet", take<&Options::quiet>},
        {"verbose", take<&Options::verbose>},
        {"config", take<>}, // what it has is compared by itself
    };
    return options;
}

using Settings = std::map<std::string, std::vector<std::string>>;

/// The names of those that are not the same, given in one only or with another value.
std::vector<std::string> differences(const Settings& a, const Settings& b) {
    std::vector<std::string> names;
    for (const auto& [name, value] : a) {
        if (const auto found = b.find(name); found == b.end() || found->second != value) {
            names.push_back(name);
        }
    }
    for (const auto& [name, value] : b) {
        if (!a.contains(name)) {
            names.push_back(name);
        }
    }
    return names;
}

std::string join(const std::vector<std::string>& words) {
    std::string text;
    for (const auto& word : words) {
        text += (text.empty() ? "" : ", ") + word;
    }
    return text;
}

/// Wherever in their files they are.
bool are_same(std::vector<ResourceRecipe> a, std::vector<ResourceRecipe> b) {
    for (auto* recipes : {&a, &b}) {
        for (auto& recipe : *recipes) {
            recipe.where.clear();
        }
    }
    return a == b;
}

std::string describe(const std::vector<TargetConfig>& targets) {
    std::vector<std::string> words;
    for (const auto& target : targets) {
        words.push_back(target.name + " (" + target_kind_name(target.kind) + " " + target.value + ")");
    }
    return join(words);
}

Result<Options> read_again(const Options& options) {
    std::vector<const char*> argv;
    for (const auto& word : options.command_line) {
        argv.push_back(word.c_str());
    }
    const auto parsed = parse_command_line(static_cast<int>(argv.size()), argv.data());
    if (parsed.options) {
        return *parsed.options;
    }
    constexpr std::string_view kBegin = "memtrace: ";
    const auto text = parsed.text.substr(0, parsed.text.find('\n'));
    return fail(text.starts_with(kBegin) ? text.substr(kBegin.size()) : text);
}

} // namespace

/// "process 42 (postgres), target db".
std::string Session::about(std::int32_t pid) const {
    const auto& processes = model_.processes();
    const auto found =
        std::find_if(processes.rbegin(), processes.rend(), [&](ProcessId id) { return model_.process(id)->about.pid == pid; });
    const auto comm = found != processes.rend() ? " (" + model_.process(*found)->about.comm + ")" : "";
    const auto target = targets_->name_of(pid);
    return "process " + std::to_string(pid) + comm + (target.empty() ? "" : ", target " + target);
}

void Session::begin_daemon() {
    targets_.emplace(options_.targets);
    note("looking for " + describe(options_.targets));
    look_for_targets(monotonic_ns());
    notify_.ready();
}

/// Tries a newcomer once. One that ends meanwhile is no news.
bool Session::follow(const Targets::Newcomer& newcomer) {
    const auto info = read_process_info(newcomer.pid);
    const bool young = info && wall_ns() - std::min(wall_ns(), info->start_wall_ns) < kYoung;
    const auto stage = young ? Collector::Stage::young : Collector::Stage::running;
    const auto status = info ? collector_->follow(newcomer.pid, stage, newcomer.follow) : Status(tl::unexpected(info.error()));
    if (status) {
        targets_->took(newcomer);
        return true;
    }
    if (const auto now = read_process_identity(newcomer.pid); now && !now->ended && now->start_ticks == newcomer.start_ticks) {
        targets_->refused(newcomer);
        say("target " + newcomer.target + ": " + status.error().message);
    }
    return false;
}

void Session::look_for_targets(std::uint64_t now_ns) {
    next_look_ns_ = now_ns + kLookEvery;
    std::vector<std::int32_t> taken;
    auto room = options_.max_processes - std::min<std::size_t>(options_.max_processes, collector_->watched().size());
    bool full = false;
    for (const auto& newcomer : targets_->look()) {
        if (room == 0) {
            full = true;
            if (!full_) {
                say("as many processes are followed as can be (" + std::to_string(options_.max_processes) +
                    ", --max-processes): process " + std::to_string(newcomer.pid) + " of target " + newcomer.target +
                    ", and others, wait until one has ended");
            }
            break;
        }
        if (monotonic_ns() - now_ns > kLongestLook) {
            next_look_ns_ = now_ns; // the others at once, after what is due
            break;
        }
        if (follow(newcomer)) {
            taken.push_back(newcomer.pid);
            --room;
        }
    }
    full_ = full;
    if (taken.empty()) {
        return;
    }
    collector_->await_tables();
    for (const auto pid : taken) {
        collector_->activate(pid);
        const auto what = collector_->describe(pid);
        note("following " + about(pid) + (what.empty() ? "" : ": " + what));
    }
}

/// Children of processes that are followed with their children are followed by now; we have their names to say.
void Session::take_children() {
    for (const auto& [pid, fd] : collector_->watched()) {
        if (!targets_->has(pid)) {
            targets_->joined(pid);
            note("following " + about(pid) + ", a child");
        }
    }
}

/// Once in each round of the loop.
Status Session::serve_manager(std::uint64_t now_ns) {
    take_children();
    if (reload_) {
        reload_ = false;
        if (auto status = reload(); !status) {
            return status;
        }
    }
    if (now_ns >= next_look_ns_) {
        look_for_targets(now_ns);
    }
    const auto count = collector_->watched().size();
    notify_.status(count == 0 ? "waiting for processes of its targets"
                              : "following " + std::to_string(count) + (count == 1 ? " process" : " processes"));
    notify_.feed(now_ns);
    return {};
}

/// SIGHUP. What is wrong with the configuration leaves everything as it was; an error is of tracing, as a tick's.
Status Session::reload() {
    notify_.reloading();
    const auto next = read_again(options_);
    const auto alerts = next ? read_alert_config(next->configs) : tl::unexpected(next.error());
    const auto recipes = alerts ? read_recipes(next->configs) : tl::unexpected(alerts.error());
    const auto thresholds = recipes ? read_resource_config(next->configs) : tl::unexpected(recipes.error());
    const auto governed =
        thresholds ? apply(*next, *alerts, *recipes, *thresholds) : Result<bool>(tl::unexpected(thresholds.error()));
    if (!governed) {
        say("the configuration stays as it was: " + governed.error().message);
    }
    auto status = governed ? retarget(*governed) : Status();
    notify_.ready();
    return status;
}

/// True: what tracing may take is another, which is the caller's to tell, as are targets.
Result<bool> Session::apply(const Options& next, const AlertConfig& alerts, const std::vector<ResourceRecipe>& recipes,
                            const ResourceThresholds& thresholds) {
    std::vector<std::string> changed;
    std::vector<std::string> later;
    for (const auto& name : differences(options_.settings, next.settings)) {
        (live_options().contains(name) ? changed : later).push_back(name);
    }
    if (!are_same(recipes, recipes_)) {
        later.emplace_back("recipes");
    }
    auto options = options_;
    for (const auto& [name, take_option] : live_options()) {
        take_option(options, next);
    }
    options.targets = next.targets;
    if (!changed.empty()) {
        auto output = output_->reopen(options);
        if (!output) {
            return tl::unexpected(output.error());
        }
        output_ = std::move(*output);
        times_.emplace(options, output_->has_snapshots(), monotonic_ns());
        own_->change(options);
        take_knobs();
    }
    const bool governed = options.sample != options_.sample || options.sample_interval != options_.sample_interval ||
                          options.max_overhead != options_.max_overhead;
    for (const auto& name : changed) {
        const auto given = next.settings.find(name);
        given != next.settings.end() ? void(options.settings[name] = given->second) : void(options.settings.erase(name));
    }
    if (options.targets != options_.targets) {
        changed.emplace_back("targets");
    }
    if (thresholds != thresholds_) {
        changed.emplace_back("resources");
        thresholds_ = thresholds;
        on_event(thresholds_);
    }
    if (alerts != alerts_) {
        changed.emplace_back("alerts");
        alerts_ = alerts;
        desk_->change(alerts_, !options.quiet);
    }
    options_ = std::move(options);
    note("the configuration was read again; changed: " + (changed.empty() ? "nothing" : join(changed)) +
         (later.empty() ? "" : "; these take a restart: " + join(later)));
    return governed;
}

/// What the configuration that was taken has tracing do. `governed`: as apply().
Status Session::retarget(bool governed) {
    if (auto status = let_go(targets_->change(options_.targets)); !status) {
        return status;
    }
    next_look_ns_ = monotonic_ns();
    if (!governed) {
        return {};
    }
    collector_->set_contract_budget(contract_budget());
    return control_->change(governor_settings());
}

/// Processes that no target names any more: their last figures, then we leave them as they are.
Status Session::let_go(const std::vector<std::int32_t>& pids) {
    if (pids.empty()) {
        return {};
    }
    collector_->handle_kernel_events();
    collector_->deactivate(pids);
    auto status = tick_before_leaving();
    for (const auto pid : pids) {
        note("no longer followed: " + about(pid));
        collector_->end(pid, EndReason::detached);
        targets_->ended(pid);
    }
    return status;
}

} // namespace memtrace
