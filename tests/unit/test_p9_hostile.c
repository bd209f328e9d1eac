/* SPDX-License-Identifier: Apache-2.0 */
/* Shared folders: clients that want out, or want harm; folders that change under their feet. */
#include "p9_client.h"
#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>

#define Z UINT64_C(0)

static void links_lead_nowhere(void **state)
{
	struct client *c = client_open("security_model=none");
	char secret[128];
	struct stat before, after;
	struct attr a;

	snprintf(secret, sizeof(secret), "%s/secret", c->outside);
	ok(stat(secret, &before));
	ok(symlink(c->outside, in_share(c, "dir")));
	ok(symlink(secret, in_share(c, "file")));
	ok(symlink("../outside/new", in_share(c, "dangling")));
	ok(symlink("/proc/self/fd", in_share(c, "fds")));
	ok(walk1(c, 0, 1, "dir"));
	ok(walk1(c, 0, 2, "file"));
	/* A walk through one stops at it. */
	ok(walk2(c, 0, 3, "dir", "secret"));
	assert_int_equal(field(c, 2), 1);
	fails(getattr(c, 3, &a), EBADF);
	fails(walk1(c, 1, 3, "secret"), ENOTDIR);
	fails(walk2(c, 1, 3, "..", "secret"), ENOTDIR);
	fails(lopen(c, 1, O_RDONLY), ELOOP);
	fails(lopen(c, 1, O_RDONLY | O_DIRECTORY), ELOOP);
	fails(lopen(c, 2, O_RDWR), ELOOP);
	fails(lopen(c, 2, O_RDWR | O_TRUNC), ELOOP);
	/* Nothing is made or changed through one. */
	fails(create(c, 0, 3, "file", O_RDWR, 0666), ELOOP);
	fails(create(c, 0, 3, "file", O_RDWR | O_EXCL, 0666), EEXIST);
	fails(create(c, 0, 3, "dangling", O_RDWR, 0666), ELOOP);
	fails(create(c, 1, 3, "new", O_RDWR, 0666), ENOTDIR);
	fails(rpc(c, P9_TMKDIR, "dsdd", 0, "dangling", 0777, 0), EEXIST);
	fails(rpc(c, P9_TMKDIR, "dsdd", 1, "new", 0777, 0), ENOTDIR);
	fails(rpc(c, P9_TSYMLINK, "dssd", 1, "new", "x", 0), ENOTDIR);
	fails(rpc(c, P9_TMKNOD, "dsdddd", 1, "new", S_IFREG | 0777, 0, 0, 0), ENOTDIR);
	fails(rpc(c, P9_TRENAMEAT, "dsds", 1, "secret", 0, "got"), ENOTDIR);
	fails(rpc(c, P9_TRENAMEAT, "dsds", 0, "file", 1, "put"), ENOTDIR);
	fails(rpc(c, P9_TUNLINKAT, "dsd", 1, "secret", 0), ENOTDIR);
	fails(rpc(c, P9_TREADDIR, "dqd", 1, Z, 1000), ENOTDIR);
	fails(rpc(c, P9_TSETATTR, "dddddqqqqq", 2, 1 << 3, 0, 0, 0, Z, Z, Z, Z, Z), EINVAL);
	rpc(c, P9_TSETATTR, "dddddqqqqq", 2, 1, 0777, 0, 0, Z, Z, Z, Z, Z);
	rpc(c, P9_TSETATTR, "dddddqqqqq", 2, 6, 0, 12345, 12345, Z, Z, Z, Z, Z);
	rpc(c, P9_TSETATTR, "dddddqqqqq", 2, 0x1b0, 0, 0, 0, Z, UINT64_C(1), Z, UINT64_C(1), Z);
	rpc(c, P9_TXATTRCREATE, "dsqd", 2, "user.x", Z, 0);
	clunk(c, 2);
	ok(walk1(c, 0, 2, "file"));
	ok(rpc(c, P9_TLINK, "dds", 0, 2, "hard")); /* of the link */
	ok(walk1(c, 0, 3, "hard"));
	ok(getattr(c, 3, &a));
	assert_true(S_ISLNK(a.mode));
	ok(stat(secret, &after));
	assert_int_equal(after.st_mode, before.st_mode);
	assert_int_equal(after.st_uid, before.st_uid);
	assert_int_equal(after.st_mtime, before.st_mtime);
	assert_int_equal(after.st_nlink, 1);
	assert_string_equal(get_file(c->outside, "secret"), "secret");
	assert_null(get_file(c->outside, "new"));
	client_close(c);
}

struct racer {
	struct client *c;
	atomic_bool stop;
	char dir[2][128];
};

/* A name in the folder is a folder, a link to the outside, nothing, by turns; the folder with files in it
 * is in the share, and out of it. */
static void *race(void *opaque)
{
	struct racer *r = opaque;
	char out[128], link[128], file[128];

	snprintf(out, sizeof(out), "%s/moved", r->c->dir);
	snprintf(link, sizeof(link), "%s/link", r->c->dir);
	snprintf(file, sizeof(file), "%s/secret", r->c->outside);
	for (unsigned i = 0; !r->stop; i++) {
		if (rename(r->dir[0], out))
			break;
		symlink(i % 2 ? r->c->outside : file, link);
		rename(link, r->dir[0]);
		sched_yield();
		unlink(r->dir[0]);
		rename(out, r->dir[0]);
		syscall(SYS_renameat2, AT_FDCWD, r->dir[0], AT_FDCWD, r->dir[1], 2); /* exchange */
	}
	return NULL;
}

static void no_race_gets_out(void **state)
{
	struct client *c = client_open("security_model=none");
	struct racer r = { .c = c };
	unsigned good = 0, outside = 0;
	pthread_t t;

	snprintf(r.dir[0], sizeof(r.dir[0]), "%s/d", c->share);
	snprintf(r.dir[1], sizeof(r.dir[1]), "%s/e", c->share);
	ok(mkdir(r.dir[0], 0777));
	put_file(r.dir[0], "secret", "inside");
	ok(symlink(c->outside, r.dir[1]));
	ok(pthread_create(&t, NULL, race, &r));
	for (unsigned i = 0; i < 20000; i++) {
		const char *name = i & 1 ? "d" : "e";
		int n;

		if (!walk2(c, 0, 1, name, "secret") && field(c, 2) == 2) {
			if (!lopen(c, 1, O_RDONLY)) {
				n = read_at(c, 1, 0, 100);
				good += n == 6 && !memcmp(c->at, "inside", 6);
				outside += n == 6 && !memcmp(c->at, "secret", 6);
			}
			rpc(c, P9_TSETATTR, "dddddqqqqq", 1, 1, 0606, 0, 0, Z, Z, Z, Z, Z);
			clunk(c, 1);
		}
		if (!walk1(c, 0, 2, name)) {
			if (!walk0(c, 2, 3) && !rpc(c, P9_TLCREATE, "dsddd", 3, "new", O_RDWR, 0644,
						    getgid()))
				rpc(c, P9_TUNLINKAT, "dsd", 2, "new", 0);
			clunk(c, 3);
			rpc(c, P9_TMKDIR, "dsdd", 2, "sub", 0755, getgid());
			rpc(c, P9_TUNLINKAT, "dsd", 2, "sub", AT_REMOVEDIR);
			rpc(c, P9_TUNLINKAT, "dsd", 2, "secrets", 0);
			/* A folder that is outside now has its parent inside. */
			if (!rpc(c, P9_TWALK, "ddwss", 2, 4, 2, "..", "outside"))
				outside += field(c, 2) == 2;
			clunk(c, 4);
			clunk(c, 2);
		}
	}
	r.stop = true;
	pthread_join(t, NULL);
	assert_int_equal(outside, 0);
	assert_true(good > 0);
	{
		char path[128];
		struct stat st;

		snprintf(path, sizeof(path), "%s/secret", c->outside);
		ok(stat(path, &st));
		assert_int_not_equal(st.st_mode & 0777, 0606);
		snprintf(path, sizeof(path), "%s/new", c->outside);
		assert_int_not_equal(stat(path, &st), 0);
		snprintf(path, sizeof(path), "%s/sub", c->outside);
		assert_int_not_equal(stat(path, &st), 0);
	}
	client_close(c);
}

/* Well-formed examples of all messages. */
static unsigned sample(struct client *c, unsigned i)
{
	switch (i) {
#define SAMPLE(n, ...) case n: rpc(c, __VA_ARGS__); break
	SAMPLE(0, P9_TSTATFS, "d", 0);
	SAMPLE(1, P9_TLOPEN, "dd", 1, 2);
	SAMPLE(2, P9_TLCREATE, "dsddd", 2, "new", 2, 0644, 0);
	SAMPLE(3, P9_TSYMLINK, "dssd", 0, "sym", "to", 0);
	SAMPLE(4, P9_TMKNOD, "dsdddd", 0, "nod", S_IFREG | 0644, 0, 0, 0);
	SAMPLE(5, P9_TRENAME, "dds", 1, 0, "g");
	SAMPLE(6, P9_TREADLINK, "d", 0);
	SAMPLE(7, P9_TGETATTR, "dq", 0, Z);
	SAMPLE(8, P9_TSETATTR, "dddddqqqqq", 1, 0x1ff, 0644, 0, 0, Z, Z, Z, Z, Z);
	SAMPLE(9, P9_TXATTRWALK, "dds", 1, 7, "");
	SAMPLE(10, P9_TXATTRCREATE, "dsqd", 3, "user.a", UINT64_C(5), 0);
	SAMPLE(11, P9_TREADDIR, "dqd", 4, Z, 500);
	SAMPLE(12, P9_TFSYNC, "dd", 4, 0);
	SAMPLE(13, P9_TLOCK, "dbdqqds", 1, 0, 0, Z, Z, 0, "x");
	SAMPLE(14, P9_TGETLOCK, "dbqqds", 1, 0, Z, Z, 0, "x");
	SAMPLE(15, P9_TLINK, "dds", 0, 1, "hard");
	SAMPLE(16, P9_TMKDIR, "dsdd", 0, "dir", 0755, 0);
	SAMPLE(17, P9_TRENAMEAT, "dsds", 0, "f", 0, "h");
	SAMPLE(18, P9_TUNLINKAT, "dsd", 0, "x", 0);
	SAMPLE(19, P9_TVERSION, "ds", 8192, "9P2000.L");
	SAMPLE(20, P9_TAUTH, "dssd", 9, "", "", 0);
	SAMPLE(21, P9_TATTACH, "ddssd", 9, P9_NOFID, "", "", 0);
	SAMPLE(22, P9_TFLUSH, "w", 1);
	SAMPLE(23, P9_TWALK, "ddwss", 0, 9, 2, "d", "e");
	SAMPLE(24, P9_TREAD, "dqd", 1, Z, 100);
	SAMPLE(25, P9_TWRITE, "dqdr", 1, Z, 4, "data", (size_t)4);
	SAMPLE(26, P9_TCLUNK, "d", 1);
	SAMPLE(27, P9_TREMOVE, "d", 1);
#undef SAMPLE
	}
	return c->tx_len;
}
#define SAMPLES 28

static void restart(struct client *c)
{
	session(c);
	chmod(c->share, 0755);
	unlink(in_share(c, "f"));
	put_file(c->share, "f", "text");
	ok(walk1(c, 0, 1, "f"));
	ok(walk0(c, 0, 2));
	ok(walk1(c, 0, 3, "f"));
	ok(walk0(c, 0, 4));
	ok(lopen(c, 4, O_RDONLY));
}

/* Each message with its length cut, and each field of it replaced by what hurts most. */
static void bent(void **state)
{
	static const uint64_t evil[] = { 0, 1, 0x7f, 0xff, 0x7fff, 0xffff, INT32_MAX, UINT32_MAX,
					 INT64_MAX, UINT64_MAX, UINT64_C(1) << 40, 0x10000 };
	struct client *c = client_open("security_model=none");
	static uint8_t keep[BUF];

	for (unsigned i = 0; i < SAMPLES; i++) {
		uint32_t full;

		restart(c);
		full = sample(c, i);
		memcpy(keep, c->tx, full);
		for (uint32_t len = P9_HDR; len < full; len++) {
			/* The optional field of Tfsync, and a short Tversion's, apart. */
			bool fine = keep[4] == P9_TFSYNC && len >= 11;
			int r;

			restart(c);
			memcpy(c->tx, keep, len);
			c->tx_len = len;
			put_le32(c->tx, len);
			ok(send_raw(c));
			r = reply(c);
			if (!fine && r >= 0)
				fail_msg("type %u cut to %u: %d", keep[4], len, r);
		}
		for (uint32_t at = P9_HDR; at < full; at++) {
			for (unsigned k = 0; k < ARRAY_SIZE(evil) * 4; k++) {
				size_t n = min_u64(full - at, 1u << k % 4);

				restart(c);
				memcpy(c->tx, keep, full);
				memcpy(c->tx + at, &evil[k / 4], n);
				c->tx_len = full;
				ok(send_raw(c));
				reply(c);
			}
		}
	}
	assert_string_equal(get_file(c->outside, "secret"), "secret");
	client_close(c);
}

static void bad_frames(void **state)
{
	struct client *c = client_open("security_model=none");

	ok(walk0(c, 0, 1));
	sample(c, 7);
	c->tx_len = 6; /* no header */
	fails(send_raw(c), EBADMSG);
	c->tx_len = 0;
	fails(send_raw(c), EBADMSG);
	sample(c, 7);
	put_le32(c->tx, c->tx_len + 1); /* longer than what is there */
	fails(send_raw(c), EBADMSG);
	put_le32(c->tx, 6);
	fails(send_raw(c), EBADMSG);
	put_le32(c->tx, UINT32_MAX);
	fails(send_raw(c), EBADMSG);
	/* More than there is may follow. */
	sample(c, 7);
	put_le32(c->tx, c->tx_len);
	c->tx_len += 100;
	ok(send_raw(c));
	/* No room for the reply: an error, or nothing at all. */
	sample(c, 7);
	c->room = P9_ERROR_LEN - 1;
	fails(send_raw(c), EBADMSG);
	c->room = P9_ERROR_LEN;
	ok(send_raw(c));
	fails(reply(c), EMSGSIZE);
	/* A count beyond the message. */
	c->room = BUF;
	ok(create(c, 0, 2, "f", O_RDWR, 0644));
	fails(rpc(c, P9_TWRITE, "dqdr", 2, Z, 5, "data", (size_t)4), EPROTO);
	fails(rpc(c, P9_TWRITE, "dqdr", 2, Z, UINT32_MAX, "data", (size_t)4), EPROTO);
	fails(rpc(c, P9_TWRITE, "dq", 2, Z), EPROTO);
	assert_int_equal(write_at(c, 2, 0, "data"), 4);
	assert_int_equal(read_at(c, 2, 0, UINT32_MAX), 4);
	c->room = P9_READ_HDR + 2;
	assert_int_equal(read_at(c, 2, 0, 4), 2);
	c->room = P9_READ_HDR;
	assert_int_equal(read_at(c, 2, 0, 4), 0);
	/* More than the session's msize. */
	c->room = BUF;
	ok(rpc(c, P9_TVERSION, "ds", P9_MSIZE_MIN, "9P2000.L"));
	ok(rpc(c, P9_TATTACH, "ddssd", 0, P9_NOFID, "", "", 0));
	ok(create(c, 0, 2, "f", O_RDWR, 0644));
	ok(ftruncate(open(in_share(c, "f"), O_WRONLY | O_CLOEXEC), 100000));
	assert_int_equal(read_at(c, 2, 0, 50000), P9_MSIZE_MIN - P9_READ_HDR);
	fails(rpc(c, P9_TWRITE, "dqdr", 2, Z, 5000, c->rx, (size_t)5000), EMSGSIZE);
	client_close(c);
}

static void used_up(void **state)
{
	struct client *c = client_open("security_model=none");
	struct attr a;
	uint32_t n;

	put_file(c->share, "f", "text");
	c->f->fd_max = 50;
	for (n = 1; n < 100; n++)
		if (walk1(c, 0, n, "f"))
			break;
	assert_int_equal(n, 50);
	fails(walk1(c, 0, n, "f"), ENFILE);
	fails(lopen(c, 1, O_RDONLY), ENFILE);
	fails(create(c, 0, n, "g", O_RDWR, 0600), ENFILE);
	assert_null(get_file(c->share, "g"));
	fails(rpc(c, P9_TATTACH, "ddssd", n, P9_NOFID, "", "", 0), ENFILE);
	ok(walk0(c, 1, n)); /* the same file again costs nothing */
	ok(clunk(c, 2));
	ok(lopen(c, 1, O_RDONLY));
	ok(clunk(c, 3));
	/* Made, but no descriptor for what follows: the file stays closed. */
	fails(create(c, 0, 3, "g", O_RDWR, 0600), ENFILE);
	assert_int_equal(c->f->fds, 49);
	session(c);
	assert_int_equal(c->f->fds, 1);
	/* Fids that cost no descriptor are limited too. */
	for (n = 1; n < P9_FIDS_MAX; n++)
		ok(walk0(c, 0, n));
	fails(walk0(c, 0, n), ENFILE);
	ok(clunk(c, 5));
	ok(walk0(c, 0, 5));
	ok(getattr(c, P9_FIDS_MAX - 1, &a));
	/* A deep chain of parents comes down without recursion. */
	c->f->fd_max = 1000;
	session(c);
	ok(walk0(c, 0, 1));
	for (n = 0; n < 300; n++) {
		ok(rpc(c, P9_TMKDIR, "dsdd", 1, "d", 0755, getgid()));
		ok(walk1(c, 1, 1, "d"));
	}
	assert_int_equal(c->f->fds, 301);
	for (n = 0; n < 300; n++) {
		ok(walk1(c, 1, 1, ".."));
		ok(rpc(c, P9_TUNLINKAT, "dsd", 1, "d", AT_REMOVEDIR));
	}
	assert_int_equal(c->f->fds, 1);
	client_close(c);
}

static void qids_are_unique(void **state)
{
	struct client *c = client_open("security_model=none");
	struct fsdev *f = c->f;
	uint64_t p, q, first;

	ok(local_qid_path(f, f->root_dev, 5, &p));
	assert_int_equal(p, 5);
	ok(local_qid_path(f, f->root_dev + 1, 5, &first));
	assert_int_not_equal(first, 5);
	ok(local_qid_path(f, f->root_dev + 2, 5, &q));
	assert_true(q != 5 && q != first);
	/* Inode numbers of 64 bits. */
	ok(local_qid_path(f, f->root_dev, 5 | UINT64_C(1) << 48, &p));
	assert_true(p != 5 && p != first && p != q);
	ok(local_qid_path(f, f->root_dev, 5 | UINT64_C(0xffff) << 48, &q));
	assert_true(p != q && q != first);
	/* The same answer always. */
	ok(local_qid_path(f, f->root_dev + 1, 5, &q));
	assert_int_equal(q, first);
	for (uint64_t i = 0; i < FS_DEVS_MAX - 5; i++)
		ok(local_qid_path(f, f->root_dev + 1, i << 48 | 5, &q));
	for (unsigned i = 0; i < 10; i++)
		if (local_qid_path(f, f->root_dev + 10 + i, 5, &q))
			break;
		else
			assert_true(i < 9);
	ok(local_qid_path(f, f->root_dev + 1, 5, &q));
	assert_int_equal(q, first);
	f->multidevs = FS_FORBID;
	fails(local_qid_path(f, f->root_dev + 1, 5, &q), ENODEV);
	f->multidevs = FS_WARN;
	ok(local_qid_path(f, f->root_dev + 1, 5, &q));
	assert_int_equal(q, 5);
	client_close(c);
}

/* Several threads with one session, which shares fids and renames what others use. */
struct mob {
	struct client *c;
	struct p9_server *s;
	unsigned seed;
};

static void *riot(void *opaque)
{
	struct mob *m = opaque;
	struct client *c = xzalloc(sizeof(*c));
	static const char *const names[] = { "a", "b", "c", "..", "d" };

	c->s = m->s;
	c->room = BUF;
	for (unsigned i = 0; i < 20000; i++) {
		unsigned x = (unsigned)rand_r(&m->seed), fid = 1 + x % 12, to = 1 + x / 16 % 12;
		const char *a = names[x / 256 % 5], *b = names[x / 2048 % 5];

		switch (x / 16384 % 14) {
		case 0: walk0(c, 0, fid); break;
		case 1: walk1(c, fid, to, a); break;
		case 2: clunk(c, fid); break;
		case 3: rpc(c, P9_TMKDIR, "dsdd", fid, a, 0755, getgid()); break;
		case 4: rpc(c, P9_TRENAMEAT, "dsds", fid, a, to, b); break;
		case 5: rpc(c, P9_TUNLINKAT, "dsd", fid, a, x & 1 << 20 ? AT_REMOVEDIR : 0); break;
		case 6: rpc(c, P9_TLCREATE, "dsddd", fid, a, O_RDWR, 0644, getgid()); break;
		case 7: lopen(c, fid, x & 1 << 20 ? O_RDWR : O_RDONLY); break;
		case 8: rpc(c, P9_TREADDIR, "dqd", fid, Z, 200); break;
		case 9: rpc(c, P9_TWRITE, "dqdr", fid, Z, 4, "data", (size_t)4); break;
		case 10: rpc(c, P9_TREAD, "dqd", fid, Z, 100); break;
		case 11: rpc(c, P9_TREMOVE, "d", fid); break;
		case 12: rpc(c, P9_TRENAME, "dds", fid, to, a); break;
		default: rpc(c, P9_TXATTRCREATE, "dsqd", fid, "user.q", UINT64_C(4), 0);
		}
	}
	free(c);
	return NULL;
}

static void many_threads(void **state)
{
	struct client *c = client_open("security_model=none");
	struct mob m[4];
	pthread_t t[4];

	for (unsigned i = 0; i < 4; i++) {
		m[i] = (struct mob){ c, c->s, i };
		ok(pthread_create(&t[i], NULL, riot, &m[i]));
	}
	for (unsigned i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	assert_string_equal(get_file(c->outside, "secret"), "secret");
	client_close(c); /* which sees that no descriptor is lost */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(links_lead_nowhere), cmocka_unit_test(no_race_gets_out),
		cmocka_unit_test(bent),		      cmocka_unit_test(bad_frames),
		cmocka_unit_test(used_up),	      cmocka_unit_test(qids_are_unique),
		cmocka_unit_test(many_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
