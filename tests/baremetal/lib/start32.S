/* SPDX-License-Identifier: Apache-2.0 */
/* Entry of 32-bit images: flat protected mode, no paging. */
	.section .multiboot, "a"
	.balign 4
	.long 0x1badb002, 0, -0x1badb002

	.section .bss
	.balign 4096
	.globl bm_stack, bm_ustack, bm_ist, bm_rsp0
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
saved_sp:	.skip 4

	.section .data
	.balign 16
	.globl gdt, tss
gdt:	.quad 0
	.quad 0x00cf9b000000ffff	/* 08 kernel code */
	.quad 0x00cf93000000ffff	/* 10 kernel data */
	.quad 0x00cffb000000ffff	/* 18 user code */
	.quad 0x00cff3000000ffff	/* 20 user data */
	.quad 0, 0, 0
	.quad 0				/* 40 TSS, filled in below */
	.skip 64 * 8 - (. - gdt)
	.balign 16
tss:	.long 0, bm_rsp0, 0x10
	.skip 100 - 12
	.word 0, 104 + 32		/* I/O map base; the interrupt redirection map lies below */
	.skip 256 + 8192 + 32 - (. - tss)
gdtr:	.word 64 * 8 - 1
	.long gdt

	.text
	.globl _start
_start:
	cli
	cld
	mov %ebx, %esi			/* multiboot's information */
	lgdt gdtr
	ljmp $0x08, $1f
1:	mov $0x10, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	xor %eax, %eax
	mov %eax, %fs
	mov %eax, %gs
	mov $main_stack, %esp
	mov %cr0, %eax
	and $~4, %eax
	or $0x22, %eax			/* NE, MP */
	mov %eax, %cr0
	mov $0x600, %eax		/* OSFXSR, OSXMMEXCPT */
	mov %eax, %cr4
	mov $tss, %eax
	movw $104 + 32 + 8192, gdt + 0x40
	mov %ax, gdt + 0x42
	shr $16, %eax
	mov %al, gdt + 0x44
	movb $0x89, gdt + 0x45
	mov %ah, gdt + 0x47
	mov $0x40, %eax
	ltr %ax
	push %esi
	call bm_main
	ud2

/* void bm_enter(const struct regs *r); offsets as in struct regs */
	.globl bm_enter
bm_enter:
	mov 4(%esp), %eax
	push %ebx
	push %ebp
	push %esi
	push %edi
	pushf
	mov %esp, saved_sp
	testl $0x20000, 44(%eax)
	jz 1f
	pushl 68(%eax)		/* gs fs ds es */
	pushl 64(%eax)
	pushl 60(%eax)
	pushl 56(%eax)
	mov $0x10, %edx
	jmp 4f
1:	testl $3, 40(%eax)
	jnz 2f
	mov 48(%eax), %edx	/* same level: IRET takes no stack, so put its frame there */
	mov 44(%eax), %ecx
	mov %ecx, -4(%edx)
	mov 40(%eax), %ecx
	mov %ecx, -8(%edx)
	mov 36(%eax), %ecx
	mov %ecx, -12(%edx)
	lea -12(%edx), %esp
	jmp 3f
2:	mov 60(%eax), %edx	/* DS, ES; IRET would make kernel segments null */
	test %edx, %edx
	jnz 4f
	mov $0x23, %edx
4:	mov %edx, %ds
	mov %edx, %es
	pushl %ss:52(%eax)	/* ss sp flags cs ip */
	pushl %ss:48(%eax)
	pushl %ss:44(%eax)
	pushl %ss:40(%eax)
	pushl %ss:36(%eax)
3:	mov %ss:4(%eax), %ecx
	mov %ss:8(%eax), %edx
	mov %ss:12(%eax), %ebx
	mov %ss:16(%eax), %ebp
	mov %ss:20(%eax), %esi
	mov %ss:24(%eax), %edi
	mov %ss:0(%eax), %eax
	iret

	.globl bm_leave
bm_leave:
	mov $0x10, %eax
	mov %eax, %ss
	mov saved_sp, %esp
	mov %eax, %ds
	mov %eax, %es
	popf
	pop %edi
	pop %esi
	pop %ebp
	pop %ebx
	ret

bm_common:
	sub $28, %esp
	mov %eax, 0(%esp)
	mov %ecx, 4(%esp)
	mov %edx, 8(%esp)
	mov %ebx, 12(%esp)
	mov %ebp, 16(%esp)
	mov %esi, 20(%esp)
	mov %edi, 24(%esp)
	mov %ds, %esi		/* callee-saved registers hold what a hook must not see changed */
	mov %es, %edi
	mov $0x10, %eax
	mov %eax, %ds
	mov %eax, %es
	cld
	mov %esp, %ebp
	and $-16, %esp
	sub $16, %esp
	mov %ebp, (%esp)
	call bm_trap
	test %al, %al
	jz bm_leave
	mov %ebp, %esp
	testl $0x20000, 44(%esp)
	jnz 1f
	mov %esi, %ds
	mov %edi, %es
1:	mov 0(%esp), %eax
	mov 4(%esp), %ecx
	mov 8(%esp), %edx
	mov 12(%esp), %ebx
	mov 16(%esp), %ebp
	mov 20(%esp), %esi
	mov 24(%esp), %edi
	add $36, %esp
	iret

	.balign 16
	.globl bm_stubs
bm_stubs:
	.set vec, 0
	.rept 256
	.balign 16
	.if !(vec == 8 || (vec >= 10 && vec <= 14) || vec == 17 || vec == 21)
	pushl $0
	.endif
	pushl $vec
	jmp bm_common
	.set vec, vec + 1
	.endr
	.section .note.GNU-stack, "", @progbits
