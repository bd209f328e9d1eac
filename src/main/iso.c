/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ISO 9660 (ECMA-119) with the POSIX names and modes of Rock Ridge (RRIP 1.09, by SUSP 1.09).
 *
 *	sector 16	primary volume descriptor
 *	       17	end of the descriptors
 *	       18, 19	path table, little-endian and big-endian: the root alone
 *	       20	root directory: itself, its parent (itself), the files
 *	       21	what did not fit into the root's own record: the name of the extension
 *	       22...	files
 *
 * Numbers of the standard are in both byte orders, little-endian first, unless a function says
 *else.
 */
#include "main/iso.h"
#include <string.h>
#include "base/base.h"

#define SECTOR 2048u
#define ROOT 20u
#define CONTINUED 21u
#define FILES 22u
#define PATH_TABLE_SIZE 10
#define FLAG_DIRECTORY 2
#define MODE_DIRECTORY 040555u
#define MODE_FILE 0100444u

#define RRIP_ID "RRIP_1991A"
#define RRIP_WHAT \
	"THE ROCK RIDGE INTERCHANGE PROTOCOL PROVIDES SUPPORT FOR POSIX FILE SYSTEM SEMANTICS"
#define RRIP_WHERE                                                                              \
	"PLEASE CONTACT DISC PUBLISHER FOR SPECIFICATION SOURCE.  SEE PUBLISHER IDENTIFIER IN " \
	"PRIMARY VOLUME DESCRIPTOR FOR CONTACT INFORMATION."
#define ER_SIZE (8 + sizeof(RRIP_ID RRIP_WHAT RRIP_WHERE) - 1)

static void big16(struct bytes *b, uint16_t v)
{
	bytes_u8(b, (uint8_t)(v >> 8));
	bytes_u8(b, (uint8_t)v);
}

static void big32(struct bytes *b, uint32_t v)
{
	big16(b, (uint16_t)(v >> 16));
	big16(b, (uint16_t)v);
}

static void both16(struct bytes *b, uint16_t v)
{
	bytes_u16(b, v);
	big16(b, v);
}

static void both32(struct bytes *b, uint32_t v)
{
	bytes_u32(b, v);
	big32(b, v);
}

static void to_sector(struct bytes *b, uint32_t sector)
{
	bug_on(b->len > (size_t)sector * SECTOR);
	bytes_zero(b, (size_t)sector * SECTOR - b->len);
}

static uint32_t sectors(uint32_t len)
{
	return (uint32_t)(((uint64_t)len + SECTOR - 1) / SECTOR);
}

/* ECMA-119 9.1, up to the name; record_end puts in the length. */
static size_t record(struct bytes *b, uint32_t sector, uint32_t len, uint8_t flags,
		     const char *name, uint8_t name_len)
{
	size_t start = b->len;

	bytes_u8(b, 0);
	bytes_u8(b, 0);
	both32(b, sector);
	both32(b, len);
	bytes_zero(b, 7); /* no date */
	bytes_u8(b, flags);
	bytes_zero(b, 2);
	both16(b, 1);
	bytes_u8(b, name_len);
	bytes_put(b, name, name_len);
	bytes_zero(b, !(name_len & 1));
	return start;
}

static void record_end(struct bytes *b, size_t start)
{
	bytes_zero(b, (b->len - start) & 1);
	bug_on(b->len - start > UINT8_MAX);
	b->p[start] = (uint8_t)(b->len - start);
}

/* RRIP 4.1.1: mode, links, owner, group. */
static void posix_mode(struct bytes *b, uint32_t mode, uint32_t links)
{
	bytes_str(b, "PX");
	bytes_u8(b, 36);
	bytes_u8(b, 1);
	both32(b, mode);
	both32(b, links);
	both32(b, 0);
	both32(b, 0);
}

static void root_record(struct bytes *b, bool first)
{
	size_t start = record(b, ROOT, SECTOR, FLAG_DIRECTORY, first ? "" : "\1", 1);

	if (first) { /* SUSP 5.3: the extension is in use */
		bytes_str(b, "SP\7\1");
		bytes_u8(b, 0xbe);
		bytes_u8(b, 0xef);
		bytes_u8(b, 0);
	}
	posix_mode(b, MODE_DIRECTORY, 2);
	if (first) { /* SUSP 5.1 */
		bytes_str(b, "CE");
		bytes_u8(b, 28);
		bytes_u8(b, 1);
		both32(b, CONTINUED);
		both32(b, 0);
		both32(b, ER_SIZE);
	}
	record_end(b, start);
}

static void file_record(struct bytes *b, const struct iso_file *f, uint32_t sector)
{
	size_t name_len = strlen(f->name), plain_len = strlen(f->plain);
	char plain[16];
	size_t start;

	bug_on(name_len > 60 || plain_len > 8);
	memcpy(plain, f->plain, plain_len);
	memcpy(plain + plain_len, ".;1", 3);
	start = record(b, sector, f->len, 0, plain, (uint8_t)(plain_len + 3));
	posix_mode(b, MODE_FILE, 1);
	bytes_str(b, "NM"); /* RRIP 4.1.4 */
	bytes_u8(b, (uint8_t)(5 + name_len));
	bytes_u8(b, 1);
	bytes_u8(b, 0);
	bytes_str(b, f->name);
	record_end(b, start);
}

/* SUSP 5.5 */
static void extension(struct bytes *b)
{
	bytes_str(b, "ER");
	bytes_u8(b, ER_SIZE);
	bytes_u8(b, 1);
	bytes_u8(b, sizeof(RRIP_ID) - 1);
	bytes_u8(b, sizeof(RRIP_WHAT) - 1);
	bytes_u8(b, sizeof(RRIP_WHERE) - 1);
	bytes_u8(b, 1);
	bytes_str(b, RRIP_ID RRIP_WHAT RRIP_WHERE);
}

/* ECMA-119 8.4 */
static void primary(struct bytes *b, const char *label, uint32_t total)
{
	bytes_str(b, "\1CD001\1");
	bytes_u8(b, 0);
	bytes_pad_str(b, "LINUX", 32, ' ');
	bytes_pad_str(b, label, 32, ' ');
	bytes_zero(b, 8);
	both32(b, total);
	bytes_zero(b, 32);
	both16(b, 1);
	both16(b, 1);
	both16(b, SECTOR);
	both32(b, PATH_TABLE_SIZE);
	bytes_u32(b, 18);
	bytes_u32(b, 0);
	big32(b, 19);
	big32(b, 0);
	record_end(b, record(b, ROOT, SECTOR, FLAG_DIRECTORY, "", 1));
	bytes_pad_str(b, "", 128, ' '); /* volume set, publisher */
	bytes_pad_str(b, "", 128, ' ');
	bytes_pad_str(b, "DOPPEL", 128, ' '); /* preparer, application */
	bytes_pad_str(b, "DOPPEL", 128, ' ');
	bytes_pad_str(b, "", 111, ' '); /* names of three files */
	for (unsigned i = 0; i < 4; i++) { /* no dates */
		bytes_pad_str(b, "", 16, '0');
		bytes_u8(b, 0);
	}
	bytes_u8(b, 1);
}

static void path_table(struct bytes *b, bool big)
{
	bytes_u8(b, 1);
	bytes_u8(b, 0);
	if (big) {
		big32(b, ROOT);
		big16(b, 1);
	} else {
		bytes_u32(b, ROOT);
		bytes_u16(b, 1);
	}
	bytes_zero(b, 2);
}

void iso_build(struct bytes *out, const char *label, const struct iso_file *files, unsigned n)
{
	uint32_t at = FILES, total = FILES;

	bug_on(n > ISO_FILES_MAX);
	for (unsigned i = 0; i < n; i++)
		total += sectors(files[i].len);
	to_sector(out, 16);
	primary(out, label, total);
	to_sector(out, 17);
	bytes_str(out, "\377CD001\1");
	to_sector(out, 18);
	path_table(out, false);
	to_sector(out, 19);
	path_table(out, true);
	to_sector(out, ROOT);
	root_record(out, true);
	root_record(out, false);
	for (unsigned i = 0; i < n; i++) {
		file_record(out, &files[i], at);
		at += sectors(files[i].len);
	}
	to_sector(out, CONTINUED);
	extension(out);
	at = FILES;
	for (unsigned i = 0; i < n; i++) {
		to_sector(out, at);
		bytes_put(out, files[i].data, files[i].len);
		at += sectors(files[i].len);
	}
	to_sector(out, at);
}
