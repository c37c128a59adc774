// Writes the first inputs of fuzz_unwind into a directory: sections with each kind of rule, and the tables made of them.
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "tests/unit/frame_section_builder.hpp"
#include "unwind/table.hpp"

int main(int argc, char** argv) {
    using namespace memtrace;
    if (argc != 2) {
        std::fputs("usage: seeds_unwind DIRECTORY\n", stderr);
        return 2;
    }
    const std::vector<Bytes> programs = {
        {0x41, 0x0e, 16, 0x86, 2, 0x43, 0x0d, 6, 0x4c, 0x0c, 7, 8},
        {0x0a, 0x48, 0x0e, 32, 0x83, 3, 0x48, 0x0b},
        {0x0e, 16, 0x46, 0x0e, 24, 0x4a, 0x0f, 11, 0x77, 8, 0x80, 0, 0x3f, 0x1a, 0x3b, 0x2a, 0x33, 0x24, 0x22},
        {0x0f, 3, 0x76, 0x78, 0x06, 0x10, 6, 2, 0x76, 0, 0x10, 3, 2, 0x76, 0x68},
        {0x0f, 6, 0x77, 0xc8, 1, 0x06, 0x23, 8},
        {0x0f, 4, 0x77, 0xa0, 1, 0x06, 0x10, 16, 3, 0x77, 0xa8, 1},
        {0x07, 16, 0x02, 4, 0x03, 5, 0, 0x04, 6, 0, 0, 0, 0x05, 6, 2, 0x11, 6, 0x7e, 0x12, 7, 0x7e, 0x13, 0x7e, 0x14, 3, 1},
    };
    int number = 0;
    const auto write = [&](char kind, const std::string& bytes) {
        std::ofstream(std::string(argv[1]) + "/seed-" + std::to_string(number++), std::ios::binary) << kind << bytes;
    };
    for (const char* more : {"", "S", "PL"}) {
        FrameSectionBuilder all;
        const auto common = all.common({0x0c, 7, 8, 0x90, 1}, more);
        std::uint64_t at = 0x400000;
        for (const auto& program : programs) {
            all.function(common, at, 300, program);
            at += 300;
        }
        write('\0', all.bytes());
        write('\1', all.bytes());
        if (const auto table = build_table({all.bytes(), FrameSectionBuilder::kAddress, false})) {
            const std::string words(reinterpret_cast<const char*>(table->words().data()), table->words().size() * 4);
            write('\2', words);
            write('\3', words);
        }
    }
    return 0;
}
