/* SPDX-License-Identifier: Apache-2.0 */
/* Data breakpoints of DR0-3 (SDM 3A 17.2) and a debugger's watchpoints. */
#include "x86/debug.h"

static bool overlaps(uint64_t a, uint64_t a_len, uint64_t b, uint64_t b_len)
{
	return a - b < b_len || b - a < a_len;
}

/* Is breakpoint n of DR7 an enabled data breakpoint?  Its bytes: LEN bytes, aligned to that
 * (17.2.5). */
static bool dr_data(const struct x86_cpu *c, unsigned n, uint64_t *at, unsigned *len)
{
	if (!DR7_ENABLED(c->s.dr7, n) || !(DR7_RW(c->s.dr7, n) & 1))
		return false;
	*len = x86_dr_len(c->s.dr7, n);
	*at = align_down(c->s.dr[n], *len);
	return true;
}

bool x86_watch_page(const struct x86_cpu *c, uint64_t va)
{
	unsigned len;
	uint64_t at;

	va &= ~(PAGE_SIZE - 1);
	for (unsigned n = 0; n < 4; n++)
		if (dr_data(c, n, &at, &len) && overlaps(at, len, va, PAGE_SIZE))
			return true;
	for (unsigned i = 0; c->debug && i < c->debug->n_bp; i++) {
		const struct x86_bp *b = &c->debug->bp[i];

		if (b->kind != X86_BP_EXEC && overlaps(b->addr, b->len, va, PAGE_SIZE))
			return true;
	}
	return false;
}

static bool kind_matches(enum x86_bp_kind kind, enum x86_access access)
{
	if (kind == X86_BP_ACCESS)
		return true;
	return kind == (access == X86_WRITE ? X86_BP_WRITE : X86_BP_READ);
}

void x86_watch_access(struct x86_cpu *c, uint64_t va, unsigned size, enum x86_access access)
{
	unsigned len;
	uint64_t at;

	for (unsigned n = 0; n < 4; n++) {
		if (!dr_data(c, n, &at, &len) || !overlaps(at, len, va, size))
			continue;
		if (access == X86_WRITE || DR7_RW(c->s.dr7, n) == DR7_RW_ACCESS)
			c->dr6_hits |= 1u << n;
	}
	for (unsigned i = 0; c->debug && i < c->debug->n_bp; i++) {
		const struct x86_bp *b = &c->debug->bp[i];

		if (!kind_matches(b->kind, access) || !overlaps(b->addr, b->len, va, size) ||
		    c->debug->hit)
			continue;
		c->debug->hit = true;
		c->debug->hit_kind = b->kind;
		c->debug->hit_addr = max_u64(b->addr, va);
	}
}
