/* SPDX-License-Identifier: Apache-2.0 */
/* Entry of 64-bit images: multiboot 1 leaves us in 32-bit mode; build page tables, go long. */
	.section .multiboot, "a"
	.balign 4
	.long 0x1badb002, 0, -0x1badb002

	.section .bss
	.balign 4096
	.globl bm_pml4, bm_pdpt, bm_stack, bm_ustack, bm_ist, bm_rsp0, bm_pds
bm_pml4:	.skip 4096
bm_pdpt:	.skip 4096
bm_pds:		.skip 3 * 4096	/* 0..1 GiB supervisor, 0..1 GiB user, 3..4 GiB */
	.skip 16384
main_stack:
	.skip 8192
bm_stack:
	.skip 8192
bm_ustack:
	.skip 8192
bm_ist:
	.skip 8192
bm_rsp0:
	.skip 64
saved_sp:	.skip 8

	.section .data
	.balign 16
	.globl gdt, tss
gdt:	.quad 0
	.quad 0x00af9b000000ffff	/* 08 kernel code, 64-bit */
	.quad 0x00cf93000000ffff	/* 10 kernel data */
	.quad 0x00cffb000000ffff	/* 18 user code, 32-bit */
	.quad 0x00cff3000000ffff	/* 20 user data */
	.quad 0x00affb000000ffff	/* 28 user code, 64-bit */
	.quad 0x00cf9b000000ffff	/* 30 kernel code, 32-bit */
	.quad 0
	.quad 0, 0			/* 40 TSS, filled in below */
	.skip 64 * 8 - (. - gdt)
	.balign 16
tss:	.long 0
	.quad bm_rsp0, 0, 0, 0		/* RSP0..2, reserved */
	.quad bm_ist, 0, 0, 0, 0, 0, 0	/* IST1..7 */
	.quad 0
	.word 0, 104 + 0		/* I/O map base: right behind */
	.skip 256 + 8192 + 32 - (. - tss)
gdtr:	.word 64 * 8 - 1
	.quad gdt

	.text
	.code32
	.globl _start
_start:
	cli
	cld
	mov %ebx, %edi			/* multiboot's information */
	lgdt gdtr
	mov $bm_pdpt + 7, %eax
	mov %eax, bm_pml4
	mov $bm_pds + 3, %eax
	mov %eax, bm_pdpt
	mov $bm_pds + 4096 + 7, %eax
	mov %eax, bm_pdpt + 8
	mov $bm_pds + 8192 + 3, %eax
	mov %eax, bm_pdpt + 24
	xor %ecx, %ecx
1:	mov %ecx, %eax
	shl $21, %eax
	lea 0x83(%eax), %edx
	mov %edx, bm_pds(, %ecx, 8)
	lea 0x87(%eax), %edx
	mov %edx, bm_pds + 4096(, %ecx, 8)
	lea 0xc0000083(%eax), %edx
	mov %edx, bm_pds + 8192(, %ecx, 8)
	inc %ecx
	cmp $512, %ecx
	jb 1b
	mov $0x620, %eax		/* PAE, OSFXSR, OSXMMEXCPT */
	mov %eax, %cr4
	mov $bm_pml4, %eax
	mov %eax, %cr3
	mov $0xc0000080, %ecx
	rdmsr
	or $0x901, %eax			/* SCE, LME, NXE */
	wrmsr
	mov $0x80010033, %eax		/* PG, WP, NE, ET, MP, PE */
	mov %eax, %cr0
	ljmp $0x08, $start64

	.code64
start64:
	mov $0x10, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	xor %eax, %eax
	mov %eax, %fs
	mov %eax, %gs
	mov $main_stack, %rsp
	lea tss(%rip), %rax
	movw $103, gdt + 0x40(%rip)
	mov %ax, gdt + 0x42(%rip)
	shr $16, %rax
	mov %al, gdt + 0x44(%rip)
	movb $0x89, gdt + 0x45(%rip)
	mov %ah, gdt + 0x47(%rip)
	mov $0x40, %eax
	ltr %ax
	call bm_main
	ud2

/* void bm_enter(const struct regs *r); offsets as in struct regs */
	.globl bm_enter
bm_enter:
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	pushfq
	mov %rsp, saved_sp(%rip)
	pushq 168(%rdi)		/* ss */
	pushq 160(%rdi)		/* sp */
	pushq 152(%rdi)		/* flags */
	pushq 144(%rdi)		/* cs */
	pushq 136(%rdi)		/* ip */
	mov 0(%rdi), %rax
	mov 8(%rdi), %rcx
	mov 16(%rdi), %rdx
	mov 24(%rdi), %rbx
	mov 32(%rdi), %rbp
	mov 40(%rdi), %rsi
	mov 56(%rdi), %r8
	mov 64(%rdi), %r9
	mov 72(%rdi), %r10
	mov 80(%rdi), %r11
	mov 88(%rdi), %r12
	mov 96(%rdi), %r13
	mov 104(%rdi), %r14
	mov 112(%rdi), %r15
	mov 48(%rdi), %rdi
	.globl bm_enter_iret
bm_enter_iret:
	iretq

bm_leave:
	mov saved_sp(%rip), %rsp
	mov $0x10, %eax
	mov %eax, %ss
	mov %eax, %ds
	mov %eax, %es
	popfq
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	ret

bm_common:
	sub $120, %rsp
	mov %rax, 0(%rsp)
	mov %rcx, 8(%rsp)
	mov %rdx, 16(%rsp)
	mov %rbx, 24(%rsp)
	mov %rbp, 32(%rsp)
	mov %rsi, 40(%rsp)
	mov %rdi, 48(%rsp)
	mov %r8, 56(%rsp)
	mov %r9, 64(%rsp)
	mov %r10, 72(%rsp)
	mov %r11, 80(%rsp)
	mov %r12, 88(%rsp)
	mov %r13, 96(%rsp)
	mov %r14, 104(%rsp)
	mov %r15, 112(%rsp)
	cld
	mov %rsp, %rdi
	mov %rsp, %rbp
	and $-16, %rsp
	call bm_trap
	test %al, %al
	jz bm_leave
	mov %rbp, %rsp
	mov 0(%rsp), %rax
	mov 8(%rsp), %rcx
	mov 16(%rsp), %rdx
	mov 24(%rsp), %rbx
	mov 32(%rsp), %rbp
	mov 40(%rsp), %rsi
	mov 48(%rsp), %rdi
	mov 56(%rsp), %r8
	mov 64(%rsp), %r9
	mov 72(%rsp), %r10
	mov 80(%rsp), %r11
	mov 88(%rsp), %r12
	mov 96(%rsp), %r13
	mov 104(%rsp), %r14
	mov 112(%rsp), %r15
	add $136, %rsp
	iretq

	.balign 16
	.globl bm_stubs
bm_stubs:
	.set vec, 0
	.rept 256
	.balign 16
	.if !(vec == 8 || (vec >= 10 && vec <= 14) || vec == 17 || vec == 21)
	pushq $0
	.endif
	pushq $vec
	jmp bm_common
	.set vec, vec + 1
	.endr
	.section .note.GNU-stack, "", @progbits
