#include "app/handle_placer.hpp"

#include <time.h>

#include <utility>

#include "proc/maps.hpp"
#include "proc/writable_words.hpp"

namespace memtrace {

namespace {

constexpr std::uint64_t kMostBytes = std::uint64_t{64} << 20;
constexpr std::size_t kMostHandles = std::size_t{1} << 18;
constexpr std::size_t kMostBlocks = std::size_t{1} << 20;
constexpr double kMostSeconds = 0.1; ///< of our CPU time, for what is read
constexpr int kTries = 5;            ///< to meet all threads off their processors

double thread_seconds() {
    timespec time{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

std::optional<std::vector<ThreadRegisters>> read_threads(const HeapTracer& tracer, mt_process_key key) {
    std::optional<std::vector<ThreadRegisters>> threads;
    for (int i = 0; i < kTries && !threads; ++i) {
        if (i != 0) {
            const timespec moment{0, 1'000'000};
            ::nanosleep(&moment, nullptr);
        }
        threads = tracer.read_threads(key);
    }
    return threads;
}

/// Every word that the process has. Registers before and after: a pointer moves from memory into one, and back.
struct Words {
    std::vector<std::uint64_t> roots;
    std::vector<WordRange> ranges;
};

std::optional<Words> read_words(const HeapTracer& tracer, const HandlePlacer::Target& target) {
    Words words;
    std::vector<std::uint64_t> stack_pointers;
    const auto add = [&](const std::vector<ThreadRegisters>& threads) {
        for (const auto& thread : threads) {
            stack_pointers.push_back(thread.stack_pointer);
            words.roots.insert(words.roots.end(), thread.values.begin(), thread.values.end());
        }
    };
    auto kept = read_kept_words(target.pid);
    const auto before = read_threads(tracer, target.key);
    if (!kept || !before) {
        return std::nullopt;
    }
    words.roots = std::move(*kept);
    add(*before);
    auto ranges = read_writable_words(target.pid, stack_pointers, kMostBytes);
    const auto after = read_threads(tracer, target.key);
    if (!ranges || !after) {
        return std::nullopt;
    }
    words.ranges = std::move(*ranges);
    add(*after);
    return words;
}

bool has_memory(std::int32_t pid) {
    const auto maps = read_maps(pid);
    return maps && !maps->empty();
}

bool has_placed(const ReferenceLedger& ledger) {
    for (const auto& handle : ledger.handles()) {
        if (handle.object != kNoIndex && handle.place == HandlePlace::object) {
            return true;
        }
    }
    return false;
}

} // namespace

std::optional<HandlePlacer::Found> HandlePlacer::find(const HeapTracer& tracer, const Target& target,
                                                      const ReferenceLedger& ledger) {
    const auto begin = thread_seconds();
    if (!target.blocks_known || ledger.live_handles() > kMostHandles) {
        return std::nullopt;
    }
    const auto words = read_words(tracer, target);
    if (!words) {
        return std::nullopt;
    }
    // After the words: what was allocated before they were read, and lives, is among the blocks.
    std::vector<BlockHolders::Block> blocks;
    const auto status = tracer.read_live([&](const mt_live_key& key, const mt_live_block& block) {
        if (key.process == target.key && blocks.size() <= kMostBlocks) {
            blocks.push_back({key.address, key.address + block.size});
        }
    });
    if (!status || blocks.size() > kMostBlocks) {
        return std::nullopt;
    }
    BlockHolders holders(ledger, std::move(blocks));
    for (const auto root : words->roots) {
        holders.add_root(root);
    }
    for (const auto& range : words->ranges) {
        if (thread_seconds() - begin > kMostSeconds) {
            return std::nullopt;
        }
        holders.add_words(range.start, range.words, range.break_heap && target.all_blocks_known);
    }
    if (!holders.settle()) {
        return std::nullopt;
    }
    Found found;
    for (const auto& held : holders.held()) {
        const auto& handle = ledger.handles()[held.handle];
        const auto& object = ledger.objects()[handle.object];
        const auto& owner = ledger.objects()[held.owner];
        const Placed placed{object.address, object.serial, owner.address, owner.serial};
        if (const auto [at, first] = found.try_emplace(handle.address, placed); !first && at->second != placed) {
            at->second.owner = 0; // two at one address: of one of them not all has been told yet
        }
    }
    return found;
}

void HandlePlacer::look(const HeapTracer& tracer, const Target& target, const ReferenceLedger& ledger, const Sink& sink) {
    const bool may_look = ledger.live_handles() != 0 && ledger.live_handles() <= kMostHandles;
    if (!has_placed(ledger) && (!may_look || unplaced_handles(ledger, 1).empty())) {
        before_.clear();
        return;
    }
    auto found = find(tracer, target, ledger);
    if (!found && !has_memory(target.pid)) {
        return; // it has just ended: what was known last stays
    }
    std::vector<HandlePlaced> news;
    for (const auto& handle : ledger.handles()) {
        if (handle.object == kNoIndex || !handle.strong) {
            continue;
        }
        const auto now = found ? found->find(handle.address) : before_.end();
        const bool is_found = found && now != found->end() && now->second.owner != 0;
        const auto earlier = is_found ? before_.find(handle.address) : before_.end();
        const auto owner = earlier != before_.end() && earlier->second == now->second ? now->second.owner : 0;
        const bool is_placed = handle.place == HandlePlace::object;
        const bool as_placed = is_placed && owner != 0 && handle.owner_serial == now->second.owner_serial;
        if (owner != 0 && !as_placed) {
            news.push_back({target.id, handle.address, HandlePlace::object, owner});
        } else if (owner == 0 && is_placed) {
            news.push_back({target.id, handle.address, HandlePlace::unknown, 0});
        }
    }
    if (found) {
        before_ = std::move(*found);
    }
    for (const auto& event : news) {
        sink(event);
    }
}

} // namespace memtrace
