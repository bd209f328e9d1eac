/* SPDX-License-Identifier: Apache-2.0 */
/* A person's commands, most of them by way of the command for programs. */
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/log.h"
#include "ctl/hmp_int.h"
#include "ctl/qmp_int.h"

static void plain(struct hmp_call *h, const char *name)
{
	if (hmp_done(h))
		hmp_do(h, name, NULL);
}

void hmp_cont(struct hmp_call *h)
{
	plain(h, "cont");
}

void hmp_stop(struct hmp_call *h)
{
	plain(h, "stop");
}

void hmp_quit(struct hmp_call *h)
{
	plain(h, "quit");
}

void hmp_system_reset(struct hmp_call *h)
{
	plain(h, "system_reset");
}

void hmp_system_powerdown(struct hmp_call *h)
{
	plain(h, "system_powerdown");
}

void hmp_nmi(struct hmp_call *h)
{
	plain(h, "inject-nmi");
}

void hmp_not_yet(struct hmp_call *h)
{
	while (hmp_word(h))
		;
	hmp_error(h, "saving, loading and migrating a machine is not there yet");
}

void hmp_cpu(struct hmp_call *h)
{
	uint64_t n;

	if (!hmp_number(h, "INDEX", &n) || !hmp_done(h))
		return;
	if (n >= vm_cpus(h->vm))
		hmp_error(h, "there is no CPU %llu", (unsigned long long)n);
	else
		*h->cpu = (unsigned)n;
}

void hmp_gdbserver(struct hmp_call *h)
{
	const char *where = hmp_word(h);
	struct err *e __err_cleanup = NULL;

	where = where ? where : "tcp::1234";
	if (!hmp_done(h))
		return;
	if (!h->ctl->cfg.gdbserver)
		hmp_error(h, "this machine has no debugger's stub");
	else if (h->ctl->cfg.gdbserver(h->ctl->cfg.opaque, where, &e))
		hmp_error(h, "%s", err_msg(e));
	else if (!strcmp(where, "none"))
		text_printf(h->out, "Disabled gdbserver\n");
	else
		text_printf(h->out, "Waiting for gdb connection on device '%s'\n", where);
}

static void log_list(struct hmp_call *h)
{
	const char *name;

	for (unsigned i = 0; (name = log_item_name(i)); i++)
		text_printf(h->out, "%c %s\n", h->ctl->cfg.log->mask & 1u << i ? '*' : ' ', name);
}

void hmp_log(struct hmp_call *h)
{
	const char *items = hmp_word(h);
	struct err *e __err_cleanup = NULL;
	bool frozen;

	if (!items) {
		log_list(h);
		return;
	}
	if (!hmp_done(h))
		return;
	frozen = vm_freeze(h->vm);
	if (!strcmp(items, "none"))
		log_disable_all(h->ctl->cfg.log);
	else if (log_enable(h->ctl->cfg.log, items, &e))
		hmp_error(h, "%s", err_msg(e));
	vm_thaw(h->vm, frozen);
}

void hmp_logfile(struct hmp_call *h)
{
	const char *file = hmp_need(h, "FILE");
	struct err *e __err_cleanup = NULL;

	if (file && hmp_done(h) && log_open(h->ctl->cfg.log, file, &e))
		hmp_error(h, "%s", err_msg(e));
}

static void save(struct hmp_call *h, const char *name, bool cpu)
{
	uint64_t val, size;
	const char *file;
	struct json_object *args;

	if (!hmp_number(h, "ADDRESS", &val) || !hmp_number(h, "SIZE", &size))
		return;
	file = hmp_need(h, "FILE");
	if (!file || !hmp_done(h))
		return;
	args = json_object_new_object();
	obj_int(args, "val", (int64_t)val);
	obj_int(args, "size", (int64_t)size);
	obj_str(args, "filename", file);
	if (cpu)
		obj_int(args, "cpu-index", *h->cpu);
	hmp_do(h, name, args);
}

void hmp_memsave(struct hmp_call *h)
{
	save(h, "memsave", true);
}

void hmp_pmemsave(struct hmp_call *h)
{
	save(h, "pmemsave", false);
}

void hmp_ringbuf_read(struct hmp_call *h)
{
	const char *device = hmp_need(h, "DEVICE");
	struct json_object *args, *ret;
	uint64_t size;
	bool ok;

	if (!device || !hmp_number(h, "SIZE", &size) || !hmp_done(h))
		return;
	args = json_object_new_object();
	obj_str(args, "device", device);
	obj_int(args, "size", (int64_t)size);
	ret = hmp_qmp(h, "ringbuf-read", args, &ok);
	if (ok)
		text_printf(h->out, "%s\n", json_object_get_string(ret));
	json_object_put(ret);
}

void hmp_ringbuf_write(struct hmp_call *h)
{
	const char *device = hmp_need(h, "DEVICE"), *data = device ? hmp_need(h, "DATA") : NULL;
	struct json_object *args;

	if (!data || !hmp_done(h))
		return;
	args = json_object_new_object();
	obj_str(args, "device", device);
	obj_str(args, "data", data);
	hmp_do(h, "ringbuf-write", args);
}
