/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random blocks: 2 to 16 instructions on one state, with short jumps forward, calls, indirect jumps
 * and a counted loop among them.
 *
 * Each instruction is made by gen.c as if it were alone, in the state that it would find.  A
 * register that its operands want otherwise gets that value at the start of the block, when no
 * instruction before has touched it, or else by a MOV.  What a register holds after it was written
 * is not computed: it is unknown, and addresses that would depend on it are replaced, but for a
 * few.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "base/base.h"
#include "insn.h"
#include "x86/cpu.h"

#define ALL_FLAGS RFLAGS_ARITH
#define CODE_ROOM 1536

struct block_forms {
	/* [mode32][0]: general registers only, which engines translate; [1]: all others. */
	const struct form **f[2][2];
	unsigned n[2][2];
};

struct maker {
	struct gen g;
	struct icase one; /* the instruction in work; one.in: the state before it */
	struct block *b;
	const struct block_forms *bf;
	uint8_t code[CODE_ROOM];
	unsigned len, forms; /* bytes, and instructions other than MOVs and jumps */
	uint16_t used; /* registers that code so far reads or writes */
	uint16_t known; /* registers whose value is one.in's */
	int counter; /* of the loop around, or -1 */
	uint64_t loose; /* flags that are undefined here */
};

/* --- forms --- */

static bool integer_form(const struct form *f)
{
	switch (f->group) {
	case ZYDIS_ISA_SET_I86:
	case ZYDIS_ISA_SET_I186:
	case ZYDIS_ISA_SET_I386:
	case ZYDIS_ISA_SET_I486REAL:
	case ZYDIS_ISA_SET_PENTIUMREAL:
	case ZYDIS_ISA_SET_CMOV:
	case ZYDIS_ISA_SET_LAHF:
	case ZYDIS_ISA_SET_LONGMODE:
	case ZYDIS_ISA_SET_POPCNT:
	case ZYDIS_ISA_SET_LZCNT:
	case ZYDIS_ISA_SET_BMI1:
	case ZYDIS_ISA_SET_BMI2:
	case ZYDIS_ISA_SET_ADOX_ADCX:
	case ZYDIS_ISA_SET_MOVBE:
	case ZYDIS_ISA_SET_FAT_NOP:
	case ZYDIS_ISA_SET_CMPXCHG16B:
		return true;
	default:
		return false;
	}
}

/* Which components are in use, and how wide the pointers of x87 are, is the processor's choice. */
static bool state_image(const struct form *f)
{
	return f->group == ZYDIS_ISA_SET_FXSAVE || f->group == ZYDIS_ISA_SET_FXSAVE64 ||
	       f->group == ZYDIS_ISA_SET_XSAVE || f->group == ZYDIS_ISA_SET_XSAVEC ||
	       f->group == ZYDIS_ISA_SET_XSAVEOPT;
}

struct block_forms *block_forms_make(const struct forms *fs)
{
	struct block_forms *bf = xzalloc(sizeof(*bf));
	const char *why;

	for (unsigned i = 0; i < 4; i++)
		bf->f[i / 2][i % 2] = xcalloc(fs->n, sizeof(*bf->f[0][0]));
	for (unsigned i = 0; i < fs->n; i++) {
		const struct form *f = &fs->f[i];
		unsigned other = !integer_form(f);

		if (skip_form(f, &why) == SKIP_NO && !state_image(f))
			bf->f[f->mode32][other][bf->n[f->mode32][other]++] = f;
	}
	return bf;
}

void block_forms_free(struct block_forms *bf)
{
	for (unsigned i = 0; i < 4; i++)
		free(bf->f[i / 2][i % 2]);
	free(bf);
}

/* --- what an instruction does to registers and flags --- */

static uint16_t gpr_bit(ZydisRegister r)
{
	ZydisRegister whole = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, r);

	return ZydisRegisterGetClass(whole) == ZYDIS_REGCLASS_GPR64
		       ? (uint16_t)(1u << ZydisRegisterGetId(whole))
		       : 0;
}

static void gpr_use(const struct x86_decoded *d, uint16_t *address, uint16_t *used,
		    uint16_t *writes)
{
	*address = *used = *writes = 0;
	for (unsigned i = 0; i < d->insn.operand_count; i++) {
		const ZydisDecodedOperand *op = &d->op[i];

		if (op->type == ZYDIS_OPERAND_TYPE_MEMORY) {
			*address |= gpr_bit(op->mem.base) | gpr_bit(op->mem.index);
		} else if (op->type == ZYDIS_OPERAND_TYPE_REGISTER) {
			*used |= gpr_bit(op->reg.value);
			if (op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)
				*writes |= gpr_bit(op->reg.value);
		}
	}
	if (d->rep || d->repne)
		*address |= BIT(X86_RCX);
	*used |= *address;
}

static bool by_stack(const struct x86_decoded *d)
{
	ZydisInstructionCategory k = d->insn.meta.category;

	return k == ZYDIS_CATEGORY_PUSH || k == ZYDIS_CATEGORY_POP;
}

/* Flags of one instruction by itself that the manual leaves open. */
static uint64_t own_slack(const struct icase *c, bool *open)
{
	static const struct iresult completed = {.vector = X86_BP};
	struct slack s;

	skip_slack(c, &completed, &s);
	*open = s.mem || s.gpr || s.x87 || s.vector || s.mxcsr || s.rep_upper;
	return s.flags & ALL_FLAGS;
}

/* May it leave flags as they are? */
static bool may_keep_flags(const struct x86_decoded *d)
{
	return d->rep || d->repne || d->insn.meta.category == ZYDIS_CATEGORY_SHIFT ||
	       d->insn.meta.category == ZYDIS_CATEGORY_ROTATE;
}

static void follow_flags(struct maker *m)
{
	const ZydisAccessedFlags *fl = m->one.d.insn.cpu_flags;
	bool open;

	/* Those it leaves undefined may be as they were. */
	if (fl && !may_keep_flags(&m->one.d))
		m->loose &= ~(uint64_t)(fl->modified | fl->set_0 | fl->set_1);
	m->loose |= own_slack(&m->one, &open);
}

/* --- what blocks leave out --- */

static bool changes_flow(const struct x86_decoded *d)
{
	switch (d->insn.meta.category) {
	case ZYDIS_CATEGORY_CALL:
	case ZYDIS_CATEGORY_RET:
	case ZYDIS_CATEGORY_COND_BR:
	case ZYDIS_CATEGORY_UNCOND_BR:
		return true;
	default:
		return false;
	}
}

static bool changes_segments(const struct x86_decoded *d)
{
	for (unsigned i = 0; i < d->insn.operand_count; i++) {
		const ZydisDecodedOperand *op = &d->op[i];

		if (op->type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE &&
		    ZydisRegisterGetClass(op->reg.value) == ZYDIS_REGCLASS_SEGMENT)
			return true;
	}
	return d->insn.meta.isa_set == ZYDIS_ISA_SET_RDWRFSGS;
}

/* Which of their words, or of bytes under a mask, is tried first is not defined; and POPA does not
 * say what it writes. */
static bool many_words(const struct x86_decoded *d)
{
	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_ENTER:
	case ZYDIS_MNEMONIC_PUSHA:
	case ZYDIS_MNEMONIC_PUSHAD:
	case ZYDIS_MNEMONIC_POPA:
	case ZYDIS_MNEMONIC_POPAD:
	case ZYDIS_MNEMONIC_MASKMOVQ:
	case ZYDIS_MNEMONIC_MASKMOVDQU:
	case ZYDIS_MNEMONIC_VMASKMOVDQU:
		return true;
	default:
		return false;
	}
}

static bool always_faults(const struct x86_decoded *d)
{
	return d->insn.attributes & ZYDIS_ATTRIB_IS_PRIVILEGED ||
	       d->insn.meta.category == ZYDIS_CATEGORY_INTERRUPT ||
	       d->insn.meta.category == ZYDIS_CATEGORY_IO ||
	       d->insn.meta.category == ZYDIS_CATEGORY_IOSTRINGOP;
}

static bool fits(struct maker *m)
{
	const struct x86_decoded *d = &m->one.d;
	const ZydisAccessedFlags *fl = d->insn.cpu_flags;
	uint16_t address, used, writes;
	bool open;

	own_slack(&m->one, &open);
	gpr_use(d, &address, &used, &writes);
	return !open && !changes_flow(d) && !changes_segments(d) && d->addrsize != 2 &&
	       !many_words(d) && !(fl && fl->tested & m->loose) &&
	       !(m->counter >= 0 && writes & 1u << m->counter) &&
	       !(always_faults(d) && rng_below(&m->g.r, 8));
}

/* --- code --- */

static void put_code(struct maker *m, const void *bytes, unsigned len)
{
	memcpy(m->code + m->len, bytes, len);
	m->len += len;
}

static void put_int(struct maker *m, uint64_t v, unsigned len)
{
	uint8_t b[8];

	put_le64(b, v);
	put_code(m, b, len);
}

/* Note where an instruction starts, and which flags are loose there. */
static void mark(struct maker *m)
{
	m->b->insn[m->b->n].at = (uint16_t)m->len;
	m->b->insn[m->b->n++].loose = m->loose;
}

static void put_mov(struct maker *m, unsigned r, uint64_t v)
{
	bool wide = v >> 32 && !m->one.mode32;

	mark(m);
	if (wide || r > 7)
		put_int(m, 0x40 | (wide ? 8 : 0) | r >> 3, 1);
	put_int(m, 0xb8 | (r & 7), 1);
	put_int(m, v, wide ? 8 : 4);
}

static uint64_t here(const struct maker *m)
{
	return m->b->c.in.rip + m->len;
}

/* --- one instruction --- */

/* Registers that have to be given a value before it. */
static uint16_t wanted(struct maker *m, const uint64_t before[16])
{
	uint16_t address, used, writes, want = 0;

	gpr_use(&m->one.d, &address, &used, &writes);
	for (unsigned r = 0; r < 16; r++) {
		bool must = m->one.d.lock || rng_below(&m->g.r, 20) != 0;

		if (m->one.in.gpr[r] != before[r] ||
		    (address >> r & 1 && !(m->known >> r & 1) && must))
			want |= (uint16_t)(1u << r);
	}
	return want;
}

static void give_values(struct maker *m, uint16_t want)
{
	for (unsigned r = 0; r < 16; r++) {
		if (!(want >> r & 1))
			continue;
		if (m->used >> r & 1)
			put_mov(m, r, m->one.in.gpr[r]);
		else
			m->b->c.in.gpr[r] = m->one.in.gpr[r];
		m->known |= (uint16_t)(1u << r);
	}
	m->used |= want;
}

static void put_patch(struct maker *m)
{
	const struct icase *c = &m->one;

	for (unsigned p = 0; p < PG_COUNT; p++)
		for (unsigned i = 0; i < c->patch_len; i++)
			if (!arena_pages[p].exec && c->patch_va + i - arena_pages[p].va < 4096)
				m->b->mem[p][c->patch_va + i - arena_pages[p].va] = c->patch[i];
}

static const struct form *pick_form(struct maker *m)
{
	unsigned other = rng_below(&m->g.r, 3) == 0, mode32 = m->one.mode32;

	return m->bf->f[mode32][other][rng_below(&m->g.r, m->bf->n[mode32][other])];
}

/* False: the dice found nothing that fits. */
static bool put_insn(struct maker *m)
{
	for (unsigned attempt = 0; attempt < 50; attempt++) {
		struct istate before = m->one.in;
		uint16_t address, used, writes, want;
		bool vectors;

		m->one.in.rip = here(m);
		if (!gen_insn(&m->g, pick_form(m)) || !fits(m)) {
			m->one.in = before;
			continue;
		}
		want = wanted(m, before.gpr);
		gpr_use(&m->one.d, &address, &used, &writes);
		vectors = memcmp(&before.x, &m->one.in.x, sizeof(before.x));
		/* No MOV sets vectors, or leaves an address relative to RIP as it is. */
		if (vectors || (m->counter >= 0 && want & 1u << m->counter) ||
		    (want & m->used && m->one.d.insn.attributes & ZYDIS_ATTRIB_IS_RELATIVE)) {
			m->one.in = before;
			continue;
		}
		give_values(m, want);
		put_patch(m);
		mark(m);
		put_code(m, m->one.bytes, m->one.len);
		m->forms++;
		follow_flags(m);
		m->used |= used;
		m->known &= (uint16_t) ~(by_stack(&m->one.d) ? writes & ~BIT(X86_RSP) : writes);
		return true;
	}
	return false;
}

/* --- jumps --- */

/* A condition that no loose flag decides: those that test OF are 0, 1 and 12 to 15. */
static unsigned pick_condition(struct maker *m)
{
	unsigned cc = rng_below(&m->g.r, 16);

	if (m->loose & RFLAGS_OF && (cc < 2 || cc >= 12))
		cc = 2 + rng_below(&m->g.r, 8);
	return cc;
}

static void set_rel32(struct maker *m, unsigned end, unsigned target)
{
	put_le32(m->code + end - 4, target - end);
}

/* What is true on the way that jumps and on the one that does not. */
static void join(struct maker *m, uint16_t known, const struct istate *in, uint64_t loose)
{
	for (unsigned r = 0; r < 16; r++)
		if (in->gpr[r] != m->one.in.gpr[r])
			known &= (uint16_t) ~(1u << r);
	m->known &= known;
	m->loose |= loose;
}

static void put_skip(struct maker *m)
{
	struct istate in = m->one.in;
	uint16_t known = m->known;
	uint64_t loose = m->loose;
	unsigned end, n = 1 + rng_below(&m->g.r, 3);

	mark(m);
	if (n == 1 &&
	    rng_below(&m->g.r, 2)) { /* the short form: room for an instruction and MOVs */
		put_int(m, 0x70 | pick_condition(m), 1);
		put_int(m, 0, 1);
		end = m->len;
		put_insn(m);
		m->code[end - 1] = (uint8_t)(m->len - end);
	} else {
		put_int(m, 0x800f | pick_condition(m) << 8, 2);
		put_int(m, 0, 4);
		end = m->len;
		while (n--)
			put_insn(m);
		set_rel32(m, end, m->len);
	}
	join(m, known, &in, loose);
}

/* CALL over a JMP: the routine is one instruction and RET. */
static void put_call(struct maker *m)
{
	unsigned call, jump;

	if (!(m->known >> X86_RSP & 1)) /* the return address must come back */
		return;
	m->used |= BIT(X86_RSP);
	mark(m);
	put_int(m, 0xe8, 1);
	put_int(m, 5, 4);
	call = m->len;
	mark(m);
	put_int(m, 0xe9, 1);
	put_int(m, 0, 4);
	jump = m->len;
	set_rel32(m, call, m->len);
	mark(m);
	put_int(m, 0x90, 1);
	mark(m);
	if (rng_below(&m->g.r, 4)) {
		put_int(m, 0xc3, 1);
	} else {
		put_int(m, 0xc2, 1);
		put_int(m, 8 * rng_below(&m->g.r, 4), 2);
	}
	set_rel32(m, jump, m->len);
}

/* MOV $1f, %reg; JMP *%reg; some INT3; 1: */
static void put_indirect(struct maker *m)
{
	unsigned r = rng_below(&m->g.r, 8), at;

	if (r == X86_RSP || (int)r == m->counter)
		return;
	m->used |= (uint16_t)(1u << r);
	put_mov(m, r, 0);
	at = m->len;
	mark(m);
	put_int(m, 0xe0ff | r << 8, 2);
	put_int(m, 0xcccccccc, rng_below(&m->g.r, 4));
	m->one.in.gpr[r] = here(m);
	m->known |= (uint16_t)(1u << r);
	put_le32(m->code + at - 4, (uint32_t)here(m));
}

/* MOV $n, %counter; 1: some instructions; DEC %counter; JNZ 1b */
static void put_loop(struct maker *m)
{
	unsigned body = 1 + rng_below(&m->g.r, 4), top;
	bool wide = !m->one.mode32;

	m->counter = wide ? X86_R15 : X86_RBP;
	m->used |= (uint16_t)(1u << m->counter);
	put_mov(m, (unsigned)m->counter, 1 + rng_below(&m->g.r, 9));
	m->known &= (uint16_t) ~(1u << m->counter);
	top = m->len;
	while (body--)
		put_insn(m);
	mark(m);
	put_int(m, wide ? 0xcfff41 : 0x4d, wide ? 3 : 1);
	m->loose = 0;
	mark(m);
	put_int(m, 0x850f, 2);
	put_int(m, 0, 4);
	set_rel32(m, m->len, top);
	m->counter = -1;
}

static void put_something(struct maker *m, unsigned loop_odds)
{
	switch (rng_below(&m->g.r, 16)) {
	case 0:
	case 1:
		put_skip(m);
		break;
	case 2:
		put_call(m);
		break;
	case 3:
		put_indirect(m);
		break;
	default:
		if (!rng_below(&m->g.r, loop_odds))
			put_loop(m);
		else
			put_insn(m);
	}
}

/* --- the block --- */

/* Into the pages: often across two of them, at times off the end of the last. */
static void place_code(struct maker *m)
{
	for (unsigned i = 0; i < m->len; i++) {
		uint64_t off = here(m) - m->len + i - CODE_BASE;

		if (off < 0x2000)
			m->b->mem[off < 0x1000 ? PG_CODE0 : PG_CODE1][off & 0xfff] = m->code[i];
	}
}

static uint64_t pick_start(struct rng *r)
{
	switch (rng_below(r, 16)) {
	case 0:
		return CODE_BASE + 0x2000 - rng_below(r, 100);
	case 1:
	case 2:
	case 3:
	case 4:
		return CODE_BASE + 0x1000 - rng_below(r, 100);
	default:
		return CODE_BASE + 0x100 + rng_below(r, 64);
	}
}

void block_make(struct block *b, const struct block_forms *bf, uint64_t seed,
		const struct x86_cpuid *cpuid, const uint8_t (*template)[4096])
{
	struct maker *m = xzalloc(sizeof(*m));
	unsigned want;

	m->g = (struct gen){.r = {seed}, .c = &m->one, .cpuid = cpuid, .block = true};
	m->b = b;
	m->bf = bf;
	m->counter = -1;
	m->known = UINT16_MAX;
	b->n = 0;
	memcpy(b->mem, template, sizeof(b->mem));
	gen_start(&m->g, rng_below(&m->g.r, 5) == 0);
	m->one.in.rflags &= ~RFLAGS_AC;
	b->c = m->one;
	b->c.seed = seed;
	b->c.in.rip = pick_start(&m->g.r);
	b->c.template = (const uint8_t(*)[4096])b->mem;
	want = 2 + rng_below(&m->g.r, 15);
	/* The largest thing put at once is a loop: 4 instructions with up to 4 MOVs each. */
	while (m->forms < want && b->n + 24 < BLOCK_INSNS && m->len + 400 < CODE_ROOM)
		put_something(m, 12);
	mark(m); /* the INT3 behind it */
	b->len = m->len;
	place_code(m);
	free(m);
}

static void decode_at(struct block *b, unsigned at, const struct x86_cpuid *cpuid)
{
	uint8_t bytes[X86_INSN_MAX];

	for (unsigned i = 0; i < sizeof(bytes); i++) {
		uint64_t off = b->c.in.rip + at + i - CODE_BASE;

		bytes[i] = off < 0x2000 ? b->mem[off < 0x1000 ? PG_CODE0 : PG_CODE1][off & 0xfff]
					: 0;
	}
	if (x86_decode(&b->c.d, cpuid, form_mode(&(struct form){.mode32 = b->c.mode32}), bytes,
		       sizeof(bytes)) != X86_DECODE_OK)
		memset(&b->c.d, 0, sizeof(b->c.d));
}

void block_end(struct block *b, const struct iresult *native, const struct x86_cpuid *cpuid)
{
	uint64_t at = native->out.rip - b->c.in.rip - (native->vector == X86_BP);

	b->c.loose = 0;
	memset(&b->c.d, 0, sizeof(b->c.d));
	for (unsigned i = 0; i < b->n; i++) {
		if (b->insn[i].at != at)
			continue;
		b->c.loose = b->insn[i].loose;
		decode_at(b, b->insn[i].at, cpuid);
		return;
	}
}

void block_report(FILE *out, struct block *b, const struct iresult *native,
		  const struct iresult *soft, const struct x86_cpuid *cpuid, const char *what)
{
	static const struct form none = {.name = "block"};
	char text[128];

	b->c.form = &none;
	report_case(out, &b->c, native, soft, what);
	fprintf(out, "  again: --seed-block %#" PRIx64 "\n", b->c.seed);
	for (unsigned i = 0; i + 1 < b->n; i++) {
		uint64_t rip = b->c.in.rip + b->insn[i].at;

		decode_at(b, b->insn[i].at, cpuid);
		fprintf(out, "  %#" PRIx64 "  %-44s", rip,
			x86_disasm(&b->c.d, rip, text, sizeof(text)));
		for (unsigned k = 0; k < b->c.d.len; k++)
			fprintf(out, " %02x", b->c.d.bytes[k]);
		fprintf(out, "\n");
	}
}
