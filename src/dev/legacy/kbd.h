/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* A PS/2 keyboard (IBM PS/2 hardware interface technical reference, keyboards): part of i8042.h.
 * env->lock held. */
#include <stdbool.h>
#include <stdint.h>

#include "state/state.h"

#define KBD_QUEUE 64

struct kbd {
	uint8_t queue[KBD_QUEUE]; /* bytes for the controller */
	uint8_t head, len;
	uint8_t set; /* of scan codes: 1 or 2 */
	uint8_t leds, rate;
	uint8_t cmd; /* waits for its parameter; 0: none */
	uint8_t last; /* sent */
	bool off; /* does not scan its keys */
	/* The controller is told that there is something to take. */
	void (*ready)(void *opaque);
	void *opaque;
};

extern const struct state_desc kbd_state;

/* kbd_key - a key goes down or up, or is repeated (down again).  key: from kbd_find; keys for which
 * there is no room are lost, as on a real one. */
void kbd_key(struct kbd *k, int key, bool down);
/* kbd_find - a key by its name ("ret", "f12", "a"), or -1.  kbd_find_code: by its code of set 1,
 * 0xe0 in the high byte for those with a prefix.  kbd_name: of a key. */
int kbd_find(const char *name);
int kbd_find_code(unsigned code);
const char *kbd_name(int key);

/* For the controller: a byte arrives; take the next one (false: there is none). */
void kbd_reset(struct kbd *k);
void kbd_write(struct kbd *k, uint8_t val);
bool kbd_read(struct kbd *k, uint8_t *val);
