/* SPDX-License-Identifier: Apache-2.0 */
#include "main/rundir.h"
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "base/base.h"
#include "base/err.h"

#define NAME_MAX_LEN 40 /* a socket's path has 107 bytes at most */
#define INFO_MAX 4096
#define TRIES 16

struct rundir {
	char *name, *info, *qmp, *console;
	int fd;
};

static char *dir_path(void)
{
	const char *base = getenv("XDG_RUNTIME_DIR");

	if (base && *base == '/' && !access(base, W_OK | X_OK))
		return xasprintf("%s/doppel", base);
	return xasprintf("/tmp/doppel-%u", getuid());
}

/* A directory of this path that is ours alone: /tmp is everybody's. */
static int dir_make(const char *dir, struct err **e)
{
	struct stat st;

	if (mkdir(dir, 0700) && errno != EEXIST)
		return err_set(e, errno, "cannot make '%s': %s", dir, strerror(errno));
	if (lstat(dir, &st))
		return err_set(e, errno, "'%s': %s", dir, strerror(errno));
	if (!S_ISDIR(st.st_mode) || st.st_uid != getuid() || (st.st_mode & 077))
		return err_set(e, EPERM, "'%s' is not a directory of ours alone", dir);
	return 0;
}

static char *safe_name(const char *name)
{
	char *s = name && *name ? xasprintf("%.*s", NAME_MAX_LEN, name)
				: xasprintf("vm-%d", getpid());

	for (char *p = s; *p; p++)
		if (!isalnum((unsigned char)*p) && (p == s || !strchr("-._", *p)))
			*p = '_';
	return s;
}

/* Lock the file at path; -EBUSY: another process has.  Its name may be removed or given to another
 * file between open and lock. */
static int lock_path(const char *path, int flags, int *out)
{
	for (int i = 0; i < TRIES; i++) {
		int fd = open(path, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
		struct stat ours, there;

		if (fd < 0)
			return -errno;
		if (flock(fd, LOCK_EX | LOCK_NB)) {
			int r = errno == EWOULDBLOCK ? -EBUSY : -errno;

			close(fd);
			return r;
		}
		if (!fstat(fd, &ours) && !stat(path, &there) && ours.st_ino == there.st_ino &&
		    ours.st_dev == there.st_dev) {
			*out = fd;
			return 0;
		}
		close(fd);
	}
	return -EAGAIN;
}

static void rundir_free(struct rundir *r)
{
	free(r->name);
	free(r->info);
	free(r->qmp);
	free(r->console);
	free(r);
}

int rundir_claim(struct rundir **out, const char *name, struct err **e)
{
	char *dir = dir_path();
	struct rundir *r = xzalloc(sizeof(*r));
	int rc = dir_make(dir, e);

	r->name = safe_name(name);
	r->info = xasprintf("%s/%s.json", dir, r->name);
	r->qmp = xasprintf("%s/%s.qmp", dir, r->name);
	r->console = xasprintf("%s/%s.console", dir, r->name);
	free(dir);
	if (!rc) {
		rc = lock_path(r->info, O_RDWR | O_CREAT, &r->fd);
		if (rc == -EBUSY)
			err_set(e, EBUSY, "a machine named '%s' is running", r->name);
		else if (rc)
			err_set(e, -rc, "cannot lock '%s': %s", r->info, strerror(-rc));
	}
	if (rc) {
		rundir_free(r);
		return rc;
	}
	unlink(r->qmp); /* of a machine that was killed */
	unlink(r->console);
	*out = r;
	return 0;
}

char *rundir_path(const char *name, const char *suffix)
{
	char *dir = dir_path(), *safe = safe_name(name);
	char *path = xasprintf("%s/%s.%s", dir, safe, suffix);

	free(safe);
	free(dir);
	return path;
}

const char *rundir_name(const struct rundir *r)
{
	return r->name;
}

const char *rundir_qmp(const struct rundir *r)
{
	return r->qmp;
}

const char *rundir_console(const struct rundir *r)
{
	return r->console;
}

int rundir_publish(struct rundir *r, const struct rundir_info *info, struct err **e)
{
	struct json_object *o = json_object_new_object();
	const char *s;
	int rc = 0;

	json_object_object_add(o, "name", json_object_new_string(r->name));
	json_object_object_add(o, "pid", json_object_new_int(getpid()));
	json_object_object_add(o, "engine", json_object_new_string(info->engine));
	json_object_object_add(o, "machine", json_object_new_string(info->machine));
	json_object_object_add(o, "memory", json_object_new_int64((int64_t)info->memory));
	json_object_object_add(o, "cpus", json_object_new_int((int)info->cpus));
	json_object_object_add(o, "started", json_object_new_int64(time(NULL)));
	json_object_object_add(o, "qmp", json_object_new_string(r->qmp));
	if (info->console)
		json_object_object_add(o, "console", json_object_new_string(r->console));
	s = json_object_to_json_string_ext(o,
					   JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
	if (ftruncate(r->fd, 0) || pwrite(r->fd, s, strlen(s), 0) != (ssize_t)strlen(s))
		rc = err_set(e, errno, "cannot write '%s': %s", r->info, strerror(errno));
	json_object_put(o);
	return rc;
}

void rundir_disown(struct rundir *r)
{
	if (!r)
		return;
	close(r->fd); /* the lock belongs to the open file, which the other side has too */
	rundir_free(r);
}

void rundir_withdraw(struct rundir *r)
{
	if (!r)
		return;
	unlink(r->qmp);
	unlink(r->console);
	unlink(r->info);
	rundir_disown(r);
}

/* --- as others see it --- */

void rundir_entry_free(struct rundir_entry *m)
{
	free(m->name);
	free(m->qmp);
	free(m->console);
	free(m->engine);
	free(m->machine);
	*m = (struct rundir_entry){0};
}

static char *member_str(struct json_object *o, const char *key)
{
	struct json_object *v;

	if (!json_object_object_get_ex(o, key, &v) || !json_object_is_type(v, json_type_string))
		return NULL;
	return xstrdup(json_object_get_string(v));
}

static int64_t member_int(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) ? json_object_get_int64(v) : 0;
}

static bool entry_parse(struct rundir_entry *m, const char *text)
{
	struct json_object *o = json_tokener_parse(text);
	bool ok;

	*m = (struct rundir_entry){0};
	if (json_object_is_type(o, json_type_object)) {
		m->name = member_str(o, "name");
		m->qmp = member_str(o, "qmp");
		m->console = member_str(o, "console");
		m->engine = member_str(o, "engine");
		m->machine = member_str(o, "machine");
		m->pid = (pid_t)member_int(o, "pid");
		m->memory = (uint64_t)member_int(o, "memory");
		m->cpus = (unsigned)member_int(o, "cpus");
		m->started = member_int(o, "started");
	}
	json_object_put(o);
	ok = m->name && m->qmp && m->engine && m->machine && m->pid > 0;
	if (!ok)
		rundir_entry_free(m);
	return ok;
}

/* Remove what a machine left behind.  fd has the lock. */
static void sweep(const char *dir, const char *file, int fd)
{
	static const char *const suffixes[] = {"qmp", "console", "json"};
	char *stem = xasprintf("%s/%s", dir, file);

	stem[strlen(stem) - strlen("json")] = 0;
	for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
		char *path = xasprintf("%s%s", stem, suffixes[i]);

		unlink(path);
		free(path);
	}
	free(stem);
	close(fd);
}

/* The machine of a file; false when it has ended or is yet to start. */
static bool entry_read(struct rundir_entry *m, const char *dir, const char *file)
{
	char *path = xasprintf("%s/%s", dir, file), buf[INFO_MAX] = "";
	int fd, r = lock_path(path, O_RDWR, &fd);
	ssize_t n = 0;

	if (!r) {
		sweep(dir, file, fd);
	} else if (r == -EBUSY) {
		fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
		n = fd >= 0 ? read(fd, buf, sizeof(buf) - 1) : 0;
		if (fd >= 0)
			close(fd);
	}
	free(path);
	return r == -EBUSY && n > 0 && entry_parse(m, buf);
}

bool rundir_gone(const struct rundir_entry *m)
{
	struct rundir_entry now;
	char *dir = dir_path(), *file = xasprintf("%s.json", m->name);
	bool gone = !entry_read(&now, dir, file);

	if (!gone) {
		gone = now.pid != m->pid;
		rundir_entry_free(&now);
	}
	free(file);
	free(dir);
	return gone;
}

static int entry_order(const void *a, const void *b)
{
	const struct rundir_entry *x = a, *y = b;

	return strcmp(x->name, y->name);
}

struct rundir_entry *rundir_list(unsigned *n)
{
	struct rundir_entry *list = NULL, m;
	char *path = dir_path();
	DIR *dir = dir_make(path, NULL) ? NULL : opendir(path);
	struct dirent *d;

	*n = 0;
	while (dir && (d = readdir(dir))) {
		size_t len = strlen(d->d_name);

		if (len < 6 || strcmp(d->d_name + len - 5, ".json") ||
		    !entry_read(&m, path, d->d_name))
			continue;
		list = xrealloc(list, (*n + 1) * sizeof(*list));
		list[(*n)++] = m;
	}
	if (dir)
		closedir(dir);
	free(path);
	if (list)
		qsort(list, *n, sizeof(*list), entry_order);
	return list;
}

int rundir_find(struct rundir_entry *out, const char *name, struct err **e)
{
	unsigned n;
	struct rundir_entry *list = rundir_list(&n);
	int r = -ENOENT;

	for (unsigned i = 0; i < n; i++) {
		if (r && (name ? !strcmp(list[i].name, name) : n == 1)) {
			*out = list[i];
			r = 0;
		} else {
			rundir_entry_free(&list[i]);
		}
	}
	free(list);
	if (r && name)
		err_set(e, ENOENT, "no machine named '%s' is running (see 'doppel ps')", name);
	else if (r)
		err_set(e, ENOENT,
			n ? "say which machine: several are running (see 'doppel ps')"
			  : "no machine is running");
	return r;
}
