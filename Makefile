# SPDX-License-Identifier: GPL-2.0
#
# For people; kbuild reads Kbuild. 'make help' lists what there is.

VERSION := $(shell sed -n 's/^PACKAGE_VERSION="\(.*\)"/\1/p' dkms.conf)

# The running kernel's headers, else the newest of Debian's 6.12 that is installed.
KDIR ?= $(firstword $(wildcard /lib/modules/$(shell uname -r)/build) \
		    $(lastword $(sort $(wildcard /lib/modules/6.12.*/build))))
DESTDIR ?=
PREFIX ?= /usr/local
DKMS ?= dkms
DKMS_SOURCES := Kbuild Kconfig COPYING dkms.conf include drivers

kbuild = $(if $(KDIR),$(MAKE) -C $(KDIR) M=$(CURDIR),$(error no kernel headers: run tools/vm/setup or set KDIR))

.DEFAULT_GOAL := modules
.PHONY: help setup demo check check-quick check-debug soak bench bench-quick modules modules_install tools install \
	dkms-install dkms-remove sparse checkpatch kunit native vring fuzz fuzz-mutations coverage \
	selftests clean

help: ## this list
	@echo 'To try it and to test it (these install what they need, on Debian 12 as root):'
	@grep -hE '^(demo|check|check-quick|check-debug|soak|bench|bench-quick):.*## ' Makefile | sed -E 's/^([a-z_-]+):[^#]*## /  \1\t/' | expand -t 20
	@echo 'To build and to use it (KDIR= for another kernel, DESTDIR= and PREFIX= for installs):'
	@grep -hE '^[a-z_-]+:.*## ' Makefile | grep -vE '^(demo|check|check-quick|check-debug|soak|bench|bench-quick):' | grep -v ':.*### ' | \
		sed -E 's/^([a-z_-]+):[^#]*## /  \1\t/' | expand -t 20
	@echo 'Single loops of the tests:'
	@grep -hE '^[a-z_-]+:.*### ' Makefile | sed -E 's/^([a-z_-]+):[^#]*### /  \1\t/' | expand -t 20
	@echo 'Every script under tools/ answers --help. Logs of the tests are in build/log.'

setup: ## install the packages that building and testing need (Debian 12, root)
	@tools/vm/setup

demo: setup ## a stock guest on an in-kernel disk, under virtme-ng: 3 minutes
	@tools/demo/run

check: setup ## every test there is; the last line says how many passed
	@tools/checks/run check

check-quick: setup ## what takes seconds: tree rules, userspace and UML tests
	@tools/checks/run quick

check-debug: setup ## all in-kernel tests under a debug kernel: KASAN, lockdep, kmemleak
	@tools/checks/run debug-all

soak: setup ## for long: 200 exchanges of the engine under a guest, 200 kills of each kind of VMM, 500 migrations
	@tools/checks/run --progress soak

bench: setup ## what it costs and how fast it is, against others: tables, build/bench/*.json, plots
	@tools/vm/setup --bench && tools/bench/run

bench-quick: setup ## the same in less than 5 minutes
	@tools/vm/setup --bench && tools/bench/run --quick

modules: ## the two modules (this is the default)
	+$(kbuild) modules

modules_install: ## install the modules for the kernel of KDIR (INSTALL_MOD_PATH= is honoured)
	+$(kbuild) $(if $(DESTDIR),INSTALL_MOD_PATH=$(DESTDIR)) modules_install

tools: ## vhost-blkctl, vhost-inflightd and the example that migrates
	+$(MAKE) -C tools/vhost-blkctl
	+$(MAKE) -C tools/supervisor
	+$(MAKE) -C tools/migrate

install: modules tools modules_install ## modules, tools, udev rule, systemd unit, manual pages, headers
	+$(MAKE) -C tools/vhost-blkctl DESTDIR=$(DESTDIR) PREFIX=$(PREFIX) install
	+$(MAKE) -C tools/supervisor DESTDIR=$(DESTDIR) PREFIX=$(PREFIX) install
	install -D -m 644 include/uapi/linux/vhost_inflight.h \
		$(DESTDIR)$(PREFIX)/include/linux/vhost_inflight.h

dkms-install: ## hand the modules to DKMS, which builds them for each kernel
	install -d $(DESTDIR)/usr/src/vhost-inflight-$(VERSION)
	cp -a $(DKMS_SOURCES) $(DESTDIR)/usr/src/vhost-inflight-$(VERSION)/
	find $(DESTDIR)/usr/src/vhost-inflight-$(VERSION) \( -name '*.o' -o -name '*.ko' -o \
		-name '*.mod*' -o -name '.*.cmd' \) -delete
	$(if $(DESTDIR),,$(DKMS) install vhost-inflight/$(VERSION) $(DKMSFLAGS))

dkms-remove: ## take them from DKMS again
	$(DKMS) remove vhost-inflight/$(VERSION) --all
	rm -rf /usr/src/vhost-inflight-$(VERSION)

sparse: ### the modules with W=1 and sparse; any warning fails
	@tools/vm/modules sparse >/dev/null

checkpatch: ### checkpatch --strict; exceptions are in tools/checks/checkpatch-exceptions
	@tools/checks/checkpatch

kunit: ### KUnit suites under User Mode Linux
	@modules=$$(tools/vm/modules uml) && tools/vm/uml -- $$modules

native: ### the same suites in userspace with sanitizers
	+@$(MAKE) -C tools/native check

explore: ### every interleaving of driver and ring engine, more buffers than in 'check': minutes
	+@$(MAKE) -s -C tools/native explore-deep

vring: ### the ring engine against the kernel's virtio_ring.c, 100 million buffers
	+@$(MAKE) -C tools/native/linux-driver long

FUZZ_SECONDS ?= 600
fuzz: ### the fuzz targets for FUZZ_SECONDS (600) in all, on top of the inputs of earlier runs
	@tools/fuzz/run --seconds $(FUZZ_SECONDS)

fuzz-mutations: ### defects that the fuzz targets' short run has to notice: 2 minutes
	+@$(MAKE) -s -C tools/fuzz
	@tools/native/mutate --timeout 300 tools/fuzz/mutations 'make -s -C tools/fuzz' \
		'tools/fuzz/run $$MUTATION_ARGS'

coverage: ### lines and branches of the ring engine that the userspace tests reach
	@tools/checks/coverage

selftests: tools ### build the selftests (tools/checks/selftests runs them)
	+$(MAKE) -C tools/testing/selftests/vhost_blk KSRC=$$(tools/vm/kernel source)

clean: ## what the build made; built kernels stay in the cache
	+$(if $(KDIR),$(MAKE) -C $(KDIR) M=$(CURDIR) clean)
	@for d in tools/native tools/vhost-blkctl tools/supervisor tools/migrate tools/testing/selftests/vhost_blk; do \
		[ ! -e $$d/Makefile ] || $(MAKE) -s -C $$d clean || exit 1; done
	rm -rf build
