/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What the files of segmentation, control transfer and event delivery share: descriptors, stacks
 * that are not yet SS:RSP, error codes, task switches.  Every function here may unwind (x86/cpu.h).
 */
#include "x86/cpu.h"
#include "x86/mmu.h"
#include "x86/sys.h"

/* cpu->delivering: what is being delivered, zero outside of x86_deliver and x86_poll_events. */
#define DELIVERING_EXT BIT(0) /* the EXT bit of error codes (SDM 3A 6.13) */
#define DELIVERING BIT(1)
#define DELIVERING_CONTRIBUTORY BIT(2) /* classes of table 6-5; none of them: benign */
#define DELIVERING_PF BIT(3)
#define DELIVERING_DF BIT(4)

/* Types of system descriptors (SDM 3A 3.5, table 3-2). */
enum sys_type {
	SYS_TSS16 = 1,
	SYS_LDT = 2,
	SYS_TSS16_BUSY = 3,
	SYS_CALL16 = 4,
	SYS_TASK_GATE = 5,
	SYS_INT16 = 6,
	SYS_TRAP16 = 7,
	SYS_TSS32 = 9, /* 64-bit TSS in IA-32e mode, and so on */
	SYS_TSS32_BUSY = 11,
	SYS_CALL32 = 12,
	SYS_INT32 = 14,
	SYS_TRAP32 = 15,
};
#define SYS_TSS_BUSY BIT(1)

#define DR6_BD BIT(13)
#define DR6_BS BIT(14)
#define DR6_BT BIT(15)
#define DR7_GD BIT(13)

/* A descriptor as it lies in a table; hi2 is bits 95:64 of the 16-byte ones of IA-32e mode. */
struct desc {
	uint32_t lo, hi, base_hi;
	uint64_t addr; /* where it was read from */
};

static inline bool sel_null(uint16_t sel)
{
	return !(sel & 0xfffc);
}

static inline unsigned sel_rpl(uint16_t sel)
{
	return sel & 3;
}

static inline uint16_t desc_attr(const struct desc *d)
{
	return (uint16_t)((d->hi >> 8) & 0xf0ff);
}

static inline uint64_t desc_base(const struct desc *d)
{
	return (d->lo >> 16) | (d->hi & 0xff) << 16 | (d->hi & 0xff000000);
}

static inline uint32_t desc_limit(const struct desc *d)
{
	uint32_t limit = (d->lo & 0xffff) | (d->hi & 0xf0000);

	return d->hi & BIT(23) ? limit << 12 | 0xfff : limit;
}

static inline unsigned desc_dpl(const struct desc *d)
{
	return (d->hi >> 13) & 3;
}

static inline bool desc_present(const struct desc *d)
{
	return d->hi & BIT(15);
}

static inline bool desc_is_code(const struct desc *d)
{
	return (d->hi & (BIT(12) | BIT(11))) == (BIT(12) | BIT(11));
}

static inline bool desc_is_system(const struct desc *d)
{
	return !(d->hi & BIT(12));
}

/* desc_conforming - of a code segment. */
static inline bool desc_conforming(const struct desc *d)
{
	return d->hi & BIT(10);
}

/* desc_writable_data - what SS must be. */
static inline bool desc_writable_data(const struct desc *d)
{
	return (d->hi & (BIT(12) | BIT(11) | BIT(9))) == (BIT(12) | BIT(9));
}

static inline enum sys_type desc_type(const struct desc *d)
{
	return (enum sys_type)((d->hi >> 8) & 0xf);
}

static inline bool desc_code64(const struct desc *d)
{
	return d->hi & BIT(21);
}

static inline bool desc_code32(const struct desc *d)
{
	return d->hi & BIT(22);
}

static inline bool sys_lma(const struct x86_cpu *c)
{
	return c->s.efer & EFER_LMA;
}

static inline bool sys_code64(const struct x86_cpu *c)
{
	return c->mode & X86_MODE_CS64;
}

/* sys_real - real-address mode or virtual-8086 mode: segments are paragraphs. */
static inline bool sys_real(const struct x86_cpu *c)
{
	return !(c->s.cr0 & CR0_PE) || (c->s.rflags & RFLAGS_VM);
}

static inline uint32_t sys_ext(const struct x86_cpu *c)
{
	return c->delivering & DELIVERING_EXT;
}

/* sys_fault - raise vector with a selector error code (0 for none), EXT as it must be now. */
static inline void __attribute__((noreturn))
sys_fault(struct x86_cpu *c, uint8_t vector, uint16_t sel)
{
	x86_raise_err(c, vector, (sel & 0xfffc) | sys_ext(c));
}

/* --- seg.c --- */
/* desc_read - the 8 bytes that sel names; false when the table does not reach so far. */
bool desc_read(struct x86_cpu *c, uint16_t sel, struct desc *d);
/* desc_read_upper - in IA-32e mode, the upper half of a 16-byte system descriptor already read:
 * false when outside of the table or its type field is not 0.  In other modes base_hi is 0. */
bool desc_read_upper(struct x86_cpu *c, uint16_t sel, struct desc *d);
/* desc_mark_accessed - set the accessed bit of a code or data segment, in memory and in *d. */
void desc_mark_accessed(struct x86_cpu *c, struct desc *d);
/* desc_set_busy - set or clear the busy bit of a TSS descriptor. */
void desc_set_busy(struct x86_cpu *c, struct desc *d, bool busy);
/* seg_from_desc - the register image of a code or data segment. */
struct x86_segment seg_from_desc(uint16_t sel, const struct desc *d);
/* seg_null - the image of a register loaded with a null selector. */
struct x86_segment seg_null(uint16_t sel);
/* seg_paragraph - set a segment register as real-address and virtual-8086 mode do. */
void seg_paragraph(struct x86_cpu *c, enum x86_sreg sreg, uint16_t sel);
/* seg_v86 - the image of a register in virtual-8086 mode. */
struct x86_segment seg_v86(uint16_t sel);
/* seg_drop_inner - after a return to an outer level: data segments it may not keep become null. */
void seg_drop_inner(struct x86_cpu *c);
/* seg_in_limit - the bounds check of x86_lin for a register image: is off..off+size-1 inside? */
bool seg_in_limit(const struct x86_segment *s, uint64_t off, unsigned size);

/* --- stack.c: a stack by its own segment image, width and privilege; nothing commits. --- */
struct stk {
	struct x86_segment seg;
	uint64_t sp;
	uint64_t mask; /* 0xffff, 0xffffffff or all ones */
	enum x86_view view;
	uint16_t err; /* selector for #SS */
	bool code64; /* flat and canonical instead of limited */
};

/* stk_current - SS:RSP as they are. */
void stk_current(const struct x86_cpu *c, struct stk *k);
/* stk_init - a stack to be, for code of privilege cpl; code64: in 64-bit mode. */
void stk_init(const struct x86_cpu *c, struct stk *k, const struct x86_segment *seg, uint64_t sp,
	      unsigned cpl, bool code64);
/* stk_room - #SS unless n values of size bytes can be pushed. */
void stk_room(struct x86_cpu *c, const struct stk *k, unsigned n, unsigned size);
void stk_push(struct x86_cpu *c, struct stk *k, uint64_t val, unsigned size);
uint64_t stk_pop(struct x86_cpu *c, struct stk *k, unsigned size);
/* stk_commit - RSP := sp within the stack's width. */
void stk_commit(struct x86_cpu *c, const struct stk *k);
/* stk_inner - the stack for privilege dpl from the current TSS (SDM 3A 5.8.5, 6.12.1), all its
 * checks done: *ss is the image for SS, *sp the stack pointer.  ist: 1..7 in IA-32e mode, or 0. */
void stk_inner(struct x86_cpu *c, unsigned dpl, unsigned ist, struct x86_segment *ss, uint64_t *sp);
/* sys_view - rights of explicit accesses by code of privilege cpl. */
enum x86_view sys_view(const struct x86_cpu *c, unsigned cpl);
/* sys_ld/sys_st - explicit accesses at another privilege than the current one; size 1, 2, 4, 8.
 * Outside of IA-32e mode the address wraps at 4 GiB. */
uint64_t sys_ld(struct x86_cpu *c, uint64_t va, unsigned size, enum x86_view view);
void sys_st(struct x86_cpu *c, uint64_t va, uint64_t val, unsigned size, enum x86_view view);

/* --- xfer.c --- */
/* xfer_check_rip - is rip a legal target in the code segment cs?  #GP(0 or EXT) if not. */
void xfer_check_rip(struct x86_cpu *c, const struct x86_segment *cs, uint64_t rip);
/* xfer_check_stack - SS for a return to privilege cpl: image in *ss; code64: target is 64-bit code.
 */
void xfer_check_stack(struct x86_cpu *c, uint16_t sel, unsigned cpl, bool code64,
		      struct x86_segment *ss);
/* xfer_check_return - the code descriptor of a return: all checks; *cs is the image for CS. */
void xfer_check_return(struct x86_cpu *c, uint16_t sel, struct x86_segment *cs);
/* xfer_flat - the fixed code and stack segments of SYSCALL and its kin. */
struct x86_segment xfer_flat_code(uint16_t sel, unsigned dpl, bool code64);
struct x86_segment xfer_flat_stack(uint16_t sel, unsigned dpl);

/* --- task.c --- */
enum task_reason { TASK_JMP, TASK_CALL, TASK_INT, TASK_IRET };
/* task_switch - switch to the TSS that sel names; its type, privilege and presence have been
 * checked and *d is its descriptor.  next: RIP to save in the old task, flags: RFLAGS to save
 * there.  [branch] */
void task_switch(struct x86_cpu *c, uint16_t sel, struct desc *d, enum task_reason reason,
		 uint64_t next, uint64_t flags);
/* task_next_rip - where the instruction at s.rip ends; for those that switch tasks and are not
 * told. */
uint64_t task_next_rip(struct x86_cpu *c);
/* task_gate_target - checks of the TSS behind a task gate; vector of type errors: #GP. */
uint16_t task_gate_target(struct x86_cpu *c, const struct desc *gate, struct desc *tss);

/* --- exc.c --- */
enum event_kind {
	EVENT_FAULT, /* an exception that an instruction raised */
	EVENT_TRAP, /* #DB after an instruction or before it: RF is pushed as it is */
	EVENT_SOFT, /* INT n */
	EVENT_SOFT_BP, /* INT3, INTO */
	EVENT_ICEBP,
	EVENT_NMI,
	EVENT_INTR,
};

struct event {
	uint64_t rip; /* to push */
	uint32_t error;
	uint8_t vector;
	uint8_t kind; /* enum event_kind */
	bool has_error;
};

/* event_deliver - deliver *ev with #DF and shutdown rules; own unwind. */
void event_deliver(struct x86_cpu *c, const struct event *ev);
