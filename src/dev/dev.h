/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Device model base.  A device embeds struct dev as its first member; chips that a board wires
 * have typed constructors in their own headers (pic_create(env, ...)), devices a person can
 * name with -device are in the const table of dev/registry.c with their properties.  Devices
 * know buses, memory, irq lines and back ends, never an engine.  All handlers and callbacks
 * run with env->lock (the machine's) held, unless a header says otherwise.
 */
#include <stddef.h>
#include <stdint.h>
#include "base/base.h"
#include "base/event.h"
#include "base/irq.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/loop.h"
#include "mem/mem.h"
#include "state/state.h"

struct dev;
struct err;

/* What a device may use; owned by the machine, outlives every device. */
struct dev_env {
	struct mem *mem;
	struct loop *loop;
	struct vclock *clock;
	struct lock *lock; /* the machine's device lock */
	struct log *log;
	/* Requests to the machine; callable with the lock held, done later on the loop thread. */
	void (*request_reset)(void *opaque);
	void (*request_poweroff)(void *opaque);
	void (*request_exit)(void *opaque, int status); /* isa-debug-exit */
	/* Tell monitors of something, under the name and with the members that QMP has for it; all is
	 * copied.  NULL: nobody wants to know. */
	void (*emit)(void *opaque, const char *name, const struct vm_event_arg *args, unsigned n);
	/* Where a file of firmware is, by its path or bare name: memory that the caller frees; NULL: there is
	 * none.  May itself be NULL. */
	char *(*firmware_file)(void *opaque, const char *name);
	void *opaque;
	/* A message-signalled interrupt of the PCI function `requester` (bus << 8 | devfn). */
	void (*msi)(void *msi_opaque, uint16_t requester, uint64_t addr, uint32_t data);
	void *msi_opaque;
	struct dev_bus *buses; /* those that -device can plug into: dev/class.h */
	struct dev_name *names; /* ids of -device */
	struct dev_plugged *plugged; /* devices made by name, newest last */
	struct dev_boot *boot; /* what to boot from: dev/bootindex.h */
	struct display *displays; /* what shows something: back/display/display.h */
	struct virtio_balloon *balloon; /* NULL: none; dev/virtio/balloon.h */
	uint64_t macs; /* Ethernet addresses in use: bit n is 52:54:00:12:34:(56h + n) */
	struct dev *devs; /* all devices, in order of creation (singly linked, newest last) */
};

struct dev_ops {
	const char *name;
	void (*unrealize)(struct dev *d); /* unmap, cancel timers, free(d) */
	void (*reset)(struct dev *d);	  /* power-on state */
	void (*quiesce)(struct dev *d);	  /* stop using guest memory and back ends; before save */
	const struct state_desc *state;
};

struct dev {
	const struct dev_ops *ops;
	const char *id;
	struct dev_env *env;
	struct dev *next;
};

/* A device that was made by name, as it was asked for (info qtree). */
struct dev_plugged {
	struct dev_plugged *next;
	char *driver, *id; /* id "": none was given */
	char *bus;	   /* NULL: none */
	char *props;	   /* "k=v,k=v", those that were given, without id and bus */
	const struct dev *dev;
};

/* dev_add - enter a fully constructed device into env's list; id outlives it.  dev_reset_all,
 * dev_destroy_all (newest first): lock held / no vCPU running. */
void dev_add(struct dev *d, const struct dev_ops *ops, const char *id, struct dev_env *env);
void dev_reset_all(struct dev_env *env);
void dev_destroy_all(struct dev_env *env);
/* dev_name_add - keep a device's id as long as env has devices; NULL when there is one of that name. */
const char *dev_name_add(struct dev_env *env, const char *id);
/* dev_plugged_add - strings are copied; dev is the newest.  They go with env's devices. */
void dev_plugged_add(struct dev_env *env, const char *driver, const char *id, const char *bus,
		     const char *props);
void dev_quiesce_none(struct dev *d); /* for devices that need nothing */
