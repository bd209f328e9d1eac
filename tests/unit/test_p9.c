/* SPDX-License-Identifier: Apache-2.0 */
/* Shared folders: what a well-behaved client sees, message by message. */
#include "p9_client.h"
#include <sys/sysmacros.h>

static void options(void **state)
{
	static const char *const bad[] = {
		"",
		"local",
		"proxy,id=a,path=/tmp,security_model=none",
		"local,path=/tmp,security_model=none",
		"local,id=a,security_model=none",
		"local,id=a,path=/tmp",
		"local,id=a,path=/tmp,security_model=mapped-file",
		"local,id=a,path=/tmp,security_model=some",
		"local,id=a,path=/tmp,security_model=none,multidevs=x",
		"local,id=a,path=/tmp,security_model=none,fmode=0600",
		"local,id=a,path=/tmp,security_model=mapped-xattr,fmode=0800",
		"local,id=a,path=/tmp,security_model=mapped-xattr,dmode=7777",
		"local,id=a,path=/tmp,security_model=none,readonly=perhaps",
		"local,id=a,path=/tmp,security_model=none,writeout=late",
		"local,id=a,path=/tmp,security_model=none,colour=blue",
		"local,id=a,path=/nonexistent,security_model=none",
		"local,id=a,path=/etc/passwd,security_model=none",
	};
	struct log *log = log_create();
	struct fsdev *f = NULL;
	struct err *e = NULL;
	char *tag = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_true(fsdev_open(&f, log, bad[i], &e) < 0);
		assert_non_null(e);
		assert_null(f);
		err_free(&e);
	}
	ok(fsdev_open(&f, log, "local,id=a,path=/tmp,security_model=none,multidevs=forbid,"
			       "readonly=on,writeout=immediate", NULL));
	assert_string_equal(fsdev_id(f), "a");
	assert_true(f->readonly && f->writeout);
	fsdev_close(f);
	f = NULL;
	assert_true(virtfs_open(&f, log, "local,path=/tmp,security_model=none", &tag, &e) < 0);
	err_free(&e);
	ok(virtfs_open(&f, log, "local,path=/tmp,mount_tag=t,security_model=none", &tag, &e));
	assert_string_equal(tag, "t");
	assert_string_equal(fsdev_id(f), "t");
	fsdev_close(f);
	free(tag);
	ok(virtfs_open(&f, log, "local,path=/tmp,mount_tag=t,id=i,security_model=none", &tag, &e));
	assert_string_equal(fsdev_id(f), "i");
	fsdev_close(f);
	free(tag);
	log_destroy(log);
}

static void version(void **state)
{
	struct client *c = client_open("security_model=none");
	struct attr a;

	ok(rpc(c, P9_TVERSION, "ds", 1u << 30, "9P2000.L"));
	assert_int_equal(field(c, 4), P9_MSIZE_MAX);
	assert_int_equal(field(c, 2), 8);
	assert_memory_equal(c->at, "9P2000.L", 8);
	/* All fids are gone. */
	fails(getattr(c, 0, &a), EBADF);
	fails(rpc(c, P9_TVERSION, "ds", P9_MSIZE_MIN - 1, "9P2000.L"), EMSGSIZE);
	ok(rpc(c, P9_TVERSION, "ds", 8192, "9P2000.u"));
	assert_int_equal(field(c, 4), 8192);
	assert_int_equal(field(c, 2), 7);
	assert_memory_equal(c->at, "unknown", 7);
	fails(rpc(c, P9_TATTACH, "ddssd", 0, P9_NOFID, "", "", 0), EPROTO);
	fails(rpc(c, P9_TFLUSH, "w", 5), EPROTO);
	session(c);
	fails(rpc(c, P9_TAUTH, "dssd", 5, "", "", 0), EOPNOTSUPP);
	fails(rpc(c, P9_TATTACH, "ddssd", 0, P9_NOFID, "", "", 0), EINVAL);
	fails(rpc(c, P9_TATTACH, "ddssd", P9_NOFID, P9_NOFID, "", "", 0), EINVAL);
	ok(rpc(c, P9_TATTACH, "ddssd", 9, P9_NOFID, "", "anything", 0));
	ok(rpc(c, P9_TFLUSH, "w", 77));
	assert_int_equal(c->rx_len, P9_HDR);
	/* Those of other dialects. */
	fails(rpc(c, 112, "db", 0, 0), EOPNOTSUPP);
	fails(rpc(c, 124, "d", 0), EOPNOTSUPP);
	fails(rpc(c, 0, ""), EOPNOTSUPP);
	client_close(c);
}

static void walk(void **state)
{
	struct client *c = client_open("security_model=none");
	struct attr root, a, b;

	ok(mkdir(in_share(c, "a"), 0755));
	ok(mkdir(in_share(c, "a/b"), 0755));
	put_file(c->share, "a/b/f", "text");
	ok(getattr(c, 0, &root));
	assert_int_equal(root.type, QTDIR);
	ok(rpc(c, P9_TWALK, "ddwsss", 0, 1, 3, "a", "b", "f"));
	assert_int_equal(field(c, 2), 3);
	assert_int_equal(c->rx_len, 9 + 3 * 13);
	ok(getattr(c, 1, &a));
	assert_int_equal(a.size, 4);
	assert_int_equal(a.type, QTFILE);
	/* Half a walk makes no fid; none at all is an error. */
	ok(rpc(c, P9_TWALK, "ddwsss", 0, 2, 3, "a", "x", "f"));
	assert_int_equal(field(c, 2), 1);
	fails(getattr(c, 2, &a), EBADF);
	fails(rpc(c, P9_TWALK, "ddwsss", 0, 2, 3, "x", "b", "f"), ENOENT);
	fails(walk2(c, 1, 2, "x", "y"), ENOTDIR);
	fails(walk1(c, 1, 2, ".."), ENOTDIR);
	/* In place, to a file that is another. */
	ok(walk2(c, 0, 3, "a", "b"));
	ok(walk1(c, 3, 3, ".."));
	ok(getattr(c, 3, &b));
	assert_int_equal(b.type, QTDIR);
	assert_int_not_equal(b.qid, root.qid);
	ok(walk2(c, 3, 3, "..", ".."));
	ok(getattr(c, 3, &b));
	assert_int_equal(b.qid, root.qid);
	/* The root has nothing above. */
	ok(rpc(c, P9_TWALK, "ddwssss", 0, 4, 4, "..", "..", "..", "."));
	ok(getattr(c, 4, &b));
	assert_int_equal(b.qid, root.qid);
	ok(clunk(c, 4));
	fails(clunk(c, 4), EBADF);
	/* Fids in use, fids that are none. */
	fails(walk1(c, 0, 1, "a"), EINVAL);
	fails(walk1(c, 0, P9_NOFID, "a"), EINVAL);
	fails(walk1(c, 77, 78, "a"), EBADF);
	fails(rpc(c, P9_TWALK, "ddw", 0, 5, 17), EINVAL);
	/* An open fid stays what it is, but can be cloned. */
	ok(lopen(c, 1, 0));
	fails(lopen(c, 1, 0), EBUSY);
	fails(walk0(c, 1, 1), EBUSY);
	ok(walk0(c, 1, 5));
	ok(lopen(c, 5, 0));
	assert_int_equal(read_at(c, 5, 1, 100), 3);
	assert_memory_equal(c->at, "ext", 3);
	client_close(c);
}

static void names(void **state)
{
	static const char *const bad[] = { "", ".", "..", "/", "a/b", "../outside", "/etc" };
	struct client *c = client_open("security_model=none");

	put_file(c->share, "f", "x");
	ok(walk1(c, 0, 1, "f"));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		int e = i >= 1 && i <= 2 ? EINVAL : ENOENT;

		if (e == ENOENT)
			fails(walk1(c, 0, 2, bad[i]), ENOENT);
		fails(create(c, 0, 3, bad[i], 0, 0644), e);
		fails(rpc(c, P9_TMKDIR, "dsdd", 0, bad[i], 0755, 0), e);
		fails(rpc(c, P9_TMKNOD, "dsdddd", 0, bad[i], S_IFIFO | 0644, 0, 0, 0), e);
		fails(rpc(c, P9_TSYMLINK, "dssd", 0, bad[i], "x", 0), e);
		fails(rpc(c, P9_TLINK, "dds", 0, 1, bad[i]), e);
		fails(rpc(c, P9_TRENAME, "dds", 1, 0, bad[i]), e);
		fails(rpc(c, P9_TRENAMEAT, "dsds", 0, bad[i], 0, "g"), e);
		fails(rpc(c, P9_TRENAMEAT, "dsds", 0, "f", 0, bad[i]), e);
		fails(rpc(c, P9_TUNLINKAT, "dsd", 0, bad[i], 0), e);
		fails(rpc(c, P9_TUNLINKAT, "dsd", 0, bad[i], AT_REMOVEDIR), e);
	}
	/* NUL in a string, and a name longer than there can be. */
	fails(rpc(c, P9_TMKDIR, "dwrdd", 0, 3, "a\0b", (size_t)3, 0755, 0), EINVAL);
	fails(rpc(c, P9_TWALK, "ddwwr", 0, 2, 1, 3, "f\0b", (size_t)3), EINVAL);
	{
		char *s = xzalloc(301);

		memset(s, 'n', 300);
		fails(rpc(c, P9_TMKDIR, "dsdd", 0, s, 0755, 0), ENAMETOOLONG);
		free(s);
	}
	assert_string_equal(get_file(c->share, "f"), "x");
	client_close(c);
}

static void contents(void **state)
{
	struct client *c = client_open("security_model=none");
	struct attr a;

	for (c->piece = 0; c->piece < 12; c->piece += 5) {
		ok(create(c, 0, 1, "f", O_RDWR, 0640));
		assert_int_equal(write_at(c, 1, 0, "hello, world"), 12);
		assert_int_equal(read_at(c, 1, 7, 100), 5);
		assert_memory_equal(c->at, "world", 5);
		assert_int_equal(read_at(c, 1, 100, 5), 0);
		assert_int_equal(read_at(c, 1, 0, 0), 0);
		fails(read_at(c, 1, UINT64_MAX, 5), EINVAL);
		fails(write_at(c, 1, UINT64_MAX - 2, "hello"), EINVAL);
		ok(getattr(c, 1, &a));
		assert_int_equal(a.mode, S_IFREG | 0640);
		assert_int_equal(a.size, 12);
		assert_int_equal(a.nlink, 1);
		assert_int_equal(a.uid, getuid());
		ok(rpc(c, P9_TFSYNC, "dd", 1, 0));
		ok(rpc(c, P9_TFSYNC, "dd", 1, 1));
		ok(rpc(c, P9_TFSYNC, "d", 1));
		/* size and mode, times */
		ok(rpc(c, P9_TSETATTR, "dddddqqqqq", 1, 1 << 3 | 1, 0400, 0, 0, UINT64_C(5),
		       UINT64_C(0), UINT64_C(0), UINT64_C(0), UINT64_C(0)));
		ok(rpc(c, P9_TSETATTR, "dddddqqqqq", 1, 1 << 5 | 1 << 8, 0, 0, 0, UINT64_C(0),
		       UINT64_C(0), UINT64_C(0), UINT64_C(1234567), UINT64_C(5)));
		ok(getattr(c, 1, &a));
		assert_int_equal(a.mode, S_IFREG | 0400);
		assert_int_equal(a.size, 5);
		assert_int_equal(a.mtime, 1234567);
		fails(rpc(c, P9_TSETATTR, "dddddqqqqq", 1, 1 << 5 | 1 << 8, 0, 0, 0, UINT64_C(0),
			  UINT64_C(0), UINT64_C(0), UINT64_C(1), UINT64_C(1000000000)), EINVAL);
		fails(rpc(c, P9_TSETATTR, "dddddqqqqq", 1, 1 << 3, 0, 0, 0, UINT64_MAX,
			  UINT64_C(0), UINT64_C(0), UINT64_C(1), UINT64_C(0)), EINVAL);
		/* touch */
		ok(rpc(c, P9_TSETATTR, "dddddqqqqq", 1, 1 << 4 | 1 << 5, 0, 0, 0, UINT64_C(0),
		       UINT64_C(0), UINT64_C(0), UINT64_C(0), UINT64_C(0)));
		ok(getattr(c, 1, &a));
		assert_true(a.mtime > 1234567);
		ok(rpc(c, P9_TSETATTR, "dddddqqqqq", 1, 1 << 6, 0, 0, 0, UINT64_C(0), UINT64_C(0),
		       UINT64_C(0), UINT64_C(0), UINT64_C(0)));
		ok(clunk(c, 1));
		ok(rpc(c, P9_TUNLINKAT, "dsd", 0, "f", 0));
	}
	client_close(c);
}

static void open_modes(void **state)
{
	struct client *c = client_open("security_model=none,writeout=immediate");

	ok(create(c, 0, 1, "f", O_WRONLY, 0644));
	assert_int_equal(write_at(c, 1, 0, "abc"), 3);
	fails(read_at(c, 1, 0, 3), EBADF);
	fails(read_at(c, 0, 0, 3), EBADF); /* not open */
	fails(write_at(c, 0, 0, "x"), EBADF);
	fails(create(c, 0, 2, "f", O_RDWR | O_EXCL, 0644), EEXIST);
	ok(create(c, 0, 2, "f", O_RDWR, 0644)); /* opens what is there */
	assert_int_equal(read_at(c, 2, 0, 100), 3);
	ok(clunk(c, 2));
	ok(create(c, 0, 2, "f", O_RDWR | O_TRUNC, 0644));
	assert_int_equal(read_at(c, 2, 0, 100), 0);
	ok(walk1(c, 0, 3, "f"));
	ok(lopen(c, 3, O_WRONLY | 02000));
	assert_int_equal(write_at(c, 3, 0, "one"), 3);
	assert_int_equal(write_at(c, 3, 0, "two"), 3);
	assert_string_equal(get_file(c->share, "f"), "onetwo");
	ok(walk1(c, 0, 4, "f"));
	ok(lopen(c, 4, O_RDONLY));
	fails(write_at(c, 4, 0, "x"), EBADF);
	ok(rpc(c, P9_TMKDIR, "dsdd", 0, "d", 0755, getgid()));
	ok(walk1(c, 0, 5, "d"));
	fails(lopen(c, 5, O_RDWR), EISDIR);
	fails(create(c, 0, 6, "d", O_RDONLY, 0644), EISDIR);
	ok(lopen(c, 5, O_RDONLY));
	fails(read_at(c, 5, 0, 10), EISDIR);
	fails(write_at(c, 5, 0, "x"), EISDIR);
	fails(rpc(c, P9_TREADDIR, "dqd", 4, UINT64_C(0), 100), ENOTDIR);
	fails(rpc(c, P9_TLCREATE, "dsddd", 5, "x", 0, 0644, 0), EBUSY);
	fails(rpc(c, P9_TLCREATE, "dsddd", 4, "x", 0, 0644, 0), EBUSY);
	/* Locks are granted; who asks finds none. */
	ok(rpc(c, P9_TLOCK, "dbdqqds", 4, 1, 1, UINT64_C(0), UINT64_C(0), 42, "me"));
	assert_int_equal(field(c, 1), 0);
	fails(rpc(c, P9_TLOCK, "dbdqqds", 4, 3, 1, UINT64_C(0), UINT64_C(0), 42, "me"), EINVAL);
	ok(rpc(c, P9_TGETLOCK, "dbqqds", 4, 1, UINT64_C(7), UINT64_C(8), 42, "me"));
	assert_int_equal(field(c, 1), 2);
	assert_int_equal(field(c, 8), 7);
	ok(rpc(c, P9_TSTATFS, "d", 0));
	assert_int_equal(c->rx_len, 67);
	client_close(c);
}

struct entry {
	uint64_t qid, off;
	char name[64];
	uint8_t type, dt;
};

/* Entries from off in messages of `count` bytes; how many. */
static unsigned list(struct client *c, uint32_t fid, uint64_t off, uint32_t count,
		     struct entry *e, unsigned max)
{
	unsigned n = 0;

	for (;;) {
		uint32_t len;

		ok(rpc(c, P9_TREADDIR, "dqd", fid, off, count));
		len = (uint32_t)field(c, 4);
		assert_true(len <= count);
		if (!len)
			return n;
		while (c->at < c->rx + c->rx_len) {
			size_t name;

			assert_true(n < max);
			e[n].type = (uint8_t)field(c, 1);
			field(c, 4);
			e[n].qid = field(c, 8);
			e[n].off = off = field(c, 8);
			e[n].dt = (uint8_t)field(c, 1);
			name = field(c, 2);
			assert_true(name < sizeof(e[n].name));
			memcpy(e[n].name, c->at, name);
			e[n++].name[name] = 0;
			c->at += name;
		}
	}
}

static void listing(void **state)
{
	struct client *c = client_open("security_model=none");
	static struct entry e[700], f[700];
	struct attr root, a;
	unsigned seen = 0;

	for (int i = 0; i < 600; i++) {
		char name[32];

		snprintf(name, sizeof(name), "file-%d", i);
		put_file(c->share, name, "");
	}
	ok(mkdir(in_share(c, "d"), 0755));
	ok(symlink("x", in_share(c, "l")));
	ok(getattr(c, 0, &root));
	ok(walk0(c, 0, 1));
	ok(lopen(c, 1, O_RDONLY | O_DIRECTORY));
	assert_int_equal(list(c, 1, 0, 60000, e, 700), 604);
	assert_int_equal(list(c, 1, 0, 100, f, 700), 604); /* and in small pieces */
	for (unsigned i = 0; i < 604; i++) {
		assert_string_equal(e[i].name, f[i].name);
		ok(walk1(c, 0, 2, e[i].name));
		ok(getattr(c, 2, &a));
		ok(clunk(c, 2));
		/* The parent of the shared folder is not told. */
		assert_int_equal(e[i].qid, a.qid);
		seen += !strncmp(e[i].name, "file-", 5) && e[i].dt == 8;
		seen += !strcmp(e[i].name, "d") && e[i].dt == 4 && e[i].type == QTDIR;
		seen += !strcmp(e[i].name, "l") && e[i].dt == 10 && e[i].type == QTSYMLINK;
	}
	assert_int_equal(seen, 602);
	/* From the middle; from where nothing ever was; no room for one. */
	assert_int_equal(list(c, 1, e[299].off, 5000, f, 700), 304);
	assert_string_equal(f[0].name, e[300].name);
	rpc(c, P9_TREADDIR, "dqd", 1, UINT64_C(0x123456789), 1000);
	rpc(c, P9_TREADDIR, "dqd", 1, UINT64_MAX, 1000);
	fails(rpc(c, P9_TREADDIR, "dqd", 1, UINT64_C(0), 20), EINVAL);
	fails(rpc(c, P9_TREADDIR, "dqd", 1, UINT64_C(0), 0), EINVAL);
	c->room = 200; /* more is asked for than fits */
	ok(rpc(c, P9_TREADDIR, "dqd", 1, UINT64_C(0), UINT32_MAX));
	client_close(c);
}

static void special_files(void **state)
{
	struct client *c = client_open("security_model=none");
	struct attr a;

	ok(rpc(c, P9_TSYMLINK, "dssd", 0, "l", "../outside/secret", getgid()));
	assert_int_equal(field(c, 1), QTSYMLINK);
	ok(walk1(c, 0, 1, "l"));
	ok(rpc(c, P9_TREADLINK, "d", 1));
	assert_int_equal(field(c, 2), 17);
	assert_memory_equal(c->at, "../outside/secret", 17);
	fails(rpc(c, P9_TREADLINK, "d", 0), EINVAL);
	ok(rpc(c, P9_TMKNOD, "dsdddd", 0, "p", S_IFIFO | 0640, 0, 0, getgid()));
	ok(rpc(c, P9_TMKNOD, "dsdddd", 0, "s", S_IFSOCK | 0640, 0, 0, getgid()));
	ok(rpc(c, P9_TMKNOD, "dsdddd", 0, "f", S_IFREG | 0640, 0, 0, getgid()));
	fails(rpc(c, P9_TMKNOD, "dsdddd", 0, "d", S_IFDIR | 0640, 0, 0, getgid()), EINVAL);
	fails(rpc(c, P9_TMKNOD, "dsdddd", 0, "d", S_IFLNK | 0640, 0, 0, getgid()), EINVAL);
	ok(walk1(c, 0, 2, "p"));
	ok(getattr(c, 2, &a));
	assert_int_equal(a.mode, S_IFIFO | 0640);
	/* None of them is ever opened, and nothing waits. */
	fails(lopen(c, 2, O_RDONLY), ENXIO);
	fails(lopen(c, 2, O_WRONLY), ENXIO);
	fails(lopen(c, 2, O_RDWR | O_TRUNC), ENXIO);
	fails(create(c, 0, 3, "p", O_WRONLY, 0600), ENXIO);
	fails(create(c, 0, 3, "s", O_RDWR, 0600), ENXIO);
	ok(walk1(c, 0, 3, "s"));
	fails(lopen(c, 3, O_RDONLY), ENXIO);
	fails(rpc(c, P9_TSETATTR, "dddddqqqqq", 2, 1 << 3, 0, 0, 0, UINT64_C(5), UINT64_C(0),
		  UINT64_C(0), UINT64_C(0), UINT64_C(0)), EINVAL);
	if (!mknod(in_share(c, "null"), S_IFCHR | 0666, makedev(1, 3))) {
		ok(walk1(c, 0, 4, "null"));
		fails(lopen(c, 4, O_RDWR), ENXIO);
		fails(create(c, 0, 5, "null", O_RDWR, 0600), ENXIO);
		ok(getattr(c, 4, &a));
		assert_int_equal(a.rdev, makedev(1, 3));
		ok(rpc(c, P9_TMKNOD, "dsdddd", 0, "zero", S_IFCHR | 0600, 1, 5, getgid()));
		ok(walk1(c, 0, 5, "zero"));
		ok(getattr(c, 5, &a));
		assert_int_equal(a.mode, S_IFCHR | 0600);
		assert_int_equal(a.rdev, makedev(1, 5));
	}
	/* Hard links, also of links. */
	ok(rpc(c, P9_TLINK, "dds", 0, 1, "l2"));
	assert_int_equal(readlink(in_share(c, "l2"), (char[20]){ 0 }, 20), 17);
	fails(rpc(c, P9_TLINK, "dds", 0, 1, "l2"), EEXIST);
	ok(walk1(c, 0, 6, "f"));
	ok(rpc(c, P9_TLINK, "dds", 0, 6, "f2"));
	ok(getattr(c, 6, &a));
	assert_int_equal(a.nlink, 2);
	client_close(c);
}

static void fids_outlive_names(void **state)
{
	struct client *c = client_open("security_model=none");
	struct attr a, b, root;

	ok(getattr(c, 0, &root));
	ok(rpc(c, P9_TMKDIR, "dsdd", 0, "d", 0755, getgid()));
	ok(walk1(c, 0, 1, "d"));
	ok(rpc(c, P9_TMKDIR, "dsdd", 1, "e", 0755, getgid()));
	ok(walk1(c, 1, 2, "e"));
	ok(create(c, 2, 3, "f", O_RDWR, 0600));
	assert_int_equal(write_at(c, 3, 0, "data"), 4);
	ok(walk1(c, 2, 4, "f"));
	/* The parent of all goes elsewhere, by the client and behind its back. */
	ok(rpc(c, P9_TRENAMEAT, "dsds", 0, "d", 0, "moved"));
	ok(rename(in_share(c, "moved"), in_share(c, "again")));
	ok(getattr(c, 4, &a));
	assert_int_equal(a.size, 4);
	ok(lopen(c, 4, O_RDWR));
	assert_int_equal(read_at(c, 4, 0, 10), 4);
	ok(create(c, 2, 5, "g", O_RDWR, 0600));
	assert_string_equal(get_file(c->share, "again/e/g"), "");
	ok(walk2(c, 2, 6, "..", ".."));
	ok(getattr(c, 6, &b));
	assert_int_equal(b.qid, root.qid);
	ok(clunk(c, 6));
	/* Unlinked, it is still all there. */
	ok(walk0(c, 4, 7));
	ok(rpc(c, P9_TUNLINKAT, "dsd", 2, "f", 0));
	assert_int_equal(read_at(c, 4, 0, 10), 4);
	assert_int_equal(write_at(c, 4, 4, "more"), 4);
	ok(getattr(c, 4, &a));
	assert_int_equal(a.size, 8);
	assert_int_equal(a.nlink, 0);
	for (uint32_t fid = 4; fid <= 7; fid += 3) {
		ok(rpc(c, P9_TSETATTR, "dddddqqqqq", fid, 1 << 3 | 1, 0444, 0, 0, UINT64_C(2),
		       UINT64_C(0), UINT64_C(0), UINT64_C(0), UINT64_C(0)));
		ok(getattr(c, fid, &a));
		assert_int_equal(a.size, 2);
		assert_int_equal(a.mode, S_IFREG | 0444);
		for (unsigned valid = 1; valid <= 8; valid *= 8)
			ok(rpc(c, P9_TSETATTR, "dddddqqqqq", fid, valid, 0600, 0, 0, UINT64_C(8),
			       UINT64_C(0), UINT64_C(0), UINT64_C(0), UINT64_C(0)));
	}
	ok(lopen(c, 7, O_RDONLY));
	assert_int_equal(read_at(c, 7, 0, 10), 8);
	fails(rpc(c, P9_TLINK, "dds", 0, 7, "back"), ENOENT);
	/* Renamed over while open. */
	ok(create(c, 2, 8, "old", O_RDWR, 0600));
	assert_int_equal(write_at(c, 8, 0, "old"), 3);
	ok(rpc(c, P9_TRENAMEAT, "dsds", 2, "g", 2, "old"));
	assert_int_equal(read_at(c, 8, 0, 10), 3);
	assert_string_equal(get_file(c->share, "again/e/old"), "");
	fails(rpc(c, P9_TREMOVE, "d", 8), ENOENT); /* it has no name any more */
	fails(getattr(c, 8, &a), EBADF);	   /* but the fid is clunked */
	client_close(c);
}

static void by_fid_alone(void **state)
{
	struct client *c = client_open("security_model=none");
	struct attr a;

	ok(rpc(c, P9_TMKDIR, "dsdd", 0, "d", 0755, getgid()));
	ok(rpc(c, P9_TMKDIR, "dsdd", 0, "e", 0755, getgid()));
	ok(walk1(c, 0, 1, "d"));
	ok(walk1(c, 0, 2, "e"));
	put_file(c->share, "d/f", "f");
	ok(walk1(c, 1, 3, "f"));
	ok(walk2(c, 0, 4, "d", "f"));
	/* All fids of it follow, however they got there. */
	ok(rpc(c, P9_TRENAME, "dds", 3, 2, "g"));
	assert_string_equal(get_file(c->share, "e/g"), "f");
	ok(rpc(c, P9_TRENAME, "dds", 4, 0, "h"));
	assert_string_equal(get_file(c->share, "h"), "f");
	ok(rpc(c, P9_TRENAMEAT, "dsds", 0, "h", 1, "i"));
	ok(rpc(c, P9_TREMOVE, "d", 3));
	assert_null(get_file(c->share, "d/i"));
	fails(rpc(c, P9_TRENAME, "dds", 4, 0, "h"), ENOENT);
	/* Somebody else's file under the same name is left alone. */
	put_file(c->share, "f", "1");
	ok(walk1(c, 0, 5, "f"));
	ok(rename(in_share(c, "f"), in_share(c, "away")));
	put_file(c->share, "f", "2");
	fails(rpc(c, P9_TREMOVE, "d", 5), ENOENT);
	assert_string_equal(get_file(c->share, "f"), "2");
	/* Folders. */
	fails(rpc(c, P9_TREMOVE, "d", 0), EBUSY);
	session(c);
	fails(rpc(c, P9_TUNLINKAT, "dsd", 0, "d", 0), EISDIR);
	fails(rpc(c, P9_TUNLINKAT, "dsd", 0, "f", AT_REMOVEDIR), ENOTDIR);
	fails(rpc(c, P9_TUNLINKAT, "dsd", 0, "f", 1), EINVAL);
	ok(walk1(c, 0, 1, "d"));
	ok(walk0(c, 1, 2));
	ok(lopen(c, 2, O_RDONLY));
	ok(rpc(c, P9_TREMOVE, "d", 1));
	assert_int_equal(access(in_share(c, "d"), F_OK), -1);
	/* A folder that is gone while somebody is in it. */
	ok(getattr(c, 2, &a));
	fails(walk1(c, 2, 3, "x"), ENOENT);
	ok(walk1(c, 2, 3, ".."));
	fails(create(c, 2, 4, "x", O_RDWR, 0600), ENOENT);
	fails(rpc(c, P9_TMKDIR, "dsdd", 2, "x", 0755, 0), ENOENT);
	client_close(c);
}

/* A folder is moved out of the way of its own descendants, and what was inside is put above it. */
static void inside_out(void **state)
{
	struct client *c = client_open("security_model=none");
	struct attr a, root;

	ok(getattr(c, 0, &root));
	ok(mkdir(in_share(c, "a"), 0755));
	ok(mkdir(in_share(c, "a/b"), 0755));
	ok(walk1(c, 0, 1, "a"));
	ok(walk1(c, 1, 2, "b"));
	ok(rename(in_share(c, "a/b"), in_share(c, "b")));
	ok(rpc(c, P9_TRENAMEAT, "dsds", 0, "a", 2, "a")); /* a is in b now; b was walked to by a */
	for (uint32_t fid = 1; fid <= 2; fid++) {
		ok(rpc(c, P9_TWALK, "ddwssss", fid, 3, 4, "..", "..", "..", ".."));
		ok(getattr(c, 3, &a));
		ok(clunk(c, 3));
	}
	ok(walk2(c, 0, 3, "b", "a"));
	ok(rpc(c, P9_TWALK, "ddwss", 3, 4, 2, "..", ".."));
	ok(getattr(c, 4, &a));
	assert_int_equal(a.qid, root.qid);
	client_close(c);
}

static void readonly(void **state)
{
	struct client *c = client_open("security_model=none,readonly=on");
	uint64_t z = 0;

	put_file(c->share, "f", "text");
	ok(walk1(c, 0, 1, "f"));
	fails(lopen(c, 1, O_RDWR), EROFS);
	fails(lopen(c, 1, O_RDONLY | O_TRUNC), EROFS);
	fails(create(c, 0, 2, "g", O_RDONLY, 0600), EROFS);
	fails(rpc(c, P9_TSETATTR, "dddddqqqqq", 1, 1, 0600, 0, 0, z, z, z, z, z), EROFS);
	fails(rpc(c, P9_TMKDIR, "dsdd", 0, "d", 0755, 0), EROFS);
	fails(rpc(c, P9_TMKNOD, "dsdddd", 0, "d", S_IFREG, 0, 0, 0), EROFS);
	fails(rpc(c, P9_TSYMLINK, "dssd", 0, "d", "x", 0), EROFS);
	fails(rpc(c, P9_TLINK, "dds", 0, 1, "d"), EROFS);
	fails(rpc(c, P9_TRENAME, "dds", 1, 0, "d"), EROFS);
	fails(rpc(c, P9_TRENAMEAT, "dsds", 0, "f", 0, "d"), EROFS);
	fails(rpc(c, P9_TUNLINKAT, "dsd", 0, "f", 0), EROFS);
	fails(rpc(c, P9_TXATTRCREATE, "dsqd", 1, "user.x", UINT64_C(1), 0), EROFS);
	ok(lopen(c, 1, O_RDONLY));
	assert_int_equal(read_at(c, 1, 0, 9), 4);
	fails(write_at(c, 1, 0, "x"), EROFS);
	fails(rpc(c, P9_TREMOVE, "d", 1), EROFS);
	fails(clunk(c, 1), EBADF);
	assert_string_equal(get_file(c->share, "f"), "text");
	client_close(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options),	  cmocka_unit_test(version),
		cmocka_unit_test(walk),		  cmocka_unit_test(names),
		cmocka_unit_test(contents),	  cmocka_unit_test(open_modes),
		cmocka_unit_test(listing),	  cmocka_unit_test(special_files),
		cmocka_unit_test(fids_outlive_names), cmocka_unit_test(by_fid_alone),
		cmocka_unit_test(inside_out),	  cmocka_unit_test(readonly),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
