/* SPDX-License-Identifier: Apache-2.0 */
/* A person's commands about disks. */
#include <string.h>
#include "base/kvlist.h"
#include "ctl/hmp_int.h"
#include "ctl/qmp_int.h"

static struct json_object *get(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) ? v : NULL;
}

static const char *str(struct json_object *o, const char *key)
{
	struct json_object *v = get(o, key);

	return v ? json_object_get_string(v) : "";
}

static bool yes(struct json_object *o, const char *key)
{
	return json_object_get_boolean(get(o, key));
}

static void info_inserted(struct hmp_call *h, struct json_object *i)
{
	struct json_object *cache = get(i, "cache");

	text_printf(h->out, " (%s): %s (%s%s%s)", str(i, "node-name"), str(i, "file"),
		    str(i, "drv"), yes(i, "ro") ? ", read-only" : "",
		    yes(i, "encrypted") ? ", encrypted" : "");
	text_printf(h->out, "\n    Cache mode:       %s%s%s",
		    yes(cache, "writeback") ? "writeback" : "writethrough",
		    yes(cache, "direct") ? ", direct" : "",
		    yes(cache, "no-flush") ? ", ignore flushes" : "");
	if (*str(i, "backing_file"))
		text_printf(h->out, "\n    Backing file:     %s (chain depth: %d)",
			    str(i, "backing_file"),
			    json_object_get_int(get(i, "backing_file_depth")));
}

static void info_drive(struct hmp_call *h, struct json_object *o)
{
	struct json_object *inserted = get(o, "inserted");

	text_printf(h->out, "%s", *str(o, "device") ? str(o, "device") : str(o, "qdev"));
	if (inserted)
		info_inserted(h, inserted);
	else
		text_printf(h->out, ": [not inserted]");
	if (*str(o, "qdev"))
		text_printf(h->out, "\n    Attached to:      %s", str(o, "qdev"));
	if (yes(o, "removable"))
		text_printf(h->out, "\n    Removable device: %slocked, tray %s",
			    yes(o, "locked") ? "" : "not ",
			    yes(o, "tray_open") ? "open" : "closed");
	text_printf(h->out, "\n");
}

void hmp_info_block(struct hmp_call *h)
{
	const char *device = hmp_word(h);
	struct json_object *list;
	unsigned shown = 0;
	bool ok;

	if (!hmp_done(h))
		return;
	list = hmp_qmp(h, "query-block", NULL, &ok);
	for (size_t i = 0; ok && i < json_object_array_length(list); i++) {
		struct json_object *o = json_object_array_get_idx(list, i);

		if (device && strcmp(device, str(o, "device")) && strcmp(device, str(o, "qdev")))
			continue;
		text_printf(h->out, shown++ ? "\n" : "");
		info_drive(h, o);
	}
	if (device && !shown)
		hmp_error(h, "there is no disk '%s'", device);
	json_object_put(list);
}

void hmp_info_blockstats(struct hmp_call *h)
{
	static const char *const keys[] = {
		"rd_bytes",	    "wr_bytes",		"rd_operations",    "wr_operations",
		"flush_operations", "wr_total_time_ns", "rd_total_time_ns", "flush_total_time_ns",
	};
	bool ok;
	struct json_object *list = hmp_qmp(h, "query-blockstats", NULL, &ok);

	for (size_t i = 0; ok && i < json_object_array_length(list); i++) {
		struct json_object *o = json_object_array_get_idx(list, i), *s = get(o, "stats");

		text_printf(h->out, "%s:", *str(o, "device") ? str(o, "device") : str(o, "qdev"));
		for (size_t k = 0; k < ARRAY_SIZE(keys); k++)
			text_printf(h->out, " %s=%s", keys[k], str(s, keys[k]));
		text_printf(h->out, "\n");
	}
	json_object_put(list);
}

void hmp_eject(struct hmp_call *h)
{
	const char *device = hmp_need(h, "DEVICE");
	struct json_object *args;
	bool force = device && !strcmp(device, "-f");

	if (force)
		device = hmp_need(h, "DEVICE");
	if (!device || !hmp_done(h))
		return;
	args = json_object_new_object();
	obj_str(args, "device", device);
	obj_bool(args, "force", force);
	hmp_do(h, "eject", args);
}

void hmp_change(struct hmp_call *h)
{
	const char *device = hmp_need(h, "DEVICE"), *file = device ? hmp_need(h, "FILE") : NULL;
	const char *format = file ? hmp_word(h) : NULL, *mode = format ? hmp_word(h) : NULL;
	struct json_object *args;

	if (!file || !hmp_done(h))
		return;
	args = json_object_new_object();
	obj_str(args, "device", device);
	obj_str(args, "filename", file);
	if (format)
		obj_str(args, "format", format);
	if (mode)
		obj_str(args, "read-only-mode", mode);
	hmp_do(h, "blockdev-change-medium", args);
}

void hmp_block_resize(struct hmp_call *h)
{
	const char *device = hmp_need(h, "DEVICE"), *size = device ? hmp_need(h, "SIZE") : NULL;
	struct json_object *args;
	int64_t bytes;

	if (!size || !hmp_done(h) || !hmp_size(h, size, &bytes))
		return;
	args = json_object_new_object();
	obj_str(args, "device", device);
	obj_int(args, "size", bytes);
	hmp_do(h, "block_resize", args);
}

void hmp_block_throttle(struct hmp_call *h)
{
	static const char *const keys[] = {"bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr"};
	const char *device = hmp_need(h, "DEVICE");
	struct json_object *args = json_object_new_object();
	bool ok = device != NULL;

	for (size_t i = 0; ok && i < ARRAY_SIZE(keys); i++) {
		uint64_t v;

		ok = hmp_number(h, keys[i], &v);
		if (ok)
			obj_int(args, keys[i], (int64_t)v);
	}
	if (!ok || !hmp_done(h)) {
		json_object_put(args);
		return;
	}
	obj_str(args, "device", device);
	hmp_do(h, "block_set_io_throttle", args);
}
