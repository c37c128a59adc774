// The part of the diff that is about what a program tells of itself: references, resources.
#pragma once

#include <iosfwd>

#include "report/render.hpp"
#include "report/text_parts.hpp"

namespace memtrace {

/// Of the stacks in a diff: a few frames of each, unless verbose.
inline StackStyle diff_stack_style(const TextOptions& options) {
    return {.most = options.verbose ? SIZE_MAX : 6, .verbose = options.verbose, .indent = 6};
}

/// A section for each of: cycles, reference errors and leaked resources that are new or more than they were, kinds of resources of which more are held
/// or leaked. Things are matched by what they are and by where in the code they were taken, as addresses and ids differ between runs. Returns
/// whether anything was written.
bool write_told_diff(std::ostream& out, const Report& before, const Report& after, const TextOptions& options,
                     const Paint& paint);

} // namespace memtrace
