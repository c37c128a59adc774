// The probes that a program was built with (USDT, <sys/sdt.h>): the notes of its section .note.stapsdt. Foreign bytes: a note that
// makes no sense is left out, a damaged file is an error.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "proc/maps.hpp"

namespace memtrace {

struct UsdtProbe {
    std::string provider;
    std::string name;
    std::string arguments;       ///< "8@%rdi -4@$1": where they are when the probe is hit
    std::uint64_t address = 0;   ///< virtual, as linked
    std::uint64_t semaphore = 0; ///< the same; 0 = none
};

/// A note's description as it stands in the file; addresses are yet to be moved by where `base` ended up.
struct UsdtNote {
    UsdtProbe probe;
    std::uint64_t base = 0; ///< address of the section .stapsdt.base when the note was made; 0 = not told
};

/// Nothing where the bytes are cut short, or a string does not end. Of 64-bit programs of this machine's byte order.
std::optional<UsdtNote> parse_usdt_note(std::string_view description);

/// All probes of the file at `path`, in its own order; a probe has one entry for each of its places. Empty: it has none, or is of
/// another architecture.
Result<std::vector<UsdtProbe>> read_usdt_probes(const std::string& path);

/// A file mapped with code in a process, and its probes of one provider.
struct UsdtObject {
    std::string path; ///< as the process sees it
    UniqueFd file;    ///< the very file
    std::vector<UsdtProbe> probes;

    [[nodiscard]] bool has_probe(std::string_view name) const {
        return std::any_of(probes.begin(), probes.end(), [&](const auto& probe) { return probe.name == name; });
    }
};

/// The objects of the process that have probes of `provider`, but for those in `seen`, which is added to. Files that cannot be read are
/// left out.
std::vector<UsdtObject> find_usdt_objects(std::int32_t pid, const std::vector<Mapping>& mappings, std::string_view provider,
                                          std::set<FileIdentity>& seen);

} // namespace memtrace
