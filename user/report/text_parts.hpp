// What the text report and the diff share: colour, wrapped lines, stacks. For terminals only.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

#include "report/report.hpp"

namespace memtrace {

enum class Colour { bold, red, green, yellow, dim };

/// Puts ANSI colour around text, or nothing at all where colour is off.
class Paint {
public:
    explicit Paint(bool on) : on_(on) {}
    [[nodiscard]] std::string operator()(Colour colour, const std::string& text) const;

private:
    bool on_;
};

struct Selection {
    std::vector<const ReportSite*> growing;
    std::vector<const ReportSite*> live;
};

/// Leaks first, whatever they take; sites that merely grew since the last report get half of what is left, so that the noise of a
/// busy process cannot push its largest sites out.
Selection select_sites(const Report& report, std::size_t top);

/// "4.0 GiB of the cgroup, ...": of one that grows.
std::string describe_forecast(const ReportForecast& forecast);

/// `text` broken at spaces into lines of at most `width` columns, the second and later ones indented by `indent`. A word that is
/// longer than a line stays whole.
std::string wrapped(const std::string& text, std::size_t first_column, std::size_t indent, std::size_t width);

struct StackStyle {
    std::size_t most = SIZE_MAX; ///< frames shown
    bool verbose = false;        ///< whole names and paths
    std::size_t indent = 6;
    std::size_t first = 0; ///< frame shown first: those before it are passed over, and keep their numbers
};

/// "#0 function (file:line:column) [module+0xoffset]", a line each; then what is missing: frames not shown, or "... (stack incomplete)".
void write_stack(std::ostream& out, const std::vector<ReportFrame>& stack, bool truncated, const StackStyle& style,
                 const Paint& paint);

} // namespace memtrace
