/* SPDX-License-Identifier: Apache-2.0 */
/* Buses behind bridges and root ports: numbers, windows, interrupts, what firmware assigns; places
 * on a bus, functions, option ROMs. */
#include "apics_none.h"
#include "dev_env.h"
#include "pci_card.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "dev/class.h"
#include "dev/irq/apic.h"
#include "dev/irq/gsi.h"
#include "dev/irq/ioapic.h"
#include "dev/irq/pic.h"
#include "dev/pci/i440fx.h"
#include "dev/pci/q35.h"
#include "dev/registry.h"

#define FN(slot, fn) PCI_DEVFN(slot, fn)
#define NONE 0xffffffffu

struct rig {
	struct test_env *t;
	struct dev_slots slots;
	struct i440fx *pc;
	struct q35 *q35;
	bool cpu_intr;
	unsigned sent;
	uint16_t requester;
};

static void on_msi(void *opaque, uint16_t requester, uint64_t addr, uint32_t data)
{
	struct rig *r = opaque;

	r->sent++;
	r->requester = requester;
}

static struct rig *open_rig(bool q35)
{
	static const struct pam_config pam = {.ram_off = 0};
	struct rig *r = xzalloc(sizeof(*r));
	struct dev_env *env;
	struct apics *apics;

	r->t = env_open();
	env = &r->t->env;
	env->msi = on_msi;
	env->msi_opaque = r;
	apics = apics_create(env, 1, &apics_none_ops, &r->cpu_intr);
	r->slots.env = env;
	r->slots.gsi =
		gsi_create(env, pic_create(env, apics_extint(apics)), ioapic_create(env, apics));
	if (q35)
		r->q35 = q35_create(env, r->slots.gsi, &pam);
	else
		r->pc = i440fx_create(env, r->slots.gsi, &pam);
	return r;
}

static int setup(void **state)
{
	*state = open_rig(false);
	return 0;
}

static int setup_q35(void **state)
{
	*state = open_rig(true);
	return 0;
}

static int teardown(void **state)
{
	struct rig *r = *state;

	env_close(r->t);
	free(r);
	return 0;
}

static void add(struct rig *r, const char *driver, const char *props)
{
	struct err *e = NULL;
	int rc;

	lock_take(&r->t->lock);
	rc = dev_create(&r->slots, driver, props, &e);
	lock_drop(&r->t->lock);
	if (rc)
		fail_msg("%s", err_msg(e));
}

static void add_fails(struct rig *r, const char *driver, const char *props, int rc, const char *msg)
{
	struct err *e = NULL;

	lock_take(&r->t->lock);
	assert_int_equal(dev_create(&r->slots, driver, props, &e), rc);
	lock_drop(&r->t->lock);
	if (!strstr(err_msg(e), msg))
		fail_msg("'%s' does not say '%s'", err_msg(e), msg);
	err_free(&e);
}

static struct pci_bus *bus(struct rig *r, const char *name)
{
	struct dev_bus *b = dev_bus_find(&r->t->env, name);

	assert_non_null(b);
	return b->bus;
}

static struct card *card(struct rig *r, const char *bus_name, uint8_t devfn)
{
	return card_create(bus(r, bus_name), devfn);
}

static unsigned firmware(struct rig *r, const struct pci_space *space)
{
	static const uint8_t irq[4] = {10, 10, 11, 11};
	unsigned failed;

	lock_take(&r->t->lock);
	failed = pci_bus_assign(r->pc ? i440fx_bus(r->pc) : q35_bus(r->q35), space, irq);
	lock_drop(&r->t->lock);
	return failed;
}

static uint32_t cfg(struct rig *r, unsigned busnr, uint8_t devfn, unsigned off, unsigned size)
{
	outl(r->t, 0xcf8, 0x80000000u | busnr << 16 | (uint32_t)devfn << 8 | (off & 0xfc));
	return pio_read(r->t->env.mem, (uint16_t)(0xcfc + (off & 3)), size);
}

static void cfg_put(struct rig *r, unsigned busnr, uint8_t devfn, unsigned off, uint32_t v,
		    unsigned size)
{
	outl(r->t, 0xcf8, 0x80000000u | busnr << 16 | (uint32_t)devfn << 8 | (off & 0xfc));
	pio_write(r->t->env.mem, (uint16_t)(0xcfc + (off & 3)), v, size);
}

#define CARD_ID 0x12341af4u

/* 00:05.0 - 01:03.0 - 02:07.0 */
static struct card *chain(struct rig *r)
{
	add(r, "pci-bridge", "id=b1,chassis_nr=1,addr=5");
	add(r, "pci-bridge", "id=b2,chassis_nr=2,bus=b1,addr=3");
	return card(r, "b2", FN(7, 0));
}

static void numbers(void **state)
{
	struct rig *r = *state;

	chain(r);
	card(r, "b1", FN(9, 0));
	assert_int_equal(cfg(r, 0, FN(5, 0), 0, 4), 0x00011b36);
	assert_int_equal(cfg(r, 0, FN(5, 0), 0xa, 2), 0x0604);
	assert_int_equal(cfg(r, 0, FN(5, 0), 0xe, 1), 1);
	assert_int_equal(cfg(r, 1, FN(9, 0), 0, 4), NONE);
	cfg_put(r, 0, FN(5, 0), 0x18, 0x00070400, 4); /* buses 4 to 7 */
	assert_int_equal(cfg(r, 4, FN(9, 0), 0, 4), CARD_ID);
	assert_int_equal(cfg(r, 1, FN(9, 0), 0, 4), NONE);
	assert_int_equal(cfg(r, 6, FN(7, 0), 0, 4), NONE);
	cfg_put(r, 4, FN(3, 0), 0x18, 0x00060604, 4);
	assert_int_equal(cfg(r, 6, FN(7, 0), 0, 4), CARD_ID);
	cfg_put(r, 4, FN(3, 0), 0x18, 0x00080804, 4); /* beyond what is above */
	assert_int_equal(cfg(r, 8, FN(7, 0), 0, 4), NONE);
	cfg_put(r, 0, FN(5, 0), 0x18, 0, 4);
	assert_int_equal(cfg(r, 0, FN(9, 0), 0, 4), NONE);
}

static void windows(void **state)
{
	struct rig *r = *state;
	struct card *c = chain(r);

	cfg_put(r, 0, FN(5, 0), 0x18, 0x00020100, 4);
	cfg_put(r, 1, FN(3, 0), 0x18, 0x00020201, 4);
	cfg_put(r, 2, FN(7, 0), 4, 7, 2);
	cfg_put(r, 2, FN(7, 0), 0x10, 0xe0100000, 4);
	cfg_put(r, 2, FN(7, 0), 0x14, 0xd000, 4);
	assert_int_equal(rd32(r->t, 0xe0100000), NONE); /* nobody forwards */
	cfg_put(r, 1, FN(3, 0), 4, 3, 2);
	cfg_put(r, 1, FN(3, 0), 0x20, 0xe010e010, 4);
	cfg_put(r, 1, FN(3, 0), 0x1c, 0xd0d0, 2);
	assert_int_equal(rd32(r->t, 0xe0100000), NONE); /* the upper one does not */
	cfg_put(r, 0, FN(5, 0), 0x20, 0xe010e000, 4);
	cfg_put(r, 0, FN(5, 0), 0x1c, 0xe0c0, 2);
	assert_int_equal(rd32(r->t, 0xe0100000), NONE);
	cfg_put(r, 0, FN(5, 0), 4, 2, 2);
	assert_int_equal(rd32(r->t, 0xe0100004), 0xc0de0004);
	assert_int_equal(inl(r->t, 0xd004), NONE);
	cfg_put(r, 0, FN(5, 0), 4, 3, 2);
	assert_int_equal(inl(r->t, 0xd004), 0xc0de0004);
	assert_int_equal(cfg(r, 0, FN(5, 0), 0x1c, 2), 0xe0c0);
	/* Just below, and one that does not fit whole. */
	cfg_put(r, 1, FN(3, 0), 0x20, 0xe020e020, 4);
	assert_int_equal(rd32(r->t, 0xe0100004), NONE);
	cfg_put(r, 0, FN(5, 0), 0x24, 0x80008001, 4); /* prefetchable at 4 GiB + 2 GiB, 1 MiB */
	cfg_put(r, 0, FN(5, 0), 0x28, 1, 4);
	cfg_put(r, 0, FN(5, 0), 0x2c, 1, 4);
	cfg_put(r, 1, FN(3, 0), 0x24, 0x80008001, 4);
	cfg_put(r, 1, FN(3, 0), 0x28, 1, 4);
	cfg_put(r, 1, FN(3, 0), 0x2c, 1, 4);
	assert_int_equal(cfg(r, 1, FN(3, 0), 0x24, 4), 0x80018001);
	cfg_put(r, 2, FN(7, 0), 0x18, 0x80000000, 4);
	cfg_put(r, 2, FN(7, 0), 0x1c, 1, 4);
	assert_int_equal(rd32(r->t, UINT64_C(0x180000010)), 0xc0de0010);
	cfg_put(r, 0, FN(5, 0), 0x2c, 0, 4); /* limit below base: closed */
	assert_int_equal(rd32(r->t, UINT64_C(0x180000010)), NONE);
	wr32(r->t, UINT64_C(0x180000010), 1);
	assert_int_equal(c->last, 0);
}

static void assigned(void **state)
{
	struct rig *r = *state;
	uint32_t mem, io, window;

	chain(r);
	card(r, "b1", FN(9, 0));
	card(r, "pci.0", FN(6, 0));
	add(r, "pci-bridge", "chassis_nr=3,addr=8"); /* nothing behind */
	assert_int_equal(firmware(r, &pci_space), 0);
	assert_int_equal(cfg(r, 0, FN(5, 0), 0x18, 4) & 0xffffff, 0x020100);
	assert_int_equal(cfg(r, 1, FN(3, 0), 0x18, 4) & 0xffffff, 0x020201);
	assert_int_equal(cfg(r, 0, FN(8, 0), 0x18, 4) & 0xffffff, 0x030300);
	assert_true((cfg(r, 0, FN(8, 0), 0x20, 4) & 0xfff0) >
		    (cfg(r, 0, FN(8, 0), 0x20, 4) >> 16 & 0xfff0));
	assert_true(cfg(r, 0, FN(8, 0), 0x1c, 1) > cfg(r, 0, FN(8, 0), 0x1d, 1));
	for (unsigned n = 0; n < 3; n++) {
		static const uint8_t devfn[3] = {FN(6, 0), FN(9, 0), FN(7, 0)};

		mem = cfg(r, n, devfn[n], 0x10, 4);
		io = cfg(r, n, devfn[n], 0x14, 4) & ~1u;
		assert_int_equal(rd32(r->t, mem + 8), 0xc0de0008);
		assert_int_equal(inl(r->t, (uint16_t)(io + 8)), 0xc0de0008);
		mem = cfg(r, n, devfn[n], 0x18, 4) & ~15u;
		assert_int_equal(cfg(r, n, devfn[n], 0x1c, 4), 0); /* small: below 4 GiB */
		assert_int_equal(rd32(r->t, mem + 0xffff8), 0xc0edfff8);
	}
	/* The second bridge's window is within the first's. */
	window = cfg(r, 0, FN(5, 0), 0x20, 4);
	mem = cfg(r, 1, FN(3, 0), 0x20, 4);
	assert_true((mem & 0xfff0) >= (window & 0xfff0));
	assert_true(mem >> 20 <= window >> 20);
}

/* A function with one 64-bit BAR of any size. */
static struct card *big(struct rig *r, const char *bus_name, uint8_t devfn, uint64_t size,
			uint8_t flags)
{
	static const struct pci_id id = {.vendor = 0x1af4, .device = 0x5678, .class = 0xff00};
	struct card *c = xzalloc(sizeof(*c));

	c->big = (struct io_region){
		.name = "big", .ops = &card_ops, .opaque = c, .lock = &r->t->lock, .size = size};
	pci_dev_init(&c->pci, bus(r, bus_name), devfn, &id, &card_dev_ops, "big");
	pci_dev_bar(&c->pci, 0, flags, &c->big);
	pci_dev_ready(&c->pci);
	return c;
}

static uint64_t bar64(struct rig *r, unsigned busnr, uint8_t devfn)
{
	return (uint64_t)cfg(r, busnr, devfn, 0x14, 4) << 32 |
	       (cfg(r, busnr, devfn, 0x10, 4) & ~15u);
}

static void large_bars(void **state)
{
	const uint8_t pref = PCI_BAR_MEM64 | PCI_BAR_PREFETCH;
	struct rig *r = *state;
	struct pci_space none = pci_space, tight = pci_space;

	add(r, "pci-bridge", "id=b1,chassis_nr=1,addr=5");
	big(r, "pci.0", FN(6, 0), 16 * GiB, pref);
	big(r, "pci.0", FN(7, 0), 32 * MiB, PCI_BAR_MEM64);
	big(r, "b1", FN(1, 0), 4 * GiB, pref);
	big(r, "b1", FN(2, 0), 8 * MiB, PCI_BAR_MEM64);
	big(r, "b1", FN(3, 0), 16 * MiB, 0);
	assert_int_equal(firmware(r, &pci_space), 0);
	assert_true(bar64(r, 0, FN(6, 0)) >= 16 * GiB);
	assert_int_equal(rd32(r->t, bar64(r, 0, FN(6, 0)) + 16 * GiB - 4), 0xc0ddfffc);
	assert_true(bar64(r, 1, FN(1, 0)) >= 4 * GiB);
	assert_int_equal(rd32(r->t, bar64(r, 1, FN(1, 0)) + 4 * GiB - 4), 0xc0ddfffc);
	assert_true(bar64(r, 0, FN(7, 0)) < 4 * GiB);
	assert_true(bar64(r, 1, FN(2, 0)) < 4 * GiB); /* no 64-bit window for it */
	assert_int_equal(rd32(r->t, bar64(r, 1, FN(2, 0))), 0xc0de0000);
	/* Too tight below 4 GiB: what can go up goes up. */
	tight.mem.end = tight.mem.start + 32 * MiB;
	assert_int_equal(firmware(r, &tight), 0);
	assert_true(bar64(r, 0, FN(7, 0)) >= 4 * GiB);
	assert_int_equal(rd32(r->t, bar64(r, 0, FN(7, 0))), 0xc0de0000);
	assert_int_equal(rd32(r->t, cfg(r, 1, FN(3, 0), 0x10, 4)), 0xc0de0000);
	/* No room above: those that found none are nowhere, the others work. */
	none.mem64 = (struct pci_range){0};
	assert_int_equal(firmware(r, &none), 3); /* two BARs and a window */
	assert_int_equal(bar64(r, 0, FN(6, 0)), 0);
	assert_int_equal(bar64(r, 1, FN(1, 0)), 0);
	assert_int_equal(rd32(r->t, bar64(r, 0, FN(7, 0))), 0xc0de0000);
}

/* More bridges than bus numbers, in a row. */
static void too_many_buses(void **state)
{
	struct rig *r = *state;
	char props[64];

	add(r, "pci-bridge", "id=b0,chassis_nr=1");
	for (unsigned n = 1; n < 260; n++) {
		snprintf(props, sizeof(props), "id=b%u,bus=b%u,chassis_nr=1", n, n - 1);
		add(r, "pci-bridge", props);
	}
	card(r, "b254", FN(9, 0));
	card(r, "b255", FN(9, 0));
	assert_true(firmware(r, &pci_space) >= 1);
	assert_int_equal(cfg(r, 255, FN(9, 0), 0, 4), CARD_ID);
	assert_int_equal(rd32(r->t, cfg(r, 255, FN(9, 0), 0x10, 4)), 0xc0de0000);
}

static void pin(struct rig *r, struct card *c, bool level)
{
	lock_take(&r->t->lock);
	pci_dev_irq(&c->pci, level);
	lock_drop(&r->t->lock);
}

static void interrupts(void **state)
{
	struct rig *r = *state;
	struct card *c = chain(r), *d = card(r, "pci.0", FN(4, 0));
	struct pci_bus *root = i440fx_bus(r->pc);

	/* 02:07 A is 01:03's D, that is 00:05's (3 + 3) & 3 = C; slot 5: (4 + 2) & 3. */
	pin(r, c, true);
	for (unsigned n = 0; n < 4; n++)
		assert_int_equal(pci_bus_pirq(root, n), n == 2);
	firmware(r, &pci_space);
	assert_int_equal(cfg(r, 2, FN(7, 0), 0x3c, 1), 11);
	pin(r, d, true); /* slot 4 A: (3 + 0) & 3 */
	assert_true(pci_bus_pirq(root, 3));
	pin(r, c, false);
	assert_false(pci_bus_pirq(root, 2));
	assert_true(pci_bus_pirq(root, 3));
}

static void messages(void **state)
{
	struct rig *r = *state;
	struct card *c;
	unsigned cap;

	add(r, "pci-bridge", "id=b1,chassis_nr=1,addr=5");
	c = card_new(bus(r, "b1"), FN(7, 2));
	pci_msi_init(&c->pci, 1);
	cap = c->pci.msi.cap;
	pci_dev_ready(&c->pci);
	cfg_put(r, 0, FN(5, 0), 0x18, 0x00090900, 4);
	cfg_put(r, 9, FN(7, 2), 4, 6, 2);
	cfg_put(r, 9, FN(7, 2), cap + 2, 1, 2);
	lock_take(&r->t->lock);
	assert_false(pci_dev_is_master(&c->pci));
	pci_msi_notify(&c->pci, 0);
	lock_drop(&r->t->lock);
	assert_int_equal(r->sent, 0); /* the bridge lets nothing up */
	cfg_put(r, 0, FN(5, 0), 4, 4, 2);
	lock_take(&r->t->lock);
	assert_true(pci_dev_is_master(&c->pci));
	pci_msi_notify(&c->pci, 0);
	lock_drop(&r->t->lock);
	assert_int_equal(r->sent, 1);
	assert_int_equal(r->requester, 9 << 8 | FN(7, 2));
}

static void bus_reset(void **state)
{
	struct rig *r = *state;

	chain(r);
	firmware(r, &pci_space);
	assert_int_equal(cfg(r, 2, FN(7, 0), 4, 2), 7);
	cfg_put(r, 0, FN(5, 0), 0x3e, 0x40, 2);
	cfg_put(r, 0, FN(5, 0), 0x3e, 0, 2);
	assert_int_equal(cfg(r, 0, FN(5, 0), 4, 2), 7);
	assert_int_equal(cfg(r, 1, FN(3, 0), 4, 2), 0); /* what is behind was reset */
	assert_int_equal(cfg(r, 2, FN(7, 0), 0, 4), NONE);
	firmware(r, &pci_space);
	assert_int_equal(cfg(r, 2, FN(7, 0), 4, 2), 7);
	lock_take(&r->t->lock);
	dev_reset_all(&r->t->env);
	lock_drop(&r->t->lock);
	assert_int_equal(cfg(r, 0, FN(5, 0), 0x18, 4), 0);
}

static void saved(void **state)
{
	struct rig *r = *state, *s = open_rig(false);
	struct state_buf buf = {0};
	size_t at = 0, used;
	uint32_t mem;

	chain(r);
	chain(s);
	firmware(r, &pci_space);
	lock_take(&r->t->lock);
	for (struct dev *d = r->t->env.devs; d; d = d->next)
		state_save(&buf, d->ops->state, d);
	lock_drop(&r->t->lock);
	lock_take(&s->t->lock);
	for (struct dev *d = s->t->env.devs; d; d = d->next, at += used)
		assert_int_equal(
			state_load(d->ops->state, d, buf.data + at, buf.len - at, &used, NULL), 0);
	lock_drop(&s->t->lock);
	mem = cfg(s, 2, FN(7, 0), 0x10, 4);
	assert_int_equal(mem, cfg(r, 2, FN(7, 0), 0x10, 4));
	assert_int_equal(rd32(s->t, mem), 0xc0de0000);
	env_close(s->t);
	free(s);
	free(buf.data);
}

static void places(void **state)
{
	struct rig *r = *state;

	add(r, "pci-bridge", "chassis_nr=1,addr=10"); /* hexadecimal */
	assert_int_equal(cfg(r, 0, FN(16, 0), 0, 4), 0x00011b36);
	add(r, "pci-bridge", "chassis_nr=1,addr=0x12.0,bus=pci.0,id=m,multifunction=on");
	add(r, "pci-bridge", "chassis_nr=1,addr=12.7");
	assert_int_equal(cfg(r, 0, FN(18, 0), 0xe, 1), 0x81);
	assert_int_equal(cfg(r, 0, FN(18, 7), 0, 4), 0x00011b36);
	add(r, "pci-bridge", "chassis_nr=1");
	assert_int_equal(cfg(r, 0, FN(2, 0), 0, 4), 0x00011b36);
	add(r, "pci-bridge", "chassis_nr=1,bus=pci.1");
	add_fails(r, "pci-bridge", "chassis_nr=1,addr=10", -EBUSY, "pci-bridge");
	add_fails(r, "pci-bridge", "chassis_nr=1,addr=12", -EBUSY, "has 'm'");
	add_fails(r, "pci-bridge", "chassis_nr=1,addr=10.1", -EINVAL, "multifunction");
	add_fails(r, "pci-bridge", "chassis_nr=1,addr=20", -EINVAL, "addr");
	add_fails(r, "pci-bridge", "chassis_nr=1,addr=5.8", -EINVAL, "addr");
	add_fails(r, "pci-bridge", "chassis_nr=1,addr=5.", -EINVAL, "addr");
	add_fails(r, "pci-bridge", "chassis_nr=1,addr=zz", -EINVAL, "addr");
	add_fails(r, "pci-bridge", "chassis_nr=1,bus=nope", -ENOENT, "nope");
	add_fails(r, "pci-bridge", "", -EINVAL, "chassis_nr");
	add_fails(r, "pci-bridge", "chassis_nr=1,shpc=on", -EINVAL, "shpc");
	add_fails(r, "pcie-root-port", "", -EINVAL, "'pci.0' is not the root");
	add(r, "pci-bridge", "chassis_nr=1,addr=14.3");
	add_fails(r, "pci-bridge", "chassis_nr=1,addr=14.0", -EINVAL, "multifunction");
	add(r, "pci-bridge", "chassis_nr=1,addr=14.0,multifunction=on");
	for (unsigned n = 0; n < 26; n++) /* fill pci.0; the next goes behind a bridge */
		add(r, "pci-bridge", "chassis_nr=1");
	assert_int_equal(pci_bus_free_slot(i440fx_bus(r->pc), 0), -1);
	add_fails(r, "pci-bridge", "chassis_nr=1,bus=pci.0", -ENOSPC, "full");
	add(r, "pci-bridge", "chassis_nr=1");
}

static char *temp_file(const void *data, size_t len)
{
	char *path = xstrdup("/tmp/doppel-rom-XXXXXX");
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), len);
	close(fd);
	return path;
}

static void option_rom(void **state)
{
	struct rig *r = *state;
	uint8_t image[2049] = {0x55, 0xaa, 5};
	char *path = temp_file(image, sizeof(image)), *empty = temp_file("", 0), *props;
	uint32_t rom;

	image[2048] = 0;
	props = xasprintf("chassis_nr=1,addr=5,romfile=%s", path);
	add(r, "pci-bridge", props);
	free(props);
	cfg_put(r, 0, FN(5, 0), 0x38, 0xfffffffe, 4);
	assert_int_equal(cfg(r, 0, FN(5, 0), 0x38, 4), 0xfffff000);
	firmware(r, &pci_space);
	rom = cfg(r, 0, FN(5, 0), 0x38, 4);
	assert_int_not_equal(rom, 0);
	assert_int_equal(rd32(r->t, rom), NONE);
	cfg_put(r, 0, FN(5, 0), 0x38, rom | 1, 4);
	assert_int_equal(rd32(r->t, rom), 0x0005aa55);
	assert_int_equal(rd32(r->t, rom + 2048), 0xffffff00);
	wr32(r->t, rom, 0);
	assert_int_equal(rd32(r->t, rom), 0x0005aa55);
	props = xasprintf("chassis_nr=1,addr=6,romfile=%s,rombar=0", path);
	add(r, "pci-bridge", props);
	free(props);
	cfg_put(r, 0, FN(6, 0), 0x38, NONE, 4);
	assert_int_equal(cfg(r, 0, FN(6, 0), 0x38, 4), 0);
	props = xasprintf("chassis_nr=1,addr=7,romfile=%s", empty);
	add_fails(r, "pci-bridge", props, -EINVAL, "1 byte to 16 MiB");
	free(props);
	add_fails(r, "pci-bridge", "chassis_nr=1,addr=7,romfile=/nowhere/rom", -ENOENT,
		  "/nowhere/rom");
	add_fails(r, "pci-bridge", "chassis_nr=1,addr=7,romfile=/dev/zero", -EINVAL, "/dev/zero");
	assert_int_equal(cfg(r, 0, FN(7, 0), 0, 4), NONE);
	unlink(path);
	unlink(empty);
	free(path);
	free(empty);
}

static unsigned find_cap(struct rig *r, uint8_t devfn, uint8_t id)
{
	unsigned off = cfg(r, 0, devfn, 0x34, 1);

	while (off && cfg(r, 0, devfn, off, 1) != id)
		off = cfg(r, 0, devfn, off + 1, 1);
	return off;
}

static void root_ports(void **state)
{
	struct rig *r = *state;
	struct pci_space space = pci_space;
	uint64_t ecam = Q35_ECAM_BASE;
	struct card *c;
	unsigned cap;

	add(r, "pcie-root-port", "id=rp1,slot=0x12,port=3,addr=3");
	add(r, "ioh3420", "id=rp2,addr=4");
	add_fails(r, "pcie-root-port", "bus=rp1", -EINVAL, "'rp1' is not the root");
	add_fails(r, "pci-bridge", "bus=rp1,addr=1,chassis_nr=1", -EINVAL, "no slot but 0");
	c = card_new(bus(r, "rp1"), FN(0, 0));
	assert_true(pci_dev_express_endpoint(&c->pci));
	pci_dev_ready(&c->pci);
	lock_take(&r->t->lock);
	q35_setup(r->q35, &space);
	lock_drop(&r->t->lock);
	assert_int_equal(cfg(r, 0, FN(3, 0), 0, 4), 0x000c1b36);
	cap = find_cap(r, FN(3, 0), 0x10);
	assert_int_equal(cap, 0x54);
	assert_int_equal(cfg(r, 0, FN(3, 0), cap + 2, 2), 0x0142); /* root port, slot, version 2 */
	assert_int_equal(cfg(r, 0, FN(3, 0), cap + 0xf, 1), 3);
	assert_int_equal(cfg(r, 0, FN(3, 0), cap + 0x14, 4), 0x12 << 19);
	assert_int_equal(cfg(r, 0, FN(3, 0), cap + 0x12, 2), 0x2011); /* link is up */
	assert_int_equal(cfg(r, 0, FN(3, 0), cap + 0x1a, 2), 0x40);
	assert_int_not_equal(find_cap(r, FN(3, 0), 0x11), 0);
	cap = find_cap(r, FN(4, 0), 0x10);
	assert_int_equal(cap, 0x90);
	assert_int_equal(cfg(r, 0, FN(4, 0), cap + 0x12, 2), 0); /* nothing there */
	assert_int_equal(cfg(r, 0, FN(4, 0), cap + 0x1a, 2), 0);
	assert_int_not_equal(find_cap(r, FN(4, 0), 0x05), 0);
	/* Its configuration through ECAM, all 4 KiB. */
	ecam += 1 << 20;
	assert_int_equal(rd32(r->t, ecam), CARD_ID);
	assert_int_equal(rd32(r->t, ecam + 0x100), 0);
	assert_int_equal(rd32(r->t, ecam + (1 << 15)), NONE);
	assert_int_equal(rd32(r->t, ecam + (1 << 20)), NONE); /* bus 2: rp2's, empty */
	assert_int_equal(rd32(r->t, rd32(r->t, ecam + 0x10)), 0xc0de0000);
	/* A card on the root bus is integrated. */
	c = card_new(q35_bus(r->q35), FN(9, 0));
	assert_true(pci_dev_express_endpoint(&c->pci));
	pci_dev_ready(&c->pci);
	cap = find_cap(r, FN(9, 0), 0x10);
	assert_int_equal(cfg(r, 0, FN(9, 0), cap + 2, 2), 0x92);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(numbers),	   T(windows),
		T(assigned),	   T(large_bars),
		T(too_many_buses), T(interrupts),
		T(messages),	   T(bus_reset),
		T(saved),	   T(places),
		T(option_rom),	   cmocka_unit_test_setup_teardown(root_ports, setup_q35, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
