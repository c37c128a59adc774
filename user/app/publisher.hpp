// --listen: the server of a run, and what memtrace itself takes, which it tells.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "app/delivery_queue.hpp"
#include "config/options.hpp"
#include "report/prometheus.hpp"
#include "serve/server.hpp"

namespace memtrace {

class Publisher {
public:
    /// Listens as `options` say.
    static Result<Publisher> open(const Options& options);

    /// A tick has taken so long.
    void ticked(std::uint64_t duration_ns);
    /// Hands over the newest reports. `kernel_bytes`: memory of the kernel's maps. `profiles`: what became of those pushed, where any are.
    void publish(std::vector<Report> reports, std::uint64_t kernel_bytes, std::optional<DeliveryCounts> profiles);

    /// Reports come so often from now on, which may be less often than they were asked for: to keep within memtrace's own budget.
    void set_interval(double interval_s);

    [[nodiscard]] std::string url() const { return server_->url(); }

private:
    explicit Publisher(std::unique_ptr<Server> server) : server_(std::move(server)) {}

    std::unique_ptr<Server> server_;
    TickDurations ticks_;
};

} // namespace memtrace
