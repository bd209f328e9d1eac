/* SPDX-License-Identifier: Apache-2.0 */
/* What the options mean together: defaults, and conflicts that show only when all are known. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/err.h"
#include "dev/registry.h"
#include "engine/engine.h"
#include "machine/firmware.h"
#include "main/cmdline.h"
#include "x86/cpuid.h"

/* A firmware image by its path, or by its bare name in the places where images are. */
static const char *find_image(struct cmdline *c, const char *name)
{
	char *path = firmware_find(c->cfg.firmware_dirs, name);

	return path ? cmdline_own(c, path) : NULL;
}

/* The directories of -L, for whoever looks for a file. */
static void set_firmware_dirs(struct cmdline *c)
{
	c->firmware_dirs = xcalloc(c->data_dirs.n + 1, sizeof(*c->firmware_dirs));
	for (size_t i = 0; i < c->data_dirs.n; i++)
		c->firmware_dirs[i] = c->data_dirs.use[i].arg;
	c->cfg.firmware_dirs = c->firmware_dirs;
}

static bool has_disks(const struct cmdline *c)
{
	return c->drives.n || c->blockdevs.n;
}

static bool has_pflash(const struct cmdline *c)
{
	if (c->pflash[0])
		return true;
	for (size_t i = 0; i < c->drives.n; i++)
		if (strstr(c->drives.use[i].arg, "if=pflash"))
			return true;
	return false;
}

static int check_boot(struct cmdline *c, struct err **e)
{
	const char *dash = c->friendly ? "--" : "-";
	const char *bios = strcmp(c->cfg.machine, "microvm") ? "bios-256k.bin" : "bios-microvm.bin";

	if (c->initrd.arg && !c->kernel.arg)
		return err_set(e, EINVAL, "%s: only with %skernel", c->initrd.opt, dash);
	if (c->append.arg && !c->kernel.arg)
		return err_set(e, EINVAL, "%s: only with %skernel", c->append.opt, dash);
	if (c->bios.arg) {
		c->cfg.bios = find_image(c, c->bios.arg);
		if (!c->cfg.bios || access(c->cfg.bios, R_OK)) {
			int r = err_set(e, c->cfg.bios ? errno : ENOENT, "%s",
					strerror(c->cfg.bios ? errno : ENOENT));

			cmd_blame(e, &c->bios);
			return r;
		}
	} else if (!c->kernel.arg) {
		if (c->friendly && !has_disks(c))
			return err_set(e, EINVAL,
				       "nothing to boot: give a disk image, %scdrom FILE, %skernel FILE or %sbios FILE",
				       dash, dash, dash);
		if (!has_pflash(c))
			c->cfg.bios = find_image(c, bios);
		if (!c->cfg.bios && !has_pflash(c))
			return err_set(e, ENOENT,
				       "firmware '%s' is not installed (Debian package seabios), and no %sbios FILE is given",
				       bios, dash);
	}
	return 0;
}

/* -machine NAME,PART=off of a board that always has all parts. */
static int check_board(const struct cmdline *c, struct err **e)
{
	static const struct vm_board_opts none;
	struct vm_board_opts o = c->cfg.board;
	const struct vm_machine_info *m = vm_machines();

	while (strcmp(m->name, c->cfg.machine))
		m++;
	if (o.acpi == VM_ON)
		o.acpi = VM_AUTO;
	o.virtio_legacy = false;
	if (m->opts || !memcmp(&o, &none, sizeof(o)))
		return 0;
	err_set(e, EINVAL, "machine '%s' has all its parts, always", m->name);
	cmd_blame(e, &c->machine);
	return -EINVAL;
}

static int check_cpu(struct cmdline *c, struct err **e)
{
	struct x86_cpuid *model = NULL;
	int r = x86_cpuid_create(&model, c->cfg.cpu ? c->cfg.cpu : "max", c->cfg.n_cpus, 1000000,
				 e);

	if (r && c->cpu.arg)
		cmd_blame(e, &c->cpu);
	else if (!r && c->cpu.arg && x86_cpuid_asks_nested(c->cpu.arg))
		fprintf(stderr, "%s: warning: %s %s: there are no virtual machines within the guest\n",
			c->prog, c->cpu.opt, c->cpu.arg);
	x86_cpuid_destroy(model);
	return r;
}

/* Without a wish that can be met: the translator, or where the host lacks what that needs, the
 * interpreter, which needs nothing.  Either is said in one line (doppel run: in its first). */
static void default_engine(struct cmdline *c)
{
	const char *name = c->cfg.accel ? c->cfg.accel : "dbt";
	struct err *why = NULL;

	if (engine_find(name)->probe(&why)) {
		c->slower = cmdline_own(c, xstrdup(err_msg(why)));
		err_free(&why);
		name = "interp";
	}
	c->cfg.accel = name;
	if (c->friendly)
		return;
	if (c->fallback)
		fprintf(stderr, "%s: warning: %s%s%s: not there yet: %s; using the %s\n", c->prog,
			c->accel.opt, c->accel.arg ? " " : "", c->accel.arg ? c->accel.arg : "",
			c->fallback, c->slower ? "interpreter" : "translator");
	if (c->slower)
		fprintf(stderr, "%s: warning: %s; using the interpreter, which is slower\n", c->prog,
			c->slower);
}

/* Properties of -accel that only the translator has. */
static int check_accel(const struct cmdline *c, struct err **e)
{
	const struct vm_config *cfg = &c->cfg;
	const char *name = cfg->accel_stress	? "stress"
			   : cfg->accel_perfmap ? "perfmap"
			   : cfg->accel_gdbjit	? "gdbjit"
						: NULL;
	int r = 0;

	if (name && strcmp(cfg->accel, "dbt"))
		r = err_set(e, EINVAL, "'%s' is a property of the translator (dbt), not of %s",
			    name, cfg->accel);
	if (r)
		cmd_blame(e, &c->accel);
	return r;
}

static void add_serial(struct cmdline *c, const char *arg)
{
	cmd_list_add(&c->serials, (struct cmd_use){.opt = "-serial", .arg = arg});
}

/* A dialect machine has one serial port unless told otherwise: on the terminal with -nographic,
 * else on a display, which does not exist. */
static void default_serial(struct cmdline *c)
{
	if (c->serials.n)
		return;
	for (size_t i = 0; i < c->devices.n; i++)
		if (!strncmp(c->devices.use[i].arg, "isa-serial", 10))
			return;
	if (!c->nodefaults && c->cfg.board.isa_serial != VM_OFF)
		add_serial(c, c->friendly || c->nographic ? "mon:stdio" : "null");
}

/* A machine has a display adapter and a network card unless told otherwise; a friendly one that starts
 * a kernel has no use for the former. */
static void default_cards(struct cmdline *c)
{
	if (!c->vga_given && !c->nodefaults && strcmp(c->cfg.machine, "microvm") &&
	    !(c->friendly && c->kernel.arg))
		c->vga_driver = "VGA";
	if (c->vga_driver && !dev_class_find(c->vga_driver))
		c->vga_driver = NULL;
	if (c->nics.n || c->netdevs.n || c->nodefaults ||
	    (!c->friendly && !strcmp(c->cfg.machine, "microvm")) ||
	    !dev_class_find(cmdline_virtio(c, "net")))
		return;
	cmd_list_add(&c->nics,
		     (struct cmd_use){
			     .opt = "-nic",
			     .arg = cmdline_own(c, xasprintf("user%s", c->hostfwd ? c->hostfwd : "")),
		     });
}

/* -snapshot: every disk, those named before it too. */
static void snapshot_drives(struct cmdline *c)
{
	for (size_t i = 0; c->snapshot && i < c->drives.n; i++) {
		struct cmd_use *d = &c->drives.use[i];

		if (!strstr(d->arg, "media=cdrom") && !strstr(d->arg, "if=pflash"))
			d->arg = cmdline_own(c, xasprintf("%s,snapshot=on", d->arg));
	}
}

int cmdline_check(struct cmdline *c, struct err **e)
{
	int r;

	if (!c->cfg.machine)
		c->cfg.machine = "pc";
	if (!c->cfg.n_cpus)
		c->cfg.n_cpus = 1;
	if (!c->cfg.mem_size)
		c->cfg.mem_size = (!c->friendly ? 128 : has_disks(c) ? 1024 : 512) * MiB;
	if (c->friendly && c->kernel.arg && !c->cfg.append)
		c->cfg.append = "console=ttyS0";
	set_firmware_dirs(c);
	r = check_board(c, e);
	if (!r)
		r = check_boot(c, e);
	if (!r)
		r = check_cpu(c, e);
	if (r)
		return r;
	default_engine(c);
	default_serial(c);
	default_cards(c);
	snapshot_drives(c);
	return check_accel(c, e);
}
