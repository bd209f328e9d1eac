/* SPDX-License-Identifier: Apache-2.0 */
/* 16-bit protected mode at CPL 3: operand and address sizes, 16-bit stacks, wrapping offsets, near
 * and far transfers, ENTER and LEAVE, string instructions (SDM 3A 21). */
/* bm: bits=32 */
#include "bm.h"

#define SEL_CODE (SEL_FREE | 3)
#define SEL_DATA ((SEL_FREE + 8) | 3)
#define SEL_STACK ((SEL_FREE + 16) | 3)
#define SEL_BACK ((SEL_FREE + 24) | 3)

static uint8_t data[65536] __attribute__((aligned(4096)));
static uint8_t stack[65536] __attribute__((aligned(4096)));

#define SNIPPET16(name, body)                                                      \
	extern const char name[];                                                  \
	__asm__(".pushsection .text\n\t.balign 16\n\t.code16\n" #name ":\n\t" body \
		"\n\tint $0x80\n\t.code32\n\t.popsection")

SNIPPET16(c_sizes, "mov $0x1234, %ax\n\tmovl $0x12345678, %ebx\n\tinc %cx\n\tdecl %edx");
SNIPPET16(c_push, "push %ax\n\tpushl %ebx\n\tpop %cx\n\tpop %dx\n\tpop %si");
SNIPPET16(c_pusha, "pusha\n\tmov %sp, %ax\n\tpopa");
SNIPPET16(c_pushal, "pushal\n\tmov $0, %edi\n\tpopal");
SNIPPET16(c_push1, "push %ax");
SNIPPET16(c_pop1, "pop %ax");
SNIPPET16(c_push_wide, "pushl %eax");
SNIPPET16(c_enter, "enter $16, $0\n\tmov %bp, %ax\n\tmov %sp, %bx\n\tleave");
SNIPPET16(c_enter2, "enter $4, $2\n\tmov %sp, %bx\n\tleave");
SNIPPET16(c_wrap, "mov -2(%bx), %ax\n\tmov 2(%bx, %si), %cx");
SNIPPET16(c_wide_address, "addr32 mov 2(%ebx), %ax\n\tmov %ax, %cx");
SNIPPET16(c_bp, "mov (%bp), %ax\n\tmov %ds:(%bp), %cx");
SNIPPET16(c_loop, "1: inc %ax\n\tloop 1b");
SNIPPET16(c_loopl, "1: inc %ax\n\taddr32 loop 1b");
SNIPPET16(c_movsb, "rep movsb");
SNIPPET16(c_stosb32, "addr32 rep stosb");
SNIPPET16(c_call, "call 1f\n\tint $0x80\n1:\tpop %bx");
SNIPPET16(c_lret, "lret");
SNIPPET16(c_iret, "iret");
SNIPPET16(c_lcall, "lcall *(%bx)");
SNIPPET16(c_lea, "lea 4(%bx, %si), %ax\n\tlea 4(%bx, %si), %ecx\n\taddr32 lea 4(%ebx, %esi), %dx");
SNIPPET16(c_xlat, "xlat");
SNIPPET16(c_les, "les (%bx), %di\n\tmov %es, %ax");

/* Run at offset 0 of a 16-bit segment that begins at the snippet. */
static void run16(const char *snippet)
{
	gdt[SEL_CODE / 8] = seg_desc((ulong)snippet, 0xffff, 0xfb, 0);
	in.cs = SEL_CODE;
	in.ss = SEL_STACK;
	in.ip = 0;
	in.flags = 2;
	if (!in.sp)
		in.sp = 0x8000;
	trap = (struct regs){0};
	bm_enter(&in);
	in = (struct regs){0};
}

static uint16_t *on_stack(unsigned off)
{
	return (uint16_t *)(stack + off);
}

/* With DS and ES to match. */
static void run16_ds(const char *snippet)
{
	in.ds = SEL_DATA;
	run16(snippet);
}

static void sizes(void)
{
	in.ax = in.bx = in.cx = in.dx = 0xffffffff;
	run16(c_sizes);
	check_ok("16-bit code");
	check_eq("AX", trap.ax, 0xffff1234);
	check_eq("EBX", trap.bx, 0x12345678);
	check_eq("INC CX", trap.cx, 0xffff0000);
	check_eq("DEC EDX", trap.dx, 0xfffffffe);
	in.bx = 0x12340010;
	in.si = 0x5678fff0;
	run16(c_lea);
	check_eq("LEA wraps at 16 bits", trap.ax & 0xffff, 4);
	check_eq("and is extended", trap.cx, 4);
	check_eq("32-bit address, 16-bit result", trap.dx & 0xffff, 4);
}

static void stacks(void)
{
	in.ax = 0x1111;
	in.bx = 0x22223333;
	run16(c_push);
	check_ok("PUSH and POP");
	check_eq("low half first", trap.cx & 0xffff, 0x3333);
	check_eq("high half", trap.dx & 0xffff, 0x2222);
	check_eq("then the word", trap.si & 0xffff, 0x1111);
	check_eq("SP", trap.sp & 0xffff, 0x8000);
	in.cx = 0xc0c0;
	in.di = 0xd1d1;
	run16(c_pusha);
	check_eq("PUSHA takes 16 bytes", trap.ax & 0xffff, 0);
	check_eq("its DI", *on_stack(0x8000 - 16), 0xd1d1);
	check_eq("its CX", *on_stack(0x8000 - 4), 0xc0c0);
	check_eq("its SP", *on_stack(0x8000 - 10), 0x8000);
	in.di = 0xd1d1d2d2;
	run16(c_pushal);
	check_eq("PUSHAD and POPAD", trap.di, 0xd1d1d2d2);
	in.sp = 0x12340002;
	in.ax = 0xabcd;
	run16(c_push1);
	check_eq("SP to 0", trap.sp & 0xffff, 0);
	/* IRET restored only SP: the rest is not ours to set. */
	in.sp = 0x10000;
	in.ax = 0xabcd;
	run16(c_push1);
	check_eq("SP wraps", trap.sp & 0xffff, 0xfffe);
	check_eq("to the end", *on_stack(0xfffe), 0xabcd);
	in.sp = 0xfffe;
	run16(c_pop1);
	check_eq("POP wraps", trap.sp & 0xffff, 0);
	check_eq("its word", trap.ax & 0xffff, 0xabcd);
	in.sp = 2;
	run16(c_push_wide);
	check("a doubleword across the end", trap.vector == SS || bm_tcg());
	in.sp = 0xffff;
	run16(c_pop1);
	check("a word across the end", trap.vector == SS || bm_tcg());
	in.bp = 0x7777bbbb;
	run16(c_enter);
	check_eq("ENTER: BP", trap.ax & 0xffff, 0x7ffe);
	check_eq("SP below the frame", trap.bx & 0xffff, 0x7ffe - 16);
	check_eq("LEAVE: BP is back", trap.bp, 0x7777bbbb);
	check_eq("LEAVE: SP", trap.sp & 0xffff, 0x8000);
	in.bp = 0x9000;
	*on_stack(0x9000 - 2) = 0x5a5a;
	run16(c_enter2);
	check_eq("ENTER copies a frame pointer", *on_stack(0x8000 - 4), 0x5a5a);
	check_eq("and adds its own", *on_stack(0x8000 - 6), 0x7ffe);
	check_eq("SP after two levels", trap.bx & 0xffff, 0x8000 - 6 - 4);
}

static void addresses(void)
{
	*(uint16_t *)(data + 0xfffe) = 0x1111;
	*(uint16_t *)(data + 0x0012) = 0x2222;
	*(uint16_t *)(data + 0x0002) = 0x3333;
	in.bx = 0;
	in.si = 0xffff0010;
	run16_ds(c_wrap);
	check_eq("BX - 2 wraps", trap.ax & 0xffff, 0x1111);
	check_eq("upper halves do not count", trap.cx & 0xffff, 0x2222);
	in.bx = 0x10000;
	run16_ds(c_wide_address);
	check("a 32-bit address is checked", trap.vector == GP || bm_tcg());
	in.bx = 0;
	run16_ds(c_wide_address);
	check_eq("and works", trap.cx & 0xffff, 0x3333);
	*on_stack(0x40) = 0x4444;
	*(uint16_t *)(data + 0x40) = 0x5555;
	in.bp = 0x40;
	run16_ds(c_bp);
	check_eq("BP means the stack", trap.ax & 0xffff, 0x4444);
	check_eq("unless told otherwise", trap.cx & 0xffff, 0x5555);
	data[0x107] = 0x99;
	in.bx = 0x100;
	in.ax = 7;
	run16_ds(c_xlat);
	check_eq("XLAT", trap.ax & 0xff, 0x99);
	*(uint16_t *)(data + 0x200) = 0x1357;
	*(uint16_t *)(data + 0x202) = SEL_STACK;
	in.bx = 0x200;
	run16_ds(c_les);
	check_eq("LES: offset", trap.di & 0xffff, 0x1357);
	check_eq("LES: selector", trap.ax & 0xffff, SEL_STACK);
}

static void counts(void)
{
	in.cx = 0x10003;
	run16(c_loop);
	check_eq("LOOP counts CX", trap.ax, 3);
	check_eq("and leaves the rest", trap.cx, 0x10000);
	in.cx = 0x10003;
	run16(c_loopl);
	check_eq("LOOP with ECX", trap.ax & 0xffff, 3);
	check_eq("all of it", trap.cx, 0);
	for (unsigned i = 0; i < 8; i++)
		data[(0xfffc + i) & 0xffff] = (uint8_t)(i + 1);
	in.si = 0xaaaafffc;
	in.di = 0xbbbb4000;
	in.cx = 0xcccc0008;
	run16_ds(c_movsb);
	check_ok("REP MOVSB");
	check_eq("wraps in its segment", data[0x4007], 8);
	check_eq("SI", trap.si, 0xaaaa0004);
	check_eq("DI", trap.di, 0xbbbb4008);
	check_eq("CX", trap.cx, 0xcccc0000);
	in.di = 0xfffc;
	in.cx = 8;
	run16_ds(c_stosb32);
	check("32-bit DI does not wrap", (trap.vector == GP && trap.cx == 4) || bm_tcg());
}

static void transfers(void)
{
	struct {
		uint16_t off, sel;
	} *far = (void *)(data + 0x300);

	run16(c_call);
	check_eq("near CALL pushes a word", trap.bx & 0xffff, 3);
	gdt[SEL_BACK / 8] = seg_desc((ulong)c_pop1, 0xffff, 0xfb, 0);
	far->off = 0;
	far->sel = SEL_BACK;
	in.bx = 0x300;
	run16_ds(c_lcall);
	check_ok("far CALL");
	check_eq("IP on top", trap.ax & 0xffff, 2);
	check_eq("CS below", *on_stack(0x7ffe), SEL_CODE);
	*on_stack(0x7000) = 0;
	*on_stack(0x7002) = SEL_BACK;
	*on_stack(0x7004) = 0x0cd5;
	in.sp = 0x7000;
	run16(c_lret);
	check_ok("far RET");
	check_eq("took two words and POP one", trap.sp & 0xffff, 0x7006);
	in.sp = 0x7000;
	run16(c_iret);
	check_ok("IRET");
	check_eq("took three and POP one", trap.sp & 0xffff, 0x7008);
	check_eq("its flags", trap.flags & 0xffff, 0x0cd7);
	gdt[SEL_BACK / 8] = seg_desc((ulong)c_pop1, 3, 0xfb, 0);
	*on_stack(0x7000) = 4;
	in.sp = 0x7000;
	run16(c_lret);
	check("far RET beyond the limit", (trap.vector == GP && trap.cs == SEL_CODE) || bm_tcg());
}

void image_main(void)
{
	gdt[SEL_STACK / 8] = seg_desc((ulong)stack, 0xffff, 0xf3, 0);
	gdt[SEL_DATA / 8] = seg_desc((ulong)data, 0xffff, 0xf3, 0);
	sizes();
	stacks();
	addresses();
	counts();
	transfers();
}
