/* SPDX-License-Identifier: Apache-2.0 */
/* One run of a pair with comparisons; and where exactly a difference begins. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/base.h"
#include "base/err.h"
#include "run.h"

#define CONSOLE_EVERY 100000 /* instructions between looks at the console */
#define MEMORY_ALL 16 /* so many comparisons of what was written, then one of all memory */

struct run {
	const struct options *o;
	const struct look *look;
	struct pair p;
	uint64_t state_steps, memory_insns, console_insns; /* when last looked at */
	unsigned memories;
	struct result r;
};

/* Compare what is due, or everything; false: something differs. */
static bool check(struct run *r, bool all)
{
	struct pair *p = &r->p;
	bool memory = all || p->insns - r->memory_insns >= r->look->memory;

	if (p->insns < r->look->from && !all)
		return true;
	if (!memory && p->steps - r->state_steps < r->look->every)
		return true;
	r->state_steps = p->steps;
	pair_states(p);
	if (!same_state(p))
		return false;
	if (!memory)
		return true;
	r->memory_insns = p->insns;
	if (!same_memory(p, all || ++r->memories % MEMORY_ALL == 0) || !same_devices(p))
		return false;
	r->r.same = p->insns;
	return true;
}

static uint64_t step_max(const struct run *r)
{
	uint64_t left = r->look->to - r->p.insns;

	if (r->look->cut && r->p.insns == r->look->from)
		return r->look->cut;
	return min_u64(r->o->step, left);
}

/* Show the console, look for the text to end at. */
static bool console_says(struct run *r, bool now)
{
	struct pair *p = &r->p;
	char *text;
	bool found;

	if (!now && p->insns - r->console_insns < CONSOLE_EVERY)
		return false;
	r->console_insns = p->insns;
	text = pair_console(&p->side[REF], 0);
	if (r->look->console) {
		fputs(text + p->shown, stdout);
		p->shown = strlen(text);
		fflush(stdout);
	}
	found = r->o->until && strstr(text, r->o->until);
	free(text);
	return found;
}

static void keep_last_line(struct run *r)
{
	char *text = pair_console(&r->p.side[REF], 0), *end = text + strlen(text), *start;

	while (end > text && (end[-1] == '\n' || end[-1] == '\r'))
		*--end = 0;
	start = strrchr(text, '\n');
	snprintf(r->r.line, sizeof(r->r.line), "%s", start ? start + 1 : text);
	free(text);
}

static void print_difference(struct run *r)
{
	pair_states(&r->p);
	print_exits(&r->p);
	print_state(&r->p);
	print_memory(&r->p);
	print_devices(&r->p);
}

/* True when the run is over. */
static bool step(struct run *r)
{
	struct pair *p = &r->p;
	bool cut = r->look->cut && p->insns == r->look->from;
	enum outcome out;

	p->trace = r->look->trace && cut;
	out = pair_step(p, step_max(r));
	if (out == STEP_DIFFERS || !check(r, false)) {
		r->r.differs = true;
		return true;
	}
	if (console_says(r, out != STEP_DONE)) {
		r->r.end = "the text was on the console";
		r->r.said = true;
	} else if (out == STEP_ENDED)
		r->r.end = "the guest reset, powered off or died";
	else if (out == STEP_ASLEEP)
		r->r.end = "the guest sleeps, and no timer is armed";
	else if (p->insns >= r->look->to || (cut && p->ran))
		r->r.end = "so many were asked for";
	return r->r.end;
}

int lockstep_run(const struct options *o, const struct look *look, struct result *out,
		 struct err **e)
{
	struct run r = {.o = o, .look = look};
	int ret = pair_create(&r.p, o, e);

	if (ret)
		return ret;
	r.r.differs = !check(&r, true);
	while (!r.r.differs && !step(&r))
		;
	if (!r.r.differs)
		r.r.differs = !check(&r, true);
	if (!r.r.said)
		r.r.said = console_says(&r, true);
	if (look->trace)
		print_difference(&r);
	r.r.insns = r.p.insns;
	r.r.steps = r.p.steps;
	r.r.at = r.p.at;
	r.r.count = r.p.ran ? r.p.done[TEST] : 0;
	r.r.exact = r.r.same == r.p.at;
	keep_last_line(&r);
	pair_destroy(&r.p);
	*out = r.r;
	return 0;
}

/* --- where it begins --- */
/* The first step that differs: run again with memory compared more and more often. */
static int find_step(const struct options *o, struct result *r, struct err **e)
{
	uint64_t memory = o->memory;

	while (!r->exact && memory) {
		struct look look = {.from = r->same, .to = r->insns + o->step, .every = 1};
		struct result again;
		int ret;

		memory = min_u64(memory, r->insns - r->same) / 64;
		look.memory = memory;
		ret = lockstep_run(o, &look, &again, e);
		if (ret)
			return ret;
		if (!again.differs)
			break;
		*r = again;
	}
	return 0;
}

/* The first instruction: cut that step shorter and shorter. */
static int find_insn(const struct options *o, struct result *r, struct err **e)
{
	uint64_t good = 0;

	while (good + 1 < r->count) {
		struct look look = {.from = r->at, .to = UINT64_MAX, .every = 1};
		struct result again;
		int ret;

		look.cut = good + (r->count - good) / 2;
		ret = lockstep_run(o, &look, &again, e);
		if (ret)
			return ret;
		if (again.differs)
			r->count = look.cut;
		else
			good = look.cut;
	}
	return 0;
}

int lockstep_find(const struct options *o, struct result *r, struct err **e)
{
	int ret = find_step(o, r, e);

	return ret || !r->exact || !r->count ? ret : find_insn(o, r, e);
}
