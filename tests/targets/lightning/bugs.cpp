#include "bugs.hpp"

#include <span>
#include <sstream>

namespace lightning {
namespace {

#define LIGHTNING_LEAK(id, name, function, what) BugInfo{Bug::id, name, #function, what, &function},
#define LIGHTNING_MISUSE(id, name, function, what) BugInfo{Bug::id, name, #function, what, nullptr},
constexpr std::array<BugInfo, kBugCount> kBugs = {LIGHTNING_LEAKS(LIGHTNING_LEAK) LIGHTNING_MISUSES(LIGHTNING_MISUSE)};
#undef LIGHTNING_LEAK
#undef LIGHTNING_MISUSE
constexpr std::span<const BugInfo> kLeaks = std::span(kBugs).first<kLeakCount>();

} // namespace

const BugInfo& info(Bug bug) {
    return kBugs[static_cast<std::size_t>(bug)];
}

std::optional<Bug> find_bug(std::string_view name) {
    for (const auto& row : kBugs) {
        if (name == row.name) {
            return row.bug;
        }
    }
    return std::nullopt;
}

std::string bug_names() {
    std::string names;
    for (const auto& row : kBugs) {
        names += names.empty() ? "" : ", ";
        names += row.name;
    }
    return names;
}

void BugBoard::allocated(Bug bug, std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    accounts_[index(bug)].live.add(bytes);
}

void BugBoard::freed(Bug bug, std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    accounts_[index(bug)].live.take(bytes);
}

void BugBoard::lost(Bug bug, std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    accounts_[index(bug)].lost.add(bytes);
}

void BugBoard::found(Bug bug, std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    accounts_[index(bug)].lost.take(bytes);
}

std::string BugBoard::truth() const {
    std::array<Account, kLeakCount> accounts;
    {
        const std::lock_guard lock(mutex_);
        accounts = accounts_;
    }
    std::ostringstream out;
    Tally total;
    for (const auto& row : kLeaks) {
        const auto& lost = accounts[index(row.bug)].lost;
        out << "leak " << row.name << ' ' << row.function << ' ' << lost.bytes << ' ' << lost.count << '\n';
        total.bytes += lost.bytes;
        total.count += lost.count;
    }
    out << "leaks-total " << total.bytes << ' ' << total.count << '\n';
    for (const auto& row : kLeaks) {
        const auto& live = accounts[index(row.bug)].live;
        out << "live " << row.name << ' ' << row.function << ' ' << live.bytes << ' ' << live.count << '\n';
    }
    return out.str();
}

std::string BugBoard::list() const {
    std::ostringstream out;
    for (const auto& row : kBugs) {
        out << "bug " << row.name << (on(row.bug) ? " on " : " off ") << row.function << ' ' << row.what << '\n';
    }
    return out.str();
}

} // namespace lightning
