// The reference ledger of a process: who holds a reference to which object, as its program tells it (model/contract_events.hpp), and
// what is wrong with that. Passive, no I/O; one thread owns it.
//
//   created/alive       acquired, moved, released               destroyed                 settled
//        |----------------------- live -----------------------------|------- dying ----------|--- grave: address and stacks only
//                        handle -> object, taken where           late releases still count     use after destruction is known here
//                                                                                 |
//                                                                                 '- kept: weak handles hold its block yet
//
// Threads tell what they did a little after doing it, so events of different threads may overtake each other. What holds is this:
//   - the events of one handle come in order, as whoever writes a handle tells of it before somebody else may touch it;
//   - so no acquisition comes after the destruction of its object;
//   - but another thread's release may, and the counts that two threads tell may come in either order.
// Hence an error is one only where it lasts: a handle that is still held, overwritten or released too often counts kSettleNs later, and
// a count is compared once nothing was told of the object for so long: with the last one told where a single thread told of it, else
// with the range of those told (the true one is among them). A tick must come after the events that were told before it.
//
// After a loss nothing is sure of the objects that existed then: what is found of them is marked uncertain.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <string>
#include <unordered_map>
#include <vector>

#include "model/contract_events.hpp"
#include "model/storages.hpp"

namespace memtrace {

inline constexpr std::uint32_t kNoIndex = UINT32_MAX; ///< of an object or a handle: none

/// Where, when and by which thread.
struct ToldAt {
    std::uint64_t mono_ns = 0;
    std::int32_t tid = 0;
    StackId stack;
};

struct TrackedHandle {
    std::uint64_t address = 0;
    std::uint32_t object = kNoIndex; ///< that it refers to; none: the entry is free
    std::uint32_t held = 0;          ///< references that it holds: 1, but for a moment while it is written
    ToldAt acquired;
    std::uint64_t overwritten_ns = 0; ///< another object was put there while it held this one; 0 = no
    std::uint32_t owner = kNoIndex;   ///< HandlePlace::object: the object that leads to it ...
    std::uint32_t owner_serial = 0;   ///< ... in that life of its entry
    HandlePlace place = HandlePlace::unknown;
    bool strong = true;
    std::uint32_t next_at_address = kNoIndex;
    std::uint32_t next_of_object = kNoIndex;
    std::uint32_t previous_of_object = kNoIndex;
};

/// A release that has been seen: what makes a second one of the same handle known for what it is.
struct PastReference {
    std::uint64_t handle = 0;
    ToldAt acquired;
    ToldAt released;
};

struct TrackedObject {
    enum class State : std::uint8_t { free, live, dying, kept, grave };
    std::uint64_t address = 0;
    std::uint64_t bytes = 0;
    std::uint32_t type = 0;   ///< ReferenceLedger::type_name()
    std::uint32_t serial = 0; ///< differs for each object that an entry was used for
    ToldAt born;              ///< created, or announced
    ToldAt destroyed;
    State state = State::free;
    bool announced = false; ///< existed before, or not all of its handles are known: counts are not held against them
    bool faulted = false;   ///< an error was found: what follows from it is none
    bool drifted = false;   ///< as of its last quiet moment, the program counts other than we do
    bool quiet = true;      ///< nothing was told of it for kSettleNs
    bool was_held = false;
    std::uint32_t strong = 0; ///< handles that are known to hold it
    std::uint32_t weak = 0;
    std::uint64_t unknown_strong = 0; ///< announced: held by handles that were never told of
    std::uint64_t unknown_weak = 0;
    std::uint64_t lost_strong = 0; ///< references that nobody can release any more (lost_release)
    std::uint64_t surplus = 0;     ///< strong releases by handles that held nothing
    std::uint64_t last_ns = 0;     ///< something was told of it
    std::uint64_t told = 0;        ///< strong count, the last one told
    std::uint64_t told_least = 0;  ///< of those told since it was last quiet
    std::uint64_t told_most = 0;
    std::int32_t told_tid = 0;
    bool told_by_one = true; ///< all of them by told_tid
    bool told_any = false;
    std::uint32_t first_handle = kNoIndex;
    std::uint32_t older_grave = kNoIndex;  ///< at the same address
    PastReference lost_weak;               ///< the first weak one that nobody can release any more; given back at 0: none
    std::array<PastReference, 2> released; ///< the newest, strong ones only
    std::uint32_t releases = 0;

    [[nodiscard]] std::uint64_t strong_count() const { return strong + unknown_strong + lost_strong; }
    [[nodiscard]] std::uint64_t weak_count() const { return weak + unknown_weak; }
};

enum class ReferenceErrorKind : std::uint8_t {
    double_release,          ///< a handle gave back twice what it held once
    release_without_acquire, ///< ... gave back what it never held
    below_zero,              ///< the program's own count fell below zero
    release_after_destroy,   ///< a reference to an object that is no more was given back
    use_after_destroy,       ///< ... was taken
    destroyed_while_held,    ///< a strong handle still refers to what was destroyed
    lost_release,            ///< a handle was overwritten, or ceased to be with its owner, and did not give back what it held
    never_destroyed,         ///< nobody has held the object for long, and it still exists
    count_drift,             ///< the program counts more or fewer references than were told
    block_kept               ///< weak handles that nobody gives back keep the control block of what was destroyed
};
const char* reference_error_name(ReferenceErrorKind kind);

/// `count` errors of one kind with the same type and stacks; the other figures are those of the first.
struct ReferenceError {
    ReferenceErrorKind kind = ReferenceErrorKind::double_release;
    std::uint64_t object = 0; ///< its address
    std::uint64_t handle = 0; ///< 0: of no single handle
    std::uint64_t bytes = 0;  ///< of the object
    std::uint32_t type = 0;
    ToldAt
        acquired; ///< where the reference was taken; use_after_destroy: again; never_destroyed, count_drift: where the object began
    ToldAt released; ///< where it was given back once too often; or what ended the object or the handle instead
    ToldAt before; ///< double_release: the release before; block_kept: the destruction; stack none where there is nothing to say
    std::uint64_t count = 1;
    std::uint64_t told = 0;  ///< count_drift: what the program says ...
    std::uint64_t known = 0; ///< ... and what was told of
    std::uint64_t found_ns = 0;
    bool certain = true;   ///< false: something was lost, which may explain it
    bool piles_up = false; ///< block_kept: no handle is known to be lost, but a place takes more and more of them
};

/// What the ledger could not keep or make sense of.
struct ReferenceCounters {
    std::uint64_t unknown_objects = 0; ///< events of objects that were never told of: older than the tracing, or not sampled
    std::uint64_t objects_refused = 0; ///< no room
    std::uint64_t handles_refused = 0; ///< no room, at all or at that address: held, but by nobody known
    std::uint64_t errors_refused = 0;  ///< no room
    std::uint64_t missed_destroys = 0; ///< created again where an object still lived
    std::uint64_t unmatched_weak = 0; ///< weak references given back or moved by handles that held none: no error, see on_release
    std::uint64_t unmatched_moves = 0;
    std::uint64_t lost_weak = 0;       ///< weak handles overwritten, or gone with their owner
    std::uint64_t pending_refused = 0; ///< no room to see whether something lasts: an error may be missing
};

/// Until when something may be missing. That a loss is heard of says that it was before, but not when; so it lasts, as far as anybody
/// knows, until the tick after the one that told of it has begun.
class LossMark {
public:
    void open() { ticks_ = 2; }
    /// A tick began at `now_ns`.
    void settle(std::uint64_t now_ns) {
        until_ns_ = ticks_ == 1 ? now_ns : until_ns_;
        ticks_ -= ticks_ != 0 ? 1 : 0;
    }
    /// Nothing was lost since `mono_ns`.
    [[nodiscard]] bool is_before(std::uint64_t mono_ns) const { return ticks_ == 0 && (until_ns_ == 0 || mono_ns > until_ns_); }

private:
    unsigned ticks_ = 0; ///< that are to come
    std::uint64_t until_ns_ = 0;
};

class ReferenceLedger {
public:
    /// How long something must last to be an error: more than a thread waits for a processor between doing and telling.
    static constexpr std::uint64_t kSettleNs = 2'000'000'000;
    /// Of an object that nobody holds. Longer, as programs keep some for reuse.
    static constexpr std::uint64_t kUnheldNs = 10'000'000'000;
    /// Control blocks that one place must keep to be suspected.
    static constexpr std::uint64_t kPile = 32;

    /// Bounds on memory: about 300 bytes an object, 120 a handle, with the tables that find them.
    struct Limits {
        std::size_t objects = std::size_t{1} << 20;
        std::size_t handles = std::size_t{1} << 22;
        std::size_t errors = 1024;    ///< distinct ones
        std::size_t graves = 1 << 16; ///< destroyed objects that are remembered
        std::size_t types = 1 << 14;
    };

    ReferenceLedger() = default;
    explicit ReferenceLedger(const Limits& limits) : limits_(limits) {}

    /// From here on only objects of the sample of that mask are told of (bpf/contract.h, mt_in_sample): forgets the others.
    void keep_sample(std::uint32_t mask);
    void on(const ObjectTold& event);
    void on(const ReferenceTold& event);
    void on(const HandlePlaced& event);
    void on(const StorageTold& event);
    /// Events told after `from_ns` may be missing. What was found since then is uncertain, and what will be of the objects of now.
    void lost(std::uint64_t from_ns);
    /// Everything told before `now_ns` has been applied.
    void settle(std::uint64_t now_ns);
    /// The process has exited: waits no longer than that for what its threads might have told still.
    void end();

    /// By index; entries that are not live among them.
    [[nodiscard]] const std::vector<TrackedObject>& objects() const { return objects_; }
    [[nodiscard]] const std::vector<TrackedHandle>& handles() const { return handles_; }
    [[nodiscard]] std::size_t live_objects() const { return live_.size(); }
    [[nodiscard]] std::size_t live_handles() const { return handles_.size() - free_handles_.size(); }
    /// Of our memory, about, for these and the graph of them: as measured with a million objects and four million handles.
    [[nodiscard]] std::uint64_t kept_bytes() const { return live_objects() * 330 + live_handles() * 130; }
    /// The live object that begins at `address`; kNoIndex where there is none.
    [[nodiscard]] std::uint32_t object_at(std::uint64_t address) const;
    [[nodiscard]] const std::string& type_name(std::uint32_t type) const { return types_[type]; }
    /// Those that will stay, in the order of their discovery, then those of the moment: never_destroyed, count_drift and piles of blocks
    /// that are kept, which what the program does next may revoke.
    [[nodiscard]] std::vector<ReferenceError> errors() const;
    /// Nothing was lost since it began: what is found of it is so.
    [[nodiscard]] bool certain(const TrackedObject& object) const { return loss_.is_before(object.born.mono_ns); }
    [[nodiscard]] const ReferenceCounters& counters() const { return counters_; }
    [[nodiscard]] const StorageTable& storages() const { return storages_; }
    /// The newest time told of, or settled.
    [[nodiscard]] std::uint64_t now_ns() const { return now_ns_; }

private:
    struct Dying {
        std::uint32_t object;
        std::uint32_t serial;
        std::uint64_t since_ns;
    };
    struct Overwritten {
        std::uint32_t handle;
        std::uint32_t object;
        ToldAt acquired; ///< the reference that was there
        ToldAt by;
    };
    struct Surplus {
        std::uint32_t object;
        std::uint32_t serial;
        ReferenceError error;
    };

    void on_created(const ObjectTold& event);
    void on_destroyed(const ObjectTold& event);
    void on_acquired(const ReferenceTold& event, std::uint32_t object);
    void on_released(const ReferenceTold& event, std::uint32_t object);
    void on_moved(const ReferenceTold& event, std::uint32_t object);
    void on_grave(const ReferenceTold& event, std::uint32_t grave);
    bool cancels_surplus(const ReferenceTold& event, std::uint32_t object);
    void add_surplus(const ReferenceTold& event, std::uint32_t object);
    void give_back(std::uint32_t handle, const ToldAt& by);
    void move_handle(std::uint32_t handle, const ReferenceTold& event);
    void drop_handles(std::uint32_t object);
    void note_told(TrackedObject& object, const ReferenceTold& event);
    void touch(std::uint32_t object, std::uint64_t mono_ns);

    std::uint32_t take_object();
    void free_object(std::uint32_t object);
    void bury(std::uint32_t object);
    void judge_quiet(TrackedObject& object);
    void judge_dying(std::uint32_t object);
    void keep_block(std::uint32_t object);
    void forget_block(std::uint32_t object);
    void record_block(const TrackedObject& object, const PastReference& lost);
    std::uint32_t& late_returns(std::uint32_t type, StackId stack);
    void add_piles(std::vector<ReferenceError>& errors, std::unordered_multimap<std::uint64_t, std::size_t>& ids,
                   std::uint64_t& refused) const;
    void lose_handles_inside(const TrackedObject& owner);
    void settle_before(std::uint64_t until_ns);

    std::uint32_t find_handle(std::uint64_t address, std::uint32_t object, bool strong) const;
    std::uint32_t add_handle(std::uint64_t address, std::uint32_t object, bool strong, const ToldAt& acquired);
    void remove_handle(std::uint32_t handle);
    void mark_overwritten(std::uint64_t address, std::uint32_t but_object, const ToldAt& by);
    void lose_reference(std::uint32_t handle, const ToldAt& acquired, const ToldAt& by);
    /// The handle of an object that was destroyed at that address a moment ago, or whose block is kept.
    std::uint32_t find_dying_handle(std::uint64_t address, std::uint64_t object_address, bool strong) const;
    bool holds_handle_inside(const TrackedObject& owner) const;
    bool has_many_lives(const TrackedObject& object) const;
    void bury_given_back(std::uint32_t newest);
    bool is_crowded(std::uint64_t address) const;
    void unlink_grave(std::uint32_t object);
    void overwrite(std::uint32_t handle, const ToldAt& by);
    void merge(std::vector<ReferenceError>& errors, std::unordered_multimap<std::uint64_t, std::size_t>& ids,
               ReferenceError error, std::uint64_t& refused) const;

    std::uint32_t type_of(const std::string& name);
    ReferenceError error_of(ReferenceErrorKind kind, const TrackedObject& object) const;
    void record(ReferenceError error);

    Limits limits_;
    std::vector<TrackedObject> objects_;
    std::vector<std::uint32_t> free_objects_;
    std::unordered_map<std::uint64_t, std::uint32_t> live_;   ///< by address
    std::unordered_map<std::uint64_t, std::uint32_t> graves_; ///< dying and buried, by address, the newest of each
    std::deque<Dying> dying_;
    std::deque<Dying> buried_;                ///< oldest first
    std::deque<Dying> active_;                ///< told of not long ago
    std::size_t kept_ = 0;                    ///< objects in that state
    std::vector<std::uint32_t> late_returns_; ///< by a hash of type and place: weak handles that kept a block and were given back
    std::vector<TrackedHandle> handles_;
    std::vector<std::uint32_t> free_handles_;
    std::unordered_map<std::uint64_t, std::uint32_t> handle_at_; ///< the first of those at an address
    std::deque<Overwritten> overwritten_;
    std::deque<Surplus> surplus_;
    std::vector<std::string> types_{""};
    std::unordered_map<std::string, std::uint32_t> type_ids_;
    std::vector<ReferenceError> errors_;
    std::unordered_multimap<std::uint64_t, std::size_t> error_ids_; ///< by a hash of what makes them the same
    ReferenceCounters counters_;
    StorageTable storages_;
    std::uint32_t serials_ = 0;
    std::uint64_t now_ns_ = 0;
    LossMark loss_;
};

/// Which object an address lies in.
class ObjectIndex {
public:
    struct Range {
        std::uint64_t start;
        std::uint64_t end;
        std::uint32_t object;
        std::uint32_t enclosing = kNoIndex; ///< position of the nearest range before it that reaches beyond its start
    };
    /// Of all live objects.
    explicit ObjectIndex(const ReferenceLedger& ledger);
    explicit ObjectIndex(std::vector<Range> ranges);

    /// The innermost object around `address`; kNoIndex where there is none, or only behind 64 nested ones that end before it.
    [[nodiscard]] std::uint32_t around(std::uint64_t address) const;
    /// The same for who goes through addresses in ascending order: `after` is the position of the first range that starts beyond it.
    [[nodiscard]] std::uint32_t around_from(std::size_t after, std::uint64_t address) const;
    /// By start, the larger first.
    [[nodiscard]] const std::vector<Range>& ranges() const { return ranges_; }

private:
    void enclose();
    std::vector<Range> ranges_;
};

/// Addresses of strong handles that nobody has placed yet and that lie in no tracked object: to be looked up (stack, global, heap) and told
/// of by HandlePlaced. At most `most`, without repetitions, ascending.
std::vector<std::uint64_t> unplaced_handles(const ReferenceLedger& ledger, std::size_t most);

} // namespace memtrace
