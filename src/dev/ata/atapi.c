/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CD drives: packets (SFF-8020i 9, 10; MMC-5 6; SPC-3 6), sense data, tray and medium.
 *
 * A packet of 12 bytes comes by PIO, or with the command from an sg host.  What fails leaves CHECK
 * CONDITION with the sense key in the error register, and the sense data until the next packet but
 * REQUEST SENSE.
 *
 * The medium is there when the image is and the tray is closed.  The guest opens and closes the
 * tray with START STOP UNIT, unless it has locked it; people do so by the monitor, which asks
 * tray_locked, and changes the image. Whatever happened, the next packet that cares is told once by
 * UNIT ATTENTION, and GET EVENT STATUS NOTIFICATION tells it too.
 */
#include <string.h>
#include "dev/ata/ata_int.h"

#define PACKET 12

enum { NEEDS_MEDIUM = 1, TELLS_ATTENTION = 2 /* runs in spite of it */ };

struct packet {
	void (*run)(struct ata_cmd *c, const uint8_t *cdb);
	uint32_t (*info)(struct ata_dev *d, const uint8_t *cdb, uint32_t *sense);
	uint8_t flags;
	uint8_t alloc, alloc_bytes; /* info: where the allocation length is, and its size */
};

static const struct packet packets[256];

bool atapi_has_medium(const struct ata_dev *d)
{
	return d->blk && d->info.has_medium && !d->tray_open && d->sectors;
}

void atapi_fail(struct ata_cmd *c, uint32_t sense)
{
	uint8_t key = (uint8_t)(sense >> 16);

	c->dev->sense = sense;
	ata_fail(c, (uint8_t)(key << 4 | (key == 5 ? ATA_ABRT : 0)));
}

static void attend(struct ata_dev *d, uint32_t sense)
{
	d->attention = true;
	d->attention_sense = sense;
}

void atapi_media_changed(void *opaque)
{
	struct ata_dev *d = opaque;

	if (d->info.has_medium && d->tray_open) {
		d->tray_open = false;
		block_set_tray_open(d->blk, false);
	} else if (!d->info.has_medium) {
		d->tray_open = true; /* ejected */
	}
	d->event = d->info.has_medium ? 2 : 3;
	attend(d, SENSE_MEDIUM_CHANGED);
}

bool atapi_locked(void *opaque)
{
	const struct ata_dev *d = opaque;

	return d->locked && !d->tray_open;
}

void atapi_eject_request(void *opaque)
{
	((struct ata_dev *)opaque)->event = 1;
}

void atapi_reset(struct ata_dev *d)
{
	d->sense = SENSE_NONE;
	d->attention = false;
	d->event = 0;
	d->locked = false;
	if (d->tray_open && d->attached)
		block_set_tray_open(d->blk, false);
	d->tray_open = false;
}

static void run_test_ready(struct ata_cmd *c, const uint8_t *cdb)
{
	ata_ok(c);
}

static void run_request_sense(struct ata_cmd *c, const uint8_t *cdb)
{
	struct ata_dev *d = c->dev;
	uint8_t *p = d->buf;

	if (!d->sense && d->attention) {
		d->sense = d->attention_sense;
		d->attention = false;
	}
	memset(p, 0, 18);
	p[0] = 0x70;
	p[2] = (uint8_t)(d->sense >> 16);
	p[7] = 10;
	p[12] = (uint8_t)(d->sense >> 8);
	p[13] = (uint8_t)d->sense;
	d->sense = SENSE_NONE;
	ata_data_in(c, (uint32_t)min_u64(18, cdb[4]), c->drq_size);
}

static void run_start_stop(struct ata_cmd *c, const uint8_t *cdb)
{
	struct ata_dev *d = c->dev;
	bool load = cdb[4] & 1;

	if (!(cdb[4] & 2) || cdb[4] >> 4) { /* motor, power */
		ata_ok(c);
		return;
	}
	if (!load && d->locked && !d->tray_open) {
		atapi_fail(c, SENSE_LOCKED);
		return;
	}
	if (d->tray_open == load && d->blk)
		block_set_tray_open(d->blk, !load);
	if (d->tray_open == load) {
		d->tray_open = !load;
		if (load && atapi_has_medium(d)) {
			d->event = 2;
			attend(d, SENSE_MEDIUM_CHANGED);
		} else if (!load) {
			d->event = 3;
		}
	}
	ata_ok(c);
}

static void run_prevent(struct ata_cmd *c, const uint8_t *cdb)
{
	c->dev->locked = cdb[4] & 1;
	ata_ok(c);
}

static void run_capacity(struct ata_cmd *c, const uint8_t *cdb)
{
	uint8_t *p = c->dev->buf;

	put_be32(p, (uint32_t)(c->dev->sectors - 1));
	put_be32(p + 4, ATA_CD_SECTOR);
	ata_data_in(c, 8, c->drq_size);
}

static void read_sectors(struct ata_cmd *c, uint64_t lba, uint64_t n, bool raw)
{
	if (!n) {
		ata_ok(c);
	} else if (!range_fits(lba, n, c->dev->sectors)) {
		atapi_fail(c, SENSE_OUT_OF_RANGE);
	} else {
		c->unit = raw ? ATA_RAW_SECTOR : ATA_CD_SECTOR;
		ata_data_disk(c, raw ? ATA_SRC_RAW : ATA_SRC_DISK, lba, n, c->drq_size);
	}
}

static void run_read(struct ata_cmd *c, const uint8_t *cdb)
{
	uint32_t n = cdb[0] == 0xa8 ? get_be32(cdb + 6) : get_be16(cdb + 7);

	read_sectors(c, get_be32(cdb + 2), n, false);
}

/* read_cd - user data alone, or all of a sector (MMC-5 6.19, byte 9). */
static void read_cd(struct ata_cmd *c, const uint8_t *cdb, uint64_t lba, uint64_t n)
{
	uint8_t type = cdb[1] >> 2 & 7;

	if ((type && type != 2) || cdb[10] & 7) {
		atapi_fail(c, type ? SENSE_BAD_MODE : SENSE_BAD_FIELD);
		return;
	}
	switch (cdb[9] & 0xf8) {
	case 0x00:
		ata_ok(c);
		break;
	case 0x10:
		read_sectors(c, lba, n, false);
		break;
	case 0xf8:
		read_sectors(c, lba, n, true);
		break;
	default:
		atapi_fail(c, SENSE_BAD_FIELD);
	}
}

static void run_read_cd(struct ata_cmd *c, const uint8_t *cdb)
{
	read_cd(c, cdb, get_be32(cdb + 2), (uint64_t)cdb[6] << 16 | get_be16(cdb + 7));
}

static int64_t msf(const uint8_t *p)
{
	return ((int64_t)p[0] * 60 + p[1]) * 75 + p[2] - 150;
}

static void run_read_cd_msf(struct ata_cmd *c, const uint8_t *cdb)
{
	int64_t from = msf(cdb + 3), to = msf(cdb + 6);

	if (from < 0 || to < from)
		atapi_fail(c, SENSE_OUT_OF_RANGE);
	else
		read_cd(c, cdb, (uint64_t)from, (uint64_t)(to - from));
}

static void run_seek(struct ata_cmd *c, const uint8_t *cdb)
{
	if (get_be32(cdb + 2) < c->dev->sectors)
		ata_ok(c);
	else
		atapi_fail(c, SENSE_OUT_OF_RANGE);
}

void atapi_select(struct ata_cmd *c, int rc)
{
	ata_ok(c);
}

/* run_mode_select - nothing that pages offer can be changed; speeds and error recovery are hints.
 */
static void run_mode_select(struct ata_cmd *c, const uint8_t *cdb)
{
	uint32_t n = cdb[0] == 0x15 ? cdb[4] : get_be16(cdb + 7);

	ata_data_out(c, n, c->drq_size, atapi_select);
}

static void run_info(struct ata_cmd *c, const struct packet *p, const uint8_t *cdb)
{
	uint32_t sense = SENSE_BAD_FIELD, n = p->info(c->dev, cdb, &sense);
	uint32_t room = p->alloc_bytes == 1 ? cdb[p->alloc] : get_be16(cdb + p->alloc);

	if (!n)
		atapi_fail(c, sense);
	else
		ata_data_in(c, (uint32_t)min_u64(n, room), c->drq_size);
}

void atapi_packet(struct ata_cmd *c)
{
	struct ata_dev *d = c->dev;
	const uint8_t *cdb = d->cdb;
	const struct packet *p;

	if (c->src == ATA_SRC_CDB) {
		memcpy(d->cdb, d->buf, PACKET);
		c->src = ATA_SRC_BUF;
		c->out = false;
		c->total = 0;
	}
	c->dma = c->r.feature & 1;
	p = &packets[cdb[0]];
	if (cdb[0] != 0x03)
		d->sense = SENSE_NONE;
	if (!p->run && !p->info) {
		atapi_fail(c, SENSE_BAD_OPCODE);
	} else if (d->attention && !(p->flags & TELLS_ATTENTION)) {
		d->attention = false;
		atapi_fail(c, d->attention_sense);
	} else if ((p->flags & NEEDS_MEDIUM) && !atapi_has_medium(d)) {
		atapi_fail(c, d->tray_open ? SENSE_NOT_READY_OPEN : SENSE_NO_MEDIUM);
	} else if (p->run) {
		p->run(c, cdb);
	} else {
		run_info(c, p, cdb);
	}
}

/* byte_limit - of a DRQ block, from the cylinder registers (SFF-8020i 7.1.4). */
static uint32_t byte_limit(const struct ata_cmd *c)
{
	uint32_t n = c->r.lba >> 8 & 0xfffe;

	return n ? n : 0xfffe;
}

void atapi_start(struct ata_cmd *c, const uint8_t *cdb)
{
	c->drq_size = byte_limit(c);
	if (cdb) {
		memcpy(c->dev->cdb, cdb, sizeof(c->dev->cdb));
		atapi_packet(c);
	} else {
		ata_data_out(c, PACKET, c->drq_size, NULL);
	}
}

static const struct packet packets[256] = {
	[0x00] = {.run = run_test_ready, .flags = NEEDS_MEDIUM},
	[0x03] = {.run = run_request_sense, .flags = TELLS_ATTENTION},
	[0x12] = {.info = atapi_inquiry, .flags = TELLS_ATTENTION, .alloc = 4, .alloc_bytes = 1},
	[0x15] = {.run = run_mode_select},
	[0x1a] = {.info = atapi_mode_sense, .alloc = 4, .alloc_bytes = 1},
	[0x1b] = {.run = run_start_stop},
	[0x1e] = {.run = run_prevent},
	[0x25] = {.run = run_capacity, .flags = NEEDS_MEDIUM},
	[0x28] = {.run = run_read, .flags = NEEDS_MEDIUM},
	[0x2b] = {.run = run_seek, .flags = NEEDS_MEDIUM},
	[0x43] = {.info = atapi_toc, .flags = NEEDS_MEDIUM, .alloc = 7, .alloc_bytes = 2},
	[0x46] = {.info = atapi_config, .flags = TELLS_ATTENTION, .alloc = 7, .alloc_bytes = 2},
	[0x4a] = {.info = atapi_event, .flags = TELLS_ATTENTION, .alloc = 7, .alloc_bytes = 2},
	[0x51] = {.info = atapi_disc_info, .flags = NEEDS_MEDIUM, .alloc = 7, .alloc_bytes = 2},
	[0x52] = {.info = atapi_track_info, .flags = NEEDS_MEDIUM, .alloc = 7, .alloc_bytes = 2},
	[0x55] = {.run = run_mode_select},
	[0x5a] = {.info = atapi_mode_sense, .alloc = 7, .alloc_bytes = 2},
	[0xa8] = {.run = run_read, .flags = NEEDS_MEDIUM},
	[0xb9] = {.run = run_read_cd_msf, .flags = NEEDS_MEDIUM},
	[0xbb] = {.run = run_test_ready}, /* SET CD SPEED */
	[0xbd] = {.info = atapi_mechanism, .alloc = 8, .alloc_bytes = 2},
	[0xbe] = {.run = run_read_cd, .flags = NEEDS_MEDIUM},
};
