/* SPDX-License-Identifier: Apache-2.0 */
/* CFI flash: the command set, how it is mapped, what stays on the drive. */
#include "dev_env.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "back/block/block.h"
#include "dev/flash/pflash.h"

#define SIZE (132 * 4096u)
#define BASE (4 * GiB - SIZE)

struct rig {
	struct test_env *t;
	struct blocks *bs;
	char path[64];
	uint64_t ram_off;
};

static void make_file(struct rig *r, size_t size)
{
	int fd = open(r->path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	uint8_t *p = xzalloc(size);

	for (size_t i = 0; i < size; i++)
		p[i] = (uint8_t)(i * 7 | 0x80);
	assert_int_equal(write(fd, p, size), size);
	close(fd);
	free(p);
}

static struct block *open_drive(struct rig *r, const char *more)
{
	char opts[160];
	struct block *b = NULL;

	snprintf(opts, sizeof(opts), "file=%s,format=raw,if=none,id=flash%s", r->path, more);
	assert_int_equal(block_open_drive(&b, r->bs, opts, NULL), 0);
	return b;
}

static void open_rig(struct rig *r, const char *more)
{
	r->t = env_open();
	r->bs = blocks_create(r->t->env.log);
	lock_take(&r->t->lock);
	assert_int_equal(pflash_create(&r->t->env, BASE, open_drive(r, more), "flash0", &r->ram_off,
				       NULL),
			 0);
	lock_drop(&r->t->lock);
}

static void close_rig(struct rig *r)
{
	struct test_env *t = r->t;

	lock_take(&t->lock);
	dev_destroy_all(&t->env);
	lock_drop(&t->lock);
	blocks_destroy(r->bs);
	env_close(t);
}

static int setup(void **state)
{
	struct rig *r = xzalloc(sizeof(*r));

	snprintf(r->path, sizeof(r->path), "/tmp/doppel-test-pflash-%d", (int)getpid());
	make_file(r, SIZE);
	open_rig(r, "");
	*state = r;
	return 0;
}

static int teardown(void **state)
{
	struct rig *r = *state;

	close_rig(r);
	unlink(r->path);
	free(r);
	return 0;
}

static uint8_t get(struct rig *r, uint32_t off)
{
	return (uint8_t)mem_read(r->t->env.mem, GPA(BASE + off), 1);
}

static void put(struct rig *r, uint32_t off, uint8_t v)
{
	mem_write(r->t->env.mem, GPA(BASE + off), v, 1);
}

static uint8_t first(uint32_t off)
{
	return (uint8_t)(off * 7 | 0x80);
}

static bool is_rom(struct rig *r)
{
	struct mem_range range;

	mem_lookup(r->t->env.mem, GPA(BASE), &range);
	assert_true(range.kind == MEM_ROM || range.kind == MEM_IO);
	assert_int_equal(range.size, SIZE);
	return range.kind == MEM_ROM;
}

static uint8_t on_drive(struct rig *r, uint32_t off)
{
	int fd = open(r->path, O_RDONLY);
	uint8_t v = 0;

	assert_int_equal(pread(fd, &v, 1, off), 1);
	close(fd);
	return v;
}

/* How OVMF finds out that it is neither RAM nor ROM. */
static void probe(void **state)
{
	struct rig *r = *state;

	assert_true(is_rom(r));
	assert_int_equal(get(r, 5), first(5));
	put(r, 5, 0x50);
	assert_int_equal(get(r, 5), first(5));
	put(r, 5, 0x70);
	assert_false(is_rom(r));
	assert_int_equal(get(r, 5), 0x00);
	put(r, 5, 0xff);
	assert_true(is_rom(r));
	assert_int_equal(get(r, 5), first(5));
}

static void program(void **state)
{
	struct rig *r = *state;

	put(r, 4096, 0x20);
	put(r, 4096 + 17, 0xd0);
	assert_int_equal(get(r, 0), 0x80);
	put(r, 0, 0xff);
	assert_int_equal(get(r, 4095), first(4095));
	for (uint32_t i = 4096; i < 8192; i++)
		assert_int_equal(get(r, i), 0xff);
	assert_int_equal(get(r, 8192), first(8192));
	put(r, 5000, 0x10);
	put(r, 5000, 0x5a);
	put(r, 5000, 0x40);
	put(r, 5000, 0xf0); /* bits are only cleared */
	assert_int_equal(get(r, 5000), 0x80);
	put(r, 5004, 0x10);
	mem_write(r->t->env.mem, GPA(BASE + 5004), 0x11223344, 4);
	put(r, 0, 0xff);
	assert_int_equal(get(r, 5000), 0x50);
	assert_int_equal(rd32(r->t, BASE + 5004), 0x11223344);
}

static void buffered(void **state)
{
	struct rig *r = *state;

	put(r, 0, 0x20);
	put(r, 0, 0xd0);
	put(r, 0, 0xe8);
	assert_int_equal(get(r, 0), 0x80);
	put(r, 0, 3);
	for (unsigned i = 0; i < 4; i++)
		put(r, 16 + i, (uint8_t)(0x60 + i));
	put(r, 0, 0xd0);
	put(r, 0, 0xff);
	assert_int_equal(rd32(r->t, BASE + 16), 0x63626160);
	assert_int_equal(get(r, 20), 0xff);
	/* All 256 bytes, by wide writes that go past the count. */
	put(r, 0, 0xe8);
	put(r, 0, 0xff);
	for (uint64_t i = 0; i < 256; i += 8)
		mem_write(r->t->env.mem, GPA(BASE + 1024 + i),
			  UINT64_C(0x0101010101010101) * (i & 0xff), 8);
	put(r, 0, 0xd0);
	put(r, 0, 0xff);
	assert_int_equal(get(r, 1024 + 255), 248);
	/* Not confirmed: nothing is programmed. */
	put(r, 0, 0xe8);
	put(r, 0, 0);
	put(r, 2048, 0x00);
	put(r, 0, 0xff);
	assert_int_equal(get(r, 0), 0xb0);
	put(r, 0, 0x50);
	assert_int_equal(get(r, 2048), 0xff);
}

static void wrong_sequences(void **state)
{
	struct rig *r = *state;

	put(r, 0, 0x20);
	put(r, 0, 0xff); /* not confirmed */
	assert_int_equal(get(r, 0), 0xb0);
	put(r, 0, 0x50);
	assert_int_equal(get(r, 0), first(0));
	put(r, 0, 0x33); /* no command */
	assert_true(is_rom(r));
	put(r, 0, 0x60);
	put(r, 0, 0xd0);
	assert_int_equal(get(r, 0), 0x80);
	put(r, 0, 0x10);
	lock_take(&r->t->lock);
	dev_reset_all(&r->t->env);
	lock_drop(&r->t->lock);
	assert_true(is_rom(r));
	assert_int_equal(get(r, 0), first(0));
}

static void queries(void **state)
{
	struct rig *r = *state;

	put(r, 0, 0x98);
	assert_int_equal(rd32(r->t, BASE + 0x10) & 0xffffff, 'Q' | 'R' << 8 | 'Y' << 16);
	assert_int_equal(get(r, 0x27), 20); /* 1 MiB holds it */
	assert_int_equal(get(r, 0x2d) | get(r, 0x2e) << 8, SIZE / 4096 - 1);
	assert_int_equal(get(r, 0x2f) | get(r, 0x30) << 8, 4096 / 256);
	assert_int_equal(get(r, 0x1000), 0);
	put(r, 0, 0x90);
	assert_int_equal(get(r, 0), 0x89);
	assert_int_equal(get(r, 1), 0x18);
	assert_int_equal(get(r, SIZE - 1), 0);
}

static void kept(void **state)
{
	struct rig *r = *state;

	for (uint32_t i = 0; i < 20; i++) {
		put(r, i * 4096, 0x20);
		put(r, i * 4096, 0xd0);
	}
	put(r, 0, 0x10);
	put(r, SIZE - 1, 0x00);
	close_rig(r);
	for (uint32_t i = 0; i < 20 * 4096; i += 511)
		assert_int_equal(on_drive(r, i), 0xff);
	assert_int_equal(on_drive(r, 20 * 4096), first(20 * 4096));
	assert_int_equal(on_drive(r, SIZE - 1), 0);
	open_rig(r, "");
	assert_int_equal(get(r, 0), 0xff);
	assert_int_equal(get(r, SIZE - 1), 0);
}

static void read_only(void **state)
{
	struct rig *r = *state;

	close_rig(r);
	open_rig(r, ",readonly=on");
	put(r, 0, 0x10);
	put(r, 0, 0x00);
	assert_int_equal(get(r, 0), 0x90);
	put(r, 0, 0x20);
	put(r, 0, 0xd0);
	assert_int_equal(get(r, 0), 0xb0);
	put(r, 0, 0xff);
	assert_int_equal(get(r, 0), first(0));
}

static void sizes(void **state)
{
	struct rig *r = *state;
	static const size_t bad[] = {4096 + 512, 8 * 1024 * 1024 + 4096};

	close_rig(r);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct log *log = log_create();
		struct err *e = NULL;

		make_file(r, bad[i]);
		r->bs = blocks_create(log);
		assert_int_equal(pflash_size(open_drive(r, ""), &e), 0);
		assert_non_null(strstr(err_msg(e), "flash"));
		err_free(&e);
		blocks_destroy(r->bs);
		log_destroy(log);
	}
	make_file(r, SIZE);
	open_rig(r, "");
}

static void saved(void **state)
{
	struct rig *r = *state;
	struct dev *d = r->t->env.devs;
	struct state_buf b = {0};
	struct err *e = NULL;
	size_t used;

	put(r, 0, 0xe8);
	put(r, 0, 1);
	put(r, 100, 0x42);
	state_save(&b, d->ops->state, d);
	lock_take(&r->t->lock);
	dev_reset_all(&r->t->env);
	lock_drop(&r->t->lock);
	assert_true(is_rom(r));
	assert_int_equal(state_load(d->ops->state, d, b.data, b.len, &used, &e), 0);
	assert_false(is_rom(r));
	put(r, 101, 0x81);
	put(r, 0, 0xd0);
	put(r, 0, 0xff);
	assert_int_equal(get(r, 100), first(100) & 0x42);
	assert_int_equal(get(r, 101), first(101) & 0x81);
	for (size_t i = 0; i < b.len; i++) { /* damaged: refused, or harmless */
		b.data[i] ^= 0xff;
		if (state_load(d->ops->state, d, b.data, b.len, &used, &e))
			err_free(&e);
		else
			for (unsigned n = 0; n < 4; n++)
				put(r, 0, 0xd0);
		b.data[i] ^= 0xff;
	}
	free(b.data);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(probe), T(program),	T(buffered), T(wrong_sequences), T(queries),
		T(kept),  T(read_only), T(sizes),    T(saved),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
