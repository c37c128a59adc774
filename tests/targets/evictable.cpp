// Holds --count N resources of 1 MiB, filled, that may be evicted, and looks for emergency requests every millisecond until a line is read. A request frees
// --target N of them. `note freed BYTES` then.
#include <poll.h>

#include <cstring>
#include <memory>
#include <vector>

#include "memtrace/resource.hpp"
#include "truth.h"

namespace {

constexpr std::size_t kBytes = 1 << 20;
constexpr memtrace::emergency_policy kNoMatterHowIdle{{memtrace::resource_priority::low, std::chrono::seconds(0)},
                                                      {memtrace::resource_priority::normal, std::chrono::seconds(0)},
                                                      {memtrace::resource_priority::high, std::chrono::seconds(0)}};

using Cached = memtrace::resource_handle<std::unique_ptr<char[]>>;

std::vector<Cached> fill(long long count, memtrace::resource_manager& manager) {
    std::vector<Cached> held;
    for (long long i = 0; i < count; ++i) {
        std::unique_ptr<char[]> value(new char[kBytes]);
        std::memset(value.get(), 1, kBytes);
        held.emplace_back(
            std::move(value), memtrace::resource_info{"page", "", kBytes}, [](std::unique_ptr<char[]>& page) { page.reset(); },
            manager);
        held.back().evictable();
    }
    return held;
}

} // namespace

int main(int argc, char** argv) {
    const auto count = truth_option(argc, argv, "--count", 200);
    const auto target = static_cast<std::uint64_t>(truth_option(argc, argv, "--target", 100)) * kBytes;
    memtrace::resource_manager manager(kNoMatterHowIdle);
    const auto held = fill(count, manager);
    truth_ready(argc, argv);
    pollfd input{STDIN_FILENO, POLLIN, 0};
    while (poll(&input, 1, 1) == 0) {
        if (const auto result = manager.poll_emergency(target); result.level != 0) {
            truth_note("freed", static_cast<long long>(result.freed_bytes));
        }
    }
    truth_finish(TRUTH_SITES);
}
