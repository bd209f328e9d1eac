/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The linker script that firmware runs over the table files of fw_cfg: 128-byte commands which
 * allocate a file in guest memory, add the address of one file to a pointer in another, and compute
 * a checksum.  Commands are done in order, so sums come last.
 */
#include "base/base.h"
#include "machine/acpi/acpi.h"

#define COMMAND_SIZE 128
#define FILE_NAME_SIZE 56

enum { CMD_ALLOCATE = 1, CMD_ADD_POINTER = 2, CMD_ADD_CHECKSUM = 3 };
enum { ZONE_HIGH = 1, ZONE_FSEG = 2 };

static const char *const blob_files[ACPI_BLOB_COUNT] = { ACPI_FILE_TABLES, ACPI_FILE_RSDP };

static void file_name(struct bytes *b, enum acpi_blob blob)
{
	bytes_pad_str(b, blob_files[blob], FILE_NAME_SIZE, 0);
}

static void finish(struct bytes *b, size_t start)
{
	bytes_zero(b, COMMAND_SIZE - (b->len - start));
}

static void allocate(struct bytes *b, enum acpi_blob blob, uint32_t align, uint8_t zone)
{
	size_t start = b->len;

	bytes_u32(b, CMD_ALLOCATE);
	file_name(b, blob);
	bytes_u32(b, align);
	bytes_u8(b, zone);
	finish(b, start);
}

static void pointer(struct bytes *b, const struct acpi_pointer *p)
{
	size_t start = b->len;

	bytes_u32(b, CMD_ADD_POINTER);
	file_name(b, p->in);
	file_name(b, p->to);
	bytes_u32(b, p->off);
	bytes_u8(b, p->size);
	finish(b, start);
}

static void checksum(struct bytes *b, const struct acpi_sum *s)
{
	size_t start = b->len;

	bytes_u32(b, CMD_ADD_CHECKSUM);
	file_name(b, s->in);
	bytes_u32(b, s->off);
	bytes_u32(b, s->start);
	bytes_u32(b, s->len);
	finish(b, start);
}

void acpi_loader_script(const struct acpi_tables *t, struct bytes *out)
{
	allocate(out, ACPI_BLOB_TABLES, 64, ZONE_HIGH);
	allocate(out, ACPI_BLOB_RSDP, 16, ZONE_FSEG);
	for (unsigned i = 0; i < t->n_pointers; i++)
		pointer(out, &t->pointer[i]);
	for (unsigned i = 0; i < t->n_sums; i++)
		checksum(out, &t->sum[i]);
}
