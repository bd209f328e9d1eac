/* SPDX-License-Identifier: Apache-2.0 */
#include "rig.h"
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include "back/block/block.h"
#include "back/char/chardev.h"
#include "back/fs/fsdev.h"
#include "base/err.h"
#include "dev/registry.h"

static bool peer_send(struct netdev *nd, const struct net_hdr *hdr, const struct iovec *iov,
		      unsigned n, size_t len)
{
	return true;
}

static const struct netdev_kind peer_kind = {.name = "peer", .send = peer_send};

/* Names of back ends are a letter and a digit. */
static unsigned digit(const char *id)
{
	return (unsigned)(id[0] && id[1] ? id[1] - '0' : 0) % RIG_BACKS;
}

static struct block *get_drive(void *opaque, const char *id)
{
	return ((struct rig *)opaque)->drives[digit(id)];
}

static struct chardev *get_chardev(void *opaque, const char *id)
{
	return ((struct rig *)opaque)->chardevs[digit(id)];
}

static struct netdev *get_netdev(void *opaque, const char *id)
{
	return &((struct rig *)opaque)->nets[digit(id)];
}

static void *get_fsdev(void *opaque, const char *id)
{
	return ((struct rig *)opaque)->folder;
}

static void open_drives(struct rig *r)
{
	r->blocks = blocks_create(r->log);
	for (unsigned i = 0; i < RIG_BACKS; i++) {
		char *opts = xasprintf("if=none,id=d%u,driver=null-co,size=1M%s", i,
				       i == RIG_BACKS - 1 ? ",media=cdrom" : "");

		must(block_open_drive(&r->drives[i], r->blocks, opts, NULL));
		free(opts);
	}
	must(block_open_drive(&r->flash, r->blocks, "if=pflash,id=f,driver=null-co,size=128K",
			      NULL));
}

static void open_chardevs(struct rig *r)
{
	char *opts;
	int fds[2];

	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds));
	opts = xasprintf("socket,id=s,fd=%d", fds[0]);
	r->peer = fds[1];
	must(chardev_open_opts(&r->serial, r->loop, opts, NULL));
	free(opts);
	for (unsigned i = 0; i < RIG_BACKS; i++) {
		opts = xasprintf("%s,id=c%u", i & 1 ? "null" : "ringbuf,size=64", i);
		must(chardev_open_opts(&r->chardevs[i], r->loop, opts, NULL));
		free(opts);
	}
}

static void open_backs(struct rig *r)
{
	char *opts;

	open_drives(r);
	open_chardevs(r);
	for (unsigned i = 0; i < RIG_BACKS; i++) {
		r->nets[i] = (struct netdev){.kind = &peer_kind,
					     .id = (char *)"n",
					     .loop = r->loop,
					     .log = r->log,
					     .link = true,
					     .peer_up = true,
					     .queues = 1 + i,
					     .takes = i & 1 ? NET_OFFLOAD_ALL : 0};
		r->nets[i].q_tail = &r->nets[i].q;
	}
	strcpy(r->dir, "/tmp/doppel-fuzz-rig-XXXXXX");
	if (!mkdtemp(r->dir))
		abort();
	opts = xasprintf("local,id=f0,path=%s,security_model=none", r->dir);
	must(fsdev_open(&r->folder, r->log, opts, NULL));
	free(opts);
}

static void close_backs(struct rig *r)
{
	blocks_destroy(r->blocks);
	chardev_close(r->serial);
	for (unsigned i = 0; i < RIG_BACKS; i++)
		chardev_close(r->chardevs[i]);
	for (unsigned i = 0; i < RIG_BACKS; i++) {
		free(r->nets[i].scratch);
		free(r->nets[i].scratch_rx);
	}
	fsdev_close(r->folder);
	rmdir(r->dir);
	close(r->peer);
}

static const struct dev_prop *nth_prop(const struct dev_class *c, unsigned n)
{
	for (unsigned t = 0; t < 1 + ARRAY_SIZE(c->props_more); t++)
		for (const struct dev_prop *p = t ? c->props_more[t - 1] : c->props; p && p->name;
		     p++)
			if (!n--)
				return p;
	return NULL;
}

/* What a class cannot be without: back ends and names of those. */
static char *needed(const struct dev_class *c, unsigned i)
{
	static const char letter[] = {
		[PROP_CHARDEV] = 'c', [PROP_DRIVE] = 'd', [PROP_NETDEV] = 'n', [PROP_FSDEV] = 'f'};
	char *s = xasprintf("id=i%u", i);
	const struct dev_prop *p;

	for (unsigned n = 0; (p = nth_prop(c, n)); n++) {
		char *more = NULL;

		if (p->kind >= PROP_CHARDEV && p->kind <= PROP_FSDEV)
			more = xasprintf("%s,%s=%c%u", s, p->name, letter[p->kind], i % RIG_BACKS);
		else if (!strcmp(p->name, "mount_tag"))
			more = xasprintf("%s,mount_tag=tag", s);
		else if (!strcmp(p->name, "romfile"))
			more = xasprintf("%s,romfile=", s);
		if (!more)
			continue;
		free(s);
		s = more;
	}
	return s;
}

/* The value of a property; choices are a|b|c. */
static char *value(const struct dev_prop *p, unsigned v)
{
	static const char *const words[] = {"on", "off", "auto"};
	const char *s = p->choices;

	switch (p->kind) {
	case PROP_BOOL:
		return xstrdup(words[v & 1]);
	case PROP_AUTO:
		return xstrdup(words[v % 3]);
	case PROP_UINT:
	case PROP_SIZE:
		return v & 0x80 ? xasprintf("%llu", (unsigned long long)p->max >> (v & 7))
				: xasprintf("%u", v & 0x40 ? 1u << (v & 15) : v & 0x3f);
	case PROP_ENUM:
		for (v &= 7; v && strchr(s, '|'); v--)
			s = strchr(s, '|') + 1;
		return xasprintf("%.*s", (int)strcspn(s, "|"), s);
	case PROP_STR:
		return xstrdup(strcmp(p->name, "romfile") ? "some" : "/proc/self/comm");
	default:
		return NULL;
	}
}

static char *also(char *s, const char *name, char *v)
{
	char *all = v ? xasprintf("%s,%s=%s", s, name, v) : xstrdup(s);

	free(s);
	free(v);
	return all;
}

static void add_device(struct rig *r, struct input *in)
{
	unsigned n = 0, i = r->n_devices++, which = (unsigned)take(in, 1), flags;
	const struct dev_class *c;
	char *s;

	while (dev_class_nth(n))
		n++;
	c = dev_class_nth(which % n);
	s = needed(c, i);
	flags = (unsigned)take(in, 1);
	for (unsigned k = flags & 3; k; k--) {
		const struct dev_prop *p = nth_prop(c, (unsigned)take(in, 1) & 31);
		unsigned v = (unsigned)take(in, 1);

		if (p)
			s = also(s, p->name, value(p, v));
	}
	if (flags & 4)
		s = also(s, c->bus == BUS_PCI ? "addr" : "unit",
			 xasprintf("%llu", (unsigned long long)take(in, 1)));
	if (flags & 8)
		s = also(s, "bus",
			 xasprintf("i%u%s", flags >> 4 & 7, c->bus >= BUS_IDE ? ".0" : ""));
	r->devices[i] = (struct vm_device_opt){c->name, s};
}

/* A program that is loaded, and never run. */
static int kernel_file(char path[static 32])
{
	const uint32_t head[9] = {0x1badb002, 0x10003,	0u - 0x1badb002 - 0x10003,
				  0x100000,   0x100000, 0,
				  0,	      0x100020, 0xfeebf4fa};
	int fd = memfd_create("kernel", MFD_CLOEXEC);

	if (fd < 0 || write(fd, head, sizeof(head)) != sizeof(head))
		abort();
	snprintf(path, 32, "/proc/self/fd/%d", fd);
	return fd;
}

static enum vm_auto pick(struct input *in, unsigned shift)
{
	return (enum vm_auto)((in->end - in->p > 0 ? *in->p >> shift : 0) & 3) % 3;
}

static void board_opts(struct vm_board_opts *o, struct input *in)
{
	o->acpi = pick(in, 0);
	o->pic = pick(in, 2);
	o->pit = pick(in, 4);
	o->rtc = pick(in, 6);
	take(in, 1);
	o->ioapic2 = pick(in, 0);
	o->isa_serial = pick(in, 2);
	o->auto_cmdline = pick(in, 4);
	o->virtio_legacy = pick(in, 6) == VM_ON;
	take(in, 1);
}

uint32_t rig_config_read(struct rig *r, uint16_t function, unsigned reg, unsigned size)
{
	pio_write(r->mem, 0xcf8, 0x80000000u | (uint32_t)function << 8 | (reg & 0xfc), 4);
	return pio_read(r->mem, (uint16_t)(0xcfc + (reg & 3 & ~(size - 1))), size);
}

void rig_config_write(struct rig *r, uint16_t function, unsigned reg, uint32_t val, unsigned size)
{
	pio_write(r->mem, 0xcf8, 0x80000000u | (uint32_t)function << 8 | (reg & 0xfc), 4);
	pio_write(r->mem, (uint16_t)(0xcfc + (reg & 3 & ~(size - 1))), val, size);
}

static void find_functions(struct rig *r)
{
	for (unsigned f = 0; f < 0x400 && r->n_functions < RIG_FUNCTIONS; f++) {
		if (f & 7 && !(rig_config_read(r, (uint16_t)(f & ~7u), 0xe, 1) & 0x80))
			continue;
		if (rig_config_read(r, (uint16_t)f, 0, 2) != 0xffff)
			r->functions[r->n_functions++] = (uint16_t)f;
		else if (!(f & 7))
			f += 7;
	}
}

static bool create(struct rig *r, struct input *in)
{
	static const char *const names[] = {"pc", "q35", "microvm", "q35"};
	unsigned head = (unsigned)take(in, 1);
	bool flash = head & 4, micro = (head & 3) == 2;
	char path[32];
	struct vm_config cfg = {
		.machine = names[head & 3],
		.accel = "interp",
		.mem_size = 2 * MiB,
		.n_cpus = 1,
		.kernel = flash ? NULL : path,
		.pflash = {flash ? r->flash : NULL},
		.blocks = r->blocks,
		.serial = {r->serial},
		.debugcon = r->chardevs[1],
		.devices = r->devices,
		.backends = {get_chardev, get_drive, get_netdev, get_fsdev, NULL, r},
		.no_shutdown = true,
		.driven = true,
		.log = r->log,
		.loop = r->loop,
	};
	int fd = kernel_file(path);

	board_opts(&cfg.board, in);
	if (!micro)
		cfg.board = (struct vm_board_opts){0};
	if (head & 8 && !micro)
		r->devices[r->n_devices++] =
			(struct vm_device_opt){"VGA", xstrdup("id=i0,romfile=,vgamem_mb=1")};
	for (unsigned n = head >> 4; n && r->n_devices < RIG_DEVICES; n--)
		add_device(r, in);
	cfg.n_devices = r->n_devices;
	if (vm_create(&r->vm, &cfg, NULL))
		r->vm = NULL;
	close(fd);
	return r->vm;
}

void rig_close(struct rig *r)
{
	if (r->vm)
		vclock_stop(r->vm->clock);
	vm_destroy(r->vm);
	for (unsigned i = 0; i < r->n_devices; i++)
		free((char *)r->devices[i].props);
	close_backs(r);
	loop_destroy(r->loop);
	log_destroy(r->log);
}

bool rig_open(struct rig *r, struct input *in)
{
	*r = (struct rig){.log = log_create(), .loop = loop_create()};
	log_open(r->log, "/dev/null", NULL);
	open_backs(r);
	if (!create(r, in)) {
		rig_close(r);
		return false;
	}
	r->mem = vm_mem(r->vm);
	vclock_start(r->vm->clock);
	if (r->vm->pc.chipset)
		find_functions(r);
	return true;
}

void rig_time(struct rig *r, int64_t ns)
{
	vclock_advance(r->vm->clock, ns);
	loop_once(r->loop, 0);
	lock_take(&r->vm->dev_lock);
	blocks_drain(r->blocks);
	lock_drop(&r->vm->dev_lock);
}

struct dev *rig_device(struct rig *r, unsigned n)
{
	unsigned count = 0;
	struct dev *d;

	for (d = r->vm->env.devs; d; d = d->next)
		count++;
	for (d = r->vm->env.devs, n %= count; n; n--)
		d = d->next;
	return d;
}
