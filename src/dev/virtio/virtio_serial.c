/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Console device (virtio 1.2 5.3): a bus of ports.  Queues 0 and 1 are those of port 0, 2 and 3 the
 * control queues, from 4 on those of ports 1, 2, ...; the even ones are what the driver reads.
 *
 * The control queue tells a driver with MULTIPORT of ports.  What it is to be told of each port is
 * a set of bits, so a driver that asks again and again makes nothing grow, and without buffers
 * nothing is lost: the rest goes out when there are some.
 */
#include "dev/virtio/virtio_serial.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/kvlist.h"

#define Q_CONTROL_IN 2
#define Q_CONTROL_OUT 3
#define QUEUE_SIZE 128
#define CONTROL_SIZE 32
#define SERVE_MAX 64

#define CONFIG_LEN 12
#define CONFIG_MAX_PORTS 4
#define CONFIG_EMERG_WRITE 8

/* Control messages (5.3.6.2): le32 port, le16 event, le16 value, then (PORT_NAME) the name. */
#define MESSAGE 8
#define NAME_MAX_LEN 128
enum {
	DEVICE_READY,
	DEVICE_ADD,
	DEVICE_REMOVE,
	PORT_READY,
	CONSOLE_PORT,
	RESIZE,
	PORT_OPEN,
	PORT_NAME,
};

static struct virtio_serial *of(struct virtio_dev *v)
{
	return (struct virtio_serial *)v;
}

static uint64_t serial_features(struct virtio_dev *v)
{
	return SERIAL_F_EMERG_WRITE | (of(v)->max_ports > 1 ? SERIAL_F_MULTIPORT : 0);
}

static void serial_config_read(struct virtio_dev *v, uint32_t off, void *buf, uint32_t len)
{
	uint8_t c[CONFIG_LEN] = {0};

	put_le32(c + CONFIG_MAX_PORTS, of(v)->max_ports);
	memcpy(buf, c + off, len);
}

static void serial_config_write(struct virtio_dev *v, uint32_t off, const void *buf, uint32_t len)
{
	if (off == CONFIG_EMERG_WRITE && of(v)->ports[0])
		serial_port_emergency(of(v)->ports[0], *(const uint8_t *)buf);
}

/* send - one message; false: no buffer for it now. */
static bool send(struct virtio_serial *s, unsigned port, uint16_t event, uint16_t value,
		 const char *name)
{
	uint8_t m[MESSAGE + NAME_MAX_LEN];
	size_t len = name ? strnlen(name, NAME_MAX_LEN) : 0;
	struct virtq_elem *el = virtq_pop(virtio_queue(&s->v, Q_CONTROL_IN));

	if (!el)
		return false;
	put_le32(m, port);
	put_le16(m + 4, event);
	put_le16(m + 6, value);
	if (len)
		memcpy(m + MESSAGE, name, len);
	/* A buffer that is too small gets what fits; the driver sees the length. */
	virtq_push(el, (uint32_t)iov_from_buf(el->in, el->n_in, 0, m, MESSAGE + len));
	return true;
}

/* tell - send the first of what is left to tell of p. */
static bool tell(struct virtio_serial *s, struct serial_port *p)
{
	uint8_t what = p->tell & (uint8_t)-p->tell;
	bool sent = true;

	switch (what) {
	case SERIAL_TELL_ADD:
		sent = send(s, p->nr, DEVICE_ADD, 1, NULL);
		break;
	case SERIAL_TELL_CONSOLE:
		sent = !p->console || send(s, p->nr, CONSOLE_PORT, 1, NULL);
		break;
	case SERIAL_TELL_NAME:
		sent = !p->name || send(s, p->nr, PORT_NAME, 1, p->name);
		break;
	case SERIAL_TELL_OPEN:
		sent = send(s, p->nr, PORT_OPEN, p->host_open, NULL);
		break;
	}
	if (sent)
		p->tell &= (uint8_t)~what;
	return sent;
}

void serial_tell(struct virtio_serial *s)
{
	if (!s->device_ready)
		return;
	for (unsigned i = 0; i < s->max_ports; i++)
		while (s->ports[i] && s->ports[i]->tell)
			if (!tell(s, s->ports[i]))
				goto out;
out:
	virtq_notify(virtio_queue(&s->v, Q_CONTROL_IN));
}

static void port_message(struct virtio_serial *s, struct serial_port *p, uint16_t event,
			 uint16_t value)
{
	if (event == PORT_READY && value)
		p->tell |= SERIAL_TELL_CONSOLE | SERIAL_TELL_NAME | SERIAL_TELL_OPEN;
	else if (event == PORT_OPEN)
		serial_port_set_guest(p, value);
}

static void message(struct virtio_serial *s, struct virtq_elem *el)
{
	uint8_t m[MESSAGE];
	uint32_t port;
	uint16_t event;

	if (iov_to_buf(el->out, el->n_out, 0, m, sizeof(m)) < sizeof(m))
		return;
	port = get_le32(m);
	event = get_le16(m + 4);
	if (event == DEVICE_READY) {
		s->device_ready = get_le16(m + 6);
		for (unsigned i = 0; i < s->max_ports; i++)
			if (s->ports[i])
				s->ports[i]->tell = SERIAL_TELL_ADD;
	} else if (port < s->max_ports && s->ports[port]) {
		port_message(s, s->ports[port], event, get_le16(m + 6));
	}
}

static void control(struct virtio_serial *s)
{
	struct virtq *q = virtio_queue(&s->v, Q_CONTROL_OUT);
	struct virtq_elem *el;
	unsigned served = 0;

	while (served++ < SERVE_MAX && (el = virtq_pop(q))) {
		message(s, el);
		virtq_push(el, 0);
	}
	virtq_notify(q);
	serial_tell(s);
	if (served > SERVE_MAX)
		virtio_kick_later(&s->v);
}

static void serial_kick(struct virtio_dev *v, unsigned q)
{
	struct virtio_serial *s = of(v);
	unsigned nr = q < 2 ? 0 : q / 2 - 1;

	if (q == Q_CONTROL_IN)
		serial_tell(s);
	else if (q == Q_CONTROL_OUT)
		control(s);
	else if (nr < s->max_ports && s->ports[nr] && (q & 1))
		serial_port_tx_kick(s->ports[nr]);
	else if (nr < s->max_ports && s->ports[nr])
		serial_port_rx_kick(s->ports[nr]);
}

/* A driver without MULTIPORT knows port 0 alone, which is open. */
static void serial_started(struct virtio_dev *v)
{
	if (!virtio_has(v, SERIAL_F_MULTIPORT) && of(v)->ports[0])
		serial_port_set_guest(of(v)->ports[0], true);
}

static void each_port(struct virtio_serial *s, void (*fn)(struct serial_port *p))
{
	for (unsigned i = 0; i < s->max_ports; i++)
		if (s->ports[i])
			fn(s->ports[i]);
}

static void serial_stop(struct virtio_dev *v, int q)
{
	for (unsigned i = 0; i < of(v)->max_ports; i++)
		if (of(v)->ports[i])
			serial_port_stop(of(v)->ports[i], q);
}

static void port_reset(struct serial_port *p)
{
	serial_port_set_guest(p, false);
	p->tell = 0;
	p->tx_off = 0;
}

static void serial_reset(struct virtio_dev *v)
{
	of(v)->device_ready = false;
	each_port(of(v), port_reset);
}

static void serial_quiesce(struct virtio_dev *v)
{
	each_port(of(v), serial_port_quiesce);
}

static void serial_unrealize(struct virtio_dev *v)
{
	struct virtio_serial *s = of(v);

	dev_bus_remove(v->env, s);
	virtio_fini(v);
	free(s->bus_name);
	free(s);
}

static const struct state_field serial_fields[] = {
	STATE_FIELD(struct virtio_serial, device_ready, STATE_BOOL),
	STATE_END,
};

static const struct state_desc serial_state = {
	.name = "virtio-serial",
	.version = 1,
	.fields = serial_fields,
};

static const struct virtio_ops serial_ops = {
	.name = "virtio-serial",
	.id = VIRTIO_ID_CONSOLE,
	.features = serial_features,
	.config_read = serial_config_read,
	.config_write = serial_config_write,
	.started = serial_started,
	.kick = serial_kick,
	.stop = serial_stop,
	.reset = serial_reset,
	.quiesce = serial_quiesce,
	.unrealize = serial_unrealize,
	.state = &serial_state,
};

static int serial_place(void *bus, const char *addr, unsigned *place, struct err **e)
{
	struct virtio_serial *s = bus;
	uint64_t nr = 0;

	*place = SERIAL_PLACE_ANY;
	if (addr) {
		if (!parse_uint(addr, 0, s->max_ports - 1, &nr))
			return err_set(e, EINVAL, "nr is not 0 to %u", s->max_ports - 1);
		if (s->ports[nr])
			return err_set(e, EBUSY, "port %u is taken", (unsigned)nr);
		*place = (unsigned)nr;
		return 0;
	}
	for (; nr < s->max_ports; nr++)
		if (!s->ports[nr])
			return 0;
	return err_set(e, ENOSPC, "all ports of '%s' are taken", s->bus_name);
}

static char *bus_name(struct dev_env *env, const char *id)
{
	if (*id)
		return xasprintf("%s.0", id);
	for (unsigned i = 0;; i++) {
		char *name = xasprintf("virtio-serial-bus.%u", i);

		if (!dev_bus_find(env, name))
			return name;
		free(name);
	}
}

static int serial_create(const struct dev_place *p, const struct dev_opts *o,
			 struct virtio_dev **out, struct err **e)
{
	struct virtio_serial *s = xzalloc(sizeof(*s));
	unsigned queues;

	s->max_ports = (uint32_t)dev_opt_num(o, "max_ports");
	queues = s->max_ports > 1 ? 2 * (s->max_ports + 1) : 2;
	virtio_init(&s->v, &serial_ops, p->env, p->id, queues, QUEUE_SIZE, CONFIG_LEN);
	if (s->max_ports > 1) {
		virtio_queue_max(&s->v, Q_CONTROL_IN, CONTROL_SIZE);
		virtio_queue_max(&s->v, Q_CONTROL_OUT, CONTROL_SIZE);
	}
	s->bus_name = bus_name(p->env, p->id);
	dev_bus_add(p->env, s->bus_name, BUS_VIRTIO_SERIAL, s, serial_place);
	*out = &s->v;
	return 0;
}

static int serial_check(const struct dev_opts *o, struct err **e)
{
	return dev_opt_num(o, "max_ports") ? 0 : err_set(e, EINVAL, "max_ports is 0");
}

static const struct dev_prop serial_props[] = {
	{"max_ports", "ports that there can be", "31", PROP_UINT, SERIAL_PORTS_MAX},
	{"emergency-write", "accepted for compatibility", "on", PROP_BOOL},
	{0},
};

const struct virtio_type virtio_serial_type = {
	.name = "virtio-serial",
	.id = VIRTIO_ID_CONSOLE,
	.vectors = 2,
	.create = serial_create,
};

VIRTIO_CLASSES(virtio_serial, "virtio-serial", "a bus of consoles and ports", "Input",
	       virtio_serial_type, serial_props, serial_check);
