/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PIIX3 IDE (Intel 82371SB, 290550, 2.4 and 3.3; ATA/ATAPI-5 for the register protocol).
 *
 *   0x40-0x43  IDETIM of either channel: 15 decode enable; the timings are kept
 *   BAR 4      bus master registers, 8 for each channel:
 *     0    command: 3 to memory, 0 start
 *     2    status: 6, 5 drive can DMA (kept), 2 interrupt, 1 error, 0 active
 *     4-7  address of the table of PRDs
 *
 * Decoding is enabled at reset, unlike in the chip, for firmware that does not know of it (OVMF).
 * Channel n answers at 0x1f0 and 0x3f6 with IRQ 14, or 0x170 and 0x376 with IRQ 15, while it is
 * decoded.
 *
 * A write to a register reaches both drives of a channel; each has its register file (d->cmd.r).
 * Reads come from the drive that DEVICE selects; of the other, when that is absent, device 0
 * answers for 1 with a status of 0.  A channel without drives reads as zeros: BSY must not be seen
 * there (OVMF would wait for it to go), and no register keeps what is written.
 *
 * BSY is shown while a command is with the block layer, DRQ in a data block or while DMA waits for
 * its engine.  INTRQ is a latch of the drive: status reads, new commands and resets clear it; nIEN
 * hides it.
 *
 * DMA: a table of 8-byte PRDs, address 31:1, bytes 15:1 (0: 64 KiB), 31 of the second dword the
 * last one; it does not cross 64 KiB.  When it is shorter than the data, the engine stops and the
 * drive waits for it to be started anew, as hardware does; data outside of RAM end the command with
 * an error in both.
 *
 * Threads: everything with env->lock held.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "dev/ata/ata.h"
#include "dev/irq/gsi.h"
#include "dev/pci/pci.h"

#define IDETIM 0x40
#define PRDS_MAX (64 * 1024 / 8)

#define BM_START 0x01
#define BM_TO_MEMORY 0x08
#define BM_ACTIVE 0x01
#define BM_ERROR 0x02
#define BM_INTERRUPT 0x04

#define CTL_NIEN 0x02
#define CTL_SRST 0x04
#define CTL_HOB 0x80

struct channel {
	struct piix_ide *ide;
	unsigned n;
	struct ata_bus bus;
	uint8_t control, device; /* DEVICE's bit 4 selects */
	bool intrq;
	uint8_t bm_command, bm_status;
	uint32_t bm_table;
	struct irq_line wire;
	struct io_region command_io, control_io;
	struct mem_map *command_map, *control_map;
};

struct piix_ide {
	struct pci_dev pci;
	struct channel ch[2];
	struct io_region bm;
};

static const struct {
	uint16_t command, control;
	uint8_t irq;
} places[2] = {
	{0x1f0, 0x3f6, 14},
	{0x170, 0x376, 15},
};

static struct ata_dev *selected(const struct channel *ch)
{
	return ch->bus.unit[ch->device >> 4 & 1];
}

static void irq_update(struct channel *ch)
{
	irq_set(&ch->wire, ch->intrq && !(ch->control & CTL_NIEN));
}

/* interrupt - of a drive: only the selected one drives INTRQ. */
static void interrupt(struct channel *ch, struct ata_dev *d)
{
	if (d != selected(ch))
		return;
	ch->intrq = true;
	if (!(ch->control & CTL_NIEN))
		ch->bm_status |= BM_INTERRUPT;
	irq_update(ch);
}

static void intrq_clear(struct channel *ch)
{
	ch->intrq = false;
	irq_update(ch);
}

/*
 * What a drive asks its host.
 */
static void drq(void *host, struct ata_cmd *c, bool irq)
{
	struct channel *ch = host;

	c->r.status = ATA_DRDY | ATA_DSC | ATA_DRQ;
	if (irq)
		interrupt(ch, c->dev);
}

/* engine_go - the engine runs and a drive waits for it. */
static void engine_go(struct channel *ch)
{
	struct ata_dev *d = selected(ch);

	if (!d || !(ch->bm_status & BM_ACTIVE) || ata_dev_cmd(d)->phase != ATA_DMA_WAIT ||
	    !pci_dev_is_master(&ch->ide->pci))
		return;
	ata_dev_cmd(d)->r.status = ATA_BSY | ATA_DRDY;
	ata_dma_go(ata_dev_cmd(d));
}

static void dma(void *host, struct ata_cmd *c)
{
	c->r.status = ATA_DRDY | ATA_DSC | ATA_DRQ;
	/* A new table position: what was moved before came by another table or another start. */
	engine_go(host);
}

static int sg_next(void *host, struct ata_cmd *c, uint64_t off, uint64_t *addr, uint64_t *len)
{
	struct channel *ch = host;
	struct mem *mem = ch->ide->pci.dev.env->mem;

	if (off < c->sg_at) {
		c->sg_at = c->sg_table;
		c->sg_entry = 0;
	}
	for (; c->sg_entry < PRDS_MAX; c->sg_entry++) {
		uint32_t at = (ch->bm_table & 0xffff0000) |
			      ((ch->bm_table + 8 * c->sg_entry) & 0xffff);
		const uint8_t *prd = mem_dma_ptr(mem, GPA(at), 8);
		uint32_t flags, n;

		if (!prd)
			return -EFAULT;
		flags = get_le32(prd + 4);
		n = flags & 0xfffe ? flags & 0xfffe : 0x10000;
		if (off < c->sg_at + n) {
			*addr = (get_le32(prd) & ~1u) + (off - c->sg_at);
			*len = c->sg_at + n - off;
			return 0;
		}
		if (flags & 0x80000000u)
			return -ENOSPC;
		c->sg_at += n;
	}
	return -ENOSPC;
}

static void dma_fault(void *host, struct ata_cmd *c, int rc)
{
	struct channel *ch = host;

	ch->bm_status &= (uint8_t)~BM_ACTIVE;
	if (rc == -ENOSPC) { /* it waits; the next table goes on from here */
		c->phase = ATA_DMA_WAIT;
		c->r.status = ATA_DRDY | ATA_DSC | ATA_DRQ;
		return;
	}
	ch->bm_status |= BM_ERROR;
	ata_cmd_reject(c);
}

static void done(void *host, struct ata_cmd *c)
{
	struct channel *ch = host;

	if (c->dma)
		ch->bm_status &= (uint8_t)~BM_ACTIVE;
	if (!ata_ends_quietly(c) && c->r.command != 0x08)
		interrupt(ch, c->dev);
}

static const struct ata_host piix_host = {
	.drq = drq,
	.dma = dma,
	.sg_next = sg_next,
	.dma_fault = dma_fault,
	.done = done,
};

/*
 * Command block.
 */
static uint64_t data_read(struct channel *ch, unsigned size)
{
	struct ata_dev *d = selected(ch);
	struct ata_cmd *c = d ? ata_dev_cmd(d) : NULL;
	uint64_t v = 0;
	unsigned n;

	if (!c || c->phase != ATA_PIO || c->out)
		return 0;
	n = c->drq_end - c->pos < size ? c->drq_end - c->pos : size;
	memcpy(&v, ata_pio_ptr(c), n);
	c->pos += n;
	if (unlikely(c->pos == c->drq_end)) {
		c->r.status = ATA_BSY | ATA_DRDY;
		ata_pio_done(c);
		if (c->phase == ATA_IDLE && c->r.status & ATA_BSY)
			c->r.status = ATA_DRDY | ATA_DSC;
		ata_poll(d);
	}
	return v;
}

static void data_write(struct channel *ch, uint64_t v, unsigned size)
{
	struct ata_dev *d = selected(ch);
	struct ata_cmd *c = d ? ata_dev_cmd(d) : NULL;
	unsigned n;

	if (!c || c->phase != ATA_PIO || !c->out)
		return;
	n = c->drq_end - c->pos < size ? c->drq_end - c->pos : size;
	memcpy(ata_pio_ptr(c), &v, n);
	c->pos += n;
	if (unlikely(c->pos == c->drq_end)) {
		c->r.status = ATA_BSY | ATA_DRDY;
		ata_pio_done(c);
		ata_poll(d);
	}
}

/* status - as the selected drive shows it. */
static uint8_t status(const struct channel *ch)
{
	struct ata_dev *d = selected(ch);

	if (!d)
		return 0;
	return ch->control & CTL_SRST ? ATA_BSY : ata_dev_cmd(d)->r.status;
}

static uint8_t reg_read(struct channel *ch, unsigned reg)
{
	struct ata_dev *d = selected(ch) ? selected(ch) : ch->bus.unit[0];
	unsigned hob = ch->control & CTL_HOB ? 8 : 0;
	const struct ata_regs *r;

	if (reg == 7) {
		uint8_t s = status(ch);

		intrq_clear(ch);
		return s;
	}
	if (!d)
		return 0;
	r = &ata_dev_cmd(d)->r;
	switch (reg) {
	case 1:
		return r->error;
	case 2:
		return (uint8_t)(r->count >> hob);
	case 6:
		return (uint8_t)((r->device & 0x4f) | (ch->device & 0x10) | 0xa0);
	default:
		return (uint8_t)(r->lba >> (8 * (reg - 3) + 3 * hob));
	}
}

/* shift_in - a register of two bytes takes a new one. */
static uint16_t shift_in(uint16_t old, uint8_t v)
{
	return (uint16_t)(old << 8 | v);
}

static void file_write(struct ata_regs *r, unsigned reg, uint8_t v)
{
	unsigned at = 8 * (reg - 3);

	switch (reg) {
	case 1:
		r->feature = shift_in(r->feature, v);
		break;
	case 2:
		r->count = shift_in(r->count, v);
		break;
	case 6:
		r->device = v;
		break;
	default:
		r->lba = bits_set(r->lba, at + 31, at + 24, r->lba >> at & 0xff);
		r->lba = bits_set(r->lba, at + 7, at, v);
	}
}

static void exec(struct channel *ch, struct ata_dev *d, uint8_t command)
{
	struct ata_cmd *c = ata_dev_cmd(d);

	if (c->phase == ATA_IO && command != 0x08)
		return; /* busy */
	if (c->phase != ATA_IDLE)
		ata_abort(d);
	c->queued = false;
	c->r.command = command;
	c->sg_table = 0;
	ata_exec(d, c, NULL);
}

static void command(struct channel *ch, uint8_t v)
{
	struct ata_dev *d = selected(ch);

	intrq_clear(ch);
	if (ch->control & CTL_SRST)
		return;
	if (v == 0x90) { /* both drives; device 0 reports */
		ch->device &= (uint8_t)~0x10;
		for (unsigned i = 2; i--;)
			if (ch->bus.unit[i])
				exec(ch, ch->bus.unit[i], v);
	} else if (d && !ata_is_queued(v)) {
		exec(ch, d, v);
	} else if (d) {
		exec(ch, d, 0x00); /* queued commands are for SATA: as NOP, aborted */
	}
	ata_poll(ch->bus.unit[0]);
	ata_poll(ch->bus.unit[1]);
}

static bool busy(const struct channel *ch)
{
	struct ata_dev *d = selected(ch);

	return d && ata_dev_cmd(d)->phase == ATA_IO;
}

static void reg_write(struct channel *ch, unsigned reg, uint8_t v)
{
	ch->control &= (uint8_t)~CTL_HOB;
	if (reg == 7) {
		command(ch, v);
		return;
	}
	if (busy(ch))
		return;
	if (reg == 6)
		ch->device = v;
	for (unsigned i = 0; i < 2; i++)
		if (ch->bus.unit[i] && ata_dev_cmd(ch->bus.unit[i])->phase != ATA_IO)
			file_write(&ata_dev_cmd(ch->bus.unit[i])->r, reg, v);
	if (reg == 6)
		engine_go(ch);
}

static uint64_t command_read(void *opaque, uint64_t off, unsigned size)
{
	struct channel *ch = opaque;
	uint64_t v = 0;

	if (!off)
		return data_read(ch, size);
	for (unsigned i = 0; i < size; i++)
		v |= (uint64_t)reg_read(ch, (unsigned)off + i) << (8 * i);
	return v;
}

static void command_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
	struct channel *ch = opaque;

	if (!off) {
		data_write(ch, val, size);
		return;
	}
	for (unsigned i = 0; i < size; i++)
		reg_write(ch, (unsigned)off + i, (uint8_t)(val >> (8 * i)));
}

static const struct io_ops command_ops = {
	.read = command_read,
	.write = command_write,
	.min = 1,
	.max = 4,
};

static uint64_t control_read(void *opaque, uint64_t off, unsigned size)
{
	return status(opaque);
}

/* soft_reset - SRST fell: both drives sign. */
static void soft_reset(struct channel *ch)
{
	for (unsigned i = 0; i < 2; i++)
		if (ch->bus.unit[i])
			ata_soft_reset(ch->bus.unit[i], false);
	ch->device = 0;
}

static void control_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
	struct channel *ch = opaque;
	uint8_t before = ch->control;

	ch->control = (uint8_t)val & (CTL_HOB | CTL_SRST | CTL_NIEN);
	if (~before & ch->control & CTL_SRST) {
		for (unsigned i = 0; i < 2; i++)
			if (ch->bus.unit[i])
				ata_abort(ch->bus.unit[i]);
		ch->bm_status &= (uint8_t)~BM_ACTIVE;
		ch->bm_command &= (uint8_t)~BM_START;
		ch->intrq = false;
	}
	if (before & ~ch->control & CTL_SRST)
		soft_reset(ch);
	irq_update(ch);
}

static const struct io_ops control_ops = {
	.read = control_read,
	.write = control_write,
	.min = 1,
	.max = 1,
};

/*
 * Bus master registers.
 */
static void bm_command(struct channel *ch, uint8_t v)
{
	bool was = ch->bm_command & BM_START, on = v & BM_START;
	struct ata_dev *d = selected(ch);

	ch->bm_command = v & (BM_START | BM_TO_MEMORY);
	if (on && !was) {
		ch->bm_status |= BM_ACTIVE;
		if (d && ata_dev_cmd(d)->phase == ATA_DMA_WAIT) {
			struct ata_cmd *c = ata_dev_cmd(d);

			c->sg_table = c->sg_at = c->done; /* the table begins here */
			c->sg_entry = 0;
			engine_go(ch);
			ata_poll(d);
		}
	} else if (was && !on) {
		if (d && (ch->bm_status & BM_ACTIVE) && ata_dev_cmd(d)->phase == ATA_IO &&
		    ata_dev_cmd(d)->dma) {
			ata_abort(d); /* its command is lost, as its data are */
			ata_dev_cmd(d)->r.status = ATA_DRDY | ATA_DSC | ATA_ERR;
			ata_dev_cmd(d)->r.error = ATA_ABRT;
		}
		ch->bm_status &= (uint8_t)~BM_ACTIVE;
	}
}

static uint64_t bm_read(void *opaque, uint64_t off, unsigned size)
{
	struct piix_ide *p = opaque;
	struct channel *ch = &p->ch[off >> 3 & 1];
	uint64_t v = (uint64_t)ch->bm_table << 32 | (uint64_t)ch->bm_status << 16 | ch->bm_command;

	return v >> (8 * (off & 7));
}

static void bm_write_byte(struct channel *ch, unsigned reg, uint8_t v)
{
	switch (reg) {
	case 0:
		bm_command(ch, v);
		break;
	case 2:
		ch->bm_status = (uint8_t)((v & 0x60) | (ch->bm_status & BM_ACTIVE) |
					  (ch->bm_status & ~v & (BM_INTERRUPT | BM_ERROR)));
		break;
	case 4:
	case 5:
	case 6:
	case 7:
		ch->bm_table = (uint32_t)bits_set(ch->bm_table, 8 * (reg - 4) + 7, 8 * (reg - 4),
						  reg == 4 ? v & 0xfc : v);
		break;
	}
}

static void bm_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
	struct piix_ide *p = opaque;

	for (unsigned i = size; i--;) /* the table's address before a start */
		bm_write_byte(&p->ch[(off + i) >> 3 & 1], (off + i) & 7, (uint8_t)(val >> (8 * i)));
}

static const struct io_ops bm_ops = {
	.read = bm_read,
	.write = bm_write,
	.min = 1,
	.max = 4,
};

/*
 * The function.
 */
static void decode(struct piix_ide *p)
{
	struct mem *mem = p->pci.dev.env->mem;
	bool io = p->pci.config[PCI_COMMAND] & PCI_COMMAND_IO;

	for (unsigned i = 0; i < 2; i++) {
		struct channel *ch = &p->ch[i];
		bool on = io && (p->pci.config[IDETIM + 2 * i + 1] & 0x80);

		pio_follow(mem, &ch->command_map, &ch->command_io, on, places[i].command);
		pio_follow(mem, &ch->control_map, &ch->control_io, on, places[i].control);
	}
}

static void written(struct pci_dev *d, unsigned off, unsigned size)
{
	struct piix_ide *p = container_of(d, struct piix_ide, pci);

	decode(p);
	for (unsigned i = 0; i < 2; i++) {
		engine_go(&p->ch[i]);
		ata_poll(selected(&p->ch[i]));
	}
}

static void piix_reset(struct dev *dev)
{
	struct piix_ide *p = container_of(dev, struct piix_ide, pci.dev);

	for (unsigned i = 0; i < 2; i++) {
		struct channel *ch = &p->ch[i];

		for (unsigned u = 0; u < 2; u++)
			if (ch->bus.unit[u])
				ata_soft_reset(ch->bus.unit[u], true);
		ch->control = ch->device = ch->bm_command = ch->bm_status = 0;
		ch->bm_table = 0;
		intrq_clear(ch);
	}
	pci_dev_reset(&p->pci);
	decode(p);
}

static void piix_unrealize(struct dev *dev)
{
	struct piix_ide *p = container_of(dev, struct piix_ide, pci.dev);
	struct mem *mem = dev->env->mem;

	for (unsigned i = 0; i < 2; i++) {
		pio_follow(mem, &p->ch[i].command_map, &p->ch[i].command_io, false, 0);
		pio_follow(mem, &p->ch[i].control_map, &p->ch[i].control_io, false, 0);
		ata_bus_fini(&p->ch[i].bus);
	}
	pci_dev_fini(&p->pci);
	free(p);
}

static int post_load(void *obj, struct err **e)
{
	struct piix_ide *p = obj;

	for (unsigned i = 0; i < 2; i++) {
		struct channel *ch = &p->ch[i];

		/* What this machine was doing is no more; the drives are loaded after this. */
		for (unsigned u = 0; u < 2; u++)
			if (ch->bus.unit[u])
				ata_abort(ch->bus.unit[u]);
		ch->control &= CTL_HOB | CTL_SRST | CTL_NIEN;
		ch->bm_command &= BM_START | BM_TO_MEMORY;
		ch->bm_status &= 0x60 | BM_INTERRUPT | BM_ERROR | BM_ACTIVE;
		ch->bm_table &= ~3u;
	}
	decode(p);
	return 0;
}

static const struct state_field channel_fields[] = {
	STATE_FIELD(struct channel, control, STATE_U8),
	STATE_FIELD(struct channel, device, STATE_U8),
	STATE_FIELD(struct channel, intrq, STATE_BOOL),
	STATE_FIELD(struct channel, bm_command, STATE_U8),
	STATE_FIELD(struct channel, bm_status, STATE_U8),
	STATE_FIELD(struct channel, bm_table, STATE_U32),
	STATE_END,
};

static const struct state_desc channel_state = {
	.name = "ide-channel",
	.version = 1,
	.fields = channel_fields,
};

static const struct state_field piix_fields[] = {
	PCI_DEV_STATE(struct piix_ide, pci),
	STATE_STRUCTS(struct piix_ide, ch, channel_state),
	STATE_END,
};

static const struct state_desc piix_state = {
	.name = "piix3-ide",
	.version = 1,
	.fields = piix_fields,
	.post_load = post_load,
};

static const struct pci_dev_ops piix_ops = {
	.dev = {.name = "piix3-ide",
		.unrealize = piix_unrealize,
		.reset = piix_reset,
		.quiesce = dev_quiesce_none,
		.state = &piix_state},
	.config_written = written,
};

static const struct pci_id piix_id = {
	.vendor = 0x8086,
	.device = 0x7010,
	.class = 0x0101,
	.prog_if = 0x80,
	.subvendor = 0x1af4,
	.subdevice = 0x1100,
};

static void channel_init(struct piix_ide *p, unsigned n, struct gsi *gsi)
{
	struct channel *ch = &p->ch[n];
	struct dev_env *env = p->pci.dev.env;

	ch->ide = p;
	ch->n = n;
	ch->wire = gsi_source(gsi, places[n].irq);
	ch->command_io = (struct io_region){
		.name = "ide", .ops = &command_ops, .opaque = ch, .lock = env->lock, .size = 8};
	ch->control_io = (struct io_region){.name = "ide-control",
					    .ops = &control_ops,
					    .opaque = ch,
					    .lock = env->lock,
					    .size = 1};
	ata_bus_init(&ch->bus, &p->pci, "ide", NULL, n, 2, &piix_host, ch);
}

struct piix_ide *piix_ide_create(struct pci_bus *bus, uint8_t devfn, struct gsi *gsi)
{
	struct piix_ide *p = xzalloc(sizeof(*p));

	pci_dev_init(&p->pci, bus, devfn, &piix_id, &piix_ops, "piix3-ide");
	put_le16(p->pci.config + PCI_STATUS, 0x0280);
	put_le32(p->pci.config + IDETIM, 0x80008000);
	put_le32(p->pci.wmask + IDETIM, 0xffffffff);
	p->bm = (struct io_region){.name = "ide-bus-master",
				   .ops = &bm_ops,
				   .opaque = p,
				   .lock = p->pci.dev.env->lock,
				   .size = 16};
	pci_dev_bar(&p->pci, 4, PCI_BAR_IO, &p->bm);
	pci_dev_ready(&p->pci);
	for (unsigned i = 0; i < 2; i++)
		channel_init(p, i, gsi);
	return p;
}

struct ata_bus *piix_ide_bus(struct piix_ide *p, unsigned channel)
{
	return &p->ch[channel].bus;
}
