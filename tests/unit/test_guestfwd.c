/* SPDX-License-Identifier: Apache-2.0 */
/* Connections of the guest that lead to a command or a chardev of the host (guestfwd=). */
#include "net_tcp.h"
#include <sys/resource.h>
#include <sys/stat.h>

#define RULE ",guestfwd=tcp:10.0.2.100:80-"

/* A card whose rule leads to a -chardev; the other end of it, a socket, is *fd. */
static struct card *open_to_socket(int *fd)
{
	struct card *c = card_new(NULL);
	struct chardev *cd;
	char opts[60];
	int s[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, s), 0);
	snprintf(opts, sizeof(opts), "socket,id=c0,fd=%d", s[1]);
	assert_int_equal(chardev_open_opts(&cd, c->loop, opts, NULL), 0);
	card_keep_chardev(c, cd);
	card_plug(c, "user,id=n0" RULE "chardev:c0");
	*fd = s[0];
	return c;
}

static void open_chardev(struct card *c, const char *opts)
{
	struct chardev *cd;

	assert_int_equal(chardev_open_opts(&cd, c->loop, opts, NULL), 0);
	card_keep_chardev(c, cd);
}

static void tcp_connect(struct tcp *t, struct card *c, uint16_t port)
{
	*t = (struct tcp){
		.c = c, .port = port, .peer = 100, .peer_port = 80, .at = c->n, .data = t->data};
	guest_arp(c, 2);
	tcp_send(t, 0x02, NULL, 0, true);
	card_wait(c, (tcp_work(t), t->open));
}

static void expect_host(struct card *c, int fd, const char *text)
{
	char buf[100];
	ssize_t n = -1;

	card_wait(c, (n = read(fd, buf, sizeof(buf))) > 0);
	assert_int_equal(n, strlen(text));
	assert_memory_equal(buf, text, strlen(text));
}

static void expect_guest(struct tcp *t, const char *text)
{
	card_wait(t->c, (tcp_work(t), t->got >= strlen(text)));
	assert_int_equal(t->got, strlen(text));
	assert_memory_equal(t->data, text, strlen(text));
	t->got = 0;
}

static void host_says(int fd, const char *text)
{
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static void to_a_command(void **state)
{
	struct tcp t = {.data = xzalloc(65536)};
	struct card *c = user_open(RULE "cmd:cat");

	tcp_connect(&t, c, 4000);
	tcp_send(&t, 0x18, "hello\n", 6, false);
	expect_guest(&t, "hello\n");
	free(t.data);
	card_close(c, false);
}

static void to_a_spec(void **state)
{
	struct tcp t = {.data = xzalloc(65536)};
	uint16_t port;
	int lfd = listener(SOCK_STREAM, &port), fd;
	char more[100];

	snprintf(more, sizeof(more), RULE "tcp:127.0.0.1:%u", port);
	t.c = user_open(more);
	assert_string_equal(chardev_id(t.c->chardevs[0]), "guestfwd.tcp.80");
	fd = accept4(lfd, NULL, NULL, SOCK_NONBLOCK);
	assert_true(fd >= 0);
	tcp_connect(&t, t.c, 4000);
	tcp_send(&t, 0x18, "ping", 4, false);
	expect_host(t.c, fd, "ping");
	host_says(fd, "pong");
	expect_guest(&t, "pong");
	close(fd);
	close(lfd);
	free(t.data);
	card_close(t.c, false);
}

static void to_a_chardev_by_id(void **state)
{
	struct tcp t = {.data = xzalloc(65536)};
	int fd;
	struct card *c = open_to_socket(&fd);

	host_says(fd, "early "); /* waits for somebody to connect */
	card_run(c, 30);
	tcp_connect(&t, c, 4000);
	expect_guest(&t, "early ");
	tcp_send(&t, 0x18, "ping", 4, false);
	expect_host(c, fd, "ping");
	host_says(fd, "pong");
	expect_guest(&t, "pong");
	close(fd);
	free(t.data);
	card_close(c, false);
}

/* The guest ends its half and is answered; then there is another connection, which gets the rest.
 */
static void one_connection_after_the_other(void **state)
{
	struct tcp t = {.data = xzalloc(65536)};
	int fd;
	struct card *c = open_to_socket(&fd);

	tcp_connect(&t, c, 4000);
	tcp_send(&t, 0x18, "first", 5, false);
	tcp_send(&t, 0x11, NULL, 0, false);
	expect_host(c, fd, "first");
	host_says(fd, "answer");
	expect_guest(&t, "answer");
	assert_false(t.fin);
	tcp_connect(&t, c, 4001);
	tcp_send(&t, 0x18, "second", 6, false);
	expect_host(c, fd, "second");
	host_says(fd, "to the second");
	expect_guest(&t, "to the second");
	close(fd);
	free(t.data);
	card_close(c, false);
}

/* The older one of two is heard, the later one answered; when the guest has said all on the older
 * one, it ends. */
static void two_connections(void **state)
{
	struct tcp a = {.data = xzalloc(65536)}, b = {.data = xzalloc(65536)};
	int fd;
	struct card *c = open_to_socket(&fd);

	tcp_connect(&a, c, 4000);
	tcp_connect(&b, c, 4001);
	tcp_send(&a, 0x18, "from a", 6, false);
	expect_host(c, fd, "from a");
	host_says(fd, "to b");
	expect_guest(&b, "to b");
	assert_int_equal(a.got, 0);
	tcp_send(&a, 0x11, NULL, 0, false);
	card_wait(c, (tcp_work(&a), a.fin));
	tcp_work(&b);
	assert_false(b.fin);
	close(fd);
	free(a.data);
	free(b.data);
	card_close(c, false);
}

/* Nobody will answer any more: the connection on which the guest has said all ends, another stays.
 */
static void chardevs_peer_goes(void **state)
{
	struct tcp t = {.data = xzalloc(65536)};
	int fd;
	struct card *c = open_to_socket(&fd);

	tcp_connect(&t, c, 4000);
	tcp_send(&t, 0x18, "bye", 3, false);
	tcp_send(&t, 0x11, NULL, 0, false);
	expect_host(c, fd, "bye");
	host_says(fd, "last words");
	close(fd);
	card_wait(c, (tcp_work(&t), t.fin));
	assert_int_equal(t.got, 10);
	assert_memory_equal(t.data, "last words", 10);
	tcp_connect(&t, c, 4001);
	tcp_send(&t, 0x18, "lost", 4, false);
	card_run(c, 30);
	tcp_work(&t);
	assert_false(t.fin);
	free(t.data);
	card_close(c, false);
}

/* As much as the peer's window allows, from the guest. */
static void guest_fills_window(struct tcp *t, const uint8_t *data, size_t total, size_t *sent)
{
	uint32_t flying = t->seq - t->acked;
	size_t room = flying < t->window ? t->window - flying : 0;
	size_t n = min_u64(min_u64(room, 1460), total - *sent);

	if (!n)
		return;
	tcp_send(t, 0x18, data + *sent, n, false);
	*sent += n;
}

/* Host reads nothing: the guest's window closes, with no more than buffers hold on the way.  Then
 * all comes, in order. */
static void chardev_slower_than_guest(void **state)
{
	size_t total = 3000000, sent = 0, got = 0, stuck;
	uint8_t *data = pattern(total), *in = xzalloc(total);
	struct tcp t = {.data = xzalloc(65536)};
	int fd, small = 4096;
	struct card *c;

	c = open_to_socket(&fd);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	tcp_connect(&t, c, 4000);
	t.acked = t.seq;
	for (unsigned idle = 0; idle < 100;) {
		size_t before = sent;

		guest_fills_window(&t, data, total, &sent);
		loop_once(c->loop, sent == before ? 2 : 0);
		tcp_work(&t);
		idle = sent == before ? idle + 1 : 0;
	}
	stuck = sent;
	assert_true(stuck < 1500000);
	card_wait(c, ({
			  guest_fills_window(&t, data, total, &sent);
			  tcp_work(&t);
			  ssize_t n = read(fd, in + got, total - got);

			  got += n > 0 ? (size_t)n : 0;
			  got == total;
		  }));
	assert_memory_equal(in, data, total);
	close(fd);
	free(in);
	free(data);
	free(t.data);
	card_close(c, false);
}

/* The guest takes nothing: the host cannot write more than buffers hold. */
static void guest_slower_than_chardev(void **state)
{
	size_t total = 3000000, sent = 0;
	uint8_t *data = pattern(total);
	struct tcp t = {.data = xzalloc(total + 65536)};
	int fd;
	struct card *c = open_to_socket(&fd);

	tcp_connect(&t, c, 4000);
	c->room = 3;
	for (unsigned idle = 0; idle < 100;) {
		ssize_t n = write(fd, data + sent, total - sent);

		sent += n > 0 ? (size_t)n : 0;
		loop_once(c->loop, 2);
		idle = n > 0 ? 0 : idle + 1;
	}
	assert_true(sent < 1500000);
	card_ready(c, 100000);
	card_wait(c, ({
			  ssize_t n = write(fd, data + sent, total - sent);

			  sent += n > 0 ? (size_t)n : 0;
			  tcp_work(&t);
			  t.got == total;
		  }));
	assert_memory_equal(t.data, data, total);
	close(fd);
	free(data);
	free(t.data);
	card_close(c, false);
}

/* Kinds without a peer, and a multiplexer, whose front ends are several. */
static void kinds_of_chardevs(void **state)
{
	char file[] = "/tmp/doppel-test-XXXXXX", opts[100], buf[100];
	int fd = mkstemp(file);
	struct card *c = card_new(NULL);
	struct tcp t = {.data = xzalloc(65536)};

	open_chardev(c, "ringbuf,id=ring,mux=on");
	snprintf(opts, sizeof(opts), "file,id=file,path=%s", file);
	open_chardev(c, opts);
	open_chardev(c, "null,id=null");
	open_chardev(c, "pty,id=pty");
	card_plug(c, "user,id=n0,guestfwd=tcp:10.0.2.100:80-chardev:ring,"
		     "guestfwd=:10.0.2.100:81-chardev:file,guestfwd=::82-chardev:ring,"
		     "guestfwd=tcp:10.0.2.101:80-chardev:null,"
		     "guestfwd=tcp:10.0.2.102:80-chardev:pty");
	tcp_connect(&t, c, 4000);
	tcp_send(&t, 0x18, "one", 3, false);
	card_wait(c, chardev_ring_read(c->chardevs[0], (uint8_t *)buf, sizeof(buf)) == 3);
	t = (struct tcp){
		.c = c, .port = 4001, .peer = 100, .peer_port = 81, .at = c->n, .data = t.data};
	tcp_send(&t, 0x02, NULL, 0, true);
	card_wait(c, (tcp_work(&t), t.open));
	tcp_send(&t, 0x18, "two", 3, false);
	card_wait(c, pread(fd, buf, sizeof(buf), 0) == 3);
	assert_memory_equal(buf, "two", 3);
	/* No address is the fourth of the network. */
	t = (struct tcp){
		.c = c, .port = 4002, .peer = 4, .peer_port = 82, .at = c->n, .data = t.data};
	tcp_send(&t, 0x02, NULL, 0, true);
	card_wait(c, (tcp_work(&t), t.open));
	tcp_send(&t, 0x18, "three", 5, false);
	card_wait(c, chardev_ring_read(c->chardevs[0], (uint8_t *)buf, sizeof(buf)) == 5);
	assert_memory_equal(buf, "three", 5);
	close(fd);
	unlink(file);
	free(t.data);
	card_close(c, false);
}

static void refused(void **state)
{
	struct card *c = card_new(NULL);
	struct netdev *nd;
	struct err *e = NULL;

	open_chardev(c, "null,id=c0");
	assert_int_equal(card_netdev(c, "user,id=n0" RULE "chardev:c0" RULE "null", &e), -EINVAL);
	assert_non_null(strstr(err_msg(e), "is taken"));
	err_free(&e);
	assert_int_equal(card_netdev(c, "user,id=n0" RULE "chardev:c0,guestfwd=::81-chardev:c0",
				     &e),
			 -EBUSY);
	assert_non_null(strstr(err_msg(e), "rule '::81-chardev:c0'"));
	assert_non_null(strstr(err_msg(e), "'c0' is in use"));
	err_free(&e);
	assert_false(chardev_attached(c->chardevs[0])); /* by the first of the two rules */
	assert_int_equal(netdev_open(&nd, c->loop, c->log, NULL, "user,id=n0" RULE "chardev:c0",
				     &e),
			 -ENOENT);
	err_free(&e);
	c->nd = NULL;
	card_close(c, false);
}

/* The guest opens as many connections as it likes, and the process has few descriptors. */
static void many_connections(void **state)
{
	struct rlimit old, few;
	struct tcp t = {.data = xzalloc(65536)};
	int fd, next, quiet = open("/dev/null", O_WRONLY | O_CLOEXEC), err = dup(2);
	struct card *c = open_to_socket(&fd);

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	next = dup(0);
	few = (struct rlimit){.rlim_cur = (rlim_t)next + 60, .rlim_max = old.rlim_max};
	close(next);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	assert_int_equal(dup2(quiet, 2), 2); /* libslirp says each time that there are none */
	for (unsigned i = 0; i < 200; i++) {
		t = (struct tcp){.c = c,
				 .port = (uint16_t)(5000 + i),
				 .peer = 100,
				 .peer_port = 80,
				 .at = c->n,
				 .data = t.data};
		if (!i)
			guest_arp(c, 2);
		tcp_send(&t, 0x02, NULL, 0, true);
		tcp_work(&t);
		if (i % 10 == 9)
			card_run(c, 2);
		if (i == 100)
			assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	}
	dup2(err, 2);
	close(err);
	close(quiet);
	host_says(fd, "still there");
	card_run(c, 50);
	close(fd);
	free(t.data);
	card_close(c, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(to_a_command),
		cmocka_unit_test(to_a_spec),
		cmocka_unit_test(to_a_chardev_by_id),
		cmocka_unit_test(one_connection_after_the_other),
		cmocka_unit_test(two_connections),
		cmocka_unit_test(chardevs_peer_goes),
		cmocka_unit_test(chardev_slower_than_guest),
		cmocka_unit_test(guest_slower_than_chardev),
		cmocka_unit_test(kinds_of_chardevs),
		cmocka_unit_test(refused),
		cmocka_unit_test(many_connections),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
