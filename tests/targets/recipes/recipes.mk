# A program that uses libraries whose resources memtrace follows by recipes (scripts/recipes/).
TARGETS += $(OUT)/targets/keeper
$(OUT)/targets/keeper: tests/targets/recipes/keeper.c tests/targets/truth.h tests/targets/recipes/recipes.mk
	$(call say,TARGET,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(TARGET_FLAGS) -o $@ $< -lssl -lcrypto -lpthread
