/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What the fuzzers share: a seeded generator, the loop over cases, and the report of the seed that
 * a crash, a failed check or a hang needs.  Every case has a seed of its own, drawn from the first
 * one, so that `--seed N --runs 1` plays a single case again.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/base.h"

struct rnd {
	uint64_t s;
};

uint64_t rnd(struct rnd *r);
/* rnd_below - 0..n-1; n > 0. */
uint64_t rnd_below(struct rnd *r, uint64_t n);
/* rnd_one_in - true once in n times. */
bool rnd_one_in(struct rnd *r, unsigned n);
/* rnd_value - numbers as bugs like them: small, near powers of two, all ones, or any. */
uint64_t rnd_value(struct rnd *r);
void rnd_bytes(struct rnd *r, void *p, size_t len);
/* rnd_mutate - change bytes, bits or little-endian fields of buf; 1 to `most` places. */
void rnd_mutate(struct rnd *r, uint8_t *buf, size_t len, unsigned most);
#define RND_PICK(r, array) ((array)[rnd_below(r, ARRAY_SIZE(array))])

/*
 * fuzz_main - parse `--seed N --runs N --seconds N --verbose`, run cases until enough, print
 * "N passed, 0 failed".  A case that fails does not return.  With a target besides:
 * `--corpus FILE` first plays the members of an archive (of ar) or a file alone, and `--seeds DIR`
 * writes cases to files there, to begin with for libFuzzer, instead of playing them.
 */
struct fuzz {
	const char *name;
	unsigned runs; /* without options */
	unsigned hang_s; /* a case may take so long */
	void (*one)(struct rnd *r);
	int (*target)(const uint8_t *data, size_t size); /* of libfuzzer/; NULL: none */
};
int fuzz_main(const struct fuzz *f, int argc, char **argv);
/* fuzz_input - what one() of a fuzzer with a target hands its input to. */
void fuzz_input(const uint8_t *data, size_t size);

/* fuzz_check - a property that must hold whatever the guest did. */
#define fuzz_check(cond, ...)                                              \
	do {                                                               \
		if (!(cond))                                               \
			fuzz_fail(__FILE__, __LINE__, #cond, __VA_ARGS__); \
	} while (0)
void fuzz_fail(const char *file, int line, const char *what, const char *fmt, ...)
	__attribute__((noreturn, format(printf, 4, 5)));
/* fuzz_phase - what a hang is in, for its report. */
void fuzz_phase(const char *what);
bool fuzz_verbose(void);
