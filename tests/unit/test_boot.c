/* SPDX-License-Identifier: Apache-2.0 */
/* Kernel loaders against images made here: good ones of each protocol, and what a damaged file can
 * look like. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/base.h"
#include "base/err.h"
#include "base/log.h"
#include "machine/boot/boot.h"
#include "base/bytes.h"
#include "mem/mem.h"

#define RAM (64 * MiB)

struct fixture {
	struct log *log;
	struct mem *mem;
	struct e820_map e820;
	struct ram_layout ram;
	struct image kernel, initrd;
	struct boot_config cfg;
	struct x86_state s;
	struct err *e;
};

static void make_image(struct image *im, const char *what, const void *p, size_t len)
{
	char path[] = "/tmp/doppel-boot-XXXXXX";
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, p, len), (ssize_t)len);
	close(fd);
	assert_int_equal(image_open(im, what, path, NULL), 0);
	unlink(path);
}

static void map_ram(struct fixture *f)
{
	struct mem *m = f->mem;
	uint64_t off = mem_ram_alloc(m, f->ram.below_4g);

	mem_map_ram(m, GPA(0), VGA_HOLE, off, 0);
	mem_map_ram(m, GPA(0xc0000), f->ram.below_4g - 0xc0000, off + 0xc0000, 0);
}

static void begin_with(struct fixture *f, uint64_t ram)
{
	memset(f, 0, sizeof(*f));
	f->log = log_create();
	f->kernel.fd = f->initrd.fd = -1;
	ram_split(&f->ram, ram, 0xe0000000, 0xc0000000);
	assert_int_equal(mem_create(&f->mem, ram, f->log, NULL), 0);
	map_ram(f);
	e820_build_direct(&f->e820, &f->ram, 0, 0);
	f->cfg = (struct boot_config){
		.kernel = &f->kernel,
		.cmdline = "console=ttyS0",
		.mem = f->mem,
		.e820 = &f->e820,
		.below_4g = f->ram.below_4g,
		.rsdp = 0xf8000,
		.long_mode = true,
	};
}

static void begin(struct fixture *f, const struct bytes *kernel)
{
	begin_with(f, RAM);
	make_image(&f->kernel, "kernel", kernel->p, kernel->len);
}

static void end(struct fixture *f)
{
	image_close(&f->kernel);
	image_close(&f->initrd);
	mem_destroy(f->mem);
	log_destroy(f->log);
	err_free(&f->e);
}

static int load(struct fixture *f)
{
	return boot_load(&f->cfg, &f->s, &f->e);
}

static void expect_error(struct fixture *f, const char *part)
{
	assert_int_not_equal(load(f), 0);
	assert_non_null(f->e);
	if (!strstr(err_msg(f->e), part))
		fail_msg("'%s' does not say '%s'", err_msg(f->e), part);
}

static void expect_bad(const struct bytes *kernel, const char *part)
{
	struct fixture f;

	begin(&f, kernel);
	expect_error(&f, part);
	end(&f);
}

static uint32_t ld32(struct fixture *f, uint64_t a)
{
	return (uint32_t)mem_read(f->mem, GPA(a), 4);
}

/* --- bzImage --- */

#define PAYLOAD 0x3000

static void make_bzimage(struct bytes *b, uint16_t version, uint16_t xloadflags)
{
	bytes_zero(b, 5 * 512);
	b->p[0x1f1] = 4;
	put_le32(b->p + 0x1f4, PAYLOAD / 16);
	put_le16(b->p + 0x1fe, 0xaa55);
	b->p[0x200] = 0xeb;
	b->p[0x201] = 0x66;
	memcpy(b->p + 0x202, "HdrS", 4);
	put_le16(b->p + 0x206, version);
	b->p[0x211] = 1;
	put_le32(b->p + 0x22c, 0x7fffffff);
	put_le32(b->p + 0x230, 0x200000);
	b->p[0x234] = 1;
	put_le16(b->p + 0x236, xloadflags);
	put_le32(b->p + 0x238, 2047);
	put_le64(b->p + 0x258, 0x1000000);
	put_le32(b->p + 0x260, 0x800000);
	for (int i = 0; i < PAYLOAD / 4; i++)
		bytes_u32(b, (uint32_t)i * 7);
}

static void test_linux_64(void **state)
{
	static uint8_t initrd[5000] = { 1, 2, 3 };
	struct bytes b = { 0 };
	struct fixture f;
	uint32_t at;

	make_bzimage(&b, 0x20f, 1);
	begin(&f, &b);
	make_image(&f.initrd, "initrd", initrd, sizeof(initrd));
	f.cfg.initrd = &f.initrd;
	assert_int_equal(load(&f), 0);
	assert_int_equal(f.s.rip, 0x1000200);
	assert_int_equal(f.s.efer & EFER_LMA, EFER_LMA);
	assert_int_equal(f.s.seg[X86_CS].sel, 0x10);
	assert_true(f.s.seg[X86_CS].attr & SEG_L);
	assert_int_equal(ld32(&f, 0x1000000 + PAYLOAD - 4), (PAYLOAD / 4 - 1) * 7);
	assert_int_equal(mem_read(f.mem, GPA(f.s.gpr[X86_RSI] + 0x1e8), 1), f.e820.n);
	assert_int_equal(ld32(&f, f.s.gpr[X86_RSI] + 0x070), 0xf8000);
	at = ld32(&f, f.s.gpr[X86_RSI] + 0x218);
	assert_int_equal(ld32(&f, f.s.gpr[X86_RSI] + 0x21c), sizeof(initrd));
	assert_int_equal(at, (RAM - sizeof(initrd)) & ~0xfffull);
	assert_int_equal(ld32(&f, at), 0x030201);
	at = ld32(&f, f.s.gpr[X86_RSI] + 0x228);
	assert_memory_equal(mem_dma_ptr(f.mem, GPA(at), 14), "console=ttyS0", 14);
	/* The page tables map identically. */
	assert_int_equal(ld32(&f, f.s.cr3) & 0xfff, 3);
	at = ld32(&f, f.s.cr3) & ~0xfffu;
	at = ld32(&f, at + 8 * 3) & ~0xfffu;
	assert_int_equal(ld32(&f, at + 8 * 511), 0xffe00083);
	end(&f);
	bytes_free(&b);
}

static void test_linux_32(void **state)
{
	struct bytes b = { 0 };
	struct fixture f;

	make_bzimage(&b, 0x20f, 0);
	begin(&f, &b);
	assert_int_equal(load(&f), 0);
	assert_int_equal(f.s.rip, 0x1000000);
	assert_int_equal(f.s.cr0 & (CR0_PE | CR0_PG), CR0_PE);
	assert_true(f.s.seg[X86_CS].attr & SEG_DB);
	end(&f);
	/* A 64-bit kernel on a processor without long mode. */
	bytes_free(&b);
	make_bzimage(&b, 0x20f, 1);
	begin(&f, &b);
	f.cfg.long_mode = false;
	assert_int_equal(load(&f), 0);
	assert_int_equal(f.s.rip, 0x1000000);
	end(&f);
	bytes_free(&b);
}

static void test_linux_bad(void **state)
{
	static uint8_t initrd[4 * MiB];
	struct bytes b = { 0 };
	struct fixture f;

	make_bzimage(&b, 0x20f, 1);
	for (size_t cut = b.len - 16; cut > 0x210; cut -= cut > 2000 ? 1017 : 11) {
		struct bytes part = { b.p, cut, cut };

		expect_bad(&part, "truncated");
	}
	begin_with(&f, 4 * MiB);
	make_image(&f.kernel, "kernel", b.p, b.len);
	expect_error(&f, "use a larger -m");
	end(&f);
	begin_with(&f, 26 * MiB);
	make_image(&f.kernel, "kernel", b.p, b.len);
	make_image(&f.initrd, "initrd", initrd, sizeof(initrd));
	f.cfg.initrd = &f.initrd;
	expect_error(&f, "does not fit");
	end(&f);
	begin(&f, &b);
	f.cfg.cmdline = xzalloc(3000);
	memset((char *)f.cfg.cmdline, 'x', 2999);
	expect_error(&f, "command line");
	free((char *)f.cfg.cmdline);
	end(&f);
	put_le64(b.p + 0x258, 0xfffff000); /* preferred address past RAM */
	expect_bad(&b, "use a larger -m");
	put_le64(b.p + 0x258, 0x1000000);
	put_le32(b.p + 0x260, 0xffffffff);
	expect_bad(&b, "use a larger -m");
	b.p[0x211] = 0;
	expect_bad(&b, "zImage");
	put_le16(b.p + 0x1fe, 0);
	expect_bad(&b, "damaged");
	bytes_free(&b);
}

/* --- ELF, PVH --- */

struct elf_opt {
	bool is64, note;
	uint16_t machine;
	uint64_t paddr, filesz, memsz, offset;
};

static void elf_phdr(struct bytes *b, bool is64, uint32_t type, uint64_t off, uint64_t paddr,
		     uint64_t filesz, uint64_t memsz)
{
	bytes_u32(b, type);
	if (is64) {
		bytes_u32(b, 7);
		bytes_u64(b, off);
		bytes_u64(b, paddr | UINT64_C(0xffffffff80000000));
		bytes_u64(b, paddr);
		bytes_u64(b, filesz);
		bytes_u64(b, memsz);
		bytes_u64(b, 4096);
	} else {
		bytes_u32(b, (uint32_t)off);
		bytes_u32(b, (uint32_t)paddr);
		bytes_u32(b, (uint32_t)paddr);
		bytes_u32(b, (uint32_t)filesz);
		bytes_u32(b, (uint32_t)memsz);
		bytes_u32(b, 7);
		bytes_u32(b, 4096);
	}
}

/* Header, two program headers, note at 0x100, code at 0x200. */
static void make_elf(struct bytes *b, const struct elf_opt *o)
{
	bytes_str(b, "\177ELF");
	bytes_u8(b, o->is64 ? 2 : 1);
	bytes_u8(b, 1);
	bytes_u8(b, 1);
	bytes_zero(b, 9);
	bytes_u16(b, 2);
	bytes_u16(b, o->machine);
	bytes_u32(b, 1);
	if (o->is64) {
		bytes_u64(b, o->paddr);
		bytes_u64(b, 64);
		bytes_u64(b, 0);
	} else {
		bytes_u32(b, (uint32_t)o->paddr);
		bytes_u32(b, 52);
		bytes_u32(b, 0);
	}
	bytes_u32(b, 0);
	bytes_u16(b, o->is64 ? 64 : 52);
	bytes_u16(b, o->is64 ? 56 : 32);
	bytes_u16(b, 2);
	bytes_zero(b, 6);
	elf_phdr(b, o->is64, 1, o->offset, o->paddr, o->filesz, o->memsz);
	elf_phdr(b, o->is64, o->note ? 4 : 0, 0x100, 0, 24 + 20, 0);
	bytes_zero(b, 0x100 - b->len);
	bytes_u32(b, 4); /* another note first */
	bytes_u32(b, 5);
	bytes_u32(b, 1);
	bytes_strz(b, "GNU");
	bytes_zero(b, 8);
	bytes_u32(b, 4);
	bytes_u32(b, 4);
	bytes_u32(b, 18);
	bytes_strz(b, "Xen");
	bytes_u32(b, (uint32_t)o->paddr + 0x10);
	bytes_zero(b, 0x200 - b->len);
	for (int i = 0; i < 0x80; i++)
		bytes_u32(b, 0xbeef0000 + (uint32_t)i);
}

static const struct elf_opt good_elf = { true, true, 62, 0x1000000, 0x200, 0x3000, 0x200 };

static void test_pvh(void **state)
{
	for (int is64 = 0; is64 < 2; is64++) {
		struct elf_opt o = good_elf;
		struct bytes b = { 0 };
		struct fixture f;

		o.is64 = is64;
		o.machine = is64 ? 62 : 3;
		make_elf(&b, &o);
		begin(&f, &b);
		mem_write(f.mem, GPA(0x1000200), 0x5555, 8); /* to be zeroed */
		make_image(&f.initrd, "initrd", "abcd", 4);
		f.cfg.initrd = &f.initrd;
		assert_int_equal(load(&f), 0);
		assert_int_equal(f.s.rip, 0x1000010);
		assert_int_equal(f.s.cr0 & (CR0_PE | CR0_PG), CR0_PE);
		assert_int_equal(ld32(&f, 0x1000004), 0xbeef0001);
		assert_int_equal(ld32(&f, 0x1000200), 0);
		assert_int_equal(ld32(&f, f.s.gpr[X86_RBX]), 0x336ec578);
		assert_int_equal(ld32(&f, f.s.gpr[X86_RBX] + 12), 1);
		assert_int_equal(ld32(&f, f.s.gpr[X86_RBX] + 32), 0xf8000);
		assert_int_equal(ld32(&f, f.s.gpr[X86_RBX] + 48), f.e820.n);
		assert_int_equal(ld32(&f, ld32(&f, ld32(&f, f.s.gpr[X86_RBX] + 16))), 0x64636261);
		end(&f);
		bytes_free(&b);
	}
}

static void bad_elf(const struct elf_opt *o, const char *part)
{
	struct bytes b = { 0 };

	make_elf(&b, o);
	expect_bad(&b, part);
	bytes_free(&b);
}

static void test_elf_bad(void **state)
{
	struct elf_opt o = good_elf;
	struct bytes b = { 0 };

	o.machine = 183;
	bad_elf(&o, "another machine");
	o = good_elf;
	o.note = false;
	bad_elf(&o, "without a PVH entry");
	o = good_elf;
	o.offset = UINT64_MAX - 0x100;
	bad_elf(&o, "truncated");
	o = good_elf;
	o.filesz = 0x201;
	bad_elf(&o, "truncated");
	o = good_elf;
	o.memsz = 0x1ff;
	bad_elf(&o, "damaged");
	o = good_elf;
	o.memsz = UINT64_MAX - 0x1000000;
	bad_elf(&o, "use a larger -m");
	o = good_elf;
	o.paddr = UINT64_MAX - 0x1000;
	bad_elf(&o, "use a larger -m");
	o = good_elf;
	o.paddr = 0x1000;
	bad_elf(&o, "not free");
	o = good_elf;
	o.paddr = 0xff000;
	bad_elf(&o, "not free");
	make_elf(&b, &good_elf);
	for (size_t cut = 5; cut < 0x400; cut += 7) {
		struct bytes part = { b.p, cut, cut };

		expect_bad(&part, "truncated");
	}
	/* Notes with absurd sizes. */
	put_le32(b.p + 0x104, 0xfffffff0);
	expect_bad(&b, "without a PVH entry");
	put_le32(b.p + 0x100, 0xffffffff);
	expect_bad(&b, "without a PVH entry");
	b.p[4] = 9;
	expect_bad(&b, "damaged");
	bytes_free(&b);
}

/* --- multiboot --- */

/* Header at 16, code at 48, loaded at 1 MiB. */
static void make_multiboot(struct bytes *b, uint32_t flags, uint32_t load_end, uint32_t bss_end)
{
	bytes_zero(b, 16);
	bytes_u32(b, 0x1badb002);
	bytes_u32(b, flags);
	bytes_u32(b, 0u - 0x1badb002 - flags);
	bytes_u32(b, 0x100000);
	bytes_u32(b, 0x100000 - 16 + 0);
	bytes_u32(b, load_end);
	bytes_u32(b, bss_end);
	bytes_u32(b, 0x100020);
	for (int i = 0; i < 64; i++)
		bytes_u32(b, 0xc0de0000 + (uint32_t)i);
	put_le32(b->p + 16 + 12, 0x100010);
	put_le32(b->p + 16 + 16, 0x100000);
}

static void test_multiboot(void **state)
{
	struct bytes b = { 0 };
	struct fixture f;

	make_multiboot(&b, 0x10003, 0, 0x104000);
	begin(&f, &b);
	make_image(&f.initrd, "initrd", "abcd", 4);
	f.cfg.initrd = &f.initrd;
	assert_int_equal(load(&f), 0);
	assert_int_equal(f.s.rip, 0x100020);
	assert_int_equal(f.s.gpr[X86_RAX], 0x2badb002);
	assert_int_equal(ld32(&f, 0x100030), 0xc0de0000);
	assert_int_equal(ld32(&f, f.s.gpr[X86_RBX]), 0x24d);
	assert_int_equal(ld32(&f, f.s.gpr[X86_RBX] + 4), 639);
	assert_int_equal(ld32(&f, f.s.gpr[X86_RBX] + 8), (RAM - MiB) / 1024);
	assert_int_equal(ld32(&f, f.s.gpr[X86_RBX] + 20), 1);
	assert_int_equal(ld32(&f, ld32(&f, ld32(&f, f.s.gpr[X86_RBX] + 24))), 0x64636261);
	assert_int_equal(ld32(&f, f.s.gpr[X86_RBX] + 44), f.e820.n * 24);
	end(&f);
	bytes_free(&b);
}

static void bad_multiboot(uint32_t flags, uint32_t load_end, uint32_t bss_end, const char *part)
{
	struct bytes b = { 0 };

	make_multiboot(&b, flags, load_end, bss_end);
	expect_bad(&b, part);
	bytes_free(&b);
}

static void test_multiboot_bad(void **state)
{
	struct bytes b = { 0 };

	bad_multiboot(0x10003, 0x100800, 0, "truncated");
	bad_multiboot(0x10003, 0x0fff00, 0, "damaged");
	bad_multiboot(0x10003, 0, 0x100008, "damaged");
	bad_multiboot(0x10003, 0, 0xffffffff, "use a larger -m");
	bad_multiboot(0x10013, 0, 0, "features");
	bad_multiboot(0x00003, 0, 0, "neither");
	make_multiboot(&b, 0x10003, 0, 0);
	put_le32(b.p + 32, 0x100020); /* load address behind the header's */
	expect_bad(&b, "damaged");
	put_le32(b.p + 32, 0);
	expect_bad(&b, "damaged");
	bytes_free(&b);
}

static void test_other_files(void **state)
{
	struct bytes b = { 0 };
	struct image im;
	struct err *e = NULL;

	bytes_str(&b, "#!/bin/sh\necho not a kernel\n");
	expect_bad(&b, "not a kernel image");
	b.len = 1;
	expect_bad(&b, "not a kernel image");
	bytes_free(&b);
	assert_int_not_equal(image_open(&im, "kernel", "/nonexistent/vmlinuz", &e), 0);
	assert_non_null(strstr(err_msg(e), "/nonexistent/vmlinuz"));
	err_free(&e);
	image_close(&im);
	assert_int_not_equal(image_open(&im, "kernel", "/tmp", &e), 0);
	assert_non_null(strstr(err_msg(e), "regular"));
	err_free(&e);
	image_close(&im);
}

/* Random damage to headers: any answer, but no crash and no access out of bounds. */
static void test_fuzz(void **state)
{
	unsigned seed = 1;

	for (int round = 0; round < 600; round++) {
		struct bytes b = { 0 };
		struct fixture f;

		switch (round % 3) {
		case 0:
			make_bzimage(&b, 0x20f, 1);
			break;
		case 1:
			make_elf(&b, &good_elf);
			break;
		case 2:
			make_multiboot(&b, 0x10003, 0, 0x104000);
			break;
		}
		for (int i = 0; i < 4; i++) {
			size_t at = round % 3 ? 4 : 0x1f1;

			at += (size_t)rand_r(&seed) % (round % 3 == 2 ? 44 : 0x80);
			if (round % 3 == 2 && at < 28)
				continue;
			b.p[at] = rand_r(&seed) & 1 ? 0xff : (uint8_t)rand_r(&seed);
		}
		begin(&f, &b);
		if (load(&f))
			assert_non_null(f.e);
		end(&f);
		bytes_free(&b);
	}
}

static void test_ram_layout(void **state)
{
	struct ram_layout r;
	struct e820_map m;

	ram_split(&r, 6 * GiB, 0xe0000000, 0xc0000000);
	assert_int_equal(r.below_4g, 0xc0000000);
	assert_int_equal(r.above_4g, 3 * GiB);
	ram_split(&r, 3328 * MiB, 0xe0000000, 0xc0000000);
	assert_int_equal(r.below_4g, 3328 * MiB);
	assert_int_equal(r.above_4g, 0);
	ram_split(&r, 6 * GiB, 0xb0000000, 0x80000000);
	assert_int_equal(r.below_4g, 0x80000000);
	assert_int_equal(r.above_4g, 4 * GiB);
	e820_build_direct(&m, &r, 0xb0000000, 0x10000000);
	for (unsigned i = 1; i < m.n; i++)
		assert_true(m.e[i].addr >= m.e[i - 1].addr + m.e[i - 1].size);
	assert_int_equal(m.e[m.n - 1].addr, 4 * GiB);
	assert_int_equal(m.e[m.n - 1].size, 4 * GiB);
	e820_build_firmware(&m, &r);
	assert_int_equal(m.n, 2);
	assert_int_equal(sizeof(m.e[0]), 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_linux_64),      cmocka_unit_test(test_linux_32),
		cmocka_unit_test(test_linux_bad),     cmocka_unit_test(test_pvh),
		cmocka_unit_test(test_elf_bad),	      cmocka_unit_test(test_multiboot),
		cmocka_unit_test(test_multiboot_bad), cmocka_unit_test(test_other_files),
		cmocka_unit_test(test_fuzz),	      cmocka_unit_test(test_ram_layout),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
