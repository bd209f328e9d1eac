/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Runs of a pair from the start.  They come out the same each time, so that a later one may look
 * more closely where an earlier one saw a difference. */
#include "lockstep.h"

/* How closely a run looks. */
struct look {
	uint64_t from, to; /* compare nothing before so many instructions; stop after so many */
	uint64_t every; /* steps between comparisons of registers */
	uint64_t memory; /* instructions between comparisons of memory and devices */
	uint64_t cut; /* not 0: the step at `from` has at most so many instructions, and is the last
		       */
	bool trace; /* with cut: print the instructions of that step, and what differs then */
	bool console; /* show the console */
};

struct result {
	bool differs;
	const char *end; /* why it ended, when nothing differs */
	bool said; /* the console has said what was awaited */
	uint64_t insns, steps;
	uint64_t same; /* after so many instructions everything was last seen to be the same */
	uint64_t at, count; /* the last step: number of its first instruction, and how many */
	bool exact; /* everything was the same before that step */
	char line[128]; /* the console's last */
};

/* lockstep_run - 0, or -errno with *e when there can be no such machines. */
int lockstep_run(const struct options *o, const struct look *look, struct result *out,
		 struct err **e);
/* lockstep_find - after a run that found a difference: run again and again until *r is the first
 * step that differs (exact), and count the fewest instructions of it that do. */
int lockstep_find(const struct options *o, struct result *r, struct err **e);
