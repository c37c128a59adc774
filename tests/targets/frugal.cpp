// The SDK in a program that is compiled without exceptions and RTTI: what of it there is does its work. Prints "ok", or status 1.
#include <cstdio>
#include <memory_resource>
#include <optional>
#include <vector>

#include <memtrace/memtrace.hpp>

namespace {

struct Plan : memtrace::enable_tracked_from_this<Plan> {
    int number = 1;
};

bool references() {
    auto plan = memtrace::make_tracked<Plan>();
    const auto same = plan->tracked_from_this();
    const memtrace::tracked_weak<Plan> weak = plan;
    const memtrace::tracked_ptr<int> number(plan, &plan->number);
    plan.reset();
    return same.use_count() == 2 && weak.lock() == same && *number == 1;
}

bool resources() {
    int ended = 0;
    {
        memtrace::resource_manager manager;
        memtrace::resource_handle<int> cursor(1, {"cursor"}, [&](int&) { ++ended; }, manager);
        cursor.evictable();
        memtrace::resource_pool<int> pool({"connection", "storage", 1}, [] { return std::optional<int>(1); }, {}, {}, manager);
        const auto lease = pool.try_acquire();
        if (!lease || pool.try_acquire() || manager.poll_emergency().level != 0) {
            return false;
        }
    }
    return ended == 1;
}

bool allocators() {
    std::vector<int, memtrace::tracking_allocator<int>> numbers(1000, 1);
    memtrace::tracking_resource resource;
    std::pmr::vector<int> others(1000, 2, &resource);
    return numbers.back() + others.back() == 3;
}

} // namespace

int main() {
    const bool right = references() && resources() && allocators();
    std::puts(right ? "ok" : "broken");
    return right ? 0 : 1;
}
