/* SPDX-License-Identifier: Apache-2.0 */
/* Ways between the modes: protected to real and back, big real mode, interrupts in real mode,
 * protected to long, to compatibility mode and back to protected (SDM 3A 9.8, 9.9, 20.1). */
/* bm: bits=32 */
#include "bm.h"

#define LOW 0x3000u /* where 16-bit code is copied to */
#define IVT(n) (((volatile uint32_t *)4)[(int)(n)-1])

/* Results of the assembly below, by address. */
volatile uint32_t out[32];
extern const char real_code[], real_end[];
void go_real(void);
void go_long(void);
uint32_t modes_saved_sp;
uint32_t long_pml4[1024] __attribute__((aligned(4096)));
uint32_t long_pdpt[1024] __attribute__((aligned(4096)));
uint32_t long_pd[1024] __attribute__((aligned(4096)));

/*
 * go_real: through 16-bit protected mode into real mode at LOW, which records what it sees and
 * comes back. Selectors: 0x50 16-bit code based at LOW, 0x58 16-bit data.
 */
__asm__(".pushsection .text\n"
	".globl go_real\n"
	"go_real:\n"
	"	pusha\n"
	"	mov %esp, modes_saved_sp\n"
	"	ljmp $0x50, $0\n"
	"back_from_real:\n"
	"	mov $0x10, %eax\n"
	"	mov %eax, %ds\n"
	"	mov %eax, %es\n"
	"	mov %eax, %ss\n"
	"	xor %eax, %eax\n"
	"	mov %eax, %fs\n"
	"	mov %eax, %gs\n"
	"	mov modes_saved_sp, %esp\n"
	"	popa\n"
	"	ret\n"
	".code16\n"
	"real_code:\n"
	"	mov $0x58, %ax\n" /* limits of 64 KiB for real mode */
	"	mov %ax, %ds\n"
	"	mov %ax, %ss\n"
	"	mov $0x10, %ax\n" /* but 4 GiB in FS */
	"	mov %ax, %fs\n"
	"	mov %cr0, %eax\n"
	"	and $0xfe, %al\n"
	"	mov %eax, %cr0\n"
	"	ljmp $0x300, $1f - real_code\n"
	"1:	xor %ax, %ax\n"
	"	mov %ax, %ds\n"
	"	mov %ax, %es\n"
	"	mov %ax, %ss\n"
	"	mov $0x2000, %sp\n"
	"	lidt %cs:real_idt - real_code\n"
	"	mov $out, %edi\n"
	"	mov %cs, %ax\n"
	"	movl %eax, %fs:(%edi)\n" /* 0: CS */
	"	smsw %ax\n"
	"	movl %eax, %fs:4(%edi)\n" /* 1: PE clear */
	"	mov $0x600, %ax\n"
	"	mov %ax, %fs\n" /* big real mode survives a load */
	"	mov $0x1234, %ax\n"
	"	movw %ax, %fs:0\n"
	"	movw 0x6000, %bx\n"
	"	mov $out - 0x6000, %edi\n"
	"	movw %bx, %fs:8(%edi)\n" /* 2: paragraph base and 4 GiB limit together */
	"	movw $0, %es:0x40\n"
	"	int $0x30\n"
	"	movl %ecx, %fs:12(%edi)\n" /* 3: the handler was here */
	"	movl %edx, %fs:16(%edi)\n" /* 4: FLAGS it saw */
	"	pushfl\n"
	"	popl %eax\n"
	"	movl %eax, %fs:20(%edi)\n" /* 5 */
	"	xor %cx, %cx\n"
	"	mov $5, %ax\n"
	"	div %cl\n" /* #DE: handler skips two bytes */
	"	movl %esi, %fs:24(%edi)\n" /* 6: IP pushed by #DE */
	"	mov $-1, %bx\n"
	"	xor %esi, %esi\n"
	"	movw (%bx), %ax\n" /* #GP: word at ffff */
	"	movl %esi, %fs:28(%edi)\n" /* 7 */
	"	mov $0x12345678, %eax\n"
	"	pushl %eax\n"
	"	popw %bx\n"
	"	popw %cx\n"
	"	movw %cx, %fs:32(%edi)\n" /* 8: high half */
	"	lcall $0x300, $5f - real_code\n"
	"	movl %ebp, %fs:36(%edi)\n" /* 9 */
	"	mov $0x51, %ax\n"
	"	mov %ax, %gs\n"
	"	mov %gs, %ax\n"
	"	movw %ax, %fs:40(%edi)\n" /* 10: any selector goes */
	"	lmsw %cs:one - real_code\n" /* back by LMSW */
	"	ljmpl $0x08, $back_from_real\n"
	"5:	mov $0x5a5a, %ebp\n"
	"	lret\n"
	"	.globl h_int, h_div, h_gp\n"
	"h_int:	mov $0x77, %ecx\n"
	"	pushfl\n"
	"	popl %edx\n"
	"	iret\n"
	"h_div:	mov %sp, %bp\n"
	"	movw (%bp), %si\n"
	"	addw $2, (%bp)\n"
	"	iret\n"
	"h_gp:	mov %sp, %bp\n"
	"	addw $2, (%bp)\n"
	"	mov $0xd, %esi\n"
	"	iret\n"
	"	.balign 2\n"
	"one:	.word 0x33\n"
	"real_idt: .word 0x3ff, 0, 0\n"
	"real_end:\n"
	".code32\n"
	".popsection");

/* go_long: 4-level tables at long_pml4, into compatibility mode, 64-bit mode and all the way back.
 */
__asm__(".pushsection .text\n"
	".globl go_long\n"
	"go_long:\n"
	"	pusha\n"
	"	mov %esp, modes_saved_sp\n"
	"	mov %cr4, %eax\n"
	"	or $0x20, %eax\n"
	"	mov %eax, %cr4\n"
	"	mov $long_pml4, %eax\n"
	"	mov %eax, %cr3\n"
	"	mov $0xc0000080, %ecx\n"
	"	rdmsr\n"
	"	mov %eax, out + 44\n" /* 11: EFER before */
	"	or $0x100, %eax\n"
	"	wrmsr\n"
	"	rdmsr\n"
	"	mov %eax, out + 48\n" /* 12: LME, not LMA */
	"	mov %cr0, %eax\n"
	"	or $0x80000000, %eax\n"
	"	mov %eax, %cr0\n"
	"	jmp 1f\n"
	"1:	rdmsr\n"
	"	mov %eax, out + 52\n" /* 13: LMA, in compatibility mode */
	"	xor %eax, %eax\n"
	"	.byte 0x40, 0x90\n" /* inc %eax here, REX in 64-bit mode */
	"	mov %eax, out + 56\n" /* 14 */
	"	mov $out, %edi\n"
	"	mov $back_to_compat, %ebp\n"
	"	ljmp $0x68, $2f\n"
	".code64\n"
	"2:	mov %edi, %edi\n"
	"	xor %eax, %eax\n"
	"	.byte 0x40, 0x90\n"
	"	mov %eax, 60(%rdi)\n" /* 15 */
	"	movabs $0x1122334455667788, %r9\n"
	"	mov %r9, 64(%rdi)\n" /* 16, 17 */
	"	mov $-1, %rbx\n"
	"	mov $5, %ebx\n" /* upper half clears */
	"	mov %rbx, %rcx\n"
	"	shr $32, %rcx\n"
	"	mov %ecx, 72(%rdi)\n" /* 18 */
	"	push %rbp\n"
	"	movl $0x08, 4(%rsp)\n"
	"	lretl\n"
	".code32\n"
	"back_to_compat:\n"
	"	mov %cr0, %eax\n"
	"	and $0x7fffffff, %eax\n"
	"	mov %eax, %cr0\n"
	"	jmp 1f\n"
	"1:	mov $0xc0000080, %ecx\n"
	"	rdmsr\n"
	"	mov %eax, out + 76\n" /* 19: LMA gone */
	"	and $~0x100, %eax\n"
	"	wrmsr\n"
	"	mov %cr4, %eax\n"
	"	and $~0x20, %eax\n"
	"	mov %eax, %cr4\n"
	"	mov modes_saved_sp, %esp\n"
	"	popa\n"
	"	ret\n"
	".popsection");

extern const char h_int[], h_div[], h_gp[];

static uint32_t ivt_entry(const char *handler)
{
	return 0x300u << 16 | (uint32_t)(handler - real_code);
}

static void real_mode(void)
{
	__builtin_memcpy((void *)LOW, real_code, (size_t)(real_end - real_code));
	IVT(0x30) = ivt_entry(h_int);
	IVT(DE) = ivt_entry(h_div);
	IVT(GP) = ivt_entry(h_gp);
	gdt[0x50 / 8] = seg_desc(LOW, 0xffff, 0x9b, 0);
	gdt[0x58 / 8] = seg_desc(0, 0xffff, 0x93, 0);
	out[3] = 0;
	go_real();
	idt_load(256 * 8 - 1);
	check_eq("real mode CS", out[0] & 0xffff, 0x300);
	check_eq("PE is clear", out[1] & 1, 0);
	check_eq("big real mode", out[2] & 0xffff, 0x1234);
	check_eq("INT n through the vector table", out[3], 0x77);
	check_eq("IF and TF clear in the handler", out[4] & 0x300, 0);
	check("#DE", out[6] != 0);
	check("#GP beyond 64 KiB", out[7] == 0xd || bm_tcg());
	check_eq("a doubleword on a 16-bit stack", out[8] & 0xffff, 0x1234);
	check_eq("far call and return", out[9], 0x5a5a);
	check_eq("any selector", out[10] & 0xffff, 0x51);
	check_eq("back in protected mode", rd_cr0() & 1, 1);
}

static void long_mode(void)
{
	if (!cpu_has(0x80000001, 3, 29)) {
		check("no long mode", true);
		return;
	}
	long_pml4[0] = (uint32_t)(ulong)long_pdpt | 3;
	long_pdpt[0] = (uint32_t)(ulong)long_pd | 3;
	for (unsigned i = 0; i < 512; i++)
		long_pd[2 * i] = i << 21 | 0x83;
	gdt[0x68 / 8] = seg_desc(0, 0xfffff, 0x9b, 0xa);
	go_long();
	check_eq("EFER before", out[11] & 0x500, 0);
	check_eq("LME waits for PG", out[12] & 0x500, 0x100);
	check_eq("LMA", out[13] & 0x500, 0x500);
	check_eq("compatibility mode first", out[14], 1);
	check_eq("then 64-bit mode", out[15], 0);
	check_eq("64-bit register, low", out[16], 0x55667788);
	check_eq("high", out[17], 0x11223344);
	check_eq("32-bit results clear the upper half", out[18], 0);
	check_eq("LMA goes with PG", out[19] & 0x500, 0x100);
	check_eq("and LME", rdmsr(EFER) & 0x500, 0);
}

void image_main(void)
{
	for (unsigned i = 0; i < 2; i++) {
		real_mode();
		long_mode();
	}
}
