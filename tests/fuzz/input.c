/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What comes from files and peers: kernel images (bzImage, ELF with a PVH note, multiboot) and
 * their initrds and command lines, GDB's packets, streams of saved CPU state, and option strings.
 * Each is damaged from a good one; it must be refused with one line or taken, and nothing else.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "back/char/chardev.h"
#include "base/err.h"
#include "base/kvlist.h"
#include "base/log.h"
#include "base/loop.h"
#include "ctl/gdbstub.h"
#include "ctl/rsp.h"
#include "dev/registry.h"
#include "fuzz.h"
#include "machine/boot/boot.h"
#include "base/bytes.h"
#include "machine/vm.h"
#include "main/cmdline.h"
#include "mem/mem.h"
#include "state/state.h"
#include "x86/state.h"

static void one_line(struct err **e, int rc)
{
	if (rc >= 0) {
		fuzz_check(!*e, "an error with success");
		return;
	}
	fuzz_check(*e && *err_msg(*e), "an error without a message");
	err_free(e);
}

/* --- kernel images --- */
static void image_of(struct image *im, const char *what, const void *p, size_t len)
{
	char path[32];
	int fd = memfd_create(what, 0);
	struct err *e = NULL;

	if (fd < 0 || write(fd, p, len) != (ssize_t)len)
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	im->fd = -1;
	if (image_open(im, what, path, &e))
		err_free(&e);
	close(fd);
}

static void make_bzimage(struct rnd *r, struct bytes *b)
{
	bytes_zero(b, 5 * 512);
	b->p[0x1f1] = (uint8_t)rnd_below(r, 6);
	put_le32(b->p + 0x1f4, 0x300);
	put_le16(b->p + 0x1fe, 0xaa55);
	b->p[0x200] = 0xeb;
	b->p[0x201] = (uint8_t)(0x66 + rnd_below(r, 4));
	memcpy(b->p + 0x202, "HdrS", 4);
	put_le16(b->p + 0x206, (uint16_t)(0x200 + rnd_below(r, 16)));
	b->p[0x211] = 1;
	put_le32(b->p + 0x22c, 0x7fffffff);
	put_le32(b->p + 0x230, 0x200000);
	b->p[0x234] = (uint8_t)rnd_below(r, 2);
	put_le16(b->p + 0x236, (uint16_t)rnd_below(r, 4));
	put_le32(b->p + 0x238, 2047);
	put_le64(b->p + 0x258, 0x1000000);
	put_le32(b->p + 0x260, 0x100000);
	bytes_zero(b, 0x3000);
	if (rnd_one_in(r, 2))
		rnd_mutate(r, b->p + 0x1f1, 0x80, 4);
}

static void put_phdr(struct bytes *b, bool is64, uint32_t type, uint64_t off, uint64_t at,
		     uint64_t size)
{
	bytes_u32(b, type);
	if (is64)
		bytes_u32(b, 7);
	for (unsigned i = 0; i < 6; i++) {
		uint64_t v = i == 0 ? off : i < 3 ? at : i < 5 ? size : 4096;

		if (!is64 && i == 5)
			bytes_u32(b, 7);
		if (is64)
			bytes_u64(b, v);
		else
			bytes_u32(b, (uint32_t)v);
	}
}

static void make_elf(struct rnd *r, struct bytes *b)
{
	bool is64 = rnd_one_in(r, 2);

	bytes_str(b, "\177ELF");
	bytes_u8(b, is64 ? 2 : 1);
	bytes_u8(b, 1);
	bytes_u8(b, 1);
	bytes_zero(b, 9);
	bytes_u16(b, 2);
	bytes_u16(b, is64 ? 62 : 3);
	bytes_u32(b, 1);
	for (unsigned i = 0; i < 3; i++) {
		uint32_t v = i == 0 ? 0x200000 : i == 1 ? (is64 ? 64 : 52) : 0;

		bytes_u32(b, v);
		if (is64)
			bytes_u32(b, 0);
	}
	bytes_u32(b, 0);
	bytes_u16(b, is64 ? 64 : 52);
	bytes_u16(b, is64 ? 56 : 32);
	bytes_u16(b, 2);
	bytes_zero(b, 6);
	put_phdr(b, is64, 1, 0x200, 0x200000, 0x400);
	put_phdr(b, is64, 4, 0x100, 0x200000, 0x20);
	bytes_zero(b, 0x100 - b->len);
	bytes_u32(b, 4);
	bytes_u32(b, 4);
	bytes_u32(b, 18);
	bytes_strz(b, "Xen");
	bytes_u32(b, 0x200010);
	bytes_zero(b, 0x600 - b->len);
	if (rnd_one_in(r, 2))
		rnd_mutate(r, b->p + 16, 0x110, 4);
}

static void make_multiboot(struct rnd *r, struct bytes *b)
{
	uint32_t flags = rnd_one_in(r, 4) ? (uint32_t)rnd_value(r) : 0x10003;
	uint32_t start = 16 * (uint32_t)rnd_below(r, 4);

	bytes_zero(b, start);
	bytes_u32(b, 0x1badb002);
	bytes_u32(b, flags);
	bytes_u32(b, 0u - 0x1badb002 - flags);
	for (unsigned i = 0; i < 5; i++)
		bytes_u32(b, rnd_one_in(r, 8)	? (uint32_t)rnd_value(r)
			     : i == 2 || i == 3 ? 0x100000 + 0x800 * i
						: 0x100000);
	bytes_zero(b, 0x1000);
}

static void map_ram(struct mem *m, uint64_t size)
{
	uint64_t off = mem_ram_alloc(m, size);

	mem_map_ram(m, GPA(0), VGA_HOLE, off, 0);
	mem_map_ram(m, GPA(0xc0000), size - 0xc0000, off + 0xc0000, 0);
}

static char *random_text(struct rnd *r, size_t most)
{
	size_t len = rnd_below(r, most);
	char *s = xzalloc(len + 1);

	for (size_t i = 0; i < len; i++)
		s[i] = (char)(1 + rnd_below(r, 255));
	return s;
}

static void fuzz_boot(struct rnd *r)
{
	static void (*const make[])(struct rnd * r, struct bytes * b) = {make_bzimage, make_elf,
									 make_multiboot};
	static const uint8_t initrd_bytes[5000] = {1, 2, 3};
	uint64_t ram = RND_PICK(r, ((uint64_t[]){1, 2, 4, 17, 64})) * MiB;
	struct image kernel, initrd;
	struct ram_layout layout;
	struct e820_map e820;
	struct bytes b = {0};
	struct err *e = NULL;
	struct x86_state s;
	char *cmdline = random_text(r, rnd_one_in(r, 4) ? 70000 : 100);
	struct log *log = log_create();
	struct boot_config cfg = {.kernel = &kernel,
				  .cmdline = cmdline,
				  .e820 = &e820,
				  .below_4g = ram,
				  .rsdp = 0xf8000,
				  .long_mode = rnd_one_in(r, 2)};

	RND_PICK(r, make)(r, &b);
	if (rnd_one_in(r, 2))
		rnd_mutate(r, b.p, b.len, 8);
	image_of(&kernel, "kernel", b.p, rnd_one_in(r, 3) ? 1 + rnd_below(r, b.len) : b.len);
	image_of(&initrd, "initrd", initrd_bytes, 1 + rnd_below(r, sizeof(initrd_bytes)));
	if (rnd_one_in(r, 2))
		cfg.initrd = &initrd;
	if (mem_create(&cfg.mem, ram, log, NULL))
		abort();
	map_ram(cfg.mem, ram);
	ram_split(&layout, ram, 0xe0000000, 0xc0000000);
	e820_build_direct(&e820, &layout, 0, 0);
	x86_state_reset(&s, true, 0x600);
	one_line(&e, boot_load(&cfg, &s, &e));
	image_close(&kernel);
	image_close(&initrd);
	mem_destroy(cfg.mem);
	log_destroy(log);
	bytes_free(&b);
	free(cmdline);
}

/* --- option strings --- */
static char *mutated_text(struct rnd *r, const char *from)
{
	static const char marks[] = ",=:=,,.-+0x9kKGTeon\"'%";
	size_t len = strlen(from);
	char *s = xzalloc(len + 9);

	memcpy(s, from, len);
	for (uint64_t n = rnd_below(r, 5); n && len; n--) {
		size_t at = rnd_below(r, len), put = rnd_below(r, 3);

		if (put == 0)
			s[at] = (char)(32 + rnd_below(r, 95));
		else if (put == 1)
			s[at] = marks[rnd_below(r, sizeof(marks) - 1)];
		else
			s[len = at + 1] = 0;
	}
	return s;
}

/* Back ends that touch nothing outside: what may name a file or a host is left alone. */
static void fuzz_chardev(struct rnd *r)
{
	static const char *const good[] = {
		"null,id=a",	    "pty,id=b",
		"null,id=c,mux=on", "socket,id=d,server=on,wait=off",
		"ringbuf,id=x",	    "null",
		"pty,,id=",	    "null,id=e,mux=off,id=f",
		"file,id=z",	    "socket,id=y,port=1",
	};
	struct loop *loop = loop_create();
	struct chardev *cd = NULL;
	struct err *e = NULL;
	char *s = mutated_text(r, RND_PICK(r, good));
	int rc;

	if (!strstr(s, "path") && !strstr(s, "host") && !strchr(s, '/') && !strstr(s, "stdio")) {
		rc = rnd_one_in(r, 3) && strncmp(s, "file", 4) && strncmp(s, "pipe", 4) &&
				     strncmp(s, "unix", 4) && strncmp(s, "tcp", 3)
			     ? chardev_open(&cd, loop, "x", s, &e)
			     : chardev_open_opts(&cd, loop, s, &e);
		one_line(&e, rc);
		chardev_close(cd);
	}
	free(s);
	loop_destroy(loop);
}

static void fuzz_options(struct rnd *r)
{
	static const char *const good[] = {
		"isa-debug-exit,iobase=0xf4,iosize=4",
		"isa-debugcon,iobase=0x402,chardev=a",
		"driver=x,a=b",
		"a=b,c,,d=e,nof",
		"size=512M,slots=3",
		"=,=",
		"cpus=2,cores=1",
	};
	struct kvlist l = { 0 };
	struct err *e = NULL;
	char *s = mutated_text(r, RND_PICK(r, good)), *comma = strchr(s, ',');
	uint64_t v = 0;
	bool on;

	one_line(&e, kv_parse(&l, s, rnd_one_in(r, 2) ? "driver" : NULL, &e));
	one_line(&e, kv_bool(&l, "c", &on, &e));
	one_line(&e, kv_uint(&l, "iobase", 0, 0xffff, &v, &e));
	one_line(&e, kv_finish(&l, &e));
	kv_free(&l);
	parse_size(s, 1 + rnd_below(r, MiB), &v);
	parse_uint(s, 0, UINT64_MAX, &v);
	if (comma)
		*comma = 0;
	one_line(&e, dev_create_check(s, comma ? comma + 1 : "", &e));
	free(s);
}

static void fuzz_cmdline(struct rnd *r)
{
	static const char *const words[] = {
		"-m",
		"512M",
		"-smp",
		"2,sockets=1",
		"-machine",
		"q35,accel=interp",
		"-cpu",
		"max,+avx,-avx2",
		"-kernel",
		"k",
		"-initrd",
		"i",
		"-append",
		"console=ttyS0",
		"-accel",
		"interp",
		"-serial",
		"stdio",
		"mon:stdio",
		"-chardev",
		"null,id=a",
		"-device",
		"isa-debug-exit,iobase=0xf4",
		"-d",
		"int,mmu",
		"-nographic",
		"-nodefaults",
		"-display",
		"none",
		"-no-reboot",
		"-S",
		"-s",
		"-gdb",
		"tcp::1",
		"-name",
		"guest=x,process=y",
		"-rtc",
		"base=utc",
		"-global",
		"a.b=c",
		"--engine",
		"-c",
		"-bios",
		"",
		"-debugcon",
		"null",
		"-monitor",
		"none",
		"-vga",
		"-net",
		"-boot",
		"order=c",
		"-pidfile",
		"p",
		"-M",
	};
	char *argv[12];
	int argc = 1 + (int)rnd_below(r, 11), rc;
	struct cmdline c;
	struct err *e = NULL;

	for (int i = 0; i < argc; i++) {
		argv[i] = mutated_text(r, RND_PICK(r, words));
		if (strstr(argv[i], "h") || strstr(argv[i], "version") || strchr(argv[i], '?'))
			strcpy(argv[i], "-S"); /* prints */
	}
	rc = cmdline_parse(&c, "x", rnd_one_in(r, 2), argc, argv, &e);
	one_line(&e, rc);
	cmdline_free(&c);
	for (int i = 0; i < argc; i++)
		free(argv[i]);
}

/* --- saved CPU state --- */
static void fuzz_state(struct rnd *r)
{
	struct state_buf b = {0};
	struct x86_state s, before;
	struct err *e = NULL;
	size_t used;
	int rc;

	x86_state_reset(&s, true, 0x600);
	state_save(&b, &x86_state_desc, &s);
	rnd_mutate(r, b.data, b.len, 6);
	before = s;
	rc = state_load(&x86_state_desc, &s, b.data, rnd_one_in(r, 4) ? rnd_below(r, b.len) : b.len,
			&used, &e);
	one_line(&e, rc);
	fuzz_check(!rc || !memcmp(&s, &before, sizeof(s)), "a refused stream changed something");
	free(b.data);
}

/* --- GDB --- */
static const char *const packets[] = {
	"qSupported:multiprocess+;xmlRegisters=i386",
	"?",
	"g",
	"G00",
	"p0",
	"p21",
	"P0=0000000000000000",
	"m1000,40",
	"mffffffffffffffff,10",
	"M1000,4:01020304",
	"X1000,4:abcd",
	"Z0,100020,1",
	"z0,100020,1",
	"Z1,1000,1",
	"Z2,100000,8",
	"Z3,2000,4",
	"Z4,fffffffffffffff8,10",
	"z2,100000,8",
	"c",
	"s",
	"C05",
	"S05",
	"vCont?",
	"vCont;c",
	"vCont;s:1;c",
	"vCont;s:p1.1",
	"vCont;s:2;c:-1",
	"vCont;t",
	"Hg0",
	"Hg2",
	"Hc-1",
	"Hgp1.2",
	"T1",
	"T9",
	"qC",
	"qfThreadInfo",
	"qsThreadInfo",
	"qThreadExtraInfo,1",
	"qAttached",
	"vMustReplyEmpty",
	"qXfer:features:read:target.xml:0,ffb",
	"qXfer:features:read:target.xml:fffffffffffffff0,ffff",
	"qRcmd,68656c70",
	"qRcmd,696e666f",
	"QStartNoAckMode",
	"D",
	"k",
	"vKill;1",
	"R00",
	"!",
	"bc",
	"qOffsets",
	"qTStatus",
	"qSymbol::",
	"qRcmd,7265736574",
	"qSearch:memory:0;10;ff",
	"vFile:open:61,0,0",
	"vCtrlC",
	"i",
	"x1000,10",
	"qCRC:1000,10000",
};

static size_t frame(struct rnd *r, uint8_t *out, size_t max)
{
	char *s = mutated_text(r, RND_PICK(r, packets));
	size_t len = strlen(s);
	uint8_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum += (uint8_t)s[i];
	if (rnd_one_in(r, 20))
		sum++;
	len = (size_t)snprintf((char *)out, max, "%s$%s#%02x", rnd_one_in(r, 8) ? "-" : "+", s,
			       sum);
	if (rnd_one_in(r, 12))
		out[len++] = 3;
	if (rnd_one_in(r, 20))
		rnd_mutate(r, out, len, 2);
	free(s);
	return len;
}

struct echo {
	struct rnd *r;
	struct rsp rsp;
};

static void got_packet(void *opaque, char *buf, size_t len)
{
	struct echo *x = opaque;

	fuzz_check(len <= RSP_MAX && !buf[len], "len %zu", len);
	rsp_send(&x->rsp, buf, rnd_below(x->r, len + 1));
}

static void got_interrupt(void *opaque)
{
}

static void got_send(void *opaque, const uint8_t *buf, size_t len)
{
	fuzz_check(len <= 2 * RSP_MAX + 8, "len %zu", len);
}

static void fuzz_rsp(struct rnd *r)
{
	static const struct rsp_ops ops = {got_packet, got_interrupt, got_send};
	struct echo *x = xzalloc(sizeof(*x));
	uint8_t buf[512];

	x->r = r;
	rsp_init(&x->rsp, &ops, x);
	for (unsigned n = 0; n < 60; n++) {
		size_t len = frame(r, buf, 256);

		if (rnd_one_in(r, 8)) {
			rnd_bytes(r, buf, len = sizeof(buf));
			buf[0] = '$';
		}
		for (size_t at = 0, part; at < len; at += part) {
			part = 1 + rnd_below(r, len - at);
			rsp_receive(&x->rsp, buf + at, part);
		}
		if (rnd_one_in(r, 20))
			rsp_reset(&x->rsp);
	}
	rsp_fini(&x->rsp);
	free(x);
}

static int connect_to(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)))
		abort();
	return fd;
}

/* A debugger that speaks nonsense to a real machine. */
static void talk(struct rnd *r, struct loop *loop, const char *path)
{
	uint8_t buf[4096];
	int fd = connect_to(path);

	for (unsigned n = 0; n < 80; n++) {
		size_t len = frame(r, buf, 256);

		if (write(fd, buf, len) < 0 && rnd_one_in(r, 2))
			break;
		for (unsigned i = 0; i < 3; i++)
			loop_once(loop, 0);
		while (read(fd, buf, sizeof(buf)) > 0)
			;
	}
	close(fd);
	for (unsigned i = 0; i < 3; i++)
		loop_once(loop, 1);
}

static void fuzz_gdb(struct rnd *r)
{
	/* At 1 MiB + 32: 1: incl 0x300000; jmp 1b */
	const uint32_t head[10] = {0x1badb002, 0x10003,	 0u - 0x1badb002 - 0x10003,
				   0x100000,   0x100000, 0,
				   0,	       0x100020, 0x000005ff,
				   0xf8eb0030};
	int fd = memfd_create("kernel", 0);
	char kernel[32], where[64];
	struct vm_config cfg = {.machine = "pc",
				.mem_size = 16 * MiB,
				.n_cpus = 2,
				.kernel = kernel,
				.log = log_create(),
				.loop = loop_create()};
	struct gdbstub *g = NULL;
	struct err *e = NULL;
	struct vm *vm;

	if (fd < 0 || write(fd, head, sizeof(head)) != sizeof(head))
		abort();
	snprintf(kernel, sizeof(kernel), "/proc/self/fd/%d", fd);
	snprintf(where, sizeof(where), "unix:/tmp/doppel-fuzz-gdb-%d", getpid());
	unlink(where + 5);
	if (vm_create(&vm, &cfg, &e) || gdbstub_create(&g, vm, cfg.loop, where, &e))
		fuzz_fail(__FILE__, __LINE__, "a machine with a stub", "%s", err_msg(e));
	vm_resume(vm);
	for (uint64_t n = 1 + rnd_below(r, 3); n; n--)
		talk(r, cfg.loop, where + 5);
	vm_pause(vm);
	gdbstub_destroy(g);
	vm_destroy(vm);
	loop_destroy(cfg.loop);
	log_destroy(cfg.log);
	close(fd);
	unlink(where + 5);
}

static void one(struct rnd *r)
{
	static const struct {
		const char *name;
		void (*fn)(struct rnd *r);
		unsigned times;
	} kinds[] = {
		{"boot", fuzz_boot, 3},	       {"chardev", fuzz_chardev, 5},
		{"options", fuzz_options, 20}, {"cmdline", fuzz_cmdline, 20},
		{"state", fuzz_state, 20},     {"rsp", fuzz_rsp, 1},
		{"gdb", fuzz_gdb, 1},
	};
	uint64_t n = rnd_below(r, ARRAY_SIZE(kinds));

	fuzz_phase(kinds[n].name);
	for (unsigned i = 0; i < kinds[n].times; i++)
		kinds[n].fn(r);
}

int main(int argc, char **argv)
{
	const struct fuzz f = {.name = "fuzz-input", .runs = 1000, .hang_s = 30, .one = one};

	return fuzz_main(&f, argc, argv);
}
