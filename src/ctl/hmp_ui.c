/* SPDX-License-Identifier: Apache-2.0 */
/* screendump and sendkey. */
#include <string.h>
#include "ctl/hmp_int.h"
#include "ctl/qmp_int.h"

/* screendump FILE [-f FORMAT] [DEVICE], the format before or after the file. */
void hmp_screendump(struct hmp_call *h)
{
	const char *word, *file = NULL, *form = NULL, *device = NULL;
	struct json_object *args;

	while ((word = hmp_word(h))) {
		if (!strcmp(word, "-f") && !(form = hmp_need(h, "FORMAT")))
			return;
		if (!strcmp(word, "-f"))
			continue;
		if (device)
			break;
		*(file ? &device : &file) = word;
	}
	if (!file || word) {
		hmp_error(h, "usage: screendump FILE [-f ppm|png] [DEVICE]");
		return;
	}
	args = json_object_new_object();
	obj_str(args, "filename", file);
	if (form)
		obj_str(args, "format", form);
	if (device)
		obj_str(args, "device", device);
	hmp_do(h, "screendump", args);
}

/* sendkey KEY-KEY... [HOLD-TIME]: "ctrl-alt-delete". */
void hmp_sendkey(struct hmp_call *h)
{
	char *keys = hmp_need(h, "KEYS"), *save = NULL;
	struct json_object *args, *list;
	const char *rest = h->args + strspn(h->args, " \t");
	uint64_t hold = 0;

	if (!keys || (*rest && !hmp_number(h, "HOLD-TIME", &hold)) || !hmp_done(h))
		return;
	args = json_object_new_object();
	list = json_object_new_array();
	for (char *k = strtok_r(keys, "-", &save); k; k = strtok_r(NULL, "-", &save)) {
		struct json_object *o = json_object_new_object();

		obj_str(o, "type", "qcode");
		obj_str(o, "data", k);
		json_object_array_add(list, o);
	}
	json_object_object_add(args, "keys", list);
	if (hold)
		obj_int(args, "hold-time", (int64_t)hold);
	hmp_do(h, "send-key", args);
}
