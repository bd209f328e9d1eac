/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lockstep: a guest on two machines at once, one with the interpreter, the other with the engine
 * under test, which must never differ.
 *
 * Nothing that either machine sees comes from outside.  Guest time moves with the number of
 * instructions (vclock_create_manual), timers fire between steps, there is one thread, no input,
 * and no random numbers of the host.  So every run with the same arguments is the same run.
 *
 * A step is what the engine under test makes of run_insns: one block of its code, say.  The
 * interpreter then runs as many instructions.  Interrupts are delivered before a step, never in
 * it.  Registers are compared after each step; memory that was written, the next timer and the
 * console now and then.
 *
 * When a difference is seen, the guest is run again from its start: with memory compared more and
 * more often until the step is known that makes it, then with that step cut as short as shows it,
 * and once more to print both.  A translator may make other code of a shorter block: when the
 * whole step is needed, any of its instructions may be the wrong one.
 *
 * The environment's DOPPEL_DBT_STRESS goes to the engine; "exact-flags" is added to it.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "base/base.h"
#include "base/err.h"
#include "run.h"

static const char usage[] =
	"usage: lockstep --kernel FILE [--initrd FILE] [--append TEXT] [OPTION...]\n"
	"       lockstep --bios FILE [OPTION...]\n"
	"  --machine NAME   board (pc)\n"
	"  --cpu MODEL      CPU model (max)\n"
	"  --mem MIB        memory (128)\n"
	"  --engine NAME    the engine under test (interp)\n"
	"  --insns N        stop after N instructions\n"
	"  --until TEXT     stop when the console has said TEXT\n"
	"  --step N         ask the engine for N instructions at a time (1000)\n"
	"  --every N        compare registers every N steps (1)\n"
	"  --memory N       compare memory every N instructions (1000000)\n"
	"  --check-from N   compare nothing before instruction N\n"
	"  --single         the interpreter runs one instruction at a time\n"
	"  --console        show the guest's console\n"
	"  --plant-reg N    falsify a register after N instructions; --plant-mem N: memory\n"
	"  --list           the engines there are\n";

static void __attribute__((noreturn)) die(const char *what, const char *value)
{
	fprintf(stderr, "lockstep: %s '%s'\n%s", what, value, usage);
	exit(2);
}

static const struct argument {
	const char *name;
	enum { TEXT, NUMBER, FLAG } kind;
	size_t at; /* in struct options */
} arguments[] = {
#define A(name, kind, field)                                     \
	{                                                        \
		"--" name, kind, offsetof(struct options, field) \
	}
	A("kernel", TEXT, kernel),
	A("initrd", TEXT, initrd),
	A("append", TEXT, append),
	A("bios", TEXT, bios),
	A("machine", TEXT, machine),
	A("cpu", TEXT, cpu),
	A("mem", NUMBER, mem_mib),
	A("engine", TEXT, engine),
	A("insns", NUMBER, insns),
	A("until", TEXT, until),
	A("step", NUMBER, step),
	A("every", NUMBER, every),
	A("memory", NUMBER, memory),
	A("check-from", NUMBER, from),
	A("single", FLAG, single),
	A("console", FLAG, console),
	A("plant-reg", NUMBER, plant_reg),
	A("plant-mem", NUMBER, plant_mem),
	A("list", FLAG, list),
#undef A
};

static const struct argument *argument_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(arguments); i++)
		if (!strcmp(arguments[i].name, name))
			return &arguments[i];
	die("there is no option", name);
}

static uint64_t number(const char *text)
{
	char *end;
	uint64_t n = strtoull(text, &end, 0);

	if (*end || *text == '-' || !n)
		die("not a number above 0:", text);
	return n;
}

static void parse(struct options *o, int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		const struct argument *a = argument_find(argv[i]);
		void *field = (char *)o + a->at;

		if (a->kind == FLAG) {
			*(bool *)field = true;
			continue;
		}
		if (++i == argc)
			die("a value is missing for", a->name);
		if (a->kind == TEXT)
			*(const char **)field = argv[i];
		else
			*(uint64_t *)field = number(argv[i]);
	}
}

static int list(void)
{
	for (const struct engine_ops *const *e = engine_list(); *e; e++)
		printf("%s\n", (*e)->name);
	return 0;
}

/* Flags that no instruction reads are compared too. */
static void ask_exact_flags(void)
{
	const char *stress = getenv("DOPPEL_DBT_STRESS");
	char *all;

	if (stress && strstr(stress, "exact-flags"))
		return;
	all = stress && *stress ? xasprintf("%s,exact-flags", stress) : xstrdup("exact-flags");
	setenv("DOPPEL_DBT_STRESS", all, 1);
	free(all);
}

static double seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Find and print; the guest ran with a difference. */
static int explain(const struct options *o, struct result *r, struct err **e)
{
	struct look look = {.to = UINT64_MAX, .every = 1, .memory = 1, .trace = true};
	struct result again;
	int ret;

	printf("lockstep: %s and interp differ after %" PRIu64 " instructions\n", o->engine,
	       r->insns);
	printf("console: %s\n", r->line);
	fflush(stdout);
	ret = lockstep_find(o, r, e);
	if (ret)
		return ret;
	if (!r->exact)
		printf("They do not when it is looked at closely; instructions %" PRIu64
		       " to %" PRIu64 ".\n",
		       r->same, r->insns);
	else
		printf("The first difference shows after instruction %" PRIu64 " (%" PRIu64
		       " of the step at %" PRIu64 "):\n",
		       r->at + max_u64(r->count, 1) - 1, r->count, r->at);
	look.from = r->exact ? r->at : r->same;
	look.cut = r->exact ? max_u64(r->count, 1) : o->step;
	if (!r->exact)
		look.to = r->insns + o->step;
	return lockstep_run(o, &look, &again, e);
}

int main(int argc, char **argv)
{
	struct options o = {.machine = "pc",
			    .cpu = "max",
			    .engine = "interp",
			    .mem_mib = 128,
			    .insns = UINT64_MAX,
			    .every = 1,
			    .memory = 1000000,
			    .step = 1000};
	struct err *e __err_cleanup = NULL;
	struct result r;
	double start = seconds(), took;
	struct look look;
	int ret;

	parse(&o, argc, argv);
	if (o.list)
		return list();
	ask_exact_flags();
	look = (struct look){.from = o.from,
			     .to = o.insns,
			     .every = o.every,
			     .memory = o.memory,
			     .console = o.console};
	ret = lockstep_run(&o, &look, &r, &e);
	took = seconds() - start;
	if (!ret && r.differs)
		ret = explain(&o, &r, &e);
	if (ret) {
		fprintf(stderr, "lockstep: %s\n", err_msg(e));
		return 2;
	}
	if (r.differs)
		return 1;
	printf("lockstep: %s and interp are the same over %" PRIu64 " instructions in %" PRIu64
	       " steps; %s; %.1f s, %.1f M instructions/s\n",
	       o.engine, r.insns, r.steps, r.end, took, (double)r.insns / took / 1e6);
	if (!o.until || r.said)
		return 0;
	printf("lockstep: but the console never said '%s'\n", o.until);
	return 1;
}
