/* SPDX-License-Identifier: Apache-2.0 */
/* AHCI by its registers: a small driver, and hostile ones; disks and CD-ROMs behind it. */
#include "ata_rig.h"

#define HBA PCI_DEVFN(31, 2)
#define ABAR 0xfe000000u
#define CLB(p) (0x10000u + 0x1000u * (p))
#define FB(p) (0x18000u + 0x100u * (p))
#define TABLE(s) (0x20000u + 0x1000u * (s))
#define DATA 0x100000u

static uint32_t hr(struct rig *r, unsigned off)
{
	return rd32(r->t, ABAR + off);
}

static void hw(struct rig *r, unsigned off, uint32_t v)
{
	wr32(r->t, ABAR + off, v);
}

static uint32_t pr(struct rig *r, unsigned port, unsigned off)
{
	return hr(r, 0x100 + 0x80 * port + off);
}

static void pw(struct rig *r, unsigned port, unsigned off, uint32_t v)
{
	hw(r, 0x100 + 0x80 * port + off, v);
}

static void port_start(struct rig *r, unsigned p)
{
	pw(r, p, 0x00, CLB(p));
	pw(r, p, 0x04, 0);
	pw(r, p, 0x08, FB(p));
	pw(r, p, 0x0c, 0);
	pw(r, p, 0x30, ~0u);
	pw(r, p, 0x18, 0x10);
	pw(r, p, 0x10, ~0u);
	pw(r, p, 0x14, ~0u);
	pw(r, p, 0x18, 0x11);
}

static void port_restart(struct rig *r, unsigned p)
{
	pw(r, p, 0x18, 0x10);
	wait_until(!(pr(r, p, 0x18) & BIT(15)));
	pw(r, p, 0x10, ~0u);
	pw(r, p, 0x30, ~0u);
	pw(r, p, 0x18, 0x11);
}

static struct rig *machine(void)
{
	struct rig *r = rig_open(true);

	assert_int_equal(rig_device(r, "ide-hd",
				    "drive=disk,bus=ide.0,serial=S1,wwn=0x5000c50012345678"),
			 0);
	assert_int_equal(rig_device(r, "ide-cd", "drive=cd,bus=ide.1"), 0);
	cfg_put(r, HBA, 0x24, ABAR, 4);
	cfg_put(r, HBA, PCI_COMMAND, 6, 2);
	hw(r, 0x04, BIT(31) | BIT(1));
	port_start(r, 0);
	port_start(r, 1);
	return r;
}

static int setup(void **state)
{
	*state = machine();
	return 0;
}

static int teardown(void **state)
{
	rig_close(*state);
	return 0;
}

/* A scatter list entry. */
static void prd(struct rig *r, unsigned slot, unsigned i, uint64_t addr, uint32_t len)
{
	uint8_t *e = ram(r, TABLE(slot) + 0x80 + 16 * i);

	put_le64(e, addr);
	put_le32(e + 8, 0);
	put_le32(e + 12, len - 1);
}

static void head(struct rig *r, unsigned p, unsigned slot, unsigned n_prd, uint32_t flags)
{
	uint8_t *h = ram(r, CLB(p) + 32 * slot);

	memset(h, 0, 32);
	put_le32(h, n_prd << 16 | flags | 5);
	put_le32(h + 8, TABLE(slot));
}

/* A command FIS; queued: the count goes to features, the tag to count. */
static void fis(struct rig *r, unsigned slot, uint8_t cmd, uint64_t lba, uint16_t count)
{
	uint8_t *f = ram(r, TABLE(slot));
	bool queued = cmd == 0x60 || cmd == 0x61;

	memset(f, 0, 0x80);
	f[0] = 0x27;
	f[1] = 0x80;
	f[2] = cmd;
	f[7] = 0x40;
	for (unsigned i = 0; i < 3; i++) {
		f[4 + i] = (uint8_t)(lba >> (8 * i));
		f[8 + i] = (uint8_t)(lba >> (24 + 8 * i));
	}
	if (queued) {
		f[3] = (uint8_t)count;
		f[11] = (uint8_t)(count >> 8);
		f[12] = (uint8_t)(slot << 3);
	} else {
		put_le16(f + 12, count);
	}
}

static void issue(struct rig *r, unsigned p, uint32_t slots)
{
	pw(r, p, 0x38, slots);
}

static void run(struct rig *r, unsigned p, uint32_t slots)
{
	issue(r, p, slots);
	wait_until(!(pr(r, p, 0x38) & slots) && !(pr(r, p, 0x20) & 0x88));
}

static void simple(struct rig *r, unsigned p, uint8_t cmd, uint64_t lba, uint16_t count,
		   uint64_t addr, uint32_t len)
{
	head(r, p, 0, len ? 1 : 0, 0);
	fis(r, 0, cmd, lba, count);
	if (len)
		prd(r, 0, 0, addr, len);
}

static void registers(void **state)
{
	struct rig *r = *state;

	assert_int_equal(hr(r, 0x00) & 0x1f, 5);
	assert_int_equal(hr(r, 0x00) >> 8 & 0x1f, 31);
	assert_int_equal(hr(r, 0x0c), 0x3f);
	assert_int_equal(hr(r, 0x10), 0x10300);
	assert_int_equal(pr(r, 0, 0x28), 0x133);
	assert_int_equal(pr(r, 0, 0x24), 0x00000101);
	assert_int_equal(pr(r, 1, 0x24), 0xeb140101);
	assert_int_equal(pr(r, 2, 0x28), 0);
	assert_int_equal(pr(r, 2, 0x20), 0x7f);
	assert_int_equal(pr(r, 2, 0x24), 0xffffffff);
	assert_int_equal(hr(r, 0x100 + 0x80 * 6), 0);
	/* Index and data, with I/O decoded. */
	cfg_put(r, HBA, 0x20, 0xc000, 4);
	cfg_put(r, HBA, PCI_COMMAND, 7, 2);
	outl(r->t, 0xc010, 0x10);
	assert_int_equal(inl(r->t, 0xc014), 0x10300);
}

static void identify(void **state)
{
	struct rig *r = *state;
	uint8_t *p = ram(r, DATA), sum = 0;

	simple(r, 0, 0xec, 0, 0, DATA, 512);
	run(r, 0, 1);
	assert_memory_equal(p + 54, "EQUMH RADDSI K", 14);
	assert_memory_equal(p + 20, "1S  ", 4);
	assert_int_equal(get_le32(p + 120), DISK_SECTORS);
	assert_int_equal(get_le64(p + 200), DISK_SECTORS);
	assert_int_equal(get_le16(p + 150), 31);
	assert_int_equal(get_le16(p + 216), 0x5000);
	assert_int_equal(get_le16(p + 222), 0x5678);
	for (unsigned i = 0; i < 512; i++)
		sum = (uint8_t)(sum + p[i]);
	assert_int_equal(sum, 0);
	assert_int_equal(pr(r, 0, 0x10), 0x2); /* PIO setup */
	assert_int_equal(ram(r, FB(0) + 0x20)[0], 0x5f);
	assert_int_equal(ram(r, FB(0) + 0x20)[15], 0x50);
	assert_int_equal(get_le32(ram(r, CLB(0) + 4)), 512);
	assert_int_equal(hr(r, 0x08), 1);
	/* A CD drive refuses, with its signature. */
	simple(r, 1, 0xec, 0, 0, DATA, 512);
	issue(r, 1, 1);
	wait_until(pr(r, 1, 0x10) & BIT(30));
	assert_int_equal(pr(r, 1, 0x20) & 0xff01, 0x0401);
	assert_int_equal(ram(r, FB(1) + 0x45)[0], 0x14);
	port_restart(r, 1);
	simple(r, 1, 0xa1, 0, 0, DATA, 512);
	run(r, 1, 1);
	assert_int_equal(get_le16(p), 0x85c0);
}

static void read_write(void **state)
{
	struct rig *r = *state;

	/* In three pieces, with gaps. */
	head(r, 0, 3, 3, 0);
	fis(r, 3, 0x25, 100, 16);
	prd(r, 3, 0, DATA, 1000);
	prd(r, 3, 1, DATA + 0x10002, 24);
	prd(r, 3, 2, DATA + 0x20000, 8192);
	run(r, 0, 8);
	is_pattern(r, DATA, 100 * 512, 1000, 1);
	is_pattern(r, DATA + 0x10002, 100 * 512 + 1000, 24, 1);
	is_pattern(r, DATA + 0x20000, 101 * 512 + 512, 14 * 512, 1);
	assert_int_equal(get_le32(ram(r, CLB(0) + 32 * 3 + 4)), 8192);
	assert_int_equal(ram(r, FB(0) + 0x40)[0], 0x34);
	assert_true(pr(r, 0, 0x10) & 1);
	/* Write, FUA, flush, PIO read of the same. */
	fill(r, DATA, 8192, 77);
	simple(r, 0, 0x3d, 500, 16, DATA, 8192);
	run(r, 0, 1);
	simple(r, 0, 0xea, 0, 0, 0, 0);
	run(r, 0, 1);
	file_is(r, 500 * 512, 8192, 77);
	memset(ram(r, DATA), 0, 8192);
	simple(r, 0, 0x24, 500, 16, DATA, 8192);
	run(r, 0, 1);
	is_pattern(r, DATA, 0, 8192, 77);
	/* The last sector is there, the next not. */
	simple(r, 0, 0x25, DISK_SECTORS - 1, 1, DATA, 512);
	run(r, 0, 1);
	is_pattern(r, DATA, (DISK_SECTORS - 1) * 512, 512, 1);
	simple(r, 0, 0x25, DISK_SECTORS - 1, 2, DATA, 1024);
	issue(r, 0, 1);
	wait_until(pr(r, 0, 0x10) & BIT(30));
	assert_int_equal(pr(r, 0, 0x20), 0x1051);
	assert_int_equal(pr(r, 0, 0x38), 1);
	port_restart(r, 0);
	assert_int_equal(pr(r, 0, 0x38), 0);
	/* Several that are not queued, one after the other. */
	for (unsigned s = 0; s < 32; s++) {
		head(r, 0, s, 1, 0);
		fis(r, s, 0x25, s * 3, 1);
		prd(r, s, 0, DATA + 512 * s, 512);
	}
	run(r, 0, ~0u);
	for (unsigned s = 0; s < 32; s++)
		is_pattern(r, DATA + 512 * s, s * 3 * 512, 512, 1);
}

static void queue(void **state)
{
	struct rig *r = *state;

	for (unsigned s = 0; s < 32; s++) {
		head(r, 0, s, 2, 0);
		fis(r, s, 0x60, s * 100, 8);
		prd(r, s, 0, DATA + 4096 * s, 2048);
		prd(r, s, 1, DATA + 4096 * s + 2048, 2048);
	}
	pw(r, 0, 0x34, ~0u);
	issue(r, 0, ~0u);
	wait_until(!pr(r, 0, 0x34));
	assert_int_equal(pr(r, 0, 0x38), 0);
	assert_true(pr(r, 0, 0x10) & 8);
	assert_int_equal(ram(r, FB(0) + 0x58)[0], 0xa1);
	for (unsigned s = 0; s < 32; s++)
		is_pattern(r, DATA + 4096 * s, s * 100 * 512, 4096, 1);
	for (unsigned s = 0; s < 16; s++) {
		fill(r, DATA + 4096 * s, 4096, s);
		head(r, 0, s, 1, 0x40);
		fis(r, s, 0x61, s * 8, 8);
		prd(r, s, 0, DATA + 4096 * s, 4096);
	}
	pw(r, 0, 0x34, 0xffff);
	issue(r, 0, 0xffff);
	wait_until(!pr(r, 0, 0x34));
	for (unsigned s = 0; s < 16; s++)
		file_is(r, s * 4096, 4096, s);
}

static void queue_error(void **state)
{
	struct rig *r = *state;
	uint8_t *p = ram(r, DATA);

	head(r, 0, 5, 1, 0);
	fis(r, 5, 0x60, DISK_SECTORS, 8);
	prd(r, 5, 0, DATA, 4096);
	pw(r, 0, 0x34, BIT(5));
	issue(r, 0, BIT(5));
	wait_until(pr(r, 0, 0x10) & BIT(30));
	assert_int_equal(pr(r, 0, 0x34), BIT(5));
	assert_int_equal(pr(r, 0, 0x38), 0);
	assert_int_equal(pr(r, 0, 0x20), 0x1051);
	port_restart(r, 0);
	simple(r, 0, 0x2f, 0x10, 1, DATA, 512);
	run(r, 0, 1);
	assert_int_equal(p[0], 5);
	assert_int_equal(p[3], 0x10);
	run(r, 0, 1);
	assert_int_equal(p[0], 0x80); /* read once */
	/* A tag that is not the slot's. */
	head(r, 0, 6, 1, 0);
	fis(r, 6, 0x60, 0, 1);
	ram(r, TABLE(6))[12] = 7 << 3;
	prd(r, 6, 0, DATA, 512);
	pw(r, 0, 0x34, BIT(6));
	issue(r, 0, BIT(6));
	wait_until(pr(r, 0, 0x10) & BIT(30));
	port_restart(r, 0);
}

static void settings(void **state)
{
	struct rig *r = *state;
	uint8_t *p = ram(r, DATA);

	simple(r, 0, 0xef, 0, 0, 0, 0);
	ram(r, TABLE(0))[3] = 0x82; /* write cache off */
	run(r, 0, 1);
	simple(r, 0, 0xec, 0, 0, DATA, 512);
	run(r, 0, 1);
	assert_int_equal(get_le16(p + 170) & 0x20, 0);
	simple(r, 0, 0xef, 0, 0x42, 0, 0);
	ram(r, TABLE(0))[3] = 0x03; /* Ultra DMA 2 */
	run(r, 0, 1);
	simple(r, 0, 0xec, 0, 0, DATA, 512);
	run(r, 0, 1);
	assert_int_equal(get_le16(p + 176) >> 8, 4);
	simple(r, 0, 0xe0, 0, 0, 0, 0);
	run(r, 0, 1);
	simple(r, 0, 0xe5, 0, 0, 0, 0);
	run(r, 0, 1);
	assert_int_equal(ram(r, FB(0) + 0x4c)[0], 0);
	simple(r, 0, 0xb0, 0xc24f00, 0, 0, 0);
	ram(r, TABLE(0))[3] = 0xda;
	run(r, 0, 1);
	assert_int_equal(get_le16(ram(r, FB(0) + 0x45)), 0xc24f);
	simple(r, 0, 0xf8, 0, 0, 0, 0);
	run(r, 0, 1);
	assert_int_equal(get_le32(ram(r, FB(0) + 0x44)) & 0xffffff, DISK_SECTORS - 1);
	simple(r, 0, 0xf1, 0, 0, 0, 0); /* SECURITY is absent */
	issue(r, 0, 1);
	wait_until(pr(r, 0, 0x10) & BIT(30));
	assert_int_equal(pr(r, 0, 0x20) >> 8, 4);
	port_restart(r, 0);
}

static void trim(void **state)
{
	struct rig *r = *state;
	uint8_t *p = ram(r, DATA);

	memset(p, 0, 512);
	put_le64(p, 1000 | (uint64_t)8 << 48);
	put_le64(p + 8, 1008 | (uint64_t)8 << 48);
	put_le64(p + 24, 2000 | (uint64_t)1 << 48);
	simple(r, 0, 0x06, 0, 1, DATA, 512);
	ram(r, TABLE(0))[3] = 1;
	run(r, 0, 1);
	put_le64(p + 32, (DISK_SECTORS - 1) | (uint64_t)2 << 48); /* past the end */
	issue(r, 0, 1);
	wait_until(pr(r, 0, 0x10) & BIT(30));
	port_restart(r, 0);
}

/* What a driver gets that gives bad addresses and lengths. */
static void error_of(struct rig *r, uint32_t is)
{
	issue(r, 0, 1);
	wait_until(pr(r, 0, 0x10) & is);
	port_restart(r, 0);
	/* It goes on. */
	simple(r, 0, 0x25, 7, 1, DATA, 512);
	run(r, 0, 1);
	is_pattern(r, DATA, 7 * 512, 512, 1);
}

static void hostile(void **state)
{
	struct rig *r = *state;

	simple(r, 0, 0x25, 0, 8, ABAR, 4096); /* data to our own registers */
	error_of(r, BIT(29));
	simple(r, 0, 0x35, 0, 8, 0x8000000, 4096); /* from nowhere */
	error_of(r, BIT(29));
	simple(r, 0, 0x25, 0, 8, UINT64_MAX - 100, 4096);
	error_of(r, BIT(29));
	simple(r, 0, 0x25, 0, 8, TEST_RAM - 512, 4096); /* over the end of RAM */
	error_of(r, BIT(29));
	simple(r, 0, 0x25, 0, 8, DATA, 1024); /* too short */
	error_of(r, BIT(24));
	simple(r, 0, 0x25, 0, 8, DATA, 1022); /* not whole sectors */
	error_of(r, BIT(24));
	simple(r, 0, 0xec, 0, 0, ABAR, 512); /* from the buffer */
	error_of(r, BIT(29));
	head(r, 0, 0, 0, 0); /* no list at all */
	fis(r, 0, 0x25, 0, 1);
	error_of(r, BIT(24));
	simple(r, 0, 0x25, 0, 1, DATA, 512);
	ram(r, TABLE(0))[0] = 0x34; /* not a FIS of ours */
	error_of(r, BIT(27));
	simple(r, 0, 0x25, 0, 1, DATA, 512);
	put_le32(ram(r, CLB(0)), 1 << 16 | 1); /* FIS of a dword */
	error_of(r, BIT(27));
	simple(r, 0, 0x25, 0, 1, DATA, 512);
	put_le32(ram(r, CLB(0) + 8), ABAR); /* table in our registers */
	error_of(r, BIT(29));
	simple(r, 0, 0x25, 0, 1, DATA, 512);
	put_le32(ram(r, CLB(0) + 12), 0xffffffff);
	error_of(r, BIT(29));
	/* A list of 65535 entries that starts at the end of RAM. */
	simple(r, 0, 0x25, 0, 128, DATA, 512);
	put_le32(ram(r, CLB(0)), 0xffff0005);
	put_le32(ram(r, CLB(0) + 8), TEST_RAM - 0x100);
	memcpy(ram(r, TEST_RAM - 0x100), ram(r, TABLE(0)), 0x80);
	memset(ram(r, TEST_RAM - 0x80), 0, 0x80);
	error_of(r, BIT(29));
	/* 2-byte entries, a whole table of them: 2048 bytes. */
	head(r, 0, 1, 1024, 0);
	put_le32(ram(r, CLB(0) + 32 + 8), 0x40000);
	fis(r, 1, 0x25, 3, 4);
	memcpy(ram(r, 0x40000), ram(r, TABLE(1)), 0x80);
	for (unsigned i = 0; i < 1024; i++) {
		put_le64(ram(r, 0x40080 + 16 * i), DATA + 4 * i);
		put_le32(ram(r, 0x40080 + 16 * i + 12), 1);
	}
	run(r, 0, 2);
	for (unsigned i = 0; i < 1024; i++)
		is_pattern(r, DATA + 4 * i, 3 * 512 + 2 * i, 2, 1);
	/* Lists over their own commands and FISes: the data land there, that is all. */
	head(r, 0, 2, 1, 0);
	fis(r, 2, 0x25, 0, 128);
	prd(r, 2, 0, 0x10000, 65536);
	issue(r, 0, 4);
	wait_until(!(pr(r, 0, 0x38) & 4) || (pr(r, 0, 0x10) & BIT(30)));
	port_restart(r, 0);
	/* Receive area that is no RAM. */
	pw(r, 0, 0x08, ABAR & ~0xffu);
	simple(r, 0, 0xe7, 0, 0, 0, 0);
	issue(r, 0, 1);
	wait_until(pr(r, 0, 0x10) & BIT(29));
	pw(r, 0, 0x08, FB(0));
	port_restart(r, 0);
	/* Command list that is none. */
	pw(r, 0, 0x00, ABAR);
	issue(r, 0, ~0u);
	wait_until(pr(r, 0, 0x10) & BIT(29));
	pw(r, 0, 0x00, CLB(0));
	port_restart(r, 0);
	simple(r, 0, 0x25, 7, 1, DATA, 512);
	error_of(r, 1);
}

static void resets(void **state)
{
	struct rig *r = *state;

	/* In the middle of 32 commands: COMRESET. */
	for (int round = 0; round < 20; round++) {
		for (unsigned s = 0; s < 32; s++) {
			head(r, 0, s, 1, 0);
			fis(r, s, 0x60, s * 64, 64);
			prd(r, s, 0, DATA + 0x8000 * (s % 16), 0x8000);
		}
		pw(r, 0, 0x34, ~0u);
		issue(r, 0, ~0u);
		pw(r, 0, 0x18, 0x10);
		assert_int_equal(pr(r, 0, 0x38), 0);
		assert_int_equal(pr(r, 0, 0x34), 0);
		pw(r, 0, 0x2c, 0x301);
		assert_int_equal(pr(r, 0, 0x28), 0);
		pw(r, 0, 0x2c, 0x300);
		assert_int_equal(pr(r, 0, 0x28), 0x133);
		assert_int_equal(pr(r, 0, 0x20), 0x150);
		assert_true(pr(r, 0, 0x30) & BIT(26));
		assert_true(pr(r, 0, 0x10) & BIT(6));
		port_restart(r, 0);
	}
	/* Soft reset: SRST on, off. */
	head(r, 0, 0, 0, 0x500);
	head(r, 0, 1, 0, 0);
	fis(r, 0, 0, 0, 0);
	fis(r, 1, 0, 0, 0);
	ram(r, TABLE(0))[1] = ram(r, TABLE(1))[1] = 0;
	ram(r, TABLE(0))[15] = 4;
	issue(r, 0, 1);
	assert_true(pr(r, 0, 0x20) & 0x80);
	issue(r, 0, 2);
	wait_until(pr(r, 0, 0x20) == 0x150);
	assert_int_equal(pr(r, 0, 0x24), 0x101);
	/* Of the HBA. */
	hw(r, 0x04, BIT(31) | 1);
	assert_int_equal(hr(r, 0x04), BIT(31));
	assert_int_equal(pr(r, 0, 0x18), 6);
	assert_int_equal(pr(r, 0, 0x00), 0);
	/* Offline. */
	pw(r, 0, 0x2c, 4);
	assert_int_equal(pr(r, 0, 0x28), 4);
}

static void interrupts(void **state)
{
	struct rig *r = *state;
	unsigned cap = cfg_get(r, HBA, 0x34, 1), n;

	/* INTx. */
	simple(r, 0, 0xe7, 0, 0, 0, 0);
	run(r, 0, 1);
	assert_true(cfg_get(r, HBA, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
	pw(r, 0, 0x10, ~0u);
	hw(r, 0x08, ~0u);
	assert_false(cfg_get(r, HBA, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
	/* MSI. */
	while (cap && cfg_get(r, HBA, cap, 1) != 5)
		cap = cfg_get(r, HBA, cap + 1, 1);
	assert_true(cap);
	cfg_put(r, HBA, cap + 4, 0xfee00000, 4);
	cfg_put(r, HBA, cap + 12, 0x41, 2);
	cfg_put(r, HBA, cap + 2, 1, 2);
	n = r->messages;
	run(r, 0, 1);
	wait_until(r->messages == n + 1);
	run(r, 0, 1); /* IS is still set: none */
	assert_int_equal(r->messages, n + 1);
	hw(r, 0x08, 1); /* the port still asks: again */
	assert_int_equal(r->messages, n + 2);
	pw(r, 0, 0x10, ~0u);
	hw(r, 0x08, 1);
	assert_int_equal(r->messages, n + 2);
	assert_int_equal(hr(r, 0x08), 0);
	/* Not while IE is off. */
	hw(r, 0x04, BIT(31));
	run(r, 0, 1);
	assert_int_equal(r->messages, n + 2);
	hw(r, 0x04, BIT(31) | 2);
	assert_int_equal(r->messages, n + 3);
}

static void master(void **state)
{
	struct rig *r = *state;

	cfg_put(r, HBA, PCI_COMMAND, 2, 2);
	simple(r, 0, 0x25, 9, 1, DATA, 512);
	issue(r, 0, 1);
	usleep(2000);
	assert_int_equal(pr(r, 0, 0x38), 1);
	cfg_put(r, HBA, PCI_COMMAND, 6, 2);
	wait_until(!pr(r, 0, 0x38));
	is_pattern(r, DATA, 9 * 512, 512, 1);
}

/* Packets to the CD drive on port 1. */
static void packet(struct rig *r, const uint8_t *cdb, unsigned n, uint32_t len)
{
	simple(r, 1, 0xa0, 0, 0, DATA, len);
	if (!len)
		head(r, 1, 0, 0, 0x20);
	ram(r, TABLE(0))[3] = 1;
	memset(ram(r, TABLE(0) + 0x40), 0, 16);
	memcpy(ram(r, TABLE(0) + 0x40), cdb, n);
	memset(ram(r, DATA), 0xee, 64);
	issue(r, 1, 1);
	wait_until(!pr(r, 1, 0x38) || (pr(r, 1, 0x10) & BIT(30)));
}

#define PACKET(r, len, ...) \
	packet(r, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}), len)

/* sense - what the last packet failed with; 0: it did not. */
static uint32_t sense(struct rig *r)
{
	uint8_t *p = ram(r, DATA);

	if (!(pr(r, 1, 0x20) & 1))
		return 0;
	port_restart(r, 1);
	PACKET(r, 18, 0x03, 0, 0, 0, 18);
	return (uint32_t)p[2] << 16 | p[12] << 8 | p[13];
}

static void cdrom(void **state)
{
	struct rig *r = *state;
	uint8_t *p = ram(r, DATA);

	PACKET(r, 0, 0x00);
	assert_int_equal(sense(r), 0x062900); /* power-on */
	PACKET(r, 0, 0x00);
	assert_int_equal(sense(r), 0);
	PACKET(r, 36, 0x12, 0, 0, 0, 36);
	assert_int_equal(p[0], 5);
	assert_memory_equal(p + 8, "QEMU    QEMU DVD-ROM", 20);
	PACKET(r, 8, 0x25);
	assert_int_equal(p[2] << 8 | p[3], CD_SECTORS - 1);
	assert_int_equal(p[6], 8);
	PACKET(r, 8192, 0x28, 0, 0, 0, 0, 10, 0, 0, 4);
	is_pattern(r, DATA, 10 * 2048, 8192, 2);
	PACKET(r, 2048, 0xa8, 0, 0, 0, 1, 0x8f, 0, 0, 0, 1);
	is_pattern(r, DATA, (CD_SECTORS - 1) * 2048, 2048, 2);
	PACKET(r, 4096, 0xa8, 0, 0, 0, 1, 0x8f, 0, 0, 0, 2);
	assert_int_equal(sense(r), 0x052100);
	PACKET(r, 4096, 0xa8, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff);
	assert_int_equal(sense(r), 0x052100);
	/* READ CD: two raw sectors; all 30 go through the buffer in two pieces. */
	PACKET(r, 4704, 0xbe, 0, 0, 0, 0, 10, 0, 0, 2, 0xf8);
	assert_int_equal(p[0], 0);
	assert_int_equal(p[1], 0xff);
	assert_int_equal(get_le32(p + 12), 0x01100200); /* 00:02:10, mode 1 */
	is_pattern(r, DATA + 16, 10 * 2048, 2048, 2);
	is_pattern(r, DATA + 2352 + 16, 11 * 2048, 2048, 2);
	PACKET(r, 30 * 2352, 0xbe, 0, 0, 0, 0, 0, 0, 0, 30, 0xf8);
	is_pattern(r, DATA + 29 * 2352 + 16, 29 * 2048, 2048, 2);
	PACKET(r, 2048, 0xbe, 0, 0, 0, 0, 3, 0, 0, 1, 0x10);
	is_pattern(r, DATA, 3 * 2048, 2048, 2);
	PACKET(r, 20, 0x43, 0, 0, 0, 0, 0, 0, 0, 20);
	assert_int_equal(p[1], 18);
	assert_int_equal(p[14], 0xaa);
	assert_int_equal(p[18] << 8 | p[19], CD_SECTORS);
	PACKET(r, 48, 0x43, 2, 2, 0, 0, 0, 0, 0, 48);
	assert_int_equal(p[1], 46);
	PACKET(r, 64, 0x46, 0, 0, 0, 0, 0, 0, 0, 64);
	assert_int_equal(p[7], 8);
	PACKET(r, 34, 0x51, 0, 0, 0, 0, 0, 0, 0, 34);
	assert_int_equal(p[1], 32);
	PACKET(r, 128, 0x5a, 0, 0x3f, 0, 0, 0, 0, 0, 128);
	assert_int_equal(p[1], 8 + 16 + 22 + 8 - 2);
	PACKET(r, 8, 0xbd, 0, 0, 0, 0, 0, 0, 0, 0, 8);
	PACKET(r, 36, 0x52, 0, 0, 0, 0, 0, 0, 0, 36);
	PACKET(r, 0, 0xff);
	assert_int_equal(sense(r), 0x052000);
}

static void tray(void **state)
{
	struct rig *r = *state;
	uint8_t *p = ram(r, DATA);
	struct block_policy policy;
	struct err *e = NULL;

	PACKET(r, 0, 0x00);
	sense(r);
	PACKET(r, 0, 0x1e, 0, 0, 0, 1); /* lock */
	PACKET(r, 0, 0x1b, 0, 0, 0, 2);
	assert_int_equal(sense(r), 0x055302);
	lock_take(&r->t->lock);
	assert_int_equal(block_eject(r->cd, false, &e), -EBUSY);
	lock_drop(&r->t->lock);
	err_free(&e);
	PACKET(r, 8, 0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8);
	assert_int_equal(p[4], 1); /* a person asks for it */
	assert_int_equal(p[5], 2);
	PACKET(r, 0, 0x1e, 0, 0, 0, 0);
	PACKET(r, 0, 0x1b, 0, 0, 0, 2); /* eject */
	PACKET(r, 0, 0x00);
	assert_int_equal(sense(r), 0x023a02);
	PACKET(r, 8, 0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8);
	assert_int_equal(p[5], 1);
	PACKET(r, 0, 0x1b, 0, 0, 0, 3); /* load */
	PACKET(r, 0, 0x00);
	assert_int_equal(sense(r), 0x062800);
	PACKET(r, 0, 0x00);
	assert_int_equal(sense(r), 0);
	/* The monitor takes it away, which opens the tray, and brings another. */
	PACKET(r, 0, 0x1e, 0, 0, 0, 1);
	lock_take(&r->t->lock);
	block_policy(r->cd, &policy);
	assert_true(policy.tray_locked && !policy.tray_open);
	assert_int_equal(block_eject(r->cd, true, NULL), 0);
	block_policy(r->cd, &policy);
	assert_true(!policy.tray_locked && policy.tray_open);
	lock_drop(&r->t->lock);
	PACKET(r, 0, 0x00);
	assert_int_equal(sense(r), 0x062800);
	PACKET(r, 8, 0x25);
	assert_int_equal(sense(r), 0x023a02);
	PACKET(r, 0, 0x1b, 0, 0, 0, 3); /* the guest closes it */
	lock_take(&r->t->lock);
	block_policy(r->cd, &policy);
	assert_false(policy.tray_open);
	assert_int_equal(block_change(r->cd, r->disk_path + 0, "raw", 1, false, &e) == 0 || e, 1);
	lock_drop(&r->t->lock);
	err_free(&e);
}

/* Commands in flight are saved, and run in another machine. */
static void saved(void **state)
{
	struct rig *r = *state, *to = machine();
	struct throttle_cfg slow = {0}, fast = {0};
	struct state_buf b = {0};
	uint32_t left;

	slow.k[THROTTLE_IOPS].avg = 1;
	slow.k[THROTTLE_IOPS].max = 1;
	lock_take(&r->t->lock);
	assert_int_equal(block_set_throttle(r->disk, &slow, NULL), 0);
	lock_drop(&r->t->lock);
	for (unsigned s = 0; s < 8; s++) {
		head(r, 0, s, 1, 0);
		fis(r, s, 0x60, s * 10, 8);
		prd(r, s, 0, DATA + 4096 * s, 4096);
	}
	pw(r, 0, 0x34, 0xff);
	issue(r, 0, 0xff);
	rig_save(r, &b);
	left = pr(r, 0, 0x34); /* all these were in flight */
	assert_int_not_equal(left, 0);
	memcpy(ram(to, 0), ram(r, 0), TEST_RAM);
	memset(ram(to, DATA), 0, 8 * 4096);
	assert_int_equal(rig_load(to, &b), 0);
	for (int i = 0; i < 2000 && pr(to, 0, 0x34); i++)
		run_ms(to->t, 1);
	assert_int_equal(pr(to, 0, 0x34), 0);
	for (unsigned s = 0; s < 8; s++)
		if (left >> s & 1)
			is_pattern(to, DATA + 4096 * s, s * 10 * 512, 4096, 1);
	lock_take(&r->t->lock);
	assert_int_equal(block_set_throttle(r->disk, &fast, NULL), 0);
	lock_drop(&r->t->lock);
	wait_until(!pr(r, 0, 0x34));
	free(b.data);
	rig_close(to);
}

static void damaged(void **state)
{
	struct rig *r = *state;
	struct state_buf b = {0};
	uint64_t seed = 42;

	simple(r, 0, 0x25, 0, 8, DATA, 4096);
	run(r, 0, 1);
	rig_save(r, &b);
	assert_int_equal(rig_load(r, &b), 0);
	for (int i = 0; i < 300; i++) {
		uint8_t *copy = xzalloc(b.len);
		struct state_buf bad = {.data = copy, .len = b.len};

		memcpy(copy, b.data, b.len);
		for (unsigned k = 0; k <= rnd(&seed) % 4; k++)
			copy[rnd(&seed) % b.len] = (uint8_t)rnd(&seed);
		rig_load(r, &bad);
		run_ms(r->t, 0);
		for (unsigned p = 0; p < 6; p++) {
			issue(r, p, (uint32_t)rnd(&seed));
			pw(r, p, 0x18, (uint32_t)rnd(&seed));
		}
		free(copy);
	}
	rig_quiesce(r);
	assert_int_equal(rig_load(r, &b), 0);
	port_start(r, 0);
	port_restart(r, 0);
	simple(r, 0, 0x25, 7, 1, DATA, 512);
	free(b.data);
}

/* Any values in any registers, over memory that holds some sense. */
static void random_driver(void **state)
{
	static const uint8_t cmds[] = {0x25, 0x35, 0x60, 0x61, 0xa0, 0xec, 0xef, 0x06,
				       0x2f, 0xc8, 0xca, 0xe7, 0x20, 0x30, 0xa1, 0xb0};
	struct rig *r = *state;
	uint64_t s = 7;

	for (int i = 0; i < 30000; i++) {
		unsigned p = rnd(&s) % 2, slot = rnd(&s) % 32;

		head(r, p, slot, rnd(&s) % 4, (uint32_t)rnd(&s) & 0x7e0);
		fis(r, slot, cmds[rnd(&s) % 16], rnd(&s) % (DISK_SECTORS + 10), rnd(&s) % 20);
		ram(r, TABLE(slot))[3] = (uint8_t)rnd(&s);
		ram(r, TABLE(slot))[0x40] = (uint8_t)rnd(&s);
		for (unsigned k = 0; k < 4; k++)
			prd(r, slot, k, rnd(&s) % 16 ? DATA + rnd(&s) % 0x80000 : rnd(&s),
			    (uint32_t)rnd(&s) % 9000 + 1);
		if (rnd(&s) % 8)
			pw(r, p, 0x34, (uint32_t)rnd(&s));
		issue(r, p, (uint32_t)rnd(&s) & (uint32_t)rnd(&s));
		if (!(rnd(&s) % 8))
			pw(r, p, (unsigned)rnd(&s) % 16 * 4, (uint32_t)rnd(&s));
		if (!(rnd(&s) % 64))
			hw(r, 4, (uint32_t)rnd(&s) | BIT(31));
		if (!(rnd(&s) % 16)) {
			port_start(r, p);
			port_restart(r, p);
		}
	}
	rig_quiesce(r);
}

static void classes(void **state)
{
	struct rig *r = *state;

	assert_int_equal(rig_device(r, "ide-hd", "bus=ide.2"), -EINVAL);
	assert_int_equal(rig_device(r, "ide-hd", "drive=disk,bus=ide.2"), -EBUSY);
	assert_int_equal(rig_device(r, "ide-hd", "drive=nix,bus=ide.2"), -ENOENT);
	assert_int_equal(rig_device(r, "ide-cd", "bus=ide.0"), -ENOSPC);
	assert_int_equal(rig_device(r, "ide-cd", "bus=ide.2,unit=1"), -EINVAL);
	assert_int_equal(rig_device(r, "ide-cd", "bus=ide.2,logical_block_size=4096"), -EINVAL);
	assert_int_equal(rig_device(r, "ide-cd", "bus=ide.2"), 0);
	assert_int_equal(pr(r, 2, 0x28), 0x133); /* it was plugged in */
	assert_int_equal(rig_device(r, "ahci", "id=more"), 0);
	assert_int_equal(rig_device(r, "ide-cd", "bus=ide.6"), -ENOENT);
	assert_int_equal(rig_device(r, "ide-cd", "bus=more.5,rerror=enospc"), -EINVAL);
	assert_int_equal(rig_device(r, "ide-cd", "bus=more.5,rerror=stop"), 0);
	assert_int_equal(rig_device(r, "ahci", ""), 0);
	assert_int_equal(rig_device(r, "ide-cd", "bus=ide.12"), 0); /* the number counts them all */
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(registers), T(identify),	T(read_write), T(queue),  T(queue_error),
		T(settings),  T(trim),		T(hostile),    T(resets), T(interrupts),
		T(master),    T(cdrom),		T(tray),       T(saved),  T(damaged),
		T(classes),   T(random_driver),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
