// The code mapped into one process: which file and which place in it an address belongs to. Mappings that have gone stay known, to
// name old stacks, until something else is mapped there. One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <vector>

#include "model/events.hpp"
#include "proc/elf_file.hpp"
#include "proc/maps.hpp"

namespace memtrace {

class AddressSpace {
public:
    /// Told of every file that is new: returns its id.
    using NewModule = std::function<ModuleId(const Mapping& mapping, const std::string& open_path, const ElfFile* elf)>;

    /// Takes the mappings of `pid` as they are now.
    void learn(std::int32_t pid, const std::vector<Mapping>& mappings, const NewModule& new_module);

    /// The frame of a code address. Without a module: executable memory that is no file's (the address itself), as JIT makes it.
    /// nullopt: nothing executable is known to be there.
    [[nodiscard]] std::optional<Frame> locate(std::uint64_t address) const;

private:
    struct Module {
        ModuleId id;
        std::vector<ElfSegment> segments;
    };
    struct Range {
        std::uint64_t start;
        std::uint64_t end;
        std::uint64_t file_offset;
        const Module* module; ///< none: no file
    };
    static std::uint64_t linked_address(const Module& module, std::uint64_t file_offset);

    std::map<FileIdentity, Module> modules_; ///< a map: ranges point into it
    std::vector<Range> ranges_;              ///< sorted by start, disjoint
};

} // namespace memtrace
