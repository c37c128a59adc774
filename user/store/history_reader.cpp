#include "store/history_reader.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <limits>

#include "store/history_schema.hpp"
#include "store/history_tables.hpp"
#include "store/history_thin.hpp"

namespace memtrace {

namespace {

/// Rows of one kind that are read at most: what is kept is far less, a damaged file may say anything.
constexpr std::int64_t kMostRows = 5'000'000;
/// Times that a calendar has: up to the year 2500.
constexpr std::int64_t kLatestMs = 16'725'225'600'000;

std::int64_t time_of(const SqliteStatement& row, int column) {
    return std::clamp<std::int64_t>(row.integer(column), 0, kLatestMs);
}

HistorySample sample_of(const SqliteStatement& row) {
    return {time_of(row, 0), row.count(1), row.count(2), row.count(3), row.real(4),
            row.real(5),     row.count(6), row.count(7), row.text(8),  row.text(9)};
}

HistorySiteSample site_sample_of(const SqliteStatement& row, int first) {
    return {time_of(row, first),  row.count(first + 1), row.count(first + 2), row.count(first + 3),
            row.count(first + 4), row.real(first + 5),  row.text(first + 6)};
}

constexpr const char* kSampleColumns =
    "at_ms,live_bytes,live_objects,rss_bytes,leak_bytes_per_s,overhead,lost,descriptors,verdict,mode";

bool is_there(const std::string& path) {
    struct stat info{};
    return ::stat(path.c_str(), &info) == 0;
}

} // namespace

Result<HistoryReader> HistoryReader::open(const std::string& path) {
    auto database = open_history_to_read(path);
    if (!database) {
        return tl::unexpected(database.error());
    }
    return HistoryReader(path, std::move(*database));
}

template <typename Take, typename... Values>
Status HistoryReader::each(const char* sql, Take take, const Values&... values) {
    auto statement = database_.prepare(sql);
    if (!statement) {
        return tl::unexpected(history_error(path_, statement.error()));
    }
    if (auto status = statement->bind(values...); !status) {
        return tl::unexpected(history_error(path_, status.error()));
    }
    for (std::int64_t count = 0; count < kMostRows; ++count) {
        const auto row = statement->step();
        if (!row) {
            return tl::unexpected(history_error(path_, row.error()));
        }
        if (!*row) {
            break;
        }
        take(*statement);
    }
    return {};
}

Result<std::vector<HistoryProcess>> HistoryReader::processes(std::int32_t pid, const std::string& comm) {
    std::vector<HistoryProcess> found;
    auto status = each(
        "SELECT id,pid,start_ms,comm,exe,cmdline,state,first_ms,last_ms FROM process WHERE (?1=0 OR pid=?1) AND (?2='' OR "
        "comm=?2) "
        "ORDER BY last_ms,id",
        [&](const SqliteStatement& row) {
            const auto number = std::clamp<std::int64_t>(row.integer(1), 0, std::numeric_limits<std::int32_t>::max());
            found.push_back({row.integer(0), static_cast<std::int32_t>(number), time_of(row, 2), row.text(3), row.text(4),
                             row.text(5), row.text(6), time_of(row, 7), time_of(row, 8)});
        },
        pid, comm);
    return status ? Result<std::vector<HistoryProcess>>(std::move(found)) : tl::unexpected(status.error());
}

Result<std::optional<HistorySample>> HistoryReader::newest(const HistoryProcess& process) {
    std::optional<HistorySample> sample;
    const auto sql = std::string("SELECT ") + kSampleColumns + " FROM sample WHERE process=? ORDER BY at_ms DESC LIMIT 1";
    auto status = each(sql.c_str(), [&](const SqliteStatement& row) { sample = sample_of(row); }, process.id);
    return status ? Result<std::optional<HistorySample>>(sample) : tl::unexpected(status.error());
}

Status HistoryReader::read_samples(HistoryView& view) {
    const auto sql =
        std::string("SELECT ") + kSampleColumns + " FROM sample WHERE process=? AND at_ms>=? AND at_ms<=? ORDER BY at_ms";
    return each(
        sql.c_str(), [&](const SqliteStatement& row) { view.samples.push_back(sample_of(row)); }, view.process.id, view.from_ms,
        view.to_ms);
}

Status HistoryReader::read_verdicts(HistoryView& view) {
    return each(
        "SELECT at_ms,verdict,text FROM verdict WHERE process=?1 AND at_ms<=?3 AND at_ms>=coalesce((SELECT max(at_ms) FROM "
        "verdict "
        "WHERE process=?1 AND at_ms<=?2),0) ORDER BY at_ms",
        [&](const SqliteStatement& row) { view.verdicts.push_back({time_of(row, 0), row.text(1), row.text(2)}); },
        view.process.id, view.from_ms, view.to_ms);
}

Status HistoryReader::read_sites(HistoryView& view) {
    auto status = each(
        "SELECT name,allocator,function,stack,stack_truncated,site_sample.at_ms,live_bytes,live_objects,allocs,frees,"
        "growth_bytes_per_s,verdict FROM site_sample JOIN site ON site.id=site_sample.site WHERE process=? AND at_ms>=? AND "
        "at_ms<=? "
        "ORDER BY site_sample.site,at_ms",
        [&](const SqliteStatement& row) {
            if (view.sites.empty() || view.sites.back().id != row.text(0)) {
                view.sites.push_back(
                    {row.text(0), row.text(1), row.text(2), history_stack(row.text(3)), row.integer(4) != 0, {}});
            }
            view.sites.back().samples.push_back(site_sample_of(row, 5));
        },
        view.process.id, view.from_ms, view.to_ms);
    std::stable_sort(view.sites.begin(), view.sites.end(),
                     [](const HistorySite& a, const HistorySite& b) { return history_growth(a) > history_growth(b); });
    return status;
}

Status HistoryReader::read_kinds(HistoryView& view) {
    return each(
        "SELECT kind,at_ms,live,leaked,bytes,growth_per_s,verdict FROM kind_sample WHERE process=? AND at_ms>=? AND at_ms<=? "
        "ORDER BY "
        "kind,at_ms",
        [&](const SqliteStatement& row) {
            if (view.kinds.empty() || view.kinds.back().kind != row.text(0)) {
                view.kinds.push_back({row.text(0), {}});
            }
            view.kinds.back().samples.push_back(
                {time_of(row, 1), row.count(2), row.count(3), row.count(4), row.real(5), row.text(6)});
        },
        view.process.id, view.from_ms, view.to_ms);
}

Status HistoryReader::read_alerts(HistoryView& view) {
    return each(
        "SELECT at_ms,name,severity,state,since_ms,value,threshold,labels,text FROM alert WHERE process=? AND at_ms>=? AND "
        "at_ms<=? "
        "ORDER BY at_ms,id",
        [&](const SqliteStatement& row) {
            view.alerts.push_back({time_of(row, 0), row.text(1), row.text(2), row.text(3), time_of(row, 4), row.real(5),
                                   row.real(6), row.text(7), row.text(8)});
        },
        view.process.id, view.from_ms, view.to_ms);
}

Status HistoryReader::read_snapshots(HistoryView& view) {
    return each(
        "SELECT at_ms,format,path FROM snapshot WHERE process=? AND at_ms>=? AND at_ms<=? ORDER BY at_ms,id",
        [&](const SqliteStatement& row) {
            view.snapshots.push_back({time_of(row, 0), row.text(1), row.text(2), !is_there(row.text(2))});
        },
        view.process.id, view.from_ms, view.to_ms);
}

Result<HistoryView> HistoryReader::view(const HistoryProcess& process, std::int64_t from_ms, std::int64_t to_ms) {
    HistoryView view;
    view.process = process;
    view.from_ms = from_ms;
    view.to_ms = to_ms;
    for (auto read : {&HistoryReader::read_samples, &HistoryReader::read_verdicts, &HistoryReader::read_sites,
                      &HistoryReader::read_kinds, &HistoryReader::read_alerts, &HistoryReader::read_snapshots}) {
        if (auto status = (this->*read)(view); !status) {
            return tl::unexpected(status.error());
        }
    }
    return view;
}

Result<std::optional<HistoryMoment>> HistoryReader::nearest(const std::vector<HistoryProcess>& processes, std::int64_t at_ms) {
    std::optional<HistoryMoment> best;
    const auto sql =
        std::string("SELECT ") + kSampleColumns +
        " FROM (SELECT * FROM (SELECT * FROM sample WHERE process=?1 AND at_ms<=?2 ORDER BY at_ms DESC LIMIT 1) UNION ALL "
        "SELECT * FROM (SELECT * FROM sample WHERE process=?1 AND at_ms>?2 ORDER BY at_ms LIMIT 1))";
    for (const auto& process : processes) {
        auto status = each(
            sql.c_str(),
            [&](const SqliteStatement& row) {
                auto sample = sample_of(row);
                if (!best || std::abs(sample.at_ms - at_ms) < std::abs(best->sample.at_ms - at_ms)) {
                    best = {process, std::move(sample), {}};
                }
            },
            process.id, at_ms);
        if (!status) {
            return tl::unexpected(status.error());
        }
    }
    if (!best) {
        return best;
    }
    // A site's row says what held until the next one; after a minute without one, it was no longer among those that are kept. Where rows
    // were thinned to one an hour, it is an hour.
    std::int64_t before_ms = 0;
    auto status = each(
        "SELECT max(at_ms) FROM sample WHERE process=? AND at_ms<?",
        [&](const SqliteStatement& row) { before_ms = time_of(row, 0); }, best->process.id, best->sample.at_ms);
    if (!status) {
        return tl::unexpected(status.error());
    }
    constexpr auto kShortest = 2 * HistoryTables::kRepeatMs;
    const auto oldest = best->sample.at_ms - std::clamp(best->sample.at_ms - before_ms, kShortest, kHourMs + kShortest);
    status = each(
        "SELECT name,allocator,function,stack,stack_truncated,max(site_sample.at_ms),live_bytes,live_objects,allocs,frees,"
        "growth_bytes_per_s,verdict FROM site_sample JOIN site ON site.id=site_sample.site WHERE process=? AND at_ms>? AND "
        "at_ms<=? "
        "GROUP BY site_sample.site",
        [&](const SqliteStatement& row) {
            best->sites.push_back({row.text(0),
                                   row.text(1),
                                   row.text(2),
                                   history_stack(row.text(3)),
                                   row.integer(4) != 0,
                                   {site_sample_of(row, 5)}});
        },
        best->process.id, oldest, best->sample.at_ms);
    return status ? Result<std::optional<HistoryMoment>>(std::move(best)) : tl::unexpected(status.error());
}

Result<std::optional<HistorySnapshot>> HistoryReader::nearest_snapshot(const std::vector<HistoryProcess>& processes,
                                                                       std::int64_t at_ms) {
    std::vector<HistorySnapshot> found;
    for (const auto& process : processes) {
        auto status = each(
            "SELECT at_ms,format,path FROM snapshot WHERE process=? AND format='json'",
            [&](const SqliteStatement& row) { found.push_back({time_of(row, 0), row.text(1), row.text(2), false}); }, process.id);
        if (!status) {
            return tl::unexpected(status.error());
        }
    }
    std::sort(found.begin(), found.end(), [&](const HistorySnapshot& a, const HistorySnapshot& b) {
        return std::abs(a.at_ms - at_ms) < std::abs(b.at_ms - at_ms);
    });
    const auto nearest = std::ranges::find_if(found, [](const HistorySnapshot& snapshot) { return is_there(snapshot.path); });
    return nearest == found.end() ? std::nullopt : std::optional(*nearest);
}

} // namespace memtrace
