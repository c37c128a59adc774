#include "proc/allocators.hpp"

#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <set>

namespace memtrace {

namespace {

constexpr std::uint8_t kMaxArguments = 6;

/// The allocation functions of the C library and of those that replace it. strdup, getline, asprintf and the rest land in these.
constexpr const char* kSignatures[] = {
    "malloc(size)",
    "calloc(count,size)",
    "realloc(ptr,size)",
    "reallocarray(ptr,count,size)",
    "posix_memalign(*out,align,size)",
    "aligned_alloc(align,size)",
    "memalign(align,size)",
    "valloc(size)",
    "pvalloc(size)",
    "free(ptr)",
    "cfree(ptr)",
};

struct HookName {
    std::string_view symbol;
    HookKind kind;
};
constexpr HookName kHooks[] = {
    {"_dl_debug_state", HookKind::library_changed},
    {"_Unwind_RaiseException", HookKind::unwind},
    {"_Unwind_ForcedUnwind", HookKind::unwind},
    {"_Unwind_Resume_or_Rethrow", HookKind::unwind},
    {"longjmp", HookKind::jump},
    {"_longjmp", HookKind::jump},
    {"siglongjmp", HookKind::jump},
    {"__longjmp_chk", HookKind::jump},
};

/// Allocators by what their library's file name begins with. Any other library goes by its own name.
struct AllocatorName {
    std::string_view file_prefix;
    std::string_view name;
};
constexpr AllocatorName kAllocators[] = {
    {"libc.so", "libc"},         {"libc-2.", "libc"},         {"libc.musl", "libc"},       {"ld-musl", "libc"},
    {"libjemalloc", "jemalloc"}, {"libtcmalloc", "tcmalloc"}, {"libmimalloc", "mimalloc"},
};

std::string_view base_name(std::string_view path) {
    return path.substr(path.rfind('/') + 1);
}

std::string allocator_name(const std::string& path, bool is_program) {
    if (is_program) {
        return "program";
    }
    const auto file = base_name(path);
    for (const auto& entry : kAllocators) {
        if (file.starts_with(entry.file_prefix)) {
            return std::string(entry.name);
        }
    }
    return std::string(file);
}

const HookName* find_hook(std::string_view name) {
    const auto* found =
        std::find_if(std::begin(kHooks), std::end(kHooks), [&](const HookName& hook) { return hook.symbol == name; });
    return found == std::end(kHooks) ? nullptr : found;
}

const std::map<std::string, std::uint16_t, std::less<>>& function_index() {
    static const auto index = [] {
        std::map<std::string, std::uint16_t, std::less<>> built;
        for (std::size_t i = 0; i < function_table().size(); ++i) {
            built[function_table()[i].name] = static_cast<std::uint16_t>(i);
        }
        return built;
    }();
    return index;
}

bool is_wanted(std::string_view name) {
    return function_index().find(name) != function_index().end() || find_hook(name) != nullptr;
}

/// Sorts the functions of a file into probe points and hooks; every address once, by the name that comes first in the table.
void collect(const ElfFile& elf, ProbeObject& object) {
    std::map<std::uint64_t, std::uint16_t> by_address;
    std::map<std::uint64_t, std::uint64_t> sizes;
    for (const auto& function : elf.functions) {
        if (const auto found = function_index().find(function.name); found != function_index().end()) {
            const auto [entry, fresh] = by_address.emplace(function.file_offset, found->second);
            entry->second = std::min(entry->second, found->second);
            sizes[function.file_offset] = std::max(sizes[function.file_offset], function.size);
            continue;
        }
        const bool known = std::any_of(object.hooks.begin(), object.hooks.end(),
                                       [&](const HookPoint& hook) { return hook.file_offset == function.file_offset; });
        if (!known) {
            object.hooks.push_back({find_hook(function.name)->kind, function.name, function.file_offset, function.size});
        }
    }
    for (const auto& [offset, function] : by_address) {
        object.points.push_back({function, function_table()[function].name, offset, sizes[offset]});
    }
    std::copy_if(elf.segments.begin(), elf.segments.end(), std::back_inserter(object.code),
                 [](const ElfSegment& segment) { return segment.executable; });
}

/// Of a link in /proc; " (deleted)" cut.
std::string link_target(const std::string& link) {
    char path[4096];
    const auto length = ::readlink(link.c_str(), path, sizeof(path));
    std::string_view target(path, length > 0 ? static_cast<std::size_t>(length) : 0);
    constexpr std::string_view kDeleted = " (deleted)";
    if (target.ends_with(kDeleted)) {
        target.remove_suffix(kDeleted.size());
    }
    return std::string(target);
}

} // namespace

Result<FunctionSignature> parse_signature(std::string_view text) {
    const std::string whole(text);
    const auto open = text.find('(');
    if (open == std::string_view::npos || open == 0 || text.back() != ')' || text.ends_with(",)")) {
        return fail("signature \"" + whole + "\": expected name(role,...)");
    }
    FunctionSignature signature;
    signature.name = text.substr(0, open);
    auto rest = text.substr(open + 1, text.size() - open - 2);
    for (std::uint8_t number = 1; !rest.empty(); ++number) {
        const auto role = rest.substr(0, rest.find(','));
        rest.remove_prefix(std::min(rest.size(), role.size() + 1));
        if (number > kMaxArguments) {
            return fail("signature \"" + whole + "\": at most 6 arguments");
        }
        auto* place = role == "size"    ? &signature.size
                      : role == "count" ? &signature.count
                      : role == "ptr"   ? &signature.ptr
                      : role == "*out"  ? &signature.out
                                        : nullptr;
        if (place != nullptr && *place != 0) {
            return fail("signature \"" + whole + "\": role \"" + std::string(role) + "\" twice");
        }
        if (place != nullptr) {
            *place = number;
        } else if (role != "align" && role != "_") {
            return fail("signature \"" + whole + "\": unknown role \"" + std::string(role) +
                        "\" (known: size count align ptr *out _)");
        }
    }
    if (signature.size == 0 && signature.ptr == 0) {
        return fail("signature \"" + whole + "\": needs a size or a ptr");
    }
    return signature;
}

const std::vector<FunctionSignature>& function_table() {
    static const auto table = [] {
        std::vector<FunctionSignature> built;
        for (const char* text : kSignatures) {
            built.push_back(*parse_signature(text));
        }
        return built;
    }();
    return table;
}

Status check_program(std::int32_t pid) {
    const auto program = read_elf("/proc/" + std::to_string(pid) + "/exe", [](std::string_view) { return false; }, false);
    if (!program) {
        return tl::unexpected(program.error());
    }
    if (!program->is_native) {
        return fail("process " + std::to_string(pid) +
                    " is of another architecture than this machine's 64-bit one: it cannot be traced");
    }
    if (program->is_go) {
        return fail("process " + std::to_string(pid) +
                    " is a Go program: its stacks move, return probes would crash it; use Go's own heap profile instead");
    }
    return {};
}

Result<std::vector<ProbeObject>> find_probe_objects(std::int32_t pid, const std::vector<Mapping>& mappings,
                                                    const std::string& allocator, std::set<FileIdentity>& seen) {
    const std::string exe = "/proc/" + std::to_string(pid) + "/exe";
    if (seen.empty()) {
        if (auto status = check_program(pid); !status) {
            return tl::unexpected(status.error());
        }
    }
    const auto program_path = link_target(exe);
    std::vector<ProbeObject> objects;
    for (const auto& mapping : mappings) {
        if (!mapping.executable || mapping.file.inode == 0 || !seen.insert(mapping.file).second) {
            continue;
        }
        auto file = open_mapped(pid, mapping);
        if (!file) { // unmapped by now: it is looked at when it comes back
            seen.erase(mapping.file);
            continue;
        }
        ProbeObject object;
        object.file = mapping.file;
        object.path = mapping.path;
        object.fd = std::make_shared<const UniqueFd>(std::move(*file));
        object.open_path = path_of(*object.fd);
        const bool is_program = mapping.path == program_path;
        object.allocator = allocator_name(mapping.path, is_program);
        if (const auto elf = read_elf(object.open_path, is_wanted, is_program); elf && elf->is_native) {
            collect(*elf, object);
        }
        if (allocator != "auto" && object.allocator != allocator) {
            object.points.clear();
        }
        if (!object.points.empty() || !object.hooks.empty()) {
            objects.push_back(std::move(object));
        }
    }
    return objects;
}

} // namespace memtrace
