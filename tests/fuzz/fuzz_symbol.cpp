// A file of code is foreign bytes: whatever it holds, names come back, in bounded time and of bounded length. The file is looked at
// mapped and read, as a module, as the debug file of another, and in a directory of symbols.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "symbol/demangle.hpp"
#include "symbol/module_image.hpp"
#include "symbol/symbolizer.hpp"

namespace {

using namespace memtrace;

// Not assert(): it has to hold in an optimized build.
void require(bool condition) {
    if (!condition) {
        std::abort();
    }
}

UniqueFd file_of(const std::uint8_t* data, std::size_t size, mode_t mode) {
    UniqueFd fd(::memfd_create("fuzz", MFD_CLOEXEC));
    require(fd && ::write(fd.get(), data, size) == static_cast<ssize_t>(size) && ::fchmod(fd.get(), mode) == 0);
    return fd;
}

/// From the entry point on, which most programs have code behind: steps that grow.
std::vector<std::uint64_t> addresses(const std::uint8_t* data, std::size_t size) {
    std::uint64_t entry = 0x1000;
    if (size >= 32) {
        std::memcpy(&entry, data + 24, sizeof(entry));
    }
    std::vector<std::uint64_t> found{0, 1, UINT64_MAX};
    for (std::uint64_t step = 1; step < 20'000; step += 1 + step / 4) {
        found.push_back(entry + step);
        found.push_back(entry - step);
    }
    return found;
}

void check(const std::vector<SymbolLine>& lines) {
    require(!lines.empty() && !lines.back().inlined);
    for (const auto& line : lines) {
        require(line.function.size() <= std::size_t{1} << 17 && line.line <= INT32_MAX && line.column <= INT32_MAX);
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto places = addresses(data, size);
    for (const mode_t mode : {0644, 0666}) { // mapped, read
        const auto fd = file_of(data, size, mode);
        Symbolizer symbolizer;
        require(symbolizer.add_module(ModuleId{1}, ModuleFile{"/fuzz", "", "", fd.get()}));
        for (const auto address : places) {
            check(symbolizer.resolve(Frame{ModuleId{1}, address}));
            (void)symbolizer.follows_call(Frame{ModuleId{1}, address});
        }
    }
    ModuleImage image(file_of(data, size, 0666), "/fuzz", {});
    check(image.resolve(places.back()));
    if (image.adopt_debug_file(file_of(data, size, 0666), "/fuzz.debug")) {
        check(image.resolve(places.back()));
    }
    const std::string_view text(reinterpret_cast<const char*>(data), std::min<std::size_t>(size, 2 * kMaxMangled));
    require(demangle(text).size() <= std::max(kMaxDemangled, text.size()));
    return 0;
}
