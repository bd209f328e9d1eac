/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Skeletons are written as hex digits and letters: M a random ModRM with what follows it, m the
 * same with a memory operand, r with a register; b, w, d, q immediates of 1, 2, 4, 8 bytes; a an
 * address of interest (4 bytes); A the same (8 bytes); p a port (2 bytes); s an MSR (4 bytes); j a
 * short jump; S a selector; x a random byte of register/opcode form (its low 3 bits); v a value
 * that bugs like.
 */
#include "code.h"
#include <string.h>

static const char *const skeletons[] = {
	/* Registers get something to work with. */
	"b8a",
	"b9a",
	"baa",
	"bba",
	"bca",
	"bda",
	"bea",
	"bfa",
	"48bfA",
	"48beA",
	"48bbA",
	"48b8A",
	"b8v",
	"b9v",
	"bav",
	"bbv",
	"48b8V",
	"31c0",
	"31c9",
	"b9w",
	"b1b",
	"6a b",
	"68d",
	"6668a",
	"66bap",
	"bap 0000",
	"48c7c1x000000",
	"b90f000000",
	"b904000000",
	/* Control and debug registers; system tables. */
	"0f20r",
	"0f22r",
	"0f22c0",
	"0f22d8",
	"0f22e0",
	"0f20c0",
	"0f20e0",
	"0f21r",
	"0f23r",
	"0f23ff",
	"440f20c0",
	"440f22c0",
	"0f01m",
	"0f01m",
	"0f01M",
	"0f00M",
	"0f00M",
	"0f0100",
	"0f06",
	"0f011425a",
	"0f011c25a",
	"0f010425a",
	"0f01 15a",
	"0f01 1da",
	"66b8S8ed8",
	"66b8S8ed0",
	"66b8S8ec0",
	"66b8S8ee0",
	"66b8S0f00d8",
	"66b8S0f00d0",
	"66b8S0f00e0",
	"b8S00000f00d8",
	"8eM",
	"8cM",
	"0fb2m",
	"0fb4m",
	"0fb5m",
	"c4m",
	"c5m",
	"0f02M",
	"0f03M",
	"63M",
	"b8v 0f22c0",
	"b8v 0f22e0",
	"48c7c0d 0f22d8",
	"b8v 0f23f8",
	"0f20c0 0fbae81f 0f22c0",
	"0f20c0 0fbaf01f 0f22c0",
	"0f20e0 0fbae805 0f22e0",
	"0f20e0 0fbae812 0f22e0",
	"0f20e0 0fbae811 0f22e0",
	/* MSRs. */
	"b9s 0f32",
	"b9s b8v bav 0f30",
	"b9s 31d2 b8v 0f30",
	"b9800000c0 0f32 0d00010000 0f30",
	"b91b000000 0f32 0d000c0000 0f30",
	"0f30",
	"0f32",
	"0f31",
	"0f01f9",
	"0f33",
	/* Far control transfers, interrupts, returns. */
	"9ad S",
	"ead S",
	"66ead S",
	"669ad S",
	"9aw S",
	"eaw S",
	"ffm",
	"ffm",
	"48ffm",
	"cb",
	"48cb",
	"66cb",
	"caw",
	"cf",
	"48cf",
	"66cf",
	"6a S 6a00 48cb",
	"cdb",
	"cdb",
	"cc",
	"ce",
	"f1",
	"0f05",
	"0f07",
	"480f07",
	"0f34",
	"0f35",
	"480f35",
	"c8wb",
	"c9",
	"62M",
	"0f0b",
	"9c9d",
	"9d",
	"669d",
	"68v 9d",
	"50 51 68v 50 cf",
	"6a S 68a 68v 6a S 68a cf",
	"6aS 50 48cf",
	"6a33 68a 48cb",
	"f4",
	"fb",
	"fa",
	"fbf4",
	"fb 90 f4",
	"0f01caM",
	"0f01cb",
	"0f01ca",
	"f30faeM",
	"0f01f8",
	/* Ports. */
	"66bap ec",
	"66bap ed",
	"66bap 66ed",
	"66bap ee",
	"66bap ef",
	"66bap 66ef",
	"e4b",
	"e5b",
	"e6b",
	"e7b",
	"66bap b90b000000 f36c",
	"66bap b9w0000 f36d",
	"66bap f36e",
	"66bap f36f",
	"6c",
	"6d",
	"6e",
	"6f",
	"66bafc0c b8v ef 66bafc0c ed",
	"66baf80c b8v0d00000080 ef 66bafc0c b8v ef",
	"66baf90c b0b ee",
	"66ba0406 b8v 66ef",
	"66ba1005 b8w0000 66ef 66ba1105 ec",
	"66ba1405 b8v 0fc8 ef b8a 0fc8 66ba1805 ef",
	"e670 b0b e671",
	"b0b e643 b0b e640",
	"b0b e620",
	"b0b e6a0",
	"b0fee664",
	"b0b e664 b0b e660",
	"66bafb03 b0b ee 66baf803 b0b ee",
	/* Strings, over RAM, page ends and registers of devices. */
	"bfa bea b9w0000 f3a4",
	"bfa bea b9x000000 f3a5",
	"bfa b9w0000 f3aa",
	"bfa b9x000000 48f3ab",
	"bea b9x000000 f3ac",
	"bfa f3ae",
	"bfa bea f3a6",
	"bfa bea f2a7",
	"48f3a5",
	"f3a4",
	"fdf3a4",
	"67f3a4",
	"67f3aa",
	"fd",
	"fc",
	"a4",
	"a5",
	"aa",
	"ab",
	"ac",
	"66a7",
	"65f3a4",
	/* Stores into this code, and to where tables are. */
	"8805j000000",
	"c60510000000b",
	"c705f8ffffffd",
	"66c705040000 00w",
	"8925a",
	"a3a",
	"a2a",
	"48a3A",
	"48a1A",
	"a1a",
	"c705a d",
	"c70425a v",
	"880425a",
	"8b0425a",
	"8b05a",
	"8705a",
	/* Locked and wide operations. */
	"f00fc7m",
	"f0480fc7m",
	"0fc7M",
	"f00fb1m",
	"f00fb0M",
	"f00fc1m",
	"f0M",
	"f001m",
	"f0480fbam b",
	"f087m",
	"87M",
	"f0ff0425a",
	"f0830425ab",
	"bfff0f0000 f00fc70f",
	"bff80f1000 f0480fc70f",
	"bffe0f1000 f0ff07",
	"bff90f1000 f048010f",
	"f080m b",
	"f0f7m",
	"f00fabm",
	/* Ordinary ones. */
	"00M",
	"01M",
	"03M",
	"2bM",
	"33M",
	"39M",
	"80M b",
	"81M d",
	"83M b",
	"88M",
	"89M",
	"8aM",
	"8bM",
	"8dM",
	"8fM",
	"c6M b",
	"c7M d",
	"d0M",
	"d3M",
	"c1M b",
	"f6M",
	"f7M",
	"feM",
	"ffM",
	"0fafM",
	"69M d",
	"0fa3M",
	"0fa5M",
	"0facM b",
	"0fb6M",
	"0fbaM b",
	"0fbcM",
	"0fc0M",
	"0fc8",
	"50",
	"58",
	"60",
	"61",
	"6661",
	"99",
	"98",
	"27",
	"37",
	"d4b",
	"d5b",
	"d7",
	"0fa2",
	"eb j",
	"e8d",
	"c3",
	"c2w",
	"74 j",
	"75 j",
	"e2 j",
	"e3 j",
	"0f84d",
	"90",
	"f390",
	"0f1fM",
	"0f0dM",
	"0f18M",
	"0f01f8",
	/* x87, MMX, vectors, state. */
	"d8M",
	"d9M",
	"daM",
	"dbM",
	"dcM",
	"ddM",
	"deM",
	"dfM",
	"9b",
	"dbe3",
	"d9m",
	"ddm",
	"0fxM",
	"0faem",
	"0faem",
	"480faem",
	"0fae0425a",
	"0fae2c25a",
	"0faeM",
	"0fc7m",
	"480fc7m",
	"0f77",
	"31c9 0f01d1",
	"31c9 b8b000000 31d2 0f01d1",
	"0f01d0",
	"b8ffffffff baffffffff 0fae2c25a",
	"b8v 31d2 0fae2425a",
	"b807000000 31d2 0faeM",
	"660fxM",
	"f20fxM",
	"f30fxM",
	"0f38xM",
	"660f38xM",
	"660f3axMb",
	"0f10M",
	"0f28M",
	"660f6fM",
	"f30f6fM",
	"0fe7m",
	"660ff7r",
	"0ff7r",
	"0f50M",
	"c5bxM",
	"c5bxM",
	"c4xxxM",
	"c4xxxMb",
	"62xxxxM",
	"c4e2bxM",
	"c4e3bxMb",
	"c4e279xM",
	"c4e27d8cM",
	"c4e2918e0425a",
	"c4e27192M",
	"c4e2f190M",
	"c5fd7fM",
	"c5fc77",
	"c5f877",
	"0fae5425b",
	"0faeb ",
	"f30fc7r",
	"0fc7r",
	"f30fb8M",
	"f20f38f0M",
	"0f38f0M",
	"0f3801M",
	"0f3accMb",
	"660f3a63Mb",
	"660f38dcM",
	"660fd7r",
	"c5f1eeM",
	"c4e37d46Mb",
	/* Translation caches; what is paravirtual. */
	"0f01m",
	"0f013f",
	"0f013425a",
	"660f3882m",
	"31c0 660f38820f",
	"b8b000000 660f3882m",
	"0f01c1",
	"0f01d9",
	"b801000000 0f01c1",
	"b80a000000 0f01c1",
	"b805000000 0f01c1",
	"0f08",
	"0f09",
	"0faeM",
	"0faef0",
	"0faee8",
	"0f01faM",
	"0fc7f0",
	"0fc7f8",
	"480fc7f8",
	"0f01ee",
	"f30f01e8",
};

/* Where guest.c puts things, where devices are, and the ends of things. */
static const uint64_t places[] = {
	0x0,
	0x400,
	0x800,
	0xffc,
	0xfff,
	0x1000,
	0x2000,
	0x3000,
	0x3800,
	0x4000,
	0x5000,
	0x6000,
	0x7000,
	0x8000,
	0x9000,
	0xa000,
	0x10000,
	0x10ff8,
	0x11000,
	0x14000,
	0x1ffff,
	0x20000,
	0x30000,
	0x9ffff,
	0xa0000,
	0xb8000,
	0xbffff,
	0xc0000,
	0xcfffe,
	0xd0000,
	0xe0000,
	0xf0000,
	0xfffff,
	0x100000,
	0x101000,
	0x200000,
	0x3fffff,
	0x400000,
	0xfffff8,
	0xffffff,
	0x1000000,
	0x2000000,
	0x4000000,
	0x80000000,
	0xb0000000,
	0xb00f8000,
	0xb00fa000,
	0xb0000060,
	0xbffffffe,
	0xc0000000,
	0xe0000000,
	0xfebffff0,
	0xfec00000,
	0xfec00010,
	0xfec00040,
	0xfed00000,
	0xfed000f0,
	0xfed00100,
	0xfed00400,
	0xfed1c000,
	0xfee00000,
	0xfee00020,
	0xfee00080,
	0xfee000b0,
	0xfee000f0,
	0xfee00300,
	0xfee00310,
	0xfee00320,
	0xfee00380,
	0xfee003e0,
	0xfee00ffc,
	0xfffc0000,
	0xfffffff0,
	0xfffffffc,
	0xffffffff,
	0x100000000,
	0x100001000,
	0x7fffffffffff,
	0x800000000000,
	0xffff800000000000,
	0xffffffff80000000,
	0xfffffffffffffff8,
	0xffffffffffffffff,
	0xffffff7fffff,
	0x8000000000,
};

static const uint16_t ports[] = {
	0x00,	0x08,	0x0b,	0x0d,	0x0f,  0x20,   0x21,   0x40,   0x41,   0x42,   0x43,
	0x60,	0x61,	0x64,	0x70,	0x71,  0x80,   0x81,   0x87,   0x92,   0xa0,   0xa1,
	0xb2,	0xb3,	0xc0,	0xd6,	0xde,  0xf4,   0x402,  0x4d0,  0x4d1,  0x510,  0x511,
	0x514,	0x518,	0x600,	0x602,	0x604, 0x608,  0x60c,  0x620,  0x628,  0x630,  0x2f8,
	0x2f9,	0x2fb,	0x3f8,	0x3f9,	0x3fa, 0x3fb,  0x3fc,  0x3fd,  0x3ff,  0x3e8,  0x2e8,
	0xcf8,	0xcf9,	0xcfa,	0xcfb,	0xcfc, 0xcfd,  0xcff,  0xae00, 0xaf00, 0xafe0, 0xb000,
	0xb004, 0xb008, 0xb044, 0xb100, 0x700, 0xc000, 0xfffe, 0xffff,
};

static const uint32_t msrs[] = {
	0x10,	    0x17,	0x1b,	    0x3a,	0x3b,	    0x48,	0x49,
	0x79,	    0x8b,	0xc1,	    0xce,	0xe7,	    0xe8,	0xfe,
	0x10a,	    0x140,	0x174,	    0x175,	0x176,	    0x179,	0x17a,
	0x186,	    0x198,	0x19a,	    0x1a0,	0x1d9,	    0x200,	0x201,
	0x20f,	    0x250,	0x258,	    0x26f,	0x277,	    0x2ff,	0x345,
	0x38d,	    0x38f,	0x400,	    0x401,	0x606,	    0x6e0,	0x802,
	0x803,	    0x808,	0x80a,	    0x80b,	0x80d,	    0x80f,	0x810,
	0x820,	    0x828,	0x82f,	    0x830,	0x831,	    0x832,	0x835,
	0x837,	    0x838,	0x839,	    0x83e,	0x83f,	    0x8ff,	0xda0,
	0xc0000080, 0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084, 0xc0000100, 0xc0000101,
	0xc0000102, 0xc0000103, 0xc0010015, 0xc001001f, 0xc0010117, 0x4b564d00, 0x4b564d01,
	0x4b564d02, 0x4b564d03, 0x4b564d04, 0x4b564d05, 0x4b564d06, 0x4b564d07, 0x11,
	0x12,	    0x40000000, 0x40000021, 0xffffffff,
};

uint64_t code_address(struct rnd *r)
{
	uint64_t a = RND_PICK(r, places);

	switch (rnd_below(r, 8)) {
	case 0:
		return rnd_value(r);
	case 1:
		return a - rnd_below(r, 64);
	case 2:
	case 3:
		return a + rnd_below(r, 4096);
	case 4:
		return 0x10000 + rnd_below(r, 0x10000);
	default:
		return a;
	}
}

uint16_t code_port(struct rnd *r)
{
	if (rnd_one_in(r, 10))
		return (uint16_t)rnd(r);
	return (uint16_t)(RND_PICK(r, ports) + (rnd_one_in(r, 6) ? rnd_below(r, 5) : 0));
}

uint32_t code_msr(struct rnd *r)
{
	return rnd_one_in(r, 10) ? (uint32_t)rnd_value(r) : RND_PICK(r, msrs);
}

struct out {
	uint8_t *p;
	size_t len, max;
};

static void put(struct out *o, uint64_t v, unsigned size)
{
	for (; size && o->len < o->max; size--, v >>= 8)
		o->p[o->len++] = (uint8_t)v;
}

/* A ModRM of the wanted kind, a SIB byte when it asks for one, and a displacement. */
static void put_modrm(struct rnd *r, struct out *o, char kind)
{
	uint8_t m = (uint8_t)rnd(r);

	if (kind == 'r')
		m |= 0xc0;
	else if (kind == 'm' && m >= 0xc0)
		m &= 0x7f;
	if (kind == 'm' && rnd_one_in(r, 3))
		m = (m & 0x38) | 5; /* disp32 or RIP-relative */
	put(o, m, 1);
	if (m >= 0xc0)
		return;
	if ((m & 7) == 4)
		put(o, rnd(r), 1);
	if (m >> 6 == 1)
		put(o, rnd(r), 1);
	else if (m >> 6 == 2 || (m & 7) == 5)
		put(o, rnd_one_in(r, 2) ? code_address(r) : rnd_below(r, 4096), 4);
}

static void put_letter(struct rnd *r, struct out *o, char c)
{
	switch (c) {
	case 'M':
	case 'm':
	case 'r':
		put_modrm(r, o, c);
		break;
	case 'w':
		put(o, rnd_value(r), 2);
		break;
	case 'v':
		put(o, rnd_value(r), 4);
		break;
	case 'V':
		put(o, rnd_value(r), 8);
		break;
	case 'a':
		put(o, code_address(r), 4);
		break;
	case 'A':
		put(o, code_address(r), 8);
		break;
	case 'p':
		put(o, code_port(r), 2);
		break;
	case 's':
		put(o, code_msr(r), 4);
		break;
	case 'S':
		put(o, rnd_below(r, 40) * 8 + (rnd_one_in(r, 3) ? rnd_below(r, 8) : 0), 2);
		break;
	case 'j':
		put(o, rnd_below(r, 48) - 16, 1);
		break;
	default: /* x */
		put(o, rnd(r), 1);
	}
}

static bool is_hex(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

static unsigned hex(char c)
{
	return (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
}

/* Letters that are hex digits too stand for immediates where they do not pair up. */
static void put_skeleton(struct rnd *r, struct out *o, const char *s)
{
	while (*s) {
		if (*s == ' ') {
			s++;
		} else if (is_hex(s[0]) && is_hex(s[1])) {
			put(o, hex(s[0]) << 4 | hex(s[1]), 1);
			s += 2;
		} else if (*s == 'b') {
			put(o, rnd(r), 1);
			s++;
		} else if (*s == 'd') {
			put(o, rnd_value(r), 4);
			s++;
		} else {
			put_letter(r, o, *s++);
		}
	}
}

static void put_prefixes(struct rnd *r, struct out *o)
{
	static const uint8_t prefixes[] = {0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x26,
					   0x2e, 0x36, 0x3e, 0x64, 0x65};

	while (rnd_one_in(r, 8))
		put(o, RND_PICK(r, prefixes), 1);
	if (rnd_one_in(r, 8))
		put(o, 0x40 | rnd_below(r, 16), 1);
}

void code_fill(struct rnd *r, uint8_t *p, size_t len)
{
	struct out o = {p, 0, len};
	unsigned noise = rnd_one_in(r, 8) ? 2 : 40;

	while (o.len < o.max) {
		if (rnd_one_in(r, noise)) {
			put(&o, rnd(r), (unsigned)rnd_below(r, 8) + 1);
			continue;
		}
		if (rnd_one_in(r, 3))
			put_prefixes(r, &o);
		put_skeleton(r, &o, RND_PICK(r, skeletons));
	}
}
