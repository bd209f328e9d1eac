/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Option lists written as JSON, as -device, -blockdev, -netdev and -object take them. */
#include "base/kvlist.h"

/* kv_is_json - does an option's argument begin like a JSON object? */
bool kv_is_json(const char *s);
/* kv_parse_json - the members of a JSON object as pairs: nested objects and arrays give keys joined
 * by dots ("file.filename", "paths.0.name"), true and false "on" and "off".  0, or -EINVAL with *e.
 * The list is zeroed before and needs kv_free either way. */
int kv_parse_json(struct kvlist *l, const char *s, struct err **e);
/* kv_parse_any - by kv_is_json, kv_parse_json or kv_parse. */
int kv_parse_any(struct kvlist *l, const char *s, const char *implied, struct err **e);
/* kv_text - the list as "key=value,..." for kv_parse; malloc'ed.  Pairs with key `skip` (may be
 * NULL) are left out. */
char *kv_text(const struct kvlist *l, const char *skip);
