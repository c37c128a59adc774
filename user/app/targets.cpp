#include "app/targets.hpp"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <set>
#include <utility>

#include "proc/process.hpp"

namespace memtrace {

namespace {

std::string program_of(std::int32_t pid) {
    std::error_code gone;
    return std::filesystem::read_symlink("/proc/" + std::to_string(pid) + "/exe", gone).string();
}

using PidsByName = std::map<std::string, std::vector<std::int32_t>>;

std::vector<std::int32_t> find(const TargetConfig& target, const PidsByName& by_comm, const PidsByName& by_unit) {
    switch (target.kind) {
    case TargetKind::pid_file:
        return list_by_pid_file(target.value);
    case TargetKind::cgroup:
        return list_cgroup(target.value);
    case TargetKind::unit:
        return by_unit.at(target.value);
    case TargetKind::comm:
        break;
    }
    const auto found = by_comm.find(target.value);
    return found != by_comm.end() ? found->second : std::vector<std::int32_t>();
}

} // namespace

bool Targets::is_refused(std::int32_t pid, std::uint64_t start_ticks) {
    const auto found = refused_.find(pid);
    if (found == refused_.end() || found->second.start_ticks != start_ticks || found->second.exe != program_of(pid)) {
        return false;
    }
    found->second.seen = true;
    return true;
}

std::vector<Targets::Newcomer> Targets::look() {
    std::set<std::string> names;
    std::set<std::string> units;
    for (const auto& target : targets_) {
        if (target.kind == TargetKind::comm) {
            names.insert(target.value);
        } else if (target.kind == TargetKind::unit) {
            units.insert(target.value);
        }
    }
    const auto by_comm = list_by_comm(names);
    const auto by_unit = units_.list(units, units.empty() ? std::vector<std::string>() : cgroup_roots());
    std::vector<Newcomer> newcomers;
    std::set<std::int32_t> met;
    for (const auto& target : targets_) {
        for (const auto pid : find(target, by_comm, by_unit)) {
            if (followed_.contains(pid) || !met.insert(pid).second) { // of two targets that name it, the first has it
                continue;
            }
            const auto identity = read_process_identity(pid);
            if (identity && !identity->ended && !is_refused(pid, identity->start_ticks)) {
                newcomers.push_back({pid, identity->start_ticks, target.name, target.follow});
            }
        }
    }
    for (auto at = refused_.begin(); at != refused_.end();) {
        at = std::exchange(at->second.seen, false) ? std::next(at) : refused_.erase(at);
    }
    return newcomers;
}

void Targets::took(const Newcomer& newcomer) {
    followed_[newcomer.pid] = newcomer.target;
}

void Targets::refused(const Newcomer& newcomer) {
    refused_[newcomer.pid] = {newcomer.start_ticks, program_of(newcomer.pid), false};
}

void Targets::joined(std::int32_t pid) {
    const auto identity = read_process_identity(pid);
    followed_[pid] = identity ? name_of(identity->parent) : "";
}

std::vector<std::int32_t> Targets::change(std::vector<TargetConfig> targets) {
    std::set<std::string> kept;
    for (const auto& target : targets) {
        if (std::find(targets_.begin(), targets_.end(), target) != targets_.end()) {
            kept.insert(target.name);
        }
    }
    targets_ = std::move(targets);
    refused_.clear();
    auto before = std::exchange(followed_, {});
    for (const auto& newcomer : look()) { // who is wanted still, perhaps by another target
        if (before.erase(newcomer.pid) != 0) {
            followed_[newcomer.pid] = newcomer.target;
        }
    }
    std::vector<std::int32_t> let_go;
    for (const auto& [pid, target] : before) {
        followed_[pid] = target;
        if (!kept.contains(target) && !target.empty()) {
            let_go.push_back(pid);
        }
    }
    return let_go;
}

std::string Targets::name_of(std::int32_t pid) const {
    const auto found = followed_.find(pid);
    return found != followed_.end() ? found->second : "";
}

} // namespace memtrace
