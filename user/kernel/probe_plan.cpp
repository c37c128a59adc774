#include "kernel/probe_plan.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>

#include "base/fd.hpp"
#include "proc/elf_file.hpp"

namespace memtrace {

namespace {

constexpr std::size_t kMaxFunctionBytes = std::size_t{16} * 1024; ///< what is longer is looked at so far
constexpr std::size_t kUnknownFunctionBytes = 256;                ///< of a function whose symbol has no size
constexpr std::size_t kTextChunk = 1 << 20;
constexpr std::size_t kLongestJump = 6; ///< bytes of a far conditional jump

/// A function and its placement. The code outlives the request that refers to it.
struct Function {
    std::uint64_t file_offset = 0;
    std::vector<std::uint8_t> code;
    PlacementRequest request;
    Placement placement;
};

std::uint64_t address_of(const std::vector<ElfSegment>& code, std::uint64_t file_offset) {
    for (const auto& segment : code) {
        if (file_offset >= segment.file_offset && file_offset - segment.file_offset < segment.file_size) {
            return file_offset - segment.file_offset + segment.address;
        }
    }
    return file_offset;
}

std::uint8_t arguments_read(const FunctionSignature& signature) {
    std::uint8_t wanted = 0;
    for (const auto number : {signature.size, signature.count, signature.ptr, signature.out}) {
        wanted = static_cast<std::uint8_t>(wanted | (number != 0 ? 1 << number : 0));
    }
    return wanted;
}

Function place_function(int fd, const std::vector<ElfSegment>& segments, const FunctionToPlace& wanted, LongNops long_nops) {
    Function function;
    function.file_offset = wanted.file_offset;
    const auto size = wanted.size != 0 ? std::min<std::uint64_t>(wanted.size, kMaxFunctionBytes) : kUnknownFunctionBytes;
    auto code = read_bytes(fd, wanted.file_offset, size);
    if (!code) {
        function.placement.reason = code.error().message;
        return function;
    }
    function.code = std::move(*code);
    function.request = {function.code, wanted.size, address_of(segments, wanted.file_offset), wanted.arguments, long_nops};
    function.placement = place_probe(function.request);
    return function;
}

/// A call of the other function would be taken for one of this: where one that is probed begins between entry and probe.
void keep_off_other_entries(std::vector<Function>& functions) {
    for (auto& function : functions) {
        for (const auto& other : functions) {
            if (other.file_offset - function.file_offset - 1 < function.placement.offset) {
                function.placement = at_entry(function.request, "another function begins before the first that is emulated");
            }
        }
    }
}

/// What may not be jumped into from elsewhere.
AddressRange behind_entry(const Function& function) {
    return {function.request.address + 1, function.request.address + function.placement.offset};
}

/// The least range that has those of all functions that are not probed at their entry; `last` is 0 where there is none.
AddressRange behind_entries(const std::vector<Function>& functions) {
    AddressRange around{~0ull, 0};
    for (const auto& function : functions) {
        if (function.placement.offset != 0) {
            const auto range = behind_entry(function);
            around = {std::min(around.first, range.first), std::max(around.last, range.last)};
        }
    }
    return around;
}

/// Cold parts of functions lie elsewhere and may jump back: looks for such jumps in all of the file's code.
void keep_off_far_jumps(int fd, const std::vector<ElfSegment>& code, std::vector<Function>& functions) {
    const auto around = behind_entries(functions);
    const auto avoid = [&](const AddressRange& targets, const char* reason) {
        for (auto& function : functions) {
            const auto range = behind_entry(function);
            if (function.placement.offset != 0 && targets.last >= range.first && targets.first <= range.last) {
                function.placement = at_entry(function.request, reason);
            }
        }
    };
    for (const auto& segment : code) {
        for (std::uint64_t at = 0; at < segment.file_size && around.last != 0; at += kTextChunk) {
            const auto size = std::min<std::uint64_t>(kTextChunk + kLongestJump, segment.file_size - at);
            const auto text = read_bytes(fd, segment.file_offset + at, size);
            if (!text) {
                avoid({0, ~0ull}, "not all of the file's code can be read");
                return;
            }
            for (const auto target : far_jumps_into(*text, segment.address + at, around)) {
                avoid({target, target}, "code elsewhere jumps back behind the entry");
            }
        }
    }
}

ProbePlan make_plan(const UniqueFd& fd, const ProbeObject& object, LongNops long_nops) {
    std::vector<FunctionToPlace> functions;
    functions.reserve(object.points.size() + object.hooks.size());
    for (const auto& point : object.points) {
        functions.push_back({point.file_offset, point.size, arguments_read(function_table()[point.function])});
    }
    for (const auto& hook : object.hooks) {
        functions.push_back({hook.file_offset, hook.size, 0});
    }
    ProbePlan plan;
    for (auto& placement : place_functions(fd.get(), object.code, functions, long_nops)) {
        auto& to = plan.points.size() < object.points.size() ? plan.points : plan.hooks;
        to.push_back(std::move(placement));
    }
    return plan;
}

} // namespace

std::vector<Placement> place_functions(int fd, const std::vector<ElfSegment>& code, const std::vector<FunctionToPlace>& wanted,
                                       LongNops long_nops) {
    std::vector<Function> functions;
    functions.reserve(wanted.size());
    for (const auto& function : wanted) {
        functions.push_back(place_function(fd, code, function, long_nops));
    }
    keep_off_other_entries(functions);
    keep_off_far_jumps(fd, code, functions);
    std::vector<Placement> placements;
    placements.reserve(functions.size());
    for (auto& function : functions) {
        placements.push_back(std::move(function.placement));
    }
    return placements;
}

const ProbePlan& ProbePlanner::plan(const ProbeObject& object) {
    const UniqueFd fd(::open(object.open_path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    struct stat about{};
    Key key{object.file, 0, 0, object.points.size(), object.hooks.size()};
    if (fd && ::fstat(fd.get(), &about) == 0) {
        std::get<1>(key) = about.st_size;
        std::get<2>(key) = about.st_ctim.tv_sec * 1'000'000'000 + about.st_ctim.tv_nsec;
        if (const auto found = plans_.find(key); found != plans_.end()) {
            return found->second;
        }
    }
    if (plans_.size() >= kMaxPlans) {
        plans_.clear();
    }
    return plans_.insert_or_assign(key, make_plan(fd, object, long_nops_)).first->second;
}

FunctionSignature relocated(const FunctionSignature& signature, const Placement& placement) {
    FunctionSignature moved = signature;
    for (auto* number : {&moved.size, &moved.count, &moved.ptr, &moved.out}) {
        *number = placement.registers[*number];
    }
    return moved;
}

} // namespace memtrace
