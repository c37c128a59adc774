# memtrace: build, test, check, install. `make help` lists the targets.
#
# One rule per kind of file: a new source is found by its folder, nothing is listed here. Everything built lies in .output/.

OUT     := .output
ARCH    := $(shell uname -m | sed -e 's/aarch64/arm64/' -e 's/x86_64/x86/')
VMARCH  := $(shell uname -m)
VERSION := 0.1.0
PREFIX  ?= /usr/local
DESTDIR ?=

CLANG   ?= clang-19
STRIP   ?= llvm-strip-19
BPFTOOL ?= $(shell command -v bpftool || echo /usr/sbin/bpftool)
CXX     := $(if $(filter default,$(origin CXX)),g++,$(CXX))
CC      := $(if $(filter default,$(origin CC)),gcc,$(CC))

Q := $(if $(V),,@)
say = @$(if $(V),:,printf '  %-8s %s\n' $(1) $(2))

WARN     := -Wall -Wextra -Wshadow -Werror
OPT      := $(if $(DEBUG),-O0 -g3 -D_GLIBCXX_ASSERTIONS,-O2 -g)
CXXFLAGS := -std=c++20 $(OPT) $(WARN) -Wnon-virtual-dtor -fno-omit-frame-pointer $(SAN)
CFLAGS   := $(OPT) $(WARN) $(SAN)
CPPFLAGS := -Iuser -I. -I$(OUT) -Iinclude -DMEMTRACE_VERSION='"$(VERSION)"'
LDLIBS   := -lbpf -ldw -lelf -lz -llzma -liberty -lZydis -lprometheus-cpp-core -lmicrohttpd -lsqlite3 -lpthread

BPF_FLAGS := -g -O2 -target bpf -mcpu=v3 -D__TARGET_ARCH_$(ARCH) $(WARN) -Ivmlinux/$(VMARCH) -I. \
             -idirafter /usr/include/$(VMARCH)-linux-gnu # <bpf/usdt.bpf.h> wants <asm/errno.h>

BPF_SRCS   := $(wildcard bpf/*.bpf.c)
SKELS      := $(patsubst bpf/%.bpf.c,$(OUT)/bpf/%.skel.h,$(BPF_SRCS))
LIB_SRCS   := $(filter-out user/app/main.cpp user/preload/%,$(wildcard user/*/*.cpp))
LIB_OBJS   := $(LIB_SRCS:%.cpp=$(OUT)/%.o)
PRELOAD_OBJS := $(patsubst %.cpp,$(OUT)/%.o,$(wildcard user/preload/*.cpp))
UNIT_SRCS  := $(wildcard tests/unit/*.cpp) $(wildcard tests/bpf_host/*.cpp)
UNIT_OBJS  := $(UNIT_SRCS:%.cpp=$(OUT)/%.o)
TARGETS_C  := $(wildcard tests/targets/*.c)
TARGETS_CC := $(wildcard tests/targets/*.cpp)
TARGETS    := $(patsubst tests/targets/%.c,$(OUT)/targets/%,$(TARGETS_C)) \
              $(patsubst tests/targets/%.cpp,$(OUT)/targets/%,$(TARGETS_CC))
-include tests/targets/*.mk
-include tests/targets/*/*.mk

.PHONY: all targets test test-root test-vm check install clean help compile_commands.json
.DELETE_ON_ERROR:
all: $(OUT)/memtrace $(OUT)/libmemtrace_alloc.so

help:
	@echo 'all        memtrace itself and libmemtrace_alloc.so, into $(OUT)/ (the default)'
	@echo 'test       unit tests, golden recordings: no root needed'
	@echo 'test-root  end-to-end tests on real processes: needs root'
	@echo 'test-vm    the same tool on each of Debian'"'"'s kernels, emulated; some minutes'
	@echo 'fuzz       each fuzzer of tests/fuzz for FUZZ_SECONDS (30): no root needed'
	@echo 'bench      what tracing costs, measured on databases and others: needs root, ten minutes; bench-micro does not'
	@echo 'bench-verdicts   how often verdicts are right, on made-up workloads: no root needed; some minutes'
	@echo 'check      format, tidy, layers, counters and docs'
	@echo 'targets    the programs that the tests trace'
	@echo 'install    into DESTDIR and PREFIX ($(PREFIX)); uninstall takes it away again'
	@echo 'deb        a package for this Debian, into $(OUT)/'
	@echo 'clean      removes $(OUT)/'
	@echo 'compile_commands.json   for editors and clang-tidy'
	@echo 'DEBUG=1 no optimization, V=1 whole command lines'

$(OUT)/bpf/%.bpf.o: bpf/%.bpf.c $(wildcard bpf/*.h) $(wildcard vmlinux/*/*.h) | tools
	$(call say,BPF,$<)
	@mkdir -p $(@D)
	$(Q)$(CLANG) $(BPF_FLAGS) -c $< -o $@
	$(Q)$(STRIP) -g $@

$(OUT)/bpf/%.skel.h: $(OUT)/bpf/%.bpf.o
	$(call say,SKEL,$@)
	$(Q)$(BPFTOOL) gen skeleton $< name $*_bpf | sed 's/const _Bool /const bool /' > $@

$(filter $(OUT)/user/kernel/%,$(LIB_OBJS)): $(SKELS)

$(OUT)/%.o: %.cpp Makefile
	$(call say,CXX,$<)
	@mkdir -p $(@D)
	$(Q)$(CXX) $(CPPFLAGS) $(CXXFLAGS) -MMD -MP -c $< -o $@

$(OUT)/libmemtrace.a: $(LIB_OBJS)
	$(call say,AR,$@)
	$(Q)rm -f $@ && ar rcs $@ $^

$(OUT)/memtrace: $(OUT)/user/app/main.o $(OUT)/libmemtrace.a
	$(call say,LD,$@)
	$(Q)$(CXX) $(CXXFLAGS) -o $@ $^ $(LDLIBS)

# Goes into every program, also one in C: no C++ runtime, no frame for a call that is passed on, thread-local storage in the static block. The
# sanitizers have an allocator of their own.
$(PRELOAD_OBJS): CXXFLAGS := -std=c++20 $(OPT) $(WARN) -fPIC -fvisibility=hidden -ftls-model=initial-exec -fno-exceptions -fno-rtti \
    -fno-threadsafe-statics -fno-stack-protector \
    $(addprefix -fno-builtin-,malloc calloc realloc free)
$(OUT)/libmemtrace_alloc.so: $(PRELOAD_OBJS)
	$(call say,LD,$@)
	$(Q)$(CC) -shared -Wl,-soname,$(@F) -Wl,-z,now -Wl,-z,defs -o $@ $^

$(OUT)/unit-tests: $(UNIT_OBJS) $(OUT)/libmemtrace.a
	$(call say,LD,$@)
	$(Q)$(CXX) $(CXXFLAGS) -o $@ $^ -lgtest -lgtest_main $(LDLIBS)

# The programs that tests trace keep frame pointers: their truth is compared with whole stacks.
TARGET_FLAGS := -O1 -g -fno-omit-frame-pointer -fno-optimize-sibling-calls -Wall -Wextra -Werror -Itests/targets
$(OUT)/targets/%: tests/targets/%.c tests/targets/truth.h Makefile
	$(call say,TARGET,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(TARGET_FLAGS) $(TARGET_FLAGS_$*) -o $@ $< $(TARGET_LIBS_$*) -lpthread
$(OUT)/targets/%: tests/targets/%.cpp tests/targets/truth.h Makefile
	$(call say,TARGET,$@)
	@mkdir -p $(@D)
	$(Q)$(CXX) -std=c++20 $(TARGET_FLAGS) $(TARGET_FLAGS_$*) -o $@ $< $(TARGET_LIBS_$*) -lpthread

targets: $(TARGETS)

.PHONY: tools
tools:
	@command -v $(CLANG) >/dev/null && test -x $(BPFTOOL) || { echo 'make: $(CLANG) or bpftool is missing: run sudo scripts/install-deps.sh' >&2; exit 1; }

test: $(OUT)/unit-tests
	$(Q)$(OUT)/unit-tests --gtest_brief=1

# Most of a test is waiting: several files at a time take half as long. Each file's tests stay together, as they share servers.
test-root: all targets
	$(Q)/usr/bin/python3 -m pytest -q -n 3 --dist loadfile tests/e2e

# test-root has 6.1 of these.
test-vm: all targets
	$(Q)MEMTRACE_VM=all /usr/bin/python3 -m pytest -q tests/e2e/test_vm.py

check:
	$(Q)scripts/check.sh

compile_commands.json:
	$(Q)scripts/compile-commands.sh > $@

include scripts/install.mk

clean:
	rm -rf $(OUT) compile_commands.json

-include $(LIB_OBJS:.o=.d) $(UNIT_OBJS:.o=.d) $(PRELOAD_OBJS:.o=.d) $(OUT)/user/app/main.d
-include tests/fuzz/*.mk
-include tests/bench/*.mk
