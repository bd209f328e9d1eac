/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slow paths of guest memory accesses: what the TLB's fast tags do not cover.
 *
 * An access that crosses a page is checked on both pages before a byte of it moves, first page
 * first, as processors do; then it goes in two pieces.  RAM is stored to with one host instruction
 * where the access is naturally aligned, so that other vCPUs see it whole, and then mem_written()
 * is told.  Device registers go through the bus; the last ones used are remembered until the TLB is
 * flushed (a change of the memory map flushes it).  The local APIC's page is asked for by the
 * guest-physical address in IA32_APIC_BASE, for each vCPU its own, before the bus (SDM 3A 11.4.1).
 */
#include "x86/mmu_int.h"

/* How the linear addresses of an access wrap: the bits that exist.  In compatibility mode too they
 * are 32 bits wide; what arrives there with more is an access of an event that is on its way to
 * 64-bit code. */
static uint64_t wrap_explicit(const struct x86_cpu *c, uint64_t va)
{
	if ((c->mode & X86_MODE_CS64) || ((c->s.efer & EFER_LMA) && va > UINT32_MAX))
		return UINT64_MAX;
	return UINT32_MAX;
}

static uint64_t wrap_system(const struct x86_cpu *c)
{
	return c->s.efer & EFER_LMA ? UINT64_MAX : UINT32_MAX;
}

static uint64_t host_load(const void *p, unsigned size)
{
	uint64_t v = 0;

	switch (size) {
	case 1: return *(const uint8_t *)p;
	case 2: return get_le16(p);
	case 4: return get_le32(p);
	case 8: return get_le64(p);
	}
	memcpy(&v, p, size);
	return v;
}

static void host_store(void *p, uint64_t v, unsigned size)
{
	switch (size) {
	case 1: *(volatile uint8_t *)p = (uint8_t)v; return;
	case 2: put_le16(p, (uint16_t)v); return;
	case 4: put_le32(p, (uint32_t)v); return;
	case 8: put_le64(p, v); return;
	}
	memcpy(p, &v, size);
}

/* The APIC's registers are 32 bits wide; larger accesses go in pieces (SDM 3A 11.4.1 leaves them
 * open). */
static unsigned apic_piece(uint32_t off, unsigned left)
{
	if (left >= 4 && !(off & 3))
		return 4;
	return left >= 2 && !(off & 1) ? 2 : 1;
}

static uint64_t apic_load(struct x86_cpu *c, uint32_t off, unsigned size)
{
	const struct x86_host_ops *h = c->vm->host;
	uint64_t v = 0;

	for (unsigned i = 0; i < size;) {
		unsigned n = apic_piece(off + i, size - i);

		v |= (uint64_t)h->apic_read(c->vm->host_opaque, c->index, off + i, n) << (8 * i);
		i += n;
	}
	return v;
}

static void apic_store(struct x86_cpu *c, uint32_t off, uint64_t v, unsigned size)
{
	const struct x86_host_ops *h = c->vm->host;

	for (unsigned i = 0; i < size;) {
		unsigned n = apic_piece(off + i, size - i);

		h->apic_write(c->vm->host_opaque, c->index, off + i,
			      (uint32_t)(v >> (8 * i) & mask_size(n)), n);
		i += n;
	}
}

/* The device registers at a when size bytes there belong to one region; *off: offset in it. */
static struct io_region *io_find(struct x86_cpu *c, uint64_t a, unsigned size, uint64_t *off)
{
	struct mem_range *w = &c->io_win;

	if (a - w->base >= w->size)
		mem_lookup(c->vm->mem, GPA(a), w);
	if (w->kind != MEM_IO || !range_fits(a - w->base, size, w->size)) {
		w->size = 0;
		return NULL;
	}
	*off = w->io_off + (a - w->base);
	return w->io;
}

/* Bytes of one page that has no host address. */
static uint64_t io_load(struct x86_cpu *c, const struct x86_tlb_info *info, uint64_t va,
			unsigned size)
{
	uint64_t a = info->gpa + PAGE_OFFSET(va), off;
	struct io_region *io;

	if (info->flags & TLB_APIC)
		return apic_load(c, (uint32_t)PAGE_OFFSET(va), size);
	io = io_find(c, a, size, &off);
	if (io)
		return io_region_read(io, off, size);
	return mem_read(c->vm->mem, GPA(a), size);
}

static void io_store(struct x86_cpu *c, const struct x86_tlb_info *info, uint64_t va, uint64_t v,
		     unsigned size)
{
	uint64_t a = info->gpa + PAGE_OFFSET(va), off;
	struct io_region *io;

	if (info->flags & TLB_APIC) {
		apic_store(c, (uint32_t)PAGE_OFFSET(va), v, size);
		return;
	}
	io = info->flags & TLB_ROM ? NULL : io_find(c, a, size, &off);
	if (io)
		io_region_write(io, off, v, size);
	else
		mem_write(c->vm->mem, GPA(a), v, size);
}

static uint64_t page_load(struct x86_cpu *c, struct x86_xlat x, uint64_t va, unsigned size)
{
	if (likely(x.info->ram_off != UINT64_MAX))
		return host_load((const void *)(va + x.e->addend), size);
	return io_load(c, x.info, va, size);
}

static void page_written(struct x86_cpu *c, struct x86_xlat x, uint64_t va, unsigned size)
{
	if (mem_written(c->vm->mem, x.info->ram_off + PAGE_OFFSET(va), size))
		c->code_written = true;
}

static void page_store(struct x86_cpu *c, struct x86_xlat x, uint64_t va, uint64_t v, unsigned size)
{
	if (unlikely(x.info->ram_off == UINT64_MAX || (x.info->flags & TLB_ROM))) {
		io_store(c, x.info, va, v, size);
		return;
	}
	host_store((void *)(va + x.e->addend), v, size);
	page_written(c, x, va, size);
}

static void check_align(struct x86_cpu *c, uint64_t va, unsigned size, enum x86_view view)
{
	if (view == X86_VIEW_USER && c->align_check && (va & (size - 1)))
		x86_raise_err(c, X86_AC, 0);
}

static uint64_t load(struct x86_cpu *c, uint64_t va, unsigned size, enum x86_view view,
		     uint64_t wrap)
{
	unsigned first = (unsigned)min_u64(size, PAGE_SIZE - PAGE_OFFSET(va));
	struct x86_xlat x, y;
	uint64_t v, va2;

	va &= wrap;
	x = tlb_get(c, va, X86_READ, view);
	if (likely(first == size)) {
		v = page_load(c, x, va, size);
	} else {
		va2 = (va + first) & wrap;
		y = tlb_get(c, va2, X86_READ, view);
		v = page_load(c, x, va, first);
		v |= page_load(c, y, va2, size - first) << (8 * first);
	}
	if (unlikely(c->watch_active))
		x86_watch_access(c, va, size, X86_READ);
	return v;
}

static void store(struct x86_cpu *c, uint64_t va, uint64_t v, unsigned size, enum x86_view view,
		  uint64_t wrap)
{
	unsigned first = (unsigned)min_u64(size, PAGE_SIZE - PAGE_OFFSET(va));
	struct x86_xlat x, y;
	uint64_t va2;

	va &= wrap;
	x = tlb_get(c, va, X86_WRITE, view);
	if (likely(first == size)) {
		page_store(c, x, va, v, size);
	} else {
		va2 = (va + first) & wrap;
		y = tlb_get(c, va2, X86_WRITE, view);
		page_store(c, x, va, v & mask_size(first), first);
		page_store(c, y, va2, v >> (8 * first), size - first);
	}
	if (unlikely(c->watch_active))
		x86_watch_access(c, va, size, X86_WRITE);
}

uint64_t x86_ld_slow(struct x86_cpu *c, uint64_t va, unsigned size, enum x86_view view)
{
	check_align(c, va, size, view);
	return load(c, va, size, view, wrap_explicit(c, va));
}

void x86_st_slow(struct x86_cpu *c, uint64_t va, uint64_t val, unsigned size, enum x86_view view)
{
	check_align(c, va, size, view);
	store(c, va, val, size, view, wrap_explicit(c, va));
}

uint64_t x86_ld_miss(struct x86_cpu *c, uint64_t va, unsigned size)
{
	return x86_ld_slow(c, va, size, (enum x86_view)(c->tlb - c->tlbs));
}

void x86_st_miss(struct x86_cpu *c, uint64_t va, uint64_t val, unsigned size)
{
	x86_st_slow(c, va, val, size, (enum x86_view)(c->tlb - c->tlbs));
}

/* Implicit supervisor accesses are under SMAP whatever RFLAGS.AC says (SDM 3A 4.6.1). */
static enum x86_view view_system(const struct x86_cpu *c)
{
	return c->s.cr4 & CR4_SMAP ? X86_VIEW_SUPER : X86_VIEW_SUPER_USER;
}

uint64_t x86_ld_sys(struct x86_cpu *c, uint64_t va, unsigned size)
{
	return load(c, va, size, view_system(c), wrap_system(c));
}

void x86_st_sys(struct x86_cpu *c, uint64_t va, uint64_t val, unsigned size)
{
	store(c, va, val, size, view_system(c), wrap_system(c));
}

static enum x86_view view_now(const struct x86_cpu *c)
{
	return (enum x86_view)(c->tlb - c->tlbs);
}

void *x86_rmw_probe(struct x86_cpu *c, uint64_t va, unsigned size)
{
	uint64_t wrap = wrap_explicit(c, va);
	struct x86_xlat x;

	/* 16-byte operands have their own alignment rule, which the caller has checked. */
	if (size <= 8)
		check_align(c, va, size, view_now(c));
	va &= wrap;
	x = tlb_get(c, va, X86_WRITE, view_now(c));
	if (PAGE_OFFSET(va) + size > PAGE_SIZE) {
		tlb_get(c, (va + size - 1) & wrap & ~(PAGE_SIZE - 1), X86_WRITE, view_now(c));
		return NULL;
	}
	return x.e->wr & X86_TLB_SLOW ? NULL : (void *)(va + x.e->addend);
}

void x86_probe(struct x86_cpu *c, uint64_t va, unsigned len, enum x86_access access)
{
	uint64_t wrap = wrap_explicit(c, va);

	va &= wrap;
	tlb_get(c, va, access, view_now(c));
	if (PAGE_OFFSET(va) + len > PAGE_SIZE)
		tlb_get(c, (align_down(va, PAGE_SIZE) + PAGE_SIZE) & wrap, access, view_now(c));
}

/* One page's part of a block. */
static void block_load(struct x86_cpu *c, struct x86_xlat x, uint64_t va, uint8_t *buf,
		       unsigned len)
{
	if (likely(x.info->ram_off != UINT64_MAX)) {
		memcpy(buf, (const void *)(va + x.e->addend), len);
		return;
	}
	for (unsigned i = 0, n; i < len; i += n) {
		uint64_t v;

		n = len - i >= 8 ? 8 : 1;
		v = io_load(c, x.info, va + i, n);
		memcpy(buf + i, &v, n);
	}
}

static void block_store(struct x86_cpu *c, struct x86_xlat x, uint64_t va, const uint8_t *buf,
			unsigned len)
{
	if (likely(x.info->ram_off != UINT64_MAX && !(x.info->flags & TLB_ROM))) {
		memcpy((void *)(va + x.e->addend), buf, len);
		page_written(c, x, va, len);
		return;
	}
	for (unsigned i = 0, n; i < len; i += n) {
		uint64_t v = 0;

		n = len - i >= 8 ? 8 : 1;
		memcpy(&v, buf + i, n);
		io_store(c, x.info, va + i, v, n);
	}
}

void x86_read_block(struct x86_cpu *c, uint64_t va, void *buf, unsigned len)
{
	uint64_t wrap = wrap_explicit(c, va), va2;
	unsigned first = (unsigned)min_u64(len, PAGE_SIZE - PAGE_OFFSET(va));
	struct x86_xlat x, y;

	va &= wrap;
	x = tlb_get(c, va, X86_READ, view_now(c));
	if (first == len) {
		block_load(c, x, va, buf, len);
	} else {
		va2 = (va + first) & wrap;
		y = tlb_get(c, va2, X86_READ, view_now(c));
		block_load(c, x, va, buf, first);
		block_load(c, y, va2, (uint8_t *)buf + first, len - first);
	}
	if (unlikely(c->watch_active))
		x86_watch_access(c, va, len, X86_READ);
}

void x86_write_block(struct x86_cpu *c, uint64_t va, const void *buf, unsigned len)
{
	uint64_t wrap = wrap_explicit(c, va), va2;
	unsigned first = (unsigned)min_u64(len, PAGE_SIZE - PAGE_OFFSET(va));
	struct x86_xlat x, y;

	va &= wrap;
	x = tlb_get(c, va, X86_WRITE, view_now(c));
	if (first == len) {
		block_store(c, x, va, buf, len);
	} else {
		va2 = (va + first) & wrap;
		y = tlb_get(c, va2, X86_WRITE, view_now(c));
		block_store(c, x, va, buf, first);
		block_store(c, y, va2, (const uint8_t *)buf + first, len - first);
	}
	if (unlikely(c->watch_active))
		x86_watch_access(c, va, len, X86_WRITE);
}

void *x86_span(struct x86_cpu *c, uint64_t va, enum x86_access access, uint64_t *avail)
{
	struct x86_xlat x;
	uint64_t tag;

	va &= wrap_explicit(c, va);
	x = tlb_get(c, va, access, view_now(c));
	tag = access == X86_READ ? x.e->rd : access == X86_WRITE ? x.e->wr : x.e->ex;
	if (tag & X86_TLB_SLOW)
		return NULL;
	*avail = PAGE_SIZE - PAGE_OFFSET(va);
	return (void *)(va + x.e->addend);
}

const uint8_t *x86_fetch_page(struct x86_cpu *c, uint64_t va, uint64_t *ram_off)
{
	struct x86_xlat x;

	va &= wrap_explicit(c, va);
	/* CR2 of a fault is the byte's own address. */
	x = tlb_get(c, va, X86_EXEC, view_now(c));
	tlb_code_fetched(c, va, x.info);
	*ram_off = x.info->ram_off;
	if (*ram_off == UINT64_MAX)
		return NULL;
	return (const uint8_t *)((va & ~(PAGE_SIZE - 1)) + x.e->addend);
}

uint8_t x86_fetch_byte(struct x86_cpu *c, uint64_t va)
{
	struct x86_xlat x;

	va &= wrap_explicit(c, va);
	x = tlb_get(c, va, X86_EXEC, view_now(c));
	tlb_code_fetched(c, va, x.info);
	return (uint8_t)page_load(c, x, va, 1);
}
