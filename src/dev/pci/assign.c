/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What firmware does to PCI before an operating system looks: numbers buses, sizes what is below
 * each bridge and gives addresses to BARs and windows.
 *
 * Buses are numbered depth first. Then each bus gets a plan from the leaves up: its needs of I/O,
 * memory and prefetchable 64-bit memory, in order of falling alignment, and how much they
 * take together, which is a need of the bus above.  From the root down the plan turns into
 * addresses. Only what is prefetchable and 64 bits wide can lie above 4 GiB behind a bridge, on
 * the root bus any 64-bit BAR: the big ones do, and as many smaller ones as must for the rest to
 * fit below.
 */
#include <stdlib.h>

#include "dev/pci/pci.h"
#include "dev/pci/pci_int.h"

#define IO_UNIT (4 * KiB) /* of bridge windows */
#define MEM_UNIT MiB
#define HIGH_FROM (64 * MiB) /* 64-bit BARs from here go above 4 GiB */
#define NEED_WINDOW 0x100 /* need.n of a window */

struct need {
	struct need *next;
	struct pci_dev *d;
	unsigned n; /* BAR, or NEED_WINDOW + enum pci_window */
	uint64_t size, align;
	bool wide; /* may lie above 4 GiB when it is on the root bus */
	struct plan *below; /* of a window */
};

struct plan {
	struct need *needs[PCI_WINDOWS];
};

struct assign {
	const uint8_t *irq;
	unsigned last_bus, failed;
};

static void number(struct assign *a, struct pci_bus *b)
{
	for (unsigned i = 0; i < 256; i++) {
		struct pci_dev *d = b->devs[i];
		unsigned own = pci_bus_number(b), next = a->last_bus + 1;

		if (!d || !d->secondary)
			continue;
		if (next > 255) { /* its bus stays out of reach */
			a->failed++;
			next = own = 0;
		}
		pci_config_write(b, d->devfn, PCI_PRIMARY_BUS, own, 1);
		pci_config_write(b, d->devfn, PCI_SECONDARY_BUS, next, 1);
		pci_config_write(b, d->devfn, PCI_SUBORDINATE_BUS, next ? 255 : 0, 1);
		if (!next)
			continue;
		a->last_bus = next;
		number(a, d->secondary);
		pci_config_write(b, d->devfn, PCI_SUBORDINATE_BUS, a->last_bus, 1);
	}
}

/* add - in order of falling alignment, so that little is lost between them. */
static void add(struct plan *p, enum pci_window w, const struct need *need)
{
	struct need **at = &p->needs[w], *n = xzalloc(sizeof(*n));

	*n = *need;
	while (*at && (*at)->align >= n->align)
		at = &(*at)->next;
	n->next = *at;
	*at = n;
}

static enum pci_window kind_of(const struct pci_bar *bar)
{
	const uint8_t pref64 = PCI_BAR_MEM64 | PCI_BAR_PREFETCH;

	if (bar->flags & PCI_BAR_IO)
		return PCI_WINDOW_IO;
	return (bar->flags & pref64) == pref64 ? PCI_WINDOW_PREF : PCI_WINDOW_MEM;
}

static void plan_bars(struct plan *p, struct pci_dev *d)
{
	for (unsigned n = 0; n <= PCI_ROM_BAR; n++) {
		const struct pci_bar *bar = &d->bars[n];
		bool io = bar->flags & PCI_BAR_IO;

		if (bar->size)
			add(p, kind_of(bar),
			    &(struct need){.d = d,
					   .n = n,
					   .size = bar->size,
					   .align = io ? bar->size : max_u64(bar->size, PAGE_SIZE),
					   .wide = bar->flags & PCI_BAR_MEM64});
	}
}

/* extent - bytes that the needs take from an address that the first is aligned to. */
static uint64_t extent(const struct need *n)
{
	uint64_t end = 0;

	for (; n; n = n->next)
		end = align_up(end, n->align) + n->size;
	return end;
}

static struct plan *plan_bus(struct pci_bus *b);

static void plan_windows(struct plan *p, struct pci_dev *br)
{
	struct plan *below = plan_bus(br->secondary);

	for (unsigned w = 0; w < PCI_WINDOWS; w++) {
		uint64_t unit = w == PCI_WINDOW_IO ? IO_UNIT : MEM_UNIT;
		const struct need *first = below->needs[w];

		/* Closed ones are needs too, of nothing: the plan below must be freed. */
		add(p, w,
		    &(struct need){.d = br,
				   .n = NEED_WINDOW + w,
				   .size = align_up(extent(first), unit),
				   .align = first ? max_u64(first->align, unit) : 1,
				   .wide = w == PCI_WINDOW_PREF,
				   .below = below});
	}
}

static struct plan *plan_bus(struct pci_bus *b)
{
	struct plan *p = xzalloc(sizeof(*p));

	for (unsigned i = 0; i < 256; i++) {
		if (!b->devs[i])
			continue;
		plan_bars(p, b->devs[i]);
		if (b->devs[i]->secondary)
			plan_windows(p, b->devs[i]);
	}
	return p;
}

static void set_bar(struct need *n, uint64_t addr)
{
	struct pci_dev *d = n->d;
	unsigned reg = pci_dev_bar_reg(d, n->n);

	pci_config_write(d->bus, d->devfn, reg, (uint32_t)addr, 4);
	if (d->bars[n->n].flags & PCI_BAR_MEM64)
		pci_config_write(d->bus, d->devfn, reg + 4, (uint32_t)(addr >> 32), 4);
}

static void set_need(struct assign *a, struct need *n, uint64_t addr);

static void set_needs(struct assign *a, struct need *n, uint64_t addr)
{
	for (; n; n = n->next) {
		addr = align_up(addr, n->align);
		set_need(a, n, addr);
		addr += n->size;
	}
}

static void set_need(struct assign *a, struct need *n, uint64_t addr)
{
	if (n->n < NEED_WINDOW) {
		set_bar(n, addr);
		return;
	}
	pci_bridge_set_window(n->d, n->n - NEED_WINDOW, addr, n->size);
	set_needs(a, n->below->needs[n->n - NEED_WINDOW], addr);
}

/* clear_needs - for those that got nothing. */
static void clear_needs(struct assign *a, struct need *n)
{
	for (; n; n = n->next) {
		a->failed += n->size != 0;
		if (n->n < NEED_WINDOW) {
			set_bar(n, 0);
		} else {
			pci_bridge_set_window(n->d, n->n - NEED_WINDOW, 0, 0);
			clear_needs(a, n->below->needs[n->n - NEED_WINDOW]);
		}
	}
}

/* place - needs of the root bus that are (or are not) as big as `from` and wide; only try: does
 * it all fit? */
static bool place(struct assign *a, struct need *n, const struct pci_range *r, uint64_t *at,
		  uint64_t from, bool high, bool try)
{
	bool all = true;

	for (; n; n = n->next) {
		uint64_t addr = align_up(*at, n->align);

		if ((n->wide && n->size >= from) != high)
			continue;
		if (addr < *at || addr > r->end || n->size > r->end - addr) {
			struct need *next = n->next;

			all = false;
			if (try)
				return false;
			n->next = NULL;
			clear_needs(a, n);
			n->next = next;
			continue;
		}
		if (!try)
			set_need(a, n, addr);
		*at = addr + n->size;
	}
	return all;
}

static bool place_memory(struct assign *a, struct plan *p, const struct pci_space *s, uint64_t from,
			 bool try)
{
	uint64_t low = s->mem.start, high = s->mem64.start;
	bool fits = true;

	for (unsigned w = PCI_WINDOW_MEM; w <= PCI_WINDOW_PREF; w++) {
		fits = place(a, p->needs[w], &s->mem, &low, from, false, try) && fits;
		fits = place(a, p->needs[w], &s->mem64, &high, from, true, try) && fits;
	}
	return fits;
}

static void place_root(struct assign *a, struct plan *p, const struct pci_space *s)
{
	uint64_t io = s->io.start, from = HIGH_FROM;

	place(a, p->needs[PCI_WINDOW_IO], &s->io, &io, 0, false, false);
	if (s->mem64.start >= s->mem64.end)
		from = UINT64_MAX;
	else
		while (from > PAGE_SIZE && !place_memory(a, p, s, from, true))
			from /= 2;
	place_memory(a, p, s, from, false);
}

static void free_plan(struct plan *p)
{
	for (unsigned w = 0; w < PCI_WINDOWS; w++)
		for (struct need *n = p->needs[w], *next; n; n = next) {
			next = n->next;
			if (n->n == NEED_WINDOW + PCI_WINDOW_IO) /* the three share it */
				free_plan(n->below);
			free(n);
		}
	free(p);
}

static void enable(struct assign *a, struct pci_bus *b)
{
	for (unsigned i = 0; i < 256; i++) {
		struct pci_dev *d = b->devs[i];

		if (!d)
			continue;
		pci_config_write(b, d->devfn, PCI_COMMAND,
				 PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
		if (d->config[PCI_INTERRUPT_PIN])
			pci_config_write(b, d->devfn, PCI_INTERRUPT_LINE,
					 a->irq[pci_bus_pirq_of(d) & 3], 1);
		if (d->secondary)
			enable(a, d->secondary);
	}
}

unsigned pci_bus_assign(struct pci_bus *b, const struct pci_space *space, const uint8_t irq[4])
{
	struct assign a = {.irq = irq};
	struct plan *p;

	mem_begin(b->env->mem);
	number(&a, b);
	p = plan_bus(b);
	place_root(&a, p, space);
	free_plan(p);
	enable(&a, b);
	mem_commit(b->env->mem);
	if (a.failed)
		LOGF(b->env->log, GUEST_ERRORS, "PCI: no room for %u BARs, windows or buses\n",
		     a.failed);
	return a.failed;
}
