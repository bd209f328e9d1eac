/* SPDX-License-Identifier: Apache-2.0 */
/* PIIX3 IDE by its registers: PIO, bus master DMA, packets, and what a driver must not do. */
#include "ata_rig.h"

#define IDE PCI_DEVFN(1, 1)
#define BM 0xc000u
#define PRDS 0x20000u
#define DATA 0x100000u

static struct rig *machine(void)
{
	struct rig *r = rig_open(false);

	assert_int_equal(rig_device(r, "ide-hd", "drive=disk,bus=ide.0,unit=0"), 0);
	assert_int_equal(rig_device(r, "ide-cd", "drive=cd,bus=ide.1,unit=0"), 0);
	cfg_put(r, IDE, 0x20, BM, 4);
	cfg_put(r, IDE, PCI_COMMAND, 5, 2);
	/* PICs that let IRQ 14 and 15 through. */
	for (unsigned i = 0; i < 2; i++) {
		uint16_t pic = i ? 0xa0 : 0x20;

		outb(r->t, pic, 0x11);
		outb(r->t, pic + 1, (uint8_t)(i ? 0x28 : 0x20));
		outb(r->t, pic + 1, (uint8_t)(i ? 2 : 4));
		outb(r->t, pic + 1, 1);
		outb(r->t, pic + 1, 0);
		outb(r->t, pic, 0x0a);
	}
	outb(r->t, 0x4d1, 0xc0); /* requests follow the wires */
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

static const uint16_t base[2] = {0x1f0, 0x170};

static bool irq(struct rig *r, unsigned ch)
{
	return inb(r->t, 0xa0) >> (6 + ch) & 1;
}

static void idle(struct rig *r, unsigned ch)
{
	wait_until(!(inb(r->t, base[ch] + 0x206) & 0x80));
}

static uint8_t st(struct rig *r, unsigned ch)
{
	idle(r, ch);
	return inb(r->t, base[ch] + 7);
}

static void cmd28(struct rig *r, uint8_t cmd, uint32_t lba, uint8_t n)
{
	outb(r->t, 0x1f6, (uint8_t)(0xe0 | lba >> 24));
	outb(r->t, 0x1f2, n);
	outb(r->t, 0x1f3, (uint8_t)lba);
	outb(r->t, 0x1f4, (uint8_t)(lba >> 8));
	outb(r->t, 0x1f5, (uint8_t)(lba >> 16));
	outb(r->t, 0x1f7, cmd);
}

static void cmd48(struct rig *r, uint8_t cmd, uint64_t lba, uint16_t n)
{
	outb(r->t, 0x1f2, (uint8_t)(n >> 8));
	outb(r->t, 0x1f3, (uint8_t)(lba >> 24));
	outb(r->t, 0x1f4, (uint8_t)(lba >> 32));
	outb(r->t, 0x1f5, (uint8_t)(lba >> 40));
	cmd28(r, cmd, (uint32_t)(lba & 0xffffff), (uint8_t)n);
}

/* in - n bytes from the data port, as words. */
static void in(struct rig *r, unsigned ch, uint8_t *p, unsigned n)
{
	for (unsigned i = 0; i < n; i += 2)
		put_le16(p + i, inw(r->t, base[ch]));
}

static void out(struct rig *r, unsigned ch, const uint8_t *p, unsigned n)
{
	for (unsigned i = 0; i < n; i += 2)
		outw(r->t, base[ch], get_le16(p + i));
}

static void registers(void **state)
{
	struct rig *r = *state;

	/* Signatures. */
	assert_int_equal(inb(r->t, 0x1f7), 0x50);
	assert_int_equal(inb(r->t, 0x1f2), 1);
	assert_int_equal(inb(r->t, 0x1f4), 0);
	assert_int_equal(inb(r->t, 0x174), 0x14);
	assert_int_equal(inb(r->t, 0x175), 0xeb);
	/* The slave is not there. */
	outb(r->t, 0x1f6, 0xb0);
	assert_int_equal(inb(r->t, 0x1f7), 0);
	outb(r->t, 0x1f7, 0xec);
	assert_int_equal(inb(r->t, 0x1f7), 0);
	outb(r->t, 0x1f6, 0xa0);
	/* Registers keep what is written, and what was before. */
	outb(r->t, 0x1f3, 0x12);
	outb(r->t, 0x1f3, 0x34);
	assert_int_equal(inb(r->t, 0x1f3), 0x34);
	outb(r->t, 0x3f6, 0x80);
	assert_int_equal(inb(r->t, 0x1f3), 0x12);
	outb(r->t, 0x3f6, 0);
	/* Decode. */
	cfg_put(r, IDE, 0x40, 0, 2);
	assert_int_equal(inb(r->t, 0x1f7), 0xff);
	assert_int_equal(inb(r->t, 0x174), 0x14);
	cfg_put(r, IDE, 0x40, 0x8000, 2);
	assert_int_equal(inb(r->t, 0x1f7), 0x50);
}

static void pio(void **state)
{
	struct rig *r = *state;
	uint8_t *p = ram(r, DATA);

	cmd28(r, 0xec, 0, 0);
	assert_int_equal(st(r, 0), 0x58);
	in(r, 0, p, 512);
	assert_int_equal(st(r, 0), 0x50);
	assert_memory_equal(p + 54, "EQUMH RADDSI K", 14);
	assert_int_equal(inw(r->t, 0x1f0), 0); /* nothing left */
	/* Interrupts: one for each sector, none at the end. */
	cmd28(r, 0x20, 10, 3);
	for (unsigned i = 0; i < 3; i++) {
		wait_until(irq(r, 0));
		assert_int_equal(inb(r->t, 0x1f7), 0x58);
		assert_false(irq(r, 0));
		in(r, 0, p + 512 * i, 512);
	}
	assert_int_equal(inb(r->t, 0x3f6), 0x50);
	assert_false(irq(r, 0));
	is_pattern(r, DATA, 10 * 512, 3 * 512, 1);
	/* More than the buffer, 32 bits at a time, 48-bit address. */
	cmd48(r, 0x24, 50, 300);
	for (unsigned i = 0; i < 300; i++) {
		assert_int_equal(st(r, 0), 0x58);
		for (unsigned k = 0; k < 128; k++)
			put_le32(p + 512 * i + 4 * k, inl(r->t, 0x1f0));
	}
	is_pattern(r, DATA, 50 * 512, 300 * 512, 1);
	/* Multiple: 16 sectors a block, the last shorter. */
	cmd28(r, 0xc6, 0, 16);
	assert_int_equal(st(r, 0), 0x50);
	cmd28(r, 0xc4, 5, 40);
	for (unsigned at = 0; at < 40 * 512;) {
		unsigned n = at < 32 * 512 ? 8192 : 4096;

		wait_until(irq(r, 0));
		assert_int_equal(st(r, 0), 0x58);
		in(r, 0, p + at, n);
		at += n;
	}
	is_pattern(r, DATA, 5 * 512, 40 * 512, 1);
	assert_int_equal(st(r, 0), 0x50);
	/* Write: no interrupt before the first block, one after each. */
	fill(r, DATA, 200 * 512, 9);
	cmd28(r, 0x30, 1000, 200);
	assert_false(irq(r, 0));
	for (unsigned i = 0; i < 200; i++) {
		assert_int_equal(st(r, 0), 0x58);
		out(r, 0, p + 512 * i, 512);
		wait_until(irq(r, 0));
	}
	assert_int_equal(st(r, 0), 0x50);
	file_is(r, 1000 * 512, 200 * 512, 9);
	/* By cylinder, head, sector: 1/2/3 is (16 + 2) * 63 + 2. */
	outb(r->t, 0x1f6, 0xa2);
	outb(r->t, 0x1f2, 1);
	outb(r->t, 0x1f3, 3);
	outb(r->t, 0x1f4, 1);
	outb(r->t, 0x1f5, 0);
	outb(r->t, 0x1f7, 0x20);
	assert_int_equal(st(r, 0), 0x58);
	in(r, 0, p, 512);
	assert_int_equal(get_le32(p),
			 (uint32_t)pattern((18 * 63 + 2) * 512 - 1000 * 512, 9) |
				 (uint32_t)pattern((18 * 63 + 2) * 512 - 1000 * 512 + 1, 9) << 8 |
				 (uint32_t)pattern((18 * 63 + 2) * 512 - 1000 * 512 + 2, 9) << 16 |
				 (uint32_t)pattern((18 * 63 + 2) * 512 - 1000 * 512 + 3, 9) << 24);
	outb(r->t, 0x1f3, 0); /* there is no sector 0 */
	outb(r->t, 0x1f7, 0x20);
	assert_int_equal(st(r, 0), 0x51);
	assert_int_equal(inb(r->t, 0x1f1), 0x10);
	cmd28(r, 0x20, DISK_SECTORS, 1);
	assert_int_equal(st(r, 0), 0x51);
}

static void table(struct rig *r, unsigned i, uint32_t addr, uint32_t n, bool last)
{
	put_le32(ram(r, PRDS + 8 * i), addr);
	put_le32(ram(r, PRDS + 8 * i + 4), (n & 0xffff) | (last ? 0x80000000u : 0));
}

static void bm_start(struct rig *r, unsigned ch, uint32_t at, uint8_t dir)
{
	outb(r->t, (uint16_t)(BM + 8 * ch), dir);
	outb(r->t, (uint16_t)(BM + 8 * ch + 2), 6);
	outl(r->t, (uint16_t)(BM + 8 * ch + 4), at);
	outb(r->t, (uint16_t)(BM + 8 * ch), dir | 1);
}

static void bm_end(struct rig *r)
{
	wait_until(inb(r->t, BM + 2) & 4);
	outb(r->t, BM, 0);
	outb(r->t, BM + 2, 6);
}

static void dma(void **state)
{
	struct rig *r = *state;

	table(r, 0, DATA, 1000, false);
	table(r, 1, DATA + 0x1000, 24, false);
	table(r, 2, DATA + 0x2000, 0, true); /* 64 KiB */
	cmd28(r, 0xc8, 20, 100);
	assert_int_equal(inb(r->t, 0x3f6) & 0x08, 8);
	assert_int_equal(inb(r->t, BM + 2) & 1, 0);
	bm_start(r, 0, PRDS, 8);
	bm_end(r);
	assert_int_equal(st(r, 0), 0x50);
	is_pattern(r, DATA, 20 * 512, 1000, 1);
	is_pattern(r, DATA + 0x1000, 20 * 512 + 1000, 24, 1);
	is_pattern(r, DATA + 0x2000, 22 * 512, 98 * 512, 1);
	/* The engine is started first. */
	fill(r, DATA, 65536, 5);
	table(r, 0, DATA, 0, true);
	bm_start(r, 0, PRDS, 0);
	cmd48(r, 0x35, 2000, 128);
	bm_end(r);
	assert_int_equal(st(r, 0), 0x50);
	file_is(r, 2000 * 512, 65536, 5);
	/* A table that is too short: the drive waits; another goes on. */
	table(r, 0, DATA, 1024, true);
	cmd28(r, 0xc8, 30, 8);
	bm_start(r, 0, PRDS, 8);
	wait_until(!(inb(r->t, BM + 2) & 1));
	assert_int_equal(inb(r->t, BM + 2) & 6, 0);
	assert_int_equal(inb(r->t, 0x3f6), 0x58);
	outb(r->t, BM, 0);
	table(r, 0, DATA + 1024, 3072, true);
	bm_start(r, 0, PRDS, 8);
	bm_end(r);
	is_pattern(r, DATA, 30 * 512, 4096, 1);
	/* A table at the end of 64 KiB goes on at its begin. */
	put_le32(ram(r, 0x2fff8), DATA);
	put_le32(ram(r, 0x2fffc), 512);
	table(r, 0, DATA + 512, 512, true);
	cmd28(r, 0xc8, 40, 2);
	bm_start(r, 0, 0x2fff8, 8);
	bm_end(r);
	is_pattern(r, DATA, 40 * 512, 1024, 1);
	/* SET FEATURES, then what IDENTIFY says. */
	outb(r->t, 0x1f1, 3);
	cmd28(r, 0xef, 0, 0x22);
	assert_int_equal(st(r, 0), 0x50);
	cmd28(r, 0xec, 0, 0);
	assert_int_equal(st(r, 0), 0x58);
	in(r, 0, ram(r, DATA), 512);
	assert_int_equal(get_le16(ram(r, DATA + 126)), 0x0407);
}

static void hostile(void **state)
{
	struct rig *r = *state;

	/* Data to nowhere, a table that is nowhere. */
	table(r, 0, 0x80000000, 4096, true);
	cmd28(r, 0xc8, 0, 8);
	bm_start(r, 0, PRDS, 8);
	bm_end(r);
	assert_int_equal(st(r, 0), 0x51);
	cmd28(r, 0xc8, 0, 8);
	outb(r->t, BM, 8);
	outl(r->t, BM + 4, 0xa0000);
	outb(r->t, BM, 9);
	wait_until(inb(r->t, BM + 2) & 4);
	assert_int_equal(inb(r->t, BM + 2) & 3, 2);
	outb(r->t, BM, 0);
	outb(r->t, BM + 2, 6);
	assert_int_equal(st(r, 0), 0x51);
	/* 8192 crumbs in a loop of the table. */
	for (unsigned i = 0; i < 8192; i++)
		table(r, i, DATA + 2 * i, 2, false);
	cmd28(r, 0xc8, 0, 100);
	bm_start(r, 0, PRDS, 8);
	wait_until(!(inb(r->t, BM + 2) & 1));
	assert_int_equal(inb(r->t, 0x3f6), 0x58); /* 16 KiB, and it waits */
	is_pattern(r, DATA, 0, 16384, 1);
	outb(r->t, BM, 0);
	/* A new command while the drive waits; then in the middle of a block. */
	cmd28(r, 0x20, 3, 2);
	assert_int_equal(st(r, 0), 0x58);
	inw(r->t, 0x1f0);
	cmd28(r, 0x20, 4, 1);
	assert_int_equal(st(r, 0), 0x58);
	in(r, 0, ram(r, DATA), 512);
	is_pattern(r, DATA, 4 * 512, 512, 1);
	/* Writing where it reads, reading where it writes. */
	cmd28(r, 0x20, 4, 1);
	assert_int_equal(st(r, 0), 0x58);
	outw(r->t, 0x1f0, 0);
	in(r, 0, ram(r, DATA), 512);
	is_pattern(r, DATA, 4 * 512, 512, 1);
	cmd28(r, 0x30, 4, 1);
	assert_int_equal(inw(r->t, 0x1f0), 0);
	/* Soft reset in the middle. */
	outb(r->t, 0x3f6, 4);
	assert_int_equal(inb(r->t, 0x3f6), 0x80);
	outb(r->t, 0x3f6, 0);
	assert_int_equal(inb(r->t, 0x1f7), 0x50);
	assert_int_equal(inb(r->t, 0x1f1), 1);
	/* And of DMA; the engine stopped under it. */
	for (int i = 0; i < 50; i++) {
		table(r, 0, DATA, 0, true);
		cmd28(r, 0xc8, (uint32_t)i, 128);
		bm_start(r, 0, PRDS, 8);
		if (i & 1)
			outb(r->t, BM, 0);
		else
			outb(r->t, 0x3f6, 4);
		outb(r->t, 0x3f6, 0);
		outb(r->t, BM, 0);
		outb(r->t, BM + 2, 6);
	}
	cmd28(r, 0x60, 0, 1); /* queued commands are not for these */
	assert_int_equal(st(r, 0) & 1, 1);
	/* nIEN hides the interrupt. */
	outb(r->t, 0x3f6, 2);
	cmd28(r, 0xe7, 0, 0);
	idle(r, 0);
	assert_false(irq(r, 0));
	outb(r->t, 0x3f6, 0);
	assert_true(irq(r, 0));
	assert_int_equal(st(r, 0), 0x50);
	assert_false(irq(r, 0));
}

/* A packet by PIO with a byte count limit; returns the bytes that came. */
static unsigned packet(struct rig *r, const uint8_t *cdb, unsigned n, unsigned limit)
{
	uint8_t full[12] = {0}, *p = ram(r, DATA);
	unsigned got = 0;

	memcpy(full, cdb, n);
	outb(r->t, 0x171, 0);
	outb(r->t, 0x174, (uint8_t)limit);
	outb(r->t, 0x175, (uint8_t)(limit >> 8));
	outb(r->t, 0x176, 0xa0);
	outb(r->t, 0x177, 0xa0);
	assert_int_equal(st(r, 1), 0x58);
	assert_int_equal(inb(r->t, 0x172), 1);
	out(r, 1, full, 12);
	for (;;) {
		unsigned now;
		uint8_t s;

		wait_until(irq(r, 1));
		s = st(r, 1);
		if (!(s & 8)) {
			assert_int_equal(inb(r->t, 0x172), 3);
			return s & 1 ? ~0u : got;
		}
		assert_int_equal(inb(r->t, 0x172), 2);
		now = inb(r->t, 0x174) | inb(r->t, 0x175) << 8;
		assert_in_range(now, 1, limit);
		in(r, 1, p + got, now);
		got += now;
	}
}

#define PACKET(r, limit, ...) \
	packet(r, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}), limit)

static void cdrom(void **state)
{
	struct rig *r = *state;

	assert_int_equal(PACKET(r, 100, 0x00), ~0u); /* reset: told once */
	assert_int_equal(inb(r->t, 0x171) >> 4, 6);
	assert_int_equal(PACKET(r, 100, 0x03, 0, 0, 0, 18), 18);
	assert_int_equal(ram(r, DATA)[12], 0x29);
	assert_int_equal(PACKET(r, 100, 0x00), 0);
	assert_int_equal(PACKET(r, 10, 0x12, 0, 0, 0, 36), 36);
	assert_memory_equal(ram(r, DATA + 8), "QEMU", 4);
	assert_int_equal(PACKET(r, 2048, 0x28, 0, 0, 0, 0, 5, 0, 0, 50), 50 * 2048);
	is_pattern(r, DATA, 5 * 2048, 50 * 2048, 2);
	assert_int_equal(PACKET(r, 0xfffe, 0x28, 0, 0, 0, 0, 5, 0, 0, 50), 50 * 2048);
	is_pattern(r, DATA, 5 * 2048, 50 * 2048, 2);
	assert_int_equal(PACKET(r, 3000, 0xbe, 0, 0, 0, 0, 0, 0, 0, 40, 0xf8), 40 * 2352);
	is_pattern(r, DATA + 39 * 2352 + 16, 39 * 2048, 2048, 2);
	/* By DMA. */
	for (unsigned i = 0; i < 4; i++)
		table(r, i, DATA + 0x10000 * i, 0, i == 3);
	outb(r->t, 0x171, 1);
	outb(r->t, 0x177, 0xa0);
	assert_int_equal(st(r, 1), 0x58);
	out(r, 1, (const uint8_t[]){0x28, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0, 0}, 12);
	bm_start(r, 1, PRDS, 8);
	wait_until(inb(r->t, BM + 10) & 4);
	outb(r->t, BM + 8, 0);
	outb(r->t, BM + 10, 6);
	assert_int_equal(st(r, 1), 0x50);
	is_pattern(r, DATA, 0, 64 * 2048, 2);
	/* DEVICE RESET in the middle of a packet. */
	outb(r->t, 0x177, 0xa0);
	outb(r->t, 0x177, 0x08);
	assert_int_equal(inb(r->t, 0x174), 0x14);
	assert_int_equal(inb(r->t, 0x177), 0);
}

/* Saved in the middle of a block, and with a write in the block layer. */
static void saved(void **state)
{
	struct rig *r = *state, *to = machine();
	struct throttle_cfg slow = {0}, fast = {0};
	struct state_buf b = {0};

	cmd28(r, 0x20, 77, 4);
	assert_int_equal(st(r, 0), 0x58);
	in(r, 0, ram(r, DATA), 700);
	rig_save(r, &b);
	memcpy(ram(to, 0), ram(r, 0), TEST_RAM);
	assert_int_equal(rig_load(to, &b), 0);
	for (unsigned at = 700; at < 2048; at += 2) {
		if (!(at % 512))
			assert_int_equal(st(to, 0), 0x58);
		put_le16(ram(to, DATA + at), inw(to->t, 0x1f0));
	}
	is_pattern(to, DATA, 77 * 512, 2048, 1);
	free(b.data);
	b = (struct state_buf){0};
	outb(r->t, 0x3f6, 4);
	outb(r->t, 0x3f6, 0);
	slow.k[THROTTLE_IOPS].avg = slow.k[THROTTLE_IOPS].max = 1;
	lock_take(&r->t->lock);
	assert_int_equal(block_set_throttle(r->disk, &slow, NULL), 0);
	lock_drop(&r->t->lock);
	fill(r, DATA, 65536, 3);
	table(r, 0, DATA, 0, true);
	for (int i = 0; i < 20; i++) { /* until one waits */
		cmd28(r, 0xca, 0, 128);
		bm_start(r, 0, PRDS, 0);
		usleep(20000);
		if (inb(r->t, 0x3f6) & 0x80)
			break;
		bm_end(r);
	}
	rig_save(r, &b);
	memcpy(ram(to, 0), ram(r, 0), TEST_RAM);
	assert_int_equal(rig_load(to, &b), 0);
	assert_int_equal(inb(to->t, 0x3f6) & 0x80, 0x80);
	for (int i = 0; i < 2000 && inb(to->t, 0x3f6) & 0x80; i++)
		run_ms(to->t, 1);
	assert_int_equal(inb(to->t, 0x3f6), 0x50);
	assert_int_equal(inb(to->t, BM + 2) & 7, 4);
	file_is(to, 0, 65536, 3);
	lock_take(&r->t->lock);
	assert_int_equal(block_set_throttle(r->disk, &fast, NULL), 0);
	lock_drop(&r->t->lock);
	idle(r, 0);
	free(b.data);
	rig_close(to);
}

static void damaged(void **state)
{
	struct rig *r = *state;
	struct state_buf b = {0};
	uint64_t seed = 43;

	cmd28(r, 0x20, 77, 4);
	assert_int_equal(st(r, 0), 0x58);
	in(r, 0, ram(r, DATA), 700);
	rig_save(r, &b);
	for (int i = 0; i < 400; i++) {
		struct state_buf bad = {.data = xzalloc(b.len), .len = b.len};

		memcpy(bad.data, b.data, b.len);
		/* Damage near the numbers, not in the buffers. */
		for (unsigned k = 0; k < 3; k++) {
			size_t at = rnd(&seed) % b.len;

			bad.data[at] = (uint8_t)rnd(&seed);
		}
		for (size_t at = 0; at + 8 < b.len && !(i & 1); at++)
			if (!memcmp(bad.data + at, "drq_size", 8))
				for (unsigned k = 0; k < 4; k++)
					bad.data[at - 30 + rnd(&seed) % 50] = (uint8_t)rnd(&seed);
		rig_load(r, &bad);
		run_ms(r->t, 0);
		for (unsigned k = 0; k < 600; k++)
			if (rnd(&seed) & 1)
				inl(r->t, 0x1f0);
			else
				outl(r->t, 0x1f0, 0);
		free(bad.data);
		rig_quiesce(r);
	}
	free(b.data);
}

static void random_driver(void **state)
{
	static const uint8_t cmds[] = {0x20, 0x30, 0x24, 0x34, 0xc4, 0xc5, 0xc8, 0xca, 0x25,
				       0x35, 0xa0, 0xec, 0xef, 0x06, 0x90, 0x08, 0x91, 0xe0};
	struct rig *r = *state;
	uint64_t s = 9;

	for (unsigned i = 0; i < 64; i++)
		table(r, i, (uint32_t)(rnd(&s) % 8 ? DATA + rnd(&s) % 0x80000 : rnd(&s)),
		      (uint32_t)rnd(&s) % 5000, i % 16 == 15);
	for (int i = 0; i < 100000; i++) {
		uint16_t port = (uint16_t)(base[rnd(&s) & 1] + rnd(&s) % 8);

		switch (rnd(&s) % 8) {
		case 0:
			outb(r->t, (port & ~7) | 7, cmds[rnd(&s) % sizeof(cmds)]);
			break;
		case 1:
		case 2:
			outb(r->t, (port & ~7) + 1 + rnd(&s) % 6, (uint8_t)rnd(&s));
			break;
		case 3:
			pio_read(r->t->env.mem, port, 1u << rnd(&s) % 3);
			break;
		case 4:
			for (unsigned k = 0; k < 128; k++)
				inl(r->t, port & ~7);
			break;
		case 5:
			for (unsigned k = 0; k < 128; k++)
				outl(r->t, port & ~7, (uint32_t)rnd(&s));
			break;
		case 6:
			outl(r->t, BM + 4 + 8 * (rnd(&s) & 1), PRDS + 128 * (rnd(&s) % 4));
			outb(r->t, BM + 8 * (rnd(&s) & 1), (uint8_t)rnd(&s));
			break;
		case 7:
			if (!(rnd(&s) % 8))
				outb(r->t, rnd(&s) & 1 ? 0x3f6 : 0x376, (uint8_t)rnd(&s) & 0x86);
			break;
		}
	}
	rig_quiesce(r);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(registers), T(pio),	T(dma),	    T(hostile),
		T(cdrom),     T(saved), T(damaged), T(random_driver),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
