#include "analyze/reference_graph.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>
#include <vector>

#include "tests/unit/told.hpp"

namespace memtrace {
namespace {

using test::Telling;
using Nodes = std::vector<std::uint32_t>;

constexpr std::uint64_t kA = 0x1000;
constexpr std::uint64_t kB = 0x2000;
constexpr std::uint64_t kC = 0x3000;
constexpr std::uint64_t kOnStack = 0x7000;

/// Addresses of the objects of each cycle that a program leaves.
std::vector<std::vector<std::uint64_t>> cycles_of(const Telling& told) {
    const auto built = reference_graph(told.ledger);
    std::vector<std::vector<std::uint64_t>> cycles;
    for (const auto& cycle : find_cycles(built.graph)) {
        auto& addresses = cycles.emplace_back();
        for (const auto node : cycle.objects) {
            addresses.push_back(built.graph.objects()[node].address);
        }
    }
    return cycles;
}

using Addresses = std::vector<std::vector<std::uint64_t>>;

TEST(ReferenceGraph, CycleOfTwo) {
    Telling told;
    told.create(kA, 48, "Parent");
    told.create(kB, 80, "Child");
    told.acquire(kA, kOnStack, 1);
    told.by(1, 11).acquire(kB, kA + 8, 1);
    told.by(1, 12).acquire(kA, kB + 16, 2);
    told.pass(10);
    EXPECT_EQ(cycles_of(told), Addresses{}) << "the stack holds it";
    told.release(kA, kOnStack, 1);
    EXPECT_EQ(cycles_of(told), Addresses{}) << "another thread may have taken a reference and not said so yet";
    told.pass(10);
    EXPECT_EQ(cycles_of(told), (Addresses{{kA, kB}}));
    const auto built = reference_graph(told.ledger);
    const auto cycle = find_cycles(built.graph).front();
    EXPECT_EQ(cycle.bytes, 128U);
    ASSERT_EQ(cycle.path.size(), 2U);
    std::set<std::uint32_t> stacks;
    for (const auto& edge : cycle.path) {
        stacks.insert(told.ledger.handles()[built.handles[edge.handle]].acquired.stack.value);
    }
    EXPECT_EQ(stacks, (std::set<std::uint32_t>{11, 12})) << "where the references that close it were taken";
}

TEST(ReferenceGraph, CycleOfTwoThroughAVector) {
    Telling told;
    told.create(kA);
    told.create(kB);
    told.acquire(kB, 0x9000, 1); // in the memory of a vector that is a member of A
    told.acquire(kA, kB + 8, 1);
    told.pass(10);
    EXPECT_EQ(cycles_of(told), Addresses{}) << "nobody knows yet where it lies";
    told.place(0x9000, HandlePlace::object, kA);
    EXPECT_EQ(cycles_of(told), (Addresses{{kA, kB}}));
    told.place(0x9000, HandlePlace::root);
    EXPECT_EQ(cycles_of(told), Addresses{});
}

/// A has a vector at A + 24, with the memory from kMemory on; B is held there, and holds A.
class VectorOfA : public testing::Test {
protected:
    static constexpr std::uint64_t kMemory = 0x9000;
    static constexpr std::uint64_t kVector = kA + 24;

    VectorOfA() {
        told.create(kA);
        told.create(kB);
        told.give_storage(kMemory, 64, kVector);
        told.acquire(kB, kMemory + 16, 1);
        told.acquire(kA, kB + 8, 1);
        told.pass(10);
    }
    Telling told;
};

TEST_F(VectorOfA, WhatItHoldsIsHeldByTheObject) {
    EXPECT_EQ(cycles_of(told), (Addresses{{kA, kB}}));
}

TEST_F(VectorOfA, MovedToTheStackItIsARoot) {
    told.move_storage(kVector, kOnStack);
    EXPECT_EQ(cycles_of(told), Addresses{});
    told.move_storage(kOnStack, kVector);
    EXPECT_EQ(cycles_of(told), (Addresses{{kA, kB}}));
}

TEST_F(VectorOfA, OfMemoryThatWasGivenBackNothingIsKnown) {
    told.take_storage(kMemory);
    EXPECT_EQ(cycles_of(told), Addresses{});
}

TEST_F(VectorOfA, WhoTakesAnothersMemoryMayHaveGivenItItsOwn) {
    told.give_storage(0xa000, 64, kOnStack);
    told.move_storage(kOnStack, kVector);
    EXPECT_EQ(cycles_of(told), Addresses{});
}

TEST_F(VectorOfA, MemoryThatLiesElsewhereNow) {
    told.give_storage(kMemory + 8, 64, kOnStack);
    EXPECT_EQ(cycles_of(told), Addresses{});
}

TEST_F(VectorOfA, AnotherObjectInItsPlaceLeadsNowhere) {
    told.create(kC);
    told.acquire(kC, kB + 16, 1);
    told.release(kA, kB + 8, 0);
    told.destroy(kA); // whose vector does not tell of its end
    told.create(kA);
    told.acquire(kA, kC + 8, 1);
    told.pass(10);
    EXPECT_EQ(cycles_of(told), Addresses{});
}

TEST_F(VectorOfA, AfterALossNothingIsKnown) {
    told.ledger.lost(told.now());
    told.pass(10);
    EXPECT_EQ(cycles_of(told), Addresses{});
}

TEST_F(VectorOfA, AVectorOfVectors) {
    told.release(kB, kMemory + 16, 0);
    told.give_storage(0xa000, 64, kMemory + 24); // of a vector that lies in the memory of the other
    told.acquire(kB, 0xa008, 1);
    told.pass(10);
    EXPECT_EQ(cycles_of(told), (Addresses{{kA, kB}}));
    told.move_storage(kVector, kOnStack);
    EXPECT_EQ(cycles_of(told), Addresses{});
}

TEST_F(VectorOfA, MemoryThatSeemsToLieInItselfIsARoot) {
    told.give_storage(kMemory, 64, kMemory + 8);
    EXPECT_EQ(cycles_of(told), Addresses{});
}

TEST_F(VectorOfA, AnObjectInItHoldsByItself) {
    told.create(kMemory + 8, 24, "Element"); // held by nobody that told: a root
    EXPECT_EQ(cycles_of(told), Addresses{}) << "what holds B is a member of the element";
}

TEST(ReferenceGraph, CycleOfFive) {
    Telling told;
    for (std::uint64_t i = 0; i < 5; ++i) {
        told.create(kA + i * 0x100);
    }
    for (std::uint64_t i = 0; i < 5; ++i) {
        told.acquire(kA + (i + 1) % 5 * 0x100, kA + i * 0x100 + 8, 1);
    }
    told.pass(10);
    ASSERT_EQ(cycles_of(told).size(), 1U);
    EXPECT_EQ(cycles_of(told).front().size(), 5U);
    EXPECT_EQ(find_cycles(reference_graph(told.ledger).graph).front().path.size(), 5U);
}

TEST(ReferenceGraph, AnObjectThatHoldsItself) {
    Telling told;
    told.create(kA);
    told.acquire(kA, kA + 8, 1);
    told.pass(10);
    EXPECT_EQ(cycles_of(told), (Addresses{{kA}}));
}

TEST(ReferenceGraph, WeakEdgesBreakCycles) {
    Telling told;
    told.create(kA);
    told.create(kB);
    told.acquire(kA, kOnStack, 1);
    told.acquire(kB, kA + 8, 1);
    told.acquire(kA, kB + 8, 1, false);
    told.release(kA, kOnStack, 0);
    told.pass(10);
    EXPECT_EQ(cycles_of(told), Addresses{});
}

TEST(ReferenceGraph, RootKeepsACycleAlive) {
    Telling told;
    told.create(kA);
    told.create(kB);
    told.create(kC);
    told.acquire(kA, kOnStack, 1);
    told.acquire(kB, kA + 8, 1);
    told.acquire(kC, kB + 8, 1);
    told.acquire(kB, kC + 8, 2);
    told.pass(10);
    EXPECT_EQ(cycles_of(told), Addresses{}) << "the stack leads to it by way of A";
    told.place(kOnStack, HandlePlace::root);
    EXPECT_EQ(cycles_of(told), Addresses{});
    told.release(kA, kOnStack, 0);
    told.destroy(kA);
    told.release(kB, kA + 8, 1);
    told.pass(10);
    EXPECT_EQ(cycles_of(told), (Addresses{{kB, kC}}));
}

TEST(ReferenceGraph, ReferencesThatWereNeverToldKeepACycleAlive) {
    Telling told;
    told.announce(kA, 2);
    told.create(kB);
    told.acquire(kB, kA + 8, 1);
    told.acquire(kA, kB + 8, 3);
    told.pass(10);
    EXPECT_EQ(cycles_of(told), Addresses{});
    told.release(kA, kOnStack, 2);
    told.release(kA, 0x7100, 1);
    told.pass(10);
    EXPECT_EQ(cycles_of(told), (Addresses{{kA, kB}}));
}

TEST(ReferenceGraph, AnOwnerThatHasGoneNoLongerPlacesItsHandles) {
    Telling told;
    told.create(kA);
    told.create(kB);
    told.create(kC);
    told.acquire(kB, kC + 8, 1);
    told.acquire(kC, 0x9000, 1);
    told.place(0x9000, HandlePlace::object, kA);
    told.destroy(kA);
    told.create(kA); // another one
    told.acquire(kA, kB + 8, 1);
    told.pass(10);
    EXPECT_EQ(cycles_of(told), Addresses{});
}

TEST(ReferenceGraph, WhatLiesInAnObjectIsLedToByIt) {
    Telling told;
    told.create(kA, 256);
    told.create(kA + 64, 64); // a member that is an object of its own
    told.create(kB);
    told.acquire(kA, kOnStack, 1);
    told.acquire(kB, kA + 72, 1);
    told.acquire(kA + 64, kB + 8, 1);
    told.pass(10);
    EXPECT_EQ(cycles_of(told), Addresses{});
    told.acquire(kA, kB + 16, 2);
    told.release(kA, kOnStack, 1);
    told.pass(10);
    EXPECT_EQ(cycles_of(told), (Addresses{{kA, kA + 64, kB}}));
}

TEST(ReferenceGraph, WhatHangsOnACycleIsCountedOnce) {
    Telling told;
    for (const std::uint64_t object : {kA, kB, kC}) {
        told.create(object);
        told.acquire(object, object + 8, 1); // three cycles of one
    }
    told.create(0x4000, 1000);
    told.create(0x5000, 1000);
    told.acquire(0x4000, kA + 16, 1);
    told.acquire(0x4000, kB + 16, 2);
    told.acquire(0x5000, 0x4000, 1);
    told.acquire(kC, 0x5000, 2);
    told.pass(10);
    const auto cycles = find_cycles(reference_graph(told.ledger).graph);
    ASSERT_EQ(cycles.size(), 3U);
    std::uint64_t objects = 0;
    std::uint64_t bytes = 0;
    for (const auto& cycle : cycles) {
        objects += cycle.retained_objects;
        bytes += cycle.retained_bytes;
    }
    EXPECT_EQ(objects, 2U);
    EXPECT_EQ(bytes, 2000U);
    EXPECT_EQ(cycles.front().retained_objects, 2U) << "the largest comes first";
}

TEST(ReferenceGraph, AnEndlessListIsNoDeeperThanAnyOther) {
    std::vector<ReferenceGraph::Object> objects;
    std::vector<ReferenceGraph::Handle> handles;
    constexpr std::uint32_t kObjects = 300'000;
    for (std::uint32_t i = 0; i < kObjects; ++i) {
        objects.push_back({0x10000 + i * 64ull, 64});
        handles.push_back({0x10000 + i * 64ull + 8, (i + 1) % kObjects});
    }
    const auto cycles = find_cycles(ReferenceGraph(objects, handles));
    ASSERT_EQ(cycles.size(), 1U);
    EXPECT_EQ(cycles.front().objects.size(), kObjects);
    EXPECT_EQ(cycles.front().path.size(), kObjects);
}

// ---- random graphs against the definition ----------------------------------------------------------------------------------------

/// Whether there is a way of one edge or more, by Floyd and Warshall's algorithm.
using Reaches = std::vector<std::vector<bool>>;

struct RandomProgram {
    std::vector<ReferenceGraph::Object> objects;
    std::vector<ReferenceGraph::Handle> handles;
    std::vector<bool> root;
    Reaches reaches;
};

RandomProgram random_program(std::mt19937& random) {
    const auto pick = [&](std::uint32_t size) { return std::uniform_int_distribution<std::uint32_t>(0, size - 1)(random); };
    RandomProgram program;
    const auto count = 1 + pick(12);
    for (std::uint32_t i = 0; i < count; ++i) {
        program.objects.push_back({0x1000 + i * 0x100ull, 64, pick(20) == 0});
    }
    std::shuffle(program.objects.begin(), program.objects.end(), random);
    program.reaches.assign(count, std::vector<bool>(count));
    program.root.resize(count);
    std::vector<bool> referred(count);
    for (std::uint32_t i = 0; i < count; ++i) {
        program.root[i] = program.objects[i].held;
    }
    for (auto edges = pick(2 * count + 1); edges > 0; --edges) {
        const auto from = pick(count);
        const auto to = pick(count);
        switch (pick(8)) {
        case 0: // in no object
            program.handles.push_back({program.objects[from].address + 64 + pick(100), to});
            program.root[to] = true;
            break;
        case 1: // in an object, but that is told to be a root all the same
            program.handles.push_back({program.objects[from].address, to, kNoIndex, true});
            program.root[to] = true;
            break;
        case 2: // elsewhere, in memory of an object
            program.handles.push_back({0x9000 + pick(100), to, from});
            program.reaches[from][to] = referred[to] = true;
            break;
        default:
            program.handles.push_back({program.objects[from].address + pick(64), to});
            program.reaches[from][to] = referred[to] = true;
        }
    }
    for (std::uint32_t i = 0; i < count; ++i) {
        program.root[i] = program.root[i] || !referred[i];
    }
    auto& reaches = program.reaches;
    for (std::uint32_t by = 0; by < count; ++by) {
        for (std::uint32_t from = 0; from < count; ++from) {
            for (std::uint32_t to = 0; to < count; ++to) {
                reaches[from][to] = reaches[from][to] || (reaches[from][by] && reaches[by][to]);
            }
        }
    }
    return program;
}

bool alive(const RandomProgram& program, std::uint32_t node) {
    for (std::uint32_t root = 0; root < program.objects.size(); ++root) {
        if (program.root[root] && (root == node || program.reaches[root][node])) {
            return true;
        }
    }
    return false;
}

TEST(ReferenceGraph, CyclesOfRandomGraphsAreThoseOfTheDefinition) {
    std::mt19937 random(1);
    std::size_t seen = 0;
    std::uint64_t hanging_seen = 0;
    for (int round = 0; round < 20'000; ++round) {
        const auto program = random_program(random);
        std::set<Nodes> expected;
        std::uint64_t hanging = 0;
        for (std::uint32_t a = 0; a < program.objects.size(); ++a) {
            if (alive(program, a)) {
                continue;
            }
            if (!program.reaches[a][a]) { // nothing is without a reference but roots: so some cycle leads here
                ++hanging;
                continue;
            }
            Nodes cycle;
            for (std::uint32_t b = 0; b < program.objects.size(); ++b) {
                if (program.reaches[a][b] && program.reaches[b][a]) {
                    cycle.push_back(b);
                }
            }
            expected.insert(cycle);
        }
        const ReferenceGraph graph(program.objects, program.handles);
        std::set<Nodes> found;
        std::uint64_t retained = 0;
        for (const auto& cycle : find_cycles(graph)) {
            EXPECT_TRUE(found.insert(cycle.objects).second);
            EXPECT_EQ(cycle.bytes, cycle.objects.size() * 64);
            retained += cycle.retained_objects;
            ASSERT_FALSE(cycle.path.empty());
            EXPECT_EQ(cycle.path.front().from, cycle.objects.front());
            EXPECT_EQ(cycle.path.back().to, cycle.objects.front());
            for (std::size_t i = 0; i < cycle.path.size(); ++i) {
                EXPECT_EQ(cycle.path[i].to, cycle.path[(i + 1) % cycle.path.size()].from);
                EXPECT_EQ(program.handles[cycle.path[i].handle].target, cycle.path[i].to);
            }
        }
        ASSERT_EQ(found, expected) << "round " << round;
        ASSERT_EQ(retained, hanging) << "round " << round;
        seen += expected.size();
        hanging_seen += hanging;
    }
    EXPECT_GT(seen, 1000U) << "the graphs were of no use";
    EXPECT_GT(hanging_seen, 1000U) << "the graphs were of no use";
}

} // namespace
} // namespace memtrace
