// Recordings are foreign bytes. Two rounds per input: as it is, which the checksums mostly stop, and with its checksums repaired,
// so that the decoder behind them is reached too. What was read must go through writing and reading again unchanged.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

#include "base/bytes.hpp"
#include "store/event_codec.hpp"
#include "store/recording.hpp"

namespace {

using namespace memtrace;

constexpr std::size_t kHeaderSize = 12;

std::string good_header() {
    return {"MTREC\0\r\n\1\0\0\0", kHeaderSize};
}

// Not assert(): it has to hold in an optimized build.
void require(bool condition) {
    if (!condition) {
        std::abort();
    }
}

struct Outcome {
    std::string records; ///< of all events, encoded anew
    std::uint64_t events = 0;
    bool clean = false;
};

Outcome read_through(std::string bytes) {
    Outcome outcome;
    const auto size = bytes.size();
    auto reader = RecordingReader::from_bytes(std::move(bytes));
    if (!reader) {
        require(!reader.error().message.empty());
        return outcome;
    }
    for (;;) {
        const auto event = reader->next();
        if (!event || !*event) {
            outcome.clean = event.has_value();
            const auto again = reader->next();
            require(again.has_value() == outcome.clean);
            require(outcome.clean || again.error().message == event.error().message);
            break;
        }
        require(append_event(outcome.records, **event).has_value());
        ++outcome.events;
    }
    require(outcome.events + reader->unknown_records() <= size / kRecordHeaderSize);
    return outcome;
}

std::string end_record(std::uint64_t records) {
    ByteWriter payload;
    payload.write(records);
    std::string out;
    append_record(out, kEndKind, payload.data());
    return out;
}

void check(const std::string& bytes) {
    const auto first = read_through(bytes);
    const auto second = read_through(good_header() + first.records + end_record(first.events));
    require(second.clean && second.events == first.events && second.records == first.records);
    // What was read before a cut is what would have been read without it.
    const auto cut = read_through(bytes.substr(0, bytes.size() / 2));
    require(first.records.compare(0, cut.records.size(), cut.records) == 0);
}

void put(std::string& bytes, std::size_t at, auto value) {
    std::memcpy(bytes.data() + at, &value, sizeof(value));
}

// Sizes that reach beyond the input are cut to it, the end record gets the count that it should have.
std::string repaired(std::string_view input) {
    std::string bytes = good_header();
    bytes += input.substr(std::min(input.size(), kHeaderSize));
    std::uint64_t records = 0;
    for (std::size_t at = kHeaderSize; bytes.size() - at >= kRecordHeaderSize; ++records) {
        const auto header = parse_record_header(std::string_view(bytes).substr(at));
        const auto room = bytes.size() - at - kRecordHeaderSize;
        const auto payload = std::min<std::size_t>(header.payload_size, room);
        put(bytes, at + 4, static_cast<std::uint32_t>(payload));
        if (header.kind == kEndKind && payload >= sizeof(records)) {
            put(bytes, at + kRecordHeaderSize, records);
        }
        put(bytes, at + 8, record_crc(std::string_view(bytes).substr(at, kRecordHeaderSize + payload)));
        at += kRecordHeaderSize + payload;
    }
    return bytes;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view input(reinterpret_cast<const char*>(data), size);
    check(std::string(input));
    check(repaired(input));
    return 0;
}
