/* SPDX-License-Identifier: Apache-2.0 */
/* Guest RAM in one mapping, and accesses by guest-physical address. */
#include "mem/mem.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>
#include "base/err.h"
#include "base/hugemap.h"
#include "mem/mem_int.h"

/* A file that is nowhere, so that engines can map pieces of it again; -1: not here. */
static int ram_file(uint64_t size)
{
	struct rlimit limit;
	int fd;

	if (getrlimit(RLIMIT_FSIZE, &limit) < 0 || limit.rlim_cur < size)
		return -1; /* to ask would be the end of us, by SIGXFSZ */
	fd = memfd_create("guest-ram", MFD_CLOEXEC);
	if (fd >= 0 && ftruncate(fd, (off_t)size) < 0) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static int mem_alloc_ram(struct mem *m, struct err **e)
{
	m->ram_fd = ram_file(m->ram_size);
	m->ram = hugemap(m->ram_fd, m->ram_size, PROT_READ | PROT_WRITE);
	if (m->ram == MAP_FAILED) {
		m->ram = NULL;
		return err_set(e, errno, "cannot map %lu MiB of guest RAM: %s", m->ram_size / MiB,
			       strerror(errno));
	}
	return 0;
}

/* Page state is lazily touched: 16 bytes a page, zero pages until a page is first used. */
static int mem_alloc_pages(struct mem *m, struct err **e)
{
	m->pages = mmap(NULL, m->ram_size / PAGE_SIZE * sizeof(*m->pages), PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (m->pages == MAP_FAILED) {
		m->pages = NULL;
		return err_set(e, errno, "cannot allocate page state: %s", strerror(errno));
	}
	return 0;
}

int mem_create(struct mem **out, uint64_t ram_size, struct log *log, struct err **e)
{
	struct mem *m = xzalloc(sizeof(*m));
	int r;

	bug_on(!ram_size || PAGE_OFFSET(ram_size));
	m->log = log;
	m->ram_size = ram_size;
	lock_init(&m->code_lock, LOCK_RANK_CODE, "code");
	mem_map_init(m);
	r = mem_alloc_ram(m, e);
	if (!r)
		r = mem_alloc_pages(m, e);
	if (r) {
		mem_destroy(m);
		return r;
	}
	*out = m;
	return 0;
}

void mem_destroy(struct mem *m)
{
	if (!m)
		return;
	if (m->pages)
		munmap(m->pages, m->ram_size / PAGE_SIZE * sizeof(*m->pages));
	if (m->ram)
		munmap(m->ram, m->ram_size);
	if (m->ram_fd >= 0)
		close(m->ram_fd);
	mem_map_fini(m);
	lock_fini(&m->code_lock);
	free(m);
}

uint64_t mem_ram_alloc(struct mem *m, uint64_t size)
{
	uint64_t at = m->ram_used;

	bug_on(PAGE_OFFSET(size) || !range_fits(at, size, m->ram_size));
	m->ram_used += size;
	return at;
}

uint64_t mem_ram_left(const struct mem *m)
{
	return m->ram_size - m->ram_used;
}

uint8_t *mem_ram_base(const struct mem *m)
{
	return m->ram;
}

int mem_ram_fd(const struct mem *m)
{
	return m->ram_fd;
}

uint64_t mem_ram_size(const struct mem *m)
{
	return m->ram_size;
}

/* One host instruction when aligned, so that other vCPUs never see half of it. */
static uint64_t host_read(const uint8_t *p, unsigned size)
{
	uint64_t v = 0;

	if ((uintptr_t)p & (size - 1)) {
		memcpy(&v, p, size);
		return v;
	}
	switch (size) {
	case 1: return __atomic_load_n(p, __ATOMIC_RELAXED);
	case 2: return __atomic_load_n((const uint16_t *)p, __ATOMIC_RELAXED);
	case 4: return __atomic_load_n((const uint32_t *)p, __ATOMIC_RELAXED);
	case 8: return __atomic_load_n((const uint64_t *)p, __ATOMIC_RELAXED);
	}
	memcpy(&v, p, size);
	return v;
}

static void host_write(uint8_t *p, uint64_t v, unsigned size)
{
	if ((uintptr_t)p & (size - 1)) {
		memcpy(p, &v, size);
		return;
	}
	switch (size) {
	case 1: __atomic_store_n(p, (uint8_t)v, __ATOMIC_RELAXED); return;
	case 2: __atomic_store_n((uint16_t *)p, (uint16_t)v, __ATOMIC_RELAXED); return;
	case 4: __atomic_store_n((uint32_t *)p, (uint32_t)v, __ATOMIC_RELAXED); return;
	case 8: __atomic_store_n((uint64_t *)p, v, __ATOMIC_RELAXED); return;
	}
	memcpy(p, &v, size);
}

static uint64_t range_read(struct mem *m, const struct mem_range *r, uint64_t a, unsigned size)
{
	uint64_t off = a - r->base;

	switch (r->kind) {
	case MEM_RAM:
	case MEM_ROM:
		return host_read(m->ram + r->ram_off + off, size);
	case MEM_IO:
		return io_region_read(r->io, r->io_off + off, size);
	case MEM_HOLE:
		break;
	}
	return mask_size(size);
}

static void range_write(struct mem *m, const struct mem_range *r, uint64_t a, uint64_t val,
			unsigned size)
{
	uint64_t off = a - r->base;

	switch (r->kind) {
	case MEM_RAM:
		host_write(m->ram + r->ram_off + off, val, size);
		mem_written(m, r->ram_off + off, size);
		break;
	case MEM_ROM:
		if (r->io)
			io_region_write(r->io, off, val, size);
		break;
	case MEM_IO:
		io_region_write(r->io, r->io_off + off, val, size);
		break;
	case MEM_HOLE:
		break;
	}
}

uint64_t mem_read(struct mem *m, gpa a, unsigned size)
{
	struct mem_range r;
	uint64_t val = 0;

	bug_on(!size || size > 8);
	mem_lookup(m, a, &r);
	if (likely(range_fits(a.v - r.base, size, r.size)))
		return range_read(m, &r, a.v, size);
	for (unsigned i = 0; i < size; i++)
		val |= mem_read(m, GPA(a.v + i), 1) << (8 * i);
	return val;
}

void mem_write(struct mem *m, gpa a, uint64_t val, unsigned size)
{
	struct mem_range r;

	bug_on(!size || size > 8);
	mem_lookup(m, a, &r);
	if (likely(range_fits(a.v - r.base, size, r.size))) {
		range_write(m, &r, a.v, val, size);
		return;
	}
	for (unsigned i = 0; i < size; i++)
		mem_write(m, GPA(a.v + i), (val >> (8 * i)) & 0xff, 1);
}

/* Is all of [a, a+len) RAM (or ROM when rom is allowed)? */
static bool dma_ok(const struct mem *m, uint64_t a, uint64_t len, bool rom)
{
	if (a + len < a)
		return false;
	while (len) {
		struct mem_range r;
		uint64_t n;

		mem_lookup(m, GPA(a), &r);
		if (r.kind != MEM_RAM && !(rom && r.kind == MEM_ROM))
			return false;
		n = min_u64(len, r.size - (a - r.base));
		a += n;
		len -= n;
	}
	return true;
}

int mem_dma_read(struct mem *m, gpa a, void *buf, uint64_t len)
{
	uint8_t *to = buf;

	if (!dma_ok(m, a.v, len, true))
		return -EFAULT;
	while (len) {
		struct mem_range r;
		uint64_t n;

		mem_lookup(m, a, &r);
		n = min_u64(len, r.size - (a.v - r.base));
		memcpy(to, m->ram + r.ram_off + (a.v - r.base), n);
		a.v += n;
		to += n;
		len -= n;
	}
	return 0;
}

int mem_dma_write(struct mem *m, gpa a, const void *buf, uint64_t len)
{
	const uint8_t *from = buf;

	if (!dma_ok(m, a.v, len, false))
		return -EFAULT;
	while (len) {
		struct mem_range r;
		uint64_t n, off;

		mem_lookup(m, a, &r);
		n = min_u64(len, r.size - (a.v - r.base));
		off = r.ram_off + (a.v - r.base);
		memcpy(m->ram + off, from, n);
		mem_written(m, off, n);
		a.v += n;
		from += n;
		len -= n;
	}
	return 0;
}

void *mem_dma_ptr(struct mem *m, gpa a, uint64_t len)
{
	struct mem_range r;

	mem_lookup(m, a, &r);
	if (r.kind != MEM_RAM || !range_fits(a.v - r.base, len, r.size))
		return NULL;
	return m->ram + r.ram_off + (a.v - r.base);
}

/* Pages of the file are gone with MADV_REMOVE, those of private memory (where there are no such files)
 * with MADV_DONTNEED, and come back empty. */
void mem_discard_ram(struct mem *m, uint64_t ram_off, uint64_t len)
{
	uint64_t start = align_up(ram_off, PAGE_SIZE), end;

	if (!range_fits(ram_off, len, m->ram_size))
		return;
	end = align_down(ram_off + len, PAGE_SIZE);
	if (start < end &&
	    !madvise(m->ram + start, end - start, m->ram_fd < 0 ? MADV_DONTNEED : MADV_REMOVE))
		mem_written(m, start, end - start);
}

void mem_discard(struct mem *m, gpa a, uint64_t len)
{
	while (len) {
		struct mem_range r;
		uint64_t off, n;

		mem_lookup(m, a, &r);
		off = a.v - r.base;
		n = off < r.size ? min_u64(len, r.size - off) : len;
		if (r.kind == MEM_RAM)
			mem_discard_ram(m, r.ram_off + off, n);
		a.v += n;
		len -= n;
	}
}

bool mem_cmpxchg(struct mem *m, gpa a, uint64_t *expected, uint64_t desired, unsigned size,
		 bool *not_ram)
{
	void *p = mem_dma_ptr(m, a, size);
	uint32_t e32 = (uint32_t)*expected;
	bool ok;

	bug_on((size != 4 && size != 8) || (a.v & (size - 1)));
	*not_ram = !p;
	if (!p)
		return false;
	if (size == 8) {
		ok = __atomic_compare_exchange_n((uint64_t *)p, expected, desired, false,
						 __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	} else {
		ok = __atomic_compare_exchange_n((uint32_t *)p, &e32, (uint32_t)desired, false,
						 __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
		*expected = e32;
	}
	if (ok)
		mem_written(m, (uint64_t)((uint8_t *)p - m->ram), size);
	return ok;
}
