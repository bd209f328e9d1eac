/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which pages of code cannot be run directly (direct.c): those with an instruction that user mode
 * may execute, that the host does not trap, and that shows the host and not the guest.
 *
 * The bytes of one occur in every second page by chance, mostly in constants, so it has to be found
 * out whether an instruction begins there.  Whoever decodes x86 code from a wrong place on is at
 * a right one after a few instructions, and nearly always the same; so it is decoded from a few
 * places ahead, and the bytes count if most of these runs meet them as an instruction.  Code
 * that jumps into the middle of instructions can hide one: it sees what the host says then.
 */
#include <string.h>
#include "engine/dbt/dbt_int.h"

#define AHEAD 96 /* bytes, that runs of decoding begin before what is looked at */
#define BEHIND 16 /* bytes of the next page, that an instruction may go on in */
#define RUNS 5 /* from that many places in a row */

/* Of the opcodes 0F 00, 01, AE, C7, with that ModRM, behind F3. */
static unsigned by_modrm(uint8_t opcode, uint8_t modrm, bool f3)
{
	unsigned mod = modrm >> 6, reg = modrm >> 3 & 7;

	switch (opcode) {
	case 0x00: /* SLDT, STR; VERR, VERW */
		return reg < 2 ? DIRECT_UMIP : reg == 4 || reg == 5 ? DIRECT_OTHER : 0;
	case 0x01: /* SGDT, SIDT, SMSW; hypercalls and others, but XGETBV, XEND, XTEST, RDTSCP */
		if (reg == 4 || (mod != 3 && reg < 2))
			return DIRECT_UMIP;
		return mod == 3 && modrm != 0xd0 && modrm != 0xd5 && modrm != 0xd6 && modrm != 0xf9
			       ? DIRECT_OTHER
			       : 0;
	case 0xae: /* XSAVE, XRSTOR, XSAVEOPT: of more state than the guest knows */
		return mod != 3 && reg >= 4 && reg <= 6 ? DIRECT_OTHER : 0;
	default: /* XSAVEC; RDPID, which without its prefix is RDSEED */
		return (mod == 3 ? reg == 7 && f3 : reg == 4) ? DIRECT_OTHER : 0;
	}
}

/* Does F3 lead, but for a REX prefix, to what is at n? */
static bool after_f3(const uint8_t *code, size_t n)
{
	if (n && (code[n - 1] & 0xf0) == 0x40)
		n--;
	return n && code[n - 1] == 0xf3;
}

/* What the bytes at n are, from an 0F on. */
static unsigned suspect(const uint8_t *code, size_t n, size_t size)
{
	const uint8_t *p = code + n;
	size_t left = size - n;

	if (p[0] != 0x0f || left < 2)
		return 0;
	switch (p[1]) {
	case 0x02: /* LAR */
	case 0x03: /* LSL */
	case 0x34: /* SYSENTER: where it came from is lost */
		return DIRECT_OTHER;
	case 0xa2:
		return DIRECT_CPUID;
	case 0x00:
	case 0x01:
	case 0xae:
	case 0xc7:
		return left < 3 ? 0 : by_modrm(p[1], p[2], after_f3(code, n));
	default:
		return 0;
	}
}

static bool is_prefix(uint8_t b)
{
	return b == 0x66 || b == 0x67 || b == 0xf2 || b == 0xf3 || b == 0xf0 || b == 0x2e ||
	       b == 0x36 || b == 0x3e || b == 0x26 || b == 0x64 || b == 0x65 || (b & 0xf0) == 0x40;
}

/* Are the bytes before `to` prefixes of an instruction that begins at `from`? */
static bool only_prefixes(const uint8_t *code, size_t from, size_t to)
{
	while (from < to && is_prefix(code[from]))
		from++;
	return from == to;
}

static size_t length(const ZydisDecoder *z, const uint8_t *code, size_t at, size_t size)
{
	ZydisDecodedInstruction i;

	if (!ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(z, NULL, code + at, size - at, &i)))
		return 1;
	return i.length;
}

/* Does an instruction have its opcode at `at`?  Most runs say so. */
static bool is_opcode(const ZydisDecoder *z, const uint8_t *code, size_t at, size_t size)
{
	size_t begin = at > AHEAD ? at - AHEAD : 0;
	/* Where runs have been, and whether that led to it: the next one goes the same way. */
	enum { NEW, ON_PATH, MISSES, HITS } been[AHEAD + 1] = {NEW};
	unsigned runs = 0, found = 0;

	for (size_t run = begin; run < begin + RUNS && run <= at; run++, runs++) {
		bool hit = false;
		size_t p = run, end;

		for (; p <= at && !hit && !been[p - begin]; p += end - p) {
			end = p + length(z, code, p, size);
			been[p - begin] = ON_PATH;
			hit = end > at && only_prefixes(code, p, at);
		}
		hit |= p <= at && been[p - begin] == HITS;
		for (end = 0; end <= at - begin; end++)
			if (been[end] == ON_PATH)
				been[end] = hit ? HITS : MISSES;
		found += hit;
	}
	return 2 * found > runs;
}

unsigned direct_code(const uint8_t *before, const uint8_t *page, const uint8_t *behind)
{
	uint8_t code[AHEAD + PAGE_SIZE + BEHIND];
	size_t begin = before ? AHEAD : 0, end = begin + PAGE_SIZE, size = end;
	unsigned all = 0;
	ZydisDecoder z;

	fpu_claim();
	if (before)
		memcpy(code, before + PAGE_SIZE - AHEAD, AHEAD);
	memcpy(code + begin, page, PAGE_SIZE);
	if (behind) {
		memcpy(code + end, behind, BEHIND);
		size += BEHIND;
	}
	ZydisDecoderInit(&z, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	ZydisDecoderEnableMode(&z, ZYDIS_DECODER_MODE_MINIMAL, ZYAN_TRUE);
	for (size_t n = begin; n < end && !(all & DIRECT_OTHER); n++) {
		unsigned one = suspect(code, n, size);

		if (one & ~all && is_opcode(&z, code, n, size))
			all |= one;
	}
	return all;
}
