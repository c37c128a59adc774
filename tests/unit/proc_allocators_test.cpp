#include "proc/allocators.hpp"

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <utility>

namespace memtrace {
namespace {

// ---- signatures ---------------------------------------------------------------------------------------------------------------

struct Roles {
    unsigned size, count, ptr, out;
    friend bool operator==(const Roles&, const Roles&) = default;
};

Roles roles(std::string_view text) {
    const auto signature = parse_signature(text);
    EXPECT_TRUE(signature) << (signature ? "" : signature.error().message);
    return signature ? Roles{signature->size, signature->count, signature->ptr, signature->out} : Roles{};
}

TEST(ParseSignature, EveryRoleTakesTheNumberOfItsArgument) {
    EXPECT_EQ(roles("malloc(size)"), (Roles{1, 0, 0, 0}));
    EXPECT_EQ(roles("calloc(count,size)"), (Roles{2, 1, 0, 0}));
    EXPECT_EQ(roles("realloc(ptr,size)"), (Roles{2, 0, 1, 0}));
    EXPECT_EQ(roles("reallocarray(ptr,count,size)"), (Roles{3, 2, 1, 0}));
    EXPECT_EQ(roles("posix_memalign(*out,align,size)"), (Roles{3, 0, 0, 1}));
    EXPECT_EQ(roles("aligned_alloc(align,size)"), (Roles{2, 0, 0, 0}));
    EXPECT_EQ(roles("free(ptr)"), (Roles{0, 0, 1, 0}));
    EXPECT_EQ(roles("MemoryContextAlloc(_,size)"), (Roles{2, 0, 0, 0}));
    EXPECT_EQ(roles("f(_,_,_,_,_,size)"), (Roles{6, 0, 0, 0})) << "the last argument that is in a register";
}

TEST(ParseSignature, NameIsWhatComesBeforeTheParenthesis) {
    EXPECT_EQ(parse_signature("je_malloc(size)")->name, "je_malloc");
    EXPECT_EQ(parse_signature("_Znwm(size)")->name, "_Znwm");
}

TEST(ParseSignature, OnlyWhatTakesABlockAndGivesNoneIsAFree) {
    EXPECT_TRUE(parse_signature("free(ptr)")->is_free());
    EXPECT_TRUE(parse_signature("pool_free(_,ptr)")->is_free());
    EXPECT_FALSE(parse_signature("realloc(ptr,size)")->is_free());
    EXPECT_FALSE(parse_signature("malloc(size)")->is_free());
}

TEST(ParseSignature, WhatIsNoneIsAnErrorThatShowsIt) {
    for (const auto& [text, reason] : {std::pair{"", "expected name(role,...)"},
                                       {"malloc", "expected name(role,...)"},
                                       {"malloc(size", "expected name(role,...)"},
                                       {"malloc size)", "expected name(role,...)"},
                                       {"(size)", "expected name(role,...)"},
                                       {"malloc(size) ", "expected name(role,...)"},
                                       {"f(bytes)", "unknown role \"bytes\""},
                                       {"f(Size)", "unknown role \"Size\""},
                                       {"f(size, ptr)", "unknown role \" ptr\""},
                                       {"f(,size)", "unknown role \"\""},
                                       {"f(size,,ptr)", "unknown role \"\""},
                                       {"f(size,)", "expected name(role,...)"},
                                       {"f(size,size)", "role \"size\" twice"},
                                       {"f(ptr,_,ptr)", "role \"ptr\" twice"},
                                       {"f(out,size)", "unknown role \"out\""},
                                       {"a(b(size)", "unknown role \"b(size\""},
                                       {"f()", "needs a size or a ptr"},
                                       {"f(_)", "needs a size or a ptr"},
                                       {"f(count)", "needs a size or a ptr"},
                                       {"f(*out,align)", "needs a size or a ptr"},
                                       {"f(_,_,_,_,_,_,size)", "at most 6 arguments"}}) {
        const auto signature = parse_signature(text);
        ASSERT_FALSE(signature) << text;
        EXPECT_EQ(signature.error().message.rfind("signature \"" + std::string(text) + "\": ", 0), 0U)
            << signature.error().message;
        EXPECT_NE(signature.error().message.find(reason), std::string::npos) << signature.error().message;
        EXPECT_EQ(signature.error().message.find('\n'), std::string::npos);
    }
}

// ---- the table ----------------------------------------------------------------------------------------------------------------

TEST(FunctionTable, HoldsTheFamilyOnceEach) {
    std::set<std::string> names;
    for (const auto& function : function_table()) {
        EXPECT_TRUE(names.insert(function.name).second) << function.name << " twice";
        EXPECT_TRUE(function.size != 0 || function.is_free()) << function.name;
    }
    for (const char* name : {"malloc", "calloc", "realloc", "reallocarray", "posix_memalign", "aligned_alloc", "memalign",
                             "valloc", "pvalloc", "free", "cfree"}) {
        EXPECT_TRUE(names.contains(name)) << name;
    }
}

// ---- discovery ----------------------------------------------------------------------------------------------------------------

Result<std::vector<ProbeObject>> find(std::int32_t pid, const std::string& allocator = "auto") {
    const auto mappings = read_maps(pid);
    if (!mappings) {
        return tl::unexpected(mappings.error());
    }
    std::set<FileIdentity> seen;
    return find_probe_objects(pid, *mappings, allocator, seen);
}

std::vector<ProbeObject> in_own_process(const std::string& allocator = "auto") {
    const auto objects = find(::getpid(), allocator);
    EXPECT_TRUE(objects) << (objects ? "" : objects.error().message);
    return objects ? *objects : std::vector<ProbeObject>();
}

const ProbeObject* named(const std::vector<ProbeObject>& objects, const std::string& allocator) {
    const auto found =
        std::find_if(objects.begin(), objects.end(), [&](const auto& object) { return object.allocator == allocator; });
    return found == objects.end() ? nullptr : &*found;
}

TEST(FindProbeObjects, CLibraryOfThisProcess) {
    const auto objects = in_own_process();
    const auto* libc = named(objects, "libc");
    ASSERT_NE(libc, nullptr);
    std::set<std::string> symbols;
    std::set<std::uint64_t> offsets;
    for (const auto& point : libc->points) {
        symbols.insert(point.symbol);
        EXPECT_TRUE(offsets.insert(point.file_offset).second) << point.symbol << " lies where another one does";
        EXPECT_EQ(function_table()[point.function].name, point.symbol);
    }
    for (const char* name : {"malloc", "calloc", "realloc", "free", "posix_memalign", "aligned_alloc"}) {
        EXPECT_TRUE(symbols.contains(name)) << name;
    }
    EXPECT_NE(libc->path.find("libc"), std::string::npos);
    EXPECT_EQ(::access(libc->open_path.c_str(), R_OK), 0) << libc->open_path;
    const auto elf = read_elf(libc->open_path, [](std::string_view name) { return name == "malloc"; }, false);
    ASSERT_TRUE(elf) << elf.error().message;
    EXPECT_TRUE(offsets.contains(elf->functions.front().file_offset));
}

TEST(FindProbeObjects, HooksOfTheDynamicLinkerAndTheUnwinder) {
    std::set<HookKind> kinds;
    for (const auto& object : in_own_process()) {
        for (const auto& hook : object.hooks) {
            kinds.insert(hook.kind);
            EXPECT_FALSE(hook.symbol.empty());
        }
    }
    EXPECT_TRUE(kinds.contains(HookKind::library_changed));
    EXPECT_TRUE(kinds.contains(HookKind::unwind));
}

TEST(FindProbeObjects, EachFileOnce) {
    std::set<FileIdentity> files;
    for (const auto& object : in_own_process()) {
        EXPECT_TRUE(files.insert(object.file).second) << object.path;
    }
}

TEST(FindProbeObjects, OnlyTheAllocatorAskedForHasPoints) {
    for (const auto& object : in_own_process("libc")) {
        EXPECT_TRUE(object.allocator == "libc" || object.points.empty()) << object.path;
    }
    EXPECT_NE(named(in_own_process("libc"), "libc"), nullptr);
    for (const auto& object : in_own_process("jemalloc")) {
        EXPECT_TRUE(object.points.empty()) << object.path;
    }
}

TEST(FindProbeObjects, NoSuchProcessIsAnError) {
    std::set<FileIdentity> seen;
    EXPECT_FALSE(find_probe_objects(1 << 30, {}, "auto", seen));
}

/// A program that is compiled for the test, running until the end of it.
class Running {
public:
    Running(const std::string& flags, const std::string& source) {
        auto pattern = (std::filesystem::temp_directory_path() / "memtrace-find-XXXXXX").string();
        directory_ = ::mkdtemp(pattern.data());
        std::ofstream(directory_ / "prog.c") << source;
        const auto program = (directory_ / "prog").string();
        EXPECT_EQ(std::system(("gcc -O1 -o " + program + " " + (directory_ / "prog.c").string() + " " + flags).c_str()), 0);
        int ready[2];
        EXPECT_EQ(::pipe(ready), 0);
        pid_ = ::fork();
        if (pid_ == 0) {
            ::dup2(ready[1], STDOUT_FILENO);
            ::execl(program.c_str(), "prog", nullptr);
            ::_exit(127);
        }
        ::close(ready[1]);
        char byte = 0;
        EXPECT_EQ(::read(ready[0], &byte, 1), 1) << "it says when it runs";
        ::close(ready[0]);
    }
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;
    ~Running() {
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, nullptr, 0);
        std::filesystem::remove_all(directory_);
    }
    void unlink_program() const { std::filesystem::remove(directory_ / "prog"); }
    [[nodiscard]] pid_t pid() const { return pid_; }

private:
    std::filesystem::path directory_;
    pid_t pid_ = 0;
};

constexpr const char* kWaits = "#include <stdlib.h>\n#include <unistd.h>\n"
                               "int main(void) { free(malloc(1)); write(1, \"x\", 1); for (;;) pause(); }\n";

TEST(FindProbeObjects, StaticProgramIsFoundByItsSymbolTable) {
    const Running program("-static", kWaits);
    const auto objects = find(program.pid());
    ASSERT_TRUE(objects) << objects.error().message;
    const auto* own = named(*objects, "program");
    ASSERT_NE(own, nullptr);
    EXPECT_GE(own->points.size(), 4U);
}

TEST(FindProbeObjects, StrippedStaticProgramHasNothingToAttachTo) {
    const Running program("-static -s", kWaits);
    const auto objects = find(program.pid());
    ASSERT_TRUE(objects) << objects.error().message;
    EXPECT_EQ(named(*objects, "program"), nullptr);
}

// What an upgrade does to a running server.
TEST(FindProbeObjects, ProgramThatHasBeenDeletedIsStillFound) {
    const Running program("-static", kWaits);
    program.unlink_program();
    if (::access(("/proc/" + std::to_string(program.pid()) + "/map_files").c_str(), X_OK) != 0 || ::geteuid() != 0) {
        GTEST_SKIP() << "opening a deleted file of another process takes root";
    }
    const auto objects = find(program.pid());
    ASSERT_TRUE(objects) << objects.error().message;
    EXPECT_NE(named(*objects, "program"), nullptr);
}

TEST(FindProbeObjects, GoIsRefusedWithAReason) {
    const Running program("", "#include <unistd.h>\n"
                              "__attribute__((section(\".go.buildinfo\"), used)) static const char info[32] = \"x\";\n"
                              "int main(void) { write(1, \"x\", 1); for (;;) pause(); }\n");
    const auto objects = find(program.pid());
    ASSERT_FALSE(objects);
    EXPECT_NE(objects.error().message.find("is a Go program"), std::string::npos) << objects.error().message;
}

} // namespace
} // namespace memtrace
