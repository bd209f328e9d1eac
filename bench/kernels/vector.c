// SPDX-License-Identifier: Apache-2.0
/* Vector instructions: SSE2 on integers, AVX2 and FMA on floats and bytes. */
#include <immintrin.h>
#include <stdio.h>
#include <stdlib.h>

#include "kernels.h"

#define AVX2 __attribute__((target("avx2,fma")))

static void need_avx2(void)
{
	if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
		fprintf(stderr, "kernel: this processor has no AVX2 and FMA\n");
		exit(1);
	}
}

/* Products of MATRIX x MATRIX matrices of floats, scale times, 16 elements at a time. */
#define MATRIX 256

static AVX2 void multiply(float *c, const float *a, const float *b)
{
	for (int i = 0; i < MATRIX; i++) {
		for (int j = 0; j < MATRIX; j += 16) {
			__m256 low = _mm256_setzero_ps(), high = _mm256_setzero_ps();
			for (int k = 0; k < MATRIX; k++) {
				__m256 x = _mm256_broadcast_ss(&a[i * MATRIX + k]);
				const float *row = &b[k * MATRIX + j];
				low = _mm256_fmadd_ps(x, _mm256_loadu_ps(row), low);
				high = _mm256_fmadd_ps(x, _mm256_loadu_ps(row + 8), high);
			}
			_mm256_storeu_ps(&c[i * MATRIX + j], low);
			_mm256_storeu_ps(&c[i * MATRIX + j + 8], high);
		}
	}
}

static float *random_floats(unsigned long count, uint64_t seed)
{
	float *p = need(count * sizeof(*p));

	for (unsigned long i = 0; i < count; i++)
		p[i] = (float)(random_next(&seed) >> 40) / (1 << 24);
	return p;
}

static uint64_t run_matmul_avx2(unsigned long scale)
{
	float *a = random_floats(MATRIX * MATRIX, 7), *b = random_floats(MATRIX * MATRIX, 8);
	float *c = need(MATRIX * MATRIX * sizeof(*c));
	uint64_t hash = HASH_START;

	need_avx2();
	while (scale--) {
		multiply(c, a, b);
		hash = hash_bytes(hash, c, MATRIX * sizeof(*c));
		a[scale % MATRIX] = c[0] / MATRIX;
	}
	free(a);
	free(b);
	free(c);
	return hash;
}

/* y = a x + y over VECTOR floats, scale times: loads and stores more than arithmetic. */
#define VECTOR 8192

static AVX2 void saxpy(float *y, const float *x, float a)
{
	__m256 factor = _mm256_set1_ps(a);

	for (int i = 0; i < VECTOR; i += 8) {
		__m256 product = _mm256_mul_ps(factor, _mm256_loadu_ps(x + i));
		_mm256_storeu_ps(y + i, _mm256_add_ps(product, _mm256_loadu_ps(y + i)));
	}
}

static uint64_t run_saxpy_avx2(unsigned long scale)
{
	float *x = random_floats(VECTOR, 9), *y = random_floats(VECTOR, 10);

	need_avx2();
	while (scale--)
		saxpy(y, x, scale & 1 ? -0.5f : 0.5f);
	uint64_t hash = hash_bytes(HASH_START, y, VECTOR * sizeof(*y));
	free(x);
	free(y);
	return hash;
}

/* The bytes of a buffer that are letters, as text scanners count them; scale times. */
#define BYTES 65536

static AVX2 uint64_t count_letters(const unsigned char *p)
{
	__m256i first = _mm256_set1_epi8('a' - 1), last = _mm256_set1_epi8('z' + 1);
	uint64_t count = 0;

	for (int i = 0; i < BYTES; i += 32) {
		__m256i x = _mm256_loadu_si256((const __m256i *)(p + i));
		__m256i in =
			_mm256_and_si256(_mm256_cmpgt_epi8(x, first), _mm256_cmpgt_epi8(last, x));
		count += __builtin_popcount(_mm256_movemask_epi8(in));
	}
	return count;
}

static uint64_t run_bytes_avx2(unsigned long scale)
{
	unsigned char *p = need(BYTES);
	uint64_t random = 11, hash = HASH_START;

	need_avx2();
	for (int i = 0; i < BYTES; i++)
		p[i] = random_next(&random) >> 56;
	while (scale--) {
		hash = (hash ^ count_letters(p)) * 31;
		p[scale % BYTES] = (unsigned char)scale;
	}
	free(p);
	return hash;
}

/* SSE2: a filter of 16-bit samples, multiplied and added in pairs; scale times. */
#define SAMPLES 8192
#define TAPS 8

static int32_t add_up(__m128i v)
{
	v = _mm_add_epi32(v, _mm_shuffle_epi32(v, _MM_SHUFFLE(1, 0, 3, 2)));
	v = _mm_add_epi32(v, _mm_shuffle_epi32(v, _MM_SHUFFLE(2, 3, 0, 1)));
	return _mm_cvtsi128_si32(v);
}

static void filter(int16_t *out, const int16_t *in, __m128i taps)
{
	for (int i = 0; i < SAMPLES; i++) {
		__m128i x = _mm_loadu_si128((const __m128i *)(in + i));
		out[i] = (int16_t)(add_up(_mm_madd_epi16(x, taps)) >> 8);
	}
}

static uint64_t run_filter_sse2(unsigned long scale)
{
	int16_t *in = need((SAMPLES + TAPS) * sizeof(*in)), *out = need(SAMPLES * sizeof(*out));
	uint64_t random = 12, hash = HASH_START;

	for (int i = 0; i < SAMPLES + TAPS; i++)
		in[i] = (int16_t)(random_next(&random) >> 52);
	while (scale--) {
		filter(out, in, _mm_setr_epi16(3, -9, 40, 100, 100, 40, -9, 3));
		hash = (hash ^ (uint16_t)out[scale % SAMPLES]) * 31;
		in[scale % SAMPLES] ^= (int16_t)scale;
	}
	free(in);
	free(out);
	return hash;
}

const struct kernel vector_kernels[] = {
	{"matmul-avx2", run_matmul_avx2, 30},
	{"saxpy-avx2", run_saxpy_avx2, 40000},
	{"bytes-avx2", run_bytes_avx2, 100000},
	{"filter-sse2", run_filter_sse2, 20000},
	{0},
};
