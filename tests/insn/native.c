/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's side: IRETQ into the instruction with all of its state loaded, and out of it by the
 * signal that the INT3 behind it, or its own fault, causes.  The signal frame has the registers,
 * the XSAVE image, the vector, the error code and CR2.
 *
 * 32-bit cases use the kernel's compatibility-mode code segment; the handler is 64-bit code either
 * way. Process-wide state is inherent here: signal handlers, fixed mappings.  One case at a time.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>
#include "host.h"
#include "insn.h"

#define USER32_CS 0x23
#define USER_DS 0x2b
#define USER_CS 0x33

const struct arena_page arena_pages[PG_COUNT] = {
	[PG_CODE0] = {CODE_BASE, false, true},
	[PG_CODE1] = {CODE_BASE + 0x1000, false, true},
	[PG_DATA0] = {DATA_BASE, true, false},
	[PG_DATA1] = {DATA_BASE + 0x1000, true, false},
	[PG_RO] = {DATA_BASE + 0x2000, false, false},
	[PG_STACK0] = {STACK_BASE, true, false},
	[PG_STACK1] = {STACK_BASE + 0x1000, true, false},
};

struct native_frame {
	uint64_t gpr[16];
	uint64_t rip, cs, rflags, rsp, ss;
	const void *xsave;
	uint64_t fs_base, gs_base, ds;
};
_Static_assert(offsetof(struct native_frame, xsave) == 168, "native_asm.S");
_Static_assert(offsetof(struct native_frame, ds) == 192, "native_asm.S");

void native_enter(struct native_frame *f);
void native_leave(void) __attribute__((noreturn));
void native_signal(int sig);
void native_handler(int sig, siginfo_t *info, void *context);
extern uint64_t native_host_fs, native_host_gs;
extern void (*native_chain)(int, siginfo_t *, void *);

static uint8_t *arena_rw; /* all pages, writable */
static struct iresult *running;
static struct sigaction chained[65];

static const int signals[] = {SIGTRAP, SIGSEGV, SIGBUS, SIGILL, SIGFPE};

static void chain_signal(int sig, siginfo_t *info, void *context)
{
	if (chained[sig].sa_flags & SA_SIGINFO) {
		chained[sig].sa_sigaction(sig, info, context);
		return;
	}
	signal(sig, SIG_DFL);
}

/* The kernel's signal frame, XSAVE standard format; absent components are initial. */
static void take_xstate(struct x86_xsave *out, const void *fp)
{
	const struct x86_xsave *x = fp;
	uint64_t bv = x->xstate_bv;

	memset(out, 0, sizeof(*out));
	out->fcw = 0x37f;
	if (bv & XCR0_X87) {
		memcpy(out, x, offsetof(struct x86_xsave, mxcsr));
		memcpy(out->st, x->st, sizeof(out->st));
	}
	out->mxcsr = bv & (XCR0_SSE | XCR0_AVX) ? x->mxcsr : 0x1f80;
	if (bv & XCR0_SSE)
		memcpy(out->xmm, x->xmm, sizeof(out->xmm));
	if (bv & XCR0_AVX)
		memcpy(out->ymmh, x->ymmh, sizeof(out->ymmh));
	out->xstate_bv = 7;
}

void native_handler(int sig, siginfo_t *info, void *context)
{
	static const uint8_t order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
					  REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
					  REG_R12, REG_R13, REG_R14, REG_R15};
	const ucontext_t *uc = context;
	const greg_t *g = uc->uc_mcontext.gregs;
	struct iresult *r = running;

	for (unsigned i = 0; i < 16; i++)
		r->out.gpr[i] = (uint64_t)g[order[i]];
	r->out.rip = (uint64_t)g[REG_RIP];
	r->out.rflags = (uint64_t)g[REG_EFL];
	r->out.cs = (uint16_t)g[REG_CSGSFS];
	r->vector = (uint8_t)g[REG_TRAPNO];
	r->error = (uint32_t)g[REG_ERR];
	r->cr2 = r->vector == X86_PF ? (uint64_t)g[REG_CR2] : 0;
	take_xstate(&r->out.x, uc->uc_mcontext.fpregs);
	native_leave();
}

uint8_t *native_page(unsigned pg)
{
	return arena_rw + 4096 * pg;
}

static bool map_arena(const char **why)
{
	int fd = memfd_create("insn-arena", MFD_CLOEXEC);

	*why = "cannot map the arena";
	if (fd < 0 || ftruncate(fd, PG_COUNT * 4096) < 0)
		return false;
	/* Holes stay holes: nothing else is to be mapped between the pages. */
	if (mmap((void *)(ARENA_BASE - 0x10000), ARENA_SPAN + 0x20000, PROT_NONE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_NORESERVE, -1,
		 0) == MAP_FAILED)
		return false;
	arena_rw = mmap(NULL, PG_COUNT * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (arena_rw == MAP_FAILED)
		return false;
	for (unsigned i = 0; i < PG_COUNT; i++) {
		const struct arena_page *p = &arena_pages[i];
		int prot = PROT_READ | (p->write ? PROT_WRITE : 0) | (p->exec ? PROT_EXEC : 0);

		if (mmap((void *)p->va, 4096, prot, MAP_SHARED | MAP_FIXED, fd, (off_t)i * 4096) ==
		    MAP_FAILED)
			return false;
	}
	close(fd);
	return true;
}

bool native_init(const char **why)
{
	static uint8_t altstack[65536];
	stack_t ss = {.ss_sp = altstack, .ss_size = sizeof(altstack)};
	struct sigaction sa;

	if (!host_has_fsgsbase()) {
		*why = "this kernel has no FSGSBASE";
		return false;
	}
	if (!map_arena(why))
		return false;
	__asm__("rdfsbase %0" : "=r"(native_host_fs));
	__asm__("rdgsbase %0" : "=r"(native_host_gs));
	native_chain = chain_signal;
	memset(&sa, 0, sizeof(sa));
	sa.sa_handler = native_signal;
	sa.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
	*why = "cannot install signal handlers";
	if (sigaltstack(&ss, NULL) < 0)
		return false;
	for (unsigned i = 0; i < ARRAY_SIZE(signals); i++)
		if (sigaction(signals[i], &sa, &chained[signals[i]]) < 0)
			return false;
	return true;
}

/* Memory as the case wants it: template, patch, code. */
void case_memory(uint8_t *page, unsigned pg, const struct icase *c)
{
	uint64_t va = arena_pages[pg].va;

	memcpy(page, c->template[pg], 4096);
	for (unsigned i = 0; i < c->patch_len; i++)
		if (c->patch_va + i - va < 4096)
			page[c->patch_va + i - va] = c->patch[i];
	for (unsigned i = 0; i < c->len; i++)
		if (c->in.rip + i - va < 4096)
			page[c->in.rip + i - va] = c->bytes[i];
}

void native_run(const struct icase *c, struct iresult *r)
{
	_Alignas(64) static uint8_t image[4096];
	struct native_frame f;

	for (unsigned i = 0; i < PG_COUNT; i++)
		case_memory(native_page(i), i, c);
	/* Present in the page tables, so that a fault's error code is about rights. */
	for (unsigned i = 0; i < PG_COUNT; i++)
		(void)*(volatile uint8_t *)arena_pages[i].va;
	memcpy(image, &c->in.x, sizeof(c->in.x));
	memcpy(f.gpr, c->in.gpr, sizeof(f.gpr));
	f.rip = c->in.rip;
	f.cs = c->mode32 ? USER32_CS : USER_CS;
	f.rflags = c->in.rflags;
	f.rsp = c->in.gpr[X86_RSP];
	f.ss = USER_DS;
	f.xsave = image;
	f.fs_base = c->in.fs_base;
	f.gs_base = c->in.gs_base;
	f.ds = USER_DS;
	running = r;
	native_enter(&f);
	for (unsigned i = 0; i < PG_COUNT; i++)
		memcpy(r->mem[i], native_page(i), 4096);
}
