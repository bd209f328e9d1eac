/* SPDX-License-Identifier: Apache-2.0 */
/* Commands that tell what this program is and can, and what the machine is called. */
#include <stdio.h>
#include <string.h>
#include "ctl/qmp_int.h"
#include "x86/cpuid.h"

int qmp_query_version(struct qmp_call *call)
{
	call->ret = qmp_version();
	return 0;
}

/* Negotiation is over: qmp.c takes the command before. */
int qmp_capabilities(struct qmp_call *call)
{
	return qmp_fail(call, QMP_NO_COMMAND,
			"Capabilities negotiation is already complete, command ignored");
}

int qmp_query_name(struct qmp_call *call)
{
	const char *name = vm_name(call->vm);

	call->ret = json_object_new_object();
	if (strcmp(name, "doppel")) /* what a machine without a name is called */
		obj_str(call->ret, "name", name);
	return 0;
}

int qmp_query_uuid(struct qmp_call *call)
{
	static const uint8_t none[16];
	const uint8_t *u = call->ctl->cfg.uuid ? call->ctl->cfg.uuid : none;
	struct text t = {0};

	for (int i = 0; i < 16; i++)
		text_printf(&t, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", u[i]);
	call->ret = json_object_new_object();
	obj_str(call->ret, "UUID", t.s);
	text_free(&t);
	return 0;
}

int qmp_query_kvm(struct qmp_call *call)
{
	bool kvm = !strcmp(vm_engine(call->vm, NULL)->name, "kvm");

	call->ret = json_object_new_object();
	obj_bool(call->ret, "enabled", kvm);
	obj_bool(call->ret, "present", engine_find("kvm") != NULL);
	return 0;
}

int qmp_query_target(struct qmp_call *call)
{
	call->ret = json_object_new_object();
	obj_str(call->ret, "arch", "x86_64");
	return 0;
}

int qmp_query_machines(struct qmp_call *call)
{
	call->ret = json_object_new_array();
	for (const struct vm_machine_info *m = vm_machines(); m->name; m++) {
		struct json_object *o = json_object_new_object();

		obj_bool(o, "hotpluggable-cpus", false);
		obj_str(o, "name", m->name);
		obj_bool(o, "numa-mem-supported", false);
		obj_str(o, "default-cpu-type", "max-x86_64-cpu");
		obj_int(o, "cpu-max", m->max_cpus);
		obj_bool(o, "deprecated", false);
		obj_str(o, "default-ram-id", "pc.ram");
		if (m == vm_machines())
			obj_bool(o, "is-default", true);
		json_object_array_add(call->ret, o);
	}
	return 0;
}

int qmp_query_cpu_definitions(struct qmp_call *call)
{
	call->ret = json_object_new_array();
	for (const struct x86_cpuid_model_info *m = x86_cpuid_models(); m->name; m++) {
		struct json_object *o = json_object_new_object();
		char type[96];

		snprintf(type, sizeof(type), "%s-x86_64-cpu", m->name);
		obj_str(o, "name", m->name);
		obj_str(o, "typename", type);
		json_object_object_add(o, "unavailable-features", json_object_new_array());
		obj_bool(o, "static", false);
		obj_bool(o, "migration-safe", false);
		obj_bool(o, "deprecated", false);
		json_object_array_add(call->ret, o);
	}
	return 0;
}

int qmp_human_monitor_command(struct qmp_call *call)
{
	int64_t cpu = qmp_int(call, "cpu-index", 0);
	unsigned index = (unsigned)cpu;
	struct text out = {0};

	if (cpu < 0 || cpu >= vm_cpus(call->vm))
		return qmp_fail(call, QMP_GENERIC, "Parameter 'cpu-index' expects a CPU number");
	hmp_run(call->ctl, qmp_str(call, "command-line"), &out, &index);
	call->ret = json_object_new_string(out.s ? out.s : "");
	text_free(&out);
	return 0;
}
