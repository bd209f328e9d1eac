/* SPDX-License-Identifier: Apache-2.0 */
/* IDENTIFY DEVICE and IDENTIFY PACKET DEVICE (ATA8-ACS 7.16, 7.17): 256 little-endian words. */
#include <string.h>
#include "dev/ata/ata_int.h"

static void word(uint8_t *out, unsigned n, uint16_t v)
{
	put_le16(out + 2 * n, v);
}

/* string - characters in pairs, the first of each in the high byte. */
static void string(uint8_t *out, unsigned n, const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		out[2 * n + (i ^ 1)] = (uint8_t)s[i];
}

static void strings(const struct ata_dev *d, uint8_t *out)
{
	string(out, 10, d->serial, sizeof(d->serial));
	string(out, 23, d->version, sizeof(d->version));
	string(out, 27, d->model, sizeof(d->model));
}

/* mode_word - supported modes 7:0, the one in force 15:8. */
static uint16_t mode_word(const struct ata_dev *d, uint8_t kind, uint8_t supported)
{
	uint8_t mode = d->mode ? d->mode : 0x40 | 5;

	return (uint16_t)(supported | ((mode >> 3 << 3) == kind ? 1u << (mode & 7) << 8 : 0));
}

static void transfer_modes(const struct ata_dev *d, uint8_t *out)
{
	bool sata = ata_host_of(d)->sata;

	word(out, 53, 0x0007); /* words 54-58, 64-70, 88 are valid */
	word(out, 63, mode_word(d, 0x20, 0x07));
	word(out, 64, 0x0003); /* PIO 3 and 4 */
	for (unsigned i = 65; i <= 68; i++)
		word(out, i, 120); /* ns of a cycle */
	word(out, 88, mode_word(d, 0x40, sata ? 0x7f : 0x3f));
	if (sata) {
		word(out, 76, d->atapi ? 0x000e : 0x010e); /* 1.5, 3, 6 Gb/s; NCQ */
		word(out, 222, 0x1000 | 0x1f);
	} else {
		word(out, 93, d->unit ? 0x6d00 : 0x600d); /* 80-conductor cable */
		word(out, 222, 0x0000);
	}
}

static void geometry(const struct ata_dev *d, uint8_t *out)
{
	uint64_t cyls = min_u64(d->sectors / (16 * 63), 16383);
	uint64_t now = min_u64(d->sectors / ((uint64_t)d->heads * d->secs), 65535);
	uint64_t chs = now * d->heads * d->secs, lba28 = min_u64(d->sectors, 0x0fffffff);

	word(out, 1, (uint16_t)max_u64(cyls, 1));
	word(out, 3, 16);
	word(out, 6, 63);
	word(out, 54, (uint16_t)max_u64(now, 1));
	word(out, 55, d->heads);
	word(out, 56, d->secs);
	put_le32(out + 2 * 57, (uint32_t)min_u64(chs, 0x0fffffff));
	put_le32(out + 2 * 60, (uint32_t)lba28);
	put_le64(out + 2 * 100, d->sectors);
}

static void checksum(uint8_t *out)
{
	uint8_t sum = 0xa5;

	out[510] = 0xa5;
	for (unsigned i = 0; i < 510; i++)
		sum = (uint8_t)(sum + out[i]);
	out[511] = (uint8_t)-sum;
}

static unsigned log2_of(uint32_t pow2)
{
	return (unsigned)__builtin_ctz(pow2);
}

static void features(const struct ata_dev *d, uint8_t *out)
{
	/* SMART 0, power management 3, write cache 5, look-ahead 6, NOP 14 */
	uint16_t on = 0x4008 | (d->smart ? 0x01 : 0) | (d->write_cache ? 0x20 : 0) |
		      (d->read_ahead ? 0x40 : 0);
	/* general purpose logging 5, WRITE FUA EXT 6, world-wide name 8 */
	uint16_t more = 0x4060 | (d->wwn ? 0x0100 : 0);

	word(out, 80, 0x01f0); /* ATA/ATAPI-4 to ATA8-ACS */
	word(out, 82, 0x4069);
	word(out, 83, 0x7400); /* 48-bit addresses 10, FLUSH CACHE 12, EXT 13 */
	word(out, 84, more);
	word(out, 85, on);
	word(out, 86, 0xb400); /* words 119, 120 are valid 15 */
	word(out, 87, more);
	word(out, 119, 0x4000);
	word(out, 120, 0x4000);
	for (unsigned i = 0; i < 4 && d->wwn; i++)
		word(out, 108 + i, (uint16_t)(d->wwn >> (48 - 16 * i)));
}

void ata_identify(struct ata_dev *d, uint8_t out[512])
{
	memset(out, 0, 512);
	word(out, 0, 0x0040);
	geometry(d, out);
	strings(d, out);
	word(out, 47, 0x8000 | ATA_MULTIPLE_MAX);
	word(out, 48, 0x0001); /* 32-bit data port */
	word(out, 49, 0x2f00); /* DMA 8, LBA 9, IORDY 10 11, standby timer 13 */
	word(out, 50, 0x4000);
	word(out, 51, 0x0200);
	word(out, 59, d->multiple ? 0x0100 | d->multiple : 0);
	transfer_modes(d, out);
	if (ata_host_of(d)->sata)
		word(out, 75, ATA_TAGS - 1);
	features(d, out);
	word(out, 105, ATA_BUF / 512); /* of DATA SET MANAGEMENT */
	if (d->phys_block > ATA_SECTOR)
		word(out, 106, (uint16_t)(0x6000 | log2_of(d->phys_block / ATA_SECTOR)));
	else
		word(out, 106, 0x4000);
	word(out, 169, 0x0001); /* TRIM */
	word(out, 209, 0x4000);
	word(out, 217, d->rotation);
	checksum(out);
}

void ata_identify_packet(struct ata_dev *d, uint8_t out[512])
{
	memset(out, 0, 512);
	word(out, 0, 0x85c0); /* ATAPI, CD-ROM, removable, DRQ within 50 us, 12-byte packets */
	strings(d, out);
	word(out, 49, 0x0f00);
	word(out, 50, 0x4000);
	word(out, 51, 0x0200);
	transfer_modes(d, out);
	word(out, 80, 0x01f0);
	word(out, 82, 0x4218); /* power management 3, PACKET 4, DEVICE RESET 9, NOP 14 */
	word(out, 83, 0x4000);
	word(out, 84, 0x4000 | (d->wwn ? 0x0100 : 0));
	word(out, 85, 0x4218);
	word(out, 86, 0);
	word(out, 87, 0x4000 | (d->wwn ? 0x0100 : 0));
	for (unsigned i = 0; i < 4 && d->wwn; i++)
		word(out, 108 + i, (uint16_t)(d->wwn >> (48 - 16 * i)));
	checksum(out);
}
