#include "model/resources.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

namespace memtrace {

namespace {

/// Ids taken again before their release was told. Few, as releases go through them.
constexpr std::size_t kMaxReplaced = 1024;

ToldAt told_at(const ContractOrigin& origin) {
    return {origin.mono_ns, origin.tid, origin.stack};
}

std::uint64_t since(std::uint64_t from_ns, std::uint64_t to_ns) {
    return to_ns > from_ns ? to_ns - from_ns : 0;
}

} // namespace

// ---- durations -----------------------------------------------------------------------------------------------------------------

void DurationHistogram::add(std::uint64_t nanoseconds) {
    const auto value = std::max<std::uint64_t>(nanoseconds, kSteps);
    const auto power = static_cast<std::size_t>(std::bit_width(value)) - 1;
    const auto step = static_cast<std::size_t>(value >> (power - 2)) & (kSteps - 1);
    ++counts_[power * kSteps + step];
    ++count_;
}

std::uint64_t DurationHistogram::quantile(double q) const {
    const auto wanted = static_cast<std::uint64_t>(std::ceil(q * static_cast<double>(count_)));
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < counts_.size() && count_ != 0; ++i) {
        seen += counts_[i];
        if (seen >= wanted && seen != 0) {
            const auto power = i / kSteps;
            const auto upper = (kSteps + i % kSteps + 1) << (power - 2);
            return upper == 0 ? UINT64_MAX : upper;
        }
    }
    return 0;
}

// ---- resources -----------------------------------------------------------------------------------------------------------------

void ResourceTable::on(const ResourceTold& event) {
    now_ns_ = std::max(now_ns_, event.origin.mono_ns);
    const Key key{kind_of(event.kind), event.id};
    if (key.kind == kNoIndex) {
        return;
    }
    switch (event.action) {
    case ResourceAction::acquired:
    case ResourceAction::alive:
        return acquire(event, key);
    case ResourceAction::touched:
        return touch(event, key);
    case ResourceAction::released:
        return release(event, key);
    }
}

void ResourceTable::on(const ResourceKindDefined& event) {
    const auto index = kind_of(event.kind);
    if (index == 0 || index >= kinds_.size()) {
        return; // no room, which is counted
    }
    auto& kind = kinds_[index];
    kind.max_age_ns = event.max_age_ns;
    kind.max_idle_ns = event.max_idle_ns;
    kind.complete = event.complete;
    kind.acquirer_owns = event.acquirer_owns;
}

void ResourceTable::acquire(const ResourceTold& event, Key key) {
    const bool announced = event.action == ResourceAction::alive;
    if (const auto there = held_.find(key); there != held_.end()) {
        if (announced) {
            return; // seen to be acquired, before the program came to announce it
        }
        replace(there->second, event, key);
    }
    if (held_.size() >= limits_.resources) {
        ++counters_.resources_refused;
        return;
    }
    if (free_.empty()) {
        free_.push_back(static_cast<std::uint32_t>(resources_.size()));
        resources_.emplace_back();
    }
    const auto index = free_.back();
    free_.pop_back();
    auto& resource = resources_[index] = {};
    resource.kind = key.kind;
    resource.site = site_of(key.kind, announced ? StackId{} : event.origin.stack);
    resource.held = true;
    resource.announced = announced;
    resource.id = event.id;
    resource.parent = event.parent;
    resource.parent_index = find_parent(event.parent, key.kind);
    resource.bytes = event.bytes;
    resource.name = event.name;
    resource.acquired = told_at(event.origin);
    resource.born_ns = announced ? since(event.age_ns, event.origin.mono_ns) : event.origin.mono_ns;
    resource.used_ns = announced ? since(event.idle_ns, event.origin.mono_ns) : event.origin.mono_ns;
    if (announced) {
        resource.acquired.stack = {}; // the announcer's
    } else if (event.of_kernel) {
        resource.tid = event.origin.tid;
    } else if (kinds_[key.kind].acquirer_owns) {
        own(index, event.origin.tid);
    }
    if (resource.parent_index != kNoIndex) {
        children_[resource.parent_index].insert(index);
    }
    held_[key] = index;
    if (!event.of_kernel) { // nobody's parent
        by_id_.emplace(event.id, index);
    }
    auto& kind = kinds_[key.kind];
    ++kind.live;
    ++kind.acquired;
    kind.bytes += resource.bytes;
    kind.of_kernel = event.of_kernel;
    if (resource.site != kNoIndex) {
        ++sites_[resource.site].held;
        ++sites_[resource.site].acquired;
    }
}

void ResourceTable::replace(std::uint32_t index, const ResourceTold& event, Key key) {
    if (event.of_kernel) { // announced before it was heard that it had been acquired: the same one
        --kinds_[key.kind].acquired;
        if (const auto site = resources_[index].site; site != kNoIndex) {
            --sites_[site].acquired;
        }
    } else {
        replaced_.push_back({key, resources_[index].tid, event.origin.mono_ns});
        if (replaced_.size() > kMaxReplaced) {
            replaced_.pop_front();
            ++counters_.missed_releases;
        }
    }
    remove(index);
}

void ResourceTable::touch(const ResourceTold& event, Key key) {
    kinds_[key.kind].touched = true;
    const auto there = held_.find(key);
    if (there == held_.end()) {
        const auto past = past_.find(key);
        if (past == past_.end() || !kinds_[key.kind].complete) {
            ++counters_.unknown_resources;
        } else if (past->second.released.tid == event.origin.tid ||
                   since(past->second.released.mono_ns, event.origin.mono_ns) >= kSettleNs) {
            add_error(event, key, past->second, false); // otherwise it may have been used before, and told after
        }
        return;
    }
    auto& resource = resources_[there->second];
    resource.longest_idle_ns = std::max(resource.longest_idle_ns, since(resource.used_ns, event.origin.mono_ns));
    resource.used_ns = std::max(resource.used_ns, event.origin.mono_ns);
    own(there->second, event.origin.tid);
}

void ResourceTable::release(const ResourceTold& event, Key key) {
    const auto there = held_.find(key);
    if (there == held_.end() || resources_[there->second].tid != event.origin.tid) {
        if (was_replaced(key, event.origin.tid)) {
            return;
        }
    }
    if (there == held_.end()) {
        if (const auto past = past_.find(key); past != past_.end() && kinds_[key.kind].complete) {
            add_error(event, key, past->second, true);
        } else {
            ++counters_.unknown_resources;
        }
        return;
    }
    const auto index = there->second;
    const auto& resource = resources_[index];
    auto& kind = kinds_[key.kind];
    ++kind.released;
    kind.lifetimes.add(since(resource.born_ns, event.origin.mono_ns));
    kind.idle.add(std::max(resource.longest_idle_ns, since(resource.used_ns, event.origin.mono_ns)));
    // Where the owner is not who gives back (a thread that is joined), that it comes soon after the end says nothing.
    const auto grace = kind.acquirer_owns ? 0 : kSettleNs;
    kind.outlived_thread +=
        resource.thread_ended_ns != 0 && since(resource.thread_ended_ns, event.origin.mono_ns) >= grace ? 1 : 0;
    kind.outlived_parent +=
        resource.parent_gone_ns != 0 && since(resource.parent_gone_ns, event.origin.mono_ns) >= kSettleNs ? 1 : 0;
    kind.handed_over += kind.acquirer_owns && resource.tid != 0 && resource.tid != event.origin.tid ? 1 : 0;
    if (const auto children = children_.find(index); children != children_.end()) {
        for (const auto child : children->second) {
            resources_[child].parent_index = kNoIndex;
            resources_[child].parent_gone_ns = std::max<std::uint64_t>(event.origin.mono_ns, 1);
            resources_[child].parent_released = told_at(event.origin);
        }
        children_.erase(children);
    }
    if (resource.site != kNoIndex) {
        ++sites_[resource.site].released;
    }
    if (!kind.of_kernel) { // which knows better than to release it again
        bury(key, {resource.acquired, told_at(event.origin)});
    }
    remove(index);
}

void ResourceTable::remove(std::uint32_t index) {
    auto& resource = resources_[index];
    disown(index);
    if (resource.parent_index != kNoIndex) {
        children_[resource.parent_index].erase(index);
    }
    if (const auto children = children_.find(index); children != children_.end()) { // replaced: of its end nothing is known
        for (const auto child : children->second) {
            resources_[child].parent_index = kNoIndex;
        }
        children_.erase(children);
    }
    const auto [first, last] = by_id_.equal_range(resource.id);
    if (const auto entry = std::find_if(first, last, [index](const auto& one) { return one.second == index; }); entry != last) {
        by_id_.erase(entry);
    }
    held_.erase({resource.kind, resource.id});
    auto& kind = kinds_[resource.kind];
    --kind.live;
    kind.bytes -= resource.bytes;
    if (resource.site != kNoIndex) {
        --sites_[resource.site].held;
    }
    resource = {};
    free_.push_back(index);
}

void ResourceTable::own(std::uint32_t index, std::int32_t tid) {
    auto& resource = resources_[index];
    if (resource.tid != tid || resource.thread_ended_ns != 0) {
        disown(index);
        resource.tid = tid;
        resource.thread_ended_ns = 0;
        of_thread_[tid].insert(index);
    }
}

void ResourceTable::disown(std::uint32_t index) {
    if (const auto owner = of_thread_.find(resources_[index].tid); owner != of_thread_.end()) {
        owner->second.erase(index);
        if (owner->second.empty()) {
            of_thread_.erase(owner);
        }
    }
}

void ResourceTable::on(const ThreadEnded& event) {
    now_ns_ = std::max(now_ns_, event.mono_ns);
    const auto owner = of_thread_.find(event.tid);
    if (owner == of_thread_.end()) {
        return;
    }
    for (const auto index : owner->second) {
        if (pool_ids_.contains(resources_[index].parent)) {
            continue; // the pool's, whoever used it last
        }
        resources_[index].thread_ended_ns = std::max<std::uint64_t>(event.mono_ns, 1);
    }
    of_thread_.erase(owner);
}

void ResourceTable::bury(Key key, const Past& past) {
    if (past_.insert_or_assign(key, past).second) {
        past_order_.push_back(key);
    }
    while (past_order_.size() > limits_.released) {
        past_.erase(past_order_.front());
        past_order_.pop_front();
    }
}

bool ResourceTable::was_replaced(Key key, std::int32_t tid) {
    const auto found = std::find_if(replaced_.begin(), replaced_.end(),
                                    [&](const Replaced& replaced) { return replaced.key == key && replaced.tid == tid; });
    if (found == replaced_.end()) {
        return false;
    }
    ++kinds_[key.kind].released;
    replaced_.erase(found);
    return true;
}

void ResourceTable::add_error(const ResourceTold& event, Key key, const Past& past, bool double_release) {
    for (auto& error : errors_) {
        if (error.double_release == double_release && error.kind == key.kind && error.used.stack == event.origin.stack &&
            error.released.stack == past.released.stack && error.acquired.stack == past.acquired.stack) {
            ++error.count;
            return;
        }
    }
    if (errors_.size() >= limits_.errors) {
        ++counters_.errors_refused;
        return;
    }
    errors_.push_back({double_release, key.kind, key.id, past.acquired, past.released, told_at(event.origin), 1, now_ns_,
                       loss_.is_before(past.acquired.mono_ns)});
}

std::uint32_t ResourceTable::kind_of(const std::string& name) {
    if (const auto found = kind_ids_.find(name); found != kind_ids_.end()) {
        return found->second;
    }
    if (name.empty()) {
        return 0;
    }
    if (kinds_.size() >= limits_.kinds) {
        ++counters_.kinds_refused;
        return kNoIndex;
    }
    kinds_.emplace_back().name = name;
    return kind_ids_[name] = static_cast<std::uint32_t>(kinds_.size() - 1);
}

std::uint32_t ResourceTable::site_of(std::uint32_t kind, StackId stack) {
    const Key key{kind, stack.value};
    if (const auto found = site_ids_.find(key); found != site_ids_.end()) {
        return found->second;
    }
    if (sites_.size() >= limits_.sites) {
        ++counters_.sites_refused;
        return kNoIndex;
    }
    auto& site = sites_.emplace_back();
    site.kind = kind;
    site.stack = stack;
    return site_ids_[key] = static_cast<std::uint32_t>(sites_.size() - 1);
}

void ResourceTable::tick(std::uint64_t number) {
    for (auto& kind : kinds_) {
        if (kind.live != 0 || !kind.live_history.empty()) {
            kind.live_history.add(number, static_cast<float>(kind.live));
        }
    }
    for (auto& site : sites_) {
        if (site.held != 0 || !site.held_history.empty()) {
            site.held_history.add(number, static_cast<float>(site.held));
        }
    }
}

/// Ids are unique within a kind only. Where several kinds have that one, the parent is not of the child's own; where that does not tell,
/// it is not known.
std::uint32_t ResourceTable::find_parent(std::uint64_t id, std::uint32_t child_kind) const {
    const auto [first, last] = by_id_.equal_range(id);
    if (id == 0 || first == last) {
        return kNoIndex;
    }
    if (std::next(first) == last) {
        return first->second;
    }
    auto found = kNoIndex;
    for (auto at = first; at != last; ++at) {
        if (resources_[at->second].kind != child_kind) {
            if (found != kNoIndex) {
                return kNoIndex;
            }
            found = at->second;
        }
    }
    return found;
}

void ResourceTable::lost(std::uint64_t from_ns) {
    loss_.open();
    for (auto& error : errors_) {
        error.certain = error.certain && error.found_ns <= from_ns;
    }
}

void ResourceTable::settle(std::uint64_t now_ns) {
    now_ns_ = std::max(now_ns_, now_ns);
    loss_.settle(now_ns);
    for (; !replaced_.empty() && since(replaced_.front().since_ns, now_ns_) >= kSettleNs; replaced_.pop_front()) {
        ++counters_.missed_releases;
    }
}

// ---- pools and cleanups --------------------------------------------------------------------------------------------------------

void ResourceTable::on(const PoolTold& event) {
    now_ns_ = std::max(now_ns_, event.origin.mono_ns);
    const auto [entry, fresh] = pool_ids_.try_emplace(event.pool, static_cast<std::uint32_t>(pools_.size()));
    if (fresh && pools_.size() >= limits_.pools) {
        pool_ids_.erase(entry);
        ++counters_.pools_refused;
        return;
    }
    auto& pool = fresh ? pools_.emplace_back() : pools_[entry->second];
    pool.address = event.pool;
    pool.name = event.name;
    pool.limit = event.limit;
    pool.in_use = event.in_use;
    pool.peak = std::max(pool.peak, event.in_use);
    if (event.action == PoolAction::waited) {
        ++pool.waits;
        pool.waited = told_at(event.origin);
        if (pool.starved_since_ns == 0) {
            pool.starved_since_ns = std::max<std::uint64_t>(event.origin.mono_ns, 1);
        }
    } else if (event.action == PoolAction::put || event.limit == 0 || event.in_use < event.limit) {
        pool.starved_since_ns = 0;
    }
}

void ResourceTable::on(const CleanupTold& event) {
    now_ns_ = std::max(now_ns_, event.origin.mono_ns);
    if (!event.ended) {
        cleanups_.push_back({event.level, false, event.bytes, 0, 0, event.origin.mono_ns, 0});
        if (cleanups_.size() > limits_.cleanups) {
            cleanups_.pop_front();
        }
        return;
    }
    for (auto cleanup = cleanups_.rbegin(); cleanup != cleanups_.rend(); ++cleanup) {
        if (!cleanup->ended && cleanup->level == event.level) {
            cleanup->ended = true;
            cleanup->ended_ns = event.origin.mono_ns;
            cleanup->freed_bytes = event.bytes;
            cleanup->released = event.released;
            return;
        }
    }
}

void ResourceTable::reported() {
    for (auto& pool : pools_) {
        pool.waits_at_report = pool.waits;
    }
}

} // namespace memtrace
