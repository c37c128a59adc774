#include "config/config_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "base/fd.hpp"

namespace memtrace {

namespace {

constexpr std::size_t kMaxBytes = 1 << 20;

std::string directory_of_program() {
    char path[4096];
    const auto length = ::readlink("/proc/self/exe", path, sizeof(path));
    const std::string program(path, length > 0 ? static_cast<std::size_t>(length) : 0);
    return program.substr(0, program.rfind('/') + 1);
}

/// Of one that came with memtrace, by its bare name, as installed or as built; `name` itself where it is a path.
std::vector<std::string> places_of(const std::string& name) {
    if (name.find_first_of("/.") != std::string::npos) {
        return {name};
    }
    const auto program = directory_of_program();
    return {program + "../share/memtrace/recipes/" + name + ".toml", program + "../scripts/recipes/" + name + ".toml", name};
}

} // namespace

Result<std::string> read_config_file(const std::string& name) {
    UniqueFd fd;
    for (const auto& place : places_of(name)) {
        fd = UniqueFd(::open(place.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
        if (fd) {
            break;
        }
    }
    if (!fd) {
        return fail_errno("cannot open the configuration " + name, errno);
    }
    std::string text(kMaxBytes + 1, '\0');
    std::size_t filled = 0;
    for (ssize_t count = 1; count > 0 && filled < text.size(); filled += static_cast<std::size_t>(count)) {
        count = ::read(fd.get(), text.data() + filled, text.size() - filled);
        if (count < 0) {
            return fail_errno("cannot read the configuration " + name, errno);
        }
    }
    text.resize(filled);
    return filled <= kMaxBytes ? Result<std::string>(text) : fail(name + " is too large for a configuration: more than 1 MiB");
}

} // namespace memtrace
