/* SPDX-License-Identifier: Apache-2.0 */
/* doppel explain: the dialect's words for a friendly command line. */
#include <stdio.h>
#include <stdlib.h>
#include <stdlib.h>
#include <string.h>
#include "base/base.h"
#include "main/cmdline.h"
#include "main/publish.h"
#include "main/seed.h"

static void explain_word(const char *w)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				    "%+,-./:=@_";

	putchar(' ');
	if (*w && strspn(w, plain) == strlen(w)) {
		fputs(w, stdout);
		return;
	}
	putchar('\'');
	for (; *w; w++)
		fputs(*w == '\'' ? "'\\''" : (char[]){*w, 0}, stdout);
	putchar('\'');
}

static void explain_opt(const char *name, const char *arg)
{
	explain_word(name);
	if (arg)
		explain_word(arg);
}

static void explain_use(const char *name, const struct cmd_use *use)
{
	if (use->arg)
		explain_opt(name, use->arg);
}

static void explain_list(const char *name, const struct cmd_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		explain_opt(name, l->use[i].arg);
}

static void explain_flag(const char *name, bool on)
{
	if (on)
		explain_opt(name, NULL);
}

static void explain_uuid(const uint8_t uuid[16])
{
	static const uint8_t none[16];

	if (!memcmp(uuid, none, sizeof(none)))
		return;
	printf(" -uuid ");
	for (unsigned i = 0; i < 16; i++)
		printf("%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", uuid[i]);
}

static void explain_boot(const struct cmdline *c)
{
	const struct vm_boot *b = &c->cfg.boot;
	char *text;

	if (!b->order && !b->once && !b->menu && !b->strict && !b->splash_ms)
		return;
	text = xasprintf("menu=%s,strict=%s,splash-time=%u%s%s%s%s", b->menu ? "on" : "off",
			 b->strict ? "on" : "off", b->splash_ms, b->order ? ",order=" : "",
			 b->order ? b->order : "", b->once ? ",once=" : "", b->once ? b->once : "");
	explain_opt("-boot", text);
	free(text);
}

/* What doppel run adds: a monitor where others find it, and for a machine that leaves the terminal its
 * console there too. */
static void explain_published(const struct cmdline *c)
{
	char *path = rundir_path(c->cfg.name, "qmp"), *spec = publish_socket("", path);

	explain_opt("-qmp", spec);
	explain_flag("-daemonize", true);
	free(spec);
	free(path);
}

static void explain_serials(const struct cmdline *c)
{
	for (size_t i = 0; i < c->serials.n; i++) {
		const char *arg = c->serials.use[i].arg;
		bool stdio = !strcmp(arg, "mon:stdio") || !strcmp(arg, "stdio");
		char *path = rundir_path(c->cfg.name, "console");
		char *spec = publish_socket("mon:", path);

		explain_opt("-serial", c->detach && stdio ? spec : arg);
		free(spec);
		free(path);
	}
}

static void explain_machine(const struct cmdline *c)
{
	static const char *const values[] = {"auto", "on", "off"};
	const struct vm_board_opts *b = &c->cfg.board;
	const struct {
		const char *name;
		enum vm_auto value;
	} parts[] = {
		{"acpi", b->acpi}, {"pic", b->pic}, {"pit", b->pit}, {"rtc", b->rtc},
		{"ioapic2", b->ioapic2}, {"isa-serial", b->isa_serial},
		{"auto-kernel-cmdline", b->auto_cmdline},
	};
	char *text = xstrdup(c->cfg.machine);

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		char *more;

		if (parts[i].value == VM_AUTO)
			continue;
		more = xasprintf("%s,%s=%s", text, parts[i].name, values[parts[i].value]);
		free(text);
		text = more;
	}
	explain_opt("-machine", text);
	free(text);
	if (b->virtio_legacy)
		explain_opt("-global", "virtio-mmio.force-legacy=on");
}

void cmdline_explain(const struct cmdline *c)
{
	char mem[32];

	if (seed_mounts(c))
		fprintf(stderr, "%s: the seed of --user and --ssh-key is not among the dialect's words\n",
			c->prog);
	if (c->timeout_ms) /* the same status, 124, ends both */
		printf("timeout --foreground %g ", (double)c->timeout_ms / 1000);
	printf("doppel-system-x86_64");
	explain_opt("-accel", c->cfg.accel);
	explain_machine(c);
	explain_use("-cpu", &c->cpu);
	if (c->cfg.mem_size % MiB)
		snprintf(mem, sizeof(mem), "%lluK", (unsigned long long)(c->cfg.mem_size / KiB));
	else
		snprintf(mem, sizeof(mem), "%lluM", (unsigned long long)(c->cfg.mem_size / MiB));
	explain_opt("-m", mem);
	explain_use("-smp", &c->smp);
	if (c->cfg.name)
		explain_opt("-name", c->cfg.name);
	explain_uuid(c->cfg.uuid);
	explain_flag("-nodefaults", c->nodefaults);
	explain_flag("-nographic", c->nographic);
	explain_list("-chardev", &c->chardevs);
	explain_serials(c);
	explain_use("-debugcon", &c->debugcon);
	for (size_t i = 0; i < c->monitors.n; i++) {
		const struct cmd_use *use = &c->monitors.use[i];

		explain_opt(use->opt + (use->opt[1] == '-'), use->arg);
	}
	explain_list("-global", &c->globals);
	explain_list("-object", &c->objects);
	explain_list("-blockdev", &c->blockdevs);
	explain_list("-drive", &c->drives);
	explain_list("-netdev", &c->netdevs);
	for (size_t i = 0; i < c->nics.n; i++)
		explain_opt(strcmp(c->nics.use[i].opt, "-net") ? "-nic" : "-net",
			    c->nics.use[i].arg);
	explain_list("-fsdev", &c->fsdevs);
	explain_list("-virtfs", &c->virtfs);
	explain_opt("-vga", c->vga_driver ? "std" : "none");
	explain_list("-device", &c->devices);
	explain_list("-fw_cfg", &c->fw_cfgs);
	explain_list("-smbios", &c->smbios);
	if (c->cfg.bios)
		explain_opt("-bios", c->cfg.bios);
	explain_use("-kernel", &c->kernel);
	explain_use("-initrd", &c->initrd);
	if (c->cfg.append)
		explain_opt("-append", c->cfg.append);
	explain_boot(c);
	explain_flag("-no-reboot", c->cfg.no_reboot);
	explain_flag("-no-shutdown", c->cfg.no_shutdown);
	explain_flag("-S", c->cfg.start_paused);
	explain_use("-gdb", &c->gdb);
	explain_use("-d", &c->log);
	explain_use("-D", &c->log_file);
	explain_use("-pidfile", &c->pidfile);
	if (c->detach)
		explain_published(c);
	putchar('\n');
}
