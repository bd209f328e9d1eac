/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 8042 keyboard controller (IBM PS/2 technical reference; ICH9 5.8, 13.7).
 *
 *   0x60  R: output buffer           W: byte for the keyboard, or the parameter of a command
 *   0x64  R: status  7 parity 6 timeout 5 AUX 4 unlocked 3 last write to 0x64 2 system 1 IBF 0 OBF
 *         W: command
 *
 * A keyboard is on the first port; by CTR.6 its bytes are translated from scan code set 2 to 1, as
 * the PC always had them. The controller takes a byte from it whenever its output buffer is empty.
 *
 * Nothing is on the second port (AUX): a byte sent there is answered by RESEND with the timeout bit at
 * once, as a controller does whose device stays silent, so that drivers give up without waiting.
 */
#include "dev/legacy/i8042.h"

#include <stdlib.h>

#define ST_OBF 0x01
#define ST_SYS 0x04
#define ST_CMD 0x08
#define ST_UNLOCKED 0x10
#define ST_AUX 0x20
#define ST_TIMEOUT 0x40

#define CTR_KBD_INT 0x01
#define CTR_AUX_INT 0x02
#define CTR_SYS 0x04
#define CTR_KBD_OFF 0x10
#define CTR_AUX_OFF 0x20
#define CTR_XLAT 0x40

#define OUT_RESET 0x01 /* low: reset */
#define OUT_A20 0x02

#define CMD_READ_RAM 0x20 /* ..0x3f; 0x20 is the controller command byte */
#define CMD_WRITE_RAM 0x60
#define CMD_AUX_OFF 0xa7
#define CMD_AUX_ON 0xa8
#define CMD_AUX_TEST 0xa9
#define CMD_SELF_TEST 0xaa
#define CMD_KBD_TEST 0xab
#define CMD_KBD_OFF 0xad
#define CMD_KBD_ON 0xae
#define CMD_READ_INPUT 0xc0
#define CMD_READ_OUTPUT 0xd0
#define CMD_WRITE_OUTPUT 0xd1
#define CMD_KBD_LOOP 0xd2
#define CMD_AUX_LOOP 0xd3
#define CMD_AUX_WRITE 0xd4
#define CMD_A20_OFF 0xdd
#define CMD_A20_ON 0xdf
#define CMD_PULSE 0xf0 /* ..0xff: zero bits of the low nibble pulse output port lines */

#define RESEND 0xfe
#define BREAK_MARK 0xf0

struct i8042 {
	struct dev dev;
	struct irq_line kbd, aux, a20;
	uint8_t ram[32]; /* [0]: command byte */
	uint8_t status, out, outport;
	uint8_t cmd; /* waits for its parameter; 0: none */
	bool released; /* a break mark was taken off the next code */
	struct kbd keyboard;
	struct io_region data_io, cmd_io;
	struct mem_map *data_map, *cmd_map;
};

/* Codes of set 2 as those of set 1; from 0x80 on they stay, but for two keys. */
static const uint8_t xlat[128] = {
	0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29, 0x59,
	0x65, 0x38, 0x2a, 0x70, 0x1d, 0x10, 0x02, 0x5a, 0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11, 0x03, 0x5b,
	0x67, 0x2e, 0x2d, 0x20, 0x12, 0x05, 0x04, 0x5c, 0x68, 0x39, 0x2f, 0x21, 0x14, 0x13, 0x06, 0x5d,
	0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5e, 0x6a, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5f,
	0x6b, 0x33, 0x25, 0x17, 0x18, 0x0b, 0x0a, 0x60, 0x6c, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0c, 0x61,
	0x6d, 0x73, 0x28, 0x74, 0x1a, 0x0d, 0x62, 0x6e, 0x3a, 0x36, 0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76,
	0x55, 0x56, 0x77, 0x78, 0x79, 0x7a, 0x0e, 0x7b, 0x7c, 0x4f, 0x7d, 0x4b, 0x47, 0x7e, 0x7f, 0x6f,
	0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01, 0x45, 0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54,
};

static void irq_update(struct i8042 *k)
{
	bool full = k->status & ST_OBF, aux = k->status & ST_AUX;

	irq_set(&k->kbd, full && !aux && (k->ram[0] & CTR_KBD_INT));
	irq_set(&k->aux, full && aux && (k->ram[0] & CTR_AUX_INT));
}

static void reply(struct i8042 *k, uint8_t val, uint8_t flags)
{
	k->out = val;
	k->status = (k->status & (ST_SYS | ST_CMD | ST_UNLOCKED)) | ST_OBF | flags;
	irq_update(k);
}

static uint8_t translate(uint8_t code)
{
	if (code < 0x80)
		return xlat[code];
	return code == 0x83 ? 0x41 : code == 0x84 ? 0x54 : code; /* F7, SysRq */
}

/* take - move the next byte of the keyboard into the output buffer, if there is one and it may. */
static void take(struct i8042 *k)
{
	uint8_t code;

	while (!(k->status & ST_OBF) && !(k->ram[0] & CTR_KBD_OFF) && kbd_read(&k->keyboard, &code)) {
		if (!(k->ram[0] & CTR_XLAT)) {
			reply(k, code, 0);
		} else if (code == BREAK_MARK) {
			k->released = true;
		} else {
			reply(k, translate(code) | (k->released ? 0x80 : 0), 0);
			k->released = false;
		}
	}
}

static void keyboard_ready(void *opaque)
{
	take(opaque);
}

static void set_outport(struct i8042 *k, uint8_t val)
{
	k->outport = val | OUT_RESET;
	irq_set(&k->a20, val & OUT_A20);
	if (!(val & OUT_RESET))
		k->dev.env->request_reset(k->dev.env->opaque);
}

static void set_ctr(struct i8042 *k, uint8_t val)
{
	k->ram[0] = val;
	k->status = (k->status & (uint8_t)~ST_SYS) | (val & CTR_SYS ? ST_SYS : 0);
	irq_update(k);
	take(k);
}

static void command(struct i8042 *k, uint8_t cmd)
{
	k->cmd = 0;
	switch (cmd) {
	case CMD_READ_RAM ... CMD_READ_RAM + 31:
		reply(k, k->ram[cmd & 31], 0);
		break;
	case CMD_WRITE_RAM ... CMD_WRITE_RAM + 31:
	case CMD_WRITE_OUTPUT:
	case CMD_KBD_LOOP:
	case CMD_AUX_LOOP:
	case CMD_AUX_WRITE:
		k->cmd = cmd;
		break;
	case CMD_AUX_OFF:
		set_ctr(k, k->ram[0] | CTR_AUX_OFF);
		break;
	case CMD_AUX_ON:
		set_ctr(k, k->ram[0] & (uint8_t)~CTR_AUX_OFF);
		break;
	case CMD_KBD_OFF:
		set_ctr(k, k->ram[0] | CTR_KBD_OFF);
		break;
	case CMD_KBD_ON:
		set_ctr(k, k->ram[0] & (uint8_t)~CTR_KBD_OFF);
		break;
	case CMD_SELF_TEST:
		set_ctr(k, k->ram[0] | CTR_SYS);
		reply(k, 0x55, 0);
		break;
	case CMD_AUX_TEST:
	case CMD_KBD_TEST:
		reply(k, 0x00, 0);
		break;
	case CMD_READ_INPUT:
		reply(k, 0x80, 0); /* keyboard not inhibited */
		break;
	case CMD_READ_OUTPUT:
		reply(k, k->outport, 0);
		break;
	case CMD_A20_OFF:
		set_outport(k, k->outport & (uint8_t)~OUT_A20);
		break;
	case CMD_A20_ON:
		set_outport(k, k->outport | OUT_A20);
		break;
	case CMD_PULSE ... 0xff:
		if (!(cmd & OUT_RESET))
			k->dev.env->request_reset(k->dev.env->opaque);
		break;
	default:
		LOGF(k->dev.env->log, UNIMP, "i8042: command %02x\n", cmd);
	}
}

static void parameter(struct i8042 *k, uint8_t cmd, uint8_t val)
{
	switch (cmd) {
	case CMD_WRITE_RAM:
		set_ctr(k, val);
		break;
	case CMD_WRITE_RAM + 1 ... CMD_WRITE_RAM + 31:
		k->ram[cmd & 31] = val;
		break;
	case CMD_WRITE_OUTPUT:
		set_outport(k, val);
		break;
	case CMD_KBD_LOOP:
		reply(k, val, 0);
		break;
	case CMD_AUX_LOOP:
		reply(k, val, ST_AUX);
		break;
	case CMD_AUX_WRITE:
		reply(k, RESEND, ST_AUX | ST_TIMEOUT);
		break;
	default:
		k->ram[0] &= (uint8_t)~CTR_KBD_OFF;
		kbd_write(&k->keyboard, val);
	}
}

static uint64_t data_read(void *opaque, uint64_t off, unsigned size)
{
	struct i8042 *k = opaque;
	uint8_t val = k->out;

	k->status &= (uint8_t)~(ST_OBF | ST_AUX | ST_TIMEOUT);
	irq_update(k);
	take(k);
	return val;
}

static void data_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
	struct i8042 *k = opaque;
	uint8_t cmd = k->cmd;

	k->status &= (uint8_t)~ST_CMD;
	k->cmd = 0;
	parameter(k, cmd, (uint8_t)val);
}

static uint64_t status_read(void *opaque, uint64_t off, unsigned size)
{
	return ((struct i8042 *)opaque)->status;
}

static void cmd_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
	struct i8042 *k = opaque;

	k->status |= ST_CMD;
	command(k, (uint8_t)val);
}

static const struct io_ops data_ops = {
	.read = data_read, .write = data_write, .min = 1, .max = 1,
};
static const struct io_ops cmd_ops = {
	.read = status_read, .write = cmd_write, .min = 1, .max = 1,
};

static void i8042_reset(struct dev *d)
{
	struct i8042 *k = container_of(d, struct i8042, dev);

	for (unsigned i = 0; i < sizeof(k->ram); i++)
		k->ram[i] = 0;
	k->ram[0] = CTR_KBD_INT | CTR_AUX_INT;
	k->status = ST_UNLOCKED;
	k->out = k->cmd = 0;
	k->released = false;
	kbd_reset(&k->keyboard);
	k->outport = 0xcc | OUT_RESET | OUT_A20;
	irq_set(&k->a20, true);
	irq_update(k);
}

static void i8042_unrealize(struct dev *d)
{
	struct i8042 *k = container_of(d, struct i8042, dev);

	pio_unmap(d->env->mem, k->data_map);
	pio_unmap(d->env->mem, k->cmd_map);
	free(k);
}

static int i8042_post_load(void *obj, struct err **e)
{
	struct i8042 *k = obj;

	irq_set(&k->a20, k->outport & OUT_A20);
	irq_update(k);
	return 0;
}

static const struct state_field i8042_fields[] = {
	STATE_BLOB(struct i8042, ram),
	STATE_FIELD(struct i8042, status, STATE_U8),
	STATE_FIELD(struct i8042, out, STATE_U8),
	STATE_FIELD(struct i8042, outport, STATE_U8),
	STATE_FIELD(struct i8042, cmd, STATE_U8),
	STATE_FIELD(struct i8042, released, STATE_BOOL),
	STATE_SUB(struct i8042, keyboard, kbd_state),
	STATE_END,
};

static const struct state_desc i8042_state = {
	.name = "i8042", .version = 1, .fields = i8042_fields, .post_load = i8042_post_load,
};

static const struct dev_ops i8042_ops = {
	.name = "i8042", .unrealize = i8042_unrealize, .reset = i8042_reset,
	.quiesce = dev_quiesce_none, .state = &i8042_state,
};

struct i8042 *i8042_create(struct dev_env *env, struct irq_line kbd, struct irq_line aux,
			   struct irq_line a20)
{
	struct i8042 *k = xzalloc(sizeof(*k));

	k->kbd = kbd;
	k->aux = aux;
	k->a20 = a20;
	k->keyboard.ready = keyboard_ready;
	k->keyboard.opaque = k;
	k->data_io = (struct io_region){ .name = "i8042-data", .ops = &data_ops, .opaque = k,
		.lock = env->lock, .size = 1 };
	k->cmd_io = (struct io_region){ .name = "i8042-cmd", .ops = &cmd_ops, .opaque = k,
		.lock = env->lock, .size = 1 };
	k->data_map = pio_map(env->mem, 0x60, &k->data_io, 0);
	k->cmd_map = pio_map(env->mem, 0x64, &k->cmd_io, 0);
	dev_add(&k->dev, &i8042_ops, "i8042", env);
	i8042_reset(&k->dev);
	return k;
}

struct kbd *i8042_keyboard(struct i8042 *k)
{
	return &k->keyboard;
}

void i8042_setup(struct i8042 *k)
{
	set_ctr(k, CTR_KBD_INT | CTR_SYS | CTR_AUX_OFF | CTR_XLAT);
}
