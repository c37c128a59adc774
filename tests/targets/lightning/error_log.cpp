#include "error_log.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include "base/fd.hpp"
#include "memtrace/memtrace.hpp"

namespace lightning {
namespace {

constexpr off_t kMaxBytes = off_t{1} << 20;

} // namespace

void ErrorLog::append(std::string_view line, std::uint64_t session) {
    memtrace::UniqueFd fd(::open(path_.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600));
    if (!fd) {
        return;
    }
    memtrace::resource_handle<memtrace::UniqueFd> file(std::move(fd), {"file", name_, 0, session}); // BUG leaked-fd acquired
    struct stat status{};
    if (::fstat(file->get(), &status) == 0 && status.st_size < kMaxBytes) {
        const auto text = std::string(line) + "\n";
        (void)!::write(file->get(), text.data(), text.size());
    }
    if (board_.on(Bug::leaked_fd)) {
        forgotten_.keep(std::move(file));
    }
}

} // namespace lightning
