// The part of the text report that is about what a program tells of itself: references, resources, pools, cleanups.
#pragma once

#include <iosfwd>

#include "report/render.hpp"
#include "report/text_parts.hpp"

namespace memtrace {

/// Lines of the head, each "label     text" with the text at column `indent`.
void write_told_head(std::ostream& out, const Report& report, std::size_t indent, const Paint& paint);
/// What is wrong with them, a section each; nothing where all is well.
void write_told_sections(std::ostream& out, const Report& report, const TextOptions& options, const Paint& paint);

} // namespace memtrace
