/* SPDX-License-Identifier: Apache-2.0 */
/* Instructions as text. */
#include <inttypes.h>
#include <stdio.h>
#include "lockstep.h"
#include "mem/mem.h"
#include "x86/decode.h"

const char *trace_gpr(unsigned n)
{
	static const char *const names[] = {
		"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
		"r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15",
	};

	return names[n];
}

/* X86_MODE_* as far as decoding asks. */
static uint32_t mode_of(const struct x86_state *s)
{
	uint16_t cs = s->seg[X86_CS].attr;
	uint32_t mode = s->cr0 & CR0_PE ? X86_MODE_PE : 0;

	if (s->rflags & RFLAGS_VM)
		return mode | X86_MODE_V86;
	if (s->efer & EFER_LMA)
		mode |= X86_MODE_LMA;
	if (s->efer & EFER_LMA && cs & SEG_L)
		return mode | X86_MODE_CS64;
	return cs & SEG_DB ? mode | X86_MODE_CS32 : mode;
}

/* Bytes of code at a linear address, as many as are mapped. */
static size_t code(const struct side *s, uint64_t lin, uint8_t buf[static X86_INSN_MAX])
{
	for (size_t n = 0; n < X86_INSN_MAX; n++) {
		gpa at;

		if (!s->ops->translate(s->ev, 0, lin + n, &at))
			return n;
		buf[n] = (uint8_t)mem_read(s->mem, at, 1);
	}
	return X86_INSN_MAX;
}

void trace_insn(const struct pair *p, const struct x86_state *s)
{
	uint32_t mode = mode_of(s);
	uint64_t lin = mode & X86_MODE_CS64 ? s->rip : (uint32_t)(s->seg[X86_CS].base + s->rip);
	uint8_t buf[X86_INSN_MAX];
	char text[128];
	struct x86_decoded d;
	size_t len = code(&p->side[REF], lin, buf);

	if (len && x86_decode(&d, NULL, mode, buf, len) == X86_DECODE_OK)
		x86_disasm(&d, s->rip, text, sizeof(text));
	else
		snprintf(text, sizeof(text), "(%s)", len ? "undefined" : "not mapped");
	printf("  %016" PRIx64 "  %-40s", lin, text);
}

void trace_changes(const struct x86_state *before, const struct x86_state *after)
{
	for (unsigned n = 0; n < X86_GPR_COUNT; n++)
		if (before->gpr[n] != after->gpr[n])
			printf(" %s=%" PRIx64, trace_gpr(n), after->gpr[n]);
	if (before->rflags != after->rflags)
		printf(" rflags=%" PRIx64, after->rflags);
	printf("\n");
}
