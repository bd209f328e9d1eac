/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What firmware is told about booting.  The devices with a bootindex go to fw_cfg "bootorder", a
 * path a line, which SeaBIOS and OVMF follow; kinds of devices (-boot order=) to the CMOS bytes
 * that QEMU has for them: 0x3d first 3:0 and second 7:4, 0x38 third 7:4, 0 no check of a floppy's
 * signature.
 */
#include <stdlib.h>
#include <string.h>
#include "dev/bootindex.h"
#include "dev/fwcfg.h"
#include "dev/timer/rtc.h"
#include "machine/board.h"
#include "machine/vm.h"

#define CMOS_BOOT_FLAGS 0x38
#define CMOS_BOOT_ORDER 0x3d
#define DEFAULT_ORDER "cad"

static uint8_t kind_of(char letter)
{
	switch (letter) {
	case 'a':
		return 1;
	case 'c':
		return 2;
	case 'd':
		return 3;
	case 'n':
	case 'p':
		return 4;
	}
	return 0;
}

static void set_cmos(struct pc *pc, const char *order)
{
	uint8_t kind[3] = {0};

	if (!pc->rtc)
		return;
	for (unsigned i = 0; i < 3 && order[i]; i++)
		kind[i] = kind_of(order[i]);
	rtc_cmos_set(pc->rtc, CMOS_BOOT_ORDER, (uint8_t)(kind[0] | kind[1] << 4));
	rtc_cmos_set(pc->rtc, CMOS_BOOT_FLAGS, (uint8_t)(kind[2] << 4));
}

void pc_boot_items(struct pc *pc, const struct vm_boot *boot, bool first)
{
	char *list = dev_bootindex_list(pc->env);
	uint8_t wait[2];

	if (boot->strict && *list) {
		char *more = xasprintf("%s\nHALT", list);

		free(list);
		list = more;
	}
	fwcfg_add_file(pc->fwcfg, "bootorder", list, (uint32_t)strlen(list) + 1);
	free(list);
	fwcfg_add_u16(pc->fwcfg, FW_CFG_BOOT_MENU, boot->menu);
	put_le16(wait, (uint16_t)boot->splash_ms);
	if (boot->splash_ms)
		fwcfg_add_file(pc->fwcfg, "etc/boot-menu-wait", wait, sizeof(wait));
	set_cmos(pc, first && boot->once ? boot->once : boot->order ? boot->order : DEFAULT_ORDER);
}
