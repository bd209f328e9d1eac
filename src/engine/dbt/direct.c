/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Direct execution: a guest's program run by the host's processor as it is.
 *
 * User-mode code needs no translation where everything that it may see of the machine is trapped or
 * the same.  It runs in a process of its own, which has nothing in its address space but the
 * guest's pages at the guest's addresses, and a page of code and some of data by
 * which we steer it; we are its tracer (ptrace).  Whatever the program does that the host does not
 * just execute stops it: system calls (none is ever carried out), faults, exceptions, and the
 * signal that another thread sends when an event waits.  Its registers are then the vCPU's, and the
 * run loop goes on as after translated code.
 *
 * Pages are those of windows (window.c), which say when one is to be mapped or unmapped; that is
 * queued, and done by code of ours in the process before the program goes on.  Nothing needs to
 * be undone at once, since the process stands still whenever anybody changes translations.
 *
 * Some instructions of user mode are not trapped and show the host: RDTSC (the guest's has an
 * offset), CPUID, SGDT, RDPID, XGETBV and others (sensitive[]).  A page of code that contains
 * the bytes of one anywhere is not executable there: its code is translated, and so is what that
 * jumps to until it is another page.  Code pages are watched as those with translated code are,
 * so a page is looked at again when it was written to.
 *
 * Safety does not depend on that.  What the process can do is what user code of the guest may do:
 * it has the guest's user pages, with the rights that the guest gave it, and no system calls: they
 * stop it before they happen, and behind that a filter lets it call little more than mmap and
 * munmap.  What it says, by the registers that it stops with, is no more than a program of the
 * guest's can bring about anyway.
 *
 * Threads: the vCPU's own; ptrace wants it so.  Others call direct_interrupt.
 */
#include <asm/prctl.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
/* Names that those headers have for other things. */
#undef PF_W
#undef PAGE_SIZE
#undef PAGE_MASK
#include "base/err.h"
#include "engine/dbt/dbt_int.h"
#include "x86/bounce.h"
#include "x86/sys.h"

#define USER_END UINT64_C(0x7ffffffff000) /* of the host's user addresses */
#define LOW 0x10000 /* what the host may not let anybody map */
#define STUB UINT64_C(0x300000) /* our code there: where programs have nothing, as a rule */
#define BOX (STUB + PAGE_SIZE) /* struct box, which it may only read */
#define BOOT 0x10000000 /* where the code is first, ... */
#define BOX_ONCE 0x20000000 /* ... and the box, for what the host reads in it */
#define FD_RAM 3 /* in the process */
#define FD_STUB 4
#define FD_BOX 5
#define OPS 2000
#define NS_PER_S INT64_C(1000000000)
#define INSN_MAX 15
#define CPUID_WANTED 90
#define NEAR 16 /* pages that are mapped together */
#define HOST_CS 0x33
#define HOST_SS 0x2b

/* System calls for the process to make; a list ends with nr -1. */
struct op {
	int64_t nr;
	uint64_t arg[6];
};

/* What we tell it. */
struct box {
	struct op op[OPS + 1];
	struct sock_filter filter[8];
	struct sock_fprog prog;
};
#define BOX_SIZE align_up(sizeof(struct box), PAGE_SIZE)
#define OURS_END (BOX + BOX_SIZE)

/* Our code: make the calls that R12 points to.  With protection keys, the box and this page can
 * only be read in here (PKRU is what the host starts processes with, before and after). */
extern const uint8_t direct_stub[], direct_stub_keys[], direct_stub_batch[], direct_stub_syscall[],
	direct_stub_end[];
__asm__(".pushsection .rodata\n"
	"direct_stub:\n"
	"direct_stub_keys:\n"
	"	xorl %eax, %eax\n"
	"	xorl %ecx, %ecx\n"
	"	xorl %edx, %edx\n"
	"	wrpkru\n"
	"	movl $1, %ebx\n"
	"	jmp 1f\n"
	"direct_stub_batch:\n"
	"	xorl %ebx, %ebx\n"
	"1:	movq (%r12), %rax\n"
	"	cmpq $-1, %rax\n"
	"	je 2f\n"
	"	movq 8(%r12), %rdi\n"
	"	movq 16(%r12), %rsi\n"
	"	movq 24(%r12), %rdx\n"
	"	movq 32(%r12), %r10\n"
	"	movq 40(%r12), %r8\n"
	"	movq 48(%r12), %r9\n"
	"direct_stub_syscall:\n"
	"	syscall\n"
	"	cmpq $-4095, %rax\n"
	"	jae 3f\n"
	"	addq $56, %r12\n"
	"	jmp 1b\n"
	"2:	xorl %eax, %eax\n"
	"3:	testl %ebx, %ebx\n"
	"	jz 4f\n"
	"	movq %rax, %rbx\n"
	"	movl $0x55555554, %eax\n"
	"	xorl %ecx, %ecx\n"
	"	xorl %edx, %edx\n"
	"	wrpkru\n"
	"	movq %rbx, %rax\n"
	"4:	int3\n"
	"direct_stub_end:\n"
	".popsection\n");
_Static_assert(sizeof(struct op) == 56, "");

#define XSTATE_MAX (64 * KiB)

struct direct {
	pid_t pid;
	int pidfd; /* 0: none */
	struct box *box; /* ours, to write */
	struct user_regs_struct regs; /* the program's */
	struct x86_xsave fpu; /* its vector state, as it was left last */
	uint8_t *xstate; /* all of it, as the host has it: the rest, and room for that */
	size_t xstate_size;
	bool keys; /* our pages have a protection key */
	int cpu; /* of the host, that it may run on */
	unsigned n_ops;
	bool traps_cpuid;
	uint64_t raised; /* address of the guest's page fault that it stopped for last, or 0 */
	bool cpuid_asked; /* it was tried to have that */
	unsigned wants_cpuid;
	bool overflow; /* there were more: all is to be unmapped */
};

/* --- making the process --- */
static int memfd(const char *name, size_t size)
{
	int fd = memfd_create(name, MFD_CLOEXEC);

	if (fd >= 0 && ftruncate(fd, (off_t)size) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

/* An executable of one page: our code. */
static int stub_file(void)
{
	size_t head = sizeof(Elf64_Ehdr) + sizeof(Elf64_Phdr),
	       code = (size_t)(direct_stub_end - direct_stub);
	struct {
		Elf64_Ehdr e;
		Elf64_Phdr p;
	} h = {
		.e = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
				  EV_CURRENT},
		      .e_type = ET_EXEC,
		      .e_machine = EM_X86_64,
		      .e_version = EV_CURRENT,
		      .e_entry = BOOT,
		      .e_phoff = sizeof(Elf64_Ehdr),
		      .e_ehsize = sizeof(Elf64_Ehdr),
		      .e_phentsize = sizeof(Elf64_Phdr),
		      .e_phnum = 1},
		.p = {.p_type = PT_LOAD,
		      .p_flags = PF_R | PF_X,
		      .p_offset = PAGE_SIZE,
		      .p_vaddr = BOOT,
		      .p_filesz = code,
		      .p_memsz = code,
		      .p_align = PAGE_SIZE},
	};
	int fd = memfd("doppel-direct", 2 * PAGE_SIZE);

	if (fd >= 0 && (pwrite(fd, &h, head, 0) != (ssize_t)head ||
			pwrite(fd, direct_stub, code, PAGE_SIZE) != (ssize_t)code)) {
		close(fd);
		return -1;
	}
	return fd;
}

/* In the child of vfork: only system calls. */
static void become(int ram, int stub, int box)
{
	static char name[] = "doppel-direct";
	char *const argv[] = {name, NULL}, *const env[] = {NULL};
	sigset_t none;

	sigemptyset(&none);
	/* Of a group of its own: what a terminal sends is not for it. */
	if (setpgid(0, 0) < 0 || dup2(ram, FD_RAM + 10) < 0 || dup2(stub, FD_STUB + 10) < 0 ||
	    dup2(box, FD_BOX + 10) < 0)
		return;
	if (dup2(FD_RAM + 10, FD_RAM) < 0 || dup2(FD_STUB + 10, FD_STUB) < 0 ||
	    dup2(FD_BOX + 10, FD_BOX) < 0)
		return;
	syscall(SYS_close_range, 0, FD_RAM - 1, 0);
	syscall(SYS_close_range, FD_BOX + 1, ~0U, 0);
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
		return;
	sigprocmask(SIG_SETMASK, &none, NULL);
	syscall(SYS_execveat, FD_STUB, "", argv, env, AT_EMPTY_PATH);
}

/* Wait until it stops: the signal, or -1 when it is gone. */
static int wait_stop(const struct direct *d)
{
	int status;
	pid_t r;

	do
		r = waitpid(d->pid, &status, __WALL);
	while (r < 0 && errno == EINTR);
	return r == d->pid && WIFSTOPPED(status) ? WSTOPSIG(status) : -1;
}

/* Run our code there from ip until its INT3, or (at a SYSCALL) for one instruction: what is in RAX
 * then. */
static int64_t run_stub(struct direct *d, uint64_t ip, const struct op *op, int how)
{
	struct user_regs_struct r = {.cs = HOST_CS,
				     .ss = HOST_SS,
				     .rip = ip,
				     .eflags = 2,
				     .orig_rax = UINT64_MAX,
				     .r12 = BOX + offsetof(struct box, op)};

	if (op) {
		r.rax = (uint64_t)op->nr;
		r.rdi = op->arg[0];
		r.rsi = op->arg[1];
		r.rdx = op->arg[2];
		r.r10 = op->arg[3];
		r.r8 = op->arg[4];
		r.r9 = op->arg[5];
	}
	if (ptrace(PTRACE_SETREGS, d->pid, NULL, &r) < 0)
		return -errno;
	for (;;) {
		int sig;

		if (ptrace(how, d->pid, NULL, 0) < 0)
			return -errno;
		sig = wait_stop(d);
		if (sig < 0)
			return -ESRCH;
		if (ptrace(PTRACE_GETREGS, d->pid, NULL, &r) < 0)
			return -errno;
		if (sig == SIGTRAP)
			return (int64_t)r.rax;
		if (sig == SIGSEGV || sig == SIGBUS || sig == SIGSYS || sig == SIGILL)
			return -EFAULT;
		/* An interrupt, which comes again as `attn`. */
	}
}

static int64_t call(struct direct *d, uint64_t code, struct op op)
{
	return run_stub(d, code + (uint64_t)(direct_stub_syscall - direct_stub), &op,
			PTRACE_SINGLESTEP);
}

/* Nothing but mmap, munmap and arch_prctl; at every other call, and at one that the host emulates
 * (vsyscall), it stops. */
static void fill_filter(struct box *b)
{
	const struct sock_filter f[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 0, 4),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 3, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_munmap, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_arch_prctl, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};

	memcpy(b->filter, f, sizeof(f));
	b->prog.len = ARRAY_SIZE(f);
	b->prog.filter = (struct sock_filter *)(BOX_ONCE + offsetof(struct box, filter));
}

/* A key for our pages, so that the program cannot read them, if the host has that. */
static bool hide(struct direct *d)
{
	const struct op alloc = {SYS_pkey_alloc, {0, PKEY_DISABLE_ACCESS}};
	int64_t key = call(d, STUB, alloc);
	const struct op stub = {SYS_pkey_mprotect,
				{STUB, PAGE_SIZE, PROT_READ | PROT_EXEC, (uint64_t)key}};
	const struct op box = {SYS_pkey_mprotect, {BOX, BOX_SIZE, PROT_READ, (uint64_t)key}};

	if (key < 0)
		return true;
	d->keys = true;
	return call(d, STUB, box) == 0 && call(d, STUB, stub) == 0;
}

/* Its address space as it has to be, and the filter. */
static bool furnish(struct direct *d)
{
	const struct op maps[] = {
		{SYS_mmap,
		 {STUB, PAGE_SIZE, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED, FD_STUB,
		  PAGE_SIZE}},
		{SYS_mmap, {BOX, BOX_SIZE, PROT_READ, MAP_SHARED | MAP_FIXED, FD_BOX, 0}},
		{SYS_mmap, {BOX_ONCE, BOX_SIZE, PROT_READ, MAP_SHARED | MAP_FIXED, FD_BOX, 0}},
	};
	const struct op more[] = {
		{SYS_prctl, {PR_SET_TSC, PR_TSC_SIGSEGV}},
		{SYS_prctl, {PR_SET_NO_NEW_PRIVS, 1}},
		{SYS_seccomp, {SECCOMP_SET_MODE_FILTER, 0, BOX_ONCE + offsetof(struct box, prog)}},
		{SYS_munmap, {LOW, STUB - LOW}},
		{SYS_munmap, {OURS_END, USER_END - OURS_END}},
	};

	for (unsigned n = 0; n < ARRAY_SIZE(maps); n++)
		if (call(d, BOOT, maps[n]) != (int64_t)maps[n].arg[0])
			return false;
	fill_filter(d->box);
	if (!hide(d))
		return false;
	for (unsigned n = 0; n < ARRAY_SIZE(more); n++)
		if (call(d, STUB, more[n]) != 0)
			return false;
	return true;
}

/* The vector state that it begins with, as large as the host's. */
static bool learn_xstate(struct direct *d)
{
	struct iovec iov = {xzalloc(XSTATE_MAX), XSTATE_MAX};

	d->xstate = iov.iov_base;
	if (ptrace(PTRACE_GETREGSET, d->pid, NT_X86_XSTATE, &iov) < 0 ||
	    iov.iov_len < sizeof(struct x86_xsave))
		return false;
	d->xstate_size = iov.iov_len;
	return true;
}

static __attribute__((noinline)) pid_t spawn(int ram, int stub, int box)
{
	sigset_t all, before;
	pid_t pid;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pid = vfork();
	if (!pid) {
		become(ram, stub, box);
		_exit(1);
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return pid;
}

static bool start(struct direct *d, int ram)
{
	int stub = stub_file(), box = memfd("doppel-direct-box", BOX_SIZE);

	if (box >= 0)
		d->box = mmap(NULL, BOX_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, box, 0);
	if (d->box && d->box != MAP_FAILED && stub >= 0)
		d->pid = spawn(ram, stub, box);
	if (stub >= 0)
		close(stub);
	if (box >= 0)
		close(box);
	if (d->pid <= 0 || wait_stop(d) != SIGTRAP)
		return false;
	d->pidfd = (int)syscall(SYS_pidfd_open, d->pid, 0);
	return d->pidfd > 0 &&
	       ptrace(PTRACE_SETOPTIONS, d->pid, NULL, PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD) ==
		       0 &&
	       furnish(d) && learn_xstate(d);
}

bool direct_has_room(struct x86_cpu *c)
{
	gpa at;

	return !x86_translate(c, STUB, &at);
}

/* Nobody need hear of each time that a process stops, but who waits for it. */
static void no_stop_signals(void)
{
	struct sigaction sa;

	if (sigaction(SIGCHLD, NULL, &sa) == 0 && sa.sa_handler == SIG_DFL) {
		sa.sa_flags |= SA_NOCLDSTOP;
		sigaction(SIGCHLD, &sa, NULL);
	}
}

struct direct *direct_start(int ram)
{
	struct direct *d = xzalloc(sizeof(*d));

	d->cpu = -1;
	no_stop_signals();
	if (start(d, ram))
		return d;
	direct_end(d);
	return NULL;
}

void direct_end(struct direct *d)
{
	int status;

	if (!d)
		return;
	if (d->pid > 0) {
		kill(d->pid, SIGKILL);
		while (waitpid(d->pid, &status, __WALL) == d->pid && !WIFEXITED(status) &&
		       !WIFSIGNALED(status))
			;
	}
	if (d->pidfd > 0)
		close(d->pidfd);
	if (d->box && d->box != MAP_FAILED)
		munmap(d->box, BOX_SIZE);
	free(d->xstate);
	free(d);
}

/* --- pages --- */
static bool is_ours(uint64_t va)
{
	return va - STUB < OURS_END - STUB;
}

bool direct_can_show(uint64_t va)
{
	return va >= LOW && va < USER_END && !is_ours(va);
}

static struct op *queue(struct direct *d)
{
	if (d->overflow)
		return NULL;
	if (d->n_ops < OPS)
		return &d->box->op[d->n_ops++];
	d->overflow = true;
	return NULL;
}

/* Does it go on where the last one ends? */
static bool extend(struct direct *d, uint64_t va, uint64_t ram_off, uint64_t prot)
{
	struct op *o = d->n_ops ? &d->box->op[d->n_ops - 1] : NULL;

	if (!o || o->nr != SYS_mmap || o->arg[0] + o->arg[1] != va ||
	    o->arg[5] + o->arg[1] != ram_off || o->arg[2] != prot)
		return false;
	o->arg[1] += PAGE_SIZE;
	return true;
}

void direct_map(struct direct *d, uint64_t va, uint64_t ram_off, int prot)
{
	struct op *o;

	if (extend(d, va, ram_off, (uint64_t)prot))
		return;
	o = queue(d);
	if (o)
		*o = (struct op){SYS_mmap,
				 {va, PAGE_SIZE, (uint64_t)prot,
				  MAP_SHARED | MAP_FIXED | MAP_POPULATE, FD_RAM, ram_off}};
}

void direct_unmap(struct direct *d, uint64_t va)
{
	struct op *o = queue(d);

	if (o)
		*o = (struct op){SYS_munmap, {va, PAGE_SIZE}};
}

void direct_unmap_all(struct direct *d)
{
	d->n_ops = 0;
	d->overflow = false;
	*queue(d) = (struct op){SYS_munmap, {LOW, STUB - LOW}};
	*queue(d) = (struct op){SYS_munmap, {OURS_END, USER_END - OURS_END}};
}

/* Do what was queued; false: that failed. */
static bool flush_ops(struct direct *d, struct dbt_windows *w)
{
	int64_t r;

	if (d->overflow)
		windows_clear(w);
	if (!d->n_ops)
		return true;
	d->box->op[d->n_ops].nr = -1;
	r = run_stub(
		d,
		STUB + (uint64_t)((d->keys ? direct_stub_keys : direct_stub_batch) - direct_stub),
		NULL, PTRACE_CONT);
	/* The program could read it. */
	memset(d->box->op, 0, d->n_ops * sizeof(d->box->op[0]));
	d->n_ops = 0;
	return r == 0;
}

/* --- which code --- */
static const uint8_t *code_page(struct dbt_cpu *v, uint64_t page)
{
	return page == NO_PAGE ? NULL : mem_ram_base(v->in.cpu.vm->mem) + (page << PAGE_SHIFT);
}

/* Can code with those instructions be run?  What CR4.UMIP forbids the guest's kernel would do as
 * the host's does: Linux gives programs made-up values. */
static bool runs(const struct dbt_cpu *v, const struct dbt_windows *w, unsigned code)
{
	unsigned can = (w->direct->traps_cpuid ? DIRECT_CPUID : 0) |
		       (v->pool.umip && (v->in.cpu.s.cr4 & CR4_UMIP) ? DIRECT_UMIP : 0);

	return !(code & ~can);
}

/* May code of va's page, which is that one of RAM, be executed?  Marks it as code first
 * (mem/page.h), so that a change raises its generation. */
static bool may_run(struct dbt_cpu *v, const struct dbt_windows *w, uint64_t va, uint64_t page)
{
	struct direct_seen *s = &v->direct_seen[page % ARRAY_SIZE(v->direct_seen)];
	struct mem *m = v->in.cpu.vm->mem;
	uint64_t before = lst_exec(v, va - PAGE_SIZE);

	if (s->page != page + 1 || s->before != before + 1 ||
	    s->gen != mem_code_gen(&mem_pages(m)[page])) {
		s->page = page + 1;
		s->before = before + 1;
		s->gen = mem_code_mark(m, page << PAGE_SHIFT, PAGE_SIZE);
		s->code = direct_code(code_page(v, before), code_page(v, page),
				      code_page(v, lst_exec(v, va + PAGE_SIZE)));
	}
	return runs(v, w, s->code);
}

/* What is known of the code at va, or NULL. */
static const struct direct_seen *seen(struct dbt_cpu *v, uint64_t va)
{
	uint64_t page = lst_exec(v, va);
	const struct direct_seen *s = &v->direct_seen[page % ARRAY_SIZE(v->direct_seen)];

	return page != NO_PAGE && s->page == page + 1 &&
			       s->gen == mem_code_gen(&mem_pages(v->in.cpu.vm->mem)[page])
		       ? s
		       : NULL;
}

bool direct_not_here(struct dbt_cpu *v, uint64_t va)
{
	const struct direct_seen *s = seen(v, va);

	return s && !runs(v, &v->lst.space[v->lst.cur].windows, s->code);
}

/* Trapping CPUID makes it dearer for the host to go to the process and back, so it is only done for
 * programs that are often found in pages that have one. */
static void want_cpuid(struct dbt_cpu *v, unsigned often)
{
	struct direct *d = v->lst.space[v->lst.cur].windows.direct;
	const struct direct_seen *s = seen(v, v->in.cpu.s.rip);
	const struct op trap = {SYS_arch_prctl, {ARCH_SET_CPUID, 0}};

	if (d->cpuid_asked || !s || !(s->code & DIRECT_CPUID))
		return;
	d->wants_cpuid += often;
	if (d->wants_cpuid < CPUID_WANTED)
		return;
	fpu_claim();
	d->cpuid_asked = true;
	d->traps_cpuid = call(d, STUB, trap) == 0;
}

void direct_sample(struct dbt_cpu *v)
{
	want_cpuid(v, CPUID_WANTED / 3);
}

/* Make va's page executable there; false: it cannot be. */
static bool show_code(struct dbt_cpu *v, struct dbt_windows *w, uint64_t va)
{
	uint64_t index = va >> PAGE_SHIFT, page;
	struct dbt_shown *s;

	if (!direct_can_show(va))
		return false;
	s = windows_shown(w, index);
	if (s && s->exec)
		return true;
	page = lst_exec(v, va);
	if (page == NO_PAGE || !may_run(v, w, va, page) || !lst_fill(v, va, false))
		return false;
	s = windows_shown(w, index);
	if (!s || s->write || s->ram_off != page << PAGE_SHIFT)
		return false;
	s->exec = true;
	direct_map(w->direct, va & ~(PAGE_SIZE - 1), s->ram_off, PROT_READ | PROT_EXEC);
	return true;
}

/* --- registers --- */
#define FLAGS (RFLAGS_ARITH | RFLAGS_TF | RFLAGS_DF | RFLAGS_NT | RFLAGS_AC | RFLAGS_ID)

bool direct_fits(const struct x86_cpu *c)
{
	const struct x86_state *s = &c->s;
	const uint64_t cr4 = CR4_FSGSBASE | CR4_OSFXSR | CR4_OSXSAVE;

	return s->seg[X86_CS].sel == HOST_CS && s->seg[X86_SS].sel == HOST_SS &&
	       !(s->seg[X86_DS].sel | s->seg[X86_ES].sel | s->seg[X86_FS].sel |
		 s->seg[X86_GS].sel) &&
	       s->seg[X86_FS].base < USER_END && s->seg[X86_GS].base < USER_END &&
	       !(s->rflags & (RFLAGS_IOPL | RFLAGS_TF)) && (s->cr4 & cr4) == cr4 &&
	       !(s->cr0 & (CR0_EM | CR0_TS)) && (s->cr0 & CR0_PG) &&
	       (s->xcr0 & ~UINT64_C(7)) == 0 && (s->xcr0 & 7) == 7;
}

/* Vector state, unless it has that. */
static bool give_vectors(struct direct *d, const struct x86_xsave *x)
{
	struct x86_xsave *to = (struct x86_xsave *)d->xstate;
	struct iovec iov = {to, d->xstate_size};
	uint64_t others = to->xstate_bv & ~UINT64_C(7);

	if (!memcmp(&d->fpu, x, sizeof(*x)))
		return true;
	memcpy(to, x, offsetof(struct x86_xsave, rsvd1));
	memcpy(to->ymmh, x->ymmh, sizeof(x->ymmh));
	to->xstate_bv = others | dbt_fpu_parts(x);
	return ptrace(PTRACE_SETREGSET, d->pid, NT_X86_XSTATE, &iov) == 0;
}

static bool give(struct dbt_cpu *v, struct direct *d)
{
	const struct x86_state *s = &v->in.cpu.s;
	const uint64_t *g = s->gpr;

	d->regs = (struct user_regs_struct){
		.rax = g[X86_RAX],
		.rbx = g[X86_RBX],
		.rcx = g[X86_RCX],
		.rdx = g[X86_RDX],
		.rsi = g[X86_RSI],
		.rdi = g[X86_RDI],
		.rbp = g[X86_RBP],
		.rsp = g[X86_RSP],
		.r8 = g[X86_R8],
		.r9 = g[X86_R9],
		.r10 = g[X86_R10],
		.r11 = g[X86_R11],
		.r12 = g[X86_R12],
		.r13 = g[X86_R13],
		.r14 = g[X86_R14],
		.r15 = g[X86_R15],
		.rip = s->rip,
		.orig_rax = UINT64_MAX,
		.eflags = x86_rflags(&v->in.cpu) & FLAGS,
		.cs = HOST_CS,
		.ss = HOST_SS,
		.fs_base = s->seg[X86_FS].base,
		.gs_base = s->seg[X86_GS].base,
	};
	return give_vectors(d, &s->xsave);
}

/* The selectors that it has loaded itself, of the guest's descriptors.  May raise. */
static void take_segments(struct x86_cpu *c, const struct user_regs_struct *r)
{
	if (r->ds || r->es || r->fs || r->gs) {
		x86_load_seg(c, X86_DS, (uint16_t)r->ds);
		x86_load_seg(c, X86_ES, (uint16_t)r->es);
		if (r->fs)
			x86_load_seg(c, X86_FS, (uint16_t)r->fs);
		if (r->gs)
			x86_load_seg(c, X86_GS, (uint16_t)r->gs);
	}
	if (r->ss != HOST_SS)
		x86_load_seg(c, X86_SS, (uint16_t)r->ss);
	if (r->cs != HOST_CS)
		x86_far_jmp(c, (uint16_t)r->cs, c->s.rip, 8);
}

static void take(struct dbt_cpu *v, struct direct *d)
{
	const struct user_regs_struct *r = &d->regs;
	struct x86_cpu *c = &v->in.cpu;
	const uint64_t from[16] = {r->rax, r->rcx, r->rdx, r->rbx, r->rsp, r->rbp, r->rsi, r->rdi,
				   r->r8,  r->r9,  r->r10, r->r11, r->r12, r->r13, r->r14, r->r15};
	uint64_t before = x86_rflags(c), after = (before & ~(uint64_t)FLAGS) | (r->eflags & FLAGS);
	struct x86_xsave *x = &c->s.xsave;
	struct iovec iov = {x, sizeof(*x)};
	uint32_t mxcsr;

	memcpy(c->s.gpr, from, sizeof(from));
	c->s.rip = r->rip;
	c->s.seg[X86_FS].base = r->fs_base;
	c->s.seg[X86_GS].base = r->gs_base;
	x86_set_rflags(c, after);
	if ((before ^ after) & (RFLAGS_TF | RFLAGS_AC))
		x86_update_mode(c);
	bug_on(ptrace(PTRACE_GETREGSET, d->pid, NT_X86_XSTATE, &iov) < 0 && errno != ESRCH);
	memset(x->rsvd1, 0, sizeof(x->rsvd1)); /* the host's notes */
	mxcsr = x->mxcsr;
	bounce_xsave_fill(x);
	x->mxcsr = mxcsr;
	d->fpu = *x;
}

/* --- running --- */
static int64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

/* A byte of the program's code, or -1. */
static int code_byte(struct dbt_cpu *v, struct dbt_windows *w, uint64_t va)
{
	const struct dbt_shown *s = direct_can_show(va) ? windows_shown(w, va >> PAGE_SHIFT) : NULL;

	return s ? mem_ram_base(v->in.cpu.vm->mem)[s->ram_off + PAGE_OFFSET(va)] : -1;
}

/* Pages near that one are likely to be needed too: those that the guest has mapped.  (It may find
 * them accessed, as after a processor's speculation.)  Of code, those that were looked at before.
 */
static void map_near(struct dbt_cpu *v, struct dbt_windows *w, uint64_t index, bool code)
{
	const struct lst_tab *t = &v->lst.space[v->lst.cur].user;
	uint64_t first = index & ~(uint64_t)(NEAR - 1);

	for (uint64_t n = first; n < first + NEAR; n++) {
		uint64_t va = lst_va(n);

		if (windows_shown(w, n) || !direct_can_show(va))
			continue;
		if (!code || !seen(v, va) || !show_code(v, w, va))
			lst_fill(v, va, t->w[n] != 0);
	}
}

/* A page fault of the host at va: has anything been done so that the instruction gets further?  The
 * host does not tell what the access was: a page is first made executable if the instruction may
 * lie there, or readable, then writable. */
static bool fault(struct dbt_cpu *v, struct dbt_windows *w, const siginfo_t *info)
{
	uint64_t va = (uint64_t)info->si_addr, rip = w->direct->regs.rip, index = va >> PAGE_SHIFT;
	bool code = va - rip < INSN_MAX || index == rip >> PAGE_SHIFT;
	const struct dbt_shown *s;

	if ((info->si_code != SEGV_MAPERR && info->si_code != SEGV_ACCERR) || !direct_can_show(va))
		return false;
	v->stats.direct_fills++;
	w->stops++;
	s = windows_shown(w, index);
	if (code && !(s && s->exec) && show_code(v, w, va)) {
		map_near(v, w, index, true);
		return true;
	}
	if (va == rip)
		return false;
	if (!s) {
		if (!lst_fill(v, va, false))
			return false;
		map_near(v, w, index, false);
		return windows_shown(w, index);
	}
	if (s->write || s->exec || !lst_fill(v, va, true))
		return false;
	s = windows_shown(w, index);
	return s && s->write;
}

/* The program is stopped by the signal: what happened, in terms of the guest. */
static void stopped(struct dbt_cpu *v, struct dbt_windows *w, int sig, const siginfo_t *info)
{
	struct x86_cpu *c = &v->in.cpu;
	uint64_t rip;

	take(v, w->direct);
	rip = c->s.rip;
	if (w->direct->regs.cs != HOST_CS || w->direct->regs.ss != HOST_SS ||
	    (w->direct->regs.ds | w->direct->regs.es | w->direct->regs.fs | w->direct->regs.gs))
		take_segments(c, &w->direct->regs);
	switch (sig) {
	case SIGTRAP | 0x80:
		c->s.gpr[X86_RAX] = w->direct->regs.orig_rax;
		c->s.rip = rip - 2;
		if (code_byte(v, w, rip - 2) == 0x0f) {
			v->in.ip = NULL;
			v->stats.direct_calls++;
			x86_syscall(c, rip);
			return;
		}
		break;
	case SIGTRAP:
		if (info->si_code != SI_KERNEL && code_byte(v, w, rip - 1) != 0xf1) {
			x86_after_insn(c, true); /* by a TF of its own */
			return;
		}
		c->s.rip -= code_byte(v, w, rip - 1) == 3 && code_byte(v, w, rip - 2) == 0xcd ? 2
											      : 1;
		break;
	case SIGSYS: /* the host's emulation of an old call: it has returned to whom it was by */
		c->s.rip = (uint64_t)info->si_call_addr;
		c->s.gpr[X86_RSP] -= 8;
		break;
	case SIGSEGV:
		if (is_ours((uint64_t)info->si_addr))
			w->not_direct = true; /* the program has something in that place, too */
		/* Code that is not executable here: that is seen from the run loop. */
		if (info->si_code != SI_KERNEL && (uint64_t)info->si_addr == rip)
			return;
		break;
	case SIGBUS:
	case SIGILL:
	case SIGFPE:
		break;
	default: /* an interrupt */
		v->stats.direct_interrupts++;
		return;
	}
	v->stats.direct_faults++;
	interp_one(&v->in);
}

/* Let it go on, from d->regs: the signal that it stops with, 0: it did not run, -1: it is gone. */
static int go(struct dbt_cpu *v, struct dbt_windows *w)
{
	struct direct *d = w->direct;
	struct x86_cpu *c = &v->in.cpu;
	int64_t begin = now();
	int sig = 0;

	atomic_store(&c->outside, d->pidfd);
	if (!atomic_load(c->attn)) {
		sig = -1;
		if (ptrace(PTRACE_SETREGS, d->pid, NULL, &d->regs) == 0 &&
		    ptrace(PTRACE_SYSEMU, d->pid, NULL, 0) == 0)
			sig = wait_stop(d);
	}
	atomic_store(&c->outside, 0);
	/* Its processor time is the vCPU's. */
	begin = now() - begin;
	c->steal.cpu -= begin;
	if (sig > 0 && ptrace(PTRACE_GETREGS, d->pid, NULL, &d->regs) < 0)
		return -1;
	return sig;
}

/* Keep the process and this thread on one processor of the host: to go from one to the other costs
 * twice as much across two, and the host's scheduler spreads them.  Until direct_unpin. */
static void pin(struct dbt_cpu *v, struct direct *d)
{
	cpu_set_t one;

	if (v->direct_cpu < 0) {
		v->direct_cpu = sched_getcpu();
		CPU_ZERO(&one);
		CPU_SET(v->direct_cpu, &one);
		sched_setaffinity(0, sizeof(one), &one);
	}
	if (d->cpu == v->direct_cpu)
		return;
	d->cpu = v->direct_cpu;
	CPU_ZERO(&one);
	CPU_SET(d->cpu, &one);
	sched_setaffinity(d->pid, sizeof(one), &one);
}

void direct_unpin(struct dbt_cpu *v)
{
	if (v->direct_cpu < 0)
		return;
	v->direct_cpu = -1;
	sched_setaffinity(0, sizeof(v->affinity), &v->affinity);
}

uint64_t direct_time(const struct direct *d)
{
	clockid_t id;
	struct timespec t;

	if (clock_getcpuclockid(d->pid, &id) || clock_gettime(id, &t))
		return 0;
	return (uint64_t)t.tv_sec * (uint64_t)NS_PER_S + (uint64_t)t.tv_nsec;
}

/* It was killed, and took the program's registers with it. */
static void lost(struct dbt_cpu *v, struct dbt_windows *w)
{
	fprintf(stderr,
		"doppel: the process in which processor %u ran the guest's program was killed\n",
		v->in.cpu.index);
	v->in.cpu.shutdown = true;
	w->direct_failed = true;
}

bool direct_turn(struct dbt_cpu *v)
{
	struct dbt_windows *w = &v->lst.space[v->lst.cur].windows;
	struct direct *d = w->direct;
	siginfo_t info = {.si_code = 0};
	bool ran = false;
	int sig = 0;

	if (w->not_direct || w->direct_failed) { /* found when it stopped last */
		windows_close(w);
		return true;
	}
	if (!show_code(v, w, v->in.cpu.s.rip)) {
		want_cpuid(v, 1);
		return false;
	}
	fpu_claim();
	v->stats.direct_entries++;
	w->bursts++;
	pin(v, d);
	do {
		if (!flush_ops(d, w) || (!ran && !give(v, d))) {
			sig = 0;
			w->direct_failed = true;
			break;
		}
		ran = true;
		d->regs.orig_rax = UINT64_MAX;
		sig = go(v, w);
		if ((sig == SIGSEGV || sig == SIGTRAP || sig == SIGSYS) &&
		    ptrace(PTRACE_GETSIGINFO, d->pid, NULL, &info) < 0)
			sig = -1;
	} while (sig == SIGSEGV && fault(v, w, &info));
	if (sig < 0)
		lost(v, w);
	else if (ran)
		stopped(v, w, sig, &info);
	if (w->direct_failed || w->not_direct)
		windows_close(w);
	return true;
}
