/* SPDX-License-Identifier: Apache-2.0 */
/* What programs that manage machines ask before they start one: devices, their properties, CPUs. */
#include <stdio.h>
#include <string.h>
#include "base/err.h"
#include "ctl/qmp_int.h"
#include "dev/registry.h"
#include "x86/cpuid.h"

static void type_entry(struct json_object *list, const char *name, const char *parent)
{
	struct json_object *o = json_object_new_object();

	obj_str(o, "name", name);
	if (parent)
		obj_str(o, "parent", parent);
	json_object_array_add(list, o);
}

/* There are no types but those of devices and CPUs. */
int qmp_qom_list_types(struct qmp_call *call)
{
	const char *implements = qmp_str(call, "implements");
	bool devices = !implements || !strcmp(implements, "device");
	bool cpus = devices || !strcmp(implements, "cpu") || !strcmp(implements, "x86_64-cpu");
	const struct dev_class *c;
	char name[96];

	call->ret = json_object_new_array();
	for (unsigned i = 0; devices && (c = dev_class_nth(i)); i++)
		type_entry(call->ret, c->name, "device");
	for (const struct x86_cpuid_model_info *m = x86_cpuid_models(); cpus && m->name; m++) {
		snprintf(name, sizeof(name), "%s-x86_64-cpu", m->name);
		type_entry(call->ret, name, "x86_64-cpu");
	}
	return 0;
}

static const char *prop_type(const struct dev_prop *p)
{
	switch (p->kind) {
	case PROP_UINT:
		return p->max && p->max <= UINT32_MAX ? "uint32" : "uint64";
	case PROP_SIZE:
		return "size";
	case PROP_BOOL:
		return "bool";
	case PROP_AUTO:
		return "OnOffAuto";
	default:
		return "str";
	}
}

static void list_props(struct json_object *list, const struct dev_prop *p)
{
	for (; p && p->name; p++) {
		struct json_object *o = json_object_new_object();

		obj_str(o, "name", p->name);
		obj_str(o, "type", prop_type(p));
		if (p->help)
			obj_str(o, "description", p->help);
		json_object_array_add(list, o);
	}
}

int qmp_device_list_properties(struct qmp_call *call)
{
	const char *name = qmp_str(call, "typename");
	const struct dev_class *c = dev_class_find(name);

	if (!c)
		return qmp_fail(call, QMP_NO_DEVICE, "Device '%s' not found", name);
	call->ret = json_object_new_array();
	list_props(call->ret, c->props);
	for (size_t i = 0; i < ARRAY_SIZE(c->props_more); i++)
		list_props(call->ret, c->props_more[i]);
	return 0;
}

/* "NAME,feature=on,...", as -cpu takes it. */
static int model_spec(struct qmp_call *call, struct text *spec, const char **name)
{
	struct json_object *model = qmp_get(call, "model"), *v, *props = NULL;

	if (!json_object_object_get_ex(model, "name", &v) ||
	    !json_object_is_type(v, json_type_string))
		return qmp_fail(call, QMP_GENERIC, "Parameter 'model.name' is missing");
	*name = json_object_get_string(v);
	text_printf(spec, "%s", *name);
	if (!json_object_object_get_ex(model, "props", &props))
		return 0;
	if (!json_object_is_type(props, json_type_object))
		return qmp_fail(call, QMP_GENERIC,
				"Invalid parameter type for 'model.props', expected: object");
	json_object_object_foreach(props, key, val)
	{
		if (!json_object_is_type(val, json_type_boolean) || strpbrk(key, ",="))
			return qmp_fail(call, QMP_GENERIC,
					"Invalid parameter type for '%s', expected: boolean", key);
		text_printf(spec, ",%s=%s", key, json_object_get_boolean(val) ? "on" : "off");
	}
	return 0;
}

/* Both types of expansion are the same here: all features that a guest can be shown. */
int qmp_query_cpu_model_expansion(struct qmp_call *call)
{
	static const struct {
		const char *name;
		enum x86_feature f;
	} features[] = {
#define X86_FEATURE(sym, name, leaf, sub, reg, bit, level, host) {name, X86_FEAT_##sym},
#include "x86/feature.def"
#undef X86_FEATURE
	};
	struct json_object *model, *props;
	struct text spec = {0};
	struct x86_cpuid *cpuid = NULL;
	struct err *e __err_cleanup = NULL;
	const char *name = NULL;
	int r = model_spec(call, &spec, &name);

	if (!r && x86_cpuid_create(&cpuid, spec.s, 1, 1000000, &e))
		r = qmp_fail(call, QMP_GENERIC, "%s", err_msg(e));
	text_free(&spec);
	if (r)
		return r;
	model = json_object_new_object();
	props = json_object_new_object();
	for (size_t i = 0; i < ARRAY_SIZE(features); i++)
		if (features[i].name)
			obj_bool(props, features[i].name, x86_cpuid_has(cpuid, features[i].f));
	obj_str(model, "name", name);
	json_object_object_add(model, "props", props);
	call->ret = json_object_new_object();
	json_object_object_add(call->ret, "model", model);
	x86_cpuid_destroy(cpuid);
	return 0;
}

/* Which options there are; what each takes is told by its help alone. */
int qmp_query_options(struct qmp_call *call)
{
	const char *only = qmp_str(call, "option"), *name;
	const struct ctl_config *cfg = &call->ctl->cfg;

	call->ret = json_object_new_array();
	for (unsigned i = 0; cfg->option && (name = cfg->option(i)); i++) {
		struct json_object *o;

		if (!*name || (only && strcmp(only, name)))
			continue;
		o = json_object_new_object();
		json_object_object_add(o, "parameters", json_object_new_array());
		obj_str(o, "option", name);
		json_object_array_add(call->ret, o);
	}
	if (!only || json_object_array_length(call->ret))
		return 0;
	return qmp_fail(call, QMP_GENERIC, "invalid option name: %s", only);
}

/* Lists of things of which there are none. */
int qmp_query_none(struct qmp_call *call)
{
	call->ret = json_object_new_array();
	return 0;
}
