/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as the driver of a virtio device.  The first two say which device there is, on what
 * transport, and which features its driver takes; then operations follow (enum op, in the low three
 * bits of a byte, the rest of which is a parameter): accesses to registers, bytes into memory,
 * queues set up as a driver does it, chains of any buffers, kicks, time, saving and loading.
 *
 * The input ends all the same: the device is destroyed with what is in flight, and the sanitizers
 * see whether it touched what it must not.  RAM is two pieces with nothing, or registers, around
 * them.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "back/block/block.h"
#include "back/char/chardev.h"
#include "back/fs/fsdev.h"
#include "back/net/netdev_int.h"
#include "base/err.h"
#include "dev/pci/pci.h"
#include "dev/registry.h"
#include "machine.h"
#include "dev/virtio/balloon.h"
#include "dev/virtio/virtio_mmio.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define BAR4 UINT64_C(0x80000000)
#define BAR1 0x81000000u
#define PORTS 0xc000
#define MMIO UINT64_C(0xc0000000)
#define DEVFN PCI_DEVFN(1, 0)
#define RING(q) (0x1000 + 0x1000 * ((q)&15))
#define QUEUE_SIZE 16

enum op { OP_WRITE, OP_READ, OP_POKE, OP_QUEUE, OP_CHAIN, OP_KICK, OP_TIME, OP_OTHER };
/* The first byte; 6 and 7 are the first two again. */
enum { DEV_BLK, DEV_RNG, DEV_BALLOON, DEV_SERIAL, DEV_NET, DEV_9P, DEV_MMIO = 8, DEV_LEGACY = 16 };
enum { F_PACKED = 1, F_EVENT_IDX = 2, F_INDIRECT = 4, F_OFFLOADS = 8 };

struct ring {
	uint16_t idx; /* packed: place */
	bool wrap;
};

struct fuzzed {
	struct machine m;
	struct blocks *bs;
	struct block *disk;
	struct chardev *cd[2];
	struct netdev net;
	bool net_full;
	struct fsdev *folder;
	char dir[32];
	struct pci_bus *bus;
	bool mmio, legacy;
	uint8_t features;
	struct ring ring[16];
};

static struct block *get_drive(void *opaque, const char *id)
{
	return ((struct fuzzed *)opaque)->disk;
}

static struct chardev *get_chardev(void *opaque, const char *id)
{
	return ((struct fuzzed *)opaque)->cd[*id == 'b'];
}

static struct netdev *get_netdev(void *opaque, const char *id)
{
	return &((struct fuzzed *)opaque)->net;
}

static void *get_fsdev(void *opaque, const char *id)
{
	return ((struct fuzzed *)opaque)->folder;
}

static void make(struct fuzzed *f, const char *driver, const char *props)
{
	const struct dev_slots s = {
		.env = &f->m.env,
		.backends = {get_chardev, get_drive, get_netdev, get_fsdev, NULL, f},
	};
	struct err *e = NULL;

	if (dev_create(&s, driver, props, &e)) {
		fprintf(stderr, "%s\n", err_msg(e));
		abort();
	}
}

static void make_type(struct fuzzed *f, const char *type, const char *props)
{
	char *name = xasprintf("%s-%s", type, f->mmio ? "device" : "pci");
	char *all = xasprintf(
		"%s%s,%s", f->mmio ? "" : "addr=1,",
		f->legacy ? f->mmio ? "packed=off" : "disable-modern=on" : "packed=on", props);

	make(f, name, all);
	free(name);
	free(all);
}

static void make_device(struct fuzzed *f, unsigned which)
{
	switch (which) {
	case DEV_BLK:
		make_type(f, "virtio-blk", "drive=d,num-queues=2,queue-size=64");
		break;
	case DEV_RNG:
		make_type(f, "virtio-rng", "max-bytes=5000,period=20");
		break;
	case DEV_BALLOON:
		make_type(f, "virtio-balloon",
			  "free-page-reporting=on,guest-stats-polling-interval=1");
		break;
	case DEV_SERIAL:
		make_type(f, "virtio-serial", "max_ports=4");
		make(f, "virtconsole", "chardev=a");
		make(f, "virtserialport", "chardev=b,nr=2,name=port");
		break;
	case DEV_NET:
		make_type(f, "virtio-net", "netdev=n,mq=on,host_mtu=1500");
		break;
	case DEV_9P:
		make_type(f, "virtio-9p", "fsdev=f,mount_tag=tag");
		break;
	}
}

static void buses(struct fuzzed *f)
{
	const struct irq_line irq = {.set = no_wire};

	f->bus = pci_bus_create(&f->m.env, "pci.0", false, no_map_irq, no_pirq, f);
	virtio_mmio_bus_create(&f->m.env, 1, MMIO, &irq, f->legacy);
}

static void place_bars(struct fuzzed *f)
{
	pci_config_write(f->bus, DEVFN, 0x10, PORTS, 4);
	pci_config_write(f->bus, DEVFN, 0x14, BAR1, 4);
	pci_config_write(f->bus, DEVFN, 0x20, (uint32_t)BAR4, 4);
	pci_config_write(f->bus, DEVFN, 4, 7, 2);
}

static bool peer_send(struct netdev *nd, const struct net_hdr *hdr, const struct iovec *iov,
		      unsigned n, size_t len)
{
	volatile uint8_t sink;

	if (((struct fuzzed *)nd->priv)->net_full && !nd->sending_pieces)
		return false;
	for (unsigned i = 0; i < n; i++) /* all of it can be read */
		for (size_t k = 0; k < iov[i].iov_len; k += 64)
			sink = ((const uint8_t *)iov[i].iov_base)[k];
	(void)sink;
	return true;
}

static const struct netdev_kind peer_kind = {.name = "peer", .send = peer_send};

static void open_net(struct fuzzed *f)
{
	f->net = (struct netdev){.kind = &peer_kind,
				 .id = (char *)"n",
				 .loop = f->m.env.loop,
				 .log = f->m.env.log,
				 .priv = f,
				 .link = true,
				 .peer_up = true,
				 .queues = 2,
				 .takes = f->features & F_OFFLOADS ? NET_OFFLOAD_ALL : 0};
	f->net.q_tail = &f->net.q;
}

/* A folder with a file and a folder in it; ninep.c has it more thoroughly. */
static void open_folder(struct fuzzed *f)
{
	char *opts;

	strcpy(f->dir, "/tmp/doppel-fuzz-fs-XXXXXX");
	if (!mkdtemp(f->dir))
		abort();
	opts = xasprintf("%s/d", f->dir);
	must(mkdir(opts, 0755));
	free(opts);
	opts = xasprintf("local,id=f,path=%s,security_model=none,readonly=on", f->dir);
	must(fsdev_open(&f->folder, f->m.env.log, opts, NULL));
	free(opts);
}

static void close_folder(struct fuzzed *f)
{
	char *sub = xasprintf("%s/d", f->dir);

	fsdev_close(f->folder);
	must(rmdir(sub));
	must(rmdir(f->dir));
	free(sub);
}

static void env_open(struct fuzzed *f, unsigned which)
{
	machine_open(&f->m);
	f->bs = blocks_create(f->m.env.log);
	must(block_open_drive(&f->disk, f->bs, "if=none,id=d,driver=null-co,size=1M", NULL));
	for (unsigned i = 0; i < 2; i++)
		must(chardev_open_opts(&f->cd[i], f->m.env.loop,
				       i ? "ringbuf,id=b,size=4K" : "null,id=a", NULL));
	open_net(f);
	if (which == DEV_9P)
		open_folder(f);
}

static void env_close(struct fuzzed *f)
{
	machine_unplug(&f->m);
	blocks_destroy(f->bs);
	for (unsigned i = 0; i < 2; i++)
		chardev_close(f->cd[i]);
	if (f->net.q)
		abort();
	free(f->net.scratch);
	free(f->net.scratch_rx);
	if (f->folder)
		close_folder(f);
	machine_close(&f->m);
}

/* reg - offsets from 0x8000 on are configuration space, from 0x9000 ports, from 0xa000 the MSI-X
 * table. */
static void reg(struct fuzzed *f, uint16_t off, uint64_t val, unsigned size, bool write)
{
	struct mem *m = f->m.env.mem;
	uint64_t a = f->mmio ? MMIO + off % 0x200 : BAR4 + off % 0x4000;

	if (off >= 0xa000)
		a = BAR1 + off % 0x1000;
	if (off >= 0x8000 && off < 0x9000) {
		size = size > 4 ? 4 : size;
		off &= (uint16_t)(0x100 - size);
		lock_take(&f->m.lock);
		if (write)
			pci_config_write(f->bus, DEVFN, off, (uint32_t)val, size);
		else
			(void)pci_config_read(f->bus, DEVFN, off, size);
		lock_drop(&f->m.lock);
	} else if (off >= 0x9000 && off < 0xa000) {
		size = size > 4 ? 4 : size;
		if (write)
			pio_write(m, (uint16_t)(PORTS + off % 128), (uint32_t)val, size);
		else
			(void)pio_read(m, (uint16_t)(PORTS + off % 128), size);
	} else if (write) {
		mem_write(m, GPA(a), val, size);
	} else {
		(void)mem_read(m, GPA(a), size);
	}
}

static void w32(struct fuzzed *f, uint64_t off, uint32_t v)
{
	mem_write(f->m.env.mem, GPA((f->mmio ? MMIO : BAR4) + off), v, 4);
}

static void negotiate_modern(struct fuzzed *f)
{
	uint32_t high = 1 | (f->features & F_PACKED ? 4 : 0);
	uint32_t low = 0x00ffffff | (f->features & F_EVENT_IDX ? 1u << 29 : 0) |
		       (f->features & F_INDIRECT ? 1u << 28 : 0);
	static const uint16_t at[2][4] = {{0x14, 0x00, 0x08, 0x0c}, {0x70, 0x14, 0x24, 0x20}};
	const uint16_t *o = at[f->mmio];
	uint64_t base = f->mmio ? MMIO : BAR4;
	struct mem *m = f->m.env.mem;

	for (uint32_t sel = 0; sel < 2; sel++) {
		w32(f, o[1], sel);
		w32(f, o[2], sel);
		w32(f, o[3],
		    (sel ? high : low) &
			    (uint32_t)mem_read(m, GPA(base + (f->mmio ? 0x10 : 4)), 4));
	}
	mem_write(m, GPA(base + o[0]), 11, f->mmio ? 4 : 1);
}

static uint8_t status(struct fuzzed *f)
{
	if (f->legacy && !f->mmio)
		return (uint8_t)pio_read(f->m.env.mem, PORTS + 0x12, 1);
	return (uint8_t)mem_read(f->m.env.mem, GPA(f->mmio ? MMIO + 0x70 : BAR4 + 0x14),
				 f->mmio ? 4 : 1);
}

static void set_up_legacy(struct fuzzed *f, unsigned q)
{
	struct mem *m = f->m.env.mem;

	if (f->mmio) {
		w32(f, 0x30, q);
		w32(f, 0x28, 4096);
		w32(f, 0x3c, 1024);
		w32(f, 0x38, QUEUE_SIZE);
		w32(f, 0x40, RING(q) / 4096);
		w32(f, 0x70, 7);
		return;
	}
	pio_write(m, PORTS + 4, 0x00ffffff, 4);
	pio_write(m, PORTS + 0xe, q, 2);
	pio_write(m, PORTS + 8, RING(q) / 4096, 4);
	pio_write(m, PORTS + 0x12, 7, 1);
}

static void set_up_modern(struct fuzzed *f, unsigned q)
{
	static const uint16_t at[2][3] = {{0x20, 0x28, 0x30}, {0x80, 0x90, 0xa0}};
	struct mem *m = f->m.env.mem;

	if (!(status(f) & 8))
		negotiate_modern(f);
	if (f->mmio)
		w32(f, 0x30, q);
	else
		mem_write(m, GPA(BAR4 + 0x16), q, 2);
	if (f->mmio)
		w32(f, 0x38, QUEUE_SIZE);
	else
		mem_write(m, GPA(BAR4 + 0x18), QUEUE_SIZE, 2);
	for (unsigned i = 0; i < 3; i++)
		w32(f, at[f->mmio][i], RING(q) + 0x400 * i);
	if (f->mmio)
		w32(f, 0x44, 1);
	else
		mem_write(m, GPA(BAR4 + 0x1c), 1, 2);
	mem_write(m, GPA(f->mmio ? MMIO + 0x70 : BAR4 + 0x14), 15, f->mmio ? 4 : 1);
}

static void queue(struct fuzzed *f, unsigned q)
{
	for (unsigned i = 0; i < 0x1000; i += 8)
		mem_write(f->m.env.mem, GPA(RING(q) + i), 0, 8);
	f->ring[q] = (struct ring){.wrap = true};
	if (f->legacy)
		set_up_legacy(f, q);
	else
		set_up_modern(f, q);
}

/* chain - n buffers at the next descriptors, the last `ins` of them for the device to write; n 0:
 * an indirect descriptor. */
static void chain(struct fuzzed *f, struct input *in, unsigned q, unsigned n, unsigned ins)
{
	struct mem *m = f->m.env.mem;
	bool packed = !f->legacy && (f->features & F_PACKED);
	struct ring *r = &f->ring[q];
	uint16_t head = r->idx % QUEUE_SIZE, indirect = n ? 0 : 4;

	n += !n;
	for (unsigned i = 0; i < n; i++) {
		unsigned k = packed ? r->idx : (head + i) % QUEUE_SIZE;
		uint64_t at = RING(q) + 16ull * k;
		uint32_t addr = (uint32_t)take(in, 4), len = (uint32_t)take(in, 3);
		uint16_t flags =
			(uint16_t)((i + 1 < n ? 1 : 0) | (i + ins >= n ? 2 : 0) | indirect);

		mem_write(m, GPA(at), addr, 8);
		mem_write(m, GPA(at + 8), len & 0x800000 ? len << 8 : len, 4);
		if (!packed) {
			mem_write(m, GPA(at + 12), flags, 2);
			mem_write(m, GPA(at + 14), (k + 1) % QUEUE_SIZE, 2);
			continue;
		}
		mem_write(m, GPA(at + 12), head, 2);
		mem_write(m, GPA(at + 14), flags | (r->wrap ? 0x80 : 0x8000), 2);
		r->idx = (uint16_t)((r->idx + 1) % QUEUE_SIZE);
		r->wrap ^= !r->idx;
	}
	if (packed)
		return;
	mem_write(m, GPA(RING(q) + (f->legacy ? 0x100 : 0x400) + 4 + 2 * head), head, 2);
	r->idx++;
	mem_write(m, GPA(RING(q) + (f->legacy ? 0x100 : 0x400) + 2), r->idx, 2);
}

static void kick(struct fuzzed *f, unsigned q)
{
	if (f->mmio)
		w32(f, 0x50, q);
	else if (f->legacy)
		pio_write(f->m.env.mem, PORTS + 0x10, q, 2);
	else
		mem_write(f->m.env.mem, GPA(BAR4 + 0x3000 + 4 * q), 0, 2);
}

static void elapse(struct fuzzed *f, unsigned ms)
{
	vclock_advance(f->m.env.clock, ms * INT64_C(1000000) + 1);
	loop_once(f->m.env.loop, 0);
}

/* save_load - everything; a changed byte is refused or taken, and either way all goes on. */
static void save_load(struct fuzzed *f, struct input *in, bool damage)
{
	struct state_buf s = {0};
	size_t at = 0;

	lock_take(&f->m.lock);
	for (struct dev *d = f->m.env.devs; d; d = d->next)
		d->ops->quiesce(d);
	for (struct dev *d = f->m.env.devs; d; d = d->next)
		state_save(&s, d->ops->state, d);
	if (damage)
		s.data[take(in, 3) % s.len] ^= (uint8_t)(take(in, 1) | 1);
	for (struct dev *d = f->m.env.devs; d; d = d->next) {
		size_t used = 0;

		if (state_load(d->ops->state, d, s.data + at, s.len - at, &used, NULL))
			break;
		at += used;
	}
	lock_drop(&f->m.lock);
	free(s.data);
}

/* frame - from the network: a header, and a few bytes before zeroes. */
static void frame(struct fuzzed *f, struct input *in)
{
	uint8_t data[2048] = {0}, h[10];
	struct iovec iov = {data, 14 + (size_t)take(in, 2) % (sizeof(data) - 14)};
	struct net_hdr hdr;

	static_assert(sizeof(hdr) == sizeof(h), "a header");
	for (unsigned i = 0; i < sizeof(h); i++)
		h[i] = (uint8_t)take(in, 1);
	memcpy(&hdr, h, sizeof(hdr));
	for (unsigned n = (unsigned)take(in, 1) % 64, i = 0; i < n; i++)
		data[i] = (uint8_t)take(in, 1);
	lock_take(&f->m.lock);
	if (f->net.attached)
		net_deliver(&f->net, &hdr, &iov, 1, iov.iov_len);
	lock_drop(&f->m.lock);
}

static void other(struct fuzzed *f, struct input *in, unsigned what)
{
	struct balloon_stats st;
	uint8_t text[64];

	switch (what & 7) {
	case 0:
	case 1:
		save_load(f, in, what & 1);
		break;
	case 2:
		lock_take(&f->m.lock);
		dev_reset_all(&f->m.env);
		place_bars(f);
		lock_drop(&f->m.lock);
		break;
	case 3:
		lock_take(&f->m.lock);
		(void)balloon_set_target(&f->m.env, RAM_LOW, take(in, 3), NULL);
		(void)balloon_stats(&f->m.env, &st);
		lock_drop(&f->m.lock);
		break;
	case 5:
		frame(f, in);
		break;
	case 6:
		lock_take(&f->m.lock);
		f->net_full = take(in, 1) & 1;
		if (!f->net_full)
			netdev_sendable(&f->net);
		netdev_set_link(&f->net, !(take(in, 1) & 1));
		lock_drop(&f->m.lock);
		break;
	case 4: /* the host speaks, the host listens */
		memset(text, 'x', sizeof(text));
		chardev_ring_write(f->cd[1], text, take(in, 1) % sizeof(text));
		(void)chardev_ring_read(f->cd[1], text, sizeof(text));
		break;
	}
}

static void poke(struct fuzzed *f, struct input *in)
{
	uint32_t a = (uint32_t)take(in, 4);

	for (uint64_t n = take(in, 1); n; n--)
		mem_write(f->m.env.mem, GPA(a++ & 0x4003ffff), take(in, 1), 1);
}

static void step(struct fuzzed *f, struct input *in)
{
	unsigned op = (unsigned)take(in, 1), q, n;
	uint16_t off;

	switch ((enum op)(op & 7)) {
	case OP_WRITE:
		off = (uint16_t)take(in, 2);
		reg(f, off, take(in, 4), 1u << (op >> 3 & 3), true);
		break;
	case OP_READ:
		reg(f, (uint16_t)take(in, 2), 0, 1u << (op >> 3 & 3), false);
		break;
	case OP_POKE:
		poke(f, in);
		break;
	case OP_QUEUE:
		queue(f, op >> 3 & 15);
		break;
	case OP_CHAIN:
		q = op >> 3 & 15;
		n = (unsigned)take(in, 1);
		chain(f, in, q, n & 15, n >> 4);
		break;
	case OP_KICK:
		kick(f, op >> 3 & 15);
		break;
	case OP_TIME:
		elapse(f, op >> 3);
		break;
	case OP_OTHER:
		other(f, in, op >> 3);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, data + size};
	struct fuzzed f = {.ring[0].idx = 0};
	unsigned dev = (unsigned)take(&in, 1), which = dev & 7;

	f.features = (uint8_t)take(&in, 1);
	f.mmio = dev & DEV_MMIO;
	f.legacy = dev & DEV_LEGACY;
	which = which > DEV_9P ? which - DEV_9P - 1 : which;
	env_open(&f, which);
	lock_take(&f.m.lock);
	buses(&f);
	make_device(&f, which);
	place_bars(&f);
	lock_drop(&f.m.lock);
	for (unsigned n = 0; in.p < in.end && n < 2000; n++)
		step(&f, &in);
	env_close(&f);
	return 0;
}
