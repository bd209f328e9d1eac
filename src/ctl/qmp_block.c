/* SPDX-License-Identifier: Apache-2.0 */
/* Commands about disks.  The block layer is used with the machine's lock held. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "back/block/block.h"
#include "base/err.h"
#include "ctl/qmp_int.h"
#include "dev/dev.h"

static void machine_lock(const struct qmp_call *call)
{
	lock_take(vm_devices(call->vm)->lock);
}

static void machine_unlock(const struct qmp_call *call)
{
	lock_drop(vm_devices(call->vm)->lock);
}

/* The drive that "device" or "id" (its own or its device's name) means.  Locked. */
static struct block *drive_find(struct qmp_call *call, bool node_too)
{
	const char *device = qmp_str(call, "device"), *id = qmp_str(call, "id");
	const char *node = node_too ? qmp_str(call, "node-name") : NULL;
	const char *word = device ? device : id ? id : node;
	struct blocks *bs = call->ctl->cfg.blocks;

	if ((device != NULL) + (id != NULL) + (node != NULL) != 1) {
		qmp_fail(call, QMP_GENERIC, "Need exactly one of 'device' and '%s'",
			 node_too ? "node-name" : "id");
		return NULL;
	}
	for (struct block *b = bs ? block_next(bs, NULL) : NULL; b; b = block_next(bs, b)) {
		struct block_policy p;
		struct block_image image;
		struct block_node *root = block_root(b);

		block_policy(b, &p);
		if (!node &&
		    (!strcmp(block_id(b), word) || (id && p.qdev && !strcmp(p.qdev, word))))
			return b;
		if (!node || !root)
			continue;
		block_image(root, &image);
		if (image.node && !strcmp(image.node, node))
			return b;
	}
	if (node_too)
		qmp_fail(call, QMP_GENERIC, "Cannot find device='%s' nor node-name='%s'",
			 device ? device : "", node ? node : "");
	else
		qmp_fail(call, QMP_NO_DEVICE, "Device '%s' not found", word);
	return NULL;
}

static int take_err(struct qmp_call *call, int r, struct err **e)
{
	if (r)
		qmp_fail(call, QMP_GENERIC, "%s", *e ? err_msg(*e) : strerror(-r));
	err_free(e);
	return r ? -1 : 0;
}

static void image_format(struct json_object *o, const struct block_image *i)
{
	struct json_object *specific, *data;

	if (strcmp(i->driver, "qcow2") || !i->compat)
		return;
	specific = json_object_new_object();
	data = json_object_new_object();
	obj_str(data, "compat", i->compat);
	obj_str(data, "compression-type", i->compression ? i->compression : "zlib");
	obj_bool(data, "lazy-refcounts", i->lazy_refcounts);
	obj_int(data, "refcount-bits", i->refcount_bits);
	obj_bool(data, "corrupt", i->corrupt);
	obj_bool(data, "extended-l2", i->extended_l2);
	obj_str(specific, "type", "qcow2");
	json_object_object_add(specific, "data", data);
	json_object_object_add(o, "format-specific", specific);
}

static void image_snapshots(struct json_object *o, const struct block_image *i)
{
	struct json_object *list;

	if (!i->n_snapshots)
		return;
	list = json_object_new_array();
	for (unsigned k = 0; k < i->n_snapshots; k++) {
		const struct block_snapshot *s = &i->snapshots[k];
		struct json_object *m = json_object_new_object();

		obj_str(m, "id", s->id);
		obj_str(m, "name", s->name);
		obj_int(m, "vm-state-size", (int64_t)s->vm_state_size);
		obj_int(m, "date-sec", (int64_t)s->date_s);
		obj_int(m, "date-nsec", (int64_t)s->date_ns);
		obj_int(m, "vm-clock-sec", (int64_t)(s->vm_clock_ns / 1000000000));
		obj_int(m, "vm-clock-nsec", (int64_t)(s->vm_clock_ns % 1000000000));
		json_object_array_add(list, m);
	}
	json_object_object_add(o, "snapshots", list);
}

/* ImageInfo, with the images below it. */
static struct json_object *image_json(struct block_node *n)
{
	struct json_object *o = json_object_new_object();
	struct block_node *below = block_backing(n);
	struct block_image i;

	block_image(n, &i);
	obj_int(o, "virtual-size", (int64_t)i.virtual_size);
	obj_str(o, "filename", i.filename ? i.filename : "");
	if (i.cluster_size)
		obj_int(o, "cluster-size", (int64_t)i.cluster_size);
	obj_str(o, "format", i.driver);
	obj_int(o, "actual-size", (int64_t)i.actual_size);
	image_format(o, &i);
	image_snapshots(o, &i);
	if (i.encrypted)
		obj_bool(o, "encrypted", true);
	obj_bool(o, "dirty-flag", i.dirty);
	if (i.backing_filename)
		obj_str(o, "backing-filename", i.backing_filename);
	if (i.backing_format)
		obj_str(o, "backing-filename-format", i.backing_format);
	if (below)
		json_object_object_add(o, "backing-image", image_json(below));
	return o;
}

static void throttle_json(struct json_object *o, const struct throttle_cfg *t)
{
	static const char *const names[][3] = {
		[THROTTLE_BPS] = {"bps", "bps_max", "bps_max_length"},
		[THROTTLE_BPS_RD] = {"bps_rd", "bps_rd_max", "bps_rd_max_length"},
		[THROTTLE_BPS_WR] = {"bps_wr", "bps_wr_max", "bps_wr_max_length"},
		[THROTTLE_IOPS] = {"iops", "iops_max", "iops_max_length"},
		[THROTTLE_IOPS_RD] = {"iops_rd", "iops_rd_max", "iops_rd_max_length"},
		[THROTTLE_IOPS_WR] = {"iops_wr", "iops_wr_max", "iops_wr_max_length"},
	};

	for (unsigned k = 0; k < THROTTLE_KINDS; k++) {
		obj_int(o, names[k][0], (int64_t)t->k[k].avg);
		if (t->k[k].max) {
			obj_int(o, names[k][1], (int64_t)t->k[k].max);
			obj_int(o, names[k][2], (int64_t)t->k[k].length);
		}
	}
	if (t->iops_size)
		obj_int(o, "iops_size", (int64_t)t->iops_size);
}

/* BlockDeviceInfo of a node; b NULL: no drive has it. */
static struct json_object *node_json(struct block_node *n, const struct block *b)
{
	struct json_object *o = json_object_new_object(), *cache = json_object_new_object();
	struct throttle_cfg t = {0};
	struct block_policy p = {.writeback = true};
	struct block_image i;
	int depth = 0;

	if (b) {
		block_policy(b, &p);
		block_get_throttle(b, &t);
	}
	block_image(n, &i);
	for (struct block_node *below = block_backing(n); below; below = block_backing(below))
		depth++;
	throttle_json(o, &t);
	obj_str(o, "detect_zeroes", !p.detect_zeroes ? "off" : p.detect_unmap ? "unmap" : "on");
	json_object_object_add(o, "image", image_json(n));
	obj_bool(o, "ro", i.read_only);
	if (i.node)
		obj_str(o, "node-name", i.node);
	obj_int(o, "backing_file_depth", depth);
	if (i.backing_filename)
		obj_str(o, "backing_file", i.backing_filename);
	obj_str(o, "drv", i.driver);
	obj_int(o, "write_threshold", 0);
	obj_bool(o, "encrypted", i.encrypted);
	obj_bool(cache, "no-flush", p.no_flush);
	obj_bool(cache, "direct", p.direct);
	obj_bool(cache, "writeback", p.writeback);
	json_object_object_add(o, "cache", cache);
	obj_str(o, "file", i.filename ? i.filename : "");
	return o;
}

static struct json_object *drive_json(struct block *b)
{
	struct json_object *o = json_object_new_object();
	struct block_node *root = block_root(b);
	struct block_policy p;
	struct block_stats s;

	block_policy(b, &p);
	block_stats(b, &s);
	if (p.attached)
		obj_str(o, "io-status", s.held ? "failed" : "ok");
	obj_str(o, "device", block_id(b));
	obj_bool(o, "locked", p.tray_locked);
	obj_bool(o, "removable", p.removable);
	if (root)
		json_object_object_add(o, "inserted", node_json(root, b));
	if (p.qdev && *p.qdev)
		obj_str(o, "qdev", p.qdev);
	if (p.removable)
		obj_bool(o, "tray_open", p.tray_open);
	obj_str(o, "type", "unknown");
	return o;
}

int qmp_query_block(struct qmp_call *call)
{
	struct blocks *bs = call->ctl->cfg.blocks;

	call->ret = json_object_new_array();
	machine_lock(call);
	for (struct block *b = bs ? block_next(bs, NULL) : NULL; b; b = block_next(bs, b))
		json_object_array_add(call->ret, drive_json(b));
	machine_unlock(call);
	return 0;
}

int qmp_query_named_block_nodes(struct qmp_call *call)
{
	struct blocks *bs = call->ctl->cfg.blocks;

	call->ret = json_object_new_array();
	machine_lock(call);
	for (struct block_node *n = bs ? block_node_next(bs, NULL) : NULL; n;
	     n = block_node_next(bs, n))
		json_object_array_add(call->ret, node_json(n, NULL));
	machine_unlock(call);
	return 0;
}

static struct json_object *stats_json(const struct block_stats *s)
{
	static const struct {
		enum block_op op;
		const char *bytes, *ops, *time, *failed, *invalid, *merged;
	} kinds[] = {
		{BLOCK_READ, "rd_bytes", "rd_operations", "rd_total_time_ns",
		 "failed_rd_operations", "invalid_rd_operations", "rd_merged"},
		{BLOCK_WRITE, "wr_bytes", "wr_operations", "wr_total_time_ns",
		 "failed_wr_operations", "invalid_wr_operations", "wr_merged"},
		{BLOCK_FLUSH, NULL, "flush_operations", "flush_total_time_ns",
		 "failed_flush_operations", "invalid_flush_operations", NULL},
		{BLOCK_DISCARD, "unmap_bytes", "unmap_operations", "unmap_total_time_ns",
		 "failed_unmap_operations", "invalid_unmap_operations", "unmap_merged"},
	};
	struct json_object *o = json_object_new_object();

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (kinds[i].bytes)
			obj_int(o, kinds[i].bytes, (int64_t)s->op[kinds[i].op].bytes);
		if (kinds[i].merged)
			obj_int(o, kinds[i].merged, 0);
		obj_int(o, kinds[i].ops, (int64_t)s->op[kinds[i].op].ops);
		obj_int(o, kinds[i].time, (int64_t)s->op[kinds[i].op].time_ns);
		obj_int(o, kinds[i].failed, (int64_t)s->op[kinds[i].op].failed);
		obj_int(o, kinds[i].invalid, (int64_t)s->op[kinds[i].op].invalid);
	}
	obj_int(o, "wr_highest_offset", (int64_t)s->wr_highest);
	obj_bool(o, "account_invalid", true);
	obj_bool(o, "account_failed", true);
	json_object_object_add(o, "timed_stats", json_object_new_array());
	return o;
}

/* query-nodes asks about nodes, whose requests are not counted apart from their drives'. */
int qmp_query_blockstats(struct qmp_call *call)
{
	struct blocks *bs = call->ctl->cfg.blocks;

	if (qmp_bool(call, "query-nodes", false))
		return qmp_fail(call, QMP_GENERIC, "There are no statistics of single nodes");
	call->ret = json_object_new_array();
	machine_lock(call);
	for (struct block *b = bs ? block_next(bs, NULL) : NULL; b; b = block_next(bs, b)) {
		struct json_object *o = json_object_new_object();
		struct block_policy p;
		struct block_stats s;

		block_policy(b, &p);
		block_stats(b, &s);
		obj_str(o, "device", block_id(b));
		json_object_object_add(o, "stats", stats_json(&s));
		if (p.qdev && *p.qdev)
			obj_str(o, "qdev", p.qdev);
		json_object_array_add(call->ret, o);
	}
	machine_unlock(call);
	return 0;
}

/* Where a drive's tray was before a command, and who it belongs to. */
struct tray {
	char *device, *id;
	bool open, now;
};

static void tray_look(struct tray *t, const struct block *b)
{
	struct block_policy p;

	block_policy(b, &p);
	*t = (struct tray){
		.device = xstrdup(block_id(b)),
		.id = xstrdup(p.qdev ? p.qdev : ""),
		.open = p.tray_open,
	};
}

static void tray_look_again(struct tray *t, const struct block *b)
{
	struct block_policy p;

	block_policy(b, &p);
	t->now = p.tray_open;
}

/* Without the lock: tell of its moves; `out`: it was out in between. */
static void tray_tell(struct qmp_call *call, struct tray *t, bool out)
{
	bool moves[2] = {true, false};
	bool opened = !t->open && (t->now || out), closed = !t->now && (t->open || out);

	for (int i = 0; i < 2; i++) {
		struct vm_event_arg args[] = {
			VM_STR("device", t->device),
			VM_STR("id", t->id),
			VM_BOOL("tray-open", moves[i]),
		};

		if (moves[i] ? opened : closed)
			vm_emit(call->vm, "DEVICE_TRAY_MOVED", args, ARRAY_SIZE(args));
	}
	free(t->device);
	free(t->id);
}

/* Do something to the medium of the drive that a command names; `swaps`: the tray is out meanwhile. */
static int with_medium(struct qmp_call *call, bool swaps,
		       int (*act)(struct qmp_call *call, struct block *b, struct err **e))
{
	struct err *e = NULL;
	struct tray tray = {0};
	struct block *b;
	int r = -1;

	machine_lock(call);
	b = drive_find(call, false);
	if (b) {
		tray_look(&tray, b);
		r = act(call, b, &e);
		r = take_err(call, r, &e);
		tray_look_again(&tray, b);
	}
	machine_unlock(call);
	tray_tell(call, &tray, swaps && r == 0);
	return r;
}

static int eject_medium(struct qmp_call *call, struct block *b, struct err **e)
{
	return block_eject(b, qmp_bool(call, "force", false), e);
}

int qmp_eject(struct qmp_call *call)
{
	return with_medium(call, false, eject_medium);
}

/* What the guest is to find: -1, as it was; 0, writable; 1, read-only. */
static int read_only_mode(const struct qmp_call *call)
{
	const char *mode = qmp_str(call, "read-only-mode");

	if (!mode || !strcmp(mode, "retain"))
		return -1;
	return !strcmp(mode, "read-only");
}

static int change_medium(struct qmp_call *call, struct block *b, struct err **e)
{
	return block_change(b, qmp_str(call, "filename"), qmp_str(call, "format"),
			    read_only_mode(call), qmp_bool(call, "force", false), e);
}

int qmp_change_medium(struct qmp_call *call)
{
	return with_medium(call, true, change_medium);
}

int qmp_block_resize(struct qmp_call *call)
{
	int64_t size = qmp_int(call, "size", 0);
	struct err *e = NULL;
	struct block *b;
	int r = -1;

	if (size < 0)
		return qmp_fail(call, QMP_GENERIC, "Parameter 'size' expects a >0 size");
	machine_lock(call);
	b = drive_find(call, true);
	if (b)
		r = take_err(call, block_resize(b, (uint64_t)size, &e), &e);
	machine_unlock(call);
	return r;
}

static int throttle_take(struct qmp_call *call, struct throttle_cfg *t)
{
	static const char *const names[] = {
		[THROTTLE_BPS] = "bps",		[THROTTLE_BPS_RD] = "bps_rd",
		[THROTTLE_BPS_WR] = "bps_wr",	[THROTTLE_IOPS] = "iops",
		[THROTTLE_IOPS_RD] = "iops_rd", [THROTTLE_IOPS_WR] = "iops_wr",
	};

	for (unsigned k = 0; k < THROTTLE_KINDS; k++) {
		char max[32], length[32];
		int64_t v[3];

		snprintf(max, sizeof(max), "%s_max", names[k]);
		snprintf(length, sizeof(length), "%s_max_length", names[k]);
		v[0] = qmp_int(call, names[k], 0);
		v[1] = qmp_int(call, max, 0);
		v[2] = qmp_int(call, length, 1);
		if (v[0] < 0 || v[1] < 0 || v[2] < 1)
			return qmp_fail(call, QMP_GENERIC, "limits of '%s' must not be negative",
					names[k]);
		t->k[k].avg = (uint64_t)v[0];
		t->k[k].max = (uint64_t)v[1];
		t->k[k].length = (uint64_t)v[2];
	}
	t->iops_size = (uint64_t)qmp_int(call, "iops_size", 0);
	return 0;
}

int qmp_block_set_io_throttle(struct qmp_call *call)
{
	struct throttle_cfg t = {0};
	struct err *e = NULL;
	struct block *b;
	int r = -1;

	if (throttle_take(call, &t))
		return -1;
	machine_lock(call);
	b = drive_find(call, false);
	if (b)
		r = take_err(call, block_set_throttle(b, &t, &e), &e);
	machine_unlock(call);
	return r;
}

int qmp_blockdev_add(struct qmp_call *call)
{
	struct blocks *bs = call->ctl->cfg.blocks;
	struct err *e = NULL;
	int r;

	if (!bs)
		return qmp_fail(call, QMP_GENERIC, "This machine has no block layer");
	if (!qmp_get(call, "node-name"))
		return qmp_fail(call, QMP_GENERIC,
				"'node-name' must be specified for the root node");
	machine_lock(call);
	r = block_open_node(bs, json_object_to_json_string_ext(call->args, JSON_C_TO_STRING_PLAIN),
			    &e);
	machine_unlock(call);
	return take_err(call, r, &e);
}

int qmp_blockdev_del(struct qmp_call *call)
{
	struct blocks *bs = call->ctl->cfg.blocks;
	const char *node = qmp_str(call, "node-name");
	struct err *e = NULL;
	int r;

	machine_lock(call);
	r = bs ? block_close_node(bs, node, &e) : -ENOENT;
	machine_unlock(call);
	if (r == -ENOENT) {
		err_free(&e);
		return qmp_fail(call, QMP_GENERIC, "Failed to find node with node-name='%s'", node);
	}
	return take_err(call, r, &e);
}
