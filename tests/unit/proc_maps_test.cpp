#include "proc/maps.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <random>
#include <string>

namespace memtrace {
namespace {

Mapping only(std::string_view line) {
    const auto mappings = parse_maps(line);
    EXPECT_EQ(mappings.size(), 1U) << line;
    return mappings.empty() ? Mapping{} : mappings.front();
}

TEST(ParseMaps, LineOfALibrary) {
    const auto mapping = only("7f8e4c026000-7f8e4c17b000 r-xp 00026000 fe:01 1837242                    /usr/lib/libc.so.6\n");
    EXPECT_EQ(mapping.start, 0x7f8e4c026000U);
    EXPECT_EQ(mapping.end, 0x7f8e4c17b000U);
    EXPECT_EQ(mapping.file_offset, 0x26000U);
    EXPECT_TRUE(mapping.executable);
    EXPECT_EQ(mapping.file.device, makedev(0xfe, 1));
    EXPECT_EQ(mapping.file.inode, 1'837'242U);
    EXPECT_EQ(mapping.path, "/usr/lib/libc.so.6");
}

TEST(ParseMaps, KindsWithoutAFile) {
    const auto heap = only("55d0c0a6d000-55d0c0a8e000 rw-p 00000000 00:00 0                          [heap]\n");
    EXPECT_FALSE(heap.executable);
    EXPECT_EQ(heap.file, FileIdentity{});
    EXPECT_EQ(heap.path, "[heap]");
    EXPECT_EQ(only("7f8e4c1d7000-7f8e4c1e4000 rw-p 00000000 00:00 0 \n").path, "");
    EXPECT_EQ(only("7f8e4c1d7000-7f8e4c1e4000 rw-p 00000000 00:00 0").path, "") << "without the end of the line";
    const auto vsyscall = only("ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n");
    EXPECT_TRUE(vsyscall.executable);
    EXPECT_EQ(vsyscall.start, 0xffffffffff600000U);
}

TEST(ParseMaps, BlanksBelongToThePath) {
    EXPECT_EQ(only("1000-2000 r-xp 00000000 08:01 7    /opt/my db/bin/the  server\n").path, "/opt/my db/bin/the  server");
    EXPECT_EQ(only("1000-2000 r-xp 00000000 08:01 7    /tmp/ends with blank \n").path, "/tmp/ends with blank ");
    EXPECT_EQ(only("1000-2000 r-xp 00000000 08:01 7    /tmp/new\\012line\n").path, "/tmp/new\\012line")
        << "as the kernel prints it";
}

TEST(ParseMaps, MarkOfADeletedFileIsCutOnce) {
    EXPECT_EQ(only("1000-2000 r-xp 0 08:01 7 /tmp/prog (deleted)\n").path, "/tmp/prog");
    EXPECT_EQ(only("1000-2000 r-xp 0 08:01 7 /tmp/a (deleted)/prog\n").path, "/tmp/a (deleted)/prog");
    EXPECT_EQ(only("1000-2000 r-xp 0 08:01 7 /tmp/prog (deleted) (deleted)\n").path, "/tmp/prog (deleted)");
    EXPECT_EQ(only("1000-2000 rw-s 0 00:01 7 /memfd:pool (deleted)\n").path, "/memfd:pool");
}

TEST(ParseMaps, LinesThatMakeNoSenseAreLeftOut) {
    for (const std::string_view line : {
             "\n",
             " \n",
             "garbage\n",
             "1000\n",
             "1000-2000\n",
             "1000-2000 r-xp\n",
             "1000-2000 r-xp 00000000\n",
             "1000-2000 r-xp 00000000 08:01\n",
             "2000-1000 r-xp 00000000 08:01 7 /backwards\n",
             "1000-1000 r-xp 00000000 08:01 7 /empty\n",
             "-2000 r-xp 00000000 08:01 7 /no/start\n",
             "1000- r-xp 00000000 08:01 7 /no/end\n",
             "xyz-2000 r-xp 00000000 08:01 7 /no/number\n",
             "0x1000-0x2000 r-xp 00000000 08:01 7 /prefix\n",
             "1000-11111111111111111 r-xp 00000000 08:01 7 /too/large\n",
             "1000-2000 r-xp 0000000g 08:01 7 /offset\n",
             "1000-2000 r-xp 00000000 0801 7 /device\n",
             "1000-2000 r-xp 00000000 08:01 seven /inode\n",
             "1000-2000 r-xp 00000000 08:01 -7 /inode\n",
             "1000-2000 r-xp 00000000 08:01 99999999999999999999999 /inode\n",
         }) {
        EXPECT_TRUE(parse_maps(line).empty()) << line;
    }
}

TEST(ParseMaps, GoodLinesBetweenBadOnesAreKept) {
    const auto mappings = parse_maps("garbage\n1000-2000 r-xp 0 08:01 7 /a\n\n\n2000-3000 r--p 1000 08:01 7 /a\n9999");
    ASSERT_EQ(mappings.size(), 2U);
    EXPECT_TRUE(mappings[0].executable);
    EXPECT_FALSE(mappings[1].executable);
    EXPECT_EQ(mappings[0].file, mappings[1].file);
}

TEST(ParseMaps, ShortPermissionsAreNotExecutable) {
    EXPECT_FALSE(only("1000-2000 x 0 08:01 7 /a\n").executable);
    EXPECT_FALSE(only("1000-2000 rw 0 08:01 7 /a\n").executable);
}

// Any bytes: what comes back are mappings with an extent, or nothing.
TEST(ParseMaps, BearsRandomBytes) {
    std::mt19937 random(3);
    const std::string_view alphabet("0123456789abcdef-: \nrwxp/\0\xff(deleted)", 37);
    for (int round = 0; round < 20'000; ++round) {
        std::string text;
        for (unsigned i = 0; i < 10 + random() % 80; ++i) {
            text += alphabet[random() % alphabet.size()];
        }
        for (const auto& mapping : parse_maps(text)) {
            EXPECT_LT(mapping.start, mapping.end);
        }
    }
}

// ---- real ones ----------------------------------------------------------------------------------------------------------------

TEST(ReadMaps, OwnProgramIsThereAndItsCodeExecutable) {
    const auto mappings = read_maps(::getpid());
    ASSERT_TRUE(mappings) << mappings.error().message;
    const auto here = reinterpret_cast<std::uint64_t>(&read_maps);
    const auto found = std::find_if(mappings->begin(), mappings->end(),
                                    [here](const Mapping& mapping) { return mapping.start <= here && here < mapping.end; });
    ASSERT_NE(found, mappings->end());
    EXPECT_TRUE(found->executable);
    struct stat exe{};
    ASSERT_EQ(::stat("/proc/self/exe", &exe), 0);
    EXPECT_EQ(found->file.inode, exe.st_ino);
    EXPECT_TRUE(
        std::is_sorted(mappings->begin(), mappings->end(), [](const auto& a, const auto& b) { return a.start < b.start; }));
}

TEST(ReadMaps, ProcessThatIsNotThereIsAnError) {
    EXPECT_FALSE(read_maps(1 << 30));
    EXPECT_FALSE(read_maps(-1));
}

TEST(HasLinker, AStaticProgramIsTheOnlyFileWithCode) {
    const std::string program = "400000-401000 r--p 00000000 fd:00 7 /bin/tool\n"
                                "401000-402000 r-xp 00001000 fd:00 7 /bin/tool\n"
                                "402000-403000 r-xp 00002000 fd:00 7 /bin/tool\n";
    const std::string kernel = "7ffff7fc9000-7ffff7fcb000 r-xp 00000000 00:00 0 [vdso]\n";
    EXPECT_FALSE(has_linker(parse_maps(program + kernel)));
    EXPECT_TRUE(has_linker(parse_maps(program + "7ffff7fcb000-7ffff7ff1000 r-xp 00001000 fd:00 8 /lib/ld.so\n" + kernel)));
    EXPECT_TRUE(has_linker({})) << "it has ended, so nothing is known";
}

TEST(MapFilesPath, IsTheKernelsNameOfTheMapping) {
    Mapping mapping;
    mapping.start = 0x7f8e4c026000;
    mapping.end = 0x7f8e4c17b000;
    EXPECT_EQ(map_files_path(42, mapping), "/proc/42/map_files/7f8e4c026000-7f8e4c17b000");
    mapping.start = 0x400000;
    mapping.end = 0xffffffffffffffff;
    EXPECT_EQ(map_files_path(1, mapping), "/proc/1/map_files/400000-ffffffffffffffff");
}

} // namespace
} // namespace memtrace
