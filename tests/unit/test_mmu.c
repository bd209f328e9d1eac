/* SPDX-License-Identifier: Apache-2.0 */
/* Paging of every kind, the TLB, and the slow paths of memory accesses. */
#include "x86_fixture.h"

static int setup(void **state)
{
	*state = fix_new("max", 1);
	return 0;
}

static int teardown(void **state)
{
	fix_free(*state);
	return 0;
}

static void set_pte(struct fixture *f, unsigned n, uint64_t v)
{
	fix_poke64(f, PT + 8 * n, v);
	x86_tlb_flush(f->cpu[0], true);
}

static void cpl(struct x86_cpu *c, unsigned n)
{
	fix_segments(c, n, true);
}

static void no_paging(void **state)
{
	struct fixture *f = *state;
	struct x86_cpu *c = f->cpu[0];

	fix_poke64(f, 0x1234, 0x1122334455667788);
	assert_ok(c, assert_int_equal(x86_ld32(c, 0x1234), 0x55667788));
	assert_ok(c, x86_st8(c, 0x1234, 0xaa));
	assert_int_equal(mem_read(f->mem, GPA(0x1234), 1), 0xaa);
	/* Outside of long mode addresses wrap at 4 GiB: ROM ends below, RAM begins at 0. */
	fix_poke32(f, 0, 0xddccbbaa);
	assert_ok(c, assert_int_equal(x86_ld32(c, 0xfffffffe), 0xbbaaffff));
	assert_ok(c, x86_st32(c, 0xfffffffe, 0x12345678));
	assert_int_equal(fix_peek32(f, 0), 0xddcc1234);
	/* Holes read ones, and writes vanish. */
	assert_ok(c, x86_st64(c, 0xa0000000, 0));
	assert_ok(c, assert_true(x86_ld64(c, 0xa0000000) == UINT64_MAX));
}

/* SMAP and SMEP are about paging: without it, addresses of devices must still not be host addresses. */
static void smap_without_paging(void **state)
{
	struct fixture *f = *state;
	struct x86_cpu *c = f->cpu[0];
	uint64_t avail;
	void *volatile p = c;

	assert_ok(c, x86_set_cr(c, 4, CR4_SMAP | CR4_SMEP));
	assert_ok(c, p = x86_rmw_ptr(c, 0xa0000000, 4));
	assert_null(p);
	assert_ok(c, p = x86_span(c, 0xa0000000, X86_WRITE, &avail));
	assert_null(p);
	assert_ok(c, x86_st32(c, 0x1234, 7));
	assert_ok(c, p = x86_rmw_ptr(c, 0x1234, 4));
	assert_non_null(p);
	assert_ok(c, x86_fetch_byte(c, 0x1234));
}

static void four_level(void **state)
{
	struct fixture *f = *state;
	struct x86_cpu *c = f->cpu[0];
	gpa a;

	fix_long(f, c, 0, EFER_NXE);
	assert_true(c->mode & X86_MODE_CS64);
	set_pte(f, 5, 0x77000 | 3);
	fix_poke64(f, 0x77010, 0xabcdef);
	assert_ok(c, assert_int_equal(x86_ld64(c, 0x5010), 0xabcdef));
	/* Accessed bits on the way, no dirty bit by a read. */
	assert_int_equal(fix_peek64(f, PT + 40), 0x77000 | 0x23);
	assert_int_equal(fix_peek64(f, PML4), PDPT | RW_U | 0x20);
	assert_int_equal(fix_peek64(f, PD), PT | RW_U | 0x20);
	assert_ok(c, x86_st16(c, 0x5012, 1));
	assert_int_equal(fix_peek64(f, PT + 40), 0x77000 | 0x63);
	/* A second write finds the translation made by the first. */
	fix_poke64(f, PT + 40, 0x77000 | 0x23);
	assert_ok(c, x86_st16(c, 0x5012, 2));
	assert_int_equal(fix_peek64(f, PT + 40), 0x77000 | 0x23);
	/* Debug translation touches nothing. */
	set_pte(f, 6, 0x78000 | 3);
	assert_true(x86_translate(c, 0x6123, &a));
	assert_int_equal(a.v, 0x78123);
	assert_int_equal(fix_peek64(f, PT + 48), 0x78000 | 3);
	assert_false(x86_translate(c, 0x0000900000000000, &a));
	assert_gp(c, x86_ld8(c, 0x0000900000000000));
}

static void error_codes(void **state)
{
	struct fixture *f = *state;
	struct x86_cpu *c = f->cpu[0];
	uint64_t off;

	fix_long(f, c, 0, EFER_NXE);
	set_pte(f, 1, 0);
	assert_pf(c, x86_ld8(c, 0x1008), 0x1008, 0);
	assert_pf(c, x86_st8(c, 0x1008, 0), 0x1008, PF_W);
	assert_pf(c, x86_fetch_page(c, 0x1008, &off), 0x1008, PF_I);
	assert_pf(c, x86_fetch_byte(c, 0x1008), 0x1008, PF_I);
	cpl(c, 3);
	assert_pf(c, x86_ld8(c, 0x1008), 0x1008, PF_U);
	set_pte(f, 1, 0x1000 | 1); /* read-only, supervisor */
	assert_pf(c, x86_ld8(c, 0x1008), 0x1008, PF_U | PF_P);
	assert_pf(c, x86_st8(c, 0x1008, 1), 0x1008, PF_U | PF_P | PF_W);
	assert_ok(c, x86_ld_sys(c, 0x1008, 4));
	assert_pf(c, x86_st_sys(c, 0x1008, 0, 4), 0x1008, PF_P | PF_W);
	cpl(c, 0);
	assert_ok(c, x86_ld8(c, 0x1008));
	assert_pf(c, x86_st8(c, 0x1008, 1), 0x1008, PF_P | PF_W);
	assert_int_equal(fix_peek64(f, PT + 8) & 0x40, 0); /* a refused write leaves D alone */
	assert_ok(c, x86_set_cr(c, 0, c->s.cr0 & ~CR0_WP));
	assert_ok(c, x86_st8(c, 0x1008, 1));
	/* Rights of upper levels count. */
	fix_poke64(f, PD, PT | 5);
	set_pte(f, 1, 0x1000 | RW_U);
	cpl(c, 3);
	assert_ok(c, x86_ld8(c, 0x1008));
	assert_pf(c, x86_st8(c, 0x1008, 1), 0x1008, PF_U | PF_P | PF_W);
	fix_poke64(f, PD, PT | 3);
	x86_tlb_flush(c, true);
	assert_pf(c, x86_ld8(c, 0x1008), 0x1008, PF_U | PF_P);
}

static void no_execute(void **state)
{
	struct fixture *f = *state;
	struct x86_cpu *c = f->cpu[0];
	uint64_t off;

	fix_long(f, c, 0, EFER_NXE);
	set_pte(f, 2, 0x2000 | RW_U | BIT(63));
	assert_ok(c, x86_ld8(c, 0x2000));
	assert_pf(c, x86_fetch_page(c, 0x2000, &off), 0x2000, PF_P | PF_I);
	set_pte(f, 2, 0x2000 | RW_U);
	assert_ok(c, x86_fetch_page(c, 0x2abc, &off));
	assert_int_equal(off, f->ram_off + 0x2000);
	/* Without NXE, bit 63 is reserved, and fetches are not told apart. */
	set_pte(f, 2, 0x2000 | RW_U | BIT(63));
	assert_ok(c, x86_wrmsr(c, 0xc0000080, EFER_LME));
	assert_pf(c, x86_ld8(c, 0x2000), 0x2000, PF_P | PF_RSVD);
	assert_pf(c, x86_fetch_page(c, 0x2000, &off), 0x2000, PF_P | PF_RSVD);
}

static void smep_smap(void **state)
{
	struct fixture *f = *state;
	struct x86_cpu *c = f->cpu[0];
	uint64_t off;

	fix_long(f, c, CR4_SMEP | CR4_SMAP, 0);
	assert_pf(c, x86_fetch_page(c, 0x3000, &off), 0x3000, PF_P | PF_I);
	assert_pf(c, x86_ld8(c, 0x3000), 0x3000, PF_P);
	assert_pf(c, x86_st8(c, 0x3000, 0), 0x3000, PF_P | PF_W);
	c->s.rflags |= RFLAGS_AC;
	x86_update_ac(c);
	assert_ok(c, x86_st8(c, 0x3000, 0));
	/* Implicit accesses ignore AC; fetches ignore SMAP. */
	assert_pf(c, x86_ld_sys(c, 0x3000, 1), 0x3000, PF_P);
	assert_pf(c, x86_fetch_page(c, 0x3000, &off), 0x3000, PF_P | PF_I);
	assert_ok(c, x86_set_cr(c, 4, c->s.cr4 & ~CR4_SMEP));
	assert_ok(c, x86_fetch_page(c, 0x3000, &off));
	c->s.rflags &= ~RFLAGS_AC;
	x86_update_ac(c);
	assert_pf(c, x86_ld8(c, 0x3000), 0x3000, PF_P);
	cpl(c, 3);
	assert_ok(c, x86_ld8(c, 0x3000));
}

static void reserved_bits(void **state)
{
	struct fixture *f = *state;
	struct x86_cpu *c = f->cpu[0];
	uint64_t over = BIT(x86_cpuid_phys_bits(f->cpuid));

	fix_long(f, c, 0, EFER_NXE);
	set_pte(f, 4, 0x4000 | RW_U | over);
	assert_pf(c, x86_ld8(c, 0x4000), 0x4000, PF_P | PF_RSVD);
	set_pte(f, 4, 0x4000 | RW_U | BIT(52) | BIT(62)); /* ignored bits */
	assert_ok(c, x86_ld8(c, 0x4000));
	fix_poke64(f, PD + 16, 0x400000 | RW_U | 0x80 | BIT(13)); /* 2 MiB page, not aligned */
	assert_pf(c, x86_ld8(c, 0x400000), 0x400000, PF_P | PF_RSVD);
	fix_poke64(f, PD + 16, 0x400000 | RW_U | 0x80 | BIT(12)); /* PAT bit */
	assert_ok(c, x86_ld8(c, 0x400000));
	fix_poke64(f, PML4 + 8, PDPT | RW_U | 0x80);
	assert_pf(c, x86_ld8(c, BIT(39)), BIT(39), PF_P | PF_RSVD);
	/* Not present: nothing else of the entry counts. */
	set_pte(f, 4, over | BIT(63));
	assert_pf(c, x86_ld8(c, 0x4000), 0x4000, 0);
}

static void large_pages(void **state)
{
	struct fixture *f = *state;
	struct x86_cpu *c = f->cpu[0];

	fix_long(f, c, 0, 0);
	fix_poke64(f, 0x600000 + 0x1ff8, 42);
	assert_ok(c, assert_int_equal(x86_ld64(c, 0x601ff8), 42));
	assert_ok(c, assert_int_equal(x86_ld64(c, 0x7ff000), 0));
	assert_ok(c, x86_ld8(c, 0x500000));
	/* INVLPG of any address drops all of a large page, and only that. */
	fix_poke64(f, PD + 24, 0xa00000 | RW_U | 0x80);
	fix_poke64(f, PD + 16, 0);
	fix_poke64(f, 0xa00000 + 0x1ff8, 43);
	assert_ok(c, assert_int_equal(x86_ld64(c, 0x601ff8), 42));
	x86_invlpg(c, 0x6abcde);
	assert_ok(c, assert_int_equal(x86_ld64(c, 0x601ff8), 43));
	assert_ok(c, x86_ld8(c, 0x500000));
	/* 1 GiB. */
	fix_poke64(f, PDPT + 8, 0 | RW_U | 0x80);
	fix_poke64(f, 0x3000008, 77);
	assert_ok(c, assert_int_equal(x86_ld64(c, GiB + 0x3000008), 77));
	assert_int_equal(fix_peek64(f, PDPT + 8), RW_U | 0xa0);
	fix_poke64(f, PDPT + 8, 0);
	x86_invlpg(c, GiB);
	assert_pf(c, x86_ld64(c, GiB + 0x3000008), GiB + 0x3000008, 0);
}

static void global_pages(void **state)
{
	struct fixture *f = *state;
	struct x86_cpu *c = f->cpu[0];

	fix_long(f, c, CR4_PGE, 0);
	set_pte(f, 7, 0x7000 | RW_U | 0x100);
	assert_ok(c, x86_ld8(c, 0x7000));
	assert_ok(c, x86_ld8(c, 0x8000));
	fix_poke64(f, PT + 56, 0);
	fix_poke64(f, PT + 64, 0);
	assert_ok(c, x86_set_cr(c, 3, PML4));
	assert_ok(c, x86_ld8(c, 0x7000));
	assert_pf(c, x86_ld8(c, 0x8000), 0x8000, 0);
	assert_ok(c, x86_set_cr(c, 4, c->s.cr4 & ~CR4_PGE));
	assert_pf(c, x86_ld8(c, 0x7000), 0x7000, 0);
}

static void pcid(void **state)
{
	struct fixture *f = *state;
	struct x86_cpu *c = f->cpu[0];

	fix_long(f, c, CR4_PGE, 0);
	assert_gp(c, x86_set_cr(c, 3, BIT(63) | PML4));
	assert_ok(c, x86_set_cr(c, 4, c->s.cr4 | CR4_PCIDE));
	assert_ok(c, x86_set_cr(c, 3, PML4 | 5));
	assert_ok(c, x86_ld8(c, 0x8000));
	fix_poke64(f, PT + 64, 0);
	assert_ok(c, x86_set_cr(c, 3, BIT(63) | PML4 | 5));
	assert_int_equal(c->s.cr3, PML4 | 5);
	assert_ok(c, x86_ld8(c, 0x8000));
	assert_ok(c, x86_invpcid(c, 0, 6, 0x8000)); /* another PCID */
	assert_ok(c, x86_ld8(c, 0x8000));
	assert_ok(c, x86_invpcid(c, 0, 5, 0x8000));
	assert_pf(c, x86_ld8(c, 0x8000), 0x8000, 0);
	assert_gp(c, x86_invpcid(c, 4, 0, 0));
	assert_gp(c, x86_invpcid(c, 1, 0x1000, 0));
	assert_gp(c, x86_invpcid(c, 0, 5, BIT(47)));
	/* Switching it off needs nothing; on needs PCID 0. */
	assert_ok(c, x86_set_cr(c, 4, c->s.cr4 & ~CR4_PCIDE));
	assert_gp(c, x86_set_cr(c, 4, c->s.cr4 | CR4_PCIDE));
}

static void paging_32(void **state)
{
	struct fixture *f = *state;
	struct x86_cpu *c = f->cpu[0];

	c->s.cr0 = CR0_PE | CR0_ET;
	c->s.cr3 = 0x20000;
	fix_segments(c, 0, false);
	fix_poke32(f, 0x20000, 0x21000 | RW_U);
	fix_poke32(f, 0x20000 + 4, 0x00800000 | RW_U | 0x80);
	fix_poke32(f, 0x21000 + 4 * 3, 0x345000 | RW_U);
	fix_poke32(f, 0x345678, 0xfeed);
	assert_ok(c, x86_set_cr(c, 0, CR0_PE | CR0_PG));
	assert_ok(c, assert_int_equal(x86_ld32(c, 0x3678), 0xfeed));
	assert_int_equal(fix_peek32(f, 0x21000 + 12), 0x345000 | RW_U | 0x20);
	assert_pf(c, x86_st32(c, 0x4678, 0), 0x4678, PF_W);
	/* Without PSE the PS bit means nothing: a table at 8 MiB. */
	fix_poke32(f, 0x800000, 0x346000 | RW_U);
	fix_poke32(f, 0x346000, 1);
	assert_ok(c, assert_int_equal(x86_ld32(c, 0x400000), 1));
	assert_ok(c, x86_set_cr(c, 4, CR4_PSE));
	fix_poke32(f, 0x801000, 2);
	assert_ok(c, assert_int_equal(x86_ld32(c, 0x401000), 2));
	/* PSE-36: 4 GiB + 4 MiB is no RAM here, reads ones. */
	fix_poke32(f, 0x20000 + 8, 0x00400000 | RW_U | 0x80 | BIT(13));
	assert_ok(c, assert_int_equal(x86_ld32(c, 0x800000), 0xffffffff));
	fix_poke32(f, 0x20000 + 12, 0x00400000 | RW_U | 0x80 | BIT(21));
	assert_pf(c, x86_ld32(c, 0xc00000), 0xc00000, PF_P | PF_RSVD);
}

static void paging_pae(void **state)
{
	struct fixture *f = *state;
	struct x86_cpu *c = f->cpu[0];

	c->s.cr0 = CR0_PE | CR0_ET;
	c->s.cr4 = CR4_PAE;
	c->s.cr3 = 0x30020;
	fix_segments(c, 0, false);
	fix_poke64(f, 0x30020, 0x31000 | 1);
	fix_poke64(f, 0x30028, 0x31000 | 1 | BIT(1)); /* reserved */
	assert_gp(c, x86_set_cr(c, 0, CR0_PE | CR0_PG));
	assert_false(c->s.cr0 & CR0_PG);
	fix_poke64(f, 0x30028, 0);
	fix_poke64(f, 0x31000, 0x32000 | RW_U);
	fix_poke64(f, 0x31008, 0x600000 | RW_U | 0x80);
	fix_poke64(f, 0x32000, 0x33000 | RW_U);
	fix_poke64(f, 0x33000, 0xaa);
	fix_poke64(f, 0x601230, 0xbb);
	assert_ok(c, x86_set_cr(c, 0, CR0_PE | CR0_PG));
	assert_ok(c, assert_int_equal(x86_ld64(c, 0), 0xaa));
	assert_ok(c, assert_int_equal(x86_ld64(c, 0x201230), 0xbb));
	assert_pf(c, x86_ld64(c, GiB), GiB, 0);
	/* The PDPTEs are registers: memory counts when CR3 is loaded. */
	fix_poke64(f, 0x30028, 0x31000 | 1);
	assert_pf(c, x86_ld64(c, GiB), GiB, 0);
	assert_ok(c, x86_set_cr(c, 3, 0x30020));
	assert_ok(c, assert_int_equal(x86_ld64(c, GiB + 0x201230), 0xbb));
	assert_int_equal(fix_peek64(f, 0x30028), 0x31000 | 1); /* no A bit there */
	/* Bits 62..52 are reserved under PAE paging. */
	fix_poke64(f, 0x32008, 0x34000 | RW_U | BIT(52));
	assert_pf(c, x86_ld64(c, 0x1000), 0x1000, PF_P | PF_RSVD);
	fix_poke64(f, 0x30030, 0x31000 | 1 | BIT(5));
	assert_gp(c, x86_set_cr(c, 3, 0x30020));
}

static void crossing(void **state)
{
	struct fixture *f = *state;
	struct x86_cpu *c = f->cpu[0];
	uint8_t buf[64], back[64];

	fix_long(f, c, 0, 0);
	set_pte(f, 8, 0x50000 | RW_U);
	set_pte(f, 9, 0x60000 | RW_U);
	assert_ok(c, x86_st64(c, 0x8ffb, 0x1122334455667788));
	assert_int_equal(fix_peek64(f, 0x50ff8), UINT64_C(0x4455667788000000));
	assert_int_equal(fix_peek32(f, 0x60000), 0x112233);
	assert_ok(c, assert_true(x86_ld64(c, 0x8ffb) == 0x1122334455667788));
	/* Both pages are checked before a byte is written; CR2 is in the page that failed. */
	set_pte(f, 9, 0x60000 | 5);
	assert_pf(c, x86_st64(c, 0x8ffb, 0), 0x9000, PF_P | PF_W);
	assert_int_equal(fix_peek64(f, 0x50ff8), UINT64_C(0x4455667788000000));
	assert_pf(c, x86_rmw_ptr(c, 0x8ffe, 4), 0x9000, PF_P | PF_W);
	memset(buf, 0x77, sizeof(buf));
	assert_pf(c, x86_write_block(c, 0x8ff0, buf, 64), 0x9000, PF_P | PF_W);
	assert_int_equal(fix_peek64(f, 0x50ff8), UINT64_C(0x4455667788000000));
	set_pte(f, 9, 0x60000 | RW_U);
	assert_ok(c, x86_write_block(c, 0x8ff0, buf, 64));
	assert_ok(c, x86_read_block(c, 0x8ff0, back, 64));
	assert_memory_equal(buf, back, 64);
	assert_int_equal(fix_peek64(f, 0x60028), UINT64_C(0x7777777777777777));
	assert_ok(c, assert_null(x86_rmw_ptr(c, 0x8ffe, 4)));
	assert_ok(c, assert_non_null(x86_rmw_ptr(c, 0x8ff8, 8)));
	assert_ok(c, x86_probe(c, 0x8fff, 2, X86_WRITE));
}

static void registers(void **state)
{
	struct fixture *f = *state;
	struct x86_cpu *c = f->cpu[0];
	uint64_t avail, before;

	fix_long(f, c, 0, 0);
	set_pte(f, 10, FIX_IO_AT | RW_U);
	set_pte(f, 11, FIX_ROM_AT | RW_U);
	assert_ok(c, x86_st32(c, 0xa010, 0x99));
	assert_int_equal(f->io_writes, 1);
	assert_int_equal(f->io_regs[2], 0x99);
	assert_ok(c, assert_int_equal(x86_ld32(c, 0xa010), 0x99));
	assert_int_equal(f->io_reads, 1);
	assert_ok(c, assert_null(x86_rmw_ptr(c, 0xa010, 4)));
	assert_ok(c, assert_null(x86_span(c, 0xa010, X86_READ, &avail)));
	/* ROM reads directly and swallows writes. */
	mem_ram_base(f->mem)[f->rom_off + 5] = 0x42;
	assert_ok(c, assert_int_equal(x86_ld8(c, 0xb005), 0x42));
	assert_ok(c, x86_st8(c, 0xb005, 0));
	assert_ok(c, assert_int_equal(x86_ld8(c, 0xb005), 0x42));
	assert_ok(c, assert_non_null(x86_span(c, 0xb005, X86_READ, &avail)));
	assert_int_equal(avail, 0xffb);
	assert_ok(c, assert_null(x86_span(c, 0xb005, X86_WRITE, &avail)));
	/* The local APIC's page, until it goes elsewhere. */
	set_pte(f, 12, 0xfee00000 | RW_U);
	assert_ok(c, assert_int_equal(x86_ld32(c, 0xc020), 0x5a000020));
	assert_ok(c, x86_st32(c, 0xc0b0, 7));
	assert_int_equal(f->apic_off, 0xb0);
	assert_int_equal(f->apic_val, 7);
	assert_int_equal(f->apic_size, 4);
	assert_ok(c, assert_true(x86_ld64(c, 0xc020) == 0x5a0000245a000020));
	before = f->apic_reads;
	assert_ok(c, x86_wrmsr(c, 0x1b, 0xfee00000 | BIT(8)));
	assert_ok(c, assert_int_equal(x86_ld32(c, 0xc020), 0xffffffff));
	assert_int_equal(f->apic_reads, before);
}

static void code_pages(void **state)
{
	struct fixture *f = *state;
	struct x86_cpu *c = f->cpu[0];
	struct mem_page *p = &mem_pages(f->mem)[(f->ram_off + 0x70000) / PAGE_SIZE];
	uint32_t gen;

	fix_long(f, c, 0, 0);
	set_pte(f, 13, 0x70000 | RW_U);
	assert_ok(c, x86_st8(c, 0xd000, 1));
	assert_ok(c, assert_non_null(x86_rmw_ptr(c, 0xd000, 8)));
	gen = mem_code_mark(f->mem, f->ram_off + 0x70040, 64);
	/* The fast translation is gone; a store elsewhere in the page changes nothing. */
	assert_ok(c, assert_null(x86_rmw_ptr(c, 0xd000, 8)));
	assert_ok(c, x86_st8(c, 0xd000, 2));
	assert_int_equal(mem_code_gen(p), gen);
	assert_false(c->code_written);
	assert_ok(c, x86_st8(c, 0xd050, 3));
	assert_int_equal(mem_code_gen(p), gen + 1);
	assert_true(c->code_written);
	/* No code is left there: fast again. */
	assert_ok(c, assert_non_null(x86_rmw_ptr(c, 0xd000, 8)));
	assert_int_equal(mem_read(f->mem, GPA(0x70050), 1), 3);
}

static void dirty_log(void **state)
{
	struct fixture *f = *state;
	struct x86_cpu *c = f->cpu[0];
	uint64_t n = mem_ram_size(f->mem) / PAGE_SIZE;
	uint64_t *bits = xcalloc((n + 63) / 64, 8);
	uint64_t page = (f->ram_off + 0x70000) / PAGE_SIZE;

	fix_long(f, c, 0, 0);
	set_pte(f, 13, 0x70000 | RW_U);
	assert_ok(c, x86_st8(c, 0xd000, 1));
	mem_dirty_start(f->mem);
	mem_dirty_take(f->mem, bits);
	assert_int_equal(mem_dirty_take(f->mem, bits), 0);
	assert_ok(c, x86_st8(c, 0xd000, 2));
	assert_ok(c, x86_st8(c, 0xd001, 2)); /* fast now */
	assert_int_equal(mem_dirty_take(f->mem, bits), 1);
	assert_true(bits[page / 64] & BIT(page % 64));
	assert_ok(c, x86_st8(c, 0xd001, 3));
	assert_int_equal(mem_dirty_take(f->mem, bits), 1);
	free(bits);
}

static void alignment(void **state)
{
	struct fixture *f = *state;
	struct x86_cpu *c = f->cpu[0];

	fix_long(f, c, 0, 0);
	cpl(c, 3);
	assert_ok(c, x86_ld32(c, 0xe001));
	assert_ok(c, x86_st32(c, 0xe001, 0));
	c->s.cr0 |= CR0_AM;
	c->s.rflags |= RFLAGS_AC;
	x86_update_mode(c);
	assert_int_equal(FAULT(c, x86_ld32(c, 0xe001)), X86_AC);
	assert_true(c->exc.has_error);
	assert_int_equal(FAULT(c, x86_st16(c, 0xe001, 0)), X86_AC);
	assert_int_equal(FAULT(c, x86_rmw_ptr(c, 0xe001, 2)), X86_AC);
	assert_ok(c, x86_ld32(c, 0xe004));
	assert_ok(c, x86_ld8(c, 0xe001));
	assert_ok(c, x86_ld_sys(c, 0xe001, 4));
	cpl(c, 0);
	assert_ok(c, x86_ld32(c, 0xe001));
	cpl(c, 3);
	assert_int_equal(FAULT(c, x86_ld32(c, 0xe001)), X86_AC);
	c->s.rflags &= ~RFLAGS_AC;
	x86_update_mode(c);
	assert_ok(c, x86_ld32(c, 0xe001));
}

static void watchpoints(void **state)
{
	struct fixture *f = *state;
	struct x86_cpu *c = f->cpu[0];
	struct x86_bp bp = { .addr = 0xf100, .len = 3, .kind = X86_BP_READ };
	struct x86_debug d = { .bp = &bp, .n_bp = 1 };

	fix_long(f, c, 0, 0);
	assert_ok(c, x86_st32(c, 0xf010, 1));
	assert_ok(c, x86_set_dr(c, 1, 0xf010));
	assert_ok(c, x86_set_dr(c, 7, BIT(2) | 0xdull << 20)); /* L1, write, 4 bytes */
	assert_true(c->watch_active && c->single);
	assert_ok(c, x86_ld32(c, 0xf010));
	assert_ok(c, x86_st32(c, 0xf014, 1));
	assert_int_equal(c->dr6_hits, 0);
	assert_ok(c, x86_st8(c, 0xf013, 1));
	assert_int_equal(c->dr6_hits, 2);
	c->dr6_hits = 0;
	assert_ok(c, x86_st64(c, 0xf00c, 1));
	assert_int_equal(c->dr6_hits, 2);
	assert_ok(c, x86_set_dr(c, 7, 0));
	assert_false(c->watch_active);
	c->dr6_hits = 0;
	assert_ok(c, x86_st8(c, 0xf013, 1));
	assert_int_equal(c->dr6_hits, 0);
	c->debug = &d;
	x86_debug_changed(c);
	assert_ok(c, x86_st8(c, 0xf101, 1));
	assert_false(d.hit);
	assert_ok(c, x86_ld16(c, 0xf102));
	assert_true(d.hit);
	assert_int_equal(d.hit_addr, 0xf102);
	assert_int_equal(d.hit_kind, X86_BP_READ);
	c->debug = NULL;
	x86_debug_changed(c);
}

static void rom_tables(void **state)
{
	struct fixture *f = *state;
	struct x86_cpu *c = f->cpu[0];
	uint8_t *rom = mem_ram_base(f->mem) + f->rom_off;

	/* A/D bits cannot be set there: the walk works all the same. */
	fix_long(f, c, 0, 0);
	put_le64(rom + 0x1000, 0x5000 | RW_U);
	fix_poke64(f, PD + 8, (FIX_ROM_AT + 0x1000) | RW_U);
	fix_poke64(f, 0x5008, 9);
	assert_ok(c, assert_int_equal(x86_ld64(c, 0x200008), 9));
	assert_ok(c, x86_st64(c, 0x200008, 10));
	assert_int_equal(fix_peek64(f, 0x5008), 10);
	assert_int_equal(get_le64(rom + 0x1000), 0x5000 | RW_U);
}

static void conflicts(void **state)
{
	struct fixture *f = *state;
	struct x86_cpu *c = f->cpu[0];
	uint64_t far = (uint64_t)X86_TLB_SIZE * PAGE_SIZE;

	/* Addresses that share a slot do not mix. */
	fix_long(f, c, 0, 0);
	fix_poke64(f, 0x6000, 1);
	fix_poke64(f, 0x6000 + far, 2);
	for (unsigned i = 0; i < 3; i++) {
		assert_ok(c, assert_int_equal(x86_ld64(c, 0x6000), 1));
		assert_ok(c, assert_int_equal(x86_ld64(c, 0x6000 + far), 2));
	}
	assert_ok(c, x86_invlpg(c, 0x6000));
	assert_ok(c, assert_int_equal(x86_ld64(c, 0x6000 + far), 2));
}

/* INVLPG of data leaves an engine's caches of code alone, of code it does not, large pages
 * included. */
static void code_moves(void **state)
{
	struct fixture *f = *state;
	struct x86_cpu *c = f->cpu[0];
	uint64_t off;

	fix_long(f, c, 0, 0);
	assert_ok(c, x86_fetch_page(c, 0x5123, &off));
	assert_ok(c, x86_fetch_byte(c, 0x6fff));
	assert_ok(c, x86_fetch_page(c, 0x612345, &off));
	assert_ok(c, x86_ld8(c, 0x7000));
	c->tlb_changed = false;
	x86_invlpg(c, 0x7000);
	assert_false(c->tlb_changed);
	x86_invlpg(c, 0x5ff0);
	assert_true(c->tlb_changed);
	assert_ok(c, x86_fetch_page(c, 0x612345, &off));
	c->tlb_changed = false;
	x86_invlpg(c, 0x601000); /* another address of the same 2 MiB */
	assert_true(c->tlb_changed);
	c->tlb_changed = false;
	assert_ok(c, x86_fetch_byte(c, 0x6000));
	x86_invlpg(c, 0x6000);
	assert_true(c->tlb_changed);
	c->tlb_changed = false;
	assert_ok(c, x86_set_cr(c, 3, PML4));
	assert_true(c->tlb_changed);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(no_paging), T(smap_without_paging), T(four_level), T(error_codes),
		T(no_execute), T(smep_smap),
		T(reserved_bits), T(large_pages), T(global_pages), T(pcid), T(paging_32),
		T(paging_pae), T(crossing), T(registers), T(code_pages), T(dirty_log),
		T(alignment), T(watchpoints), T(rom_tables), T(conflicts),
		T(code_moves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
