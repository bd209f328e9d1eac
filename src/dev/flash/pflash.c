/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CFI flash (JEDEC JESD68.01; Intel StrataFlash 28F640J5 datasheet for the commands).
 *
 * A write is a command, or what a command waits for; a read gives the array, the status,
 *identifiers or the CFI table, as the last command chose.  While it gives the array, the flash is
 *mapped as ROM, so that code runs from it as from RAM and only writes come here; otherwise all
 *accesses do.
 *
 *	ff read array   70 read status   50 clear status   90 identifiers   98 CFI query
 *	10, 40 <byte> program   20 d0 erase block   e8 <n-1> <n bytes> d0 program a buffer
 *	60 01|d0|2f lock, unlock: taken, without effect
 *	status: 7 ready, 5 erase failed, 4 program failed (both: not a command sequence)
 *
 * Status is ready all the time, as nothing takes time, but for one thing: clearing clears that bit,
 *too, until the next operation.  OVMF tells flash from RAM and ROM by a status of 0 after 50
 *and 70.
 *
 * Programming clears bits only.  What changed is a range of bytes; one request at a time writes
 * 64 KiB of it, from a copy, to the drive, and while it does more may gather.
 */
#include "dev/flash/pflash.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "back/block/block.h"
#include "base/err.h"
#include "mem/page.h"

#define CMD_PROGRAM 0x10
#define CMD_PROGRAM_ALT 0x40
#define CMD_ERASE 0x20
#define CMD_CLEAR_STATUS 0x50
#define CMD_LOCK 0x60
#define CMD_READ_STATUS 0x70
#define CMD_READ_ID 0x90
#define CMD_CFI_QUERY 0x98
#define CMD_CONFIRM 0xd0
#define CMD_BUFFER 0xe8
#define CMD_READ_ARRAY 0xff

#define ST_READY 0x80
#define ST_ERASE_FAILED 0x20
#define ST_PROGRAM_FAILED 0x10

#define MAKER_INTEL 0x89
#define DEVICE_28F640 0x18
#define BUFFER_SHIFT 8
#define BUFFER_SIZE (1u << BUFFER_SHIFT)
#define CFI_SIZE 0x40
#define WRITE_UNIT 512u /* of the drive */
#define WRITE_MAX (64 * KiB)

enum step {
	STEP_COMMAND,
	STEP_PROGRAM, /* the byte comes next */
	STEP_ERASE, /* confirmation */
	STEP_LOCK,
	STEP_COUNT, /* number of bytes, less one */
	STEP_DATA,
	STEP_BUFFER_END, /* confirmation */
	STEPS
};

struct pflash {
	struct dev dev;
	uint64_t base, size, ram_off;
	uint8_t *array; /* in guest RAM */
	bool read_only;
	struct io_region io;
	struct mem_map *map;
	bool as_rom; /* how map shows it */

	uint8_t mode; /* what reads give: a CMD_READ_*, CMD_CFI_QUERY */
	uint8_t step, status;
	uint16_t left, filled; /* bytes of the buffer that are still to come; that are there */
	uint32_t buffer_off[BUFFER_SIZE];
	uint8_t buffer[BUFFER_SIZE];
	uint8_t cfi[CFI_SIZE];

	struct block *block;
	struct block_front front;
	uint64_t dirty, dirty_end; /* not on the drive yet; equal: all is */
	bool writing, failed;
	struct block_req req;
	struct iovec iov;
	uint8_t *copy; /* of what is being written: WRITE_MAX */
};

/* show - map the array or the registers, as mode says. */
static void show(struct pflash *p)
{
	struct mem *mem = p->dev.env->mem;
	bool rom = p->mode == CMD_READ_ARRAY && p->step == STEP_COMMAND;

	if (p->map && rom == p->as_rom)
		return;
	mem_begin(mem);
	mem_unmap(mem, p->map);
	p->map = rom ? mem_map_rom(mem, GPA(p->base), p->size, p->ram_off, &p->io, 0)
		     : mem_map_io(mem, GPA(p->base), &p->io, 0);
	p->as_rom = rom;
	mem_commit(mem);
}

static void write_done(struct block_req *r, int rc);

/* write_back - start a request for what is dirty, unless there is one. */
static void write_back(struct pflash *p)
{
	uint64_t len = min_u64(p->dirty_end - p->dirty, WRITE_MAX);

	if (p->writing || !len)
		return;
	memcpy(p->copy, p->array + p->dirty, len);
	p->iov = (struct iovec){.iov_base = p->copy, .iov_len = len};
	p->req = (struct block_req){.op = BLOCK_WRITE,
				    .off = p->dirty,
				    .len = len,
				    .iov = &p->iov,
				    .n_iov = 1,
				    .done = write_done,
				    .opaque = p};
	p->dirty += len;
	if (p->dirty == p->dirty_end)
		p->dirty = p->dirty_end = 0;
	p->writing = true;
	block_submit(p->block, &p->req);
}

static void write_done(struct block_req *r, int rc)
{
	struct pflash *p = r->opaque;

	p->writing = false;
	if (rc && !p->failed)
		log_printf(p->dev.env->log, "%s: what the guest wrote cannot be kept: %s\n",
			   p->dev.id, strerror(-rc));
	p->failed = rc != 0;
	write_back(p);
}

/* stored - bytes of the array changed: code in them is void, and the drive has to get them. */
static void stored(struct pflash *p, uint64_t off, uint64_t len)
{
	uint64_t from = align_down(off, WRITE_UNIT), to = align_up(off + len, WRITE_UNIT);

	mem_written(p->dev.env->mem, p->ram_off + off, len);
	if (p->dirty == p->dirty_end) {
		p->dirty = from;
		p->dirty_end = to;
	} else {
		p->dirty = min_u64(p->dirty, from);
		p->dirty_end = max_u64(p->dirty_end, to);
	}
	write_back(p);
}

static void program(struct pflash *p, uint64_t off, uint64_t val, unsigned size)
{
	p->status |= ST_READY;
	if (p->read_only) {
		p->status |= ST_PROGRAM_FAILED;
		return;
	}
	for (unsigned i = 0; i < size; i++)
		p->array[off + i] &= (uint8_t)(val >> (8 * i));
	stored(p, off, size);
}

static void erase(struct pflash *p, uint64_t off)
{
	off = align_down(off, PFLASH_SECTOR);
	p->status |= ST_READY;
	if (p->read_only) {
		p->status |= ST_ERASE_FAILED;
		return;
	}
	memset(p->array + off, 0xff, PFLASH_SECTOR);
	stored(p, off, PFLASH_SECTOR);
}

static void program_buffer(struct pflash *p)
{
	for (unsigned i = 0; i < p->filled; i++)
		program(p, p->buffer_off[i], p->buffer[i], 1);
}

static void sequence_error(struct pflash *p)
{
	p->status |= ST_READY | ST_ERASE_FAILED | ST_PROGRAM_FAILED;
}

static void command(struct pflash *p, uint8_t cmd)
{
	switch (cmd) {
	case CMD_PROGRAM:
	case CMD_PROGRAM_ALT:
		p->step = STEP_PROGRAM;
		break;
	case CMD_ERASE:
		p->step = STEP_ERASE;
		break;
	case CMD_LOCK:
		p->step = STEP_LOCK;
		break;
	case CMD_BUFFER:
		p->step = STEP_COUNT;
		p->status |= ST_READY;
		break;
	case CMD_CLEAR_STATUS:
		p->status = 0;
		p->mode = CMD_READ_ARRAY;
		return;
	case CMD_READ_STATUS:
	case CMD_READ_ID:
	case CMD_CFI_QUERY:
	case CMD_READ_ARRAY:
		p->mode = cmd;
		return;
	default: /* not a command: the array can be read again */
		LOGF(p->dev.env->log, GUEST_ERRORS, "%s: command %02x\n", p->dev.id, cmd);
		p->mode = CMD_READ_ARRAY;
		return;
	}
	p->mode = CMD_READ_STATUS;
}

static void buffer_data(struct pflash *p, uint64_t off, uint64_t val, unsigned size)
{
	for (unsigned i = 0; i < size && p->left; i++, p->left--) {
		p->buffer_off[p->filled] = (uint32_t)off + i;
		p->buffer[p->filled++] = (uint8_t)(val >> (8 * i));
	}
	if (!p->left)
		p->step = STEP_BUFFER_END;
}

static void flash_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
	struct pflash *p = opaque;
	uint8_t byte = (uint8_t)val;
	enum step step = p->step;

	p->step = STEP_COMMAND;
	switch (step) {
	case STEP_PROGRAM:
		program(p, off, val, size);
		break;
	case STEP_ERASE:
		if (byte == CMD_CONFIRM)
			erase(p, off);
		else
			sequence_error(p);
		break;
	case STEP_LOCK:
		p->status |= ST_READY;
		break;
	case STEP_COUNT:
		p->left = byte + 1;
		p->filled = 0;
		p->step = STEP_DATA;
		break;
	case STEP_DATA:
		p->step = STEP_DATA;
		buffer_data(p, off, val, size);
		break;
	case STEP_BUFFER_END:
		if (byte == CMD_CONFIRM)
			program_buffer(p);
		else
			sequence_error(p);
		break;
	default:
		command(p, byte);
	}
	show(p);
}

static uint8_t read_byte(const struct pflash *p, uint64_t off)
{
	static const uint8_t id[2] = {MAKER_INTEL, DEVICE_28F640};

	switch (p->mode) {
	case CMD_READ_ARRAY:
		return p->array[off];
	case CMD_READ_ID: /* of each block: maker, device, unlocked */
		off &= PFLASH_SECTOR - 1;
		return off < sizeof(id) ? id[off] : 0;
	case CMD_CFI_QUERY:
		return off < CFI_SIZE ? p->cfi[off] : 0;
	default:
		return p->status;
	}
}

static uint64_t flash_read(void *opaque, uint64_t off, unsigned size)
{
	uint64_t val = 0;

	for (unsigned i = 0; i < size; i++)
		val |= (uint64_t)read_byte(opaque, off + i) << (8 * i);
	return val;
}

static const struct io_ops flash_ops = {
	.read = flash_read, .write = flash_write, .min = 1, .max = 8};

static void cfi_fill(struct pflash *p)
{
	static const uint8_t head[] = {'Q', 'R', 'Y', 0x01, 0x00, 0x31, 0x00};
	static const uint8_t times[] = {0x45, 0x55, 0, 0, 7, 7, 10, 0, 4, 4, 4, 0};
	static const uint8_t extended[] = {'P', 'R', 'I', '1', '0'};
	uint8_t *c = p->cfi;

	memcpy(c + 0x10, head, sizeof(head));
	memcpy(c + 0x1b, times, sizeof(times));
	while (BIT(c[0x27]) < p->size)
		c[0x27]++;
	c[0x2a] = BUFFER_SHIFT;
	c[0x2c] = 1; /* kind of block */
	put_le16(c + 0x2d, (uint16_t)(p->size / PFLASH_SECTOR - 1));
	put_le16(c + 0x2f, PFLASH_SECTOR / 256);
	memcpy(c + 0x31, extended, sizeof(extended));
}

/* settle - all that was programmed is on the drive, unless that failed or waits for a person. */
static void settle(struct pflash *p)
{
	for (uint64_t i = 0; i <= PFLASH_MAX / WRITE_MAX && p->writing; i++)
		block_drain(p->block);
}

static void pflash_reset(struct dev *d)
{
	struct pflash *p = container_of(d, struct pflash, dev);

	p->mode = CMD_READ_ARRAY;
	p->step = STEP_COMMAND;
	p->status = ST_READY;
	p->left = p->filled = 0;
	show(p);
}

static void pflash_quiesce(struct dev *d)
{
	settle(container_of(d, struct pflash, dev));
}

static void pflash_unrealize(struct dev *d)
{
	struct pflash *p = container_of(d, struct pflash, dev);

	settle(p);
	p->dirty = p->dirty_end = 0; /* what is left waits behind a request that failed */
	block_detach(p->block);
	mem_unmap(d->env->mem, p->map);
	free(p->copy);
	free(p);
}

static int pflash_post_load(void *obj, struct err **e)
{
	struct pflash *p = obj;

	if (p->step >= STEPS || p->filled > BUFFER_SIZE || p->left > BUFFER_SIZE - p->filled)
		return err_set(e, EINVAL, "%s: impossible state", p->dev.id);
	for (unsigned i = 0; i < p->filled; i++)
		if (p->buffer_off[i] >= p->size)
			return err_set(e, EINVAL, "%s: buffered bytes past its end", p->dev.id);
	show(p);
	return 0;
}

static const struct state_field pflash_fields[] = {
	STATE_FIELD(struct pflash, mode, STATE_U8),
	STATE_FIELD(struct pflash, step, STATE_U8),
	STATE_FIELD(struct pflash, status, STATE_U8),
	STATE_FIELD(struct pflash, left, STATE_U16),
	STATE_FIELD(struct pflash, filled, STATE_U16),
	STATE_ARRAY(struct pflash, buffer_off, STATE_U32),
	STATE_BLOB(struct pflash, buffer),
	STATE_END,
};

static const struct state_desc pflash_state = {
	.name = "cfi.pflash01",
	.version = 1,
	.fields = pflash_fields,
	.post_load = pflash_post_load,
};

static const struct dev_ops pflash_dev_ops = {
	.name = "cfi.pflash01",
	.unrealize = pflash_unrealize,
	.reset = pflash_reset,
	.quiesce = pflash_quiesce,
	.state = &pflash_state,
};

uint64_t pflash_size(const struct block *b, struct err **e)
{
	struct block_info info;

	block_info(b, &info);
	if (info.has_medium && info.size && !(info.size % PFLASH_SECTOR) && info.size <= PFLASH_MAX)
		return info.size;
	err_set(e, EINVAL, "flash '%s' has %llu bytes, not a multiple of 4 KiB up to 8 MiB",
		block_id(b), (unsigned long long)info.size);
	return 0;
}

/* attach - and read the contents. */
static int attach(struct pflash *p, struct err **e)
{
	struct block_info info;
	int r;

	block_info(p->block, &info);
	p->read_only = info.read_only;
	p->front = (struct block_front){.lock = p->dev.env->lock, .opaque = p, .name = p->dev.id};
	r = block_attach(p->block, &p->front, !p->read_only, e);
	if (r)
		return r;
	r = block_pread(p->block, 0, p->array, p->size);
	if (!r)
		return 0;
	block_detach(p->block);
	return err_set(e, -r, "flash '%s' cannot be read: %s", block_id(p->block), strerror(-r));
}

int pflash_create(struct dev_env *env, uint64_t base, struct block *b, const char *name,
		  uint64_t *ram_off, struct err **e)
{
	uint64_t size = pflash_size(b, e);
	struct pflash *p;
	int r;

	if (!size)
		return -EINVAL;
	p = xzalloc(sizeof(*p));
	p->dev.env = env;
	p->dev.id = name;
	p->block = b;
	p->base = base;
	p->size = size;
	p->ram_off = *ram_off = mem_ram_alloc(env->mem, size);
	p->array = mem_ram_base(env->mem) + p->ram_off;
	r = attach(p, e);
	if (r) {
		free(p);
		return r;
	}
	p->copy = xzalloc(WRITE_MAX);
	p->io = (struct io_region){
		.name = name, .ops = &flash_ops, .opaque = p, .lock = env->lock, .size = size};
	cfi_fill(p);
	dev_add(&p->dev, &pflash_dev_ops, name, env);
	pflash_reset(&p->dev);
	return 0;
}
