// A directory of symbols: what is taken for a module's file, and what a hostile snapshot or directory cannot do.
#include "symbol/symbol_directory.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "symbol_fixture.hpp"

namespace memtrace {
namespace {

using namespace symbol_test;
namespace fs = std::filesystem;

class SymbolDirectoryTest : public ::testing::Test {
protected:
    SymbolDirectoryTest() : program_(directory_, "program", "-g") {
        fs::create_directories(directory_.path("symbols"));
        const auto notes = run("readelf -n " + program_.path + " | sed -n 's/.*Build ID: //p'");
        build_id_ = notes.substr(0, notes.find('\n'));
    }

    SymbolDirectory::Found find(const std::string& path, const std::string& build_id) {
        auto directory = SymbolDirectory::open(directory_.path("symbols"));
        EXPECT_TRUE(directory);
        return directory->find(path, build_id);
    }

    std::string put(const std::string& source, const std::string& place) {
        const auto path = directory_.path("symbols/" + place);
        fs::create_directories(fs::path(path).parent_path());
        fs::copy_file(source, path, fs::copy_options::overwrite_existing);
        return path;
    }

    TemporaryDirectory directory_;
    Program program_;
    std::string build_id_;
};

TEST_F(SymbolDirectoryTest, FileWithDebugInformationIsPreferred) {
    run("strip " + put(program_.path, "usr/bin/program"));
    EXPECT_EQ(find("/usr/bin/program", build_id_).path, "/usr/bin/program");
    EXPECT_FALSE(find("/usr/bin/program", build_id_).lines);
    run("strip --strip-debug " + put(program_.path, "b/with_symtab"));
    EXPECT_EQ(find("/usr/bin/program", build_id_).path, "/b/with_symtab");
    put(program_.path, "a/whole");
    const auto found = find("/usr/bin/program", build_id_);
    EXPECT_EQ(found.path, "/a/whole");
    EXPECT_TRUE(found.lines);
    EXPECT_EQ(found.refused, "");
}

TEST_F(SymbolDirectoryTest, ModuleWithoutABuildIdTakesOnlyAFileWithoutOne) {
    put(program_.path, "usr/bin/program");
    const auto refused = find("/usr/bin/program", "");
    EXPECT_FALSE(refused.fd);
    EXPECT_NE(refused.refused.find("instead of none"), std::string::npos) << refused.refused;
    Program without(directory_, "without", "-g -Wl,--build-id=none");
    put(without.path, "usr/bin/program");
    EXPECT_TRUE(find("/usr/bin/program", "").fd);
    EXPECT_FALSE(find("/usr/bin/program", build_id_).fd);
}

TEST_F(SymbolDirectoryTest, NamesOfAHostileSnapshotLeadNowhere) {
    put(program_.path, "x/program");
    for (const std::string& path :
         {std::string("/../program"), std::string("/x/../../program"), std::string("../program"), program_.path, std::string(),
          std::string("/"), std::string("/x"), "/" + std::string(10'000, 'a'), std::string("/x/program\0/etc/passwd", 22)}) {
        const auto found = find(path, "");
        EXPECT_FALSE(found.fd) << path;
    }
    for (const std::string& build_id :
         {std::string("../../program"), std::string("0"), std::string("zz"), std::string("abc"), std::string(100'000, 'a'),
          "../" + build_id_, build_id_.substr(0, build_id_.size() - 2)}) {
        EXPECT_FALSE(find("/nothing", build_id).fd) << build_id.substr(0, 80);
    }
}

TEST_F(SymbolDirectoryTest, WhatIsNoRegularFileIsPassedOver) {
    ASSERT_EQ(::mkfifo(directory_.path("symbols/fifo").c_str(), 0600), 0);
    fs::create_directory_symlink(directory_.path("symbols"), directory_.path("symbols/loop"));
    fs::create_symlink("/dev/zero", directory_.path("symbols/zero"));
    write_file(directory_.path("symbols/text"), "no ELF at all");
    EXPECT_FALSE(find("/fifo", build_id_).fd); // and does not block
    EXPECT_FALSE(find("/zero", build_id_).fd);
    put(program_.path, "z/program");
    EXPECT_TRUE(find("/fifo", build_id_).fd);
}

TEST_F(SymbolDirectoryTest, DirectoryThatIsNone) {
    EXPECT_FALSE(SymbolDirectory::open(directory_.path("missing")));
    EXPECT_FALSE(SymbolDirectory::open(program_.path));
}

TEST_F(SymbolDirectoryTest, DebugFileIsTheModulesFileToo) {
    // Only what objcopy splits off, without any code in it, names addresses all the same.
    const auto debug = put(program_.path, ".build-id/" + build_id_.substr(0, 2) + "/" + build_id_.substr(2) + ".debug");
    run("objcopy --only-keep-debug " + debug);
    const auto found = find("/usr/bin/program", build_id_);
    ASSERT_TRUE(found.fd);
    Symbolizer symbolizer;
    ASSERT_TRUE(symbolizer.add_module(kModule, ModuleFile{"/usr/bin/program", "", "", found.fd.get()}));
    const auto lines = resolve(symbolizer, program_.addresses().at("inlined"));
    ASSERT_EQ(lines.size(), 3u);
    EXPECT_EQ(lines[0].function, "shop::Basket<int>::first(int)");
    EXPECT_EQ(lines[0].line, program_.line("inlined"));
}

} // namespace
} // namespace memtrace
