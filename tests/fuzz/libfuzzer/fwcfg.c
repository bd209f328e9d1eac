/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a guest's accesses to fw_cfg: an operation and its operands, again and again.  What
 * the device answers is compared with a model of a few lines; where the model does not know
 * (accesses of odd sizes, failed requests), the next selection makes both agree again.
 */
#include <stdlib.h>
#include <string.h>
#include "base/base.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/loop.h"
#include "dev/fwcfg.h"
#include "mem/mem.h"
#include "machine.h"

#define RAM_SIZE (1 * MiB)
#define HOLE 0x80000 /* one page that is no RAM */
#define FILES 3

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct rig {
	struct dev_env env;
	struct lock lock;
	struct fwcfg *f;
	bool known; /* do these say where the device is? */
	uint16_t key;
	uint32_t off;
	struct file {
		uint16_t key;
		uint32_t len;
		uint8_t data[9000];
	} files[FILES];
};

static void rig_init(struct rig *r)
{
	static const char *const names[FILES] = {"a", "etc/b", "c"};
	static const uint32_t lens[FILES] = {0, 5, 9000};

	memset(r, 0, sizeof(*r));
	lock_init(&r->lock, LOCK_RANK_MACHINE, "machine");
	r->env.lock = &r->lock;
	r->env.log = log_create();
	if (mem_create(&r->env.mem, RAM_SIZE, r->env.log, NULL))
		abort();
	mem_ram_alloc(r->env.mem, RAM_SIZE);
	mem_map_ram(r->env.mem, GPA(0), HOLE, 0, 0);
	mem_map_ram(r->env.mem, GPA(HOLE + 4096), RAM_SIZE - HOLE - 4096, HOLE + 4096, 0);
	r->f = fwcfg_create(&r->env);
	for (unsigned i = 0; i < FILES; i++) {
		struct file *f = &r->files[i];

		f->len = lens[i];
		for (uint32_t k = 0; k < f->len; k++)
			f->data[k] = (uint8_t)(k * 7 + i);
		fwcfg_add_file(r->f, names[i], f->data, f->len);
	}
	/* By name: "a", "c", "etc/b". */
	r->files[0].key = 0x20;
	r->files[2].key = 0x21;
	r->files[1].key = 0x22;
}

static void rig_fini(struct rig *r)
{
	lock_take(&r->lock);
	dev_destroy_all(&r->env);
	lock_drop(&r->lock);
	mem_destroy(r->env.mem);
	log_destroy(r->env.log);
	lock_fini(&r->lock);
}

/* model_byte - what is at an offset of the selected item; false: not ours to know. */
static bool model_byte(const struct rig *r, uint32_t off, uint8_t *b)
{
	*b = 0;
	if (!r->known)
		return false;
	for (unsigned i = 0; i < FILES; i++)
		if (r->files[i].key == r->key)
			*b = off < r->files[i].len ? r->files[i].data[off] : 0;
	/* The directory and the fixed keys are said elsewhere. */
	return r->key >= 0x20;
}

static void advance(struct rig *r, uint32_t n)
{
	r->off = n > UINT32_MAX - r->off ? UINT32_MAX : r->off + n;
}

static void select_key(struct rig *r, uint16_t key)
{
	pio_write(r->env.mem, 0x510, key, 2);
	r->key = key;
	r->off = 0;
	r->known = true;
}

static void read_byte(struct rig *r)
{
	uint8_t got = (uint8_t)pio_read(r->env.mem, 0x511, 1), want;

	if (model_byte(r, r->off, &want) && got != want)
		abort();
	advance(r, 1);
}

/* check_read - a request that succeeded has put the right bytes there. */
static void check_read(struct rig *r, uint64_t at, uint64_t addr, uint32_t len)
{
	uint8_t want, got;

	for (uint32_t i = 0; i < len; i++) {
		if (addr + i >= at && addr + i < at + 16)
			continue; /* over the request */
		if (mem_dma_read(r->env.mem, GPA(addr + i), &got, 1))
			abort();
		if (model_byte(r, r->off + i < r->off ? UINT32_MAX : r->off + i, &want) &&
		    want != got)
			abort();
	}
}

static void dma(struct rig *r, struct input *in)
{
	uint32_t control = (uint32_t)take(in, 4), len = (uint32_t)take(in, 4), result;
	uint64_t addr = take(in, 8), at = take(in, 8);
	uint8_t req[16];
	bool lost;

	/* Mostly where there is something. */
	if (control & BIT(5))
		addr &= 2 * RAM_SIZE - 1;
	if (control & BIT(6))
		at &= 2 * RAM_SIZE - 1;
	if (control & BIT(7))
		len &= 0x7fff;
	put_le32(req, __builtin_bswap32(control));
	put_le32(req + 4, __builtin_bswap32(len));
	put_le64(req + 8, __builtin_bswap64(addr));
	lost = mem_dma_write(r->env.mem, GPA(at), req, sizeof(req));
	pio_write(r->env.mem, 0x514, __builtin_bswap32((uint32_t)(at >> 32)), 4);
	pio_write(r->env.mem, 0x518, __builtin_bswap32((uint32_t)at), 4);
	if (lost || mem_dma_read(r->env.mem, GPA(at), &result, sizeof(result))) {
		r->known = r->known && lost; /* what is no request changes nothing */
		return;
	}
	result = __builtin_bswap32(result);
	if (control & BIT(3)) {
		r->key = (uint16_t)(control >> 16);
		r->off = 0;
	}
	if (result && result != 1 && r->known)
		abort();
	if (result) {
		r->known = false;
		return;
	}
	if (control & BIT(1))
		check_read(r, at, addr, len);
	else if (control & BIT(4) && r->known)
		abort(); /* nothing can be written */
	if (control & (BIT(1) | BIT(2)))
		advance(r, len);
}

static void odd_access(struct rig *r, struct input *in)
{
	uint8_t what = (uint8_t)take(in, 1);
	uint16_t port = 0x510 + (what & 15);
	unsigned size = 1u << (what >> 4 & 3) % 3;

	if (what & 0x80)
		pio_write(r->env.mem, port, (uint32_t)take(in, 4), size);
	else
		pio_read(r->env.mem, port, size);
	r->known = false;
}

static void save_and_load(struct rig *r)
{
	struct state_buf b = {0};
	const struct state_desc *s = r->env.devs->ops->state;
	size_t used;

	state_save(&b, s, r->env.devs);
	if (state_load(s, r->env.devs, b.data, b.len, &used, NULL) || used != b.len)
		abort();
	free(b.data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, data + size};
	struct rig *r = malloc(sizeof(*r));

	rig_init(r);
	while (in.p < in.end) {
		switch (take(&in, 1) % 6) {
		case 0:
			select_key(r, (uint16_t)take(&in, 2));
			break;
		case 1:
			read_byte(r);
			break;
		case 2:
			dma(r, &in);
			break;
		case 3:
			odd_access(r, &in);
			break;
		case 4:
			save_and_load(r);
			break;
		default:
			lock_take(&r->lock);
			dev_reset_all(&r->env);
			lock_drop(&r->lock);
			r->key = 0;
			r->off = 0;
			r->known = true;
		}
	}
	rig_fini(r);
	free(r);
	return 0;
}
