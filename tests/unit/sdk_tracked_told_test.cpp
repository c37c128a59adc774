// What tracked_ptr tells, operation by operation, and what it announces. Semantics: sdk_tracked_ptr_test.cpp.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "memtrace/memtrace.hpp"
#include "tests/unit/probe_listener.hpp"

namespace memtrace {
namespace {

using probe_test::ProbeEvent;
using probe_test::ProbeListener;

const std::set<std::string> kAll = {"memtrace:object_create", "memtrace:object_destroy", "memtrace:ref_acquire",
                                    "memtrace:ref_release", "memtrace:ref_move"};

struct Session {
    int number = 0;
    int rest[7] = {};
};

/// Writes events down as "acquire session a strong 2", with the names that addresses were given. What has none is "?".
class Story {
public:
    template <class T>
    void name(const T* address, std::string name) {
        names_[reinterpret_cast<std::uint64_t>(address)] = std::move(name);
    }

    [[nodiscard]] std::vector<std::string> tell(const std::vector<ProbeEvent>& events) const {
        std::vector<std::string> lines;
        for (const auto& event : events) {
            lines.push_back(line(event));
        }
        return lines;
    }

private:
    [[nodiscard]] std::string name_of(std::uint64_t address) const {
        const auto found = names_.find(address);
        return found != names_.end() ? found->second : "?";
    }
    [[nodiscard]] std::string line(const ProbeEvent& event) const {
        const auto& args = event.args;
        std::ostringstream text;
        const auto kind = [](std::uint64_t strong) { return strong != 0 ? "strong" : "weak"; };
        if (event.probe == "object_create") {
            text << "create " << name_of(args[0]) << " " << args[1] << " " << event.text(2);
        } else if (event.probe == "object_destroy") {
            text << "destroy " << name_of(args[0]);
        } else if (event.probe == "ref_move") {
            text << "move " << name_of(args[0]) << " " << name_of(args[1]) << " " << name_of(args[2]) << " " << kind(args[3]);
        } else {
            text << event.probe.substr(4) << " " << name_of(args[0]) << " " << name_of(args[1]) << " " << kind(args[2]) << " "
                 << args[3];
        }
        return text.str();
    }

    std::map<std::uint64_t, std::string> names_;
};

using Lines = std::vector<std::string>;

/// The next probe that fires after a request sees that it is gone.
void see_request_gone() {
    const ProbeListener listener({"memtrace:resource_touch"});
    memtrace_resource_touch("question", 2);
}

/// One object, `a` holds it; the tests' usual situation.
class TrackedTells : public testing::Test {
protected:
    TrackedTells() {
        story_.name(a_.get(), "session");
        story_.name(&a_, "a");
        story_.name(&b_, "b");
        story_.name(&weak_, "w");
        story_.name(&other_weak_, "v");
    }
    void TearDown() override { see_request_gone(); }
    [[nodiscard]] Lines told(const ProbeListener& listener) const { return story_.tell(listener.events()); }

    tracked_ptr<Session> a_ = make_tracked<Session>();
    tracked_ptr<Session> b_;
    tracked_weak<Session> weak_;
    tracked_weak<Session> other_weak_;
    Story story_;
};

// ---- operations ------------------------------------------------------------------------------------------------------------------

TEST_F(TrackedTells, LifeOfAnObject) {
    tracked_ptr<Session> made;
    story_.name(&made, "made");
    const ProbeListener listener(kAll);
    {
        const auto local = make_tracked<Session>();
        story_.name(local.get(), "other");
        story_.name(&local, "local");
        made = local;
    }
    made.reset();
    EXPECT_EQ(told(listener), (Lines{"create other 32 memtrace::{anonymous}::Session", "acquire other local strong 1",
                                     "acquire other made strong 2", "release other local strong 1", "release other made strong 0",
                                     "destroy other"}));
}

TEST_F(TrackedTells, RawPointerIsToldByItsOwnAddress) {
    auto* const raw = new Session;
    story_.name(raw, "raw");
    const ProbeListener listener(kAll);
    b_.reset(raw);
    b_ = nullptr;
    EXPECT_EQ(told(listener), (Lines{"create raw 32 memtrace::{anonymous}::Session", "acquire raw ? strong 1",
                                     "move raw ? b strong", "release raw b strong 0", "destroy raw"}));
}

TEST_F(TrackedTells, CopiesAndMoves) {
    const ProbeListener listener(kAll);
    const tracked_ptr<Session> copy(a_);
    const tracked_ptr<Session> moved(std::move(a_));
    story_.name(&copy, "copy");
    story_.name(&moved, "moved");
    b_ = copy;
    a_ = std::move(b_);
    EXPECT_EQ(told(listener), (Lines{"acquire session copy strong 2", "move session a moved strong", "acquire session b strong 3",
                                     "move session b a strong"}));
}

TEST_F(TrackedTells, AssignmentGivesTheOldUpBeforeItTakesTheNew) {
    b_ = make_tracked<Session>();
    story_.name(b_.get(), "other");
    const ProbeListener listener(kAll);
    b_ = a_;
    EXPECT_EQ(told(listener), (Lines{"release other b strong 0", "acquire session b strong 2", "destroy other"}));
}

TEST_F(TrackedTells, MoveOntoAHandleOfTheSameObjectReleasesOne) {
    b_ = a_;
    const ProbeListener listener(kAll);
    b_ = std::move(a_);
    EXPECT_EQ(told(listener), (Lines{"release session b strong 1", "move session a b strong"}));
}

TEST_F(TrackedTells, NothingWhereNothingChanges) {
    b_ = a_;
    int elsewhere = 0;
    const ProbeListener listener(kAll);
    b_ = a_;
    auto& same = a_;
    a_ = same;
    a_ = std::move(same);
    swap(a_, b_);
    b_ = tracked_ptr<Session>();
    tracked_ptr<Session> empty;
    const auto copy = empty;
    empty = std::move(b_);
    const tracked_ptr<int> of_nobody(tracked_ptr<Session>(), &elsewhere);
    EXPECT_EQ(told(listener), (Lines{"release session b strong 1"}));
}

TEST_F(TrackedTells, SwapIsThreeMovesByWayOfTheStack) {
    b_ = make_tracked<Session>();
    story_.name(b_.get(), "other");
    tracked_ptr<Session> empty;
    story_.name(&empty, "empty");
    const ProbeListener listener(kAll);
    swap(a_, b_);
    swap(a_, empty);
    EXPECT_EQ(told(listener), (Lines{"move session a ? strong", "move other b a strong", "move session ? b strong",
                                     "move other a ? strong", "move other ? empty strong"}));
    const auto events = listener.events();
    EXPECT_EQ(events[0].args[2], events[2].args[1]) << "the same place between";
}

TEST_F(TrackedTells, AliasesAndCastsTellTheObjectNotWhatTheyPointTo) {
    struct Base {
        virtual ~Base() = default;
        int base = 0;
    };
    struct Second {
        virtual ~Second() = default;
    };
    struct Derived : Base, Second {};
    const auto whole = make_tracked<Derived>();
    story_.name(whole.get(), "derived");
    const ProbeListener listener(kAll);
    {
        const tracked_ptr<int> part(whole, &whole->base);
        story_.name(&part, "part");
        const tracked_ptr<Second> second = whole;
        story_.name(&second, "second");
        const auto back = dynamic_pointer_cast<Base>(second);
        story_.name(&back, "back");
        EXPECT_EQ(told(listener),
                  (Lines{"acquire derived part strong 2", "acquire derived second strong 3", "acquire derived back strong 4"}));
    }
}

TEST_F(TrackedTells, WeakOnesAreCountedOnTheirOwn) {
    const ProbeListener listener(kAll);
    weak_ = a_;
    other_weak_ = weak_;
    weak_ = std::move(other_weak_);
    b_ = weak_.lock();
    weak_.reset();
    EXPECT_EQ(told(listener),
              (Lines{"acquire session w weak 1", "acquire session v weak 2", "release session w weak 1", "move session v w weak",
                     "acquire session ? strong 2", "move session ? b strong", "release session w weak 0"}));
}

TEST_F(TrackedTells, WeakOnesOutliveTheObject) {
    const ProbeListener listener(kAll);
    weak_ = a_;
    a_.reset();
    EXPECT_EQ(weak_.lock(), nullptr);
    other_weak_ = weak_;
    weak_.reset();
    other_weak_.reset();
    EXPECT_EQ(told(listener), (Lines{"acquire session w weak 1", "release session a strong 0", "destroy session",
                                     "acquire session v weak 2", "release session w weak 1", "release session v weak 0"}));
}

TEST_F(TrackedTells, LookAtAVirtualBaseIsNoReference) {
    struct Base {
        virtual ~Base() = default;
    };
    struct Derived : virtual Base {};
    const auto derived = make_tracked<Derived>();
    story_.name(derived.get(), "derived");
    const tracked_weak<Derived> weak = derived;
    const ProbeListener listener(kAll);
    const tracked_weak<Base> base = weak;
    story_.name(&base, "base");
    EXPECT_EQ(told(listener), (Lines{"acquire derived base weak 2"}));
}

TEST_F(TrackedTells, ObjectThatKnowsItselfHoldsAWeakOneInsideItself) {
    struct Self : enable_tracked_from_this<Self> {};
    const ProbeListener listener(kAll);
    auto self = make_tracked<Self>();
    story_.name(&self, "handle");
    const auto* const object = self.get();
    self.reset();
    const auto events = listener.events();
    ASSERT_EQ(events.size(), 6U);
    EXPECT_EQ(events[2].probe, "ref_acquire");
    EXPECT_EQ(events[2].args[2], 0U);
    const auto inside = events[2].args[1] - reinterpret_cast<std::uint64_t>(object);
    EXPECT_LT(inside, sizeof(Self));
    EXPECT_EQ(events[4].probe, "object_destroy");
    EXPECT_EQ(events[5].probe, "ref_release") << "by its destructor";
    EXPECT_EQ(events[5].args[1], events[2].args[1]);
}

TEST_F(TrackedTells, DestructionIsToldBeforeTheDestructorRuns) {
    struct Holder {
        tracked_ptr<Session> held;
    };
    auto holder = make_tracked<Holder>();
    holder->held = std::move(a_);
    story_.name(&holder, "h");
    story_.name(holder.get(), "holder");
    const auto address = reinterpret_cast<std::uint64_t>(&holder->held);
    const ProbeListener listener(kAll);
    holder.reset();
    EXPECT_EQ(told(listener)[0], "release holder h strong 0");
    EXPECT_EQ(told(listener)[1], "destroy holder");
    ASSERT_EQ(listener.events().size(), 4U);
    EXPECT_EQ(listener.events()[2].args[1], address);
    EXPECT_EQ(told(listener)[3], "destroy session");
}

TEST_F(TrackedTells, NullAndIncompleteObjectsHaveAnIdentityToo) {
    const ProbeListener listener(kAll);
    {
        const tracked_ptr<void> guard(nullptr, [](std::nullptr_t) {});
        const tracked_ptr<void> other(nullptr, [](std::nullptr_t) {});
    }
    const auto events = listener.events();
    ASSERT_EQ(events.size(), 8U);
    EXPECT_NE(events[0].args[0], 0U);
    EXPECT_NE(events[0].args[0], events[2].args[0]);
    EXPECT_STREQ(events[0].text(2), "void");
}

TEST(TypeName, IsTheCompilersForPeople) {
    EXPECT_STREQ(type_name<int>(), "int");
    EXPECT_STREQ(type_name<const char*>(), "const char*");
    EXPECT_STREQ(type_name<tracked_ptr<int>>(), "memtrace::tracked_ptr<int>");
    EXPECT_EQ(std::string(type_name<int[3]>()).find("int"), 0U);
    EXPECT_NE(std::string(type_name<std::map<std::string, int>>()).find("std::map<"), std::string::npos);
}

// ---- announcements ---------------------------------------------------------------------------------------------------------------

struct Announced {
    std::uint64_t size = 0;
    std::uint64_t strong = 0;
    std::uint64_t weak = 0;
    int times = 0;
    std::string type;
};

/// Asks what is alive, by whichever probe is next.
std::map<std::uint64_t, Announced> ask() {
    std::map<std::uint64_t, Announced> alive;
    {
        const ProbeListener listener({"memtrace:resource_touch", "memtrace:object_alive", "memtrace:announce"});
        memtrace_resource_touch("question", 1);
        for (const auto& event : listener.events()) {
            if (event.probe == "object_alive") {
                auto& object = alive[event.args[0]];
                object = {event.args[1], event.args[3], event.args[4], object.times + 1, event.text(2)};
            }
        }
    }
    see_request_gone();
    return alive;
}

std::uint64_t address_of(const void* pointer) {
    return reinterpret_cast<std::uint64_t>(pointer);
}

TEST(TrackedAnnounce, WhatIsAliveWithItsCounts) {
    const auto one = make_tracked<Session>();
    const tracked_ptr<Session> two(new Session);
    const auto copy = one;
    const tracked_weak<Session> weak = one;
    auto gone = make_tracked<Session>();
    const tracked_weak<Session> to_gone = gone;
    const auto gone_address = address_of(gone.get());
    gone.reset();
    const auto alive = ask();
    ASSERT_EQ(alive.count(address_of(one.get())), 1U);
    ASSERT_EQ(alive.count(address_of(two.get())), 1U);
    EXPECT_EQ(alive.count(gone_address), 0U);
    const auto& announced = alive.at(address_of(one.get()));
    EXPECT_EQ(announced.size, sizeof(Session));
    EXPECT_EQ(announced.strong, 2U);
    EXPECT_EQ(announced.weak, 1U);
    EXPECT_EQ(announced.times, 1);
    EXPECT_NE(announced.type.find("Session"), std::string::npos);
    EXPECT_EQ(alive.at(address_of(two.get())).strong, 1U);
}

TEST(TrackedAnnounce, TheObjectThatAnswersIsCreatedAndNotAnnounced) {
    {
        auto all = kAll;
        all.insert({"memtrace:object_alive", "memtrace:announce", "memtrace:announce_end"});
        const auto before = make_tracked<Session>();
        const ProbeListener listener(all);
        const auto first = make_tracked<Session>();
        std::map<std::string, int> of_first;
        std::map<std::string, int> of_before;
        for (const auto& event : listener.events()) {
            of_first[std::string(event.probe)] += event.args[0] == address_of(first.get()) ? 1 : 0;
            of_before[std::string(event.probe)] += event.args[0] == address_of(before.get()) ? 1 : 0;
        }
        EXPECT_EQ(of_first["object_alive"], 0);
        EXPECT_EQ(of_first["object_create"], 1);
        EXPECT_EQ(of_first["ref_acquire"], 1);
        EXPECT_EQ(of_before["object_alive"], 1);
        EXPECT_EQ(of_before["object_create"], 0);
    }
    see_request_gone();
}

TEST(TrackedAnnounce, ObjectsOfAllThreadsWhoeverEndsThem) {
    constexpr int kThreads = 8;
    constexpr int kEach = 100;
    std::vector<std::vector<tracked_ptr<Session>>> held(kThreads);
    std::vector<std::thread> threads;
    for (auto& mine : held) {
        threads.emplace_back([&mine] {
            for (int i = 0; i < kEach; ++i) {
                mine.push_back(make_tracked<Session>());
            }
        });
    }
    for (auto& thread : threads) {
        thread.join();
    }
    const auto before = ask();
    for (const auto& some : held) {
        for (const auto& object : some) {
            ASSERT_EQ(before.count(address_of(object.get())), 1U);
        }
    }
    std::set<std::uint64_t> ended;
    for (auto& some : held) { // by another thread than the one that made them, in the middle of the lists
        for (std::size_t i = 0; i < some.size(); i += 2) {
            ended.insert(address_of(some[i].get()));
            some[i].reset();
        }
    }
    const auto after = ask();
    EXPECT_EQ(after.size(), before.size() - ended.size());
    for (const auto address : ended) {
        EXPECT_EQ(after.count(address), 0U);
    }
}

TEST(TrackedAnnounce, WhatLivesThroughoutIsAnnouncedWhileOthersComeAndGo) {
    constexpr std::size_t kLasting = 500;
    std::vector<tracked_ptr<Session>> lasting;
    for (std::size_t i = 0; i < kLasting; ++i) {
        lasting.push_back(make_tracked<Session>());
    }
    std::atomic<bool> stop{false};
    std::atomic<int> rounds{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; ++i) {
        threads.emplace_back([&] {
            std::vector<tracked_ptr<Session>> mine(64);
            for (std::size_t round = 0; !stop; ++round, ++rounds) {
                mine[round % mine.size()] = make_tracked<Session>();
            }
        });
    }
    while (rounds < 1000) {
        std::this_thread::yield();
    }
    for (int request = 0; request < 20; ++request) {
        const auto alive = ask();
        for (const auto& object : lasting) {
            ASSERT_EQ(alive.count(address_of(object.get())), 1U);
            ASSERT_EQ(alive.at(address_of(object.get())).strong, 1U);
        }
    }
    stop = true;
    for (auto& thread : threads) {
        thread.join();
    }
}

TEST(TrackedAnnounce, ChildOfAForkGoesOnWhileThreadsOfTheParentMakeObjects) {
    std::atomic<bool> stop{false};
    std::thread maker([&] {
        while (!stop) {
            const auto object = make_tracked<Session>();
        }
    });
    const auto kept = make_tracked<Session>();
    for (int round = 0; round < 50; ++round) {
        const auto child = ::fork();
        ASSERT_GE(child, 0);
        if (child == 0) { // a lock that the other thread held would stop it for good: the alarm ends it then
            ::alarm(20);
            for (int i = 0; i < 100; ++i) {
                const auto object = make_tracked<Session>();
            }
            std::size_t seen = 0;
            detail::objects_alive.for_each([&seen](const detail::live_node&) { ++seen; });
            ::_exit(seen > 0 ? 0 : 1);
        }
        int status = -1;
        ASSERT_EQ(::waitpid(child, &status, 0), child);
        ASSERT_EQ(status, 0);
    }
    stop = true;
    maker.join();
}

// ---- threads: an announcer runs between the release and the moment it is told, so it can let another thread overtake -------------

std::function<void()> meanwhile; ///< once, when the next release is about to be told

void run_meanwhile(void*) {
    if (auto once = std::exchange(meanwhile, nullptr)) {
        once();
    }
}

/// Tells `release` with `other` done by another thread in the midst of it.
void release_while(const std::function<void()>& release, const std::function<void()>& other) {
    static memtrace_announcer announcer{run_meanwhile, nullptr, nullptr}; // never removed, as the contract says
    static const bool added = (memtrace_add_announcer(&announcer), true);
    ASSERT_TRUE(added);
    bool ran = false;
    meanwhile = [&] {
        std::thread(other).join();
        ran = true;
    };
    release();
    ASSERT_TRUE(ran);
}

std::set<std::string> all_and_announce() {
    auto probes = kAll;
    probes.insert("memtrace:announce");
    return probes;
}

TEST_F(TrackedTells, ObjectOutlivesWhatIsStillToBeToldOfIt) {
    b_ = a_;
    const ProbeListener listener(all_and_announce());
    release_while([&] { a_.reset(); }, [&] { b_.reset(); });
    auto lines = told(listener);
    lines.erase(std::remove_if(lines.begin(), lines.end(), [](const auto& line) { return line.find("session") == line.npos; }),
                lines.end());
    EXPECT_EQ(lines, (Lines{"release session b strong 0", "release session a strong 1", "destroy session"}));
    EXPECT_EQ(a_.use_count(), 0);
}

/// Counts blocks that it has given out and not got back.
template <class T>
struct CountingAllocator {
    using value_type = T;
    std::atomic<int>* out;

    explicit CountingAllocator(std::atomic<int>* count) : out(count) {}
    template <class U>
    CountingAllocator(const CountingAllocator<U>& other) : out(other.out) {}
    T* allocate(std::size_t count) {
        ++*out;
        return std::allocator<T>().allocate(count);
    }
    void deallocate(T* memory, std::size_t count) {
        --*out;
        std::allocator<T>().deallocate(memory, count);
    }
};

TEST_F(TrackedTells, MemoryOutlivesWhatIsStillToBeToldOfWeakOnes) {
    std::atomic<int> blocks{0};
    a_ = allocate_tracked<Session>(CountingAllocator<Session>(&blocks));
    weak_ = a_;
    other_weak_ = a_;
    a_.reset();
    EXPECT_EQ(blocks, 1);
    int after_the_other = 0;
    const ProbeListener listener(all_and_announce());
    release_while([&] { weak_.reset(); },
                  [&] {
                      other_weak_.reset();
                      after_the_other = blocks;
                  });
    EXPECT_EQ(after_the_other, 1) << "its address is still to be told";
    EXPECT_EQ(blocks, 0);
}

// ---- threads: all at once -------------------------------------------------------------------------------------------------------

// As a ledger would: of each object all releases come before its end, each handle releases what it acquired, and the counts told are
// those of a series of operations, in whatever order they arrive.
TEST(TrackedThreads, WhatThreadsTellAddsUp) {
    constexpr int kThreads = 4;
    constexpr int kObjects = 40;
    constexpr int kCopies = 25;
    const ProbeListener listener(kAll);
    std::atomic<int> ready{0};
    std::vector<tracked_ptr<Session>> objects(kObjects);
    for (auto& object : objects) {
        object = make_tracked<Session>();
    }
    std::vector<std::vector<tracked_ptr<Session>>> shares(kThreads, objects);
    objects.clear();
    std::vector<std::thread> threads;
    for (auto& mine : shares) {
        threads.emplace_back([&mine, &ready] {
            ++ready;
            while (ready < kThreads) {
            }
            for (auto& handle : mine) { // all threads at the same object, and each may be the last
                for (int i = 0; i < kCopies; ++i) {
                    const auto copy = handle;
                }
                handle.reset();
            }
        });
    }
    for (auto& thread : threads) {
        thread.join();
    }
    struct Life {
        std::map<std::uint64_t, int> handles;
        std::multiset<std::uint64_t> counts_up; ///< told by acquires: each step up from n - 1 to n
        std::multiset<std::uint64_t> counts_down;
    };
    std::map<std::uint64_t, Life> alive;
    int ended = 0;
    for (const auto& event : listener.events()) {
        const auto object = event.args[0];
        if (event.probe == "object_create") {
            ASSERT_EQ(alive.count(object), 0U) << "its memory is another's already";
            alive[object];
            continue;
        }
        ASSERT_EQ(alive.count(object), 1U) << event.probe << " of what has ended";
        auto& life = alive[object];
        if (event.probe == "ref_acquire") {
            ++life.handles[event.args[1]];
            life.counts_up.insert(event.args[3]);
        } else if (event.probe == "ref_release") {
            --life.handles[event.args[1]];
            life.counts_down.insert(event.args[3] + 1);
        } else if (event.probe == "ref_move") {
            --life.handles[event.args[1]];
            ++life.handles[event.args[2]];
        } else {
            EXPECT_EQ(life.counts_up, life.counts_down);
            for (const auto& [handle, balance] : life.handles) {
                EXPECT_EQ(balance, 0) << "at the end of its object";
            }
            alive.erase(object);
            ++ended;
        }
    }
    EXPECT_EQ(ended, kObjects);
    EXPECT_TRUE(alive.empty());
}

} // namespace
} // namespace memtrace
