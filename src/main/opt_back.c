/* SPDX-License-Identifier: Apache-2.0 */
/* Options for the host side of devices: drives, networks, shared folders, objects. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "back/net/net.h"
#include "base/base.h"
#include "base/err.h"
#include "base/kvjson.h"
#include "dev/registry.h"
#include "main/cmdline.h"
#include "main/object.h"
#include "main/seed.h"
#include "main/smbios_opt.h"

static bool is_help(const char *arg)
{
	return !strcmp(arg, "help") || !strcmp(arg, "?");
}

/* Is it an option list at all?  What is in it is judged when it is opened. */
static int add_list(struct cmd_list *l, const struct cmd_use *use, const char *implied,
		    struct err **e)
{
	struct kvlist kv = {0};
	int r = kv_parse_any(&kv, use->arg, implied, e);

	kv_free(&kv);
	if (!r)
		cmd_list_add(l, *use);
	return r;
}

int opt_drive(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	return add_list(&c->drives, use, NULL, e);
}

int opt_blockdev(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	return add_list(&c->blockdevs, use, "driver", e);
}

/* file=..., with the commas of the name doubled, and more. */
static void add_file(struct cmdline *c, const struct cmd_use *use, const char *more)
{
	struct kvlist kv = {0};
	struct cmd_use drive = {.opt = use->opt};
	char *text;

	kv_add(&kv, "file", use->arg);
	text = kv_text(&kv, NULL);
	kv_free(&kv);
	drive.arg = cmdline_own(c, xasprintf("%s%s", text, more));
	free(text);
	cmd_list_add(&c->drives, drive);
}

/* -hda to -hdd */
int opt_hd(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	char more[] = ",index=0,media=disk";

	more[7] = (char)('0' + (use->opt[strlen(use->opt) - 1] - 'a'));
	add_file(c, use, more);
	return 0;
}

int opt_cdrom(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	add_file(c, use, ",index=2,media=cdrom");
	return 0;
}

int opt_pflash(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	add_file(c, use, ",if=pflash,format=raw");
	return 0;
}

int opt_snapshot(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	c->snapshot = true;
	return 0;
}

/* A word that is no option: a disk image. */
int opt_disk(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	struct cmd_use file = {.opt = "disk", .arg = use->opt};

	add_file(c, &file, c->friendly ? ",if=virtio,discard=unmap" : ",index=0,media=disk");
	c->disks++;
	return 0;
}

int opt_netdev(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	if (is_help(use->arg)) {
		netdev_kinds_help();
		return CMD_DONE;
	}
	return add_list(&c->netdevs, use, "driver", e);
}

int opt_nic(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	if (is_help(use->arg)) {
		netdev_kinds_help();
		return CMD_DONE;
	}
	return add_list(&c->nics, use, "driver", e);
}

int opt_fsdev(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	return add_list(&c->fsdevs, use, "driver", e);
}

int opt_virtfs(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	return add_list(&c->virtfs, use, "driver", e);
}

int opt_object(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	if (is_help(use->arg)) {
		objects_help();
		return CMD_DONE;
	}
	cmd_list_add(&c->objects, *use);
	return object_check(use->arg, e);
}

int opt_vga(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	c->vga_given = true;
	c->vga_driver = NULL;
	if (!strcmp(use->arg, "none"))
		return 0;
	if (strcmp(use->arg, "std"))
		return err_set(e, EINVAL, "there is no such adapter: std or none");
	c->vga_driver = "VGA";
	return 0;
}

const char *cmdline_virtio(const struct cmdline *c, const char *type)
{
	bool mmio = c->cfg.machine && !strcmp(c->cfg.machine, "microvm");
	static const struct {
		const char *type, *pci, *mmio;
	} names[] = {
		{"blk", "virtio-blk-pci", "virtio-blk-device"},
		{"net", "virtio-net-pci", "virtio-net-device"},
		{"9p", "virtio-9p-pci", "virtio-9p-device"},
		{"rng", "virtio-rng-pci", "virtio-rng-device"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (!strcmp(names[i].type, type))
			return mmio ? names[i].mmio : names[i].pci;
	return NULL;
}

/* -net nic and -net user that belong together: the how manieth of its sort each is. */
unsigned cmdline_net_number(const struct cmdline *c, size_t i)
{
	bool card = !strncmp(c->nics.use[i].arg, "nic", 3);
	unsigned n = 0;

	for (size_t j = 0; j < i; j++)
		n += !strcmp(c->nics.use[j].opt, "-net") &&
		     card == !strncmp(c->nics.use[j].arg, "nic", 3);
	return n;
}

/* host:guest[/udp], or a complete rule of hostfwd. */
static char *port_rule(const char *arg, struct err **e)
{
	unsigned host, guest;
	char proto[4] = "tcp", bind[64] = "127.0.0.1";
	const char *colon = strchr(arg, ':');
	int used = 0;

	if (colon && strchr(colon + 1, ':')) { /* address:host:guest */
		if (sscanf(arg, "%63[0-9.]:%u:%u%n", bind, &host, &guest, &used) != 3)
			used = 0;
	} else if (sscanf(arg, "%u:%u%n", &host, &guest, &used) != 2) {
		used = 0;
	}
	if (used && arg[used] == '/' &&
	    (!strcmp(arg + used, "/udp") || !strcmp(arg + used, "/tcp"))) {
		memcpy(proto, arg + used + 1, 4);
		used += 4;
	}
	if (!used || arg[used] || host > 65535 || !guest || guest > 65535) {
		err_set(e, EINVAL, "not HOSTPORT:GUESTPORT, like 8080:80 or 0.0.0.0:8080:80/tcp");
		return NULL;
	}
	return xasprintf("hostfwd=%s:%s:%u-:%u", proto, bind, host, guest);
}

int opt_publish(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	char *rule = port_rule(use->arg, e);

	if (!rule)
		return -EINVAL;
	c->hostfwd = cmdline_own(c, c->hostfwd ? xasprintf("%s,%s", c->hostfwd, rule)
					       : xasprintf(",%s", rule));
	free(rule);
	return 0;
}

int opt_user(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	c->user = *use;
	return seed_check_user(use->arg, e);
}

int opt_ssh_key(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	cmd_list_add(&c->ssh_keys, *use);
	return seed_check_key(use->arg, e);
}

/* dir:/mnt[:ro] */
int opt_volume(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	size_t len = strlen(use->arg);
	bool ro = len > 3 && !strcmp(use->arg + len - 3, ":ro");
	char *dir = xstrdup(use->arg), *where, *text;
	struct kvlist kv = {0};

	dir[len - (ro ? 3 : 0)] = '\0';
	where = strrchr(dir, ':');
	if (!where || where == dir || where[1] != '/') {
		free(dir);
		return err_set(e, EINVAL, "not DIRECTORY:/WHERE, like src:/mnt or src:/mnt:ro");
	}
	*where++ = '\0';
	kv_add(&kv, "fsdriver", "local");
	kv_add(&kv, "path", dir);
	kv_add(&kv, "mount_tag", where);
	text = xasprintf("volume%zu", c->volumes.n);
	kv_add(&kv, "id", text);
	free(text);
	kv_add(&kv, "security_model", "mapped-xattr");
	if (ro)
		kv_add(&kv, "readonly", "on");
	text = kv_text(&kv, NULL);
	kv_free(&kv);
	cmd_list_add(&c->virtfs,
		     (struct cmd_use){
			     .opt = use->opt,
			     .arg = cmdline_own(c, xasprintf("local%s",
							     text + strlen("fsdriver=local")))});
	free(text);
	cmd_list_add(&c->volumes,
		     (struct cmd_use){.opt = use->opt, .arg = cmdline_own(c, xstrdup(where))});
	free(dir);
	return 0;
}

/* One letter, or a list: which of c (disk), d (CD-ROM), n (network), a (floppy) comes first. */
static int boot_letters(const char *s, struct err **e)
{
	if (strspn(s, "acdnp") != strlen(s))
		return err_set(
			e, EINVAL,
			"'%s' is not of the letters a (floppy), c (disk), d (CD-ROM), n (network)",
			s);
	return 0;
}

int opt_boot(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	struct kvlist kv = {0};
	struct vm_boot *b = &c->cfg.boot;
	uint64_t ms = 0;
	int r = kv_parse(&kv, use->arg, "order", e);
	const char *order = kv_get(&kv, "order"), *once = kv_get(&kv, "once");

	if (!r && order)
		r = boot_letters(order, e);
	if (!r && once)
		r = boot_letters(once, e);
	if (order)
		b->order = cmdline_own(c, xstrdup(order));
	if (once)
		b->once = cmdline_own(c, xstrdup(once));
	if (!r)
		r = kv_bool(&kv, "menu", &b->menu, e);
	if (!r)
		r = kv_bool(&kv, "strict", &b->strict, e);
	if (!r)
		r = kv_uint(&kv, "splash-time", 0, 0xffff, &ms, e);
	b->splash_ms = (unsigned)ms;
	if (!r)
		r = kv_finish(&kv, e);
	kv_free(&kv);
	return r;
}

int opt_smbios(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	struct smbios_opt o = {0};
	int r = smbios_opt_add(&o, use->arg, false, e);

	if (!r && o.has_uuid)
		memcpy(c->cfg.uuid, o.uuid, sizeof(o.uuid));
	smbios_opt_free(&o);
	if (!r)
		cmd_list_add(&c->smbios, *use);
	return r;
}

int opt_fw_cfg(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	struct kvlist kv = {0};
	int r = kv_parse(&kv, use->arg, "name", e);
	const char *name = kv_get(&kv, "name"), *file = kv_get(&kv, "file"),
		   *string = kv_get(&kv, "string");

	if (!r && !name)
		r = err_set(e, EINVAL, "'name' is missing");
	if (!r && strlen(name) > 55)
		r = err_set(e, EINVAL, "'name' is longer than 55 bytes");
	if (!r && !file == !string)
		r = err_set(e, EINVAL, "either 'file' or 'string' is needed");
	if (!r)
		r = kv_finish(&kv, e);
	kv_free(&kv);
	if (!r)
		cmd_list_add(&c->fw_cfgs, *use);
	return r;
}
