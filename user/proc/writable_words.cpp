#include "proc/writable_words.hpp"

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <system_error>

#include "base/fd.hpp"
#include "proc/process.hpp"

namespace memtrace {

namespace {

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kMostMapped = std::uint64_t{8} << 30; ///< whose pages are looked for
constexpr std::uint64_t kRedZone = 128;                       ///< below a stack pointer, and in use

std::uint64_t hex(std::string_view text) {
    std::uint64_t value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value, 16);
    return value;
}

Status read_words(std::int32_t pid, std::uint64_t start, std::uint64_t end, bool break_heap, std::vector<WordRange>& ranges) {
    WordRange range{start, std::vector<std::uint64_t>((end - start) / sizeof(std::uint64_t)), break_heap};
    const iovec here{range.words.data(), range.words.size() * sizeof(std::uint64_t)};
    const iovec there{reinterpret_cast<void*>(start), here.iov_len}; // NOLINT(performance-no-int-to-ptr)
    if (::process_vm_readv(pid, &here, 1, &there, 1, 0) != static_cast<ssize_t>(here.iov_len)) {
        return fail_errno("cannot read the memory of process " + std::to_string(pid), errno);
    }
    ranges.push_back(std::move(range));
    return {};
}

/// Where what is in use of a mapping begins.
std::uint64_t used_from(const WordMapping& mapping, const std::vector<std::uint64_t>& stack_pointers) {
    auto lowest = mapping.end;
    for (const auto pointer : stack_pointers) {
        lowest = pointer >= mapping.start && pointer < mapping.end ? std::min(lowest, pointer) : lowest;
    }
    const bool in_use = mapping.stack && lowest != mapping.end;
    return in_use ? std::max(mapping.start, (lowest - kRedZone) / sizeof(std::uint64_t) * sizeof(std::uint64_t)) : mapping.start;
}

} // namespace

std::vector<WordMapping> word_mappings(const std::vector<Mapping>& mappings) {
    std::vector<WordMapping> found;
    std::uint64_t guard_end = 0;
    for (const auto& mapping : mappings) {
        const bool nameless = mapping.path.empty();
        const bool stack = mapping.path == "[stack]" || (nameless && guard_end == mapping.start);
        const bool guard = nameless && !mapping.readable && !mapping.writable && !mapping.executable;
        guard_end = guard ? mapping.end : 0;
        if (mapping.readable && (mapping.writable || nameless)) {
            found.push_back({mapping.start, mapping.end, mapping.path == "[heap]", stack});
        }
    }
    return found;
}

Result<std::vector<WordRange>> read_writable_words(std::int32_t pid, const std::vector<std::uint64_t>& stack_pointers,
                                                   std::uint64_t most_bytes) {
    const auto directory = "/proc/" + std::to_string(pid);
    const auto maps = read_maps(pid);
    const UniqueFd pages(::open((directory + "/pagemap").c_str(), O_RDONLY | O_CLOEXEC));
    if (!maps || !pages) {
        return fail("cannot look at the memory of process " + std::to_string(pid));
    }
    std::vector<WordRange> ranges;
    std::uint64_t mapped = 0;
    std::uint64_t bytes = 0;
    for (const auto& mapping : word_mappings(*maps)) {
        mapped += mapping.end - mapping.start;
        if (mapped > kMostMapped) {
            return fail("too much is mapped");
        }
        const auto from = used_from(mapping, stack_pointers);
        const auto first_page = from / kPage;
        std::vector<std::uint64_t> entries((mapping.end - first_page * kPage) / kPage);
        const auto wanted = entries.size() * sizeof(entries[0]);
        if (::pread(pages.get(), entries.data(), wanted, static_cast<off_t>(first_page * sizeof(entries[0]))) !=
            static_cast<ssize_t>(wanted)) {
            return fail("the pages in memory cannot be told");
        }
        for (std::size_t i = 0; i < entries.size(); ++i) {
            constexpr std::uint64_t kSwapped = std::uint64_t{1} << 62;
            constexpr std::uint64_t kPresent = std::uint64_t{1} << 63;
            if ((entries[i] & kSwapped) != 0) {
                return fail("some of it is swapped out");
            }
            if ((entries[i] & kPresent) == 0) {
                continue;
            }
            auto after = i + 1;
            while (after < entries.size() && (entries[after] & kPresent) != 0 && (entries[after] & kSwapped) == 0) {
                ++after;
            }
            const auto start = std::max(from, (first_page + i) * kPage);
            const auto end = (first_page + after) * kPage;
            bytes += end - start;
            if (bytes > most_bytes) {
                return fail("it is too much");
            }
            if (auto status = read_words(pid, start, end, mapping.break_heap, ranges); !status) {
                return tl::unexpected(status.error());
            }
            i = after - 1;
        }
    }
    return ranges;
}

std::vector<std::uint64_t> parse_epoll_words(std::string_view fdinfo) {
    constexpr std::string_view kData = "data:"; // "tfd:        5 events:       19 data:     55d0c0ffee00  pos:0 ..."
    std::vector<std::uint64_t> words;
    for (auto at = fdinfo.find(kData); at != std::string_view::npos; at = fdinfo.find(kData)) {
        fdinfo.remove_prefix(at + kData.size());
        fdinfo.remove_prefix(std::min(fdinfo.find_first_not_of(' '), fdinfo.size()));
        words.push_back(hex(fdinfo));
    }
    return words;
}

Result<std::vector<std::uint64_t>> read_kept_words(std::int32_t pid) {
    const auto directory = "/proc/" + std::to_string(pid);
    std::vector<std::uint64_t> words;
    std::error_code error;
    for (auto fd = std::filesystem::directory_iterator(directory + "/fd", error);
         !error && fd != std::filesystem::directory_iterator(); fd.increment(error)) {
        std::error_code gone;
        const auto what = std::filesystem::read_symlink(fd->path(), gone).string();
        if (what == "anon_inode:[io_uring]") {
            return fail("it uses io_uring");
        }
        if (what == "anon_inode:[eventpoll]") {
            const auto info = read_file(directory + "/fdinfo/" + fd->path().filename().string());
            if (!info) {
                return fail("an epoll descriptor cannot be looked at");
            }
            const auto some = parse_epoll_words(*info);
            words.insert(words.end(), some.begin(), some.end());
        }
    }
    if (error) {
        return fail("the descriptors of process " + std::to_string(pid) + " cannot be listed");
    }
    const auto maps = read_file(directory + "/maps");
    const auto timers = read_file(directory + "/timers"); // whose values come back with a signal
    if (!maps || maps->find("/[aio]") != std::string::npos || (timers && !timers->empty())) {
        return fail("the kernel may keep words that cannot be read");
    }
    return words;
}

} // namespace memtrace
