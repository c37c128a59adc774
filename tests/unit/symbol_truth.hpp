// What names and lines of the fixture's program are held to: what it says of itself, and addr2line.
#pragma once

#include <map>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "symbol_fixture.hpp"

namespace memtrace::symbol_test {

/// The program's functions as every full set of debug information names them.
inline void expect_truth(const Program& program, Symbolizer& symbolizer) {
    const auto addresses = program.addresses();
    ASSERT_EQ(addresses.size(), 7u);
    const std::vector<SymbolLine> inlined{
        {"shop::Basket<int>::first(int)", program.source, program.line("inlined"), true},
        {"shop::Basket<int>::take(int)", program.source, program.line("take"), true},
        {"shop::Basket<int>::grow(int)", program.source, program.line("grow"), false},
    };
    EXPECT_EQ(without_columns(resolve(symbolizer, addresses.at("inlined"))), inlined);
    const std::map<std::string, std::string> plain{{"static", "shop::in_a_file(int)"},       {"leave", "shop::leave(int)"},
                                                   {"cold", "shop::complain(int)"},          {"plain", "plain_c"},
                                                   {"constructor", "shop::Till::Till(int)"}, {"main", "main"}};
    for (const auto& [mark, function] : plain) {
        const std::vector<SymbolLine> expected{{function, program.source, program.line(mark), false}};
        auto lines = without_columns(resolve(symbolizer, addresses.at(mark)));
        // What the optimizer derived from a function (.isra, .constprop) has the name of the function, with a remark.
        lines[0].function = lines[0].function.substr(0, lines[0].function.find(" [clone"));
        EXPECT_EQ(lines, expected) << mark << ": " << lines[0].function << " line " << lines[0].line;
    }
}

/// All addresses in the functions of `file` that have a size and that `wanted` accepts.
inline std::vector<std::uint64_t> code_addresses(const std::string& file) {
    std::istringstream symbols(run("nm -S --defined-only " + file));
    std::vector<std::uint64_t> addresses;
    std::string line;
    while (std::getline(symbols, line)) {
        std::istringstream fields(line);
        std::string start;
        std::string size;
        std::string type;
        std::string name;
        if (fields >> start >> size >> type >> name && type.find_first_of("tTwW") == 0) {
            const auto first = std::stoull(start, nullptr, 16);
            for (std::uint64_t i = 0; i < std::stoull(size, nullptr, 16); ++i) {
                addresses.push_back(first + i);
            }
        }
    }
    return addresses;
}

/// What addr2line says, in our form. `addresses` are looked up as they are, not the byte before.
inline std::map<std::uint64_t, std::vector<SymbolLine>> addr2line(const TemporaryDirectory& directory, const std::string& file,
                                                                  const std::vector<std::uint64_t>& addresses) {
    std::ostringstream list;
    for (const auto address : addresses) {
        list << std::hex << "0x" << address << "\n";
    }
    write_file(directory.path("addresses"), list.str());
    std::istringstream output(run("addr2line -a -f -i -C -e " + file + " < " + directory.path("addresses")));
    std::map<std::uint64_t, std::vector<SymbolLine>> answers;
    std::vector<SymbolLine>* current = nullptr;
    std::string line;
    while (std::getline(output, line)) {
        if (line.starts_with("0x")) {
            current = &answers[std::stoull(line, nullptr, 16)];
            current->clear();
            continue;
        }
        std::string place;
        std::getline(output, place);
        place = place.substr(0, place.find(" (discriminator"));
        const auto colon = place.rfind(':');
        const auto number = place.substr(colon + 1);
        SymbolLine entry{line == "??" ? "" : line, place.substr(0, colon), 0, false};
        entry.file = entry.file == "??" ? "" : entry.file;
        entry.line = number == "?" ? 0 : static_cast<std::uint32_t>(std::stoul(number));
        if (!current->empty()) {
            current->back().inlined = true;
        }
        current->push_back(entry);
    }
    return answers;
}

/// Every address of every function must be named as addr2line names it.
inline void expect_agreement(const TemporaryDirectory& directory, const std::string& file) {
    auto addresses = code_addresses(file);
    ASSERT_GT(addresses.size(), 500u);
    const auto answers = addr2line(directory, file, addresses);
    auto symbolizer = symbolizer_of(file);
    std::size_t differing = 0;
    for (const auto& [address, expected] : answers) {
        const auto lines = without_columns(resolve(symbolizer, address + 1));
        if (lines != expected && ++differing <= 5) {
            std::ostringstream both;
            for (const auto* side : {&expected, &lines}) {
                for (const auto& entry : *side) {
                    both << "  " << entry.function << " " << entry.file << ":" << entry.line << (entry.inlined ? " inlined" : "");
                }
                both << "\n";
            }
            ADD_FAILURE() << std::hex << address << "\n" << both.str();
        }
    }
    EXPECT_EQ(differing, 0u) << "of " << answers.size();
}

} // namespace memtrace::symbol_test
