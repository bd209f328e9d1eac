/* SPDX-License-Identifier: Apache-2.0 */
/* Commands about character back ends. */
#include <stdlib.h>
#include <string.h>
#include "ctl/base64.h"
#include "ctl/qmp_int.h"

#define RING_READ_MAX (64 * MiB)

static void chardev_entry(void *arg, struct chardev *cd)
{
	struct json_object *list = arg, *o = json_object_new_object();
	char *filename = chardev_filename(cd);

	obj_bool(o, "frontend-open", chardev_attached(cd));
	obj_str(o, "filename", filename);
	obj_str(o, "label", chardev_id(cd));
	json_object_array_add(list, o);
	free(filename);
}

int qmp_query_chardev(struct qmp_call *call)
{
	const struct ctl_config *cfg = &call->ctl->cfg;

	call->ret = json_object_new_array();
	if (cfg->each_chardev)
		cfg->each_chardev(cfg->opaque, chardev_entry, call->ret);
	return 0;
}

int qmp_query_chardev_backends(struct qmp_call *call)
{
	const char *name;

	call->ret = json_object_new_array();
	for (unsigned i = 0; (name = chardev_kind_name(i)); i++) {
		struct json_object *o = json_object_new_object();

		obj_str(o, "name", name);
		json_object_array_add(call->ret, o);
	}
	return 0;
}

static struct chardev *ring_find(struct qmp_call *call)
{
	const char *id = qmp_str(call, "device");
	struct chardev *cd = ctl_chardev(call->ctl, id);

	if (!cd)
		qmp_fail(call, QMP_GENERIC, "Device '%s' not found", id);
	else if (!chardev_is_ring(cd))
		qmp_fail(call, QMP_GENERIC, "%s is not a ringbuf device", id);
	else
		return cd;
	return NULL;
}

static bool format_base64(const struct qmp_call *call)
{
	const char *format = qmp_str(call, "format");

	return format && !strcmp(format, "base64");
}

/* What is not UTF-8 is lost in JSON: such bytes become question marks. */
static void make_utf8(uint8_t *buf, size_t len)
{
	size_t i = 0;

	while (i < len) {
		uint8_t c = buf[i];
		size_t more = c < 0x80		      ? 0
			      : c >= 0xc2 && c < 0xe0 ? 1
			      : c >= 0xe0 && c < 0xf0 ? 2
						      : 9;

		for (size_t k = 1; k <= more && more < 9; k++)
			if (i + k >= len || (buf[i + k] & 0xc0) != 0x80)
				more = 9;
		if (more == 9 || !c) {
			buf[i] = '?';
			more = 0;
		}
		i += more + 1;
	}
}

int qmp_ringbuf_read(struct qmp_call *call)
{
	struct chardev *cd = ring_find(call);
	int64_t size = qmp_int(call, "size", 0);
	uint8_t *buf;
	size_t n;

	if (!cd)
		return -1;
	if (size <= 0)
		return qmp_fail(call, QMP_GENERIC, "size must be greater than zero");
	size = (int64_t)min_u64((uint64_t)size, RING_READ_MAX);
	buf = xzalloc((size_t)size);
	n = chardev_ring_read(cd, buf, (size_t)size);
	if (format_base64(call)) {
		char *s = base64_encode(buf, n);

		call->ret = json_object_new_string(s);
		free(s);
	} else {
		make_utf8(buf, n);
		call->ret = json_object_new_string_len((char *)buf, (int)n);
	}
	free(buf);
	return 0;
}

int qmp_ringbuf_write(struct qmp_call *call)
{
	struct chardev *cd = ring_find(call);
	const char *data = qmp_str(call, "data");
	uint8_t *raw;
	size_t n;

	if (!cd)
		return -1;
	if (!format_base64(call)) {
		chardev_ring_write(cd, (const uint8_t *)data, strlen(data));
		return 0;
	}
	raw = base64_decode(data, &n);
	if (!raw)
		return qmp_fail(call, QMP_GENERIC, "Base64 data '%.32s' is not valid", data);
	chardev_ring_write(cd, raw, n);
	free(raw);
	return 0;
}
