/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 16550A (National PC16550D data sheet).
 *
 *   0 RBR/THR, DLL   1 IER, DLM   2 IIR/FCR   3 LCR   4 MCR   5 LSR   6 MSR   7 SCR
 *
 * Transmission takes no time that a guest could see: what is in the transmit FIFO goes to the back
 * end when it is full, when the guest looks at any register or writes another one, or after
 * FLUSH_NS of the host's time, and else only stays there while the back end is full.  So what
 * a driver writes in one go, up to 16 characters, costs one system call and reaches the other side as
 * one piece.  (autopkgtest-virt-qemu takes a piece that follows "Password:" for the answer to what it types.)
 * Without FIFO, and in a machine whose time is driven, each character goes at once.
 *
 * Reception is paced by can_receive, so the receiver overruns in loopback only.  The interrupt pin is
 * gated by OUT2, as on every PC.
 */
#include "dev/char/uart.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "back/char/chardev.h"
#include "base/err.h"
#include "dev/class.h"
#include "dev/irq/gsi.h"

#define FIFO 16
#define FLUSH_NS 1000000
#define CLOCK 115200 /* baud rate at divisor 1 */

#define IER_RDA 0x01
#define IER_THRE 0x02
#define IER_RLS 0x04
#define IER_MS 0x08

#define IIR_NONE 0x01
#define IIR_MS 0x00
#define IIR_THRE 0x02
#define IIR_RDA 0x04
#define IIR_RLS 0x06
#define IIR_TIMEOUT 0x0c

#define FCR_ENABLE 0x01
#define FCR_CLEAR_RX 0x02
#define FCR_CLEAR_TX 0x04

#define LCR_DLAB 0x80

#define MCR_DTR 0x01
#define MCR_RTS 0x02
#define MCR_OUT1 0x04
#define MCR_OUT2 0x08
#define MCR_LOOP 0x10

#define LSR_DR 0x01
#define LSR_OE 0x02
#define LSR_BI 0x10
#define LSR_ERRORS 0x1e
#define LSR_THRE 0x20
#define LSR_TEMT 0x40
#define LSR_FIFO_ERROR 0x80

#define MSR_CTS 0x10
#define MSR_DSR 0x20
#define MSR_RI 0x40
#define MSR_DCD 0x80

struct uart {
	struct dev dev;
	struct irq_line irq;
	struct chardev *cd; /* NULL: nothing connected */
	uint16_t rx[FIFO];  /* bits 7:0 character, 15:8 its LSR error bits */
	uint8_t tx[FIFO];
	uint8_t rx_len, tx_len;
	uint16_t divisor;
	uint8_t ier, fcr, lcr, mcr, lsr_err, msr, scr;
	bool thre_pending;    /* THRE interrupt: THR became empty or IER.THRE was set */
	bool timeout_pending; /* characters wait and nothing happened for four character times */
	struct timer *timeout;
	bool gathers;	     /* characters may wait in tx for more to come */
	bool flush_armed;    /* flush_fd will be readable */
	int flush_fd;	     /* a timer of the host's, since guest time may stop meanwhile */
	struct loop_fd *flush_w;
	struct io_region io;
	struct mem_map *map;
};

static unsigned depth(const struct uart *u)
{
	return u->fcr & FCR_ENABLE ? FIFO : 1;
}

static unsigned trigger(const struct uart *u)
{
	static const uint8_t levels[4] = { 1, 4, 8, 14 };

	return u->fcr & FCR_ENABLE ? levels[u->fcr >> 6] : 1;
}

static uint8_t lsr(const struct uart *u)
{
	uint8_t v = u->lsr_err;

	if (u->rx_len)
		v |= LSR_DR;
	if (!u->tx_len)
		v |= LSR_THRE | LSR_TEMT;
	for (unsigned i = 0; (u->fcr & FCR_ENABLE) && i < u->rx_len; i++)
		if (u->rx[i] >> 8)
			v |= LSR_FIFO_ERROR;
	return v;
}

static uint8_t iir(const struct uart *u)
{
	if ((u->ier & IER_RLS) && (u->lsr_err & LSR_ERRORS))
		return IIR_RLS;
	if ((u->ier & IER_RDA) && u->rx_len >= trigger(u))
		return IIR_RDA;
	if ((u->ier & IER_RDA) && u->timeout_pending)
		return IIR_TIMEOUT;
	if ((u->ier & IER_THRE) && u->thre_pending)
		return IIR_THRE;
	if ((u->ier & IER_MS) && (u->msr & 0x0f))
		return IIR_MS;
	return IIR_NONE;
}

static void irq_update(struct uart *u)
{
	irq_set(&u->irq, (u->mcr & (MCR_OUT2 | MCR_LOOP)) == MCR_OUT2 && iir(u) != IIR_NONE);
}

/* timeout_arm - four character times from now, while characters wait in the FIFO. */
static void timeout_arm(struct uart *u)
{
	unsigned bits = 7 + (u->lcr & 3) + (u->lcr >> 2 & 1) + (u->lcr >> 3 & 1);
	uint64_t ns = UINT64_C(4000000000) / CLOCK * bits * (u->divisor ? u->divisor : 1);

	u->timeout_pending = false;
	if ((u->fcr & FCR_ENABLE) && u->rx_len)
		timer_arm(u->timeout, vclock_now(u->dev.env->clock) + (int64_t)ns);
	else
		timer_cancel(u->timeout);
}

static void timeout_due(void *opaque)
{
	struct uart *u = opaque;

	u->timeout_pending = u->rx_len != 0;
	irq_update(u);
}

/* rx_expose - a character has reached the top: its errors show in LSR. */
static void rx_expose(struct uart *u)
{
	u->lsr_err |= u->rx[0] >> 8;
	u->rx[0] &= 0xff;
}

static void rx_push(struct uart *u, uint8_t c, uint8_t errors)
{
	if (u->rx_len >= depth(u)) {
		u->lsr_err |= LSR_OE;
		if (u->fcr & FCR_ENABLE)
			return; /* the shift register is overwritten, the FIFO is kept */
		u->rx_len = 0;
	}
	u->rx[u->rx_len++] = (uint16_t)(errors << 8 | c);
	if (u->rx_len == 1)
		rx_expose(u);
	timeout_arm(u);
}

static uint8_t rx_pop(struct uart *u)
{
	uint8_t c = (uint8_t)u->rx[0];

	if (!u->rx_len)
		return c;
	u->rx_len--;
	memmove(&u->rx[0], &u->rx[1], u->rx_len * sizeof(u->rx[0]));
	if (u->rx_len)
		rx_expose(u);
	timeout_arm(u);
	irq_update(u);
	if (u->cd)
		chardev_accept_input(u->cd);
	return c;
}

/* tx_flush - move what the back end takes out of the transmit FIFO. */
static void tx_flush(struct uart *u)
{
	size_t n = u->tx_len;

	if (!n)
		return;
	if (u->cd)
		n = chardev_write(u->cd, u->tx, n);
	u->tx_len -= (uint8_t)n;
	memmove(&u->tx[0], &u->tx[n], u->tx_len);
	if (!u->tx_len)
		u->thre_pending = true;
	irq_update(u);
}

static void flush_due(void *opaque, uint32_t events)
{
	struct uart *u = opaque;
	uint64_t n;

	if (read(u->flush_fd, &n, sizeof(n)) != sizeof(n))
		return;
	u->flush_armed = false;
	tx_flush(u);
}

/* tx_flush_soon - the guest may have no more to write, and never look. */
static void tx_flush_soon(struct uart *u)
{
	static const struct itimerspec at = { .it_value.tv_nsec = FLUSH_NS };

	if (!u->flush_armed)
		u->flush_armed = !timerfd_settime(u->flush_fd, 0, &at, NULL);
	if (!u->flush_armed)
		tx_flush(u);
}

static void write_thr(struct uart *u, uint8_t c)
{
	u->thre_pending = false;
	irq_update(u);
	if (u->mcr & MCR_LOOP) {
		rx_push(u, c, 0);
		u->thre_pending = true;
		irq_update(u);
		return;
	}
	if (u->tx_len >= depth(u))
		u->tx_len--; /* written without room: the last one is replaced */
	u->tx[u->tx_len++] = c;
	if (u->gathers && u->tx_len < depth(u))
		tx_flush_soon(u);
	else
		tx_flush(u);
}

/* msr_update - modem inputs: our own outputs in loopback, else all present when a line is
 * connected. */
static void msr_update(struct uart *u)
{
	uint8_t in = u->cd ? MSR_DCD | MSR_DSR | MSR_CTS : 0, changed;

	if (u->mcr & MCR_LOOP)
		in = (uint8_t)((u->mcr & MCR_RTS ? MSR_CTS : 0) | (u->mcr & MCR_DTR ? MSR_DSR : 0) |
			       (u->mcr & MCR_OUT1 ? MSR_RI : 0) |
			       (u->mcr & MCR_OUT2 ? MSR_DCD : 0));
	changed = (u->msr ^ in) & 0xf0;
	if (in & MSR_RI)
		changed &= (uint8_t)~MSR_RI; /* TERI: trailing edge only */
	u->msr = (uint8_t)(in | (u->msr & 0x0f) | changed >> 4);
}

static void write_fcr(struct uart *u, uint8_t val)
{
	uint8_t changed = (u->fcr ^ val) & FCR_ENABLE;

	if (!(val & FCR_ENABLE))
		val = 0;
	if (changed || (val & FCR_CLEAR_RX)) {
		u->rx_len = 0;
		u->rx[0] = 0;
	}
	if ((changed || (val & FCR_CLEAR_TX)) && u->tx_len) {
		u->tx_len = 0;
		u->thre_pending = true;
	}
	u->fcr = val & 0xc9;
	timeout_arm(u);
	irq_update(u);
	if (u->cd)
		chardev_accept_input(u->cd);
}

static void write_ier(struct uart *u, uint8_t val)
{
	bool rise = (val & IER_THRE) && !(u->ier & IER_THRE);

	u->ier = val & 0x0f;
	if (rise && !u->tx_len)
		u->thre_pending = true;
	irq_update(u);
}

static void write_mcr(struct uart *u, uint8_t val)
{
	u->mcr = val & 0x1f;
	msr_update(u);
	irq_update(u);
	if (u->cd && !(val & MCR_LOOP))
		chardev_accept_input(u->cd);
}

static uint8_t read_iir(struct uart *u)
{
	uint8_t v = iir(u);

	if (v == IIR_THRE) {
		u->thre_pending = false;
		irq_update(u);
	}
	return (uint8_t)(v | (u->fcr & FCR_ENABLE ? 0xc0 : 0));
}

static uint8_t read_lsr(struct uart *u)
{
	uint8_t v = lsr(u);

	u->lsr_err = 0;
	irq_update(u);
	return v;
}

static uint8_t read_msr(struct uart *u)
{
	uint8_t v = u->msr;

	u->msr &= 0xf0;
	irq_update(u);
	return v;
}

static uint64_t uart_read(void *opaque, uint64_t off, unsigned size)
{
	struct uart *u = opaque;
	bool dlab = u->lcr & LCR_DLAB;

	tx_flush(u);
	switch (off) {
	case 0:
		return dlab ? u->divisor & 0xff : rx_pop(u);
	case 1:
		return dlab ? u->divisor >> 8 : u->ier;
	case 2:
		return read_iir(u);
	case 3:
		return u->lcr;
	case 4:
		return u->mcr;
	case 5:
		return read_lsr(u);
	case 6:
		return read_msr(u);
	default:
		return u->scr;
	}
}

static void uart_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
	struct uart *u = opaque;
	uint8_t v = (uint8_t)val;
	bool dlab = u->lcr & LCR_DLAB;

	if (off || dlab)
		tx_flush(u);
	switch (off) {
	case 0:
		if (dlab)
			u->divisor = (u->divisor & 0xff00) | v;
		else
			write_thr(u, v);
		break;
	case 1:
		if (dlab)
			u->divisor = (uint16_t)((u->divisor & 0xff) | v << 8);
		else
			write_ier(u, v);
		break;
	case 2:
		write_fcr(u, v);
		break;
	case 3:
		u->lcr = v;
		break;
	case 4:
		write_mcr(u, v);
		break;
	case 7:
		u->scr = v;
		break;
	}
}

static const struct io_ops uart_io_ops = {
	.read = uart_read, .write = uart_write, .min = 1, .max = 1,
};

static size_t uart_can_receive(void *opaque)
{
	const struct uart *u = opaque;

	if (u->mcr & MCR_LOOP)
		return 0;
	return depth(u) > u->rx_len ? depth(u) - u->rx_len : 0;
}

static void uart_receive(void *opaque, const uint8_t *buf, size_t len)
{
	struct uart *u = opaque;

	for (size_t i = 0; i < len; i++)
		rx_push(u, buf[i], 0);
	irq_update(u);
}

static void uart_writable(void *opaque)
{
	tx_flush(opaque);
}

static void uart_event(void *opaque, int event)
{
	struct uart *u = opaque;

	if (event != CHARDEV_EV_BREAK || !uart_can_receive(u))
		return;
	rx_push(u, 0, LSR_BI);
	irq_update(u);
}

static void uart_reset(struct dev *d)
{
	struct uart *u = container_of(d, struct uart, dev);

	tx_flush(u);
	u->ier = u->fcr = u->lcr = u->mcr = u->lsr_err = u->msr = u->scr = 0;
	u->rx_len = u->tx_len = 0;
	u->rx[0] = 0;
	u->divisor = 12;
	u->thre_pending = u->timeout_pending = false;
	timer_cancel(u->timeout);
	msr_update(u);
	u->msr &= 0xf0;
	irq_update(u);
	if (u->cd)
		chardev_accept_input(u->cd);
}

static void uart_unrealize(struct dev *d)
{
	struct uart *u = container_of(d, struct uart, dev);

	tx_flush(u);
	if (u->cd)
		chardev_detach(u->cd);
	timer_destroy(u->timeout);
	loop_fd_remove(u->flush_w);
	close(u->flush_fd);
	pio_unmap(d->env->mem, u->map);
	free(u);
}

static int uart_post_load(void *obj, struct err **e)
{
	struct uart *u = obj;

	if (u->rx_len > depth(u) || u->tx_len > depth(u) || (u->ier & 0xf0) || (u->mcr & 0xe0) ||
	    (u->lsr_err & ~LSR_ERRORS))
		return err_set(e, EINVAL, "saved state of %s: impossible value", u->dev.id);
	if (u->rx_len && !u->timeout_pending)
		timeout_arm(u);
	msr_update(u);
	tx_flush(u);
	if (u->cd)
		chardev_accept_input(u->cd);
	return 0;
}

static const struct state_field uart_fields[] = {
	STATE_ARRAY(struct uart, rx, STATE_U16),
	STATE_BLOB(struct uart, tx),
	STATE_FIELD(struct uart, rx_len, STATE_U8),
	STATE_FIELD(struct uart, tx_len, STATE_U8),
	STATE_FIELD(struct uart, divisor, STATE_U16),
	STATE_FIELD(struct uart, ier, STATE_U8),
	STATE_FIELD(struct uart, fcr, STATE_U8),
	STATE_FIELD(struct uart, lcr, STATE_U8),
	STATE_FIELD(struct uart, mcr, STATE_U8),
	STATE_FIELD(struct uart, lsr_err, STATE_U8),
	STATE_FIELD(struct uart, msr, STATE_U8),
	STATE_FIELD(struct uart, scr, STATE_U8),
	STATE_FIELD(struct uart, thre_pending, STATE_BOOL),
	STATE_FIELD(struct uart, timeout_pending, STATE_BOOL),
	STATE_END,
};

static const struct state_desc uart_state = {
	.name = "uart", .version = 1, .fields = uart_fields, .post_load = uart_post_load,
};

static const struct dev_ops uart_ops = {
	.name = "uart", .unrealize = uart_unrealize, .reset = uart_reset,
	.quiesce = dev_quiesce_none, .state = &uart_state,
};

int uart_create(struct uart **out, struct dev_env *env, const char *id, uint16_t base,
		struct irq_line irq, struct chardev *cd, struct err **e)
{
	struct uart *u = xzalloc(sizeof(*u));
	struct chardev_front front = { .lock = env->lock, .can_receive = uart_can_receive,
				       .receive = uart_receive, .writable = uart_writable,
				       .event = uart_event, .opaque = u };
	int rc;

	u->flush_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (u->flush_fd < 0) {
		free(u);
		return err_set(e, errno, "cannot make a timer for a serial port");
	}
	rc = cd ? chardev_attach(cd, &front, e) : 0;
	if (rc) {
		close(u->flush_fd);
		free(u);
		return rc;
	}
	u->flush_w = loop_fd_add(env->loop, u->flush_fd, EPOLLIN, env->lock, flush_due, u);
	u->gathers = u->flush_w && !vclock_manual(env->clock);
	u->irq = irq;
	u->cd = cd;
	u->timeout = timer_new(env->loop, env->clock, env->lock, timeout_due, u);
	u->io = (struct io_region){ .name = "uart", .ops = &uart_io_ops, .opaque = u,
		.lock = env->lock, .size = 8 };
	u->map = pio_map(env->mem, base, &u->io, 0);
	dev_add(&u->dev, &uart_ops, id, env);
	uart_reset(&u->dev);
	*out = u;
	return 0;
}

static int serial_check(const struct dev_opts *o, struct err **e)
{
	return dev_opt_str(o, "chardev") ? isa_ports_check(dev_opt_num(o, "iobase"), 8, e) :
	       err_set(e, EINVAL, "property 'chardev' is missing");
}

static int serial_make(const struct dev_place *p, const struct dev_opts *o, struct err **e)
{
	uint64_t base = dev_opt_num(o, "iobase");
	unsigned irq = (unsigned)dev_opt_num(o, "irq");
	struct uart *u;
	int rc = isa_ports_free(p->env, base, 8, e);

	if (!rc && !gsi_has_room(p->gsi, irq))
		rc = err_set(e, EBUSY, "too many devices share IRQ %u", irq);
	return rc ? rc : uart_create(&u, p->env, "isa-serial", (uint16_t)base,
				     gsi_source(p->gsi, irq), dev_opt_chardev(o, "chardev"), e);
}

static const struct dev_prop serial_props[] = {
	{ "iobase", "first of eight ports", "0x3f8", PROP_UINT, 0xffff },
	{ "irq", "ISA IRQ", "4", PROP_UINT, 15 },
	{ "chardev", "what it is connected to", NULL, PROP_CHARDEV },
	{ 0 },
};

const struct dev_class isa_serial_class = {
	.name = "isa-serial", .help = "16550A serial port", .bus = BUS_ISA, .category = "Input",
	.props = serial_props, .check = serial_check, .create = serial_make,
};
