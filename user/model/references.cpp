#include "model/references.hpp"

#include <algorithm>
#include <map>
#include <utility>

#include "bpf/contract.h"

namespace memtrace {

namespace {

/// At the exit of a process its threads are cut off between doing and telling; what they did longer ago has been told.
constexpr std::uint64_t kExitSettleNs = 50'000'000;
/// Events whose meaning shows later only; more at once are not looked at again.
constexpr std::size_t kMaxPending = std::size_t{1} << 18;
/// Releases too many, likewise. Few, as each acquisition goes through them.
constexpr std::size_t kMaxSurplus = 1024;
/// Words of a destroyed object that are looked at for handles: 64 KiB of it.
constexpr std::uint64_t kMaxInside = 65'536;
/// Bytes of one that is buried early and looked at likewise.
constexpr std::uint64_t kMaxSearched = 4096;
/// Handles of one destroyed object that are told of one by one.
constexpr std::size_t kMaxHeldTold = 16;
/// Lives of one address that wait for what their threads have yet to tell. More at once are of a program that means harm.
constexpr std::size_t kMaxLives = 64;
/// References that may wait at the address of one handle; each is looked at whenever something is told of it.
constexpr std::size_t kMaxAtAddress = 16;
/// Objects within objects, around an address.
constexpr std::size_t kMaxNesting = 64;
/// Places that weak handles are taken at. More share a figure, so that fewer of them are suspected.
constexpr std::size_t kPlaces = 4096;
/// A place that gives back one block for so many that it keeps looks after them: a cache.
constexpr std::uint64_t kKeptForOneBack = 4;
constexpr std::uint64_t kWord = sizeof(std::uint64_t);

/// Counts of 64 and of 32 bits that went below zero.
bool is_below_zero(std::uint64_t count) {
    return count >= std::uint64_t{1} << 63 || (count >= 0xffff'ff00u && count <= 0xffff'ffffu);
}

ToldAt told_at(const ContractOrigin& origin) {
    return {origin.mono_ns, origin.tid, origin.stack};
}

std::uint64_t end_of(const TrackedObject& object) {
    return object.bytes > UINT64_MAX - object.address ? UINT64_MAX : object.address + object.bytes;
}

/// Where handles may lie in it; empty where there is no room for one.
std::pair<std::uint64_t, std::uint64_t> words_of(const TrackedObject& object) {
    const auto end = std::min(end_of(object), object.address + std::min(kMaxInside, UINT64_MAX - object.address));
    if (object.address > UINT64_MAX - 2 * kMaxInside) { // at the very end: no user memory, and sums would wrap around
        return {0, 0};
    }
    return {(object.address + kWord - 1) / kWord * kWord, end};
}

std::size_t place_hash(std::uint32_t type, StackId stack) {
    return ((std::uint64_t{type} << 32 | stack.value) * 0x9e37'79b9'7f4a'7c15ull >> 32) % kPlaces;
}

} // namespace

const char* reference_error_name(ReferenceErrorKind kind) {
    constexpr std::array kNames{"double_release",    "release_without_acquire",
                                "below_zero",        "release_after_destroy",
                                "use_after_destroy", "destroyed_while_held",
                                "lost_release",      "never_destroyed",
                                "count_drift",       "block_kept"};
    return kNames[static_cast<std::size_t>(kind)];
}

// ---- events --------------------------------------------------------------------------------------------------------------------

void ReferenceLedger::keep_sample(std::uint32_t mask) {
    for (std::uint32_t index = 0; index < objects_.size(); ++index) {
        const auto& object = objects_[index];
        if (object.state == TrackedObject::State::live && mt_in_sample(object.address, mask) == 0) {
            storages_.forget_holders(object.address, end_of(object));
            drop_handles(index);
            live_.erase(object.address);
            free_object(index);
        } else if (object.state == TrackedObject::State::kept && mt_in_sample(object.address, mask) == 0) {
            forget_block(index);
        }
    }
}

void ReferenceLedger::on(const ObjectTold& event) {
    now_ns_ = std::max(now_ns_, event.origin.mono_ns);
    if (event.action == ObjectAction::destroyed) {
        on_destroyed(event);
    } else {
        on_created(event);
    }
}

void ReferenceLedger::on_created(const ObjectTold& event) {
    bool announced = event.action == ObjectAction::alive;
    auto unknown = announced ? event.strong : 0;
    if (const auto old = object_at(event.address); old != kNoIndex) {
        const auto& there = objects_[old];
        if (announced && types_[there.type] == event.type && there.bytes == event.bytes) {
            return; // seen to be created, before the program came to announce it
        }
        ++counters_.missed_destroys;
        if (!announced) { // whose handles those of the old one are cannot be told
            announced = true;
            unknown = there.strong_count();
        }
        drop_handles(old);
        live_.erase(event.address);
        free_object(old);
    }
    if (live_.size() >= limits_.objects) {
        ++counters_.objects_refused;
        return;
    }
    const auto index = take_object();
    auto& object = objects_[index];
    object.address = event.address;
    object.bytes = event.bytes;
    object.type = type_of(event.type);
    object.born = told_at(event.origin);
    object.state = TrackedObject::State::live;
    object.announced = announced;
    object.unknown_strong = unknown;
    object.unknown_weak = event.action == ObjectAction::alive ? event.weak : 0;
    object.was_held = event.action == ObjectAction::alive && unknown != 0;
    live_[event.address] = index;
    touch(index, event.origin.mono_ns);
}

void ReferenceLedger::on_destroyed(const ObjectTold& event) {
    const auto index = object_at(event.address);
    if (index == kNoIndex) {
        ++counters_.unknown_objects;
        return;
    }
    auto& object = objects_[index];
    object.destroyed = told_at(event.origin);
    object.state = TrackedObject::State::dying;
    storages_.forget_holders(object.address, end_of(object));
    live_.erase(event.address);
    const auto [grave, first] = graves_.try_emplace(event.address, index);
    if (!first) {
        object.older_grave = std::exchange(grave->second, index);
    }
    if (object.first_handle == kNoIndex && object.lost_weak.released.mono_ns == 0 && !holds_handle_inside(object)) {
        bury(index);
        return;
    }
    if (has_many_lives(object)) {
        bury_given_back(object.older_grave);
    }
    if (has_many_lives(object)) {
        ++counters_.pending_refused;
        drop_handles(index);
        bury(index);
    } else {
        dying_.push_back({index, object.serial, event.origin.mono_ns});
    }
}

/// Of the lives at an address, from `newest` on, those that nobody holds any more: only what lies in them is waited for yet.
void ReferenceLedger::bury_given_back(std::uint32_t newest) {
    std::vector<std::uint32_t> given_back;
    for (auto at = newest; at != kNoIndex; at = objects_[at].older_grave) {
        const auto& object = objects_[at];
        if (object.state == TrackedObject::State::dying && object.first_handle == kNoIndex &&
            object.lost_weak.released.mono_ns == 0) {
            given_back.push_back(at);
        }
    }
    std::reverse(given_back.begin(), given_back.end()); // each takes the place of the older ones
    for (const auto at : given_back) {
        const auto& object = objects_[at];
        counters_.pending_refused += object.bytes > kMaxSearched || holds_handle_inside(object) ? 1 : 0;
        bury(at);
    }
}

void ReferenceLedger::on(const ReferenceTold& event) {
    now_ns_ = std::max(now_ns_, event.origin.mono_ns);
    const auto index = object_at(event.object);
    if (index == kNoIndex) {
        const auto grave = graves_.find(event.object);
        on_grave(event, grave == graves_.end() ? kNoIndex : grave->second);
        return;
    }
    switch (event.action) {
    case ReferenceAction::acquired:
        return on_acquired(event, index);
    case ReferenceAction::released:
        return on_released(event, index);
    case ReferenceAction::moved:
        return on_moved(event, index);
    }
}

void ReferenceLedger::on_acquired(const ReferenceTold& event, std::uint32_t index) {
    touch(index, event.origin.mono_ns);
    note_told(objects_[index], event);
    if (event.strong) {
        objects_[index].was_held = true;
    }
    if (cancels_surplus(event, index)) {
        return;
    }
    const auto by = told_at(event.origin);
    mark_overwritten(event.handle, index, by);
    const auto handle = find_handle(event.handle, index, event.strong);
    if (handle == kNoIndex) {
        add_handle(event.handle, index, event.strong, by);
        return;
    }
    overwrite(handle, by); // with the same: what assigns an object to itself takes first and gives back then
    auto& held = handles_[handle];
    ++held.held;
    held.acquired = by;
    (event.strong ? objects_[index].strong : objects_[index].weak) += 1;
}

void ReferenceLedger::on_released(const ReferenceTold& event, std::uint32_t index) {
    const auto handle = find_handle(event.handle, index, event.strong);
    // Another thread's, told after the object was destroyed and the next one created in its place? Or a weak one that goes from an object to
    // the next one in its place: what assigns it takes first and gives back then.
    if (handle == kNoIndex || !event.strong) {
        const auto old = find_dying_handle(event.handle, event.object, event.strong);
        if (old != kNoIndex && (handle == kNoIndex || handles_[old].overwritten_ns != 0)) {
            give_back(old, told_at(event.origin));
            return;
        }
    }
    touch(index, event.origin.mono_ns);
    note_told(objects_[index], event);
    auto& object = objects_[index];
    if (handle != kNoIndex) {
        if (event.strong && is_below_zero(event.count) && !object.faulted) {
            auto error = error_of(ReferenceErrorKind::below_zero, object);
            error.handle = event.handle;
            error.acquired = handles_[handle].acquired;
            error.released = told_at(event.origin);
            record(error);
            object.faulted = true;
        }
        give_back(handle, told_at(event.origin));
    } else if (!event.strong) {
        // A weak reference often outlives its object, and the next object may live at the same address: no error can be told from that.
        if (object.unknown_weak != 0) {
            --object.unknown_weak;
        } else {
            ++counters_.unmatched_weak;
        }
    } else {
        add_surplus(event, index);
    }
}

void ReferenceLedger::on_moved(const ReferenceTold& event, std::uint32_t index) {
    auto handle = find_handle(event.from, index, event.strong);
    if (handle == kNoIndex) {
        handle = find_dying_handle(event.from, event.object, event.strong);
    } else {
        touch(index, event.origin.mono_ns);
    }
    if (handle != kNoIndex) {
        move_handle(handle, event);
        return;
    }
    auto& unknown = event.strong ? objects_[index].unknown_strong : objects_[index].unknown_weak;
    if (unknown == 0) {
        ++(event.strong ? counters_.unmatched_moves : counters_.unmatched_weak);
        return;
    }
    --unknown;
    touch(index, event.origin.mono_ns);
    mark_overwritten(event.handle, index, told_at(event.origin));
    const auto there = find_handle(event.handle, index, event.strong);
    if (there == kNoIndex) {
        add_handle(event.handle, index, event.strong, told_at(event.origin));
        return;
    }
    overwrite(there, told_at(event.origin));
    ++handles_[there].held;
    ++(event.strong ? objects_[index].strong : objects_[index].weak);
}

/// What is told of an object that has been destroyed; of one that nobody remembers, where `grave` is none.
void ReferenceLedger::on_grave(const ReferenceTold& event, std::uint32_t grave) {
    if (event.action != ReferenceAction::acquired) {
        const auto from = event.action == ReferenceAction::moved ? event.from : event.handle;
        const auto handle = find_dying_handle(from, event.object, event.strong);
        if (handle != kNoIndex && event.action == ReferenceAction::moved) {
            move_handle(handle, event);
        } else if (handle != kNoIndex) {
            give_back(handle, told_at(event.origin));
        } else if (grave == kNoIndex) {
            ++counters_.unknown_objects;
        } else if (!event.strong) {
            ++counters_.unmatched_weak;
        } else if (event.action == ReferenceAction::moved) {
            ++counters_.unmatched_moves;
        } else {
            add_surplus(event, grave);
        }
        return;
    }
    if (grave == kNoIndex) {
        ++counters_.unknown_objects;
        return;
    }
    auto& object = objects_[grave];
    if (!event.strong || object.faulted) {
        return; // weak: what has expired may be copied
    }
    auto error = error_of(ReferenceErrorKind::use_after_destroy, object);
    error.handle = event.handle;
    error.acquired = told_at(event.origin);
    error.released = object.destroyed;
    record(error);
    object.faulted = true;
}

void ReferenceLedger::on(const HandlePlaced& event) {
    const auto found = handle_at_.find(event.handle);
    const auto owner = event.place == HandlePlace::object ? object_at(event.owner) : kNoIndex;
    for (auto at = found == handle_at_.end() ? kNoIndex : found->second; at != kNoIndex; at = handles_[at].next_at_address) {
        auto& handle = handles_[at];
        handle.place = event.place == HandlePlace::object && owner == kNoIndex ? HandlePlace::unknown : event.place;
        handle.owner = owner;
        handle.owner_serial = owner == kNoIndex ? 0 : objects_[owner].serial;
    }
}

void ReferenceLedger::on(const StorageTold& event) {
    now_ns_ = std::max(now_ns_, event.origin.mono_ns);
    storages_.on(event);
}

void ReferenceLedger::lost(std::uint64_t from_ns) {
    storages_.clear();
    loss_.open();
    for (auto& pending : surplus_) {
        pending.error.certain = false;
    }
    for (auto& error : errors_) {
        error.certain = error.certain && error.found_ns <= from_ns;
    }
}

// ---- releases too many ---------------------------------------------------------------------------------------------------------

/// A release by a handle that holds nothing: an error, unless the acquisition is yet to come.
void ReferenceLedger::add_surplus(const ReferenceTold& event, std::uint32_t index) {
    auto& object = objects_[index];
    const auto* before = std::find_if(object.released.begin(), object.released.end(), [&](const PastReference& past) {
        return past.handle == event.handle && past.released.mono_ns != 0;
    });
    auto kind = ReferenceErrorKind::double_release;
    if (before == object.released.end()) {
        if (object.announced && object.unknown_strong != 0) {
            --object.unknown_strong;
            return;
        }
        kind = is_below_zero(event.count)                   ? ReferenceErrorKind::below_zero
               : object.state != TrackedObject::State::live ? ReferenceErrorKind::release_after_destroy
                                                            : ReferenceErrorKind::release_without_acquire;
        if (object.faulted || (object.announced && kind != ReferenceErrorKind::below_zero)) {
            return;
        }
    }
    if (surplus_.size() >= kMaxSurplus) {
        ++counters_.pending_refused;
        return;
    }
    auto error = error_of(kind, object);
    error.handle = event.handle;
    error.released = told_at(event.origin);
    if (before != object.released.end()) {
        error.acquired = before->acquired;
        error.before = before->released;
    } else {
        error.acquired = object.born;
        error.before = object.destroyed;
    }
    error.found_ns = event.origin.mono_ns;
    object.faulted = true;
    surplus_.push_back({index, object.serial, error});
}

/// Whether the reference that `event` tells of was given back already.
bool ReferenceLedger::cancels_surplus(const ReferenceTold& event, std::uint32_t index) {
    const auto found = std::find_if(surplus_.begin(), surplus_.end(), [&](const Surplus& pending) {
        return pending.object == index && pending.serial == objects_[index].serial && pending.error.handle == event.handle &&
               pending.error.released.tid != event.origin.tid && event.strong;
    });
    if (found == surplus_.end()) {
        return false;
    }
    surplus_.erase(found);
    objects_[index].faulted = false;
    return true;
}

void ReferenceLedger::note_told(TrackedObject& object, const ReferenceTold& event) {
    if (!event.strong) {
        return;
    }
    if (!object.told_any) {
        object.told_least = object.told_most = event.count;
        object.told_tid = event.origin.tid;
        object.told_by_one = true;
    }
    object.told_any = true;
    object.told = event.count;
    object.told_least = std::min(object.told_least, event.count);
    object.told_most = std::max(object.told_most, event.count);
    object.told_by_one = object.told_by_one && object.told_tid == event.origin.tid;
}

void ReferenceLedger::touch(std::uint32_t index, std::uint64_t mono_ns) {
    auto& object = objects_[index];
    object.last_ns = std::max(object.last_ns, mono_ns);
    if (object.quiet) {
        object.quiet = false;
        object.told_any = false;
        active_.push_back({index, object.serial, object.last_ns});
    }
}

// ---- what has lasted -----------------------------------------------------------------------------------------------------------

void ReferenceLedger::settle(std::uint64_t now_ns) {
    now_ns_ = std::max(now_ns_, now_ns);
    loss_.settle(now_ns);
    if (now_ns_ > kSettleNs) {
        settle_before(now_ns_ - kSettleNs);
    }
}

void ReferenceLedger::end() {
    if (now_ns_ > kExitSettleNs) {
        settle_before(now_ns_ - kExitSettleNs);
    }
}

/// Releases come first: what they explain is no error of its own.
void ReferenceLedger::settle_before(std::uint64_t until_ns) {
    for (; !surplus_.empty() && surplus_.front().error.found_ns <= until_ns; surplus_.pop_front()) {
        const auto& pending = surplus_.front();
        if (auto& object = objects_[pending.object]; object.serial == pending.serial) {
            ++object.surplus;
        }
        record(pending.error);
    }
    for (; !overwritten_.empty() && overwritten_.front().by.mono_ns <= until_ns; overwritten_.pop_front()) {
        const auto& pending = overwritten_.front();
        const auto& handle = handles_[pending.handle];
        if (handle.object == pending.object && handle.overwritten_ns == pending.by.mono_ns) {
            lose_reference(pending.handle, pending.acquired, pending.by);
        }
    }
    for (; !dying_.empty() && dying_.front().since_ns <= until_ns; dying_.pop_front()) {
        const auto& entry = dying_.front();
        if (const auto& object = objects_[entry.object];
            object.serial == entry.serial && object.state == TrackedObject::State::dying) {
            judge_dying(entry.object);
        }
    }
    while (!active_.empty() && active_.front().since_ns <= until_ns) {
        auto next = active_.front();
        active_.pop_front();
        auto& object = objects_[next.object];
        if (object.serial != next.serial || object.state != TrackedObject::State::live) {
            continue;
        }
        if (object.last_ns <= until_ns) {
            judge_quiet(object);
        } else {
            next.since_ns = object.last_ns;
            active_.push_back(next);
        }
    }
}

void ReferenceLedger::judge_quiet(TrackedObject& object) {
    object.quiet = true;
    if (!object.told_any) {
        return;
    }
    const auto known = object.strong + object.lost_strong;
    if (object.announced) { // counts were told while others changed them: the newest one is right
        if (object.told_by_one) {
            object.unknown_strong = object.told > known && !is_below_zero(object.told) ? object.told - known : 0;
        }
        return;
    }
    const auto least = object.told_by_one ? object.told : object.told_least;
    const auto most = object.told_by_one ? object.told : object.told_most;
    object.drifted = known < least || known > most;
}

void ReferenceLedger::judge_dying(std::uint32_t index) {
    auto& object = objects_[index];
    std::uint64_t excused = object.surplus; // was destroyed too early because something else was given back twice
    std::size_t told = 0;
    for (auto at = object.first_handle; at != kNoIndex; at = handles_[at].next_of_object) {
        const auto& handle = handles_[at];
        if (!handle.strong) {
            continue;
        }
        if (excused != 0) {
            --excused;
            continue;
        }
        if (told++ < kMaxHeldTold) {
            auto error = error_of(ReferenceErrorKind::destroyed_while_held, object);
            error.handle = handle.address;
            error.acquired = handle.acquired;
            error.released = object.destroyed;
            record(error);
        }
    }
    object.faulted = object.faulted || told != 0;
    for (auto at = object.first_handle; at != kNoIndex;) {
        const auto next = handles_[at].next_of_object;
        if (handles_[at].strong) {
            remove_handle(at);
        }
        at = next;
    }
    lose_handles_inside(object);
    const bool lost = object.lost_weak.released.mono_ns != 0;
    if (lost && !object.faulted) {
        record_block(object, object.lost_weak);
    }
    if (!lost && object.first_handle != kNoIndex && live_.size() + kept_ < limits_.objects) {
        keep_block(index);
        return;
    }
    counters_.pending_refused += !lost && object.first_handle != kNoIndex ? 1 : 0;
    drop_handles(index);
    bury(index);
}

/// Weak handles outlive the object, and keep its control block. They keep the entry; what is known of the address goes to one of its own, as
/// other objects may come to live and die there meanwhile.
void ReferenceLedger::keep_block(std::uint32_t index) {
    const auto grave = take_object();
    const auto serial = objects_[grave].serial;
    auto& object = objects_[index];
    auto& buried = objects_[grave] = object;
    buried.serial = serial;
    buried.first_handle = kNoIndex;
    buried.strong = buried.weak = 0;
    auto* link = &graves_.find(object.address)->second;
    while (*link != index) {
        link = &objects_[*link].older_grave;
    }
    *link = grave;
    object.older_grave = kNoIndex;
    object.state = TrackedObject::State::kept;
    ++kept_;
    bury(grave);
}

void ReferenceLedger::forget_block(std::uint32_t index) {
    drop_handles(index);
    free_object(index);
    --kept_;
}

void ReferenceLedger::record_block(const TrackedObject& object, const PastReference& lost) {
    auto error = error_of(ReferenceErrorKind::block_kept, object);
    error.handle = lost.handle;
    error.acquired = lost.acquired;
    error.released = lost.released;
    error.before = object.destroyed;
    record(error);
}

std::uint32_t& ReferenceLedger::late_returns(std::uint32_t type, StackId stack) {
    late_returns_.resize(kPlaces);
    return late_returns_[place_hash(type, stack)];
}

bool ReferenceLedger::holds_handle_inside(const TrackedObject& owner) const {
    const auto [first, end] = words_of(owner);
    for (auto at = first; at < end; at += kWord) {
        const auto found = handle_at_.find(at);
        for (auto next = found == handle_at_.end() ? kNoIndex : found->second; next != kNoIndex;
             next = handles_[next].next_at_address) {
            if (handles_[next].acquired.mono_ns <= owner.destroyed.mono_ns) { // later: the next object's
                return true;
            }
        }
    }
    return false;
}

/// The handles that lay in `owner` are gone with it.
void ReferenceLedger::lose_handles_inside(const TrackedObject& destroyed) {
    const auto owner = destroyed; // a copy: entries may move
    const auto [first, end] = words_of(owner);
    for (auto at = first; at < end; at += kWord) {
        const auto found = handle_at_.find(at);
        for (auto next = found == handle_at_.end() ? kNoIndex : found->second; next != kNoIndex;) {
            const auto handle = next;
            next = handles_[handle].next_at_address;
            // Taken later: of the next object at that address. A strong one of what is being destroyed itself: judged there.
            if (handles_[handle].acquired.mono_ns <= owner.destroyed.mono_ns &&
                (!handles_[handle].strong || objects_[handles_[handle].object].state == TrackedObject::State::live)) {
                lose_reference(handle, handles_[handle].acquired, owner.destroyed);
            }
        }
    }
}

/// Nobody will give that reference back any more: the object keeps it for good.
void ReferenceLedger::lose_reference(std::uint32_t index, const ToldAt& acquired, const ToldAt& by) {
    auto& handle = handles_[index];
    handle.overwritten_ns = 0;
    auto& object = objects_[handle.object];
    if (!handle.strong) { // its block stays: nobody misses that before the object is gone
        ++counters_.lost_weak;
        const PastReference lost{handle.address, acquired, by};
        if (object.state == TrackedObject::State::kept) {
            if (!object.faulted) {
                record_block(object, lost);
            }
            forget_block(handle.object);
            return;
        }
        if (object.lost_weak.released.mono_ns == 0) {
            object.lost_weak = lost;
        }
        if (handle.held > 1) {
            --handle.held;
            --object.weak;
        } else {
            remove_handle(index);
        }
        return;
    }
    if (!object.faulted && object.state == TrackedObject::State::live) {
        auto error = error_of(ReferenceErrorKind::lost_release, object);
        error.handle = handle.address;
        error.acquired = acquired;
        error.released = by;
        record(error);
    }
    ++object.lost_strong;
    if (handle.held > 1) {
        --handle.held;
        --object.strong;
    } else {
        remove_handle(index);
    }
}

// ---- entries -------------------------------------------------------------------------------------------------------------------

std::uint32_t ReferenceLedger::object_at(std::uint64_t address) const {
    const auto found = live_.find(address);
    return found == live_.end() ? kNoIndex : found->second;
}

std::uint32_t ReferenceLedger::take_object() {
    ++serials_;
    if (free_objects_.empty()) {
        objects_.emplace_back();
        objects_.back().serial = serials_;
        return static_cast<std::uint32_t>(objects_.size() - 1);
    }
    const auto index = free_objects_.back();
    free_objects_.pop_back();
    objects_[index] = {};
    objects_[index].serial = serials_;
    return index;
}

void ReferenceLedger::free_object(std::uint32_t index) {
    objects_[index].state = TrackedObject::State::free;
    objects_[index].serial = 0;
    free_objects_.push_back(index);
}

/// Only the newest of the buried ones at an address is kept: older ones cannot be told from it by their address.
void ReferenceLedger::bury(std::uint32_t index) {
    objects_[index].state = TrackedObject::State::grave;
    auto* link = &objects_[index].older_grave;
    while (*link != kNoIndex) {
        const auto older = *link;
        if (objects_[older].state == TrackedObject::State::grave) {
            *link = objects_[older].older_grave;
            free_object(older);
        } else {
            link = &objects_[older].older_grave;
        }
    }
    buried_.push_back({index, objects_[index].serial, 0});
    while (buried_.size() > limits_.graves) {
        const auto oldest = buried_.front();
        buried_.pop_front();
        if (objects_[oldest.object].serial == oldest.serial) {
            unlink_grave(oldest.object);
            free_object(oldest.object);
        }
    }
}

void ReferenceLedger::unlink_grave(std::uint32_t index) {
    const auto newest = graves_.find(objects_[index].address);
    if (newest->second == index) {
        if (objects_[index].older_grave == kNoIndex) {
            graves_.erase(newest);
        } else {
            newest->second = objects_[index].older_grave;
        }
        return;
    }
    auto at = newest->second;
    while (objects_[at].older_grave != index) {
        at = objects_[at].older_grave;
    }
    objects_[at].older_grave = objects_[index].older_grave;
}

std::uint32_t ReferenceLedger::find_handle(std::uint64_t address, std::uint32_t object, bool strong) const {
    const auto found = handle_at_.find(address);
    for (auto at = found == handle_at_.end() ? kNoIndex : found->second; at != kNoIndex; at = handles_[at].next_at_address) {
        if (handles_[at].object == object && handles_[at].strong == strong) {
            return at;
        }
    }
    return kNoIndex;
}

std::uint32_t ReferenceLedger::find_dying_handle(std::uint64_t address, std::uint64_t object_address, bool strong) const {
    const auto found = handle_at_.find(address);
    for (auto at = found == handle_at_.end() ? kNoIndex : found->second; at != kNoIndex; at = handles_[at].next_at_address) {
        const auto& object = objects_[handles_[at].object];
        if (object.address == object_address && handles_[at].strong == strong &&
            (object.state == TrackedObject::State::dying || object.state == TrackedObject::State::kept)) {
            return at;
        }
    }
    return kNoIndex;
}

bool ReferenceLedger::has_many_lives(const TrackedObject& object) const {
    std::size_t lives = 0;
    for (auto at = object.older_grave; at != kNoIndex && lives < kMaxLives; at = objects_[at].older_grave) {
        ++lives;
    }
    return lives == kMaxLives;
}

bool ReferenceLedger::is_crowded(std::uint64_t address) const {
    const auto found = handle_at_.find(address);
    std::size_t count = 0;
    for (auto at = found == handle_at_.end() ? kNoIndex : found->second; at != kNoIndex; at = handles_[at].next_at_address) {
        ++count;
    }
    return count >= kMaxAtAddress;
}

std::uint32_t ReferenceLedger::add_handle(std::uint64_t address, std::uint32_t index, bool strong, const ToldAt& acquired) {
    auto& object = objects_[index];
    if (live_handles() >= limits_.handles || is_crowded(address)) {
        ++counters_.handles_refused;
        object.announced = true; // from here on as one whose handles are not all known
        ++(strong ? object.unknown_strong : object.unknown_weak);
        return kNoIndex;
    }
    if (free_handles_.empty()) {
        free_handles_.push_back(static_cast<std::uint32_t>(handles_.size()));
        handles_.emplace_back();
    }
    const auto at = free_handles_.back();
    free_handles_.pop_back();
    auto& handle = handles_[at] = {};
    handle.address = address;
    handle.object = index;
    handle.held = 1;
    handle.acquired = acquired;
    handle.strong = strong;
    const auto [first, alone] = handle_at_.try_emplace(address, at);
    if (!alone) {
        handle.next_at_address = std::exchange(first->second, at);
    }
    handle.next_of_object = std::exchange(object.first_handle, at);
    if (handle.next_of_object != kNoIndex) {
        handles_[handle.next_of_object].previous_of_object = at;
    }
    ++(strong ? object.strong : object.weak);
    return at;
}

void ReferenceLedger::remove_handle(std::uint32_t index) {
    auto& handle = handles_[index];
    auto& object = objects_[handle.object];
    (handle.strong ? object.strong : object.weak) -= handle.held;
    if (handle.previous_of_object == kNoIndex) {
        object.first_handle = handle.next_of_object;
    } else {
        handles_[handle.previous_of_object].next_of_object = handle.next_of_object;
    }
    if (handle.next_of_object != kNoIndex) {
        handles_[handle.next_of_object].previous_of_object = handle.previous_of_object;
    }
    const auto first = handle_at_.find(handle.address);
    if (first->second == index && handle.next_at_address == kNoIndex) {
        handle_at_.erase(first);
    } else {
        auto* link = &first->second;
        while (*link != index) {
            link = &handles_[*link].next_at_address;
        }
        *link = handle.next_at_address;
    }
    handle = {};
    free_handles_.push_back(index);
}

void ReferenceLedger::drop_handles(std::uint32_t object) {
    while (objects_[object].first_handle != kNoIndex) {
        remove_handle(objects_[object].first_handle);
    }
}

void ReferenceLedger::give_back(std::uint32_t index, const ToldAt& by) {
    auto& handle = handles_[index];
    auto& object = objects_[handle.object];
    if (handle.strong) {
        object.released[object.releases++ % object.released.size()] = {handle.address, handle.acquired, by};
    } else if (object.state == TrackedObject::State::kept) {
        ++late_returns(object.type, handle.acquired.stack);
    }
    handle.overwritten_ns = 0;
    if (handle.held > 1) {
        --handle.held;
        --(handle.strong ? object.strong : object.weak);
        return;
    }
    const auto entry = handle.object;
    remove_handle(index);
    if (object.state == TrackedObject::State::kept && object.first_handle == kNoIndex) {
        forget_block(entry);
    }
}

/// It keeps where the reference was taken: that says more than where it was passed on.
void ReferenceLedger::move_handle(std::uint32_t index, const ReferenceTold& event) {
    if (event.handle == event.from) {
        return;
    }
    const auto moved = handles_[index];
    mark_overwritten(event.handle, moved.object, told_at(event.origin));
    if (moved.held > 1) {
        --handles_[index].held;
        --(moved.strong ? objects_[moved.object].strong : objects_[moved.object].weak);
        handles_[index].overwritten_ns = 0;
    } else {
        remove_handle(index);
    }
    const auto there = find_handle(event.handle, moved.object, moved.strong);
    if (there == kNoIndex) {
        const auto added = add_handle(event.handle, moved.object, moved.strong, moved.acquired);
        const auto& object = objects_[moved.object];
        if (added == kNoIndex && object.state == TrackedObject::State::kept && object.first_handle == kNoIndex) {
            forget_block(moved.object);
        }
        return;
    }
    overwrite(there, told_at(event.origin));
    ++handles_[there].held;
    ++(moved.strong ? objects_[moved.object].strong : objects_[moved.object].weak);
}

/// `handle` is written while it holds something: an error, unless that is given back in a moment.
void ReferenceLedger::overwrite(std::uint32_t index, const ToldAt& by) {
    if (overwritten_.size() >= kMaxPending) {
        ++counters_.pending_refused;
        return;
    }
    auto& handle = handles_[index];
    handle.overwritten_ns = by.mono_ns;
    overwritten_.push_back({index, handle.object, handle.acquired, by});
}

void ReferenceLedger::mark_overwritten(std::uint64_t address, std::uint32_t but_object, const ToldAt& by) {
    const auto found = handle_at_.find(address);
    for (auto at = found == handle_at_.end() ? kNoIndex : found->second; at != kNoIndex; at = handles_[at].next_at_address) {
        if (handles_[at].object != but_object && handles_[at].overwritten_ns == 0) {
            overwrite(at, by);
        }
    }
}

// ---- errors --------------------------------------------------------------------------------------------------------------------

std::uint32_t ReferenceLedger::type_of(const std::string& name) {
    if (name.empty()) {
        return 0;
    }
    if (const auto found = type_ids_.find(name); found != type_ids_.end()) {
        return found->second;
    }
    if (types_.size() >= limits_.types) {
        return 0;
    }
    types_.push_back(name);
    return type_ids_[name] = static_cast<std::uint32_t>(types_.size() - 1);
}

ReferenceError ReferenceLedger::error_of(ReferenceErrorKind kind, const TrackedObject& object) const {
    ReferenceError error;
    error.kind = kind;
    error.object = object.address;
    error.bytes = object.bytes;
    error.type = object.type;
    error.found_ns = now_ns_;
    error.certain = certain(object);
    return error;
}

void ReferenceLedger::merge(std::vector<ReferenceError>& errors, std::unordered_multimap<std::uint64_t, std::size_t>& ids,
                            ReferenceError error, std::uint64_t& refused) const {
    const auto mix = [](std::uint64_t hash, std::uint64_t value) { return (hash ^ value) * 0x9e37'79b9'7f4a'7c15ull; };
    auto hash = mix(static_cast<std::uint64_t>(error.kind) * 2 + (error.certain ? 1 : 0), error.type);
    hash = mix(mix(hash, error.acquired.stack.value), error.released.stack.value);
    const auto [first, last] = ids.equal_range(hash);
    for (auto at = first; at != last; ++at) {
        auto& same = errors[at->second];
        if (same.kind == error.kind && same.type == error.type && same.acquired.stack == error.acquired.stack &&
            same.released.stack == error.released.stack && same.certain == error.certain && same.piles_up == error.piles_up) {
            same.count += error.count;
            return;
        }
    }
    if (errors.size() >= limits_.errors) {
        refused += error.count;
        return;
    }
    ids.emplace(hash, errors.size());
    errors.push_back(error);
}

void ReferenceLedger::record(ReferenceError error) {
    error.found_ns = now_ns_;
    merge(errors_, error_ids_, error, counters_.errors_refused);
}

std::vector<ReferenceError> ReferenceLedger::errors() const {
    auto errors = errors_;
    std::unordered_multimap<std::uint64_t, std::size_t> ids;
    std::uint64_t refused = 0;
    for (const auto& object : objects_) {
        if (object.state != TrackedObject::State::live || object.faulted || !object.quiet) {
            continue;
        }
        if (object.strong_count() == 0 && object.was_held && object.told == 0 && object.last_ns + kUnheldNs <= now_ns_) {
            auto error = error_of(ReferenceErrorKind::never_destroyed, object);
            error.acquired = object.born;
            if (object.releases != 0) {
                error.released = object.released[(object.releases - 1) % object.released.size()].released;
            }
            merge(errors, ids, error, refused);
        } else if (object.drifted) {
            auto error = error_of(ReferenceErrorKind::count_drift, object);
            error.acquired = object.born;
            error.told = object.told;
            error.known = object.strong + object.lost_strong;
            merge(errors, ids, error, refused);
        }
    }
    add_piles(errors, ids, refused);
    return errors;
}

/// Weak handles that are just not given back: a cache keeps some as well. Suspected is a place that keeps many, went on taking them in the younger
/// half of the time, and gave back few for those: a cache gives back what it replaces, or is full some day.
void ReferenceLedger::add_piles(std::vector<ReferenceError>& errors, std::unordered_multimap<std::uint64_t, std::size_t>& ids,
                                std::uint64_t& refused) const {
    struct Pile {
        std::vector<std::uint64_t> since_ns;
        const TrackedObject* oldest = nullptr;
    };
    std::map<std::pair<std::uint32_t, std::uint32_t>, Pile> piles;
    const auto until_ns = now_ns_ - std::min(now_ns_, kUnheldNs);
    for (const auto& object : objects_) {
        const auto since_ns = object.destroyed.mono_ns;
        if (object.state == TrackedObject::State::kept && !object.faulted && since_ns <= until_ns) {
            auto& pile = piles[{object.type, handles_[object.first_handle].acquired.stack.value}];
            pile.since_ns.push_back(since_ns);
            pile.oldest = pile.oldest != nullptr && pile.oldest->destroyed.mono_ns <= since_ns ? pile.oldest : &object;
        }
    }
    for (const auto& [place, pile] : piles) {
        const auto oldest_ns = pile.oldest->destroyed.mono_ns;
        const auto half_ns = oldest_ns + (until_ns - oldest_ns) / 2;
        const auto newest_ns = *std::max_element(pile.since_ns.begin(), pile.since_ns.end());
        const auto newer = static_cast<std::uint64_t>(
            std::count_if(pile.since_ns.begin(), pile.since_ns.end(), [&](std::uint64_t since) { return since > half_ns; }));
        const auto back = late_returns_.empty() ? 0 : late_returns_[place_hash(place.first, {place.second})];
        if (pile.since_ns.size() < kPile || newest_ns - oldest_ns < kUnheldNs || newer < pile.since_ns.size() / 4 ||
            back * kKeptForOneBack > newer) {
            continue;
        }
        const auto& handle = handles_[pile.oldest->first_handle];
        auto error = error_of(ReferenceErrorKind::block_kept, *pile.oldest);
        error.handle = handle.address;
        error.acquired = handle.acquired;
        error.before = pile.oldest->destroyed;
        error.count = pile.since_ns.size();
        error.piles_up = true;
        merge(errors, ids, error, refused);
    }
}

// ---- addresses -----------------------------------------------------------------------------------------------------------------

ObjectIndex::ObjectIndex(const ReferenceLedger& ledger) {
    ranges_.reserve(ledger.live_objects());
    const auto& objects = ledger.objects();
    for (std::uint32_t i = 0; i < objects.size(); ++i) {
        if (objects[i].state == TrackedObject::State::live) {
            ranges_.push_back({objects[i].address, end_of(objects[i]), i, kNoIndex});
        }
    }
    enclose();
}

ObjectIndex::ObjectIndex(std::vector<Range> ranges) : ranges_(std::move(ranges)) {
    enclose();
}

void ObjectIndex::enclose() {
    std::sort(ranges_.begin(), ranges_.end(),
              [](const Range& a, const Range& b) { return a.start != b.start ? a.start < b.start : a.end > b.end; });
    std::vector<std::uint32_t> open; // those that reach beyond where we are, innermost last
    for (std::uint32_t i = 0; i < ranges_.size(); ++i) {
        while (!open.empty() && ranges_[open.back()].end <= ranges_[i].start) {
            open.pop_back();
        }
        ranges_[i].enclosing = open.empty() ? kNoIndex : open.back();
        open.push_back(i);
    }
}

std::uint32_t ObjectIndex::around(std::uint64_t address) const {
    const auto after =
        std::upper_bound(ranges_.begin(), ranges_.end(), address, [](std::uint64_t a, const Range& r) { return a < r.start; });
    return around_from(static_cast<std::size_t>(after - ranges_.begin()), address);
}

std::uint32_t ObjectIndex::around_from(std::size_t after, std::uint64_t address) const {
    auto at = after == 0 ? kNoIndex : static_cast<std::uint32_t>(after - 1);
    for (std::size_t level = 0; at != kNoIndex && ranges_[at].end <= address; ++level) {
        at = level < kMaxNesting ? ranges_[at].enclosing : kNoIndex;
    }
    return at == kNoIndex ? kNoIndex : ranges_[at].object;
}

std::vector<std::uint64_t> unplaced_handles(const ReferenceLedger& ledger, std::size_t most) {
    std::vector<std::uint64_t> found;
    const ObjectIndex index(ledger);
    for (const auto& handle : ledger.handles()) {
        if (handle.object != kNoIndex && handle.strong && handle.place == HandlePlace::unknown &&
            index.around(handle.address) == kNoIndex) {
            found.push_back(handle.address);
        }
    }
    std::sort(found.begin(), found.end());
    found.erase(std::unique(found.begin(), found.end()), found.end());
    found.resize(std::min(found.size(), most));
    return found;
}

} // namespace memtrace
