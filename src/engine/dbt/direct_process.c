/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The processes that programs are run in (direct.c): how one is made, and how its pages come and
 * go.
 *
 * It begins as an executable of one page of ours, in a memfd, which stops at once.  We then have it
 * make system calls by setting its registers: map our code and the box, which it may only read, to
 * their place, give both a protection key if there are any, trap RDTSC, install a filter that
 * leaves little more than mmap and munmap, and unmap all else.  From then on it maps and unmaps
 * what is queued in the box, by our code, whenever it stands; that needs no trust in it, since
 * what runs then is set by us and written by nobody else.
 */
#include <asm/prctl.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
/* A name that <elf.h> has for something else. */
#undef PF_W
#include "engine/dbt/direct_int.h"

#define LOW 0x10000 /* what the host may not let anybody map */
#define BOX (DIRECT_STUB + PAGE_SIZE) /* struct direct_box, which it may only read */
#define BOOT 0x10000000 /* where the code is first, ... */
#define BOX_ONCE 0x20000000 /* ... and the box, for what the host reads in it */
#define FD_RAM 3 /* in the process */
#define FD_STUB 4
#define FD_BOX 5
#define OPS 2000
#define XSTATE_MAX (64 * KiB)
#define NS_PER_S UINT64_C(1000000000)

/* System calls for the process to make; a list ends with nr -1. */
struct op {
	int64_t nr;
	uint64_t arg[6];
};

/* What we tell it. */
struct direct_box {
	struct op op[OPS + 1];
	struct sock_filter filter[8];
	struct sock_fprog prog;
};
#define BOX_SIZE align_up(sizeof(struct direct_box), PAGE_SIZE)
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

int direct_wait(const struct direct *d)
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
	struct user_regs_struct r = {.cs = DIRECT_CS,
				     .ss = DIRECT_SS,
				     .rip = ip,
				     .eflags = 2,
				     .orig_rax = UINT64_MAX,
				     .r12 = BOX + offsetof(struct direct_box, op)};

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
		sig = direct_wait(d);
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
static void fill_filter(struct direct_box *b)
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
	b->prog.filter = (struct sock_filter *)(BOX_ONCE + offsetof(struct direct_box, filter));
}

/* A key for our pages, so that the program cannot read them, if the host has that. */
static bool hide(struct direct *d)
{
	const struct op alloc = {SYS_pkey_alloc, {0, PKEY_DISABLE_ACCESS}};
	int64_t key = call(d, DIRECT_STUB, alloc);
	const struct op stub = {SYS_pkey_mprotect,
				{DIRECT_STUB, PAGE_SIZE, PROT_READ | PROT_EXEC, (uint64_t)key}};
	const struct op box = {SYS_pkey_mprotect, {BOX, BOX_SIZE, PROT_READ, (uint64_t)key}};

	if (key < 0)
		return true;
	d->keys = true;
	return call(d, DIRECT_STUB, box) == 0 && call(d, DIRECT_STUB, stub) == 0;
}

/* Its address space as it has to be, and the filter. */
static bool furnish(struct direct *d)
{
	const struct op maps[] = {
		{SYS_mmap,
		 {DIRECT_STUB, PAGE_SIZE, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED, FD_STUB,
		  PAGE_SIZE}},
		{SYS_mmap, {BOX, BOX_SIZE, PROT_READ, MAP_SHARED | MAP_FIXED, FD_BOX, 0}},
		{SYS_mmap, {BOX_ONCE, BOX_SIZE, PROT_READ, MAP_SHARED | MAP_FIXED, FD_BOX, 0}},
	};
	const struct op more[] = {
		{SYS_prctl, {PR_SET_TSC, PR_TSC_SIGSEGV}},
		{SYS_prctl, {PR_SET_NO_NEW_PRIVS, 1}},
		{SYS_seccomp,
		 {SECCOMP_SET_MODE_FILTER, 0, BOX_ONCE + offsetof(struct direct_box, prog)}},
		{SYS_munmap, {LOW, DIRECT_STUB - LOW}},
		{SYS_munmap, {OURS_END, DIRECT_USER_END - OURS_END}},
	};

	for (unsigned n = 0; n < ARRAY_SIZE(maps); n++)
		if (call(d, BOOT, maps[n]) != (int64_t)maps[n].arg[0])
			return false;
	fill_filter(d->box);
	if (!hide(d))
		return false;
	for (unsigned n = 0; n < ARRAY_SIZE(more); n++)
		if (call(d, DIRECT_STUB, more[n]) != 0)
			return false;
	return true;
}

bool direct_trap_cpuid(struct direct *d)
{
	const struct op trap = {SYS_arch_prctl, {ARCH_SET_CPUID, 0}};

	return call(d, DIRECT_STUB, trap) == 0;
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
	if (d->pid <= 0 || direct_wait(d) != SIGTRAP)
		return false;
	d->pidfd = (int)syscall(SYS_pidfd_open, d->pid, 0);
	return d->pidfd > 0 &&
	       ptrace(PTRACE_SETOPTIONS, d->pid, NULL, PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD) ==
		       0 &&
	       furnish(d) && learn_xstate(d);
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
bool direct_is_ours(uint64_t va)
{
	return va - DIRECT_STUB < OURS_END - DIRECT_STUB;
}

bool direct_can_show(uint64_t va)
{
	return va >= LOW && va < DIRECT_USER_END && !direct_is_ours(va);
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
	*queue(d) = (struct op){SYS_munmap, {LOW, DIRECT_STUB - LOW}};
	*queue(d) = (struct op){SYS_munmap, {OURS_END, DIRECT_USER_END - OURS_END}};
}

bool direct_flush(struct direct *d, struct dbt_windows *w)
{
	int64_t r;

	if (d->overflow)
		windows_clear(w);
	if (!d->n_ops)
		return true;
	d->box->op[d->n_ops].nr = -1;
	r = run_stub(d,
		     DIRECT_STUB + (uint64_t)((d->keys ? direct_stub_keys : direct_stub_batch) -
					      direct_stub),
		     NULL, PTRACE_CONT);
	/* The program could read it. */
	memset(d->box->op, 0, d->n_ops * sizeof(d->box->op[0]));
	d->n_ops = 0;
	return r == 0;
}

uint64_t direct_time(const struct direct *d)
{
	clockid_t id;
	struct timespec t;

	if (clock_getcpuclockid(d->pid, &id) || clock_gettime(id, &t))
		return 0;
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}
