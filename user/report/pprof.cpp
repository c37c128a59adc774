// Writes profile.proto, gzipped. Field numbers are those of github.com/google/pprof/proto/profile.proto, version of 2016 and later; Line.column came
// in 2023, and readers that do not know it pass it over.
//
// Addresses: a mapping stands for a module as a whole, from its ELF address 0 on, so that a location's address less the start of its
// mapping is the ELF address in the module. Modules are laid out one after the other, as readers tell them apart by address.
// A frame without a function is named "[module+0xoffset]", and every mapping says that it has its functions: a reader that set
// out to name it on its own would compute with segments that these mappings do not have, and find another function's name.
#include <algorithm>
#include <cstdio>
#include <map>
#include <ostream>
#include <tuple>
#include <unordered_map>

#include <protozero/pbf_writer.hpp>
#include <zlib.h>

#include "report/calls.hpp"
#include "report/format.hpp"
#include "report/render.hpp"

namespace memtrace {

namespace {

namespace profile {
enum : protozero::pbf_tag_type {
    kSampleType = 1,
    kSample = 2,
    kMapping = 3,
    kLocation = 4,
    kFunction = 5,
    kStringTable = 6,
    kTimeNanos = 9,
    kDurationNanos = 10,
    kPeriodType = 11,
    kPeriod = 12,
    kComment = 13,
    kDefaultSampleType = 14
};
} // namespace profile
namespace value_type {
enum : protozero::pbf_tag_type { kType = 1, kUnit = 2 };
} // namespace value_type
namespace sample {
enum : protozero::pbf_tag_type { kLocationId = 1, kValue = 2, kLabel = 3 };
} // namespace sample
namespace label {
enum : protozero::pbf_tag_type { kKey = 1, kStr = 2 };
} // namespace label
namespace mapping {
enum : protozero::pbf_tag_type {
    kId = 1,
    kMemoryStart = 2,
    kMemoryLimit = 3,
    kFilename = 5,
    kBuildId = 6,
    kHasFunctions = 7,
    kHasFilenames = 8,
    kHasLineNumbers = 9,
    kHasInlineFrames = 10
};
} // namespace mapping
namespace location {
enum : protozero::pbf_tag_type { kId = 1, kMappingId = 2, kAddress = 3, kLine = 4 };
} // namespace location
namespace line {
enum : protozero::pbf_tag_type { kFunctionId = 1, kLine = 2, kColumn = 3 };
} // namespace line
namespace function {
enum : protozero::pbf_tag_type { kId = 1, kName = 2, kSystemName = 3, kFilename = 4 };
} // namespace function

constexpr std::uint64_t kModuleAlignment = std::uint64_t{1} << 20;
constexpr std::uint64_t kFirstModule = std::uint64_t{1} << 22; ///< 0 would read as "no address"

std::int64_t to_value(std::uint64_t value) {
    return difference(value, 0);
}

struct Module {
    std::uint64_t id = 0;
    std::uint64_t start = 0;
    std::uint64_t limit = 0;
    std::uint64_t highest_offset = 0;
    std::string build_id;
    bool filenames = false, lines = false, inlined = false;
};

/// What tells locations apart: mapping, offset, then function, line and column of each of its lines.
struct HashKey {
    std::size_t operator()(const std::vector<std::uint64_t>& key) const {
        std::uint64_t hash = 0;
        for (const auto part : key) {
            hash = (hash ^ part) * 0x9e3779b97f4a7c15;
            hash ^= hash >> 32;
        }
        return hash;
    }
};

/// Builds the message. Every kind of entry is numbered from 1 as it is first met; 0 means none.
class ProfileBuilder {
public:
    explicit ProfileBuilder(const Report& report) : report_(report), writer_(bytes_) { string(""); }

    std::string build() {
        for (const auto& [type, unit] : {std::pair{"alloc_objects", "count"}, std::pair{"alloc_space", "bytes"},
                                         std::pair{"inuse_objects", "count"}, std::pair{"inuse_space", "bytes"}}) {
            add_value_type(profile::kSampleType, type, unit);
        }
        collect_modules();
        add_mappings();
        for (const auto& site : report_.sites) {
            add_sample(site);
        }
        add_head();
        for (const auto* text : strings_) {
            writer_.add_string(profile::kStringTable, printable(*text)); // readers refuse what is not UTF-8
        }
        return std::move(bytes_);
    }

private:
    std::int64_t string(const std::string& text) {
        const auto [entry, added] = string_ids_.try_emplace(text, static_cast<std::int64_t>(strings_.size()));
        if (added) {
            strings_.push_back(&entry->first); // keys of an unordered_map stay where they are
        }
        return entry->second;
    }

    void add_value_type(protozero::pbf_tag_type field, const char* type, const char* unit) {
        protozero::pbf_writer message(writer_, field);
        message.add_int64(value_type::kType, string(type));
        message.add_int64(value_type::kUnit, string(unit));
    }

    void collect_modules() {
        for (const auto& site : report_.sites) {
            for (const auto& frame : site.stack) {
                if (frame.module.empty()) {
                    continue;
                }
                auto& module = modules_[frame.module];
                module.highest_offset = std::max(module.highest_offset, frame.offset);
                module.filenames |= !frame.file.empty();
                module.lines |= frame.line != 0;
                module.inlined |= frame.inlined;
                if (module.build_id.empty()) {
                    module.build_id = frame.build_id;
                }
            }
        }
    }

    /// Readers take the first mapping for the main program.
    void add_mappings() {
        if (const auto main = modules_.find(report_.process.exe); main != modules_.end()) {
            add_mapping(main->first, main->second);
        }
        for (auto& [path, module] : modules_) {
            if (module.id == 0) {
                add_mapping(path, module);
            }
        }
    }

    void add_mapping(const std::string& path, Module& module) {
        const std::uint64_t size = saturating_add(module.highest_offset, kModuleAlignment) / kModuleAlignment * kModuleAlignment;
        module.id = ++mappings_;
        module.start = saturating_add(next_start_, size) == UINT64_MAX ? 0 : next_start_; // offsets out of a broken file: overlap
        module.limit = module.start + size;
        next_start_ = std::max(next_start_, module.limit);
        protozero::pbf_writer message(writer_, profile::kMapping);
        message.add_uint64(mapping::kId, module.id);
        message.add_uint64(mapping::kMemoryStart, module.start);
        message.add_uint64(mapping::kMemoryLimit, module.limit);
        message.add_int64(mapping::kFilename, string(path));
        message.add_int64(mapping::kBuildId, string(module.build_id));
        message.add_bool(mapping::kHasFunctions, true);
        message.add_bool(mapping::kHasFilenames, module.filenames);
        message.add_bool(mapping::kHasLineNumbers, module.lines);
        message.add_bool(mapping::kHasInlineFrames, module.inlined);
    }

    std::uint64_t function(const std::string& name, const std::string& file) {
        const auto name_id = string(name);
        const auto file_id = string(file);
        const auto [entry, added] = functions_.try_emplace({name_id, file_id}, functions_.size() + 1);
        if (added) {
            protozero::pbf_writer message(writer_, profile::kFunction);
            message.add_uint64(function::kId, entry->second);
            message.add_int64(function::kName, name_id);
            message.add_int64(function::kSystemName, name_id);
            message.add_int64(function::kFilename, file_id);
        }
        return entry->second;
    }

    /// The functions and lines of a call tell locations apart too: a foreign file may name one address in two ways.
    std::uint64_t call_location(const Call& call) {
        const ReportFrame& frame = call.frame();
        const Module* module = frame.module.empty() ? nullptr : &modules_[frame.module];
        std::vector<std::uint64_t> key{module == nullptr ? 0 : module->id, frame.offset};
        for (const ReportFrame* inner = call.first; inner != call.last; ++inner) {
            key.push_back(function(frame_name(*inner), inner->file));
            key.push_back(inner->line);
            key.push_back(inner->column);
        }
        const auto [entry, added] = locations_.try_emplace(std::move(key), locations_.size() + 1);
        if (added) {
            protozero::pbf_writer message(writer_, profile::kLocation);
            message.add_uint64(location::kId, entry->second);
            message.add_uint64(location::kMappingId, entry->first[0]);
            // Inside the call instruction, not after it: the next line may be another's.
            message.add_uint64(location::kAddress,
                               (module == nullptr ? 0 : module->start) + frame.offset - (frame.offset > 0 ? 1 : 0));
            for (std::size_t i = 2; i < entry->first.size(); i += 3) {
                add_line(message, entry->first[i], entry->first[i + 1], entry->first[i + 2]);
            }
        }
        return entry->second;
    }

    static void add_line(protozero::pbf_writer& place, std::uint64_t function_id, std::uint64_t number, std::uint64_t column) {
        protozero::pbf_writer message(place, location::kLine);
        message.add_uint64(line::kFunctionId, function_id);
        message.add_int64(line::kLine, to_value(number));
        if (column > 0) {
            message.add_int64(line::kColumn, to_value(column));
        }
    }

    std::uint64_t unknown_location() {
        static const ReportFrame kNoStack{"[no stack]", "", 0, "", 0, false, "", 0};
        return call_location({&kNoStack, &kNoStack + 1});
    }

    void add_sample(const ReportSite& site) {
        std::vector<std::uint64_t> locations;
        for (const auto& call : calls_of(site.stack)) {
            locations.push_back(call_location(call));
        }
        if (locations.empty()) {
            locations.push_back(unknown_location());
        }
        const std::int64_t values[] = {to_value(site.allocs), to_value(site.allocated_bytes), to_value(site.live_objects),
                                       to_value(site.live_bytes)};
        protozero::pbf_writer message(writer_, profile::kSample);
        message.add_packed_uint64(sample::kLocationId, locations.begin(), locations.end());
        message.add_packed_int64(sample::kValue, std::begin(values), std::end(values));
        add_label(message, "site", site.id);
        add_label(message, "allocator", site.allocator);
        add_label(message, "function", site.function);
        add_label(message, "verdict", site.verdict);
        if (site.stack_truncated) {
            add_label(message, "stack", "incomplete");
        }
    }

    void add_label(protozero::pbf_writer& place, const char* key, const std::string& text) {
        if (text.empty()) {
            return;
        }
        protozero::pbf_writer message(place, sample::kLabel);
        message.add_int64(label::kKey, string(key));
        message.add_int64(label::kStr, string(text));
    }

    void add_head() {
        writer_.add_int64(profile::kTimeNanos, to_value(report_.time_unix_ns));
        const double duration_ns = report_.duration_s * 1e9;
        writer_.add_int64(profile::kDurationNanos,
                          duration_ns > 0 && duration_ns < 9e18 ? static_cast<std::int64_t>(duration_ns) : 0);
        add_value_type(profile::kPeriodType, "space", "bytes");
        writer_.add_int64(profile::kPeriod, std::max<std::int64_t>(1, to_value(report_.coverage.sample_interval_bytes)));
        for (const auto& text : comments()) {
            writer_.add_int64(profile::kComment, string(text));
        }
        writer_.add_int64(profile::kDefaultSampleType, string("inuse_space"));
    }

    [[nodiscard]] std::vector<std::string> comments() const {
        const auto& coverage = report_.coverage;
        std::vector<std::string> lines;
        lines.push_back("memtrace " + report_.tool_version + ", " + report_.process.comm + " pid " +
                        std::to_string(report_.process.pid));
        std::string cover = "coverage: " + coverage.mode;
        if (coverage.sample_interval_bytes > 0) {
            cover += ", one sample per " + std::to_string(coverage.sample_interval_bytes) + " bytes";
        }
        if (report_.min_age_s > 0) {
            cover += ", in-use figures count blocks at least " + human_duration(report_.min_age_s) + " old";
        }
        lines.push_back(cover + ", " + std::to_string(coverage.unmatched_frees) + " unmatched frees");
        for (const auto& [name, count] : coverage.lost) {
            lines.push_back("lost: " + name + " " + std::to_string(count));
        }
        return lines;
    }

    const Report& report_;
    std::string bytes_;
    protozero::pbf_writer writer_;
    std::unordered_map<std::string, std::int64_t> string_ids_;
    std::vector<const std::string*> strings_;
    std::map<std::string, Module> modules_;
    std::map<std::pair<std::int64_t, std::int64_t>, std::uint64_t> functions_;
    std::unordered_map<std::vector<std::uint64_t>, std::uint64_t, HashKey> locations_;
    std::uint64_t mappings_ = 0;
    std::uint64_t next_start_ = kFirstModule;
};

/// The same bytes for the same report: the gzip header carries no time.
void write_gzip(const std::string& bytes, std::ostream& out) {
    constexpr int kGzipWindow = 15 + 16; // + 16 asks zlib for a gzip header
    z_stream stream{};
    if (deflateInit2(&stream, Z_BEST_SPEED, Z_DEFLATED, kGzipWindow, 8, Z_DEFAULT_STRATEGY) != Z_OK) {
        out.setstate(std::ios::failbit); // out of memory: nothing else can go wrong here
        return;
    }
    std::string_view rest = bytes;
    char chunk[1 << 15];
    int state = Z_OK;
    while (state == Z_OK) {
        const std::size_t part = std::min<std::size_t>(rest.size(), 1U << 30);
        stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(rest.data())); // zlib reads only
        stream.avail_in = static_cast<uInt>(part);
        do {
            stream.next_out = reinterpret_cast<Bytef*>(chunk);
            stream.avail_out = sizeof(chunk);
            state = deflate(&stream, part == rest.size() ? Z_FINISH : Z_NO_FLUSH);
            out.write(chunk, static_cast<std::streamsize>(sizeof(chunk) - stream.avail_out));
        } while (stream.avail_out == 0 && state == Z_OK);
        rest.remove_prefix(part);
    }
    deflateEnd(&stream);
}

} // namespace

void render_pprof(const Report& report, std::ostream& out) {
    write_gzip(ProfileBuilder(report).build(), out);
}

} // namespace memtrace
