/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as what a guest does to a board: first which board and devices (rig.h), then accesses
 * to ports, memory, configuration space and BARs, by number or by place; time; saving and loading;
 * what people do to a machine.  An operation is the low four bits of a byte (enum op), the rest is
 * a parameter.
 *
 * What was saved can be loaded; all else is for the sanitizers to say.
 */
#include <unistd.h>
#include "back/display/display.h"
#include "base/err.h"
#include "rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define DRAWS 3

enum op {
	OP_PORT_WRITE,
	OP_PORT_READ,
	OP_MEM_WRITE,
	OP_MEM_READ,
	OP_CONFIG_WRITE,
	OP_CONFIG_READ,
	OP_BAR_WRITE,
	OP_BAR_READ,
	OP_PAIR,
	OP_REPEAT,
	OP_POKE,
	OP_FWCFG,
	OP_APIC,
	OP_TIME,
	OP_SAVE,
	OP_OTHER,
};

/* Eight ports each. */
static const uint16_t ports[32] = {
	0x20,  0x40,  0x60,  0x70,  0x80,  0x90,  0xa0,	 0xc0,	0xc8,  0xd0,  0xd8,
	0x00,  0x08,  0x170, 0x1f0, 0x370, 0x3f0, 0x1ce, 0x3b0, 0x3c0, 0x3c8, 0x3d0,
	0x3d8, 0x3f8, 0x402, 0x4d0, 0x510, 0x600, 0xb0,	 0xcf8, 0xf0,  0x608,
};

static const uint64_t places[16] = {
	0xfec00000, 0xfec10000, 0xfed00000, 0xfee00000, 0xa0000,  0xb8000, 0xc0000,    0xf0000,
	0xfffe0000, 0xb0000000, 0xfeb00000, 0xfea00000, 0x1fffc0, 0x80000, 0xfed1c000, 0x100000000,
};

static uint16_t port(struct input *in)
{
	unsigned v = (unsigned)take(in, 1);

	return ports[v >> 3] + (v & 7);
}

static gpa place(struct input *in)
{
	unsigned v = (unsigned)take(in, 3);

	return GPA(places[v & 15] + (v >> 4));
}

static void port_access(struct rig *r, struct input *in, uint16_t at, unsigned arg, bool write)
{
	unsigned size = 1u << (arg & 3) % 3;

	if (write)
		pio_write(r->mem, at, (uint32_t)take(in, size), size);
	else
		(void)pio_read(r->mem, at, size);
}

static void mem_access(struct rig *r, struct input *in, gpa at, unsigned arg, bool write)
{
	unsigned size = arg & 4 ? 1 + (unsigned)take(in, 1) % 8 : 1u << (arg & 3);

	if (write)
		mem_write(r->mem, at, take(in, arg & 8 ? 1 : size), size);
	else
		(void)mem_read(r->mem, at, size);
}

static uint16_t function(struct rig *r, struct input *in, unsigned arg)
{
	return arg & 8 || !r->n_functions ? (uint16_t)take(in, 2)
					  : r->functions[take(in, 1) % r->n_functions];
}

/* Bit 2 of arg: by the memory-mapped way, where all 4 KiB can be reached. */
static void config_access(struct rig *r, struct input *in, unsigned arg, bool write)
{
	uint16_t fn = function(r, in, arg);
	unsigned size = 1u << (arg & 3) % 3, reg = (unsigned)take(in, arg & 4 ? 2 : 1);

	if (arg & 4)
		mem_access(r, in, GPA(0xb0000000 + ((uint64_t)fn << 12) + reg % 4096), arg & 3,
			   write);
	else if (write)
		rig_config_write(r, fn, reg, (uint32_t)take(in, size), size);
	else
		(void)rig_config_read(r, fn, reg, size);
}

static void bar_access(struct rig *r, struct input *in, unsigned arg, bool write)
{
	uint16_t fn = function(r, in, 0);
	unsigned what = (unsigned)take(in, 1), off = (unsigned)take(in, 2);
	unsigned reg = 0x10 + 4 * ((what & 7) % 6);
	uint32_t bar = rig_config_read(r, fn, reg, 4);
	uint64_t base = bar & ~15u;

	if (bar & 1) {
		port_access(r, in, (uint16_t)((bar & ~3u) + off), arg, write);
		return;
	}
	if ((bar & 6) == 4)
		base |= (uint64_t)rig_config_read(r, fn, reg + 4, 4) << 32;
	off = what & 8 ? off << 8 : off;
	mem_access(r, in, GPA(base + off), arg, write);
}

/* Chips behind an index and a data port; an index of 16 bits has data of 16 bits. */
static const struct {
	uint16_t index, data;
	bool wide;
} pairs[] = {
	{0x1ce, 0x1cf, true},  {0x3c4, 0x3c5, false}, {0x3ce, 0x3cf, false}, {0x3d4, 0x3d5, false},
	{0x3c0, 0x3c0, false}, {0x3c8, 0x3c9, false}, {0x70, 0x71, false},   {0x64, 0x60, false},
	{0x43, 0x40, false},   {0x20, 0x21, false},
};

/* A flash memory's command, at an address of its last block or any. */
static void flash(struct rig *r, struct input *in, unsigned index)
{
	static const uint8_t commands[] = {0x10, 0x20, 0x40, 0x50, 0x60, 0x70, 0x90, 0x98,
					   0xd0, 0xe8, 0xf0, 0xff, 0x01, 0x00, 0x2f, 0x80};
	gpa at = GPA(0xfffe0000 + (take(in, 2) << 1));

	mem_write(r->mem, at, index & 0x80 ? index : commands[index & 15], index & 0x40 ? 4 : 1);
	if (index & 0x20)
		mem_write(r->mem, at, take(in, 1), 1);
	else
		(void)mem_read(r->mem, at, 1u << (index >> 4 & 1));
}

/* One register of a chip, written; or one of those in memory: I/O APIC, local APIC, HPET. */
static void pair(struct rig *r, struct input *in, unsigned arg)
{
	unsigned index = (unsigned)take(in, 1);

	if (arg < ARRAY_SIZE(pairs)) {
		index &= pairs[arg].wide ? 15 : 255;
		pio_write(r->mem, pairs[arg].index, index, pairs[arg].wide ? 2 : 1);
		pio_write(r->mem, pairs[arg].data, (uint32_t)take(in, pairs[arg].wide ? 2 : 1),
			  pairs[arg].wide ? 2 : 1);
		(void)pio_read(r->mem, pairs[arg].data, pairs[arg].wide ? 2 : 1);
	} else if (arg < 12) {
		gpa base = GPA(arg == 10 ? 0xfec00000 : 0xfec10000);

		mem_write(r->mem, base, index & 63, 4);
		mem_write(r->mem, GPA(base.v + 16), take(in, 4), 4);
		(void)mem_read(r->mem, GPA(base.v + 16), 4);
	} else if (arg == 12) {
		vm_host_ops.apic_write(r->vm, 0, (index & 63) << 4, (uint32_t)take(in, 4), 4);
		(void)vm_host_ops.apic_read(r->vm, 0, (index & 63) << 4, 4);
	} else if (arg == 13) {
		mem_write(r->mem, GPA(0xfed00000 + index % 0x180 * 4), take(in, 4), 4);
		(void)mem_read(r->mem, GPA(0xfed00000 + index % 0x180 * 4), 8);
	} else {
		flash(r, in, index);
	}
}

static void repeat(struct rig *r, struct input *in, unsigned arg)
{
	uint16_t at = port(in);
	unsigned n = (unsigned)take(in, 1), size = 1u << (arg & 3) % 3;

	for (unsigned i = 0; i < 4 * n; i++)
		if (arg & 8)
			(void)pio_read(r->mem, at, size);
		else
			pio_write(r->mem, at, i, size);
}

static void poke(struct rig *r, struct input *in)
{
	uint32_t at = (uint32_t)take(in, 3) % (2 * MiB);

	for (unsigned n = (unsigned)take(in, 1) % 64; n; n--)
		mem_write(r->mem, GPA(at++), take(in, 1), 1);
}

static void fw_cfg(struct rig *r, struct input *in)
{
	uint32_t at = 0x20000 + 16 * (uint32_t)take(in, 1);
	uint8_t q[16];

	put_le32(q, __builtin_bswap32((uint32_t)(take(in, 1) << 16 | take(in, 1))));
	put_le32(q + 4, __builtin_bswap32((uint32_t)take(in, 3)));
	put_le64(q + 8, __builtin_bswap64(take(in, 4)));
	mem_dma_write(r->mem, GPA(at), q, sizeof(q));
	pio_write(r->mem, 0x514, 0, 4);
	pio_write(r->mem, 0x518, __builtin_bswap32(at), 4);
}

static void apic(struct rig *r, struct input *in, unsigned arg)
{
	const struct x86_host_ops *h = &vm_host_ops;
	uint64_t v = take(in, 4);

	switch (arg & 7) {
	case 0:
		h->apic_rdmsr(r->vm, 0, 0x800 + (v & 0x3f), &v);
		break;
	case 1:
		h->apic_wrmsr(r->vm, 0, v & 1 ? 0x6e0 : 0x800 + (v >> 1 & 0x3f), take(in, 8));
		break;
	case 2:
		h->apic_wrmsr(r->vm, 0, 0x1b, v & 1 ? 0xfee00000 | (v & 0xf00) : v << 8);
		break;
	case 3:
		h->tpr_set(r->vm, 0, v & 15);
		break;
	case 4:
		h->pv_eoi(r->vm, 0, v);
		break;
	case 5:
		h->pv_ipi(r->vm, v, take(in, 8), (uint32_t)take(in, 1), (uint32_t)take(in, 4));
		break;
	case 6:
		h->pv_kick(r->vm, (uint32_t)v);
		break;
	default:
		h->intr_ack(r->vm, 0);
	}
}

/* One device, or all; bit 3: damaged. */
static void save_and_load(struct rig *r, struct input *in, unsigned arg)
{
	struct dev *one = rig_device(r, (unsigned)take(in, 1));

	lock_take(&r->vm->dev_lock);
	for (struct dev *d = r->vm->env.devs; d; d = d->next) {
		struct state_buf s = {0};
		size_t used = 0;

		if (d != one && !(arg & 1))
			continue;
		d->ops->quiesce(d);
		state_save(&s, d->ops->state, d);
		for (unsigned i = 0; i < (arg & 8 ? 1 + (arg >> 1 & 3) : 0); i++)
			s.data[take(in, 3) % s.len] = (uint8_t)take(in, 1);
		if ((state_load(d->ops->state, d, s.data, s.len, &used, NULL) || used != s.len) &&
		    !(arg & 8))
			abort();
		free(s.data);
	}
	lock_drop(&r->vm->dev_lock);
}

/* The peer of the serial line speaks, and listens. */
static void serial(struct rig *r, struct input *in)
{
	uint8_t text[64];
	size_t n = (size_t)take(in, 1) % sizeof(text);

	memset(text, 'a' + (int)(n & 15), sizeof(text));
	if (write(r->peer, text, n) >= 0)
		loop_once(r->loop, 0);
	while (read(r->peer, text, sizeof(text)) > 0)
		;
}

/* A screen may be large: a few times for each input. */
static void draw(struct rig *r)
{
	struct surface s = {0};

	if (r->draws++ >= DRAWS)
		return;
	lock_take(&r->vm->dev_lock);
	for (struct display *d = r->vm->env.displays; d; d = d->next)
		d->ops->draw(d->opaque, &s);
	lock_drop(&r->vm->dev_lock);
	surface_free(&s);
}

static void frame(struct rig *r, struct input *in)
{
	static const uint8_t zero[2048];
	struct netdev *nd = &r->nets[take(in, 1) % RIG_BACKS];
	struct net_hdr h = {0};
	struct iovec iov = {(void *)zero, 60 + (size_t)take(in, 1) * 7};

	lock_take(&r->vm->dev_lock);
	if (nd->attached)
		net_deliver(nd, &h, &iov, 1, iov.iov_len);
	lock_drop(&r->vm->dev_lock);
}

static void other(struct rig *r, struct input *in, unsigned arg)
{
	int keys[2];

	switch (arg) {
	case 0:
		lock_take(&r->vm->dev_lock);
		dev_reset_all(&r->vm->env);
		lock_drop(&r->vm->dev_lock);
		break;
	case 1:
		vm_reset(r->vm);
		loop_once(r->loop, 0);
		break;
	case 2:
		vm_powerdown(r->vm);
		loop_once(r->loop, 0);
		break;
	case 3:
		keys[0] = vm_find_key("a");
		keys[1] = vm_find_key("f12");
		(void)vm_send_keys(r->vm, keys, 1 + (take(in, 1) & 1), 10, NULL);
		break;
	case 4:
	case 5:
		serial(r, in);
		break;
	case 6:
	case 7:
		draw(r);
		break;
	case 8:
		frame(r, in);
		break;
	case 9:
	case 10:
		port_access(r, in, (uint16_t)take(in, 2), arg, arg & 1);
		break;
	default:
		loop_once(r->loop, 0);
	}
}

static void step(struct rig *r, struct input *in)
{
	unsigned op = (unsigned)take(in, 1), arg = op >> 4;
	bool write = !(op & 1); /* of those that come in pairs */

	switch ((enum op)(op & 15)) {
	case OP_PORT_WRITE:
	case OP_PORT_READ:
		port_access(r, in, port(in), arg, write);
		break;
	case OP_MEM_WRITE:
	case OP_MEM_READ:
		mem_access(r, in, place(in), arg, write);
		break;
	case OP_CONFIG_WRITE:
	case OP_CONFIG_READ:
		config_access(r, in, arg, write);
		break;
	case OP_BAR_WRITE:
	case OP_BAR_READ:
		bar_access(r, in, arg, write);
		break;
	case OP_PAIR:
		pair(r, in, arg);
		break;
	case OP_REPEAT:
		repeat(r, in, arg);
		break;
	case OP_POKE:
		poke(r, in);
		break;
	case OP_FWCFG:
		fw_cfg(r, in);
		break;
	case OP_APIC:
		apic(r, in, arg);
		break;
	case OP_TIME:
		rig_time(r, INT64_C(1) << (2 * arg));
		break;
	case OP_SAVE:
		save_and_load(r, in, arg);
		break;
	case OP_OTHER:
		other(r, in, arg);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, data + size};
	struct rig r;

	if (size < 4 || !rig_open(&r, &in))
		return 0;
	for (unsigned n = 0; in.p < in.end && n < 500; n++)
		step(&r, &in);
	rig_time(&r, 1000000);
	rig_close(&r);
	return 0;
}
