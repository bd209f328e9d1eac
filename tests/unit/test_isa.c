/* SPDX-License-Identifier: Apache-2.0 */
/* UART, debug console, 8042, port 92, fw_cfg, isa-debug-exit and devices by name. */
#include "dev_env.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "back/char/chardev.h"
#include "dev/acpi/ged.h"
#include "dev/char/debugcon.h"
#include "dev/char/uart.h"
#include "dev/fwcfg.h"
#include "dev/legacy/i8042.h"
#include "dev/legacy/misc.h"
#include "dev/registry.h"

#define COM1 0x3f8

struct rig {
	struct test_env *t;
	struct test_wire irq, irq12;
	struct chardev *cd;
	int fd; /* the other end */
	char path[64];
};

static int setup(void **state)
{
	struct rig *r = xzalloc(sizeof(*r));

	r->t = env_open();
	r->fd = -1;
	*state = r;
	return 0;
}

static int teardown(void **state)
{
	struct rig *r = *state;

	lock_take(&r->t->lock);
	dev_destroy_all(&r->t->env);
	lock_drop(&r->t->lock);
	if (r->fd >= 0)
		close(r->fd);
	chardev_close(r->cd);
	env_close(r->t);
	if (r->path[0])
		unlink(r->path);
	free(r);
	return 0;
}

/* connect_line - a chardev with somebody at the other end. */
static void connect_line(struct rig *r)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	char spec[128];

	snprintf(r->path, sizeof(r->path), "/tmp/doppel-test-isa-%d", (int)getpid());
	unlink(r->path);
	snprintf(spec, sizeof(spec), "unix:%s,server=on,wait=off", r->path);
	assert_int_equal(chardev_open(&r->cd, r->t->env.loop, "c", spec, NULL), 0);
	strcpy(a.sun_path, r->path);
	r->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	assert_int_equal(connect(r->fd, (struct sockaddr *)&a, sizeof(a)), 0);
	run_ms(r->t, 5);
}

static void line_read(struct rig *r, char *buf, size_t len)
{
	size_t got = 0;

	for (int i = 0; i < 2000 && got < len; i++) {
		ssize_t n = read(r->fd, buf + got, len - got);

		got += n > 0 ? (size_t)n : 0;
		run_ms(r->t, 1);
	}
	assert_int_equal(got, len);
}

static struct uart *uart(struct rig *r)
{
	struct uart *u = NULL;

	assert_int_equal(uart_create(&u, &r->t->env, "serial0", COM1, wire(&r->irq), r->cd, NULL),
			 0);
	return u;
}

static void uart_registers(void **state)
{
	struct rig *r = *state;

	uart(r);
	assert_int_equal(inb(r->t, COM1 + 2), 0x01);
	assert_int_equal(inb(r->t, COM1 + 5), 0x60);
	assert_int_equal(inb(r->t, COM1 + 6), 0x00); /* nothing connected */
	outb(r->t, COM1 + 7, 0x5a);
	assert_int_equal(inb(r->t, COM1 + 7), 0x5a);
	outb(r->t, COM1 + 3, 0x83);
	outb(r->t, COM1, 1);
	outb(r->t, COM1 + 1, 0);
	assert_int_equal(inb(r->t, COM1), 1);
	outb(r->t, COM1 + 3, 0x03);
	outb(r->t, COM1 + 1, 0xff);
	assert_int_equal(inb(r->t, COM1 + 1), 0x0f);
	outb(r->t, COM1 + 1, 0);
	/* Modem lines in loopback, as drivers probe for them. */
	outb(r->t, COM1 + 4, 0x1a);
	assert_int_equal(inb(r->t, COM1 + 6) & 0xf0, 0x90);
	assert_int_equal(inb(r->t, COM1 + 6) & 0x0f, 0);
	outb(r->t, COM1 + 4, 0x14);
	outb(r->t, COM1 + 4, 0x10);
	assert_true(inb(r->t, COM1 + 6) & 0x04); /* RI fell */
	/* Overrun: the FIFO keeps the first 16. */
	outb(r->t, COM1 + 2, 0x07);
	for (uint8_t i = 0; i < 17; i++)
		outb(r->t, COM1, i);
	assert_int_equal(inb(r->t, COM1 + 5) & 0x03, 0x03);
	for (uint8_t i = 0; i < 16; i++)
		assert_int_equal(inb(r->t, COM1), i);
	assert_int_equal(inb(r->t, COM1 + 5) & 0x03, 0);
}

static void uart_transmit(void **state)
{
	struct rig *r = *state;
	char buf[16];

	connect_line(r);
	uart(r);
	assert_int_equal(inb(r->t, COM1 + 6) & 0xf0, 0xb0);
	for (const char *s = "hello"; *s; s++)
		outb(r->t, COM1, (uint8_t)*s);
	line_read(r, buf, 5);
	assert_memory_equal(buf, "hello", 5);
	/* THRE: raised by enabling, cleared by IIR, raised again by the next byte. */
	(void)inb(r->t, COM1 + 2);
	outb(r->t, COM1 + 4, 0x08);
	outb(r->t, COM1 + 1, 0x02);
	assert_true(r->irq.level);
	assert_int_equal(inb(r->t, COM1 + 2), 0x02);
	assert_false(r->irq.level);
	assert_int_equal(inb(r->t, COM1 + 2), 0x01);
	outb(r->t, COM1, 'x');
	assert_true(r->irq.level);
	outb(r->t, COM1 + 4, 0x00); /* OUT2 gates the interrupt */
	assert_false(r->irq.level);
	outb(r->t, COM1 + 4, 0x08);
	outb(r->t, COM1 + 1, 0x00);
	outb(r->t, COM1 + 1, 0x02);
	assert_int_equal(inb(r->t, COM1 + 2), 0x02);
}

/* What lies in the FIFO goes out as one piece: when it is full, when the guest looks, or by itself. */
static void uart_gathers(void **state)
{
	struct rig *r = *state;
	char buf[64];

	connect_line(r);
	uart(r);
	outb(r->t, COM1 + 2, 0x01);
	for (const char *s = "Password: "; *s; s++)
		outb(r->t, COM1, (uint8_t)*s);
	assert_int_equal(read(r->fd, buf, sizeof(buf)), -1);
	assert_int_equal(inb(r->t, COM1 + 5), 0x60);
	assert_int_equal(read(r->fd, buf, sizeof(buf)), 10);
	for (unsigned i = 0; i < 16; i++)
		outb(r->t, COM1, (uint8_t)('a' + i));
	assert_int_equal(read(r->fd, buf, sizeof(buf)), 16);
	outb(r->t, COM1 + 4, 0x08);
	outb(r->t, COM1 + 1, 0x02);
	assert_int_equal(inb(r->t, COM1 + 2), 0xc2);
	outb(r->t, COM1, 'x');
	assert_false(r->irq.level);
	line_read(r, buf, 1);
	assert_true(r->irq.level);
	outb(r->t, COM1, 'y'); /* waits when the guest resets, and when the machine ends */
	lock_take(&r->t->lock);
	dev_reset_all(&r->t->env);
	lock_drop(&r->t->lock);
	line_read(r, buf, 1);
	assert_int_equal(buf[0], 'y');
	outb(r->t, COM1 + 2, 0x01);
	outb(r->t, COM1, 'z');
	lock_take(&r->t->lock);
	dev_destroy_all(&r->t->env);
	lock_drop(&r->t->lock);
	line_read(r, buf, 1);
	assert_int_equal(buf[0], 'z');
}

static void uart_receive(void **state)
{
	struct rig *r = *state;

	connect_line(r);
	uart(r);
	outb(r->t, COM1 + 4, 0x08);
	outb(r->t, COM1 + 2, 0x41); /* trigger at 4 */
	outb(r->t, COM1 + 3, 0x83);
	outb(r->t, COM1, 1);
	outb(r->t, COM1 + 1, 0);
	outb(r->t, COM1 + 3, 0x03);
	outb(r->t, COM1 + 1, 0x01);
	assert_int_equal(write(r->fd, "ab", 2), 2);
	wait_for(r->t, r->irq.level); /* below the trigger: timeout */
	assert_int_equal(inb(r->t, COM1 + 2), 0xcc);
	assert_int_equal(inb(r->t, COM1), 'a');
	assert_false(r->irq.level);
	assert_int_equal(inb(r->t, COM1), 'b');
	assert_int_equal(write(r->fd, "0123456789abcdefghij", 20), 20);
	wait_for(r->t, r->irq.level);
	assert_int_equal(inb(r->t, COM1 + 2), 0xc4);
	for (unsigned i = 0; i < 20; i++) { /* the last four wait until there is room */
		wait_for(r->t, inb(r->t, COM1 + 5) & 1);
		assert_int_equal(inb(r->t, COM1), "0123456789abcdefghij"[i]);
	}
	assert_int_equal(inb(r->t, COM1 + 2), 0xc1);
}

static void debug_console(void **state)
{
	struct rig *r = *state;
	struct debugcon *d;
	struct err *e = NULL;
	char c;

	connect_line(r);
	assert_int_equal(debugcon_create(&d, &r->t->env, 0x402, r->cd, NULL), 0);
	assert_int_equal(inb(r->t, 0x402), 0xe9);
	outb(r->t, 0x402, 'Z');
	line_read(r, &c, 1);
	assert_int_equal(c, 'Z');
	assert_int_equal(debugcon_create(&d, &r->t->env, 0xe9, r->cd, &e), -EBUSY);
	assert_non_null(e);
	err_free(&e);
}

static void keyboard_controller(void **state)
{
	struct rig *r = *state;
	struct irq_line none = { 0 };

	i8042_create(&r->t->env, wire(&r->irq), wire(&r->irq12), none);
	port92_create(&r->t->env, none);
	assert_int_equal(inb(r->t, 0x64) & 0x03, 0);
	outb(r->t, 0x64, 0xaa);
	assert_int_equal(inb(r->t, 0x64) & 0x05, 0x05);
	assert_int_equal(inb(r->t, 0x60), 0x55);
	assert_int_equal(inb(r->t, 0x64) & 0x01, 0);
	outb(r->t, 0x64, 0x60);
	outb(r->t, 0x60, 0x47);
	outb(r->t, 0x64, 0x20);
	assert_int_equal(inb(r->t, 0x60), 0x47);
	outb(r->t, 0x60, 0xee); /* to the keyboard: echo */
	assert_true(r->irq.level);
	assert_int_equal(inb(r->t, 0x64) & 0x61, 0x01);
	assert_int_equal(inb(r->t, 0x60), 0xee);
	assert_false(r->irq.level);
	outb(r->t, 0x64, 0xd4); /* to the absent mouse */
	outb(r->t, 0x60, 0xf2);
	assert_true(r->irq12.level);
	assert_int_equal(inb(r->t, 0x64) & 0x61, 0x61);
	assert_int_equal(inb(r->t, 0x60), 0xfe);
	assert_false(r->irq12.level);
	outb(r->t, 0x64, 0xd3);
	outb(r->t, 0x60, 0x5a);
	assert_true(r->irq12.level);
	assert_int_equal(inb(r->t, 0x64) & 0x21, 0x21);
	assert_int_equal(inb(r->t, 0x60), 0x5a);
	outb(r->t, 0x64, 0xfe);
	assert_int_equal(r->t->resets, 1);
	outb(r->t, 0x92, 0x02);
	assert_int_equal(r->t->resets, 1);
	outb(r->t, 0x92, 0x03);
	assert_int_equal(r->t->resets, 2);
}

static uint32_t be32(uint32_t v)
{
	return __builtin_bswap32(v);
}

static uint32_t dma(struct rig *r, uint64_t at, uint32_t control, uint32_t len, uint64_t addr)
{
	wr32(r->t, at, be32(control));
	wr32(r->t, at + 4, be32(len));
	wr32(r->t, at + 8, be32((uint32_t)(addr >> 32)));
	wr32(r->t, at + 12, be32((uint32_t)addr));
	outl(r->t, 0x514, be32((uint32_t)(at >> 32)));
	outl(r->t, 0x518, be32((uint32_t)at));
	return be32(rd32(r->t, at));
}

static void fw_cfg_items(void **state)
{
	struct rig *r = *state;
	struct fwcfg *f = fwcfg_create(&r->t->env);
	uint8_t dir[4 + 2 * 64];

	fwcfg_add_u16(f, FW_CFG_NB_CPUS, 3);
	fwcfg_add_file(f, "etc/zeta", "zz", 2);
	fwcfg_add_file(f, "bootorder", "disk", 4);
	fwcfg_add_file(f, "etc/zeta", "zeta!", 5);
	outw(r->t, 0x510, 0);
	assert_int_equal(inb(r->t, 0x511), 'Q');
	assert_int_equal(inb(r->t, 0x511), 'E');
	outw(r->t, 0x510, FW_CFG_NB_CPUS);
	assert_int_equal(inb(r->t, 0x511), 3);
	assert_int_equal(inb(r->t, 0x511), 0);
	assert_int_equal(inb(r->t, 0x511), 0); /* past the end */
	outw(r->t, 0x510, FW_CFG_FILE_DIR);
	for (unsigned i = 0; i < sizeof(dir); i++)
		dir[i] = inb(r->t, 0x511);
	assert_int_equal(be32(get_le32(dir)), 2);
	assert_string_equal((char *)dir + 12, "bootorder");
	assert_string_equal((char *)dir + 76, "etc/zeta");
	assert_int_equal(be32(get_le32(dir + 68)), 5);
	outw(r->t, 0x510, __builtin_bswap16(get_le16(dir + 72)));
	assert_int_equal(inb(r->t, 0x511), 'z');
	assert_int_equal(inb(r->t, 0x511), 'e');
	outw(r->t, 0x510, 0x7777); /* no such item */
	assert_int_equal(inb(r->t, 0x511), 0);
}

static void zeta_anew(void *opaque)
{
	fwcfg_add_file(*(struct fwcfg **)opaque, "etc/zeta", "fresh", 5);
}

static void fw_cfg_refreshed(void **state)
{
	struct rig *r = *state;
	struct fwcfg *f = fwcfg_create(&r->t->env);

	fwcfg_add_file(f, "etc/zeta", "zeta!", 5);
	fwcfg_on_select(f, "etc/zeta", zeta_anew, &f);
	outw(r->t, 0x510, FW_CFG_FILE_DIR);
	assert_int_equal(inb(r->t, 0x511), 0);
	outw(r->t, 0x510, 0x20);
	assert_int_equal(inb(r->t, 0x511), 'f');
	assert_int_equal(inb(r->t, 0x511), 'r');
	fwcfg_add_file(f, "etc/zeta", "zeta!", 5);
	assert_int_equal(dma(r, 0x1000, 0x20u << 16 | 0x0a, 4, 0x3000), 0);
	assert_int_equal(rd32(r->t, 0x3000), get_le32("fres"));
}

static void fw_cfg_dma(void **state)
{
	struct rig *r = *state;
	struct fwcfg *f = fwcfg_create(&r->t->env);
	uint64_t at = 0x1000;
	uint32_t zeta = 0x20u << 16;

	fwcfg_add_file(f, "etc/zeta", "zeta!", 5);
	assert_int_equal(inl(r->t, 0x514), get_le32("QEMU"));
	assert_int_equal(inl(r->t, 0x518), get_le32(" CFG"));
	wr32(r->t, 0x3004, 0xffffffff);
	assert_int_equal(dma(r, at, zeta | 0x0a, 8, 0x3000), 0);
	assert_int_equal(rd32(r->t, 0x3000), get_le32("zeta"));
	assert_int_equal(rd32(r->t, 0x3004), '!');
	assert_int_equal(dma(r, at, zeta | 0x0c, 2, 0), 0); /* skip */
	assert_int_equal(dma(r, at, 0x02, 2, 0x3000), 0);
	assert_int_equal(rd32(r->t, 0x3000) & 0xffff, 't' | 'a' << 8);
	/* Hostile requests: error bit, no harm. */
	assert_int_equal(dma(r, at, zeta | 0x0a, 8, 0xfee00000), 1);
	assert_int_equal(dma(r, at, zeta | 0x0a, 0xffffffff, 0x3000), 1);
	assert_int_equal(dma(r, at, zeta | 0x0a, 16, UINT64_MAX - 3), 1);
	assert_int_equal(dma(r, at, zeta | 0x18, 5, 0x3000), 1);
	assert_int_equal(dma(r, at, 0x04, 0xffffffff, 0), 0);
	assert_int_equal(dma(r, at, 0x04, 0xffffffff, 0), 0);
	assert_int_equal(dma(r, at, 0x02, 4, 0x3000), 0);
	assert_int_equal(rd32(r->t, 0x3000), 0);
	outl(r->t, 0x514, 0xffffffff);
	outl(r->t, 0x518, 0xffffffff);
	outl(r->t, 0x514, 0);
	outl(r->t, 0x518, be32(TEST_RAM - 8)); /* half in RAM */
	wr32(r->t, 0x2000, be32(zeta | 0x0a)); /* writes over its own request */
	assert_int_equal(dma(r, at, zeta | 0x0a, 16, at), 0);
}

static void devices_by_name(void **state)
{
	struct rig *r = *state;
	struct dev_slots s = { .env = &r->t->env };
	struct err *e = NULL;
	static const char *const bad[][3] = {
		{ "isa-debug-exat", "", "isa-debug-exat" },
		{ "isa-debug-exit", "iobase=0xf4,isize=4", "isize" },
		{ "isa-debug-exit", "iobase=", "iobase" },
		{ "isa-debug-exit", "iobase=-1", "iobase" },
		{ "isa-debug-exit", "iobase=0x10000", "iobase" },
		{ "isa-debug-exit", "iobase=0xffff,iosize=2", "port space" },
		{ "isa-debug-exit", "iosize=0", "port space" },
		{ "isa-debug-exit", "bus=pci.0", "pci.0" },
		{ "isa-debug-exit", "iobase", "iobase" },
		{ "isa-debugcon", "iobase=0xe9", "chardev" },
		{ "isa-debugcon", "chardev=none", "none" },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_true(dev_create(&s, bad[i][0], bad[i][1], &e) < 0);
		assert_non_null(strstr(err_msg(e), bad[i][2]));
		err_free(&e);
	}
	assert_null(r->t->env.devs);
	assert_int_equal(dev_create_check("isa-debug-exit", "iobase=0xf4", NULL), 0);
	assert_int_equal(dev_create(&s, "isa-debug-exit", "id=x,iobase=0xf4,iosize=0x04", &e), 0);
	assert_true(dev_create(&s, "isa-debug-exit", "id=x,iobase=0xf8", &e) < 0); /* same id */
	err_free(&e);
	assert_true(dev_create(&s, "isa-debug-exit", "iobase=0xf5", &e) < 0); /* same ports */
	err_free(&e);
	assert_int_equal(inb(r->t, 0xf4), 0);
	outl(r->t, 0xf4, 0x10);
	assert_int_equal(r->t->exits, 1);
	assert_int_equal(r->t->exit_status, 33);
}

static void event_device(void **state)
{
	struct rig *r = *state;
	struct ged *g = ged_create(&r->t->env, wire(&r->irq));

	lock_take(&r->t->lock);
	ged_power_button(g);
	lock_drop(&r->t->lock);
	assert_int_equal(r->irq.rises, 1);
	assert_false(r->irq.level);
	assert_int_equal(rd32(r->t, GED_BASE), GED_EVENT_POWER);
	assert_int_equal(rd32(r->t, GED_BASE), 0);
	mem_write(r->t->env.mem, GPA(GED_SLEEP_CONTROL), 5 << 2, 1); /* no SLP_EN */
	mem_write(r->t->env.mem, GPA(GED_SLEEP_CONTROL), 3 << 2 | 0x20, 1); /* S3 */
	mem_write(r->t->env.mem, GPA(GED_RESET), 0x41, 1);
	assert_int_equal(r->t->poweroffs, 0);
	assert_int_equal(r->t->resets, 0);
	mem_write(r->t->env.mem, GPA(GED_SLEEP_CONTROL), 5 << 2 | 0x20, 1);
	assert_int_equal(r->t->poweroffs, 1);
	mem_write(r->t->env.mem, GPA(GED_RESET), GED_RESET_VALUE, 1);
	assert_int_equal(r->t->resets, 1);
	assert_int_equal(mem_read(r->t->env.mem, GPA(GED_SLEEP_STATUS), 1), 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(uart_registers), T(uart_transmit), T(uart_gathers), T(uart_receive), T(debug_console),
		T(keyboard_controller), T(fw_cfg_items), T(fw_cfg_dma), T(fw_cfg_refreshed), T(devices_by_name),
		T(event_device),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
