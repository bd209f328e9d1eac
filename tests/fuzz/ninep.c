/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clients of a shared folder that know the protocol, most of the time: messages of known types with
 * fields as bugs like them, fed to the target of libfuzzer/ninep.c, whose input is their form.
 */
#include <string.h>
#include "back/fs/p9_int.h"
#include "fuzz.h"
#include "input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define AGAIN 2 /* the session is saved, changed as the body says, and loaded */

/* Fields: f a fid, n a name, o flags of open, b w d q numbers of 1, 2, 4, 8 bytes, c a small count,
 * v names for a walk, s a string, x bytes and how many (d), g changes of a saved session. */
static const struct {
	uint8_t type;
	const char *fields;
} forms[] = {
	{P9_TSTATFS, "f"},	{P9_TLOPEN, "fo"},	   {P9_TLCREATE, "fnodd"},
	{P9_TSYMLINK, "fnsd"},	{P9_TMKNOD, "fndddd"},	   {P9_TRENAME, "ffn"},
	{P9_TREADLINK, "f"},	{P9_TGETATTR, "fq"},	   {P9_TSETATTR, "fcdddqqqqq"},
	{P9_TXATTRWALK, "ffs"}, {P9_TXATTRCREATE, "fsqc"}, {P9_TREADDIR, "fqd"},
	{P9_TFSYNC, "fd"},	{P9_TLOCK, "fbdqqds"},	   {P9_TGETLOCK, "fbqqds"},
	{P9_TLINK, "ffn"},	{P9_TMKDIR, "fndd"},	   {P9_TRENAMEAT, "fnfn"},
	{P9_TUNLINKAT, "fnd"},	{P9_TVERSION, "ds"},	   {P9_TAUTH, "dssd"},
	{P9_TATTACH, "ffssd"},	{P9_TFLUSH, "w"},	   {P9_TWALK, "ffv"},
	{P9_TWALK, "ffv"},	{P9_TWALK, "ffv"},	   {P9_TREAD, "fqd"},
	{P9_TWRITE, "fqx"},	{P9_TCLUNK, "f"},	   {P9_TREMOVE, "f"},
	{AGAIN, ""},		{AGAIN, "g"},
};

static const char *const names[] = {
	"f", "d", "l", "s", "p", "new", "x", "d", "f", "..", ".", "", "/", "../outside", "l/secret",
};
static const char *const strings[] = {"",	  "user.a",	"user.virtfs.mode",
				      "9P2000.L", "../outside", "system.posix_acl_access",
				      "trusted.x"};
static const uint32_t flags[] = {0, 1, 2, 0x241, 0x242, 0x401, 0x10000, 0xc2, 0x200, 3};

static void put_str(struct input *in, const char *s)
{
	put(in, strlen(s), 2);
	put_bytes(in, s, strlen(s));
}

static void put_walk(struct rnd *r, struct input *in)
{
	uint64_t n = rnd_one_in(r, 20) ? rnd_below(r, 20) : rnd_below(r, 4);

	put(in, n, 2);
	while (n--)
		put_str(in, RND_PICK(r, names));
}

static void put_data(struct rnd *r, struct input *in)
{
	uint8_t b[64];
	uint64_t n = rnd_below(r, sizeof(b));

	rnd_bytes(r, b, n);
	put(in, n, 4);
	put_bytes(in, b, n);
}

static void put_field(struct rnd *r, struct input *in, char kind)
{
	switch (kind) {
	case 'f':
		put(in, rnd_below(r, 8), 4);
		break;
	case 'n':
		put_str(in, RND_PICK(r, names));
		break;
	case 's':
		put_str(in, RND_PICK(r, strings));
		break;
	case 'o':
		put(in, RND_PICK(r, flags), 4);
		break;
	case 'c':
		put(in, rnd_below(r, 512), 4);
		break;
	case 'v':
		put_walk(r, in);
		break;
	case 'x':
		put_data(r, in);
		break;
	case 'g':
		for (uint64_t n = rnd_below(r, 4) + 1; n; n--) {
			put(in, rnd_below(r, 600), 2);
			put(in, rnd_one_in(r, 2) ? rnd_below(r, 8) : rnd_value(r), 1);
		}
		break;
	default:
		put(in, rnd_one_in(r, 2) ? rnd_below(r, 64) : rnd_value(r),
		    kind == 'b'	  ? 1
		    : kind == 'w' ? 2
		    : kind == 'd' ? 4
				  : 8);
	}
}

static void put_message(struct rnd *r, struct input *in)
{
	uint64_t n = rnd_below(r, ARRAY_SIZE(forms));
	size_t at = in->len;

	/* Such ends everything. */
	if (forms[n].type == P9_TVERSION && !rnd_one_in(r, 20))
		return;
	put(in, forms[n].type | (rnd_one_in(r, 100) && forms[n].type != AGAIN ? 0x80 : 0), 1);
	put(in, rnd_one_in(r, 20) ? rnd_below(r, 4) : 0, 1);
	put(in, 0, 2);
	for (const char *f = forms[n].fields; *f; f++)
		put_field(r, in, *f);
	if (in->len < sizeof(in->b))
		put_le16(in->b + at + 2, (uint16_t)(in->len - at - 4));
}

static void one(struct rnd *r)
{
	struct input in = {.len = 0};

	fuzz_phase("9p");
	put(&in, rnd_below(r, 4) | (rnd_one_in(r, 20) ? 0x80 : 0), 1);
	for (uint64_t n = rnd_below(r, 60) + 1; n && in.len < sizeof(in.b) - 200; n--)
		put_message(r, &in);
	if (rnd_one_in(r, 3))
		rnd_mutate(r, in.b, in.len, 8);
	fuzz_input(in.b, in.len);
}

int main(int argc, char **argv)
{
	const struct fuzz f = {.name = "fuzz-ninep", .runs = 1000, .hang_s = 30, .one = one,
				      .target = LLVMFuzzerTestOneInput};

	return fuzz_main(&f, argc, argv);
}
