/* SPDX-License-Identifier: Apache-2.0 */
/* Interrupts through the local APIC: IPIs to self, the shadow of STI, HLT, NMI and its blocking
 * until IRET, priority by CR8 (SDM 3A 6, 10). */
/* bm: bits=64 */
#include "bm.h"

#define APIC(reg) (*(volatile uint32_t *)(0xfee00000ul + (reg)))
#define ICR_LO 0x300
#define ICR_HI 0x310
#define SELF 0x40000u
#define DELIVER_NMI 0x400u

SNIPPET(s_sti_nop, "sti\n\tnop\n\tnop\n\tcli");
SNIPPET(s_sti_cli, "sti\n\tcli\n\tnop");
SNIPPET(s_sti_movss, "mov %ss, %eax\n\tsti\n\tmov %eax, %ss\n\tnop\n\tnop\n\tcli");
SNIPPET(s_sti_hlt, "sti\n\thlt\n\tcli");
SNIPPET(s_nop, "nop");
SNIPPET(s_popf, "pushfq\n\torl $0x200, (%rsp)\n\tpopfq\n\tnop\n\tcli");
SNIPPET(s_self_nmi, "movl $0x40400, (%rax)\n\tmov $1000, %ecx\n1:\tpause\n\tdec %ecx\n\tjnz 1b");

static ulong irq_at[8];
static unsigned irq_n, irq_vec[8];

static void eoi(void)
{
	APIC(0xb0) = 0;
}

static bool irq_hook(struct regs *r)
{
	if (irq_n < 8) {
		irq_at[irq_n] = r->ip;
		irq_vec[irq_n] = (unsigned)r->vector;
	}
	irq_n++;
	eoi();
	return true;
}

static void ipi(unsigned vector)
{
	APIC(ICR_LO) = SELF | vector;
}

static void run_irq(const char *snippet)
{
	irq_n = 0;
	run_k(snippet);
	check_ok("snippet");
}

static void maskable(void)
{
	bm_hook[0x40] = irq_hook;
	bm_hook[0x51] = irq_hook;
	APIC(0xf0) = 0x1ff;
	check_eq("APIC version", APIC(0x30) & 0xf0, 0x10);
	ipi(0x40);
	check_eq("pending in IRR", APIC(0x200 + 0x20) & 1, 1);
	run_irq(s_nop);
	check_eq("not with IF clear", irq_n, 0);
	run_irq(s_sti_nop);
	check_eq("taken after STI", irq_n, 1);
	check_eq("one instruction later", irq_at[0], (ulong)s_sti_nop + 2);
	check_eq("gone from IRR", APIC(0x220) & 1, 0);
	ipi(0x40);
	run_irq(s_sti_cli);
	check_eq("never between STI and CLI", irq_n, 0);
	run_irq(s_popf);
	check_eq("POPF has no shadow", irq_at[0], (ulong)s_popf + 9);
	ipi(0x40);
	run_irq(s_sti_movss);
	/* Whether the second of two shadows counts is not defined (SDM 2 STI). */
	check("STI, MOV SS",
	      irq_at[0] == (ulong)s_sti_movss + 5 || irq_at[0] == (ulong)s_sti_movss + 6);
	ipi(0x40);
	run_irq(s_sti_hlt);
	check_eq("HLT ends", irq_n, 1);
	check_eq("after HLT", irq_at[0], (ulong)s_sti_hlt + 2);
	ipi(0x40);
	ipi(0x51);
	run_irq(s_sti_nop);
	check_eq("two", irq_n, 2);
	check_eq("higher first", irq_vec[0], 0x51);
	check_eq("then lower", irq_vec[1], 0x40);
	__asm__ volatile("mov %0, %%cr8" : : "r"(4ul));
	ipi(0x40);
	run_irq(s_sti_nop);
	check_eq("CR8 holds class 4", irq_n, 0);
	check_eq("TPR is CR8", APIC(0x80), 0x40);
	ipi(0x51);
	run_irq(s_sti_nop);
	check_eq("not class 5", irq_n, 1);
	__asm__ volatile("mov %0, %%cr8" : : "r"(0ul));
	run_irq(s_sti_nop);
	check_eq("until it is lowered", irq_n, 1);
	/* In user mode, to the stack of the TSS. */
	ipi(0x40);
	irq_n = 0;
	in.flags = FL_IF;
	run_u(s_nop);
	check_ok("user");
	check_eq("interrupts the user at once", irq_n, 1);
	check_eq("at its first instruction", irq_at[0], (ulong)s_nop + USER);
}

static unsigned nmi_n, nmi_depth, nmi_max;

static bool nmi_hook(struct regs *r)
{
	nmi_n++;
	nmi_depth++;
	if (nmi_depth > nmi_max)
		nmi_max = nmi_depth;
	if (nmi_n == 1) {
		/* A second one, held until IRET. */
		APIC(ICR_LO) = SELF | DELIVER_NMI;
		for (unsigned i = 0; i < 1000; i++)
			__asm__ volatile("pause");
	}
	nmi_depth--;
	return true;
}

/* An IRET inside the handler (of an exception there) unblocks NMIs. */
static bool nmi_nested_hook(struct regs *r)
{
	nmi_n++;
	nmi_depth++;
	if (nmi_depth > nmi_max)
		nmi_max = nmi_depth;
	if (nmi_n == 1) {
		APIC(ICR_LO) = SELF | DELIVER_NMI;
		__asm__ volatile("int3");
		for (unsigned i = 0; i < 1000; i++)
			__asm__ volatile("pause");
	}
	nmi_depth--;
	return true;
}

static bool bp_hook(struct regs *r)
{
	return true;
}

static void nmis(void)
{
	bm_hook[NMI] = nmi_hook;
	in.ax = 0xfee00000 + ICR_LO;
	run_k(s_self_nmi);
	check_ok("NMI to self");
	check_eq("two NMIs", nmi_n, 2);
	check_eq("one after the other", nmi_max, 1);
	nmi_n = nmi_max = 0;
	bm_hook[NMI] = nmi_nested_hook;
	bm_hook[BP] = bp_hook;
	in.ax = 0xfee00000 + ICR_LO;
	run_k(s_self_nmi);
	check_eq("two NMIs again", nmi_n, 2);
	check_eq("nested after an IRET", nmi_max, 2);
	bm_hook[BP] = NULL;
}

static void timer(void)
{
	bm_hook[0x40] = irq_hook;
	APIC(0x3e0) = 0xb;
	APIC(0x320) = 0x40;
	APIC(0x380) = 100000;
	run_irq(s_sti_hlt);
	check_eq("the timer ends HLT", irq_n, 1);
	check_eq("one shot", APIC(0x390), 0);
	APIC(0x320) = 0x10000;
}

void image_main(void)
{
	maskable();
	nmis();
	timer();
}
