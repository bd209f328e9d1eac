// SPDX-License-Identifier: Apache-2.0
/* Scalar integer code that is all branches, calls and returns. */
#include <stdlib.h>

#include "kernels.h"

/*
 * A bytecode interpreter: a loop around a switch. Its program counts the steps of the Collatz
 * sequences of the numbers 1 to 1000 and adds them up in register 2, scale times.
 */
enum { HALT, SET, COPY, ADD, ADD_SET, HALVE, TRIPLE, JUMP, JUMP_ODD, JUMP_ONE, LOOP };

struct op {
	uint8_t code, a, b;
	int8_t to;
	int32_t value;
};

static const struct op program[] = {
	{SET, 0, 0, 0, 1000}, /* 0 */
	{COPY, 1, 0, 0, 0}, /* 1: for each number */
	{JUMP_ONE, 1, 0, 10, 0}, /* 2: until it is one */
	{ADD_SET, 2, 0, 0, 1}, /* 3 */
	{JUMP_ODD, 1, 0, 7, 0}, /* 4 */
	{HALVE, 1, 0, 0, 0}, /* 5 */
	{JUMP, 0, 0, 2, 0}, /* 6 */
	{TRIPLE, 1, 0, 0, 0}, /* 7 */
	{ADD_SET, 1, 0, 0, 1}, /* 8 */
	{JUMP, 0, 0, 2, 0}, /* 9 */
	{LOOP, 0, 0, 1, 0}, /* 10 */
	{ADD, 3, 2, 0, 0}, /* 11 */
	{HALT, 0, 0, 0, 0},
};

static uint64_t interpret(const struct op *code, uint64_t r[4])
{
	for (const struct op *op = code;; op++) {
		switch (op->code) {
		case HALT:
			return r[3];
		case SET:
			r[op->a] = op->value;
			break;
		case COPY:
			r[op->a] = r[op->b];
			break;
		case ADD:
			r[op->a] += r[op->b];
			break;
		case ADD_SET:
			r[op->a] += op->value;
			break;
		case HALVE:
			r[op->a] /= 2;
			break;
		case TRIPLE:
			r[op->a] *= 3;
			break;
		case JUMP:
			op = code + op->to - 1;
			break;
		case JUMP_ODD:
			if (r[op->a] & 1)
				op = code + op->to - 1;
			break;
		case JUMP_ONE:
			if (r[op->a] == 1)
				op = code + op->to - 1;
			break;
		case LOOP:
			if (--r[op->a])
				op = code + op->to - 1;
			break;
		}
	}
}

static uint64_t run_bytecode(unsigned long scale)
{
	uint64_t r[4] = {0}, hash = HASH_START;

	while (scale--)
		hash = (hash ^ interpret(program, r)) * 31;
	return hash;
}

/* Calls and returns: the Fibonacci numbers by their definition. */
static __attribute__((noinline)) uint64_t fib(unsigned int n)
{
	return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

static uint64_t run_fib(unsigned long scale)
{
	return fib(scale);
}

/* Indirect calls: objects of four classes, in no order, each asked to move. */
#define OBJECTS 1024

struct object {
	void (*move)(struct object *o);
	uint64_t x, y;
};

static void move_right(struct object *o)
{
	o->x++;
}
static void move_up(struct object *o)
{
	o->y += 3;
}
static void move_around(struct object *o)
{
	uint64_t x = o->x;
	o->x = o->y;
	o->y = x;
}
static void move_away(struct object *o)
{
	o->x = o->x * 5 + o->y;
}

static uint64_t run_virtual(unsigned long scale)
{
	static void (*const moves[])(struct object *) = {
		move_right,
		move_up,
		move_around,
		move_away,
	};
	struct object *objects = need(OBJECTS * sizeof(*objects));
	uint64_t random = 5, hash = HASH_START;

	for (int i = 0; i < OBJECTS; i++)
		objects[i].move = moves[random_next(&random) >> 62];
	while (scale--) {
		for (int i = 0; i < OBJECTS; i++)
			objects[i].move(&objects[i]);
	}
	for (int i = 0; i < OBJECTS; i++)
		hash = (hash ^ objects[i].x ^ objects[i].y << 1) * 31;
	free(objects);
	return hash;
}

/* Recursion with hard branches: the ways to place scale queens on a board. */
static uint64_t queens(unsigned int all, unsigned int columns, unsigned int left,
		       unsigned int right)
{
	unsigned int free = all & ~(columns | left | right);
	uint64_t ways = columns == all;

	while (free) {
		unsigned int queen = free & -free;
		free ^= queen;
		ways += queens(all, columns | queen, (left | queen) << 1, (right | queen) >> 1);
	}
	return ways;
}

static uint64_t run_queens(unsigned long scale)
{
	return queens((1u << scale) - 1, 0, 0, 0);
}

const struct kernel branch_kernels[] = {
	{"bytecode", run_bytecode, 250},
	{"fib", run_fib, 39},
	{"virtual", run_virtual, 100000},
	{"queens", run_queens, 14},
	{0},
};
