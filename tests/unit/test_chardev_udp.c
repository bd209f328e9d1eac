/* SPDX-License-Identifier: Apache-2.0 */
/* The UDP character back end. */
#include "chardev_fixture.h"

static int datagrams(struct sockaddr_in *a)
{
	socklen_t len = sizeof(*a);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);

	*a = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	assert_int_equal(bind(fd, (struct sockaddr *)a, sizeof(*a)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)a, &len), 0);
	return fd;
}

/* What is written is a datagram; of one that comes nothing is lost when there is little room. */
static void test_udp(void **state)
{
	struct fixture *f = *state;
	struct sockaddr_in peer, from;
	socklen_t len = sizeof(from);
	int fd = datagrams(&peer);
	char port[8], buf[64], large[5000] = {0};
	struct chardev *cd;

	snprintf(port, sizeof(port), "%d", ntohs(peer.sin_port));
	cd = open_spec(f, "udp:127.0.0.1:%s@:0", port);
	attach(f, cd);
	chardev_write(cd, (const uint8_t *)"one", 3);
	chardev_write(cd, (const uint8_t *)"three", 5);
	assert_int_equal(recvfrom(fd, buf, sizeof(buf), 0, (struct sockaddr *)&from, &len), 3);
	assert_int_equal(recv(fd, buf, sizeof(buf), 0), 5);
	assert_memory_equal(buf, "three", 5);
	f->room = 4;
	sendto(fd, "abcdefgh", 8, 0, (struct sockaddr *)&from, len);
	sendto(fd, large, sizeof(large), 0, (struct sockaddr *)&from, len); /* too large: lost */
	sendto(fd, "", 0, 0, (struct sockaddr *)&from, len);
	sendto(fd, "ij", 2, 0, (struct sockaddr *)&from, len);
	for (int i = 0; i < 20; i++)
		loop_once(f->loop, 5);
	assert_int_equal(f->n_got, 4);
	f->room = 100;
	chardev_accept_input(cd);
	for (int i = 0; i < 20; i++)
		loop_once(f->loop, 5);
	assert_int_equal(f->n_got, 10);
	assert_memory_equal(f->got, "abcdefghij", 10);
	/* Nobody there is no error, and who comes back is heard. */
	close(fd);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(chardev_write(cd, (const uint8_t *)"x", 1), 1);
		loop_once(f->loop, 5);
	}
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&peer, sizeof(peer)), 0);
	chardev_write(cd, (const uint8_t *)"back", 4);
	assert_int_equal(recv(fd, buf, sizeof(buf), 0), 4);
	assert_int_equal(f->closed, 0);
	close(fd);
	chardev_close(cd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_udp, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
