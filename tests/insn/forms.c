/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Enumerate instruction forms: walk the encoding space (prefix, REX.W, map, opcode, ModRM; VEX map,
 * pp, L, W) through the decoder and keep one entry for each distinct mnemonic, operand list and
 * opcode that the guest's CPUID has.  x87 and the 0F 01 group use the whole ModRM byte of register
 * forms.
 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include "base/base.h"
#include "insn.h"
#include "x86/cpu.h"

#define FORM_MAX 16384

struct walk {
	struct forms *fs;
	const struct x86_cpuid *cpuid;
	uint32_t hash[FORM_MAX * 2];
};

static void append(char *out, size_t size, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static void append(char *out, size_t size, const char *fmt, ...)
{
	size_t n = strlen(out);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(out + n, size - n, fmt, ap);
	va_end(ap);
}

static void name_operand(char *out, size_t size, const ZydisDecodedOperand *op)
{
	switch (op->type) {
	case ZYDIS_OPERAND_TYPE_REGISTER:
		if (op->encoding == ZYDIS_OPERAND_ENCODING_NONE)
			append(out, size, "%s", ZydisRegisterGetString(op->reg.value));
		else
			append(out, size, "r%u_%u", op->size,
			       (unsigned)ZydisRegisterGetClass(op->reg.value));
		break;
	case ZYDIS_OPERAND_TYPE_MEMORY:
		append(out, size, "m%u%s", op->size,
		       op->mem.type == ZYDIS_MEMOP_TYPE_VSIB ? "v" : "");
		break;
	case ZYDIS_OPERAND_TYPE_IMMEDIATE:
		append(out, size, "i%u", op->size);
		break;
	case ZYDIS_OPERAND_TYPE_POINTER:
		append(out, size, "far%u", op->size);
		break;
	default:
		break;
	}
}

/* Part of the opcode or a repetition: operand sizes show in the operands. */
static bool prefix_matters(const struct form *f, const struct x86_decoded *d)
{
	const ZydisDecodedInstructionRaw *raw = &d->insn.raw;

	if (d->insn.attributes &
	    (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE))
		return true;
	for (unsigned i = 0; i < raw->prefix_count; i++)
		if (raw->prefixes[i].value == f->prefix && f->prefix &&
		    raw->prefixes[i].type == ZYDIS_PREFIX_TYPE_MANDATORY)
			return true;
	return false;
}

static void name_form(struct form *f, const struct x86_decoded *d)
{
	static const char *const maps[] = {"", "0f", "0f38", "0f3a"};
	static const char *const pps[] = {"", "66", "f3", "f2"};
	char *out = f->name;
	size_t size = sizeof(f->name);

	snprintf(out, size, "%s%s:", f->mode32 ? "32:" : "",
		 ZydisMnemonicGetString((ZydisMnemonic)f->mnemonic));
	for (unsigned i = 0; i < d->insn.operand_count; i++) {
		if (i >= d->insn.operand_count_visible &&
		    d->op[i].type != ZYDIS_OPERAND_TYPE_MEMORY)
			continue;
		if (i)
			append(out, size, ",");
		name_operand(out, size, &d->op[i]);
	}
	if (f->space == SPACE_VEX)
		append(out, size, ":vex%u.%s.%s.%02x", f->l ? 256 : 128, pps[f->prefix & 3],
		       maps[f->map], f->opcode);
	else if (prefix_matters(f, d))
		append(out, size, ":%02x.%s.%02x", f->prefix, maps[f->map], f->opcode);
	else
		append(out, size, ":%s.%02x", maps[f->map], f->opcode);
	if (f->reg >= 0)
		append(out, size, "/%d", f->reg);
	if (f->rm >= 0)
		append(out, size, ".%d", f->rm);
}

static uint32_t name_hash(const char *s)
{
	uint32_t h = 2166136261u;

	while (*s)
		h = (h ^ (uint8_t)*s++) * 16777619u;
	return h;
}

static void add_form(struct walk *w, const struct form *f)
{
	uint32_t h = name_hash(f->name);

	for (;; h++) {
		uint32_t *slot = &w->hash[h % (FORM_MAX * 2)];

		if (*slot && !strcmp(w->fs->f[*slot - 1].name, f->name))
			return;
		if (*slot)
			continue;
		if (w->fs->n == FORM_MAX) {
			fprintf(stderr, "too many forms\n");
			exit(1);
		}
		w->fs->f[w->fs->n] = *f;
		*slot = ++w->fs->n;
		return;
	}
}

static bool operand_encoded(const struct x86_decoded *d, ZydisOperandEncoding e)
{
	for (unsigned i = 0; i < d->insn.operand_count; i++)
		if (d->op[i].encoding == e)
			return true;
	return false;
}

uint32_t form_mode(const struct form *f)
{
	return X86_MODE_PE | X86_MODE_LMA | X86_MODE_PG | X86_MODE_CPL3 | X86_MODE_FLAT |
	       (f->mode32 ? X86_MODE_CS32 | X86_MODE_SS32 : X86_MODE_CS64);
}

static void try_form(struct walk *w, struct form *f, const uint8_t *bytes, unsigned modrm)
{
	struct x86_decoded d;

	if (x86_decode(&d, w->cpuid, form_mode(f), bytes, 15) != X86_DECODE_OK ||
	    d.insn.opcode != f->opcode || (unsigned)d.insn.opcode_map != f->map) /* a prefix byte */
		return;
	f->mnemonic = (uint16_t)d.insn.mnemonic;
	f->group = (uint16_t)d.insn.meta.isa_set;
	f->has_modrm = !!(d.insn.attributes & ZYDIS_ATTRIB_HAS_MODRM);
	f->mem = f->has_modrm && modrm < 0xc0;
	f->reg = f->rm = -1;
	if (f->has_modrm && !operand_encoded(&d, ZYDIS_OPERAND_ENCODING_MODRM_REG))
		f->reg = (int8_t)(modrm >> 3 & 7);
	if (f->has_modrm && !f->mem && !operand_encoded(&d, ZYDIS_OPERAND_ENCODING_MODRM_RM))
		f->rm = (int8_t)(modrm & 7);
	name_form(f, &d);
	add_form(w, f);
}

/* All ModRM classes of one opcode. */
static void walk_modrm(struct walk *w, struct form *f, uint8_t *bytes, unsigned n)
{
	memset(bytes + n, 0, 16 - n);
	for (unsigned reg = 0; reg < 8; reg++) {
		bytes[n] = (uint8_t)(reg << 3 | 4); /* memory, with a SIB byte: also VSIB */
		bytes[n + 1] = 0x0a; /* [rdx + rcx] */
		try_form(w, f, bytes, bytes[n]);
		for (unsigned rm = 0; rm < 8; rm++) {
			bytes[n] = (uint8_t)(0xc0 | reg << 3 | rm);
			try_form(w, f, bytes, bytes[n]);
		}
	}
}

static void walk_legacy(struct walk *w, bool mode32)
{
	static const uint8_t prefixes[] = {0, 0x66, 0xf2, 0xf3};

	for (unsigned p = 0; p < 4; p++)
		for (unsigned rexw = 0; rexw < (mode32 ? 1u : 2u); rexw++)
			for (unsigned map = 0; map < 4; map++)
				for (unsigned op = 0; op < 256; op++) {
					struct form f = {.space = SPACE_LEGACY,
							 .map = (uint8_t)map,
							 .opcode = (uint8_t)op,
							 .prefix = prefixes[p],
							 .w = (uint8_t)rexw,
							 .mode32 = mode32};
					uint8_t b[16];
					unsigned n = 0;

					if (prefixes[p])
						b[n++] = prefixes[p];
					if (rexw)
						b[n++] = 0x48;
					if (map)
						b[n++] = 0x0f;
					if (map > 1)
						b[n++] = map == 2 ? 0x38 : 0x3a;
					b[n++] = (uint8_t)op;
					walk_modrm(w, &f, b, n);
				}
}

static void walk_vex(struct walk *w, bool mode32)
{
	for (unsigned map = 1; map < 4; map++)
		for (unsigned bits = 0; bits < 32; bits++)
			for (unsigned op = 0; op < 256; op++) {
				struct form f = {.space = SPACE_VEX,
						 .map = (uint8_t)map,
						 .opcode = (uint8_t)op,
						 .prefix = bits & 3,
						 .l = bits >> 2 & 1,
						 .w = bits >> 3 & 1,
						 .mode32 = mode32};
				unsigned vvvv = bits & 16 ? 0xf : 0xd; /* none, or register 2 */
				uint8_t b[16] = {0xc4, (uint8_t)(0xe0 | map),
						 (uint8_t)(f.w << 7 | vvvv << 3 | f.l << 2 |
							   f.prefix),
						 (uint8_t)op};

				walk_modrm(w, &f, b, 4);
			}
}

void forms_make(struct forms *fs, const struct x86_cpuid *cpuid)
{
	struct walk *w = xzalloc(sizeof(*w));

	fs->f = xcalloc(FORM_MAX, sizeof(*fs->f));
	fs->n = 0;
	w->fs = fs;
	w->cpuid = cpuid;
	for (int mode32 = 0; mode32 < 2; mode32++) {
		walk_legacy(w, mode32);
		walk_vex(w, mode32);
	}
	free(w);
}

void forms_free(struct forms *fs)
{
	free(fs->f);
}
