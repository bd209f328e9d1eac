/* SPDX-License-Identifier: Apache-2.0 */
/* Commands about the balloon: how much of its memory the guest has.  The machine's lock is held. */
#include "dev/virtio/balloon.h"

#include "base/err.h"
#include "base/kvlist.h"
#include "ctl/hmp_int.h"
#include "ctl/qmp_int.h"
#include "dev/dev.h"

#define NO_BALLOON "No balloon device has been activated"

int qmp_balloon(struct qmp_call *call)
{
	struct dev_env *env = vm_devices(call->vm);
	int64_t value = qmp_int(call, "value", 0);
	struct err *e = NULL;
	int rc;

	if (value <= 0)
		return qmp_fail(call, QMP_GENERIC, "Parameter 'value' expects a size");
	lock_take(env->lock);
	rc = balloon_set_target(env, vm_ram_size(call->vm), (uint64_t)value, &e);
	lock_drop(env->lock);
	if (rc)
		qmp_fail(call, env->balloon ? QMP_GENERIC : QMP_DEVICE_INACTIVE, "%s",
			 env->balloon ? err_msg(e) : NO_BALLOON);
	err_free(&e);
	return rc ? -1 : 0;
}

int qmp_query_balloon(struct qmp_call *call)
{
	struct dev_env *env = vm_devices(call->vm);
	uint64_t bytes;
	bool there;

	lock_take(env->lock);
	there = balloon_actual(env, vm_ram_size(call->vm), &bytes);
	lock_drop(env->lock);
	if (!there)
		return qmp_fail(call, QMP_DEVICE_INACTIVE, NO_BALLOON);
	call->ret = json_object_new_object();
	obj_int(call->ret, "actual", (int64_t)bytes);
	return 0;
}

void hmp_balloon(struct hmp_call *h)
{
	const char *size = hmp_need(h, "SIZE");
	struct json_object *args;
	int64_t bytes;

	if (!size || !hmp_done(h) || !hmp_size(h, size, &bytes))
		return;
	args = json_object_new_object();
	obj_int(args, "value", bytes);
	hmp_do(h, "balloon", args);
}

void hmp_info_balloon(struct hmp_call *h)
{
	static const char *const names[BALLOON_STATS] = {
		"swapped in",	   "swapped out",	"major faults", "minor faults",
		"free memory",	   "total memory",	"available",	"disk caches",
		"huge pages made", "huge pages missed",
	};
	struct dev_env *env = vm_devices(h->vm);
	struct balloon_stats st;
	uint64_t bytes;
	bool there;

	lock_take(env->lock);
	there = balloon_actual(env, vm_ram_size(h->vm), &bytes) && balloon_stats(env, &st);
	lock_drop(env->lock);
	if (!there) {
		hmp_error(h, "%s", NO_BALLOON);
		return;
	}
	text_printf(h->out, "balloon: actual=%llu\n", (unsigned long long)(bytes / MiB));
	for (unsigned i = 0; i < BALLOON_STATS; i++)
		if (st.updated && st.stat[i] != BALLOON_UNKNOWN)
			text_printf(h->out, " %s: %llu\n", names[i],
				    (unsigned long long)st.stat[i]);
}
