# lightningd and lightning-load. Without sibling calls, so that every caller keeps its frame.
.DEFAULT_GOAL := all

LIGHTNING_DIR     := tests/targets/lightning
LIGHTNING_OUT     := $(OUT)/targets/lightning
LIGHTNING_FLAGS   := -std=c++20 -O2 -g -fno-omit-frame-pointer -fno-optimize-sibling-calls $(WARN) -Wnon-virtual-dtor -Iuser -Iinclude
LIGHTNING_CLIENT  := load load_client wire
LIGHTNING_SERVER  := $(filter-out load load_client,$(patsubst $(LIGHTNING_DIR)/%.cpp,%,$(wildcard $(LIGHTNING_DIR)/*.cpp)))
LIGHTNING_OBJECTS := $(patsubst %,$(LIGHTNING_OUT)/%.o,$(sort $(LIGHTNING_SERVER) $(LIGHTNING_CLIENT)))

TARGETS += $(OUT)/targets/lightningd $(OUT)/targets/lightning-load

$(LIGHTNING_OBJECTS): $(LIGHTNING_OUT)/%.o: $(LIGHTNING_DIR)/%.cpp $(LIGHTNING_DIR)/lightning.mk
	$(call say,TARGET,$<)
	@mkdir -p $(@D)
	$(Q)$(CXX) $(LIGHTNING_FLAGS) -MMD -MP -c $< -o $@

$(OUT)/targets/lightningd: $(LIGHTNING_SERVER:%=$(LIGHTNING_OUT)/%.o)
	$(call say,TARGET,$@)
	$(Q)$(CXX) -o $@ $^ -lleveldb -lpthread

$(OUT)/targets/lightning-load: $(LIGHTNING_CLIENT:%=$(LIGHTNING_OUT)/%.o)
	$(call say,TARGET,$@)
	$(Q)$(CXX) -o $@ $^ -lpthread

-include $(LIGHTNING_OBJECTS:.o=.d)
