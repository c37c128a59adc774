// Folded stacks.
#include <gtest/gtest.h>

#include "tests/unit/report_sample.hpp"

namespace memtrace {
namespace {

using namespace test;

std::string folded_of(const Report& report) {
    std::ostringstream out;
    render_folded(report, out);
    return out.str();
}

TEST(RenderFolded, OutermostFirstWithLiveBytes) {
    EXPECT_EQ(folded_of(sample_report()), "main;open_00000000000000bb 4194304\n"
                                          "main;open_00000000000000aa 3145728\n");
}

TEST(RenderFolded, NoSitesIsAnEmptyFile) {
    EXPECT_EQ(folded_of(Report{}), "");
}

TEST(RenderFolded, UnknownFunctionIsModuleAndOffset) {
    Report report = sample_report();
    report.sites.resize(1);
    report.sites[0].stack[0].function.clear();
    report.sites[0].stack[1] = {"", "", 0, "", 0x7f00, false, ""};
    EXPECT_EQ(folded_of(report), "[0x7f00];[lightning+0x1234] 4194304\n");
}

TEST(RenderFolded, SeparatorsInNamesAreReplaced) {
    Report report = sample_report();
    report.sites.resize(1);
    report.sites[0].stack[0].function = "f(char const*) [with T = int; U = char]\nfake;frame 9\x1b";
    EXPECT_EQ(folded_of(report), "main;f(char const*) [with T = int: U = char]?fake:frame 9? 4194304\n");
}

TEST(RenderFolded, SitesThatHoldNothingAreLeftOutAndMissingStacksAreNamed) {
    Report report = sample_report();
    report.sites[0].live_bytes = 0;
    report.sites[1].stack.clear();
    EXPECT_EQ(folded_of(report), "[no stack] 3145728\n");
}

} // namespace
} // namespace memtrace
