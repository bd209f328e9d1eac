/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a client of a machine's monitors.  The first byte says how: bit 0 for people, bit 1
 * without negotiation, bits 2 to 4 in how large pieces; the rest is what the client sends.  What
 * comes back to a program is JSON, a message a line; nothing else must happen to us.
 *
 * Commands that open files do it on a host that has none: while an input is played, open() and
 * fopen() here refuse all but /dev/null, /proc, and what libFuzzer writes of a crash.
 */
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "back/block/block.h"
#include "back/char/chardev.h"
#include "back/net/net.h"
#include "base/base.h"
#include "base/err.h"
#include "base/log.h"
#include "base/loop.h"
#include "ctl/ctl.h"
#include "ctl/text.h"
#include "machine/vm.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int open64(const char *path, int flags, ...);
int openat64(int dir, const char *path, int flags, ...);
FILE *fopen64(const char *path, const char *mode);

static atomic_bool sealed;

static bool may_open(const char *path)
{
	return !sealed || !strcmp(path, "/dev/null") || !strncmp(path, "/proc/", 6) ||
	       strstr(path, "/findings/");
}

int openat64(int dir, const char *path, int flags, ...)
{
	va_list ap;
	mode_t mode;

	va_start(ap, flags);
	mode = (flags & (O_CREAT | __O_TMPFILE)) ? va_arg(ap, mode_t) : 0;
	va_end(ap);
	if (!may_open(path)) {
		errno = EACCES;
		return -1;
	}
	return (int)syscall(SYS_openat, dir, path, flags, mode);
}

FILE *fopen64(const char *path, const char *mode)
{
	int flags = *mode == 'r' ? O_RDONLY : *mode == 'w' ? O_WRONLY | O_CREAT | O_TRUNC : O_RDWR;
	int fd = openat64(AT_FDCWD, path, flags, 0600);

	return fd >= 0 ? fdopen(fd, mode) : NULL;
}

int open64(const char *path, int flags, ...)
{
	va_list ap;
	mode_t mode;

	va_start(ap, flags);
	mode = (flags & (O_CREAT | __O_TMPFILE)) ? va_arg(ap, mode_t) : 0;
	va_end(ap);
	return openat64(AT_FDCWD, path, flags, mode);
}

/* One machine for all inputs, which stands still. */
static struct machine {
	struct log *log;
	struct loop *loop;
	struct vm *vm;
	struct blocks *blocks;
	struct netdev *net;
	struct chardev *ring;
} m;

static void must(int r, struct err *e)
{
	if (!r)
		return;
	fprintf(stderr, "%s\n", e ? err_msg(e) : "?");
	abort();
}

/* 32-bit, flat: cli; hlt; jmp back. */
static void write_kernel(char *path)
{
	static const uint8_t code[] = {0xfa, 0xf4, 0xeb, 0xfc};
	const uint32_t head[8] = {
		0x1badb002, 0x10003, 0u - 0x1badb002 - 0x10003, 0x100000, 0x100000, 0, 0, 0x100020};
	int fd = mkstemp(path);

	if (fd < 0 || write(fd, head, sizeof(head)) != sizeof(head) ||
	    write(fd, code, sizeof(code)) != sizeof(code))
		abort();
	close(fd);
}

static struct block *get_drive(void *opaque, const char *id)
{
	return block_find(m.blocks, id);
}

static struct netdev *get_netdev(void *opaque, const char *id)
{
	return m.net;
}

static void machine_make(void)
{
	static const struct vm_device_opt devices[] = {
		{"VGA", "id=vga,romfile=,vgamem_mb=1"},
		{"virtio-blk-pci", "id=blk,drive=d0"},
		{"ide-cd", "id=cd,drive=d1"},
		{"virtio-balloon-pci", "id=balloon"},
		{"virtio-net-pci", "id=net,netdev=n0,romfile="},
		{"pci-bridge", "id=bridge,chassis_nr=1"},
	};
	char kernel[] = "/tmp/doppel-fuzz-qmp-XXXXXX";
	struct vm_config cfg = {.machine = "pc",
				.accel = "interp",
				.mem_size = 2 * MiB,
				.n_cpus = 1,
				.kernel = kernel,
				.devices = devices,
				.n_devices = ARRAY_SIZE(devices),
				.backends = {.drive = get_drive, .netdev = get_netdev}};
	struct block *b;
	struct err *e = NULL;

	signal(SIGPIPE, SIG_IGN);
	write_kernel(kernel);
	cfg.log = m.log = log_create();
	cfg.loop = m.loop = loop_create();
	cfg.blocks = m.blocks = blocks_create(m.log);
	must(block_open_drive(&b, m.blocks, "if=none,id=d0,driver=null-co,size=65536", &e), e);
	must(block_open_drive(&b, m.blocks, "if=none,id=d1,driver=null-co,size=65536,media=cdrom",
			      &e),
	     e);
	must(netdev_open(&m.net, m.loop, m.log, NULL, "user,id=n0", &e), e);
	must(chardev_open_opts(&m.ring, m.loop, "ringbuf,id=r,size=64", &e), e);
	must(vm_create(&m.vm, &cfg, &e), e);
	unlink(kernel);
}

static void each_chardev(void *opaque, void (*fn)(void *arg, struct chardev *cd), void *arg)
{
	fn(arg, m.ring);
}

static void each_netdev(void *opaque, void (*fn)(void *arg, struct netdev *nd), void *arg)
{
	fn(arg, m.net);
}

/* Take in what the monitor said; for programs each line is an object. */
static void drain(int fd, struct text *t, bool people)
{
	char buf[4096], *end;
	ssize_t n;

	while ((n = read(fd, buf, sizeof(buf))) > 0)
		text_put(t, buf, (size_t)n);
	while (!people && t->len && (end = memchr(t->s, '\n', t->len))) {
		struct json_object *o;

		*end = 0;
		o = json_tokener_parse(t->s);
		if (!json_object_is_type(o, json_type_object)) {
			fprintf(stderr, "not a message: %s\n", t->s);
			abort();
		}
		json_object_put(o);
		text_drop(t, (size_t)(end - t->s) + 1);
	}
	if (people)
		text_free(t);
}

static void settle(int fd, struct text *t, bool people)
{
	for (int i = 0; i < 4; i++) {
		loop_once(m.loop, 0);
		drain(fd, t, people);
	}
}

static void send_all(int fd, const uint8_t *buf, size_t len, size_t piece, struct text *t,
		     bool people)
{
	for (unsigned stuck = 0; len && stuck < 1000;) {
		ssize_t n = write(fd, buf, min_u64(len, piece));

		stuck = n > 0 ? 0 : stuck + 1;
		if (n > 0) {
			buf += n;
			len -= (size_t)n;
		}
		loop_once(m.loop, 0);
		drain(fd, t, people);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char hello[] = "{\"execute\":\"qmp_capabilities\"}\n";
	uint8_t how = size ? data[0] : 0;
	bool people = how & 1;
	struct ctl_config cfg = {
		.loop = m.loop, .each_chardev = each_chardev, .each_netdev = each_netdev};
	struct chardev *cd;
	struct text t = {0};
	struct ctl *ctl;
	struct err *e = NULL;
	char opts[48];
	int fds[2];

	if (!m.vm)
		machine_make();
	sealed = true;
	cfg.loop = m.loop;
	cfg.log = m.log;
	cfg.vm = m.vm;
	cfg.blocks = m.blocks;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds))
		abort();
	snprintf(opts, sizeof(opts), "socket,id=c,fd=%d", fds[0]);
	must(chardev_open_opts(&cd, m.loop, opts, &e), e);
	ctl_create(&ctl, &cfg);
	must(people ? ctl_add_hmp(ctl, cd, &e) : ctl_add_qmp(ctl, cd, false, &e), e);
	settle(fds[1], &t, people);
	if (!people && !(how & 2))
		send_all(fds[1], (const uint8_t *)hello, sizeof(hello) - 1, 64, &t, people);
	if (size > 1)
		send_all(fds[1], data + 1, size - 1, 1u << (how >> 2 & 7), &t, people);
	settle(fds[1], &t, people);
	vm_pause(m.vm);
	ctl_destroy(ctl);
	chardev_close(cd);
	drain(fds[1], &t, people);
	text_free(&t);
	close(fds[1]);
	loop_once(m.loop, 0);
	sealed = false;
	return 0;
}
