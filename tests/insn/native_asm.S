/* SPDX-License-Identifier: Apache-2.0 */
/* Into and out of a test case on the host's processor (native.c). */
	.text
	.globl native_enter, native_leave, native_signal

/* void native_enter(struct native_frame *f): f->gpr[16], then an IRETQ frame, then a pointer to the XSAVE
 * image, FS base, GS base and data segment selector.  Returns by native_leave. */
	.type native_enter, @function
native_enter:
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	mov %rsp, native_host_rsp(%rip)
	mov %rdi, %rsp
	mov 192(%rsp), %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %fs
	mov %eax, %gs
	mov 176(%rsp), %rax
	wrfsbase %rax
	mov 184(%rsp), %rax
	wrgsbase %rax
	mov 168(%rsp), %rcx
	mov $7, %eax
	xor %edx, %edx
	xrstor64 (%rcx)
	movl $1, native_active(%rip)
	pop %rax
	pop %rcx
	pop %rdx
	pop %rbx
	pop %rbp		/* RSP: comes from the IRETQ frame */
	pop %rbp
	pop %rsi
	pop %rdi
	pop %r8
	pop %r9
	pop %r10
	pop %r11
	pop %r12
	pop %r13
	pop %r14
	pop %r15
	iretq
	.size native_enter, . - native_enter

/* Signal handler: host FS base first, since C code has thread-local data; then C. */
	.type native_signal, @function
native_signal:
	cmpl $0, native_active(%rip)
	je 1f
	movl $0, native_active(%rip)
	mov native_host_fs(%rip), %rax
	wrfsbase %rax
	mov native_host_gs(%rip), %rax
	wrgsbase %rax
	pushfq
	andq $~0x44000, (%rsp)		/* AC, and NT, with which IRETQ faults */
	popfq
	jmp native_handler
1:	jmp *native_chain(%rip)
	.size native_signal, . - native_signal

/* void native_leave(void): return from native_enter. */
	.type native_leave, @function
native_leave:
	mov native_host_rsp(%rip), %rsp
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	ret
	.size native_leave, . - native_leave

	.bss
	.globl native_host_rsp, native_host_fs, native_host_gs, native_active, native_chain
	.balign 8
native_host_rsp: .quad 0
native_host_fs: .quad 0
native_host_gs: .quad 0
native_chain: .quad 0
native_active: .long 0
	.section .note.GNU-stack, "", @progbits
