/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a CD drive tells about itself and its medium: each function puts the whole answer in the
 * drive's buffer and returns its length, which the allocation length then cuts; 0: *sense says why
 * not. The medium is one data track in one session.
 */
#include <string.h>
#include "dev/ata/ata_int.h"

#define CD_SECTORS_MAX (80 * 60 * 75u) /* what holds more is a DVD */
#define PROFILE_CD 0x0008
#define PROFILE_DVD 0x0010

static uint16_t profile(const struct ata_dev *d)
{
	if (!atapi_has_medium(d))
		return 0;
	return d->sectors > CD_SECTORS_MAX ? PROFILE_DVD : PROFILE_CD;
}

/* vital - pages of vital product data (SPC-3 7.6). */
static uint32_t vital(struct ata_dev *d, uint8_t page)
{
	uint8_t *p = d->buf;

	memset(p, 0, 64);
	p[0] = 0x05;
	p[1] = page;
	switch (page) {
	case 0x00:
		p[3] = 3;
		p[5] = 0x80;
		p[6] = 0x83;
		return 7;
	case 0x80:
		p[3] = sizeof(d->serial);
		memcpy(p + 4, d->serial, sizeof(d->serial));
		return 4 + sizeof(d->serial);
	case 0x83: /* one descriptor: ASCII, vendor specific */
		p[3] = 4 + sizeof(d->serial);
		p[4] = 0x02;
		p[7] = sizeof(d->serial);
		memcpy(p + 8, d->serial, sizeof(d->serial));
		return 8 + sizeof(d->serial);
	default:
		return 0;
	}
}

uint32_t atapi_inquiry(struct ata_dev *d, const uint8_t *cdb, uint32_t *sense)
{
	uint8_t *p = d->buf;

	if (cdb[1] & 1)
		return vital(d, cdb[2]);
	if (cdb[2])
		return 0;
	memset(p, 0, 36);
	p[0] = 0x05; /* CD-ROM */
	p[1] = 0x80; /* removable */
	p[3] = 0x21; /* ATAPI */
	p[4] = 31;
	memcpy(p + 8, "QEMU    ", 8);
	memcpy(p + 16, d->model, 16);
	memcpy(p + 32, d->version, 4);
	return 36;
}

/* Mode pages: read error recovery, CD audio, capabilities (MMC-5 7). */
static const uint8_t page_01[] = {0x01, 0x06, 0x00, 0x05, 0, 0, 0, 0};
static const uint8_t page_0e[] = {0x0e, 0x0e, 0x04, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
static const uint8_t page_2a[] = {
	0x2a, 0x14, 0x3b, 0x00, /* reads CD-R, CD-RW, DVD-ROM, DVD-R; writes none */
	0x70, 0x00, 0x29, 0x00, /* mode 2, multi-session; lock and eject, tray */
	0x16, 0x00, 0x00, 0x00, /* 5632 kB/s */
	0x02, 0x00, 0x16, 0x00, /* buffer of 512 KiB, present speed */
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
};

static uint32_t add(uint8_t *p, uint32_t at, const uint8_t *page, size_t n)
{
	memcpy(p + at, page, n);
	return at + (uint32_t)n;
}

uint32_t atapi_mode_sense(struct ata_dev *d, const uint8_t *cdb, uint32_t *sense)
{
	uint8_t *p = d->buf, page = cdb[2] & 0x3f, control = cdb[2] >> 6;
	bool six = cdb[0] == 0x1a;
	uint32_t head = six ? 4 : 8, n = head;

	if (control == 3) { /* saved values: none */
		*sense = 0x053900;
		return 0;
	}
	memset(p, 0, head);
	if (page == 0x01 || page == 0x3f)
		n = add(p, n, page_01, sizeof(page_01));
	if (page == 0x0e || page == 0x3f)
		n = add(p, n, page_0e, sizeof(page_0e));
	if (page == 0x2a || page == 0x3f) {
		uint32_t at = n;

		n = add(p, n, page_2a, sizeof(page_2a));
		if (d->locked)
			p[at + 6] |= 0x02;
	}
	if (n == head)
		return 0;
	if (control == 1) /* changeable: nothing */
		for (uint32_t at = head; at < n; at += 2u + p[at + 1])
			memset(p + at + 2, 0, p[at + 1]);
	if (six)
		p[0] = (uint8_t)(n - 1);
	else
		put_be16(p, (uint16_t)(n - 2));
	p[six ? 1 : 2] = d->tray_open ? 0x71 : atapi_has_medium(d) ? 0x01 : 0x70;
	return n;
}

static void put_place(uint8_t *p, uint64_t lba, bool msf)
{
	if (msf) {
		lba += 150;
		p[0] = 0;
		p[1] = (uint8_t)min_u64(lba / (75 * 60), 255);
		p[2] = (uint8_t)(lba / 75 % 60);
		p[3] = (uint8_t)(lba % 75);
	} else {
		put_be32(p, (uint32_t)lba);
	}
}

static void track(uint8_t *p, uint8_t n, uint64_t lba, bool msf)
{
	p[1] = 0x14; /* data */
	p[2] = n;
	put_place(p + 4, lba, msf);
}

static uint32_t toc_tracks(struct ata_dev *d, uint8_t first, bool msf)
{
	uint8_t *p = d->buf;
	uint32_t n = 4;

	if (first > 1 && first != 0xaa)
		return 0;
	p[2] = p[3] = 1;
	if (first <= 1) {
		track(p + n, 1, 0, msf);
		n += 8;
	}
	track(p + n, 0xaa, d->sectors, msf);
	return n + 8;
}

/* toc_raw - points A0, A1 (first, last track), A2 (lead-out) and track 1. */
static uint32_t toc_raw(struct ata_dev *d)
{
	static const uint8_t points[] = {0xa0, 0xa1, 0xa2, 0x01};
	uint8_t *p = d->buf;
	uint32_t n = 4;

	p[2] = p[3] = 1;
	for (unsigned i = 0; i < ARRAY_SIZE(points); i++, n += 11) {
		p[n] = 1;
		p[n + 1] = 0x14;
		p[n + 3] = points[i];
		if (i < 2)
			p[n + 8] = 1;
		else
			put_place(p + n + 7, i == 2 ? d->sectors : 0, true);
	}
	return n;
}

uint32_t atapi_toc(struct ata_dev *d, const uint8_t *cdb, uint32_t *sense)
{
	uint8_t format = cdb[2] & 15 ? cdb[2] & 15 : cdb[9] >> 6, *p = d->buf;
	bool msf = cdb[1] & 2;
	uint32_t n;

	memset(p, 0, 64);
	switch (format) {
	case 0:
		n = toc_tracks(d, cdb[6], msf);
		break;
	case 1: /* the last session's first track */
		p[2] = p[3] = 1;
		track(p + 4, 1, 0, msf);
		n = 12;
		break;
	case 2:
		n = toc_raw(d);
		break;
	default:
		n = 0;
	}
	if (n)
		put_be16(p, (uint16_t)(n - 2));
	return n;
}

struct feature {
	uint16_t code;
	uint8_t flags; /* version 5:2, persistent 1, current 0 */
	uint8_t len;
	uint8_t data[8];
};

static uint32_t put_feature(uint8_t *p, uint32_t at, const struct feature *f)
{
	put_be16(p + at, f->code);
	p[at + 2] = f->flags;
	p[at + 3] = f->len;
	memcpy(p + at + 4, f->data, f->len);
	return at + 4 + f->len;
}

/* atapi_config - features (MMC-5 5.3): RT 0 all, 1 those that are current, 2 one. */
uint32_t atapi_config(struct ata_dev *d, const uint8_t *cdb, uint32_t *sense)
{
	uint16_t now = profile(d), from = get_be16(cdb + 2);
	uint8_t rt = cdb[1] & 3, cd = now == PROFILE_CD, dvd = now == PROFILE_DVD, any = now != 0;
	const struct feature list[] = {
		{0x0000, 0x03, 8, {0x00, PROFILE_DVD, dvd, 0, 0x00, PROFILE_CD, cd, 0}},
		{0x0001, 0x0b, 8, {0, 0, 0, 2, 0x01}}, /* core: ATAPI */
		{0x0002, 0x07, 4, {0x00}}, /* morphing */
		{0x0003, 0x03, 4, {0x29}}, /* removable: tray, eject, lock */
		{0x0010, any, 8, {0, 0, 0x08, 0, 0, 1, 0, 0}},
		{0x001e, (uint8_t)(0x08 | cd), 4, {0}},
		{0x001f, (uint8_t)(0x04 | dvd), 4, {0}},
	};
	uint8_t *p = d->buf;
	uint32_t n = 8;

	if (rt == 3)
		return 0;
	memset(p, 0, 128);
	for (unsigned i = 0; i < ARRAY_SIZE(list); i++) {
		const struct feature *f = &list[i];

		if (rt == 2 ? f->code == from : f->code >= from && (!rt || (f->flags & 1)))
			n = put_feature(p, n, f);
	}
	put_be32(p, n - 4);
	put_be16(p + 6, now);
	return n;
}

/* atapi_event - the media class alone, polled (MMC-5 6.7). */
uint32_t atapi_event(struct ata_dev *d, const uint8_t *cdb, uint32_t *sense)
{
	uint8_t *p = d->buf;

	if (!(cdb[1] & 1))
		return 0;
	memset(p, 0, 8);
	p[3] = 0x10; /* classes there are */
	if (!(cdb[4] & 0x10)) {
		p[1] = 2;
		p[2] = 0x80; /* none of those asked for */
		return 4;
	}
	p[1] = 6;
	p[2] = 4;
	p[4] = d->event;
	p[5] = (uint8_t)((d->tray_open ? 1 : 0) | (atapi_has_medium(d) ? 2 : 0));
	if (get_be16(cdb + 7) > 4)
		d->event = 0;
	return 8;
}

uint32_t atapi_disc_info(struct ata_dev *d, const uint8_t *cdb, uint32_t *sense)
{
	uint8_t *p = d->buf;

	if (cdb[1] & 7)
		return 0;
	memset(p, 0, 34);
	put_be16(p, 32);
	p[2] = 0x0e; /* complete: session and disc */
	p[3] = p[4] = p[5] = p[6] = 1;
	p[7] = 0x20;
	memset(p + 16, 0xff, 8); /* no more room */
	return 34;
}

uint32_t atapi_track_info(struct ata_dev *d, const uint8_t *cdb, uint32_t *sense)
{
	uint32_t n = get_be32(cdb + 2);
	uint8_t *p = d->buf, kind = cdb[1] & 3;

	if ((kind && n != 1) || (!kind && n >= d->sectors) || kind == 3)
		return 0;
	memset(p, 0, 36);
	put_be16(p, 34);
	p[2] = p[3] = 1;
	p[5] = 0x04; /* data, uninterrupted */
	p[6] = 0x01; /* mode 1 */
	put_be32(p + 24, (uint32_t)d->sectors);
	return 36;
}

uint32_t atapi_mechanism(struct ata_dev *d, const uint8_t *cdb, uint32_t *sense)
{
	memset(d->buf, 0, 8);
	if (d->tray_open)
		d->buf[1] = 0x10;
	d->buf[5] = 1;
	return 8;
}
