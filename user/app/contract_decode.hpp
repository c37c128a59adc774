// The contract tier's records (bpf/contract.h) as what they tell. Pure: the bytes come from the ring buffer, or from a test.
#pragma once

#include <cstddef>
#include <optional>
#include <span>

#include "bpf/contract.h"
#include "model/events.hpp"

namespace memtrace {

/// The record's head, if the bytes hold it whole and its size is theirs.
std::optional<mt_contract_record> contract_head(std::span<const std::byte> record);

/// What the record tells, of `origin`. Nothing where it tells the model nothing (announce, announce_end), is of a kind that is not
/// known, or is cut short.
std::optional<Event> decode_contract(std::span<const std::byte> record, const ContractOrigin& origin);

} // namespace memtrace
