#include "model/storages.hpp"

#include <algorithm>
#include <iterator>

namespace memtrace {

void StorageTable::on(const StorageTold& event) {
    switch (event.action) {
    case StorageAction::acquired:
        return acquire(event);
    case StorageAction::released:
        if (const auto there = by_start_.find(event.address); there != by_start_.end()) {
            erase(there);
        }
        return;
    case StorageAction::moved:
        return move(event.from, event.holder);
    }
}

void StorageTable::acquire(const StorageTold& event) {
    if (event.bytes == 0) {
        return;
    }
    const auto end = event.address + std::min(event.bytes, UINT64_MAX - event.address);
    erase_overlapping(event.address, end);
    auto& starts = of_holder_[event.holder];
    if (by_start_.size() >= limits_.storages || starts.size() >= limits_.of_holder) {
        ++refused_;
        if (starts.empty()) {
            of_holder_.erase(event.holder);
        }
        return;
    }
    starts.push_back(event.address);
    by_start_[event.address] = {event.address, end, event.holder};
}

/// What `to` had is nobody's: containers that take over another's memory give theirs back only later, or let the other have it.
void StorageTable::move(std::uint64_t from, std::uint64_t to) {
    if (from == to) {
        return;
    }
    if (const auto there = of_holder_.find(to); there != of_holder_.end()) {
        forget(there, std::next(there));
    }
    auto moved = of_holder_.extract(from);
    if (moved.empty()) {
        return;
    }
    if (to == 0) {
        for (const auto start : moved.mapped()) {
            by_start_.erase(start);
        }
        return;
    }
    for (const auto start : moved.mapped()) {
        by_start_[start].holder = to;
    }
    moved.key() = to;
    of_holder_.insert(std::move(moved));
}

void StorageTable::forget_holders(std::uint64_t start, std::uint64_t end) {
    if (start < end) {
        forget(of_holder_.lower_bound(start), of_holder_.lower_bound(end));
    }
}

void StorageTable::forget(Holders::iterator first, Holders::iterator last) {
    for (auto holder = first; holder != last; ++holder) {
        for (const auto storage : holder->second) {
            by_start_.erase(storage);
        }
    }
    of_holder_.erase(first, last);
}

void StorageTable::clear() {
    by_start_.clear();
    of_holder_.clear();
}

const StorageTable::Storage* StorageTable::around(std::uint64_t address) const {
    const auto after = by_start_.upper_bound(address);
    if (after == by_start_.begin()) {
        return nullptr;
    }
    const auto& storage = std::prev(after)->second;
    return address < storage.end ? &storage : nullptr;
}

StorageTable::Starts::iterator StorageTable::erase(Starts::iterator storage) {
    const auto holder = of_holder_.find(storage->second.holder);
    auto& starts = holder->second;
    starts.erase(std::find(starts.begin(), starts.end(), storage->first));
    if (starts.empty()) {
        of_holder_.erase(holder);
    }
    return by_start_.erase(storage);
}

/// Those whose end was not told of.
void StorageTable::erase_overlapping(std::uint64_t start, std::uint64_t end) {
    auto storage = by_start_.upper_bound(start);
    if (storage != by_start_.begin() && std::prev(storage)->second.end > start) {
        --storage;
    }
    while (storage != by_start_.end() && storage->first < end) {
        storage = erase(storage);
    }
}

} // namespace memtrace
