// A mangled name can refer back to a type it has named before, in two or three bytes. Each such reference can double what is
// printed, so that a name of 300 bytes demangles to gigabytes. The library has no limit for that, and a heap that the target
// could blow up from outside is no option for a tracer. So a name with many references is tried in steps: first with all but the
// first few references replaced by a one-letter name, then with some more of them in place, and so on. The output of a step
// bounds that of the next; when one is too long, the name stays mangled.
//
// References are found by their look alone, wherever they stand. The replacement has the length of what it replaces, so a look-alike
// within an identifier leaves the name as well-formed as it was, and no real one is ever missed.

#include "symbol/demangle.hpp"

#include <cxxabi.h>

#include <cstdlib>
#include <memory>
#include <optional>
#include <vector>

#include "symbol/demangle_rust.hpp"

namespace memtrace {
namespace {

/// Something in a mangled name that can multiply its output.
struct Multiplier {
    std::size_t position = 0;
    std::size_t length = 0;
    std::size_t weight = 1; ///< in doublings
};

constexpr std::size_t kStep = 8;       // doublings that one step may add: at most 256 times kMaxDemangled in memory
constexpr std::size_t kPackWeight = 8; // a pack expansion prints its pattern once per element

std::optional<std::string> library_demangle(const std::string& name) {
    int status = 0;
    std::unique_ptr<char, decltype(&std::free)> text(abi::__cxa_demangle(name.c_str(), nullptr, nullptr, &status), &std::free);
    if (status != 0 || !text) {
        return std::nullopt;
    }
    return std::string(text.get());
}

/// Length of a back reference at `position`, 0 = none there: S, a number in digits and capitals, underscore; or T, a decimal
/// number, underscore. The number of an S counts types to the left of it, so it is below `position`: capitals of an identifier
/// in front of a reference ("...EVTENS_") do not hide it.
std::size_t reference_length(std::string_view name, std::size_t position) {
    const char kind = name[position];
    if (kind != 'S' && kind != 'T') {
        return 0;
    }
    std::size_t number = 0;
    std::size_t end = position + 1;
    for (; end < name.size() && name[end] != '_'; ++end) {
        const char c = name[end];
        const bool digit = c >= '0' && c <= '9';
        if (!digit && (kind == 'T' || c < 'A' || c > 'Z')) {
            return 0;
        }
        number = number * 36 + static_cast<std::size_t>(digit ? c - '0' : c - 'A' + 10);
        if (kind == 'S' && number >= position) {
            return 0;
        }
    }
    return end < name.size() ? end + 1 - position : 0;
}

std::vector<Multiplier> multipliers(std::string_view name) {
    std::vector<Multiplier> found;
    for (std::size_t i = 2; i < name.size();) {
        if (std::size_t length = reference_length(name, i)) {
            found.push_back({i, length, 1});
            i += length;
        } else if (name.substr(i, 2) == "Dp" || name.substr(i, 2) == "sp") {
            found.push_back({i, 2, kPackWeight});
            i += 2;
        } else {
            ++i;
        }
    }
    return found;
}

/// Puts in place of `what` something of the same length that is well-formed there and multiplies nothing.
void neutralize(std::string& name, const Multiplier& what) {
    if (what.weight == kPackWeight) {
        name.replace(what.position, 2, name[what.position] == 'D' ? "PK" : "ad"); // pointer to const; address of
        return;
    }
    // "S_" becomes "1x", "S12_" "3xxx": a source name, which may stand wherever a reference may.
    std::size_t letters = what.length - 1;
    if (letters > 9) {
        letters = 9; // no valid reference is that long: whatever this is, it must only not be one
    }
    std::string filler(what.length, 'x');
    filler[0] = static_cast<char>('0' + letters);
    name.replace(what.position, what.length, filler);
}

std::optional<std::string> bounded_demangle(const std::string& name) {
    auto all = multipliers(name);
    std::size_t weight = 0;
    for (std::size_t i = 0; i < all.size(); ++i) {
        weight += all[i].weight;
        if (weight <= kStep) {
            continue;
        }
        std::string trial = name;
        for (std::size_t rest = i; rest < all.size(); ++rest) {
            neutralize(trial, all[rest]);
        }
        auto text = library_demangle(trial);
        if (!text || text->size() > kMaxDemangled) {
            return std::nullopt;
        }
        weight = all[i].weight;
    }
    auto text = library_demangle(name);
    return text && text->size() <= kMaxDemangled ? text : std::nullopt;
}

} // namespace

std::string demangle(std::string_view name) {
    std::string raw(name);
    if (!is_mangled(name) || name.size() > kMaxMangled) {
        return raw;
    }
    if (auto path = demangle_rust(name)) { // first: a legacy name is one of C++ too, with a hash for its last part
        return *path;
    }
    auto text = name.starts_with("_Z") ? bounded_demangle(raw) : std::nullopt;
    return text ? *text : raw;
}

} // namespace memtrace
