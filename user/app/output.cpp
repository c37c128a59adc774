#include "app/output.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>
#include <tuple>

#include "analyze/verdict.hpp"
#include "app/message.hpp"
#include "report/build.hpp"

namespace memtrace {

namespace {

bool is_regular_or_new(const std::string& path) {
    struct stat status{};
    return ::stat(path.c_str(), &status) != 0 || S_ISREG(status.st_mode);
}

Status write_out(const std::string& path, const std::string& text) {
    if (path.empty()) {
        std::cout << text << std::flush;
        return std::cout ? Status() : fail_errno("cannot write to standard output", errno);
    }
    if (is_regular_or_new(path)) {
        return write_file_atomically(path, text);
    }
    std::ofstream file(path, std::ios::app);
    file << text << std::flush;
    return file ? Status() : fail_errno("cannot write " + path, errno);
}

/// Whether the process went on as another program whose report stands in for it. It does not where that could not be followed.
bool has_successor(const Model& model, ProcessId id) {
    const auto& processes = model.processes();
    const auto pid = model.process(id)->about.pid;
    return model.process(id)->ended == EndReason::exec &&
           std::any_of(std::find(processes.begin(), processes.end(), id) + 1, processes.end(),
                       [&](ProcessId later) { return model.process(later)->about.pid == pid; });
}

} // namespace

Result<Output> Output::open(const Options& options) {
    Output output(options);
    if (!options.snapshot_dir.empty()) {
        std::vector<ReportFormat> formats;
        for (const auto& name : options.snapshot_formats) {
            const auto format = parse_report_format(name);
            if (!format) {
                return tl::unexpected(format.error());
            }
            formats.push_back(*format);
        }
        auto directory = SnapshotDirectory::open(options.snapshot_dir, formats, options.snapshot_keep);
        if (!directory) {
            return tl::unexpected(directory.error());
        }
        output.snapshots_ = std::move(*directory);
    }
    if (!options.out.empty()) {
        if (auto status = check_writable(options.out); !status) {
            return tl::unexpected(status.error());
        }
    }
    return output;
}

Result<Output> Output::reopen(const Options& options) const {
    auto output = open(options);
    if (output) {
        output->last_snapshots_ = last_snapshots_;
    }
    return output;
}

std::vector<Report> Output::reports_to_show(const Model& model, bool last) {
    std::vector<Report> reports;
    const auto listed = last ? kAllSites : model.collector() ? model.collector()->sites_listed : kSitesListed;
    for (const auto id : model.processes()) {
        const auto* process = model.process(id);
        const bool news = !process->ended || process->last_mono_ns > process->report_mono_ns;
        if (news || (last && !has_successor(model, id))) {
            reports.push_back(build_report(model, id, listed));
        }
    }
    return reports;
}

Status Output::show(const std::vector<Report>& reports, bool last) {
    if (options_.command == Command::daemon && options_.out.empty()) {
        return {};
    }
    if (options_.output == "json" && !last && options_.out.empty() && !options_.interval_given) {
        return {};
    }
    std::ostringstream text;
    for (const auto& report : reports) {
        if (options_.output == "json") {
            render_json(report, text);
        } else {
            render_text(report, {options_.top, options_.out.empty() && colour_wanted(), options_.verbose}, text);
        }
    }
    return write_out(options_.out, text.str());
}

Status Output::write_snapshots(const Model& model, const AlertDesk& desk) {
    for (const auto id : snapshots_ ? model.processes() : std::vector<ProcessId>()) {
        const bool over = model.process(id)->ended.has_value();
        if (over && last_snapshots_.contains(id)) {
            continue;
        }
        auto report = build_report(model, id);
        desk.complete(report);
        auto status = snapshots_->write(report);
        note_written(report);
        if (!status) {
            return status;
        }
        if (over) {
            last_snapshots_.insert(id);
        }
    }
    return {};
}

void Output::note_written(const Report& report) {
    if (options_.history.empty()) {
        return;
    }
    for (const auto& path : snapshots_->written()) {
        std::error_code error;
        const auto absolute = std::filesystem::absolute(path, error);
        for (const auto& format : options_.snapshot_formats) {
            if (path.ends_with(std::string(".") + format_extension(*parse_report_format(format)))) {
                written_.push_back({history_process(report), format, error ? path : absolute.lexically_normal().string()});
                break;
            }
        }
    }
}

bool found_verdict(const Model& model, ProcessId id, const std::string& fail_on) {
    if (fail_on.empty()) {
        return false;
    }
    const auto bad = [least = verdict_rank(fail_on)](const auto& finding) { return verdict_rank(finding.verdict) >= least; };
    const auto report = build_report(model, id);
    const auto& [references, resources] = std::tie(report.references, report.resources);
    return std::ranges::any_of(report.sites, bad) || std::ranges::any_of(references.cycles, bad) ||
           std::ranges::any_of(references.errors, bad) || std::ranges::any_of(resources.listed, bad) ||
           std::ranges::any_of(resources.sites, bad) || std::ranges::any_of(resources.errors, bad) ||
           std::ranges::any_of(resources.pools, bad);
}

bool found_verdict(const Model& model, const std::string& fail_on) {
    return std::ranges::any_of(model.processes(), [&](ProcessId id) { return found_verdict(model, id, fail_on); });
}

std::vector<ProcessId> over_and_told(const Model& model, const Output& output, std::size_t kept) {
    std::vector<ProcessId> over;
    for (const auto id : model.processes()) {
        const auto* process = model.process(id);
        if (process->ended && process->last_mono_ns <= process->report_mono_ns && output.is_done_with(id)) {
            over.push_back(id);
        }
    }
    over.resize(over.size() - std::min(over.size(), kept));
    return over;
}

} // namespace memtrace
