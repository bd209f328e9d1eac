/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The code cache of a vCPU: translated blocks, by RAM offset and mode, and the links between them.
 *
 * Code memory is one memfd mapped twice, writable and executable, so that it is never both at one
 * address.  Blocks are appended, and what of them rarely runs in a part of its own; when
 * either part or the arena of what describes them is full, everything but the stubs is dropped.  A
 * block is entered only by its own vCPU's thread, so nothing here waits for anybody.
 *
 * A block is right while the generations of its pages are what mem_code_mark() gave when it was
 * translated.  Translated code does not compare them: whoever raises one lists the page in each
 * vCPU's `raised` and asks for its attention, and the vCPU forgets the page's blocks before it runs
 * another one.  To forget a block is to lead the branches that were linked to it back to their
 * stubs, and to take it out of the hash and the jump cache; its bytes stay until the next reset.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/err.h"
#include "base/hugemap.h"
#include "engine/dbt/dbt_int.h"

#define COLD_PART 3 /* and cold code has this part of it */

static int map_code(struct dbt_cache *k, struct err **e)
{
	int fd = memfd_create("doppel-code", MFD_CLOEXEC), r = 0;
	uint8_t *rx;

	if (fd < 0)
		return err_set(e, errno, "cannot create memory for code: %s", strerror(errno));
	if (ftruncate(fd, (off_t)k->size) < 0)
		r = -errno;
	k->rw = hugemap(fd, k->size, PROT_READ | PROT_WRITE);
	rx = hugemap(fd, k->size, PROT_READ | PROT_EXEC);
	if (!r && (k->rw == MAP_FAILED || rx == MAP_FAILED))
		r = -errno;
	close(fd);
	if (r)
		return err_set(e, -r, "cannot map executable memory: %s", strerror(-r));
	k->rx = rx - k->rw;
	return 0;
}

/* The same without a file: perf looks for names of code in anonymous memory only. */
static int map_anonymous(struct dbt_cache *k, struct err **e)
{
	void *rx;

	k->rw = mmap(NULL, k->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	rx = k->rw == MAP_FAILED ? MAP_FAILED : mremap(k->rw, 0, k->size, MREMAP_MAYMOVE);
	if (rx == MAP_FAILED || mprotect(rx, k->size, PROT_READ | PROT_EXEC) < 0)
		return err_set(e, errno, "cannot map executable memory: %s", strerror(errno));
	k->rx = (uint8_t *)rx - k->rw;
	return 0;
}

int cache_create(struct dbt_cpu *v, size_t size, struct err **e)
{
	struct dbt_cache *k = &v->cache;
	int r;

	k->size = size;
	k->cold.end = size;
	k->hot.end = k->cold.used = k->cold.ready =
		align_down(size - size / COLD_PART, HUGE_PAGE / 4);
	k->arena_size = size; /* blocks take about half of that */
	k->max = (unsigned)(size / 256);
	r = v->symbols & DBT_SYMBOLS_PERF ? map_anonymous(k, e) : map_code(k, e);
	if (r)
		return r;
	k->hash = xzalloc_aligned(64, sizeof(*k->hash) << TB_HASH_BITS);
	k->pages = xcalloc(1u << TB_PAGE_HASH_BITS, sizeof(*k->pages));
	k->order = xcalloc(k->max, sizeof(*k->order));
	k->arena = mmap(NULL, k->arena_size, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (k->arena == MAP_FAILED) {
		k->arena = NULL;
		return err_set(e, ENOMEM, "no memory for the code cache");
	}
	stubs_emit(v);
	k->stubs = k->hot.used;
	jump_clear(v);
	return 0;
}

void cache_destroy(struct dbt_cpu *v)
{
	struct dbt_cache *k = &v->cache;

	if (k->rw && k->rw != MAP_FAILED) {
		munmap(k->rw + k->rx, k->size);
		munmap(k->rw, k->size);
	}
	if (k->arena)
		munmap(k->arena, k->arena_size);
	free(k->hash);
	free(k->pages);
	free(k->order);
}

void cache_reset(struct dbt_cpu *v)
{
	struct dbt_cache *k = &v->cache;

	fpu_claim(); /* FIP may be the address of code that goes */
	memset(k->hash, 0, sizeof(*k->hash) << TB_HASH_BITS);
	memset(k->pages, 0, sizeof(*k->pages) << TB_PAGE_HASH_BITS);
	k->hot.used = k->stubs;
	k->cold.used = k->hot.end;
	k->arena_used = 0;
	k->n = 0;
	k->generation++;
	v->stats.flushes++;
	jump_clear(v);
	returns_clear(v);
	windows_forget(v);
	symbols_reset(v);
}

void *cache_alloc(struct dbt_cpu *v, size_t size)
{
	struct dbt_cache *k = &v->cache;
	void *p = k->arena + k->arena_used;

	size = align_up(size, 8);
	if (size > k->arena_size - k->arena_used)
		return NULL;
	k->arena_used += size;
	return p;
}

/* --- finding --- */
/* Of a block's place and mode, which have 39 and 23 bits; never 0. */
static uint64_t key_of(uint64_t ram_off, uint32_t mode)
{
	return ram_off << 24 | mode | BIT(23);
}

static struct tb_line *line_of(struct dbt_cache *k, uint64_t key)
{
	return &k->hash[key * UINT64_C(0x9e3779b97f4a7c15) >> (64 - TB_HASH_BITS)];
}

static struct tb **page_list(struct dbt_cache *k, uint64_t ram_page)
{
	uint64_t h = ram_page * UINT64_C(0x9e3779b97f4a7c15);

	return &k->pages[h >> (64 - TB_PAGE_HASH_BITS)];
}

struct tb *cache_find(struct dbt_cpu *v, uint64_t ram_off, uint32_t mode, uint64_t lin)
{
	uint64_t key = key_of(ram_off, mode);
	struct tb_line *l = line_of(&v->cache, key);

	for (unsigned n = 0; n < TB_WAYS; n++)
		if (l->way[n].key == key &&
		    (!(mode & DBT_MODE_WINDOWS) || l->way[n].tb->lin_page == lin >> PAGE_SHIFT))
			return l->way[n].tb;
	return NULL;
}

/* The newest first.  What falls off the end is still linked, and translated again if looked for. */
static void hash_add(struct dbt_cache *k, struct tb *b)
{
	uint64_t key = key_of(b->ram_off, b->mode);
	struct tb_line *l = line_of(k, key);

	for (unsigned n = TB_WAYS - 1; n > 0; n--)
		l->way[n] = l->way[n - 1];
	l->way[0].key = key;
	l->way[0].tb = b;
}

static void hash_remove(struct dbt_cache *k, const struct tb *b)
{
	struct tb_line *l = line_of(k, key_of(b->ram_off, b->mode));

	for (unsigned n = 0; n < TB_WAYS; n++)
		if (l->way[n].tb == b)
			l->way[n].key = 0;
}

static struct tb **next_of(struct tb *b, uint64_t ram_page)
{
	return &b->page_next[b->ram_page[0] != ram_page];
}

/* Page faults one by one cost more than translating what fills a page; and code is spread out, so
 * that it wants huge pages. */
#define READY_STEP HUGE_PAGE
static void prepare(struct dbt_cache *k, struct cache_part *p)
{
	while (p->ready < p->end && p->ready < p->used + READY_STEP / 8) {
		size_t n = (size_t)min_u64(align_up(p->ready + 1, READY_STEP), p->end) - p->ready;

		/* A kernel that does not know this faults them in one by one. */
		madvise(k->rw + p->ready, n, MADV_POPULATE_WRITE);
		madvise(k->rw + k->rx + p->ready, n, MADV_POPULATE_READ);
		hugemap_gather(k->rw + p->ready, n);
		hugemap_gather(k->rw + k->rx + p->ready, n);
		p->ready += n;
	}
}

struct code cache_begin(struct dbt_cpu *v, struct cache_part *p)
{
	struct dbt_cache *k = &v->cache;

	prepare(k, p);
	return (struct code){.p = k->rw + p->used, .end = k->rw + p->end, .rx = k->rx};
}

void cache_end(struct dbt_cpu *v, struct cache_part *p, const struct code *a)
{
	p->used = (size_t)(a->p - v->cache.rw);
}

void cache_add(struct dbt_cpu *v, struct tb *b)
{
	struct dbt_cache *k = &v->cache;
	struct tb **at;

	hash_add(k, b);
	for (unsigned n = 0; n < 2 && b->ram_page[n] != NO_PAGE; n++) {
		at = page_list(k, b->ram_page[n]);
		b->page_next[n] = *at;
		*at = b;
	}
	k->order[k->n++] = b;
	v->stats.blocks++;
	v->stats.insns += b->n_insns;
	v->stats.bytes += b->host_len;
}

/* The last block that begins at or before the address. */
struct tb *cache_at(struct dbt_cpu *v, const uint8_t *rx, unsigned *insn)
{
	struct dbt_cache *k = &v->cache;
	unsigned lo = 0, hi = k->n, off;
	struct tb *b;
	uint32_t at;

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;

		if (k->order[mid]->far <= rx)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (!lo)
		return NULL;
	b = k->order[lo - 1];
	if ((uint64_t)(rx - b->far) >= b->host_len)
		return NULL;
	at = (uint32_t)(rx - b->far);
	off = 0;
	for (unsigned n = 0, host = b->map_skip; n < b->n_insns; n++) {
		host += get_le16(b->map + 3 * n);
		if (at < host)
			break;
		off += b->map[3 * n + 2];
	}
	*insn = (unsigned)PAGE_OFFSET(b->ram_off) + off;
	return b;
}

/* --- links --- */
static void set_jump(struct dbt_cpu *v, const struct tb_link *l, const uint8_t *rx_target)
{
	uint8_t *at = v->cache.rw + l->jump;

	put_le32(at, (uint32_t)(rx_target - (at + 4 + v->cache.rx)));
}

/* The page that a branch to another one expects.  It is none while the branch leads to its stub,
 * which must not be reached by way of the check: code_base is the target's by then. */
static void set_check(struct dbt_cpu *v, const struct tb_link *l, uint32_t x)
{
	if (l->check)
		put_le32(v->cache.rw + l->check, l->neg ? -x : x);
}

void cache_link(struct dbt_cpu *v, struct tb_link *l, struct tb *to, bool other_page)
{
	struct tb_site *s;

	if (v->stress & DBT_STRESS_NO_LINK)
		return;
	s = cache_alloc(v, sizeof(*s));
	if (!s)
		return;
	*s = (struct tb_site){to->sites, l};
	to->sites = s;
	set_check(v, l, (uint32_t)to->ram_page[0] + 1);
	set_jump(v, l, tb_entry(to, (enum tb_entry)l->how));
	v->stats.links++;
}

static void unlink_all(struct dbt_cpu *v, struct tb *b)
{
	for (struct tb_site *s = b->sites; s; s = s->next) {
		/* It may have been linked elsewhere since. */
		const uint8_t *at = v->cache.rw + s->link->jump;
		const uint8_t *to = at + 4 + v->cache.rx + (int32_t)get_le32(at);

		if (to == tb_entry(b, (enum tb_entry)s->link->how)) {
			set_jump(v, s->link, v->cache.rw + v->cache.rx + s->link->stub);
			set_check(v, s->link, LINK_NO_PAGE);
			v->stats.unlinks++;
		}
	}
	b->sites = NULL;
}

static void forget(struct dbt_cpu *v, struct tb *b)
{
	hash_remove(&v->cache, b);
	unlink_all(v, b);
	jump_forget(v, b);
	returns_clear(v);
	b->dead = true;
	v->stats.stale++;
}

/* Those that have code in [from, to). */
static void invalidate(struct dbt_cpu *v, uint64_t ram_page, uint64_t from, uint64_t to)
{
	struct tb **at = page_list(&v->cache, ram_page), *b;

	while ((b = *at)) {
		if ((b->ram_page[0] != ram_page && b->ram_page[1] != ram_page) ||
		    b->ram_off >= to || b->ram_off + b->bytes <= from) {
			/* In this list by its other page, or by chance of the hash. */
			at = page_list(&v->cache, b->ram_page[0]) == page_list(&v->cache, ram_page)
				     ? &b->page_next[0]
				     : &b->page_next[1];
			continue;
		}
		*at = *next_of(b, ram_page);
		if (!b->dead)
			forget(v, b);
	}
}

void cache_invalidate(struct dbt_cpu *v, uint64_t ram_page)
{
	invalidate(v, ram_page, 0, UINT64_MAX);
}

void cache_invalidate_at(struct dbt_cpu *v, uint64_t ram_off)
{
	invalidate(v, ram_off >> PAGE_SHIFT, ram_off, ram_off + 1);
}

void cache_raised(struct dbt_cpu *v)
{
	uint64_t page[DBT_RAISED];
	unsigned n;

	while (atomic_exchange_explicit(&v->raised.lock, 1, memory_order_acquire))
		__builtin_ia32_pause();
	n = atomic_load_explicit(&v->raised.n, memory_order_relaxed);
	if (n <= DBT_RAISED)
		memcpy(page, v->raised.page, n * sizeof(*page));
	atomic_store_explicit(&v->raised.n, 0, memory_order_relaxed);
	atomic_store_explicit(&v->raised.lock, 0, memory_order_release);
	v->stats.pages_raised += n;
	if (n > DBT_RAISED) {
		cache_reset(v);
		windows_raised(v, NO_PAGE);
		return;
	}
	for (unsigned i = 0; i < n; i++) {
		cache_invalidate(v, page[i]);
		windows_raised(v, page[i]);
	}
}
