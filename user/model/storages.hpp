// Memory that belongs to containers, as a program tells of it (StorageTold): what lies in it is held by whoever holds the container.
//
//     object [ vector ]          holder: the vector's address, which lies in the object
//                 +-----> [ handle handle handle ]     storage
//
// Passive, no I/O; one thread owns it. What is not known here is nobody's: a handle in it counts as held from outside.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "model/contract_events.hpp"

namespace memtrace {

class StorageTable {
public:
    struct Storage {
        std::uint64_t start = 0;
        std::uint64_t end = 0;
        std::uint64_t holder = 0; ///< address of the container
    };

    /// Bounds on memory: about 200 bytes a storage; and on work, as those of a holder move together.
    struct Limits {
        std::size_t storages = std::size_t{1} << 20;
        std::size_t of_holder = 64;
    };

    StorageTable() = default;
    explicit StorageTable(const Limits& limits) : limits_(limits) {}

    void on(const StorageTold& event);
    /// What lay from `start` to `end` has ended: another container may come to lie there.
    void forget_holders(std::uint64_t start, std::uint64_t end);
    /// Something was not told.
    void clear();

    /// The one around `address`; nullptr where there is none. Valid until the next change.
    [[nodiscard]] const Storage* around(std::uint64_t address) const;
    [[nodiscard]] std::size_t size() const { return by_start_.size(); }
    /// Not kept, for want of room.
    [[nodiscard]] std::uint64_t refused() const { return refused_; }

private:
    using Starts = std::map<std::uint64_t, Storage>;
    using Holders = std::map<std::uint64_t, std::vector<std::uint64_t>>;

    void acquire(const StorageTold& event);
    void move(std::uint64_t from, std::uint64_t to);
    Starts::iterator erase(Starts::iterator storage);
    void erase_overlapping(std::uint64_t start, std::uint64_t end);
    void forget(Holders::iterator first, Holders::iterator last);

    Limits limits_;
    Starts by_start_;
    Holders of_holder_; ///< starts of its storages
    std::uint64_t refused_ = 0;
};

} // namespace memtrace
