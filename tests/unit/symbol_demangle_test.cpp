#include "symbol/demangle.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <random>

namespace memtrace {
namespace {

/// Number of a back reference, as the mangling writes it: S_, S0_, S1_, ... SZ_, S10_.
std::string reference(int number) {
    std::string digits;
    for (int rest = number - 1; number > 0; rest /= 36) {
        digits.insert(digits.begin(), "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"[rest % 36]);
        if (rest < 36) {
            break;
        }
    }
    return "S" + digits + "_";
}

TEST(Demangle, NamesAsPeopleWriteThem) {
    EXPECT_EQ(demangle("_Z3fooi"), "foo(int)");
    EXPECT_EQ(demangle("_ZN4shop6BasketIiE4growEi"), "shop::Basket<int>::grow(int)");
    EXPECT_EQ(demangle("_ZNSt6vectorIiSaIiEE9push_backEOi"), "std::vector<int, std::allocator<int> >::push_back(int&&)");
}

TEST(Demangle, ClonesKeepARemark) {
    EXPECT_EQ(demangle("_Z3fooi.isra.0"), "foo(int) [clone .isra.0]");
    EXPECT_EQ(demangle("_Z3fooi.part.0.cold"), "foo(int) [clone .part.0] [clone .cold]");
    EXPECT_EQ(demangle("foo.part.0"), "foo.part.0"); // of C: not mangled
}

TEST(Demangle, OtherNamesStayAsTheyAre) {
    for (const char* name : {"", "main", "_Z", "_Zgarbage", "_start", "_RNvC6_123foo3bar", "__libc_start_main", "i", "f"}) {
        EXPECT_EQ(demangle(name), name);
    }
}

TEST(Demangle, LegacyRustLosesTheHashAndTheEscapes) {
    EXPECT_EQ(demangle("_ZN4core3fmt5write17h0123456789abcdefE"), "core::fmt::write");
    EXPECT_EQ(demangle("_ZN60_$LT$alloc..vec..Vec$LT$T$GT$$u20$as$u20$core..ops..Drop$GT$4drop17h0123456789abcdefE"),
              "<alloc::vec::Vec<T> as core::ops::Drop>::drop");
    EXPECT_EQ(demangle("_ZN4core3fmt5write17h0123456789abcdeXE"), "core::fmt::write::h0123456789abcdeX");
    EXPECT_EQ(demangle("_ZN4core3fmt5write4hashE"), "core::fmt::write::hash");
}

TEST(Demangle, ManyReferencesInAnHonestName) {
    // Thirty references, none to anything large: more than one step, same answer. "TENS_" is no reference to begin with.
    std::string name = "_Z5EVTENN4llvm5EVTENENS_1AE";
    std::string expected = "EVTEN(llvm::EVTEN, llvm::A";
    for (int i = 0; i < 30; ++i) {
        name += "S0_";
        expected += ", llvm::EVTEN";
    }
    EXPECT_EQ(demangle(name), expected + ")");
}

TEST(Demangle, NameLongerThanTheLimitStaysMangled) {
    for (const std::size_t length : {std::size_t{1000}, kMaxMangled, 100 * kMaxMangled}) {
        const std::string name = "_Z" + std::to_string(length) + std::string(length, 'x') + "ii";
        EXPECT_EQ(demangle(name), length == 1000 ? std::string(length, 'x') + "(int, int)" : name);
    }
}

TEST(Demangle, NameThatWouldGrowWithoutBoundStaysMangled) {
    // Each pair holds the one before it twice, side by side or nested: 2^n.
    for (const int levels : {12, 40, 200}) {
        std::string beside = "_Z1f1BSt4pairIS_S_E";
        std::string nested = "_Z1fSt4pairI";
        for (int i = 0; i < levels; ++i) {
            beside += "S0_I" + reference(i + 2) + reference(i + 2) + "E";
            nested += "S_I";
        }
        nested += "1BS0_E";
        for (int i = 0; i < levels; ++i) {
            nested += reference(i + 2) + "E";
        }
        for (const auto& name : {beside, nested}) {
            ASSERT_LE(name.size(), kMaxMangled);
            const auto before = std::chrono::steady_clock::now();
            EXPECT_EQ(demangle(name), name) << levels;
            EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(1)) << levels;
        }
    }
}

TEST(Demangle, PacksInPacksStayMangled) {
    // A pack of forty, expanded to the fourth power.
    const std::string pack = "J" + std::string(40, 'i') + "E";
    std::string name = "_Z1fI" + pack + "EvDp1AIDpT_E";
    for (int i = 0; i < 30; ++i) {
        name += "Dp1BIDpT_S" + std::to_string(i % 9) + "_E";
    }
    const auto before = std::chrono::steady_clock::now();
    EXPECT_LE(demangle(name).size(), kMaxDemangled);
    EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(1));
}

TEST(Demangle, DeepNesting) {
    for (const char* piece : {"P", "N1a", "I", "1aI", "F", "M1a", "A1_", "Dp", "L", "X", "cv", "DT", "U1a"}) {
        std::string name = "_Z1f";
        while (name.size() + 3 < kMaxMangled) {
            name += piece;
        }
        EXPECT_LE(demangle(name + "i").size(), kMaxDemangled) << piece;
    }
}

TEST(Demangle, RandomNamesDoNoHarm) {
    // Random text is mostly turned down at once; pieces of the grammar go deeper.
    const std::vector<std::string> pieces{"S_",    "S0_", "S1_",   "S2_",  "T_", "T0_", "St", "Ss", "I",  "E",     "N",
                                          "J",     "Dp",  "P",     "R",    "K",  "F",   "v",  "i",  "1a", "3abc",  "L",
                                          "X",     "cv",  "Z",     "Li1E", "sp", "sr",  "C1", "D1", "Ul", "UlvE_", "_",
                                          "4pair", "DT",  "DtT_E", "A2_",  "M",  "fp_", "cl", "tl", "G"};
    std::mt19937 random(11);
    for (int i = 0; i < 30'000; ++i) {
        std::string name = "_Z";
        const std::size_t length = 4 + random() % 200;
        while (name.size() < length) {
            name += pieces[random() % pieces.size()];
        }
        EXPECT_LE(demangle(name).size(), kMaxDemangled);
    }
}

} // namespace
} // namespace memtrace
