/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fw_cfg (QEMU docs/specs/fw_cfg.rst, the interface that SeaBIOS and OVMF know).
 *
 *   0x510  selector, 16 bits: chooses an item and goes to its start
 *   0x511  data, bytes: the next byte of the item; past its end zeros
 *   0x514  DMA address, big-endian, high half then low half; writing the low half starts. Reads
 *          "QEMU CFG"
 *
 * A DMA request in guest memory is, big-endian: u32 control, u32 length, u64 address.
 * Control: 0 error, 1 read, 2 skip, 3 select (key in 31:16), 4 write.  It is read once, done,
 * and its control word becomes 0 or error. Addresses that are no RAM end it with error; items
 * cannot be written.
 */
#include "dev/fwcfg.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

#define ID_TRADITIONAL BIT(0)
#define ID_DMA BIT(1)
#define KEY_FILE_FIRST 0x20
#define KEY_NONE 0xffff
#define NAME_SIZE 56

#define DMA_ERROR BIT(0)
#define DMA_READ BIT(1)
#define DMA_SKIP BIT(2)
#define DMA_SELECT BIT(3)
#define DMA_WRITE BIT(4)

struct item {
	uint16_t key;
	uint32_t len;
	uint8_t *data;
	char *name; /* of a file, else NULL */
	void (*refresh)(void *opaque); /* NULL: it is as it is */
	void *opaque;
};

struct fwcfg {
	struct dev dev;
	struct item *items;
	size_t n_items;
	uint16_t key;
	uint32_t offset;
	uint64_t dma_addr;
	struct io_region io, dma_io;
	struct mem_map *map, *dma_map;
};

static struct item *find_key(const struct fwcfg *f, uint16_t key)
{
	for (size_t i = 0; i < f->n_items; i++)
		if (f->items[i].key == key)
			return &f->items[i];
	return NULL;
}

static struct item *item_new(struct fwcfg *f)
{
	f->items = xrealloc(f->items, (f->n_items + 1) * sizeof(*f->items));
	f->items[f->n_items] = (struct item){ .key = KEY_NONE };
	return &f->items[f->n_items++];
}

static void item_set(struct item *it, const void *data, uint32_t len)
{
	uint8_t *copy = xzalloc(len ? len : 1);

	if (len)
		memcpy(copy, data, len);
	free(it->data);
	it->data = copy;
	it->len = len;
}

void fwcfg_add_key(struct fwcfg *f, uint16_t key, const void *data, uint32_t len)
{
	struct item *it = find_key(f, key);

	bug_on(key >= KEY_FILE_FIRST && !(key & 0x8000));
	if (!it)
		it = item_new(f);
	it->key = key;
	item_set(it, data, len);
}

void fwcfg_add_u16(struct fwcfg *f, uint16_t key, uint16_t v)
{
	fwcfg_add_key(f, key, &v, sizeof(v));
}

void fwcfg_add_u32(struct fwcfg *f, uint16_t key, uint32_t v)
{
	fwcfg_add_key(f, key, &v, sizeof(v));
}

void fwcfg_add_u64(struct fwcfg *f, uint16_t key, uint64_t v)
{
	fwcfg_add_key(f, key, &v, sizeof(v));
}

static int by_name(const void *a, const void *b)
{
	return strcmp((*(struct item *const *)a)->name, (*(struct item *const *)b)->name);
}

/* make_directory - number the files in the order of their names and write the directory item:
 * u32 count, then u32 size, u16 key, u16 0, name[56] each; big-endian. */
static void make_directory(struct fwcfg *f)
{
	struct item **files = xcalloc(f->n_items, sizeof(*files));
	uint32_t n = 0, be32;
	uint8_t *dir;

	for (size_t i = 0; i < f->n_items; i++)
		if (f->items[i].name)
			files[n++] = &f->items[i];
	qsort(files, n, sizeof(*files), by_name);
	dir = xzalloc(4 + (size_t)n * (8 + NAME_SIZE));
	be32 = __builtin_bswap32(n);
	memcpy(dir, &be32, 4);
	for (uint32_t i = 0; i < n; i++) {
		uint8_t *e = dir + 4 + (size_t)i * (8 + NAME_SIZE);

		files[i]->key = (uint16_t)(KEY_FILE_FIRST + i);
		put_le32(e, __builtin_bswap32(files[i]->len));
		put_le16(e + 4, __builtin_bswap16(files[i]->key));
		memcpy(e + 8, files[i]->name, strlen(files[i]->name));
	}
	fwcfg_add_key(f, FW_CFG_FILE_DIR, dir, 4 + n * (8 + NAME_SIZE));
	free(dir);
	free(files);
}

static struct item *find_file(const struct fwcfg *f, const char *name)
{
	for (size_t i = 0; i < f->n_items; i++)
		if (f->items[i].name && !strcmp(f->items[i].name, name))
			return &f->items[i];
	return NULL;
}

void fwcfg_add_file(struct fwcfg *f, const char *name, const void *data, uint32_t len)
{
	struct item *it = find_file(f, name);

	bug_on(strlen(name) >= NAME_SIZE);
	if (!it) {
		it = item_new(f);
		it->name = xstrdup(name);
	}
	item_set(it, data, len);
	make_directory(f);
}

void fwcfg_on_select(struct fwcfg *f, const char *name, void (*refresh)(void *opaque), void *opaque)
{
	struct item *it = find_file(f, name);

	bug_on(!it);
	it->refresh = refresh;
	it->opaque = opaque;
}

static void select_key(struct fwcfg *f, uint16_t key)
{
	const struct item *it = find_key(f, key);

	if (it && it->refresh)
		it->refresh(it->opaque);
	f->key = key;
	f->offset = 0;
}

/* next_bytes - copy the next n bytes of the item, zeros past its end, and go on. */
static void next_bytes(struct fwcfg *f, uint8_t *buf, uint32_t n)
{
	const struct item *it = find_key(f, f->key);
	uint32_t have = it && f->offset < it->len ? it->len - f->offset : 0;

	have = have < n ? have : n;
	if (have)
		memcpy(buf, it->data + f->offset, have);
	memset(buf + have, 0, n - have);
	f->offset = n > UINT32_MAX - f->offset ? UINT32_MAX : f->offset + n;
}

static bool dma_read(struct fwcfg *f, uint64_t addr, uint32_t len)
{
	uint8_t buf[4096];

	if (addr + len < addr)
		return false;
	while (len) {
		uint32_t n = len < sizeof(buf) ? len : (uint32_t)sizeof(buf);

		next_bytes(f, buf, n);
		if (mem_dma_write(f->dev.env->mem, GPA(addr), buf, n))
			return false;
		addr += n;
		len -= n;
	}
	return true;
}

static bool dma_do(struct fwcfg *f, uint32_t control, uint32_t len, uint64_t addr)
{
	if (control & DMA_SELECT)
		select_key(f, (uint16_t)(control >> 16));
	if (control & DMA_READ)
		return dma_read(f, addr, len);
	if (control & DMA_WRITE)
		return false;
	if (control & DMA_SKIP)
		f->offset = len > UINT32_MAX - f->offset ? UINT32_MAX : f->offset + len;
	return true;
}

static void dma_start(struct fwcfg *f)
{
	uint64_t at = f->dma_addr;
	uint8_t req[16];
	uint32_t result;

	f->dma_addr = 0;
	if (mem_dma_read(f->dev.env->mem, GPA(at), req, sizeof(req))) {
		LOGF(f->dev.env->log, GUEST_ERRORS, "fw_cfg: DMA request is not in RAM\n");
		return;
	}
	result = dma_do(f, __builtin_bswap32(get_le32(req)), __builtin_bswap32(get_le32(req + 4)),
			__builtin_bswap64(get_le64(req + 8))) ? 0 : (uint32_t)DMA_ERROR;
	result = __builtin_bswap32(result);
	(void)mem_dma_write(f->dev.env->mem, GPA(at), &result, sizeof(result));
}

static uint64_t fwcfg_read(void *opaque, uint64_t off, unsigned size)
{
	uint8_t byte = 0xff;

	if (off == 1)
		next_bytes(opaque, &byte, 1);
	return byte;
}

static void fwcfg_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
	if (off == 0 && size == 2)
		select_key(opaque, (uint16_t)val);
}

static uint64_t dma_reg_read(void *opaque, uint64_t off, unsigned size)
{
	return get_le64("QEMU CFG") >> (8 * off);
}

static void dma_reg_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
	struct fwcfg *f = opaque;
	uint32_t be = __builtin_bswap32((uint32_t)val);

	if (size != 4)
		return;
	if (off == 0) {
		f->dma_addr = (uint64_t)be << 32;
		return;
	}
	f->dma_addr |= be;
	dma_start(f);
}

static const struct io_ops fwcfg_io_ops = {
	.read = fwcfg_read, .write = fwcfg_write, .min = 1, .max = 2,
};
static const struct io_ops dma_ops = {
	.read = dma_reg_read, .write = dma_reg_write, .min = 1, .max = 4,
};

static void fwcfg_reset(struct dev *d)
{
	struct fwcfg *f = container_of(d, struct fwcfg, dev);

	select_key(f, 0);
	f->dma_addr = 0;
}

static void fwcfg_unrealize(struct dev *d)
{
	struct fwcfg *f = container_of(d, struct fwcfg, dev);

	pio_unmap(d->env->mem, f->map);
	pio_unmap(d->env->mem, f->dma_map);
	for (size_t i = 0; i < f->n_items; i++) {
		free(f->items[i].data);
		free(f->items[i].name);
	}
	free(f->items);
	free(f);
}

static const struct state_field fwcfg_fields[] = {
	STATE_FIELD(struct fwcfg, key, STATE_U16),
	STATE_FIELD(struct fwcfg, offset, STATE_U32),
	STATE_FIELD(struct fwcfg, dma_addr, STATE_U64),
	STATE_END,
};

static const struct state_desc fwcfg_state = {
	.name = "fw_cfg", .version = 1, .fields = fwcfg_fields,
};

static const struct dev_ops fwcfg_ops = {
	.name = "fw_cfg", .unrealize = fwcfg_unrealize, .reset = fwcfg_reset,
	.quiesce = dev_quiesce_none, .state = &fwcfg_state,
};

struct fwcfg *fwcfg_create(struct dev_env *env)
{
	struct fwcfg *f = xzalloc(sizeof(*f));

	f->io = (struct io_region){ .name = "fw_cfg", .ops = &fwcfg_io_ops, .opaque = f,
		.lock = env->lock, .size = 2 };
	f->dma_io = (struct io_region){ .name = "fw_cfg-dma", .ops = &dma_ops, .opaque = f,
		.lock = env->lock, .size = 8 };
	f->map = pio_map(env->mem, 0x510, &f->io, 0);
	f->dma_map = pio_map(env->mem, 0x514, &f->dma_io, 0);
	dev_add(&f->dev, &fwcfg_ops, "fw_cfg", env);
	fwcfg_add_key(f, FW_CFG_SIGNATURE, "QEMU", 4);
	fwcfg_add_u32(f, FW_CFG_ID, ID_TRADITIONAL | ID_DMA);
	make_directory(f);
	return f;
}
