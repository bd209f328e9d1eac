// SPDX-License-Identifier: Apache-2.0
/*
 * usage: kernel NAME [SCALE]	run one kernel
 *        kernel		list them
 *
 * Prints the name, the scale and the checksum, and on another line the nanoseconds it took.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels.h"

static const struct kernel *const groups[] = {
	integer_kernels, branch_kernels, scalar_kernels, vector_kernels, system_kernels,
};
#define GROUPS (sizeof(groups) / sizeof(groups[0]))

void die(const char *what)
{
	perror(what);
	exit(1);
}

void *need(unsigned long bytes)
{
	void *p = calloc(1, bytes);

	if (!p)
		die("calloc");
	return p;
}

static const struct kernel *find(const char *name)
{
	for (unsigned int g = 0; g < GROUPS; g++) {
		for (const struct kernel *k = groups[g]; k->name; k++) {
			if (!strcmp(k->name, name))
				return k;
		}
	}
	return NULL;
}

static void list(void)
{
	for (unsigned int g = 0; g < GROUPS; g++) {
		for (const struct kernel *k = groups[g]; k->name; k++)
			printf("%s %lu\n", k->name, k->scale);
	}
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		list();
		return 0;
	}

	const struct kernel *k = find(argv[1]);
	if (!k) {
		fprintf(stderr, "kernel: there is no '%s'\n", argv[1]);
		return 2;
	}
	unsigned long scale = argc > 2 ? strtoul(argv[2], NULL, 0) : k->scale;
	uint64_t start = now();
	uint64_t checksum = k->run(scale);
	uint64_t end = now();
	printf("%s %lu %016llx\nns %llu\n", k->name, scale, (unsigned long long)checksum,
	       (unsigned long long)(end - start));
	return 0;
}
