/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ports of the console device: virtconsole, virtserialport.
 *
 * What the guest writes goes to the chardev straight from its buffers.  When the chardev takes no
 * more the buffer stays here with the place reached, and what follows waits in the ring until there
 * is room again. What the host writes is let in only as far as the driver has buffers for it, and
 * while the guest has the port open; the first buffer is kept here while it is filled, but goes to
 * the driver with what it got by one call.  One kick writes a bounded number of bytes; the rest is
 * written from the loop.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "back/char/chardev.h"
#include "base/err.h"
#include "dev/virtio/virtio_serial.h"

#define WRITE_MAX (256 * KiB) /* of a kick */
#define CHAINS_MAX 256

static struct virtq *queue(const struct serial_port *p, bool tx)
{
	unsigned n = p->nr ? 2 + 2 * p->nr : 0;

	return virtio_queue(&p->s->v, n + tx);
}

/* write_some - what is left of p->tx, at most `max` bytes; false: the chardev is full. */
static bool write_some(struct serial_port *p, uint64_t *max)
{
	uint64_t off = p->tx_off;

	for (unsigned i = 0; i < p->tx->n_out && *max; i++) {
		const struct iovec *iov = &p->tx->out[i];
		size_t n, done;

		if (off >= iov->iov_len) {
			off -= iov->iov_len;
			continue;
		}
		n = min_u64(iov->iov_len - off, *max);
		done = p->cd ? chardev_write(p->cd, (uint8_t *)iov->iov_base + off, n) : n;
		p->tx_off += done;
		*max -= done;
		if (done < n)
			return false;
		off = 0;
	}
	return true;
}

void serial_port_tx_kick(struct serial_port *p)
{
	struct virtq *q = queue(p, true);
	uint64_t max = WRITE_MAX;
	unsigned chains = 0;
	bool room = true;

	while (room && max && chains++ < CHAINS_MAX) {
		if (!p->tx)
			p->tx = virtq_pop(q);
		if (!p->tx)
			break;
		room = write_some(p, &max);
		if (p->tx_off < p->tx->out_len)
			continue;
		virtq_push(p->tx, 0);
		p->tx = NULL;
		p->tx_off = 0;
	}
	virtq_notify(q);
	if (!max || chains > CHAINS_MAX)
		virtio_kick_later(&p->s->v);
}

static void writable(void *opaque)
{
	serial_port_tx_kick(opaque);
}

void serial_port_rx_kick(struct serial_port *p)
{
	if (p->cd)
		chardev_accept_input(p->cd);
}

static size_t can_receive(void *opaque)
{
	struct serial_port *p = opaque;

	if (!p->guest_open)
		return 0;
	if (!p->rx)
		p->rx = virtq_pop(queue(p, false));
	return p->rx ? p->rx->in_len : 0;
}

/* No more than can_receive said. */
static void receive(void *opaque, const uint8_t *buf, size_t len)
{
	struct serial_port *p = opaque;
	struct virtq *q = queue(p, false);

	while (len && (p->rx || (p->rx = virtq_pop(q)))) {
		size_t n = iov_from_buf(p->rx->in, p->rx->n_in, 0, buf, len);

		virtq_push(p->rx, (uint32_t)n);
		p->rx = NULL;
		buf += n;
		len -= n;
	}
	virtq_notify(q);
}

static void event(void *opaque, int ev)
{
	struct serial_port *p = opaque;

	if (ev != CHARDEV_EV_OPENED && ev != CHARDEV_EV_CLOSED)
		return;
	if (p->host_open != (ev == CHARDEV_EV_OPENED)) {
		p->host_open = !p->host_open;
		p->tell |= SERIAL_TELL_OPEN;
	}
	serial_tell(p->s);
}

void serial_port_set_guest(struct serial_port *p, bool open)
{
	p->guest_open = open;
	if (open && p->cd)
		chardev_accept_input(p->cd);
}

void serial_port_stop(struct serial_port *p, int q)
{
	if (p->rx && (q < 0 || (unsigned)q == virtq_index(p->rx->q))) {
		virtq_drop(p->rx);
		p->rx = NULL;
	}
	if (p->tx && (q < 0 || (unsigned)q == virtq_index(p->tx->q))) {
		virtq_drop(p->tx);
		p->tx = NULL;
		p->tx_off = 0;
	}
}

/* tx_off stays: the buffer that is popped next is that one again. */
void serial_port_quiesce(struct serial_port *p)
{
	if (p->rx)
		virtq_unpop(p->rx);
	if (p->tx)
		virtq_unpop(p->tx);
	p->rx = p->tx = NULL;
}

void serial_port_emergency(struct serial_port *p, uint8_t c)
{
	if (p->cd)
		chardev_write(p->cd, &c, 1);
}

static void port_reset(struct dev *d)
{
	/* With the device. */
}

static void port_unrealize(struct dev *d)
{
	struct serial_port *p = container_of(d, struct serial_port, dev);

	serial_port_stop(p, -1);
	if (p->cd)
		chardev_detach(p->cd);
	p->s->ports[p->nr] = NULL;
	free(p->name);
	free(p);
}

static int port_post_load(void *obj, struct err **e)
{
	struct serial_port *p = obj;

	if (p->tell & ~SERIAL_TELL_ALL)
		return err_set(e, EINVAL, "%s: impossible messages", p->dev.id);
	if (p->guest_open && p->cd)
		chardev_accept_input(p->cd);
	return 0;
}

static const struct state_field port_fields[] = {
	STATE_FIELD(struct serial_port, guest_open, STATE_BOOL),
	STATE_FIELD(struct serial_port, tell, STATE_U8),
	STATE_FIELD(struct serial_port, tx_off, STATE_U64),
	STATE_END,
};

static const struct state_desc port_state = {
	.name = "virtio-serial-port",
	.version = 1,
	.fields = port_fields,
	.post_load = port_post_load,
};

static const struct dev_ops port_ops = {
	.name = "virtio-serial-port",
	.unrealize = port_unrealize,
	.reset = port_reset,
	.quiesce = dev_quiesce_none, /* with the device */
	.state = &port_state,
};

/* number - a place for the port.  0 is for a console: it is what drivers without MULTIPORT know. */
static int number(const struct virtio_serial *s, unsigned place, bool console, unsigned *nr,
		  struct err **e)
{
	if (place == 0 && !console)
		return err_set(e, EINVAL, "port 0 is for a virtconsole");
	*nr = place;
	if (place != SERIAL_PLACE_ANY)
		return 0;
	for (*nr = !console; *nr < s->max_ports; ++*nr)
		if (!s->ports[*nr])
			return 0;
	return err_set(e, ENOSPC, "all ports of '%s' are taken", s->bus_name);
}

/* connected - is there somebody at the other end?  Sockets tell of it when it changes. */
static bool connected(struct chardev *cd)
{
	char *name = chardev_filename(cd);
	bool yes = !name || strncmp(name, "disconnected:", strlen("disconnected:")) != 0;

	free(name);
	return yes;
}

static int attach(struct serial_port *p, struct err **e)
{
	const struct chardev_front front = {
		.lock = p->s->v.env->lock,
		.can_receive = can_receive,
		.receive = receive,
		.writable = writable,
		.event = event,
		.opaque = p,
	};
	int rc = p->cd ? chardev_attach(p->cd, &front, e) : 0;

	if (!rc && p->cd)
		p->host_open = connected(p->cd);
	return rc;
}

static int port_create(const struct dev_place *pl, const struct dev_opts *o, bool console,
		       struct err **e)
{
	struct virtio_serial *s = pl->bus->bus;
	const char *name = dev_opt_str(o, "name");
	struct serial_port *p;
	unsigned nr = 0;
	int rc = number(s, pl->place, console, &nr, e);

	if (rc)
		return rc;
	p = xzalloc(sizeof(*p));
	p->s = s;
	p->nr = nr;
	p->console = console;
	p->cd = dev_opt_chardev(o, "chardev");
	rc = attach(p, e);
	if (rc) {
		free(p);
		return rc;
	}
	p->name = name ? xstrdup(name) : NULL;
	s->ports[nr] = p;
	dev_add(&p->dev, &port_ops,
		*pl->id	  ? pl->id
		: console ? "virtconsole"
			  : "virtserialport",
		pl->env);
	return 0;
}

static int console_create(const struct dev_place *p, const struct dev_opts *o, struct err **e)
{
	return port_create(p, o, true, e);
}

static int serialport_create(const struct dev_place *p, const struct dev_opts *o, struct err **e)
{
	return port_create(p, o, false, e);
}

static const struct dev_prop port_props[] = {
	{"chardev", "what it is connected to", NULL, PROP_CHARDEV},
	{"name", "what the guest calls it", NULL, PROP_STR},
	{0},
};

const struct dev_class virtconsole_class = {
	.name = "virtconsole",
	.help = "a console on a virtio-serial bus",
	.bus = BUS_VIRTIO_SERIAL,
	.category = "Input",
	.props = port_props,
	.create = console_create,
};

const struct dev_class virtserialport_class = {
	.name = "virtserialport",
	.help = "a port on a virtio-serial bus",
	.bus = BUS_VIRTIO_SERIAL,
	.category = "Input",
	.props = port_props,
	.create = serialport_create,
};
