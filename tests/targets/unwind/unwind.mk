# steps.c by each compiler, as each language, at each level: built for the unit tests, which run them instruction by instruction.
UNWIND_STEPS := $(foreach compiler,gcc clang,$(foreach language,c cxx,$(foreach level,O0 O1 O2 O3,$(OUT)/targets/unwind/steps-$(compiler)-$(language)-$(level))))
UNWIND_FLAGS := -g -Wall -Wextra -Werror -D_FORTIFY_SOURCE=0 -fno-pie -no-pie -Wl,-z,lazy
UNWIND_gcc_c     := $(CC) -std=gnu17 -x c
UNWIND_gcc_cxx   := $(CXX) -std=c++20 -x c++
UNWIND_clang_c   := clang-19 -std=gnu17 -x c
UNWIND_clang_cxx := clang++-19 -std=c++20 -x c++
# How the name is made: compiler, language, level.
unwind_words = $(subst -, ,$(notdir $(1)))
$(OUT)/targets/unwind/steps-%: tests/targets/unwind/steps.c tests/targets/unwind/unwind.mk
	$(call say,TARGET,$@)
	@mkdir -p $(@D)
	$(Q)$(UNWIND_$(word 2,$(call unwind_words,$@))_$(word 3,$(call unwind_words,$@))) -$(word 4,$(call unwind_words,$@)) $(UNWIND_FLAGS) -o $@ $<

TARGETS += $(UNWIND_STEPS)
$(OUT)/unit-tests: | $(UNWIND_STEPS)
