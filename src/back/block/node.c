/* SPDX-License-Identifier: Apache-2.0 */
/* I/O on nodes: what is the same for all drivers. */
#include "back/block/node.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int check_range(const struct block_node *n, uint64_t off, uint64_t len)
{
	uint64_t size = n->grows ? (uint64_t)BLOCK_SIZE_MAX : n->size;

	return range_fits(off, len, size) ? 0 : -EIO;
}

int node_read(struct block_node *n, uint64_t off, uint64_t len, struct bvec v)
{
	if (!len)
		return 0;
	return check_range(n, off, len) ?: n->drv->read(n, off, len, v);
}

int node_read_now(struct block_node *n, uint64_t off, uint64_t len, struct bvec v)
{
	if (!n->drv->read_now || check_range(n, off, len))
		return -EAGAIN;
	return n->drv->read_now(n, off, len, v);
}

int node_write(struct block_node *n, uint64_t off, uint64_t len, struct bvec v)
{
	if (n->read_only || !n->drv->write)
		return -EROFS;
	if (!len)
		return 0;
	/* A format on a block device finds that full. */
	if (check_range(n, off, len))
		return n->drv->protocol ? -ENOSPC : -EIO;
	return n->drv->write(n, off, len, v);
}

int node_flush(struct block_node *n)
{
	return n->read_only ? 0 : n->drv->flush(n);
}

int node_discard(struct block_node *n, uint64_t off, uint64_t len)
{
	if (n->read_only)
		return -EROFS;
	if (!n->mode.unmap || !n->drv->discard || !len)
		return 0;
	return check_range(n, off, len) ?: n->drv->discard(n, off, len);
}

static int write_zeroes(struct block_node *n, uint64_t off, uint64_t len)
{
	size_t size = min_u64(len, MiB);
	void *zero = xzalloc_aligned(4096, align_up(size, 4096));
	struct iovec iov;
	int r = 0;

	while (len && !r) {
		size_t part = min_u64(len, size);

		r = n->drv->write(n, off, part, bvec_of(&iov, zero, part));
		off += part;
		len -= part;
	}
	free(zero);
	return r;
}

int node_zero(struct block_node *n, uint64_t off, uint64_t len, bool may_unmap)
{
	int r = -EOPNOTSUPP;

	if (n->read_only || !n->drv->write)
		return -EROFS;
	if (!len)
		return 0;
	if (check_range(n, off, len))
		return -EIO;
	if (n->drv->zero)
		r = n->drv->zero(n, off, len, may_unmap && n->mode.unmap);
	return r == -EOPNOTSUPP ? write_zeroes(n, off, len) : r;
}

int node_status(struct block_node *n, uint64_t off, uint64_t *len, unsigned *extent)
{
	*extent = BLOCK_EXT_DATA | BLOCK_EXT_HERE;
	if (off >= n->size) {
		*extent = BLOCK_EXT_ZERO;
		return 0;
	}
	*len = min_u64(*len, n->size - off);
	return n->drv->status ? n->drv->status(n, off, len, extent) : 0;
}

int node_pread(struct block_node *n, uint64_t off, void *buf, size_t len)
{
	struct iovec iov;

	return node_read(n, off, len, bvec_of(&iov, buf, len));
}

int node_pwrite(struct block_node *n, uint64_t off, const void *buf, size_t len)
{
	struct iovec iov;

	return node_write(n, off, len, bvec_of(&iov, buf, len));
}

int node_read_backing(struct block_node *n, uint64_t off, uint64_t len, struct bvec v)
{
	struct block_node *b = n->backing;
	uint64_t have = b && off < b->size ? min_u64(len, b->size - off) : 0;

	if (have < len)
		bvec_zero(bvec_skip(v, have), len - have);
	return have ? node_read(b, off, have, v) : 0;
}

int node_fast_fd(struct block_node *n, uint64_t *shift)
{
	return n->drv->fast_fd ? n->drv->fast_fd(n, shift) : -1;
}

struct block_node *node_leaf(struct block_node *n)
{
	while (n->drv == &node_raw)
		n = n->file;
	return n;
}

/*
 * Formats by their first bytes.  Those that are known by name only are never taken for raw: a guest
 * that has written such bytes to its disk would otherwise choose how the host reads it next time.
 */
static const struct {
	const char *magic;
	uint8_t len;
	bool ours;
	const char *name;
} magics[] = {
	{"QFI\xfb\0\0\0\2", 8, true, "qcow2"},
	{"QFI\xfb\0\0\0\3", 8, true, "qcow2"},
	{"QFI\xfb\0\0\0\1", 8, false, "qcow"},
	{"QFI\xfb", 4, false, "qcow2 of an unknown version"},
	{"QED\0", 4, false, "qed"},
	{"KDMV", 4, false, "vmdk"},
	{"COWD", 4, false, "vmdk"},
	{"# Disk DescriptorFile", 21, false, "vmdk"},
	{"conectix", 8, false, "vpc"},
	{"vhdxfile", 8, false, "vhdx"},
	{"LUKS\xba\xbe", 6, false, "luks"},
	{"WithoutFreeSpace", 16, false, "parallels"},
	{"WithouFreSpacExt", 16, false, "parallels"},
	{"Bochs Virtual HD Image", 22, false, "bochs"},
};

const char *node_probe(const uint8_t *head, size_t len, bool *known)
{
	static const uint8_t vdi[] = {0x7f, 0x10, 0xda, 0xbe};

	for (size_t i = 0; i < ARRAY_SIZE(magics); i++)
		if (len >= magics[i].len && !memcmp(head, magics[i].magic, magics[i].len)) {
			*known = magics[i].ours;
			return magics[i].name;
		}
	*known = false;
	return len >= 68 && !memcmp(head + 64, vdi, 4) ? "vdi" : NULL;
}
