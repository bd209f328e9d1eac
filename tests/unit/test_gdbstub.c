/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The GDB stub against a machine of cardboard: two CPUs that run only on paper.  What gdb does with
 * a real machine is for the system tests; here are the packets, and what a hostile debugger sends.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/base.h"
#include "base/err.h"
#include "base/log.h"
#include "base/loop.h"
#include "ctl/gdbreg.h"
#include "ctl/gdbstub.h"
#include "machine/vm.h"
#include "mem/mem.h"

#define N_CPUS 2
#define LINEAR UINT64_C(0xffff800000000000) /* that RAM is mapped at, by the cardboard MMU */

struct engine_vm {
	struct x86_state s[N_CPUS];
	struct engine_bp bp[16];
	unsigned n_bp;
	bool step[N_CPUS];
	struct engine_debug_hit hit;
};

struct vm {
	struct engine_vm ev;
	struct mem *mem;
	struct vm_debug_hook hook;
	bool running, dead;
	int one; /* -1: all run */
	int quit; /* status, -1 */
	unsigned resets;
};

static void fake_get(struct engine_vm *ev, unsigned cpu, struct x86_state *out)
{
	*out = ev->s[cpu];
}

static void fake_set(struct engine_vm *ev, unsigned cpu, const struct x86_state *in)
{
	ev->s[cpu] = *in;
}

static void fake_debug(struct engine_vm *ev, unsigned cpu, const struct engine_debug *d)
{
	assert_true(d->n_bp <= ARRAY_SIZE(ev->bp));
	memcpy(ev->bp, d->bp, d->n_bp * sizeof(*d->bp));
	ev->n_bp = d->n_bp;
	ev->step[cpu] = d->step;
}

static void fake_debug_hit(struct engine_vm *ev, unsigned cpu, struct engine_debug_hit *out)
{
	*out = ev->hit;
}

static bool fake_translate(struct engine_vm *ev, unsigned cpu, uint64_t va, gpa *out)
{
	*out = GPA(va - LINEAR);
	return va >= LINEAR && va < LINEAR + 3 * PAGE_SIZE;
}

static void fake_report(struct engine_vm *ev, unsigned cpu,
			void (*emit)(void *opaque, const char *line), void *opaque)
{
	emit(opaque, "RAX=1");
}

static const struct engine_ops fake_engine = {
	.name = "fake",
	.get = fake_get,
	.set = fake_set,
	.debug = fake_debug,
	.debug_hit = fake_debug_hit,
	.translate = fake_translate,
	.report = fake_report,
};

void vm_pause(struct vm *vm)
{
	vm->running = false;
}

void vm_resume(struct vm *vm)
{
	vm->running = !vm->dead;
	vm->one = -1;
}

void vm_run_one(struct vm *vm, unsigned cpu)
{
	vm_resume(vm);
	vm->one = (int)cpu;
}

bool vm_running(const struct vm *vm)
{
	return vm->running;
}

void vm_quit(struct vm *vm, int status)
{
	vm->quit = status;
}

void vm_reset(struct vm *vm)
{
	vm->resets++;
}

void vm_powerdown(struct vm *vm)
{
}

unsigned vm_cpus(const struct vm *vm)
{
	return N_CPUS;
}

const struct engine_ops *vm_engine(const struct vm *vm, struct engine_vm **ev)
{
	*ev = (struct engine_vm *)&vm->ev;
	return &fake_engine;
}

struct mem *vm_mem(const struct vm *vm)
{
	return vm->mem;
}

void vm_set_debug_hook(struct vm *vm, const struct vm_debug_hook *h)
{
	vm->hook = h ? *h : (struct vm_debug_hook){0};
}

struct fixture {
	struct loop *loop;
	struct log *log;
	struct vm *vm;
	struct gdbstub *g;
	char path[64];
	int fd;
	char reply[40000];
};

static int connect_to(const char *path)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strncpy(sa.sun_path, path, sizeof(sa.sun_path) - 1);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	return fd;
}

static void turn(struct fixture *f)
{
	for (int i = 0; i < 4; i++)
		loop_once(f->loop, 1);
}

static int setup(void **state)
{
	struct fixture *f = xzalloc(sizeof(*f));
	char where[80];

	f->loop = loop_create();
	f->log = log_create();
	f->vm = xzalloc_aligned(64, sizeof(*f->vm));
	f->vm->running = true;
	f->vm->one = f->vm->quit = -1;
	x86_state_reset(&f->vm->ev.s[0], true, 0x600);
	x86_state_reset(&f->vm->ev.s[1], false, 0x600);
	assert_int_equal(mem_create(&f->vm->mem, 2 * PAGE_SIZE, f->log, NULL), 0);
	mem_map_ram(f->vm->mem, GPA(0), PAGE_SIZE, mem_ram_alloc(f->vm->mem, PAGE_SIZE), 0);
	mem_map_rom(f->vm->mem, GPA(PAGE_SIZE), PAGE_SIZE, mem_ram_alloc(f->vm->mem, PAGE_SIZE),
		    NULL, 0);
	snprintf(f->path, sizeof(f->path), "/tmp/doppel-gdb-%d", (int)getpid());
	snprintf(where, sizeof(where), "unix:%s", f->path);
	assert_int_equal(gdbstub_create(&f->g, f->vm, f->loop, where, NULL), 0);
	f->fd = connect_to(f->path);
	turn(f);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	close(f->fd);
	gdbstub_destroy(f->g);
	mem_destroy(f->vm->mem);
	free(f->vm);
	loop_destroy(f->loop);
	log_destroy(f->log);
	free(f);
	return 0;
}

/* All that the stub has to say now. */
static const char *take(struct fixture *f)
{
	size_t n = 0;
	struct pollfd p = {.fd = f->fd, .events = POLLIN};

	turn(f);
	while (poll(&p, 1, 0) > 0) {
		ssize_t r = read(f->fd, f->reply + n, sizeof(f->reply) - 1 - n);

		if (r <= 0)
			break;
		n += (size_t)r;
		turn(f);
	}
	f->reply[n] = 0;
	return f->reply;
}

static void send_bytes(struct fixture *f, const void *data, size_t len)
{
	assert_int_equal(write(f->fd, data, len), len);
}

/* Send a packet; the reply without its frame. */
static const char *ask(struct fixture *f, const char *text)
{
	uint8_t sum = 0;
	char *s, *hash;

	for (const char *p = text; *p; p++)
		sum = (uint8_t)(sum + *p);
	s = xasprintf("$%s#%02x", text, sum);
	send_bytes(f, s, strlen(s));
	free(s);
	take(f);
	assert_int_equal(f->reply[0], '+');
	if (f->reply[1] != '$')
		return f->reply + 1;
	hash = strrchr(f->reply, '#');
	assert_non_null(hash);
	*hash = 0;
	return f->reply + 2;
}

static void test_attach(void **state)
{
	struct fixture *f = *state;

	assert_false(f->vm->running);
	assert_non_null(f->vm->hook.stopped);
	assert_non_null(
		strstr(ask(f, "qSupported:multiprocess+;swbreak+;hwbreak+"), "PacketSize=4000"));
	assert_memory_equal(ask(f, "?"), "T05thread:1;", 12);
	assert_string_equal(ask(f, "qfThreadInfo"), "m1,2");
	assert_string_equal(ask(f, "qsThreadInfo"), "l");
	assert_string_equal(ask(f, "qC"), "QC1");
	assert_string_equal(ask(f, "qAttached"), "1");
	assert_string_equal(ask(f, "T2"), "OK");
	assert_string_equal(ask(f, "T3"), "E16");
	assert_string_equal(ask(f, "vMustReplyEmpty"), "");
	assert_string_equal(ask(f, "qCRC:1,2"), "");
	assert_string_equal(ask(f, "D"), "OK");
	assert_true(f->vm->running);
	assert_null(f->vm->hook.stopped);
}

/* The debugger's connection ends: the machine goes on, without breakpoints. */
static void test_lost(void **state)
{
	struct fixture *f = *state;

	ask(f, "Z0,1000,1");
	ask(f, "s");
	f->vm->hook.stopped(f->vm->hook.opaque, VM_STOP_DEBUG, 0);
	f->vm->running = false;
	assert_int_equal(f->vm->ev.n_bp, 1);
	close(f->fd);
	turn(f);
	assert_true(f->vm->running);
	assert_int_equal(f->vm->ev.n_bp, 0);
	assert_null(f->vm->hook.stopped);
	f->vm->running = false; /* a machine that was stopped before a debugger came stays so */
	f->fd = connect_to(f->path);
	turn(f);
	assert_non_null(f->vm->hook.stopped);
	close(f->fd);
	turn(f);
	assert_false(f->vm->running);
	f->fd = connect_to(f->path);
	turn(f);
}

static void test_registers(void **state)
{
	struct fixture *f = *state;
	struct x86_state *s = &f->vm->ev.s[0];
	size_t bytes = 0;

	for (unsigned n = 0; gdbreg_size(n); n++)
		bytes += gdbreg_size(n);
	s->gpr[X86_RBX] = 0x1122334455667788;
	assert_int_equal(strlen(ask(f, "g")), 2 * bytes);
	assert_memory_equal(f->reply + 2 + 16, "8877665544332211", 16);
	assert_string_equal(ask(f, "p10"), "f0ff000000000000"); /* rip after reset */
	assert_string_equal(ask(f, "p12"), "00f00000"); /* cs */
	assert_string_equal(ask(f, "P1=efcdab8967452301"), "OK");
	assert_int_equal(s->gpr[X86_RBX], 0x0123456789abcdef);
	assert_string_equal(ask(f, "P12=34120000"), "OK");
	assert_int_equal(s->seg[X86_CS].base, 0x12340); /* real mode */
	assert_string_equal(ask(f, "P11=ffffffff"), "OK");
	assert_int_equal(s->rflags & (RFLAGS_VM | BIT(1) | BIT(3) | BIT(15)), BIT(1));
	for (unsigned n = 0; n < gdbreg_count(); n++) {
		char set[64], get[16], was[40];

		snprintf(get, sizeof(get), "p%x", n);
		strcpy(was, ask(f, get));
		snprintf(set, sizeof(set), "P%x=%s", n, was);
		assert_string_equal(ask(f, set), "OK");
		assert_string_equal(ask(f, get), was);
	}
	assert_string_equal(ask(f, "pffff"), "E16");
	assert_string_equal(ask(f, "P1=12"), "E16");
	assert_string_equal(ask(f, "P1"), "E16");
	assert_string_equal(ask(f, "G12"), "E16");
	assert_string_equal(ask(f, "Hg2"), "OK");
	ask(f, "P0=0900000000000000");
	assert_int_equal(f->vm->ev.s[1].gpr[X86_RAX], 9);
	assert_string_equal(ask(f, "Hg9"), "E16");
}

/* CR0, CR3, CR4 and EFER decide how the engine reads memory: shown, but not to be set. */
static void test_fixed(void **state)
{
	struct fixture *f = *state;
	struct x86_state s;
	unsigned refused = 0;
	uint8_t ones[GDBREG_MAX_BYTES];

	memset(ones, 0xff, sizeof(ones));
	x86_state_reset(&s, true, 0x600);
	for (unsigned n = 0; n < gdbreg_count(); n++) {
		struct x86_state was = s;

		if (gdbreg_set(&s, n, ones))
			continue;
		refused++;
		assert_memory_equal(&was, &s, sizeof(s));
	}
	assert_int_equal(refused, 8);
	assert_int_equal(s.cr0, f->vm->ev.s[0].cr0);
	assert_int_equal(s.xsave.mxcsr, 0xffff);
}

static void test_tags(void **state)
{
	struct x86_state s = {0};
	uint8_t v[4];
	unsigned ftag = 34;

	s.xsave.fsw = 6 << 11; /* TOP 6: ST0 is R6, ST1 is R7 */
	s.xsave.ftw = 0xc0;
	put_le64(s.xsave.st[0], BIT(63));
	put_le16(s.xsave.st[0] + 8, 0x3fff); /* 1.0 */
	gdbreg_get(&s, ftag, v);
	assert_int_equal(get_le32(v), 0x4fff); /* R7 zero, R6 valid, the others empty */
	assert_true(gdbreg_set(&s, ftag, v));
	assert_int_equal(s.xsave.ftw, 0xc0);
}

static void test_memory(void **state)
{
	struct fixture *f = *state;
	uint8_t *ram = mem_ram_base(f->vm->mem);
	char *big;

	memcpy(ram + 0xffe, "\x01\x02\x03\x04", 4);
	assert_string_equal(ask(f, "mffff800000000ffe,4"), "01020304");
	assert_string_equal(ask(f, "mffff800000000ffe,0"), "");
	assert_string_equal(ask(f, "m1000,4"), "E0e");
	assert_string_equal(ask(f, "mffff800000002ffe,4"),
			    "ffff"); /* a hole, then nothing mapped */
	assert_string_equal(ask(f, "mffffffffffffffff,ffffffffffffffff"), "E0e");
	assert_string_equal(ask(f, "Mffff800000000fff,2:aabb"), "OK"); /* RAM and ROM */
	assert_memory_equal(ram + 0xffe, "\x01\xaa\xbb\x04", 4);
	assert_string_equal(ask(f, "Xffff800000000000,3:xyz"), "OK");
	assert_memory_equal(ram, "xyz", 3);
	assert_string_equal(ask(f, "Xffff800000000000,0:"), "OK");
	assert_string_equal(ask(f, "Xffff800000000000,4:xyz"), "E16");
	assert_string_equal(ask(f, "Xffff800000000000,ffffffffffffffff:xyz"), "E16");
	assert_string_equal(ask(f, "Mffff800000000000,ffffffff:00"), "E16");
	assert_string_equal(ask(f, "Mffff800000000000,2:0"), "E16");
	assert_string_equal(ask(f, "M0,1:00"), "E0e");
	assert_int_equal(strlen(ask(f, "mffff800000000000,2000")), 2 * 0x2000);
	big = strdup(f->reply + 2);
	assert_memory_equal(big, "78797a", 6);
	free(big);
}

static void test_breakpoints(void **state)
{
	struct fixture *f = *state;
	struct engine_vm *ev = &f->vm->ev;

	assert_string_equal(ask(f, "Z0,fffffff0,1"), "OK");
	assert_string_equal(ask(f, "Z0,fffffff0,1"), "OK");
	assert_string_equal(ask(f, "Z2,1000,4"), "OK");
	assert_string_equal(ask(f, "Z5,1000,4"), "");
	assert_string_equal(ask(f, "Z2,1000,0"), "E16");
	assert_string_equal(ask(f, "Z2,1000,1001"), "E16");
	assert_string_equal(ask(f, "z4,1000,4"), "E02");
	ask(f, "qSupported:swbreak+");
	assert_string_equal(ask(f, "vCont;c"), "");
	assert_true(f->vm->running);
	assert_int_equal(f->vm->one, -1);
	assert_int_equal(ev->n_bp, 2);
	assert_int_equal(ev->bp[1].kind, ENGINE_BP_WRITE);
	f->vm->running = false;
	f->vm->hook.stopped(f->vm->hook.opaque, VM_STOP_DEBUG, 0);
	assert_non_null(strstr(take(f), "T05thread:1;swbreak:;"));
	ask(f, "c");
	ev->hit = (struct engine_debug_hit){.watch = true, .kind = ENGINE_BP_WRITE, .addr = 0x1002};
	f->vm->running = false;
	f->vm->hook.stopped(f->vm->hook.opaque, VM_STOP_DEBUG, 1);
	assert_non_null(strstr(take(f), "T05thread:2;watch:1002;"));
	assert_string_equal(ask(f, "z2,1000,4"), "OK");
	ask(f, "c");
	assert_int_equal(ev->n_bp, 1);
	for (unsigned i = 0; i < 400; i++) {
		char z[32];

		snprintf(z, sizeof(z), "Z1,%x,1", 0x2000 + i);
		ask(f, z);
	}
	assert_string_equal(f->reply + 2, "E1c");
	for (unsigned i = 0; i < 400; i++) {
		char z[32];

		snprintf(z, sizeof(z), "z1,%x,1", 0x2000 + i);
		ask(f, z);
	}
}

static void test_running(void **state)
{
	struct fixture *f = *state;
	struct engine_vm *ev = &f->vm->ev;

	ev->s[1].rflags |= RFLAGS_IF;
	ev->s[1].mp_state = X86_MP_RUNNABLE;
	assert_string_equal(ask(f, "vCont?"), "vCont;c;C;s;S");
	ask(f, "vCont;s:2");
	assert_int_equal(f->vm->one, 1);
	assert_true(ev->step[1] && !ev->step[0]);
	assert_true(ev->s[1].sti_shadow);
	f->vm->running = false;
	ev->hit.step = true;
	f->vm->hook.stopped(f->vm->hook.opaque, VM_STOP_DEBUG, 1);
	assert_non_null(strstr(take(f), "T05thread:2;"));
	ev->s[1].sti_shadow = false;
	ev->s[1].mp_state = X86_MP_HALTED;
	ask(f, "vCont;s:2;c");
	assert_false(ev->s[1].sti_shadow); /* only an interrupt wakes it */
	assert_int_equal(f->vm->one, -1);
	assert_true(ev->step[1] && !ev->step[0]);
	send_bytes(f, "\x03", 1);
	assert_non_null(strstr(take(f), "T02thread:2;"));
	assert_false(f->vm->running);
	f->vm->hook.stopped(f->vm->hook.opaque, VM_STOP_PAUSED, 0); /* told late: no second reply */
	assert_string_equal(take(f), "");
	send_bytes(f, "\x03", 1);
	assert_string_equal(take(f), "");
	assert_string_equal(ask(f, "vCont;x"), "E16");
	assert_string_equal(ask(f, "vCont;c:7"), "E16");
	assert_string_equal(ask(f, "vCont;"), "E16");
	assert_string_equal(ask(f, "vCont;C"), "E16");
	assert_string_equal(ask(f, "s12q"), "E16");
	assert_false(f->vm->running);
	ask(f, "C05;4000");
	assert_int_equal(ev->s[1].rip, 0x4000); /* the CPU that stopped last */
	f->vm->hook.stopped(f->vm->hook.opaque, VM_STOP_EXIT, 0);
	assert_non_null(strstr(take(f), "$W00#"));
	assert_string_equal(ask(f, "vKill;1"), "OK");
	assert_int_equal(f->vm->quit, 0);
}

static void test_dead(void **state)
{
	struct fixture *f = *state;

	ask(f, "c");
	f->vm->running = false;
	f->vm->dead = true;
	f->vm->hook.stopped(f->vm->hook.opaque, VM_STOP_DEAD, 1);
	assert_non_null(strstr(take(f), "T06thread:2;"));
	assert_non_null(strstr(ask(f, "c"), "T06thread:2;")); /* it cannot go on */
}

static void test_queries(void **state)
{
	struct fixture *f = *state;
	char *xml = xzalloc(65536), cmd[64];
	size_t n = 0;
	const char *r;

	do {
		snprintf(cmd, sizeof(cmd), "qXfer:features:read:target.xml:%zx,400", n);
		r = ask(f, cmd);
		assert_true(*r == 'm' || *r == 'l');
		strcpy(xml + n, r + 1);
		n += strlen(r + 1);
	} while (*r == 'm');
	assert_non_null(strstr(xml, "i386:x86-64"));
	assert_non_null(strstr(xml, "name=\"cr3\""));
	assert_string_equal(xml + n - 9, "</target>");
	free(xml);
	assert_string_equal(ask(f, "qXfer:features:read:other.xml:0,10"), "E00");
	assert_string_equal(ask(f, "qXfer:features:read:target.xml:fffffff,10"), "E16");
	assert_string_equal(ask(f, "qXfer:features:read:target.xml:0,0"), "m");
	assert_string_equal(ask(f, "qXfer:features:read:target.xml:x"), "E16");
	assert_non_null(strstr(ask(f, "qXfer:threads:read::0,400"), "<thread id=\"2\""));
	assert_memory_equal(ask(f, "qThreadExtraInfo,2"), "4350552031", 10);
	assert_string_equal(ask(f, "qThreadExtraInfo,zz"), "E16");
	assert_non_null(strstr(ask(f, "qRcmd,696e666f20726567697374657273"),
			       "O5241583d310a#")); /* info registers */
	assert_non_null(strstr(ask(f, "qRcmd,73797374656d5f7265736574"), "OK"));
	assert_int_equal(f->vm->resets, 1);
	assert_string_equal(ask(f, "qRcmd,7g"), "E16");
	ask(f, "QStartNoAckMode");
	send_bytes(f, "$g#00", 5);
	assert_string_equal(take(f), "$E22#a9");
}

/* Packets made of the protocol's own letters and noise: any reply will do, but the stub lives. */
static void test_hostile(void **state)
{
	static const char *const heads[] = {
		"g",
		"G",
		"p",
		"P",
		"m",
		"M",
		"X",
		"Z0,",
		"Z3,",
		"z1,",
		"H",
		"T",
		"c",
		"s",
		"C",
		"S",
		"vCont;",
		"v",
		"q",
		"Q",
		"qXfer:features:read:target.xml:",
		"qXfer:threads:read::",
		"qRcmd,",
		"qThreadExtraInfo,",
		"D",
		"?",
		"",
	};
	static const char alphabet[] = "0123456789abcdef,;:=-#$}*cs\x03";
	struct fixture *f = *state;
	uint32_t seed = 12345;

	for (int i = 0; i < 3000; i++) {
		char packet[128] = "$";
		size_t len;

		seed = seed * 1664525 + 1013904223;
		strcat(packet, heads[(seed >> 16) % ARRAY_SIZE(heads)]);
		len = strlen(packet);
		for (unsigned n = (seed >> 8) % 40; n; n--) {
			seed = seed * 1664525 + 1013904223;
			packet[len++] = alphabet[(seed >> 16) % (sizeof(alphabet) - 1)];
		}
		if (seed & BIT(20)) {
			uint8_t sum = 0;

			for (size_t k = 1; k < len; k++)
				sum = (uint8_t)(sum + packet[k]);
			len += (size_t)sprintf(packet + len, "#%02x", sum);
		}
		send_bytes(f, packet, len);
		if (i % 16 == 0)
			take(f);
	}
	take(f);
	send_bytes(f, "#00", 3);
	take(f);
	send_bytes(f, "#00", 3);
	take(f);
	ask(f, "D");
	assert_memory_equal(ask(f, "?"), "T05", 3);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_attach), T(test_lost),	 T(test_registers),   T(test_fixed),
		T(test_tags),	T(test_memory),	 T(test_breakpoints), T(test_running),
		T(test_dead),	T(test_queries), T(test_hostile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
