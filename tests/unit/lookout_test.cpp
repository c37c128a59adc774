// Units' cgroups, in a tree that is made like them.
#include "proc/lookout.hpp"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

namespace memtrace {
namespace {

class UnitCgroupsTest : public testing::Test {
protected:
    UnitCgroupsTest() {
        std::string name = testing::TempDir() + "cgroups_XXXXXX";
        root_ = ::mkdtemp(name.data()) != nullptr ? name : "";
    }
    ~UnitCgroupsTest() override { std::filesystem::remove_all(root_); }

    void add(const std::string& path, std::int32_t pid) const {
        std::filesystem::create_directories(root_ + path);
        std::ofstream(root_ + path + "/cgroup.procs") << pid << '\n';
    }
    void remove(const std::string& path) const { std::filesystem::remove_all(root_ + path); }
    UnitCgroups::Pids list(const std::set<std::string>& units) { return units_.list(units, {root_}); }

private:
    std::string root_;
    UnitCgroups units_;
};

TEST_F(UnitCgroupsTest, AreFoundTogetherWhereverTheyAre) {
    add("/system.slice/db.service", 10);
    add("/system.slice/db.service/below", 11);
    add("/system.slice/db.scope", 12);
    add("/user.slice/user@7.service/app.slice/web.service", 13);
    const UnitCgroups::Pids expected{
        {"db", {10, 11}}, {"db.service", {10, 11}}, {"db.scope", {12}}, {"user@7", {13}}, {"web", {13}}, {"other", {}}};
    EXPECT_EQ(list({"db", "db.service", "db.scope", "user@7", "web", "other"}), expected);
}

TEST_F(UnitCgroupsTest, AreFoundAgainAfterARestart) {
    add("/system.slice/db.service", 10);
    add("/system.slice/web.service", 20);
    EXPECT_EQ(list({"db", "web"}), (UnitCgroups::Pids{{"db", {10}}, {"web", {20}}}));
    remove("/system.slice/db.service");
    EXPECT_EQ(list({"db", "web"}), (UnitCgroups::Pids{{"db", {}}, {"web", {20}}}));
    add("/other.slice/db.service", 11);
    EXPECT_EQ(list({"db", "web"}), (UnitCgroups::Pids{{"db", {11}}, {"web", {20}}}));
    EXPECT_EQ(list({"web"}), (UnitCgroups::Pids{{"web", {20}}}));
}

} // namespace
} // namespace memtrace
