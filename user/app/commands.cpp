#include "app/commands.hpp"

#include <iostream>

#include "app/late_names.hpp"
#include "app/message.hpp"
#include "app/output.hpp"
#include "app/snapshot_file.hpp"
#include "proc/process.hpp"
#include "report/render.hpp"
#include "store/recording.hpp"

namespace memtrace {

namespace {

TextOptions text_options(const Options& options) {
    return {options.top, colour_wanted(), options.verbose};
}

} // namespace

Result<Report> load_snapshot(const std::string& path) {
    const auto text = read_file(path);
    if (!text) {
        return tl::unexpected(text.error());
    }
    auto report = parse_json_report(*text);
    return report ? report : tl::unexpected(report.error().in(path));
}

int run_report(const Options& options) {
    auto report = load_snapshot(options.files.front());
    const auto format = parse_report_format(options.format);
    if (!report || !format) {
        return fail_with(report ? format.error() : report.error());
    }
    auto names = LateNames::open(options);
    if (!names) {
        return fail_with(names.error());
    }
    names->improve(*report);
    render(*report, *format, text_options(options), std::cout);
    return check_stdout();
}

int run_diff(const Options& options) {
    if (!options.history.empty()) {
        return run_history_diff(options);
    }
    auto before = load_snapshot(options.files[0]);
    auto after = load_snapshot(options.files[1]);
    if (!before || !after) {
        return fail_with(before ? after.error() : before.error());
    }
    auto names = LateNames::open(options);
    if (!names) {
        return fail_with(names.error());
    }
    names->improve(*before);
    names->improve(*after);
    render_diff(*before, *after, text_options(options), std::cout);
    return check_stdout();
}

int run_replay(const Options& options) {
    auto reader = RecordingReader::open(options.files.front());
    if (!reader) {
        return fail_with(reader.error());
    }
    auto output = Output::open(options);
    if (!output) {
        return fail_with(output.error());
    }
    auto names = LateNames::open(options);
    if (!names) {
        return fail_with(names.error());
    }
    Model model;
    bool found = false; // in a process that has been forgotten
    AlertDesk desk(AlertConfig{});
    const auto show = [&](bool last) {
        auto reports = Output::reports_to_show(model, last);
        desk.look(reports, last);
        return output->show(reports, last);
    };
    for (;;) {
        const auto event = reader->next();
        if (!event) { // what came before the damage counts: its last state is shown, then the damage
            if (const auto status = show(true); !status) {
                say(status.error().message);
            }
            return fail_with(event.error());
        }
        if (!*event) {
            break;
        }
        if (const auto* due = std::get_if<ReportDue>(&**event)) {
            if (const auto status = show(due->last); !status) {
                return fail_with(status.error());
            }
        }
        if (const auto* gone = std::get_if<ProcessForgotten>(&**event);
            gone != nullptr && model.process(gone->process) != nullptr) {
            found = found || found_verdict(model, gone->process, options.fail_on);
        }
        names->apply(**event, model);
    }
    if (reader->unknown_records() != 0) {
        say("skipped " + std::to_string(reader->unknown_records()) + " records of kinds that this version does not know");
    }
    return found || found_verdict(model, options.fail_on) ? kExitFound : kExitFine;
}

} // namespace memtrace
