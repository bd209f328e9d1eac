/* SPDX-License-Identifier: Apache-2.0 */
/* What was translated, for `-d in_asm` (the guest's code) and `-d out_asm` (the host's). */
#include "engine/dbt/xlate_int.h"

static void log_code(struct log *log, const uint8_t *rw, size_t len, uint64_t at)
{
	struct x86_decoded d;
	char text[128];

	for (size_t n = 0; n < len; n += d.len) {
		if (x86_decode(&d, NULL, X86_MODE_CS64 | X86_MODE_PE | X86_MODE_LMA, rw + n,
			       len - n) != X86_DECODE_OK) {
			/* Data of a link, or padding. */
			log_printf(log, "out_asm %lx: .byte %02x\n", at + n, rw[n]);
			d.len = 1;
			continue;
		}
		log_printf(log, "out_asm %lx: %s\n", at + n,
			   x86_disasm(&d, at + n, text, sizeof(text)));
	}
}

static void log_guest(struct xlate *x, const struct xinsn *i)
{
	uint64_t lin = (x->lin & ~(PAGE_SIZE - 1)) + i->off;
	char text[128];

	log_printf(x->c->log, "in_asm %u: %012lx: %s, flags %03x\n", x->c->index, lin,
		   i->bad ? "(bad)" : x86_disasm(&i->d, lin, text, sizeof(text)), i->live);
}

void xlate_log(struct xlate *x)
{
	const struct tb *b = x->tb;
	uint32_t mask = x->c->log->mask;

	if (likely(!(mask & (1u << LOG_IN_ASM | 1u << LOG_OUT_ASM))))
		return;
	fpu_claim();
	for (unsigned n = 0; (mask & 1u << LOG_IN_ASM) && n < x->n; n++)
		log_guest(x, &x->in[n]);
	if (mask & 1u << LOG_OUT_ASM) {
		log_code(x->c->log, b->far - x->a.rx, b->host_len, (uint64_t)b->far);
		log_code(x->c->log, x->cold_at - x->a.rx, (size_t)(e_here(&x->a) - x->cold_at),
			 (uint64_t)x->cold_at);
	}
}
