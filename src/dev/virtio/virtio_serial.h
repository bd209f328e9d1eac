/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Between the serial device and its ports. */
#include "dev/virtio/virtio.h"

#define SERIAL_PORTS_MAX 31
#define SERIAL_PLACE_ANY 0xffff /* a port's create takes the lowest number that it may have */

struct chardev;

/* What the driver is still to be told of a port, in this order. */
enum {
	SERIAL_TELL_ADD = 1,
	SERIAL_TELL_CONSOLE = 2,
	SERIAL_TELL_NAME = 4,
	SERIAL_TELL_OPEN = 8,
	SERIAL_TELL_ALL = 15,
};

struct serial_port {
	struct dev dev; /* first */
	struct virtio_serial *s;
	unsigned nr;
	bool console;
	char *name; /* NULL: none */
	struct chardev *cd; /* NULL: none */
	bool host_open; /* there is somebody at the other end of cd */
	bool guest_open;
	uint8_t tell;
	struct virtq_elem *rx, *tx; /* the driver's buffers in use */
	uint64_t tx_off; /* bytes written of tx, or of the first buffer after loading */
};

struct virtio_serial {
	struct virtio_dev v; /* first */
	char *bus_name;
	uint32_t max_ports;
	bool device_ready; /* the driver wants to hear of ports */
	struct serial_port *ports[SERIAL_PORTS_MAX];
};

#define SERIAL_F_MULTIPORT BIT(1)
#define SERIAL_F_EMERG_WRITE BIT(2)

/* serial_tell - send the driver what it is to be told, as far as it has buffers for it. */
void serial_tell(struct virtio_serial *s);

/* The port's side.  rx_kick: there are buffers for what the host says; tx_kick: something to write.
 */
void serial_port_rx_kick(struct serial_port *p);
void serial_port_tx_kick(struct serial_port *p);
/* guest_open: PORT_OPEN of the driver, or the start of a driver without it. */
void serial_port_set_guest(struct serial_port *p, bool open);
void serial_port_stop(struct serial_port *p, int q);
void serial_port_quiesce(struct serial_port *p);
void serial_port_emergency(struct serial_port *p, uint8_t c);
