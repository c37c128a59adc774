// Recordings in memory, for the tests: built from their parts, read to the end, compared with the sample.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/bytes.hpp"
#include "store/event_codec.hpp"
#include "store/recording.hpp"
#include "tests/unit/sample_events.hpp"

namespace memtrace::testing {

// Two events are equal when their records are: unlike ==, that holds for NaN too.
inline std::string record_of(const Event& event) {
    std::string record;
    EXPECT_TRUE(append_event(record, event)) << "kind " << event.index();
    return record;
}

inline std::string header_bytes(std::uint16_t version = 1, std::uint16_t flags = 0) {
    ByteWriter out;
    out.write(version);
    out.write(flags);
    return std::string("MTREC\0\r\n", 8) + out.data();
}

inline std::string end_record(std::uint64_t records) {
    ByteWriter payload;
    payload.write(records);
    std::string out;
    append_record(out, kEndKind, payload.data());
    return out;
}

struct ReadBack {
    std::vector<Event> events;
    std::string error; ///< empty after a clean end
    std::uint64_t unknown = 0;
};

inline ReadBack read_all(Result<RecordingReader> reader) {
    ReadBack result;
    if (!reader) {
        result.error = reader.error().message;
        return result;
    }
    for (;;) {
        auto event = reader->next();
        if (!event || !*event) {
            result.error = event ? "" : event.error().message;
            result.unknown = reader->unknown_records();
            // Both a clean end and an error stay what they are.
            const auto again = reader->next();
            EXPECT_EQ(again.has_value(), event.has_value());
            EXPECT_EQ(again ? "" : again.error().message, result.error);
            return result;
        }
        result.events.push_back(std::move(**event));
    }
}

inline ReadBack read_bytes(std::string bytes) {
    return read_all(RecordingReader::from_bytes(std::move(bytes)));
}

inline void expect_prefix(const std::vector<Event>& got, std::size_t count) {
    const auto all = sample_events();
    ASSERT_EQ(got.size(), count);
    for (std::size_t i = 0; i < count; ++i) {
        EXPECT_EQ(record_of(got[i]), record_of(all[i])) << "event " << i;
    }
}

struct Sample {
    std::string bytes;
    std::vector<std::size_t> ends; ///< offset behind each event's record
};

inline Sample sample_stream() {
    Sample sample{header_bytes(), {}};
    for (const auto& event : sample_events()) {
        sample.bytes += record_of(event);
        sample.ends.push_back(sample.bytes.size());
    }
    sample.bytes += end_record(sample.ends.size());
    return sample;
}

// How many events lie wholly before `offset`.
inline std::size_t events_before(const Sample& sample, std::size_t offset) {
    return static_cast<std::size_t>(
        std::count_if(sample.ends.begin(), sample.ends.end(), [offset](std::size_t end) { return end <= offset; }));
}

} // namespace memtrace::testing
