/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands of ATA8-ACS chapter 7, but PACKET: reading and writing, settings, power.
 *
 * One table says for each opcode which kind of drive has it, how it moves data, and who carries it
 * out; what is not there is aborted.
 */
#include <errno.h>
#include "dev/ata/ata_int.h"

enum {
	F_HD = 0x01, /* disks have it */
	F_CD = 0x02, /* CD drives too */
	F_WRITE = 0x04,
	F_DMA = 0x08,
	F_EXT = 0x10, /* 48-bit address, 16-bit count */
	F_MULTI = 0x20, /* DRQ blocks of SET MULTIPLE */
	F_FUA = 0x40,
	F_QUEUED = 0x80,
};

struct command {
	void (*run)(struct ata_cmd *c);
	uint8_t flags;
};

static const struct command commands[256];

bool ata_is_queued(uint8_t command)
{
	return commands[command].flags & F_QUEUED;
}

bool ata_addr48(uint8_t command)
{
	return commands[command].flags & F_EXT;
}

/* chs_to_lba - ATA-5 6.2; false: no such place. */
static bool chs_to_lba(const struct ata_cmd *c, uint64_t *lba)
{
	const struct ata_dev *d = c->dev;
	uint32_t sec = c->r.lba & 0xff, cyl = c->r.lba >> 8 & 0xffff, head = c->r.device & 15;

	if (!sec || sec > d->secs || head >= d->heads)
		return false;
	*lba = ((uint64_t)cyl * d->heads + head) * d->secs + sec - 1;
	return true;
}

/* address - first sector and number of them; false: they are not all on the medium. */
static bool address(struct ata_cmd *c, uint64_t *lba, uint32_t *n)
{
	uint8_t flags = commands[c->r.command].flags;
	uint16_t count = flags & F_QUEUED ? c->r.feature : c->r.count;
	bool there = true;

	if (flags & F_EXT) {
		*lba = c->r.lba;
		*n = count ? count : 65536;
	} else {
		*n = count & 0xff ? count & 0xff : 256;
		*lba = (uint64_t)(c->r.device & 15) << 24 | (c->r.lba & 0xffffff);
		if (!(c->r.device & 0x40))
			there = chs_to_lba(c, lba);
	}
	return there && range_fits(*lba, *n, c->dev->sectors);
}

static void run_rw(struct ata_cmd *c)
{
	uint8_t flags = commands[c->r.command].flags;
	uint32_t block = ATA_SECTOR, n;
	uint64_t lba;

	if ((flags & F_MULTI) && !c->dev->multiple) {
		ata_fail(c, ATA_ABRT);
		return;
	}
	if (!address(c, &lba, &n)) {
		ata_fail(c, ATA_IDNF);
		return;
	}
	if (flags & F_MULTI)
		block *= c->dev->multiple;
	c->out = flags & F_WRITE;
	c->dma = flags & F_DMA;
	c->fua = (flags & F_FUA) || ((flags & F_QUEUED) && c->out && (c->r.device & 0x80));
	c->dev->standby = 0;
	ata_data_disk(c, ATA_SRC_DISK, lba, n, block);
}

static void run_verify(struct ata_cmd *c)
{
	uint64_t lba;
	uint32_t n;

	if (address(c, &lba, &n))
		ata_ok(c);
	else
		ata_fail(c, ATA_IDNF);
}

static void flushed(struct ata_cmd *c, int rc)
{
	if (rc)
		ata_io_error(c, rc);
	else
		ata_ok(c);
}

static void run_flush(struct ata_cmd *c)
{
	c->unit = 0;
	c->sector = 0;
	if (c->dev->blk)
		ata_submit(c, BLOCK_FLUSH, 0, 0, flushed);
	else
		ata_ok(c);
}

static void run_ok(struct ata_cmd *c)
{
	ata_ok(c);
}

static void run_identify(struct ata_cmd *c)
{
	if (c->dev->atapi) { /* aborts with the signature (7.16.5) */
		struct ata_regs sig;

		ata_signature(c->dev, &sig);
		c->r.lba = sig.lba;
		c->r.count = sig.count;
		ata_fail(c, ATA_ABRT);
		return;
	}
	ata_identify(c->dev, c->dev->buf);
	ata_data_in(c, 512, 512);
}

static void run_identify_packet(struct ata_cmd *c)
{
	if (!c->dev->atapi) {
		ata_fail(c, ATA_ABRT);
		return;
	}
	ata_identify_packet(c->dev, c->dev->buf);
	ata_data_in(c, 512, 512);
}

static void run_set_multiple(struct ata_cmd *c)
{
	uint8_t n = (uint8_t)c->r.count;

	if (n && (!is_pow2(n) || n > ATA_MULTIPLE_MAX)) {
		ata_fail(c, ATA_ABRT);
		return;
	}
	c->dev->multiple = n;
	ata_ok(c);
}

/* run_init_params - INITIALIZE DEVICE PARAMETERS (ATA-5 8.16): logical heads and sectors. */
static void run_init_params(struct ata_cmd *c)
{
	if (!(c->r.count & 0xff)) {
		ata_fail(c, ATA_ABRT);
		return;
	}
	c->dev->heads = (uint16_t)((c->r.device & 15) + 1);
	c->dev->secs = c->r.count & 0xff;
	ata_ok(c);
}

static void run_native_max(struct ata_cmd *c)
{
	uint64_t last = c->dev->sectors - 1;

	if (commands[c->r.command].flags & F_EXT) {
		c->r.lba = last;
	} else {
		last = min_u64(last, 0x0fffffff - 1);
		c->r.lba = last & 0xffffff;
		c->r.device = (uint8_t)((c->r.device & 0xf0) | last >> 24);
	}
	ata_ok(c);
}

static void run_check_power(struct ata_cmd *c)
{
	c->r.count = c->dev->standby ? 0x00 : 0xff;
	ata_ok(c);
}

static void standby_after_flush(struct ata_cmd *c, int rc)
{
	c->dev->standby = 1;
	flushed(c, rc);
}

static void run_standby(struct ata_cmd *c)
{
	c->unit = 0;
	c->sector = 0;
	if (c->dev->blk && !c->dev->atapi) {
		ata_submit(c, BLOCK_FLUSH, 0, 0, standby_after_flush);
		return;
	}
	c->dev->standby = 1;
	ata_ok(c);
}

static void run_idle(struct ata_cmd *c)
{
	c->dev->standby = 0;
	ata_ok(c);
}

static void run_diagnostic(struct ata_cmd *c)
{
	uint8_t device = c->r.device;

	ata_signature(c->dev, &c->r);
	c->r.command = 0x90;
	c->r.device = device & 0x10;
	c->r.error = 1;
	c->phase = ATA_IDLE;
	ata_host_of(c->dev)->done(c->dev->bus->host, c);
}

/* run_device_reset - ATAPI only: ends without an interrupt, as a soft reset of this drive. */
static void run_device_reset(struct ata_cmd *c)
{
	uint8_t device = c->r.device;

	if (!c->dev->atapi) {
		ata_fail(c, ATA_ABRT);
		return;
	}
	ata_signature(c->dev, &c->r);
	c->r.command = 0x08;
	c->r.device = device & 0x10;
	c->phase = ATA_IDLE;
	ata_host_of(c->dev)->done(c->dev->bus->host, c);
}

static void run_nop(struct ata_cmd *c)
{
	ata_fail(c, ATA_ABRT);
}

/* flush_cache_off - the cache is empty before it is off (ATA8-ACS 7.47.5). */
static void cache_off(struct ata_cmd *c, int rc)
{
	if (!rc) {
		c->dev->write_cache = false;
		block_set_write_cache(c->dev->blk, false);
	}
	flushed(c, rc);
}

static void set_write_cache(struct ata_cmd *c, bool on)
{
	struct ata_dev *d = c->dev;

	if (d->atapi) {
		ata_fail(c, ATA_ABRT);
	} else if (on) {
		d->write_cache = true;
		block_set_write_cache(d->blk, true);
		ata_ok(c);
	} else {
		c->unit = 0;
		c->sector = 0;
		ata_submit(c, BLOCK_FLUSH, 0, 0, cache_off);
	}
}

/* Transfer modes: PIO 0-4, multiword DMA 0-2, Ultra DMA 0-5 (6 on SATA). */
static void set_mode(struct ata_cmd *c)
{
	uint8_t mode = (uint8_t)c->r.count, n = mode & 7;
	bool ok;

	switch (mode >> 3) {
	case 0:
		ok = n <= 1; /* default */
		break;
	case 1:
		ok = n <= 4;
		break;
	case 4:
		ok = n <= 2;
		break;
	case 8:
		ok = n <= (ata_host_of(c->dev)->sata ? 6 : 5);
		break;
	default:
		ok = false;
	}
	if (!ok) {
		ata_fail(c, ATA_ABRT);
		return;
	}
	if (mode >> 3 >= 4)
		c->dev->mode = mode;
	ata_ok(c);
}

static void run_set_features(struct ata_cmd *c)
{
	switch (c->r.feature & 0xff) {
	case 0x02:
		set_write_cache(c, true);
		break;
	case 0x82:
		set_write_cache(c, false);
		break;
	case 0x03:
		set_mode(c);
		break;
	case 0x55: /* read look-ahead off, on */
	case 0xaa:
		c->dev->read_ahead = (c->r.feature & 0xff) == 0xaa;
		ata_ok(c);
		break;
	case 0x05: /* advanced power management, automatic acoustic management: accepted */
	case 0x85:
	case 0x42:
	case 0xc2:
	case 0x66: /* settings that a soft reset keeps */
	case 0xcc:
	case 0x10: /* SATA features: none is on, but to ask is no error */
	case 0x90:
		ata_ok(c);
		break;
	default:
		ata_fail(c, ATA_ABRT);
	}
}

void ata_settings_reset(struct ata_dev *d)
{
	d->mode = 0;
	d->standby = 0;
	d->read_ahead = true;
	d->smart = true;
	d->heads = 16;
	d->secs = 63;
	d->write_cache = d->write_cache_def;
	if (d->attached)
		block_set_write_cache(d->blk, d->write_cache);
}

void ata_command(struct ata_cmd *c)
{
	const struct command *k = &commands[c->r.command];

	if (!k->run || !(k->flags & (c->dev->atapi ? F_CD : F_HD)))
		ata_fail(c, ATA_ABRT);
	else
		k->run(c);
}

static const struct command commands[256] = {
	[0x00] = {run_nop, F_HD | F_CD},
	[0x06] = {ata_dsm, F_HD | F_DMA | F_EXT},
	[0x08] = {run_device_reset, F_CD},
	[0x10] = {run_ok, F_HD}, /* RECALIBRATE */
	[0x20] = {run_rw, F_HD},
	[0x21] = {run_rw, F_HD},
	[0x24] = {run_rw, F_HD | F_EXT},
	[0x25] = {run_rw, F_HD | F_DMA | F_EXT},
	[0x27] = {run_native_max, F_HD | F_EXT},
	[0x29] = {run_rw, F_HD | F_MULTI | F_EXT},
	[0x2f] = {ata_read_log, F_HD | F_EXT},
	[0x30] = {run_rw, F_HD | F_WRITE},
	[0x31] = {run_rw, F_HD | F_WRITE},
	[0x34] = {run_rw, F_HD | F_WRITE | F_EXT},
	[0x35] = {run_rw, F_HD | F_WRITE | F_DMA | F_EXT},
	[0x39] = {run_rw, F_HD | F_WRITE | F_MULTI | F_EXT},
	[0x3d] = {run_rw, F_HD | F_WRITE | F_DMA | F_EXT | F_FUA},
	[0x40] = {run_verify, F_HD},
	[0x41] = {run_verify, F_HD},
	[0x42] = {run_verify, F_HD | F_EXT},
	[0x47] = {ata_read_log, F_HD | F_DMA | F_EXT},
	[0x60] = {run_rw, F_HD | F_DMA | F_EXT | F_QUEUED},
	[0x61] = {run_rw, F_HD | F_WRITE | F_DMA | F_EXT | F_QUEUED},
	[0x70] = {run_ok, F_HD}, /* SEEK */
	[0x90] = {run_diagnostic, F_HD | F_CD},
	[0x91] = {run_init_params, F_HD},
	[0xa1] = {run_identify_packet, F_HD | F_CD},
	[0xb0] = {ata_smart, F_HD},
	[0xc4] = {run_rw, F_HD | F_MULTI},
	[0xc5] = {run_rw, F_HD | F_WRITE | F_MULTI},
	[0xc6] = {run_set_multiple, F_HD},
	[0xc8] = {run_rw, F_HD | F_DMA},
	[0xc9] = {run_rw, F_HD | F_DMA},
	[0xca] = {run_rw, F_HD | F_WRITE | F_DMA},
	[0xcb] = {run_rw, F_HD | F_WRITE | F_DMA},
	[0xce] = {run_rw, F_HD | F_WRITE | F_MULTI | F_EXT | F_FUA},
	[0xe0] = {run_standby, F_HD | F_CD},
	[0xe1] = {run_idle, F_HD | F_CD},
	[0xe2] = {run_standby, F_HD | F_CD},
	[0xe3] = {run_idle, F_HD | F_CD},
	[0xe5] = {run_check_power, F_HD | F_CD},
	[0xe6] = {run_standby, F_HD | F_CD}, /* SLEEP */
	[0xe7] = {run_flush, F_HD | F_CD},
	[0xea] = {run_flush, F_HD | F_EXT},
	[0xec] = {run_identify, F_HD | F_CD},
	[0xef] = {run_set_features, F_HD | F_CD},
	[0xf8] = {run_native_max, F_HD},
};
