/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Small things every module needs: assertions that stay on in release, bits, checked arithmetic. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))
#define BIT(n) (UINT64_C(1) << (n))
#define KiB UINT64_C(1024)
#define MiB (KiB * 1024)
#define GiB (MiB * 1024)

/* Our own bug: report and abort.  Never on a condition that a guest, file or person controls. */
#define bug_on(cond)                                                                               \
	do {                                                                                       \
		if (unlikely(cond))                                                                \
			bug_die(__FILE__, __LINE__, #cond);                                        \
	} while (0)
void bug_die(const char *file, int line, const char *what) __attribute__((noreturn, cold));

/* bits_get - bits hi..lo (inclusive, 63 >= hi >= lo) of v, shifted down. */
static inline uint64_t bits_get(uint64_t v, unsigned hi, unsigned lo)
{
	return (v >> lo) & (~UINT64_C(0) >> (63 - (hi - lo)));
}

/* bits_set - v with bits hi..lo replaced by the low bits of f. */
static inline uint64_t bits_set(uint64_t v, unsigned hi, unsigned lo, uint64_t f)
{
	uint64_t mask = (~UINT64_C(0) >> (63 - (hi - lo))) << lo;

	return (v & ~mask) | ((f << lo) & mask);
}

/* mask_size - all ones in the low `bytes` bytes (1..8). */
static inline uint64_t mask_size(unsigned bytes)
{
	return ~UINT64_C(0) >> (64 - 8 * bytes);
}

static inline bool is_pow2(uint64_t v)
{
	return v && !(v & (v - 1));
}

/* align_up/align_down - to a power of two. */
static inline uint64_t align_down(uint64_t v, uint64_t a)
{
	return v & ~(a - 1);
}

static inline uint64_t align_up(uint64_t v, uint64_t a)
{
	return (v + a - 1) & ~(a - 1);
}

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* range_fits - is [off, off+len) inside [0, size)?  No overflow. */
static inline bool range_fits(uint64_t off, uint64_t len, uint64_t size)
{
	return len <= size && off <= size - len;
}

/* Little-endian stores and loads at any alignment. */
static inline void put_le16(void *p, uint16_t v)
{
	__builtin_memcpy(p, &v, 2);
}

static inline void put_le32(void *p, uint32_t v)
{
	__builtin_memcpy(p, &v, 4);
}

static inline void put_le64(void *p, uint64_t v)
{
	__builtin_memcpy(p, &v, 8);
}

static inline uint16_t get_le16(const void *p)
{
	uint16_t v;

	__builtin_memcpy(&v, p, 2);
	return v;
}

static inline uint32_t get_le32(const void *p)
{
	uint32_t v;

	__builtin_memcpy(&v, p, 4);
	return v;
}

static inline uint64_t get_le64(const void *p)
{
	uint64_t v;

	__builtin_memcpy(&v, p, 8);
	return v;
}

/* Memory that must exist: abort with a message when the host has none left.  free() releases. */
void *xzalloc(size_t size) __attribute__((malloc, returns_nonnull));
void *xcalloc(size_t n, size_t size) __attribute__((malloc, returns_nonnull));
void *xrealloc(void *p, size_t size) __attribute__((returns_nonnull));
char *xstrdup(const char *s) __attribute__((malloc, returns_nonnull));
char *xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2), returns_nonnull));
/* xzalloc_aligned - zeroed, aligned to a power of two >= 8; free() releases. */
void *xzalloc_aligned(size_t align, size_t size) __attribute__((malloc, returns_nonnull));

struct err;
/* file_slurp - all of a file, with a NUL behind it: *data is malloc'ed.  -EFBIG with *e: more than max
 * bytes; -errno with *e. */
int file_slurp(const char *path, size_t max, char **data, size_t *len, struct err **e);
