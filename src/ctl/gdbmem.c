/* SPDX-License-Identifier: Apache-2.0 */
/* Linear memory for a debugger: RAM, ROM (also written to, as a breakpoint or a patch needs),
 * device registers. */
#include <string.h>
#include "ctl/gdbstub_int.h"
#include "mem/mem.h"
#include "mem/page.h"

/* Bytes from va to the end of its page, at most len. */
static size_t page_run(uint64_t va, size_t len)
{
	return min_u64(len, PAGE_SIZE - PAGE_OFFSET(va));
}

/* The widest access that a device register at a may be meant for. */
static unsigned io_width(uint64_t a, size_t len)
{
	unsigned size = 8;

	while (size > len || (a & (size - 1)))
		size /= 2;
	return size;
}

static void phys_read(struct mem *m, uint64_t a, uint8_t *buf, size_t len)
{
	if (!mem_dma_read(m, GPA(a), buf, len))
		return;
	while (len) {
		unsigned size = io_width(a, len);
		uint64_t v = mem_read(m, GPA(a), size);

		memcpy(buf, &v, size);
		a += size;
		buf += size;
		len -= size;
	}
}

static void phys_write(struct mem *m, uint64_t a, const uint8_t *buf, size_t len)
{
	struct mem_range r;

	mem_lookup(m, GPA(a), &r);
	if ((r.kind == MEM_RAM || r.kind == MEM_ROM) && range_fits(a - r.base, len, r.size)) {
		uint64_t off = r.ram_off + (a - r.base);

		memcpy(mem_ram_base(m) + off, buf, len);
		mem_written(m, off, len);
		return;
	}
	while (len) {
		unsigned size = io_width(a, len);
		uint64_t v = 0;

		memcpy(&v, buf, size);
		mem_write(m, GPA(a), v, size);
		a += size;
		buf += size;
		len -= size;
	}
}

size_t gdb_mem_read(struct gdbstub *g, uint64_t va, uint8_t *buf, size_t len)
{
	size_t done = 0;
	gpa a;

	while (done < len && g->engine->translate(g->ev, g->cpu, va + done, &a)) {
		size_t n = page_run(va + done, len - done);

		phys_read(vm_mem(g->vm), a.v, buf + done, n);
		done += n;
	}
	return done;
}

size_t gdb_mem_write(struct gdbstub *g, uint64_t va, const uint8_t *buf, size_t len)
{
	size_t done = 0;
	gpa a;

	while (done < len && g->engine->translate(g->ev, g->cpu, va + done, &a)) {
		size_t n = page_run(va + done, len - done);

		phys_write(vm_mem(g->vm), a.v, buf + done, n);
		done += n;
	}
	return done;
}
