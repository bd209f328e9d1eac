/* SPDX-License-Identifier: Apache-2.0 */
#include "main/smbios_opt.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "base/err.h"
#include "base/kvlist.h"

#define FILE_MAX 65535u

static const struct {
	unsigned type;
	const char *key;
	enum smbios_text text;
} texts[] = {
	{0, "vendor", SMBIOS_0_VENDOR},
	{0, "version", SMBIOS_0_VERSION},
	{0, "date", SMBIOS_0_DATE},
	{1, "manufacturer", SMBIOS_1_MANUFACTURER},
	{1, "product", SMBIOS_1_PRODUCT},
	{1, "version", SMBIOS_1_VERSION},
	{1, "serial", SMBIOS_1_SERIAL},
	{1, "sku", SMBIOS_1_SKU},
	{1, "family", SMBIOS_1_FAMILY},
	{2, "manufacturer", SMBIOS_2_MANUFACTURER},
	{2, "product", SMBIOS_2_PRODUCT},
	{2, "version", SMBIOS_2_VERSION},
	{2, "serial", SMBIOS_2_SERIAL},
	{2, "asset", SMBIOS_2_ASSET},
	{2, "location", SMBIOS_2_LOCATION},
	{3, "manufacturer", SMBIOS_3_MANUFACTURER},
	{3, "version", SMBIOS_3_VERSION},
	{3, "serial", SMBIOS_3_SERIAL},
	{3, "asset", SMBIOS_3_ASSET},
	{3, "sku", SMBIOS_3_SKU},
	{4, "sock_pfx", SMBIOS_4_SOCKET},
	{4, "manufacturer", SMBIOS_4_MANUFACTURER},
	{4, "version", SMBIOS_4_VERSION},
	{4, "serial", SMBIOS_4_SERIAL},
	{4, "asset", SMBIOS_4_ASSET},
	{4, "part", SMBIOS_4_PART},
	{17, "loc_pfx", SMBIOS_17_LOCATOR},
	{17, "bank", SMBIOS_17_BANK},
	{17, "manufacturer", SMBIOS_17_MANUFACTURER},
	{17, "serial", SMBIOS_17_SERIAL},
	{17, "asset", SMBIOS_17_ASSET},
	{17, "part", SMBIOS_17_PART},
};

static const uint8_t types[] = {0, 1, 2, 3, 4, 11, 17};

bool parse_uuid(const char *s, uint8_t uuid[static 16])
{
	for (unsigned i = 0; i < 16; i++) {
		char digits[3] = {0};

		if ((i == 4 || i == 6 || i == 8 || i == 10) && *s++ != '-')
			return false;
		for (unsigned k = 0; k < 2 && isxdigit((unsigned char)*s); k++)
			digits[k] = *s++;
		if (!digits[1])
			return false;
		uuid[i] = (uint8_t)strtoul(digits, NULL, 16);
	}
	return !*s;
}

static const char *own(struct smbios_opt *o, char *s)
{
	o->owned = xrealloc(o->owned, (o->n_owned + 1) * sizeof(*o->owned));
	o->owned[o->n_owned++] = s;
	return s;
}

void smbios_opt_oem(struct smbios_opt *o, const char *text)
{
	size_t n = o->fields.n_oem++;

	o->oem = xrealloc(o->oem, (n + 1) * sizeof(*o->oem));
	o->oem[n] = (char *)own(o, xstrdup(text));
	o->fields.oem = (const char *const *)o->oem;
}

/* path=: the string is a file's contents. */
static int oem_file(struct smbios_opt *o, const char *path, bool load, struct err **e)
{
	char *text;
	size_t len;
	int r;

	if (!load)
		return 0;
	r = file_slurp(path, FILE_MAX, &text, &len, e);
	if (r)
		return r;
	if (strlen(text) == len)
		smbios_opt_oem(o, text);
	else
		r = err_set(e, EINVAL, "file '%s' has a zero byte", path);
	free(text);
	return r;
}

static int oem_strings(struct smbios_opt *o, struct kvlist *kv, bool load, struct err **e)
{
	int r = 0;

	for (size_t i = 0; i < kv->n && !r; i++) {
		bool path = !strcmp(kv->kv[i].key, "path");

		if (!path && strcmp(kv->kv[i].key, "value"))
			continue;
		kv->kv[i].used = true;
		if (path)
			r = oem_file(o, kv->kv[i].val, load, e);
		else
			smbios_opt_oem(o, kv->kv[i].val);
	}
	return r;
}

static int bios(struct smbios_opt *o, struct kvlist *kv, struct err **e)
{
	const char *release = kv_get(kv, "release");
	unsigned major, minor;
	int used = 0;

	if (release) {
		if (sscanf(release, "%3u.%3u%n", &major, &minor, &used) != 2 || release[used] ||
		    major > 255 || minor > 255)
			return err_set(e, EINVAL, "'release' is not MAJOR.MINOR");
		o->fields.has_release = true;
		o->fields.release[0] = (uint8_t)major;
		o->fields.release[1] = (uint8_t)minor;
	}
	return kv_bool(kv, "uefi", &o->fields.uefi, e);
}

static int numbers(struct smbios_opt *o, unsigned type, struct kvlist *kv, struct err **e)
{
	struct smbios_fields *f = &o->fields;
	uint64_t max = f->cpu_max_speed, now = f->cpu_speed, dimm = f->dimm_speed;
	int r = 0;

	if (type == 4) {
		r = kv_uint(kv, "max-speed", 0, 65535, &max, e);
		if (!r)
			r = kv_uint(kv, "current-speed", 0, 65535, &now, e);
		if (!r)
			r = kv_uint(kv, "processor-id", 0, UINT64_MAX, &f->cpu_id, e);
	} else if (type == 17) {
		r = kv_uint(kv, "speed", 0, 65535, &dimm, e);
	}
	f->cpu_max_speed = (uint16_t)max;
	f->cpu_speed = (uint16_t)now;
	f->dimm_speed = (uint16_t)dimm;
	return r;
}

static int fields(struct smbios_opt *o, unsigned type, struct kvlist *kv, bool load, struct err **e)
{
	const char *uuid;

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		const char *v = texts[i].type == type ? kv_get(kv, texts[i].key) : NULL;

		if (v)
			o->fields.text[texts[i].text] = own(o, xstrdup(v));
	}
	o->fields.has_board |= type == 2;
	uuid = type == 1 ? kv_get(kv, "uuid") : NULL;
	if (uuid) {
		if (!parse_uuid(uuid, o->uuid))
			return err_set(e, EINVAL, "'%s' is not a UUID", uuid);
		o->has_uuid = true;
	}
	if (type == 0)
		return bios(o, kv, e);
	return type == 11 ? oem_strings(o, kv, load, e) : numbers(o, type, kv, e);
}

static int raw_file(struct smbios_opt *o, const char *path, bool load, struct err **e)
{
	size_t n = o->fields.n_raw, len;
	char *data;
	int r = load ? file_slurp(path, FILE_MAX, &data, &len, e) : 0;

	if (r || !load)
		return r;
	o->raw = xrealloc(o->raw, (n + 1) * sizeof(*o->raw));
	o->raw[n] = (struct smbios_raw){own(o, data), len};
	o->fields.raw = o->raw;
	o->fields.n_raw++;
	return 0;
}

int smbios_opt_add(struct smbios_opt *o, const char *arg, bool load, struct err **e)
{
	struct kvlist kv = {0};
	uint64_t type = 0;
	int r = kv_parse(&kv, arg, NULL, e);
	const char *file = kv_get(&kv, "file"), *word = kv_get(&kv, "type");

	if (!r && file)
		r = raw_file(o, file, load, e);
	else if (!r && (!word || !parse_uint(word, 0, 127, &type)))
		r = err_set(e, EINVAL, "either 'file' or 'type' is needed");
	else if (!r && !memchr(types, (int)type, sizeof(types)))
		r = err_set(e, EINVAL, "type %s cannot be set: 0, 1, 2, 3, 4, 11 or 17", word);
	else if (!r)
		r = fields(o, (unsigned)type, &kv, load, e);
	if (!r && file && word)
		r = err_set(e, EINVAL, "'file' and 'type' do not go together");
	if (!r)
		r = kv_finish(&kv, e);
	kv_free(&kv);
	return r;
}

void smbios_opt_free(struct smbios_opt *o)
{
	for (size_t i = 0; i < o->n_owned; i++)
		free(o->owned[i]);
	free(o->owned);
	free(o->raw);
	free(o->oem);
	*o = (struct smbios_opt){0};
}
