/* SPDX-License-Identifier: Apache-2.0 */
/* Device registers: width rules, and ports. */
#include "base/fpu.h"
#include "mem/mem_int.h"

static bool io_direct(const struct io_ops *ops, uint64_t off, unsigned size)
{
	return size >= ops->min && size <= ops->max && is_pow2(size) &&
	       (ops->unaligned || !(off & (size - 1)));
}

/* The width to use for the piece of an access that starts at off: the widest that the device allows, that is
 * aligned, and that does not go past what is left; at least min. */
static unsigned io_piece(const struct io_ops *ops, uint64_t off, unsigned left)
{
	unsigned w = ops->max;

	while (w > ops->min && (w > left || (!ops->unaligned && (off & (w - 1)))))
		w /= 2;
	return w;
}

static uint64_t io_read_pieces(struct io_region *io, uint64_t off, unsigned size)
{
	uint64_t val = 0;

	for (unsigned done = 0; done < size;) {
		unsigned w = io_piece(io->ops, off + done, size - done);
		uint64_t at = io->ops->unaligned ? off + done : align_down(off + done, w);
		unsigned skip = (unsigned)(off + done - at);
		unsigned take = w - skip < size - done ? w - skip : size - done;
		uint64_t v = range_fits(at, w, io->size) ? io->ops->read(io->opaque, at, w) :
							   ~UINT64_C(0);

		v = (v >> (8 * skip)) & mask_size(take);
		val |= v << (8 * done);
		done += take;
	}
	return val;
}

/* A piece narrower than the device's minimum is widened: the other bytes are written as zeros only when the
 * device has no narrower form at all, which is what real buses do with byte enables it ignores. */
static void io_write_pieces(struct io_region *io, uint64_t off, uint64_t val, unsigned size)
{
	for (unsigned done = 0; done < size;) {
		unsigned w = io_piece(io->ops, off + done, size - done);
		uint64_t at = io->ops->unaligned ? off + done : align_down(off + done, w);
		unsigned skip = (unsigned)(off + done - at);
		unsigned take = w - skip < size - done ? w - skip : size - done;
		uint64_t v = (val >> (8 * done)) & mask_size(take);

		if (range_fits(at, w, io->size))
			io->ops->write(io->opaque, at, v << (8 * skip), w);
		done += take;
	}
}

uint64_t io_region_read(struct io_region *io, uint64_t off, unsigned size)
{
	struct lock *lock = io->lock;
	uint64_t v;

	bug_on(!size || size > 8);
	fpu_claim();
	if (lock)
		lock_take(lock);
	if (likely(io_direct(io->ops, off, size)))
		v = io->ops->read(io->opaque, off, size) & mask_size(size);
	else
		v = io_read_pieces(io, off, size);
	if (lock)
		lock_drop(lock);
	return v;
}

void io_region_write(struct io_region *io, uint64_t off, uint64_t val, unsigned size)
{
	struct lock *lock = io->lock;

	bug_on(!size || size > 8);
	fpu_claim();
	if (lock)
		lock_take(lock);
	if (likely(io_direct(io->ops, off, size)))
		io->ops->write(io->opaque, off, val & mask_size(size), size);
	else
		io_write_pieces(io, off, val, size);
	if (lock)
		lock_drop(lock);
}

uint32_t pio_read(struct mem *m, uint16_t port, unsigned size)
{
	struct mem_range r;
	uint64_t off;
	uint32_t val = 0;

	mem_space_find(&m->port, port, &r);
	off = port - r.base;
	if (likely(range_fits(off, size, r.size))) {
		if (r.kind != MEM_IO)
			return (uint32_t)mask_size(size);
		return (uint32_t)io_region_read(r.io, r.io_off + off, size);
	}
	for (unsigned i = 0; i < size; i++)
		val |= (port + i > 0xffff ? 0xffu : pio_read(m, (uint16_t)(port + i), 1)) << (8 * i);
	return val;
}

void pio_write(struct mem *m, uint16_t port, uint32_t val, unsigned size)
{
	struct mem_range r;
	uint64_t off;

	mem_space_find(&m->port, port, &r);
	off = port - r.base;
	if (likely(range_fits(off, size, r.size))) {
		if (r.kind == MEM_IO)
			io_region_write(r.io, r.io_off + off, val, size);
		return;
	}
	for (unsigned i = 0; i < size && port + i <= 0xffff; i++)
		pio_write(m, (uint16_t)(port + i), (val >> (8 * i)) & 0xff, 1);
}

const struct io_region *pio_user(const struct mem *m, uint16_t base, uint32_t size)
{
	struct mem_range r;

	bug_on(!range_fits(base, size, 0x10000));
	for (uint64_t at = base; at < (uint64_t)base + size; at = r.base + r.size) {
		mem_space_find(&m->port, at, &r);
		if (r.kind == MEM_IO)
			return r.io;
	}
	return NULL;
}
