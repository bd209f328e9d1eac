/* SPDX-License-Identifier: Apache-2.0 */
#include "main/parts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "back/block/block.h"
#include "base/base.h"
#include "base/err.h"
#include "base/kvjson.h"
#include "dev/registry.h"

/* Does "k=v,k=v" set the property that "name=..." sets? */
static bool props_have(const char *props, const char *assign)
{
	size_t len = strcspn(assign, "=") + 1;

	for (const char *p = props; *p; p += strcspn(p, ","), p += *p == ',')
		if (!strncmp(p, assign, len))
			return true;
	return false;
}

/* The device's own properties count first, then the last -global. */
char *parts_global(const struct cmdline *c, const char *driver, const char *own)
{
	char *props = xstrdup(own);

	for (size_t i = c->globals.n; i-- > 0;) {
		const char *g = c->globals.use[i].arg;
		size_t len = strlen(driver);
		char *more;

		if (strncmp(g, driver, len) || g[len] != '.' || props_have(props, g + len + 1))
			continue;
		more = xasprintf(*props ? "%s,%s" : "%s%s", g + len + 1, props);
		free(props);
		props = more;
	}
	return props;
}

static void add(struct parts *p, const struct cmdline *c, const char *driver, const char *props)
{
	const struct dev_class *known = dev_class_find(driver); /* by any of its names */
	struct vm_device_opt *d;

	p->devices = xrealloc(p->devices, (p->n + 1) * sizeof(*p->devices));
	d = &p->devices[p->n++];
	d->driver = xstrdup(known ? known->name : driver);
	d->props = parts_global(c, d->driver, props);
}

static int add_device(struct parts *p, const struct cmdline *c, const char *arg, struct err **e)
{
	struct kvlist kv = {0};
	int r = kv_parse_any(&kv, arg, "driver", e);
	const char *driver = kv_get(&kv, "driver");
	char *props = kv_text(&kv, "driver");

	if (!r)
		add(p, c, driver, props);
	free(props);
	kv_free(&kv);
	return r;
}

/*
 * IDE: `pc` has two channels of two units, `q35` six ports of one; without index or bus the first
 * place that no other drive asks for, where CD-ROMs by tradition begin at the third.
 */
struct ide_map {
	unsigned buses, units;
	bool used[8];
};

static int ide_place(struct ide_map *m, const struct block_place *at, struct err **e)
{
	unsigned total = m->buses * m->units, n = 0;

	if (at->index >= 0) {
		n = (unsigned)at->index;
	} else if (at->bus >= 0 || at->unit >= 0) {
		if (at->unit >= (int)m->units)
			return err_set(e, EINVAL, "an IDE bus has %u units", m->units);
		n = (unsigned)(at->bus < 0 ? 0 : at->bus) * m->units +
		    (unsigned)(at->unit < 0 ? 0 : at->unit);
	} else {
		n = at->cdrom ? 2 : 0;
		while (n < total && m->used[n])
			n++;
		for (unsigned i = 0; n == total && i < total; i++)
			n = m->used[i] ? n : i;
	}
	if (n >= total)
		return err_set(e, EINVAL, "the machine has room for %u IDE drives", total);
	if (m->used[n])
		return err_set(e, EBUSY, "bus %u, unit %u is taken by another drive", n / m->units,
			       n % m->units);
	m->used[n] = true;
	return (int)n;
}

static bool wants_ide(const struct cmdline *c, const struct block_place *at)
{
	return at->interface == BLOCK_IF_IDE ||
	       (at->interface == BLOCK_IF_DEFAULT && strcmp(c->cfg.machine, "microvm"));
}

static int add_ide(struct parts *p, const struct cmdline *c, struct block *b, struct ide_map *m,
		   struct err **e)
{
	const struct block_place *at = block_place(b);
	struct kvlist kv = {0};
	char text[32], *props;
	int n = ide_place(m, at, e);

	if (n < 0)
		return n;
	snprintf(text, sizeof(text), "ide.%u", (unsigned)n / m->units);
	kv_add(&kv, "bus", text);
	snprintf(text, sizeof(text), "%u", (unsigned)n % m->units);
	kv_add(&kv, "unit", text);
	kv_add(&kv, "drive", block_id(b));
	props = kv_text(&kv, NULL);
	add(p, c, at->cdrom ? "ide-cd" : "ide-hd", props);
	free(props);
	kv_free(&kv);
	return 0;
}

static void add_virtio(struct parts *p, const struct cmdline *c, struct block *b)
{
	struct kvlist kv = {0};
	char *props;

	kv_add(&kv, "drive", block_id(b));
	props = kv_text(&kv, NULL);
	add(p, c, cmdline_virtio(c, "blk"), props);
	free(props);
	kv_free(&kv);
}

static int add_pflash(struct parts *p, struct block *b, struct err **e)
{
	const struct block_place *at = block_place(b);
	int unit = at->index >= 0 ? at->index : at->unit;

	if (unit < 0)
		unit = p->pflash[0] ? 1 : 0;
	if (unit > 1)
		return err_set(e, EINVAL, "there are 2 flash memories, units 0 and 1");
	if (p->pflash[unit])
		return err_set(e, EBUSY, "flash unit %d is taken by another drive", unit);
	p->pflash[unit] = b;
	return 0;
}

static int add_drive(struct parts *p, const struct cmdline *c, struct block *b, struct ide_map *m,
		     struct err **e)
{
	const struct block_place *at = block_place(b);
	int r = 0;

	if (wants_ide(c, at))
		r = add_ide(p, c, b, m, e);
	else if (at->interface == BLOCK_IF_VIRTIO || at->interface == BLOCK_IF_DEFAULT)
		add_virtio(p, c, b);
	else if (at->interface == BLOCK_IF_PFLASH)
		r = add_pflash(p, b, e);
	else if (at->interface != BLOCK_IF_NONE)
		r = err_set(e, EINVAL,
			    "the machine has no such interface: ide, virtio, pflash or none");
	if (r)
		err_prefix(e, "drive '%s'", block_id(b));
	return r;
}

/* Drives with a place of their own come first, so that the others go round them. */
static int add_drives(struct parts *p, const struct cmdline *c, struct backs *bs, struct err **e)
{
	bool q35 = !strcmp(c->cfg.machine, "q35");
	struct ide_map m = {.buses = q35 ? 6 : 2, .units = q35 ? 1 : 2};
	int r = 0;

	for (unsigned pass = 0; pass < 2; pass++)
		for (struct block *b = block_next(backs_blocks(bs), NULL); b && !r;
		     b = block_next(backs_blocks(bs), b)) {
			const struct block_place *at = block_place(b);
			bool fixed = at->index >= 0 || at->bus >= 0 || at->unit >= 0;

			if (!at->from_node && fixed == !pass)
				r = add_drive(p, c, b, &m, e);
		}
	return r;
}

/* -machine pflash0=NODE: blame what is wrong on that option. */
static int add_flash_nodes(struct parts *p, const struct cmdline *c, struct backs *bs,
			   struct err **e)
{
	int r = 0;

	for (unsigned i = 0; i < 2 && !r; i++) {
		if (!c->pflash[i])
			continue;
		if (p->pflash[i])
			r = err_set(e, EBUSY, "flash unit %u is taken by a drive", i);
		p->pflash[i] = backs_drive(bs, c->pflash[i]);
		if (!r && !p->pflash[i])
			r = err_set(e, ENOENT, "pflash%u: there is no node '%s'", i, c->pflash[i]);
		if (r)
			cmd_blame(e, &c->machine);
	}
	return r;
}

int parts_make(struct parts *p, const struct cmdline *c, struct backs *b, struct err **e)
{
	const struct backs_part *list;
	size_t n;
	int r = 0;

	if (c->vga_driver)
		add(p, c, c->vga_driver, "");
	n = backs_nics(b, &list);
	for (size_t i = 0; i < n; i++)
		add(p, c, list[i].driver, list[i].props);
	for (size_t i = 0; i < c->devices.n && !r; i++)
		r = add_device(p, c, c->devices.use[i].arg, e);
	n = backs_folders(b, &list);
	for (size_t i = 0; i < n; i++)
		add(p, c, list[i].driver, list[i].props);
	if (!r)
		r = add_drives(p, c, b, e);
	return r ? r : add_flash_nodes(p, c, b, e);
}

void parts_free(struct parts *p)
{
	for (size_t i = 0; i < p->n; i++) {
		free((char *)p->devices[i].driver);
		free((char *)p->devices[i].props);
	}
	free(p->devices);
}
