/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What the files of lowering share. */
#include "engine/interp/ops.h"

enum {
	SYSMEM_SGDT,
	SYSMEM_SIDT,
	SYSMEM_LGDT,
	SYSMEM_LIDT,
	SYSMEM_INVLPG,
	SYSMEM_INVPCID,
	SYSMEM_CLFLUSH
};
enum {
	SYSWORD_SLDT,
	SYSWORD_STR,
	SYSWORD_SMSW,
	SYSWORD_LLDT,
	SYSWORD_LTR,
	SYSWORD_LMSW,
	SYSWORD_VERR,
	SYSWORD_VERW
};

/* lower_reg - a register's place in struct x86_cpu; lower_sreg - Zydis' segment register as ours.
 */
uint16_t lower_reg(ZydisRegister r);
enum x86_sreg lower_sreg(ZydisRegister r);
/* lower_mem - the memory operand into base, index, scale, disp, seg, ak; returns the handler form.
 */
unsigned lower_mem(struct lower *l);
/* lower_seg - seg and ak alone. */
void lower_seg(struct lower *l, enum x86_sreg seg);
bool lower_is_reg(const struct lower *l, unsigned n);
bool lower_is_imm(const struct lower *l, unsigned n);
uint16_t lower_op(const struct lower *l, unsigned n);
void lower_bounce(struct lower *l);

/* lower_sys.c */
void lower_jcc(struct lower *l, unsigned cc);
void lower_loop(struct lower *l, unsigned op);
void lower_jmp(struct lower *l, unsigned arg);
void lower_call(struct lower *l, unsigned arg);
void lower_ret(struct lower *l, unsigned arg);
void lower_int(struct lower *l, unsigned kind);
void lower_sysmem(struct lower *l, unsigned op);
void lower_sysword(struct lower *l, unsigned op);
void lower_lar(struct lower *l, unsigned lsl);
void lower_arpl(struct lower *l, unsigned arg);
void lower_base(struct lower *l, unsigned op);
