# Installing and packaging: `make install`, `make uninstall`, `make deb`.

SYSCONFDIR ?= $(if $(filter /usr /usr/local,$(PREFIX)),/etc,$(PREFIX)/etc)
LIBDIR     ?= $(PREFIX)/lib
SHAREDIR   := $(PREFIX)/share/memtrace
MANDIR     := $(PREFIX)/share/man
UNITDIR    := $(PREFIX)/lib/systemd/system

# Below scripts/, and with the same names below SHAREDIR.
SHARED_FILES = $(patsubst scripts/%,%,$(wildcard scripts/recipes/*.toml scripts/recipes/README.md scripts/alerts/*.toml scripts/prometheus/* \
                 scripts/grafana/* scripts/fleet/* scripts/systemd/memtrace.toml))
SDK_FILES    = $(patsubst include/%,%,$(wildcard $(addprefix include/memtrace/,*.h *.hpp */*.h */*.hpp)))

# Texts name the places that a package from Debian would use.
AT_PREFIX = sed -e 's,/usr/bin/memtrace,$(PREFIX)/bin/memtrace,g' -e 's,/etc/memtrace,$(SYSCONFDIR)/memtrace,g' \
                -e 's,@PREFIX@,$(PREFIX),g' -e 's,@VERSION@,$(VERSION),g'
at_prefix = install -D -m 0644 $(1) $(2) && $(AT_PREFIX) -i $(2)

INSTALLED = $(PREFIX)/bin/memtrace $(LIBDIR)/libmemtrace_alloc.so $(UNITDIR)/memtrace.service $(PREFIX)/share/pkgconfig/memtrace.pc \
            $(MANDIR)/man8/memtrace.8 $(PREFIX)/share/bash-completion/completions/memtrace \
            $(addprefix $(SHAREDIR)/,$(SHARED_FILES)) $(addprefix $(PREFIX)/include/,$(SDK_FILES))
EMPTIED   = $(addprefix $(SHAREDIR)/,recipes alerts prometheus grafana fleet systemd) $(SHAREDIR) $(PREFIX)/include/memtrace/detail $(PREFIX)/include/memtrace

.PHONY: uninstall deb
$(OUT)/memtrace.8: scripts/cli-docs.sh all
	$(Q)scripts/cli-docs.sh man $(OUT)/memtrace > $@
$(OUT)/memtrace.bash: scripts/cli-docs.sh all
	$(Q)scripts/cli-docs.sh completion $(OUT)/memtrace > $@

install: $(OUT)/memtrace.8 $(OUT)/memtrace.bash
	install -D -m 0755 $(OUT)/memtrace $(DESTDIR)$(PREFIX)/bin/memtrace
	install -D -m 0755 $(OUT)/libmemtrace_alloc.so $(DESTDIR)$(LIBDIR)/libmemtrace_alloc.so
	$(Q)$(foreach file,$(SHARED_FILES),install -D -m 0644 scripts/$(file) $(DESTDIR)$(SHAREDIR)/$(file) &&) true
	$(Q)$(foreach file,$(SDK_FILES),install -D -m 0644 include/$(file) $(DESTDIR)$(PREFIX)/include/$(file) &&) true
	$(call at_prefix,scripts/systemd/memtrace.service,$(DESTDIR)$(UNITDIR)/memtrace.service)
	$(call at_prefix,scripts/debian/memtrace.pc,$(DESTDIR)$(PREFIX)/share/pkgconfig/memtrace.pc)
	$(call at_prefix,$(OUT)/memtrace.8,$(DESTDIR)$(MANDIR)/man8/memtrace.8)
	install -D -m 0644 $(OUT)/memtrace.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/memtrace
	@# What somebody has configured stays.
	test -e $(DESTDIR)$(SYSCONFDIR)/memtrace/memtrace.toml || \
	    install -D -m 0644 scripts/systemd/memtrace.toml $(DESTDIR)$(SYSCONFDIR)/memtrace/memtrace.toml

# The configuration stays: it is somebody's.
uninstall:
	rm -f $(addprefix $(DESTDIR),$(INSTALLED))
	-$(Q)rmdir $(addprefix $(DESTDIR),$(EMPTIED)) 2>/dev/null

deb: all
	$(Q)scripts/debian/build-deb.sh $(VERSION)
