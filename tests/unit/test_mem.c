/* SPDX-License-Identifier: Apache-2.0 */
/* Guest-physical memory: overlaps, aliases, ROM, holes, widths, DMA bounds, dirty log, code marks. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include "base/log.h"
#include "mem/mem.h"
#include "mem/page.h"

struct fixture {
	struct log *log;
	struct mem *m;
	unsigned map_changes, protects;
};

static void count_change(void *opaque)
{
	((struct fixture *)opaque)->map_changes++;
}

static void count_protect(void *opaque, uint64_t ram_off)
{
	((struct fixture *)opaque)->protects++;
}

static void setup(struct fixture *f, uint64_t size)
{
	const struct page_ops ops = { .protect = count_protect, .opaque = f };

	*f = (struct fixture){ .log = log_create() };
	assert_int_equal(mem_create(&f->m, size, f->log, NULL), 0);
	mem_set_listener(f->m, count_change, f);
	mem_set_page_ops(f->m, &ops);
}

static void teardown(struct fixture *f)
{
	mem_destroy(f->m);
	log_destroy(f->log);
}

/* A device that remembers its last access and returns a pattern of the offset. */
struct probe {
	uint64_t off, val;
	unsigned size, count;
};

static uint64_t probe_read(void *opaque, uint64_t off, unsigned size)
{
	struct probe *p = opaque;
	uint64_t v = 0;

	p->off = off;
	p->size = size;
	p->count++;
	for (unsigned i = 0; i < size; i++)
		v |= ((off + i) & 0xff) << (8 * i);
	return v;
}

static void probe_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
	struct probe *p = opaque;

	p->off = off;
	p->size = size;
	p->val = val;
	p->count++;
}

static void test_above_4g(void **state)
{
	struct fixture f;
	uint64_t lo = 3 * GiB, hi = 3 * GiB, at;

	setup(&f, lo + hi);
	at = mem_ram_alloc(f.m, lo + hi);
	mem_map_ram(f.m, GPA(0), lo, at, 0);
	mem_map_ram(f.m, GPA(4 * GiB), hi, at + lo, 0);
	mem_write(f.m, GPA(lo - 8), 0x1122334455667788, 8);
	mem_write(f.m, GPA(7 * GiB - 4), 0xdeadbeef, 4);
	assert_int_equal(mem_read(f.m, GPA(lo - 8), 8), 0x1122334455667788);
	assert_int_equal(mem_read(f.m, GPA(7 * GiB - 4), 4), 0xdeadbeef);
	assert_int_equal(get_le32(mem_ram_base(f.m) + 6 * GiB - 4), 0xdeadbeef);
	/* The hole, its edge, and past everything. */
	assert_int_equal(mem_read(f.m, GPA(lo), 4), 0xffffffff);
	assert_int_equal(mem_read(f.m, GPA(lo - 2), 4), 0xffff1122);
	assert_int_equal(mem_read(f.m, GPA(7 * GiB), 8), UINT64_MAX);
	assert_int_equal(mem_read(f.m, GPA(UINT64_MAX - 7), 8), UINT64_MAX);
	assert_null(mem_dma_ptr(f.m, GPA(lo - 4), 8));
	teardown(&f);
}

static void test_priority_and_alias(void **state)
{
	struct fixture f;
	struct mem_range r;
	struct mem_map *rom;
	uint64_t ram, bios;

	setup(&f, 2 * MiB);
	ram = mem_ram_alloc(f.m, MiB);
	bios = mem_ram_alloc(f.m, 256 * KiB);
	memset(mem_ram_base(f.m) + bios, 0xb1, 256 * KiB);
	mem_map_ram(f.m, GPA(0), MiB, ram, 0);
	mem_map_rom(f.m, GPA(0xfffc0000), 256 * KiB, bios, NULL, 0);
	rom = mem_map_alias(f.m, GPA(0xe0000), 128 * KiB, GPA(0xfffe0000), 1);
	mem_lookup(f.m, GPA(0xf0000), &r);
	assert_int_equal(r.kind, MEM_ROM);
	assert_int_equal(r.base, 0xe0000);
	assert_int_equal(r.ram_off, bios + 128 * KiB);
	mem_write(f.m, GPA(0xf0000), 0x55, 1);
	assert_int_equal(mem_read(f.m, GPA(0xf0000), 1), 0xb1);
	assert_int_equal(mem_dma_write(f.m, GPA(0xdfff0), "0123456789abcdefg", 17), -EFAULT);
	assert_int_equal(mem_read(f.m, GPA(0xdfff0), 1), 0);
	mem_unmap(f.m, rom);
	mem_write(f.m, GPA(0xf0000), 0x55, 1);
	assert_int_equal(mem_read(f.m, GPA(0xf0000), 1), 0x55);
	assert_true(f.map_changes >= 4);
	teardown(&f);
}

static void test_io_widths(void **state)
{
	static const struct io_ops ops = { .read = probe_read, .write = probe_write, .min = 4, .max = 4 };
	static const struct io_ops bytes = { .read = probe_read, .write = probe_write, .min = 1, .max = 1 };
	struct probe p = { 0 }, q = { 0 };
	struct io_region io = { .name = "p", .ops = &ops, .opaque = &p, .size = 0x100 };
	struct io_region pio = { .name = "q", .ops = &bytes, .opaque = &q, .size = 4 };
	struct mem_map *map;
	struct fixture f;

	setup(&f, PAGE_SIZE);
	map = mem_map_io(f.m, GPA(0xfed00000), &io, 0);
	assert_int_equal(mem_read(f.m, GPA(0xfed00012), 1), 0x12);
	assert_int_equal(p.size, 4);
	assert_int_equal(p.off, 0x10);
	assert_int_equal(mem_read(f.m, GPA(0xfed00010), 8), 0x1716151413121110);
	assert_int_equal(mem_read(f.m, GPA(0xfed00013), 4), 0x16151413);
	mem_write(f.m, GPA(0xfed00020), 0x12345678, 4);
	assert_int_equal(p.val, 0x12345678);
	mem_move(f.m, map, GPA(0xfee00000));
	assert_int_equal(mem_read(f.m, GPA(0xfed00010), 4), 0xffffffff);
	assert_int_equal(mem_read(f.m, GPA(0xfee00010), 4), 0x13121110);

	pio_map(f.m, 0xfffe, &(struct io_region){ .name = "top", .ops = &bytes, .opaque = &q, .size = 2 }, 0);
	pio_map(f.m, 0x60, &pio, 0);
	assert_ptr_equal(pio_user(f.m, 0x50, 0x20), &pio);
	assert_null(pio_user(f.m, 0x50, 0x10));
	assert_int_equal(pio_read(f.m, 0x60, 4), 0x03020100);
	assert_int_equal(pio_read(f.m, 0x62, 4), 0xffff0302);
	assert_int_equal(pio_read(f.m, 0xfffe, 4), 0xffff0100);
	map = NULL;
	pio_follow(f.m, &map, &pio, true, 0x400);
	assert_int_equal(pio_read(f.m, 0x401, 1), 1);
	pio_follow(f.m, &map, &pio, true, 0x500);
	assert_int_equal(pio_read(f.m, 0x401, 1), 0xff);
	assert_int_equal(pio_read(f.m, 0x501, 1), 1);
	pio_follow(f.m, &map, &pio, false, 0x500);
	assert_null(map);
	assert_int_equal(pio_read(f.m, 0x501, 1), 0xff);
	q.count = 0;
	pio_write(f.m, 0x5f, 0xaabbccdd, 4);
	assert_int_equal(q.count, 3);
	assert_int_equal(q.val, 0xaa);
	teardown(&f);
}

static void test_dirty(void **state)
{
	uint64_t bits[1];
	struct fixture f;

	setup(&f, 8 * PAGE_SIZE);
	mem_map_ram(f.m, GPA(0), 8 * PAGE_SIZE, mem_ram_alloc(f.m, 8 * PAGE_SIZE), 0);
	assert_true(mem_page_fast_write(&mem_pages(f.m)[3]));
	mem_dirty_start(f.m);
	assert_int_equal(mem_dirty_take(f.m, bits), 8);
	assert_int_equal(f.protects, 1);
	assert_false(mem_page_fast_write(&mem_pages(f.m)[3]));
	mem_write(f.m, GPA(3 * PAGE_SIZE + 4092), 0, 8);
	assert_true(mem_page_fast_write(&mem_pages(f.m)[3]));
	assert_int_equal(mem_dirty_take(f.m, bits), 2);
	assert_int_equal(bits[0], 0x18);
	assert_int_equal(mem_dirty_take(f.m, bits), 0);
	mem_dirty_stop(f.m);
	assert_true(mem_page_fast_write(&mem_pages(f.m)[0]));
	teardown(&f);
}

static void test_code_marks(void **state)
{
	struct fixture f;
	struct mem_page *p;
	uint32_t gen;

	setup(&f, 4 * PAGE_SIZE);
	mem_map_ram(f.m, GPA(0), 4 * PAGE_SIZE, mem_ram_alloc(f.m, 4 * PAGE_SIZE), 0);
	p = &mem_pages(f.m)[1];
	gen = mem_code_mark(f.m, PAGE_SIZE + 100, 60);
	assert_int_equal(f.protects, 1);
	assert_false(mem_page_fast_write(p));
	mem_code_mark(f.m, PAGE_SIZE + 1000, 4);
	assert_int_equal(f.protects, 1);
	mem_write(f.m, GPA(PAGE_SIZE + 512), 1, 8); /* data beside code */
	assert_int_equal(mem_code_gen(p), gen);
	assert_int_equal(mem_dma_write(f.m, GPA(PAGE_SIZE - 4), "abcdefgh", 8), 0);
	assert_int_equal(mem_code_gen(p), gen);
	mem_write(f.m, GPA(PAGE_SIZE + 159), 1, 1);
	assert_int_equal(mem_code_gen(p), gen + 1);
	assert_true(mem_page_fast_write(p));
	assert_int_equal(mem_code_mark(f.m, PAGE_SIZE + 100, 60), gen + 1);
	assert_int_equal(f.protects, 2);
	assert_true(mem_written(f.m, 0, 4 * PAGE_SIZE));
	teardown(&f);
}

static void test_cmpxchg(void **state)
{
	struct fixture f;
	uint64_t old = 5;
	bool not_ram;

	setup(&f, PAGE_SIZE);
	mem_map_ram(f.m, GPA(0), PAGE_SIZE, mem_ram_alloc(f.m, PAGE_SIZE), 0);
	assert_false(mem_cmpxchg(f.m, GPA(8), &old, 9, 8, &not_ram));
	assert_int_equal(old, 0);
	assert_true(mem_cmpxchg(f.m, GPA(8), &old, 9, 4, &not_ram));
	assert_int_equal(mem_read(f.m, GPA(8), 8), 9);
	assert_false(mem_cmpxchg(f.m, GPA(PAGE_SIZE), &old, 9, 8, &not_ram));
	assert_true(not_ram);
	teardown(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_above_4g),   cmocka_unit_test(test_priority_and_alias),
		cmocka_unit_test(test_io_widths),  cmocka_unit_test(test_dirty),
		cmocka_unit_test(test_code_marks), cmocka_unit_test(test_cmpxchg),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
