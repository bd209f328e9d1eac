/* SPDX-License-Identifier: Apache-2.0 */
/* Options that describe the machine: board, CPUs, memory, engine, devices. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/kvjson.h"
#include "dev/registry.h"
#include "main/cmdline.h"
#include "x86/cpuid.h"

#define MAX_CPUS 64
#define MIN_MEMORY MiB
#define MAX_MEMORY (512 * GiB)

/* Names after -accel, the engine each means, and what that is called. */
static const struct accel_name {
	const char *name, *engine, *what;
} accel_names[] = {
	{"interp", "interp", "the interpreter"},
	{"tcg", "dbt", "the translator"},
	{"dbt", "dbt", "the translator"},
	{"kvm", "kvm", "KVM"},
};

static void accel_help(void)
{
	printf("Engines that can be used:\nauto (the best there is)\n");
	for (const struct engine_ops *const *e = engine_list(); *e; e++)
		printf("%s\n", (*e)->name);
}

/* Choose the engine for one name; an engine that is not there is noted and nothing chosen. */
static int accel_want(struct cmdline *c, const char *name, struct err **e)
{
	if (!strcmp(name, "auto"))
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(accel_names); i++) {
		const struct accel_name *a = &accel_names[i];

		if (strcmp(a->name, name))
			continue;
		if (c->cfg.accel)
			return 0; /* an earlier one will do */
		if (engine_find(a->engine))
			c->cfg.accel = engine_find(a->engine)->name;
		else
			c->fallback = cmdline_own(c, c->fallback ? xasprintf("%s, %s", c->fallback,
									     a->what)
								 : xstrdup(a->what));
		return 0;
	}
	return err_set(e, EINVAL, "invalid accelerator '%s' (try '-accel help')", name);
}

/* "kvm:tcg": in order of preference. */
static int accel_want_list(struct cmdline *c, const char *list, struct err **e)
{
	char *copy = xstrdup(list), *save = NULL;
	int r = *list ? 0 : err_set(e, EINVAL, "no accelerator is named");

	for (char *w = strtok_r(copy, ":", &save); w && !r; w = strtok_r(NULL, ":", &save))
		r = accel_want(c, w, e);
	free(copy);
	return r;
}

int opt_accel(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	struct kvlist l = {0};
	const char *name, *thread, *stress;
	int r;

	if (!strcmp(use->arg, "help")) {
		accel_help();
		return CMD_DONE;
	}
	c->accel = *use;
	r = kv_parse(&l, use->arg, "accel", e);
	if (!r) {
		name = kv_get(&l, "accel");
		r = accel_want_list(c, name ? name : "", e);
	}
	stress = kv_get(&l, "stress");
	if (stress)
		c->cfg.accel_stress = cmdline_own(c, xstrdup(stress));
	thread = kv_get(&l, "thread");
	if (!r && thread && strcmp(thread, "multi"))
		r = err_set(e, EINVAL, "'thread' can only be 'multi'");
	if (!r)
		r = kv_bool(&l, "perfmap", &c->cfg.accel_perfmap, e);
	if (!r)
		r = kv_bool(&l, "gdbjit", &c->cfg.accel_gdbjit, e);
	if (!r)
		r = kv_finish(&l, e);
	kv_free(&l);
	return r;
}

int opt_enable_kvm(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	c->accel = *use;
	return accel_want(c, "kvm", e);
}

static const char *machine_find(const char *name)
{
	for (const struct vm_machine_info *m = vm_machines(); m->name; m++)
		if (!strcmp(m->name, name))
			return m->name;
	return NULL;
}

static void machine_help(void)
{
	const struct vm_machine_info *m = vm_machines();

	printf("Supported machines are:\n");
	for (; m->name; m++)
		printf("%-20s %s%s\n", m->name, m->help, strcmp(m->name, "pc") ? "" : " (default)");
}

/* Parts of QEMU's boards that ours lacks, so that switching them off is true. */
static int machine_absent_parts(struct kvlist *l, struct err **e)
{
	static const char *const absent[] = {"usb", "vmport", "smm", "graphics", "nvdimm", "hmat"};

	for (size_t i = 0; i < ARRAY_SIZE(absent); i++) {
		const char *v = kv_get(l, absent[i]);

		if (v && strcmp(v, "off"))
			return err_set(e, EINVAL, "'%s' can only be 'off'", absent[i]);
	}
	return 0;
}

static int machine_auto(struct kvlist *l, const char *key, enum vm_auto *out, struct err **e)
{
	const char *v = kv_get(l, key);

	if (!v)
		return 0;
	if (!strcmp(v, "on") || !strcmp(v, "true"))
		*out = VM_ON;
	else if (!strcmp(v, "off") || !strcmp(v, "false"))
		*out = VM_OFF;
	else if (!strcmp(v, "auto"))
		*out = VM_AUTO;
	else
		return err_set(e, EINVAL, "'%s' can only be 'on', 'off' or 'auto'", key);
	return 0;
}

/* Parts that some boards can do without: which, is checked when the board is known. */
static int machine_parts(struct kvlist *l, struct vm_board_opts *b, struct err **e)
{
	enum vm_auto pcie = VM_AUTO, roms = VM_AUTO;
	const struct {
		const char *key;
		enum vm_auto *to;
	} parts[] = {
		{"acpi", &b->acpi}, {"pic", &b->pic}, {"pit", &b->pit}, {"rtc", &b->rtc},
		{"ioapic2", &b->ioapic2}, {"isa-serial", &b->isa_serial},
		{"auto-kernel-cmdline", &b->auto_cmdline}, {"x-option-roms", &roms}, {"pcie", &pcie},
	};
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(parts) && !r; i++)
		r = machine_auto(l, parts[i].key, parts[i].to, e);
	if (!r && pcie == VM_ON)
		r = err_set(e, EINVAL, "'pcie' can only be 'off'");
	return r;
}

/* The nodes that are flash memories. */
static void machine_flash(struct cmdline *c, struct kvlist *l)
{
	static const char *const keys[] = {"pflash0", "pflash1"};

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		const char *node = kv_get(l, keys[i]);

		if (node)
			c->pflash[i] = *node ? cmdline_own(c, xstrdup(node)) : NULL;
	}
}

int opt_machine(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	struct kvlist l = {0};
	const char *type, *accel;
	int r;

	if (!strcmp(use->arg, "help") || !strcmp(use->arg, "?")) {
		machine_help();
		return CMD_DONE;
	}
	c->machine = *use;
	r = kv_parse(&l, use->arg, "type", e);
	type = kv_get(&l, "type");
	accel = kv_get(&l, "accel");
	if (!r && type) {
		c->cfg.machine = machine_find(type);
		if (!c->cfg.machine)
			r = err_set(e, EINVAL,
				    "unsupported machine type '%s' (try '-machine help')", type);
	}
	if (!r && accel) {
		c->accel = *use;
		r = accel_want_list(c, accel, e);
	}
	if (!r)
		r = machine_absent_parts(&l, e);
	if (!r)
		r = machine_parts(&l, &c->cfg.board, e);
	machine_flash(c, &l);
	if (!r)
		r = kv_finish(&l, e);
	kv_free(&l);
	return r;
}

int opt_cpu(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	if (strcmp(use->arg, "help") && strcmp(use->arg, "?")) {
		c->cpu = *use; /* checked when the number of CPUs is known */
		c->cfg.cpu = use->arg;
		return CMD_RUN;
	}
	printf("Available CPUs:\n");
	for (const struct x86_cpuid_model_info *m = x86_cpuid_models(); m->name; m++)
		printf("  %-12s %s\n", m->name, m->help);
	return CMD_DONE;
}

int opt_memory(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	struct kvlist l = {0};
	uint64_t size, max, slots = 0;
	const char *v;
	int r = kv_parse(&l, use->arg, "size", e);

	c->mem = *use;
	v = kv_get(&l, "size");
	if (!r && (!v || !parse_size(v, MiB, &size)))
		r = err_set(e, EINVAL, "'%s' is not a size such as 512M or 2G", v ? v : "");
	if (!r && (size < MIN_MEMORY || size > MAX_MEMORY))
		r = err_set(e, EINVAL, "memory of %s is not between 1M and 512G", v);
	if (!r) {
		c->cfg.mem_size = align_up(size, 4096);
		max = c->cfg.mem_size;
		v = kv_get(&l, "maxmem");
		r = kv_uint(&l, "slots", 0, 256, &slots, e);
		if (!r &&
		    ((v && (!parse_size(v, MiB, &max) || align_up(max, 4096) != c->cfg.mem_size)) ||
		     slots))
			r = err_set(e, EINVAL, "memory cannot be plugged in later");
	}
	if (!r)
		r = kv_finish(&l, e);
	kv_free(&l);
	return r;
}

/* The number of CPUs that a topology means; *flat is whether it is one socket of single-threaded
 * cores. */
static int smp_count(struct kvlist *l, unsigned *n, bool *flat, struct err **e)
{
	static const char *const levels[] = {"sockets", "dies", "clusters", "cores", "threads"};
	uint64_t cpus = 0, max, product = 1, v[ARRAY_SIZE(levels)] = {0};
	const char *word = kv_get(l, "cpus");
	bool all = true;

	if (word && !parse_uint(word, 1, MAX_CPUS, &cpus))
		return err_set(e, EINVAL, "'%s' is not a number of CPUs from 1 to %d", word,
			       MAX_CPUS);
	for (size_t i = 0; i < ARRAY_SIZE(levels); i++) {
		int r = kv_uint(l, levels[i], 1, MAX_CPUS, &v[i], e);

		if (r)
			return r;
		product *= v[i] ? v[i] : 1;
		if (i == 0 || i == 3 || i == 4)
			all = all && v[i];
	}
	if (!cpus)
		cpus = product;
	if (cpus > MAX_CPUS)
		return err_set(e, EINVAL, "%llu CPUs are more than %d", (unsigned long long)cpus,
			       MAX_CPUS);
	max = cpus;
	word = kv_get(l, "maxcpus");
	if (word && (!parse_uint(word, 1, UINT32_MAX, &max) || max != cpus))
		return err_set(
			e, EINVAL,
			"'maxcpus' must be the number of CPUs: none can be plugged in later");
	if (all ? product != max : max % product != 0)
		return err_set(e, EINVAL, "the topology makes %llu CPUs, not %llu",
			       (unsigned long long)product, (unsigned long long)max);
	*n = (unsigned)cpus;
	*flat = v[0] <= 1 && v[1] <= 1 && v[2] <= 1 && v[4] <= 1;
	return 0;
}

int opt_smp(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	struct kvlist l = {0};
	bool flat = true;
	int r = kv_parse(&l, use->arg, "cpus", e);

	c->smp = *use;
	if (!r)
		r = smp_count(&l, &c->cfg.n_cpus, &flat, e);
	if (!r)
		r = kv_finish(&l, e);
	if (!r && !flat)
		fprintf(stderr, "%s: warning: %s %s: the guest sees one socket of %u cores\n",
			c->prog, use->opt, use->arg, c->cfg.n_cpus);
	kv_free(&l);
	return r;
}

int opt_device(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	struct kvlist kv = {0};
	const char *driver;
	char *props;
	int r;

	if (!strcmp(use->arg, "help") || !strcmp(use->arg, "?"))
		return dev_help(NULL, e) ? -EINVAL : CMD_DONE;
	r = kv_parse_any(&kv, use->arg, "driver", e);
	driver = kv_get(&kv, "driver");
	if (!r && !driver)
		r = err_set(e, EINVAL, "'driver' is missing");
	props = kv_text(&kv, "driver");
	if (!r && (!strcmp(props, "help=on") || !strcmp(props, "?=on")))
		r = dev_help(driver, e) ? -EINVAL : CMD_DONE;
	else if (!r)
		r = dev_create_check(driver, props, e);
	free(props);
	kv_free(&kv);
	if (r == CMD_RUN)
		cmd_list_add(&c->devices, *use);
	return r;
}

/* The slots of a board are devices of their own, which nobody names but to say this. */
static int global_mmio(struct cmdline *c, const char *value, struct err **e)
{
	bool on = !strcmp(value, "on") || !strcmp(value, "true");

	if (!on && strcmp(value, "off") && strcmp(value, "false"))
		return err_set(e, EINVAL, "'force-legacy' can only be 'on' or 'off'");
	c->cfg.board.virtio_legacy = on;
	return 0;
}

/* DRIVER.PROPERTY=VALUE, in two halves. */
int opt_global(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	const char *dot = strchr(use->arg, '.');
	char *driver;
	int r;

	if (!dot || !strchr(dot, '='))
		return err_set(e, EINVAL, "not DRIVER.PROPERTY=VALUE");
	if (!strncmp(use->arg, "virtio-mmio.force-legacy=", 25))
		return global_mmio(c, use->arg + 25, e);
	driver = xasprintf("%.*s", (int)(dot - use->arg), use->arg);
	/* Some devices are complete only with a back end, which each will name itself. */
	r = dev_prop_check(driver, dot + 1, e);
	free(driver);
	if (!r)
		cmd_list_add(&c->globals, *use);
	return r;
}
