/* SPDX-License-Identifier: Apache-2.0 */
/* Transports: PCI registers of both kinds, its capabilities and interrupts; memory-mapped ones. */
#include "dev_env.h"

#include <errno.h>
#include <stdio.h>

#include "dev/registry.h"
#include "dev/virtio/virtio_mmio.h"
#include "virtio_driver.h"

#define DEVFN PCI_DEVFN(3, 0)
#define BAR4 UINT64_C(0xe0000000)
#define BAR1 0xe1000000u
#define PORTS 0xc000
#define MMIO UINT64_C(0xfeb00000)

struct rig {
	struct test_env *t;
	struct pci_bus *bus;
	struct test_wire pin, mmio_irq[2];
	unsigned msis;
	uint64_t msi_addr;
	uint32_t msi_data;
};

static unsigned map_irq(unsigned slot, unsigned pin)
{
	return 0;
}

static void set_pirq(void *opaque, unsigned n, bool level)
{
	wire_set(&((struct rig *)opaque)->pin, 0, level);
}

static void on_msi(void *opaque, uint16_t requester, uint64_t addr, uint32_t data)
{
	struct rig *r = opaque;

	assert_int_equal(requester, DEVFN);
	r->msis++;
	r->msi_addr = addr;
	r->msi_data = data;
}

static int setup(void **state)
{
	struct rig *r = xzalloc(sizeof(*r));
	const struct irq_line irq[2] = {wire(&r->mmio_irq[0]), wire(&r->mmio_irq[1])};

	r->t = env_open();
	r->t->env.msi = on_msi;
	r->t->env.msi_opaque = r;
	lock_take(&r->t->lock);
	r->bus = pci_bus_create(&r->t->env, "pci.0", false, map_irq, set_pirq, r);
	virtio_mmio_bus_create(&r->t->env, 2, MMIO, irq, false);
	lock_drop(&r->t->lock);
	*state = r;
	return 0;
}

static int teardown(void **state)
{
	struct rig *r = *state;

	env_close(r->t);
	free(r);
	return 0;
}

static int make(struct rig *r, const char *driver, const char *props)
{
	struct dev_slots s = {.env = &r->t->env};
	struct err *e = NULL;
	int rc;

	lock_take(&r->t->lock);
	rc = dev_create(&s, driver, props, &e);
	lock_drop(&r->t->lock);
	err_free(&e);
	return rc;
}

static uint32_t cfg(struct rig *r, unsigned off, unsigned size)
{
	uint32_t v;

	lock_take(&r->t->lock);
	v = pci_config_read(r->bus, DEVFN, off, size);
	lock_drop(&r->t->lock);
	return v;
}

static void cfg_put(struct rig *r, unsigned off, uint32_t v, unsigned size)
{
	lock_take(&r->t->lock);
	pci_config_write(r->bus, DEVFN, off, v, size);
	lock_drop(&r->t->lock);
}

static void place_bars(struct rig *r)
{
	cfg_put(r, 0x10, PORTS, 4);
	cfg_put(r, 0x14, BAR1, 4);
	cfg_put(r, 0x20, (uint32_t)BAR4, 4);
	cfg_put(r, 0x24, 0, 4);
	cfg_put(r, 4, 7, 2);
}

/* cap - the vendor capability of a type, or MSI-X (type 0). */
static unsigned cap(struct rig *r, unsigned type)
{
	unsigned at = cfg(r, 0x34, 1);

	for (int i = 0; at && i < 48; i++, at = cfg(r, at + 1, 1))
		if (type ? cfg(r, at, 1) == 9 && cfg(r, at + 3, 1) == type : cfg(r, at, 1) == 0x11)
			return at;
	return 0;
}

static uint64_t rd(struct rig *r, uint64_t a, unsigned size)
{
	return mem_read(r->t->env.mem, GPA(a), size);
}

static void wr(struct rig *r, uint64_t a, uint64_t v, unsigned size)
{
	mem_write(r->t->env.mem, GPA(a), v, size);
}

static void identities(void **state)
{
	static const struct {
		const char *driver;
		uint32_t id, sub;
		bool legacy, modern;
	} d[] = {
		{"virtio-rng-pci", 0x10051af4, 0x00041af4, true, true},
		{"virtio-rng-pci-transitional", 0x10051af4, 0x00041af4, true, true},
		{"virtio-rng-pci-non-transitional", 0x10441af4, 0x11001af4, false, true},
		{"virtio-rng-pci,disable-legacy=on", 0x10441af4, 0x11001af4, false, true},
		{"virtio-rng-pci,disable-modern=on", 0x10051af4, 0x00041af4, true, false},
		{"virtio-balloon-pci", 0x10021af4, 0x00051af4, true, true},
		{"virtio-serial-pci", 0x10031af4, 0x00031af4, true, true},
	};

	for (size_t i = 0; i < ARRAY_SIZE(d); i++) {
		struct rig *r;
		char driver[64], props[64];
		const char *comma = strchr(d[i].driver, ',');

		setup((void **)&r);
		snprintf(driver, sizeof(driver), "%s", d[i].driver);
		driver[strcspn(driver, ",")] = '\0';
		snprintf(props, sizeof(props), "addr=3%s", comma ? comma : "");
		assert_int_equal(make(r, driver, props), 0);
		assert_int_equal(cfg(r, 0, 4), d[i].id);
		assert_int_equal(cfg(r, 0x2c, 4), d[i].sub);
		assert_int_equal(cfg(r, 8, 1), d[i].legacy ? 0 : 1);
		assert_int_equal(cfg(r, 0x10, 4) & 1, d[i].legacy);
		assert_int_equal(cfg(r, 0x20, 4), d[i].modern ? 0xc : 0);
		for (unsigned type = 1; type <= 5; type++)
			assert_int_equal(!!cap(r, type), d[i].modern);
		assert_true(cap(r, 0));
		teardown((void **)&r);
	}
}

static void refused(void **state)
{
	struct rig *r = *state;

	assert_int_equal(make(r, "virtio-rng-pci", "disable-legacy=on,disable-modern=on"), -EINVAL);
	assert_int_equal(make(r, "virtio-rng-pci-transitional", "disable-legacy=on"), -EINVAL);
	assert_int_equal(make(r, "virtio-rng-pci", "disable-modern=on,packed=on"), -EINVAL);
	assert_int_equal(make(r, "virtio-rng-pci", "ats=on"), -EINVAL);
	assert_int_equal(make(r, "virtio-rng-pci", "period=0"), -EINVAL);
	assert_int_equal(make(r, "virtio-blk-pci", ""), -EINVAL);
	assert_int_equal(make(r, "virtio-blk-pci", "drive=none"), -ENOENT);
	assert_int_equal(make(r, "virtserialport", ""), -ENOENT);
	assert_int_equal(make(r, "virtio-balloon-pci", ""), 0);
	assert_int_equal(make(r, "virtio-balloon-pci", ""), -EBUSY);
	assert_int_equal(make(r, "virtio-serial-pci", "id=vs,max_ports=3"), 0);
	assert_int_equal(make(r, "virtserialport", "nr=0"), -EINVAL);
	assert_int_equal(make(r, "virtserialport", "nr=3"), -EINVAL);
	assert_int_equal(make(r, "virtserialport", "bus=vs.0,nr=1"), 0);
	assert_int_equal(make(r, "virtserialport", "bus=vs.0,nr=1"), -EBUSY);
	assert_int_equal(make(r, "virtserialport", ""), 0);
	assert_int_equal(make(r, "virtserialport", ""), -ENOSPC);
	assert_int_equal(make(r, "virtconsole", ""), 0);
	assert_int_equal(make(r, "virtconsole", ""), -ENOSPC);
}

/* A request on queue 0 of an rng device at common configuration `c`; the ring in low memory. */
static void modern_setup(struct rig *r, uint64_t c, uint16_t vector)
{
	wr(r, c + 0x14, 0, 1);
	wr(r, c + 0x14, 3, 1);
	wr(r, c + 0x08, 1, 4);
	wr(r, c + 0x0c, 1, 4);
	wr(r, c + 0x14, 11, 1);
	assert_int_equal(rd(r, c + 0x14, 1), 11);
	wr(r, c + 0x10, 0, 2);
	wr(r, c + 0x16, 0, 2);
	wr(r, c + 0x18, 4, 2);
	wr(r, c + 0x1a, vector, 2);
	wr(r, c + 0x20, 0x10000, 4);
	wr(r, c + 0x28, 0x11000, 8);
	wr(r, c + 0x30, 0x12000, 8);
	wr(r, c + 0x1c, 1, 2);
	wr(r, c + 0x14, 15, 1);
	for (unsigned i = 0; i < 0x3000; i += 8)
		wr(r, 0x10000 + i, 0, 8);
	wr(r, 0x10000, 0x20000, 8);
	wr(r, 0x10008, 16, 4);
	wr(r, 0x1000c, 2, 2);
}

static void add(struct rig *r, uint16_t n)
{
	wr(r, 0x20000, 0, 8);
	wr(r, 0x11002, n, 2);
}

static void modern(void **state)
{
	struct rig *r = *state;
	unsigned msix;

	assert_int_equal(make(r, "virtio-rng-pci-non-transitional", "addr=3,vectors=2"), 0);
	place_bars(r);
	assert_int_equal(rd(r, BAR4 + 4, 4), 0x31000000 & ~0x01000000u); /* indirect, event index */
	wr(r, BAR4, 1, 4);
	assert_int_equal(rd(r, BAR4 + 4, 4), 0x101); /* version 1, ring reset */
	wr(r, BAR4, 2, 4);
	assert_int_equal(rd(r, BAR4 + 4, 4), 0);
	assert_int_equal(rd(r, BAR4 + 0x12, 2), 1);
	assert_int_equal(rd(r, BAR4 + 0x18, 2), 8);
	wr(r, BAR4 + 0x16, 1, 2);
	assert_int_equal(rd(r, BAR4 + 0x18, 2), 0); /* no queue 1 */
	modern_setup(r, BAR4, 1);
	assert_int_equal(rd(r, BAR4 + 0x28, 4), 0x11000);
	assert_int_equal(rd(r, BAR4 + 0x1c, 2), 1);
	/* The pin, then MSI-X. */
	add(r, 1);
	wr(r, BAR4 + 0x3000, 0, 2);
	assert_int_equal(rd(r, 0x12002, 2), 1);
	assert_int_equal(rd(r, 0x12008, 4), 16);
	assert_int_not_equal(rd(r, 0x20000, 8), 0);
	assert_true(r->pin.level);
	assert_int_equal(rd(r, BAR4 + 0x1000, 1), 1);
	assert_false(r->pin.level);
	assert_int_equal(rd(r, BAR4 + 0x1000, 1), 0);
	msix = cap(r, 0);
	cfg_put(r, msix + 2, 0x8000, 2);
	wr(r, BAR1 + 16, 0xfee01000, 4);
	wr(r, BAR1 + 24, 0x42, 4);
	wr(r, BAR1 + 28, 0, 4);
	add(r, 2);
	wr(r, BAR4 + 0x3000, 0, 2);
	assert_int_equal(r->msis, 1);
	assert_int_equal(r->msi_addr, 0xfee01000);
	assert_int_equal(r->msi_data, 0x42);
	assert_false(r->pin.level);
	wr(r, BAR4 + 0x1a, 2, 2); /* there are two vectors */
	assert_int_equal(rd(r, BAR4 + 0x1a, 2), 0xffff);
	add(r, 3);
	wr(r, BAR4 + 0x3000, 0, 2);
	assert_int_equal(r->msis, 1);
	/* Widths and places that are no register's do nothing. */
	for (uint64_t a = 0; a < 0x4000; a += 0x3f) {
		(void)rd(r, BAR4 + a, 1 + a % 8);
		wr(r, BAR4 + a, UINT64_MAX, 1 + a % 8);
	}
	/* Reset: the function's and the device's. */
	lock_take(&r->t->lock);
	dev_reset_all(&r->t->env);
	lock_drop(&r->t->lock);
	place_bars(r);
	assert_int_equal(rd(r, BAR4 + 0x14, 1), 0);
	assert_int_equal(rd(r, BAR4 + 0x10, 2), 0xffff);
}

/* Mastering off: the driver's memory is left alone until it is on. */
static void mastering(void **state)
{
	struct rig *r = *state;

	assert_int_equal(make(r, "virtio-rng-pci", "addr=3"), 0);
	place_bars(r);
	modern_setup(r, BAR4, 0xffff);
	cfg_put(r, 4, 3, 2);
	add(r, 1);
	wr(r, BAR4 + 0x3000, 0, 2);
	assert_int_equal(rd(r, 0x12002, 2), 0);
	cfg_put(r, 4, 7, 2);
	wait_for(r->t, rd(r, 0x12002, 2) == 1);
}

static void queue_reset(void **state)
{
	struct rig *r = *state;

	assert_int_equal(make(r, "virtio-rng-pci", "addr=3"), 0);
	place_bars(r);
	wr(r, BAR4 + 0x14, 3, 1);
	wr(r, BAR4 + 0x08, 1, 4);
	wr(r, BAR4 + 0x0c, 0x101, 4);
	wr(r, BAR4 + 0x14, 11, 1);
	wr(r, BAR4 + 0x1a, 1, 2);
	wr(r, BAR4 + 0x20, 0x10000, 4);
	wr(r, BAR4 + 0x1c, 1, 2);
	wr(r, BAR4 + 0x20, 0x20000, 4); /* too late */
	assert_int_equal(rd(r, BAR4 + 0x20, 4), 0x10000);
	wr(r, BAR4 + 0x3a, 1, 2);
	assert_int_equal(rd(r, BAR4 + 0x3a, 2), 0);
	assert_int_equal(rd(r, BAR4 + 0x1c, 2), 0);
	assert_int_equal(rd(r, BAR4 + 0x1a, 2), 1);
	assert_int_equal(rd(r, BAR4 + 0x20, 4), 0);
}

static void window(void **state)
{
	struct rig *r = *state;
	unsigned at;

	assert_int_equal(make(r, "virtio-rng-pci", "addr=3"), 0);
	cfg_put(r, 4, 4, 2); /* no BAR is mapped */
	at = cap(r, 5);
	cfg_put(r, at + 4, 4, 1);
	cfg_put(r, at + 8, 0x12, 4);
	cfg_put(r, at + 12, 2, 4);
	assert_int_equal(cfg(r, at + 16, 4), 1); /* queues */
	cfg_put(r, at + 8, 0x14, 4);
	cfg_put(r, at + 12, 1, 4);
	cfg_put(r, at + 16, 3, 4);
	cfg_put(r, at + 8, 0x14, 4);
	assert_int_equal(cfg(r, at + 16, 1), 3);
	/* What it must not reach: another BAR, odd lengths, past the end. */
	for (unsigned bar = 0; bar < 7; bar++) {
		static const uint32_t off[] = {0x15, 0x3fff, 0x4000, 0xfffffffe, 0xffffffff};

		for (unsigned i = 0; i < 5 * ARRAY_SIZE(off); i++) {
			cfg_put(r, at + 4, bar, 1);
			cfg_put(r, at + 8, off[i / 5], 4);
			cfg_put(r, at + 12, i % 5 == 4 ? UINT32_MAX : 1u << (i % 5), 4);
			(void)cfg(r, at + 16, 4);
			cfg_put(r, at + 16, 0xffff, 4);
		}
	}
}

static void legacy(void **state)
{
	struct rig *r = *state;
	struct test_env *t = r->t;

	assert_int_equal(make(r, "virtio-rng-pci-transitional", "addr=3,event_idx=off"), 0);
	place_bars(r);
	assert_int_equal(inl(t, PORTS), 0x19000000); /* indirect, any layout, notify on empty */
	outb(t, PORTS + 0x12, 3);
	outl(t, PORTS + 4, 0);
	outw(t, PORTS + 0xe, 0);
	assert_int_equal(inw(t, PORTS + 0xc), 8);
	outl(t, PORTS + 8, 0x30);
	assert_int_equal(inl(t, PORTS + 8), 0x30);
	for (unsigned i = 0; i < 0x2000; i += 8)
		wr(r, 0x30000 + i, 0, 8);
	wr(r, 0x30000, 0x20000, 8);
	wr(r, 0x30008, 16, 4);
	wr(r, 0x3000c, 2, 2);
	wr(r, 0x30082, 1, 2); /* before DRIVER_OK, as some did */
	outw(t, PORTS + 0x10, 0);
	assert_int_equal(rd(r, 0x31002, 2), 1);
	assert_int_equal(inb(t, PORTS + 0x13), 1);
	outb(t, PORTS + 0x12, 7);
	wr(r, 0x30082, 2, 2);
	outw(t, PORTS + 0x10, 0);
	assert_int_equal(rd(r, 0x31002, 2), 2);
	/* With MSI-X the configuration moves up. */
	assert_int_equal(inw(t, PORTS + 0x14), 0);
	cfg_put(r, cap(r, 0) + 2, 0x8000, 2);
	assert_int_equal(inw(t, PORTS + 0x14), 0xffff);
	outw(t, PORTS + 0x14, 1);
	outw(t, PORTS + 0x16, 0);
	assert_int_equal(inw(t, PORTS + 0x14), 1);
	assert_int_equal(inw(t, PORTS + 0x16), 0);
	outl(t, PORTS + 8, 0); /* off */
	assert_int_equal(inl(t, PORTS + 8), 0);
	outb(t, PORTS + 0x12, 0);
	assert_int_equal(inb(t, PORTS + 0x12), 0);
	outl(t, PORTS + 8, 0xffffffff); /* far outside of RAM: broken, no more */
	outw(t, PORTS + 0x10, 0);
	for (uint16_t p = 0; p < 64; p++) {
		(void)inb(t, PORTS + p);
		outb(t, PORTS + p, 0xff);
	}
}

static void mmio(void **state)
{
	struct rig *r = *state;

	assert_int_equal(make(r, "virtio-rng-device", "bus=virtio-mmio-bus.0"), 0);
	assert_int_equal(make(r, "virtio-balloon-device", ""), 0); /* the last slot that is free */
	assert_int_equal(make(r, "virtio-serial-device", ""), -ENOSPC);
	assert_int_equal(rd(r, MMIO, 4), 0x74726976);
	assert_int_equal(rd(r, MMIO + 4, 4), 2);
	assert_int_equal(rd(r, MMIO + 8, 4), 4);
	assert_int_equal(rd(r, MMIO + 0x208, 4), 5);
	assert_int_equal(rd(r, MMIO + 8, 1), 0); /* registers are of 32 bits */
	wr(r, MMIO + 0x70, 3, 4);
	wr(r, MMIO + 0x14, 1, 4);
	assert_int_equal(rd(r, MMIO + 0x10, 4), 0x101);
	wr(r, MMIO + 0x24, 1, 4);
	wr(r, MMIO + 0x20, 1, 4);
	wr(r, MMIO + 0x70, 11, 4);
	assert_int_equal(rd(r, MMIO + 0x70, 4), 11);
	assert_int_equal(rd(r, MMIO + 0x34, 4), 8);
	wr(r, MMIO + 0x38, 4, 4);
	wr(r, MMIO + 0x80, 0x10000, 4);
	wr(r, MMIO + 0x90, 0x11000, 4);
	wr(r, MMIO + 0xa0, 0x12000, 4);
	wr(r, MMIO + 0x44, 1, 4);
	wr(r, MMIO + 0x70, 15, 4);
	for (unsigned i = 0; i < 0x3000; i += 8)
		wr(r, 0x10000 + i, 0, 8);
	wr(r, 0x10000, 0x20000, 8);
	wr(r, 0x10008, 16, 4);
	wr(r, 0x1000c, 2, 2);
	add(r, 1);
	wr(r, MMIO + 0x50, 0, 4);
	assert_int_equal(rd(r, 0x12002, 2), 1);
	assert_true(r->mmio_irq[0].level);
	assert_false(r->mmio_irq[1].level);
	assert_int_equal(rd(r, MMIO + 0x60, 4), 1);
	wr(r, MMIO + 0x64, 1, 4);
	assert_false(r->mmio_irq[0].level);
	wr(r, MMIO + 0x44, 0, 4);
	assert_int_equal(rd(r, MMIO + 0x44, 4), 0);
	for (uint64_t a = 0; a < 0x400; a += 3) {
		(void)rd(r, MMIO + a, 1 + a % 8);
		wr(r, MMIO + a, UINT64_MAX, 1 + a % 8);
	}
}

/* Saved in the middle of use by all transports; damaged streams. */
static void save_load(void **state)
{
	struct rig *r = *state, *s;
	struct state_buf a = {0}, b = {0};
	size_t at = 0, used;
	uint32_t seed = 1;

	assert_int_equal(make(r, "virtio-rng-pci", "addr=3"), 0);
	assert_int_equal(make(r, "virtio-balloon-device", ""), 0);
	assert_int_equal(make(r, "virtio-serial-pci", "id=vs"), 0);
	assert_int_equal(make(r, "virtconsole", ""), 0);
	place_bars(r);
	modern_setup(r, BAR4, 1);
	add(r, 1);
	wr(r, BAR4 + 0x3000, 0, 2);
	wr(r, MMIO + 0x30, 2, 4);
	setup((void **)&s);
	assert_int_equal(make(s, "virtio-rng-pci", "addr=3"), 0);
	assert_int_equal(make(s, "virtio-balloon-device", ""), 0);
	assert_int_equal(make(s, "virtio-serial-pci", "id=vs"), 0);
	assert_int_equal(make(s, "virtconsole", ""), 0);
	lock_take(&r->t->lock);
	for (struct dev *d = r->t->env.devs; d; d = d->next)
		d->ops->quiesce(d);
	for (struct dev *d = r->t->env.devs; d; d = d->next)
		state_save(&a, d->ops->state, d);
	lock_drop(&r->t->lock);
	lock_take(&s->t->lock);
	for (struct dev *d = s->t->env.devs; d; d = d->next) {
		assert_int_equal(state_load(d->ops->state, d, a.data + at, a.len - at, &used, NULL),
				 0);
		at += used;
	}
	for (struct dev *d = s->t->env.devs; d; d = d->next)
		state_save(&b, d->ops->state, d);
	lock_drop(&s->t->lock);
	assert_int_equal(a.len, b.len);
	assert_memory_equal(a.data, b.data, a.len);
	assert_int_equal(rd(s, BAR4 + 0x14, 1), 15);
	memcpy(mem_ram_base(s->t->env.mem), mem_ram_base(r->t->env.mem), TEST_RAM);
	add(s, 2);
	wr(s, BAR4 + 0x3000, 0, 2);
	assert_int_equal(rd(s, 0x12002, 2), 2);
	for (unsigned n = 0; n < 3000; n++) {
		uint8_t old;

		seed = seed * 1103515245 + 12345;
		at = (seed >> 8) % a.len;
		old = a.data[at];
		a.data[at] = (uint8_t)(seed >> 3);
		lock_take(&s->t->lock);
		used = 0;
		for (struct dev *d = s->t->env.devs; d; d = d->next) {
			size_t one = 0;

			if (state_load(d->ops->state, d, a.data + used, a.len - used, &one, NULL))
				break;
			used += one;
		}
		lock_drop(&s->t->lock);
		wr(s, BAR4 + 0x3000, 0, 2);
		if (n % 50 == 0)
			loop_once(s->t->env.loop, 0);
		lock_take(&s->t->lock);
		dev_reset_all(&s->t->env);
		lock_drop(&s->t->lock);
		a.data[at] = old;
	}
	free(a.data);
	free(b.data);
	teardown((void **)&s);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(identities),
		T(refused),
		T(modern),
		T(mastering),
		T(queue_reset),
		T(window),
		T(legacy),
		T(mmio),
		T(save_load),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
