/* SPDX-License-Identifier: Apache-2.0 */
/* The public embedding API: a machine with the loop, log and back ends that it needs. */
#include <doppel/doppel.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "back/char/chardev.h"
#include "base/base.h"
#include "base/err.h"
#include "base/log.h"
#include "base/loop.h"
#include "machine/vm.h"
#include "mem/mem.h"

#define DEFAULT_MEMORY (128 * MiB)

struct doppel_vm {
	struct loop *loop;
	struct log *log;
	struct chardev *serial, *debugcon;
	struct vm *vm;
};

const char *doppel_version(void)
{
	return DOPPEL_VERSION;
}

static int open_log(struct doppel_vm *d, const struct doppel_options *o, struct err **e)
{
	int r = 0;

	d->log = log_create();
	if (o->log_items)
		r = log_enable(d->log, o->log_items, e);
	if (!r && o->log_file)
		r = log_open(d->log, o->log_file, e);
	return r;
}

static int create(struct doppel_vm *d, const struct doppel_options *o, struct err **e)
{
	struct vm_config cfg = {
		.name = o->name,
		.machine = o->machine ? o->machine : "pc",
		.cpu = o->cpu,
		.accel = o->engine,
		.mem_size = o->memory ? o->memory : DEFAULT_MEMORY,
		.n_cpus = o->cpus ? o->cpus : 1,
		.kernel = o->kernel,
		.initrd = o->initrd,
		.append = o->append,
		.bios = o->bios,
		.no_reboot = o->no_reboot,
		.no_shutdown = o->no_shutdown,
		.start_paused = o->start_paused,
	};
	int r = open_log(d, o, e);

	d->loop = loop_create();
	if (!r && o->serial)
		r = chardev_open(&d->serial, d->loop, "serial0", o->serial, e);
	if (!r && o->debugcon)
		r = chardev_open(&d->debugcon, d->loop, "debugcon", o->debugcon, e);
	if (r)
		return r;
	cfg.serial[0] = d->serial;
	cfg.debugcon = d->debugcon;
	cfg.log = d->log;
	cfg.loop = d->loop;
	return vm_create(&d->vm, &cfg, e);
}

int doppel_vm_create(struct doppel_vm **out, const struct doppel_options *options, char **error)
{
	struct err *e __err_cleanup = NULL;
	struct doppel_options o = { 0 };
	struct doppel_vm *d;
	int r;

	if (options->size < offsetof(struct doppel_options, name) || options->size > sizeof(o))
		return -EINVAL; /* made for a newer library */
	memcpy(&o, options, options->size);
	d = xzalloc(sizeof(*d));
	r = create(d, &o, &e);
	if (!r) {
		*out = d;
		return 0;
	}
	if (error)
		*error = xstrdup(e ? err_msg(e) : strerror(-r));
	doppel_vm_destroy(d);
	return r;
}

int doppel_vm_run(struct doppel_vm *d)
{
	return vm_run(d->vm);
}

void doppel_vm_destroy(struct doppel_vm *d)
{
	if (!d)
		return;
	vm_destroy(d->vm);
	chardev_close(d->serial);
	chardev_close(d->debugcon);
	if (d->loop)
		loop_destroy(d->loop);
	log_destroy(d->log);
	free(d);
}

void doppel_vm_quit(struct doppel_vm *d, int status)
{
	vm_quit(d->vm, status);
}

void doppel_vm_pause(struct doppel_vm *d)
{
	vm_pause(d->vm);
}

void doppel_vm_resume(struct doppel_vm *d)
{
	vm_resume(d->vm);
}

bool doppel_vm_running(const struct doppel_vm *d)
{
	return vm_running(d->vm);
}

void doppel_vm_reset(struct doppel_vm *d)
{
	vm_reset(d->vm);
}

void doppel_vm_powerdown(struct doppel_vm *d)
{
	vm_powerdown(d->vm);
}

int doppel_vm_read(struct doppel_vm *d, uint64_t addr, void *buf, size_t len)
{
	return mem_dma_read(vm_mem(d->vm), GPA(addr), buf, len);
}

int doppel_vm_write(struct doppel_vm *d, uint64_t addr, const void *buf, size_t len)
{
	return mem_dma_write(vm_mem(d->vm), GPA(addr), buf, len);
}
