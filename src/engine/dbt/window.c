/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Windows: user memory of a guest's program, mapped by the host's own page tables.
 *
 * A window is 2^40 bytes of host addresses that show as much of an address space, its page tables
 * followed by the host's: a page is mapped when it is first accessed, readable, and writable if
 * writes need not be noticed.  An access then takes a distance from a table, by bits 47..40 of the
 * address, and nothing else: no check whether there is a page, or whether it crosses into another
 * one. Which region an address will be in is guessed when code is translated, so that the distance
 * need not wait for it (xlate_mem.c, windows_guess). What is not there faults on the host; the
 * handler (fault.c) maps it and goes on, or has the interpreter run the instruction, which raises
 * what it must.
 *
 * That costs microseconds a page where an entry of a shadow table costs a fraction of one.  So only
 * programs get windows that run for long and touch few new pages: it is looked at each timer
 * interrupt.
 *
 * Which pages are mapped follows the space's table for user accesses (lst.c): what has no entry
 * there is not in a window.  So whatever clears or narrows an entry does so here, and nothing else
 * is needed.  One exception saves most of the work: when all of a space is flushed, pages stay
 * mapped, and before its user code runs again each is compared with the guest's page tables, and
 * entered or unmapped (windows_check).
 *
 * No address leads out: distances of regions without a window lead to a region of the host where
 * nothing ever is, so does what is up to 4 GiB outside of a window, and an address that is not
 * canonical makes none that is.
 *
 * Threads: as lst.c.
 */
#include <cpuid.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include "engine/dbt/dbt_int.h"

#define REGION BIT(WINDOW_SHIFT)
#define GUARD (4 * GiB) /* below and above: displacements are less */
#define ROOM (REGION + 2 * GUARD)
#define SLOTS BIT(47 - PAGE_SHIFT) /* pages of user memory */
#define RESERVE_MAX (BIT(45) + BIT(43)) /* of all vCPUs: seven can have windows */

/* Programs' habits, by looks at them (timer interrupts). */
#define LOOK_CYCLES 1500000 /* or more between two looks */
#define CALM 40 /* new pages between looks that do not matter */
#define SETTLED 25 /* new blocks, likewise: with windows all are translated again */
#define CHECKS 32 /* of what is mapped: they cost as much as a new page */
#define BUSY 120 /* that windows cost more than they gain */
#define WAIT 10 /* calm looks before there are windows */
#define WAIT_MAX 256
#define MUCH_CODE 2000 /* for each so many blocks of a program it takes one look more */

/* The same for running it directly, which costs a program that often comes to the kernel, or to
 * new pages, more than it gains. */
#define WAIT_DIRECT 1 /* looks in a row at which it would pay */
#define BUSY_CYCLES 30000000 /* no more between two looks: it does not sleep */
#define ENTRY_NS 10000 /* what it costs to go there and back, ... */
#define STOP_NS 12000 /* ... that a page is missing there, ... */
#define MAP_NS 2000 /* ... and to map one, several at a time; */
#define PAGE_NS 5000 /* so a new page of the program, about */
#define SLOWER 4 /* times, that it is when translated, translating included */
#define CYCLES_NS 2 /* in a nanosecond, roughly */
#define SHARE 60 /* percent of the time, that may be lost to those */
#define BLOCK_NS 5000 /* that translating one takes */
#define CREDIT_NS 10000000 /* that it may lose before it is given up */
#define WAIT_DIRECT_MAX 32

#define GUESSES 4 /* of an instruction's region */
#define MISSES 16 /* of an instruction: from then on it goes by the shadow tables */

/* Where a page of the space is shown, or NULL: no window has it. */
static uint8_t *place_of(const struct dbt_windows *w, uint64_t index)
{
	uint64_t va = index << PAGE_SHIFT;
	unsigned region = (unsigned)(va >> WINDOW_SHIFT);

	return w->shown[region] ? (uint8_t *)(va + w->delta[region]) : NULL;
}

/* --- windows --- */
static void set_delta(struct dbt_windows *w, unsigned region, const uint8_t *at)
{
	w->shown[region] = at != NULL;
	w->delta[region] =
		(uint64_t)(at ? at : w->pool->nothing) - ((uint64_t)region << WINDOW_SHIFT);
	if (w->pool->view == w)
		w->pool->delta[region] = w->delta[region];
}

/* Show nothing there. */
static void blank(uint8_t *at, size_t size)
{
	/* The number of mappings is bounded (mapped_max), and nothing else is taken. */
	bug_on(mmap(at, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED,
		    -1, 0) == MAP_FAILED);
}

void windows_clear(struct dbt_windows *w)
{
	struct dbt_window_pool *p = w->pool;

	w->stale = false;
	if (!w->mapped)
		return;
	if (w->away)
		direct_unmap_all(w->direct);
	for (unsigned n = 0; n < p->n; n++)
		if (p->window[n].of == w)
			blank(p->window[n].at, REGION);
	for (unsigned n = 0; n < w->mapped; n++)
		w->slot[w->shown_page[n].index] = 0;
	p->mapped -= w->mapped;
	w->mapped = 0;
}

void windows_close(struct dbt_windows *w)
{
	struct dbt_window_pool *p = w->pool;

	if (!w->on && !w->away)
		return;
	windows_clear(w);
	for (unsigned n = 0; n < p->n; n++) {
		if (p->window[n].of != w)
			continue;
		p->window[n].of = NULL;
		set_delta(w, p->window[n].region, NULL);
	}
	w->on = w->away = false;
	w->calm = 0;
	if (w->direct_failed) {
		direct_end(w->direct);
		w->direct = NULL;
	}
}

/* One that is free, or that another space has had for longest. */
static struct dbt_window *take_window(struct dbt_windows *w)
{
	struct dbt_window_pool *p = w->pool;
	struct dbt_window *oldest = NULL;

	for (unsigned n = 0; n < p->n; n++) {
		struct dbt_window *c = &p->window[n];

		if (!c->of)
			return c;
		if (c->of != w && (!oldest || c->of->opened < oldest->of->opened))
			oldest = c;
	}
	if (oldest)
		windows_close(oldest->of);
	return oldest;
}

static uint8_t *show(struct dbt_windows *w, uint64_t index)
{
	unsigned region = (unsigned)(index >> (WINDOW_SHIFT - PAGE_SHIFT));
	struct dbt_window *c;

	if (region >= WINDOW_USER)
		return NULL;
	if (!w->shown[region]) {
		c = take_window(w);
		if (!c)
			return NULL;
		c->of = w;
		c->region = region;
		set_delta(w, region, c->at);
	}
	return place_of(w, index);
}

/* --- pages --- */
struct dbt_shown *windows_shown(const struct dbt_windows *w, uint64_t index)
{
	return index < SLOTS && w->slot[index] ? &w->shown_page[w->slot[index] - 1] : NULL;
}

static void unmap(struct dbt_windows *w, struct dbt_shown *s)
{
	struct dbt_shown *last = &w->shown_page[w->mapped - 1];

	if (w->away)
		direct_unmap(w->direct, lst_va(s->index));
	else
		blank(place_of(w, s->index), PAGE_SIZE);
	w->slot[last->index] = w->slot[s->index];
	w->slot[s->index] = 0;
	*s = *last;
	w->mapped--;
	w->pool->mapped--;
}

void windows_drop(struct dbt_windows *w, uint64_t index, unsigned n)
{
	if (!w->mapped)
		return;
	for (; n; n--, index++) {
		struct dbt_shown *s = windows_shown(w, index);

		if (s)
			unmap(w, s);
	}
}

/* Room in the list of what is mapped, for a page that may be there already; NULL: there is none. */
static struct dbt_shown *enter(struct dbt_windows *w, uint64_t index)
{
	struct dbt_shown *s = windows_shown(w, index);

	if (s)
		return s;
	if (w->pool->mapped == w->pool->mapped_max)
		windows_clear(w);
	if (w->pool->mapped == w->pool->mapped_max)
		return NULL; /* others have it all */
	w->pool->mapped++;
	w->slot[index] = ++w->mapped;
	return &w->shown_page[w->mapped - 1];
}

/* In a window of ours; false: that cannot be. */
static bool map_here(struct dbt_windows *w, const struct dbt_shown *s)
{
	int prot = PROT_READ | (s->write ? PROT_WRITE : 0);
	uint8_t *at = place_of(w, s->index);

	w->usual = window_region(s->index << PAGE_SHIFT);
	return mmap(at, PAGE_SIZE, prot, MAP_SHARED | MAP_FIXED | MAP_POPULATE, w->pool->fd,
		    (off_t)s->ram_off) != MAP_FAILED;
}

static void map_page(struct dbt_windows *w, const struct dbt_shown *page)
{
	struct dbt_shown *s;

	if (w->away ? !direct_can_show(lst_va(page->index)) : !show(w, page->index))
		return;
	s = enter(w, page->index);
	if (!s) {
		windows_close(w);
		return;
	}
	*s = *page;
	if (w->away)
		direct_map(w->direct, lst_va(s->index), s->ram_off,
			   PROT_READ | (s->write ? PROT_WRITE : 0));
	else if (!map_here(w, s))
		windows_close(w);
}

void windows_map(struct dbt_windows *w, uint64_t index, const struct x86_place *p)
{
	struct dbt_shown page = {index, p->gpa, p->ram_off, p->write, false};

	w->fills++;
	if (!w->on && !w->away)
		return;
	if (p->read)
		map_page(w, &page);
	else
		windows_drop(w, index, 1);
}

void windows_raised(struct dbt_cpu *v, uint64_t ram_page)
{
	for (unsigned k = 0; k < v->lst.n_spaces; k++) {
		struct dbt_windows *w = &v->lst.space[k].windows;

		for (unsigned n = w->away ? w->mapped : 0; n-- > 0;) {
			struct dbt_shown *s = &w->shown_page[n];

			if (s->exec &&
			    (ram_page == NO_PAGE || s->ram_off >> PAGE_SHIFT == ram_page))
				unmap(w, s);
		}
	}
}

void windows_stale(struct dbt_windows *w)
{
	w->stale = w->mapped;
}

void windows_check(struct dbt_cpu *v)
{
	struct dbt_windows *w = v->lst.space[v->lst.cur].user.windows;
	const struct mem_page *pages = mem_pages(v->in.cpu.vm->mem);

	if (!w->stale)
		return;
	w->stale = false;
	w->fills += w->mapped / CHECKS;
	for (unsigned n = w->mapped; n-- > 0;) {
		struct dbt_shown *s = &w->shown_page[n];
		enum x86_access most = s->write ? X86_WRITE : s->exec ? X86_EXEC : X86_READ;

		if (x86_still_mapped(&v->in.cpu, lst_va(s->index), s->gpa, most) &&
		    (!s->write || mem_page_fast_write(&pages[s->ram_off >> PAGE_SHIFT])) &&
		    lst_restore(v, s->index, s->ram_off, s->write))
			continue;
		unmap(w, s);
	}
}

/* --- who gets them --- */
/* What has been touched is likely to be needed, and shows which regions there are. */
static void open_pages(struct dbt_cpu *v, const struct lst_tab *t, const struct lst_list *l)
{
	for (unsigned n = 0; n < l->n && (t->windows->on || t->windows->away); n++) {
		uint64_t index = l->e[n].index;

		if (t->r[index])
			lst_fill(v, lst_va(index), t->w[index] != 0);
	}
}

static void open_all(struct dbt_cpu *v, struct lst_tab *t)
{
	open_pages(v, t, &t->ng);
	open_pages(v, t, &t->g);
	t->windows->fills = 0;
}

/* Run the program directly, if the host lets us and it has nothing in our place. */
static void open_direct(struct dbt_cpu *v, struct dbt_windows *w)
{
	fpu_claim();
	windows_close(w);
	w->not_direct = !direct_has_room(&v->in.cpu);
	if (w->not_direct)
		return;
	if (!w->direct)
		w->direct = direct_start(w->pool->fd);
	w->away = w->direct != NULL;
	w->direct_failed = !w->away;
	v->stats.direct += w->away;
	open_all(v, &v->lst.space[v->lst.cur].user);
	w->bursts = w->stops = w->calm_direct = 0;
	w->balance = CREDIT_NS;
	w->ran = w->away ? direct_time(w->direct) : 0;
}

/* Have windows, the highest at once. */
static void turn_on(struct dbt_windows *w)
{
	w->opened = ++w->pool->clock;
	w->on = show(w, (uint64_t)WINDOW_HIGH << (WINDOW_SHIFT - PAGE_SHIFT)) != NULL;
}

static void open_windows(struct dbt_cpu *v, struct lst_tab *t)
{
	struct dbt_windows *w = t->windows;

	v->stats.windows++;
	turn_on(w);
	open_all(v, t);
}

/* Would it pay to run the program directly?  Only a busy one is looked at often enough. */
static bool direct_pays(const struct dbt_cpu *v, const struct dbt_windows *w, uint64_t cycles)
{
	uint64_t costs = (v->to_user - v->pool.to_user) * ENTRY_NS + w->fills * PAGE_NS;
	uint64_t gains =
		cycles / CYCLES_NS / 100 * SHARE + (v->stats.blocks - v->pool.blocks) * BLOCK_NS;

	return cycles < BUSY_CYCLES && costs < gains;
}

/* Does it still pay? */
static void look_direct(struct dbt_cpu *v, struct dbt_windows *w)
{
	uint64_t ran = direct_time(w->direct), gain = ran - w->ran;
	uint64_t lost = w->bursts * ENTRY_NS + w->stops * STOP_NS + w->fills * MAP_NS;

	fpu_claim();
	direct_unpin(v);
	/* A third of what is lost is time of the process itself. */
	gain = (gain - min_u64(gain, lost / 3)) * (SLOWER - 1);
	w->ran = ran;
	w->bursts = w->stops = 0;
	w->balance = min_u64(w->balance + gain, CREDIT_NS);
	w->balance -= min_u64(w->balance, lost);
	if (w->balance || v->pool.always) {
		if (w->balance == CREDIT_NS)
			w->wait_direct = WAIT_DIRECT;
		return;
	}
	windows_close(w);
	w->wait_direct = (unsigned)min_u64(2 * w->wait_direct, WAIT_DIRECT_MAX);
}

static void look_windows(struct dbt_cpu *v, struct lst_tab *t)
{
	struct dbt_windows *w = t->windows;
	bool calm = w->fills <= CALM && v->stats.blocks - v->pool.blocks <= SETTLED;

	if (w->on && w->fills > BUSY && !v->pool.always) {
		windows_close(w);
		w->wait = (unsigned)min_u64(2 * w->wait, WAIT_MAX);
	} else if (!w->on) {
		w->calm = calm ? w->calm + 1 : 0;
		if (w->calm >= w->wait + (v->stats.blocks - w->blocks) / MUCH_CODE ||
		    v->pool.always)
			open_windows(v, t);
	}
}

void windows_look(struct dbt_cpu *v)
{
	struct lst_tab *t = &v->lst.space[v->lst.cur].user;
	struct dbt_windows *w = t->windows;
	uint64_t now = __builtin_ia32_rdtsc(), cycles = now - v->pool.looked;

	if (!w || (v->mode & DBT_MODE_USER64) != DBT_MODE_USER64 || cycles < LOOK_CYCLES)
		return;
	v->pool.looked = now;
	if (w->away) {
		if (v->mode & DBT_MODE_DIRECT)
			direct_sample(v);
		look_direct(v, w);
	} else {
		w->calm_direct = direct_pays(v, w, cycles) ? w->calm_direct + 1 : 0;
		if (v->pool.direct && !w->direct_failed && !w->not_direct &&
		    (w->calm_direct >= w->wait_direct || v->pool.always))
			open_direct(v, w);
		else
			look_windows(v, t);
	}
	w->fills = 0;
	v->pool.blocks = v->stats.blocks;
	v->pool.to_user = v->to_user;
}

void windows_new_space(struct dbt_cpu *v, struct dbt_windows *w)
{
	windows_close(w);
	w->blocks = v->stats.blocks;
	w->calm = w->fills = 0;
	w->wait = WAIT;
	w->wait_direct = WAIT_DIRECT;
	w->calm_direct = 0;
	w->not_direct = false;
	if (w->pool->always && w->pool->direct)
		open_direct(v, w);
	else if (w->pool->always)
		turn_on(w);
}

void windows_view(struct dbt_cpu *v)
{
	const struct dbt_windows *w = &v->lst.space[v->lst.cur].windows;

	if (v->pool.view != w)
		memcpy(v->delta, w->delta, sizeof(v->delta));
	v->pool.view = w;
}

/* --- faults --- */
bool windows_fault(struct dbt_cpu *v, uint64_t host, bool write)
{
	struct dbt_windows *w = v->lst.space[v->lst.cur].user.windows;
	struct fpu_guest *live = fpu_live;
	bool done;

	if (!(v->mode & DBT_MODE_WINDOWS))
		return false;
	for (unsigned n = 0; n < v->pool.n; n++) {
		const struct dbt_window *c = &v->pool.window[n];

		if (c->of != w || host - (uint64_t)c->at >= REGION)
			continue;
		/* The signal's frame keeps the guest's vector state: it is not in the registers
		 * now. */
		fpu_live = NULL;
		done = lst_fill(v, host - w->delta[c->region], write);
		fpu_live = live;
		return done && w->on;
	}
	return false;
}

static unsigned hash(uint64_t ram_off, unsigned size)
{
	return (unsigned)(ram_off * UINT64_C(0x9e3779b97f4a7c15) >> 32) % size;
}

/* Sets of instructions, with others that have the same hash. */
static void site_add(uint64_t *set, uint64_t ram_off)
{
	unsigned bit = hash(ram_off, WINDOW_CHECKED);

	set[bit / 64] |= BIT(bit % 64);
}

static bool site_in(const uint64_t *set, uint64_t ram_off)
{
	unsigned bit = hash(ram_off, WINDOW_CHECKED);

	return set[bit / 64] & BIT(bit % 64);
}

void windows_missed(struct dbt_cpu *v, uint64_t ram_off)
{
	struct dbt_window_pool *p = &v->pool;
	struct dbt_missed *m = &p->missed[hash(ram_off, ARRAY_SIZE(p->missed))];

	v->stats.window_misses++;
	if (m->ram_off != ram_off)
		*m = (struct dbt_missed){ram_off, 0};
	if (++m->n < MISSES)
		return;
	m->n = 0;
	site_add(p->checked, ram_off);
	cache_invalidate(v, ram_off >> PAGE_SHIFT);
}

void windows_not_high(struct dbt_cpu *v, uint64_t ram_off)
{
	site_add(v->pool.not_high, ram_off);
	cache_invalidate_at(v, ram_off);
}

bool windows_was_not_high(const struct dbt_cpu *v, uint64_t ram_off)
{
	return site_in(v->pool.not_high, ram_off);
}

bool windows_checked(const struct dbt_cpu *v, uint64_t ram_off)
{
	return site_in(v->pool.checked, ram_off);
}

void windows_forget(struct dbt_cpu *v)
{
	memset(v->pool.missed, 0, sizeof(v->pool.missed));
	memset(v->pool.checked, 0, sizeof(v->pool.checked));
	memset(v->pool.not_high, 0, sizeof(v->pool.not_high));
}

/* --- guesses --- */
/* Code of a site (xlate_mem.c): how long it is, and where in it, back from its end, the region and
 * the offset of its distance are; without, and with flags that matter. */
static const uint8_t site_size[2] = {23, 26}, region_at[2] = {14, 15};
#define OFFSET_AT 4

/* No guesses any more: take the distance by the address, which the access has to wait for. */
static void know(struct dbt_cpu *v, uint8_t *site, unsigned size, unsigned ea)
{
	struct code a = {.p = site, .end = site + size, .rx = v->cache.rx};

	e_pext(&a, T1, ea, FRAME(region_mask));
	e_load(&a, T1, em_frame_index(T1, 3, FRAME_OFF(delta)));
	e_nops(&a, (size_t)(a.end - a.p));
}

void windows_guess(struct dbt_cpu *v, uint64_t va)
{
	const struct dbt_windows *w = &v->lst.space[v->lst.cur].windows;
	uint8_t *call = (uint8_t *)(v->f.resume - (uint64_t)v->cache.rx), *end;
	struct dbt_region_site *s = (struct dbt_region_site *)call;
	unsigned region = window_region(va);

	end = call + offsetof(struct dbt_region_site, neg) + s->back;
	v->f.cross = w->delta[region];
	if (s->guesses++ < GUESSES && region < WINDOW_USER) {
		*(end - region_at[s->neg]) = (uint8_t)(s->neg ? -region : region);
		put_le32(end - OFFSET_AT, (uint32_t)(FRAME_OFF(delta[0]) - FR_BIAS) + region * 8);
	} else {
		know(v, end - site_size[s->neg], site_size[s->neg], s->ea);
	}
}

/* --- making --- */
/* Pages that all vCPUs may map: each of them makes two mappings more at most, itself and what is
 * between it and the next one.  A fourth of the process's are for other uses. */
static unsigned mapped_max(void)
{
	FILE *f = fopen("/proc/sys/vm/max_map_count", "re");
	unsigned n = 65530;

	if (f) {
		if (fscanf(f, "%u", &n) != 1)
			n = 0;
		fclose(f);
	}
	return n / 8 * 3;
}

/* The windows, and lists of what is mapped; *at is the first window's guard. */
static bool reserve(struct dbt_window_pool *p, unsigned n, unsigned n_spaces, uint8_t **at)
{
	size_t list = align_up(p->mapped_max * sizeof(struct dbt_shown), PAGE_SIZE) + SLOTS * 4;

	p->lists_size = list * n_spaces;
	p->lists = mmap(NULL, p->lists_size, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p->lists == MAP_FAILED) {
		p->lists = NULL;
		return false;
	}
	p->map_size = n * ROOM;
	*at = mmap(NULL, p->map_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
		   0);
	if (*at == MAP_FAILED)
		return false;
	p->map = *at;
	madvise(p->map, p->map_size, MADV_DONTDUMP);
	return true;
}

static bool host_has_umip(void)
{
	unsigned a, b, c, d;

	return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (c & BIT(2));
}

void windows_create(struct dbt_cpu *v, unsigned n_cpus)
{
	unsigned n = (unsigned)min_u64(RESERVE_MAX / n_cpus / ROOM, WINDOWS_MAX + 1);
	struct dbt_window_pool *p = &v->pool;
	uint8_t *at;

	p->delta = v->delta;
	v->f.region_mask = bits_set(0, 47, WINDOW_SHIFT, ~UINT64_C(0));
	p->fd = mem_ram_fd(v->in.cpu.vm->mem);
	p->mapped_max = mapped_max() / n_cpus;
	/* A program has four at least: its own, that of libraries, its stack's, the lowest. */
	if (p->fd < 0 || n < 4 + 1 || !p->mapped_max || (v->stress & DBT_STRESS_NO_WINDOWS) ||
	    !reserve(p, n, v->lst.n_spaces, &at))
		return;
	p->always = v->stress & (DBT_STRESS_WINDOWS | DBT_STRESS_DIRECT);
	p->umip = host_has_umip();
	p->direct = !(v->stress & (DBT_STRESS_WINDOWS | DBT_STRESS_NO_DIRECT));
	p->nothing = at + GUARD;
	for (p->n = 0; p->n < n - 1; p->n++)
		p->window[p->n].at = at + (p->n + 1) * ROOM + GUARD;
	for (unsigned k = 0; k < v->lst.n_spaces; k++) {
		struct dbt_windows *w = &v->lst.space[k].windows;

		w->pool = p;
		w->slot = (uint32_t *)(p->lists + k * (p->lists_size / v->lst.n_spaces));
		w->shown_page = (struct dbt_shown *)(w->slot + SLOTS);
		w->wait = WAIT;
		w->wait_direct = WAIT_DIRECT;
		v->lst.space[k].user.windows = w;
		for (unsigned r = 0; r < WINDOW_REGIONS; r++)
			set_delta(w, r, NULL);
		if (p->always && !p->direct)
			turn_on(w);
	}
}

void windows_destroy(struct dbt_cpu *v)
{
	for (unsigned k = 0; k < v->lst.n_spaces; k++)
		direct_end(v->lst.space[k].windows.direct);
	if (v->pool.map)
		munmap(v->pool.map, v->pool.map_size);
	if (v->pool.lists)
		munmap(v->pool.lists, v->pool.lists_size);
}
