/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SMART (ATA8-ACS 7.53), of a drive that is never ill; READ LOG EXT and DMA EXT (7.23) of the
 * directory and of page 10h, which tells a driver which queued command failed.
 */
#include <string.h>
#include "dev/ata/ata_int.h"

#define SMART_LBA 0xc24f00u /* the key that each command carries */
#define SMART_BAD 0x2cf400u

static void sum_sector(uint8_t *p)
{
	uint8_t sum = 0;

	for (unsigned i = 0; i < 511; i++)
		sum = (uint8_t)(sum + p[i]);
	p[511] = (uint8_t)-sum;
}

/* read_data - attributes: none; offline data collection never started, self-test passed. */
static void read_data(struct ata_cmd *c)
{
	uint8_t *p = c->dev->buf;

	memset(p, 0, 512);
	put_le16(p, 0x0010);
	p[367] = 0x01; /* offline: execute immediate */
	put_le16(p + 368, 0x0003);
	sum_sector(p);
	ata_data_in(c, 512, 512);
}

static void read_thresholds(struct ata_cmd *c)
{
	memset(c->dev->buf, 0, 512);
	put_le16(c->dev->buf, 0x0010);
	sum_sector(c->dev->buf);
	ata_data_in(c, 512, 512);
}

void ata_smart(struct ata_cmd *c)
{
	uint8_t sub = (uint8_t)c->r.feature;

	if ((c->r.lba & 0xffff00) != SMART_LBA || (!c->dev->smart && sub != 0xd8)) {
		ata_fail(c, ATA_ABRT);
		return;
	}
	switch (sub) {
	case 0xd0:
		read_data(c);
		break;
	case 0xd1:
		read_thresholds(c);
		break;
	case 0xd8: /* enable, disable */
	case 0xd9:
		c->dev->smart = sub == 0xd8;
		ata_ok(c);
		break;
	case 0xd2: /* attribute autosave, offline tests: at once */
	case 0xd3:
	case 0xd4:
	case 0xda: /* RETURN STATUS: the key stays when no threshold is passed, else SMART_BAD */
		ata_ok(c);
		break;
	default:
		ata_fail(c, ATA_ABRT);
	}
}

void ata_queue_error(struct ata_dev *d, const struct ata_cmd *c)
{
	d->nq_valid = true;
	d->nq_tag = c->tag;
	d->nq = c->r;
}

/* queue_page - page 10h (A.14); reading it ends the error. */
static void queue_page(struct ata_dev *d, uint8_t *p)
{
	p[0] = d->nq_valid ? d->nq_tag : 0x80;
	if (d->nq_valid) {
		p[2] = d->nq.status;
		p[3] = d->nq.error;
		for (unsigned i = 0; i < 3; i++) {
			p[4 + i] = (uint8_t)(d->nq.lba >> (8 * i));
			p[8 + i] = (uint8_t)(d->nq.lba >> (24 + 8 * i));
		}
		p[7] = d->nq.device;
		put_le16(p + 12, d->nq.count);
	}
	d->nq_valid = false;
	sum_sector(p);
}

void ata_read_log(struct ata_cmd *c)
{
	uint8_t page = (uint8_t)c->r.lba, *p = c->dev->buf;
	unsigned at = (unsigned)((c->r.lba >> 8 & 0xff) | (c->r.lba >> 24 & 0xff00));

	c->dma = c->r.command == 0x47;
	if (c->r.count != 1 || at || (page != 0x00 && page != 0x10)) {
		ata_fail(c, ATA_ABRT);
		return;
	}
	memset(p, 0, 512);
	if (page == 0x10) {
		queue_page(c->dev, p);
	} else {
		put_le16(p, 0x0001);
		put_le16(p + 2 * 0x10, 1);
	}
	ata_data_in(c, 512, 512);
}
