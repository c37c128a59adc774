// memtrace history, and memtrace diff of two moments of a history.
#include <langinfo.h>

#include <clocale>
#include <cstdlib>
#include <iostream>

#include "app/commands.hpp"
#include "app/message.hpp"
#include "app/snapshot_file.hpp"
#include "base/clock.hpp"
#include "config/time_text.hpp"
#include "report/format.hpp"
#include "report/history_view.hpp"
#include "report/render.hpp"
#include "store/history_reader.hpp"

namespace memtrace {

namespace {

/// A snapshot that is so near to the moment asked for is better than rows: it has all call sites.
constexpr std::int64_t kNearMs = 300'000;

HistoryTextOptions text_options(const Options& options) {
    HistoryTextOptions text;
    std::setlocale(LC_CTYPE, "");
    text.unicode = std::string_view(nl_langinfo(CODESET)) == "UTF-8";
    text.colour = colour_wanted();
    text.top = options.top;
    text.sites = options.show_sites;
    text.alerts = options.show_alerts;
    text.snapshots = options.show_snapshots;
    return text;
}

Result<std::int64_t> moment(const std::string& text, std::uint64_t now_ns, std::int64_t otherwise) {
    if (text.empty()) {
        return otherwise;
    }
    const auto time = parse_time(text, now_ns);
    return time ? Result<std::int64_t>(static_cast<std::int64_t>(*time / kNanosPerMilli)) : tl::unexpected(time.error());
}

std::string whom(const Options& options) {
    return options.pids.empty() ? "of that name" : "with that pid";
}

Result<std::vector<HistoryProcess>> chosen(HistoryReader& reader, const Options& options) {
    auto processes = reader.processes(options.pids.empty() ? 0 : options.pids.front(), options.comm);
    if (processes && processes->empty() && (!options.pids.empty() || !options.comm.empty())) {
        return fail(options.history + ": knows no process " + whom(options) + ": memtrace history " + options.history +
                    " lists them");
    }
    return processes;
}

Status list(HistoryReader& reader, const std::vector<HistoryProcess>& processes, const Options& options) {
    if (options.output == "json") {
        render_history_list_json(processes, std::cout);
        return {};
    }
    std::vector<HistorySample> newest;
    for (const auto& process : processes) {
        const auto sample = reader.newest(process);
        if (!sample) {
            return tl::unexpected(sample.error());
        }
        newest.push_back(sample->value_or(HistorySample{}));
    }
    render_history_list(processes, newest, text_options(options), std::cout);
    return {};
}

Status show(const Options& options) {
    auto reader = HistoryReader::open(options.history);
    if (!reader) {
        return tl::unexpected(reader.error());
    }
    const auto processes = chosen(*reader, options);
    if (!processes) {
        return tl::unexpected(processes.error());
    }
    if (options.pids.empty() && options.comm.empty()) {
        return list(*reader, *processes, options);
    }
    const auto now = wall_ns();
    const auto from = moment(options.since, now, 0);
    const auto to = moment(options.until, now, static_cast<std::int64_t>(now / kNanosPerMilli));
    if (!from || !to) {
        return tl::unexpected(from ? to.error() : from.error());
    }
    if (*from > *to) {
        return fail("--since is later than --until");
    }
    bool first = true;
    for (const auto& process : *processes) {
        if (processes->size() > 1 && (process.last_ms < *from || process.first_ms > *to)) {
            continue;
        }
        const auto view = reader->view(process, *from, *to);
        if (!view) {
            return tl::unexpected(view.error());
        }
        if (options.output == "json") {
            render_history_json(*view, std::cout);
        } else {
            std::cout << (first ? "" : "\n");
            render_history_text(*view, text_options(options), std::cout);
        }
        first = false;
    }
    return first ? fail(options.history + ": nothing was reported of a process " + whom(options) + " in that time") : Status();
}

struct Side {
    std::int64_t asked_ms = 0;
    std::optional<HistorySnapshot> snapshot;
    std::optional<HistoryMoment> rows;
};

/// "12s before the time asked for".
std::string distance(std::int64_t at_ms, std::int64_t asked_ms) {
    if (at_ms == asked_ms) {
        return "the time asked for";
    }
    const auto seconds = static_cast<double>(std::abs(at_ms - asked_ms)) / 1e3;
    return human_duration(seconds) + (at_ms < asked_ms ? " before" : " after") + " the time asked for";
}

Result<Side> side(HistoryReader& reader, const std::vector<HistoryProcess>& processes, std::int64_t at_ms) {
    auto snapshot = reader.nearest_snapshot(processes, at_ms);
    auto rows = reader.nearest(processes, at_ms);
    if (!snapshot || !rows) {
        return tl::unexpected(snapshot ? rows.error() : snapshot.error());
    }
    return Side{at_ms, std::move(*snapshot), std::move(*rows)};
}

bool is_near(const Side& side) {
    if (!side.snapshot) {
        return false;
    }
    const auto away = std::abs(side.snapshot->at_ms - side.asked_ms);
    return away <= kNearMs || !side.rows || away <= std::abs(side.rows->sample.at_ms - side.asked_ms);
}

Result<Report> report_of(const Side& side, const char* name, bool by_snapshot) {
    std::cout << name;
    if (by_snapshot) {
        std::cout << "snapshot " << printable(side.snapshot->path) << ", " << distance(side.snapshot->at_ms, side.asked_ms)
                  << '\n';
        return load_snapshot(side.snapshot->path);
    }
    const auto& rows = *side.rows;
    std::cout << "history of " << rfc3339_of_ms(rows.sample.at_ms) << ", " << distance(rows.sample.at_ms, side.asked_ms)
              << "; the " << rows.sites.size() << " call sites that were kept\n";
    return history_report(rows.process, rows.sample, rows.sites);
}

Status compare(const Options& options) {
    auto reader = HistoryReader::open(options.history);
    if (!reader) {
        return tl::unexpected(reader.error());
    }
    const auto now = wall_ns();
    const auto before_ms = moment(options.files[0], now, 0);
    const auto after_ms = moment(options.files[1], now, 0);
    if (!before_ms || !after_ms) {
        return tl::unexpected(before_ms ? after_ms.error() : before_ms.error());
    }
    const auto processes = chosen(*reader, options);
    if (!processes) {
        return tl::unexpected(processes.error());
    }
    const auto before = side(*reader, *processes, *before_ms);
    const auto after = side(*reader, *processes, *after_ms);
    if (!before || !after) {
        return tl::unexpected(before ? after.error() : before.error());
    }
    // Both sides alike: a site that only one of them could know would look new, or gone.
    const bool by_snapshots = is_near(*before) && is_near(*after) && before->snapshot->path != after->snapshot->path;
    if (!by_snapshots && (!before->rows || !after->rows)) {
        return fail(options.history + ": has no reports of that process");
    }
    if (!by_snapshots && before->rows->sample.at_ms == after->rows->sample.at_ms) {
        return fail(options.history + ": both times come to the report of " + rfc3339_of_ms(before->rows->sample.at_ms) +
                    ": there is nothing to compare");
    }
    const auto old_report = report_of(*before, "old       ", by_snapshots);
    const auto new_report = old_report ? report_of(*after, "new       ", by_snapshots) : old_report;
    if (!new_report) {
        return tl::unexpected(new_report.error());
    }
    render_diff(*old_report, *new_report, {options.top, colour_wanted(), options.verbose}, std::cout);
    return {};
}

int ended(const Status& status) {
    std::cout.flush(); // before what is said on standard error
    return status ? check_stdout() : fail_with(status.error());
}

} // namespace

int run_history(const Options& options) {
    return ended(show(options));
}

int run_history_diff(const Options& options) {
    return ended(compare(options));
}

} // namespace memtrace
