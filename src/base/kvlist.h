/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Option lists of command lines: "value,key=value,flag".  Parsed once, each pair asked for by name;
 * pairs that nobody asked for are errors (kv_finish).  A comma in a value is written twice.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

struct kv {
	char *key, *val;
	bool flag; /* written without "=value": val is "on", or "off" for "nokey" */
	bool used;
};

struct kvlist {
	struct kv *kv;
	size_t n;
};

/* kv_parse - split s into a list that is zeroed before.  The first word, when it has no "=", is
 * the value of key `implied` (NULL: there is no such word).  0, or -EINVAL with *e.  The list
 * needs kv_free either way. */
int kv_parse(struct kvlist *l, const char *s, const char *implied, struct err **e);
/* kv_add - append a pair (copied). */
void kv_add(struct kvlist *l, const char *key, const char *val);
void kv_free(struct kvlist *l);

/* kv_get - value of the last pair with that key, or NULL; marks all of them used. */
const char *kv_get(struct kvlist *l, const char *key);
/* kv_bool - on/yes/true/y, off/no/false/n; *out is left alone when the key is absent. */
int kv_bool(struct kvlist *l, const char *key, bool *out, struct err **e);
/* kv_uint - a number (decimal, 0x...) in lo..hi; *out is left alone when the key is absent. */
int kv_uint(struct kvlist *l, const char *key, uint64_t lo, uint64_t hi, uint64_t *out,
	    struct err **e);
/* kv_finish - -EINVAL with *e naming a pair that was never asked for. */
int kv_finish(const struct kvlist *l, struct err **e);

/* parse_uint - all of s as a number in lo..hi; false when it is not one. */
bool parse_uint(const char *s, uint64_t lo, uint64_t hi, uint64_t *out);
/* parse_size - a number, perhaps with a fraction, and a suffix B, K, M, G, T (either case); without
 * a suffix it counts `unit` bytes.  False when malformed or past 64 bits. */
bool parse_size(const char *s, uint64_t unit, uint64_t *bytes);
