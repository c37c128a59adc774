// Survival of allocations by age. Pure functions of what model/survival_table.hpp has counted.
#pragma once

#include "model/survival_table.hpp"

namespace memtrace {

/// The share of allocations that live to an age, by age class: Kaplan & Meier 1958 (JASA 53:457), the product over all ages before it of
/// the share that outlived each; blocks that are live are censored at now. Within a class of ages the hazard is taken as constant (an
/// actuarial estimate: exp(-deaths / exposure x width)), as readings of what is live tell a death's age to their distance only.
class SurvivalCurve {
public:
    explicit SurvivalCurve(const AgeClasses& ages);

    /// Share of allocations that reach the least age of a class. 1 where nothing is known.
    [[nodiscard]] double reaching(std::size_t of_class) const;
    /// Share of those that reached age class `from` which also live to the age of class `to` and, if it is the last with blocks in it,
    /// as far into it as has been seen.
    [[nodiscard]] double retained(std::size_t from, std::size_t to) const;
    /// Blocks that were seen to pass through a class; a part of one for those that are in it now.
    [[nodiscard]] double at_risk(std::size_t of_class) const;
    /// Deaths at that age or later.
    [[nodiscard]] double deaths_from(std::size_t of_class) const;
    /// The last class in which `blocks` were at risk; 0 where none is.
    [[nodiscard]] std::size_t last_with(double blocks) const;

private:
    [[nodiscard]] double outliving(std::size_t of_class) const;
    AgeClasses ages_;
};

/// Where a site's blocks stop dying.
struct Plateau {
    bool found = false;
    double age_s = 0;           ///< from this age on
    double until_s = 0;         ///< the greatest age seen
    double reaching = 0;        ///< share of allocations that get that old
    double retained = 0;        ///< share of these that were not freed since
    double others_retained = 0; ///< the same of all other sites, at the same ages; negative: too few got that old
    double blocks = 0;          ///< how many got that old
};

/// The youngest age from which on nine in ten blocks and more were not freed until four times that age at least. `one_record`: blocks
/// that one record stands for (1 where all are recorded): a few records are no evidence. Not found: blocks die at all ages seen, or
/// too few were seen.
Plateau find_plateau(const AgeClasses& site, const AgeClasses& others, double one_record);

} // namespace memtrace
