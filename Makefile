# SPDX-License-Identifier: Apache-2.0
# The commands a person types; meson.build has the build itself.

MEM ?= 512M
CPUS ?= 2
MINUTES ?= 60
GUEST = build/guest

.PHONY: help build run run-debian check fuzz guests deps bench tidy clean distclean

help:
	@echo "make build      build/doppel and build/doppel-system-x86_64"
	@echo "make run        boot a Debian cloud kernel to a shell (MEM=512M CPUS=2)"
	@echo "make run-debian make a Debian disk image and boot it to a login (root, password doppel)"
	@echo "make check      build, run every test, print N passed, N failed"
	@echo "make fuzz       hostile drivers, images and clients for an hour (MINUTES=60)"
	@echo "make guests     get the kernels and make the initramfs that the tests boot"
	@echo "make deps       install the Debian packages that are missing"
	@echo "make bench      doppel against this machine and QEMU TCG (BENCH=--quick: in short)"
	@echo "make tidy       clang-tidy over the source"
	@echo "make clean      remove what was built; make distclean: and the guests"

build: build/build.ninja
	@ninja -C build doppel doppel-system-x86_64

build/build.ninja:
	meson setup --buildtype=release -Db_ndebug=false build

deps:
	tools/install-deps check

guests:
	tools/make-guests

# On a fresh Debian 12 this is all that is needed; doppel prints how to leave.
run:
	@tools/install-deps run
	@$(MAKE) --no-print-directory build
	@tools/make-guests cloud
	@build/doppel run --kernel $(GUEST)/cloud/vmlinuz --initrd $(GUEST)/initramfs-x86_64.img \
		--append 'console=ttyS0' -m $(MEM) -c $(CPUS)

# The same for a whole Debian on a disk; what it writes to the disk stays.
run-debian:
	@tools/install-deps run image
	@$(MAKE) --no-print-directory build
	@tools/mk-debian-disk
	@build/doppel run $(GUEST)/debian.qcow2 -m $(if $(filter 512M,$(MEM)),1G,$(MEM)) -c $(CPUS)

check:
	@tools/check

fuzz:
	@tools/install-deps run dev
	@tests/fuzz/hour --minutes $(MINUTES)

# Words for bench/run: BENCH=--quick, BENCH='--only fork --runs 3'...
bench:
	@tools/install-deps run bench
	@$(MAKE) --no-print-directory build
	@bench/run $(BENCH)

tidy: build
	clang-tidy -p build --quiet $$(find src -name '*.c')

clean:
	rm -rf build-asan
	[ ! -d build ] || find build -mindepth 1 -maxdepth 1 ! -name guest -exec rm -rf {} +

distclean:
	rm -rf build build-asan build-fuzz build-fuzz-cov
