/* SPDX-License-Identifier: Apache-2.0 */
/* Compare what came out of the two sides, and say what differs. */
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include "insn.h"

static const char *const gpr_names[16] = {"RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI",
					  "R8",	 "R9",	"R10", "R11", "R12", "R13", "R14", "R15"};
static char message[256];

static const char *differ(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static const char *differ(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	return message;
}

static bool memory_fault(unsigned vector)
{
	return vector == X86_SS_FAULT || vector == X86_GP || vector == X86_PF;
}

/* The case went to an address where natively something of this process lies (an engine reserves
 * terabytes): what the host then did says nothing. */
static bool met_own_memory(const struct iresult *n, const struct iresult *s)
{
	uint64_t page = s->cr2 & ~UINT64_C(0xfff);

	return s->vector == X86_PF && (n->vector != X86_PF || n->cr2 != s->cr2) &&
	       page - ARENA_BASE >= ARENA_SPAN && page < BIT(47) &&
	       !msync((void *)page, 4096, MS_ASYNC);
}

static const char *compare_fault(const struct iresult *n, const struct iresult *s,
				 const struct slack *slack)
{

	uint32_t ne = n->error, se = s->error;

	if (slack->fault && memory_fault(n->vector) && memory_fault(s->vector))
		return NULL;
	if (slack->ss_gp && memory_fault(n->vector) && memory_fault(s->vector) &&
	    n->vector != X86_PF && s->vector != X86_PF)
		return NULL;
	/* An unmasked exception in what is stored, and no place to store it: either (SDM 3A 6.9 has
	 * them in one class). */
	if (n->vector == X86_XM && memory_fault(s->vector))
		return NULL;
	if (n->vector != s->vector)
		return differ("vector: native %u (error %#x), engine %u (error %#x, cr2 %#" PRIx64
			      ")",
			      n->vector, ne, s->vector, se, s->cr2);
	if (n->vector == X86_PF && slack->cr2)
		return NULL;
	if (n->vector == X86_PF && n->cr2 != s->cr2)
		return differ("CR2: native %#" PRIx64 ", engine %#" PRIx64, n->cr2, s->cr2);
	/* Linux reports faults on kernel addresses as protection faults. */
	if (n->vector == X86_PF && n->cr2 >= UINT64_C(0x7ffffffff000))
		se |= PF_P, ne |= PF_P;
	if (ne != se)
		return differ("error code of vector %u: native %#x, engine %#x (cr2 %#" PRIx64 ")",
			      n->vector, ne, se, n->cr2);
	return NULL;
}

static const char *compare_gpr(const struct icase *c, const struct istate *n,
			       const struct istate *s, bool rep_upper)
{
	/* Upper halves are undefined after 32-bit code ran (SDM 1 3.4.1.1). */
	bool narrow = c->mode32 || n->cs == 0x23;

	for (unsigned i = 0; i < (c->mode32 ? 8 : 16); i++) {
		bool low = narrow || (rep_upper && (i == X86_RCX || i == X86_RSI || i == X86_RDI));
		uint64_t mask = low ? UINT32_MAX : UINT64_MAX;

		if ((n->gpr[i] ^ s->gpr[i]) & mask)
			return differ("%s: native %#" PRIx64 ", engine %#" PRIx64, gpr_names[i],
				      n->gpr[i] & mask, s->gpr[i] & mask);
	}
	return NULL;
}

static const char *compare_bytes(const char *what, unsigned i, const uint8_t *n, const uint8_t *s,
				 unsigned len)
{
	char a[80], b[80];

	if (!memcmp(n, s, len))
		return NULL;
	for (unsigned k = 0; k < len && k < 32; k++) {
		snprintf(a + 2 * k, 3, "%02x", n[len - 1 - k]);
		snprintf(b + 2 * k, 3, "%02x", s[len - 1 - k]);
	}
	return differ("%s%u: native %s, engine %s", what, i, a, b);
}

static const char *compare_x87(const struct x86_xsave *n, const struct x86_xsave *s)
{
	const char *d = NULL;

	if (n->fcw != s->fcw)
		return differ("FCW: native %#x, engine %#x", n->fcw, s->fcw);
	if (n->fsw != s->fsw)
		return differ("FSW: native %#x, engine %#x", n->fsw, s->fsw);
	if (n->ftw != s->ftw)
		return differ("FTW: native %#x, engine %#x", n->ftw, s->ftw);
	if (n->fop != s->fop)
		return differ("FOP: native %#x, engine %#x", n->fop, s->fop);
	if (n->fip != s->fip)
		return differ("FIP: native %#" PRIx64 ", engine %#" PRIx64, n->fip, s->fip);
	if (n->fdp != s->fdp)
		return differ("FDP: native %#" PRIx64 ", engine %#" PRIx64, n->fdp, s->fdp);
	for (unsigned i = 0; i < 8 && !d; i++)
		d = compare_bytes("ST", i, n->st[i], s->st[i], 10);
	return d;
}

static const char *compare_vector(const struct x86_xsave *n, const struct x86_xsave *s,
				  bool mxcsr_flags)
{
	const char *d = NULL;

	if ((n->mxcsr ^ s->mxcsr) & (mxcsr_flags ? UINT32_MAX : ~0x3fu))
		return differ("MXCSR: native %#x, engine %#x", n->mxcsr, s->mxcsr);
	for (unsigned i = 0; i < 16 && !d; i++)
		d = compare_bytes("XMM", i, n->xmm[i], s->xmm[i], 16);
	for (unsigned i = 0; i < 16 && !d; i++)
		d = compare_bytes("YMMH", i, n->ymmh[i], s->ymmh[i], 16);
	return d;
}

static const char *compare_mem(const struct iresult *n, const struct iresult *s)
{
	for (unsigned p = 0; p < PG_COUNT; p++) {
		if (!memcmp(n->mem[p], s->mem[p], 4096))
			continue;
		for (unsigned i = 0; i < 4096; i++)
			if (n->mem[p][i] != s->mem[p][i])
				return differ("byte at %#" PRIx64 ": native %#x, engine %#x",
					      arena_pages[p].va + i, n->mem[p][i], s->mem[p][i]);
	}
	return NULL;
}

const char *compare_results(const struct icase *c, const struct iresult *n, const struct iresult *s,
			    enum skip_kind kind)
{
	uint64_t rip_mask = c->mode32 ? UINT32_MAX : UINT64_MAX;
	struct slack slack;
	const char *d;

	if (met_own_memory(n, s))
		return NULL;
	skip_slack(c, n, &slack);
	d = compare_fault(n, s, &slack);
	if (!d && ((n->out.rip ^ s->out.rip) & rip_mask))
		d = differ("RIP: native %#" PRIx64 ", engine %#" PRIx64, n->out.rip, s->out.rip);
	if (!d && n->out.cs != s->out.cs)
		d = differ("CS: native %#x, engine %#x", n->out.cs, s->out.cs);
	if (d || kind == SKIP_SHAPE)
		return d;
	if (!slack.gpr)
		d = compare_gpr(c, &n->out, &s->out, slack.rep_upper);
	if (!d && ((n->out.rflags ^ s->out.rflags) & ~(slack.flags | c->loose)))
		d = differ("RFLAGS: native %#" PRIx64 ", engine %#" PRIx64 " (xor %#" PRIx64 ")",
			   n->out.rflags, s->out.rflags, n->out.rflags ^ s->out.rflags);
	if (!d && !slack.x87)
		d = compare_x87(&n->out.x, &s->out.x);
	if (!d && !slack.vector)
		d = compare_vector(&n->out.x, &s->out.x, !slack.mxcsr);
	if (!d && !slack.mem)
		d = compare_mem(n, s);
	return d;
}

static void report_xstate(FILE *out, const struct x86_xsave *x)
{
	fprintf(out,
		"  FCW %04x FSW %04x FTW %02x FOP %03x FIP %" PRIx64 " FDP %" PRIx64
		" MXCSR %04x\n",
		x->fcw, x->fsw, x->ftw, x->fop, x->fip, x->fdp, x->mxcsr);
	for (unsigned i = 0; i < 8; i++)
		fprintf(out, "  ST%u %04x%016" PRIx64 "%s", i, get_le16(x->st[i] + 8),
			get_le64(x->st[i]), i % 4 == 3 ? "\n" : "");
	for (unsigned i = 0; i < 16; i++)
		fprintf(out, "  YMM%-2u %016" PRIx64 "%016" PRIx64 "%016" PRIx64 "%016" PRIx64 "\n",
			i, get_le64(x->ymmh[i] + 8), get_le64(x->ymmh[i]), get_le64(x->xmm[i] + 8),
			get_le64(x->xmm[i]));
}

void report_case(FILE *out, const struct icase *c, const struct iresult *n, const struct iresult *s,
		 const char *what)
{
	char text[128];

	fprintf(out, "DIFFERENCE %s [%s]: %s\n", x86_disasm(&c->d, c->in.rip, text, sizeof(text)),
		c->form->name, what);
	fprintf(out, "  again: --form %s --seed-case %#" PRIx64 "\n  bytes:", c->form->name,
		c->seed);
	for (unsigned i = 0; i < c->len; i++)
		fprintf(out, " %02x", c->bytes[i]);
	fprintf(out, " at %#" PRIx64 "%s, RFLAGS %#" PRIx64 " FS %#" PRIx64 " GS %#" PRIx64 "\n",
		c->in.rip, c->mode32 ? " (32-bit)" : "", c->in.rflags, c->in.fs_base,
		c->in.gs_base);
	for (unsigned i = 0; i < 16; i++)
		fprintf(out, "  %-3s %016" PRIx64 "%s", gpr_names[i], c->in.gpr[i],
			i % 4 == 3 ? "\n" : "");
	report_xstate(out, &c->in.x);
	if (c->patch_len) {
		fprintf(out, "  memory at %#" PRIx64 ":", c->patch_va);
		for (unsigned i = 0; i < c->patch_len && i < 64; i++)
			fprintf(out, " %02x", c->patch[i]);
		fprintf(out, "\n");
	}
	fprintf(out,
		"  native: vector %u error %#x cr2 %#" PRIx64 " rip %#" PRIx64
		"; engine: vector %u error "
		"%#x cr2 %#" PRIx64 " rip %#" PRIx64 "\n",
		n->vector, n->error, n->cr2, n->out.rip, s->vector, s->error, s->cr2, s->out.rip);
}
