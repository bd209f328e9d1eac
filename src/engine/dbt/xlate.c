/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Translating a block.
 *
 * A block is a run of instructions of one page, up to an unconditional branch, an instruction for
 * the interpreter, or XLATE_MAX; conditional branches leave it on the side.  It is decoded
 * first, then the arithmetic flags that matter before each instruction are found from the end
 * to the head (looking into the blocks it leads to inside the page), then code is written
 * in one pass, with what rarely runs behind it.
 *
 * What is kept true: at every instruction's head all guest registers are where dbt_host_reg says,
 * so that any instruction can be the last one.  An instruction commits nothing before its last
 * access has been translated.
 *
 * Guest bytes are marked (mem/page.h) before they are read, those that were only looked at for
 * flags too: when they change, the block goes.
 */
#include <stdlib.h>
#include <string.h>
#include "engine/dbt/xlate_int.h"

#define LOOK_AHEAD 6
#define BRANCHES_MAX 2 /* conditional ones in a block */
#define CHUNK 64 /* granularity of code marks */

static xlate_fn xl_nop, xl_plain;

static xlate_fn *const handlers[ZYDIS_MNEMONIC_MAX_VALUE + 1] = {
#define XLATE(mnemonic, fn) [ZYDIS_MNEMONIC_##mnemonic] = xl_##fn,
#include "engine/dbt/xlate.def"
#undef XLATE
};

/* Who translates it; NULL: it is copied or interpreted. */
static xlate_fn *handler(const struct x86_decoded *d)
{
	xlate_fn *fn = handlers[d->insn.mnemonic];

	if (d->insn.meta.category == ZYDIS_CATEGORY_STRINGOP)
		return d->rep || d->repne ? NULL : fn;
	/* MOVSD and CMPSD are also names of SSE2 instructions. */
	return fn == xl_movs || fn == xl_cmps ? NULL : fn;
}

static void xl_nop(struct xlate *x, const struct xinsn *i)
{
}

/* Without operands: as it is. */
static void xl_plain(struct xlate *x, const struct xinsn *i)
{
	for (unsigned n = 0; n < i->d.len; n++)
		e8(&x->a, i->d.bytes[n]);
}

struct cold *xl_cold(struct xlate *x, enum cold_kind kind, uint8_t *jump)
{
	struct cold *c = &x->cold[x->n_cold];

	if (x->n_cold < COLD_MAX - 1)
		x->n_cold++;
	else
		x->a.full = true;
	*c = (struct cold){.kind = kind,
			   .jump = jump,
			   .info = x->i->off,
			   .mode = x->mode,
			   .saved = x->flags_saved};
	return c;
}

void xl_exit(struct xlate *x, const struct xinsn *i)
{
	if (x->flags_saved)
		stub_load_flags(&x->a);
	e_call_to(&x->a, x->v->cache.stub.insn);
	e32(&x->a, i->off | (i->bad ? 0 : (uint32_t)i->d.insn.mnemonic << 12));
	x->ended = true;
}

/* --- decoding --- */
/* Mark [from, to) of the page as decoded; false when it has changed since the block began. */
static bool mark(struct xlate *x, unsigned from, unsigned to)
{
	uint64_t base = x->ram_off & ~(PAGE_SIZE - 1);

	from = (unsigned)align_down(from, CHUNK);
	to = (unsigned)min_u64(align_up(to, CHUNK), PAGE_SIZE);
	if (from >= x->marked[0] && to <= x->marked[1])
		return true;
	if (mem_code_mark(x->c->vm->mem, base + from, to - from) != x->tb->gen[0])
		return false;
	/* Keep one interval: what lies apart from it is marked again each time. */
	if (from <= x->marked[1] && to > x->marked[1])
		x->marked[1] = to;
	return true;
}

static enum x86_decode_status decode_at(struct xlate *x, struct x86_decoded *d, unsigned off)
{
	return x86_decode_memoized(x->decoder, d, x->mode, x->page + off,
				   min_u64(PAGE_SIZE - off, X86_INSN_MAX));
}

/* The block's first instruction begins in this page and goes on in the next. */
static enum x86_decode_status decode_crossing(struct xlate *x, struct xinsn *i)
{
	uint64_t next = (x->lin & ~(PAGE_SIZE - 1)) + PAGE_SIZE, ram_off;
	unsigned head = (unsigned)PAGE_SIZE - i->off;
	uint8_t buf[X86_INSN_MAX];
	const uint8_t *page;

	if (!x->code64)
		next = (uint32_t)next;
	page = x86_fetch_page(x->c, next, &ram_off);
	if (!page)
		return X86_DECODE_MORE;
	x->tb->ram_page[1] = ram_off >> PAGE_SHIFT;
	x->tb->gen[1] = mem_code_mark(x->c->vm->mem, ram_off, sizeof(buf) - head);
	memcpy(buf, x->page + i->off, head);
	memcpy(buf + head, page, sizeof(buf) - head);
	return x86_decode_memoized(x->decoder, &i->d, x->mode, buf, sizeof(buf));
}

/* Does nothing after it belong to the block? */
static bool ends_block(const struct xinsn *i)
{
	switch (i->d.insn.mnemonic) {
	case ZYDIS_MNEMONIC_JMP:
	case ZYDIS_MNEMONIC_CALL:
	case ZYDIS_MNEMONIC_RET:
	case ZYDIS_MNEMONIC_SYSCALL:
	case ZYDIS_MNEMONIC_SYSRET:
	case ZYDIS_MNEMONIC_IRETQ:
		return true;
	default:
		return !handler(&i->d) && !i->copy;
	}
}

/* False: the block ends before this one. */
static bool decode_one(struct xlate *x, unsigned off)
{
	struct xinsn *i = &x->in[x->n];
	enum x86_decode_status st;

	i->off = (uint16_t)off;
	i->bad = i->copy = false;
	st = decode_at(x, &i->d, off);
	if (st == X86_DECODE_MORE && PAGE_SIZE - off < X86_INSN_MAX) {
		if (x->n)
			return false;
		st = decode_crossing(x, i);
	}
	i->bad = st != X86_DECODE_OK;
	if (i->bad)
		i->d.len = 1;
	else
		i->copy = xl_can_copy(x, &i->d);
	x->n++;
	return true;
}

/* Another block begins there: no need for a second copy of it. */
static bool is_head(struct xlate *x, unsigned off)
{
	const struct tb *b =
		cache_find(x->v, (x->ram_off & ~(PAGE_SIZE - 1)) + off, x->mode, x->lin);

	return b && b->gen[0] == x->tb->gen[0] && b->ram_page[1] == NO_PAGE;
}

static void decode_run(struct xlate *x)
{
	unsigned branches = 0;
	unsigned off = (unsigned)PAGE_OFFSET(x->lin);
	unsigned max = x->v->stress & DBT_STRESS_ONE_INSN ? 1 : XLATE_MAX;
	const struct xinsn *i;

	x->n = 0;
	while (x->n < max && off < PAGE_SIZE && mark(x, off, off + X86_INSN_MAX) &&
	       decode_one(x, off)) {
		i = &x->in[x->n - 1];
		off = xl_next(i);
		if (i->bad || ends_block(i) || off > PAGE_SIZE)
			break;
		if (i->d.insn.meta.category == ZYDIS_CATEGORY_COND_BR) {
			if (++branches == BRANCHES_MAX || is_head(x, off))
				break;
		} else if (!(off & 15) && is_head(x, off)) { /* compilers align loops */
			break;
		}
	}
	x->tb->n_insns = (uint16_t)x->n;
	x->tb->bytes = (uint16_t)(off - PAGE_OFFSET(x->lin));
}

/* --- flags --- */
static bool is_transfer(const struct x86_decoded *d)
{
	return d->insn.mnemonic == ZYDIS_MNEMONIC_CALL || d->insn.mnemonic == ZYDIS_MNEMONIC_RET ||
	       d->insn.mnemonic == ZYDIS_MNEMONIC_JMP;
}

/* Does it lead to a place that it says itself? */
static bool is_direct(const struct x86_decoded *d)
{
	return d->insn.mnemonic != ZYDIS_MNEMONIC_RET &&
	       d->op[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
}

/* Flags that matter at a place of this page: as far as a few instructions tell. */
static unsigned look_ahead(struct xlate *x, int64_t off)
{
	unsigned live = 0, open = FLAGS_ALL; /* open: not killed so far */
	struct x86_decoded d;

	for (unsigned n = 0; n < LOOK_AHEAD && open; n++) {
		if (off < 0 || off >= (int64_t)PAGE_SIZE - X86_INSN_MAX ||
		    !mark(x, (unsigned)off, (unsigned)off + X86_INSN_MAX) ||
		    decode_at(x, &d, (unsigned)off) != X86_DECODE_OK)
			break;
		if (!handler(&d) && !xl_can_copy(x, &d))
			break;
		live |= flags_read(&d) & open;
		open &= ~flags_kill(&d);
		if (is_transfer(&d)) {
			if (!is_direct(&d))
				break;
			off += d.op[0].imm.value.s;
		} else if (d.insn.meta.category == ZYDIS_CATEGORY_COND_BR) {
			break;
		}
		off += d.len;
	}
	return live | open;
}

static struct live_memo *memo_of(struct xlate *x, uint64_t ram_off)
{
	return &x->memo[(ram_off ^ ram_off >> 12) % LIVE_MEMOS];
}

static void memo_set(struct xlate *x, uint64_t ram_off, unsigned live)
{
	*memo_of(x, ram_off) = (struct live_memo){ram_off << 1 | x->code64, x->tb->gen[0], live};
}

/* The same, remembered: while the page's generation is the same, what was looked at is marked. */
static unsigned live_at(struct xlate *x, int64_t off)
{
	uint64_t ram_off = (x->ram_off & ~(PAGE_SIZE - 1)) + (uint64_t)off;
	const struct live_memo *m = memo_of(x, ram_off);
	unsigned live;

	if (off < 0 || off >= (int64_t)PAGE_SIZE)
		return FLAGS_ALL;
	if (m->key == (ram_off << 1 | x->code64) && m->gen == x->tb->gen[0])
		return m->live;
	live = look_ahead(x, off);
	memo_set(x, ram_off, live);
	return live;
}

static unsigned live_after_branch(struct xlate *x, const struct xinsn *i)
{
	if (!is_direct(&i->d))
		return FLAGS_ALL;
	return live_at(x, (int64_t)xl_next(i) + i->d.op[0].imm.value.s);
}

static unsigned live_after_block(struct xlate *x)
{
	const struct xinsn *i = &x->in[x->n - 1];

	if (i->bad || (!handler(&i->d) && !i->copy))
		return FLAGS_ALL;
	if (is_transfer(&i->d))
		return live_after_branch(x, i);
	return live_at(x, xl_next(i));
}

static void find_live(struct xlate *x)
{
	bool exact = x->v->stress & DBT_STRESS_EXACT_FLAGS;
	unsigned live = exact ? FLAGS_ALL : live_after_block(x);

	x->live_out = (uint16_t)live;
	for (unsigned n = x->n; n-- > 0;) {
		struct xinsn *i = &x->in[n];

		if (exact || i->bad || (!handler(&i->d) && !i->copy)) {
			live = FLAGS_ALL;
		} else {
			if (i->d.insn.meta.category == ZYDIS_CATEGORY_COND_BR && live != FLAGS_ALL)
				live |= live_after_branch(x, i);
			live = (live & ~flags_kill(&i->d)) | flags_read(&i->d);
		}
		i->live = (uint16_t)live;
	}
}

/* Is all that it does with flags to carry them from one block to the next, as a jump by way of a
 * table of addresses does?  Then they stay in the frame. */
static bool can_park(const struct xlate *x)
{
	for (unsigned n = 0; n + 1 < x->n; n++) {
		const struct xinsn *i = &x->in[n];
		xlate_fn *fn = handler(&i->d);

		if (i->bad || !flags_apart(&i->d) ||
		    (fn ? fn != xl_nop && fn != xl_lea && fn != xl_push && fn != xl_pop : !i->copy))
			return false;
	}
	return x->in[0].live && !x->in[x->n - 1].bad && xl_leads_away(x, &x->in[x->n - 1]);
}

/* --- writing --- */
/* Do they change T1 only for accesses, or where they say so (x->in_t1)? */
static bool keeps_t1(xlate_fn *fn)
{
	return fn == xl_copy || fn == xl_push || fn == xl_pop || fn == xl_jcc || fn == xl_nop;
}

bool xl_by_window(const struct xlate *x, const struct xinsn *i)
{
	return x->windows && !windows_checked(x->v, xl_ram_off(x, i));
}

void xl_code_address(struct xlate *x, unsigned reg, int64_t off)
{
	if (x->windows) {
		e_mov_imm(&x->a, reg, (x->lin & ~(PAGE_SIZE - 1)) + (uint64_t)off);
		return;
	}
	e_load(&x->a, reg, FRAME(code_base));
	if (off)
		e_lea(&x->a, x->code64, reg, em_base(reg, (int32_t)off));
}

void xl_turn_to(struct xlate *x, const struct xinsn *i)
{
	x->i = i;
	x->by_window = xl_by_window(x, i);
}

static void write_one(struct xlate *x, const struct xinsn *i)
{
	xlate_fn *fn = i->bad ? xl_exit : handler(&i->d);

	xl_turn_to(x, i);
	if (!fn)
		fn = i->copy ? xl_copy : xl_exit;
	if (!keeps_t1(fn) || x->tb->ram_page[1] != NO_PAGE)
		x->in_t1 = -1;
	if (x->tb->ram_page[1] != NO_PAGE)
		xl_check_second(x);
	fn(x, i);
	if (!keeps_t1(fn))
		x->in_t1 = -1;
	if (i->moves_stack && !x->ended)
		xl_stack_moved(x, i);
}

/* Code of the block but what rarely runs; map gets host and guest bytes of each instruction. */
static void write_code(struct xlate *x, uint8_t *map)
{
	struct tb *b = x->tb;
	const uint8_t *at;

	x->i = &x->in[0];
	x->n_cold = 0;
	x->sp_aligned = x->ended = x->x87_noted = false;
	x->in_t1 = -1;
	x->flags_saved = x->parked = can_park(x);
	b->saved_at = x->parked ? 0 : UINT32_MAX;
	if (!code_room(&x->a))
		return;
	xl_prologue(x);
	at = e_here(&x->a);
	b->map_skip = (uint16_t)(at - b->far);
	for (unsigned n = 0, k; n < x->n && !x->ended && code_room(&x->a); n += k) {
		k = xl_stack_run(x, n);
		if (!k) {
			write_one(x, &x->in[n]);
			k = 1;
		}
		/* A run's code counts as its first instruction's. */
		for (unsigned m = n; m < n + k; m++) {
			put_le16(map + 3 * m, (uint16_t)(e_here(&x->a) - at));
			map[3 * m + 2] = x->in[m].d.len;
			at = e_here(&x->a);
		}
		b->n_insns = (uint16_t)(n + k);
	}
	if (!x->ended && code_room(&x->a)) {
		x->i = &x->in[x->n - 1];
		xl_goto(x, (int32_t)xl_next(x->i));
	}
	b->host_len = (uint32_t)(e_here(&x->a) - b->far);
}

/* Branches inside the page whose target is there already. */
static void link_known(struct xlate *x)
{
	struct tb *b = x->tb, *to;

	for (unsigned n = 0; n < x->n_cold; n++) {
		struct cold *c = &x->cold[n];

		if (c->kind != COLD_LINK || c->check || c->apart || !c->link)
			continue;
		to = cache_find(x->v, (b->ram_page[0] << PAGE_SHIFT) + (uint64_t)c->target, c->mode,
				x->lin);
		if (to && to->ram_page[1] == NO_PAGE && to->gen[0] == b->gen[0])
			cache_link(x->v, c->link, to, false);
	}
}

static struct tb *new_tb(struct xlate *x)
{
	struct dbt_cpu *v = x->v;
	struct tb *b = v->cache.n < v->cache.max ? cache_alloc(v, sizeof(*b)) : NULL;

	if (!b)
		return NULL;
	*b = (struct tb){
		.ram_off = x->ram_off,
		.lin_page = x->windows ? x->lin >> PAGE_SHIFT : NO_PAGE,
		.ram_page = {x->ram_off >> PAGE_SHIFT, NO_PAGE},
		.mode = x->mode | (x->apart ? DBT_MODE_APART : 0),
	};
	return b;
}

/* False: there is no room, all is to be dropped and begun again. */
static bool try_block(struct xlate *x)
{
	struct dbt_cache *k = &x->v->cache;
	unsigned off = (unsigned)align_down(PAGE_OFFSET(x->lin), CHUNK);
	struct code hot;
	uint8_t *map;

	x->mode = x->v->mode;
	x->windows = x->mode & DBT_MODE_WINDOWS;
	x->stack = x->mode & DBT_MODE_STACK;
	x->returns = (x->mode & X86_MODE_CPL3) && !(x->v->stress & DBT_STRESS_NO_LINK);
	do {
		x->tb = new_tb(x);
		if (!x->tb)
			return false;
		x->tb->gen[0] =
			mem_code_mark(x->c->vm->mem, (x->ram_off & ~(PAGE_SIZE - 1)) + off, CHUNK);
		x->marked[0] = off;
		x->marked[1] = off + CHUNK;
		decode_run(x);
		/* Not even one: the page changed meanwhile. */
	} while (!x->n);
	find_live(x);
	xl_spans_find(x);
	map = cache_alloc(x->v, 3 * x->n);
	if (!map)
		return false;
	x->a = cache_begin(x->v, &k->hot);
	write_code(x, map);
	if (x->a.full)
		return false;
	hot = x->a;
	x->a = cache_begin(x->v, &k->cold);
	x->cold_at = e_here(&x->a);
	xl_cold_code(x);
	if (x->a.full)
		return false;
	cache_end(x->v, &k->hot, &hot);
	cache_end(x->v, &k->cold, &x->a);
	x->tb->map = map;
	cache_add(x->v, x->tb);
	x->v->stats.bytes += (uint64_t)(e_here(&x->a) - x->cold_at);
	link_known(x);
	xlate_log(x);
	symbols_block(x->v, x->tb, x->lin, x->cold_at, (size_t)(e_here(&x->a) - x->cold_at));
	return true;
}

struct tb *xlate_block(struct dbt_cpu *v, uint64_t lin, const uint8_t *page, uint64_t ram_off,
		       bool apart)
{
	struct xlate *x = v->xlate;

	x->v = v;
	x->c = &v->in.cpu;
	x->code64 = v->mode & X86_MODE_CS64;
	x->apart = apart;
	x->page = page;
	x->lin = lin;
	x->ram_off = ram_off;
	while (!try_block(x))
		cache_reset(v);
	return x->tb;
}

struct xlate *xlate_create(const struct x86_cpuid *cpuid)
{
	struct xlate *x = xzalloc(sizeof(*x));

	x->decoder = x86_decode_memo_create(cpuid);
	return x;
}

void xlate_free(struct xlate *x)
{
	if (x)
		x86_decode_memo_free(x->decoder);
	free(x);
}
