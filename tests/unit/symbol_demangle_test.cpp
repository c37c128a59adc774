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
    for (const char* name :
         {"", "main", "_Z", "_Zgarbage", "_start", "_R", "_Rx", "_RNvC", "_RNvC6_123foo3barX", "__libc_start_main", "i", "f"}) {
        EXPECT_EQ(demangle(name), name);
    }
}

TEST(Demangle, LegacyRustLosesTheHashAndTheEscapes) {
    EXPECT_EQ(demangle("_ZN4core3fmt5write17h0123456789abcdefE"), "core::fmt::write");
    EXPECT_EQ(demangle("_ZN60_$LT$alloc..vec..Vec$LT$T$GT$$u20$as$u20$core..ops..Drop$GT$4drop17h0123456789abcdefE"),
              "<alloc::vec::Vec<T> as core::ops::Drop>::drop");
    EXPECT_EQ(demangle("_ZN71_$LT$Test$u20$$u2b$$u20$$u27$static$u20$as$u20$foo..Bar$LT$Test$GT$$GT$3bar17h930b740aa94f1d3aE"),
              "<Test + 'static as foo::Bar<Test>>::bar");
    EXPECT_EQ(demangle("_ZN3foo17h05af221e174051e9E.llvm.9D1C9369"), "foo");
    EXPECT_EQ(demangle("_ZN4core3fmt5write17h0123456789abcdeXE"), "core::fmt::write::h0123456789abcdeX");
    EXPECT_EQ(demangle("_ZN4core3fmt5write4hashE"), "core::fmt::write::hash");
}

// From RFC 2603, which specifies the scheme, and from the tests of rustc-demangle.
TEST(Demangle, RustV0) {
    EXPECT_EQ(demangle("_RNvC6_123foo3bar"), "123foo::bar");
    EXPECT_EQ(demangle("_RNCNCNgCs6DXkGYLi8lr_2cc5spawn00B5_"), "cc::spawn::{closure#0}::{closure#0}");
    EXPECT_EQ(demangle("_RINbNbCskIICzLVDPPb_5alloc5alloc8box_freeDINbNiB4_5boxed5FnBoxuEp6OutputuEL_ECs1iopQbuBiw2_3std"),
              "alloc::alloc::box_free::<dyn alloc::boxed::FnBox<(), Output = ()>>");
    EXPECT_EQ(demangle("_RMC0INtC8arrayvec8ArrayVechKj7b_E"), "<arrayvec::ArrayVec<u8, 123>>");
    EXPECT_EQ(demangle("_RNvXs_C3fooNtB4_3BarNtB4_5Trait6method"), "<foo::Bar as foo::Trait>::method");
    EXPECT_EQ(demangle("_RNqCs4fqI2P2rA04_11utf8_identsu30____7hkackfecea1cbdathfdh9hlq6y"),
              "utf8_idents::\u10e1\u10d0\u10ed\u10db\u10d4\u10da\u10d0\u10d3_\u10d2\u10d4\u10db\u10e0\u10d8\u10d4\u10da\u10d8_"
              "\u10e1\u10d0\u10d3\u10d8\u10da\u10d8");
    EXPECT_EQ(demangle("_RNvC6_123foo3bar.llvm.1234"), "123foo::bar");
}

TEST(Demangle, RustNameThatWouldGrowWithoutBoundStaysMangled) {
    // A pair of pairs of pairs: each holds the one before it twice, by reference.
    for (const int levels : {20, 40, 200}) {
        std::string name = "_RINvC1a1f";
        std::string inner;
        std::size_t before = name.size() - 2; // references count from behind "_R"
        name += "TuuE";
        for (int i = 0; i < levels; ++i) {
            std::string digits;
            std::size_t rest = before - 1; // base 62, less one; 0 is written as nothing
            do {
                digits.insert(digits.begin(), "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"[rest % 62]);
                rest /= 62;
            } while (rest > 0);
            before = name.size() - 2;
            name += "TB" + digits + "_B" + digits + "_E";
        }
        name += "E";
        const auto start = std::chrono::steady_clock::now();
        EXPECT_EQ(demangle(name), name) << levels;
        EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(1)) << levels;
    }
    EXPECT_NE(demangle("_RINvC1a1fTuuETB7_B7_EE"), "_RINvC1a1fTuuETB7_B7_EE"); // the same on its first level is a name
}

TEST(Demangle, RustNamesOfRandomPiecesDoNoHarm) {
    const std::vector<std::string> pieces{"C", "1a", "3abc", "N",  "v",  "t",  "I",    "E",   "T",   "R",    "Q",
                                          "P", "S",  "A",    "F",  "D",  "B_", "B0_",  "B1_", "B5_", "u",    "i",
                                          "M", "X",  "Y",    "s_", "L_", "G_", "Kj1_", "Kp",  "p",   "u3aaa"};
    std::mt19937 random(13);
    for (int i = 0; i < 30'000; ++i) {
        std::string name = i % 2 == 0 ? "_RINvC1a1f" : "_R";
        const std::size_t length = 4 + random() % 300;
        while (name.size() < length) {
            name += pieces[random() % pieces.size()];
        }
        EXPECT_LE(demangle(name).size(), kMaxDemangled);
    }
    for (const char* piece : {"R", "T", "S", "NvB_", "I", "F", "NvC1a", "G_", "B_", "D"}) {
        std::string name = "_R";
        while (name.size() + 4 < kMaxMangled) {
            name += piece;
        }
        EXPECT_LE(demangle(name).size(), kMaxDemangled) << piece;
    }
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
