/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/gdbreg.h"
#include <string.h>
#include "ctl/rsp.h"

enum reg_kind {
	REG_PLAIN, /* the bytes of the field */
	REG_FLAGS, /* RFLAGS */
	REG_SELECTOR, /* of a struct x86_segment */
	REG_WORD16, /* a 16-bit field shown as 32 bits */
	REG_TAGS, /* the x87 tag word, which the state keeps abridged */
	REG_LOW32,
	REG_HIGH32, /* halves of a 64-bit field */
	REG_MXCSR,
	REG_BASE, /* a canonical address */
	REG_FIXED, /* 64 bits, not writable */
};

struct reg {
	const char *feature; /* a row that starts a feature has only this */
	const char *name, *type, *group;
	uint16_t bits, offset;
	enum reg_kind kind;
};

static const struct reg rows[] = {
#define FEATURE(name_) {.feature = name_},
#define REG(name_, bits_, type_, group_, field_, kind_) \
	{.name = name_,                                 \
	 .type = type_,                                 \
	 .group = group_,                               \
	 .bits = bits_,                                 \
	 .offset = offsetof(struct x86_state, field_),  \
	 .kind = REG_##kind_},
#include "ctl/gdbreg.def"
#undef FEATURE
#undef REG
};

static const struct reg *reg_find(unsigned n)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (rows[i].name && n-- == 0)
			return &rows[i];
	return NULL;
}

unsigned gdbreg_count(void)
{
	unsigned n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		n += rows[i].name != NULL;
	return n;
}

unsigned gdbreg_size(unsigned n)
{
	const struct reg *r = reg_find(n);

	return r ? r->bits / 8u : 0;
}

/* The full tag of a non-empty x87 register, from its value: 0 valid, 1 zero, 2 special (SDM
 * 1 8.1.7). */
static unsigned x87_tag(const uint8_t st[16])
{
	uint64_t mantissa = get_le64(st);
	unsigned exponent = get_le16(st + 8) & 0x7fff;

	if (exponent == 0)
		return mantissa ? 2 : 1;
	return exponent == 0x7fff || !(mantissa >> 63) ? 2 : 0;
}

/* FTW in the form of FNSTENV (SDM 1 10.5.1.1): tags are of physical registers, the values relative
 * to TOP. */
static uint16_t x87_full_tags(const struct x86_xsave *x)
{
	unsigned top = (x->fsw >> 11) & 7;
	uint16_t tags = 0;

	for (unsigned i = 0; i < 8; i++) {
		unsigned tag = x->ftw & (1u << i) ? x87_tag(x->st[(i - top) & 7]) : 3;

		tags = (uint16_t)(tags | tag << (2 * i));
	}
	return tags;
}

static uint8_t x87_abridged_tags(uint16_t tags)
{
	uint8_t ftw = 0;

	for (unsigned i = 0; i < 8; i++)
		if (((tags >> (2 * i)) & 3) != 3)
			ftw = (uint8_t)(ftw | 1u << i);
	return ftw;
}

void gdbreg_get(const struct x86_state *s, unsigned n, uint8_t *out)
{
	const struct reg *r = reg_find(n);
	const uint8_t *field = (const uint8_t *)s + r->offset;

	switch (r->kind) {
	case REG_SELECTOR:
		put_le32(out, ((const struct x86_segment *)field)->sel);
		break;
	case REG_WORD16:
		put_le32(out, get_le16(field));
		break;
	case REG_TAGS:
		put_le32(out, x87_full_tags(&s->xsave));
		break;
	case REG_HIGH32:
		put_le32(out, get_le32(field + 4));
		break;
	default:
		memcpy(out, field, r->bits / 8u);
		break;
	}
}

/* A selector alone says little: in real and virtual-8086 mode the base follows it, elsewhere the
 * hidden part stays as the guest loaded it. */
static void set_selector(struct x86_state *s, struct x86_segment *seg, uint32_t sel)
{
	seg->sel = (uint16_t)sel;
	if (!(s->cr0 & CR0_PE) || (s->rflags & RFLAGS_VM))
		seg->base = (uint64_t)seg->sel << 4;
}

#define FLAGS_WRITABLE                                                                            \
	(RFLAGS_ARITH | RFLAGS_TF | RFLAGS_IF | RFLAGS_DF | RFLAGS_IOPL | RFLAGS_NT | RFLAGS_RF | \
	 RFLAGS_AC | RFLAGS_VIF | RFLAGS_VIP | RFLAGS_ID)
#define CANONICAL(v) ((uint64_t)((int64_t)((v) << 16) >> 16))

bool gdbreg_set(struct x86_state *s, unsigned n, const uint8_t *in)
{
	const struct reg *r = reg_find(n);
	uint8_t *field = (uint8_t *)s + r->offset, same[GDBREG_MAX_BYTES];

	switch (r->kind) {
	case REG_PLAIN:
		memcpy(field, in, r->bits / 8u);
		break;
	case REG_FLAGS:
		s->rflags = (s->rflags & ~FLAGS_WRITABLE) | (get_le32(in) & FLAGS_WRITABLE);
		break;
	case REG_SELECTOR:
		set_selector(s, (struct x86_segment *)field, get_le32(in));
		break;
	case REG_WORD16:
		put_le16(field, get_le16(in));
		break;
	case REG_TAGS:
		s->xsave.ftw = x87_abridged_tags(get_le16(in));
		break;
	case REG_LOW32:
		put_le32(field, get_le32(in));
		break;
	case REG_HIGH32:
		put_le32(field + 4, get_le32(in));
		break;
	case REG_MXCSR:
		s->xsave.mxcsr = get_le32(in) & 0xffff;
		break;
	case REG_BASE:
		put_le64(field, CANONICAL(get_le64(in)));
		break;
	case REG_FIXED:
		gdbreg_get(s, n, same);
		return !memcmp(in, same, r->bits / 8u);
	}
	return true;
}

struct flag {
	const char *name;
	uint8_t bit;
};

static void xml_flags(struct rsp_text *t, const char *id, unsigned size, const struct flag *f)
{
	rsp_printf(t, "<flags id=\"%s\" size=\"%u\">", id, size);
	for (; f->name; f++)
		rsp_printf(t, "<field name=\"%s\" start=\"%u\" end=\"%u\"/>", f->name, f->bit,
			   f->bit);
	rsp_printf(t, "</flags>");
}

static void xml_core_types(struct rsp_text *t)
{
	static const struct flag eflags[] = {
		{"CF", 0},  {"", 1},	{"PF", 2},   {"AF", 4},	  {"ZF", 6},  {"SF", 7},
		{"TF", 8},  {"IF", 9},	{"DF", 10},  {"OF", 11},  {"NT", 14}, {"RF", 16},
		{"VM", 17}, {"AC", 18}, {"VIF", 19}, {"VIP", 20}, {"ID", 21}, {NULL, 0},
	};

	xml_flags(t, "i386_eflags", 4, eflags);
}

static void xml_sse_types(struct rsp_text *t)
{
	static const struct flag mxcsr[] = {
		{"IE", 0},  {"DE", 1},	{"ZE", 2},  {"OE", 3},	{"UE", 4},
		{"PE", 5},  {"DAZ", 6}, {"IM", 7},  {"DM", 8},	{"ZM", 9},
		{"OM", 10}, {"UM", 11}, {"PM", 12}, {"FZ", 15}, {NULL, 0},
	};
	static const struct {
		const char *id, *type;
		unsigned count;
	} vectors[] = {
		{"v4f", "ieee_single", 4}, {"v2d", "ieee_double", 2}, {"v16i8", "int8", 16},
		{"v8i16", "int16", 8},	   {"v4i32", "int32", 4},     {"v2i64", "int64", 2},
	};
	static const char *const fields[][2] = {
		{"v4_float", "v4f"},	{"v2_double", "v2d"},  {"v16_int8", "v16i8"},
		{"v8_int16", "v8i16"},	{"v4_int32", "v4i32"}, {"v2_int64", "v2i64"},
		{"uint128", "uint128"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(vectors); i++)
		rsp_printf(t, "<vector id=\"%s\" type=\"%s\" count=\"%u\"/>", vectors[i].id,
			   vectors[i].type, vectors[i].count);
	rsp_printf(t, "<union id=\"vec128\">");
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		rsp_printf(t, "<field name=\"%s\" type=\"%s\"/>", fields[i][0], fields[i][1]);
	rsp_printf(t, "</union>");
	xml_flags(t, "i386_mxcsr", 4, mxcsr);
}

static void xml_system_types(struct rsp_text *t)
{
	static const struct flag cr0[] = {
		{"PE", 0},  {"MP", 1},	{"EM", 2},  {"TS", 3},	{"ET", 4},  {"NE", 5},
		{"WP", 16}, {"AM", 18}, {"NW", 29}, {"CD", 30}, {"PG", 31}, {NULL, 0},
	};
	static const struct flag cr4[] = {
		{"VME", 0},	    {"PVI", 1},	  {"TSD", 2},	{"DE", 3},	  {"PSE", 4},
		{"PAE", 5},	    {"MCE", 6},	  {"PGE", 7},	{"PCE", 8},	  {"OSFXSR", 9},
		{"OSXMMEXCPT", 10}, {"UMIP", 11}, {"LA57", 12}, {"FSGSBASE", 16}, {"PCIDE", 17},
		{"OSXSAVE", 18},    {"SMEP", 20}, {"SMAP", 21}, {NULL, 0},
	};
	static const struct flag efer[] = {
		{"SCE", 0}, {"LME", 8}, {"LMA", 10}, {"NXE", 11}, {NULL, 0},
	};

	xml_flags(t, "cr0_flags", 8, cr0);
	xml_flags(t, "cr4_flags", 8, cr4);
	xml_flags(t, "efer_flags", 8, efer);
}

static void xml_feature(struct rsp_text *t, const char *name)
{
	rsp_printf(t, "<feature name=\"%s\">", name);
	if (!strcmp(name, "org.gnu.gdb.i386.core"))
		xml_core_types(t);
	else if (!strcmp(name, "org.gnu.gdb.i386.sse"))
		xml_sse_types(t);
	else if (!strcmp(name, "org.doppel.i386.system"))
		xml_system_types(t);
}

void gdbreg_xml(struct rsp_text *t)
{
	unsigned n = 0;

	rsp_printf(t, "<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\">"
		      "<target><architecture>i386:x86-64</architecture>");
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct reg *r = &rows[i];

		if (r->feature) {
			if (n)
				rsp_printf(t, "</feature>");
			xml_feature(t, r->feature);
			continue;
		}
		rsp_printf(t, "<reg name=\"%s\" bitsize=\"%u\" type=\"%s\" regnum=\"%u\"", r->name,
			   r->bits, r->type, n++);
		if (r->group)
			rsp_printf(t, " group=\"%s\"", r->group);
		rsp_printf(t, "/>");
	}
	rsp_printf(t, "</feature></target>");
}
