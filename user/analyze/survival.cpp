#include "analyze/survival.hpp"

#include <algorithm>
#include <cmath>

namespace memtrace {

namespace {

constexpr double kRetained = 0.9;        ///< of those that reach the plateau
constexpr double kSurelyRetained = 0.85; ///< at least, but for one case in twenty
constexpr double kLeastBlocks = 10;      ///< that reached it; at the greatest age a third of that
constexpr double kLongTime = 300; ///< in less, more blocks are needed, in proportion: lifetimes may be longer than what was seen
constexpr double kHardly = 0.5;   ///< seen at an age, of those that were seen at twice that age
constexpr double kWidth = 4;      ///< the plateau ends at that many times the age at which it begins

double width_s(std::size_t of_class) {
    return AgeClasses::age_s(of_class + 1) - AgeClasses::age_s(of_class);
}

} // namespace

SurvivalCurve::SurvivalCurve(const AgeClasses& ages) : ages_(ages) {}

double SurvivalCurve::outliving(std::size_t of_class) const {
    const double exposure = ages_.exposure_s[of_class];
    return exposure > 0 ? std::exp(-static_cast<double>(ages_.deaths[of_class]) / exposure * width_s(of_class)) : 1;
}

double SurvivalCurve::reaching(std::size_t of_class) const {
    double share = ages_.born > 0 ? ages_.kept / ages_.born : 1;
    for (std::size_t i = 0; i < of_class; ++i) {
        share *= outliving(i);
    }
    return share;
}

double SurvivalCurve::retained(std::size_t from, std::size_t to) const {
    double share = 1;
    for (std::size_t i = from; i <= to; ++i) {
        share *= outliving(i);
    }
    return share;
}

double SurvivalCurve::at_risk(std::size_t of_class) const {
    return static_cast<double>(ages_.exposure_s[of_class]) / width_s(of_class);
}

double SurvivalCurve::deaths_from(std::size_t of_class) const {
    double sum = 0;
    for (std::size_t i = of_class; i < AgeClasses::kCount; ++i) {
        sum += ages_.deaths[i];
    }
    return sum;
}

std::size_t SurvivalCurve::last_with(double blocks) const {
    for (std::size_t i = AgeClasses::kCount; i-- > 0;) {
        if (at_risk(i) >= blocks) {
            return i;
        }
    }
    return 0;
}

Plateau find_plateau(const AgeClasses& site, const AgeClasses& others, double one_record) {
    const SurvivalCurve curve(site);
    const SurvivalCurve rest(others);
    const double record = std::max(one_record, 1.0);
    const std::size_t last = curve.last_with(kLeastBlocks * record / 3);
    const double least = kLeastBlocks * record * std::max(kLongTime / AgeClasses::age_s(last + 1), 1.0);
    // How the youngest fared was not seen, or hardly: readings are further apart than that age, or but a little closer. Whatever was
    // at risk later had been so before.
    std::size_t first = 0;
    while (first < last && curve.at_risk(first) <= kHardly * curve.at_risk(first + 1)) {
        ++first;
    }
    Plateau plateau;
    for (std::size_t from = first; from <= last; ++from) {
        plateau.age_s = AgeClasses::age_s(from);
        plateau.until_s = AgeClasses::age_s(last + 1);
        plateau.retained = curve.retained(from, last);
        plateau.blocks = curve.at_risk(from);
        if (plateau.until_s < kWidth * plateau.age_s || plateau.blocks < least) {
            break; // none of the older classes can be one either
        }
        // Deaths are counts: about 1.64 standard errors above what was seen, the worst that is likely.
        const double deaths = curve.deaths_from(from) / record + 1;
        const double worst = (deaths + 1.64 * std::sqrt(deaths)) * record / plateau.blocks;
        if (plateau.retained >= kRetained && worst <= 1 - kSurelyRetained) {
            plateau.found = true;
            plateau.reaching = curve.reaching(from);
            plateau.others_retained = rest.at_risk(last) >= kLeastBlocks ? rest.retained(from, last) : -1;
            break;
        }
    }
    return plateau;
}

} // namespace memtrace
