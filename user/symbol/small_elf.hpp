// ELF files of a few sections that we write ourselves: what libdw reads where it would open, or believe, what it should not.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace memtrace {

struct SmallSection {
    std::string_view name;
    std::string_view bytes;
};

/// The bytes of a file of this machine's byte order. Behind each section lies a zero byte: strings end there at the latest.
std::string small_elf(const std::vector<SmallSection>& sections);

} // namespace memtrace
