/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a client of a shared folder.  The first says how the folder is shared; then messages
 * follow: a type, the room for the reply in units of 16 bytes, the length of the body, and the
 * body. Two types that no client has are about saved sessions: LOAD, the body is one; AGAIN, it
 * says what of the present one is changed (2 bytes where, 1 to what, and so on) before that is
 * loaded. Whatever they are, what is outside of the folder stays as it was, no descriptor is lost,
 * each reply is well formed, and what was saved can be loaded.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "back/fs/fsdev.h"
#include "back/fs/p9_int.h"
#include "base/base.h"
#include "base/log.h"

#define NO_ATTACH 0x80 /* of the first byte: the client says everything itself */
#define RAW 0x80 /* of a type: the length in the message is the body's first 4 bytes */
#define ROOM 4096
#define LOAD 1
#define AGAIN 2

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *in_dir(const char *dir, const char *name)
{
	static char path[2][256];
	static unsigned n;

	n ^= 1;
	snprintf(path[n], sizeof(path[n]), "%s/%s", dir, name);
	return path[n];
}

static void put_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		abort();
	close(fd);
}

static void must(int r)
{
	if (r)
		abort();
}

static void populate(const char *dir)
{
	must(mkdir(in_dir(dir, "share"), 0755));
	must(mkdir(in_dir(dir, "outside"), 0755));
	must(mkdir(in_dir(dir, "share/d"), 0755));
	put_file(in_dir(dir, "outside/secret"), "secret");
	put_file(in_dir(dir, "share/f"), "contents");
	put_file(in_dir(dir, "share/d/f"), "more");
	must(symlink("../outside", in_dir(dir, "share/l")));
	must(symlink("../outside/secret", in_dir(dir, "share/s")));
	must(mkfifo(in_dir(dir, "share/p"), 0644));
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static int chmod_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	if (S_ISDIR(st->st_mode))
		chmod(path, 0755);
	return 0;
}

static void clean(const char *dir)
{
	nftw(dir, chmod_one, 32, FTW_PHYS);
	nftw(dir, remove_one, 32, FTW_DEPTH | FTW_PHYS);
}

static void check_outside(const char *dir)
{
	char text[16] = {0};
	struct stat st;
	int fd = open(in_dir(dir, "outside/secret"), O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, text, sizeof(text)) != 6 || memcmp(text, "secret", 6) ||
	    fstat(fd, &st) || st.st_nlink != 1 || (st.st_mode & 07777) != 0644 ||
	    st.st_uid != getuid())
		abort();
	close(fd);
	/* Nothing but that: "." and one entry. */
	must(unlink(in_dir(dir, "outside/secret")));
	must(rmdir(in_dir(dir, "outside")));
}

/* load - any bytes as a saved session. */
static bool load(struct p9_server *s, const uint8_t *data, size_t len)
{
	struct p9_saved *v;

	if (p9_saved_read(&v, data, len, NULL))
		return false;
	p9_load(s, v);
	p9_saved_free(v);
	return true;
}

static void load_again(struct p9_server *s, const uint8_t *p, size_t n)
{
	uint8_t *data;
	uint32_t len = p9_save(s, &data);

	data = realloc(data, len); /* for the sanitizer */
	for (; n >= 3; p += 3, n -= 3)
		data[get_le16(p) % len] = p[2];
	load(s, data, len);
	free(data);
	len = p9_save(s, &data);
	if (!load(s, data, len))
		abort();
	free(data);
}

/* message - hand over one: false when there is no more. */
static bool message(struct p9_server *s, const uint8_t **data, const uint8_t *end)
{
	static uint8_t in[ROOM];
	uint8_t *out, type;
	size_t len, room;
	struct iovec o, i = {.iov_base = in};
	struct p9_io io = {&o, 1, &i, 1};
	uint32_t n = 0;

	if (end - *data < 4)
		return false;
	type = (*data)[0];
	room = 16 * (size_t)(*data)[1];
	len = min_u64(get_le16(*data + 2), (size_t)(end - *data) - 4);
	out = malloc(P9_HDR + len); /* of its own, for the sanitizer */
	put_le32(out, (uint32_t)(P9_HDR + len));
	out[4] = type & ~RAW;
	put_le16(out + 5, 1);
	memcpy(out + P9_HDR, *data + 4, len);
	if (type & RAW && len >= 4)
		memcpy(out, *data + 4, 4);
	*data += 4 + len;
	o = (struct iovec){out, P9_HDR + len};
	i.iov_len = room ? room : ROOM;
	if (type == LOAD)
		load(s, out + P9_HDR, len);
	else if (type == AGAIN)
		load_again(s, out + P9_HDR, len);
	else if (!p9_handle(s, &io, &n) &&
		 (n < P9_HDR || n > i.iov_len || get_le32(in) != n ||
		  (in[4] != (type & ~RAW) + 1 && (in[4] != P9_RLERROR || n != P9_ERROR_LEN))))
		abort();
	free(out);
	return true;
}

static void attach(struct p9_server *s)
{
	static const uint8_t hello[] = {
		P9_TVERSION, 0, 14, 0, 0, 0x20, 0, 0, 8, 0, '9', 'P', '2', '0', '0', '0', '.', 'L',
	};
	static const uint8_t root[] = {
		P9_TATTACH, 0, 16, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0,
	};
	const uint8_t *p = hello;

	message(s, &p, hello + sizeof(hello));
	p = root;
	message(s, &p, root + sizeof(root));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const models[] = {"none", "mapped-xattr", "none,readonly=on",
					     "passthrough,multidevs=forbid"};
	const uint8_t *end = data + size;
	char dir[] = "/tmp/doppel-fuzz-9p-XXXXXX", *opts;
	struct log *log;
	struct fsdev *f;
	struct p9_server *s;

	if (!size)
		return 0;
	if (!mkdtemp(dir))
		abort();
	populate(dir);
	log = log_create();
	must(log_open(log, "/dev/null", NULL));
	opts = xasprintf("local,id=f,path=%s/share,security_model=%s", dir, models[*data & 3]);
	must(fsdev_open(&f, log, opts, NULL));
	free(opts);
	f->fd_max = 100;
	s = p9_server_create(f);
	if (!(*data++ & NO_ATTACH))
		attach(s);
	while (message(s, &data, end))
		;
	p9_server_destroy(s);
	if (f->fds)
		abort();
	fsdev_close(f);
	log_destroy(log);
	check_outside(dir);
	clean(dir);
	return 0;
}
