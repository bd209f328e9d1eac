/* SPDX-License-Identifier: Apache-2.0 */
/* Shared folders: owners and modes that are mapped; extended attributes. */
#include "p9_client.h"
#include <sys/sysmacros.h>

#define Z UINT64_C(0)

/* Has the host's file this attribute of so many bytes, with this value? */
static void host_has(struct client *c, const char *name, const char *attr, size_t len, uint64_t v)
{
	uint8_t b[16] = { 0 };

	assert_int_equal(getxattr(in_share(c, name), attr, b, sizeof(b)), len);
	assert_int_equal(len == 4 ? get_le32(b) : get_le64(b), v);
}

static int chown_mode(struct client *c, uint32_t fid, uint32_t valid, uint32_t mode, uint32_t uid,
		      uint32_t gid)
{
	return rpc(c, P9_TSETATTR, "dddddqqqqq", fid, valid, mode, uid, gid, Z, Z, Z, Z, Z);
}

static void stat_of(struct client *c, const char *name, struct attr *a)
{
	ok(walk1(c, 0, 99, name));
	ok(getattr(c, 99, a));
	ok(clunk(c, 99));
}

/* The form is QEMU's: what is on the host must be what it would write. */
static void mapped_form(void **state)
{
	struct client *c = client_open("security_model=mapped-xattr,fmode=0640,dmode=0750");
	struct attr a;
	struct stat st;
	char text[64];

	ok(rpc(c, P9_TATTACH, "ddssd", 50, P9_NOFID, "", "", 1000)); /* user 1000 */
	ok(walk0(c, 50, 1));
	ok(rpc(c, P9_TLCREATE, "dsddd", 1, "f", O_RDWR, 06755, 100));
	ok(stat(in_share(c, "f"), &st));
	assert_int_equal(st.st_mode, S_IFREG | 0640);
	assert_int_equal(st.st_uid, getuid());
	host_has(c, "f", "user.virtfs.uid", 4, 1000);
	host_has(c, "f", "user.virtfs.gid", 4, 100);
	host_has(c, "f", "user.virtfs.mode", 4, S_IFREG | 06755);
	stat_of(c, "f", &a);
	assert_int_equal(a.mode, S_IFREG | 06755);
	assert_int_equal(a.uid, 1000);
	assert_int_equal(a.gid, 100);
	ok(rpc(c, P9_TMKDIR, "dsdd", 50, "d", 01777, 5));
	ok(stat(in_share(c, "d"), &st));
	assert_int_equal(st.st_mode, S_IFDIR | 0750);
	host_has(c, "d", "user.virtfs.mode", 4, S_IFDIR | 01777);
	ok(rpc(c, P9_TMKNOD, "dsdddd", 0, "null", S_IFCHR | 0666, 1, 3, 0));
	assert_int_equal(stat(in_share(c, "null"), &st), 0);
	assert_true(S_ISREG(st.st_mode));
	host_has(c, "null", "user.virtfs.mode", 4, S_IFCHR | 0666);
	host_has(c, "null", "user.virtfs.rdev", 8, makedev(1, 3));
	stat_of(c, "null", &a);
	assert_int_equal(a.mode, S_IFCHR | 0666);
	assert_int_equal(a.rdev, makedev(1, 3));
	ok(walk1(c, 0, 2, "null"));
	fails(lopen(c, 2, O_RDONLY), ENXIO);
	ok(rpc(c, P9_TSYMLINK, "dssd", 0, "l", "/etc/passwd", 0));
	assert_int_equal(field(c, 1), QTSYMLINK);
	assert_string_equal(get_file(c->share, "l"), "/etc/passwd");
	host_has(c, "l", "user.virtfs.mode", 4, S_IFLNK | 0777);
	assert_int_equal(readlink(in_share(c, "l"), text, 64), -1);
	ok(walk1(c, 0, 3, "l"));
	fails(lopen(c, 3, O_RDONLY), ELOOP);
	ok(rpc(c, P9_TREADLINK, "d", 3));
	assert_int_equal(field(c, 2), 11);
	fails(rpc(c, P9_TSETATTR, "dddddqqqqq", 3, 8, 0, 0, 0, Z, Z, Z, Z, Z), EINVAL);
	fails(rpc(c, P9_TSYMLINK, "dssd", 0, "l", "x", 0), EEXIST);
	fails(rpc(c, P9_TSYMLINK, "dssd", 0, "m", "", 0), ENOENT);
	client_close(c);
}

static void mapped_changes(void **state)
{
	struct client *c = client_open("security_model=mapped");
	uint8_t v[8];
	struct attr a;

	ok(create(c, 0, 1, "f", O_RDWR, 0600));
	ok(chown_mode(c, 1, 2 | 4, 0, 12, 34));
	ok(chown_mode(c, 1, 1, S_IFCHR | 04711, 0, 0)); /* no new type */
	stat_of(c, "f", &a);
	assert_int_equal(a.mode, S_IFREG | 04711);
	assert_int_equal(a.uid, 12);
	assert_int_equal(a.gid, 34);
	ok(chown_mode(c, 1, 4, 0, 99, 35));
	ok(chown_mode(c, 1, 1 << 6, 0, 0, 0));
	stat_of(c, "f", &a);
	assert_int_equal(a.uid, 12);
	assert_int_equal(a.gid, 35);
	/* Even without a name. */
	ok(rpc(c, P9_TUNLINKAT, "dsd", 0, "f", 0));
	ok(chown_mode(c, 1, 1, 0123, 0, 0));
	ok(getattr(c, 1, &a));
	assert_int_equal(a.mode, S_IFREG | 0123);
	/* What the host has is shown as it is; real links too. */
	put_file(c->share, "host", "x");
	ok(chmod(in_share(c, "host"), 0604));
	ok(symlink("target", in_share(c, "link")));
	stat_of(c, "host", &a);
	assert_int_equal(a.mode, S_IFREG | 0604);
	assert_int_equal(a.uid, getuid());
	ok(walk1(c, 0, 2, "link"));
	ok(rpc(c, P9_TREADLINK, "d", 2));
	assert_int_equal(field(c, 2), 6);
	/* Attributes that make no sense: a folder is a folder, a file no folder. */
	put_le32(v, S_IFDIR | 0700);
	ok(setxattr(in_share(c, "host"), "user.virtfs.mode", v, 4, 0));
	stat_of(c, "host", &a);
	assert_int_equal(a.mode, S_IFREG | 0700);
	put_le32(v, 0777);
	ok(setxattr(in_share(c, "host"), "user.virtfs.mode", v, 4, 0));
	ok(setxattr(in_share(c, "host"), "user.virtfs.uid", v, 8, 0));
	stat_of(c, "host", &a);
	assert_int_equal(a.mode, S_IFREG | 0777);
	assert_int_equal(a.uid, getuid());
	ok(mkdir(in_share(c, "d"), 0700));
	put_le32(v, S_IFLNK | 0777);
	ok(setxattr(in_share(c, "d"), "user.virtfs.mode", v, 4, 0));
	stat_of(c, "d", &a);
	assert_int_equal(a.mode, S_IFDIR | 0777);
	ok(rpc(c, P9_TWALK, "ddws", 0, 3, 1, "d"));
	assert_int_equal(field(c, 2), 1);
	assert_int_equal(field(c, 1), QTDIR);
	client_close(c);
}

static int set_xattr(struct client *c, uint32_t of, const char *name, const char *v, unsigned flags)
{
	size_t len = strlen(v);
	int r;

	ok(walk0(c, of, 90));
	r = rpc(c, P9_TXATTRCREATE, "dsqd", 90, name, (uint64_t)len, flags);
	if (r) {
		clunk(c, 90);
		return r;
	}
	if (len)
		assert_int_equal(write_at(c, 90, 0, v), len);
	return clunk(c, 90);
}

/* get_xattr - the value's length, at c->at; by pieces of 3 bytes. */
static int get_xattr(struct client *c, uint32_t of, const char *name)
{
	static char v[4096];
	int r = rpc(c, P9_TXATTRWALK, "dds", of, 91, name);
	unsigned len, n;

	if (r)
		return r;
	len = (unsigned)field(c, 8);
	for (n = 0; n < len; n += (unsigned)r) {
		r = read_at(c, 91, n, 3);
		assert_true(r > 0 && r <= 3);
		memcpy(v + n, c->at, (size_t)r);
	}
	assert_int_equal(read_at(c, 91, n, 3), 0);
	assert_int_equal(read_at(c, 91, UINT64_MAX, 3), 0);
	fails(write_at(c, 91, 0, "x"), EBADF);
	fails(walk0(c, 91, 92), EBADF);
	fails(lopen(c, 91, 0), EBUSY);
	ok(clunk(c, 91));
	c->at = (uint8_t *)v;
	return (int)len;
}

static void xattrs(void **state)
{
	struct client *c = client_open("security_model=none");
	int n;

	put_file(c->share, "f", "x");
	ok(walk1(c, 0, 1, "f"));
	assert_int_equal(get_xattr(c, 1, ""), 0);
	fails(get_xattr(c, 1, "user.a"), ENODATA);
	ok(set_xattr(c, 1, "user.a", "value", 0));
	fails(set_xattr(c, 1, "user.a", "other", XATTR_CREATE), EEXIST);
	fails(set_xattr(c, 1, "user.b", "other", XATTR_REPLACE), ENODATA);
	fails(set_xattr(c, 1, "user.b", "other", 4), EINVAL);
	fails(set_xattr(c, 1, "", "other", 0), ERANGE);
	assert_int_equal(get_xattr(c, 1, "user.a"), 5);
	assert_memory_equal(c->at, "value", 5);
	ok(set_xattr(c, 1, "user.empty", "", 0));
	assert_int_equal(get_xattr(c, 1, "user.empty"), 0);
	n = get_xattr(c, 1, "");
	assert_int_equal(n, 7 + 11);
	ok(set_xattr(c, 1, "user.a", "", XATTR_REPLACE)); /* is how it is removed */
	fails(get_xattr(c, 1, "user.a"), ENODATA);
	fails(set_xattr(c, 1, "user.a", "", XATTR_REPLACE), ENODATA);
	/* Not all that was announced; more; out of order; too much. */
	ok(walk0(c, 1, 2));
	ok(rpc(c, P9_TXATTRCREATE, "dsqd", 2, "user.x", UINT64_C(5), 0));
	fails(rpc(c, P9_TXATTRCREATE, "dsqd", 2, "user.x", UINT64_C(5), 0), EBUSY);
	fails(write_at(c, 2, 1, "x"), ENOSPC);
	assert_int_equal(write_at(c, 2, 0, "abc"), 3);
	fails(write_at(c, 2, 3, "def"), ENOSPC);
	fails(write_at(c, 2, UINT64_MAX, "def"), ENOSPC);
	fails(read_at(c, 2, 0, 5), EBADF);
	fails(clunk(c, 2), EINVAL);
	fails(get_xattr(c, 1, "user.x"), ENODATA);
	fails(rpc(c, P9_TXATTRCREATE, "dsqd", 1, "user.x", UINT64_C(65537), 0), E2BIG);
	fails(rpc(c, P9_TXATTRCREATE, "dsqd", 1, "user.x", UINT64_MAX, 0), E2BIG);
	/* A new session drops what was not clunked. */
	ok(walk0(c, 1, 2));
	ok(rpc(c, P9_TXATTRCREATE, "dsqd", 2, "user.x", UINT64_C(1), 0));
	assert_int_equal(write_at(c, 2, 0, "a"), 1);
	session(c);
	ok(walk1(c, 0, 1, "f"));
	fails(get_xattr(c, 1, "user.x"), ENODATA);
	/* A client takes so much memory and no more. */
	for (uint32_t i = 0; i < P9_XATTR_MEM / 65536; i++) {
		ok(walk0(c, 1, 100 + i));
		ok(rpc(c, P9_TXATTRCREATE, "dsqd", 100 + i, "user.x", UINT64_C(65536), 0));
	}
	ok(walk0(c, 1, 2));
	fails(rpc(c, P9_TXATTRCREATE, "dsqd", 2, "user.x", UINT64_C(1), 0), ENOMEM);
	session(c);
	assert_int_equal(c->s->xattr_mem, 0);
	client_close(c);
}

static void mapped_xattrs(void **state)
{
	struct client *c = client_open("security_model=mapped-xattr");

	ok(create(c, 0, 1, "f", O_RDWR, 0600));
	ok(walk1(c, 0, 2, "f"));
	assert_int_equal(get_xattr(c, 2, ""), 0); /* ours are not seen */
	fails(get_xattr(c, 2, "user.virtfs.uid"), ENODATA);
	fails(set_xattr(c, 2, "user.virtfs.uid", "0000", 0), EACCES);
	fails(set_xattr(c, 2, "user.virtfs.uid", "", XATTR_REPLACE), EACCES);
	ok(set_xattr(c, 2, "user.mine", "v", 0));
	ok(set_xattr(c, 2, "system.posix_acl_access", "acl", 0));
	assert_int_equal(getxattr(in_share(c, "f"), "user.virtfs.system.posix_acl_access",
				  (char[8]){ 0 }, 8), 3);
	assert_int_equal(get_xattr(c, 2, "system.posix_acl_access"), 3);
	assert_int_equal(get_xattr(c, 2, ""), 10 + 24);
	assert_int_equal(c->at[9], 0);
	assert_int_equal(c->at[33], 0);
	client_close(c);
}

static void lists(void **state)
{
	static const char in[] = "user.a\0user.virtfs.uid\0system.posix_acl_access\0"
				 "user.virtfs.system.posix_acl_default\0user.virtfs.\0user.b";
	static const char want[] = "user.a\0system.posix_acl_default\0user.b";
	char buf[sizeof(in)];

	memcpy(buf, in, sizeof(in));
	assert_int_equal(map_xattr_list(buf, sizeof(in)), sizeof(want));
	assert_memory_equal(buf, want, sizeof(want));
	/* The last one without its end. */
	memcpy(buf, in, sizeof(in));
	assert_int_equal(map_xattr_list(buf, sizeof(in) - 1), sizeof(want) - 7);
	assert_int_equal(map_xattr_list(buf, 0), 0);
}

static void passthrough(void **state)
{
	struct client *c = client_open("security_model=passthrough");
	struct stat st;

	ok(create(c, 0, 1, "f", O_RDWR, 0666)); /* no umask of ours */
	ok(stat(in_share(c, "f"), &st));
	assert_int_equal(st.st_mode, S_IFREG | 0666);
	ok(rpc(c, P9_TATTACH, "ddssd", 50, P9_NOFID, "", "", 1234));
	if (getuid()) {
		fails(rpc(c, P9_TMKDIR, "dsdd", 50, "d", 0755, getgid()), EPERM);
		assert_int_equal(access(in_share(c, "d"), F_OK), -1);
		client_close(c);
		return;
	}
	ok(rpc(c, P9_TMKDIR, "dsdd", 50, "d", 02777, 567));
	ok(stat(in_share(c, "d"), &st));
	assert_int_equal(st.st_mode, S_IFDIR | 02777);
	assert_int_equal(st.st_uid, 1234);
	assert_int_equal(st.st_gid, 567);
	ok(walk0(c, 50, 2));
	ok(rpc(c, P9_TLCREATE, "dsddd", 2, "suid", O_RDWR, 06755, 567));
	ok(stat(in_share(c, "suid"), &st));
	assert_int_equal(st.st_mode, S_IFREG | 06755);
	ok(chown_mode(c, 2, 7, 04700, 55, 66));
	ok(stat(in_share(c, "suid"), &st));
	assert_int_equal(st.st_mode, S_IFREG | 04700);
	assert_int_equal(st.st_uid, 55);
	ok(rpc(c, P9_TSYMLINK, "dssd", 50, "l", "d", 567));
	ok(lstat(in_share(c, "l"), &st));
	assert_int_equal(st.st_uid, 1234);
	ok(stat(in_share(c, "d"), &st));
	assert_int_equal(st.st_gid, 567);
	client_close(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mapped_form),	 cmocka_unit_test(mapped_changes),
		cmocka_unit_test(xattrs),	 cmocka_unit_test(mapped_xattrs),
		cmocka_unit_test(lists),	 cmocka_unit_test(passthrough),
	};

	/* Attributes need a file system that has them: otherwise only the list can be tested. */
	setxattr("/tmp", "user.doppel", "", 0, XATTR_REPLACE);
	if (errno == EOPNOTSUPP)
		return cmocka_run_group_tests_name("lists", (&tests[4]), NULL, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
