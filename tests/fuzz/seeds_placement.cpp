// Writes the first inputs of fuzz_placement into a directory: which arguments, size, address, then beginnings of functions.
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

int main(int argc, char** argv) {
    if (argc != 2) {
        std::fputs("usage: seeds_placement DIRECTORY\n", stderr);
        return 2;
    }
    const std::vector<std::vector<int>> functions = {
        {0x48, 0x85, 0xff, 0x0f, 0x84, 0xbf, 0, 0, 0, 0x55, 0x53},                            // test; je; push
        {0x41, 0x54, 0x55, 0x53, 0x48, 0x89, 0xfb},                                           // push
        {0xf3, 0x0f, 0x1e, 0xfa, 0x48, 0x81, 0xff, 0, 0x10, 0, 0, 0x77, 0x10},                // endbr64; cmp; ja
        {0x48, 0x89, 0xfe, 0x64, 0x48, 0x8b, 0x38, 0x48, 0x81, 0xfe, 0, 4, 0, 0, 0x77, 0x29}, // the argument moves
        {0x48, 0x89, 0xf0, 0x48, 0xf7, 0xe2, 0x48, 0x89, 0xc6, 0x70, 5},                      // mul; jo
        {0xf3, 0x0f, 0x1e, 0xfa, 0x0f, 0x1f, 0x44, 0, 0, 0x48, 0x8b, 0x3f, 0x48, 0x85, 0xff, 0x75, 0xf8, 0xc3}, // a loop
        {0x48, 0x83, 0xec, 0x18, 0x48, 0x89, 0x74, 0x24, 8, 0xe8, 0, 0, 0, 0}, // sub rsp; store; call
        {0x48, 0x85, 0xff, 0x53, 0xe9, 0xfa, 0xff, 0xff, 0xff},                // a jump back
    };
    int number = 0;
    for (const auto& function : functions) {
        for (const int wanted : {0x02, 0x06, 0x7e}) {
            std::ofstream file(std::string(argv[1]) + "/seed-" + std::to_string(number++), std::ios::binary);
            file.put(static_cast<char>(wanted)).put(number % 3 == 0 ? static_cast<char>(function.size()) : '\0').put('\1');
            for (const int byte : function) {
                file.put(static_cast<char>(byte));
            }
        }
    }
    return 0;
}
