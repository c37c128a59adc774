#include "symbol/module_image.hpp"

#include <fcntl.h>

#include <utility>

#include "symbol/demangle.hpp"
#include "symbol/mini_debug_info.hpp"

namespace memtrace {
namespace {

// The frames of a run are some ten thousand; a cache that outgrows this is fed garbage.
constexpr std::size_t kMaxCached = 1'000'000;

/// Names a function that the DWARF knows. The names of an inlined one stand there only; for one with code of its own, the symbol
/// at the address may know better: assembler aliases (__GI___libc_malloc) are nobody's name for it, and a unit compiled with
/// line tables only lacks the linkage name.
std::string function_name(const SourceFrame& frame, const Symbol* symbol) {
    const std::string_view linkage = frame.linkage_name != nullptr ? frame.linkage_name : "";
    const std::string_view name = frame.name != nullptr ? frame.name : "";
    if (is_mangled(linkage)) {
        auto text = demangle(linkage);
        return text == linkage && !name.empty() ? std::string(name) : text; // beyond the limits: the short name reads better
    }
    if (symbol != nullptr && (!linkage.empty() || name.empty() || is_mangled(symbol->name))) {
        return demangle(symbol->name);
    }
    if (name.empty()) {
        return std::string(linkage);
    }
    const bool of_c = symbol != nullptr && symbol->name == name; // extern "C", in whatever namespace: it is known by that name
    return (frame.scope != nullptr && !of_c ? *frame.scope : "") + std::string(name);
}

} // namespace

ModuleImage::ModuleImage(UniqueFd fd, std::string path, DebugRoots roots)
    : fd_(std::move(fd)), path_(std::move(path)), roots_(std::move(roots)) {}

void ModuleImage::load() {
    loaded_ = true;
    if (!code_) {
        code_ = std::make_unique<CodeMap>(fd_.get());
    }
    UniqueFd copy(::fcntl(fd_.get(), F_DUPFD_CLOEXEC, 0));
    main_ = copy ? ElfImage::open(std::move(copy)) : nullptr;
    if (!main_) {
        return;
    }
    if (!main_->has_usable_dwarf() || !main_->has_symtab()) {
        debug_ = find_debug_file(roots_, path_, *main_);
    }
    read_names();
}

/// Builds what is looked up in, from main_ and debug_.
void ModuleImage::read_names() {
    symbols_.add(main_->elf());
    if (debug_.image) {
        symbols_.add(debug_.image->elf());
    }
    if (!main_->has_symtab() && !(debug_.image && debug_.image->has_symtab())) {
        mini_ = open_mini_debug_info(*main_);
        if (mini_) {
            symbols_.add(mini_->elf());
        }
    }
    symbols_.finish();
    if (main_->has_usable_dwarf()) {
        dwarf_ = DwarfIndex::open(*main_, path_, roots_, *code_);
    } else if (debug_.image) {
        dwarf_ = DwarfIndex::open(*debug_.image, debug_.path, roots_, *code_);
    }
}

std::string ModuleImage::missing_debug_file() const {
    return main_ && !debug_.image && !main_->has_usable_dwarf() ? main_->build_id() : "";
}

bool ModuleImage::adopt_debug_file(UniqueFd fd, const std::string& path) {
    auto image = ElfImage::open(std::move(fd));
    if (!image || missing_debug_file().empty() || image->build_id() != main_->build_id()) {
        return false;
    }
    dwarf_.reset();
    symbols_ = SymbolTable();
    mini_.reset();
    resolved_.clear();
    debug_ = {std::move(image), path};
    read_names();
    return true;
}

std::vector<SymbolLine> ModuleImage::look_up(std::uint64_t address) {
    const Symbol* symbol = symbols_.find(address);
    const auto frames = dwarf_ ? dwarf_->lookup(address) : std::vector<SourceFrame>();
    if (frames.empty()) {
        return {SymbolLine{symbol != nullptr ? demangle(symbol->name) : "", "", 0, false}};
    }
    std::vector<SymbolLine> lines;
    for (std::size_t i = 0; i < frames.size(); ++i) {
        const bool inlined = i + 1 < frames.size();
        lines.push_back({function_name(frames[i], inlined ? nullptr : symbol), frames[i].file != nullptr ? frames[i].file : "",
                         frames[i].line, inlined, frames[i].column});
    }
    return lines;
}

const std::vector<SymbolLine>& ModuleImage::resolve(std::uint64_t address) {
    if (auto known = resolved_.find(address); known != resolved_.end()) {
        return known->second;
    }
    if (!loaded_) {
        load();
    }
    if (resolved_.size() >= kMaxCached) {
        resolved_.clear();
    }
    // A call that never returns can be the last instruction of its function: the return address then lies in the next one.
    auto lines = address == 0 ? std::vector<SymbolLine>(1) : look_up(address - 1);
    return resolved_.emplace(address, std::move(lines)).first->second;
}

bool ModuleImage::follows_call(std::uint64_t address) {
    if (auto known = calls_.find(address); known != calls_.end()) {
        return known->second;
    }
    if (!code_) {
        code_ = std::make_unique<CodeMap>(fd_.get());
    }
    if (calls_.size() >= kMaxCached) {
        calls_.clear();
    }
    return calls_.emplace(address, code_->call_may_end_at(address)).first->second;
}

} // namespace memtrace
