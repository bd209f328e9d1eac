/* SPDX-License-Identifier: Apache-2.0 */
/*
 * insn-test: every instruction form, random states, this host's processor against an engine; or
 * random blocks of instructions likewise.
 *
 *	insn-test [--cases N] [--seed S] [--jobs J] [--engine NAME] [--only SUBSTRING] [--reports R]
 *	insn-test --blocks N [--seed S] [--jobs J] [--engine NAME] [--reports R]
 *	insn-test ... --first N	from a later one on, for what depends on those before it
 *	insn-test --list | --skips
 *	insn-test --form NAME --seed-case S	one case again, with its report
 *	insn-test --seed-block S		one block likewise
 *
 * Work is split over J child processes.  A child that dies reports the case it died in through
 *shared memory and is started again behind it.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
#include "../engine.h"
#include "base/base.h"
#include "base/err.h"
#include "engine/engine.h"
#include "insn.h"
#include "x86/cpu.h"
#include "x86/cpuid.h"

#define JOBS_MAX 16

struct options {
	uint64_t cases, first, seed, one_seed; /* cases: blocks, with `blocks` */
	unsigned jobs, reports; /* reports: full ones of each job */
	const char *engine, *only, *form;
	bool list, skips, one, blocks;
};

/* Shared with the parent: counts, and where each child is. */
struct job_state {
	uint64_t passed, failed, next;
	unsigned reports;
	struct {
		uint64_t passed, failed;
	} group[ZYDIS_ISA_SET_MAX_VALUE + 1];
};

/* One per process: fixed mappings, signal handlers and the guest's memory are not shared with a
 * child. */
struct tester {
	const struct options *o;
	const struct forms *forms;
	struct soft *soft;
	uint8_t (*template)[4096];
	struct icase c;
	struct block_forms *block_forms; /* NULL: single instructions */
	struct block block;
	struct iresult native, engine;
};

static void make_template(struct tester *t)
{
	struct rng r = {0x646f7070656c};

	t->template = xcalloc(PG_COUNT, 4096);
	for (unsigned p = 0; p < PG_COUNT; p++)
		for (unsigned i = 0; i < 4096; i += 8)
			put_le64(t->template[p] + i,
				 arena_pages[p].exec ? UINT64_C(0xcccccccccccccccc) : rng_u64(&r));
}

static bool tester_init(struct tester *t, const struct forms *forms, const struct options *o)
{
	const struct engine_ops *ops = engine_find(o->engine);
	const char *why;

	t->o = o;
	t->forms = forms;
	if (!ops) {
		fprintf(stderr, "insn-test: no engine \"%s\"\n", o->engine);
		return false;
	}
	make_template(t);
	if (o->blocks)
		t->block_forms = block_forms_make(forms);
	t->soft = soft_create(ops);
	if (!t->soft)
		return false;
	/* After the engine's own signal handlers, so that ours see faults first. */
	if (!native_init(&why)) {
		fprintf(stderr, "insn-test: %s\n", why);
		return false;
	}
	return true;
}

static void tester_fini(struct tester *t)
{
	soft_destroy(t->soft);
	if (t->block_forms)
		block_forms_free(t->block_forms);
	free(t->template);
}

static const uint8_t (*template_of(const struct tester *t))[4096]
{
	return (const uint8_t(*)[4096])t->template;
}

/* The translator may leave flags that nothing reads wrong in the frame of a fault, unless told not
 * to. */
static bool dead_flags_differ(const struct options *o)
{
	const char *stress = getenv("DOPPEL_DBT_STRESS");

	return !strcmp(o->engine, "dbt") && !(stress && strstr(stress, "exact-flags"));
}

/* NULL: equal. */
static const char *run_case(struct tester *t, enum skip_kind kind)
{
	const char *why;

	t->c.template = template_of(t);
	native_run(&t->c, &t->native);
	if (dead_flags_differ(t->o) && t->native.vector != X86_BP)
		t->c.loose = RFLAGS_ARITH;
	if (!soft_run(t->soft, &t->c, &t->engine, &why))
		return why;
	return compare_results(&t->c, &t->native, &t->engine, kind);
}

/* The engine runs a block twice: it knows its code the second time. */
static const char *run_block(struct tester *t, uint64_t seed)
{
	const struct x86_cpuid *cpuid = soft_cpuid(t->soft);
	struct icase *c = &t->block.c;
	const char *why, *diff;

	block_make(&t->block, t->block_forms, seed, cpuid, template_of(t));
	native_run(c, &t->native);
	block_end(&t->block, &t->native, cpuid);
	if (dead_flags_differ(t->o) && t->native.vector != X86_BP)
		c->loose |= RFLAGS_ARITH;
	if (!soft_run(t->soft, c, &t->engine, &why))
		return why;
	diff = compare_results(c, &t->native, &t->engine, SKIP_NO);
	if (diff)
		return diff;
	if (!soft_again(t->soft, c, &t->engine, &why))
		return why;
	return compare_results(c, &t->native, &t->engine, SKIP_NO);
}

static uint64_t case_seed(const struct options *o, uint64_t n)
{
	struct rng r = {o->seed * UINT64_C(0x9e3779b97f4a7c15) + n};

	return rng_u64(&r);
}

static void count(struct job_state *js, const struct form *f, bool ok)
{
	if (ok) {
		js->passed++;
		js->group[f->group].passed++;
	} else {
		js->failed++;
		js->group[f->group].failed++;
	}
}

static bool report_wanted(const struct tester *t, struct job_state *js, const char *diff)
{
	return diff && js->reports++ < t->o->reports;
}

static void one_block(struct tester *t, struct job_state *js)
{
	const char *diff = run_block(t, case_seed(t->o, js->next));

	if (diff)
		js->failed++;
	else
		js->passed++;
	if (report_wanted(t, js, diff))
		block_report(stdout, &t->block, &t->native, &t->engine, soft_cpuid(t->soft), diff);
}

static void one_case(struct tester *t, struct job_state *js)
{
	const struct form *f = &t->forms->f[js->next % t->forms->n];
	const char *why, *diff;
	enum skip_kind kind = skip_form(f, &why);

	if (kind == SKIP_ALL || (t->o->only && !strstr(f->name, t->o->only)))
		return;
	if (!gen_case(&t->c, f, case_seed(t->o, js->next), soft_cpuid(t->soft)))
		return;
	diff = run_case(t, kind);
	count(js, f, !diff);
	if (report_wanted(t, js, diff))
		report_case(stdout, &t->c, &t->native, &t->engine, diff);
}

static void run_job(struct tester *t, struct job_state *js)
{
	struct itimerval watchdog = {.it_value = {.tv_sec = 20}};

	for (; js->next < t->o->cases; js->next += t->o->jobs) {
		if ((js->next / t->o->jobs) % 1024 == 0)
			setitimer(ITIMER_PROF, &watchdog,
				  NULL); /* a case that hangs kills the child */
		if (t->o->blocks)
			one_block(t, js);
		else
			one_case(t, js);
		fflush(stdout);
	}
}

static void report_death(const struct forms *forms, const struct options *o,
			 const struct job_state *js, int status)
{
	const struct form *f = &forms->f[js->next % forms->n];

	printf("DIED (%s %d) ", WIFSIGNALED(status) ? "signal" : "status",
	       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	if (o->blocks)
		printf("in a block\n  again: --seed-block");
	else
		printf("in %s\n  again: --form %s --seed-case", f->name, f->name);
	printf(" %#" PRIx64 " (number %" PRIu64 ")\n", case_seed(o, js->next), js->next);
	fflush(stdout);
}

static int run_child(const struct forms *forms, const struct options *o, struct job_state *js)
{
	struct tester *t = xzalloc(sizeof(*t));

	if (!tester_init(t, forms, o))
		return 1;
	run_job(t, js);
	tester_fini(t);
	free(t);
	return 0;
}

/* One job to its end: children are started again behind a case that kills them. */
static void supervise(const struct forms *forms, const struct options *o, struct job_state *js)
{
	for (;;) {
		uint64_t at = js->next;
		pid_t pid = fork();
		int status;

		if (pid == 0)
			_exit(run_child(forms, o, js));
		if (pid < 0 || waitpid(pid, &status, 0) < 0)
			exit(1);
		if (WIFEXITED(status) && (WEXITSTATUS(status) == 0 || js->next == at))
			exit(WEXITSTATUS(status));
		report_death(forms, o, js, status);
		if (o->blocks)
			js->failed++;
		else
			count(js, &forms->f[js->next % forms->n], false);
		js->next += o->jobs;
		if (js->failed > 1000)
			exit(1);
	}
}

static int summary(struct job_state *js, unsigned jobs)
{
	uint64_t passed = 0, failed = 0;

	for (unsigned g = 0; g <= ZYDIS_ISA_SET_MAX_VALUE; g++) {
		uint64_t p = 0, f = 0;

		for (unsigned j = 0; j < jobs; j++) {
			p += js[j].group[g].passed;
			f += js[j].group[g].failed;
		}
		if (p || f)
			printf("%-16s %8" PRIu64 " passed, %" PRIu64 " failed\n",
			       ZydisISASetGetString((ZydisISASet)g), p, f);
	}
	for (unsigned j = 0; j < jobs; j++) {
		passed += js[j].passed;
		failed += js[j].failed;
	}
	printf("%" PRIu64 " passed, %" PRIu64 " failed\n", passed, failed);
	return failed || !passed;
}

static int run_all(const struct forms *forms, const struct options *o)
{
	unsigned jobs = o->jobs;
	struct job_state *js = mmap(NULL, sizeof(*js) * jobs, PROT_READ | PROT_WRITE,
				    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid[JOBS_MAX];
	int rc = 0, status;

	if (js == MAP_FAILED)
		return 1;
	printf("%u forms, %" PRIu64 " %s, seed %" PRIu64 ", engine %s\n", forms->n, o->cases,
	       o->blocks ? "blocks" : "cases", o->seed, o->engine);
	fflush(stdout);
	for (unsigned j = 0; j < jobs; j++) {
		js[j].next = o->first + j;
		pid[j] = fork();
		if (pid[j] == 0)
			supervise(forms, o, &js[j]);
	}
	for (unsigned j = 0; j < jobs; j++)
		if (waitpid(pid[j], &status, 0) < 0 || status)
			rc = 1;
	rc |= summary(js, jobs);
	munmap(js, sizeof(*js) * jobs);
	return rc;
}

static int run_one(const struct forms *forms, const struct options *o)
{
	struct tester *t = xzalloc(sizeof(*t));
	const char *diff = NULL, *why;
	const struct form *f = NULL;

	for (unsigned i = 0; i < forms->n && !f; i++)
		if (!strcmp(forms->f[i].name, o->form))
			f = &forms->f[i];
	if (!f) {
		fprintf(stderr, "insn-test: no form \"%s\"\n", o->form);
		return 1;
	}
	if (!tester_init(t, forms, o) || !gen_case(&t->c, f, o->one_seed, soft_cpuid(t->soft)))
		return 1;
	diff = run_case(t, skip_form(f, &why));
	report_case(stdout, &t->c, &t->native, &t->engine, diff ? diff : "equal");
	tester_fini(t);
	free(t);
	return diff != NULL;
}

static int run_one_block(const struct forms *forms, const struct options *o)
{
	struct tester *t = xzalloc(sizeof(*t));
	const char *diff;

	if (!tester_init(t, forms, o))
		return 1;
	diff = run_block(t, o->one_seed);
	block_report(stdout, &t->block, &t->native, &t->engine, soft_cpuid(t->soft),
		     diff ? diff : "equal");
	tester_fini(t);
	free(t);
	return diff != NULL;
}

static int list_forms(const struct forms *forms, bool skips)
{
	for (unsigned i = 0; i < forms->n; i++) {
		const struct form *f = &forms->f[i];
		const char *why;
		enum skip_kind k = skip_form(f, &why);

		if (skips && k != SKIP_NO)
			printf("%s: %s: %s\n", f->name, k == SKIP_ALL ? "not run" : "shape only",
			       why);
		else if (!skips)
			printf("%s\n", f->name);
	}
	printf("%u forms\n", forms->n);
	return 0;
}

static bool parse(struct options *o, int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		const char *a = argv[i], *v = i + 1 < argc ? argv[i + 1] : NULL;

		if (!strcmp(a, "--list"))
			o->list = true;
		else if (!strcmp(a, "--skips"))
			o->skips = true;
		else if (!v)
			return false;
		else if (!strcmp(a, "--cases"))
			o->cases = strtoull(v, NULL, 0), i++;
		else if (!strcmp(a, "--first"))
			o->first = strtoull(v, NULL, 0), i++;
		else if (!strcmp(a, "--seed"))
			o->seed = strtoull(v, NULL, 0), i++;
		else if (!strcmp(a, "--jobs"))
			o->jobs = (unsigned)strtoul(v, NULL, 0), i++;
		else if (!strcmp(a, "--reports"))
			o->reports = (unsigned)strtoul(v, NULL, 0), i++;
		else if (!strcmp(a, "--engine"))
			o->engine = v, i++;
		else if (!strcmp(a, "--only"))
			o->only = v, i++;
		else if (!strcmp(a, "--form"))
			o->form = v, i++;
		else if (!strcmp(a, "--seed-case"))
			o->one_seed = strtoull(v, NULL, 0), o->one = true, i++;
		else if (!strcmp(a, "--blocks"))
			o->cases = strtoull(v, NULL, 0), o->blocks = true, i++;
		else if (!strcmp(a, "--seed-block"))
			o->one_seed = strtoull(v, NULL, 0), o->one = o->blocks = true, i++;
		else
			return false;
	}
	return o->jobs >= 1 && o->jobs <= JOBS_MAX && (!o->one || o->blocks || o->form);
}

static int run(const struct options *o)
{
	struct x86_cpuid *cpuid;
	struct err *e = NULL;
	struct forms forms;
	int rc;

	if (x86_cpuid_create(&cpuid, "max", 1, 1000000, &e)) {
		fprintf(stderr, "insn-test: %s\n", err_msg(e));
		err_free(&e);
		return 1;
	}
	forms_make(&forms, cpuid);
	x86_cpuid_destroy(cpuid);
	if (o->list || o->skips)
		rc = list_forms(&forms, o->skips);
	else if (o->one && o->blocks)
		rc = run_one_block(&forms, o);
	else if (o->one)
		rc = run_one(&forms, o);
	else
		rc = run_all(&forms, o);
	forms_free(&forms);
	return rc;
}

int main(int argc, char **argv)
{
	struct options o = {.cases = 1200000, .seed = 1, .reports = 20, .engine = test_engine()};
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	o.jobs = cpus < 1 ? 1 : cpus > JOBS_MAX ? JOBS_MAX : (unsigned)cpus;
	if (!parse(&o, argc, argv)) {
		fprintf(stderr,
			"usage: insn-test [--cases N] [--seed S] [--jobs J] [--engine NAME] "
			"[--only TEXT] [--reports R] [--list] [--skips] [--form NAME --seed-case "
			"S] [--blocks N] [--seed-block S] [--first N]\n");
		return 2;
	}
	return run(&o);
}
