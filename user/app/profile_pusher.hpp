// --push-profiles: the live heap of each process goes to a store of profiles (Pyroscope, Parca) every --push-interval. What is posted
// waits in a queue with a bound (app/delivery_queue): a store that hangs or is down costs profiles, which are counted, and never time.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "app/delivery_queue.hpp"
#include "config/options.hpp"
#include "config/push_target.hpp"
#include "model/model.hpp"
#include "report/profile_post.hpp"

namespace memtrace {

class ProfilePusher {
public:
    /// Profiles that wait at most, and their bytes; the oldest is dropped for one more.
    static constexpr std::size_t kMostWaiting = 200;
    static constexpr std::size_t kMostBytes = 32 << 20;

    /// As `options` say. `say`: one line for people; from any thread.
    static Result<std::unique_ptr<ProfilePusher>> open(const Options& options, DeliveryQueue::Say say);

    /// Of each process that goes on, and once more of each that has ended. `target_of`: the name of the target that a process is of, for a
    /// label; empty: none. Never waits.
    void push(const Model& model, const std::function<std::string(std::int32_t pid)>& target_of);
    /// Whether a process that has ended has had its last.
    [[nodiscard]] bool is_done_with(ProcessId id) const { return over_.contains(id); }
    /// Says in reports what became of the profiles so far, among the counters of their coverage.
    void complete(std::vector<Report>& reports) const;
    [[nodiscard]] DeliveryCounts counts() const { return queue_.counts(); }

private:
    struct Told {
        std::uint64_t until_s = 0;
        std::string target;
        AllocatedBefore allocated;
    };

    ProfilePusher(PushTarget target, ProfileLabels labels, DeliverySettings settings, DeliveryQueue::Say say);
    [[nodiscard]] ProfileLabels labels_of(const Report& report, const std::string& target) const;
    void push(Report report, Told& told);

    PushTarget target_;
    ProfileLabels labels_; ///< of --push-label
    std::string host_;
    std::map<ProcessId, Told> told_; ///< of those that go on
    std::set<ProcessId> over_;       ///< those that have had their last
    DeliveryQueue queue_;
};

} // namespace memtrace
