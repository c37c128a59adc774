// Distinct index types: a ModuleId cannot be passed where a StackId is wanted. Zero means none.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>

namespace memtrace {

template <typename Tag>
struct Id {
    std::uint32_t value = 0;
    explicit operator bool() const { return value != 0; }
    friend auto operator<=>(const Id&, const Id&) = default;
};

using ProcessId = Id<struct ProcessTag>;   ///< one address space of one process: a new one after exec
using ModuleId = Id<struct ModuleTag>;     ///< one mapped file of one process
using StackId = Id<struct StackTag>;       ///< one distinct call stack of one process
using SiteId = Id<struct SiteTag>;         ///< one call site: a stack and the allocator function it called
using PageSiteId = Id<struct PageSiteTag>; ///< one site of the pages tier: a stack and what it did

} // namespace memtrace

template <typename Tag>
struct std::hash<memtrace::Id<Tag>> {
    std::size_t operator()(const memtrace::Id<Tag>& id) const noexcept { return id.value; }
};
