# `make fuzz` builds each fuzz_NAME.cpp and runs it for FUZZ_SECONDS. What a fuzzer needs linked is listed here; a seeds_NAME.cpp
# writes its first inputs, a NAME.dict lists words of its language. See README.md.

FUZZ_CXX     ?= clang++-19
FUZZ_SECONDS ?= 30

FUZZ_SRCS_placement     := user/kernel/placement.cpp
FUZZ_SRCS_recipes       := $(filter-out user/config/alert_config.cpp,$(wildcard user/config/*.cpp)) user/base/listen_address.cpp
FUZZ_SRCS_recording     := user/store/recording.cpp user/store/event_codec.cpp
FUZZ_SRCS_symbol        := $(wildcard user/symbol/*.cpp) user/base/clock.cpp
# The renderers and the parser; not what makes a Report out of the model.
FUZZ_SRCS_snapshot_json := $(filter-out user/report/build.cpp,$(wildcard user/report/*.cpp)) user/base/clock.cpp
FUZZ_SRCS_unwind        := user/unwind/table.cpp user/unwind/frame_section.cpp user/unwind/cfa_program.cpp \
                           user/unwind/dwarf_reader.cpp user/unwind/rule.cpp user/unwind/space.cpp

FUZZ_NAMES := $(patsubst tests/fuzz/fuzz_%.cpp,%,$(wildcard tests/fuzz/fuzz_*.cpp))
FUZZ_SEEDS := $(patsubst tests/fuzz/seeds_%.cpp,%,$(wildcard tests/fuzz/seeds_*.cpp))
FUZZ_OUT   := $(OUT)/fuzz
FUZZ_SAN   := -fsanitize=address,undefined -fno-sanitize-recover=all
# Warnings are the ordinary build's business: clang has other ones, some of them about the headers of g++.
FUZZ_FLAGS := -std=c++20 -O1 -g -Wno-deprecated-declarations -fno-omit-frame-pointer $(FUZZ_SAN)

$(FUZZ_OUT)/%.o: %.cpp Makefile tests/fuzz/fuzz.mk
	$(call say,FUZZCXX,$<)
	@mkdir -p $(@D)
	$(Q)$(FUZZ_CXX) $(CPPFLAGS) $(FUZZ_FLAGS) -fsanitize=fuzzer-no-link -MMD -MP -c $< -o $@

define fuzz_program
$(FUZZ_OUT)/fuzz_$(1): $(FUZZ_OUT)/tests/fuzz/fuzz_$(1).o $(FUZZ_SRCS_$(1):%.cpp=$(FUZZ_OUT)/%.o)
	$$(call say,LD,$$@)
	$$(Q)$(FUZZ_CXX) $(FUZZ_SAN) -fsanitize=fuzzer -o $$@ $$^ $$(LDLIBS)
endef
define fuzz_seeds
$(FUZZ_OUT)/seeds_$(1): $(FUZZ_OUT)/tests/fuzz/seeds_$(1).o $(FUZZ_SRCS_$(1):%.cpp=$(FUZZ_OUT)/%.o)
	$$(call say,LD,$$@)
	$$(Q)$(FUZZ_CXX) $(FUZZ_SAN) -o $$@ $$^ $$(LDLIBS)
fuzz-$(1): $(FUZZ_OUT)/seeds_$(1)
endef
$(foreach name,$(FUZZ_NAMES),$(eval $(call fuzz_program,$(name))))
$(foreach name,$(FUZZ_SEEDS),$(eval $(call fuzz_seeds,$(name))))

.PHONY: fuzz $(FUZZ_NAMES:%=fuzz-%)
fuzz: $(FUZZ_NAMES:%=fuzz-%)

# What a run finds new stays in corpus/, so that the next one goes on from there; an input that fails is kept beside the program.
$(FUZZ_NAMES:%=fuzz-%): fuzz-%: $(FUZZ_OUT)/fuzz_%
	@mkdir -p $(FUZZ_OUT)/corpus/$* $(FUZZ_OUT)/seeds/$*
	$(Q)$(if $(filter $*,$(FUZZ_SEEDS)),$(FUZZ_OUT)/seeds_$* $(FUZZ_OUT)/seeds/$*)
	$(Q)$(FUZZ_OUT)/fuzz_$* -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 -artifact_prefix=$(FUZZ_OUT)/fuzz_$*- \
		$(patsubst %,-dict=%,$(wildcard tests/fuzz/$*.dict)) $(FUZZ_OUT)/corpus/$* $(FUZZ_OUT)/seeds/$* \
		> $(FUZZ_OUT)/fuzz_$*.log 2>&1 || { tail -n 40 $(FUZZ_OUT)/fuzz_$*.log >&2; exit 1; }
	@echo "fuzz_$*: $$(tail -n 1 $(FUZZ_OUT)/fuzz_$*.log)"

-include $(patsubst %,$(FUZZ_OUT)/tests/fuzz/fuzz_%.d,$(FUZZ_NAMES)) $(patsubst %,$(FUZZ_OUT)/tests/fuzz/seeds_%.d,$(FUZZ_SEEDS))
-include $(foreach name,$(FUZZ_NAMES),$(FUZZ_SRCS_$(name):%.cpp=$(FUZZ_OUT)/%.d))
