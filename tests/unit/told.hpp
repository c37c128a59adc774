// A program that tells of its objects and references, for the tests of what is made of that. Addresses are small numbers, time passes by
// a microsecond an event.
#pragma once

#include <cstdint>
#include <string>

#include "model/references.hpp"

namespace memtrace::test {

constexpr std::uint64_t kSecondNs = 1'000'000'000;

class Telling {
public:
    explicit Telling(const ReferenceLedger::Limits& limits = {}) : ledger(limits) {}

    /// Who tells next, and from which stack.
    Telling& by(std::int32_t tid, std::uint32_t stack = 0) {
        tid_ = tid;
        stack_ = {stack};
        return *this;
    }
    void create(std::uint64_t object, std::uint64_t bytes = 64, const std::string& type = "Node") {
        ledger.on(ObjectTold{origin(), ObjectAction::created, object, bytes, type, 0, 0});
    }
    void announce(std::uint64_t object, std::uint64_t strong, std::uint64_t weak = 0) {
        ledger.on(ObjectTold{origin(), ObjectAction::alive, object, 64, "Node", strong, weak});
    }
    void destroy(std::uint64_t object) { ledger.on(ObjectTold{origin(), ObjectAction::destroyed, object, 0, "", 0, 0}); }
    void acquire(std::uint64_t object, std::uint64_t handle, std::uint64_t count, bool strong = true) {
        ledger.on(ReferenceTold{origin(), ReferenceAction::acquired, object, handle, 0, strong, count});
    }
    void release(std::uint64_t object, std::uint64_t handle, std::uint64_t count, bool strong = true) {
        ledger.on(ReferenceTold{origin(), ReferenceAction::released, object, handle, 0, strong, count});
    }
    void move(std::uint64_t object, std::uint64_t from, std::uint64_t to, bool strong = true) {
        ledger.on(ReferenceTold{origin(), ReferenceAction::moved, object, to, from, strong, 0});
    }
    void place(std::uint64_t handle, HandlePlace place, std::uint64_t owner = 0) {
        ledger.on(HandlePlaced{{1}, handle, place, owner});
    }
    void give_storage(std::uint64_t memory, std::uint64_t bytes, std::uint64_t holder) {
        ledger.on(StorageTold{origin(), StorageAction::acquired, memory, bytes, holder, 0});
    }
    void take_storage(std::uint64_t memory) { ledger.on(StorageTold{origin(), StorageAction::released, memory, 0, 0, 0}); }
    void move_storage(std::uint64_t from, std::uint64_t to) {
        ledger.on(StorageTold{origin(), StorageAction::moved, 0, 0, to, from});
    }
    void pass(std::uint64_t seconds) {
        now_ += seconds * kSecondNs;
        ledger.settle(now_);
    }
    /// "double_release lost_release(?)": what was found, uncertain things with a question mark.
    [[nodiscard]] std::string found() const {
        std::string names;
        for (const auto& error : ledger.errors()) {
            names += (names.empty() ? "" : " ") + std::string(reference_error_name(error.kind));
            names += error.count > 1 ? "*" + std::to_string(error.count) : "";
            names += error.certain ? "" : "(?)";
        }
        return names;
    }
    [[nodiscard]] const TrackedObject& object(std::uint64_t address) const {
        return ledger.objects().at(ledger.object_at(address));
    }
    [[nodiscard]] std::uint64_t now() const { return now_; }

    ReferenceLedger ledger;

private:
    ContractOrigin origin() {
        now_ += 1000;
        return {{1}, now_, tid_, stack_};
    }
    std::uint64_t now_ = 1000 * kSecondNs;
    std::int32_t tid_ = 1;
    StackId stack_;
};

} // namespace memtrace::test
