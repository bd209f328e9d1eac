/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * System behaviour shared by the software engines: events, segments, control transfers, MSRs, CPUID,
 * control and debug registers.  Contract of all: x86/cpu.h (s.rip = this instruction; unwind on fault).
 * Functions marked [branch] set s.rip themselves to where execution goes on.  `next` is the linear-in-CS
 * offset (RIP) of the following instruction; `opsize` is 2, 4 or 8 bytes.
 */
#include "x86/cpu.h"

/* --- seg.c: segmentation (SDM 3A 3, 5) --- */
/* x86_load_seg - MOV/POP/Lxx to a segment register (not CS): all checks of protected, V86, real mode. */
void x86_load_seg(struct x86_cpu *c, enum x86_sreg sreg, uint16_t sel);
/* x86_lin - linear address of seg:off for an access of size bytes (1..512): limit and rights (#GP/#SS),
 * canonical in 64-bit mode.  off is already truncated to the address size. */
uint64_t x86_lin(struct x86_cpu *c, enum x86_sreg seg, uint64_t off, unsigned size,
		 bool write);
void x86_lldt(struct x86_cpu *c, uint16_t sel);
void x86_ltr(struct x86_cpu *c, uint16_t sel);
/* LAR/LSL: true and *out when valid (ZF=1).  VERR/VERW: result is ZF. */
bool x86_lar(struct x86_cpu *c, uint16_t sel, uint32_t *out);
bool x86_lsl(struct x86_cpu *c, uint16_t sel, uint32_t *out);
bool x86_verr(struct x86_cpu *c, uint16_t sel);
bool x86_verw(struct x86_cpu *c, uint16_t sel);

/* --- stack helpers: push/pop by SS with the stack's address size; size 2, 4, 8.  RSP commits last. --- */
void x86_push(struct x86_cpu *c, uint64_t val, unsigned size);
uint64_t x86_pop(struct x86_cpu *c, unsigned size);

/* --- xfer.c: far control transfers [branch] (SDM 3A 5.8, 7; SDM 2) --- */
void x86_far_jmp(struct x86_cpu *c, uint16_t sel, uint64_t off, unsigned opsize);
void x86_far_call(struct x86_cpu *c, uint16_t sel, uint64_t off, unsigned opsize, uint64_t next);
void x86_far_ret(struct x86_cpu *c, unsigned opsize, uint16_t pop_bytes);
void x86_iret(struct x86_cpu *c, unsigned opsize);
void x86_syscall(struct x86_cpu *c, uint64_t next);
void x86_sysret(struct x86_cpu *c, unsigned opsize); /* 4 or 8 */
void x86_sysenter(struct x86_cpu *c);
void x86_sysexit(struct x86_cpu *c, unsigned opsize);

/* --- exc.c: exceptions and interrupts [branch] (SDM 3A 6) --- */
enum x86_int_kind {
	X86_INT_SOFT,	  /* INT n: rip pushed = next */
	X86_INT_SOFT_BP,  /* INT3, INTO: like INT n, but no business of IOPL or VME in V86 mode */
	X86_INT_ICEBP,	  /* INT1 */
};
void x86_int_soft(struct x86_cpu *c, uint8_t vector, enum x86_int_kind kind, uint64_t next);
/* x86_deliver - deliver c->exc (after an unwind) through the IDT, with #DF and shutdown rules: a triple
 * fault sets c->shutdown and returns.  Sets its own unwind. */
void x86_deliver(struct x86_cpu *c);
/* x86_poll_events - at an instruction boundary with c->events != 0 or s.exc_pending: deliver what may be
 * delivered now (exc_pending, INIT, SIPI, NMI, INTR subject to IF and shadows; TLB flush; EXCL parks).
 * Returns true when run() must return to the machine (X86_EV_EXIT, shutdown, now halted or
 * waiting for SIPI).  Sets its own unwind.  Wakes from HLT by clearing mp_state HALTED when it delivers. */
bool x86_poll_events(struct x86_cpu *c);
/* x86_poll_inner - the part of it that does not come from outside (EXCL, TLB flush, exc_pending), for
 * deterministic running; true when the vCPU cannot go on. */
bool x86_poll_inner(struct x86_cpu *c);
/* x86_after_insn - after an instruction run with c->single set: single-step and breakpoint #DB traps.  tf:
 * RFLAGS.TF before the instruction.  True when a #DB was delivered. */
bool x86_after_insn(struct x86_cpu *c, bool tf);
/* x86_before_insn - instruction breakpoints (DR0-3, unless RF) at s.rip: true when a #DB was delivered. */
bool x86_before_insn(struct x86_cpu *c);
/* x86_io_break - IN or OUT touched a port: note I/O breakpoints (CR4.DE) for x86_after_insn.  Call when
 * c->single. */
void x86_io_break(struct x86_cpu *c, uint16_t port, unsigned size);

/* --- cr.c: control, debug, extended control registers (SDM 3A 2.5, 17.2) --- */
/* x86_set_cr - MOV to CR0/2/3/4/8: checks (#GP), PAE PDPTE load, mode and TLB effects. */
void x86_set_cr(struct x86_cpu *c, unsigned cr, uint64_t val);
uint64_t x86_get_cr(struct x86_cpu *c, unsigned cr); /* #UD for unknown ones */
void x86_set_dr(struct x86_cpu *c, unsigned dr, uint64_t val);
uint64_t x86_get_dr(struct x86_cpu *c, unsigned dr);
void x86_xsetbv(struct x86_cpu *c, uint32_t index, uint64_t val);
uint64_t x86_xgetbv(struct x86_cpu *c, uint32_t index);
void x86_invlpg(struct x86_cpu *c, uint64_t lin);
void x86_invpcid(struct x86_cpu *c, uint64_t type, uint64_t desc_lo, uint64_t desc_hi);
void x86_lmsw(struct x86_cpu *c, uint16_t val);

/* --- msr.c, cpuid.c, kvmpv.c --- */
/* x86_rdmsr/x86_wrmsr - #GP for unknown or reserved; CPL is checked by the caller. */
uint64_t x86_rdmsr(struct x86_cpu *c, uint32_t index);
void x86_wrmsr(struct x86_cpu *c, uint32_t index, uint64_t val);
uint64_t x86_rdtsc(struct x86_cpu *c); /* #GP by CR4.TSD is the caller's */
/* x86_hypercall - VMCALL/VMMCALL: nr in RAX, args RBX RCX RDX RSI; result to RAX (KVM ABI). */
void x86_hypercall(struct x86_cpu *c);
/* x86_kvmpv_reset - forget all paravirtual areas (CPU reset). */
void x86_kvmpv_reset(struct x86_cpu *c);
/* x86_kvmpv_halt/x86_kvmpv_resume - steal-time "preempted" around sleep: PV TLB flush requests made while
 * asleep are done on resume. */
void x86_kvmpv_halt(struct x86_cpu *c);
void x86_kvmpv_resume(struct x86_cpu *c);

/* x86_report - print the state of a dead or debugged guest: registers, segments, control registers, code
 * bytes around RIP, the last exceptions.  emit is called per line. */
void x86_report(struct x86_cpu *c, void (*emit)(void *opaque, const char *line), void *opaque);
