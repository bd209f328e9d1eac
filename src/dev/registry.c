/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Devices by name: the const table below is the registration of every device that -device can make.
 *
 * Properties are parsed into one value for each entry of the device's table; an unknown name,
 * a number that is none or out of range, and a property given twice are errors that name it.
 * `id` is accepted everywhere.
 */
#include "dev/registry.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "dev/char/debugcon.h"
#include "dev/char/uart.h"
#include "dev/irq/gsi.h"
#include "dev/legacy/misc.h"

#define MAX_PROPS 8

struct prop_value {
	bool given;
	uint64_t num;
	char *str; /* owned; NULL when absent */
};

struct dev_class {
	const char *name, *bus, *help;
	struct dev_prop props[MAX_PROPS];
	/* Are the values fit for each other?  NULL: they are. */
	int (*check)(const struct prop_value *v, struct err **e);
	int (*create)(const struct dev_slots *s, const struct prop_value *v, struct err **e);
};

static int ports_check(uint64_t base, uint64_t size, struct err **e)
{
	if (!size || !range_fits(base, size, 0x10000))
		return err_set(e, EINVAL, "ports 0x%llx..+%llu are outside of the port space",
			       (unsigned long long)base, (unsigned long long)size);
	return 0;
}

static int ports_free(const struct dev_slots *s, uint64_t base, uint64_t size, struct err **e)
{
	const struct io_region *io = pio_user(s->env->mem, (uint16_t)base, (uint32_t)size);

	return io ? err_set(e, EBUSY, "ports 0x%llx..+%llu are in use by '%s'",
			    (unsigned long long)base, (unsigned long long)size, io->name) : 0;
}

static int debug_exit_check(const struct prop_value *v, struct err **e)
{
	return ports_check(v[0].num, v[1].num, e);
}

static int debug_exit_make(const struct dev_slots *s, const struct prop_value *v, struct err **e)
{
	int rc = ports_free(s, v[0].num, v[1].num, e);

	if (!rc)
		debug_exit_create(s->env, (uint16_t)v[0].num, (uint16_t)v[1].num);
	return rc;
}

static int chardev_of(const struct dev_slots *s, const struct prop_value *v, struct chardev **cd,
		      struct err **e)
{
	*cd = s->find_chardev ? s->find_chardev(s->opaque, v->str) : NULL;
	return *cd ? 0 : err_set(e, ENOENT, "no chardev '%s'", v->str);
}

static int chardev_check(const struct prop_value *v, struct err **e)
{
	return v->str ? 0 : err_set(e, EINVAL, "property 'chardev' is missing");
}

static int debugcon_check(const struct prop_value *v, struct err **e)
{
	return chardev_check(&v[1], e);
}

static int debugcon_make(const struct dev_slots *s, const struct prop_value *v, struct err **e)
{
	struct debugcon *d;
	struct chardev *cd;
	int rc = ports_free(s, v[0].num, 1, e);

	if (!rc)
		rc = chardev_of(s, &v[1], &cd, e);
	return rc ? rc : debugcon_create(&d, s->env, (uint16_t)v[0].num, cd, e);
}

static int serial_check(const struct prop_value *v, struct err **e)
{
	int rc = chardev_check(&v[2], e);

	return rc ? rc : ports_check(v[0].num, 8, e);
}

static int serial_make(const struct dev_slots *s, const struct prop_value *v, struct err **e)
{
	struct uart *u;
	struct chardev *cd;
	int rc = ports_free(s, v[0].num, 8, e);

	if (!rc && !gsi_has_room(s->gsi, (unsigned)v[1].num))
		rc = err_set(e, EBUSY, "too many devices share IRQ %llu",
			     (unsigned long long)v[1].num);
	if (!rc)
		rc = chardev_of(s, &v[2], &cd, e);
	return rc ? rc : uart_create(&u, s->env, "isa-serial", (uint16_t)v[0].num,
				     gsi_source(s->gsi, (unsigned)v[1].num), cd, e);
}

static const struct dev_class classes[] = {
	{ .name = "isa-debug-exit", .bus = "ISA", .help = "a port that ends the VM with a status",
	  .props = { { "iobase", "first port", "0x501", 0xffff },
		     { "iosize", "number of ports", "2", 0x10000 } },
	  .check = debug_exit_check, .create = debug_exit_make },
	{ .name = "isa-debugcon", .bus = "ISA", .help = "a port that prints",
	  .props = { { "iobase", "port", "0xe9", 0xffff },
		     { "chardev", "where the bytes go", NULL, 0 } },
	  .check = debugcon_check, .create = debugcon_make },
	{ .name = "isa-serial", .bus = "ISA", .help = "16550A serial port",
	  .props = { { "iobase", "first of eight ports", "0x3f8", 0xffff },
		     { "irq", "ISA IRQ", "4", 15 },
		     { "chardev", "what it is connected to", NULL, 0 } },
	  .check = serial_check, .create = serial_make },
};

static const struct dev_class *class_find(const char *name, struct err **e)
{
	for (size_t i = 0; i < ARRAY_SIZE(classes); i++)
		if (!strcmp(classes[i].name, name))
			return &classes[i];
	err_set(e, EINVAL, "'%s' is not a device; -device help lists them", name);
	return NULL;
}

static int number(const char *name, const char *s, uint64_t max, uint64_t *out, struct err **e)
{
	char *end;

	errno = 0;
	*out = strtoull(s, &end, 0);
	if (errno || end == s || *end || *s == '-')
		return err_set(e, EINVAL, "property '%s': '%s' is not a number", name, s);
	if (*out > max)
		return err_set(e, EINVAL, "property '%s': %s is more than %llu", name, s,
			       (unsigned long long)max);
	return 0;
}

static int value_set(const struct dev_prop *p, struct prop_value *v, const char *text,
		     struct err **e)
{
	if (v->given)
		return err_set(e, EINVAL, "property '%s' is given twice", p->name);
	v->given = true;
	if (p->max)
		return number(p->name, text, p->max, &v->num, e);
	v->str = xstrdup(text);
	return 0;
}

/* parse_one - "name=value". */
static int parse_one(const struct dev_class *c, struct prop_value *v, char *item, struct err **e)
{
	char *eq = strchr(item, '=');

	if (eq)
		*eq = '\0';
	if (!strcmp(item, "id") && eq)
		return 0;
	for (unsigned i = 0; i < MAX_PROPS && c->props[i].name; i++)
		if (!strcmp(c->props[i].name, item))
			return eq ? value_set(&c->props[i], &v[i], eq + 1, e) :
				    err_set(e, EINVAL, "property '%s' needs a value", item);
	return err_set(e, EINVAL, "'%s' has no property '%s'", c->name, item);
}

static int defaults(const struct dev_class *c, struct prop_value *v, struct err **e)
{
	for (unsigned i = 0; i < MAX_PROPS && c->props[i].name; i++) {
		int rc = v[i].given || !c->props[i].def ? 0 :
			 value_set(&c->props[i], &v[i], c->props[i].def, e);

		if (rc)
			return rc;
	}
	return c->check ? c->check(v, e) : 0;
}

static int parse(const struct dev_class *c, const char *props, struct prop_value *v, struct err **e)
{
	char *copy = xstrdup(props ? props : ""), *save = NULL;
	int rc = 0;

	for (char *s = strtok_r(copy, ",", &save); s && !rc; s = strtok_r(NULL, ",", &save))
		rc = parse_one(c, v, s, e);
	free(copy);
	return rc ? rc : defaults(c, v, e);
}

static int with_values(const struct dev_slots *s, const char *driver, const char *props,
		       struct err **e)
{
	struct prop_value v[MAX_PROPS] = { 0 };
	const struct dev_class *c = class_find(driver, e);
	int rc;

	if (!c)
		return -EINVAL;
	rc = parse(c, props, v, e);
	if (!rc && s)
		rc = c->create(s, v, e);
	for (unsigned i = 0; i < MAX_PROPS; i++)
		free(v[i].str);
	if (rc)
		err_prefix(e, "%s", driver);
	return rc;
}

int dev_create(const struct dev_slots *s, const char *driver, const char *props, struct err **e)
{
	return with_values(s, driver, props, e);
}

int dev_create_check(const char *driver, const char *props, struct err **e)
{
	return with_values(NULL, driver, props, e);
}

int dev_help(const char *driver, struct err **e)
{
	const struct dev_class *c;

	if (!driver) {
		for (size_t i = 0; i < ARRAY_SIZE(classes); i++)
			printf("name \"%s\", bus %s, desc \"%s\"\n", classes[i].name,
			       classes[i].bus, classes[i].help);
		return 0;
	}
	c = class_find(driver, e);
	if (!c)
		return -EINVAL;
	printf("%s options:\n", c->name);
	for (unsigned i = 0; i < MAX_PROPS && c->props[i].name; i++)
		printf("  %s=<%s> - %s%s%s%s\n", c->props[i].name, c->props[i].max ? "num" : "str",
		       c->props[i].help, c->props[i].def ? " (default " : "",
		       c->props[i].def ? c->props[i].def : "", c->props[i].def ? ")" : "");
	return 0;
}
