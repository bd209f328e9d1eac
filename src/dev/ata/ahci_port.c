/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A port of an AHCI controller (AHCI 1.3 chapters 3.3, 4, 5; SATA 3.0 10.3 for the FISes).
 *
 * In guest memory, at PxCLB, 32 command headers of 32 bytes:
 *   dword 0     31:16 entries of the table's scatter list, 10 clear BSY, 6 write, 5 ATAPI,
 *               4:0 FIS length
 *   dword 1     bytes moved
 *   dwords 2, 3 address of the command table (128-byte aligned)
 * a command table: 0x00 command FIS, 0x40 ATAPI packet, 0x80 entries of 16 bytes: address, -,
 *   dword 3 (21:0 bytes less one);
 * and at PxFB received FISes: 0x20 PIO setup, 0x40 D2H register, 0x58 set device bits.
 *
 * Each of these is read once, into variables, before it is judged; an entry of a scatter list is
 * read when data get there.  None of it can make the port do more than its own length says: lists
 * are arrays.
 *
 * A command that is not queued has the port to itself (p->slot) and its PxCI bit until it ends.
 * Queued ones lose their PxCI bit at once, and their PxSACT bit at the end; their state is in
 * p->tags[slot]. While queued ones run, another waits for them.  After an error nothing more is
 * fetched, and what still ends is not told, until the driver clears PxCMD.ST.
 *
 * Addresses that are not RAM: host bus fatal error (HBFS); a scatter list that is too short:
 * overflow (OFS); both with a task file error, after which the driver restarts the port.
 *
 * Saved state: memory and registers tell what was in flight; it is fetched again after a load.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "dev/ata/ahci_int.h"

#define FIS_H2D 0x27
#define FIS_D2H 0x34
#define FIS_PIO_SETUP 0x5f
#define FIS_SDB 0xa1

#define RX_PIO_SETUP 0x20
#define RX_D2H 0x40
#define RX_SDB 0x58

#define SSTS_UP 0x133 /* device present, 6 Gb/s, active */
#define SSTS_OFFLINE 0x004
#define SIG_NONE 0xffffffffu

static struct mem *mem_of(struct ahci_port *p)
{
	return p->h->pci.dev.env->mem;
}

static struct ata_dev *drive(struct ahci_port *p)
{
	return p->bus.unit[0];
}

static void raise_is(struct ahci_port *p, uint32_t bits)
{
	p->is |= bits;
	ahci_irq(p->h);
}

static void halt(struct ahci_port *p, uint32_t bits)
{
	p->halted = true;
	raise_is(p, bits);
}

/* receive - a FIS from the drive into the receive area. */
static bool receive(struct ahci_port *p, unsigned at, const uint8_t *fis, unsigned len)
{
	if (!(p->cmd & PXCMD_FRE))
		return true;
	if (!mem_dma_write(mem_of(p), GPA(p->fb + at), fis, len))
		return true;
	halt(p, PXIS_HBFS);
	return false;
}

static void set_tfd(struct ahci_port *p, const struct ata_regs *r)
{
	p->tfd = (uint32_t)r->error << 8 | r->status;
}

/* registers - the part that D2H and PIO setup FISes have in common. */
static void registers(uint8_t *fis, const struct ata_regs *r)
{
	fis[2] = r->status;
	fis[3] = r->error;
	for (unsigned i = 0; i < 3; i++) {
		fis[4 + i] = (uint8_t)(r->lba >> (8 * i));
		fis[8 + i] = (uint8_t)(r->lba >> (24 + 8 * i));
	}
	fis[7] = r->device;
	put_le16(fis + 12, r->count);
}

static void send_d2h(struct ahci_port *p, const struct ata_regs *r, bool irq)
{
	uint8_t fis[20] = {FIS_D2H, irq ? 0x40 : 0};
	bool err = r->status & ATA_ERR;

	registers(fis, r);
	set_tfd(p, r);
	if (!receive(p, RX_D2H, fis, sizeof(fis)))
		return;
	if (err)
		p->halted = true;
	if (irq || err)
		raise_is(p, (irq ? PXIS_DHRS : 0) | (err ? PXIS_TFES : 0));
}

static void send_pio_setup(struct ahci_port *p, const struct ata_cmd *c)
{
	uint8_t fis[20] = {FIS_PIO_SETUP, 0x60};

	registers(fis, &c->r);
	fis[2] = ATA_DRDY | ATA_DRQ;
	fis[15] = c->r.status;
	put_le16(fis + 16, (uint16_t)min_u64(c->total, 0xffff));
	set_tfd(p, &c->r);
	if (receive(p, RX_PIO_SETUP, fis, sizeof(fis)))
		raise_is(p, PXIS_PSS);
}

static void send_sdb(struct ahci_port *p, const struct ata_regs *r, uint32_t tags)
{
	uint8_t fis[8] = {FIS_SDB, 0x40, r->status & 0x77, r->error};

	put_le32(fis + 4, tags);
	/* BSY and DRQ stay as they are (SATA 10.3.6). */
	p->tfd = (uint32_t)r->error << 8 | (r->status & 0x77) | (p->tfd & (ATA_BSY | ATA_DRQ));
	if (!receive(p, RX_SDB, fis, sizeof(fis)))
		return;
	p->sact &= ~tags;
	if (r->status & ATA_ERR)
		p->halted = true;
	raise_is(p, PXIS_SDBS | (r->status & ATA_ERR ? PXIS_TFES : 0));
}

/* send_signature - what a drive says after reset, once there is somewhere to put it. */
static void send_signature(struct ahci_port *p)
{
	struct ata_regs r;

	if (!p->unsigned_yet || !(p->cmd & PXCMD_FRE) || !drive(p))
		return;
	p->unsigned_yet = false;
	ata_signature(drive(p), &r);
	p->sig = (uint32_t)(r.lba << 8) | r.count;
	send_d2h(p, &r, false);
}

/*
 * What a drive asks its host.
 */
static int sg_next(void *host, struct ata_cmd *c, uint64_t off, uint64_t *addr, uint64_t *len)
{
	struct ahci_port *p = host;

	if (off < c->sg_at)
		c->sg_at = c->sg_entry = 0;
	for (; c->sg_entry < c->sg_count; c->sg_entry++) {
		const uint8_t *e = mem_dma_ptr(mem_of(p), GPA(c->sg_table + 16 * c->sg_entry), 16);
		uint64_t base, n;

		if (!e)
			return -EFAULT;
		base = get_le64(e) & ~UINT64_C(1);
		n = (get_le32(e + 12) & 0x3fffff) + UINT64_C(1);
		n += n & 1;
		if (off < c->sg_at + n) {
			*addr = base + (off - c->sg_at);
			*len = c->sg_at + n - off;
			return 0;
		}
		c->sg_at += n;
	}
	return -ENOSPC;
}

/* The slot that a command came from. */
static unsigned slot_of(struct ahci_port *p, const struct ata_cmd *c)
{
	return c->queued ? c->tag : p->slot;
}

static void count_bytes(struct ahci_port *p, const struct ata_cmd *c)
{
	uint8_t *head = mem_dma_ptr(mem_of(p), GPA(p->clb + 32 * slot_of(p, c) + 4), 4);

	if (head)
		mem_write(mem_of(p), GPA(p->clb + 32 * slot_of(p, c) + 4), c->done, 4);
}

static void queued_done(struct ahci_port *p, struct ata_cmd *c)
{
	uint32_t bit = 1u << c->tag;

	p->queued &= ~bit;
	if (p->halted)
		return; /* the drive has given up on all of them */
	if (c->r.status & ATA_ERR) {
		ata_queue_error(drive(p), c);
		send_sdb(p, &c->r, 0);
	} else {
		send_sdb(p, &c->r, bit);
	}
}

static void done(void *host, struct ata_cmd *c)
{
	struct ahci_port *p = host;

	if (!c->queued && p->slot == AHCI_SLOTS)
		return;
	if (c->total)
		count_bytes(p, c);
	if (c->queued) {
		queued_done(p, c);
	} else {
		uint32_t bit = 1u << p->slot;

		p->slot = AHCI_SLOTS;
		if (p->halted)
			return;
		if (!(c->r.status & ATA_ERR))
			p->ci &= ~bit;
		if (ata_ends_quietly(c))
			send_pio_setup(p, c);
		else
			send_d2h(p, &c->r, true);
	}
	ahci_port_run(p);
}

static void dma_fault(void *host, struct ata_cmd *c, int rc)
{
	struct ahci_port *p = host;

	if (!p->halted)
		p->is |= rc == -EFAULT ? PXIS_HBFS : PXIS_OFS;
	c->failed = true;
	c->r.status = ATA_DRDY | ATA_DSC | ATA_ERR;
	c->r.error = ATA_ABRT;
	done(host, c);
}

const struct ata_host ahci_host = {
	.sg = true,
	.sata = true,
	.sg_next = sg_next,
	.dma_fault = dma_fault,
	.done = done,
};

/*
 * Fetching commands.
 */

/* control - a register FIS without a command: SRST falls, and the drive signs. */
static void control(struct ahci_port *p, unsigned slot, const uint8_t *fis)
{
	bool srst = fis[15] & 4;

	p->ci &= ~(1u << slot);
	if (p->srst && !srst && drive(p)) {
		ata_soft_reset(drive(p), false);
		p->unsigned_yet = true;
		send_signature(p);
	} else if (srst) {
		p->tfd = (p->tfd & ~0xffu) | ATA_BSY;
	}
	p->srst = srst;
}

static void take_registers(struct ata_regs *r, const uint8_t *fis)
{
	r->command = fis[2];
	r->feature = (uint16_t)(fis[3] | fis[11] << 8);
	r->device = fis[7];
	r->count = get_le16(fis + 12);
	r->lba = 0;
	for (unsigned i = 0; i < 3; i++)
		r->lba |= (uint64_t)fis[4 + i] << (8 * i) | (uint64_t)fis[8 + i] << (24 + 8 * i);
}

static void start_queued(struct ahci_port *p, unsigned slot, struct ata_cmd *c)
{
	p->ci &= ~(1u << slot);
	p->queued |= 1u << slot;
	p->tfd = ATA_DRDY | ATA_DSC;
	if ((c->r.count >> 3 & 31) != slot) { /* the tag is not the slot's */
		c->dev = drive(p);
		ata_cmd_reject(c);
		return;
	}
	ata_exec(drive(p), c, NULL);
}

/* start - a command FIS; head and table have been copied. */
static void start(struct ahci_port *p, unsigned slot, const uint32_t head[4], const uint8_t *table)
{
	bool queued = ata_is_queued(table[2]) && !ata_dev_atapi(drive(p));
	struct ata_cmd *c = queued ? &p->tags[slot] : ata_dev_cmd(drive(p));

	take_registers(&c->r, table);
	c->queued = queued;
	c->tag = (uint8_t)slot;
	c->sg_count = head[0] >> 16;
	c->sg_table = ((uint64_t)head[3] << 32 | (head[2] & ~0x7fu)) + 0x80;
	if (queued) {
		start_queued(p, slot, c);
		return;
	}
	p->slot = (uint8_t)slot;
	p->tfd = (p->tfd & ~0xffu) | ATA_BSY | ATA_DRDY;
	ata_exec(drive(p), c, table + 0x40);
}

/* fetch - one slot.  False: the port has to stop fetching. */
static bool fetch(struct ahci_port *p, unsigned slot)
{
	uint8_t raw[16], table[0x50];
	uint32_t head[4], fis_len;

	if (mem_dma_read(mem_of(p), GPA(p->clb + 32 * slot), raw, sizeof(raw))) {
		halt(p, PXIS_HBFS);
		return false;
	}
	for (unsigned i = 0; i < 4; i++)
		head[i] = get_le32(raw + 4 * i);
	if (mem_dma_read(mem_of(p), GPA((uint64_t)head[3] << 32 | (head[2] & ~0x7fu)), table,
			 sizeof(table))) {
		halt(p, PXIS_HBFS);
		return false;
	}
	fis_len = 4 * (head[0] & 0x1f);
	if (table[0] != FIS_H2D || fis_len < 8 || fis_len > 64) {
		halt(p, PXIS_IFS);
		return false;
	}
	if (fis_len < 20)
		memset(table + fis_len, 0, 20 - fis_len);
	p->last = (uint8_t)slot;
	if (!(table[1] & 0x80))
		control(p, slot, table);
	else if (p->srst)
		halt(p, PXIS_IFS);
	else
		start(p, slot, head, table);
	return true;
}

/* next_slot - round robin; what may run beside queued commands is known by PxSACT. */
static bool next_slot(struct ahci_port *p, unsigned *slot)
{
	for (unsigned i = 1; i <= AHCI_SLOTS; i++) {
		unsigned s = (p->last + i) % AHCI_SLOTS;

		if (!(p->ci >> s & 1) || (p->queued >> s & 1))
			continue;
		/* One that is not queued waits until the drive has nothing else to do. */
		if (p->queued && !(p->sact >> s & 1))
			continue;
		*slot = s;
		return true;
	}
	return false;
}

void ahci_port_run(struct ahci_port *p)
{
	unsigned slot;

	if (p->running)
		return;
	p->running = true;
	while ((p->cmd & PXCMD_CR) && !p->halted && p->slot == AHCI_SLOTS && p->ci && drive(p) &&
	       pci_dev_is_master(&p->h->pci) && next_slot(p, &slot))
		if (!fetch(p, slot))
			break;
	p->running = false;
}

void ahci_port_poll(struct ahci_port *p)
{
	ata_poll(drive(p));
}

/*
 * Registers.
 */

/* give_up - the drive's commands are no more; those queued in it had no chance to end. */
static void give_up(struct ahci_port *p)
{
	p->slot = AHCI_SLOTS;
	if (drive(p))
		ata_abort(drive(p));
	for (unsigned i = 0; p->tags && i < AHCI_SLOTS; i++)
		p->tags[i].phase = ATA_IDLE;
	p->queued = 0;
	p->ci = 0;
	p->sact = 0;
}

static void link_up(struct ahci_port *p)
{
	p->sig = SIG_NONE;
	p->tfd = 0x7f;
	p->ssts = 0;
	p->unsigned_yet = false;
	if (!drive(p))
		return;
	p->ssts = SSTS_UP;
	p->tfd = 0x80;
	p->serr |= SERR_DIAG_X;
	p->unsigned_yet = true;
	send_signature(p);
}

void ahci_port_reset(struct ahci_port *p, bool power_on)
{
	give_up(p);
	p->halted = p->srst = false;
	if (power_on) {
		p->clb = p->fb = 0;
		p->is = p->ie = p->sctl = p->serr = 0;
		p->cmd = PXCMD_FIXED;
		p->last = AHCI_SLOTS - 1;
	}
	if (drive(p))
		ata_soft_reset(drive(p), true);
	link_up(p);
}

/* plugged - a drive came or went. */
static void plugged(void *host, unsigned unit)
{
	struct ahci_port *p = host;

	if (!drive(p)) {
		give_up(p);
		p->serr |= SERR_DIAG_N;
	} else if (!p->tags) {
		p->tags = xcalloc(AHCI_SLOTS, sizeof(*p->tags));
	}
	link_up(p);
	ahci_irq(p->h);
}

static void write_cmd(struct ahci_port *p, uint32_t val)
{
	uint32_t old = p->cmd;

	p->cmd = PXCMD_FIXED | (val & PXCMD_KEPT) | (old & (PXCMD_CR | PXCMD_FR));
	p->cmd = (p->cmd & ~(uint32_t)PXCMD_FR) | (val & PXCMD_FRE ? PXCMD_FR : 0);
	if ((old & PXCMD_ST) && !(val & PXCMD_ST)) {
		give_up(p);
		p->cmd &= ~(uint32_t)PXCMD_CR;
		p->halted = false;
		p->tfd &= ~(uint32_t)(p->unsigned_yet ? 0 : ATA_BSY | ATA_DRQ);
	}
	if ((val & PXCMD_CLO) && !(val & PXCMD_ST))
		p->tfd &= ~(uint32_t)(ATA_BSY | ATA_DRQ);
	send_signature(p);
	if ((val & PXCMD_ST) && !(old & PXCMD_ST) && (val & PXCMD_FRE)) {
		p->cmd |= PXCMD_CR;
		p->last = AHCI_SLOTS - 1;
	}
}

static void write_sctl(struct ahci_port *p, uint32_t val)
{
	uint32_t old = p->sctl & 15, det = val & 15;

	p->sctl = val & 0xfff;
	if (det == old || (p->cmd & PXCMD_ST))
		return;
	if (det == 4) {
		give_up(p);
		p->ssts = SSTS_OFFLINE;
	} else if (det == 1) {
		give_up(p);
		p->ssts = 0;
		p->tfd = 0x7f;
	} else if (det == 0) {
		ahci_port_reset(p, false);
	}
}

uint32_t ahci_port_read(struct ahci_port *p, unsigned off)
{
	switch (off) {
	case 0x00:
		return (uint32_t)p->clb;
	case 0x04:
		return (uint32_t)(p->clb >> 32);
	case 0x08:
		return (uint32_t)p->fb;
	case 0x0c:
		return (uint32_t)(p->fb >> 32);
	case 0x10:
		return ahci_port_is(p);
	case 0x14:
		return p->ie;
	case 0x18:
		return p->cmd | (p->slot < AHCI_SLOTS ? p->slot : p->halted ? p->last : 0u) << 8;
	case 0x20:
		return p->tfd;
	case 0x24:
		return p->sig;
	case 0x28:
		return p->ssts;
	case 0x2c:
		return p->sctl;
	case 0x30:
		return p->serr;
	case 0x34:
		return p->sact;
	case 0x38:
		return p->ci;
	default:
		return 0;
	}
}

void ahci_port_write(struct ahci_port *p, unsigned off, uint32_t val)
{
	switch (off) {
	case 0x00:
		p->clb = bits_set(p->clb, 31, 0, val & ~0x3ffu);
		break;
	case 0x04:
		p->clb = bits_set(p->clb, 63, 32, val);
		break;
	case 0x08:
		p->fb = bits_set(p->fb, 31, 0, val & ~0xffu);
		break;
	case 0x0c:
		p->fb = bits_set(p->fb, 63, 32, val);
		break;
	case 0x10:
		p->is &= ~val;
		break;
	case 0x14:
		p->ie = val & PXIS_ALL;
		break;
	case 0x18:
		write_cmd(p, val);
		break;
	case 0x2c:
		write_sctl(p, val);
		break;
	case 0x30:
		p->serr &= ~val;
		break;
	case 0x34:
		p->sact |= p->cmd & PXCMD_ST ? val : 0;
		break;
	case 0x38:
		p->ci |= p->cmd & PXCMD_ST ? val : 0;
		break;
	}
	ahci_port_run(p);
	ahci_irq(p->h);
}

void ahci_port_init(struct ahci_port *p, struct ahci *h, unsigned n)
{
	p->h = h;
	p->n = n;
	p->slot = AHCI_SLOTS;
	ata_bus_init(&p->bus, &h->pci, "pci8086,2922", h->bus_id, n, 1, &ahci_host, p);
	p->bus.plugged = plugged;
}

void ahci_port_fini(struct ahci_port *p)
{
	for (unsigned i = 0; p->tags && i < AHCI_SLOTS; i++)
		ata_cmd_fini(&p->tags[i]);
	free(p->tags);
	ata_bus_fini(&p->bus);
}

/*
 * After a load.
 */
int ahci_port_check(struct ahci_port *p, struct err **e)
{
	/* What this machine was doing is no more. */
	if (drive(p))
		ata_abort(drive(p));
	for (unsigned i = 0; p->tags && i < AHCI_SLOTS; i++)
		p->tags[i].phase = ATA_IDLE;
	p->clb &= ~UINT64_C(0x3ff);
	p->fb &= ~UINT64_C(0xff);
	if (p->slot > AHCI_SLOTS || p->last >= AHCI_SLOTS ||
	    (p->cmd & ~(uint32_t)(PXCMD_KEPT | PXCMD_FIXED | PXCMD_CR | PXCMD_FR)) ||
	    (p->cmd & PXCMD_FIXED) != PXCMD_FIXED || (p->is & ~PXIS_W1C) || (p->ie & ~PXIS_ALL) ||
	    (!(p->cmd & PXCMD_ST) && (p->ci || p->sact || p->queued || (p->cmd & PXCMD_CR))) ||
	    (p->slot < AHCI_SLOTS && !(p->ci >> p->slot & 1)))
		return err_set(e, EINVAL, "saved state of ahci: impossible registers of port %u",
			       p->n);
	/* What was in flight is fetched again. */
	p->ci |= p->halted ? 0 : p->queued;
	p->queued = 0;
	p->slot = AHCI_SLOTS;
	return 0;
}

void ahci_port_restart(struct ahci_port *p)
{
	ahci_port_run(p);
	ahci_irq(p->h);
	ahci_port_poll(p);
}
