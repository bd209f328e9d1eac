/* SPDX-License-Identifier: Apache-2.0 */
/* Looking at memory and calculating: x, xp, print. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include "ctl/hmp_int.h"
#include "mem/mem.h"
#include "x86/cpu.h"
#include "x86/decode.h"

#define MAX_COUNT 16384

struct format {
	uint64_t count;
	char kind; /* x d u o c i */
	unsigned size; /* bytes */
};

/* "/8xw"; the word is optional. */
static bool parse_format(struct hmp_call *h, struct format *f)
{
	const char *p = h->args + strspn(h->args, " \t");
	char *end;

	*f = (struct format){.count = 1, .kind = 'x', .size = 4};
	if (*p != '/')
		return true;
	p = hmp_word(h) + 1;
	if (isdigit((unsigned char)*p)) {
		f->count = strtoul(p, &end, 10);
		p = end;
	}
	for (; *p; p++) {
		const char *sizes = "bhwg", *s = strchr(sizes, *p);

		if (s) {
			f->size = 1u << (s - sizes);
		} else if (strchr("xduoci", *p)) {
			f->kind = *p;
			f->size = *p == 'c' ? 1 : f->size;
		} else {
			hmp_error(h, "'%c' is no format", *p);
			return false;
		}
	}
	if (f->count > MAX_COUNT) {
		hmp_error(h, "more than %d at a time", MAX_COUNT);
		return false;
	}
	return true;
}

static void put_value(struct text *out, const struct format *f, uint64_t v)
{
	int64_t s = (int64_t)(v << (64 - 8 * f->size)) >> (64 - 8 * f->size);

	switch (f->kind) {
	case 'd':
		text_printf(out, "%lld", (long long)s);
		break;
	case 'u':
		text_printf(out, "%llu", (unsigned long long)v);
		break;
	case 'o':
		text_printf(out, "%#llo", (unsigned long long)v);
		break;
	case 'c':
		text_printf(out, isprint((int)(v & 0xff)) ? "'%c'" : "'\\x%02x'", (int)(v & 0xff));
		break;
	default:
		text_printf(out, "0x%0*llx", (int)f->size * 2, (unsigned long long)v);
	}
}

/* Where memory is looked at: as the chosen CPU sees it, or physical. */
struct view {
	struct hmp_call *h;
	const struct engine_ops *engine;
	struct engine_vm *ev;
	bool physical;
};

static bool view_read(const struct view *w, uint64_t at, uint8_t *buf, size_t len)
{
	while (len) {
		size_t n = min_u64(len, PAGE_SIZE - PAGE_OFFSET(at));
		gpa a = GPA(at);

		if (!w->physical && !w->engine->translate(w->ev, *w->h->cpu, at, &a))
			return false;
		if (mem_dma_read(vm_mem(w->h->vm), a, buf, n))
			return false;
		at += n;
		buf += n;
		len -= n;
	}
	return true;
}

static void dump_values(const struct view *w, const struct format *f, uint64_t at)
{
	static const unsigned per_line[] = {[1] = 8, [2] = 8, [4] = 4, [8] = 2};
	struct text *out = w->h->out;

	for (uint64_t i = 0; i < f->count; i++, at += f->size) {
		uint8_t buf[8] = {0};

		if (i % per_line[f->size] == 0)
			text_printf(out, "%s%016llx:", i ? "\n" : "", (unsigned long long)at);
		if (!view_read(w, at, buf, f->size)) {
			text_printf(out, " Cannot access memory");
			break;
		}
		text_printf(out, " ");
		put_value(out, f, get_le64(buf) & mask_size(f->size));
	}
	text_printf(out, "\n");
}

/* The mode that the chosen CPU decodes in. */
static uint32_t code_mode(const struct x86_state *s)
{
	uint16_t attr = s->seg[X86_CS].attr;

	if ((s->efer & BIT(10)) && (attr & SEG_L))
		return X86_MODE_CS64;
	return attr & SEG_DB ? X86_MODE_CS32 : 0;
}

static void dump_code(const struct view *w, const struct format *f, uint64_t at)
{
	struct x86_state *s = hmp_state(w->h);
	uint32_t mode = code_mode(s);

	free(s);
	for (uint64_t i = 0; i < f->count; i++) {
		uint8_t bytes[X86_INSN_MAX];
		struct x86_decoded d;
		char text[128];
		size_t n = 0;

		while (n < sizeof(bytes) && view_read(w, at + n, bytes + n, 1))
			n++;
		if (!n) {
			text_printf(w->h->out, "0x%08llx: Cannot access memory\n",
				    (unsigned long long)at);
			return;
		}
		if (x86_decode(&d, NULL, mode, bytes, n) == X86_DECODE_OK) {
			x86_disasm(&d, at, text, sizeof(text));
			n = d.len;
		} else {
			strcpy(text, "(bad)");
			n = 1;
		}
		text_printf(w->h->out, "0x%08llx: ", (unsigned long long)at);
		for (size_t k = 0; k < n; k++)
			text_printf(w->h->out, " %02x", bytes[k]);
		text_printf(w->h->out, "%*s%s\n", n < 10 ? 32 - 3 * (int)n : 2, "", text);
		at += n;
	}
}

static void dump(struct hmp_call *h, bool physical)
{
	struct view w = {.h = h, .physical = physical};
	struct format f;
	uint64_t at;
	bool frozen;

	w.engine = vm_engine(h->vm, &w.ev);
	if (!parse_format(h, &f) || !hmp_number(h, "ADDRESS", &at) || !hmp_done(h))
		return;
	frozen = vm_freeze(h->vm);
	if (f.kind == 'i')
		dump_code(&w, &f, at);
	else
		dump_values(&w, &f, at);
	vm_thaw(h->vm, frozen);
}

void hmp_x(struct hmp_call *h)
{
	dump(h, false);
}

void hmp_xp(struct hmp_call *h)
{
	dump(h, true);
}

void hmp_print(struct hmp_call *h)
{
	struct format f;
	uint64_t v;

	if (!parse_format(h, &f) || !hmp_number(h, "EXPRESSION", &v) || !hmp_done(h))
		return;
	f.size = f.kind == 'c' ? 1 : 8;
	if (f.kind == 'x')
		text_printf(h->out, "%#llx", (unsigned long long)v);
	else
		put_value(h->out, &f, v);
	text_printf(h->out, "\n");
}
