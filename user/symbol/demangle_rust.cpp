// libiberty's demangler hands out text as it goes, and has no limit: a v0 name may refer back to parts of itself, each of which may
// double what is printed. It prints before it follows a reference, so what bounds the output bounds the time. A callback of C
// cannot stop it by its result: where there is too much, control leaves by longjmp. What lies between holds at most a small buffer
// of libiberty's (an identifier in Punycode), which is lost then: some KiB for a name that no compiler writes.

#include "symbol/demangle_rust.hpp"

#define HAVE_DECL_BASENAME 1 // libiberty's own declaration of it is not that of <string.h>
#include <libiberty/demangle.h>

#include <array>
#include <csetjmp>
#include <cstring>

#include "symbol/demangle.hpp"

namespace memtrace {
namespace {

/// Of a trivial type: nothing that longjmp passes over has a destructor.
struct Text {
    std::array<char, kMaxDemangled> bytes;
    std::size_t size;
    std::jmp_buf too_long;
};

void take(const char* piece, std::size_t length, void* opaque) {
    Text& text = *static_cast<Text*>(opaque);
    if (length > text.bytes.size() - text.size) {
        std::longjmp(text.too_long, 1); // NOLINT(cert-err52-cpp): see above
    }
    std::memcpy(text.bytes.data() + text.size, piece, length);
    text.size += length;
}

bool run(const char* name, Text& text) {
    if (setjmp(text.too_long) != 0) { // NOLINT(cert-err52-cpp)
        return false;
    }
    return rust_demangle_callback(name, DMGL_NO_OPTS, take, &text) != 0;
}

} // namespace

std::optional<std::string> demangle_rust(std::string_view name) {
    static Text text;
    if (!is_mangled(name) || name.size() > kMaxMangled) {
        return std::nullopt;
    }
    const std::string terminated(name);
    text.size = 0;
    if (!run(terminated.c_str(), text) || text.size == 0) {
        return std::nullopt;
    }
    return std::string(text.bytes.data(), text.size);
}

} // namespace memtrace
