// What the parts of build.cpp share. Internal to it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "analyze/shape.hpp"
#include "model/model.hpp"
#include "report/report.hpp"

namespace memtrace {

/// Innermost first; empty where there is none.
std::vector<ReportFrame> build_stack(const Model& model, StackId stack);
/// An address as the id of what lies there.
std::string address_id(std::uint64_t address);
/// Stable between runs of the same binaries.
std::string site_id(const Model& model, const std::string& allocator, const std::string& function, StackId stack);
/// Live bytes and objects of an estimate; both ends are the estimate where nothing has been sampled.
void build_intervals(const Process& process, double bytes, double bytes_variance, double objects, double objects_variance,
                     double (&bytes_ci95)[2], double (&objects_ci95)[2]);

/// A process's histories in one of the rings. All of one length.
struct ProcessSeries {
    ProcessSeries(const Process& process, std::size_t level);
    std::vector<double> seconds; ///< since attaching
    std::vector<double> live_bytes;
    std::vector<double> rss_bytes;
    std::vector<double> anon_bytes;
    std::vector<double> file_bytes;
    std::vector<double> stack_bytes;
    std::vector<double> cpu_s;
    std::vector<double> unmatched_frees;
};

/// The same in each ring, from single ticks to the finest that covers the whole run, as far as rings reach.
class ProcessHistories {
public:
    explicit ProcessHistories(const Process& process);
    ProcessHistories(const ProcessHistories&) = delete;
    ProcessHistories& operator=(const ProcessHistories&) = delete;
    [[nodiscard]] const ProcessSeries& whole() const { return levels_.back(); }
    [[nodiscard]] const ProcessSeries& at(std::size_t level) const { return levels_[level]; }
    /// `read`: the figure's points of a level.
    [[nodiscard]] ResolvedTrend trend(const std::function<std::vector<double>(std::size_t level)>& read) const {
        return find_trend_closer(moments_, read);
    }

private:
    std::vector<ProcessSeries> levels_; ///< never empty
    std::vector<Moments> moments_;      ///< views of these
};

/// Allocations are watched for a part of the time only, or not at all.
inline bool is_windowed(const ModeChanged& mode) {
    return mode.mode == TraceMode::windowed || mode.mode == TraceMode::pages;
}

/// Lists at most `count` of them.
void build_sites(const Model& model, const Process& process, std::size_t count, Report& report);
/// Trend and verdict of each; `built` is parallel to `sites`.
void judge_sites(const Process& process, const std::vector<const Site*>& sites, std::vector<ReportSite>& built);
void build_references(const Model& model, const Process& process, Report& report);
void build_resources(const Model& model, const Process& process, Report& report);
/// On the process, from its sites and its memory; and how long until it meets its limit.
void build_verdict(const Process& process, Report& report);
/// The verdict is on sites and memory so far: takes references, resources and pools into it.
void add_told_to_verdict(Report& report);

} // namespace memtrace
