/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What file systems find hard: run in an empty folder, prints one line for each step.  The lines
 * are the same on every file system that does what POSIX and Linux say, so those of a shared folder are
 * compared with those of a disk.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/types.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#define NOBODY 65534

static const char *what = "";

/* R - print an expression and its result: a number, or the error's name. */
#define R(x)                                                                                       \
	({                                                                                         \
		errno = 0;                                                                         \
		long r_ = (long)(x);                                                               \
		if (r_ < 0)                                                                        \
			printf("%s: %s: %s\n", what, #x, strerrorname_np(errno));                  \
		else                                                                               \
			printf("%s: %s: %ld\n", what, #x, r_);                                     \
		r_;                                                                                \
	})
/* Q - the same for what returns any descriptor. */
#define Q(x)                                                                                       \
	({                                                                                         \
		errno = 0;                                                                         \
		long r_ = (long)(x);                                                               \
		printf("%s: %s: %s\n", what, #x, r_ < 0 ? strerrorname_np(errno) : "yes");         \
		r_;                                                                                \
	})

static void show(const char *path)
{
	struct stat st;

	if (lstat(path, &st)) {
		printf("%s: %s: %s\n", what, path, strerrorname_np(errno));
		return;
	}
	printf("%s: %s: mode %o nlink %d size %lld uid %d gid %d\n", what, path, st.st_mode,
	       S_ISDIR(st.st_mode) ? 0 : (int)st.st_nlink,
	       S_ISDIR(st.st_mode) ? 0LL : (long long)st.st_size, st.st_uid, st.st_gid);
}

static void show_fd(int fd)
{
	struct stat st;

	if (R(fstat(fd, &st)))
		return;
	printf("%s: mode %o nlink %d size %lld uid %d\n", what, st.st_mode,
	       S_ISDIR(st.st_mode) ? 0 : (int)st.st_nlink,
	       S_ISDIR(st.st_mode) ? 0LL : (long long)st.st_size, st.st_uid);
}

static ino_t ino(const char *path)
{
	struct stat st;

	return lstat(path, &st) ? 0 : st.st_ino;
}

static int put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		return -1;
	return close(fd);
}

static void get(int fd)
{
	char buf[100];
	ssize_t n = pread(fd, buf, sizeof(buf) - 1, 0);

	if (n < 0)
		printf("%s: read: %s\n", what, strerrorname_np(errno));
	else
		printf("%s: read: \"%.*s\"\n", what, (int)n, buf);
}

static void get_path(const char *path)
{
	int fd = open(path, O_RDONLY);

	if (fd < 0) {
		printf("%s: open %s: %s\n", what, path, strerrorname_np(errno));
		return;
	}
	get(fd);
	close(fd);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void dir_list(DIR *d)
{
	char *names[600];
	struct dirent *e;
	unsigned n = 0;

	while ((e = readdir(d)) && n < 600)
		names[n++] = strdup(e->d_name);
	qsort(names, n, sizeof(names[0]), by_name);
	printf("%s: list:", what);
	for (unsigned i = 0; i < n; i++)
		printf(" %s", names[i]);
	printf("\n");
}

static void renamed_parent(void)
{
	int fd, dir;

	what = "renamed parent";
	R(mkdir("a", 0755));
	R(mkdir("a/b", 0755));
	fd = open("a/b/f", O_RDWR | O_CREAT, 0644);
	dir = open("a/b", O_RDONLY | O_DIRECTORY);
	R(write(fd, "one", 3));
	R(rename("a", "c"));
	R(write(fd, "two", 3));
	show_fd(fd);
	show("c/b/f");
	show("a/b/f");
	Q(openat(dir, "g", O_RDWR | O_CREAT, 0600));
	show("c/b/g");
	R(ftruncate(fd, 4));
	R(fchmod(fd, 0600));
	get_path("c/b/f");
	R(mkdir("a", 0755));
	show("a/b");
	R(renameat(dir, "f", AT_FDCWD, "a/f"));
	show_fd(fd);
	get_path("a/f");
	R(fstatat(dir, "f", &(struct stat){ 0 }, 0));
	R(mkdirat(dir, "sub", 0700));
	show("c/b/sub");
}

static void unlinked(void)
{
	int fd = open("u", O_RDWR | O_CREAT | O_EXCL, 0644), fd2 = open("u", O_RDONLY), fd3;
	ino_t old = ino("u");

	what = "unlinked";
	R(write(fd, "hello", 5));
	R(unlink("u"));
	R(unlink("u"));
	show_fd(fd);
	show_fd(fd2);
	R(pwrite(fd, "world", 5, 5));
	get(fd);
	get(fd2);
	R(ftruncate(fd, 7));
	show_fd(fd2);
	R(fchmod(fd, 0600));
	R(fchmod(fd2, 0640));
	show_fd(fd);
	R(fsync(fd));
	R(futimens(fd, (struct timespec[]){ { 1, 0 }, { 2, 0 } }));
	fd3 = Q(open("u", O_RDWR | O_CREAT | O_EXCL, 0604));
	printf("%s: another: %d\n", what, ino("u") != old);
	R(write(fd3, "new", 3));
	get(fd);
	get_path("u");
	R(close(fd));
	get(fd2);
	R(close(fd2));
	R(close(fd3));
	show("u");
}

static void renamed_over(void)
{
	int old, new;

	what = "renamed over";
	put("x", "old");
	put("y", "new");
	old = open("x", O_RDWR);
	new = open("y", O_RDWR);
	R(rename("y", "x"));
	get(old);
	get(new);
	R(pwrite(old, "O", 1, 0));
	R(pwrite(new, "N", 1, 0));
	R(ftruncate(old, 2));
	show_fd(old);
	show_fd(new);
	get_path("x");
	show("y");
	/* Two names of one file: nothing happens. */
	R(link("x", "z"));
	R(rename("x", "z"));
	show("x");
	show("z");
	R(rename("x", "nodir/x"));
	R(rename("none", "x"));
	R(rename("x", "x"));
}

static void current_gone(void)
{
	DIR *d;
	char buf[4096];

	what = "current folder gone";
	R(mkdir("cwd", 0755));
	R(chdir("cwd"));
	R(rmdir("../cwd"));
	R(access("../cwd", F_OK));
	Q(open("x", O_RDWR | O_CREAT, 0644));
	R(mkdir("x", 0755));
	printf("%s: getcwd: %s\n", what, getcwd(buf, sizeof(buf)) ? "yes" : strerrorname_np(errno));
	show(".");
	d = opendir(".");
	if (d)
		dir_list(d);
	R(chdir(".."));
	show("cwd");
}

static void folders(void)
{
	what = "folders";
	R(mkdir("d1", 0755));
	R(mkdir("d1/in", 0755));
	R(mkdir("d2", 0755));
	R(mkdir("d1", 0755));
	put("file", "x");
	R(rename("d1", "d1/in/d"));
	R(rename("d2", "d1"));
	R(rename("d1", "file"));
	R(rename("file", "d1"));
	R(rename("d1", "d2"));
	show("d2/in");
	R(rmdir("d2"));
	R(rmdir("file"));
	R(unlink("d2"));
	R(rmdir("d2/in/."));
	R(rmdir("d2/in"));
	R(rmdir("d2"));
	R(mkdir("file/x", 0755));
	R(mkdir("none/x", 0755));
	R(link("file", "file"));
	R(mkdir("d3", 0755));
	R(link("d3", "d4"));
	R(rename(".", "d5"));
	R(rmdir("."));
}

static void names_of_length(void)
{
	char name[300], path[5000];

	what = "lengths";
	memset(name, 'n', sizeof(name));
	name[256] = 0;
	R(put(name, "x"));
	R(mkdir(name, 0755));
	R(symlink("x", name));
	name[255] = 0;
	R(put(name, "text"));
	get_path(name);
	R(unlink(name));
	memset(path, '/', sizeof(path));
	path[4999] = 0;
	Q(open(path, O_RDONLY));
	R(put("name with blanks \t\n\\\"*?", "x"));
	get_path("name with blanks \t\n\\\"*?");
	R(put("\xff\xfe\x01", "bytes"));
	get_path("\xff\xfe\x01");
	R(put("...", "dots"));
	get_path("...");
	R(unlink("..."));
}

static void opens(void)
{
	int fd, fd2;

	what = "open";
	Q(open("o", O_RDONLY));
	Q(open("o", O_RDONLY | O_CREAT | O_EXCL, 0644));
	Q(open("o", O_RDONLY | O_CREAT | O_EXCL, 0644));
	Q(open("o", O_RDONLY | O_CREAT, 0644));
	Q(open("o", O_RDONLY | O_DIRECTORY));
	Q(open(".", O_RDWR));
	Q(open(".", O_RDONLY | O_CREAT, 0644));
	Q(open("o/x", O_RDONLY));
	Q(open("o/", O_RDONLY));
	put("o", "12345");
	fd = Q(open("o", O_WRONLY | O_APPEND));
	fd2 = Q(open("o", O_WRONLY | O_APPEND));
	R(write(fd, "6", 1));
	R(write(fd2, "7", 1));
	R(write(fd, "8", 1));
	get_path("o");
	R(read(fd, (char[4]){ 0 }, 4));
	Q(open("o", O_RDONLY | O_TRUNC));
	show("o");
	fd = open("ro", O_RDWR | O_CREAT, 0400);
	R(write(fd, "created read-only", 17));
	R(ftruncate(fd, 7));
	get(fd);
	show("ro");
	fd = open("no", O_RDWR | O_CREAT, 0);
	R(write(fd, "created with nothing", 20));
	get(fd);
	show("no");
	umask(077);
	R(mkdir("um", 0777));
	put("um/f", "x");
	umask(022);
	show("um");
	show("um/f");
}

static void links(void)
{
	char buf[300], cwd[3000], path[4000];

	what = "links";
	put("t", "target");
	R(symlink("t", "s1"));
	R(symlink("s1", "s2"));
	R(symlink("s2", "s1"));
	R(symlink("loop", "loop"));
	R(symlink("", "empty"));
	R(symlink("nowhere", "dangling"));
	get_path("s2");
	get_path("loop");
	get_path("dangling");
	show("s1");
	Q(open("s1", O_RDONLY | O_NOFOLLOW));
	Q(open("dangling", O_RDWR | O_CREAT | O_EXCL, 0644));
	Q(open("dangling", O_RDWR | O_CREAT, 0644));
	show("nowhere");
	memset(buf, 0, sizeof(buf));
	R(readlink("s2", buf, 1));
	R(readlink("s2", buf, sizeof(buf)));
	printf("%s: %s\n", what, buf);
	R(readlink("t", buf, sizeof(buf)));
	R(mkdir("sd", 0755));
	R(symlink("sd", "sdl"));
	R(put("sdl/f", "by link"));
	get_path("sd/f");
	R(rmdir("sdl"));
	snprintf(path, sizeof(path), "%s/sd/f", getcwd(cwd, sizeof(cwd)));
	R(symlink(path, "absolute"));
	get_path("absolute");
	R(symlink("../../../../../../../../../../../..", "up"));
	printf("%s: up is the root: %d\n", what, ino("up/.") == ino("/"));
	R(link("t", "h"));
	R(linkat(AT_FDCWD, "s1", AT_FDCWD, "hs", 0));
	R(linkat(AT_FDCWD, "s1", AT_FDCWD, "ht", AT_SYMLINK_FOLLOW));
	show("t");
	show("hs");
	printf("%s: same: %d\n", what, ino("t") == ino("h") && ino("t") == ino("ht"));
	R(unlink("t"));
	get_path("h");
	get_path("s2");
	show("h");
	R(unlink("s2"));
	R(rename("s1", "s3"));
	R(readlink("s3", buf, sizeof(buf)));
	memset(path, 'x', sizeof(path));
	path[3000] = 0;
	R(symlink(path, "long"));
	R(readlink("long", path, sizeof(path)));
}

static void modes(void)
{
	static const mode_t all[] = { 0, 0111, 0222, 0444, 0755, 04755, 02755, 01777, 06711, 07777 };

	what = "modes";
	put("m", "x");
	R(mkdir("md", 0755));
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		R(chmod("m", all[i]));
		R(chmod("md", all[i]));
		show("m");
		show("md");
	}
	R(chmod("md", 0755));
	R(mkdir("sticky", 01777));
	show("sticky");
	if (geteuid())
		return;
	R(chown("m", 1000, 1001));
	show("m"); /* without the bits of set-id */
	R(chown("m", -1, 7));
	R(chown("m", 8, -1));
	R(chown("m", -1, -1));
	show("m");
	R(symlink("m", "ml"));
	R(lchown("ml", 5, 6));
	show("ml");
	show("m");
	R(mkdir("sgid", 0755));
	R(chown("sgid", 0, 33));
	R(chmod("sgid", 02775));
	R(mkdir("sgid/d", 0755));
	put("sgid/f", "x");
	show("sgid/d");
	show("sgid/f");
}

static void users(void)
{
	int status;
	pid_t pid;

	what = "users";
	if (geteuid())
		return;
	put("private", "secret");
	R(chmod("private", 0600));
	R(mkdir("open", 0777));
	R(chmod("open", 01777));
	put("open/theirs", "x");
	R(mkdir("closed", 0700));
	put("closed/f", "x");
	fflush(stdout);
	pid = fork();
	if (!pid) {
		if (setgid(NOBODY) || setuid(NOBODY))
			_exit(1);
		Q(open("private", O_RDONLY));
		R(unlink("private"));
		R(put("new", "x"));
		R(put("open/new", "mine"));
		show("open/new");
		R(mkdir("open/dir", 0755));
		R(symlink("x", "open/link"));
		show("open/dir");
		show("open/link");
		R(chmod("open/new", 0600));
		R(chmod("open/theirs", 0600));
		R(chown("open/new", 0, 0));
		R(unlink("open/theirs"));
		R(rename("open/theirs", "open/x"));
		show("closed/f");
		fflush(stdout);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	R(status);
	show("open/new");
	R(access("new", F_OK));
}

static void special(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX, .sun_path = "sock" };
	int fd, s, s2, status;
	char buf[10];
	pid_t pid;

	what = "special files";
	R(mkfifo("p", 0640));
	show("p");
	R(mkfifo("p", 0640));
	Q(open("p", O_WRONLY | O_NONBLOCK));
	fflush(stdout);
	pid = fork();
	if (!pid) {
		fd = open("p", O_WRONLY);
		_exit(write(fd, "through", 7) != 7);
	}
	fd = Q(open("p", O_RDONLY));
	R(read(fd, buf, 7));
	waitpid(pid, &status, 0);
	R(status);
	s = socket(AF_UNIX, SOCK_STREAM, 0);
	R(bind(s, (void *)&a, sizeof(a)));
	R(listen(s, 1));
	show("sock");
	s2 = socket(AF_UNIX, SOCK_STREAM, 0);
	R(connect(s2, (void *)&a, sizeof(a)));
	R(unlink("sock"));
	Q(open("p", O_RDWR));
	if (geteuid())
		return;
	R(mknod("null", S_IFCHR | 0666, makedev(1, 3)));
	show("null");
	fd = Q(open("null", O_RDWR));
	R(write(fd, "x", 1));
	R(read(fd, buf, 1));
	R(mknod("blk", S_IFBLK | 0600, makedev(259, 7)));
	{
		struct stat st = { 0 };

		R(stat("blk", &st));
		printf("%s: %d:%d\n", what, major(st.st_rdev), minor(st.st_rdev));
	}
	R(mknod("reg", S_IFREG | 0600, 0));
	show("reg");
}

static void listing(void)
{
	char name[40];
	unsigned seen = 0, odd = 0;
	struct dirent *e;
	long where;
	DIR *d;

	what = "listing";
	R(mkdir("l", 0755));
	for (int i = 0; i < 500; i++) {
		snprintf(name, sizeof(name), "l/a-rather-long-name-%d", i);
		put(name, "");
	}
	d = opendir("l");
	dir_list(d);
	/* Half of them goes away meanwhile; the rest is seen once each. */
	rewinddir(d);
	for (int n = 0; (e = readdir(d)); n++) {
		if (n == 10)
			for (int i = 0; i < 500; i += 2) {
				snprintf(name, sizeof(name), "l/a-rather-long-name-%d", i);
				unlink(name);
			}
		odd += atoi(e->d_name + (e->d_name[0] == 'a' ? 19 : 0)) % 2 != 0;
	}
	printf("%s: %u of the rest\n", what, odd);
	rewinddir(d);
	dir_list(d);
	rewinddir(d);
	for (int i = 0; i < 100; i++)
		readdir(d);
	where = telldir(d);
	e = readdir(d);
	snprintf(name, sizeof(name), "%.39s", e ? e->d_name : "");
	while (readdir(d))
		seen++;
	seekdir(d, where);
	e = readdir(d);
	printf("%s: %u more, again %d\n", what, seen, e && !strcmp(e->d_name, name));
	R(rmdir("l"));
	rewinddir(d);
	while ((e = readdir(d)))
		if (e->d_name[0] == 'a')
			unlinkat(dirfd(d), e->d_name, 0);
	closedir(d);
	R(rmdir("l"));
}

static void sizes(void)
{
	static unsigned char out[1 << 20], in[1 << 20];
	unsigned x = 1;
	struct stat st;
	int fd;

	what = "sizes";
	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = (unsigned char)((x = x * 1103515245 + 12345) >> 16);
	fd = open("big", O_RDWR | O_CREAT, 0644);
	R(write(fd, out, sizeof(out)));
	R(pread(fd, in, sizeof(in), 0));
	R(memcmp(in, out, sizeof(in)) != 0);
	for (size_t n = 1, off = 0; off + n < sizeof(out); off += n, n = n * 2 + 1)
		if (pwrite(fd, out + off, n, (off_t)(off + 3)) != (ssize_t)n ||
		    pread(fd, in, n, (off_t)(off + 3)) != (ssize_t)n || memcmp(in, out + off, n))
			printf("%s: differs at %zu\n", what, off);
	R(pwrite(fd, "far", 3, 5000000000));
	R(pread(fd, in, 10, 4999999998));
	show("big");
	R(truncate("big", 6000000000));
	show("big");
	R(truncate("big", 100));
	R(pread(fd, in, 200, 0));
	R(truncate("big", -1));
	R(truncate(".", 0));
	R(lseek(fd, 0, SEEK_END));
	R(futimens(fd, (struct timespec[]){ { 111, 222 }, { 333, 444 } }));
	R(fstat(fd, &st));
	printf("%s: %ld.%09ld %ld.%09ld\n", what, st.st_atim.tv_sec, st.st_atim.tv_nsec,
	       st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
	R(utimensat(AT_FDCWD, "big",
		    (struct timespec[]){ { 0, UTIME_OMIT }, { 555, 666 } }, 0));
	R(stat("big", &st));
	printf("%s: %ld %ld\n", what, st.st_atim.tv_sec, st.st_mtim.tv_sec);
	R(utimensat(AT_FDCWD, "big", NULL, 0));
	R(stat("big", &st));
	printf("%s: now: %d\n", what, st.st_mtim.tv_sec > 1000000000);
	R(unlink("big"));
}

static void attributes(void)
{
	char buf[5000];
	int fd;

	what = "attributes";
	put("xa", "x");
	R(getxattr("xa", "user.a", buf, 10));
	R(setxattr("xa", "user.a", "value", 5, 0));
	R(setxattr("xa", "user.a", "value", 5, XATTR_CREATE));
	R(setxattr("xa", "user.b", "value", 5, XATTR_REPLACE));
	R(getxattr("xa", "user.a", buf, 2));
	R(getxattr("xa", "user.a", NULL, 0));
	R(getxattr("xa", "user.a", buf, 10));
	R(setxattr("xa", "user.empty", "", 0, 0));
	R(getxattr("xa", "user.empty", buf, 10));
	memset(buf, 'v', sizeof(buf));
	R(setxattr("xa", "user.long", buf, 3000, 0));
	R(getxattr("xa", "user.long", buf, sizeof(buf)));
	R(removexattr("xa", "user.empty"));
	R(removexattr("xa", "user.none"));
	fd = open("xa", O_RDONLY);
	R(fsetxattr(fd, "user.fd", "1", 1, 0));
	R(unlink("xa"));
	R(fgetxattr(fd, "user.a", buf, 10));
	R(fsetxattr(fd, "user.late", "1", 1, 0));
	R(fgetxattr(fd, "user.late", buf, 10));
}

static void locks(void)
{
	struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 10 };
	int a, b, status;
	pid_t pid;

	what = "locks";
	a = open("lock", O_RDWR | O_CREAT, 0644);
	b = open("lock", O_RDWR);
	R(flock(a, LOCK_EX | LOCK_NB));
	R(flock(b, LOCK_EX | LOCK_NB));
	R(flock(a, LOCK_UN));
	R(flock(b, LOCK_SH | LOCK_NB));
	R(flock(b, LOCK_UN));
	R(fcntl(a, F_SETLK, &fl));
	R(fcntl(b, F_SETLK, &fl)); /* the same process */
	fflush(stdout);
	pid = fork();
	if (!pid) {
		R(fcntl(b, F_SETLK, &fl));
		R(fcntl(b, F_GETLK, &fl));
		printf("%s: %s\n", what, fl.l_type == F_WRLCK ? "locked" : "not locked");
		fflush(stdout);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	R(status);
}

static void many(void)
{
	static int fds[400];
	unsigned good = 0;
	char name[20];

	what = "many open";
	for (int i = 0; i < 400; i++) {
		snprintf(name, sizeof(name), "many-%d", i);
		fds[i] = open(name, O_RDWR | O_CREAT, 0644);
		unlink(name);
		good += pwrite(fds[i], &i, sizeof(i), 0) == sizeof(i);
	}
	for (int i = 0; i < 400; i++) {
		int v = -1;

		good += pread(fds[i], &v, sizeof(v), 0) == sizeof(v) && v == i;
		close(fds[i]);
	}
	printf("%s: %u\n", what, good);
}

static void run_from_here(const char *self)
{
	char buf[65536];
	int in = open(self, O_RDONLY), out = open("prog", O_WRONLY | O_CREAT, 0755), status;
	ssize_t n;
	pid_t pid;

	what = "running";
	while ((n = read(in, buf, sizeof(buf))) > 0)
		if (write(out, buf, (size_t)n) != n)
			printf("%s: short\n", what);
	close(out);
	fflush(stdout);
	pid = fork();
	if (!pid) {
		execl("./prog", "prog", "--hello", NULL);
		_exit(99);
	}
	waitpid(pid, &status, 0);
	R(status);
}

int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "--hello")) {
		puts("hello");
		return 0;
	}
	if (argc < 2 || chdir(argv[1]))
		return 1;
	signal(SIGPIPE, SIG_IGN);
	umask(022);
	renamed_parent();
	unlinked();
	renamed_over();
	current_gone();
	folders();
	names_of_length();
	opens();
	links();
	modes();
	users();
	special();
	listing();
	sizes();
	attributes();
	locks();
	many();
	run_from_here("/proc/self/exe");
	return 0;
}
