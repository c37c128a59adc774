// What the symbolizer's tests share: a temporary directory, compilers, and a small program that tells the return addresses of its
// own calls, so that names and lines can be compared with the truth.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "symbol/symbolizer.hpp"
#include "tests/unit/temporary_directory.hpp"

namespace memtrace::symbol_test {

using test::TemporaryDirectory;

/// Output of a shell command, which must succeed.
inline std::string run(const std::string& command) {
    std::string output;
    std::array<char, 65536> buffer{};
    FILE* pipe = ::popen(command.c_str(), "r");
    if (pipe == nullptr) {
        ADD_FAILURE() << "cannot run " << command;
        return output;
    }
    while (std::size_t count = std::fread(buffer.data(), 1, buffer.size(), pipe)) {
        output.append(buffer.data(), count);
    }
    EXPECT_EQ(::pclose(pipe), 0) << command;
    return output;
}

inline void write_file(const std::string& path, const std::string& content) {
    std::ofstream(path, std::ios::binary) << content;
}

inline std::string read_file(const std::string& path) {
    std::ostringstream content;
    content << std::ifstream(path, std::ios::binary).rdbuf();
    return content.str();
}

/// Calls of note() stand on lines marked with what it is told. It prints the address that it returns to, as linked.
inline constexpr const char* kProgram = R"(
#include <link.h>
#include <cstdio>
#include <cstdlib>

static int base(dl_phdr_info* info, size_t, void* out) {
    *static_cast<unsigned long*>(out) = info->dlpi_addr;
    return 1;
}

extern "C" [[gnu::noinline]] void note(const char* what) {
    unsigned long bias = 0;
    dl_iterate_phdr(base, &bias);
    std::printf("%s 0x%lx\n", what, reinterpret_cast<unsigned long>(__builtin_return_address(0)) - bias);
}

namespace shop {
int sold;
template <typename T>
struct Basket {
    T sum{};
    [[gnu::always_inline]] inline void first(T value) {
        note("inlined");            // @inlined
        sum += value;
    }
    [[gnu::always_inline]] inline void take(T value) {
        sum += 1;
        first(value);               // @take
    }
    [[gnu::noinline]] T grow(T value) {
        take(value);                // @grow
        return sum + static_cast<T>(sold);
    }
};

[[gnu::noinline]] static int in_a_file(int value) {
    note("static");                 // @static
    return value + sold;
}

[[gnu::noinline, noreturn]] void leave(int status) {
    note("leave");                  // @leave
    std::exit(status);
}

[[gnu::noinline, gnu::cold]] void complain(int value) {
    for (int i = 0; i < value; ++i) {
        note("cold");               // @cold
        sold += i;
    }
}

struct Till {
    [[gnu::noinline]] explicit Till(int value) : total(value) {
        note("constructor");        // @constructor
        total += sold;
    }
    int total;
};
} // namespace shop

extern "C" [[gnu::noinline]] int plain_c(int value) {
    note("plain");                  // @plain
    return value + shop::sold;
}

int main(int argc, char**) {
    shop::Basket<int> whole;
    shop::Basket<double> broken;
    shop::sold = argc;
    int sum = whole.grow(argc) + shop::in_a_file(argc) + plain_c(argc) + shop::Till(argc).total;
    if (argc > 5) {
        sum += static_cast<int>(broken.grow(argc));
    }
    shop::complain(argc);
    note("main");                   // @main
    shop::leave(sum < 0);
}
)";

/// The program, built with the flags given.
struct Program {
    std::string source; ///< path
    std::string path;

    Program(const TemporaryDirectory& directory, const std::string& name, const std::string& flags,
            const std::string& compiler = "g++") {
        source = directory.path(name + ".cpp");
        path = directory.path(name);
        write_file(source, kProgram);
        run(compiler + " -std=c++17 -O2 " + flags + " -o " + path + " " + source + " 2>&1");
    }

    /// Return addresses of the calls, by mark.
    [[nodiscard]] std::map<std::string, std::uint64_t> addresses() const {
        std::map<std::string, std::uint64_t> found;
        std::istringstream output(run(path));
        std::string mark;
        std::string address;
        while (output >> mark >> address) {
            found[mark] = std::stoull(address, nullptr, 16);
        }
        return found;
    }

    [[nodiscard]] std::uint32_t line(const std::string& mark) const {
        std::istringstream text(kProgram);
        std::string line;
        for (std::uint32_t number = 1; std::getline(text, line); ++number) {
            if (line.ends_with("// @" + mark)) {
                return number;
            }
        }
        ADD_FAILURE() << "no mark " << mark;
        return 0;
    }
};

constexpr ModuleId kModule{1};

/// A symbolizer that knows one file as kModule.
inline Symbolizer symbolizer_of(const std::string& path, const std::string& debug_root = "", const std::string& name = "") {
    Symbolizer symbolizer;
    EXPECT_TRUE(symbolizer.add_module(kModule, ModuleFile{name.empty() ? path : name, path, debug_root, -1}));
    return symbolizer;
}

/// Without columns: compilers differ in which one of a call they name, and addr2line says none.
inline std::vector<SymbolLine> without_columns(std::vector<SymbolLine> lines) {
    for (auto& line : lines) {
        line.column = 0;
    }
    return lines;
}

inline std::vector<SymbolLine> resolve(Symbolizer& symbolizer, std::uint64_t address) {
    return symbolizer.resolve(Frame{kModule, address});
}

} // namespace memtrace::symbol_test
