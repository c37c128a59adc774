// What a process has written where it can read it again: all that a pointer may lie in but registers. The process runs on meanwhile.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "proc/maps.hpp"

namespace memtrace {

struct WordRange {
    std::uint64_t start = 0; ///< a multiple of a word
    std::vector<std::uint64_t> words;
    bool break_heap = false; ///< of [heap], which only an allocator that uses brk has
};

struct WordMapping {
    std::uint64_t start = 0;
    std::uint64_t end = 0;
    bool break_heap = false;
    bool stack = false; ///< of a thread: named so, or behind a guard
};

/// Those that pointers may lie in, ascending: what is writable, and what is readable and of no file.
std::vector<WordMapping> word_mappings(const std::vector<Mapping>& mappings);

/// Of all of them what is in memory, but of stacks what lies below the lowest of `stack_pointers` there. An error where that is more than
/// `most_bytes`, where not all of it can be read, or some of it is swapped out.
Result<std::vector<WordRange>> read_writable_words(std::int32_t pid, const std::vector<std::uint64_t>& stack_pointers,
                                                   std::uint64_t most_bytes);

/// Words that the kernel keeps for the process and gives back to it: those of epoll. An error where there are such that cannot be read.
Result<std::vector<std::uint64_t>> read_kept_words(std::int32_t pid);
/// Part of that: of one epoll descriptor, by the text of /proc/PID/fdinfo/FD.
std::vector<std::uint64_t> parse_epoll_words(std::string_view fdinfo);

} // namespace memtrace
