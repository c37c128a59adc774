// One event to and from one record of a recording. The byte format is specified in user/store/README.md. Pure: no I/O.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "model/events.hpp"

namespace memtrace {

/// kind, flags, payload size, CRC-32.
constexpr std::size_t kRecordHeaderSize = 12;
/// The largest payload, in bytes. It bounds what a reader holds in memory, whatever a damaged size says.
constexpr std::uint32_t kMaxPayload = 16U << 20;
/// The record after which nothing follows; its payload is the number of records before it (u64).
constexpr std::uint16_t kEndKind = 0xffff;

struct RecordHeader {
    std::uint16_t kind = 0;
    std::uint32_t payload_size = 0;
    std::uint32_t crc = 0;
};

/// `bytes` holds at least kRecordHeaderSize bytes.
RecordHeader parse_record_header(std::string_view bytes);

/// The CRC-32 that belongs into a record: over its bytes but for the CRC itself. `record` is one whole record.
std::uint32_t record_crc(std::string_view record);

/// Appends a record of any kind. The payload is at most kMaxPayload long.
void append_record(std::string& out, std::uint16_t kind, std::string_view payload);

/// Appends the record of `event`. On an error (an event too large, or one that no reader accepts) nothing is appended.
Status append_event(std::string& out, const Event& event);

/// The event in a payload whose CRC is right; nullopt for a kind that this version does not know. Bytes after the known fields
/// are ignored. An error says what is wrong with the payload.
Result<std::optional<Event>> decode_event(std::uint16_t kind, std::string_view payload);

} // namespace memtrace
