/* SPDX-License-Identifier: Apache-2.0 */
#include "base/kvlist.h"
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/base.h"
#include "base/err.h"

/* The word at *p, up to a lone comma, with ",," made one; *p moves past the comma or to the end. */
static char *kv_word(const char **p)
{
	char *out = xzalloc(strlen(*p) + 1), *o = out;
	const char *s = *p;

	while (*s) {
		if (*s == ',') {
			if (s[1] != ',')
				break;
			s++;
		}
		*o++ = *s++;
	}
	*p = *s ? s + 1 : s;
	return out;
}

static void kv_push(struct kvlist *l, char *key, char *val, bool flag)
{
	l->kv = xrealloc(l->kv, (l->n + 1) * sizeof(*l->kv));
	l->kv[l->n++] = (struct kv){.key = key, .val = val, .flag = flag};
}

void kv_add(struct kvlist *l, const char *key, const char *val)
{
	kv_push(l, xstrdup(key), xstrdup(val), false);
}

int kv_parse(struct kvlist *l, const char *s, const char *implied, struct err **e)
{
	const char *p = s;
	bool first = true;

	while (*p) {
		char *w = kv_word(&p), *eq = strchr(w, '=');

		if (!eq && first && implied) {
			kv_add(l, implied, w);
		} else if (eq == w || !*w) {
			free(w);
			return err_set(e, EINVAL, "'%s': a parameter has no name", s);
		} else if (eq) {
			*eq = 0;
			kv_add(l, w, eq + 1);
		} else {
			bool off = !strncmp(w, "no", 2) && w[2];

			kv_push(l, xstrdup(off ? w + 2 : w), xstrdup(off ? "off" : "on"), true);
		}
		free(w);
		first = false;
	}
	return 0;
}

void kv_free(struct kvlist *l)
{
	for (size_t i = 0; i < l->n; i++) {
		free(l->kv[i].key);
		free(l->kv[i].val);
	}
	free(l->kv);
	*l = (struct kvlist){0};
}

const char *kv_get(struct kvlist *l, const char *key)
{
	const char *val = NULL;

	for (size_t i = 0; i < l->n; i++) {
		if (strcmp(l->kv[i].key, key))
			continue;
		l->kv[i].used = true;
		val = l->kv[i].val;
	}
	return val;
}

static bool word_in(const char *s, const char *const *words)
{
	for (; *words; words++)
		if (!strcmp(s, *words))
			return true;
	return false;
}

int kv_bool(struct kvlist *l, const char *key, bool *out, struct err **e)
{
	static const char *const yes[] = {"on", "yes", "true", "y", NULL};
	static const char *const no[] = {"off", "no", "false", "n", NULL};
	const char *v = kv_get(l, key);

	if (!v)
		return 0;
	if (!word_in(v, yes) && !word_in(v, no))
		return err_set(e, EINVAL, "parameter '%s' expects 'on' or 'off', not '%s'", key, v);
	*out = word_in(v, yes);
	return 0;
}

int kv_uint(struct kvlist *l, const char *key, uint64_t lo, uint64_t hi, uint64_t *out,
	    struct err **e)
{
	const char *v = kv_get(l, key);

	if (!v)
		return 0;
	if (!parse_uint(v, lo, hi, out))
		return err_set(e, EINVAL,
			       "parameter '%s' expects a number from %llu to %llu, not '%s'", key,
			       (unsigned long long)lo, (unsigned long long)hi, v);
	return 0;
}

int kv_finish(const struct kvlist *l, struct err **e)
{
	for (size_t i = 0; i < l->n; i++)
		if (!l->kv[i].used)
			return err_set(e, EINVAL, "invalid parameter '%s'", l->kv[i].key);
	return 0;
}

bool parse_uint(const char *s, uint64_t lo, uint64_t hi, uint64_t *out)
{
	char *end;
	unsigned long long v;

	if (!isdigit((unsigned char)*s))
		return false;
	errno = 0;
	/* Base 16 after 0x, else 10: a leading 0 does not mean octal to a person. */
	v = strtoull(s, &end, s[0] == '0' && (s[1] | 0x20) == 'x' ? 16 : 10);
	if (errno || *end || v < lo || v > hi)
		return false;
	*out = v;
	return true;
}

/* Bytes of a size suffix; 0 when it is not one. */
static uint64_t size_unit(const char *s, uint64_t unit)
{
	static const char suffix[] = "BKMGTPE";
	const char *at;

	if (!*s)
		return unit;
	at = memchr(suffix, toupper((unsigned char)*s), sizeof(suffix) - 1);
	return at && !s[1] ? UINT64_C(1) << (10 * (at - suffix)) : 0;
}

bool parse_size(const char *s, uint64_t unit, uint64_t *bytes)
{
	unsigned long long whole;
	double frac = 0;
	char *end;

	if (!isdigit((unsigned char)*s))
		return false;
	errno = 0;
	whole = strtoull(s, &end, 10);
	if (errno)
		return false;
	if (*end == '.') {
		if (!isdigit((unsigned char)end[1]))
			return false;
		for (double place = 0.1; isdigit((unsigned char)*++end); place /= 10)
			frac += (*end - '0') * place;
	}
	unit = size_unit(end, unit);
	if (!unit || __builtin_mul_overflow(whole, unit, bytes))
		return false;
	return !__builtin_add_overflow(*bytes, (uint64_t)(frac * (double)unit), bytes);
}
