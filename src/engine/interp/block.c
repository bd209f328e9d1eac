/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The block cache of a vCPU: decoded code by (RAM offset, mode), in an arena that is emptied as a
 * whole when it is full.
 *
 * A block is right while its page's generation is the one that mem_code_mark() gave when the block
 * was decoded; everyone who enters a block compares.  A block that is not right any more is never
 * freed alone: it drops out of the hash when its successor is decoded, and its memory waits for the
 * flush. The arena belongs to the vCPU's thread, so nothing here is locked.
 *
 * Code that is not in RAM or ROM is decoded for every execution, one instruction at a time, into a
 * block at the head of the arena that is never looked up or linked.
 */
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "engine/interp/lower.h"

#define HASH_BITS 15
#define ARENA_SIZE (32 * MiB)
#define BLOCK_MAX_BYTES (sizeof(struct block) + BLOCK_SLOTS * sizeof(struct insn))
#define CHUNK 64 /* granularity of code marks */

static const struct mem_page no_page = {.gen = 0};
const struct block interp_no_block = {.page = &no_page, .gen = 1};

static struct block **bucket(struct interp_cpu *v, uint64_t ram_off, uint32_t mode)
{
	uint64_t h = (ram_off ^ (uint64_t)mode << 7) * UINT64_C(0x9e3779b97f4a7c15);

	return &v->hash[h >> (64 - HASH_BITS)];
}

int interp_cache_init(struct interp_cpu *v, struct err **e)
{
	v->hash = calloc(1u << HASH_BITS, sizeof(*v->hash));
	v->jumps = calloc(1u << JUMP_BITS, sizeof(*v->jumps));
	v->arena = aligned_alloc(64, ARENA_SIZE);
	if (!v->hash || !v->jumps || !v->arena)
		return err_set(e, 12, "no memory for the interpreter's code cache");
	interp_cache_flush(v);
	v->stats.flushes = 0;
	return 0;
}

void interp_cache_fini(struct interp_cpu *v)
{
	free(v->hash);
	free(v->jumps);
	free(v->arena);
}

void interp_cache_flush(struct interp_cpu *v)
{
	memset(v->hash, 0, (1u << HASH_BITS) * sizeof(*v->hash));
	for (unsigned n = 0; n < 1u << JUMP_BITS; n++)
		v->jumps[n] = (struct jump){.lin = 1, .to = &interp_no_block};
	v->arena_used = align_up(BLOCK_MAX_BYTES, 64);
	v->cur = &interp_no_block;
	v->stats.flushes++;
	if (v->bounce)
		bounce_flush(v->bounce);
}

/* --- decoding --- */
struct decode {
	struct interp_cpu *v;
	struct x86_cpu *c;
	struct block *b;
	struct lower l;
	struct x86_decoded d;
	const uint8_t *page; /* host address of the code's page */
	uint64_t lin; /* linear address of the block's start */
	unsigned off; /* of the next instruction in its page */
	unsigned marked; /* end of what is marked as decoded */
	unsigned slots;
	bool one;
};

/* Mark up to end (in the page) as decoded; false when the page has changed since the block began.
 */
static bool mark(struct decode *s, unsigned end)
{
	uint64_t base = s->b->ram_off & ~(PAGE_SIZE - 1);
	uint32_t gen;

	end = (unsigned)min_u64(align_up(end, CHUNK), PAGE_SIZE);
	if (end <= s->marked)
		return true;
	gen = mem_code_mark(s->c->vm->mem, base + s->marked, end - s->marked);
	if (!s->b->n_insns)
		s->b->gen = gen;
	s->marked = end;
	return gen == s->b->gen;
}

/* An instruction that begins in this page and goes on in the next: alone in its block, behind a
 * check. */
static const struct insn *check_second(struct x86_cpu *c, const struct insn *i)
{
	const struct block *b = interp_of(c)->cur;

	if (likely(mem_code_gen(b->page2) == b->gen2))
		NEXT;
	/* Back to the run loop, which decodes it anew; this vCPU cannot tell that from an
	 * interruption. */
	interp_jump_slot(interp_of(c), c->code_base + i->off)->to = &interp_no_block;
	c->s.rip = interp_rip(c, i->off);
	interp_of(c)->ip = NULL;
	interp_of(c)->retry = true;
	return NULL;
}

static enum x86_decode_status decode_crossing(struct decode *s)
{
	uint64_t next = (s->lin & ~(PAGE_SIZE - 1)) + PAGE_SIZE, ram_off;
	unsigned head = (unsigned)(PAGE_SIZE - s->off);
	uint8_t buf[X86_INSN_MAX];
	const uint8_t *page;

	if (!(s->c->mode & X86_MODE_CS64))
		next = (uint32_t)next;
	page = x86_fetch_page(s->c, next, &ram_off);
	memcpy(buf, s->page + s->off, head);
	if (!page) {
		/* Into device memory: take the bytes as they come, and do not keep the block. */
		s->b->page = &s->v->io_page;
		s->b->gen = 0;
		for (unsigned n = head; n < sizeof(buf); n++) {
			enum x86_decode_status st;

			buf[n] = x86_fetch_byte(s->c, next + n - head);
			st = x86_decode(&s->d, s->c->vm->cpuid, s->c->mode, buf, n + 1);
			if (st != X86_DECODE_MORE)
				return st;
		}
		return X86_DECODE_LONG;
	}
	s->b->page2 = &mem_pages(s->c->vm->mem)[ram_off >> PAGE_SHIFT];
	s->b->ram_off2 = ram_off;
	s->b->gen2 = mem_code_mark(s->c->vm->mem, ram_off, sizeof(buf) - head);
	memcpy(buf + head, page, sizeof(buf) - head);
	s->b->insn[s->slots++] = (struct insn){.fn = check_second, .off = (uint16_t)s->off};
	s->b->skew++;
	return x86_decode(&s->d, s->c->vm->cpuid, s->c->mode, buf, sizeof(buf));
}

/* The limit of CS, for code that is not flat: how many bytes may be fetched at the next
 * instruction. */
static uint64_t limit_left(const struct decode *s)
{
	const struct x86_segment *cs = &s->c->s.seg[X86_CS];
	uint64_t rip = s->c->s.rip + (s->off - (s->lin & (PAGE_SIZE - 1)));

	if (s->c->mode & X86_MODE_CS64)
		return X86_INSN_MAX;
	return rip > cs->limit ? 0 : (uint64_t)cs->limit - rip + 1;
}

static void log_insn(struct decode *s)
{
	char text[128];

	log_printf(s->c->log, "in_asm %u: %012lx: %s\n", s->c->index,
		   (s->lin & ~(PAGE_SIZE - 1)) + s->off,
		   x86_disasm(&s->d, s->c->s.rip + s->off - (s->lin & (PAGE_SIZE - 1)), text,
			      sizeof(text)));
}

/* Decode one instruction into the block.  False: the block ends before it. */
static bool decode_one(struct decode *s)
{
	unsigned avail = (unsigned)(PAGE_SIZE - s->off);
	enum x86_decode_status st;

	if (!avail || !mark(s, s->off + X86_INSN_MAX))
		return false;
	if (unlikely(s->v->n_bps) && interp_bp_at(s->v, (s->lin & ~(PAGE_SIZE - 1)) + s->off)) {
		if (s->b->n_insns)
			return false;
		s->b->insn[s->slots++] =
			(struct insn){.fn = interp_bp_check, .off = (uint16_t)s->off};
		s->b->skew++;
	}
	st = x86_decode(&s->d, s->c->vm->cpuid, s->c->mode, s->page + s->off, avail);
	if (st == X86_DECODE_MORE && avail < X86_INSN_MAX) {
		if (s->b->n_insns)
			return false;
		st = decode_crossing(s);
	}
	s->l.i = &s->b->insn[s->slots];
	s->l.off = (uint16_t)s->off;
	s->l.index = s->b->n_insns;
	if (st != X86_DECODE_OK || s->d.len > limit_left(s)) {
		lower_fault(&s->l,
			    st == X86_DECODE_UD && s->d.len <= limit_left(s) ? X86_UD : X86_GP);
		s->d.len = 1;
	} else {
		lower_insn(&s->l);
		if (log_on(s->c->log, LOG_IN_ASM))
			log_insn(s);
	}
	return !s->l.full;
}

static struct block *block_alloc(struct interp_cpu *v)
{
	if (v->arena_used + BLOCK_MAX_BYTES > ARENA_SIZE)
		interp_cache_flush(v);
	return (struct block *)(v->arena + v->arena_used);
}

static void decode_run(struct decode *s)
{
	struct block *b = s->b;

	while (b->n_insns < (s->one ? 1 : BLOCK_MAX) && decode_one(s)) {
		s->slots += s->l.slots;
		s->off += s->d.len;
		b->n_insns++;
		s->v->stats.decoded++;
		/* What crosses into another page, of RAM or of a device, is alone. */
		if (s->l.ends || b->page2 || s->off > PAGE_SIZE)
			break;
	}
	if (!s->l.full && !s->l.ends) {
		struct insn *end = &b->insn[s->slots];

		lower_end(s->c, end, s->off, b->n_insns);
		*(struct link *)(end + 1) = (struct link){.to = &interp_no_block};
		s->slots += 2;
	}
	b->bytes = (uint16_t)(s->off - (s->lin & (PAGE_SIZE - 1)));
}

static const struct block *decode_block(struct x86_cpu *c, const uint8_t *page, uint64_t lin,
					uint64_t ram_off, bool one)
{
	struct interp_cpu *v = interp_of(c);
	struct decode s = {.v = v, .c = c, .page = page, .lin = lin, .one = one};
	struct block **at;

again:
	s.b = block_alloc(v);
	memset(s.b, 0, sizeof(*s.b));
	s.b->ram_off = ram_off;
	s.b->mode = c->mode | (one ? BLOCK_ONE : 0);
	s.b->page = &mem_pages(c->vm->mem)[ram_off >> PAGE_SHIFT];
	s.off = (unsigned)PAGE_OFFSET(lin);
	s.marked = (unsigned)align_down(s.off, CHUNK);
	s.slots = 0;
	s.l = (struct lower){.v = v, .c = c, .d = &s.d};
	decode_run(&s);
	if (s.l.full) {
		interp_cache_flush(v);
		goto again;
	}
	/* The page changed while its first instruction was read: what was read may be neither. */
	if (!s.b->n_insns)
		goto again;
	v->stats.blocks++;
	if (s.b->page == &v->io_page)
		return s.b;
	v->arena_used += align_up(sizeof(*s.b) + s.slots * sizeof(struct insn), 64);
	at = bucket(v, ram_off, s.b->mode);
	s.b->next = *at;
	*at = s.b;
	return s.b;
}

/* Code outside of RAM: fetch as many bytes as the instruction has. */
static const struct block *decode_device(struct x86_cpu *c, uint64_t lin)
{
	struct interp_cpu *v = interp_of(c);
	struct decode s = {.v = v, .c = c, .lin = lin, .off = (unsigned)PAGE_OFFSET(lin)};
	enum x86_decode_status st = X86_DECODE_MORE;
	uint8_t buf[X86_INSN_MAX];

	s.b = (struct block *)v->arena;
	memset(s.b, 0, sizeof(*s.b));
	s.b->page = &v->io_page;
	s.b->mode = c->mode | BLOCK_ONE;
	s.b->n_insns = 1;
	for (unsigned n = 0; n < sizeof(buf) && st == X86_DECODE_MORE; n++) {
		buf[n] = x86_fetch_byte(c, lin + n);
		st = x86_decode(&s.d, c->vm->cpuid, c->mode, buf, n + 1);
	}
	s.l = (struct lower){.v = v, .c = c, .d = &s.d, .i = s.b->insn, .off = (uint16_t)s.off};
	if (st != X86_DECODE_OK)
		lower_fault(&s.l, st == X86_DECODE_UD ? X86_UD : X86_GP);
	else
		lower_insn(&s.l);
	if (s.l.full) {
		interp_cache_flush(v);
		lower_insn(&s.l);
	}
	if (!s.l.ends) {
		lower_end(c, &s.b->insn[s.l.slots], s.off + s.d.len, 1);
		*(struct link *)&s.b->insn[s.l.slots + 1] = (struct link){.to = &interp_no_block};
	}
	return s.b;
}

/* Does the second page of a crossing block still follow the first one? */
static bool second_holds(struct x86_cpu *c, const struct block *b, uint64_t lin)
{
	uint64_t next = (lin & ~(PAGE_SIZE - 1)) + PAGE_SIZE, ram_off;

	if (!b->page2)
		return true;
	if (!(c->mode & X86_MODE_CS64))
		next = (uint32_t)next;
	return x86_fetch_page(c, next, &ram_off) && ram_off == b->ram_off2 &&
	       mem_code_gen(b->page2) == b->gen2;
}

/* Code that is not flat has a limit which is not part of the key. */
static bool limit_holds(const struct x86_cpu *c, const struct block *b)
{
	if (c->mode & X86_MODE_CS64)
		return true;
	return c->s.rip + b->bytes - 1 <= c->s.seg[X86_CS].limit;
}

static void check_rip(struct x86_cpu *c)
{
	if (c->mode & X86_MODE_CS64 ? x86_canonical(c->s.rip) : c->s.rip <= c->s.seg[X86_CS].limit)
		return;
	x86_raise_err(c, X86_GP, 0);
}

const struct block *interp_block(struct x86_cpu *c, bool one)
{
	struct interp_cpu *v = interp_of(c);
	uint64_t lin, ram_off;
	struct block **at, *b;
	const uint8_t *page;
	uint32_t mode;

	check_rip(c);
	lin = interp_cs_base(c) + c->s.rip;
	if (!(c->mode & X86_MODE_CS64))
		lin = (uint32_t)lin;
	page = x86_fetch_page(c, lin, &ram_off);
	if (!page)
		return decode_device(c, lin);
	ram_off |= PAGE_OFFSET(lin);
	v->stats.finds++;
	for (;;) {
		mode = c->mode | (one ? BLOCK_ONE : 0);
		at = bucket(v, ram_off, mode);
		while ((b = *at) && (b->ram_off != ram_off || b->mode != mode))
			at = &b->next;
		if (!b)
			return decode_block(c, page, lin, ram_off, one);
		if (block_valid(b) && second_holds(c, b, lin)) {
			if (limit_holds(c, b) || one)
				break;
			one = true;
			continue;
		}
		v->stats.stale++;
		*at = b->next;
		return decode_block(c, page, lin, ram_off, one);
	}
	return b;
}
