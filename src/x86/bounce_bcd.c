/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decimal adjustment: AAA, AAS, AAM, AAD, DAA, DAS.  They do not exist in 64-bit mode, where stubs
 * run, so they are written out (SDM 2 of each).  Flags that the manual leaves undefined are those
 * of current processors.
 */
#include "x86/bounce_int.h"

struct bcd_flags {
	bool cf, af;
};

static struct bcd_flags flags_get(const struct x86_cpu *c)
{
	return (struct bcd_flags){.cf = c->fl >> 8 & 1, .af = c->fl >> 12 & 1};
}

/* CF and AF as given, SF ZF PF of al, OF clear. */
static void flags_put(struct x86_cpu *c, struct bcd_flags f, uint8_t al)
{
	unsigned v = 2;

	v |= f.cf | (unsigned)f.af << 4;
	v |= al & RFLAGS_SF;
	v |= al ? 0 : (unsigned)RFLAGS_ZF;
	v |= __builtin_parity(al) ? 0 : (unsigned)RFLAGS_PF;
	c->fl = (uint16_t)(v << 8);
}

static void put_ax(struct x86_cpu *c, uint16_t ax)
{
	c->s.gpr[X86_RAX] = (c->s.gpr[X86_RAX] & ~UINT64_C(0xffff)) | ax;
}

static void exec_ascii_adjust(struct x86_cpu *c, const struct bounce *b, uint64_t lin, uint64_t ea)
{
	bool sub = bounce_stub_of(b)->key.mnemonic == ZYDIS_MNEMONIC_AAS;
	uint16_t ax = (uint16_t)c->s.gpr[X86_RAX];
	struct bcd_flags f = flags_get(c);

	f.af = (ax & 0xf) > 9 || f.af;
	f.cf = f.af;
	if (f.af)
		ax = (uint16_t)(sub ? ax - 0x106 : ax + 0x106);
	ax &= 0xff0f;
	put_ax(c, ax);
	flags_put(c, f, (uint8_t)ax);
}

static void exec_decimal_adjust(struct x86_cpu *c, const struct bounce *b, uint64_t lin,
				uint64_t ea)
{
	bool sub = bounce_stub_of(b)->key.mnemonic == ZYDIS_MNEMONIC_DAS;
	uint16_t ax = (uint16_t)c->s.gpr[X86_RAX];
	uint8_t al = (uint8_t)ax, old = al;
	struct bcd_flags f = flags_get(c);
	bool old_cf = f.cf;

	if ((al & 0xf) > 9 || f.af) {
		f.cf = old_cf || (sub ? al < 6 : al > 0xff - 6);
		al = (uint8_t)(sub ? al - 6 : al + 6);
		f.af = true;
	}
	if (old > 0x99 || old_cf) {
		al = (uint8_t)(sub ? al - 0x60 : al + 0x60);
		f.cf = true;
	} else if (!sub) {
		f.cf = false;
	}
	put_ax(c, (uint16_t)((ax & 0xff00) | al));
	flags_put(c, f, al);
}

static void exec_aam(struct x86_cpu *c, const struct bounce *b, uint64_t lin, uint64_t ea)
{
	uint8_t al = (uint8_t)c->s.gpr[X86_RAX], base = bounce_stub_of(b)->key.imm[0];

	if (!base)
		x86_raise(c, X86_DE);
	put_ax(c, (uint16_t)((al / base) << 8 | (al % base)));
	flags_put(c, (struct bcd_flags){0}, al % base);
}

/* The flags are those of the 8-bit addition. */
static void exec_aad(struct x86_cpu *c, const struct bounce *b, uint64_t lin, uint64_t ea)
{
	uint16_t ax = (uint16_t)c->s.gpr[X86_RAX];
	uint8_t al = (uint8_t)ax, add = (uint8_t)((ax >> 8) * bounce_stub_of(b)->key.imm[0]);
	uint8_t sum = (uint8_t)(al + add);
	struct bcd_flags f = {.cf = sum < al, .af = (al ^ add ^ sum) & 0x10};

	put_ax(c, sum);
	flags_put(c, f, sum);
	c->fl |= ((al ^ sum) & (add ^ sum)) >> 7; /* OF */
}

bool bounce_bcd_prepare(struct bounce_stub *s, const struct x86_decoded *d)
{
	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_AAA:
	case ZYDIS_MNEMONIC_AAS:
		s->pub.exec = exec_ascii_adjust;
		return true;
	case ZYDIS_MNEMONIC_DAA:
	case ZYDIS_MNEMONIC_DAS:
		s->pub.exec = exec_decimal_adjust;
		return true;
	case ZYDIS_MNEMONIC_AAM:
		s->pub.exec = exec_aam;
		return true;
	case ZYDIS_MNEMONIC_AAD:
		s->pub.exec = exec_aad;
		return true;
	default:
		return false;
	}
}
