/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The monitor's description (VESA E-EDID 1.4), 128 bytes: one detailed timing, the size it likes.
 * Figures of time are those of reduced blanking at about 60 Hz; nothing depends on them.
 */
#include <string.h>

#include "dev/display/vga_int.h"

#define DETAILED 54
#define HBLANK 160u
#define VBLANK 40u

static void detailed_timing(uint8_t *d, unsigned w, unsigned h)
{
	uint32_t clock = (w + HBLANK) * (h + VBLANK) / 1000 * 60 / 10; /* 10 kHz */

	put_le16(d, (uint16_t)(clock > UINT16_MAX ? UINT16_MAX : clock));
	d[2] = (uint8_t)w;
	d[3] = (uint8_t)HBLANK;
	d[4] = (uint8_t)(w >> 8 << 4);
	d[5] = (uint8_t)h;
	d[6] = (uint8_t)VBLANK;
	d[7] = (uint8_t)(h >> 8 << 4);
	d[8] = 48; /* horizontal front porch, sync width */
	d[9] = 32;
	d[10] = 3 << 4 | 6; /* vertical */
	d[17] = 0x1e; /* separate sync */
}

static void name_descriptor(uint8_t *d)
{
	static const char name[13] = "doppel\n      ";

	d[3] = 0xfc;
	memcpy(d + 5, name, sizeof(name));
}

void vga_edid_fill(uint8_t edid[static 128], unsigned width, unsigned height)
{
	static const uint8_t head[] = {0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00};
	uint8_t sum = 0;

	memset(edid, 0, 128);
	memcpy(edid, head, sizeof(head));
	put_le16(edid + 8, 0x0c12); /* maker DPL: three letters of 5 bits, big-endian */
	put_le16(edid + 10, 1);
	edid[16] = 42; /* week */
	edid[17] = 34; /* 2024 */
	edid[18] = 1;
	edid[19] = 4;
	edid[20] = 0xa5; /* digital, 8 bits a colour */
	edid[23] = 120; /* gamma 2.2 */
	edid[24] = 0x06; /* sRGB, the first timing is the preferred one */
	edid[35] = 0x21; /* 640x480, 800x600 at 60 Hz */
	edid[36] = 0x08; /* 1024x768 at 60 Hz */
	memset(edid + 38, 0x01, 16);
	detailed_timing(edid + DETAILED, width, height);
	name_descriptor(edid + DETAILED + 18);
	edid[DETAILED + 36 + 3] = edid[DETAILED + 54 + 3] = 0x10; /* unused */
	for (unsigned i = 0; i < 127; i++)
		sum += edid[i];
	edid[127] = (uint8_t)-sum;
}
