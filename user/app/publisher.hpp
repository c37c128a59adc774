// --listen: the server of a run, and what memtrace itself takes, which it tells.
#pragma once

#include <memory>
#include <vector>

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
    /// Hands over the newest reports, with `cost`, in which what the process itself takes is filled in here.
    void publish(std::vector<Report> reports, CollectorCost cost);

    /// Reports come so often from now on, which may be less often than they were asked for: to keep within memtrace's own budget.
    void set_interval(double interval_s);

    [[nodiscard]] std::string url() const { return server_->url(); }

private:
    explicit Publisher(std::unique_ptr<Server> server) : server_(std::move(server)) {}

    std::unique_ptr<Server> server_;
    TickDurations ticks_;
};

} // namespace memtrace
