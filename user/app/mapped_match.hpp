// Which of the recipes' functions and probes a process has, in which files. Foreign bytes: what cannot be read has none.
#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "config/recipes.hpp"
#include "kernel/mapped_tracer.hpp"
#include "proc/maps.hpp"

namespace memtrace {

/// A file mapped with code in a process, with something of the recipes.
struct MappedObject {
    std::string path; ///< as the process sees it
    UniqueFd file;    ///< the very file; targets.fd is its number
    MappedTargets targets;
    std::vector<std::size_t> recipes; ///< those of it
    std::vector<std::string> sources; ///< for people: "libssl.so.3: openssl-ssl (SSL_new, SSL_free)"
};

/// What of `recipes` the process has in files that are not in `seen`, which is added to. A recipe of which a file lacks all that acquires or
/// all that releases is not taken from it; `complain` is told where it has the other.
std::vector<MappedObject> match_recipes(std::int32_t pid, const std::vector<Mapping>& mappings,
                                        const std::vector<ResourceRecipe>& recipes, std::set<FileIdentity>& seen,
                                        const std::function<void(const std::string&)>& complain);

} // namespace memtrace
