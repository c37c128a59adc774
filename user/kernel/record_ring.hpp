// A BPF ring buffer as its reader sees it.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>

#include "base/result.hpp"

struct bpf_map;

namespace memtrace {

/// One thread.
class RecordRing {
public:
    using Visit = std::function<void(std::span<const std::byte>)>;

    RecordRing(); ///< of no map
    /// `map`, which outlives it: loaded. `what` names the records in the error.
    static Result<RecordRing> open(const bpf_map* map, const char* what);
    ~RecordRing();
    RecordRing(RecordRing&&) noexcept;
    RecordRing& operator=(RecordRing&&) noexcept;

    /// Becomes readable when the kernel half says that its records should be taken.
    [[nodiscard]] int fd() const;
    /// Takes all records that are there when it is called, in the order in which they came about, and of those that come meanwhile as many
    /// as make up the ring's size in all: whoever writes faster than we read does not keep us.
    void consume(const Visit& visit);

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

} // namespace memtrace
