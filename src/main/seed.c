/* SPDX-License-Identifier: Apache-2.0 */
#include "main/seed.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "base/err.h"
#include "ctl/base64.h"
#include "main/cmdline.h"
#include "main/iso.h"

#define LABEL "CIDATA"
#define KEY_FILE_MAX (256 * KiB)
#define NAME_MAX_LEN 32

struct maker {
	const struct cmdline *c;
	char **keys;
	size_t n_keys;
	char *user, *password; /* NULL: none */
};

static bool is_key(const char *s)
{
	return !strncmp(s, "ssh-", 4) || !strncmp(s, "ecdsa-", 6) || !strncmp(s, "sk-", 3);
}

int seed_check_key(const char *arg, struct err **e)
{
	if (is_key(arg))
		return strchr(arg, ' ') ? 0 : err_set(e, EINVAL, "not a public key: KIND BASE64");
	return access(arg, R_OK) ? err_set(e, errno, "%s", strerror(errno)) : 0;
}

int seed_check_user(const char *arg, struct err **e)
{
	size_t len = strcspn(arg, ":");

	if (!len || len > NAME_MAX_LEN || isdigit((unsigned char)*arg) || *arg == '-')
		return err_set(e, EINVAL, "not a user's name");
	for (size_t i = 0; i < len; i++)
		if (!islower((unsigned char)arg[i]) && !isdigit((unsigned char)arg[i]) &&
		    arg[i] != '_' && arg[i] != '-')
			return err_set(e, EINVAL, "a user's name is of a-z, 0-9, _ and -");
	if (arg[len] && !arg[len + 1])
		return err_set(e, EINVAL, "the password is empty");
	return 0;
}

bool seed_mounts(const struct cmdline *c)
{
	return c->user.arg || c->ssh_keys.n;
}

static void add_key(struct maker *m, const char *line, size_t len)
{
	m->keys = xrealloc(m->keys, (m->n_keys + 1) * sizeof(*m->keys));
	m->keys[m->n_keys++] = xasprintf("%.*s", (int)len, line);
}

/* A file of public keys, one a line. */
static int read_keys(struct maker *m, const char *path, struct err **e)
{
	size_t before = m->n_keys, len;
	char *text;
	int r = file_slurp(path, KEY_FILE_MAX, &text, &len, e);

	if (r)
		return r;
	for (const char *p = text; *p;) {
		size_t n = strcspn(p, "\n"), word = n;

		while (word && isspace((unsigned char)p[word - 1]))
			word--;
		if (is_key(p))
			add_key(m, p, word);
		p += n + (p[n] == '\n');
	}
	free(text);
	if (m->n_keys == before)
		return err_set(e, EINVAL, "no public key is in the file '%s'", path);
	return 0;
}

/* Without --ssh-key: the person's own, when there is one. */
static void own_keys(struct maker *m)
{
	static const char *const names[] = {"id_ed25519.pub", "id_ecdsa.pub", "id_rsa.pub"};
	const char *home = getenv("HOME");

	for (size_t i = 0; home && i < ARRAY_SIZE(names); i++) {
		char *path = xasprintf("%s/.ssh/%s", home, names[i]);

		if (!access(path, R_OK))
			read_keys(m, path, NULL);
		free(path);
	}
}

static int take_user(struct maker *m, struct err **e)
{
	const char *arg = m->c->user.arg, *colon;

	if (!arg)
		return 0;
	colon = strchr(arg, ':');
	m->user = xasprintf("%.*s", (int)strcspn(arg, ":"), arg);
	m->password = colon ? xstrdup(colon + 1) : NULL;
	if (!m->c->ssh_keys.n)
		own_keys(m);
	if (m->n_keys || m->password)
		return 0;
	err_set(e, EINVAL, "nobody could log in: add --ssh-key FILE, or give NAME:PASSWORD");
	cmd_blame(e, &m->c->user);
	return -EINVAL;
}

static int take_keys(struct maker *m, struct err **e)
{
	for (size_t i = 0; i < m->c->ssh_keys.n; i++) {
		const struct cmd_use *use = &m->c->ssh_keys.use[i];
		int r = 0;

		if (is_key(use->arg))
			add_key(m, use->arg, strcspn(use->arg, "\n"));
		else
			r = read_keys(m, use->arg, e);
		if (r) {
			cmd_blame(e, use);
			return r;
		}
	}
	return 0;
}

/* A scalar of YAML in double quotes. */
static void quoted(struct bytes *b, const char *s)
{
	bytes_u8(b, '"');
	for (; *s; s++) {
		unsigned char ch = (unsigned char)*s;
		char *hex;

		if (ch >= ' ' && ch != 0x7f) {
			if (ch == '"' || ch == '\\')
				bytes_u8(b, '\\');
			bytes_u8(b, ch);
			continue;
		}
		hex = xasprintf("\\x%02x", ch);
		bytes_str(b, hex);
		free(hex);
	}
	bytes_u8(b, '"');
}

static void put_keys(struct bytes *b, const struct maker *m, const char *indent)
{
	if (!m->n_keys)
		return;
	bytes_str(b, indent);
	bytes_str(b, "ssh_authorized_keys:\n");
	for (size_t i = 0; i < m->n_keys; i++) {
		bytes_str(b, indent);
		bytes_str(b, "  - ");
		quoted(b, m->keys[i]);
		bytes_str(b, "\n");
	}
}

static void put_user(struct bytes *b, const struct maker *m)
{
	bytes_str(b, "users:\n  - default\n");
	if (!m->user)
		return;
	bytes_str(b, "  - name: ");
	quoted(b, m->user);
	bytes_str(b, "\n    shell: /bin/bash\n    sudo: \"ALL=(ALL) NOPASSWD:ALL\"\n");
	if (m->password) {
		bytes_str(b, "    lock_passwd: false\n    plain_text_passwd: ");
		quoted(b, m->password);
		bytes_str(b, "\n");
	}
	put_keys(b, m, "    ");
}

/* A word of a shell command. */
static char *shell_word(const char *s)
{
	struct bytes b = {0};

	bytes_u8(&b, '\'');
	for (; *s; s++) {
		if (*s == '\'')
			bytes_str(&b, "'\\'");
		bytes_u8(&b, (uint8_t)*s);
	}
	bytes_u8(&b, '\'');
	bytes_u8(&b, 0);
	return (char *)b.p;
}

/* At each boot.  cloud-init's own list of mounts takes tags for names of block devices. */
static void put_mounts(struct bytes *b, const struct cmdline *c)
{
	if (!c->volumes.n)
		return;
	bytes_str(b, "bootcmd:\n");
	for (size_t i = 0; i < c->volumes.n; i++) {
		char *dir = shell_word(c->volumes.use[i].arg);
		char *command = xasprintf("modprobe -q 9pnet_virtio; mkdir -p -- %s && mount -t 9p "
					  "-o " SEED_MOUNT_OPTIONS " -- %s %s",
					  dir, dir, dir);

		bytes_str(b, "  - [sh, -c, ");
		quoted(b, command);
		bytes_str(b, "]\n");
		free(command);
		free(dir);
	}
}

/* FNV-1a: another seed is another instance, to which cloud-init gives what is new. */
static uint64_t hash(const struct bytes *b)
{
	uint64_t h = 0xcbf29ce484222325;

	for (size_t i = 0; i < b->len; i++)
		h = (h ^ b->p[i]) * 0x100000001b3;
	return h;
}

/* Can NAME of --name be a host's name? */
static bool is_hostname(const char *name)
{
	if (!name || !*name || strlen(name) > 63 || !isalnum((unsigned char)*name))
		return false;
	for (const char *p = name; *p; p++)
		if (!isalnum((unsigned char)*p) && *p != '-')
			return false;
	return true;
}

/* Where the name is known, and in /etc/hosts, so that sudo need not look for it. */
static void put_hostname(struct bytes *meta, struct bytes *user, const char *name)
{
	if (!is_hostname(name))
		return;
	bytes_str(meta, "local-hostname: ");
	quoted(meta, name);
	bytes_str(meta, "\n");
	bytes_str(user, "manage_etc_hosts: localhost\n");
}

static void make_image(struct seed *s, const struct maker *m)
{
	struct bytes user = {0}, meta = {0};
	struct iso_file files[2];
	char *id;

	bytes_str(&user, "#cloud-config\n");
	put_user(&user, m);
	put_keys(&user, m, "");
	bytes_str(&user, "disable_root: false\n");
	put_mounts(&user, m->c);
	put_hostname(&meta, &user, m->c->cfg.name);
	id = xasprintf("instance-id: doppel-%016llx\n", (unsigned long long)hash(&user));
	bytes_str(&meta, id);
	free(id);
	files[0] = (struct iso_file){"meta-data", "META_DAT", meta.p, (uint32_t)meta.len};
	files[1] = (struct iso_file){"user-data", "USER_DAT", user.p, (uint32_t)user.len};
	iso_build(&s->image, LABEL, files, ARRAY_SIZE(files));
	bytes_free(&user);
	bytes_free(&meta);
}

/* systemd.system-credentials(7): root's authorized_keys, in a form that may have several lines. */
static void make_credential(struct seed *s, const struct maker *m)
{
	struct bytes lines = {0};
	char *text;

	if (!m->n_keys)
		return;
	for (size_t i = 0; i < m->n_keys; i++) {
		bytes_str(&lines, m->keys[i]);
		bytes_str(&lines, "\n");
	}
	text = base64_encode(lines.p, lines.len);
	s->credential = xasprintf("io.systemd.credential.binary:ssh.authorized_keys.root=%s", text);
	free(text);
	bytes_free(&lines);
}

int seed_make(struct seed *s, const struct cmdline *c, struct err **e)
{
	struct maker m = {.c = c};
	int r;

	*s = (struct seed){0};
	if (!seed_mounts(c))
		return 0;
	r = take_keys(&m, e);
	if (!r)
		r = take_user(&m, e);
	if (!r) {
		make_image(s, &m);
		make_credential(s, &m);
	}
	for (size_t i = 0; i < m.n_keys; i++)
		free(m.keys[i]);
	free(m.keys);
	free(m.user);
	free(m.password);
	return r;
}

void seed_free(struct seed *s)
{
	bytes_free(&s->image);
	free(s->credential);
	*s = (struct seed){0};
}
