/* SPDX-License-Identifier: Apache-2.0 */
/* Network back ends: the core, sockets between two cards, tap, the pcap dump, options. */
#include "net_card.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <linux/if_tun.h>
#include <netpacket/packet.h>
#include <net/ethernet.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "net_frames.h"

static char dir[] = "/tmp/doppel-net-XXXXXX";

static int dir_make(void **state)
{
	return mkdtemp(dir) ? 0 : -1;
}

static int dir_remove(void **state)
{
	return rmdir(dir);
}

/* A stream peer that is this test. */
static int peer_pair(char *opts, size_t size)
{
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	snprintf(opts, size, "stream,id=n0,addr.type=fd,addr.str=%d", fds[0]);
	return fds[1];
}

static void peer_frame(int fd, const void *frame, size_t len)
{
	uint8_t buf[4 + 2048];

	assert_true(len <= 2048);
	set32(buf, (uint32_t)len);
	memcpy(buf + 4, frame, len);
	assert_int_equal(write(fd, buf, len + 4), len + 4);
}

static size_t small_frame(uint8_t *f, size_t payload, bool vlan)
{
	struct frame_spec s = {.udp = true, .payload = payload, .vlan = vlan, .src = 15, .dst = 2,
			       .sport = 1000, .dport = 2000};

	return frame_make(f, &s);
}

/* Frames wait in order while the card has no room, and are bounded. */
static void queue_towards_the_card(void **state)
{
	char opts[64];
	int fd = peer_pair(opts, sizeof(opts));
	struct card *c = card_open(opts, NULL);
	uint8_t f[2048];
	size_t len = 0;

	c->room = 2;
	for (unsigned i = 0; i < 5; i++) {
		len = small_frame(f, 10 + i, false);
		peer_frame(fd, f, len);
	}
	card_wait(c, c->n == 2);
	card_run(c, 20);
	assert_int_equal(c->n, 2);
	card_ready(c, 1);
	assert_int_equal(c->n, 3);
	card_ready(c, 10);
	card_wait(c, c->n == 5);
	assert_int_equal(c->frames[4].len, len);
	assert_memory_equal(c->frames[4].data, f, len);
	for (unsigned i = 1; i < 5; i++)
		assert_true(c->frames[i].len > c->frames[i - 1].len);
	assert_int_equal(netdev_stats(c->nd)->rx_frames, 5);
	assert_int_equal(netdev_stats(c->nd)->rx_dropped, 0);
	close(fd);
	card_close(c, false);
}

/* One interrupt for what came together. */
static void flush_once_for_a_batch(void **state)
{
	char opts[64];
	int fd = peer_pair(opts, sizeof(opts));
	struct card *c = card_open(opts, NULL);
	uint8_t f[2048];
	size_t len = small_frame(f, 100, false);

	for (unsigned i = 0; i < 20; i++)
		peer_frame(fd, f, len);
	card_wait(c, c->n == 20);
	assert_int_equal(c->flushes, 1);
	close(fd);
	card_close(c, false);
}

static void link_goes_and_comes(void **state)
{
	char opts[64];
	int fd = peer_pair(opts, sizeof(opts));
	struct card *c = card_open(opts, NULL);
	uint8_t f[2048];
	size_t len = small_frame(f, 100, false);

	assert_true(netdev_link(c->nd));
	lock_take(&c->lock);
	netdev_set_link(c->nd, false);
	lock_drop(&c->lock);
	assert_int_equal(c->links, 1);
	assert_false(c->up);
	assert_true(card_send(c, f, len)); /* lost */
	peer_frame(fd, f, len);
	card_run(c, 30);
	assert_int_equal(c->n, 0);
	assert_int_equal(read(fd, f, sizeof(f)), -1);
	lock_take(&c->lock);
	netdev_set_link(c->nd, true);
	lock_drop(&c->lock);
	assert_true(c->up);
	close(fd); /* the peer leaves */
	card_wait(c, !c->up);
	assert_int_equal(c->links, 3);
	card_close(c, false);
}

static void one_card_at_a_time(void **state)
{
	char opts[64];
	int fd = peer_pair(opts, sizeof(opts));
	struct card *c = card_open(opts, NULL);
	struct net_front front = {.lock = &c->lock};
	struct err *e = NULL;

	assert_int_equal(netdev_attach(c->nd, &front, &e), -EBUSY);
	assert_non_null(strstr(err_msg(e), "n0"));
	err_free(&e);
	close(fd);
	card_close(c, false);
}

/* A peer that does not read: the card is told to wait, and when to go on; nothing is lost. */
static void slow_stream_peer(void **state)
{
	char opts[64];
	int fd = peer_pair(opts, sizeof(opts));
	struct card *c = card_open(opts, NULL);
	static uint8_t in[4 << 20];
	uint8_t f[2048];
	size_t len = small_frame(f, 1400, false), got = 0, at = 0;
	unsigned sent = 0, seen = 0;

	while (card_send(c, f, len) && sent < 100000)
		set32(f + 42, ++sent);
	assert_in_range(sent, 300, 20000);
	card_run(c, 20);
	assert_int_equal(c->sendables, 0);
	card_wait(c, ({
			  ssize_t n = read(fd, in + got, sizeof(in) - got);

			  got += n > 0 ? (size_t)n : 0;
			  got == sent * (len + 4);
		  }));
	assert_true(c->sendables >= 1);
	for (; at < got; at += len + 4, seen++) {
		assert_int_equal(be32(in + at), len);
		if (seen)
			assert_int_equal(be32(in + at + 4 + 42), seen);
	}
	assert_int_equal(seen, sent);
	assert_true(card_send(c, f, len));
	close(fd);
	card_close(c, false);
}

/* A length that is none ends the connection, not the process. */
static void stream_peer_breaks_the_protocol(void **state)
{
	static const uint32_t bad[] = {0, 0x7fffffff, 0xffffffff, NET_FRAME_MAX + 1};

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		char opts[64];
		int fd = peer_pair(opts, sizeof(opts));
		struct card *c = card_open(opts, NULL);
		uint8_t word[4];

		set32(word, bad[i]);
		c->up = true;
		assert_int_equal(write(fd, word, 4), 4);
		card_wait(c, !c->up);
		close(fd);
		card_close(c, false);
	}
}

/* Two cards on one loop: frames of all sizes, tagged ones too, arrive as they were. */
static void two_cards(const char *a_opts, const char *b_opts, bool large)
{
	static const size_t payload[] = {0, 18, 1000, 1472, 9000, 60000};
	struct card *a = card_open(a_opts, NULL), *b = card_open(b_opts, a);
	uint8_t *f = xzalloc(NET_FRAME_MAX);

	card_wait(a, netdev_link(a->nd) && netdev_link(b->nd));
	for (unsigned i = 0; i < ARRAY_SIZE(payload) - (large ? 0 : 1); i++)
		for (unsigned vlan = 0; vlan < 2; vlan++) {
			size_t len = small_frame(f, payload[i], vlan);

			assert_true(card_send(a, f, len));
			card_wait(a, b->n == 1);
			assert_int_equal(b->frames[0].len, len);
			assert_memory_equal(b->frames[0].data, f, len);
			card_clear(b);
			assert_true(card_send(b, f, len));
			card_wait(a, a->n == 1);
			assert_memory_equal(a->frames[0].data, f, len);
			card_clear(a);
		}
	free(f);
	card_close(b, true);
	card_close(a, false);
}

/* A port of the host that is free just now. */
static unsigned free_port(int type)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(in);
	int fd = socket(AF_INET, type, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&in, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
	close(fd);
	return ntohs(in.sin_port);
}

static void stream_unix(void **state)
{
	char a[200], b[200];

	snprintf(a, sizeof(a), "stream,id=a,server=on,addr.type=unix,addr.path=%s/s", dir);
	snprintf(b, sizeof(b), "stream,id=b,server=off,addr.type=unix,addr.path=%s/s", dir);
	two_cards(a, b, true);
}

static void stream_json_tcp(void **state)
{
	unsigned port = free_port(SOCK_STREAM);
	char a[200], b[200];

	snprintf(a, sizeof(a),
		 "{\"type\":\"stream\",\"id\":\"a\",\"server\":true,\"addr\":{\"type\":\"inet\","
		 "\"host\":\"127.0.0.1\",\"port\":\"%u\"}}",
		 port);
	snprintf(b, sizeof(b), "stream,id=b,addr.type=inet,addr.host=127.0.0.1,addr.port=%u", port);
	two_cards(a, b, true);
}

static void socket_old_form(void **state)
{
	unsigned port = free_port(SOCK_STREAM);
	char a[100], b[100];

	snprintf(a, sizeof(a), "socket,id=a,listen=:%u", port);
	snprintf(b, sizeof(b), "socket,id=b,connect=127.0.0.1:%u", port);
	two_cards(a, b, true);
}

static void dgram_unix(void **state)
{
	char a[300], b[300];

	snprintf(a, sizeof(a),
		 "dgram,id=a,local.type=unix,local.path=%s/a,remote.type=unix,remote.path=%s/b",
		 dir, dir);
	snprintf(b, sizeof(b),
		 "dgram,id=b,local.type=unix,local.path=%s/b,remote.type=unix,remote.path=%s/a",
		 dir, dir);
	two_cards(a, b, true);
}

static void dgram_udp(void **state)
{
	unsigned p = free_port(SOCK_DGRAM), q = free_port(SOCK_DGRAM);
	char a[200], b[200];

	snprintf(a, sizeof(a), "socket,id=a,udp=127.0.0.1:%u,localaddr=127.0.0.1:%u", q, p);
	snprintf(b, sizeof(b),
		 "dgram,id=b,local.type=inet,local.host=127.0.0.1,local.port=%u,"
		 "remote.type=inet,remote.host=127.0.0.1,remote.port=%u",
		 q, p);
	two_cards(a, b, true);
}

/* In a group nobody hears himself. */
static void dgram_multicast(void **state)
{
	unsigned p = free_port(SOCK_DGRAM);
	char a[200];

	snprintf(a, sizeof(a), "socket,id=a,mcast=230.10.11.12:%u,localaddr=127.0.0.1", p);
	two_cards(a, a, false);
}

/* The server lives on when its peer leaves; a client with reconnect= comes back. */
static void stream_reconnects(void **state)
{
	char a[200], b[200];
	struct card *s, *c;
	uint8_t f[256];
	size_t len = small_frame(f, 100, false);

	snprintf(a, sizeof(a), "stream,id=a,server=on,addr.type=unix,addr.path=%s/r", dir);
	snprintf(b, sizeof(b), "stream,id=b,reconnect=1,addr.type=unix,addr.path=%s/r", dir);
	c = card_open(b, NULL); /* nobody is there yet */
	assert_false(netdev_link(c->nd));
	for (unsigned i = 0; i < 2; i++) {
		s = card_open(a, c);
		card_wait(c, netdev_link(c->nd) && netdev_link(s->nd));
		assert_true(card_send(c, f, len));
		card_wait(c, s->n == 1);
		card_close(s, true);
		card_wait(c, !netdev_link(c->nd));
	}
	card_close(c, false);
}

/* A large segment from one card reaches the other, which takes none, in pieces with right sums. */
static void segments_for_a_peer_without(void **state)
{
	char a_opts[200], b_opts[200];
	struct card *a, *b;
	struct frame_spec s = {.payload = 60000, .partial = true, .flags = 0x18, .src = 15, .dst = 2,
			       .seq = 1};
	struct net_hdr hdr = {.flags = NET_HDR_F_NEEDS_CSUM, .gso_type = NET_GSO_TCPV4,
			      .gso_size = 1460, .csum_start = 34, .csum_offset = 16};
	uint8_t *f = xzalloc(NET_FRAME_MAX);
	size_t len = frame_make(f, &s), sum = 0;

	snprintf(a_opts, sizeof(a_opts), "stream,id=a,server=on,addr.type=unix,addr.path=%s/o", dir);
	snprintf(b_opts, sizeof(b_opts), "stream,id=b,addr.type=unix,addr.path=%s/o", dir);
	a = card_open(a_opts, NULL);
	b = card_open(b_opts, a);
	card_wait(a, netdev_link(a->nd));
	assert_true(card_send_hdr(a, &hdr, f, len));
	card_wait(a, b->n == 42);
	for (unsigned i = 0; i < b->n; i++) {
		assert_true(frame_sums_ok(b->frames[i].data, 14, false));
		assert_int_equal(be32(b->frames[i].data + 38), 1 + sum);
		assert_memory_equal(b->frames[i].data + 54, f + 54 + sum, b->frames[i].len - 54);
		sum += b->frames[i].len - 54;
	}
	assert_int_equal(sum, 60000);
	assert_int_equal(netdev_stats(a->nd)->tx_frames, 1);
	hdr.gso_type = 99; /* nonsense is dropped */
	assert_true(card_send_hdr(a, &hdr, f, len));
	assert_int_equal(netdev_stats(a->nd)->tx_dropped, 1);
	free(f);
	card_close(b, true);
	card_close(a, false);
}

static struct netdev *find_n0(void *opaque, const char *id)
{
	struct card *c = opaque;

	return strcmp(id, "n0") ? NULL : c->nd;
}

/* The file is what tcpdump and wireshark read: checked against the format's description. */
static void pcap_dump(void **state)
{
	char opts[64], path[100], text[200];
	int fd = peer_pair(opts, sizeof(opts));
	struct card *c = card_open(opts, NULL);
	uint8_t out[2048], in[2048], file[8192];
	size_t out_len = small_frame(out, 1000, false), in_len = small_frame(in, 30, true);
	struct netdump *d;
	struct err *e = NULL;
	struct stat st;
	time_t now = time(NULL);
	int file_fd;

	snprintf(path, sizeof(path), "%s/dump.pcap", dir);
	snprintf(text, sizeof(text), "filter-dump,id=d,netdev=n0,file=%s,maxlen=96", path);
	assert_int_equal(netdump_create(&d, text, find_n0, c, &e), 0);
	assert_true(card_send(c, out, out_len));
	peer_frame(fd, in, in_len);
	card_wait(c, c->n == 1);
	netdump_close(d);
	assert_true(card_send(c, out, out_len)); /* no longer recorded */
	file_fd = open(path, O_RDONLY);
	assert_int_equal(fstat(file_fd, &st), 0);
	assert_int_equal(st.st_size, 24 + 16 + 96 + 16 + in_len);
	assert_int_equal(read(file_fd, file, sizeof(file)), st.st_size);
	assert_int_equal(get_le32(file), 0xa1b2c3d4);
	assert_int_equal(get_le16(file + 4), 2);
	assert_int_equal(get_le16(file + 6), 4);
	assert_int_equal(get_le32(file + 16), 96);
	assert_int_equal(get_le32(file + 20), 1);
	assert_in_range(get_le32(file + 24), now, now + 10);
	assert_true(get_le32(file + 28) < 1000000);
	assert_int_equal(get_le32(file + 32), 96);
	assert_int_equal(get_le32(file + 36), out_len);
	assert_memory_equal(file + 40, out, 96);
	assert_int_equal(get_le32(file + 136 + 8), in_len);
	assert_memory_equal(file + 152, in, in_len);
	close(file_fd);
	unlink(path);

	assert_int_equal(netdump_create(&d, "filter-dump,id=d,netdev=x,file=/tmp/y", find_n0, c, &e),
			 -ENOENT);
	err_free(&e);
	assert_int_equal(netdump_create(&d, "filter-dump,id=d,netdev=n0", find_n0, c, &e), -EINVAL);
	assert_non_null(strstr(err_msg(e), "'file'"));
	err_free(&e);
	assert_int_equal(netdump_create(&d, "filter-dump,netdev=n0,file=/nowhere/x", find_n0, c, &e),
			 -ENOENT);
	err_free(&e);
	close(fd);
	card_close(c, false);
}

/* A raw socket on the host's side of a tap. */
static int packet_socket(const char *ifname)
{
	struct sockaddr_ll ll = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, htons(ETH_P_ALL));

	ll.sll_ifindex = (int)if_nametoindex(ifname);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&ll, sizeof(ll)), 0);
	return fd;
}

static void interface_up(const char *ifname)
{
	struct ifreq ifr = {0};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	assert_true(strlen(ifname) < IFNAMSIZ);
	memcpy(ifr.ifr_name, ifname, strlen(ifname));
	ifr.ifr_flags = IFF_UP;
	assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &ifr), 0);
	close(fd);
}

static bool tap_works(void)
{
	struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI};
	int fd = open("/dev/net/tun", O_RDWR);
	bool ok = fd >= 0 && !ioctl(fd, TUNSETIFF, &ifr);

	if (!ok)
		printf("skipped: no tap interface can be made here: %s\n", strerror(errno));
	if (fd >= 0)
		close(fd);
	return ok;
}

static void tap_passes_frames(void **state)
{
	uint8_t f[2048], in[2048];
	size_t len = small_frame(f, 700, false);

	if (!tap_works())
		skip();
	for (unsigned hdr = 0; hdr < 2; hdr++) {
		char opts[100];
		struct card *c;
		int fd;

		snprintf(opts, sizeof(opts),
			 "tap,id=n0,ifname=doptest%u,script=no,downscript=no,vhost=off,vnet_hdr=%s",
			 hdr, hdr ? "on" : "off");
		c = card_open(opts, NULL);
		lock_take(&c->lock);
		netdev_set_offloads(c->nd, NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6);
		lock_drop(&c->lock);
		snprintf(opts, sizeof(opts), "doptest%u", hdr);
		fd = packet_socket(opts);
		interface_up(opts);
		assert_true(card_send(c, f, len));
		card_wait(c, ({
				  ssize_t n = read(fd, in, sizeof(in));

				  n == (ssize_t)len && !memcmp(in, f, len);
			  }));
		card_run(c, 30);
		card_clear(c); /* the host's own chatter */
		assert_int_equal(write(fd, f, len), len);
		card_wait(c, c->n && c->frames[c->n - 1].len == len);
		assert_memory_equal(c->frames[c->n - 1].data, f, len);
		close(fd);
		card_close(c, false);
	}
}

/* With vnet_hdr the kernel segments: one frame goes in, and the host's interface has it whole or cut, with
 * all of its bytes. */
static void tap_takes_large_segments(void **state)
{
	struct frame_spec s = {.payload = 20000, .partial = true, .flags = 0x18, .src = 15, .dst = 2,
			       .seq = 5000, .dport = 9999};
	struct net_hdr hdr = {.flags = NET_HDR_F_NEEDS_CSUM, .gso_type = NET_GSO_TCPV4,
			      .hdr_len = 54, .gso_size = 1460, .csum_start = 34, .csum_offset = 16};
	uint8_t *f = xzalloc(NET_FRAME_MAX), *in = xzalloc(NET_FRAME_MAX);
	size_t len = frame_make(f, &s), got = 0;
	struct card *c;
	int fd;

	if (!tap_works())
		skip();
	c = card_open("tap,id=n0,ifname=doptest2,script=no,downscript=no", NULL);
	fd = packet_socket("doptest2");
	interface_up("doptest2");
	assert_true(card_send_hdr(c, &hdr, f, len));
	assert_int_equal(netdev_stats(c->nd)->tx_dropped, 0);
	card_wait(c, ({
			  ssize_t n = read(fd, in, NET_FRAME_MAX);

			  if (n > 54 && be16(in + 36) == 9999)
				  got += (size_t)n - 54;
			  got == 20000;
		  }));
	close(fd);
	free(f);
	free(in);
	card_close(c, false);
}

struct bad {
	const char *opts, *says;
};

static void bad_options(void **state)
{
	static const struct bad bad[] = {
		{"", "kind"},
		{"user", "'id' is missing"},
		{"bogus,id=n0", "'bogus'"},
		{"user,id=0x", "0x"},
		{"user,id=n0,nonsense=1", "'nonsense'"},
		{"user,id=n0,net=10.0.0.0/33", "'33'"},
		{"user,id=n0,net=300.0.0.0/8", "'300.0.0.0'"},
		{"user,id=n0,host=10.0.3.2", "'host'"},
		{"user,id=n0,dhcpstart=1.2.3.4", "'dhcpstart'"},
		{"user,id=n0,dns=x", "'x'"},
		{"user,id=n0,ipv4=off,ipv6=off", "both off"},
		{"user,id=n0,ipv6-prefix=zz", "'zz'"},
		{"user,id=n0,ipv6-prefixlen=127", "'127'"},
		{"user,id=n0,restrict=maybe", "'maybe'"},
		{"user,id=n0,smb=/tmp", "smb"},
		{"user,id=n0,hostfwd=tcp:22", "host address"},
		{"user,id=n0,hostfwd=tcp::22", "host port"},
		{"user,id=n0,hostfwd=tcp::70000-:22", "host port"},
		{"user,id=n0,hostfwd=tcp::2222-:0", "guest port"},
		{"user,id=n0,hostfwd=sctp::2222-:22", "tcp: or udp:"},
		{"user,id=n0,hostfwd=tcp:1.2.3:2222-:22", "host address"},
		{"user,id=n0,hostfwd=tcp:[::1]:2222-10.0.2.15:22", "guest address"},
		{"user,id=n0,guestfwd=tcp:10.0.2.100:80", "tcp:ADDR:PORT"},
		{"user,id=n0,guestfwd=tcp:10.0.9.100:80-cmd:cat", "not in the network"},
		{"user,id=n0,guestfwd=udp:10.0.2.100:80-cmd:cat", "tcp:"},
		{"user,id=n0,guestfwd=tcp:10.0.2.100:80-bogus:x", "bogus"},
		{"user,id=n0,guestfwd=tcp:10.0.2.2:80-null", "taken"},
		{"tap,id=n0,fd=0,ifname=x", "'fd'"},
		{"tap,id=n0,fd=987654", "987654"},
		{"tap,id=n0,br=br0", "'br'"},
		{"tap,id=n0,vhostforce=on", "vhostforce"},
		{"tap,id=n0,ifname=averyveryverylongname", "too long"},
		{"stream,id=n0", "addr.type"},
		{"stream,id=n0,addr.type=unix", "addr.path"},
		{"stream,id=n0,addr.type=inet,addr.host=localhost", "addr.port"},
		{"stream,id=n0,addr.type=vsock", "'vsock'"},
		{"stream,id=n0,addr.type=unix,addr.path=/nowhere/x", "/nowhere/x"},
		{"stream,id=n0,server=on,reconnect=3,addr.type=unix,addr.path=/x", "reconnect"},
		{"dgram,id=n0", "'remote'"},
		{"dgram,id=n0,remote.type=inet,remote.host=127.0.0.1,remote.port=9", "'local'"},
		{"socket,id=n0", "'connect'"},
		{"socket,id=n0,connect=x", "HOST:PORT"},
		{"socket,id=n0,udp=127.0.0.1:9", "localaddr"},
		{"socket,id=n0,mcast=127.0.0.1:9", "multicast"},
		{"socket,id=n0,listen=:1,connect=:2", "one of"},
	};
	struct card *c = card_new(NULL);

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct err *e = NULL;

		assert_true(card_netdev(c, bad[i].opts, &e) < 0);
		if (!strstr(err_msg(e), bad[i].says))
			fail_msg("'%s': '%s' does not say %s", bad[i].opts, err_msg(e), bad[i].says);
		err_free(&e);
	}
	card_close(c, false);
}

static void parse_nic(void **state)
{
	struct net_nic n;
	struct err *e = NULL;

	assert_int_equal(netdev_parse_nic(&n,
					  "user,model=virtio-net-pci,mac=52:54:00:00:00:07,"
					  "hostfwd=tcp::2222-:22,hostfwd=udp::53-:53,tftp=/a,,b",
					  0, "e1000", &e),
			 0);
	assert_string_equal(n.netdev, "user,id=#nic0,hostfwd=tcp::2222-:22,hostfwd=udp::53-:53,"
				      "tftp=/a,,b");
	assert_string_equal(n.driver, "virtio-net-pci");
	assert_string_equal(n.props, "netdev=#nic0,mac=52:54:00:00:00:07");
	net_nic_free(&n);
	assert_int_equal(netdev_parse_nic(&n, "tap,id=t,ifname=tap0,script=no,model=virtio", 3,
					  "e1000", &e),
			 0);
	assert_string_equal(n.netdev, "tap,id=t,ifname=tap0,script=no");
	assert_string_equal(n.driver, "virtio-net-pci");
	assert_string_equal(n.props, "netdev=t");
	net_nic_free(&n);
	assert_int_equal(netdev_parse_nic(&n, "none", 0, "e1000", &e), 0);
	assert_null(n.netdev);
	assert_null(n.driver);
	assert_int_equal(netdev_parse_net(&n, "nic,model=virtio,macaddr=52:54:00:00:00:01", 0,
					  "e1000", &e),
			 0);
	assert_null(n.netdev);
	assert_string_equal(n.driver, "virtio-net-pci");
	assert_string_equal(n.props, "netdev=#net0,mac=52:54:00:00:00:01");
	net_nic_free(&n);
	assert_int_equal(netdev_parse_net(&n, "user,restrict=on", 0, "e1000", &e), 0);
	assert_string_equal(n.netdev, "user,id=#net0,restrict=on");
	assert_null(n.driver);
	net_nic_free(&n);
	assert_int_equal(netdev_parse_net(&n, "nic,bogus=1", 0, "e1000", &e), -EINVAL);
	assert_non_null(strstr(err_msg(e), "'bogus'"));
	err_free(&e);
	assert_int_equal(netdev_parse_nic(&n, "", 0, "e1000", &e), -EINVAL);
	err_free(&e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(queue_towards_the_card),
		cmocka_unit_test(flush_once_for_a_batch),
		cmocka_unit_test(link_goes_and_comes),
		cmocka_unit_test(one_card_at_a_time),
		cmocka_unit_test(slow_stream_peer),
		cmocka_unit_test(stream_peer_breaks_the_protocol),
		cmocka_unit_test(stream_unix),
		cmocka_unit_test(stream_json_tcp),
		cmocka_unit_test(socket_old_form),
		cmocka_unit_test(dgram_unix),
		cmocka_unit_test(dgram_udp),
		cmocka_unit_test(dgram_multicast),
		cmocka_unit_test(stream_reconnects),
		cmocka_unit_test(segments_for_a_peer_without),
		cmocka_unit_test(pcap_dump),
		cmocka_unit_test(tap_passes_frames),
		cmocka_unit_test(tap_takes_large_segments),
		cmocka_unit_test(bad_options),
		cmocka_unit_test(parse_nic),
	};

	return cmocka_run_group_tests(tests, dir_make, dir_remove);
}
