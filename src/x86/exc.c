/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Delivery of exceptions and interrupts (SDM 3A chapter 6, 20.2, 20.3; SDM 2, INT n).
 *
 * An event goes through the interrupt vector table (real-address mode; virtual-8086 mode when VME
 * redirects INT n), a gate of the 32-bit IDT, or a gate of the 64-bit IDT.  Each way reads and
 * checks everything, pushes its frame, and commits registers last, so a fault on the way leaves the
 * interrupted state as it was: event_deliver() catches it and decides by the classes of table 6-5
 * whether it is delivered in place of the first event, becomes a double fault, or shuts the
 * processor down.  A task gate is the exception: a fault in the second half of its task switch
 * belongs to the new task (task.c).
 *
 * Software interrupts do not come this way first: they run inside their instruction, so a fault
 * unwinds to the engine like that of any instruction and EXT stays 0.
 *
 * RF (SDM 3A 17.3.1.1) is set in the image pushed for faults; interrupts, traps, instruction
 * breakpoints push it as it is.
 */
#include "x86/debug.h"
#include "x86/sys_int.h"

static bool soft(const struct event *ev)
{
	return ev->kind == EVENT_SOFT || ev->kind == EVENT_SOFT_BP;
}

/* Error code that names an IDT entry. */
static void __attribute__((noreturn)) idt_fault(struct x86_cpu *c, uint8_t vector, uint8_t entry)
{
	x86_raise_err(c, vector, (uint32_t)entry << 3 | 2 | sys_ext(c));
}

/* RFLAGS as pushed for ev. */
static uint64_t pushed_flags(const struct x86_cpu *c, const struct event *ev)
{
	uint64_t flags = x86_rflags(c);

	if (ev->kind == EVENT_FAULT && ev->vector != X86_DF && ev->vector != X86_MC)
		flags |= RFLAGS_RF;
	else if (soft(ev) || ev->kind == EVENT_ICEBP)
		flags &= ~RFLAGS_RF;
	return flags;
}

/* --- real-address mode, and INT n that stays in virtual-8086 mode --- */

/* flags: the image to push; clear: bits of RFLAGS that the handler starts without. */
static void deliver_ivt(struct x86_cpu *c, const struct event *ev, uint64_t table, uint64_t flags,
			uint64_t clear)
{
	uint32_t entry;
	struct stk k;

	entry = (uint32_t)(c->s.rflags & RFLAGS_VM
				   ? sys_ld(c, table + ev->vector * 4u, 4, X86_VIEW_USER)
				   : x86_ld_sys(c, (table + ev->vector * 4u) & 0xffffffff, 4));
	stk_current(c, &k);
	stk_room(c, &k, 3, 2);
	stk_push(c, &k, flags, 2);
	stk_push(c, &k, c->s.seg[X86_CS].sel, 2);
	stk_push(c, &k, ev->rip, 2);
	stk_commit(c, &k);
	x86_set_rflags(c, x86_rflags(c) & ~clear);
	seg_paragraph(c, X86_CS, (uint16_t)(entry >> 16));
	c->s.rip = entry & 0xffff;
	x86_update_mode(c);
}

static void deliver_real(struct x86_cpu *c, const struct event *ev)
{
	if (ev->vector * 4u + 3 > c->s.idtr.limit)
		idt_fault(c, X86_GP, ev->vector);
	deliver_ivt(c, ev, c->s.idtr.base, pushed_flags(c, ev),
		    RFLAGS_IF | RFLAGS_TF | RFLAGS_AC | RFLAGS_RF);
}

/* Bit of the software-interrupt redirection map, the 32 bytes below the I/O map (SDM 3A 20.3.1). */
static bool vme_redirected_to_idt(struct x86_cpu *c, uint8_t vector)
{
	const struct x86_segment *tr = &c->s.seg[X86_TR];
	uint32_t off;

	if (SEG_TYPE(tr->attr) != SYS_TSS32_BUSY || tr->limit < 103)
		sys_fault(c, X86_GP, 0);
	off = (uint32_t)x86_ld_sys(c, (tr->base + 102) & 0xffffffff, 2) - 32 + vector / 8;
	if (off > tr->limit)
		sys_fault(c, X86_GP, 0);
	return x86_ld_sys(c, (tr->base + off) & 0xffffffff, 1) >> (vector % 8) & 1;
}

/* INT n in virtual-8086 mode (SDM 3A table 20-2): true when done without the IDT. */
static bool deliver_v86_soft(struct x86_cpu *c, const struct event *ev)
{
	bool iopl3 = (c->s.rflags & RFLAGS_IOPL) == RFLAGS_IOPL;
	uint64_t flags = x86_rflags(c);

	if ((c->s.cr4 & CR4_VME) && !vme_redirected_to_idt(c, ev->vector)) {
		if (iopl3) {
			deliver_ivt(c, ev, 0, flags, RFLAGS_IF | RFLAGS_TF | RFLAGS_RF);
			return true;
		}
		flags = bits_set(flags, 9, 9, !!(flags & RFLAGS_VIF)) | RFLAGS_IOPL;
		deliver_ivt(c, ev, 0, flags, RFLAGS_VIF | RFLAGS_TF | RFLAGS_RF);
		return true;
	}
	if (!iopl3)
		sys_fault(c, X86_GP, 0);
	return false;
}

/* --- protected mode and IA-32e mode --- */

/* A gate, unpacked, and the code segment behind it. */
struct int_gate {
	uint64_t off;
	uint16_t sel;
	bool trap; /* IF stays */
	unsigned size; /* of what is pushed: 2, 4, 8 bytes */
	unsigned ist;
	struct desc cs;
	bool inner; /* more privileged than now */
};

static void read_gate(struct x86_cpu *c, const struct event *ev, struct desc *d)
{
	unsigned size = sys_lma(c) ? 16 : 8;
	uint64_t raw;

	if (ev->vector * size + size - 1 > c->s.idtr.limit)
		idt_fault(c, X86_GP, ev->vector);
	d->addr = c->s.idtr.base + ev->vector * size;
	if (!sys_lma(c))
		d->addr &= 0xffffffff;
	raw = x86_ld_sys(c, d->addr, 8);
	d->lo = (uint32_t)raw;
	d->hi = (uint32_t)(raw >> 32);
	d->base_hi = sys_lma(c) ? (uint32_t)x86_ld_sys(c, d->addr + 8, 4) : 0;
}

/* Type, privilege and presence of an IDT entry. */
static void check_gate(struct x86_cpu *c, const struct event *ev, const struct desc *d)
{
	bool known;

	switch (desc_is_system(d) ? desc_type(d) : 0) {
	case SYS_INT32:
	case SYS_TRAP32:
		known = true;
		break;
	case SYS_INT16:
	case SYS_TRAP16:
	case SYS_TASK_GATE:
		known = !sys_lma(c);
		break;
	default:
		known = false;
		break;
	}
	if (!known || (soft(ev) && desc_dpl(d) < x86_cpl(&c->s)))
		idt_fault(c, X86_GP, ev->vector);
	if (!desc_present(d))
		idt_fault(c, X86_NP, ev->vector);
}

static void open_gate(struct x86_cpu *c, const struct desc *d, struct int_gate *g)
{
	g->sel = (uint16_t)(d->lo >> 16);
	g->off = (d->lo & 0xffff) | (d->hi & 0xffff0000) | (uint64_t)d->base_hi << 32;
	g->trap = desc_type(d) & 1;
	g->ist = 0;
	g->size = 4;
	if (sys_lma(c)) {
		g->size = 8;
		g->ist = d->hi & 7;
	} else if (!(desc_type(d) & 8)) {
		g->size = 2;
		g->off &= 0xffff;
	}
}

/* The code segment behind the gate. */
static void check_gate_code(struct x86_cpu *c, struct int_gate *g)
{
	unsigned cpl = x86_cpl(&c->s), dpl;

	if (sel_null(g->sel))
		sys_fault(c, X86_GP, 0);
	if (!desc_read(c, g->sel, &g->cs) || !desc_is_code(&g->cs) || desc_dpl(&g->cs) > cpl)
		sys_fault(c, X86_GP, g->sel);
	if (sys_lma(c) && (!desc_code64(&g->cs) || desc_code32(&g->cs)))
		sys_fault(c, X86_GP, g->sel);
	if (!desc_present(&g->cs))
		sys_fault(c, X86_NP, g->sel);
	dpl = desc_dpl(&g->cs);
	g->inner = !desc_conforming(&g->cs) && dpl < cpl;
	if ((c->s.rflags & RFLAGS_VM) && (!g->inner || dpl != 0))
		sys_fault(c, X86_GP, g->sel);
}

/* Choose the stack of the handler and make sure that the frame fits. */
static void gate_stack(struct x86_cpu *c, const struct event *ev, const struct int_gate *g,
		       struct stk *k)
{
	unsigned n = 3 + ev->has_error, dpl = desc_dpl(&g->cs);
	struct x86_segment ss;
	uint64_t sp;

	if (g->inner || g->ist) {
		stk_inner(c, dpl, g->ist, &ss, &sp);
		if (sys_lma(c) && !g->inner)
			ss = c->s.seg[X86_SS]; /* SDM 3A 6.14.4: only a change of level nulls SS */
		stk_init(c, k, &ss, sp, g->inner ? dpl : x86_cpl(&c->s), sys_lma(c));
		k->err = sys_lma(c) ? 0 : ss.sel;
		n += 2;
		if (c->s.rflags & RFLAGS_VM)
			n += 4;
	} else {
		stk_current(c, k);
		if (sys_lma(c)) {
			k->code64 = true;
			k->mask = ~UINT64_C(0);
			k->sp = c->s.gpr[X86_RSP];
		}
	}
	if (sys_lma(c)) {
		k->sp &= ~UINT64_C(15); /* SDM 3A 6.14.2 */
		n = 5 + ev->has_error;
	}
	stk_room(c, k, n, g->size);
}

static void push_frame(struct x86_cpu *c, const struct event *ev, const struct int_gate *g,
		       struct stk *k)
{
	static const enum x86_sreg v86[] = {X86_GS, X86_FS, X86_DS, X86_ES};

	if (c->s.rflags & RFLAGS_VM)
		for (unsigned i = 0; i < ARRAY_SIZE(v86); i++)
			stk_push(c, k, c->s.seg[v86[i]].sel, g->size);
	if (g->inner || sys_lma(c)) {
		stk_push(c, k, c->s.seg[X86_SS].sel, g->size);
		stk_push(c, k, c->s.gpr[X86_RSP], g->size);
	}
	stk_push(c, k, pushed_flags(c, ev), g->size);
	stk_push(c, k, c->s.seg[X86_CS].sel, g->size);
	stk_push(c, k, ev->rip, g->size);
	if (ev->has_error)
		stk_push(c, k, ev->error, g->size);
}

static void commit_gate(struct x86_cpu *c, const struct int_gate *g, const struct stk *k,
			const struct x86_segment *cs)
{
	static const enum x86_sreg v86[] = {X86_GS, X86_FS, X86_DS, X86_ES};

	if (c->s.rflags & RFLAGS_VM)
		for (unsigned i = 0; i < ARRAY_SIZE(v86); i++)
			c->s.seg[v86[i]] = seg_null(0);
	c->s.seg[X86_SS] = k->seg;
	stk_commit(c, k);
	c->s.seg[X86_CS] = *cs;
	c->s.rip = g->off;
	c->s.rflags &= ~(RFLAGS_TF | RFLAGS_VM | RFLAGS_RF | RFLAGS_NT);
	if (!g->trap)
		c->s.rflags &= ~RFLAGS_IF;
	x86_update_mode(c);
}

static void deliver_gate(struct x86_cpu *c, const struct event *ev, const struct desc *d)
{
	struct x86_segment cs;
	struct int_gate g;
	unsigned cpl;
	struct stk k;

	open_gate(c, d, &g);
	check_gate_code(c, &g);
	gate_stack(c, ev, &g, &k);
	cpl = g.inner ? desc_dpl(&g.cs) : x86_cpl(&c->s);
	cs = seg_from_desc((uint16_t)((g.sel & 0xfffc) | cpl), &g.cs);
	xfer_check_rip(c, &cs, g.off);
	push_frame(c, ev, &g, &k);
	desc_mark_accessed(c, &g.cs);
	cs.attr = desc_attr(&g.cs);
	commit_gate(c, &g, &k, &cs);
}

static void deliver_task_gate(struct x86_cpu *c, const struct event *ev, const struct desc *d)
{
	struct desc tss;
	uint16_t sel = task_gate_target(c, d, &tss);
	unsigned size = desc_type(&tss) & 8 ? 4 : 2;

	task_switch(c, sel, &tss, TASK_INT, ev->rip, pushed_flags(c, ev));
	if (ev->has_error)
		x86_push(c, ev->error, size);
}

static void deliver_once(struct x86_cpu *c, const struct event *ev)
{
	struct desc d;

	if (!(c->s.cr0 & CR0_PE)) {
		deliver_real(c, ev);
		return;
	}
	if ((c->s.rflags & RFLAGS_VM) && ev->kind == EVENT_SOFT && deliver_v86_soft(c, ev))
		return;
	read_gate(c, ev, &d);
	check_gate(c, ev, &d);
	if (desc_type(&d) == SYS_TASK_GATE)
		deliver_task_gate(c, ev, &d);
	else
		deliver_gate(c, ev, &d);
}

/* --- what comes of a fault during delivery --- */

static const char *const kind_names[] = {
	[EVENT_FAULT] = "exception", [EVENT_TRAP] = "trap",  [EVENT_SOFT] = "INT n",
	[EVENT_SOFT_BP] = "INT3",    [EVENT_ICEBP] = "INT1", [EVENT_NMI] = "NMI",
	[EVENT_INTR] = "interrupt",
};

static void log_event(struct x86_cpu *c, const struct event *ev)
{
	const struct x86_state *s = &c->s;

	if (ev->kind == EVENT_FAULT) {
		struct x86_exc_log *l = &c->exc_log[c->exc_log_n++ % ARRAY_SIZE(c->exc_log)];

		*l = (struct x86_exc_log){
			.rip = ev->rip, .cr2 = s->cr2, .error = ev->error, .vector = ev->vector};
	}
	LOGF(c->log, INT,
	     "cpu %u: %s %02x error %04x cs:ip %04x:%016llx ss:sp %04x:%016llx cpl %u flags %08llx "
	     "cr2 %016llx rax %016llx\n",
	     c->index, kind_names[ev->kind], ev->vector, ev->error, s->seg[X86_CS].sel,
	     (unsigned long long)ev->rip, s->seg[X86_SS].sel, (unsigned long long)s->gpr[X86_RSP],
	     x86_cpl(s), (unsigned long long)x86_rflags(c), (unsigned long long)s->cr2,
	     (unsigned long long)s->gpr[X86_RAX]);
}

/* Class of an event in table 6-5, as bits of c->delivering. */
static uint8_t event_class(const struct event *ev)
{
	uint8_t class = DELIVERING;

	if (!soft(ev))
		class |= DELIVERING_EXT;
	if (ev->kind != EVENT_FAULT)
		return class;
	switch (ev->vector) {
	case X86_DE:
	case X86_TS:
	case X86_NP:
	case X86_SS_FAULT:
	case X86_GP:
		return class | DELIVERING_CONTRIBUTORY;
	case X86_PF:
		return class | DELIVERING_PF;
	case X86_DF:
		return class | DELIVERING_DF;
	default:
		return class;
	}
}

static bool vector_has_error(uint8_t vector)
{
	return vector == X86_DF || (vector >= X86_TS && vector <= X86_PF) || vector == X86_AC ||
	       vector == 21;
}

/* The event for the exception in c->exc. */
static struct event event_of_exc(const struct x86_cpu *c)
{
	/* The only #DB that an instruction raises itself is general detect; a fault. */
	return (struct event){
		.rip = c->s.rip,
		.error = c->exc.has_error ? c->exc.error : 0,
		.vector = c->exc.vector,
		.kind = EVENT_FAULT,
		.has_error = vector_has_error(c->exc.vector),
	};
}

/* The exception in c->exc came up while an event of class `first` was delivered. */
static struct event event_combine(struct x86_cpu *c, uint8_t first)
{
	struct event ev = event_of_exc(c);
	uint8_t second = event_class(&ev);

	if ((first & DELIVERING_DF) && (second & (DELIVERING_CONTRIBUTORY | DELIVERING_PF)))
		c->shutdown = true;
	else if (((first & DELIVERING_CONTRIBUTORY) && (second & DELIVERING_CONTRIBUTORY)) ||
		 ((first & DELIVERING_PF) &&
		  (second & (DELIVERING_CONTRIBUTORY | DELIVERING_PF)))) {
		LOGF(c->log, INT, "cpu %u: exception %02x error %04x while delivering\n", c->index,
		     ev.vector, ev.error);
		ev = (struct event){
			.rip = c->s.rip, .vector = X86_DF, .kind = EVENT_FAULT, .has_error = true};
	}
	return ev;
}

/* One attempt; false when it faulted and c->exc says how. */
static bool deliver_try(struct x86_cpu *c, const struct event *ev)
{
	jmp_buf *outer = c->unwind, here;
	bool done = false;

	c->unwind = &here;
	if (!setjmp(here)) {
		deliver_once(c, ev);
		done = true;
	}
	c->unwind = outer;
	return done;
}

/* What entering a handler does besides: DR7.GD and branch tracing are off in #DB handlers (SDM
 * 3A 17.2.4, 17.4.4), NMIs are blocked in the NMI handler. */
static void delivered(struct x86_cpu *c, const struct event *ev)
{
	if (ev->vector == X86_DB && !soft(ev)) {
		c->s.dr7 &= ~DR7_GD;
		c->s.debugctl &= ~UINT64_C(3);
		x86_update_mode(c);
	}
	c->s.sti_shadow = false;
	c->s.movss_shadow = false;
}

void event_deliver(struct x86_cpu *c, const struct event *first)
{
	struct event ev = *first;

	for (;;) {
		c->delivering = event_class(&ev);
		log_event(c, &ev);
		if (ev.kind == EVENT_NMI)
			c->s.nmi_blocked = true;
		if (deliver_try(c, &ev))
			break;
		ev = event_combine(c, c->delivering);
		if (c->shutdown) {
			log_event(c, &ev);
			LOGF(c->log, INT, "cpu %u: triple fault\n", c->index);
			break;
		}
	}
	c->delivering = 0;
	if (!c->shutdown)
		delivered(c, &ev);
}

void x86_deliver(struct x86_cpu *c)
{
	struct event ev = event_of_exc(c);

	/* An instruction that faults has hit no data breakpoint and takes no step. */
	c->dr6_hits = 0;
	c->step_follows = false;
	event_deliver(c, &ev);
}

void x86_int_soft(struct x86_cpu *c, uint8_t vector, enum x86_int_kind kind, uint64_t next)
{
	static const uint8_t kinds[] = {
		[X86_INT_SOFT] = EVENT_SOFT,
		[X86_INT_SOFT_BP] = EVENT_SOFT_BP,
		[X86_INT_ICEBP] = EVENT_ICEBP,
	};
	struct event ev = {.rip = next, .vector = vector, .kind = kinds[kind]};

	log_event(c, &ev);
	c->delivering = soft(&ev) ? 0 : DELIVERING | DELIVERING_EXT;
	c->step_follows = c->single;
	deliver_once(c, &ev);
	c->delivering = 0;
	delivered(c, &ev);
}
