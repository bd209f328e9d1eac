/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DATA SET MANAGEMENT with TRIM (ATA8-ACS 7.9): a list of 8-byte entries, sector 47:0 and number of
 * sectors 63:48 (0: unused), in blocks of 512 bytes.  The list is in the drive's buffer; extents
 * that follow each other are one request, one request at a time.
 */
#include "dev/ata/ata_int.h"

static void step(struct ata_cmd *c);

static void step_done(struct ata_cmd *c, int rc)
{
	if (rc)
		ata_fail(c, ATA_ABRT);
	else
		step(c);
}

static void entry(const struct ata_cmd *c, uint32_t i, uint64_t *first, uint64_t *n)
{
	uint64_t v = get_le64(c->dev->buf + 8 * i);

	*first = v & (BIT(48) - 1);
	*n = v >> 48;
}

static void step(struct ata_cmd *c)
{
	uint32_t entries = (uint32_t)(c->total / 8);
	uint64_t first = 0, n = 0;

	for (; c->step < entries; c->step++) {
		uint64_t at, more;

		entry(c, c->step, &at, &more);
		if (!more)
			continue;
		if (!range_fits(at, more, c->dev->sectors)) {
			ata_fail(c, ATA_IDNF);
			return;
		}
		if (n && at != first + n)
			break;
		if (!n)
			first = at;
		n += more;
	}
	if (n)
		ata_submit(c, BLOCK_DISCARD, first * ATA_SECTOR, n * ATA_SECTOR, step_done);
	else
		ata_ok(c);
}

/* ata_dsm_list - the list has come. */
void ata_dsm_list(struct ata_cmd *c, int rc)
{
	c->step = 0;
	step(c);
}

void ata_dsm(struct ata_cmd *c)
{
	if (!(c->r.feature & 1) || !c->r.count || c->r.count > ATA_BUF / 512) {
		ata_fail(c, ATA_ABRT);
		return;
	}
	c->dma = true;
	ata_data_out(c, c->r.count * 512u, 512, ata_dsm_list);
}
