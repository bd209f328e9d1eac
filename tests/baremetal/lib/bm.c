/* SPDX-License-Identifier: Apache-2.0 */
/* The C part of the bare-metal framework: descriptors, traps, reporting. */
#include "bm.h"

struct regs trap, in;
ulong trap_cr2;
unsigned trap_count;
bool (*bm_hook[256])(struct regs *r);

static unsigned passed, failed;
static uint16_t console;

extern char bm_stubs[]; /* 256 entries of 16 bytes */
#ifdef __x86_64__
static uint64_t idt[512] __attribute__((aligned(16)));
#define IDT_WORDS 2
#else
static uint64_t idt[256] __attribute__((aligned(16)));
#define IDT_WORDS 1
#endif

/* --- console: port 0xe9, or 0x402 where that is absent --- */

static void put(char ch)
{
	if (!console)
		console = inb(0xe9) == 0xe9 ? 0xe9 : 0x402;
	outb(console, (uint8_t)ch);
}

void bm_print(const char *s)
{
	while (*s)
		put(*s++);
}

void bm_hex(uint64_t v)
{
	bool lead = true;

	for (int shift = 60; shift >= 0; shift -= 4) {
		unsigned d = (unsigned)(v >> shift) & 15;

		if (d || !lead || !shift) {
			put("0123456789abcdef"[d]);
			lead = false;
		}
	}
}

void check_eq(const char *name, uint64_t got, uint64_t want)
{
	if (got == want) {
		passed++;
		bm_print("ok ");
		bm_print(name);
	} else {
		failed++;
		bm_print("FAIL ");
		bm_print(name);
		bm_print(": got 0x");
		bm_hex(got);
		bm_print(" want 0x");
		bm_hex(want);
	}
	bm_print("\n");
}

void check(const char *name, bool good)
{
	check_eq(name, good, 1);
}

void check_trap(const char *name, unsigned vector, ulong error)
{
	if (trap.vector != vector || trap.error != error) {
		bm_print("# ");
		bm_print(name);
		bm_print(": trap ");
		bm_hex(trap.vector);
		bm_print(" error ");
		bm_hex(trap.error);
		bm_print(" at ");
		bm_hex(trap.cs);
		bm_print(":");
		bm_hex(trap.ip);
		bm_print(" cr2 ");
		bm_hex(trap_cr2);
		bm_print("\n");
	}
	check_eq(name, (uint64_t)trap.vector << 32 | (uint32_t)trap.error,
		 (uint64_t)vector << 32 | (uint32_t)error);
}

void check_ok(const char *name)
{
	check_trap(name, VEC_EXIT, 0);
}

void bm_done(void)
{
	bm_print(failed ? "done with failures\n" : "done\n");
	outb(0xf4, failed ? 0x11 : 0x10);
	for (;;)
		__asm__ volatile("cli; hlt");
}

bool bm_tcg(void)
{
	uint32_t r[4];

	cpuid(1, 0, r);
	if (!(r[2] >> 31))
		return false;
	cpuid(0x40000000, 0, r);
	return r[1] == 0x54474354; /* "TCGT" */
}

/* --- descriptors --- */

uint64_t seg_desc(uint32_t base, uint32_t limit, uint8_t access, uint8_t flags)
{
	uint64_t d = limit & 0xffff;

	d |= (uint64_t)(base & 0xffffff) << 16;
	d |= (uint64_t)access << 40;
	d |= (uint64_t)((limit >> 16) & 0xf) << 48;
	d |= (uint64_t)flags << 52;
	d |= (uint64_t)(base >> 24) << 56;
	return d;
}

uint64_t gate_desc(uint16_t sel, uint32_t off, uint8_t access, uint8_t count)
{
	return (off & 0xffff) | (uint64_t)sel << 16 | (uint64_t)count << 32 |
	       (uint64_t)access << 40 | (uint64_t)(off >> 16) << 48;
}

uint64_t *idt_entry(unsigned vector)
{
	return &idt[vector * IDT_WORDS];
}

void idt_set(unsigned vector, ulong handler, uint16_t sel, uint8_t attr, uint8_t ist)
{
	uint64_t *e = idt_entry(vector);

	e[0] = gate_desc(sel, (uint32_t)handler, attr, ist);
#ifdef __x86_64__
	e[1] = handler >> 32;
#endif
}

void idt_default(unsigned vector)
{
	idt_set(vector, (ulong)bm_stubs + 16 * vector, KCODE, vector == VEC_EXIT ? 0xee : 0x8e, 0);
}

void idt_load(uint16_t limit)
{
	struct {
		uint16_t limit;
		ulong base;
	} __attribute__((packed)) r = {limit, (ulong)idt};

	__asm__ volatile("lidt %0" : : "m"(r));
}

/* --- traps --- */

/* Called by the stubs: true to go back to what was interrupted, with *r; false to end the snippet.
 */
bool bm_trap(struct regs *r);
bool bm_trap(struct regs *r)
{
	trap_cr2 = rd_cr2();
	if (bm_hook[r->vector & 0xff] && bm_hook[r->vector & 0xff](r))
		return true;
#ifdef __x86_64__
	/* There are no V86 fields in this frame. */
	__builtin_memcpy(&trap, r, offsetof(struct regs, es));
#else
	if (r->flags & FL_VM) {
		trap = *r;
	} else if (r->cs & 3) {
		__builtin_memcpy(&trap, r, offsetof(struct regs, es));
	} else {
		__builtin_memcpy(&trap, r, offsetof(struct regs, sp));
		trap.sp = (ulong)&r->sp;
		trap.ss = KDATA;
	}
#endif
	trap_count++;
	return false;
}

static void run(const char *snippet, ulong base, uint16_t cs, uint16_t ss, const uint8_t *stack)
{
	struct regs r = in;

	in = (struct regs){0};
	trap = (struct regs){0};
	if (!r.ip)
		r.ip = (ulong)snippet + base;
	if (!r.cs)
		r.cs = cs;
	if (!r.ss)
		r.ss = ss;
	if (!r.sp)
		r.sp = (ulong)stack + base;
	r.flags |= 2;
	bm_enter(&r);
}

void run_k(const char *snippet)
{
	run(snippet, 0, KCODE, KDATA, bm_stack);
}

void run_u(const char *snippet)
{
	run(snippet, USER, UCODE, UDATA, bm_ustack);
}

ulong bm_scale = 1, bm_exact_flags = 1;

/* "NAME=N" on the command line that multiboot hands over. */
static void read_option(const char *s, const char *name, ulong *v)
{
	size_t n = 0;

	while (name[n])
		n++;
	for (; *s; s++) {
		if (__builtin_memcmp(s, name, n))
			continue;
		*v = 0;
		for (s += n; *s >= '0' && *s <= '9'; s++)
			*v = *v * 10 + (ulong)(*s - '0');
		return;
	}
}

void bm_main(const uint32_t *info);
void bm_main(const uint32_t *info)
{
	const char *options = info[0] & 4 ? (const char *)(ulong)info[4] : "";

	read_option(options, "scale=", &bm_scale);
	read_option(options, "exact_flags=", &bm_exact_flags);
	outb(0x21, 0xff); /* no interrupts but those that an image asks for */
	outb(0xa1, 0xff);
	for (unsigned v = 0; v < 256; v++)
		idt_default(v);
	idt_load(sizeof(idt) - 1);
	image_main();
	bm_done();
}

int memcmp(const void *a, const void *b, size_t n)
{
	const uint8_t *x = a, *y = b;

	for (; n; n--, x++, y++)
		if (*x != *y)
			return *x - *y;
	return 0;
}

void *memset(void *p, int c, size_t n)
{
	uint8_t *b = p;

	while (n--)
		*b++ = (uint8_t)c;
	return p;
}

void *memcpy(void *d, const void *s, size_t n)
{
	uint8_t *to = d;
	const uint8_t *from = s;

	while (n--)
		*to++ = *from++;
	return d;
}
