/* SPDX-License-Identifier: Apache-2.0 */
/* The state of a vCPU for a person: much as a kernel prints it when it dies. */
#include <stdarg.h>
#include <stdio.h>
#include "x86/mmu.h"
#include "x86/sys.h"

struct out {
	struct x86_cpu *c;
	void (*emit)(void *opaque, const char *line);
	void *opaque;
};

static void __attribute__((format(printf, 2, 3))) say(const struct out *o, const char *fmt, ...)
{
	char line[200];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	o->emit(o->opaque, line);
}

static const char *mode_name(const struct x86_cpu *c)
{
	if (!(c->mode & X86_MODE_PE))
		return "real";
	if (c->mode & X86_MODE_V86)
		return "virtual-8086";
	if (c->mode & X86_MODE_CS64)
		return "64-bit";
	if (c->mode & X86_MODE_LMA)
		return "compatibility";
	return c->mode & X86_MODE_CS32 ? "32-bit protected" : "16-bit protected";
}

static const char *const mp_names[] = { "running", "halted", "waiting for SIPI", "uninitialized" };

static void say_head(const struct out *o)
{
	const struct x86_cpu *c = o->c;
	const struct x86_state *s = &c->s;

	say(o, "CPU %u (APIC ID %u): %s mode, CPL %u, %s%s%s", c->index, c->apic_id, mode_name(c),
	    x86_cpl(s), mp_names[s->mp_state & 3], s->nmi_blocked ? ", NMI blocked" : "",
	    c->shutdown ? ", triple fault" : "");
	say(o, "RIP: %04x:%016lx RFLAGS: %08lx", s->seg[X86_CS].sel, s->rip, x86_rflags(c));
}

static void say_gprs(const struct out *o)
{
	static const struct {
		const char *name[3];
		uint8_t r[3];
	} rows[] = {
		{ { "RAX", "RBX", "RCX" }, { X86_RAX, X86_RBX, X86_RCX } },
		{ { "RDX", "RSI", "RDI" }, { X86_RDX, X86_RSI, X86_RDI } },
		{ { "RBP", "RSP", "R08" }, { X86_RBP, X86_RSP, X86_R8 } },
		{ { "R09", "R10", "R11" }, { X86_R9, X86_R10, X86_R11 } },
		{ { "R12", "R13", "R14" }, { X86_R12, X86_R13, X86_R14 } },
	};
	const uint64_t *g = o->c->s.gpr;

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		say(o, "%s: %016lx %s: %016lx %s: %016lx", rows[i].name[0], g[rows[i].r[0]],
		    rows[i].name[1], g[rows[i].r[1]], rows[i].name[2], g[rows[i].r[2]]);
	say(o, "R15: %016lx", g[X86_R15]);
}

static void say_segments(const struct out *o)
{
	static const char *const names[] = { "ES", "CS", "SS", "DS", "FS", "GS", "LDTR", "TR" };
	const struct x86_state *s = &o->c->s;

	for (unsigned i = 0; i < X86_SREG_COUNT; i++) {
		const struct x86_segment *g = &s->seg[i];

		say(o, "%-4s: %04x base %016lx limit %08x attr %04x%s", names[i], g->sel, g->base,
		    g->limit, g->attr, g->attr & SEG_P ? "" : " (unusable)");
	}
	say(o, "GDT : %016lx limit %04x  IDT: %016lx limit %04x", s->gdtr.base, s->gdtr.limit,
	    s->idtr.base, s->idtr.limit);
}

static void say_control(const struct out *o)
{
	const struct x86_state *s = &o->c->s;

	say(o, "CR0: %016lx CR2: %016lx CR3: %016lx CR4: %016lx", s->cr0, s->cr2, s->cr3, s->cr4);
	say(o, "DR6: %016lx DR7: %016lx EFER: %016lx XCR0: %lx", s->dr6, s->dr7, s->efer, s->xcr0);
}

/* RAM and ROM only: a report must not touch devices. */
static bool peek(struct x86_cpu *c, uint64_t va, unsigned size, uint64_t *out)
{
	gpa a;

	*out = 0;
	return x86_translate(c, va, &a) && PAGE_OFFSET(va) + size <= PAGE_SIZE &&
	       !mem_dma_read(c->vm->mem, a, out, size);
}

/* 21 bytes before RIP, the byte at RIP in brackets, 20 after; ?? where nothing is mapped. */
static void say_code(const struct out *o)
{
	struct x86_cpu *c = o->c;
	uint64_t base = c->mode & X86_MODE_CS64 ? 0 : c->s.seg[X86_CS].base;
	char line[200] = "Code:";
	size_t n = 5;

	for (int i = -21; i <= 20; i++) {
		uint64_t byte;
		bool ok = peek(c, base + c->s.rip + (uint64_t)(int64_t)i, 1, &byte);
		char hex[3] = "??";

		if (ok)
			snprintf(hex, sizeof(hex), "%02x", (unsigned)byte);
		n += (size_t)snprintf(line + n, sizeof(line) - n, i ? " %s" : " <%s>", hex);
	}
	say(o, "%s", line);
}

static void say_stack(const struct out *o)
{
	struct x86_cpu *c = o->c;
	bool wide = c->mode & X86_MODE_CS64;
	unsigned size = wide ? 8 : c->mode & X86_MODE_SS32 ? 4 : 2;
	uint64_t sp = c->s.gpr[X86_RSP] & (wide ? UINT64_MAX : mask_size(size));
	uint64_t base = wide ? 0 : c->s.seg[X86_SS].base;

	for (unsigned row = 0; row < 4; row++) {
		char line[200] = "Stack:";
		size_t n = 6;

		for (unsigned i = 0; i < 4; i++, sp += size) {
			uint64_t v;

			if (!peek(c, base + sp, size, &v))
				return;
			n += (size_t)snprintf(line + n, sizeof(line) - n, " %0*lx", 2 * (int)size,
					      v);
		}
		say(o, "%s", line);
	}
}

static const char *vector_name(uint8_t v)
{
	static const char *const names[] = {
		"#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "9",  "#TS",
		"#NP", "#SS", "#GP", "#PF", "15", "#MF", "#AC", "#MC", "#XM",
	};

	return v < ARRAY_SIZE(names) ? names[v] : "?";
}

static void say_exceptions(const struct out *o)
{
	const struct x86_cpu *c = o->c;
	unsigned size = ARRAY_SIZE(c->exc_log);
	unsigned n = c->exc_log_n < size ? c->exc_log_n : size;

	if (n)
		say(o, "Last exceptions, latest first:");
	for (unsigned i = 1; i <= n; i++) {
		const struct x86_exc_log *l = &c->exc_log[(c->exc_log_n - i) % size];

		say(o, "  %-3s vector %02x error %04x at %016lx, CR2 %016lx", 
		    vector_name(l->vector), l->vector, l->error, l->rip, l->cr2);
	}
}

void x86_report(struct x86_cpu *c, void (*emit)(void *opaque, const char *line), void *opaque)
{
	struct out o = { c, emit, opaque };

	say_head(&o);
	say_gprs(&o);
	say_segments(&o);
	say_control(&o);
	say_code(&o);
	say_stack(&o);
	say_exceptions(&o);
}
