/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What decoding gave, kept by the bytes that it depends on.
 *
 * Prefixes, opcode, ModRM and SIB say all about an instruction of 64-bit code but the values of its
 * displacement and immediates, so what was decoded once is right for others that begin with the
 * same bytes when those values are read anew.  Programs are made of few such beginnings, so that
 * most instructions are found here.
 *
 * Where the immediate names a register, or the bytes are too many for a key, nothing is kept.
 */
#include <stdlib.h>
#include <string.h>
#include "base/base.h"
#include "x86/cpu.h"
#include "x86/decode.h"

#define MEMO_BITS 11
#define KEY_MAX 7 /* bytes; the eighth is their number */

struct memo {
	uint64_t key;
	/* Which operands have the displacement; which have immediate 0, 1. */
	uint16_t disp_ops, imm_ops[2];
	struct x86_decoded d;
};

struct x86_decode_memo {
	const struct x86_cpuid *cpuid;
	struct memo memo[1 << MEMO_BITS];
};

struct x86_decode_memo *x86_decode_memo_create(const struct x86_cpuid *cpuid)
{
	struct x86_decode_memo *m = xzalloc(sizeof(*m));

	m->cpuid = cpuid;
	return m;
}

void x86_decode_memo_free(struct x86_decode_memo *m)
{
	free(m);
}

/* --- keys --- */
static bool is_prefix(uint8_t b)
{
	switch (b) {
	case 0x26:
	case 0x2e:
	case 0x36:
	case 0x3e:
	case 0x64:
	case 0x65:
	case 0x66:
	case 0x67:
	case 0xf0:
	case 0xf2:
	case 0xf3:
		return true;
	default:
		return false;
	}
}

/* Does a ModRM byte follow?  Yes for some that have none: then a key has a byte too many, which
 * makes it no less right. */
static bool has_modrm(uint8_t op)
{
	if (op < 0x40)
		return (op & 7) < 4;
	return op == 0x63 || op == 0x69 || op == 0x6b || (op >= 0x80 && op <= 0x8f) ||
	       (op & 0xfe) == 0xc0 || (op & 0xfe) == 0xc6 || (op >= 0xd0 && op <= 0xd3) ||
	       (op >= 0xd8 && op <= 0xdf) || (op & 0xfe) == 0xf6 || op >= 0xfe;
}

static bool has_modrm_0f(uint8_t op)
{
	return !((op >= 0x80 && op <= 0x8f) || (op >= 0xc8 && op <= 0xcf) ||
		 (op >= 0x30 && op <= 0x37) || op == 0x05 || op == 0x0b || op == 0xa2);
}

/* Bytes up to where displacement and immediates begin; 0: not for a key. */
static unsigned key_length(const uint8_t *b, unsigned len)
{
	unsigned n = 0;
	bool modrm;

	while (n < len && is_prefix(b[n]))
		n++;
	if (n < len && (b[n] & 0xf0) == 0x40)
		n++;
	if (n + 3 >= len || is_prefix(b[n]) || (b[n] & 0xf0) == 0x40)
		return 0; /* REX that is not the last prefix, and so without effect */
	switch (b[n]) {
	case 0x62: /* EVEX */
	case 0x8f: /* XOP */
		return 0;
	case 0xc4:
		n += 3;
		modrm = true;
		break;
	case 0xc5:
		n += 2;
		modrm = true;
		break;
	case 0x0f:
		n++;
		modrm = has_modrm_0f(b[n]);
		if (b[n] == 0x0f) /* 3DNow!: the opcode is behind */
			return 0;
		if (b[n] == 0x38 || b[n] == 0x3a)
			n++;
		break;
	default:
		modrm = has_modrm(b[n]);
	}
	n++;
	if (!modrm)
		return n;
	if (n >= len)
		return 0;
	return n + ((b[n] & 0xc0) != 0xc0 && (b[n] & 7) == 4 ? 2 : 1);
}

static uint64_t key_of(const uint8_t *b, unsigned len)
{
	unsigned n = key_length(b, len);
	uint64_t key = (uint64_t)n << 56;

	if (!n || n > KEY_MAX || n > len)
		return 0;
	for (unsigned k = 0; k < n; k++)
		key |= (uint64_t)b[k] << 8 * k;
	return key;
}

/* --- values --- */
static int64_t read_value(const uint8_t *at, unsigned bits, bool is_signed)
{
	switch (bits) {
	case 8:
		return is_signed ? (int8_t)*at : *at;
	case 16:
		return is_signed ? (int16_t)get_le16(at) : (int64_t)get_le16(at);
	case 32:
		return is_signed ? (int32_t)get_le32(at) : (int64_t)get_le32(at);
	default:
		return (int64_t)get_le64(at);
	}
}

static void set_values(const struct memo *e, struct x86_decoded *d)
{
	if (d->insn.raw.disp.size) {
		int64_t v =
			read_value(d->bytes + d->insn.raw.disp.offset, d->insn.raw.disp.size, true);

		d->insn.raw.disp.value = v;
		for (unsigned ops = e->disp_ops; ops; ops &= ops - 1)
			d->op[__builtin_ctz(ops)].mem.disp.value = v;
	}
	for (unsigned n = 0; n < 2 && d->insn.raw.imm[n].size; n++) {
		int64_t v = read_value(d->bytes + d->insn.raw.imm[n].offset,
				       d->insn.raw.imm[n].size, d->insn.raw.imm[n].is_signed);

		d->insn.raw.imm[n].value.s = v;
		for (unsigned ops = e->imm_ops[n]; ops; ops &= ops - 1)
			d->op[__builtin_ctz(ops)].imm.value.s = v;
	}
}

/* Which operands are made of the values?  False: that cannot be told. */
static bool find_values(struct memo *e)
{
	struct x86_decoded *d = &e->d;

	e->disp_ops = e->imm_ops[0] = e->imm_ops[1] = 0;
	for (unsigned n = 0; n < d->insn.operand_count; n++) {
		const ZydisDecodedOperand *o = &d->op[n];
		unsigned k = 0;

		if (o->encoding == ZYDIS_OPERAND_ENCODING_IS4 ||
		    o->type == ZYDIS_OPERAND_TYPE_POINTER)
			return false;
		if (o->type == ZYDIS_OPERAND_TYPE_MEMORY && d->insn.raw.disp.size &&
		    (int)n == d->mem && o->mem.disp.value == d->insn.raw.disp.value) {
			e->disp_ops |= (uint16_t)(1u << n);
		} else if (o->type == ZYDIS_OPERAND_TYPE_MEMORY &&
			   o->encoding != ZYDIS_OPERAND_ENCODING_NONE && o->mem.disp.value) {
			return false;
		}
		if (o->type != ZYDIS_OPERAND_TYPE_IMMEDIATE ||
		    o->encoding == ZYDIS_OPERAND_ENCODING_NONE)
			continue;
		while (k < 2 &&
		       !(d->insn.raw.imm[k].size && d->insn.raw.imm[k].value.u == o->imm.value.u))
			k++;
		/* Two of the same value could be taken for each other. */
		if (k == 2 || d->insn.raw.imm[1].size)
			return false;
		e->imm_ops[k] |= (uint16_t)(1u << n);
	}
	return true;
}

static void copy(struct x86_decoded *to, const struct x86_decoded *from)
{
	memcpy(&to->insn, &from->insn, sizeof(to->insn));
	memcpy(to->op, from->op, from->insn.operand_count * sizeof(*to->op));
	memcpy(to->bytes, from->bytes, sizeof(*to) - offsetof(struct x86_decoded, bytes));
}

enum x86_decode_status x86_decode_memoized(struct x86_decode_memo *m, struct x86_decoded *d,
					   uint32_t mode, const uint8_t *bytes, size_t len)
{
	uint64_t key = mode & X86_MODE_CS64 ? key_of(bytes, (unsigned)min_u64(len, X86_INSN_MAX))
					    : 0;
	struct memo *e = &m->memo[key * UINT64_C(0x9e3779b97f4a7c15) >> (64 - MEMO_BITS)];
	enum x86_decode_status st;

	if (key && e->key == key && e->d.len <= len) {
		copy(d, &e->d);
		memcpy(d->bytes, bytes, d->len);
		set_values(e, d);
		return X86_DECODE_OK;
	}
	st = x86_decode(d, m->cpuid, mode, bytes, len);
	if (!key || st != X86_DECODE_OK)
		return st;
	e->key = 0;
	e->d = *d;
	if (find_values(e))
		e->key = key;
	return st;
}
