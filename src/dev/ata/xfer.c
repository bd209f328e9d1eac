/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Data phases of a command, whatever the controller.
 *
 * A phase moves c->total bytes, c->done of which have been dealt with.  Two ways:
 *
 *   scatter list  (AHCI always, PIIX with bus-master DMA)  Sectors go directly between the block
 * layer and guest RAM: entries of the list become an iovec, as many as one request takes, and so on
 * until all is done.  Bytes that are ours (IDENTIFY, mode pages, raw CD sectors) are copied from or
 * to the buffer. DRQ blocks    (PIIX with PIO)  The buffer is filled from the disk, handed to the
 * guest in blocks, and filled again; or the other way.
 *
 * While the block layer works (ATA_IO) nothing of the command changes, so that a drive can be saved
 * after block_drain even when a request is held back by an error: ata_xfer_resume does that piece
 * again.
 *
 * Bounds: an entry has at least one byte, a piece at most IOV entries and PIECE bytes, and entries
 * beyond the phase's length are not looked at.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "dev/ata/ata_int.h"
#include "mem/page.h"

#define IOV_MAX_PIECE 1024u
#define PIECE (8 * 1024 * 1024u)

static void disk_done(struct block_req *r, int rc);

static bool by_list(const struct ata_cmd *c)
{
	return c->dma || ata_host_of(c->dev)->sg;
}

/* ram_at - the piece of RAM that begins at a, at most len bytes; NULL: it is none. */
static uint8_t *ram_at(struct mem *m, uint64_t a, uint64_t *len, bool from_guest)
{
	struct mem_range r;
	uint64_t off;

	mem_lookup(m, GPA(a), &r);
	if (r.kind != MEM_RAM && !(from_guest && r.kind == MEM_ROM))
		return NULL;
	off = a - r.base;
	*len = min_u64(*len, r.size - off);
	return mem_ram_base(m) + r.ram_off + off;
}

static void iov_add(struct ata_cmd *c, uint8_t *p, size_t len)
{
	struct iovec *last = c->n_iov ? &c->iov[c->n_iov - 1] : NULL;

	if (last && (uint8_t *)last->iov_base + last->iov_len == p) {
		last->iov_len += len;
		return;
	}
	if (c->n_iov == c->cap_iov) {
		c->cap_iov = c->cap_iov ? 2 * c->cap_iov : 16;
		c->iov = xrealloc(c->iov, c->cap_iov * sizeof(*c->iov));
	}
	c->iov[c->n_iov++] = (struct iovec){.iov_base = p, .iov_len = len};
}

/* iov_cut - make the iovec n bytes long. */
static void iov_cut(struct ata_cmd *c, uint64_t n)
{
	unsigned i = 0;

	for (; i < c->n_iov && n; i++) {
		c->iov[i].iov_len = min_u64(c->iov[i].iov_len, n);
		n -= c->iov[i].iov_len;
	}
	c->n_iov = i;
}

/*
 * sg_map - guest RAM for at most want bytes from c->done on, as c->iov.  *got: how many.  0, or
 * what ended the list early: -ENOSPC, -EFAULT.
 */
static int sg_map(struct ata_cmd *c, uint64_t want, uint64_t *got)
{
	struct ata_dev *d = c->dev;
	int rc = 0;

	*got = 0;
	c->n_iov = 0;
	while (*got < want && c->n_iov < IOV_MAX_PIECE) {
		uint64_t addr, len;

		rc = ata_host_of(d)->sg_next(d->bus->host, c, c->done + *got, &addr, &len);
		if (rc)
			break;
		len = min_u64(len, want - *got);
		while (len) {
			uint64_t n = len;
			uint8_t *p = ram_at(d->dev.env->mem, addr, &n, c->out);

			if (!p)
				return -EFAULT;
			iov_add(c, p, n);
			addr += n;
			len -= n;
			*got += n;
		}
	}
	return rc;
}

static void written(struct ata_cmd *c)
{
	struct mem *m = c->dev->dev.env->mem;

	for (unsigned i = 0; i < c->n_iov; i++)
		mem_written(m, (uint64_t)((uint8_t *)c->iov[i].iov_base - mem_ram_base(m)),
			    c->iov[i].iov_len);
}

static void fault(struct ata_cmd *c, int rc)
{
	c->phase = ATA_IDLE;
	ata_host_of(c->dev)->dma_fault(c->dev->bus->host, c, rc);
}

/* sg_copy - n bytes between the buffer at p and the scatter list at c->done. */
static int sg_copy(struct ata_cmd *c, uint8_t *p, uint64_t n)
{
	while (n) {
		uint64_t got;
		int rc = sg_map(c, n, &got);

		for (unsigned i = 0; i < c->n_iov; i++) {
			struct iovec *v = &c->iov[i];

			if (c->out)
				memcpy(p, v->iov_base, v->iov_len);
			else
				memcpy(v->iov_base, p, v->iov_len);
			p += v->iov_len;
		}
		if (!c->out)
			written(c);
		c->done += got;
		n -= got;
		if (n && rc)
			return rc;
	}
	return 0;
}

/* request - read or write sectors from the one that c->done is at. */
static void request(struct ata_cmd *c, const struct iovec *iov, unsigned n_iov, uint64_t sectors)
{
	uint32_t size = c->src == ATA_SRC_RAW ? ATA_CD_SECTOR : c->unit;

	c->phase = ATA_IO;
	c->req = (struct block_req){
		.op = c->out ? BLOCK_WRITE : BLOCK_READ,
		.fua = c->fua,
		.off = (c->sector + c->done / c->unit) * size,
		.len = sectors * size,
		.iov = iov,
		.n_iov = n_iov,
		.done = disk_done,
		.opaque = c,
	};
	c->dev->submitted = true;
	block_submit(c->dev->blk, &c->req);
}

/* buf_sectors - how many of the sectors that remain are in the buffer at a time. */
static uint64_t buf_sectors(const struct ata_cmd *c)
{
	return min_u64((c->total - c->done) / c->unit, ATA_BUF / c->unit);
}

static void buf_request(struct ata_cmd *c, uint64_t sectors)
{
	if (!c->cap_iov) {
		c->cap_iov = 16;
		c->iov = xcalloc(c->cap_iov, sizeof(*c->iov));
	}
	c->iov[0] = (struct iovec){
		.iov_base = c->dev->buf,
		.iov_len = sectors * (c->src == ATA_SRC_RAW ? ATA_CD_SECTOR : c->unit),
	};
	c->n_iov = 1;
	request(c, c->iov, 1, sectors);
}

/* raw_sector - sector of mode 1 (ECMA-130 14): sync, header, data, EDC and ECC area (zeros: none
 * checks it). */
static void raw_sector(uint8_t *p, uint64_t sector)
{
	uint64_t f = sector + 150;
	uint32_t bcd[3] = {(uint32_t)(f / (75 * 60)), (uint32_t)(f / 75 % 60), (uint32_t)(f % 75)};

	memset(p, 0xff, 12);
	p[0] = p[11] = 0;
	for (unsigned i = 0; i < 3; i++)
		p[12 + i] = (uint8_t)(bcd[i] / 10 % 10 << 4 | bcd[i] % 10);
	p[15] = 1;
	memset(p + 16 + ATA_CD_SECTOR, 0, ATA_RAW_SECTOR - 16 - ATA_CD_SECTOR);
}

/* raw_expand - sectors of user data in the buffer become whole ones, the last first. */
static void raw_expand(struct ata_cmd *c, uint64_t n)
{
	uint64_t first = c->sector + c->done / c->unit;

	while (n--) {
		uint8_t *to = c->dev->buf + n * ATA_RAW_SECTOR;

		memmove(to + 16, c->dev->buf + n * ATA_CD_SECTOR, ATA_CD_SECTOR);
		raw_sector(to, first + n);
	}
}

/* drq_next - hand the next block of the buffer to the guest, or ask for it. */
static void drq_next(struct ata_cmd *c, bool irq)
{
	c->phase = ATA_PIO;
	c->drq_end = (uint32_t)min_u64(c->len, c->pos + (uint64_t)c->drq_size);
	if (c->r.command == 0xa0) { /* interrupt reason and byte count (SFF-8020i 7.1) */
		c->r.count = (uint16_t)((c->src == ATA_SRC_CDB ? 1 : 0) | (c->out ? 0 : 2));
		if (c->src != ATA_SRC_CDB)
			c->r.lba = (c->r.lba & ~UINT64_C(0xffff00)) |
				   (uint64_t)(c->drq_end - c->pos) << 8;
	}
	ata_host_of(c->dev)->drq(c->dev->bus->host, c, irq);
}

static void pio_begin(struct ata_cmd *c, bool irq)
{
	if (c->src == ATA_SRC_DISK || c->src == ATA_SRC_RAW) {
		c->len = (uint32_t)(buf_sectors(c) * c->unit);
		if (!c->out) {
			buf_request(c, buf_sectors(c));
			return;
		}
	} else {
		c->len = (uint32_t)c->total;
	}
	c->pos = 0;
	drq_next(c, irq);
}

static void finish(struct ata_cmd *c)
{
	if (c->then && c->src == ATA_SRC_BUF)
		c->then(c, 0);
	else if (c->src == ATA_SRC_CDB)
		atapi_packet(c);
	else
		ata_ok(c);
}

uint8_t *ata_pio_ptr(struct ata_cmd *c)
{
	return c->dev->buf + c->pos;
}

void ata_pio_done(struct ata_cmd *c)
{
	bug_on(c->phase != ATA_PIO || c->pos != c->drq_end);
	if (c->pos < c->len) {
		drq_next(c, true);
		return;
	}
	if (c->out && c->src == ATA_SRC_DISK) {
		buf_request(c, c->len / c->unit);
		return;
	}
	c->done += c->len;
	if (c->done < c->total)
		pio_begin(c, true);
	else
		finish(c);
}

/* sg_disk - the next piece of sectors. */
static void sg_disk(struct ata_cmd *c)
{
	uint64_t got, want = min_u64(c->total - c->done, PIECE / c->unit * c->unit);
	int rc = sg_map(c, want, &got);

	/* 1024 crumbs that are no sector together: only malice makes them. */
	if (!rc && got < c->unit)
		rc = -EFAULT;
	if (rc == -EFAULT || (rc && got < c->unit)) {
		fault(c, rc);
		return;
	}
	got -= got % c->unit;
	iov_cut(c, got);
	request(c, c->iov, c->n_iov, got / c->unit);
}

void ata_dma_go(struct ata_cmd *c)
{
	int rc;

	switch (c->src) {
	case ATA_SRC_DISK:
		sg_disk(c);
		break;
	case ATA_SRC_RAW:
		buf_request(c, buf_sectors(c));
		break;
	default:
		rc = sg_copy(c, c->dev->buf + c->done, c->total - c->done);
		if (rc)
			fault(c, rc);
		else
			finish(c);
	}
}

/* raw_send - what was read for RAW is in the buffer. */
static int raw_send(struct ata_cmd *c, uint64_t sectors)
{
	raw_expand(c, sectors);
	return sg_copy(c, c->dev->buf, sectors * c->unit);
}

static void dma_piece_done(struct ata_cmd *c)
{
	int rc = 0;

	if (c->src == ATA_SRC_RAW) {
		rc = raw_send(c, c->req.len / ATA_CD_SECTOR);
	} else {
		if (!c->out)
			written(c);
		c->done += c->req.len;
	}
	if (rc)
		fault(c, rc);
	else if (c->done < c->total)
		ata_dma_go(c);
	else
		finish(c);
}

static void pio_piece_done(struct ata_cmd *c)
{
	if (c->out) {
		c->done += c->len;
		if (c->done < c->total)
			pio_begin(c, true);
		else
			finish(c);
		return;
	}
	if (c->src == ATA_SRC_RAW)
		raw_expand(c, c->req.len / ATA_CD_SECTOR);
	c->pos = 0;
	drq_next(c, true);
}

static void disk_done(struct block_req *r, int rc)
{
	struct ata_cmd *c = r->opaque;

	if (c->dev->aborting)
		c->phase = ATA_IDLE;
	else if (rc)
		ata_io_error(c, rc);
	else if (by_list(c))
		dma_piece_done(c);
	else
		pio_piece_done(c);
}

static void begin(struct ata_cmd *c)
{
	const struct ata_host *h = ata_host_of(c->dev);

	c->done = 0;
	c->sg_entry = 0;
	c->sg_at = 0;
	if (!c->total) {
		finish(c);
	} else if (h->sg) {
		ata_dma_go(c);
	} else if (c->dma) {
		c->phase = ATA_DMA_WAIT;
		h->dma(c->dev->bus->host, c);
	} else {
		pio_begin(c, !c->out);
	}
}

void ata_data_in(struct ata_cmd *c, uint32_t n, uint32_t block)
{
	bug_on(n > ATA_BUF);
	c->src = ATA_SRC_BUF;
	c->out = false;
	c->unit = 1;
	c->total = n;
	c->drq_size = block;
	c->then = NULL;
	begin(c);
}

void ata_data_out(struct ata_cmd *c, uint32_t n, uint32_t block,
		  void (*then)(struct ata_cmd *c, int rc))
{
	bug_on(n > ATA_BUF);
	c->src = then ? ATA_SRC_BUF : ATA_SRC_CDB;
	c->out = true;
	c->unit = 1;
	c->total = n;
	c->drq_size = block;
	c->then = then;
	begin(c);
}

void ata_data_disk(struct ata_cmd *c, enum ata_src src, uint64_t sector, uint64_t n, uint32_t block)
{
	c->src = (uint8_t)src;
	c->sector = sector;
	c->total = n * c->unit;
	c->drq_size = block;
	c->then = NULL;
	begin(c);
}

static void other_done(struct block_req *r, int rc)
{
	struct ata_cmd *c = r->opaque;

	if (c->dev->aborting) {
		c->phase = ATA_IDLE;
		return;
	}
	c->then(c, rc);
}

void ata_submit(struct ata_cmd *c, enum block_op op, uint64_t off, uint64_t len,
		void (*then)(struct ata_cmd *c, int rc))
{
	c->phase = ATA_IO;
	c->then = then;
	c->src = ATA_SRC_BUF;
	c->req = (struct block_req){
		.op = op,
		.off = off,
		.len = len,
		.done = other_done,
		.opaque = c,
	};
	c->dev->submitted = true;
	block_submit(c->dev->blk, &c->req);
}

/* A register host's data phase, in the block layer when it was saved: that piece again. */
void ata_xfer_resume(struct ata_cmd *c)
{
	if (c->dma) {
		c->phase = ATA_DMA_WAIT;
		ata_host_of(c->dev)->dma(c->dev->bus->host, c);
	} else if (c->out) {
		buf_request(c, c->len / c->unit);
	} else {
		pio_begin(c, true);
	}
}

void ata_cmd_fini(struct ata_cmd *c)
{
	free(c->iov);
	c->iov = NULL;
	c->cap_iov = c->n_iov = 0;
}
