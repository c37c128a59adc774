// Names for code addresses: function, file and line from .symtab, .dynsym, separate debug files and DWARF. Late and cached: a
// module is opened when the first address in it is asked for, and kept. Not thread-safe: one thread owns a Symbolizer.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "model/events.hpp"
#include "symbol/debug_files.hpp"
#include "symbol/debuginfod.hpp"

namespace memtrace {

/// Where the bytes of a module can be read, and where its debug files may lie.
struct ModuleFile {
    std::string path;       ///< as the process sees it; names the module
    std::string open_path;  ///< a path that opens the very file: /proc/PID/map_files/..., /proc/PID/root/..., or `path`
    std::string debug_root; ///< prefix under which /usr/lib/debug is tried before the host's: "/proc/PID/root", or empty
    int fd = -1; ///< an open descriptor of the file, borrowed only during add_module (it is duplicated); -1 = use open_path
    std::shared_ptr<const DebugRoot> symbols = nullptr; ///< a directory to look for debug files in before the others; mostly none
};

class Symbolizer {
public:
    Symbolizer();
    ~Symbolizer();
    Symbolizer(Symbolizer&&) noexcept;
    Symbolizer& operator=(Symbolizer&&) noexcept;

    /// Makes a module known. Opens the file at once (the process may be gone later) but parses nothing. False where it cannot be opened.
    bool add_module(ModuleId module, const ModuleFile& file);

    /// The module is asked for no more. Its file is closed once no other module needs it.
    void forget(ModuleId module);

    /// Names `frame`, a return address: what is looked up is the byte before it. Functions inlined there come first, each with its
    /// own line. Unknown names leave `function` empty. Never fails, never empty.
    std::vector<SymbolLine> resolve(const Frame& frame);

    /// Of a module that lacks its debug file: its path in the process and its build-id, raw bytes.
    using Wanted = std::function<bool(const std::string& path, const std::string& build_id)>;
    /// From now on, a debug file that a module lacks is asked for when an address in it is first resolved, where it is wanted. `servers`
    /// must outlive this.
    void ask(Debuginfod& servers, Wanted wanted);
    struct Arrivals {
        std::vector<ModuleId> renamed; ///< modules whose addresses may have other names now
        std::vector<std::string>
            problems; ///< a sentence for each file that a server had, or may have had, and that could not be used
    };
    /// Takes the debug files that have come since. Returns at once.
    Arrivals take_debug_files();

    /// True where the bytes before the return address are a call instruction, or where that cannot be told (no file, another
    /// architecture). False proves that `frame` is no return address.
    bool follows_call(const Frame& frame);

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

} // namespace memtrace
