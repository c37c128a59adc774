// Separate debug files: where they are looked for, and which are turned down.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "base/hex.hpp"
#include "symbol/module_image.hpp"
#include "symbol_fixture.hpp"

namespace memtrace {
namespace {

using namespace symbol_test;
namespace fs = std::filesystem;

class DebugFileTest : public ::testing::Test {
protected:
    /// Builds the program, moves its debug information to `directory_/split.debug` and strips it. Called once in a test.
    void split(const std::string& flags = "-g", bool link = true) {
        program_ = std::make_unique<Program>(directory_, "split", flags);
        addresses_ = program_->addresses();
        const auto& path = program_->path;
        build_id_ = run("readelf -n " + path + " | sed -n 's/.*Build ID: //p'");
        build_id_ = build_id_.substr(0, build_id_.find('\n'));
        run("cd " + directory_.path("") + " && objcopy --only-keep-debug split split.debug && strip split" +
            (link ? " && objcopy --add-gnu-debuglink=split.debug split" : ""));
    }

    /// Moves the debug file to `path` below `directory_`.
    void move_debug_file(const std::string& path) {
        fs::create_directories(fs::path(directory_.path(path)).parent_path());
        fs::rename(directory_.path("split.debug"), directory_.path(path));
    }

    [[nodiscard]] std::string build_id_file() const {
        return "usr/lib/debug/.build-id/" + build_id_.substr(0, 2) + "/" + build_id_.substr(2) + ".debug";
    }

    /// The line that a static function's call is found at; 0 where no debug file was found. With `root`, the process knows the
    /// program as /opt/bin/split.
    std::uint32_t found_line(const std::string& root = "", const std::string& name = "") {
        auto symbolizer = symbolizer_of(program_->path, root, name);
        const auto lines = resolve(symbolizer, addresses_.at("static"));
        EXPECT_EQ(lines[0].function.substr(0, 20), lines[0].line != 0 ? "shop::in_a_file(int)" : "");
        return lines[0].line;
    }

    [[nodiscard]] std::uint32_t true_line() const { return program_->line("static"); }

    TemporaryDirectory directory_;
    std::unique_ptr<Program> program_;
    std::map<std::string, std::uint64_t> addresses_;
    std::string build_id_;
};

TEST_F(DebugFileTest, LinkedFileBesideTheProgram) {
    split();
    EXPECT_EQ(found_line(), true_line());
}

TEST_F(DebugFileTest, LinkedFileInDotDebug) {
    split();
    move_debug_file(".debug/split.debug");
    EXPECT_EQ(found_line(), true_line());
}

TEST_F(DebugFileTest, LinkedFileBelowTheRootsDebugDirectory) {
    split();
    move_debug_file("root/usr/lib/debug/opt/bin/split.debug");
    EXPECT_EQ(found_line("", "/opt/bin/split"), 0u);
    EXPECT_EQ(found_line(directory_.path("root"), "/opt/bin/split"), true_line());
}

TEST_F(DebugFileTest, BuildIdBelowTheRoot) {
    split("-g", false);
    move_debug_file("root/" + build_id_file());
    EXPECT_EQ(found_line(), 0u);
    EXPECT_EQ(found_line(directory_.path("root")), true_line());
}

TEST_F(DebugFileTest, RootOutlivesItsName) {
    // As /proc/PID/root does when the process ends between add_module and the first look-up.
    split("-g", false);
    move_debug_file("root/" + build_id_file());
    auto symbolizer = symbolizer_of(program_->path, directory_.path("root"));
    fs::rename(directory_.path("root"), directory_.path("moved"));
    EXPECT_EQ(resolve(symbolizer, addresses_.at("static"))[0].line, true_line());
}

TEST_F(DebugFileTest, LinksOnTheWayStayBelowTheRoot) {
    split("-g", false);
    move_debug_file("root/store/split.debug");
    const auto link = directory_.path("root/" + build_id_file());
    fs::create_directories(fs::path(link).parent_path());
    fs::create_symlink("/store/split.debug", link); // what is /store to the process is not /store to us
    EXPECT_EQ(found_line(directory_.path("root")), true_line());
}

TEST_F(DebugFileTest, WrongBuildIdIsTurnedDown) {
    split();
    Program other(directory_, "other", "-g -DOTHER=1 -O1");
    run("cd " + directory_.path("") + " && objcopy --only-keep-debug other split.debug");
    EXPECT_EQ(found_line(), 0u);
    move_debug_file("root/" + build_id_file());
    EXPECT_EQ(found_line(directory_.path("root")), 0u);
}

TEST_F(DebugFileTest, ChecksumDecidesWhereThereIsNoBuildId) {
    split("-g -Wl,--build-id=none");
    EXPECT_EQ(build_id_, "");
    EXPECT_EQ(found_line(), true_line());
    std::ofstream(directory_.path("split.debug"), std::ios::app) << 'x';
    EXPECT_EQ(found_line(), 0u);
}

TEST_F(DebugFileTest, LinkWithADirectoryInItIsNotFollowed) {
    split();
    // Same length, so that the section keeps its layout; the file exists and has the right build-id.
    move_debug_file("a/plit.debug");
    auto bytes = read_file(program_->path);
    const auto position = bytes.rfind("split.debug");
    ASSERT_NE(position, std::string::npos);
    bytes.replace(position, 11, "a/lit.debug");
    fs::rename(directory_.path("a/plit.debug"), directory_.path("a/lit.debug"));
    fs::remove(program_->path);
    write_file(program_->path, bytes);
    EXPECT_EQ(found_line(), 0u);
}

TEST_F(DebugFileTest, FifoInPlaceOfTheDebugFileDoesNotBlock) {
    split();
    fs::remove(directory_.path("split.debug"));
    ASSERT_EQ(::mkfifo(directory_.path("split.debug").c_str(), 0600), 0);
    EXPECT_EQ(found_line(), 0u);
}

TEST_F(DebugFileTest, GarbageInPlaceOfTheDebugFile) {
    split();
    write_file(directory_.path("split.debug"), "no ELF at all");
    EXPECT_EQ(found_line(), 0u);
}

TEST_F(DebugFileTest, DebugFileThatComesLater) {
    split("-g", false);
    const auto open = [](const std::string& path) { return UniqueFd(::open(path.c_str(), O_RDONLY | O_CLOEXEC)); };
    ModuleImage image(open(program_->path), program_->path, {});
    EXPECT_EQ(image.missing_debug_file(), ""); // nothing has been looked up: nobody knows yet
    EXPECT_EQ(image.resolve(addresses_.at("static"))[0].function, "");
    EXPECT_EQ(to_hex(image.missing_debug_file()), build_id_);
    Program other(directory_, "other", "-g -DOTHER=1 -O1");
    EXPECT_FALSE(image.adopt_debug_file(open(other.path), other.path));
    EXPECT_FALSE(image.adopt_debug_file(UniqueFd(), ""));
    EXPECT_EQ(image.resolve(addresses_.at("static"))[0].function, "");
    const auto debug = directory_.path("split.debug");
    EXPECT_TRUE(image.adopt_debug_file(open(debug), debug));
    EXPECT_EQ(image.missing_debug_file(), "");
    EXPECT_EQ(image.resolve(addresses_.at("static"))[0].line, true_line());
    EXPECT_EQ(image.resolve(addresses_.at("inlined")).size(), 3u);
    EXPECT_FALSE(image.adopt_debug_file(open(debug), debug)); // nothing is missing any more
}

TEST_F(DebugFileTest, CommonPartsThatDwzMovedToAThirdFile) {
    if (std::system("command -v dwz >/dev/null") != 0) {
        GTEST_SKIP() << "needs dwz";
    }
    split();
    // Two copies make all of it common.
    run("cd " + directory_.path("") +
        " && cp split.debug copy.debug && dwz -m common.debug -M /usr/lib/debug/.dwz/common.debug split.debug copy.debug");
    move_debug_file("root/opt/bin/split.debug");
    const auto root = directory_.path("root");
    // Without the third file there are lines, and names from the symbol table; nothing opens what the link names.
    EXPECT_EQ(found_line(root, "/opt/bin/split"), true_line());
    fs::create_directories(root + "/usr/lib/debug/.dwz");
    fs::rename(directory_.path("common.debug"), root + "/usr/lib/debug/.dwz/common.debug");
    auto symbolizer = symbolizer_of(program_->path, root, "/opt/bin/split");
    const auto lines = resolve(symbolizer, addresses_.at("inlined"));
    ASSERT_EQ(lines.size(), 3u);
    EXPECT_EQ(lines[0].function, "shop::Basket<int>::first(int)");
    EXPECT_EQ(lines[1].function, "shop::Basket<int>::take(int)");
    EXPECT_EQ(lines[2].function, "shop::Basket<int>::grow(int)");
}

} // namespace
} // namespace memtrace
