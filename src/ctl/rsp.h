/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * GDB Remote Serial Protocol, packet layer ("Overview" in the protocol's appendix of the GDB
 * manual): $data#sum with } escapes, acknowledgements, and the interrupt byte.  Pure: bytes in,
 * packets out; knows no socket.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RSP_MAX 16384 /* bytes of data in a packet, either way, before escaping */

struct rsp_ops {
	/* A whole packet, unescaped, with a NUL after it.  buf may be changed. */
	void (*packet)(void *opaque, char *buf, size_t len);
	void (*interrupt)(void *opaque); /* 0x03 between packets */
	void (*send)(void *opaque, const uint8_t *buf, size_t len);
};

enum rsp_state { RSP_IDLE, RSP_DATA, RSP_ESCAPE, RSP_SUM1, RSP_SUM2 };

struct rsp {
	const struct rsp_ops *ops;
	void *opaque;
	bool no_ack; /* QStartNoAckMode */
	enum rsp_state state;
	bool overflow; /* more than RSP_MAX: refused at its end */
	uint8_t sum, want; /* of the bytes so far; the sender's */
	size_t len;
	char buf[RSP_MAX + 1];
	uint8_t *last; /* the last packet sent, framed, for a resend */
	size_t last_len;
};

void rsp_init(struct rsp *r, const struct rsp_ops *ops, void *opaque);
void rsp_fini(struct rsp *r);
/* rsp_reset - a new connection: acknowledgements on, nothing pending. */
void rsp_reset(struct rsp *r);
/* rsp_receive - bytes from the peer; calls ops. */
void rsp_receive(struct rsp *r, const uint8_t *buf, size_t len);
/* rsp_send - frame and send one packet of len bytes. */
void rsp_send(struct rsp *r, const void *data, size_t len);

/* Growing text for replies. */
struct rsp_text {
	char *s;
	size_t len, cap;
};
void rsp_put(struct rsp_text *t, const void *data, size_t len);
void rsp_printf(struct rsp_text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void rsp_hex(struct rsp_text *t, const void *data, size_t len);
void rsp_text_free(struct rsp_text *t);

/* rsp_unhex - n hex digit pairs at s into out; false when there are not so many. */
bool rsp_unhex(const char *s, uint8_t *out, size_t n);
/* rsp_number - a hex number at *s, which moves past it; false when there is none or it exceeds 64
 * bits. */
bool rsp_number(const char **s, uint64_t *v);
