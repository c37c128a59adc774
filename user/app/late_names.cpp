#include "app/late_names.hpp"

#include <algorithm>

#include "app/message.hpp"
#include "base/hex.hpp"
#include "report/calls.hpp"
#include "symbol/safe_open.hpp"

namespace memtrace {

namespace {

constexpr std::uint64_t kFilesPerRun = 10; ///< all files of a run together may take so many times as long as one

bool has_line(const std::vector<SymbolLine>& lines) {
    return std::any_of(lines.begin(), lines.end(), [](const SymbolLine& line) { return line.line != 0; });
}

bool says_more(const std::vector<SymbolLine>& now, const std::vector<SymbolLine>& known) {
    if (now.empty() || now.back().function.empty()) {
        return false;
    }
    return known.empty() || known.back().function.empty() || (has_line(now) && !has_line(known));
}

std::vector<SymbolLine> lines_of(const Call& call) {
    std::vector<SymbolLine> lines;
    for (const auto* frame = call.first; frame != call.last; ++frame) {
        lines.push_back({frame->function, frame->file, frame->line, frame->inlined, frame->column});
    }
    return lines;
}

/// The stacks of what the program tells of itself.
template <typename Visit>
void for_each_told_stack(Report& report, const Visit& visit) {
    for (auto& cycle : report.references.cycles) {
        for (auto& handle : cycle.handles) {
            visit(handle.acquired_at);
        }
    }
    for (auto& error : report.references.errors) {
        visit(error.acquired_at);
        visit(error.released_at);
        visit(error.before_at);
    }
    for (auto& resource : report.resources.listed) {
        visit(resource.acquired_at);
    }
    for (auto& error : report.resources.errors) {
        visit(error.acquired_at);
        visit(error.released_at);
        visit(error.used_at);
    }
    for (auto& pool : report.resources.pools) {
        visit(pool.waited_at);
    }
}

/// What the verdict calls a site by.
std::string title(const ReportSite& site) {
    return site.stack.empty() || site.stack.front().function.empty() ? site.id : site.stack.front().function;
}

} // namespace

DebuginfodSettings debuginfod_settings(const Options& options) {
    DebuginfodSettings settings;
    settings.servers = options.debuginfod;
    settings.file_ns = options.debuginfod_timeout_ns;
    settings.total_ns = kFilesPerRun * options.debuginfod_timeout_ns;
    return settings;
}

Result<LateNames> LateNames::open(const Options& options) {
    LateNames names;
    if (!options.debuginfod.empty()) {
        auto client = Debuginfod::start(debuginfod_settings(options));
        if (!client) {
            return tl::unexpected(client.error());
        }
        names.servers_ = std::move(*client);
    }
    if (auto status = names.open_directory(options); !status) {
        return tl::unexpected(status.error());
    }
    return names;
}

Result<LateNames> LateNames::open_live(const Options& options) {
    LateNames names;
    if (auto status = names.open_directory(options); !status) {
        return tl::unexpected(status.error());
    }
    if (names.directory_) {
        names.directory_->read_tree();
    }
    return names;
}

Status LateNames::open_directory(const Options& options) {
    quiet_ = options.quiet;
    if (!options.symbols.empty()) {
        auto directory = SymbolDirectory::open(options.symbols);
        if (!directory) {
            return tl::unexpected(directory.error());
        }
        directory_ = std::move(*directory);
    }
    return {};
}

/// The debug file of a module, from a server.
UniqueFd LateNames::fetch(const ModuleName& name) {
    const auto answer = servers_->fetch(from_hex(name.second));
    if (!answer.problem.empty()) {
        say("no debug file for " + name.first + " from debuginfod: " + answer.problem);
    }
    auto opened = answer.path.empty() ? Result<UniqueFd>() : open_regular(answer.path);
    return opened ? std::move(*opened) : UniqueFd();
}

LateNames::Module LateNames::open_module(const ModuleName& name) {
    SymbolDirectory::Found found;
    if (directory_) {
        found = directory_->find(name.first, name.second);
        if (!found.refused.empty() && !quiet_) {
            say(found.refused + "; its names are not used");
        }
    }
    if (servers_ && !found.lines && !name.second.empty()) {
        if (auto fd = fetch(name)) {
            found.fd = std::move(fd);
        }
    }
    if (!found.fd) {
        return {};
    }
    const ModuleId id{static_cast<std::uint32_t>(modules_.size())}; // this one's entry is there already: from 1
    // What belongs to a file lies beside it: in the directory, where it was found there.
    const auto& path = found.path.empty() ? name.first : found.path;
    ModuleFile file{path, "", "", found.fd.get(), directory_ ? directory_->root() : nullptr};
    return symbolizer_.add_module(id, file) ? Module{id, found.lines} : Module{};
}

const LateNames::Module& LateNames::module_of(const ModuleName& name) {
    const auto [entry, fresh] = modules_.try_emplace(name);
    if (fresh) {
        entry->second = open_module(name);
    }
    return entry->second;
}

std::optional<std::vector<SymbolLine>> LateNames::better(const ModuleName& module, std::uint64_t offset,
                                                         const std::vector<SymbolLine>& known) {
    if ((!directory_ && !servers_) || module.first.empty() || has_line(known)) {
        return std::nullopt;
    }
    const auto id = module_of(module).id;
    auto lines = id ? symbolizer_.resolve(Frame{id, offset}) : std::vector<SymbolLine>();
    return says_more(lines, known) ? std::optional(std::move(lines)) : std::nullopt;
}

void LateNames::improve(std::vector<ReportFrame>& stack) {
    std::vector<ReportFrame> out;
    for (const auto& call : calls_of(stack)) {
        const ReportFrame& place = call.frame();
        const auto lines = better({place.module, place.build_id}, place.offset, lines_of(call));
        if (!lines) {
            out.insert(out.end(), call.first, call.last);
            continue;
        }
        for (const auto& line : *lines) {
            out.push_back(
                {line.function, line.file, line.line, place.module, place.offset, line.inlined, place.build_id, line.column});
        }
    }
    stack = std::move(out);
}

void LateNames::improve(Report& report) {
    auto& verdict = report.verdict;
    const auto worst = verdict.evidence.find("site");
    for (auto& site : report.sites) {
        const auto before = "from " + title(site);
        improve(site.stack);
        if (worst != verdict.evidence.end() && worst->second == site.id && verdict.text.ends_with(before)) {
            verdict.text.replace(verdict.text.size() - before.size(), before.size(), "from " + title(site));
        }
    }
    for (auto& site : report.pages.sites) {
        improve(site.stack);
    }
    for_each_told_stack(report, [this](std::vector<ReportFrame>& stack) { improve(stack); });
}

std::optional<SymbolResolved> LateNames::name(const Frame& frame, const std::vector<SymbolLine>& known) {
    const auto module = event_modules_.find(frame.module);
    auto lines = module == event_modules_.end() ? std::nullopt : better(module->second.name, frame.offset, known);
    return lines ? std::optional(SymbolResolved{frame, std::move(*lines)}) : std::nullopt;
}

std::optional<Event> LateNames::better(const Event& event) {
    if (const auto* mapped = std::get_if<ModuleMapped>(&event)) {
        event_modules_[mapped->module] = {mapped->process, {mapped->path, mapped->build_id}};
    } else if (const auto* gone = std::get_if<ProcessForgotten>(&event)) {
        std::erase_if(event_modules_, [&](const auto& module) { return module.second.process == gone->process; });
    }
    const auto* symbol = std::get_if<SymbolResolved>(&event);
    return symbol != nullptr ? name(symbol->frame, symbol->lines) : std::nullopt;
}

void LateNames::apply(const Event& event, Model& model) {
    const auto instead = better(event);
    model.apply(instead ? *instead : event);
    if (const auto* stack = std::get_if<StackDefined>(&event)) { // a recording that was cut short may not have come to name it
        for (const auto& frame : stack->frames) {
            if (const auto named = model.symbol(frame) == nullptr ? name(frame, {}) : std::nullopt) {
                model.apply(*named);
            }
        }
    }
}

} // namespace memtrace
