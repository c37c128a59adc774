#include "symbol/symbol_directory.hpp"

#include <filesystem>
#include <system_error>
#include <utility>

#include "base/hex.hpp"
#include "symbol/safe_open.hpp"

namespace memtrace {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxEntries = 200'000; // of the tree: a whole system's, but not a disk's

std::unique_ptr<ElfImage> open_image(const DebugRoot& root, const std::string& path) {
    auto fd = open_below(root.directory, path);
    return fd ? ElfImage::open(std::move(*fd)) : nullptr;
}

constexpr int kHasLines = 3;

/// How much a file says of its code.
int worth(const ElfImage& image) {
    return image.has_usable_dwarf() ? kHasLines : image.has_symtab() ? 2 : 1;
}

std::string describe(const std::string& build_id) {
    return build_id.empty() ? "none" : to_hex(build_id);
}

} // namespace

Result<SymbolDirectory> SymbolDirectory::open(const std::string& path) {
    auto directory = open_root(path);
    if (!directory) {
        return tl::unexpected(directory.error());
    }
    return SymbolDirectory(path, std::make_shared<const DebugRoot>(DebugRoot{std::move(*directory), {"/usr/lib/debug", ""}}));
}

void SymbolDirectory::read_tree() {
    tree_read_ = true;
    std::error_code error;
    std::size_t entries = 0;
    fs::recursive_directory_iterator entry(path_, fs::directory_options::skip_permission_denied, error);
    for (; !error && entry != fs::recursive_directory_iterator() && entries < kMaxEntries; entry.increment(error), ++entries) {
        std::error_code ignored;
        if (!entry->is_regular_file(ignored) || entry->is_symlink(ignored)) {
            continue;
        }
        const auto path = "/" + entry->path().lexically_relative(path_).string();
        if (const auto image = open_image(*root_, path); image && !image->build_id().empty()) {
            by_build_id_.emplace(image->build_id(), path);
        }
    }
}

SymbolDirectory::Found SymbolDirectory::find(const std::string& module_path, const std::string& build_id) {
    const std::string wanted = from_hex(build_id);
    Found best;
    int best_worth = 0;
    std::string refused;
    const auto consider = [&](const std::string& path, bool by_name) {
        auto image = open_image(*root_, path);
        if (!image) {
            return;
        }
        if (image->build_id() != wanted) {
            if (by_name) {
                refused = path_ + path + " is of another build than what was traced as " + module_path + ": build-id " +
                          describe(image->build_id()) + " instead of " + describe(wanted);
            }
        } else if (const int value = worth(*image); value > best_worth) {
            if (auto fd = open_below(root_->directory, path)) {
                best_worth = value;
                best = {std::move(*fd), path, value == kHasLines, ""};
            }
        }
    };
    if (module_path.starts_with('/')) {
        consider(module_path, true);
    }
    if (!wanted.empty()) {
        for (const auto& directory : root_->debug_directories) {
            consider(directory + build_id_path(wanted), false);
        }
        if (best_worth < kHasLines) {
            if (!tree_read_) {
                read_tree();
            }
            const auto [begin, end] = by_build_id_.equal_range(wanted);
            for (auto entry = begin; entry != end; ++entry) {
                consider(entry->second, false);
            }
        }
    }
    if (best_worth == 0) {
        best.refused = refused;
    }
    return best;
}

} // namespace memtrace
