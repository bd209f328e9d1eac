/* SPDX-License-Identifier: Apache-2.0 */
/* Options of shared folders. */
#include "back/fs/fsdev.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/xattr.h>
#include <unistd.h>
#include "back/fs/local.h"
#include "base/base.h"
#include "base/err.h"
#include "base/kvlist.h"
#include "base/log.h"

#define FD_PART 4 /* one folder gets a quarter of all descriptors, so that others are left some */

/* choose - the index of the value of key among n words; def (or, below 0, an error) without one. */
static int choose(struct kvlist *kv, const char *key, const char *const *words, int n, int def,
		  struct err **e)
{
	const char *v = kv_get(kv, key);

	if (!v && def < 0)
		return err_set(e, EINVAL, "%s= is needed (none, passthrough or mapped-xattr)", key);
	if (!v)
		return def;
	for (int i = 0; i < n; i++)
		if (!strcmp(v, words[i]))
			return i;
	return err_set(e, EINVAL, "%s=%s is not known", key, v);
}

/* A mode in octal, as people write it. */
static int mode_opt(struct kvlist *kv, const char *key, mode_t *mode, struct err **e)
{
	const char *v = kv_get(kv, key);
	unsigned long n;
	char *end;

	if (!v)
		return 0;
	errno = 0;
	n = strtoul(v, &end, 8);
	if (errno || end == v || *end || n > 0777)
		return err_set(e, EINVAL, "%s=%s is not a mode in octal up to 0777", key, v);
	*mode = (mode_t)n;
	return 0;
}

static int parse_models(struct fsdev *f, struct kvlist *kv, struct err **e)
{
	static const char *const security[] = {"none", "passthrough", "mapped-xattr", "mapped"};
	static const char *const multidevs[] = {"remap", "warn", "forbid"};
	static const char *const writeout[] = {"immediate"};
	const char *v = kv_get(kv, "security_model");
	int r;

	if (v && !strcmp(v, "mapped-file"))
		return err_set(e, EINVAL,
			       "security_model=mapped-file is not supported; "
			       "mapped-xattr keeps owners and modes too");
	r = choose(kv, "security_model", security, 4, -1, e);
	if (r < 0)
		return r;
	f->security = r == 3 ? FS_MAPPED_XATTR : (enum fs_security)r;
	r = choose(kv, "multidevs", multidevs, 3, FS_REMAP, e);
	if (r < 0)
		return r;
	f->multidevs = (enum fs_multidevs)r;
	r = choose(kv, "writeout", writeout, 1, 1, e);
	if (r < 0)
		return r;
	f->writeout = r == 0;
	return 0;
}

static int parse_opts(struct fsdev *f, struct kvlist *kv, struct err **e)
{
	const char *driver = kv_get(kv, "fsdriver"), *path = kv_get(kv, "path");
	int r;

	if (!driver || strcmp(driver, "local"))
		return err_set(e, EINVAL, "unknown kind of shared folder '%s' (known: local)",
			       driver ? driver : "");
	if (!path || !*path)
		return err_set(e, EINVAL, "path= is needed");
	f->path = xstrdup(path);
	r = parse_models(f, kv, e);
	if (!r)
		r = kv_bool(kv, "readonly", &f->readonly, e);
	if (r)
		return r;
	if ((kv_get(kv, "fmode") || kv_get(kv, "dmode")) && f->security != FS_MAPPED_XATTR)
		return err_set(e, EINVAL, "fmode= and dmode= are for security_model=mapped-xattr");
	f->fmode = 0600;
	f->dmode = 0700;
	r = mode_opt(kv, "fmode", &f->fmode, e);
	if (!r)
		r = mode_opt(kv, "dmode", &f->dmode, e);
	return r ? r : kv_finish(kv, e);
}

/* Each file that a guest knows is held open: as many as there may be. */
static void raise_fd_limit(struct fsdev *f)
{
	struct rlimit rl;

	f->fd_max = 256;
	if (getrlimit(RLIMIT_NOFILE, &rl))
		return;
	if (rl.rlim_cur < rl.rlim_max) {
		struct rlimit more = {.rlim_cur = rl.rlim_max, .rlim_max = rl.rlim_max};

		if (!setrlimit(RLIMIT_NOFILE, &more))
			rl = more;
	}
	if (rl.rlim_cur > MiB)
		rl.rlim_cur = MiB;
	f->fd_max = (unsigned)rl.rlim_cur / FD_PART;
}

static int check_host(struct fsdev *f, struct err **e)
{
	struct statfs sf;
	int fd = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
	bool proc = fd >= 0 && !fstatfs(fd, &sf) && sf.f_type == PROC_SUPER_MAGIC;
	uint8_t v[4];

	if (fd >= 0)
		close(fd);
	if (!proc)
		return err_set(e, ENOENT, "shared folders need /proc");
	if (f->security == FS_MAPPED_XATTR &&
	    getxattr(proc_path(f->root).s, MAP_PREFIX "uid", v, sizeof(v)) < 0 &&
	    errno == EOPNOTSUPP)
		return err_set(e, EOPNOTSUPP,
			       "%s: its file system has no extended attributes, which "
			       "security_model=mapped-xattr needs",
			       f->path);
	return 0;
}

static int open_root(struct fsdev *f, struct err **e)
{
	struct stat st;
	int r;

	/* The path is our user's, not the guest's: links in it are followed. */
	f->root = open(f->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (f->root < 0 || fstat(f->root, &st)) {
		r = errno;
		return err_set(e, r, "shared folder %s: %s", f->path, strerror(r));
	}
	f->root_dev = st.st_dev;
	f->origins = xcalloc(FS_DEVS_HASH, sizeof(*f->origins));
	f->n_origins = 1; /* 0 is root_dev's */
	raise_fd_limit(f);
	return check_host(f, e);
}

static int open_kv(struct fsdev **out, struct log *log, struct kvlist *kv, const char *id,
		   struct err **e)
{
	struct fsdev *f;
	int r;

	if (!id || !*id)
		return err_set(e, EINVAL, "id= is needed");
	f = xzalloc(sizeof(*f));
	lock_init(&f->lock, LOCK_RANK_FS_DEVS, "fsdev");
	f->log = log;
	f->root = -1;
	f->id = xstrdup(id);
	r = parse_opts(f, kv, e);
	if (!r)
		r = open_root(f, e);
	if (r) {
		fsdev_close(f);
		return r;
	}
	*out = f;
	return 0;
}

int fsdev_open(struct fsdev **out, struct log *log, const char *opts, struct err **e)
{
	struct kvlist kv = {0};
	int r = kv_parse(&kv, opts, "fsdriver", e);

	if (!r)
		r = open_kv(out, log, &kv, kv_get(&kv, "id"), e);
	kv_free(&kv);
	return r;
}

int virtfs_open(struct fsdev **out, struct log *log, const char *opts, char **tag, struct err **e)
{
	struct kvlist kv = {0};
	const char *id, *mount_tag;
	int r = kv_parse(&kv, opts, "fsdriver", e);

	if (r)
		goto done;
	id = kv_get(&kv, "id");
	mount_tag = kv_get(&kv, "mount_tag");
	if (!mount_tag || !*mount_tag) {
		r = err_set(e, EINVAL, "mount_tag= is needed");
		goto done;
	}
	r = open_kv(out, log, &kv, id ? id : mount_tag, e);
	if (!r)
		*tag = xstrdup(mount_tag);
done:
	kv_free(&kv);
	return r;
}

void fsdev_close(struct fsdev *f)
{
	if (!f)
		return;
	bug_on(f->users);
	if (f->root >= 0)
		close(f->root);
	lock_fini(&f->lock);
	free(f->origins);
	free(f->path);
	free(f->id);
	free(f);
}

const char *fsdev_id(const struct fsdev *f)
{
	return f->id;
}
