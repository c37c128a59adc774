// The pprof file, read back: gunzip, then protozero's reader with the field numbers of profile.proto.
#include <gtest/gtest.h>

#include <chrono>
#include <map>

#include <protozero/pbf_reader.hpp>
#include <zlib.h>

#include "tests/unit/report_sample.hpp"

namespace memtrace {
namespace {

using namespace test;

std::string gunzip(const std::string& packed) {
    z_stream stream{};
    EXPECT_EQ(inflateInit2(&stream, 15 + 16), Z_OK);
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));
    stream.avail_in = static_cast<uInt>(packed.size());
    std::string plain;
    char chunk[1 << 14];
    int state = Z_OK;
    while (state == Z_OK) {
        stream.next_out = reinterpret_cast<Bytef*>(chunk);
        stream.avail_out = sizeof(chunk);
        state = inflate(&stream, Z_NO_FLUSH);
        plain.append(chunk, sizeof(chunk) - stream.avail_out);
    }
    EXPECT_EQ(state, Z_STREAM_END);
    EXPECT_EQ(stream.avail_in, 0U);
    inflateEnd(&stream);
    return plain;
}

struct Sample {
    std::vector<std::uint64_t> locations;
    std::vector<std::int64_t> values;
    std::map<std::string, std::string> labels;
};

/// The scalar fields of a message by number; nested ones (of one kind) apart.
struct Fields {
    std::map<unsigned, std::uint64_t> scalars;
    std::vector<std::map<unsigned, std::uint64_t>> nested;
};

Fields fields_of(protozero::pbf_reader message) {
    Fields fields;
    while (message.next()) {
        if (message.wire_type() == protozero::pbf_wire_type::varint) {
            fields.scalars[message.tag()] = message.get_uint64();
        } else {
            fields.nested.push_back(fields_of(message.get_message()).scalars);
        }
    }
    return fields;
}

struct Profile {
    std::vector<std::string> strings;
    std::vector<std::pair<std::string, std::string>> sample_types;
    std::vector<Sample> samples;
    std::vector<Fields> mappings, locations, functions;
    std::map<unsigned, std::uint64_t> scalars;
    std::vector<std::string> comments;
    std::pair<std::string, std::string> period_type;

    /// "function:line" of each Line of a location, in order.
    [[nodiscard]] std::vector<std::string> lines(std::uint64_t location) const {
        std::vector<std::string> result;
        for (auto line : locations.at(location - 1).nested) {
            auto function = functions.at(line[1] - 1).scalars;
            result.push_back(strings.at(function[2]) + ":" + std::to_string(line[2]) +
                             (line.contains(3) ? ":" + std::to_string(line[3]) : ""));
        }
        return result;
    }
};

Sample read_sample(protozero::pbf_reader message, const std::vector<std::string>& strings) {
    Sample sample;
    while (message.next()) {
        if (message.tag() == 1) {
            const auto range = message.get_packed_uint64();
            sample.locations.assign(range.begin(), range.end());
        } else if (message.tag() == 2) {
            const auto range = message.get_packed_int64();
            sample.values.assign(range.begin(), range.end());
        } else {
            auto label = fields_of(message.get_message()).scalars;
            sample.labels[strings.at(label[1])] = strings.at(label[2]);
        }
    }
    return sample;
}

Profile read_profile(const std::string& bytes) {
    Profile profile;
    for (protozero::pbf_reader reader(bytes); reader.next(6);) {
        profile.strings.push_back(reader.get_string());
    }
    const auto type = [&](protozero::pbf_reader message) {
        auto fields = fields_of(message).scalars;
        return std::pair(profile.strings.at(fields[1]), profile.strings.at(fields[2]));
    };
    for (protozero::pbf_reader reader(bytes); reader.next();) {
        switch (reader.tag()) {
        case 1:
            profile.sample_types.push_back(type(reader.get_message()));
            break;
        case 2:
            profile.samples.push_back(read_sample(reader.get_message(), profile.strings));
            break;
        case 3:
            profile.mappings.push_back(fields_of(reader.get_message()));
            break;
        case 4:
            profile.locations.push_back(fields_of(reader.get_message()));
            break;
        case 5:
            profile.functions.push_back(fields_of(reader.get_message()));
            break;
        case 11:
            profile.period_type = type(reader.get_message());
            break;
        case 13:
            profile.comments.push_back(profile.strings.at(reader.get_uint64()));
            break;
        case 6:
            reader.skip();
            break;
        default:
            profile.scalars[reader.tag()] = reader.get_uint64();
        }
    }
    return profile;
}

std::string pprof_of(const Report& report) {
    std::ostringstream out;
    render_pprof(report, out);
    return out.str();
}

Profile profile_of(const Report& report) {
    return read_profile(gunzip(pprof_of(report)));
}

TEST(RenderPprof, HeadNamesTypesTimesAndPeriod) {
    Report report = sample_report();
    report.coverage.lost["ring_full"] = 9;
    const Profile profile = profile_of(report);
    EXPECT_EQ(profile.strings.at(0), "");
    const std::vector<std::pair<std::string, std::string>> types{
        {"alloc_objects", "count"}, {"alloc_space", "bytes"}, {"inuse_objects", "count"}, {"inuse_space", "bytes"}};
    EXPECT_EQ(profile.sample_types, types);
    EXPECT_EQ(profile.strings.at(profile.scalars.at(14)), "inuse_space");
    EXPECT_EQ(profile.scalars.at(9), report.time_unix_ns);
    EXPECT_EQ(profile.scalars.at(10), 90'000'000'000U);
    EXPECT_EQ(profile.period_type, (std::pair<std::string, std::string>("space", "bytes")));
    EXPECT_EQ(profile.scalars.at(12), 1U);
    EXPECT_EQ(profile.comments, (std::vector<std::string>{"memtrace 0.1.0, lightning pid 1234",
                                                          "coverage: exact, 3 unmatched frees", "lost: ring_full 9"}));
}

TEST(RenderPprof, PeriodIsTheSampleInterval) {
    Report report = sample_report();
    report.coverage.mode = "sampled";
    report.coverage.sample_interval_bytes = 65536;
    EXPECT_EQ(profile_of(report).scalars.at(12), 65536U);
}

TEST(RenderPprof, SamplesCarryTheFourValuesAndTheStack) {
    const Profile profile = profile_of(sample_report());
    ASSERT_EQ(profile.samples.size(), 2U);
    const Sample& big = profile.samples[0];
    EXPECT_EQ(big.values, (std::vector<std::int64_t>{110, (4 << 20) + 1000, 100, 4 << 20}));
    ASSERT_EQ(big.locations.size(), 2U);
    EXPECT_EQ(profile.lines(big.locations[0]), (std::vector<std::string>{"open_00000000000000bb:42:11"}));
    EXPECT_EQ(profile.lines(big.locations[1]), (std::vector<std::string>{"main:7"}));
    EXPECT_EQ(big.locations[1], profile.samples[1].locations[1]); // main is one location in both
    EXPECT_EQ(profile.samples[1].labels.at("site"), "00000000000000aa");
    EXPECT_EQ(profile.samples[1].labels.at("verdict"), "definite");
    EXPECT_EQ(big.labels.at("function"), "malloc");
    EXPECT_FALSE(big.labels.contains("stack"));
}

TEST(RenderPprof, IncompleteStackIsLabelled) {
    Report report = sample_report();
    report.sites[0].stack_truncated = true;
    EXPECT_EQ(profile_of(report).samples[0].labels.at("stack"), "incomplete");
}

TEST(RenderPprof, InlinedFramesAreLinesOfOneLocation) {
    Report report = sample_report();
    report.sites.resize(1);
    const std::string module = "/x/bin";
    report.sites[0].stack = {{"inner", "a.h", 1, module, 0x50, true, ""},    {"middle", "a.h", 2, module, 0x50, true, ""},
                             {"outer", "a.cpp", 3, module, 0x50, false, ""}, {"caller", "b.cpp", 4, module, 0x60, false, ""},
                             {"broken", "b.cpp", 5, module, 0x70, true, ""}, {"other", "b.cpp", 6, module, 0x80, false, ""}};
    const Profile profile = profile_of(report);
    const auto& locations = profile.samples[0].locations;
    ASSERT_EQ(locations.size(), 4U); // "broken" claims to be inlined into another address: it stands alone
    EXPECT_EQ(profile.lines(locations[0]), (std::vector<std::string>{"inner:1", "middle:2", "outer:3"}));
    EXPECT_EQ(profile.lines(locations[1]), (std::vector<std::string>{"caller:4"}));
    EXPECT_EQ(profile.lines(locations[2]), (std::vector<std::string>{"broken:5"}));
    EXPECT_EQ(profile.mappings.at(0).scalars.at(10), 1U); // has_inline_frames
}

TEST(RenderPprof, ModulesGetRangesOfTheirOwnAndTheProgramComesFirst) {
    Report report = sample_report();
    report.sites[0].stack.insert(report.sites[0].stack.begin(), {"in_lib", "", 0, "/a/lib.so", 0x300000, false, "ff00"});
    report.sites[0].stack.push_back({"", "", 0, "", 0x7f0000000010, false, ""});
    const Profile profile = profile_of(report);
    ASSERT_EQ(profile.mappings.size(), 2U);
    auto program = profile.mappings[0].scalars;
    auto library = profile.mappings[1].scalars;
    EXPECT_EQ(profile.strings.at(program[5]), "/usr/lib/db/bin/lightning");
    EXPECT_EQ(profile.strings.at(program[6]), "a1b2c3");
    EXPECT_EQ(profile.strings.at(library[5]), "/a/lib.so");
    EXPECT_EQ(profile.strings.at(library[6]), "ff00");
    EXPECT_LE(program[3], library[2]);
    EXPECT_EQ(program[7], 1U); // has_functions
    EXPECT_EQ(program[8], 1U); // has_filenames
    EXPECT_EQ(program[9], 1U); // has_line_numbers
    EXPECT_EQ(library[8], 0U);
    auto in_library = profile.locations.at(profile.samples[0].locations[0] - 1).scalars;
    EXPECT_EQ(in_library[2], library[1]);
    EXPECT_EQ(in_library[3], library[2] + 0x300000 - 1); // inside the call
    EXPECT_LT(in_library[3], library[3]);
    auto bare = profile.locations.at(profile.samples[0].locations.back() - 1).scalars;
    EXPECT_EQ(bare[2], 0U); // in no mapping
    EXPECT_EQ(bare[3], 0x7f000000000fU);
    EXPECT_EQ(profile.lines(profile.samples[0].locations.back()), (std::vector<std::string>{"[0x7f0000000010]:0"}));
}

TEST(RenderPprof, EveryIdIsDefined) {
    const Profile profile = profile_of(large_report(200, 20));
    for (std::size_t i = 0; i < profile.locations.size(); ++i) {
        EXPECT_EQ(profile.locations[i].scalars.at(1), i + 1);
        EXPECT_EQ(profile.locations[i].nested.size(), 1U);
    }
    for (std::size_t i = 0; i < profile.functions.size(); ++i) {
        auto function = profile.functions[i].scalars;
        EXPECT_EQ(function[1], i + 1);
        EXPECT_LT(function[2], profile.strings.size());
        EXPECT_LT(function[4], profile.strings.size());
    }
    ASSERT_EQ(profile.samples.size(), 200U);
    for (const auto& sample : profile.samples) {
        ASSERT_EQ(sample.locations.size(), 20U);
        for (const auto location : sample.locations) {
            EXPECT_TRUE(location >= 1 && location <= profile.locations.size());
        }
    }
}

TEST(RenderPprof, EmptyReportIsAValidProfile) {
    const Profile profile = profile_of(Report{});
    EXPECT_EQ(profile.sample_types.size(), 4U);
    EXPECT_TRUE(profile.samples.empty());
    EXPECT_TRUE(profile.mappings.empty());
}

TEST(RenderPprof, SiteWithoutStackKeepsItsBytes) {
    Report report = sample_report();
    report.sites[0].stack.clear();
    const Profile profile = profile_of(report);
    EXPECT_EQ(profile.samples[0].values[3], 4 << 20);
    EXPECT_EQ(profile.lines(profile.samples[0].locations.at(0)), (std::vector<std::string>{"[no stack]:0"}));
}

TEST(RenderPprof, HostileValuesStayInRange) {
    Report report = sample_report();
    report.sites[0].live_bytes = UINT64_MAX;
    report.sites[0].stack[0].offset = UINT64_MAX;
    report.sites[0].stack[0].function = "bad\xff\n";
    report.sites[0].stack[1].offset = 0;
    report.duration_s = 1e300;
    const Profile profile = profile_of(report);
    EXPECT_EQ(profile.samples[0].values[3], INT64_MAX);
    EXPECT_EQ(profile.lines(profile.samples[0].locations[0])[0], "bad??:42:11");
    EXPECT_EQ(profile.scalars.at(10), 0U);
}

TEST(RenderPprof, SameReportGivesTheSameBytes) {
    EXPECT_EQ(pprof_of(sample_report()), pprof_of(sample_report()));
}

TEST(RenderPprof, FiftyThousandSitesTakeSecondsAtMost) {
    const Report report = large_report(50'000, 8);
    const auto start = std::chrono::steady_clock::now();
    const std::string packed = pprof_of(report);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    EXPECT_EQ(read_profile(gunzip(packed)).samples.size(), 50'000U);
    EXPECT_LT(took.count(), 20.0); // some 1 s; the rest is for a sanitizer and a busy machine
    RecordProperty("seconds", std::to_string(took.count()));
}

} // namespace
} // namespace memtrace
