# `make bench`: what tracing costs the traced (overhead.py, which needs root and ten minutes), and how fast hot parts of the
# collector are (micro/, Google Benchmark). BENCH="--rounds 9 --only redis" are options of overhead.py. Included by the Makefile.

BENCH ?=
BENCH_OUT   := $(OUT)/bench
BENCH_TOOLS := $(patsubst tests/bench/%.cpp,$(BENCH_OUT)/%,$(wildcard tests/bench/*.cpp))
BENCH_C     := $(patsubst tests/bench/%.c,$(BENCH_OUT)/%,$(wildcard tests/bench/*.c))
MICRO_SRCS  := $(wildcard tests/bench/micro/*.cpp)
MICRO_OBJS  := $(MICRO_SRCS:%.cpp=$(OUT)/%.o)

BENCH_LIBS_leveldb_load = -lleveldb
$(BENCH_TOOLS): $(BENCH_OUT)/%: $(OUT)/tests/bench/%.o $(OUT)/libmemtrace.a
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(Q)$(CXX) $(CXXFLAGS) -o $@ $^ $(BENCH_LIBS_$*) $(LDLIBS)

BENCH_FLAGS_pages_cost = -fno-omit-frame-pointer
BENCH_FLAGS_resources_cost = -fno-omit-frame-pointer
BENCH_FLAGS_stack_cost = -fomit-frame-pointer
$(BENCH_C): $(BENCH_OUT)/%: tests/bench/%.c tests/bench/bench.mk
	$(call say,BENCH,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) -O1 $(BENCH_FLAGS_$*) -o $@ $<

$(BENCH_OUT)/micro: $(MICRO_OBJS) $(OUT)/libmemtrace.a
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(Q)$(CXX) $(CXXFLAGS) -o $@ $^ -lbenchmark -lbenchmark_main $(LDLIBS)

.PHONY: bench bench-build bench-collector bench-micro bench-verdicts
bench-build: all targets $(BENCH_TOOLS) $(BENCH_C) $(BENCH_OUT)/micro

bench-micro: $(BENCH_OUT)/micro
	$(Q)$(BENCH_OUT)/micro

bench-collector: all targets
	$(Q)/usr/bin/python3 tests/bench/collector_cost.py $(BENCH)

bench-verdicts: $(BENCH_OUT)/verdicts
	$(Q)$(BENCH_OUT)/verdicts $(BENCH)

bench:
	@test "$$(id -u)" = 0 || { echo 'bench: tracing needs root: sudo make bench (without root: make bench-micro)' >&2; exit 1; }
	$(Q)$(MAKE) --no-print-directory bench-build bench-micro
	$(Q)/usr/bin/python3 tests/bench/overhead.py --json $(BENCH_OUT)/overhead.json $(BENCH)

-include $(BENCH_TOOLS:$(BENCH_OUT)/%=$(OUT)/tests/bench/%.d) $(MICRO_OBJS:.o=.d)
