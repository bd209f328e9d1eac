/* SPDX-License-Identifier: Apache-2.0 */
/* Message-signalled interrupts: both capabilities, masks, pending bits, saved state; extended
 * configuration space. */
#include "dev_env.h"
#include "pci_card.h"

#include <errno.h>

#define SLOT(n) PCI_DEVFN(n, 0)
#define ECAM UINT64_C(0xb0000000)
#define BAR UINT64_C(0xc0000000)
#define MANY 65 /* MSI-X vectors: the pending bits take two quadwords */

/* A card with one kind of messages. */
enum kind { NONE, MSIX, MSI8 };

struct rig {
	struct test_env *t;
	struct pci_bus *bus;
	unsigned sent, pirq_rises;
	bool pirq;
	uint16_t requester;
	uint64_t addr;
	uint32_t data;
};

static unsigned map_irq(unsigned slot, unsigned pin)
{
	return 0;
}

static void set_pirq(void *opaque, unsigned n, bool level)
{
	struct rig *r = opaque;

	r->pirq = level;
	r->pirq_rises += level;
}

static void on_msi(void *opaque, uint16_t requester, uint64_t addr, uint32_t data)
{
	struct rig *r = opaque;

	r->sent++;
	r->requester = requester;
	r->addr = addr;
	r->data = data;
}

static int setup(void **state)
{
	struct rig *r = xzalloc(sizeof(*r));

	r->t = env_open();
	r->t->env.msi = on_msi;
	r->t->env.msi_opaque = r;
	r->bus = pci_bus_create(&r->t->env, "pcie.0", true, map_irq, set_pirq, r);
	lock_take(&r->t->lock);
	pci_bus_ecam(r->bus, true, ECAM, 256 * MiB);
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

static struct card *plug(struct rig *r, uint8_t devfn, enum kind kind)
{
	struct card *c = card_new(r->bus, devfn);

	if (kind == MSIX)
		pci_msix_init(&c->pci, MANY, 4);
	else if (kind == MSI8)
		pci_msi_init(&c->pci, 8);
	pci_dev_ready(&c->pci);
	return c;
}

static uint64_t reg(uint8_t devfn, unsigned off)
{
	return ECAM + ((uint64_t)devfn << 12) + off;
}

static uint16_t rd16(struct rig *r, uint64_t a)
{
	return (uint16_t)mem_read(r->t->env.mem, GPA(a), 2);
}

static void wr16(struct rig *r, uint64_t a, uint16_t v)
{
	mem_write(r->t->env.mem, GPA(a), v, 2);
}

static unsigned find_cap(struct rig *r, uint8_t devfn, uint8_t id)
{
	unsigned off = (uint8_t)mem_read(r->t->env.mem, GPA(reg(devfn, 0x34)), 1);

	while (off && (rd16(r, reg(devfn, off)) & 0xff) != id)
		off = rd16(r, reg(devfn, off)) >> 8;
	assert_int_not_equal(off, 0);
	return off;
}

static void notify(struct rig *r, struct card *c, unsigned v, bool msix)
{
	lock_take(&r->t->lock);
	if (msix)
		pci_msix_notify(&c->pci, v);
	else
		pci_msi_notify(&c->pci, v);
	lock_drop(&r->t->lock);
}

static void pin(struct rig *r, struct card *c, bool level)
{
	lock_take(&r->t->lock);
	pci_dev_irq(&c->pci, level);
	lock_drop(&r->t->lock);
}

static void reset(struct rig *r)
{
	lock_take(&r->t->lock);
	dev_reset_all(&r->t->env);
	lock_drop(&r->t->lock);
}

/* start - memory decoding and mastering, the MSI-X BAR at BAR; returns the control register. */
static uint64_t start(struct rig *r, uint8_t devfn, uint8_t id)
{
	if (id == PCI_CAP_ID_MSIX)
		wr32(r->t, reg(devfn, 0x20), (uint32_t)BAR);
	wr16(r, reg(devfn, 4), 6);
	return reg(devfn, find_cap(r, devfn, id) + 2);
}

static void entry(struct rig *r, unsigned v, uint64_t addr, uint32_t data, uint32_t ctl)
{
	mem_write(r->t->env.mem, GPA(BAR + 16 * v), addr, 8);
	wr32(r->t, BAR + 16 * v + 8, data);
	wr32(r->t, BAR + 16 * v + 12, ctl);
}

static void msix_delivers(void **state)
{
	struct rig *r = *state;
	struct card *c = plug(r, SLOT(3), MSIX);
	uint64_t ctl = start(r, SLOT(3), PCI_CAP_ID_MSIX);

	assert_int_equal(rd16(r, ctl), MANY - 1);
	assert_int_equal(rd32(r->t, ctl + 2), 4);
	assert_int_equal(rd32(r->t, ctl + 6), 0x800 | 4);
	assert_int_equal(rd32(r->t, BAR + 16 * 64 + 12), 1); /* masked at first */
	entry(r, 64, 0xfee01000, 0x4041, 0);
	notify(r, c, 64, true);
	assert_int_equal(r->sent, 0); /* not enabled */
	wr16(r, ctl, 0x8000);
	assert_int_equal(rd16(r, ctl), 0x8000 | (MANY - 1));
	assert_int_equal(r->sent, 0); /* and not remembered */
	notify(r, c, 64, true);
	assert_int_equal(r->sent, 1);
	assert_int_equal(r->requester, SLOT(3));
	assert_int_equal(r->addr, 0xfee01000);
	assert_int_equal(r->data, 0x4041);
	notify(r, c, MANY, true);
	notify(r, c, UINT32_MAX, true);
	assert_int_equal(r->sent, 1);
	wr16(r, reg(SLOT(3), 4), 2); /* not a master */
	notify(r, c, 64, true);
	assert_int_equal(r->sent, 1);
}

static void msix_masks(void **state)
{
	struct rig *r = *state;
	struct card *c = plug(r, SLOT(3), MSIX);
	uint64_t ctl = start(r, SLOT(3), PCI_CAP_ID_MSIX), pba = BAR + 0x800;

	wr16(r, ctl, 0x8000);
	entry(r, 0, 0xfee00000, 1, 1);
	entry(r, 64, 0xfee00000, 2, 0);
	notify(r, c, 0, true);
	notify(r, c, 0, true);
	assert_int_equal(r->sent, 0);
	assert_int_equal(rd32(r->t, pba), 1);
	wr32(r->t, pba, 0xfe); /* read-only */
	assert_int_equal(rd32(r->t, pba), 1);
	wr32(r->t, BAR + 12, 0);
	assert_int_equal(r->sent, 1);
	assert_int_equal(r->data, 1);
	assert_int_equal(rd32(r->t, pba), 0);
	wr16(r, ctl, 0xc000); /* the whole function */
	notify(r, c, 64, true);
	assert_int_equal(rd32(r->t, pba + 8), 1);
	wr16(r, ctl, 0x4000);
	assert_int_equal(r->sent, 1);
	wr16(r, ctl, 0x8000);
	assert_int_equal(r->sent, 2);
	assert_int_equal(r->data, 2);
	assert_int_equal(rd32(r->t, pba + 8), 0);
	wr32(r->t, BAR + 12, 0xffffffff);
	assert_int_equal(rd32(r->t, BAR + 12), 1);
	notify(r, c, 0, true);
	reset(r);
	start(r, SLOT(3), PCI_CAP_ID_MSIX);
	assert_int_equal(rd16(r, ctl), MANY - 1);
	assert_int_equal(rd32(r->t, pba), 0);
	assert_int_equal(rd32(r->t, BAR), 0);
	assert_int_equal(rd32(r->t, BAR + 64 * 16 + 12), 1);
}

static void msi(void **state)
{
	struct rig *r = *state;
	struct card *c = plug(r, SLOT(4), MSI8);
	uint64_t ctl = start(r, SLOT(4), PCI_CAP_ID_MSI), cap = ctl - 2;

	assert_int_equal(rd16(r, ctl), 0x0186);
	wr32(r->t, cap + 4, 0xfee02003);
	wr32(r->t, cap + 8, 1);
	wr16(r, cap + 0xc, 0x47);
	notify(r, c, 0, false);
	assert_int_equal(r->sent, 0);
	wr16(r, ctl, 0x0021); /* four of the eight */
	notify(r, c, 2, false);
	assert_int_equal(r->sent, 1);
	assert_int_equal(r->addr, UINT64_C(0x1fee02000));
	assert_int_equal(r->data, 0x46);
	notify(r, c, 5, false); /* shares with 1 */
	assert_int_equal(r->data, 0x45);
	notify(r, c, 8, false);
	assert_int_equal(r->sent, 2);
	wr32(r->t, cap + 0x10, 0xffffffff);
	assert_int_equal(rd32(r->t, cap + 0x10), 0xff);
	notify(r, c, 3, false);
	assert_int_equal(rd32(r->t, cap + 0x14), 8);
	wr32(r->t, cap + 0x14, 0);
	assert_int_equal(rd32(r->t, cap + 0x14), 8);
	assert_int_equal(r->sent, 2);
	wr32(r->t, cap + 0x10, ~8u);
	assert_int_equal(r->sent, 3);
	assert_int_equal(r->data, 0x47);
	assert_int_equal(rd32(r->t, cap + 0x14), 0);
	wr16(r, ctl, 0x0071); /* more than there are */
	wr32(r->t, cap + 0x10, 0);
	notify(r, c, 7, false);
	assert_int_equal(r->data, 0x47);
	notify(r, c, 0, false);
	assert_int_equal(r->data, 0x40);
}

/* While messages are on, the pin is silent; it speaks again when they are off. */
static void instead_of_the_pin(void **state)
{
	struct rig *r = *state;
	struct card *c = plug(r, SLOT(3), MSIX), *d = plug(r, SLOT(4), MSI8);
	uint64_t x = start(r, SLOT(3), PCI_CAP_ID_MSIX), m = start(r, SLOT(4), PCI_CAP_ID_MSI);

	pin(r, c, true);
	assert_true(r->pirq);
	wr16(r, x, 0x8000);
	assert_false(r->pirq);
	assert_true(rd16(r, reg(SLOT(3), 6)) & 8);
	wr16(r, m, 1);
	pin(r, d, true);
	assert_false(r->pirq);
	wr16(r, m, 0);
	assert_true(r->pirq);
	pin(r, d, false);
	assert_false(r->pirq);
	wr16(r, x, 0);
	assert_true(r->pirq);
	assert_int_equal(r->sent, 0);
}

static void save(struct card *c, struct state_buf *s)
{
	state_save(s, &card_state, c);
}

static void saved(void **state)
{
	struct rig *r = *state;
	struct card *c = plug(r, SLOT(3), MSIX), *d = plug(r, SLOT(5), MSIX);
	struct card *m = plug(r, SLOT(6), MSI8), *n = plug(r, SLOT(7), MSI8);
	uint64_t ctl = start(r, SLOT(3), PCI_CAP_ID_MSIX);
	uint64_t mctl = start(r, SLOT(6), PCI_CAP_ID_MSI);
	struct state_buf s = {0}, t = {0};
	size_t used;

	wr16(r, ctl, 0x8000);
	entry(r, 64, 0xfee00000, 0x55, 1);
	notify(r, c, 64, true);
	wr16(r, mctl, 0x31);
	wr32(r->t, mctl - 2 + 0x10, 2);
	notify(r, m, 1, false);
	lock_take(&r->t->lock);
	save(c, &s);
	save(m, &t);
	lock_drop(&r->t->lock);
	wr16(r, reg(SLOT(3), 4), 0); /* makes room for the other's BAR */
	lock_take(&r->t->lock);
	assert_int_equal(state_load(&card_state, d, s.data, s.len, &used, NULL), 0);
	assert_int_equal(state_load(&card_state, n, t.data, t.len, &used, NULL), 0);
	assert_int_equal(state_load(&card_state, n, s.data, s.len, &used, NULL), -EINVAL);
	lock_drop(&r->t->lock);
	assert_int_equal(rd32(r->t, BAR + 0x808), 1);
	wr32(r->t, BAR + 64 * 16 + 12, 0);
	assert_int_equal(r->sent, 1);
	assert_int_equal(r->data, 0x55);
	assert_int_equal(r->requester, SLOT(5));
	mctl = reg(SLOT(7), (unsigned)mctl & 0xff);
	assert_int_equal(rd32(r->t, mctl - 2 + 0x14), 2);
	wr32(r->t, mctl - 2 + 0x10, 0);
	assert_int_equal(r->sent, 2);
	/* A vector that does not exist cannot be pending. */
	s.data[s.len - 3] |= 0x80;
	lock_take(&r->t->lock);
	assert_int_equal(state_load(&card_state, d, s.data, s.len, &used, NULL), -EINVAL);
	lock_drop(&r->t->lock);
	assert_int_equal(rd32(r->t, BAR + 0x808), 0);
	free(s.data);
	free(t.data);
}

/* 256 bytes, or 4 KiB that only ECAM reaches. */
static void extended(void **state)
{
	struct rig *r = *state;
	struct card *c = card_new(r->bus, SLOT(8)), *back = card_new(r->bus, SLOT(9));
	struct state_buf s = {0};
	size_t used;

	pci_dev_express(&c->pci);
	put_le32(c->pci.config + 0x100, 0x00010003);
	put_le32(c->pci.wmask + 0xffc, 0xff);
	pci_dev_ready(&c->pci);
	pci_dev_express(&back->pci);
	put_le32(back->pci.wmask + 0xffc, 0xff);
	pci_dev_ready(&back->pci);
	plug(r, SLOT(10), NONE);
	assert_int_equal(rd32(r->t, reg(SLOT(8), 0x100)), 0x00010003);
	assert_int_equal(rd32(r->t, reg(SLOT(9), 0x100)), 0);
	assert_int_equal(rd32(r->t, reg(SLOT(10), 0x100)), 0xffffffff);
	wr32(r->t, reg(SLOT(10), 0x100), 0);
	wr32(r->t, reg(SLOT(8), 0xffc), 0xa5a5a5a5);
	assert_int_equal(rd32(r->t, reg(SLOT(8), 0xffc)), 0xa5);
	assert_int_equal(rd32(r->t, reg(SLOT(8), 0xfc)), 0);
	lock_take(&r->t->lock);
	save(c, &s);
	assert_int_equal(state_load(&card_state, back, s.data, s.len, &used, NULL), 0);
	lock_drop(&r->t->lock);
	assert_int_equal(rd32(r->t, reg(SLOT(9), 0xffc)), 0xa5);
	assert_int_equal(rd32(r->t, reg(SLOT(9), 0x100)), 0); /* is no state */
	reset(r);
	assert_int_equal(rd32(r->t, reg(SLOT(8), 0xffc)), 0);
	free(s.data);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(msix_delivers),      T(msix_masks), T(msi),
		T(instead_of_the_pin), T(saved),      T(extended),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
