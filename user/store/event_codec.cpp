#include "store/event_codec.hpp"

#include <zlib.h>

#include <bit>
#include <concepts>
#include <type_traits>
#include <utility>
#include <variant>

#include "base/bytes.hpp"

namespace memtrace {

namespace {

// ByteReader and ByteWriter copy values as they lie in memory.
static_assert(std::endian::native == std::endian::little, "recordings are little-endian: byte-swap in base/bytes.hpp first");

// The numbers are part of the file format: never change or reuse one, give a new event the next. The order in the variant is
// free to change.
template <typename T>
constexpr std::uint16_t kKind = 0;
template <>
constexpr std::uint16_t kKind<RunStarted> = 1;
template <>
constexpr std::uint16_t kKind<ProcessStarted> = 2;
template <>
constexpr std::uint16_t kKind<ProcessEnded> = 3;
template <>
constexpr std::uint16_t kKind<ModuleMapped> = 4;
template <>
constexpr std::uint16_t kKind<StackDefined> = 5;
template <>
constexpr std::uint16_t kKind<SymbolResolved> = 6;
template <>
constexpr std::uint16_t kKind<SiteDefined> = 7;
template <>
constexpr std::uint16_t kKind<SiteSample> = 8;
template <>
constexpr std::uint16_t kKind<ProcessSample> = 9;
template <>
constexpr std::uint16_t kKind<CounterSample> = 10;
template <>
constexpr std::uint16_t kKind<TickEnded> = 11;
template <>
constexpr std::uint16_t kKind<ReportDue> = 12;
template <>
constexpr std::uint16_t kKind<PagesStarted> = 13;
template <>
constexpr std::uint16_t kKind<PageSiteDefined> = 14;
template <>
constexpr std::uint16_t kKind<PageSiteSample> = 15;
template <>
constexpr std::uint16_t kKind<PageSample> = 16;
template <>
constexpr std::uint16_t kKind<ModeChanged> = 17;
template <>
constexpr std::uint16_t kKind<ContractStarted> = 18;
template <>
constexpr std::uint16_t kKind<ObjectTold> = 19;
template <>
constexpr std::uint16_t kKind<ReferenceTold> = 20;
template <>
constexpr std::uint16_t kKind<ResourceTold> = 21;
template <>
constexpr std::uint16_t kKind<PoolTold> = 22;
template <>
constexpr std::uint16_t kKind<CleanupTold> = 23;
template <>
constexpr std::uint16_t kKind<ThreadEnded> = 24;
template <>
constexpr std::uint16_t kKind<HandlePlaced> = 25;
template <>
constexpr std::uint16_t kKind<StorageTold> = 26;
template <>
constexpr std::uint16_t kKind<MemorySample> = 27;
template <>
constexpr std::uint16_t kKind<ResourceKindDefined> = 28;
template <>
constexpr std::uint16_t kKind<ResourcesStarted> = 29;
template <>
constexpr std::uint16_t kKind<CohortsCut> = 30;
template <>
constexpr std::uint16_t kKind<ProcessForgotten> = 31;
template <>
constexpr std::uint16_t kKind<CollectorSample> = 32;
template <>
constexpr std::uint16_t kKind<ResourceThresholds> = 33;

// A T, const where it is written and not const where it is read.
template <typename T, typename Of>
concept Is = std::same_as<std::remove_const_t<T>, Of>;

// The fields of each event in file order, stated once for writing and reading. New fields go to the end, as archive.later().
template <typename A>
void fields(A& archive, Is<RunStarted> auto& e) {
    archive(e.version, e.wall_ns, e.mono_ns, e.min_age_ns, e.max_live, e.kernel_bytes, e.trap_ns);
}
template <typename A>
void fields(A& archive, Is<ProcessStarted> auto& e) {
    archive(e.process, e.pid, e.start_wall_ns, e.attach_mono_ns, e.from_start, e.comm, e.exe, e.cmdline, e.sources);
}
template <typename A>
void fields(A& archive, Is<ProcessEnded> auto& e) {
    archive(e.process, e.reason);
}
template <typename A>
void fields(A& archive, Is<ProcessForgotten> auto& e) {
    archive(e.process);
}
template <typename A>
void fields(A& archive, Is<CollectorSample> auto& e) {
    archive(e.cpu_ratio, e.cpu_budget, e.rss_bytes, e.memory_budget, e.interval_s, e.tick_s, e.ages_s, e.sites_listed,
            e.max_sites, e.forgotten, e.reason);
}
template <typename A>
void fields(A& archive, Is<ModuleMapped> auto& e) {
    archive(e.module, e.process, e.path, e.build_id);
}
template <typename A>
void fields(A& archive, Is<Frame> auto& e) {
    archive(e.module, e.offset);
}
template <typename A>
void fields(A& archive, Is<StackDefined> auto& e) {
    archive(e.stack, e.process, e.truncated, e.frames);
}
template <typename A>
void fields(A& archive, Is<SymbolLine> auto& e) {
    archive(e.function, e.file, e.line, e.inlined);
}
/// Columns came later, when the elements of an array could not grow any more: they stand behind it, in an array of their own.
template <typename A>
void fields(A& archive, Is<SymbolResolved> auto& e) {
    archive(e.frame, e.lines);
    archive.columns(e.lines);
}
template <typename A>
void fields(A& archive, Is<SiteDefined> auto& e) {
    archive(e.site, e.process, e.stack, e.allocator, e.function);
}
template <typename A>
void fields(A& archive, Is<SiteSample> auto& e) {
    archive(e.site, e.allocs, e.frees, e.allocated_bytes, e.freed_bytes, e.aged_objects, e.aged_bytes, e.oldest_ns);
    archive.later(e.live_bytes_variance, e.live_objects_variance, e.unverified_objects, e.unverified_bytes, e.births);
}
template <typename A>
void fields(A& archive, Is<ProcessSample> auto& e) {
    archive(e.process, e.rss_bytes, e.cpu_ns);
    archive.later(e.probe_ns);
}
template <typename A>
void fields(A& archive, Is<CounterSample> auto& e) {
    archive(e.process, e.name, e.value, e.loss);
}
template <typename A>
void fields(A& archive, Is<ModeChanged> auto& e) {
    archive(e.process, e.mode, e.interval_bytes, e.window_s, e.period_s, e.budget, e.reason);
}
template <typename A>
void fields(A& archive, Is<TickEnded> auto& e) {
    archive(e.wall_ns, e.mono_ns);
}
template <typename A>
void fields(A& archive, Is<ReportDue> auto& e) {
    archive(e.last);
}
template <typename A>
void fields(A& archive, Is<PagesStarted> auto& e) {
    archive(e.process, e.sources);
}
template <typename A>
void fields(A& archive, Is<PageSiteDefined> auto& e) {
    archive(e.site, e.process, e.stack, e.kind);
}
template <typename A>
void fields(A& archive, Is<PageSiteSample> auto& e) {
    archive(e.site, e.bytes, e.returned_bytes, e.events);
}
template <typename A>
void fields(A& archive, Is<PageSample> auto& e) {
    archive(e.process, e.faulted_bytes, e.returned_bytes, e.mapped_bytes, e.unmapped_bytes);
}

template <typename A>
void fields(A& archive, Is<ContractStarted> auto& e) {
    archive(e.process, e.sources, e.sampled_one_in);
}
template <typename A>
void fields(A& archive, Is<ContractOrigin> auto& e) {
    archive(e.process, e.mono_ns, e.tid, e.stack);
}
template <typename A>
void fields(A& archive, Is<ObjectTold> auto& e) {
    archive(e.origin, e.action, e.address, e.bytes, e.type, e.strong, e.weak);
}
template <typename A>
void fields(A& archive, Is<ReferenceTold> auto& e) {
    archive(e.origin, e.action, e.object, e.handle, e.from, e.strong, e.count);
}
template <typename A>
void fields(A& archive, Is<ResourceTold> auto& e) {
    archive(e.origin, e.action, e.kind, e.id, e.parent, e.bytes, e.name, e.age_ns, e.idle_ns);
    archive.later(e.of_kernel);
}
template <typename A>
void fields(A& archive, Is<ResourcesStarted> auto& e) {
    archive(e.process, e.sources, e.descriptor_limit);
}
template <typename A>
void fields(A& archive, Is<PoolTold> auto& e) {
    archive(e.origin, e.action, e.pool, e.name, e.in_use, e.limit);
}
template <typename A>
void fields(A& archive, Is<CleanupTold> auto& e) {
    archive(e.origin, e.ended, e.level, e.bytes, e.released);
}
template <typename A>
void fields(A& archive, Is<ThreadEnded> auto& e) {
    archive(e.process, e.mono_ns, e.tid);
}
template <typename A>
void fields(A& archive, Is<HandlePlaced> auto& e) {
    archive(e.process, e.handle, e.place, e.owner);
}
template <typename A>
void fields(A& archive, Is<StorageTold> auto& e) {
    archive(e.origin, e.action, e.address, e.bytes, e.holder, e.from);
}
template <typename A>
void fields(A& archive, Is<ResourceKindDefined> auto& e) {
    archive(e.process, e.kind, e.max_age_ns, e.max_idle_ns, e.complete, e.acquirer_owns);
}

template <typename A>
void fields(A& archive, Is<ResourceThresholds> auto& e) {
    archive(e.min_released, e.factor, e.min_age_ns, e.settle_ns, e.sure_released, e.min_acquired, e.busy_p, e.busy_s);
}
template <typename A>
void fields(A& archive, Is<CohortsCut> auto& e) {
    archive(e.process, e.starts);
}
template <typename A>
void fields(A& archive, Is<MemorySample> auto& e) {
    archive(e.process, e.anon_bytes, e.file_bytes, e.shmem_bytes, e.swap_bytes, e.stack_bytes, e.cgroup_limit, e.limit_bytes,
            e.limit_used_bytes);
}

// The fewest bytes that an element of a vector takes: what a count is checked against before anything is reserved for it.
template <typename T>
constexpr std::size_t kLeastSize = 0;
template <>
constexpr std::size_t kLeastSize<std::uint32_t> = 4;
template <>
constexpr std::size_t kLeastSize<std::uint64_t> = 8;
template <>
constexpr std::size_t kLeastSize<std::string> = 4;
template <>
constexpr std::size_t kLeastSize<Frame> = 4 + 8;
template <>
constexpr std::size_t kLeastSize<SymbolLine> = 4 + 4 + 4 + 1;

// The last value of an enumeration, and what is wrong with one beyond it.
template <typename E>
struct EnumRange {
    E last;
    const char* problem;
};
template <typename E>
constexpr EnumRange<E> kEnum;
template <>
constexpr EnumRange<EndReason> kEnum<EndReason> = {EndReason::detached, "the reason for a process's end is unknown"};
template <>
constexpr EnumRange<TraceMode> kEnum<TraceMode> = {TraceMode::pages, "the mode of tracing is unknown"};
template <>
constexpr EnumRange<PageKind> kEnum<PageKind> = {PageKind::brk, "what a site does to memory is unknown"};
template <>
constexpr EnumRange<ObjectAction> kEnum<ObjectAction> = {ObjectAction::destroyed, "what happened to an object is unknown"};
template <>
constexpr EnumRange<ReferenceAction> kEnum<ReferenceAction> = {ReferenceAction::moved, "what happened to a reference is unknown"};
template <>
constexpr EnumRange<ResourceAction> kEnum<ResourceAction> = {ResourceAction::released, "what happened to a resource is unknown"};
template <>
constexpr EnumRange<PoolAction> kEnum<PoolAction> = {PoolAction::limited, "what happened to a pool is unknown"};
template <>
constexpr EnumRange<StorageAction> kEnum<StorageAction> = {StorageAction::moved, "what happened to storage is unknown"};
template <>
constexpr EnumRange<HandlePlace> kEnum<HandlePlace> = {HandlePlace::object, "the place of a handle is unknown"};

class Encoder {
public:
    template <typename... T>
    void operator()(const T&... values) {
        (put(values), ...);
    }
    void later(const auto&... values) { (put(values), ...); }
    void columns(const std::vector<SymbolLine>& lines) {
        std::vector<std::uint32_t> values;
        for (const auto& line : lines) {
            values.push_back(line.column);
        }
        put(values);
    }
    [[nodiscard]] const std::string& data() const { return out_.data(); }

private:
    template <typename T>
        requires std::is_integral_v<T> || std::is_floating_point_v<T>
    void put(T value) {
        out_.write(value);
    }
    void put(bool value) { out_.write<std::uint8_t>(value ? 1 : 0); }
    template <typename E>
        requires std::is_enum_v<E>
    void put(E value) {
        out_.write(static_cast<std::uint8_t>(value));
    }
    void put(const std::string& value) { out_.string(value); }
    template <typename Tag>
    void put(Id<Tag> id) {
        out_.write(id.value);
    }
    void put(const Frame& value) { fields(*this, value); }
    void put(const ContractOrigin& value) { fields(*this, value); }
    void put(const SymbolLine& value) { fields(*this, value); }
    template <typename T>
    void put(const std::vector<T>& values) {
        out_.write(static_cast<std::uint32_t>(values.size()));
        for (const auto& value : values) {
            put(value);
        }
    }

    ByteWriter out_;
};

class Decoder {
public:
    explicit Decoder(std::string_view payload) : in_(payload) {}

    template <typename... T>
    void operator()(T&... values) {
        (get(values), ...);
    }
    /// Fields that older recordings end before: there they keep what they are initialized with.
    void later(auto&... values) { ((in_.remaining() != 0 ? get(values) : void()), ...); }
    void columns(std::vector<SymbolLine>& lines) {
        std::vector<std::uint32_t> values;
        later(values);
        if (!values.empty() && values.size() != lines.size()) {
            problem_ = "there are not as many columns as lines";
            return;
        }
        for (std::size_t i = 0; i < values.size(); ++i) {
            lines[i].column = values[i];
        }
    }
    /// What is wrong with the payload, nullptr where nothing is.
    [[nodiscard]] const char* problem() const { return in_.failed() ? "it ends within a field" : problem_; }

private:
    template <typename T>
        requires std::is_integral_v<T> || std::is_floating_point_v<T>
    void get(T& value) {
        value = in_.read<T>();
    }
    void get(bool& value) {
        const auto raw = in_.read<std::uint8_t>();
        value = raw == 1;
        if (raw > 1) {
            problem_ = "a flag is neither 0 nor 1";
        }
    }
    template <typename E>
        requires std::is_enum_v<E>
    void get(E& value) {
        const auto raw = in_.read<std::uint8_t>();
        if (raw > static_cast<std::uint8_t>(kEnum<E>.last)) {
            problem_ = kEnum<E>.problem;
            return;
        }
        value = static_cast<E>(raw);
    }
    void get(std::string& value) { value = in_.string(); }
    template <typename Tag>
    void get(Id<Tag>& id) {
        id.value = in_.read<std::uint32_t>();
    }
    void get(Frame& value) { fields(*this, value); }
    void get(ContractOrigin& value) { fields(*this, value); }
    void get(SymbolLine& value) { fields(*this, value); }
    template <typename T>
    void get(std::vector<T>& values) {
        const auto count = in_.read<std::uint32_t>();
        if (count > in_.remaining() / kLeastSize<T>) {
            problem_ = "a count exceeds what the record can hold";
            return;
        }
        values.resize(count);
        for (auto& value : values) {
            get(value);
        }
    }

    ByteReader in_;
    const char* problem_ = nullptr;
};

// What the model may rely on beyond the types; nullptr where all is well.
const char* broken_promise(const auto&) {
    return nullptr;
}
const char* broken_promise(const SymbolResolved& event) {
    return event.lines.empty() ? "a resolved symbol has no line" : nullptr;
}

template <typename T>
Result<std::optional<Event>> decode_as(std::string_view payload) {
    T event;
    Decoder decoder(payload);
    fields(decoder, event);
    const char* problem = decoder.problem();
    if (!problem) {
        problem = broken_promise(event);
    }
    if (problem) {
        return fail(problem);
    }
    return Event(std::move(event));
}

// Goes through the alternatives of Event, so that none can be forgotten.
template <typename... T>
Result<std::optional<Event>> decode_one_of(std::uint16_t kind, std::string_view payload, std::type_identity<std::variant<T...>>) {
    static_assert(((kKind<T> != 0) && ...), "an event has no kind number");
    Result<std::optional<Event>> result = std::nullopt;
    static_cast<void>(((kind == kKind<T> && (result = decode_as<T>(payload), true)) || ...));
    return result;
}

constexpr std::size_t kCrcOffset = 8;

} // namespace

RecordHeader parse_record_header(std::string_view bytes) {
    ByteReader reader(bytes);
    RecordHeader header;
    header.kind = reader.read<std::uint16_t>();
    reader.read<std::uint16_t>(); // flags: none is defined yet, and none may change what a reader of this version sees
    header.payload_size = reader.read<std::uint32_t>();
    header.crc = reader.read<std::uint32_t>();
    return header;
}

std::uint32_t record_crc(std::string_view record) {
    const auto add = [](uLong crc, std::string_view part) {
        return crc32_z(crc, reinterpret_cast<const Bytef*>(part.data()), part.size());
    };
    return static_cast<std::uint32_t>(add(add(0, record.substr(0, kCrcOffset)), record.substr(kRecordHeaderSize)));
}

void append_record(std::string& out, std::uint16_t kind, std::string_view payload) {
    const auto start = out.size();
    ByteWriter header;
    header.write(kind);
    header.write<std::uint16_t>(0);
    header.write(static_cast<std::uint32_t>(payload.size()));
    header.write<std::uint32_t>(0);
    out += header.data();
    out += payload;
    const auto crc = record_crc(std::string_view(out).substr(start));
    std::memcpy(out.data() + start + kCrcOffset, &crc, sizeof(crc));
}

Status append_event(std::string& out, const Event& event) {
    return std::visit(
        [&out]<typename T>(const T& alternative) -> Status {
            if (const char* problem = broken_promise(alternative)) {
                return fail(std::string("cannot record an event: ") + problem);
            }
            Encoder encoder;
            fields(encoder, alternative);
            if (encoder.data().size() > kMaxPayload) {
                return fail("cannot record an event of " + std::to_string(encoder.data().size()) + " bytes: the limit is " +
                            std::to_string(kMaxPayload));
            }
            append_record(out, kKind<T>, encoder.data());
            return {};
        },
        event);
}

Result<std::optional<Event>> decode_event(std::uint16_t kind, std::string_view payload) {
    return decode_one_of(kind, payload, std::type_identity<Event>{});
}

} // namespace memtrace
