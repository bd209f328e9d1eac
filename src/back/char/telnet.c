/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a telnet client mixes into what is typed (RFC 854): IAC and a command of one byte; IAC, a
 * verb and an option; IAC SB ... IAC SE.  We announce that we echo and leave out go-aheads (RFC
 * 857, 858), which makes a client send each key at once, and heed nothing that it asks for.
 */
#include "back/char/chardev_int.h"

enum { IAC = 255, VERB_WILL = 251, VERB_DONT = 254, SB = 250, SE = 240 };
enum { DATA, GOT_IAC, GOT_VERB, IN_SB, IN_SB_IAC, GOT_CR };

/* The state after a byte; true when it is the guest's. */
static bool telnet_byte(struct telnet *t, uint8_t b)
{
	switch (t->state) {
	case GOT_IAC:
		t->state = b == SB ? IN_SB : b >= VERB_WILL && b <= VERB_DONT ? GOT_VERB : DATA;
		return b == IAC;
	case GOT_VERB:
		t->state = DATA;
		return false;
	case IN_SB:
		t->state = b == IAC ? IN_SB_IAC : IN_SB;
		return false;
	case IN_SB_IAC:
		t->state = b == SE ? DATA : IN_SB;
		return false;
	default: /* the end of a line is CR NUL or CR LF: CR alone goes on */
		if (t->state == GOT_CR && (b == 0 || b == '\n')) {
			t->state = DATA;
			return false;
		}
		t->state = b == IAC ? GOT_IAC : b == '\r' ? GOT_CR : DATA;
		return b != IAC;
	}
}

size_t telnet_filter(struct telnet *t, uint8_t *buf, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++)
		if (telnet_byte(t, buf[i]))
			buf[n++] = buf[i];
	return n;
}
