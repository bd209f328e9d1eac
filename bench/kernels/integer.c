// SPDX-License-Identifier: Apache-2.0
/* Scalar integer code on data: arithmetic, loads and stores, pointers. */
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

/* The sieve of Eratosthenes over SIEVE_SIZE numbers, scale times. */
#define SIEVE_SIZE 1000000

static uint64_t run_sieve(unsigned long scale)
{
	unsigned char *composite = need(SIEVE_SIZE);
	uint64_t hash = HASH_START;

	while (scale--) {
		uint64_t primes = 0;
		memset(composite, 0, SIEVE_SIZE);
		for (unsigned long i = 2; i < SIEVE_SIZE; i++) {
			if (composite[i])
				continue;
			primes++;
			for (unsigned long j = i * i; j < SIEVE_SIZE; j += i)
				composite[j] = 1;
		}
		hash = hash_bytes(hash, &primes, sizeof(primes));
	}
	free(composite);
	return hash;
}

/* The C library's qsort, which calls back for each comparison. */
static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static uint64_t run_qsort(unsigned long scale)
{
	uint32_t *values = need(scale * sizeof(*values));
	uint64_t random = 1;

	for (unsigned long i = 0; i < scale; i++)
		values[i] = random_next(&random) >> 32;
	qsort(values, scale, sizeof(*values), compare);
	uint64_t hash = hash_bytes(HASH_START, values, scale * sizeof(*values));
	free(values);
	return hash;
}

/* A binary search tree of TREE_SIZE random keys: scale searches, each a chase of pointers. */
#define TREE_SIZE 200000

struct node {
	struct node *child[2];
	uint64_t key;
};

static struct node *tree_build(struct node *pool)
{
	uint64_t random = 2;
	struct node *root = NULL;

	for (int i = 0; i < TREE_SIZE; i++) {
		struct node **where = &root, *n = &pool[i];
		n->key = random_next(&random);
		while (*where)
			where = &(*where)->child[n->key > (*where)->key];
		*where = n;
	}
	return root;
}

static uint64_t run_tree(unsigned long scale)
{
	struct node *pool = need(TREE_SIZE * sizeof(*pool));
	struct node *root = tree_build(pool);
	uint64_t random = 3, depth = 0, hash = HASH_START;

	while (scale--) {
		uint64_t key = random_next(&random), last = 0;
		for (struct node *n = root; n; n = n->child[key > n->key]) {
			last = n->key;
			depth++;
		}
		hash = (hash ^ last) * 31;
	}
	free(pool);
	return hash ^ depth;
}

/* SHA-256 (FIPS 180-4) as plain C, of scale blocks. */
static const uint32_t sha_k[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4,
	0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe,
	0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f,
	0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7,
	0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc,
	0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
	0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116,
	0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
	0xc67178f2,
};

static uint32_t rotate_right(uint32_t x, int n)
{
	return x >> n | x << (32 - n);
}

static void sha_schedule(uint32_t w[64])
{
	for (int i = 16; i < 64; i++) {
		uint32_t s0 = rotate_right(w[i - 15], 7) ^ rotate_right(w[i - 15], 18) ^
			      w[i - 15] >> 3;
		uint32_t s1 = rotate_right(w[i - 2], 17) ^ rotate_right(w[i - 2], 19) ^
			      w[i - 2] >> 10;
		w[i] = w[i - 16] + s0 + w[i - 7] + s1;
	}
}

static void sha_block(uint32_t h[8], uint32_t w[64])
{
	uint32_t v[8];

	sha_schedule(w);
	memcpy(v, h, sizeof(v));
	for (int i = 0; i < 64; i++) {
		uint32_t a = v[0], e = v[4];
		uint32_t s1 = rotate_right(e, 6) ^ rotate_right(e, 11) ^ rotate_right(e, 25);
		uint32_t t1 = v[7] + s1 + ((e & v[5]) ^ (~e & v[6])) + sha_k[i] + w[i];
		uint32_t s0 = rotate_right(a, 2) ^ rotate_right(a, 13) ^ rotate_right(a, 22);
		uint32_t t2 = s0 + ((a & v[1]) ^ (a & v[2]) ^ (v[1] & v[2]));
		memmove(v + 1, v, 7 * sizeof(v[0]));
		v[4] += t1;
		v[0] = t1 + t2;
	}
	for (int i = 0; i < 8; i++)
		h[i] += v[i];
}

static uint64_t run_sha256(unsigned long scale)
{
	uint32_t w[64] = {0}, h[8] = {
				      0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
				      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
			      };

	while (scale--) {
		memcpy(w, h, sizeof(h));
		sha_block(h, w);
	}
	return hash_bytes(HASH_START, h, sizeof(h));
}

/* Greedy LZ77 matching, as compressors do it: hash of 4 bytes, chains of earlier places. */
#define LZ_SIZE (1 << 20)
#define LZ_HASHES (1 << 14)
#define LZ_CHAIN 16
#define LZ_LONGEST 258

static uint32_t load32(const void *p)
{
	uint32_t value;

	memcpy(&value, p, sizeof(value));
	return value;
}

/* Text of a small vocabulary, so that there is something to match. */
static void lz_text(unsigned char *text)
{
	uint64_t random = 4;

	for (unsigned long i = 0; i < LZ_SIZE;) {
		uint64_t word = random_next(&random) >> 32 & random_next(&random) & 0xff;
		for (uint64_t letters = 2 + word % 9; letters && i < LZ_SIZE; letters--)
			text[i++] = 'a' + (word * 7 + letters * letters) % 26;
		if (i < LZ_SIZE)
			text[i++] = ' ';
	}
}

static unsigned int lz_longest(const unsigned char *text, int here, int other, const int *before)
{
	unsigned int best = 0;

	for (int chain = LZ_CHAIN; other >= 0 && chain; chain--, other = before[other]) {
		unsigned int n = 0;
		while (n < LZ_LONGEST && here + n < LZ_SIZE && text[here + n] == text[other + n])
			n++;
		if (n > best)
			best = n;
	}
	return best;
}

static uint64_t run_lz(unsigned long scale)
{
	unsigned char *text = need(LZ_SIZE);
	int *before = need(LZ_SIZE * sizeof(*before)), *last = need(LZ_HASHES * sizeof(*last));
	uint64_t hash = HASH_START;

	lz_text(text);
	while (scale--) {
		memset(last, -1, LZ_HASHES * sizeof(*last));
		for (int here = 0; here + 4 <= LZ_SIZE;) {
			uint32_t slot = load32(text + here) * 2654435761u >> 18;
			unsigned int length = lz_longest(text, here, last[slot], before);
			before[here] = last[slot];
			last[slot] = here;
			here += length >= 4 ? length : 1;
			hash = (hash ^ length) * 31;
		}
	}
	free(text);
	free(before);
	free(last);
	return hash;
}

const struct kernel integer_kernels[] = {
	{"sieve", run_sieve, 100},   {"qsort", run_qsort, 2000000},
	{"tree", run_tree, 1000000}, {"sha256", run_sha256, 400000},
	{"lz", run_lz, 15},	     {0},
};
