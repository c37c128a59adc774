#include "unwind/table_cache.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.hpp"
#include "base/fd.hpp"
#include "base/write_all.hpp"
#include "proc/elf_file.hpp"

namespace memtrace {

namespace {

constexpr std::uint32_t kMagic = 0x6354556d; // "mUTc"
constexpr std::uint32_t kVersion = 2;        // also of what the compiler makes of a section: one more when rules change
constexpr const char* kSuffix = ".unwind";
constexpr std::uint64_t kMaxWords = std::uint64_t{1} << 27;

/// A directory that nobody else can write to.
UniqueFd open_directory(const std::string& path, bool make) {
    if (make) {
        ::mkdir(path.c_str(), 0700);
    }
    UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    struct stat status{};
    const bool ours = fd && ::fstat(fd.get(), &status) == 0 && status.st_uid == ::geteuid() && (status.st_mode & 022) == 0;
    return ours ? std::move(fd) : UniqueFd();
}

std::string name_of(const ObjectIdentity& identity) {
    return identity.build_id + kSuffix;
}

std::uint32_t checksum(std::uint64_t first, const void* words, std::size_t size) {
    const auto sum = ::crc32_z(0, reinterpret_cast<const Bytef*>(&first), sizeof(first));
    return static_cast<std::uint32_t>(::crc32_z(sum, static_cast<const Bytef*>(words), size));
}

std::string header_of(const ObjectIdentity& identity, const UnwindTable& table) {
    ByteWriter out;
    out.write(kMagic);
    out.write(kVersion);
    for (const auto& section : {identity.eh_frame, identity.debug_frame}) {
        out.write(section.address);
        out.write(section.size);
    }
    out.write(checksum(table.first(), table.words().data(), table.words().size() * sizeof(std::uint32_t)));
    out.write(std::uint32_t{0});
    out.write(table.first());
    out.write(static_cast<std::uint64_t>(table.words().size()));
    return out.data();
}

/// The files kept, the oldest first.
std::vector<std::pair<std::int64_t, std::string>> kept_files(int directory) {
    std::vector<std::pair<std::int64_t, std::string>> files;
    const std::unique_ptr<DIR, int (*)(DIR*)> listing(::fdopendir(::fcntl(directory, F_DUPFD_CLOEXEC, 0)), ::closedir);
    for (const dirent* entry = listing ? ::readdir(listing.get()) : nullptr; entry != nullptr; entry = ::readdir(listing.get())) {
        const std::string name = entry->d_name;
        struct stat status{};
        if (name.ends_with(kSuffix) && ::fstatat(directory, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0) {
            files.emplace_back(status.st_mtim.tv_sec, name);
        }
    }
    std::sort(files.begin(), files.end());
    return files;
}

} // namespace

bool TableCache::is_worth_it(const ObjectIdentity& identity) const {
    const bool is_hex = identity.build_id.find_first_not_of("0123456789abcdef") == std::string::npos;
    return !directory_.empty() && !identity.build_id.empty() && is_hex &&
           identity.eh_frame.size + identity.debug_frame.size >= kSmallest;
}

std::optional<UnwindTable> TableCache::load(const ObjectIdentity& identity) const {
    const auto directory = is_worth_it(identity) ? open_directory(directory_, false) : UniqueFd();
    const UniqueFd fd(
        directory ? ::openat(directory.get(), name_of(identity).c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK) : -1);
    struct stat status{};
    if (!fd || ::fstat(fd.get(), &status) != 0 || !S_ISREG(status.st_mode) || status.st_uid != ::geteuid()) {
        return std::nullopt;
    }
    constexpr std::size_t kHeader = 4 * 4 + 6 * 8;
    const auto head = read_bytes(fd.get(), 0, kHeader);
    if (!head) {
        return std::nullopt;
    }
    ByteReader in({reinterpret_cast<const char*>(head->data()), head->size()});
    const auto magic = in.read<std::uint32_t>();
    const auto version = in.read<std::uint32_t>();
    ObjectIdentity made_of{identity.build_id, {}, {}};
    for (auto* section : {&made_of.eh_frame, &made_of.debug_frame}) {
        section->address = in.read<std::uint64_t>();
        section->size = in.read<std::uint64_t>();
    }
    const auto sum = in.read<std::uint32_t>();
    const auto zero = in.read<std::uint32_t>();
    const auto first = in.read<std::uint64_t>();
    const auto count = in.read<std::uint64_t>();
    if (in.failed() || magic != kMagic || version != kVersion || made_of != identity || zero != 0 || count > kMaxWords ||
        static_cast<std::uint64_t>(status.st_size) != kHeader + count * sizeof(std::uint32_t)) {
        return std::nullopt;
    }
    const auto bytes = read_bytes(fd.get(), kHeader, count * sizeof(std::uint32_t));
    if (!bytes || bytes->size() != count * sizeof(std::uint32_t) || checksum(first, bytes->data(), bytes->size()) != sum) {
        return std::nullopt;
    }
    std::vector<std::uint32_t> words(count);
    if (count > 0) {
        std::memcpy(words.data(), bytes->data(), bytes->size());
    }
    return UnwindTable::from_words(first, std::move(words));
}

void TableCache::store(const ObjectIdentity& identity, const UnwindTable& table) const {
    const auto directory = is_worth_it(identity) ? open_directory(directory_, true) : UniqueFd();
    if (!directory) {
        return;
    }
    const auto name = name_of(identity);
    const auto temporary = "." + name + "." + std::to_string(::getpid());
    {
        const UniqueFd fd(
            ::openat(directory.get(), temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
        const auto header = header_of(identity, table);
        const auto& words = table.words();
        const std::string_view body(reinterpret_cast<const char*>(words.data()), words.size() * sizeof(std::uint32_t));
        const bool written = fd && write_all(fd.get(), header) && write_all(fd.get(), body) && ::fsync(fd.get()) == 0;
        if (!written || ::renameat(directory.get(), temporary.c_str(), directory.get(), name.c_str()) != 0) {
            ::unlinkat(directory.get(), temporary.c_str(), 0);
            return;
        }
    }
    const auto files = kept_files(directory.get());
    for (std::size_t i = 0; i + kMostFiles < files.size(); ++i) {
        ::unlinkat(directory.get(), files[i].second.c_str(), 0);
    }
}

std::string TableCache::default_directory() {
    if (::geteuid() == 0) {
        return "/var/cache/memtrace";
    }
    const char* cache = std::getenv("XDG_CACHE_HOME");
    const char* home = std::getenv("HOME");
    if (cache != nullptr && cache[0] == '/') {
        return std::string(cache) + "/memtrace";
    }
    return home != nullptr && home[0] == '/' ? std::string(home) + "/.cache/memtrace" : "";
}

} // namespace memtrace
