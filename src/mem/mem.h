/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Guest-physical memory and port space of one virtual machine.
 *
 * All RAM and ROM bytes live in one mapping at mem_ram_base(); a byte's place in it is
 * its RAM offset (ram_off), which is what page state (dirty, holds code) is kept by, so aliases
 * agree.  The map from guest-physical addresses to RAM, ROM and device registers is a sorted flat
 * view, replaced as a whole when it changes; readers never lock.
 *
 * Threads: map changes take the memory-map lock inside and then call the change listener
 * (mem_set_listener), which tells every vCPU to drop cached translations at its next instruction
 * boundary (it must not wait for them: the caller holds the machine lock, which they may be waiting for).
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/lock.h"
#include "mem/addr.h"

struct err;
struct mem;
struct log;

/* A device's registers.  Handlers get an offset from the region's start and a size in bytes that
 * io_ops allows: a power of two between min and max, aligned to its size unless `unaligned`.  The bus
 * splits or widens other accesses: larger ones into pieces of max, smaller ones read min and pick. */
struct io_ops {
	uint64_t (*read)(void *opaque, uint64_t off, unsigned size);
	void (*write)(void *opaque, uint64_t off, uint64_t val, unsigned size);
	uint8_t min, max; /* widths that the handlers implement, 1..8 bytes */
	bool unaligned;
};

struct io_region {
	const char *name;
	const struct io_ops *ops;
	void *opaque;
	struct lock *lock; /* taken around each handler call; NULL: the device locks for itself */
	uint64_t size;	   /* bytes (or ports) */
};

enum mem_kind {
	MEM_HOLE, /* nothing: reads all ones, writes vanish */
	MEM_RAM,
	MEM_ROM,  /* reads come from memory, writes vanish (or go to `io` when that is set) */
	MEM_IO,
};

/* What lies at an address: the answer of mem_lookup.  Valid until the next map change. */
struct mem_range {
	enum mem_kind kind;
	uint64_t base, size;	/* guest-physical extent of this piece of the flat view */
	uint64_t ram_off;	/* RAM and ROM: RAM offset of `base` */
	struct io_region *io;	/* MEM_IO: the region; MEM_ROM: receiver of writes or NULL */
	uint64_t io_off;	/* offset in the region of `base` */
};

/* mem_create - an empty physical address space with room for ram_size bytes of RAM and ROM
 * (a multiple of 4 KiB, at least 4 KiB).  0 or -errno with *e. */
int mem_create(struct mem **out, uint64_t ram_size, struct log *log, struct err **e);
void mem_destroy(struct mem *m);

/* mem_ram_alloc - set aside size bytes of RAM (4 KiB multiples); returns the RAM offset.
 * Running out is our own bug: the sum is known when mem_create is called. */
uint64_t mem_ram_alloc(struct mem *m, uint64_t size);
/* mem_ram_left - bytes that mem_ram_alloc can still give. */
uint64_t mem_ram_left(const struct mem *m);
uint8_t *mem_ram_base(const struct mem *m);
uint64_t mem_ram_size(const struct mem *m);
/* mem_ram_fd - the file that RAM is, at RAM offsets, to map pieces of it elsewhere; -1: it is none.  mem's. */
int mem_ram_fd(const struct mem *m);

/*
 * Map a piece; where pieces overlap, the higher priority wins, then the later mapped.  base and size
 * of RAM and ROM are multiples of 4 KiB, of I/O anything.  Returns a handle (owned by mem) for
 * mem_unmap and mem_move.
 */
struct mem_map;
struct mem_map *mem_map_ram(struct mem *m, gpa base, uint64_t size, uint64_t ram_off, int prio);
struct mem_map *mem_map_rom(struct mem *m, gpa base, uint64_t size, uint64_t ram_off,
			    struct io_region *writes, int prio);
struct mem_map *mem_map_io(struct mem *m, gpa base, struct io_region *io, int prio);
/* mem_map_alias - show [target, target+size) of the space also at base: whatever is mapped there by
 * RAM and ROM mappings (not by other aliases). */
struct mem_map *mem_map_alias(struct mem *m, gpa base, uint64_t size, gpa target, int prio);
void mem_unmap(struct mem *m, struct mem_map *map);
void mem_move(struct mem *m, struct mem_map *map, gpa base);
/* mem_begin/mem_commit - several changes as one (nests). */
void mem_begin(struct mem *m);
void mem_commit(struct mem *m);

/* mem_set_listener - called (on the changing thread) after each change of the flat view. */
void mem_set_listener(struct mem *m, void (*changed)(void *opaque), void *opaque);

/* mem_lookup - what lies at a; always answers (a hole has its extent too). */
void mem_lookup(const struct mem *m, gpa a, struct mem_range *out);

/* Physical accesses of 1..8 bytes (any size, any alignment, may cross pieces): page tables, device and
 * vCPU slow paths.  RAM is accessed with one host instruction when it is naturally aligned.
 * Stores keep the dirty log and code marks. */
uint64_t mem_read(struct mem *m, gpa a, unsigned size);
void mem_write(struct mem *m, gpa a, uint64_t val, unsigned size);

/* mem_dma_read/write - copy len bytes between the host and guest RAM, as a device does; 0, or -EFAULT
 * when any byte of the range is not RAM (or ROM, for reads): then nothing was copied. */
int mem_dma_read(struct mem *m, gpa a, void *buf, uint64_t len);
int mem_dma_write(struct mem *m, gpa a, const void *buf, uint64_t len);
/* mem_dma_ptr - host pointer to [a, a+len) when it is all RAM in one piece, else NULL.  After writing
 * through it call mem_written.  Valid until the next map change. */
void *mem_dma_ptr(struct mem *m, gpa a, uint64_t len);

/* mem_discard - give the host back what [a, a+len) holds: the whole pages of it that are RAM, which
 * read as zeroes from then on.  mem_discard_ram: the same by RAM offset.  The range may be anything;
 * it counts as written, for code and the dirty log.  Any thread. */
void mem_discard(struct mem *m, gpa a, uint64_t len);
void mem_discard_ram(struct mem *m, uint64_t ram_off, uint64_t len);

/* mem_cmpxchg64 - atomic compare-and-exchange on guest RAM for page-table A/D bits.  size 4 or 8, a
 * aligned.  True when *expected was there and was replaced.  On a non-RAM address: false, and
 * *expected unchanged with *not_ram set. */
bool mem_cmpxchg(struct mem *m, gpa a, uint64_t *expected, uint64_t desired, unsigned size,
		 bool *not_ram);

/* Ports: the same regions in a 64 Ki space of their own. */
struct mem_map *pio_map(struct mem *m, uint16_t base, struct io_region *io, int prio);
void pio_unmap(struct mem *m, struct mem_map *map);
void pio_move(struct mem *m, struct mem_map *map, uint16_t base);
/* pio_follow - map, move or unmap io so that it is at base when `on`; *map (NULL at first) keeps where. */
void pio_follow(struct mem *m, struct mem_map **map, struct io_region *io, bool on, uint16_t base);
/* pio_user - the lowest region mapped in the `size` ports from base, or NULL when they are free. */
const struct io_region *pio_user(const struct mem *m, uint16_t base, uint32_t size);
/* pio_read/pio_write - size 1, 2 or 4.  An access past port 0xffff reads ones. */
uint32_t pio_read(struct mem *m, uint16_t port, unsigned size);
void pio_write(struct mem *m, uint16_t port, uint32_t val, unsigned size);

/* io_region_read/write - apply a region's width rules and lock to one access of 1..8 bytes. */
uint64_t io_region_read(struct io_region *io, uint64_t off, unsigned size);
void io_region_write(struct io_region *io, uint64_t off, uint64_t val, unsigned size);
