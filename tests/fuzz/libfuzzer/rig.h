/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A whole machine for targets, without a processor that runs, and with any devices that -device can
 * make: which, and with which properties, the first bytes of the input say.  It has disks that are
 * empty, serial lines to a peer (or into buffers), network cards with a peer that takes everything,
 * and an empty shared folder.
 *
 *	byte 0		board (2 bits: pc, q35, microvm, q35), flash in place of a kernel (4), VGA (8),
 *			number of other devices (upper 4 bits)
 *	3 bytes		what microvm has, two bits each
 *	a device	class, flags (2 bits: properties; 4: place; 8: bus), then each of these
 */
#include "back/net/netdev_int.h"
#include "machine.h"
#include "machine/vm_int.h"

#define RIG_DEVICES 8
#define RIG_BACKS 4
#define RIG_FUNCTIONS 32

struct rig {
	struct log *log;
	struct loop *loop;
	struct blocks *blocks;
	struct block *drives[RIG_BACKS], *flash;
	struct chardev *serial, *chardevs[RIG_BACKS];
	struct netdev nets[RIG_BACKS];
	struct fsdev *folder;
	char dir[32];
	int peer; /* of the serial line */
	struct vm_device_opt devices[RIG_DEVICES];
	unsigned n_devices;
	struct vm *vm;
	struct mem *mem;
	/* PCI functions that were found: bus << 8 | devfn. */
	uint16_t functions[RIG_FUNCTIONS];
	unsigned n_functions;
	unsigned draws; /* the target's */
};

/* rig_open - false: there is no such machine, and nothing to close. */
bool rig_open(struct rig *r, struct input *in);
void rig_close(struct rig *r);
/* rig_time - it passes, and all that was waiting for it happens. */
void rig_time(struct rig *r, int64_t ns);
uint32_t rig_config_read(struct rig *r, uint16_t function, unsigned reg, unsigned size);
void rig_config_write(struct rig *r, uint16_t function, unsigned reg, uint32_t val, unsigned size);
/* rig_device - the nth of all the machine's, counted round. */
struct dev *rig_device(struct rig *r, unsigned n);
