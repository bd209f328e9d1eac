/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The user network with real traffic: a driver and a TCP of a few lines each, here, talk through libslirp to
 * sockets of this process.
 */
#include "net_tcp.h"
#include <sys/stat.h>

static void takes_large(struct card *c)
{
	lock_take(&c->lock);
	netdev_set_offloads(c->nd, NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6);
	lock_drop(&c->lock);
}

static void arp_is_answered_at_once(void **state)
{
	struct card *c = user_open("");

	guest_arp(c, 2);
	assert_int_equal(c->n, 1); /* no turn of the loop was needed */
	assert_int_equal(c->flushes, 1);
	assert_int_equal(be16(c->frames[0].data + 12), 0x0806);
	assert_int_equal(be16(c->frames[0].data + 20), 2);
	assert_int_equal(be32(c->frames[0].data + 28), 0x0a000202);
	card_close(c, false);
}

static const uint8_t *dhcp_option(const struct card_frame *f, uint8_t code)
{
	const uint8_t *o = f->data + 42 + 240, *end = f->data + f->len;

	while (o + 2 < end && *o != 255) {
		if (*o == code)
			return o;
		o += *o ? 2 + o[1] : 1;
	}
	return NULL;
}

static void dhcp_send(struct card *c, uint8_t type, uint32_t want)
{
	uint8_t body[300] = {1, 1, 6}, f[400];
	struct frame_spec s = {.udp = true, .payload = sizeof(body), .data = body,
			       .sport = 68, .dport = 67};
	size_t at = 240;

	set32(body + 4, 0x12345678);
	memcpy(body + 28, guest_mac, 6);
	set32(body + 236, 0x63825363);
	body[at++] = 53;
	body[at++] = 1;
	body[at++] = type;
	if (want) {
		body[at++] = 50;
		body[at++] = 4;
		set32(body + at, want);
		at += 4;
	}
	body[at] = 255;
	frame_make(f, &s);
	memset(f, 0xff, 6);
	memcpy(f + 6, guest_mac, 6);
	set32(f + 26, 0);
	set32(f + 30, 0xffffffff);
	set16(f + 24, 0);
	set16(f + 24, ~plain_sum(f + 14, 20, 0) & 0xffff);
	set16(f + 40, 0); /* no checksum */
	assert_true(card_send(c, f, 42 + sizeof(body)));
}

static void dhcp_gives_what_the_options_say(void **state)
{
	struct card *c = user_open(",net=192.168.7.0/24,host=192.168.7.1,dns=192.168.7.9,"
				   "dhcpstart=192.168.7.50,hostname=box,domainname=example.org,"
				   "dnssearch=a.example,dnssearch=b.example,"
				   "tftp=/tmp,bootfile=pxe.0");
	const uint8_t *o;

	dhcp_send(c, 1, 0);
	assert_int_equal(c->n, 1);
	assert_int_equal(dhcp_option(&c->frames[0], 53)[2], 2); /* offer */
	assert_int_equal(be32(c->frames[0].data + 42 + 16), 0xc0a80732);
	dhcp_send(c, 3, 0xc0a80732);
	assert_int_equal(c->n, 2);
	assert_int_equal(dhcp_option(&c->frames[1], 53)[2], 5); /* ack */
	assert_int_equal(be32(dhcp_option(&c->frames[1], 3) + 2), 0xc0a80701);
	assert_int_equal(be32(dhcp_option(&c->frames[1], 6) + 2), 0xc0a80709);
	o = dhcp_option(&c->frames[1], 12);
	assert_memory_equal(o + 2, "box", 3);
	o = dhcp_option(&c->frames[1], 15);
	assert_memory_equal(o + 2, "example.org", 11);
	assert_non_null(dhcp_option(&c->frames[1], 119));
	assert_memory_equal(c->frames[1].data + 42 + 108, "pxe.0", 6);
	card_close(c, false);
}

/* A connection from the host into the guest, `total` bytes to it. */
static void hostfwd_case(bool large, size_t total)
{
	unsigned port = free_port(SOCK_STREAM);
	uint8_t *want = pattern(total);
	char more[100], back[10];
	struct tcp t = {.port = 22, .seq = 1000, .data = xzalloc(total + 65536)};
	size_t sent = 0;
	int fd;

	snprintf(more, sizeof(more), ",hostfwd=tcp:127.0.0.1:%u-:22", port);
	t.c = user_open(more);
	if (large)
		takes_large(t.c);
	guest_arp(t.c, 2);
	dhcp_send(t.c, 1, 0);
	fd = host_connect(port);
	card_wait(t.c, (tcp_work(&t), t.open));
	card_wait(t.c, ({
			  ssize_t n = write(fd, want + sent, total - sent);

			  sent += n > 0 ? (size_t)n : 0;
			  tcp_work(&t);
			  t.got == total;
		  }));
	assert_memory_equal(t.data, want, total);
	if (large) {
		assert_true(t.gso > 0);
		assert_true(t.largest > 1460);
	} else {
		assert_int_equal(t.gso, 0);
		assert_int_equal(t.largest, 1460);
	}
	tcp_send(&t, 0x18, "answer", 6, false);
	card_wait(t.c, read(fd, back, sizeof(back)) == 6);
	assert_memory_equal(back, "answer", 6);
	close(fd);
	card_wait(t.c, (tcp_work(&t), t.fin));
	free(want);
	free(t.data);
	card_close(t.c, false);
}

static void hostfwd_to_a_plain_card(void **state)
{
	hostfwd_case(false, 200000);
}

static void hostfwd_in_large_frames(void **state)
{
	hostfwd_case(true, 2000000);
}

/* Card stops taking large frames in the middle of a connection: the pieces come. */
static void offloads_go_while_connected(void **state)
{
	unsigned port = free_port(SOCK_STREAM);
	size_t total = 50000, sent = 0;
	uint8_t *want = pattern(total);
	char more[100];
	struct tcp t = {.port = 22, .seq = 1000, .data = xzalloc(total + 65536)};
	int fd;

	snprintf(more, sizeof(more), ",hostfwd=tcp:127.0.0.1:%u-10.0.2.15:22", port);
	t.c = user_open(more);
	takes_large(t.c);
	guest_arp(t.c, 2);
	fd = host_connect(port);
	card_wait(t.c, (tcp_work(&t), t.open));
	lock_take(&t.c->lock);
	netdev_set_offloads(t.c->nd, 0);
	lock_drop(&t.c->lock);
	card_wait(t.c, ({
			  ssize_t n = write(fd, want + sent, total - sent);

			  sent += n > 0 ? (size_t)n : 0;
			  tcp_work(&t);
			  t.got == total;
		  }));
	assert_memory_equal(t.data, want, total);
	assert_int_equal(t.gso, 0);
	assert_in_range(t.largest, 1, 1460);
	close(fd);
	free(want);
	free(t.data);
	card_close(t.c, false);
}

/* The guest connects to the host and sends large frames; libslirp takes them whole. */
static void guest_sends_large_frames(void **state)
{
	size_t total = 1000000, sent = 0, got = 0;
	uint8_t *data = pattern(total), *in = xzalloc(total);
	uint16_t port;
	int lfd = listener(SOCK_STREAM, &port), fd = -1;
	struct tcp t = {.port = 4000, .peer = 2, .peer_port = port, .seq = 77,
			.data = xzalloc(65536)};

	t.c = user_open("");
	takes_large(t.c);
	guest_arp(t.c, 2);
	tcp_send(&t, 0x02, NULL, 0, true);
	card_wait(t.c, (tcp_work(&t), t.open));
	card_wait(t.c, (fd = accept4(lfd, NULL, NULL, SOCK_NONBLOCK)) >= 0);
	card_wait(t.c, ({
			  /* One at a time: this TCP has no window. */
			  if (sent < total && sent == got) {
				  size_t n = total - sent < 50000 ? total - sent : 50000;

				  tcp_send(&t, 0x18, data + sent, n, false);
				  sent += n;
			  }
			  ssize_t n = read(fd, in + got, total - got);

			  got += n > 0 ? (size_t)n : 0;
			  tcp_work(&t);
			  got == total;
		  }));
	assert_memory_equal(in, data, total);
	assert_in_range(netdev_stats(t.c->nd)->tx_frames, 20, 100);
	assert_int_equal(netdev_stats(t.c->nd)->tx_dropped, 0);
	close(fd);
	close(lfd);
	free(in);
	free(data);
	free(t.data);
	card_close(t.c, false);
}

/* A datagram larger than the guest's MTU comes in fragments. */
static void large_datagram_in_fragments(void **state)
{
	unsigned port = free_port(SOCK_DGRAM);
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	uint8_t *data = pattern(40000), *all = xzalloc(65536);
	size_t seen = 0;
	char more[100];
	struct card *c;

	snprintf(more, sizeof(more), ",hostfwd=udp:127.0.0.1:%u-10.0.2.15:53", port);
	c = user_open(more);
	guest_arp(c, 2);
	card_clear(c);
	assert_int_equal(sendto(fd, data, 40000, 0, (struct sockaddr *)&to, sizeof(to)), 40000);
	card_wait(c, ({
			  seen = 0;
			  for (unsigned i = 0; i < c->n; i++)
				  if (be16(c->frames[i].data + 12) == 0x800 &&
				      c->frames[i].data[23] == 17)
					  seen += c->frames[i].len - 34;
			  seen == 40008;
		  }));
	for (unsigned i = 0; i < c->n; i++) {
		const uint8_t *f = c->frames[i].data;

		if (be16(f + 12) != 0x800)
			continue;
		assert_true(c->frames[i].len <= 1514);
		memcpy(all + (be16(f + 20) & 0x1fff) * 8, f + 34, c->frames[i].len - 34);
	}
	assert_int_equal(be16(all + 2), 53);
	assert_memory_equal(all + 8, data, 40000);
	close(fd);
	free(data);
	free(all);
	card_close(c, false);
}

static void ports_taken_and_given_back(void **state)
{
	uint16_t port;
	int lfd = listener(SOCK_STREAM, &port);
	char rule[100], opts[200];
	struct card *c = user_open("");
	struct netdev *nd;
	struct err *e = NULL;

	snprintf(rule, sizeof(rule), "tcp:127.0.0.1:%u-:22", port);
	assert_int_equal(netdev_hostfwd_add(c->nd, rule, &e), -EADDRINUSE);
	assert_non_null(strstr(err_msg(e), "the host's port is taken"));
	assert_non_null(strstr(err_msg(e), rule));
	err_free(&e);
	snprintf(opts, sizeof(opts), "user,id=n1,hostfwd=%s", rule);
	assert_int_equal(netdev_open(&nd, c->loop, c->log, NULL, opts, &e), -EADDRINUSE);
	err_free(&e);
	close(lfd);
	assert_int_equal(netdev_hostfwd_add(c->nd, rule, &e), 0);
	assert_int_equal(netdev_hostfwd_add(c->nd, rule, &e), -EADDRINUSE);
	err_free(&e);
	*strchr(rule, '-') = 0;
	assert_int_equal(netdev_hostfwd_remove(c->nd, rule, &e), 0);
	assert_int_equal(netdev_hostfwd_remove(c->nd, rule, &e), -ENOENT);
	assert_non_null(strstr(err_msg(e), "does not exist"));
	err_free(&e);
	assert_int_equal(netdev_hostfwd_remove(c->nd, "tcp:x", &e), -EINVAL);
	err_free(&e);
	strcat(rule, "-:22");
	assert_int_equal(netdev_hostfwd_add(c->nd, rule, &e), 0);
	card_close(c, false);
}

/* restrict=on: nothing gets out. */
static void restricted(void **state)
{
	uint16_t port;
	int lfd = listener(SOCK_STREAM, &port);
	struct tcp t = {.port = 4000, .peer = 2, .peer_port = port, .data = xzalloc(65536)};

	t.c = user_open(",restrict=on");
	guest_arp(t.c, 2);
	tcp_send(&t, 0x02, NULL, 0, true);
	card_run(t.c, 100);
	tcp_work(&t);
	assert_false(t.open);
	assert_int_equal(accept(lfd, NULL, NULL), -1);
	close(lfd);
	free(t.data);
	card_close(t.c, false);
}

/* IPv6: a router solicitation is answered with the prefix of the options, and no MTU but the usual. */
static void ipv6_router(void **state)
{
	struct card *c = user_open(",ipv6-prefix=fd12:3456::,ipv6-host=fd12:3456::9");
	uint8_t f[70] = {0x33, 0x33, 0, 0, 0, 2};
	const uint8_t *ra = NULL;
	bool prefix = false;

	memcpy(f + 6, guest_mac, 6);
	set16(f + 12, 0x86dd);
	f[14] = 0x60;
	set16(f + 18, 16);
	f[20] = 58;
	f[21] = 255;
	f[22] = 0xfe;
	f[23] = 0x80;
	f[37] = 0x15;
	f[38] = 0xff;
	f[39] = 2;
	f[53] = 2;
	f[54] = 133;
	f[62] = 1;
	f[63] = 1;
	memcpy(f + 64, guest_mac, 6);
	set16(f + 56, ~plain_sum(f + 54, 16, pseudo_sum(f + 14, true, 58, 16)) & 0xffff);
	assert_true(card_send(c, f, sizeof(f)));
	card_wait(c, ({
			  for (unsigned i = 0; i < c->n; i++)
				  if (c->frames[i].len > 70 && c->frames[i].data[54] == 134)
					  ra = c->frames[i].data;
			  ra != NULL;
		  }));
	for (unsigned at = 54 + 16; at + 8 <= 54u + be16(ra + 18); at += ra[at + 1] * 8u) {
		assert_true(ra[at + 1]);
		if (ra[at] == 3)
			prefix = ra[at + 2] == 64 && ra[at + 16] == 0xfd && ra[at + 17] == 0x12;
		if (ra[at] == 5)
			assert_int_equal(be32(ra + at + 4), 1500);
	}
	assert_true(prefix);
	card_close(c, false);
}

/* A card with no room stops the reading of sockets; nothing is lost of a stream. */
static void no_room_in_the_card(void **state)
{
	unsigned port = free_port(SOCK_STREAM);
	size_t total = 300000, sent = 0;
	uint8_t *want = pattern(total);
	char more[100];
	struct tcp t = {.port = 22, .seq = 1, .data = xzalloc(total + 65536)};
	int fd;

	snprintf(more, sizeof(more), ",hostfwd=tcp:127.0.0.1:%u-:22", port);
	t.c = user_open(more);
	guest_arp(t.c, 2);
	fd = host_connect(port);
	card_wait(t.c, (tcp_work(&t), t.open));
	t.c->room = 3;
	card_wait(t.c, ({
			  ssize_t n = write(fd, want + sent, total - sent);

			  sent += n > 0 ? (size_t)n : 0;
			  tcp_work(&t);
			  if (!t.c->room)
				  card_ready(t.c, 3);
			  t.got == total;
		  }));
	assert_memory_equal(t.data, want, total);
	close(fd);
	free(want);
	free(t.data);
	card_close(t.c, false);
}

static void says_what_it_is(void **state)
{
	struct card *c = user_open(",net=10.9.0.0/16,restrict=on");
	char *s = netdev_describe(c->nd), *info = netdev_user_info(c->nd);

	assert_string_equal(s, "net=10.9.0.0,restrict=on");
	assert_non_null(strstr(info, "Protocol"));
	free(s);
	free(info);
	card_close(c, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(arp_is_answered_at_once),
		cmocka_unit_test(dhcp_gives_what_the_options_say),
		cmocka_unit_test(hostfwd_to_a_plain_card),
		cmocka_unit_test(hostfwd_in_large_frames),
		cmocka_unit_test(offloads_go_while_connected),
		cmocka_unit_test(guest_sends_large_frames),
		cmocka_unit_test(large_datagram_in_fragments),
		cmocka_unit_test(ports_taken_and_given_back),
		cmocka_unit_test(restricted),
		cmocka_unit_test(ipv6_router),
		cmocka_unit_test(no_room_in_the_card),
		cmocka_unit_test(says_what_it_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
