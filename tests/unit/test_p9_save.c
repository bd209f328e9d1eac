/* SPDX-License-Identifier: Apache-2.0 */
/* Shared folders: sessions saved and begun again, with their files there, moved, lost; bad states.
 */
#include "p9_client.h"

#include "back/fs/p9_saved_int.h"

/* save - a session's bytes. */
static struct bytes save(struct client *c)
{
	struct bytes b = {0};

	b.len = p9_save(c->s, &b.p);
	return b;
}

/* stop - the process that had the session ends. */
static struct bytes stop(struct client *c)
{
	struct bytes b = save(c);

	p9_server_destroy(c->s);
	assert_int_equal(c->f->fds, 0);
	fsdev_close(c->f);
	c->s = NULL;
	c->f = NULL;
	return b;
}

/* begin - another process, with the folder wherever it is now; frees b. */
static void begin(struct client *c, const char *opts, struct bytes b)
{
	struct p9_saved *v = NULL;
	struct err *e = NULL;
	char *all = xasprintf("local,id=fs,path=%s,%s", c->share, opts);

	ok(fsdev_open(&c->f, c->log, all, &e));
	free(all);
	c->s = p9_server_create(c->f);
	ok(p9_saved_read(&v, b.p, b.len, &e));
	free(b.p);
	p9_load(c->s, v);
	p9_saved_free(v);
}

static void again(struct client *c, const char *opts)
{
	begin(c, opts, stop(c));
}

/* What the log has got since it was asked last. */
static char *logged(struct client *c)
{
	static char text[2000];
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/log", c->dir);
	f = fopen(path, "r");
	text[f ? fread(text, 1, sizeof(text) - 1, f) : 0] = 0;
	if (f)
		fclose(f);
	ok(log_open(c->log, path, NULL)); /* empty again */
	return text;
}

#define NONE "security_model=none"

static void host_rename(struct client *c, const char *from, const char *to)
{
	ok(rename(in_share(c, from), in_share(c, to)));
}

static void make_tree(struct client *c)
{
	ok(mkdir(in_share(c, "d"), 0755));
	ok(mkdir(in_share(c, "d/e"), 0755));
	ok(mkdir(in_share(c, "d/e/deep"), 0755));
	put_file(c->share, "d/e/f", "contents");
	put_file(c->share, "top", "on top");
	ok(symlink("../outside/secret", in_share(c, "link")));
	ok(mkfifo(in_share(c, "fifo"), 0644));
	logged(c);
}

/* names - in a folder that is open, from a position on; *next gets that after the first one. */
static unsigned names(struct client *c, uint32_t fid, uint64_t from, uint64_t *next)
{
	unsigned n = 0;

	ok(rpc(c, P9_TREADDIR, "dqd", fid, from, 4096));
	field(c, 4);
	for (; c->at < c->rx + c->rx_len; n++) {
		c->at += 13;
		if (n)
			field(c, 8);
		else
			*next = field(c, 8);
		c->at += 1;
		c->at += field(c, 2);
	}
	return n;
}

static void every_kind(void **state)
{
	struct client *c = client_open(NONE);
	uint64_t at, ignored;
	struct attr a, b;
	struct bytes first, second;
	unsigned rest;

	make_tree(c);
	ok(rpc(c, P9_TWALK, "ddwsss", 0, 1, 3, "d", "e", "deep"));
	ok(rpc(c, P9_TWALK, "ddwsss", 0, 2, 3, "d", "e", "f"));
	ok(lopen(c, 2, O_RDWR));
	ok(create(c, 0, 3, "new", O_WRONLY | O_APPEND | O_EXCL | O_TRUNC, 0600));
	assert_int_equal(write_at(c, 3, 0, "one"), 3);
	ok(walk2(c, 0, 4, "d", "e"));
	ok(lopen(c, 4, O_DIRECTORY));
	rest = names(c, 4, 0, &at) - 1;
	ok(rpc(c, P9_TREADDIR, "dqd", 4, UINT64_C(0), 30)); /* that was all it read */
	ok(walk1(c, 0, 5, "link"));
	ok(walk1(c, 0, 6, "fifo"));
	ok(setxattr(in_share(c, "top"), "user.a", "value", 5, 0));
	ok(walk1(c, 0, 7, "top"));
	ok(rpc(c, P9_TXATTRWALK, "dds", 7, 8, "user.a"));
	ok(walk0(c, 7, 9));
	ok(rpc(c, P9_TXATTRCREATE, "dsqd", 9, "user.b", UINT64_C(6), 0));
	assert_int_equal(write_at(c, 9, 0, "abc"), 3);
	ok(walk0(c, 7, 10));
	ok(rpc(c, P9_TXATTRCREATE, "dsqd", 10, "user.none", UINT64_C(0), 0));
	ok(rpc(c, P9_TATTACH, "ddssd", 0xfffffffe, P9_NOFID, "", "", 12345));
	ok(getattr(c, 2, &a));
	removexattr(in_share(c, "top"), "user.a");

	first = stop(c);
	begin(c, NONE, first);
	assert_string_equal(logged(c), "");
	/* The same session again, byte by byte. */
	first = save(c);
	second = stop(c);
	assert_int_equal(first.len, second.len);
	assert_memory_equal(first.p, second.p, first.len);
	free(first.p);
	begin(c, NONE, second);

	ok(getattr(c, 2, &b));
	assert_int_equal(a.qid, b.qid);
	/* Up from a folder deep in the tree, and down again. */
	ok(rpc(c, P9_TWALK, "ddwsss", 1, 20, 3, "..", "..", "e"));
	ok(walk1(c, 20, 21, "f"));
	ok(rpc(c, P9_TWALK, "ddwssss", 1, 22, 4, "..", "..", "..", ".."));
	ok(getattr(c, 22, &a));
	ok(getattr(c, 0, &b));
	assert_int_equal(a.qid, b.qid);
	assert_int_equal(read_at(c, 2, 3, 100), 5);
	assert_memory_equal(c->at, "tents", 5);
	assert_int_equal(write_at(c, 2, 8, "+"), 1);
	assert_string_equal(get_file(c->share, "d/e/f"), "contents+");
	fails(lopen(c, 2, 0), EBUSY);
	/* What was done once is not done again; what holds on does. */
	assert_string_equal(get_file(c->share, "new"), "one");
	assert_int_equal(write_at(c, 3, 0, "two"), 3);
	assert_string_equal(get_file(c->share, "new"), "onetwo");
	fails(read_at(c, 3, 0, 1), EBADF);
	/* The rest of the folder, twice, and then as it is. */
	assert_int_equal(names(c, 4, at, &ignored), rest);
	put_file(c->share, "d/e/later", "");
	assert_int_equal(names(c, 4, at, &ignored), rest);
	assert_int_equal(names(c, 4, ignored, &ignored), rest - 1);
	assert_int_equal(names(c, 4, 0, &ignored), rest + 2);
	ok(rpc(c, P9_TREADLINK, "d", 5));
	assert_int_equal(field(c, 2), 17);
	ok(getattr(c, 6, &a));
	assert_true(S_ISFIFO(a.mode));
	fails(lopen(c, 6, O_RDONLY), ENXIO);
	assert_int_equal(read_at(c, 8, 1, 100), 4);
	assert_memory_equal(c->at, "alue", 4);
	assert_int_equal(write_at(c, 9, 3, "def"), 3);
	fails(write_at(c, 9, 6, "x"), ENOSPC);
	ok(clunk(c, 9));
	ok(clunk(c, 10));
	{
		char v[16];

		assert_int_equal(getxattr(in_share(c, "top"), "user.b", v, sizeof(v)), 6);
		assert_memory_equal(v, "abcdef", 6);
		assert_int_equal(getxattr(in_share(c, "top"), "user.none", v, sizeof(v)), 0);
	}
	/* Whose it is matters where files are made. */
	if (!geteuid()) {
		struct stat st;

		ok(rpc(c, P9_TMKDIR, "dsdd", 0xfffffffe, "his", 0755, getgid()));
		ok(stat(in_share(c, "his"), &st));
		assert_int_equal(st.st_uid, 12345);
	}
	client_close(c);
}

/* list - all that a client gets from position *at on, `room` bytes at a time, into seen[] by the
 * number that is in a name; how many messages it takes at most. */
static void list(struct client *c, uint64_t *at, unsigned room, unsigned messages, bool seen[100])
{
	while (messages--) {
		ok(rpc(c, P9_TREADDIR, "dqd", 1, *at, room));
		if (!field(c, 4))
			return;
		while (c->at < c->rx + c->rx_len) {
			char name[256];
			uint16_t len;

			c->at += 13;
			*at = field(c, 8);
			c->at += 1;
			len = (uint16_t)field(c, 2);
			memcpy(name, c->at, len);
			name[len] = 0;
			c->at += len;
			if (len < 3)
				continue;
			assert_false(seen[atoi(name + 5)]);
			seen[atoi(name + 5)] = true;
		}
	}
}

/* A folder is emptied by who reads it, in another process each time: nothing is left out. */
static void emptied_folder(void **state)
{
	struct client *c = client_open(NONE);
	bool seen[100] = {false}, gone[100] = {false};
	unsigned left = 100, next = 0;
	char name[16];
	uint64_t at = 0;

	logged(c);
	for (unsigned i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "file-%u", i);
		put_file(c->share, name, "");
	}
	ok(walk0(c, 0, 1));
	ok(lopen(c, 1, O_DIRECTORY));
	for (unsigned round = 0; round < 100; round++) {
		list(c, &at, 200, 1, seen);
		for (unsigned i = 0; i < 100; i++) {
			if (!seen[i] || gone[i])
				continue;
			snprintf(name, sizeof(name), "file-%u", i);
			ok(unlink(in_share(c, name)));
			gone[i] = true;
			left--;
		}
		if (next++ % 3 == 0)
			again(c, NONE);
	}
	assert_int_equal(left, 0);
	assert_string_equal(logged(c), "");
	client_close(c);
}

/* Before a client, and before it has a file. */
static void beginnings(void **state)
{
	struct client *c = client_open(NONE);
	struct p9_saved *v;

	p9_reset(c->s);
	again(c, NONE);
	fails(rpc(c, P9_TATTACH, "ddssd", 0, P9_NOFID, "", "", 0), EPROTO);
	ok(rpc(c, P9_TVERSION, "ds", 5000, "9P2000.L"));
	again(c, NONE);
	ok(rpc(c, P9_TATTACH, "ddssd", 0, P9_NOFID, "", "", 0));
	fails(rpc(c, P9_TMKDIR, "dsddr", 0, "x", 0, 0, c->rx, (size_t)5000), EMSGSIZE);
	/* No bytes at all: nobody was there. */
	ok(p9_saved_read(&v, NULL, 0, NULL));
	p9_load(c->s, v);
	p9_saved_free(v);
	assert_false(p9_in_use(c->s));
	fails(rpc(c, P9_TATTACH, "ddssd", 0, P9_NOFID, "", "", 0), EPROTO);
	client_close(c);
}

/* The whole folder is elsewhere, or another is there. */
static void moved_folder(void **state)
{
	struct client *c = client_open(NONE);
	struct bytes b;
	char old[96];

	make_tree(c);
	ok(rpc(c, P9_TWALK, "ddwsss", 0, 2, 3, "d", "e", "f"));
	ok(lopen(c, 2, O_RDWR));
	b = stop(c);
	strcpy(old, c->share);
	snprintf(c->share, sizeof(c->share), "%s/moved", c->dir);
	ok(rename(old, c->share));
	ok(mkdir(old, 0755));
	begin(c, NONE, b);
	assert_string_equal(logged(c), "");
	assert_int_equal(write_at(c, 2, 0, "C"), 1);
	assert_string_equal(get_file(c->share, "d/e/f"), "Contents");
	/* One with a file that has the same name is not the same folder. */
	b = stop(c);
	strcpy(c->share, old);
	ok(mkdir(in_share(c, "d"), 0755));
	ok(mkdir(in_share(c, "d/e"), 0755));
	put_file(c->share, "d/e/f", "strange");
	begin(c, NONE, b);
	assert_non_null(strstr(logged(c),
			       "of 2 files in use when the machine was saved, 1 can't be "
			       "used any more: d/e/f (another file)"));
	fails(read_at(c, 2, 0, 1), ESTALE);
	ok(rpc(c, P9_TWALK, "ddwsss", 0, 3, 3, "d", "e", "f"));
	client_close(c);
}

/* stale - by every message. */
static void is_stale(struct client *c, uint32_t fid)
{
	struct attr a;

	fails(rpc(c, P9_TSTATFS, "d", fid), ESTALE);
	fails(lopen(c, fid, 0), ESTALE);
	fails(rpc(c, P9_TLCREATE, "dsddd", fid, "n", O_RDWR, 0644, 0), ESTALE);
	fails(rpc(c, P9_TSYMLINK, "dssd", fid, "n", "x", 0), ESTALE);
	fails(rpc(c, P9_TMKNOD, "dsdddd", fid, "n", S_IFIFO | 0644, 0, 0, 0), ESTALE);
	fails(rpc(c, P9_TRENAME, "dds", fid, 0, "n"), ESTALE);
	fails(rpc(c, P9_TREADLINK, "d", fid), ESTALE);
	fails(getattr(c, fid, &a), ESTALE);
	fails(rpc(c, P9_TSETATTR,
		  "ddddd"
		  "qqqqq",
		  fid, 8, 0, 0, 0, UINT64_C(0), UINT64_C(0), UINT64_C(0), UINT64_C(0), UINT64_C(0)),
	      ESTALE);
	fails(rpc(c, P9_TXATTRWALK, "dds", fid, 99, ""), ESTALE);
	fails(rpc(c, P9_TXATTRCREATE, "dsqd", fid, "user.x", UINT64_C(1), 0), ESTALE);
	fails(rpc(c, P9_TREADDIR, "dqd", fid, UINT64_C(0), 100), ESTALE);
	fails(rpc(c, P9_TFSYNC, "dd", fid, 0), ESTALE);
	fails(rpc(c, P9_TLOCK, "dbdqqds", fid, 0, 0, UINT64_C(0), UINT64_C(0), 1, "x"), ESTALE);
	fails(rpc(c, P9_TGETLOCK, "dbqqds", fid, 0, UINT64_C(0), UINT64_C(0), 1, "x"), ESTALE);
	fails(rpc(c, P9_TLINK, "dds", fid, 0, "n"), ESTALE);
	fails(rpc(c, P9_TLINK, "dds", 0, fid, "n"), ESTALE);
	fails(rpc(c, P9_TMKDIR, "dsdd", fid, "n", 0755, 0), ESTALE);
	fails(rpc(c, P9_TRENAMEAT, "dsds", fid, "f", 0, "n"), ESTALE);
	fails(rpc(c, P9_TRENAMEAT, "dsds", 0, "top", fid, "n"), ESTALE);
	fails(rpc(c, P9_TUNLINKAT, "dsd", fid, "f", 0), ESTALE);
	fails(walk0(c, fid, 99), ESTALE);
	fails(walk0(c, fid, fid), ESTALE);
	fails(walk1(c, fid, 99, ".."), ESTALE);
	fails(read_at(c, fid, 0, 1), ESTALE);
	fails(write_at(c, fid, 0, "x"), ESTALE);
	fails(walk0(c, 0, fid), EINVAL); /* its number is taken */
}

enum { GONE = 1, REMOVED, REPLACED, BELOW, OTHER_TYPE, LOCKED, XATTR, VALUE, LIVE, COPY, LAST };

static void lost_files(void **state)
{
	struct client *c = client_open(NONE);
	char *text, *swapped;
	struct bytes b;

	make_tree(c);
	for (unsigned i = GONE; i < LAST; i++) {
		char name[16];

		snprintf(name, sizeof(name), "f%u", i);
		if (i == REMOVED)
			ok(mkdir(in_share(c, name), 0755));
		else
			put_file(c->share, name, name);
	}
	ok(walk1(c, 0, GONE, "f1"));
	ok(walk1(c, 0, REMOVED, "f2"));
	ok(lopen(c, REMOVED, O_DIRECTORY));
	ok(rmdir(in_share(c, "f2")));
	put_file(c->share, "f2", "another that was there in time");
	ok(walk1(c, 0, REPLACED, "f3"));
	ok(lopen(c, REPLACED, O_RDWR));
	ok(rpc(c, P9_TWALK, "ddwsss", 0, BELOW, 3, "d", "e", "f"));
	ok(lopen(c, BELOW, O_RDWR));
	ok(walk1(c, 0, OTHER_TYPE, "f5"));
	ok(walk1(c, 0, LOCKED, "f6"));
	ok(lopen(c, LOCKED, O_RDWR));
	ok(walk1(c, 0, XATTR, "f7"));
	ok(rpc(c, P9_TXATTRCREATE, "dsqd", XATTR, "user.b", UINT64_C(1), 0));
	ok(setxattr(in_share(c, "f8"), "user.a", "value", 5, 0));
	ok(walk1(c, 0, 50, "f8"));
	ok(rpc(c, P9_TXATTRWALK, "dds", 50, VALUE, "user.a"));
	ok(clunk(c, 50));
	ok(walk1(c, 0, LIVE, "f9"));
	ok(lopen(c, LIVE, O_RDWR));
	ok(walk0(c, REMOVED, COPY));
	b = stop(c);

	ok(unlink(in_share(c, "f1")));
	put_file(c->share, "tmp", "f3");
	host_rename(c, "tmp", "f3");
	/* A folder on the way now leads outside, where there is all that is looked for. */
	host_rename(c, "d", "away");
	ok(mkdir(in_share(c, "../outside/e"), 0755));
	put_file(c->outside, "e/f", "contents");
	swapped = in_share(c, "d");
	ok(symlink("../outside", swapped));
	ok(unlink(in_share(c, "f5")));
	ok(mkfifo(in_share(c, "f5"), 0644));
	ok(chmod(in_share(c, "f6"), 0));
	ok(unlink(in_share(c, "f7")));
	ok(unlink(in_share(c, "f8")));
	begin(c, NONE, b);

	text = logged(c);
	assert_non_null(strstr(text, geteuid()
					     ? "of 11 files in use when the machine was saved, 9"
					     : "of 11 files in use when the machine was saved, 8"));
	assert_non_null(strstr(text, "f1 (gone), f2 (gone), f3 (another file), "
				     "d/e/f (another file), f5 (another file), ..."));
	assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
	for (unsigned i = GONE; i < LAST; i++)
		if (i != LIVE && (i != LOCKED || geteuid()))
			is_stale(c, i);
	assert_int_equal(read_at(c, LIVE, 0, 10), 2);
	assert_string_equal(get_file(c->share, "f2"), "another that was there in time");
	assert_string_equal(get_file(c->outside, "e/f"), "contents");

	/* They stay so, and nobody is told twice. */
	again(c, NONE);
	assert_string_equal(logged(c), "");
	is_stale(c, REMOVED);
	/* The ways in which a client lets go. */
	fails(rpc(c, P9_TREMOVE, "d", REPLACED), ESTALE);
	fails(clunk(c, REPLACED), EBADF);
	fails(clunk(c, XATTR), ESTALE); /* an attribute was to be set by this */
	fails(clunk(c, XATTR), EBADF);
	ok(clunk(c, VALUE));
	ok(clunk(c, REMOVED));
	ok(walk1(c, 0, REMOVED, "f2"));
	ok(lopen(c, REMOVED, O_RDONLY));
	ok(rpc(c, P9_TVERSION, "ds", 8192, "9P2000.L"));
	assert_int_equal(c->f->fds, 0);
	client_close(c);
}

/* A file without a name goes along with what is in it, and to nobody else's sight. */
static void removed_files(void **state)
{
	static const struct timespec times[2] = {{111, 222}, {333, 444}};
	struct client *c = client_open("security_model=mapped-xattr");
	struct bytes b, second;
	struct attr a;
	char v[16];

	make_tree(c);
	ok(mkdir(in_share(c, "d/gone"), 0755));
	ok(walk2(c, 0, 1, "d", "gone"));
	ok(create(c, 1, 2, "f", O_RDWR, 0640));
	assert_int_equal(write_at(c, 2, 100000, "the end"), 7);
	ok(rpc(c, P9_TSETATTR,
	       "ddddd"
	       "qqqqq",
	       2, 7, 04751, 77, 88, UINT64_C(0), UINT64_C(0), UINT64_C(0), UINT64_C(0),
	       UINT64_C(0)));
	ok(setxattr(in_share(c, "d/gone/f"), "user.a", "value", 5, 0));
	ok(utimensat(AT_FDCWD, in_share(c, "d/gone/f"), times, 0));
	/* Another way to it, and a node that isn't open. */
	ok(walk1(c, 1, 3, "f"));
	ok(lopen(c, 3, O_WRONLY | O_APPEND));
	ok(walk1(c, 1, 4, "f"));
	ok(unlink(in_share(c, "d/gone/f")));
	ok(rmdir(in_share(c, "d/gone")));
	ok(create(c, 0, 5, "empty", O_RDWR, 0));
	ok(unlink(in_share(c, "empty")));
	/* It is somewhere, but who could say where? */
	ok(walk1(c, 0, 6, "top"));
	ok(lopen(c, 6, O_RDWR));
	ok(link(in_share(c, "top"), in_share(c, "d/other")));
	ok(unlink(in_share(c, "top")));
	/* More than a state has room for. */
	ok(create(c, 0, 7, "large", O_RDWR, 0600));
	assert_int_equal(write_at(c, 7, P9_ORPHAN_MEM - 100, "x"), 1);
	ok(unlink(in_share(c, "large")));

	again(c, "security_model=mapped-xattr");
	assert_non_null(strstr(logged(c),
			       "of 8 files in use when the machine was saved, 3 can't be "
			       "used any more: d/gone (gone), top (gone), large (gone)"));
	for (unsigned round = 0; round < 2; round++) {
		ok(getattr(c, 2, &a));
		assert_int_equal(a.mode, S_IFREG | 04751);
		assert_int_equal(a.uid, 77);
		assert_int_equal(a.gid, 88);
		assert_int_equal(a.nlink, 0);
		assert_int_equal(a.mtime, 333);
		assert_int_equal(a.size, 100007);
		/* The same again. */
		b = save(c);
		second = stop(c);
		assert_int_equal(b.len, second.len);
		assert_memory_equal(b.p, second.p, b.len);
		free(second.p);
		begin(c, "security_model=mapped-xattr", b);
	}
	assert_string_equal(logged(c), "");
	assert_int_equal(read_at(c, 2, 99998, 100), 9);
	assert_memory_equal(c->at, "\0\0the end", 9);
	assert_int_equal(write_at(c, 3, 0, "!"), 1);
	fails(read_at(c, 3, 0, 1), EBADF);
	assert_int_equal(read_at(c, 2, 100000, 100), 8);
	assert_memory_equal(c->at, "the end!", 8);
	ok(getattr(c, 4, &a));
	assert_int_equal(a.size, 100008);
	ok(lopen(c, 4, O_RDWR));
	ok(rpc(c, P9_TXATTRWALK, "dds", 2, 20, "user.a"));
	assert_int_equal(read_at(c, 20, 0, 100), 5);
	assert_memory_equal(c->at, "value", 5);
	assert_int_equal(write_at(c, 5, 0, "."), 1);
	fails(rpc(c, P9_TREMOVE, "d", 5), ENOENT);
	is_stale(c, 1);
	is_stale(c, 6);
	is_stale(c, 7);
	/* There is no way back into the folder. */
	assert_int_not_equal(rpc(c, P9_TLINK, "dds", 0, 2, "back"), 0);
	assert_int_not_equal(rpc(c, P9_TRENAME, "dds", 2, 0, "back"), 0);
	assert_int_equal(getxattr(in_share(c, "back"), "user.a", v, sizeof(v)), -1);
	client_close(c);
}

/* What was renamed before the state was saved is found where it is; later, it is not. */
static void renamed_files(void **state)
{
	struct client *c = client_open(NONE);
	struct attr a, b;
	struct bytes s;

	make_tree(c);
	ok(walk2(c, 0, 1, "d", "e"));
	ok(rpc(c, P9_TWALK, "ddwsss", 0, 2, 3, "d", "e", "f"));
	ok(lopen(c, 2, O_RDWR));
	ok(walk1(c, 0, 3, "top"));
	ok(lopen(c, 3, O_RDWR));
	/* By the host, a folder, and a file to below it. */
	host_rename(c, "d", "moved");
	host_rename(c, "top", "moved/e/deep/down");
	/* By the client. */
	ok(rpc(c, P9_TRENAMEAT, "dsds", 1, "f", 1, "g"));
	again(c, NONE);
	assert_string_equal(logged(c), "");
	assert_int_equal(write_at(c, 2, 0, "C"), 1);
	assert_string_equal(get_file(c->share, "moved/e/g"), "Contents");
	assert_int_equal(write_at(c, 3, 0, "O"), 1);
	assert_string_equal(get_file(c->share, "moved/e/deep/down"), "On top");
	ok(rpc(c, P9_TRENAME, "dds", 3, 0, "back"));
	assert_string_equal(get_file(c->share, "back"), "On top");
	ok(rpc(c, P9_TWALK, "ddwsss", 1, 4, 3, "..", "..", "moved"));
	ok(getattr(c, 4, &a));
	ok(walk1(c, 1, 5, ".."));
	ok(getattr(c, 5, &b));
	assert_int_equal(a.qid, b.qid);
	/* Out of the folder: it is nowhere. */
	{
		char path[128];

		snprintf(path, sizeof(path), "%s/out", c->outside);
		ok(rename(in_share(c, "back"), path));
	}
	s = stop(c);
	host_rename(c, "moved/e", "late");
	begin(c, NONE, s);
	assert_non_null(strstr(logged(c), "moved/e (gone), moved/e/g (gone), back (gone)"));
	fails(read_at(c, 3, 0, 1), ESTALE);
	fails(read_at(c, 2, 0, 1), ESTALE);
	fails(walk0(c, 1, 50), ESTALE);
	ok(walk0(c, 4, 50));
	client_close(c);
}

static void other_options(void **state)
{
	struct client *c = client_open(NONE);
	char *text;

	make_tree(c);
	put_file(c->share, "bad\033[31m\n", "");
	ok(walk1(c, 0, 1, "top"));
	ok(lopen(c, 1, O_RDONLY));
	ok(walk1(c, 0, 2, "bad\033[31m\n"));
	ok(lopen(c, 2, O_WRONLY));
	again(c, NONE ",readonly=on");
	text = logged(c);
	assert_non_null(
		strstr(text, "1 can't be used any more: bad?[31m? (Read-only file system)"));
	assert_int_equal(read_at(c, 1, 0, 100), 6);
	fails(rpc(c, P9_TFSYNC, "dd", 2, 0), ESTALE);
	/* Fewer descriptors than there were. */
	ok(rpc(c, P9_TVERSION, "ds", 8192, "9P2000.L"));
	ok(rpc(c, P9_TATTACH, "ddssd", 0, P9_NOFID, "", "", getuid()));
	for (unsigned i = 1; i <= 20; i++)
		ok(walk1(c, 0, i, "d"));
	{
		struct bytes b = save(c);
		struct p9_saved *v;

		c->f->fd_max = 10;
		ok(p9_saved_read(&v, b.p, b.len, NULL));
		p9_load(c->s, v);
		p9_saved_free(v);
		free(b.p);
	}
	assert_non_null(strstr(logged(c), "of 21 files in use when the machine was saved, 11"));
	ok(walk0(c, 1, 50));
	fails(walk0(c, 20, 51), ESTALE);
	client_close(c);
}

/* Numbers of files on other file systems go by their order, which a load keeps. */
static void numbers(void **state)
{
	struct client *c = client_open(NONE);
	dev_t dev = c->f->root_dev;
	uint64_t a, b, x;

	ok(local_qid_path(c->f, dev + 1, 5, &a));
	ok(local_qid_path(c->f, dev + 2, 5, &b));
	assert_int_equal(a, UINT64_C(1) << 48 | 5);
	assert_int_equal(b, UINT64_C(2) << 48 | 5);
	again(c, NONE);
	local_qid_keep(c->f, dev, 5, b); /* not a number that one of the folder's own could have */
	local_qid_keep(c->f, dev + 2, 5, b + 1);
	local_qid_keep(c->f, dev + 2, 5, b);
	local_qid_keep(c->f, dev + 3, 5, b); /* taken */
	local_qid_keep(c->f, dev + 2, 5, a); /* has one */
	ok(local_qid_path(c->f, dev + 2, 5, &x));
	assert_int_equal(x, b);
	ok(local_qid_path(c->f, dev, 5, &x));
	assert_int_equal(x, 5);
	ok(local_qid_path(c->f, dev + 3, 5, &x));
	assert_int_equal(x, UINT64_C(3) << 48 | 5);
	local_qid_keep(c->f, dev + 4, 5, UINT64_C(0xffff) << 48 | 5);
	ok(local_qid_path(c->f, dev + 4, 5, &x));
	assert_int_equal(x, UINT64_C(0xffff) << 48 | 5);
	fails(local_qid_path(c->f, dev + 5, 5, &x), ENFILE);
	client_close(c);
}

/* A state as somebody might make it up, with the fields of p9_client.h. */
static struct bytes made(struct client *c, const char *fmt, ...)
{
	struct bytes b;
	va_list ap;

	va_start(ap, fmt);
	msg_v(c, 0, fmt, ap);
	va_end(ap);
	b.len = c->tx_len - P9_HDR;
	b.p = malloc(b.len + 1);
	memcpy(b.p, c->tx + P9_HDR, b.len);
	return b;
}

static void refused(struct client *c, struct bytes b, const char *why)
{
	struct p9_saved *v;
	struct err *e = NULL;

	fails(p9_saved_read(&v, b.p, b.len, &e), EINVAL);
	if (!strstr(err_msg(e), why))
		fail_msg("%s, not %s", err_msg(e), why);
	err_free(&e);
	free(b.p);
}

#define Q(x) UINT64_C(x)
#define NODE(parent, name, type) parent, name, 0, type, Q(1), Q(1), 1, Q(1)
#define NODE_FMT "dsbdqqdq"
#define DIR_TREE 8192, 2, 0, NODE(1, "f", S_IFREG)
#define DIR_TREE_FMT \
	"dd"         \
	"d" NODE_FMT

static void malformed(void **state)
{
	static const char *const no_names[] = {"", ".", "..", "a/b", "/", "../x"};
	struct client *c = client_open(NONE);
	char longest[P9_SAVED_NAME_MAX + 2];

	refused(c, made(c, "ddd", 4095, 0, 0), "size of messages");
	refused(c, made(c, "ddd", P9_MSIZE_MAX + 1, 0, 0), "size of messages");
	refused(c, made(c, "ddd", 8192, 0, 1), "more than there can be");
	refused(c, made(c, "ddd", 8192, P9_SAVED_NODES_MAX + 1, 0), "more than there can be");
	refused(c, made(c, "ddd", 8192, 0xffffffff, 0), "more than there can be");
	refused(c, made(c, "ddd", 8192, 0, P9_FIDS_MAX + 1), "more than there can be");
	refused(c, made(c, "dddb", 8192, 0, 0, 0), "more than there should be");
	refused(c, made(c, "dddd", 0, 1, 0, 0), "before a version");
	refused(c, made(c, "dd", 8192, 0), "cut short");
	/* Names and trees. */
	for (unsigned i = 0; i < ARRAY_SIZE(no_names); i++)
		refused(c,
			made(c,
			     "dd"
			     "d" NODE_FMT "d",
			     8192, 2, 0, NODE(1, no_names[i], S_IFREG), 0),
			"no file's");
	refused(c, made(c, "ddddwrb", 8192, 2, 0, 1, 3, "a\0b", (size_t)3, 0), "no file's");
	memset(longest, 'x', sizeof(longest));
	longest[sizeof(longest) - 1] = 0;
	refused(c, made(c, "ddd" NODE_FMT "d", 8192, 2, 0, NODE(1, longest, S_IFREG), 0),
		"no file's");
	refused(c, made(c, "dd" NODE_FMT "d", 8192, 1, NODE(1, "f", S_IFREG), 0), "in no folder");
	refused(c, made(c, "ddd" NODE_FMT "d", 8192, 2, 0, NODE(3, "f", S_IFREG), 0),
		"in no folder");
	refused(c,
		made(c, DIR_TREE_FMT NODE_FMT "d", 8192, 3, 0, NODE(1, "f", S_IFREG),
		     NODE(2, "g", S_IFREG), 0),
		"in no folder");
	refused(c, made(c, "ddd" NODE_FMT "d", 8192, 2, 0, NODE(1, "f", 0), 0), "type of file");
	refused(c,
		made(c, "ddd" NODE_FMT "d", 8192, 2, 0, 1, "f", 8, S_IFREG, Q(1), Q(1), 1, Q(1), 0),
		"properties");
	refused(c,
		made(c, "ddd" NODE_FMT "d", 8192, 2, 0, 1, "f", 0, S_IFREG, Q(1), Q(1), 1000000000,
		     Q(1), 0),
		"properties");
	/* Fids: number, user, kind, node. */
	refused(c,
		made(c,
		     "dddd"
		     "ddbd",
		     8192, 1, 0, 1, P9_NOFID, 0, FID_NODE, 1),
		"all different");
	refused(c,
		made(c,
		     "dddd"
		     "ddbd"
		     "ddbd",
		     8192, 1, 0, 2, 7, 0, FID_NODE, 1, 7, 0, FID_NODE, 1),
		"all different");
	refused(c,
		made(c,
		     "dddd"
		     "ddb"
		     "ddbd",
		     8192, 1, 0, 2, 7, 0, 0x80, 6, 0, FID_NODE, 1),
		"all different");
	refused(c,
		made(c,
		     "dddd"
		     "ddbd",
		     8192, 1, 0, 1, 7, 0, 5, 1),
		"unknown kind");
	refused(c,
		made(c,
		     "dddd"
		     "ddbd",
		     8192, 1, 0, 1, 7, 0, 0x85, 1),
		"unknown kind");
	refused(c,
		made(c,
		     "dddd"
		     "ddbd",
		     8192, 1, 0, 1, 7, 0, FID_NODE, 0),
		"of no file");
	refused(c,
		made(c,
		     "dddd"
		     "ddbd",
		     8192, 1, 0, 1, 7, 0, FID_NODE, 2),
		"of no file");
	refused(c,
		made(c,
		     "ddd"
		     "ddbd",
		     8192, 0, 1, 7, 0, FID_NODE, 1),
		"of no file");
	refused(c,
		made(c,
		     "dddd"
		     "ddbdd",
		     8192, 1, 0, 1, 7, 0, FID_FILE, 1, O_RDWR),
		"another type");
	refused(c,
		made(c,
		     DIR_TREE_FMT "d"
				  "ddbdd",
		     DIR_TREE, 1, 7, 0, FID_DIR, 2, 0),
		"another type");
	refused(c,
		made(c,
		     DIR_TREE_FMT "d"
				  "ddbdd",
		     DIR_TREE, 1, 7, 0, FID_FILE, 2, O_CREAT),
		"flags of an open file");
	refused(c,
		made(c,
		     DIR_TREE_FMT "d"
				  "ddbdd",
		     DIR_TREE, 1, 7, 0, FID_FILE, 2, O_TRUNC),
		"flags of an open file");
	refused(c,
		made(c,
		     DIR_TREE_FMT "d"
				  "ddbdd",
		     DIR_TREE, 1, 7, 0, FID_FILE, 2, O_DIRECT),
		"flags of an open file");
	refused(c,
		made(c,
		     "dddd"
		     "ddbdd",
		     8192, 1, 0, 1, 7, 0, FID_DIR, 1, O_RDWR),
		"for writing");
	/* The rest of a folder. */
#define REST_FMT \
	"dddd"   \
	"ddbddb" \
	"qd"
#define REST_OF(...) 8192, 1, 0, 1, 7, 0, FID_DIR, 1, 0, 1, __VA_ARGS__
	refused(c,
		made(c,
		     "dddd"
		     "ddbddb",
		     8192, 1, 0, 1, 7, 0, FID_DIR, 1, 0, 2),
		"form of folder");
	refused(c, made(c, REST_FMT, REST_OF(Q(0), 0)), "not being read");
	refused(c, made(c, REST_FMT, REST_OF(Q(1), 1)), "cut short");
	refused(c, made(c, REST_FMT "b", REST_OF(Q(1), 1), 0), "in no folder");
	refused(c, made(c, REST_FMT "qqbw", REST_OF(Q(1), 19), Q(1), Q(1), 0, 0), "in no folder");
	refused(c, made(c, REST_FMT "qqbw", REST_OF(Q(1), 19), Q(1), Q(1), 0, 1), "in no folder");
	refused(c, made(c, REST_FMT "qqbs", REST_OF(Q(1), 22), Q(1), Q(1), 0, "a/b"),
		"in no folder");
	refused(c, made(c, REST_FMT "qqbwr", REST_OF(Q(1), 21), Q(1), Q(1), 0, 2, "a\0", (size_t)2),
		"in no folder");
	/* Attributes: name, flags, size, what there is. */
#define ATTR_FMT \
	"dddd"   \
	"ddbd"   \
	"sddd"
#define ATTR_OF(name, ...) 8192, 1, 0, 1, 7, 0, FID_XATTR_WRITE, 1, name, __VA_ARGS__
	refused(c, made(c, ATTR_FMT, ATTR_OF("", 0, 0, 0)), "name of an attribute");
	refused(c, made(c, ATTR_FMT, ATTR_OF(longest, 0, 0, 0)), "name of an attribute");
	refused(c, made(c, ATTR_FMT, ATTR_OF("user.x", 4, 0, 0)), "flags of an attribute");
	refused(c, made(c, ATTR_FMT, ATTR_OF("user.x", 0, 65537, 0)), "too large");
	refused(c, made(c, ATTR_FMT "b", ATTR_OF("user.x", 0, 0, 1), 0), "too large");
	refused(c, made(c, ATTR_FMT, ATTR_OF("user.x", 0, 100, 100)), "cut short");
	refused(c, made(c, ATTR_FMT, ATTR_OF("user.x", 0, 0xffffffff, 0xffffffff)), "cut short");
	/* Removed files: mode, owner, times, attributes, contents. */
#define GONE_FMT           \
	"ddd" NODE_FMT "d" \
	"ddd"              \
	"qdqd"
#define GONE_NODE(parent, type) parent, "f", 5, type, Q(1), Q(1), 1, Q(1)
#define GONE_OF(same) 8192, 2, 0, GONE_NODE(1, S_IFREG), same
#define TIMES Q(1), 1, Q(1), 1
	refused(c, made(c, "ddd" NODE_FMT "dd", 8192, 2, 0, GONE_NODE(1, S_IFDIR), 0, 0),
		"no removed");
	refused(c,
		made(c, "ddd" NODE_FMT "dd", 8192, 2, 0, 1, "f", 4, S_IFREG, Q(1), Q(1), 1, Q(1), 0,
		     0),
		"no removed");
	for (unsigned same = 1; same < 4; same++)
		refused(c, made(c, "ddd" NODE_FMT "dd", GONE_OF(same), 0), "like no other");
	refused(c, made(c, GONE_FMT "wqd", GONE_OF(0), 010000, 0, 0, TIMES, 0, Q(0), 0), "mode");
	refused(c,
		made(c, GONE_FMT "wqd", GONE_OF(0), 0, 0, 0, Q(1), 1000000000, Q(1), 1, 0, Q(0), 0),
		"time");
	refused(c, made(c, GONE_FMT "wqd", GONE_OF(0), 0, 0, 0, TIMES, 0, Q(1) << 32, 0),
		"too much");
	refused(c, made(c, GONE_FMT "wqd", GONE_OF(0), 0, 0, 0, TIMES, 0, Q(100), 0), "cut short");
	refused(c, made(c, GONE_FMT "wsdqd", GONE_OF(0), 0, 0, 0, TIMES, 1, "user.", 0, Q(0), 0),
		"removed file's attribute");
	refused(c,
		made(c, GONE_FMT "wsdqd", GONE_OF(0), 0, 0, 0, TIMES, 1, "trusted.x", 0, Q(0), 0),
		"removed file's attribute");
	refused(c,
		made(c, GONE_FMT "wwrdqd", GONE_OF(0), 0, 0, 0, TIMES, 1, 7, "user.\0x", (size_t)7,
		     0, Q(0), 0),
		"removed file's attribute");
	refused(c,
		made(c, GONE_FMT "wsdqd", GONE_OF(0), 0, 0, 0, TIMES, 1, "user.x", 0xffffffff, Q(0),
		     0),
		"cut short");
	refused(c,
		made(c, GONE_FMT "wsdqd", GONE_OF(0), 0, 0, 0, TIMES, 0xffff, "user.x", 0, Q(0), 0),
		"removed file's attribute");
	client_close(c);
}

/* Attributes of all fids together have a limit. */
static void much_memory(void **state)
{
	struct client *c = client_open(NONE);
	struct bytes b = {.p = malloc(64 * 1024)};
	uint8_t *p = b.p;
	unsigned n = 257;

	for (unsigned k = 0; k < 2; k++, n--) {
		struct p9_saved *v;

		p = b.p;
		put_le32(p, 8192);
		put_le32(p + 4, 1);
		put_le32(p + 8, 0);
		put_le32(p + 12, n);
		p += 16;
		for (unsigned i = 0; i < n; i++, p += 33) {
			memset(p, 0, 33);
			put_le32(p, i);
			p[8] = FID_XATTR_WRITE;
			put_le32(p + 9, 1);
			put_le16(p + 13, 6);
			memcpy(p + 15, "user.x", 6);
			put_le32(p + 25, FS_XATTR_MAX);
		}
		b.len = (uint32_t)(p - b.p);
		if (!k) {
			fails(p9_saved_read(&v, b.p, b.len, NULL), EINVAL);
			continue;
		}
		ok(p9_saved_read(&v, b.p, b.len, NULL));
		p9_load(c->s, v);
		p9_saved_free(v);
		assert_int_equal(write_at(c, 255, 0, "x"), 1);
		p9_reset(c->s);
		assert_int_equal(c->s->xattr_mem, 0);
	}
	free(b.p);
	client_close(c);
}

/* Cut short anywhere it is refused; with any byte changed it is refused, or a session that does no
 * harm. */
static void damaged(void **state)
{
	struct client *c = client_open(NONE);
	struct p9_saved *v;
	struct bytes b;
	uint64_t next;

	make_tree(c);
	ok(rpc(c, P9_TWALK, "ddwsss", 0, 2, 3, "d", "e", "f"));
	ok(lopen(c, 2, O_RDWR));
	ok(walk1(c, 0, 4, "d"));
	ok(lopen(c, 4, O_DIRECTORY));
	names(c, 4, 0, &next);
	ok(rpc(c, P9_TREADDIR, "dqd", 4, UINT64_C(0), 30));
	ok(walk1(c, 0, 9, "top"));
	ok(rpc(c, P9_TXATTRCREATE, "dsqd", 9, "user.b", UINT64_C(6), 0));
	assert_int_equal(write_at(c, 9, 0, "abc"), 3);
	ok(create(c, 0, 10, "gone", O_RDWR, 0600));
	assert_int_equal(write_at(c, 10, 0, "abc"), 3);
	ok(setxattr(in_share(c, "gone"), "user.x", "y", 1, 0));
	ok(walk1(c, 0, 11, "gone"));
	ok(unlink(in_share(c, "gone")));
	b = save(c);
	for (uint32_t len = 1; len < b.len; len++) {
		uint8_t *part = malloc(len);

		memcpy(part, b.p, len);
		fails(p9_saved_read(&v, part, len, NULL), EINVAL);
		free(part);
	}
	for (uint32_t at = 0; at < b.len; at++)
		for (unsigned bit = 0; bit < 8; bit++) {
			b.p[at] ^= (uint8_t)(1 << bit);
			if (!p9_saved_read(&v, b.p, b.len, NULL)) {
				p9_load(c->s, v);
				p9_saved_free(v);
				read_at(c, 2, 0, 10);
				rpc(c, P9_TREADDIR, "dqd", 4, next, 100);
				write_at(c, 2, 0, "c");
				write_at(c, 10, 0, "c");
				walk1(c, 4, 50, "..");
				clunk(c, 9);
			}
			b.p[at] ^= (uint8_t)(1 << bit);
		}
	assert_string_equal(get_file(c->outside, "secret"), "secret");
	assert_non_null(strstr(get_file(c->share, "d/e/f"), "contents"));
	free(b.p);
	logged(c);
	client_close(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kind),	 cmocka_unit_test(emptied_folder),
		cmocka_unit_test(beginnings),	 cmocka_unit_test(moved_folder),
		cmocka_unit_test(lost_files),	 cmocka_unit_test(removed_files),
		cmocka_unit_test(renamed_files), cmocka_unit_test(other_options),
		cmocka_unit_test(numbers),	 cmocka_unit_test(malformed),
		cmocka_unit_test(much_memory),	 cmocka_unit_test(damaged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
