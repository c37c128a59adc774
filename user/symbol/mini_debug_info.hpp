// .gnu_debugdata: the symbols that a distribution leaves in a stripped file ("MiniDebugInfo"), as an ELF file of its own, compressed by xz.
#pragma once

#include <memory>

#include "symbol/elf_image.hpp"

namespace memtrace {

/// The file within `main`; null where there is none, where it is damaged, or where unpacking takes more than what such files need
/// (128 MiB of output, 96 MiB for the decoder). The symbols' sections are those of `main`, without their bytes.
std::unique_ptr<ElfImage> open_mini_debug_info(const ElfImage& main);

} // namespace memtrace
