/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PS/2 keyboard.  It answers each byte that it gets by ACK (or what the command says) and sends
 * scan codes of set 2 (or 1): the code of a key when it goes down, the same with a break mark when
 * it goes up. Repetition of a key that is held is left to whoever presses it.
 */
#include "dev/legacy/kbd.h"

#include <errno.h>
#include <string.h>

#include "base/base.h"
#include "base/err.h"

#define CMD_LEDS 0xed
#define CMD_ECHO 0xee
#define CMD_SET 0xf0
#define CMD_ID 0xf2
#define CMD_RATE 0xf3
#define CMD_ENABLE 0xf4
#define CMD_DISABLE 0xf5
#define CMD_DEFAULTS 0xf6
#define CMD_ALL_FIRST 0xf7 /* to 0xfa: make and break of all keys, in set 3 */
#define CMD_ALL_LAST 0xfa
#define CMD_RESEND 0xfe
#define CMD_RESET 0xff

#define ACK 0xfa
#define SELF_TEST_PASSED 0xaa
#define RESEND 0xfe

#define DEFAULT_RATE 0x2b
#define SEQUENCE_MAX 8

static const struct key {
	const char *name;
	uint16_t set1, set2;
} keys[] = {
#define KEY(name, set1, set2) {name, set1, set2},
#include "dev/legacy/keys.def"
#undef KEY
};

int kbd_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		if (!strcmp(keys[i].name, name))
			return (int)i;
	return -1;
}

int kbd_find_code(unsigned code)
{
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		if (keys[i].set1 == code)
			return (int)i;
	return -1;
}

const char *kbd_name(int key)
{
	return keys[key].name;
}

/* All of a sequence or nothing goes into the queue. */
static void send(struct kbd *k, const uint8_t *bytes, unsigned n)
{
	if (k->len + n > KBD_QUEUE)
		return;
	for (unsigned i = 0; i < n; i++)
		k->queue[(k->head + k->len++) % KBD_QUEUE] = bytes[i];
	k->ready(k->opaque);
}

static void send_byte(struct kbd *k, uint8_t byte)
{
	send(k, &byte, 1);
}

/* One code with its prefix and break mark, appended to a sequence. */
static unsigned code(const struct kbd *k, uint8_t *out, uint16_t set1, uint16_t set2, bool down)
{
	uint16_t c = k->set == 1 ? set1 : set2;
	unsigned n = 0;

	if (c >> 8)
		out[n++] = (uint8_t)(c >> 8);
	if (!down && k->set == 2)
		out[n++] = 0xf0;
	out[n++] = (uint8_t)(c | (down || k->set == 2 ? 0 : 0x80));
	return n;
}

/* Pause makes a press and release of two codes with one prefix, and nothing when it goes up. */
static void pause_key(struct kbd *k, bool down)
{
	static const uint8_t set1[] = {0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5};
	static const uint8_t set2[] = {0xe1, 0x14, 0x77, 0xe1, 0xf0, 0x14, 0xf0, 0x77};

	if (down && k->set == 1)
		send(k, set1, sizeof(set1));
	else if (down)
		send(k, set2, sizeof(set2));
}

void kbd_key(struct kbd *k, int key, bool down)
{
	const struct key *c = &keys[key];
	uint8_t seq[SEQUENCE_MAX];
	unsigned n = 0;

	bug_on(key < 0 || (size_t)key >= ARRAY_SIZE(keys));
	if (k->off)
		return;
	if (!strcmp(c->name, "pause")) {
		pause_key(k, down);
		return;
	}
	/* Print screen comes in a shift that is not there. */
	if (!strcmp(c->name, "print") && down)
		n = code(k, seq, 0xe02a, 0xe012, true);
	n += code(k, seq + n, c->set1, c->set2, down);
	if (!strcmp(c->name, "print") && !down)
		n += code(k, seq + n, 0xe02a, 0xe012, false);
	send(k, seq, n);
}

static void defaults(struct kbd *k)
{
	k->head = k->len = 0;
	k->set = 2;
	k->rate = DEFAULT_RATE;
	k->cmd = 0;
	k->off = false;
}

void kbd_reset(struct kbd *k)
{
	defaults(k);
	k->leds = 0;
	k->last = 0;
}

static void parameter(struct kbd *k, uint8_t cmd, uint8_t val)
{
	uint8_t ack_set[2] = {ACK, k->set};

	if (cmd == CMD_LEDS) {
		k->leds = val & 7;
	} else if (cmd == CMD_RATE) {
		k->rate = val & 0x7f;
	} else if (!val) { /* which set? */
		send(k, ack_set, sizeof(ack_set));
		return;
	} else if (val > 2) { /* set 3 is not there */
		send_byte(k, RESEND);
		return;
	} else {
		k->set = val;
	}
	send_byte(k, ACK);
}

static void command(struct kbd *k, uint8_t cmd)
{
	static const uint8_t id[] = {ACK, 0xab, 0x83}, reset[] = {ACK, SELF_TEST_PASSED};

	switch (cmd) {
	case CMD_LEDS:
	case CMD_SET:
	case CMD_RATE:
		k->cmd = cmd;
		send_byte(k, ACK);
		break;
	case CMD_ECHO:
		send_byte(k, CMD_ECHO);
		break;
	case CMD_ID:
		send(k, id, sizeof(id));
		break;
	case CMD_ENABLE:
		k->off = false;
		k->head = k->len = 0;
		send_byte(k, ACK);
		break;
	case CMD_DISABLE:
	case CMD_DEFAULTS:
		defaults(k);
		k->off = cmd == CMD_DISABLE;
		send_byte(k, ACK);
		break;
	case CMD_ALL_FIRST ... CMD_ALL_LAST:
		send_byte(k, ACK);
		break;
	case CMD_RESEND:
		send_byte(k, k->last);
		break;
	case CMD_RESET:
		kbd_reset(k);
		send(k, reset, sizeof(reset));
		break;
	default:
		send_byte(k, RESEND);
	}
}

void kbd_write(struct kbd *k, uint8_t val)
{
	uint8_t cmd = k->cmd;

	k->cmd = 0;
	if (cmd && val < CMD_LEDS)
		parameter(k, cmd, val);
	else
		command(k, val);
}

bool kbd_read(struct kbd *k, uint8_t *val)
{
	if (!k->len)
		return false;
	*val = k->last = k->queue[k->head];
	k->head = (uint8_t)((k->head + 1) % KBD_QUEUE);
	k->len--;
	return true;
}

static int kbd_post_load(void *obj, struct err **e)
{
	struct kbd *k = obj;

	if (k->head >= KBD_QUEUE || k->len > KBD_QUEUE || k->set < 1 || k->set > 2)
		return err_set(e, EINVAL, "keyboard: queue or scan code set out of range");
	return 0;
}

static const struct state_field kbd_fields[] = {
	STATE_BLOB(struct kbd, queue),
	STATE_FIELD(struct kbd, head, STATE_U8),
	STATE_FIELD(struct kbd, len, STATE_U8),
	STATE_FIELD(struct kbd, set, STATE_U8),
	STATE_FIELD(struct kbd, leds, STATE_U8),
	STATE_FIELD(struct kbd, rate, STATE_U8),
	STATE_FIELD(struct kbd, cmd, STATE_U8),
	STATE_FIELD(struct kbd, last, STATE_U8),
	STATE_FIELD(struct kbd, off, STATE_BOOL),
	STATE_END,
};

const struct state_desc kbd_state = {
	.name = "kbd",
	.version = 1,
	.fields = kbd_fields,
	.post_load = kbd_post_load,
};
