# One source as both of the languages that probes.h is for, at the oldest of their standards.
TARGETS += $(OUT)/targets/contract_c $(OUT)/targets/contract_cxx
$(OUT)/targets/contract_c:   CONTRACT_AS = $(CC) -std=gnu99
$(OUT)/targets/contract_cxx: CONTRACT_AS = $(CXX) -x c++ -std=c++17
$(OUT)/targets/contract_c $(OUT)/targets/contract_cxx: tests/targets/contract/contract.c tests/targets/contract/contract.mk \
		include/memtrace/probes.h tests/targets/truth.h
	$(call say,TARGET,$@)
	@mkdir -p $(@D)
	$(Q)$(CONTRACT_AS) $(TARGET_FLAGS) -pedantic -Iinclude -o $@ $<
