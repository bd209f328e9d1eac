/* SPDX-License-Identifier: Apache-2.0 */
/* The benchmark's own kernels: small programs that each stress one thing. */
#ifndef KERNELS_H
#define KERNELS_H

#include <stdint.h>

/*
 * run() does an amount of work in proportion to its argument and returns a checksum, which
 * depends on that argument alone: not on the processor, the time, or addresses.
 */
struct kernel {
	const char *name;
	uint64_t (*run)(unsigned long scale);
	unsigned long scale; /* by default; 0.2 to 1 s on a processor of 2020 */
};

/* Each ends with an entry without a name. */
extern const struct kernel integer_kernels[];
extern const struct kernel branch_kernels[];
extern const struct kernel scalar_kernels[];
extern const struct kernel vector_kernels[];
extern const struct kernel system_kernels[];

/* xorshift64*: Vigna, "An experimental exploration of Marsaglia's xorshift generators". */
static inline uint64_t random_next(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1d;
}

/* FNV-1a. */
#define HASH_START 0xcbf29ce484222325

static inline uint64_t hash_bytes(uint64_t hash, const void *data, unsigned long length)
{
	const unsigned char *p = data;

	while (length--)
		hash = (hash ^ *p++) * 0x100000001b3;
	return hash;
}

/* What a kernel cannot do without: memory, zeroed, and system calls that succeed. */
void *need(unsigned long bytes);
void die(const char *what) __attribute__((noreturn));

#endif
