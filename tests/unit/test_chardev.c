/* SPDX-License-Identifier: Apache-2.0 */
/* Character back ends: every kind, flow control both ways, clients that come and go, bad
 * specifications. */
#include "chardev_fixture.h"

static void test_null(void **state)
{
	struct fixture *f = *state;
	struct chardev *cd = open_spec(f, "null%s", "");
	struct chardev_front other = {.can_receive = front_can_receive};
	struct err *e = NULL;

	attach(f, cd);
	put(cd, "gone");
	settle(f);
	assert_int_equal(f->n_got, 0);
	assert_string_equal(chardev_id(cd), "test");
	assert_int_equal(chardev_attach(cd, &other, &e), -EBUSY);
	assert_non_null(strstr(err_msg(e), "test"));
	err_free(&e);
	chardev_detach(cd);
	attach(f, cd);
	chardev_close(cd);
}

static void test_file(void **state)
{
	struct fixture *f = *state;
	struct chardev *cd = open_spec(f, "file:%s", f->path), *second;
	struct err *e = NULL;
	char buf[16] = "", opts[160];
	int fd;

	snprintf(opts, sizeof(opts), "file:%s", f->path);
	put(cd, "one\n");
	assert_int_equal(chardev_open(&second, f->loop, "b", opts, &e), -EBUSY);
	assert_non_null(strstr(err_msg(e), f->path));
	err_free(&e);
	chardev_close(cd);
	snprintf(opts, sizeof(opts), "file,id=a,path=%s,append=on", f->path);
	assert_int_equal(chardev_open_opts(&cd, f->loop, opts, NULL), 0);
	put(cd, "two\n");
	chardev_close(cd);
	fd = open(f->path, O_RDONLY);
	assert_int_equal(read(fd, buf, sizeof(buf)), 8);
	assert_memory_equal(buf, "one\ntwo\n", 8);
	close(fd);
}

/* A server lets clients come and go; output without a client vanishes. */
static void test_unix_server(void **state)
{
	struct fixture *f = *state;
	struct chardev *cd = open_spec(f, "unix:%s,server=on,wait=off", f->path);
	int fd;

	attach(f, cd);
	put(cd, "nobody hears this");
	for (unsigned client = 1; client <= 3; client++) {
		fd = unix_connect(f->path);
		loop_until(f, f->opened == client);
		put(cd, "hello");
		expect_bytes(fd, "hello");
		f->n_got = 0;
		assert_int_equal(write(fd, "abc", 3), 3);
		loop_until(f, f->n_got == 3);
		assert_memory_equal(f->got, "abc", 3);
		close(fd);
		loop_until(f, f->closed == client);
	}
	chardev_close(cd);
	assert_int_equal(access(f->path, F_OK), -1);
}

/* A client that leaves while the guest reads nothing does not lock others out. */
static void test_unix_server_blocked(void **state)
{
	struct fixture *f = *state;
	struct chardev *cd = open_spec(f, "unix:%s,server=on,wait=off", f->path);
	int fd;

	attach(f, cd);
	f->room = 1;
	fd = unix_connect(f->path);
	assert_int_equal(write(fd, "abc", 3), 3);
	loop_until(f, f->n_got == 1);
	close(fd);
	settle(f);
	fd = unix_connect(f->path);
	loop_until(f, f->opened == 2);
	assert_int_equal(write(fd, "xyz", 3), 3);
	f->room = 10;
	chardev_accept_input(cd);
	loop_until(f, f->n_got == 4);
	assert_memory_equal(f->got, "axyz", 4);
	close(fd);
	chardev_close(cd);
}

/* What a client sent before it left arrives, however slowly the guest reads. */
static void test_input_after_close(void **state)
{
	struct fixture *f = *state;
	struct chardev *cd = open_spec(f, "unix:%s,server=on,wait=off", f->path);
	int fd;

	attach(f, cd);
	f->room = 1;
	fd = unix_connect(f->path);
	assert_int_equal(write(fd, "abcdef", 6), 6);
	close(fd);
	for (size_t n = 1; n <= 6; n++) {
		loop_until(f, f->n_got == n);
		f->room = 1;
		chardev_accept_input(cd);
	}
	loop_until(f, f->closed == 1);
	assert_memory_equal(f->got, "abcdef", 6);
	chardev_close(cd);
}

/* A reader that stops fills the queue: writes get short, then room is announced, and nothing is
 * lost. */
static void test_slow_reader(void **state)
{
	struct fixture *f = *state;
	struct chardev *cd = open_spec(f, "unix:%s,server=on,wait=off", f->path);
	uint8_t block[4096];
	size_t sent = 0, read_back = 0;
	int fd;

	attach(f, cd);
	fd = unix_connect(f->path);
	loop_until(f, f->opened == 1);
	for (;;) {
		size_t n;

		for (size_t i = 0; i < sizeof(block); i++)
			block[i] = (uint8_t)((sent + i) * 7 + ((sent + i) >> 8));
		n = chardev_write(cd, block, sizeof(block));
		sent += n;
		if (n < sizeof(block))
			break;
		assert_true(sent < 64 * MiB);
	}
	assert_int_equal(chardev_write(cd, block, 1), 0);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	for (int turns = 0; read_back < sent && turns < 100000; turns++) {
		ssize_t n = read(fd, block, sizeof(block));

		for (ssize_t i = 0; i < n; i++, read_back++)
			assert_int_equal(block[i], (uint8_t)(read_back * 7 + (read_back >> 8)));
		loop_once(f->loop, 1);
	}
	assert_int_equal(read_back, sent);
	assert_true(f->writable >= 1);
	close(fd);
	chardev_close(cd);
}

static void test_unix_in_use(void **state)
{
	struct fixture *f = *state;
	struct chardev *cd = open_spec(f, "unix:%s,server,nowait", f->path), *other;
	char spec[160];
	struct err *e = NULL;
	int fd;

	snprintf(spec, sizeof(spec), "unix:%s,server=on,wait=off", f->path);
	assert_int_equal(chardev_open(&other, f->loop, "b", spec, &e), -EADDRINUSE);
	assert_non_null(strstr(err_msg(e), f->path));
	err_free(&e);
	chardev_close(cd);
	/* A file that is not a socket stays. */
	fd = open(f->path, O_CREAT | O_WRONLY, 0600);
	close(fd);
	assert_int_equal(chardev_open(&other, f->loop, "b", spec, &e), -EEXIST);
	err_free(&e);
	assert_int_equal(access(f->path, F_OK), 0);
}

/* A socket left behind by a process that was killed is replaced. */
static void test_unix_stale(void **state)
{
	struct fixture *f = *state;
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	struct chardev *cd;

	strcpy(sa.sun_path, f->path);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	close(fd);
	cd = open_spec(f, "unix:%s,server=on,wait=off", f->path);
	fd = unix_connect(f->path);
	close(fd);
	chardev_close(cd);
}

static int tcp_listener(uint16_t *port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sa);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	*port = ntohs(sa.sin_port);
	return fd;
}

/* A client with reconnect comes back when its server does. */
static void test_tcp_client(void **state)
{
	struct fixture *f = *state;
	char spec[80];
	uint16_t port;
	int listener = tcp_listener(&port), fd;
	struct chardev *cd = NULL;

	snprintf(spec, sizeof(spec), "tcp:127.0.0.1:%u,reconnect=1,nodelay=on", port);
	assert_int_equal(chardev_open(&cd, f->loop, "c", spec, NULL), 0);
	attach(f, cd);
	for (unsigned turn = 1; turn <= 2; turn++) {
		loop_until(f, f->opened == turn);
		fd = accept(listener, NULL, NULL);
		put(cd, "ping");
		expect_bytes(fd, "ping");
		close(fd);
		loop_until(f, f->closed == turn);
	}
	chardev_close(cd);
	close(listener);
}

static void test_tcp_port_in_use(void **state)
{
	struct fixture *f = *state;
	struct chardev *cd;
	char spec[80], word[16];
	uint16_t port;
	int listener = tcp_listener(&port);
	struct err *e = NULL;

	snprintf(spec, sizeof(spec), "tcp:127.0.0.1:%u,server=on,wait=off", port);
	snprintf(word, sizeof(word), "%u", port);
	assert_int_equal(chardev_open(&cd, f->loop, "c", spec, &e), -EADDRINUSE);
	assert_non_null(strstr(err_msg(e), word));
	err_free(&e);
	close(listener);
	snprintf(spec, sizeof(spec), "tcp:127.0.0.1:%u", port);
	assert_int_equal(chardev_open(&cd, f->loop, "c", spec, &e), -ECONNREFUSED);
	err_free(&e);
}

static void test_pipe(void **state)
{
	struct fixture *f = *state;
	char in[128], out[128];
	struct chardev *cd;
	int in_fd, out_fd;

	snprintf(in, sizeof(in), "%s.in", f->path);
	snprintf(out, sizeof(out), "%s.out", f->path);
	assert_int_equal(mkfifo(in, 0600), 0);
	assert_int_equal(mkfifo(out, 0600), 0);
	cd = open_spec(f, "pipe:%s", f->path);
	attach(f, cd);
	in_fd = open(in, O_WRONLY);
	out_fd = open(out, O_RDONLY);
	put(cd, "to you");
	expect_bytes(out_fd, "to you");
	assert_int_equal(write(in_fd, "to me", 5), 5);
	loop_until(f, f->n_got == 5);
	close(in_fd);
	close(out_fd);
	chardev_close(cd);
	unlink(in);
	unlink(out);
}

static void test_pty(void **state)
{
	struct fixture *f = *state;
	struct chardev *cd = open_spec(f, "pty%s", "");
	const char *where = chardev_where(cd);
	int fd;

	assert_memory_equal(where, "pty: /dev/", 10);
	attach(f, cd);
	settle(f);
	put(cd, "nobody hears this");
	for (unsigned turn = 1; turn <= 2; turn++) {
		fd = open(where + 5, O_RDWR | O_NOCTTY);
		assert_true(fd >= 0);
		loop_until(f, f->opened == turn);
		put(cd, "hello");
		expect_bytes(fd, "hello");
		f->n_got = 0;
		assert_int_equal(write(fd, "\x03q", 2), 2);
		loop_until(f, f->n_got == 2);
		assert_memory_equal(f->got, "\x03q", 2);
		close(fd);
		loop_until(f, f->closed == turn);
	}
	chardev_close(cd);
}

/* Escape keys, fed through a socket. */
static void test_escape(void **state)
{
	static const struct {
		const char *typed, *guest;
		unsigned breaks, quits;
	} cases[] = {
		{"plain", "plain", 0, 0},
		{"a\001\001b", "a\001b", 0, 0},
		{"\001b", "", 1, 0},
		{"x\001by", "xy", 1, 0},
		{"\001x", "", 0, 1},
		{"ab\001xcd", "ab", 0, 1},
		{"\001h", "", 0, 0},
		{"\001cz", "z", 0, 0},
		{"\001\001\001\001", "\001\001", 0, 0},
		{"\001\001x", "\001x", 0, 0},
	};
	struct fixture *f = *state;
	char opts[160];
	struct chardev *cd;
	int fd;

	snprintf(opts, sizeof(opts), "socket,id=m,path=%s,server=on,wait=off,mux=on", f->path);
	assert_int_equal(chardev_open_opts(&cd, f->loop, opts, NULL), 0);
	assert_true(chardev_is_mux(cd));
	chardev_set_escape(cd, front_quit, f);
	attach(f, cd);
	fd = unix_connect(f->path);
	loop_until(f, f->opened == 1);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		size_t len = strlen(cases[i].typed);

		f->n_got = f->breaks = f->quits = 0;
		for (size_t at = 0; at < len;
		     at += 2) { /* an escape may be split between two reads */
			size_t n = min_u64(2, len - at);

			assert_int_equal(write(fd, cases[i].typed + at, n), n);
			settle(f);
		}
		assert_int_equal(f->breaks, cases[i].breaks);
		assert_int_equal(f->quits, cases[i].quits);
		if (!cases[i].quits) {
			assert_int_equal(f->n_got, strlen(cases[i].guest));
			assert_memory_equal(f->got, cases[i].guest, f->n_got);
		}
	}
	close(fd);
	chardev_close(cd);
}

/* In a child with a terminal as its standard input: modes while open, after close, after a signal.
 */
static int terminal_child(int slave, const char *spec, int sig)
{
	struct loop *loop = loop_create();
	struct chardev *cd;

	dup2(slave, 0);
	dup2(slave, 1);
	if (chardev_open(&cd, loop, "t", spec, NULL))
		return 10;
	if (sig)
		raise(sig);
	chardev_close(cd);
	loop_destroy(loop);
	return 0;
}

static void check_terminal(const char *spec, int sig)
{
	struct termios before, after;
	int master, slave, status;
	pid_t pid;

	assert_int_equal(openpty(&master, &slave, NULL, NULL, NULL), 0);
	assert_int_equal(tcgetattr(slave, &before), 0);
	pid = fork();
	if (!pid) {
		if (sig) /* whoever started us may have it ignored, as nohup does */
			signal(sig, SIG_DFL);
		_exit(terminal_child(slave, spec, sig));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (sig)
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == sig);
	else
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	assert_int_equal(tcgetattr(slave, &after), 0);
	assert_int_equal(before.c_lflag, after.c_lflag);
	assert_int_equal(before.c_iflag, after.c_iflag);
	assert_int_equal(before.c_oflag, after.c_oflag);
	close(master);
	close(slave);
}

static void test_terminal(void **state)
{
	static const int signals[] = {0, SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGABRT, SIGSEGV};

	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		check_terminal("mon:stdio", signals[i]);
	check_terminal("stdio", SIGTERM);
}

/* While stdio is open the terminal is raw, and with mon: without signals. */
static void test_terminal_raw(void **state)
{
	struct fixture *f = *state;
	static const char *const specs[] = {"stdio", "mon:stdio"};

	for (int mon = 0; mon < 2; mon++) {
		struct termios tio;
		struct chardev *cd;
		int master, slave, in = dup(0), out = dup(1), r;

		assert_int_equal(openpty(&master, &slave, NULL, NULL, NULL), 0);
		dup2(slave, 0);
		dup2(slave, 1);
		r = chardev_open(&cd, f->loop, "t", specs[mon], NULL);
		dup2(in, 0);
		dup2(out, 1);
		assert_int_equal(r, 0);
		assert_int_equal(tcgetattr(slave, &tio), 0);
		assert_int_equal(tio.c_lflag & (ECHO | ICANON), 0);
		assert_int_equal(!(tio.c_lflag & ISIG), mon);
		attach(f, cd);
		f->n_got = 0;
		assert_int_equal(write(master, "k", 1), 1);
		loop_until(f, f->n_got == 1);
		put(cd, "out\r\nbare\nlone\rtwice\r\r\n");
		for (const char *p = "one\r\nby\rone"; *p; p++)
			put(cd, (char[]){*p, 0});
		expect_bytes(master, "out\r\nbare\r\nlone\rtwice\r\r\none\r\nby\rone");
		dup2(slave, 0);
		chardev_close(cd);
		dup2(in, 0);
		close(in);
		close(out);
		close(master);
		close(slave);
	}
}

/* Standard output that is a pipe nobody reads, or that breaks, neither blocks nor kills. */
static void test_stdout_pipe(void **state)
{
	struct fixture *f = *state;
	int p[2], null = open("/dev/null", O_RDONLY), in = dup(0), out = dup(1);
	uint8_t block[65536] = {0};
	struct chardev *cd;
	size_t sent = 0, n;

	assert_int_equal(pipe(p), 0);
	dup2(null, 0);
	dup2(p[1], 1);
	n = (size_t)chardev_open(&cd, f->loop, "t", "stdio", NULL);
	dup2(in, 0);
	dup2(out, 1);
	assert_int_equal(n, 0);
	attach(f, cd);
	settle(f);
	do {
		n = chardev_write(cd, block, sizeof(block));
		sent += n;
	} while (n == sizeof(block) && sent < 16 * MiB);
	assert_true(sent < 16 * MiB);
	assert_int_equal(fcntl(p[1], F_GETFL) & O_NONBLOCK,
			 0); /* not changed behind others' backs */
	close(p[0]);
	settle(f);
	assert_int_equal(chardev_write(cd, block, sizeof(block)), sizeof(block));
	chardev_close(cd);
	close(p[1]);
	close(null);
	close(in);
	close(out);
}

static void test_stdio_once(void **state)
{
	struct fixture *f = *state;
	struct chardev *a = open_spec(f, "stdio%s", ""), *b;
	struct err *e = NULL;

	assert_int_equal(chardev_open(&b, f->loop, "b", "stdio", &e), -EBUSY);
	err_free(&e);
	chardev_close(a);
	a = open_spec(f, "stdio%s", "");
	chardev_close(a);
}

static void test_ringbuf(void **state)
{
	struct fixture *f = *state;
	uint8_t buf[32];
	struct chardev *cd;

	assert_int_equal(chardev_open_opts(&cd, f->loop, "ringbuf,id=r,size=8", NULL), 0);
	assert_true(chardev_is_ring(cd));
	put(cd, "abc");
	assert_int_equal(chardev_ring_read(cd, buf, 2), 2);
	assert_memory_equal(buf, "ab", 2);
	put(cd, "defghijk"); /* c is pushed out */
	assert_int_equal(chardev_ring_read(cd, buf, sizeof(buf)), 8);
	assert_memory_equal(buf, "defghijk", 8);
	assert_int_equal(chardev_ring_read(cd, buf, sizeof(buf)), 0);
	chardev_ring_write(cd, (const uint8_t *)"0123456789", 10);
	assert_int_equal(chardev_ring_read(cd, buf, 3), 3);
	assert_memory_equal(buf, "234", 3);
	chardev_close(cd);
	cd = open_spec(f, "null%s", "");
	assert_false(chardev_is_ring(cd));
	chardev_close(cd);
}

static void test_telnet(void **state)
{
	struct fixture *f = *state;
	static const char typed[] = "a\xff\xfd\x01""b\xff\xfa\x18\x00x\xff\xf0""c\xff\xff\r\0d\r\ne";
	char opts[160];
	struct chardev *cd;
	int fd;

	snprintf(opts, sizeof(opts), "socket,id=t,path=%s,server=on,wait=off,telnet=on", f->path);
	assert_int_equal(chardev_open_opts(&cd, f->loop, opts, NULL), 0);
	attach(f, cd);
	fd = unix_connect(f->path);
	loop_until(f, f->opened == 1);
	expect_bytes(fd, "\xff\xfb\x01\xff\xfb\x03");
	for (size_t i = 0; i < sizeof(typed) - 1; i++) { /* commands may come in pieces */
		assert_int_equal(write(fd, typed + i, 1), 1);
		loop_once(f->loop, 5);
	}
	loop_until(f, f->n_got == 8);
	assert_memory_equal(f->got, "abc\xff\rd\re", 8);
	close(fd);
	chardev_close(cd);
}

static void test_inherited_fd(void **state)
{
	struct fixture *f = *state;
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	char opts[160];
	struct chardev *cd;
	struct err *e = NULL;
	int fd, listener = socket(AF_UNIX, SOCK_STREAM, 0);

	strncpy(sa.sun_path, f->path, sizeof(sa.sun_path) - 1);
	assert_int_equal(bind(listener, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(listener, 1), 0);
	snprintf(opts, sizeof(opts), "socket,id=i,fd=%d", listener);
	assert_int_equal(chardev_open_opts(&cd, f->loop, opts, &e), -EINVAL);
	err_free(&e);
	snprintf(opts, sizeof(opts), "socket,id=i,fd=%d,server=on,wait=off", listener);
	assert_int_equal(chardev_open_opts(&cd, f->loop, opts, &e), 0);
	attach(f, cd);
	fd = unix_connect(f->path);
	loop_until(f, f->opened == 1);
	put(cd, "hi");
	expect_bytes(fd, "hi");
	close(fd);
	chardev_close(cd);
	assert_int_equal(access(f->path, F_OK), 0); /* the name is not ours */
}

static void test_file_input_and_log(void **state)
{
	struct fixture *f = *state;
	char opts[320], log[112], buf[16] = "";
	struct chardev *cd;
	int fd = open(f->path, O_WRONLY | O_CREAT, 0600);

	assert_int_equal(write(fd, "input", 5), 5);
	close(fd);
	snprintf(log, sizeof(log), "%s.log", f->path);
	snprintf(opts, sizeof(opts), "file,id=a,path=/dev/null,input-path=%s,logfile=%s", f->path, log);
	assert_int_equal(chardev_open_opts(&cd, f->loop, opts, NULL), 0);
	attach(f, cd);
	loop_until(f, f->n_got == 5);
	assert_memory_equal(f->got, "input", 5);
	put(cd, "output");
	chardev_close(cd);
	fd = open(log, O_RDONLY);
	assert_int_equal(read(fd, buf, sizeof(buf)), 6);
	assert_memory_equal(buf, "output", 6);
	close(fd);
	unlink(log);
}

static void test_filename(void **state)
{
	struct fixture *f = *state;
	struct chardev *cd = open_spec(f, "unix:%s,server=on,wait=off", f->path);
	char *name = chardev_filename(cd), want[160];

	snprintf(want, sizeof(want), "disconnected:unix:%s,server=on", f->path);
	assert_string_equal(name, want);
	free(name);
	chardev_close(cd);
	cd = open_spec(f, "pty%s", "");
	name = chardev_filename(cd);
	assert_int_equal(strncmp(name, "pty:/dev/pts/", 13), 0);
	free(name);
	chardev_close(cd);
	cd = open_spec(f, "vc:80Cx25C%s", "");
	name = chardev_filename(cd);
	assert_string_equal(name, "vc");
	free(name);
	chardev_close(cd);
}

/* Whatever the number of descriptors that are left, opening works or fails with a message. */
static void test_no_descriptors(void **state)
{
	static const char *const kinds[] = {"pty", "socket,path=%s,server=on,wait=off", "stdio", "null",
					    "socket,path=%s,reconnect=1", "ringbuf", "file,path=%s",
					    "udp,port=9"};
	struct fixture *f = *state;
	int hog[64], failed, worked;

	for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
		failed = worked = 0;
		for (int left = 0; left < 10; left++) {
			struct rlimit before, few;
			char kind[128], opts[160];
			struct chardev *cd = NULL;
			struct err *e = NULL;
			int n = 0, r;

			snprintf(kind, sizeof(kind), kinds[k], f->path);
			snprintf(opts, sizeof(opts), "%s,id=x", kind);
			assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
			few = before;
			few.rlim_cur = 40;
			assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
			while (n < 64 && (hog[n] = open("/dev/null", O_RDONLY)) >= 0)
				n++;
			for (int i = 0; i < left && n; i++)
				close(hog[--n]);
			r = chardev_open_opts(&cd, f->loop, opts, &e);
			while (n)
				close(hog[--n]);
			setrlimit(RLIMIT_NOFILE, &before);
			assert_true((r == 0) == (e == NULL));
			failed += r != 0;
			worked += r == 0;
			err_free(&e);
			chardev_close(cd);
			settle(f);
		}
		assert_true(failed && worked);
	}
}

static void test_bad(void **state)
{
	static const char *const specs[] = {
		"",
		"pigeon",
		"file:",
		"file:/nonexistent/x",
		"unix:",
		"unix:/nonexistent/x,server=on,wait=off",
		"tcp:",
		"tcp:1234",
		"tcp:127.0.0.1:99999",
		"unix:/tmp/x,server=maybe",
		"pipe:/nonexistent",
		"unix:/tmp/x,colour=red",
		"unix:/tmp/x,wait=off",
		"mon:",
		"telnet:x",
		"udp:",
		"udp:1234",
		"udp:127.0.0.1:99999",
		"udp:127.0.0.1:9@x",
		"stdio,signal=off",
	};
	static const char *const opts[] = {
		"",
		"null",
		"id=a",
		"null,id=",
		"null,id=1a",
		"null,id=a b",
		"file,id=a",
		"file,id=a,path=",
		"null,id=a,path=/x",
		"socket,id=a",
		"socket,id=a,host=x",
		"pigeon,id=a",
		"stdio,id=a,signal=perhaps",
		"socket,id=a,path=/tmp/x,server=on,reconnect=1",
		"udp,id=a",
		"socket,id=a,fd=0",
		"socket,id=a,fd=999999",
		"socket,id=a,fd=x",
		"socket,id=a,fd=0,path=/tmp/x",
		"ringbuf,id=a,size=3",
		"ringbuf,id=a,size=1T",
		"file,id=a,path=/dev/null,input-path=/nonexistent",
		"null,id=a,logfile=/nonexistent/x",
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(specs) + ARRAY_SIZE(opts); i++) {
		struct chardev *cd = NULL;
		struct err *e = NULL;
		int r;

		if (i < ARRAY_SIZE(specs))
			r = chardev_open(&cd, f->loop, "x", specs[i], &e);
		else
			r = chardev_open_opts(&cd, f->loop, opts[i - ARRAY_SIZE(specs)], &e);
		if (r >= 0)
			fail_msg("case %zu was taken", i);
		assert_non_null(e);
		assert_null(strchr(err_msg(e), '\n'));
		err_free(&e);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_null),
		T(test_file),
		T(test_unix_server),
		T(test_unix_server_blocked),
		T(test_input_after_close),
		T(test_slow_reader),
		T(test_unix_in_use),
		T(test_unix_stale),
		T(test_tcp_client),
		T(test_tcp_port_in_use),
		T(test_pipe),
		T(test_pty),
		T(test_escape),
		T(test_ringbuf),
		T(test_telnet),
		T(test_inherited_fd),
		T(test_file_input_and_log),
		T(test_filename),
		T(test_no_descriptors),
		T(test_terminal),
		T(test_terminal_raw),
		T(test_stdout_pipe),
		T(test_stdio_once),
		T(test_bad),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
