# SPDX-License-Identifier: GPL-2.0
# gsched: see "make help". Everything that is built goes below build/.

TOP := $(abspath $(dir $(lastword $(MAKEFILE_LIST))))
include $(TOP)/tools/flags.mk

VERSION := 0.1.0
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include

all: lib

help:
	@echo 'make run                the demonstration in a guest (APP=program ARGS=... for your own)'
	@echo 'make test               lint, host tests, guests; T=pattern for some, K=6.1 for one kernel'
	@echo 'make test-long          debug kernel, models, stress'
	@echo 'make bench              benchmarks against Go, here and in a guest; B=pattern for some rows,'
	@echo '                        PLACE=host|guest, N=rounds; make bench-check compares with the table'
	@echo 'make lib                build/libgo-user.a and .so; SAN=address|thread|undefined|race|inject, CC='
	@echo 'make kmod [KDIR=dir]    gsched.ko for that kernel (default: the running one), below build/kmod/'
	@echo 'make examples           the programs of examples/, in build/examples/'
	@echo 'make lint               checkpatch, sparse, compilers, clang-format, layers and more'
	@echo 'make format             clang-format -i on the library, the tests and the examples'
	@echo 'make install            library, headers, udev rule, gdb commands; DESTDIR=, PREFIX=; SAN=race|address: that'
	@echo '                        flavour besides, pkg-config libgo-user-race or -asan'
	@echo 'make dkms               a source tree for dkms in build/dkms/, added if dkms is there'
	@echo 'make clean              remove build/ (the cached debug kernel stays)'
	@echo 'V=1 shows commands. tools/vm -h: any command in a guest.'

# --- library ----------------------------------------------------------------------
lib:
	+$(Q)$(MAKE) --no-print-directory -C $(TOP)/libgo-user OUT=$(OUT)

# --- examples -----------------------------------------------------------------------
# examples/a.c is a program; examples/a_*.c, if there are any, are parts of it.
EXAMPLE_SOURCES := $(notdir $(wildcard $(TOP)/examples/*.c))
EXAMPLES := $(foreach s,$(basename $(EXAMPLE_SOURCES)),$(if $(findstring _,$(s)),,$(s)))
EXAMPLE_LIBS := -ldl -lcrypto

examples: $(EXAMPLES:%=$(OUT)/examples/%)

# The digest example takes SHA-256 from OpenSSL; the others are linked as needed.
$(EXAMPLES:%=$(OUT)/examples/%): $(OUT)/examples/%: lib-for-examples $(FLAGS_FILE)
	@mkdir -p $(@D)
	$(call example,$(wildcard $(TOP)/examples/$*.c $(TOP)/examples/$*_*.c))

define example
	$(Q)if [ ! -e $@ ] || [ -n "$$(find $(1) $(wildcard $(TOP)/examples/*.h) $(LIBGO) \
		$(TOP)/libgo-user/include $(FLAGS_FILE) -newer $@ -print -quit)" ]; then \
		$(if $(filter-out 0,$(V)),set -x;,printf '  CC      %s\n' $(patsubst $(TOP)/%,%,$@);) \
		$(CC) $(CPPFLAGS) $(GS_CFLAGS) $(GS_INCLUDES) $(CFLAGS) -o $@ $(1) $(LDFLAGS) \
			$(LIBGO) -Wl,--as-needed $(EXAMPLE_LIBS); fi
endef

lib-for-examples: lib

# --- module ---------------------------------------------------------------------------
# K=6.1 builds for a kernel of tools/kernel, which is also what runs in the guest.
KDIR ?= $(if $(K),$(TOP)/build/kernels/$(K)/kdir,/lib/modules/$(shell uname -r)/build)

kmod:
	$(if $(K),$(Q)$(TOP)/tools/deps kernel && $(TOP)/tools/kernel $(K) >/dev/null)
	$(Q)V=$(V) $(TOP)/tools/kmod $(KDIR)

# --- guest ------------------------------------------------------------------------------
run:
	$(Q)$(TOP)/tools/deps build kernel vm
	$(Q)APP="$(APP)" $(TOP)/tools/demo $(ARGS)

# --- tests -------------------------------------------------------------------------------
test:
	$(Q)T='$(subst ','\'',$(value T))' K='$(K)' $(TOP)/tools/test

test-long:
	$(Q)T='$(subst ','\'',$(value T))' K='$(K)' $(TOP)/tools/test --long

# --- benchmarks --------------------------------------------------------------------------
bench:
	$(Q)$(TOP)/tools/bench $(if $(B),-B '$(subst ','\'',$(value B))') $(if $(N),-n $(N)) $(if $(K),-k $(K)) $(PLACE)

bench-check:
	$(Q)$(TOP)/tools/bench -c $(if $(B),-B '$(subst ','\'',$(value B))') $(if $(N),-n $(N)) $(if $(K),-k $(K)) $(PLACE)

lint:
	$(Q)$(TOP)/tools/lint

# Only what "make lint" would complain about changes.
format:
	$(Q)clang-format -i $$(git ls-files --cached --others --exclude-standard \
		'libgo-user/*.[ch]' 'examples/*.[ch]' 'selftests/*.[ch]' 'bench/*.[ch]' | \
		grep -v ^selftests/kmod/neighbour/)

# --- installation --------------------------------------------------------------------------
# With SAN= that flavour besides the plain one: libgo-user-race.a and libgo-user-race.pc, static, for
# a program needs the sanitizer's runtime itself.
SUFFIX := $(if $(FLAVOUR),-$(FLAVOUR))
PC_WITH := $(if $(FLAVOUR), ($(FLAVOUR)))
PC_CFLAGS := $(if $(SAN), -fsanitize=$(SAN:race=thread))
PC_LIBS := $(if $(FLAVOUR),$${libdir}/libgo-user$(SUFFIX).a -pthread -ldl$(PC_CFLAGS),-L$${libdir} -lgo-user)

# gdb looks there by the shared object's own path; with another PREFIX than its own it has to be
# told (Documentation/debugging.rst).
GDB_AUTO_LOAD := $(PREFIX)/share/gdb/auto-load$(LIBDIR)

install: lib
	install -d $(DESTDIR)$(LIBDIR)/pkgconfig $(DESTDIR)$(INCLUDEDIR)/gsched \
		$(DESTDIR)$(PREFIX)/lib/udev/rules.d
	install -m 644 $(OUT)/libgo-user.a $(DESTDIR)$(LIBDIR)/libgo-user$(SUFFIX).a
	$(if $(FLAVOUR),,install -m 755 $(OUT)/libgo-user.so.0 $(DESTDIR)$(LIBDIR)/)
	$(if $(FLAVOUR),,ln -sf libgo-user.so.0 $(DESTDIR)$(LIBDIR)/libgo-user.so)
	install -m 644 $(TOP)/libgo-user/include/gsched.h $(DESTDIR)$(INCLUDEDIR)/
	install -m 644 $(wildcard $(TOP)/libgo-user/include/gsched/*.h) $(DESTDIR)$(INCLUDEDIR)/gsched/
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@VERSION@|$(VERSION)|' \
		-e 's|@SUFFIX@|$(SUFFIX)|' -e 's|@WITH@|$(PC_WITH)|' -e 's|@CFLAGS@|$(PC_CFLAGS)|' \
		-e 's|@LIBS@|$(PC_LIBS)|' $(TOP)/libgo-user.pc.in \
		>$(DESTDIR)$(LIBDIR)/pkgconfig/libgo-user$(SUFFIX).pc
	install -m 644 $(TOP)/packaging/60-gsched.rules $(DESTDIR)$(PREFIX)/lib/udev/rules.d/
	install -d $(DESTDIR)$(PREFIX)/share/gsched $(DESTDIR)$(GDB_AUTO_LOAD)
	install -m 644 $(TOP)/tools/gsched-gdb.py $(DESTDIR)$(PREFIX)/share/gsched/
	ln -sf $(PREFIX)/share/gsched/gsched-gdb.py $(DESTDIR)$(GDB_AUTO_LOAD)/libgo-user.so.0-gdb.py

# What dkms wants below /usr/src/: a directory gsched-VERSION with dkms.conf.
DKMS_TREE := $(BUILD)/dkms/gsched-$(VERSION)
dkms:
	$(Q)rm -rf $(DKMS_TREE) && mkdir -p $(DKMS_TREE)
	$(Q)cp -r $(TOP)/Kbuild $(TOP)/kmod $(TOP)/uapi $(DKMS_TREE)/
	$(Q)sed 's/@VERSION@/$(VERSION)/' $(TOP)/packaging/dkms.conf >$(DKMS_TREE)/dkms.conf
	$(Q)if command -v dkms >/dev/null; then \
		dkms add $(DKMS_TREE) && echo 'added: now dkms install gsched/$(VERSION)'; \
	else \
		echo 'dkms is not installed here. Where it is: dkms add build/dkms/gsched-$(VERSION)'; \
	fi
	@echo $(DKMS_TREE)

clean:
	rm -rf $(BUILD)

.PHONY: all help lib examples lib-for-examples kmod run test test-long bench bench-check lint format install dkms clean
