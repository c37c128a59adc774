# What single targets need beyond TARGET_FLAGS. Included by the Makefile before TARGET_FLAGS and the rules: all of it is recursive.

.DEFAULT_GOAL := all

# Programs with a malloc of their own export it, so that it takes libc's place in the whole process.
TARGET_FLAGS_longjmp_out   = -rdynamic
TARGET_FLAGS_exception_out = -rdynamic -fexceptions
TARGET_FLAGS_exception_crew = -rdynamic -fexceptions
TARGET_FLAGS_thread_exit   = -rdynamic -fexceptions
TARGET_FLAGS_own_malloc    = -rdynamic -fno-builtin

TARGET_FLAGS_contract      = -Iinclude
# As programs are that are shipped: what a local variable is, is in a register only.
TARGET_FLAGS_containers    = -Iinclude -O2 -fomit-frame-pointer
TARGET_FLAGS_deep_stack    = -Iinclude
TARGET_FLAGS_evictable     = -Iinclude
TARGET_FLAGS_frugal        = -Iinclude -fno-exceptions -fno-rtti
TARGET_FLAGS_holder        = -Iinclude
TARGET_FLAGS_misuse        = -Iinclude
TARGET_FLAGS_sdk_cases     = -Iinclude
TARGET_FLAGS_told_flood    = -Iinclude
TARGET_FLAGS_told_stacks   = -Iinclude

# libc would load the unwinder when it first needs it, and tracing see it too late for the calls in flight of a moment later.
TARGET_LIBS_thread_exit = -Wl,--no-as-needed -lgcc_s

# As distributions compile.
TARGET_FLAGS_stacks = -O2 -fomit-frame-pointer -fexceptions

TARGET_FLAGS_static_malloc   = -static
TARGET_FLAGS_static_stripped = -static -s
TARGET_FLAGS_map_pages_stripped = -static -s

# No function of an allocator to be found: what it tells of itself is all there is.
TARGET_FLAGS_told_heap_stripped = -static -s
TARGET_LIBS_told_heap = -lm
TARGET_LIBS_told_heap_stripped = -lm

# As a program that was built with a contract of another version: nothing else about it differs.
TARGETS += $(OUT)/targets/contract_other
$(OUT)/targets/other/memtrace/probes.h: include/memtrace/probes.h tests/targets/targets.mk
	@mkdir -p $(@D)
	$(Q)sed 's/^#define MEMTRACE_PROBES_VERSION .*/#define MEMTRACE_PROBES_VERSION 99/' $< > $@
$(OUT)/targets/contract_other: tests/targets/contract.c tests/targets/truth.h $(OUT)/targets/other/memtrace/probes.h
	$(call say,TARGET,$@)
	$(Q)$(CC) $(TARGET_FLAGS) -I$(OUT)/targets/other -o $@ $< -lpthread

# Shared objects that targets load at run time.
TARGETS += $(OUT)/targets/libleaky.so $(OUT)/targets/liballocator.so
$(OUT)/targets/dlopen_late $(OUT)/targets/spin: $(OUT)/targets/libleaky.so $(OUT)/targets/liballocator.so
$(OUT)/targets/hostile: $(OUT)/targets/libleaky.so
$(OUT)/targets/lib%.so: tests/targets/plugin/%.c tests/targets/targets.mk
	$(call say,TARGET,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(TARGET_FLAGS) -fno-builtin -fPIC -shared -o $@ $<

# Rust, in both of its ways to mangle names. Debian's compiler: another one that comes before it may not know these flags.
RUSTC ?= /usr/bin/rustc
TARGETS += $(OUT)/targets/leak_rust $(OUT)/targets/leak_rust_v0
RUST_FLAGS_leak_rust_v0 := -C symbol-mangling-version=v0
$(OUT)/targets/leak_rust $(OUT)/targets/leak_rust_v0: $(OUT)/targets/%: tests/targets/leak.rs tests/targets/targets.mk
	$(call say,RUSTC,$@)
	@mkdir -p $(@D)
	$(Q)$(RUSTC) --edition 2021 -C opt-level=1 -g $(RUST_FLAGS_$*) -o $@ $<

# What is included beside truth.h.
$(patsubst %,$(OUT)/targets/%,churn8 cross_thread_free exception_crew hostile spin use_malloc): tests/targets/crew.h
$(patsubst %,$(OUT)/targets/%,dlopen_late exec_self fork_child hostile spin): tests/targets/self.h
$(patsubst %,$(OUT)/targets/%,many_stacks told_stacks): tests/targets/ways.h
$(patsubst %,$(OUT)/targets/%,liballocator.so own_malloc): tests/targets/arena.h
$(OUT)/targets/told_heap_stripped: tests/targets/told_heap.c
$(OUT)/targets/told_alloc_only: tests/targets/told_plain.c
$(OUT)/targets/static_stripped: tests/targets/static_malloc.c
$(OUT)/targets/map_pages_stripped: tests/targets/map_pages.c
$(patsubst %,$(OUT)/targets/%,evictable sdk_cases told_flood): $(wildcard include/memtrace/*.h include/memtrace/*.hpp include/memtrace/detail/*.hpp)
