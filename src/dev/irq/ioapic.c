/* SPDX-License-Identifier: Apache-2.0 */
/*
 * I/O APIC (82093AA 3.0, ICH9 13.5).  Guarded by the lock of the local APICs.
 *
 *   0x00 IOREGSEL   index, 8 bits
 *   0x10 IOWIN      the register chosen: 0 ID, 1 version, 2 arbitration ID, 0x10+2n/0x11+2n
 *                   redirection of pin n
 *   0x40 EOI        write a vector: as if its EOI had been broadcast
 *
 * A level-triggered pin sends when its line is high and Remote IRR clear, sets Remote IRR, and
 * sends again after the EOI when the line is still high.  An edge on a masked pin is lost
 * (82093AA 3.2.4, bit 16).  Lines carry "asserted", so the polarity bit changes nothing.
 */
#include "dev/irq/ioapic.h"

#include <stdlib.h>

#include "dev/irq/apic_int.h"

#define REDIR_LOGICAL BIT(11)
#define REDIR_STATUS BIT(12)
#define REDIR_REMOTE_IRR BIT(14)
#define REDIR_LEVEL BIT(15)
#define REDIR_MASKED BIT(16)
#define REDIR_WRITABLE (UINT64_C(0xff) << 56 | 0x1afff)

struct ioapic {
	struct dev dev;
	struct apics *apics;
	struct ioapic *next; /* of apics->ioapic */
	uint64_t redir[IOAPIC_PINS];
	uint32_t lines; /* present levels */
	uint32_t id;
	uint8_t select;
	struct io_region io;
	struct mem_map *map;
};

static void pin_send(struct ioapic *io, unsigned n)
{
	uint64_t r = io->redir[n];
	struct apic_msg m = { .dest = (uint32_t)(r >> 56), .mode = (r >> 8) & 7,
			      .vector = (uint8_t)r, .logical = r & REDIR_LOGICAL,
			      .level = r & REDIR_LEVEL };

	if (r & REDIR_LEVEL)
		io->redir[n] |= REDIR_REMOTE_IRR;
	apics_deliver(io->apics, &m);
}

/* pin_level_check - send a level-triggered pin that waits. */
static void pin_level_check(struct ioapic *io, unsigned n)
{
	uint64_t r = io->redir[n];

	if ((r & REDIR_LEVEL) && !(r & (REDIR_MASKED | REDIR_REMOTE_IRR)) && (io->lines >> n & 1))
		pin_send(io, n);
}

static void ioapic_set(void *opaque, int n, bool level)
{
	struct ioapic *io = opaque;
	uint32_t bit = 1u << n;
	bool rose;

	lock_take(&io->apics->lock);
	rose = level && !(io->lines & bit);
	io->lines = level ? io->lines | bit : io->lines & ~bit;
	if (io->redir[n] & REDIR_LEVEL)
		pin_level_check(io, (unsigned)n);
	else if (rose && !(io->redir[n] & REDIR_MASKED))
		pin_send(io, (unsigned)n);
	lock_drop(&io->apics->lock);
}

struct irq_line ioapic_input(struct ioapic *io, unsigned pin)
{
	bug_on(pin >= IOAPIC_PINS);
	return (struct irq_line){ .set = ioapic_set, .opaque = io, .n = (int)pin };
}

static void eoi_one(struct ioapic *io, uint8_t vector)
{
	for (unsigned n = 0; n < IOAPIC_PINS; n++) {
		uint64_t r = io->redir[n];

		if (!(r & REDIR_LEVEL) || !(r & REDIR_REMOTE_IRR) || (uint8_t)r != vector)
			continue;
		io->redir[n] &= ~REDIR_REMOTE_IRR;
		pin_level_check(io, n);
	}
}

void ioapic_eoi(struct ioapic *io, uint8_t vector)
{
	for (; io; io = io->next)
		eoi_one(io, vector);
}

static uint32_t reg_read(const struct ioapic *io)
{
	unsigned n = io->select - 0x10u;

	switch (io->select) {
	case 0:
	case 2:
		return io->id;
	case 1:
		return (IOAPIC_PINS - 1) << 16 | 0x20;
	case 0x10 ... 0x10 + 2 * IOAPIC_PINS - 1:
		return (uint32_t)(io->redir[n / 2] >> (n % 2 * 32));
	default:
		return 0;
	}
}

static void redir_write(struct ioapic *io, unsigned n, bool high, uint32_t val)
{
	uint64_t r = bits_set(io->redir[n], high ? 63 : 31, high ? 32 : 0, val);

	r = (r & REDIR_WRITABLE) | (io->redir[n] & REDIR_REMOTE_IRR);
	if (!(r & REDIR_LEVEL)) /* how kernels clear Remote IRR of a pin without an EOI register */
		r &= ~REDIR_REMOTE_IRR;
	io->redir[n] = r;
	pin_level_check(io, n);
}

static uint64_t ioapic_read(void *opaque, uint64_t off, unsigned size)
{
	struct ioapic *io = opaque;

	switch (off) {
	case 0x00:
		return io->select;
	case 0x10:
		return reg_read(io);
	default:
		return 0;
	}
}

static void ioapic_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
	struct ioapic *io = opaque;
	unsigned n = io->select - 0x10u;

	switch (off) {
	case 0x00:
		io->select = (uint8_t)val;
		break;
	case 0x10:
		if (io->select == 0)
			io->id = (uint32_t)val & 0x0f000000;
		else if (io->select >= 0x10 && n < 2 * IOAPIC_PINS)
			redir_write(io, n / 2, n % 2, (uint32_t)val);
		break;
	case 0x40:
		eoi_one(io, (uint8_t)val);
		break;
	}
}

static const struct io_ops ioapic_io_ops = {
	.read = ioapic_read, .write = ioapic_write, .min = 4, .max = 4,
};

static void ioapic_reset(struct dev *d)
{
	struct ioapic *io = container_of(d, struct ioapic, dev);

	lock_take(&io->apics->lock);
	for (unsigned n = 0; n < IOAPIC_PINS; n++)
		io->redir[n] = REDIR_MASKED;
	io->id = 0;
	io->select = 0;
	lock_drop(&io->apics->lock);
}

static void ioapic_unrealize(struct dev *d)
{
	struct ioapic *io = container_of(d, struct ioapic, dev);

	for (struct ioapic **p = &io->apics->ioapic; *p; p = &(*p)->next) {
		if (*p != io)
			continue;
		*p = io->next;
		break;
	}
	mem_unmap(d->env->mem, io->map);
	free(io);
}

static int ioapic_post_load(void *obj, struct err **e)
{
	struct ioapic *io = obj;

	io->lines &= BIT(IOAPIC_PINS) - 1;
	io->id &= 0x0f000000;
	for (unsigned n = 0; n < IOAPIC_PINS; n++)
		io->redir[n] &= REDIR_WRITABLE | REDIR_REMOTE_IRR;
	return 0;
}

static const struct state_field ioapic_fields[] = {
	STATE_ARRAY(struct ioapic, redir, STATE_U64),
	STATE_FIELD(struct ioapic, lines, STATE_U32),
	STATE_FIELD(struct ioapic, id, STATE_U32),
	STATE_FIELD(struct ioapic, select, STATE_U8),
	STATE_END,
};

static const struct state_desc ioapic_state = {
	.name = "ioapic", .version = 1, .fields = ioapic_fields, .post_load = ioapic_post_load,
};

static const struct dev_ops ioapic_ops = {
	.name = "ioapic", .unrealize = ioapic_unrealize, .reset = ioapic_reset,
	.quiesce = dev_quiesce_none, .state = &ioapic_state,
};

static struct ioapic *create(struct dev_env *env, struct apics *apics, uint64_t base,
			     const char *id)
{
	struct ioapic *io = xzalloc(sizeof(*io));

	io->apics = apics;
	io->io = (struct io_region){ .name = "ioapic", .ops = &ioapic_io_ops, .opaque = io,
		.lock = &apics->lock, .size = PAGE_SIZE };
	io->map = mem_map_io(env->mem, GPA(base), &io->io, 0);
	dev_add(&io->dev, &ioapic_ops, id, env);
	ioapic_reset(&io->dev);
	io->next = apics->ioapic;
	apics->ioapic = io;
	return io;
}

struct ioapic *ioapic_create(struct dev_env *env, struct apics *apics)
{
	return create(env, apics, IOAPIC_BASE, "ioapic");
}

struct ioapic *ioapic_create_second(struct dev_env *env, struct apics *apics)
{
	return create(env, apics, IOAPIC2_BASE, "ioapic2");
}
