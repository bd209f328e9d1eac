/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* A board with a controller and drives over files, for test_ahci.c and test_ide.c. */
#include "apics_none.h"
#include "dev_env.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "dev/ata/ata.h"
#include "dev/irq/apic.h"
#include "dev/irq/gsi.h"
#include "dev/irq/ioapic.h"
#include "dev/irq/pic.h"
#include "dev/pci/i440fx.h"
#include "dev/pci/pci.h"
#include "dev/pci/q35.h"
#include "dev/registry.h"

#define DISK_SECTORS 4096u
#define CD_SECTORS 400u

struct rig {
	struct test_env *t;
	struct apics *apics;
	struct gsi *gsi;
	struct test_wire intr;
	bool cpu_intr;
	struct pci_bus *bus;
	struct blocks *blocks;
	struct block *disk, *cd;
	char disk_path[32], cd_path[32];
	unsigned messages;
};

static const struct pam_config rig_pam = {.ram_off = 0};

/* pattern - byte of the files at an offset. */
static inline uint8_t pattern(uint64_t off, unsigned salt)
{
	return (uint8_t)(off * 7 + off / 512 * 13 + off / 65536 + salt);
}

static inline void rig_file(char *path, uint64_t size, unsigned salt)
{
	uint8_t *p = xzalloc(size);
	int fd;

	strcpy(path, "/tmp/doppel-ata-XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	for (uint64_t i = 0; i < size; i++)
		p[i] = pattern(i, salt);
	assert_int_equal(write(fd, p, size), size);
	close(fd);
	free(p);
}

static inline void rig_message(void *opaque, uint16_t requester, uint64_t addr, uint32_t data)
{
	((struct rig *)opaque)->messages++;
}

static inline struct block *rig_drive(struct rig *r, const char *id, const char *path,
				      const char *more)
{
	struct block *b;
	char *opts = xasprintf("id=%s,if=none,format=raw,file=%s%s", id, path, more);

	assert_int_equal(block_open_drive(&b, r->blocks, opts, NULL), 0);
	free(opts);
	return b;
}

static inline void *rig_find(void *opaque, const char *id)
{
	return block_find(opaque, id);
}

static inline int rig_device(struct rig *r, const char *driver, const char *props)
{
	struct dev_slots s = {
		.env = &r->t->env,
		.gsi = r->gsi,
		.backends = {.drive = (struct block * (*)(void *, const char *)) rig_find,
			     .opaque = r->blocks},
	};
	struct err *e = NULL;
	int rc;

	lock_take(&r->t->lock);
	rc = dev_create(&s, driver, props, &e);
	lock_drop(&r->t->lock);
	err_free(&e);
	return rc;
}

static inline struct rig *rig_open(bool q35)
{
	struct rig *r = xzalloc(sizeof(*r));
	struct dev_env *env;

	r->t = env_open();
	env = &r->t->env;
	env->msi = rig_message;
	env->msi_opaque = r;
	r->apics = apics_create(env, 1, &apics_none_ops, &r->cpu_intr);
	r->gsi = gsi_create(env, pic_create(env, wire(&r->intr)), ioapic_create(env, r->apics));
	lock_take(&r->t->lock);
	if (q35) {
		r->bus = q35_bus(q35_create(env, r->gsi, &rig_pam));
		ahci_create(r->bus, PCI_DEVFN(31, 2), 6, "ich9-ahci");
	} else {
		r->bus = i440fx_bus(i440fx_create(env, r->gsi, &rig_pam));
		piix_ide_create(r->bus, PCI_DEVFN(1, 1), r->gsi);
	}
	lock_drop(&r->t->lock);
	r->blocks = blocks_create(env->log);
	rig_file(r->disk_path, DISK_SECTORS * 512, 1);
	rig_file(r->cd_path, CD_SECTORS * 2048, 2);
	r->disk = rig_drive(r, "disk", r->disk_path, "");
	r->cd = rig_drive(r, "cd", r->cd_path, ",media=cdrom");
	return r;
}

static inline void rig_close(struct rig *r)
{
	lock_take(&r->t->lock);
	dev_destroy_all(&r->t->env);
	lock_drop(&r->t->lock);
	blocks_destroy(r->blocks);
	env_close(r->t);
	unlink(r->disk_path);
	unlink(r->cd_path);
	free(r);
}

static inline uint32_t cfg_get(struct rig *r, uint8_t devfn, unsigned off, unsigned size)
{
	outl(r->t, 0xcf8, 0x80000000u | (uint32_t)devfn << 8 | (off & 0xfc));
	return pio_read(r->t->env.mem, (uint16_t)(0xcfc + (off & 3)), size);
}

static inline void cfg_put(struct rig *r, uint8_t devfn, unsigned off, uint32_t v, unsigned size)
{
	outl(r->t, 0xcf8, 0x80000000u | (uint32_t)devfn << 8 | (off & 0xfc));
	pio_write(r->t->env.mem, (uint16_t)(0xcfc + (off & 3)), v, size);
}

static inline uint8_t *ram(struct rig *r, uint64_t a)
{
	return mem_ram_base(r->t->env.mem) + a;
}

/* is_pattern - guest memory holds n bytes of a file from `off` on. */
static inline void is_pattern(struct rig *r, uint64_t a, uint64_t off, uint64_t n, unsigned salt)
{
	const uint8_t *p = ram(r, a);

	for (uint64_t i = 0; i < n; i++)
		if (p[i] != pattern(off + i, salt))
			fail_msg("byte %llu: %02x, not %02x", (unsigned long long)(off + i), p[i],
				 pattern(off + i, salt));
}

static inline void fill(struct rig *r, uint64_t a, uint64_t n, unsigned salt)
{
	for (uint64_t i = 0; i < n; i++)
		ram(r, a)[i] = pattern(i, salt);
}

/* file_is - the disk's file holds fill()'s bytes there. */
static inline void file_is(struct rig *r, uint64_t off, uint64_t n, unsigned salt)
{
	int fd = open(r->disk_path, O_RDONLY);
	uint8_t *p = xzalloc(n);

	assert_int_equal(pread(fd, p, n, (off_t)off), n);
	for (uint64_t i = 0; i < n; i++)
		if (p[i] != pattern(i, salt))
			fail_msg("byte %llu of the file", (unsigned long long)(off + i));
	close(fd);
	free(p);
}

static inline uint64_t rnd(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s;
}

/* Save and load all devices, as a machine does; into `to`, whose devices are the same. */
static inline void rig_save(struct rig *r, struct state_buf *out)
{
	lock_take(&r->t->lock);
	for (struct dev *d = r->t->env.devs; d; d = d->next)
		state_save(out, d->ops->state, d);
	lock_drop(&r->t->lock);
}

static inline int rig_load(struct rig *r, const struct state_buf *in)
{
	size_t at = 0, used;
	int rc = 0;

	lock_take(&r->t->lock);
	for (struct dev *d = r->t->env.devs; d && !rc; d = d->next) {
		struct err *e = NULL;

		rc = state_load(d->ops->state, d, in->data + at, in->len - at, &used, &e);
		err_free(&e);
		at += rc ? 0 : used;
	}
	lock_drop(&r->t->lock);
	return rc;
}

static inline void rig_quiesce(struct rig *r)
{
	lock_take(&r->t->lock);
	for (struct dev *d = r->t->env.devs; d; d = d->next)
		d->ops->quiesce(d);
	lock_drop(&r->t->lock);
}

#define wait_until(cond)                                                  \
	do {                                                              \
		for (int wait_i = 0; wait_i < 50000 && !(cond); wait_i++) \
			usleep(100);                                      \
		assert_true(cond);                                        \
	} while (0)
