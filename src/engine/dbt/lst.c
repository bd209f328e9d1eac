/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linear shadow tables: how translated code finds guest memory.
 *
 * A table has an entry for each of the 2^36 pages of the 48-bit linear address space: the distance
 * from the linear address to the host address of the page, or 0 when that is not known.  pext takes
 * bits 47..12 of an address as the index, so no address reads outside of the table; an address that
 * is not canonical finds the entry of one that is, and the sum of the two is no canonical host
 * address, so that the access itself faults (fault.c) and the interpreter raises what the guest
 * must see. Tables are reserved, not allocated: only pages with entries exist.
 *
 * There are tables of reads and of writes, for each view (x86/cpu.h): user, supervisor, and
 * supervisor with user pages allowed; and of execution, with the number of the RAM page instead.
 * What is checked when an entry is filled is all that the fast TLB tags mean: rights, RAM, no
 * device, no watch, a write that nobody need be told about.
 *
 * Address spaces: user tables and the lower half of the third view exist once for each of a few
 * PCIDs; an address space that comes back finds its entries.  Supervisor pages of the upper half,
 * which every space of a 64-bit kernel shares, are in one table, which is mapped below all the
 * spaces' lower halves (a memfd).  A user page there is never filled for supervisor views, whose
 * rights would differ.  Entries that are not global and lie in a shared table go with each load of
 * CR3.
 *
 * Every entry is in a list, so a flush costs what was filled.  Pages larger than 4 KiB are noted
 * by pieces of 2 MiB, so that INVLPG finds all that was made from one.
 *
 * Threads: the vCPU's own; protect by whoever has stopped it (x86_excl_begin).
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/err.h"
#include "engine/dbt/dbt_int.h"

#define PAGES BIT(36)
#define HALF (PAGES / 2)
#define TABLE (PAGES * 8)
#define CODE_TABLE (PAGES * 4)
#define CHUNK_SHIFT 21
#define BITMAP (BIT(48 - CHUNK_SHIFT) / 8)
#define LIST_MAX 32768
#define LIST_SIZE (LIST_MAX * sizeof(struct lst_ent))
#define TAB_SIZE (2 * TABLE + 2 * BITMAP + 2 * LIST_SIZE)
#define CODE_SIZE (CODE_TABLE + 2 * LIST_SIZE)
#define SPACE_SIZE (2 * TAB_SIZE + CODE_SIZE)
#define TOUCHED_MAX 16384 /* table pages before all are given back */
#define RESERVE_MAX BIT(46) /* of all vCPUs: half of the host's addresses */

static uint64_t index_of(uint64_t va)
{
	return (va >> PAGE_SHIFT) & (PAGES - 1);
}

/* --- making tables --- */
static void *carve(uint8_t **p, uint64_t size)
{
	void *at = *p;

	*p += size;
	return at;
}

static void list_init(struct lst_list *l, uint8_t **p)
{
	l->e = carve(p, LIST_SIZE);
	l->n = 0;
}

static void tab_init(struct lst_tab *t, uint8_t **p)
{
	t->r = carve(p, TABLE);
	t->w = carve(p, TABLE);
	t->touched = carve(p, BITMAP);
	t->big = carve(p, BITMAP);
	list_init(&t->ng, p);
	list_init(&t->g, p);
}

static void code_init(struct lst_code *t, uint8_t **p)
{
	t->x = carve(p, CODE_TABLE);
	list_init(&t->ng, p);
	list_init(&t->g, p);
}

/* The shared upper half, in place of the upper half of a table. */
static int map_upper(uint64_t *table, int fd, unsigned which)
{
	void *at = table + HALF;

	return mmap(at, TABLE / 2, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE,
		    fd, (off_t)(which * (TABLE / 2))) == at
		       ? 0
		       : -errno;
}

static int map_uppers(struct lst *l)
{
	int fd = memfd_create("doppel-lst", MFD_CLOEXEC), r;

	if (fd < 0)
		return -errno;
	r = ftruncate(fd, (off_t)TABLE) < 0 ? -errno : 0;
	if (!r)
		r = map_upper(l->sup.r, fd, 0);
	if (!r)
		r = map_upper(l->sup.w, fd, 1);
	for (unsigned n = 0; !r && n < l->n_spaces; n++) {
		r = map_upper(l->space[n].su.r, fd, 0);
		if (!r)
			r = map_upper(l->space[n].su.w, fd, 1);
	}
	close(fd);
	return r;
}

static unsigned spaces_for(unsigned n_cpus)
{
	uint64_t each = RESERVE_MAX / n_cpus, fixed = TAB_SIZE + CODE_SIZE;

	return each < fixed + SPACE_SIZE
		       ? 1
		       : (unsigned)min_u64((each - fixed) / SPACE_SIZE, LST_SPACES_MAX);
}

static void *reserve(size_t size, struct err **e)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p != MAP_FAILED)
		return p;
	err_set(e, errno, "the translator cannot reserve %zu GiB of address space: %s", size >> 30,
		strerror(errno));
	return NULL;
}

int lst_probe(struct err **e)
{
	size_t size = TAB_SIZE + CODE_SIZE + SPACE_SIZE;
	void *p = reserve(size, e);

	if (!p)
		return -ENOMEM;
	munmap(p, size);
	return 0;
}

int lst_create(struct dbt_cpu *v, unsigned n_cpus, struct err **e)
{
	struct lst *l = &v->lst;
	uint8_t *p;
	int r;

	/* Fewer spaces are slower, not wrong. */
	for (l->n_spaces = spaces_for(n_cpus); !l->map; l->n_spaces /= 2) {
		l->map_size = TAB_SIZE + CODE_SIZE + l->n_spaces * SPACE_SIZE;
		l->map = reserve(l->map_size, l->n_spaces > 1 ? NULL : e);
		if (l->map)
			break;
		if (l->n_spaces == 1)
			return -ENOMEM;
	}
	madvise(l->map, l->map_size, MADV_NOHUGEPAGE);
	madvise(l->map, l->map_size, MADV_DONTDUMP);
	p = l->map;
	tab_init(&l->sup, &p);
	code_init(&l->sup_code, &p);
	for (unsigned n = 0; n < l->n_spaces; n++) {
		struct lst_space *s = &l->space[n];

		tab_init(&s->user, &p);
		tab_init(&s->su, &p);
		code_init(&s->code, &p);
		s->pcid = n ? UINT16_MAX : 0;
	}
	r = map_uppers(l);
	if (r)
		return err_set(e, -r, "cannot map tables for translation: %s", strerror(-r));
	v->f.vpn_mask = bits_set(0, 47, PAGE_SHIFT, ~UINT64_C(0));
	v->in.cpu.tlb_ops = &dbt_tlb_ops;
	return 0;
}

void lst_destroy(struct dbt_cpu *v)
{
	if (v->lst.map)
		munmap(v->lst.map, v->lst.map_size);
}

/* --- flushing --- */
static void list_clear(struct lst_tab *t, struct lst_list *l)
{
	if (l->n && t->windows)
		windows_stale(t->windows);
	for (unsigned n = 0; n < l->n; n++)
		t->r[l->e[n].index] = t->w[l->e[n].index] = 0;
	l->n = 0;
}

static void code_clear(struct lst_code *t, struct lst_list *l)
{
	for (unsigned n = 0; n < l->n; n++)
		t->x[l->e[n].index] = 0;
	l->n = 0;
}

/* Lists can only be cleared with the table whose entries they hold: su's hold only lower ones. */
static void space_flush(struct lst_space *s, bool all)
{
	list_clear(&s->user, &s->user.ng);
	list_clear(&s->su, &s->su.ng);
	if (s->code.ng.n || (all && s->code.g.n))
		s->epoch++;
	code_clear(&s->code, &s->code.ng);
	if (!all)
		return;
	if (s->user.windows)
		windows_clear(s->user.windows);
	list_clear(&s->user, &s->user.g);
	list_clear(&s->su, &s->su.g);
	code_clear(&s->code, &s->code.g);
}

/* What is not global of the tables that all spaces share. */
static void shared_flush(struct lst *l)
{
	list_clear(&l->sup, &l->sup.ng);
	if (l->sup_code.ng.n)
		l->sup_epoch++;
	code_clear(&l->sup_code, &l->sup_code.ng);
}

static void flush(struct x86_cpu *c, bool all)
{
	struct dbt_cpu *v = dbt_of(c);
	struct lst *l = &v->lst;

	v->stats.lst_flushes++;
	l->moved = true; /* windows are to be looked at */
	for (unsigned n = 0; n < l->n_spaces; n++)
		space_flush(&l->space[n], all);
	shared_flush(l);
	if (!all)
		return;
	list_clear(&l->sup, &l->sup.g);
	if (l->sup_code.g.n)
		l->sup_epoch++;
	code_clear(&l->sup_code, &l->sup_code.g);
}

static bool bit_test(const uint64_t *map, uint64_t n)
{
	return map[n / 64] & BIT(n % 64);
}

static void chunk_clear(struct lst_tab *t, uint64_t chunk)
{
	unsigned pages = 1u << (CHUNK_SHIFT - PAGE_SHIFT);
	uint64_t at = chunk << (CHUNK_SHIFT - PAGE_SHIFT);

	if (t->windows)
		windows_drop(t->windows, at, pages);
	for (unsigned n = 0; n < pages; n++)
		t->r[at + n] = t->w[at + n] = 0;
}

static void tab_flush_page(struct lst_tab *t, uint64_t index)
{
	uint64_t chunk = index >> (CHUNK_SHIFT - PAGE_SHIFT), first = chunk & ~UINT64_C(511);

	if (t->huge) {
		for (uint64_t n = first; n < first + 512; n++)
			if (bit_test(t->touched, n))
				chunk_clear(t, n);
	} else if (bit_test(t->touched, chunk)) {
		if (bit_test(t->big, chunk)) {
			chunk_clear(t, chunk);
			return;
		}
		if (t->windows && (t->r[index] | t->w[index]))
			windows_drop(t->windows, index, 1);
		t->r[index] = t->w[index] = 0;
	}
}

/* Code on larger pages is rare in a flush of one address: all goes. */
static bool code_flush_page(struct lst_code *t, uint64_t index, bool big)
{
	bool was = t->x[index] || (big && (t->ng.n || t->g.n));

	if (was && big) {
		code_clear(t, &t->ng);
		code_clear(t, &t->g);
	}
	t->x[index] = 0;
	return was;
}

static void space_flush_page(struct lst_space *s, uint64_t index)
{
	uint64_t chunk = index >> (CHUNK_SHIFT - PAGE_SHIFT);
	bool big = bit_test(s->user.big, chunk) || s->user.huge;

	tab_flush_page(&s->user, index);
	if (index < HALF)
		tab_flush_page(&s->su, index);
	if (code_flush_page(&s->code, index, big))
		s->epoch++;
}

/* Of one address; in every space, since an entry may have been global. */
static void flush_page(struct x86_cpu *c, uint64_t va)
{
	struct lst *l = &dbt_of(c)->lst;
	uint64_t index = index_of(va), chunk = index >> (CHUNK_SHIFT - PAGE_SHIFT);
	bool big = bit_test(l->sup.big, chunk) || l->sup.huge;

	for (unsigned n = 0; n < l->n_spaces; n++)
		if (n == l->cur || l->space[n].user.g.n || l->space[n].su.g.n ||
		    l->space[n].code.g.n)
			space_flush_page(&l->space[n], index);
	tab_flush_page(&l->sup, index);
	if (code_flush_page(&l->sup_code, index, big))
		l->sup_epoch++;
}

static struct lst_space *space_of(struct lst *l, uint16_t pcid)
{
	for (unsigned n = 0; n < l->n_spaces; n++)
		if (l->space[n].pcid == pcid)
			return &l->space[n];
	return NULL;
}

/* With the same page tables as before it is the same program, for all we know. */
static void space_is_new(struct dbt_cpu *v, struct lst_space *s)
{
	if (s->user.windows && s->root != v->in.cpu.s.cr3)
		windows_new_space(v, s->user.windows);
	s->root = v->in.cpu.s.cr3;
}

static void space(struct x86_cpu *c, uint16_t pcid, bool keep)
{
	struct dbt_cpu *v = dbt_of(c);
	struct lst *l = &v->lst;
	struct lst_space *s = space_of(l, pcid);

	v->stats.spaces++;
	shared_flush(l);
	if (!s) { /* take the one not used for longest */
		s = &l->space[0];
		for (unsigned n = 1; n < l->n_spaces; n++)
			if (l->space[n].used < s->used)
				s = &l->space[n];
		s->pcid = pcid;
		space_flush(s, true);
		space_is_new(v, s);
	} else if (!keep) {
		space_flush(s, false);
		space_is_new(v, s);
	}
	s->used = ++l->clock;
	l->cur = (unsigned)(s - l->space);
	l->moved = true;
	if (l->sup_low_code) {
		l->sup_low_code = false;
		l->sup_epoch++;
	}
}

static void flush_pcid(struct x86_cpu *c, uint16_t pcid, const uint64_t *va)
{
	struct lst_space *s = space_of(&dbt_of(c)->lst, pcid);

	if (s && va)
		space_flush_page(s, index_of(*va));
	else if (s)
		space_flush(s, false);
}

static void list_protect(struct lst_tab *t, struct lst_list *l, uint64_t ram_page)
{
	if (l->n && t->windows && ram_page == NO_PAGE)
		windows_clear(t->windows);
	for (unsigned n = 0; n < l->n; n++) {
		uint64_t index = l->e[n].index;

		if (ram_page != NO_PAGE && l->e[n].ram_page != ram_page)
			continue;
		if (t->windows && t->w[index])
			windows_drop(t->windows, index, 1);
		t->w[index] = 0;
	}
}

static void tab_protect(struct lst_tab *t, uint64_t ram_page)
{
	list_protect(t, &t->ng, ram_page);
	list_protect(t, &t->g, ram_page);
}

static void protect(struct x86_cpu *c, uint64_t ram_off)
{
	struct lst *l = &dbt_of(c)->lst;
	uint64_t page = ram_off == UINT64_MAX ? NO_PAGE : ram_off >> PAGE_SHIFT;

	tab_protect(&l->sup, page);
	for (unsigned n = 0; n < l->n_spaces; n++) {
		tab_protect(&l->space[n].user, page);
		tab_protect(&l->space[n].su, page);
	}
}

const struct x86_tlb_ops dbt_tlb_ops = {
	.flush = flush,
	.flush_page = flush_page,
	.space = space,
	.flush_pcid = flush_pcid,
	.protect = protect,
};

/* --- filling --- */
/* Give the memory of all tables back: guests with many short-lived address spaces touch ever more.
 */
static void reset(struct dbt_cpu *v)
{
	struct lst *l = &v->lst;

	v->stats.lst_resets++;
	flush(&v->in.cpu, true);
	madvise(l->sup.r + HALF, TABLE / 2, MADV_REMOVE);
	madvise(l->sup.w + HALF, TABLE / 2, MADV_REMOVE);
	madvise(l->map, l->map_size, MADV_DONTNEED);
	l->touched = 0;
	l->sup.huge = false;
	for (unsigned n = 0; n < l->n_spaces; n++)
		l->space[n].user.huge = l->space[n].su.huge = false;
}

static bool list_add(struct lst_list *l, uint64_t index, uint64_t ram_page)
{
	if (l->n == LIST_MAX)
		return false;
	l->e[l->n++] = (struct lst_ent){index, ram_page};
	return true;
}

static void tab_note(struct lst *l, struct lst_tab *t, uint64_t index, unsigned shift)
{
	uint64_t chunk = index >> (CHUNK_SHIFT - PAGE_SHIFT);

	if (!bit_test(t->touched, chunk)) {
		t->touched[chunk / 64] |= BIT(chunk % 64);
		l->touched += 2;
	}
	if (shift > CHUNK_SHIFT)
		t->huge = true;
	else if (shift > PAGE_SHIFT)
		t->big[chunk / 64] |= BIT(chunk % 64);
}

static void tab_set(struct dbt_cpu *v, struct lst_tab *t, uint64_t va, const struct x86_place *p)
{
	uint64_t index = index_of(va), delta = (uint64_t)p->host - (va & ~(PAGE_SIZE - 1));
	uint64_t old = t->r[index] | t->w[index];
	struct lst_list *l = p->global ? &t->g : &t->ng;

	if (!old && !list_add(l, index, p->ram_off >> PAGE_SHIFT)) {
		reset(v);
		list_add(l, index, p->ram_off >> PAGE_SHIFT);
	}
	tab_note(&v->lst, t, index, p->shift);
	t->r[index] = p->read ? delta : 0;
	t->w[index] = p->write ? delta : 0;
	if (t->windows)
		windows_map(t->windows, index, p);
}

bool lst_restore(struct dbt_cpu *v, uint64_t index, uint64_t ram_off, bool write)
{
	struct lst_tab *t = &v->lst.space[v->lst.cur].user;
	uint64_t host = (uint64_t)mem_ram_base(v->in.cpu.vm->mem) + ram_off;
	uint64_t delta = host - lst_va(index);

	if (!(t->r[index] | t->w[index]) && !list_add(&t->ng, index, ram_off >> PAGE_SHIFT))
		return false;
	tab_note(&v->lst, t, index, PAGE_SHIFT);
	t->r[index] = delta;
	t->w[index] = write ? delta : 0;
	return true;
}

/* The table that holds entries of va for a view, or NULL when none may. */
static struct lst_tab *tab_of(struct lst *l, uint64_t va, enum x86_view view, bool user)
{
	bool upper = index_of(va) >= HALF;

	if (view == X86_VIEW_USER)
		return &l->space[l->cur].user;
	if (view == X86_VIEW_SUPER || upper)
		return user ? NULL : &l->sup;
	return &l->space[l->cur].su;
}

bool lst_fill(struct dbt_cpu *v, uint64_t va, bool write)
{
	struct x86_cpu *c = &v->in.cpu;
	enum x86_view view = DBT_VIEW(v->mode);
	struct lst_tab *t;
	struct x86_place p;

	v->stats.fills++;
	if (v->lst.touched > TOUCHED_MAX)
		reset(v);
	if (!x86_tlb_try(c, va, write ? X86_WRITE : X86_READ, view, &p))
		return false;
	t = tab_of(&v->lst, va, view, p.user && (c->s.cr0 & CR0_PG));
	if (!t || !p.host || !(write ? p.write : p.read))
		return false;
	if ((uint64_t)p.host == (va & ~(PAGE_SIZE - 1)))
		return false; /* distance 0 means that none is known */
	tab_set(v, t, va, &p);
	return true;
}

static struct lst_code *code_of(struct dbt_cpu *v)
{
	return v->mode & X86_MODE_CPL3 ? &v->lst.space[v->lst.cur].code : &v->lst.sup_code;
}

uint64_t lst_exec(struct dbt_cpu *v, uint64_t va)
{
	struct lst_code *t = code_of(v);
	uint64_t index = index_of(va), page;
	struct lst_list *l;
	struct x86_place p;

	if (!x86_canonical(va))
		return NO_PAGE;
	if (t->x[index])
		return t->x[index] - 1;
	if (!x86_tlb_try(&v->in.cpu, va, X86_EXEC, DBT_VIEW(v->mode), &p) || !p.exec || !p.host)
		return NO_PAGE;
	page = p.ram_off >> PAGE_SHIFT;
	l = p.global ? &t->g : &t->ng;
	if (l->n == LIST_MAX)
		reset(v);
	list_add(l, index, page);
	/* INVLPG learns from the data tables which code lies on larger pages. */
	if (p.shift > PAGE_SHIFT)
		tab_note(&v->lst,
			 v->mode & X86_MODE_CPL3 ? &v->lst.space[v->lst.cur].user : &v->lst.sup,
			 index, p.shift);
	/* A new piece of the table, as far as the neighbours tell. */
	if (!t->x[index ^ 1] && !t->x[index ^ 2])
		v->lst.touched++;
	if (!(v->mode & X86_MODE_CPL3) && index < HALF)
		v->lst.sup_low_code = true;
	t->x[index] = (uint32_t)page + 1;
	return page;
}

void lst_view(struct dbt_cpu *v)
{
	struct lst_space *s = &v->lst.space[v->lst.cur];
	struct lst_tab *t = &s->user;

	if (v->mode & (DBT_MODE_WINDOWS | DBT_MODE_DIRECT))
		windows_check(v);
	if (v->mode & DBT_MODE_WINDOWS)
		windows_view(v);
	if (DBT_VIEW(v->mode) != X86_VIEW_USER) {
		v->f.view[0].r = (uint64_t)v->lst.sup.r;
		v->f.view[0].w = (uint64_t)v->lst.sup.w;
		v->f.view[1].r = (uint64_t)s->su.r;
		v->f.view[1].w = (uint64_t)s->su.w;
		t = DBT_VIEW(v->mode) == X86_VIEW_SUPER ? &v->lst.sup : &s->su;
	}
	v->f.high_delta = v->delta[WINDOW_HIGH];
	v->f.lst_r = (uint64_t)t->r;
	v->f.lst_w = (uint64_t)t->w;
	v->f.lst_x = (uint64_t)code_of(v)->x;
}

uint32_t lst_epoch(const struct dbt_cpu *v)
{
	const struct lst *l = &v->lst;

	/* Spaces have distinct epochs by their number. */
	if (v->mode & X86_MODE_CPL3)
		return (l->space[l->cur].epoch << 4 | l->cur) + 1;
	return l->sup_epoch << 4;
}
