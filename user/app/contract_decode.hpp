// The contract tier's records (bpf/contract.h) as what they tell. Pure: the bytes come from the ring buffer, or from a test.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "bpf/contract.h"
#include "model/events.hpp"

namespace memtrace {

/// MEMTRACE_PROBES_VERSION of include/memtrace/probes.h.
inline constexpr std::uint64_t kContractVersion = 1;

/// The record's head, if the bytes hold it whole and its size is theirs.
std::optional<mt_contract_record> contract_head(std::span<const std::byte> record);

/// The contract that the program was built with, where the record tells that it is another than this one: its other records mean something else.
std::optional<std::uint64_t> other_contract(std::span<const std::byte> record);

/// What the record tells, of `origin`. Nothing where it tells the model nothing (announce, announce_end), is of a kind that is not
/// known, or is cut short.
std::optional<Event> decode_contract(std::span<const std::byte> record, const ContractOrigin& origin);

} // namespace memtrace
