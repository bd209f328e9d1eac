// SPDX-License-Identifier: Apache-2.0
/* Scalar floating point: SSE2 instructions on one double at a time; see the Makefile's flags. */
#include <math.h>
#include <stdlib.h>

#include "kernels.h"

/* Products of MATRIX x MATRIX matrices, scale times. */
#define MATRIX 160

static void multiply(double *c, const double *a, const double *b)
{
	for (int i = 0; i < MATRIX; i++) {
		for (int j = 0; j < MATRIX; j++) {
			double sum = 0;
			for (int k = 0; k < MATRIX; k++)
				sum += a[i * MATRIX + k] * b[k * MATRIX + j];
			c[i * MATRIX + j] = sum;
		}
	}
}

static uint64_t run_matmul(unsigned long scale)
{
	unsigned long bytes = MATRIX * MATRIX * sizeof(double);
	double *a = need(bytes), *b = need(bytes), *c = need(bytes);
	uint64_t random = 6, hash = HASH_START;

	for (int i = 0; i < MATRIX * MATRIX; i++) {
		a[i] = (double)(random_next(&random) >> 40) / (1 << 24);
		b[i] = (double)(random_next(&random) >> 40) / (1 << 24);
	}
	while (scale--) {
		multiply(c, a, b);
		hash = hash_bytes(hash, c, MATRIX * sizeof(double));
		a[scale % MATRIX] = c[0] / MATRIX;
	}
	free(a);
	free(b);
	free(c);
	return hash;
}

/* Five bodies under their gravity, scale steps; square roots and divisions. */
#define BODIES 5

struct body {
	double at[3], speed[3], mass;
};

static void attract(struct body *a, struct body *b, double step)
{
	double d[3], square = 0;

	for (int k = 0; k < 3; k++) {
		d[k] = a->at[k] - b->at[k];
		square += d[k] * d[k];
	}
	double pull = step / (square * sqrt(square));
	for (int k = 0; k < 3; k++) {
		a->speed[k] -= d[k] * b->mass * pull;
		b->speed[k] += d[k] * a->mass * pull;
	}
}

static uint64_t run_nbody(unsigned long scale)
{
	struct body bodies[BODIES];
	const double step = 0.001;

	for (int i = 0; i < BODIES; i++) {
		bodies[i] = (struct body){
			.at = {i * 3.0, 1.0 / (i + 1), i * 0.2 - 0.5},
			.speed = {0.1 * i, i ? 2.0 / i : 0, 0.01},
			.mass = i ? 0.01 * i : 39.5,
		};
	}
	while (scale--) {
		for (int i = 0; i < BODIES; i++) {
			for (int j = i + 1; j < BODIES; j++)
				attract(&bodies[i], &bodies[j], step);
		}
		for (int i = 0; i < BODIES; i++) {
			for (int k = 0; k < 3; k++)
				bodies[i].at[k] += step * bodies[i].speed[k];
		}
	}
	return hash_bytes(HASH_START, bodies, sizeof(bodies));
}

/* The Mandelbrot set on a grid of scale x scale points; comparisons and branches on them. */
static unsigned int escape(double re, double im)
{
	double x = 0, y = 0;
	unsigned int n = 0;

	while (n < 200 && x * x + y * y <= 4) {
		double next = x * x - y * y + re;
		y = 2 * x * y + im;
		x = next;
		n++;
	}
	return n;
}

static uint64_t run_mandelbrot(unsigned long scale)
{
	uint64_t hash = HASH_START;

	for (unsigned long i = 0; i < scale; i++) {
		for (unsigned long j = 0; j < scale; j++) {
			unsigned int n = escape(3.0 * i / scale - 2.2, 3.0 * j / scale - 1.5);
			hash = (hash ^ n) * 31;
		}
	}
	return hash;
}

/* A cubic of integers, in and out of floating point: conversions. */
static uint64_t run_convert(unsigned long scale)
{
	uint64_t hash = HASH_START;

	for (unsigned long i = 0; i < scale; i++) {
		double x = (double)(i & 0xffff);
		float y = (float)((x * 0.001 - 3.0) * x + 7.0);
		hash = (hash ^ (uint64_t)(int64_t)(y * 1.5f)) * 31;
	}
	return hash;
}

const struct kernel scalar_kernels[] = {
	{"matmul", run_matmul, 40},
	{"nbody", run_nbody, 1000000},
	{"mandelbrot", run_mandelbrot, 1000},
	{"convert", run_convert, 20000000},
	{0},
};
