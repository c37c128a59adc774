// Allocators as data: which functions allocate and free, and what their arguments mean. Nothing outside this table knows an
// allocator by name. The table is packed into attach cookies (bpf/signature.h), so the same BPF programs serve every entry.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "proc/elf_file.hpp"
#include "proc/maps.hpp"

namespace memtrace {

/// One function. Arguments are numbered from 1; 0 = there is none of that role.
struct FunctionSignature {
    std::string name;
    std::uint8_t size = 0;  ///< bytes, or bytes of an element
    std::uint8_t count = 0; ///< elements
    std::uint8_t ptr = 0;   ///< block to be freed or reallocated
    std::uint8_t out = 0;   ///< where the new block's address is stored; the function then returns 0 for success
    /// Takes a block and gives none: only its entry is probed.
    [[nodiscard]] bool is_free() const { return ptr != 0 && size == 0; }
};

/// Reads a signature as architecture.md writes it: "calloc(count,size)", "posix_memalign(*out,align,size)", "free(ptr)".
Result<FunctionSignature> parse_signature(std::string_view text);

/// All functions that are followed, the C library's family. An index into it is what the kernel half calls `function`.
const std::vector<FunctionSignature>& function_table();

/// Something in a process to attach to: a function in a mapped file.
struct ProbePoint {
    std::uint16_t function = 0; ///< index into function_table()
    std::string symbol;         ///< the name it was found by; aliases of one address are found once
    std::uint64_t file_offset = 0;
    std::uint64_t size = 0; ///< of the function, by its symbol; 0 = unknown
};

enum class HookKind : std::uint8_t {
    library_changed, ///< the dynamic linker's debugger hook
    jump,            ///< longjmp: leaves the calls in flight behind
    unwind           ///< where the unwinding of an exception or of a cancelled thread begins
};

struct HookPoint {
    HookKind kind = HookKind::library_changed;
    std::string symbol;
    std::uint64_t file_offset = 0;
    std::uint64_t size = 0; ///< of the function, by its symbol; 0 = unknown
};

/// The probes of one mapped file.
struct ProbeObject {
    FileIdentity file;
    std::string path;                   ///< as the process sees it
    std::shared_ptr<const UniqueFd> fd; ///< of the very file
    std::string open_path;              ///< leads to it while `fd` is open
    std::string allocator;              ///< "libc", "jemalloc", "tcmalloc", "mimalloc", "program", or the library's file name
    std::vector<ProbePoint> points;
    std::vector<HookPoint> hooks;
    std::vector<ElfSegment> code; ///< its executable segments
    std::uint16_t label = 0;      ///< the collector's number for `allocator`: comes back with every site, beside the function
};

/// Refuses a program that return probes would break (Go), and one of another architecture.
Status check_program(std::int32_t pid);

/// Looks through the executable mappings of `pid` for functions of the table. `allocator` = "auto" for all, else only objects of
/// that name. Objects without any are left out, and files in `seen`, to which all that were looked at are added: give the same set
/// again to hear of new ones only. Fails where the program is one that return probes would break (Go) or of another
/// architecture.
Result<std::vector<ProbeObject>> find_probe_objects(std::int32_t pid, const std::vector<Mapping>& mappings,
                                                    const std::string& allocator, std::set<FileIdentity>& seen);

} // namespace memtrace
