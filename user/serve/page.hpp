// The page to look at: one HTML document without script and without anything from elsewhere. Pure but for the nonce; any thread.
#pragma once

#include <iosfwd>
#include <string>
#include <string_view>

#include "report/prometheus.hpp"

namespace memtrace {

struct PageOptions {
    std::string nonce;    ///< of the style, which the Content-Security-Policy names
    double refresh_s = 0; ///< the page asks for itself again after so long; 0: it does not
};

/// 32 hex digits that nobody can foresee: one for each page.
std::string page_nonce();

/// The overview, and all of `only`, or of the one process that there is. `only` is in `publication`, or null.
void render_page(const Publication& publication, const Report* only, const PageOptions& options, std::ostream& out);

/// `text` as it can stand in HTML, also in an attribute: printable, and without any character that means something there. All that
/// comes from a program goes through this.
std::string html_text(std::string_view text);

} // namespace memtrace
