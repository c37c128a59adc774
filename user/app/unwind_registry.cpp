#include "app/unwind_registry.hpp"

#include <sys/auxv.h>

#include <algorithm>
#include <utility>

#include "kernel/unwind_shards.hpp"
#include "unwind/space.hpp"

namespace memtrace {

namespace {

/// The kernel's own object in every process: no file, everywhere the same.
constexpr FileIdentity kVdso{~std::uint64_t{0}, ~std::uint64_t{0}};
constexpr std::uint64_t kLongestRange = std::uint64_t{1} << 31; ///< offsets in a table have 32 bits

FileIdentity identity_of(const Mapping& mapping) {
    return mapping.path == "[vdso]" ? kVdso : mapping.file;
}

/// As large as it is mapped here.
Result<UnwindObject> vdso_object() {
    const auto mappings = read_maps(getpid());
    const auto begin = getauxval(AT_SYSINFO_EHDR);
    for (const auto& mapping : mappings.value_or(std::vector<Mapping>{})) {
        if (mapping.start == begin) {
            const auto* image = reinterpret_cast<const char*>(begin); // NOLINT(performance-no-int-to-ptr): so the kernel says it
            return UnwindObject::from_memory({image, mapping.end - mapping.start});
        }
    }
    return fail("no vDSO");
}

bool same_mappings(const std::vector<Mapping>& a, const std::vector<Mapping>& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const Mapping& x, const Mapping& y) {
        return x.start == y.start && x.end == y.end && x.file_offset == y.file_offset && x.file == y.file;
    });
}

} // namespace

std::optional<UnwindTable> UnwindRegistry::table_of(const UnwindObject& code) const {
    auto table = cache_.load(code.identity());
    if (!table) {
        table = code.build();
        if (table) {
            cache_.store(code.identity(), *table);
        }
    }
    return table;
}

/// Compiles the object of a mapping, unless it is known.
void UnwindRegistry::learn(std::int32_t pid, const Mapping& mapping, Batch& batch) {
    const auto identity = identity_of(mapping);
    if (identity == FileIdentity{} || objects_.contains(identity)) {
        return;
    }
    UniqueFd fd;
    if (identity != kVdso) {
        auto opened = open_mapped(pid, mapping);
        if (!opened) {
            return; // unmapped by now
        }
        fd = std::move(*opened);
    }
    auto code = identity == kVdso ? vdso_object() : UnwindObject::from_file(fd.get());
    const auto table = code ? table_of(*code) : std::nullopt;
    Object object;
    if (table) {
        object.code = std::move(*code);
        object.first = table->first();
        object.block = static_cast<std::uint32_t>(batch.words.size() / MT_BLOCK_WORDS);
        batch.words.insert(batch.words.end(), table->words().begin(), table->words().end());
        batch.objects.push_back(identity);
    }
    objects_.emplace(identity, std::move(object));
}

mt_unwind_range UnwindRegistry::range_of(const Mapping& mapping) const {
    mt_unwind_range range{mapping.start, mapping.end, 0, MT_NO_SHARD, 0, MT_RANGE_BARE};
    const auto identity = identity_of(mapping);
    const auto found = objects_.find(identity);
    if (found == objects_.end() || !found->second.code || mapping.end - mapping.start > kLongestRange) {
        range.state = identity == FileIdentity{} || found != objects_.end() ? MT_RANGE_BARE : MT_RANGE_PENDING;
        return range;
    }
    const auto& object = found->second;
    const auto linked = object.code->linked_address(mapping.file_offset);
    const auto delta = static_cast<std::int64_t>(linked.value_or(0) - object.first);
    if (!linked || delta > MT_MAX_CODE_BYTES || delta < -static_cast<std::int64_t>(MT_MAX_CODE_BYTES)) {
        return range;
    }
    range.delta = static_cast<std::uint32_t>(delta);
    range.shard = object.shard;
    range.table = object.block;
    range.state = MT_RANGE_READY;
    return range;
}

Status UnwindRegistry::map(mt_process_key process, std::int32_t pid, const std::vector<Mapping>& mappings) {
    const auto known = spaces_.find(process);
    if (known != spaces_.end() && same_mappings(known->second.mappings, mappings)) {
        return {};
    }
    Batch batch;
    for (const auto& mapping : mappings) {
        learn(pid, mapping, batch);
    }
    auto& shards = tracer_.unwind_shards();
    const auto numbers = shards.take(batch.objects.empty() ? 1 : 2);
    Space space;
    std::vector<mt_unwind_range> ranges;
    if (numbers) {
        for (const auto& identity : batch.objects) {
            objects_.at(identity).shard = numbers->back();
        }
        std::transform(mappings.begin(), mappings.end(), std::back_inserter(ranges),
                       [this](const Mapping& mapping) { return range_of(mapping); });
    }
    std::vector<std::vector<std::uint32_t>> contents{encode_space(ranges)};
    if (!batch.objects.empty()) {
        contents.push_back(std::move(batch.words));
    }
    auto status = numbers ? shards.put(*numbers, contents) : tl::unexpected(numbers.error());
    if (!status) { // as if it had not been asked for
        for (const auto& identity : batch.objects) {
            objects_.erase(identity);
        }
        shards.remove(numbers.value_or(std::vector<std::uint32_t>{}));
        return status;
    }
    space.shard = numbers->front();
    space.mappings = mappings;
    for (const auto& range : ranges) {
        if (range.state == MT_RANGE_READY && space.tables.insert(range.shard).second) {
            ++users_[range.shard];
        }
    }
    if (!batch.objects.empty() && space.tables.insert(numbers->back()).second) { // none of it is mapped where it was linked to be
        ++users_[numbers->back()];
    }
    tracer_.set_space(process, space.shard);
    const auto old = std::exchange(spaces_[process], std::move(space));
    if (old.shard != MT_NO_SHARD) {
        release(old);
    }
    return {};
}

void UnwindRegistry::forget(mt_process_key process) {
    const auto found = spaces_.find(process);
    if (found == spaces_.end()) {
        return;
    }
    tracer_.set_space(process, MT_NO_SHARD);
    const auto space = std::move(found->second);
    spaces_.erase(found);
    release(space);
}

void UnwindRegistry::release(const Space& space) {
    std::vector<std::uint32_t> unused{space.shard};
    for (const auto shard : space.tables) {
        if (--users_[shard] == 0) {
            users_.erase(shard);
            unused.push_back(shard);
            std::erase_if(objects_, [shard](const auto& entry) { return entry.second.shard == shard; });
        }
    }
    tracer_.unwind_shards().remove(unused);
}

} // namespace memtrace
