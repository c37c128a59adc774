// Writes the first inputs of fuzz_symbol into a directory: small programs with symbols, debug information, .gnu_debugdata, and names.
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

namespace {

constexpr const char* kProgram = R"(
namespace shop {
int sold;
struct Till {
    template <class F> [[gnu::noinline]] int run(F f) { return f(3) + sold; }
    [[gnu::always_inline]] int add(int x) { return sold += x; }
};
}
extern "C" void _start() {
    shop::Till till;
    int (*volatile call)(int) = [](int n) { return shop::sold += n; };
    till.run([&](int k) { return till.add(k) + call(k); });
    for (;;) {
    }
}
)";

constexpr const char* kNames[] = {"_ZN4core3fmt5write17h0123456789abcdefE", "_RINvC1a1fTuuETB7_B7_EE",
                                  "_RNvXs_C3fooNtB4_3BarNtB4_5Trait6method", "_ZNSt6vectorIiSaIiEE9push_backEOi",
                                  "_Z1f1BSt4pairIS_S_ES0_I2_S2_E"};

void run(const std::string& command) {
    if (std::system(command.c_str()) != 0) {
        std::fprintf(stderr, "seeds_symbol: this failed: %s\n", command.c_str());
        std::exit(1);
    }
}

} // namespace

int main(int argc, char** argv) {
    if (argc != 2) {
        std::fputs("usage: seeds_symbol DIRECTORY\n", stderr);
        return 2;
    }
    const std::string directory = argv[1];
    const std::string cd = "cd '" + directory + "' && ";
    std::ofstream(directory + "/program.cpp") << kProgram;
    const std::string link = " -std=c++17 -O1 -nostdlib -static -Wl,--build-id,-z,noseparate-code -o ";
    run(cd + "g++ -g" + link + "dwarf5 program.cpp");
    run(cd + "g++ -gdwarf-4 -gz" + link + "packed program.cpp");
    run(cd + "g++" + link + "symbols program.cpp");
    run(cd + "objcopy --only-keep-debug dwarf5 debug && objcopy --strip-debug debug mini && xz --check=none -f mini");
    run(cd + "strip -o bare dwarf5 && objcopy --add-section .gnu_debugdata=mini.xz bare minidebug");
    run(cd + "rm -f program.cpp mini.xz");
    int number = 0;
    for (const char* name : kNames) {
        std::ofstream(directory + "/name-" + std::to_string(number++)) << name;
    }
    return 0;
}
