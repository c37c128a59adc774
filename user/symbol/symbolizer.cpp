#include "symbol/symbolizer.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <compare>
#include <map>
#include <set>
#include <unordered_map>
#include <utility>

#include "symbol/module_image.hpp"
#include "symbol/safe_open.hpp"

namespace memtrace {
namespace {

/// What tells one open file from another, for as long as one of them is open.
struct FileKey {
    std::uint64_t device = 0;
    std::uint64_t inode = 0;
    std::uint64_t mount = 0; ///< of a root directory: two containers may have one root inode and different mounts below it
    friend auto operator<=>(const FileKey&, const FileKey&) = default;
};

FileKey key_of(const UniqueFd& fd, bool with_mount) {
    struct statx status{};
    const unsigned wanted = STATX_INO | (with_mount ? STATX_MNT_ID : 0u);
    if (::statx(fd.get(), "", AT_EMPTY_PATH, wanted, &status) != 0) {
        return {};
    }
    const std::uint64_t device = (static_cast<std::uint64_t>(status.stx_dev_major) << 32) | status.stx_dev_minor;
    return {device, status.stx_ino, with_mount && (status.stx_mask & STATX_MNT_ID) != 0 ? status.stx_mnt_id : 0};
}

UniqueFd open_module(const ModuleFile& file) {
    if (file.fd < 0) {
        auto opened = open_regular(file.open_path);
        return opened ? std::move(*opened) : UniqueFd();
    }
    UniqueFd copy(::fcntl(file.fd, F_DUPFD_CLOEXEC, 0));
    struct stat status{};
    return copy && ::fstat(copy.get(), &status) == 0 && S_ISREG(status.st_mode) ? std::move(copy) : UniqueFd();
}

} // namespace

struct Symbolizer::Impl {
    std::unordered_map<ModuleId, std::shared_ptr<ModuleImage>> modules;
    std::map<std::pair<FileKey, FileKey>, std::weak_ptr<ModuleImage>> images; ///< by file and root
    std::map<FileKey, std::weak_ptr<const DebugRoot>> roots;
    Debuginfod* servers = nullptr;
    Wanted wanted;
    std::set<ModuleId> asked_for;
    std::multimap<std::string, ModuleId> waiting; ///< by the build-id of the debug file that the module lacks

    /// The directory `path`, shared with all who have it open. Null where it cannot be opened.
    std::shared_ptr<const DebugRoot> root(const std::string& path) {
        auto opened = open_root(path);
        if (!opened) {
            return nullptr;
        }
        auto& shared = roots[key_of(*opened, true)];
        auto existing = shared.lock();
        if (!existing) {
            existing = std::make_shared<const DebugRoot>(DebugRoot{std::move(*opened)});
            shared = existing;
        }
        return existing;
    }

    std::shared_ptr<ModuleImage> image(UniqueFd fd, const ModuleFile& file) {
        DebugRoots where;
        FileKey root_key;
        if (file.symbols) {
            where.push_back(file.symbols);
            root_key = key_of(file.symbols->directory, true);
        }
        if (!file.debug_root.empty()) {
            if (auto own = root(file.debug_root)) {
                root_key = key_of(own->directory, true);
                where.push_back(std::move(own));
            }
        }
        auto host = root("/");
        if (host && (where.empty() || host != where.front())) {
            where.push_back(std::move(host));
        }
        auto& shared = images[{key_of(fd, false), root_key}];
        auto existing = shared.lock();
        if (!existing) {
            existing = std::make_shared<ModuleImage>(std::move(fd), file.path, std::move(where));
            shared = existing;
        }
        return existing;
    }
};

Symbolizer::Symbolizer() : impl_(std::make_unique<Impl>()) {}
Symbolizer::~Symbolizer() = default;
Symbolizer::Symbolizer(Symbolizer&&) noexcept = default;
Symbolizer& Symbolizer::operator=(Symbolizer&&) noexcept = default;

bool Symbolizer::add_module(ModuleId module, const ModuleFile& file) {
    UniqueFd fd = open_module(file);
    if (!fd) {
        return false;
    }
    impl_->modules[module] = impl_->image(std::move(fd), file);
    return true;
}

void Symbolizer::forget(ModuleId module) {
    impl_->modules.erase(module);
    impl_->asked_for.erase(module);
    std::erase_if(impl_->waiting, [module](const auto& entry) { return entry.second == module; });
    std::erase_if(impl_->images, [](const auto& entry) { return entry.second.expired(); });
    std::erase_if(impl_->roots, [](const auto& entry) { return entry.second.expired(); });
}

std::vector<SymbolLine> Symbolizer::resolve(const Frame& frame) {
    const auto found = impl_->modules.find(frame.module);
    if (found == impl_->modules.end()) {
        return std::vector<SymbolLine>(1);
    }
    auto lines = found->second->resolve(frame.offset);
    if (impl_->servers != nullptr && impl_->asked_for.insert(frame.module).second) {
        if (const auto build_id = found->second->missing_debug_file();
            !build_id.empty() && impl_->wanted(found->second->path(), build_id)) {
            impl_->waiting.emplace(build_id, frame.module);
            impl_->servers->want(build_id);
        }
    }
    return lines;
}

void Symbolizer::ask(Debuginfod& servers, Wanted wanted) {
    impl_->servers = &servers;
    impl_->wanted = std::move(wanted);
}

Symbolizer::Arrivals Symbolizer::take_debug_files() {
    Arrivals arrivals;
    for (const auto& answer : impl_->servers != nullptr ? impl_->servers->take() : std::vector<Debuginfod::Answer>()) {
        const auto [begin, end] = impl_->waiting.equal_range(answer.build_id);
        for (auto entry = begin; entry != end; ++entry) {
            const auto& image = impl_->modules.at(entry->second);
            auto fd = answer.path.empty() ? Result<UniqueFd>() : open_regular(answer.path);
            // Of modules that share an image, the first one's file is for all of them.
            if (!answer.path.empty() &&
                (image->missing_debug_file().empty() || (fd && image->adopt_debug_file(std::move(*fd), answer.path)))) {
                arrivals.renamed.push_back(entry->second);
            }
            if (!answer.problem.empty()) {
                arrivals.problems.push_back("no debug file for " + image->path() + " from debuginfod: " + answer.problem);
                break;
            }
        }
        impl_->waiting.erase(begin, end);
    }
    return arrivals;
}

bool Symbolizer::follows_call(const Frame& frame) {
    const auto found = impl_->modules.find(frame.module);
    return found == impl_->modules.end() || found->second->follows_call(frame.offset);
}

} // namespace memtrace
