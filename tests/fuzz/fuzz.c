/* SPDX-License-Identifier: Apache-2.0 */
/* The loop over cases of every fuzzer, and its last words. */
#include "fuzz.h"
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* One fuzzer per process; the watchdog and the signal handler have no other way to this. */
static struct {
	const struct fuzz *f;
	_Atomic uint64_t seed;
	_Atomic uint64_t started; /* seconds; 0: no case runs */
	_Atomic(const char *) phase;
	bool verbose;
	const char *seeds; /* where cases are written */
	FILE *chatter; /* what the code under test says on stderr */
} now;

uint64_t rnd(struct rnd *r)
{
	uint64_t z = r->s += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

uint64_t rnd_below(struct rnd *r, uint64_t n)
{
	return rnd(r) % n;
}

bool rnd_one_in(struct rnd *r, unsigned n)
{
	return rnd_below(r, n) == 0;
}

uint64_t rnd_value(struct rnd *r)
{
	switch (rnd_below(r, 6)) {
	case 0:
		return rnd_below(r, 16);
	case 1:
		return -rnd_below(r, 16);
	case 2:
		return (BIT(rnd_below(r, 64))) + rnd_below(r, 17) - 8;
	case 3:
		return BIT(rnd_below(r, 64)) | BIT(rnd_below(r, 64));
	case 4:
		return (uint32_t)rnd(r);
	default:
		return rnd(r);
	}
}

void rnd_bytes(struct rnd *r, void *p, size_t len)
{
	uint8_t *b = p;

	for (size_t i = 0; i < len; i++)
		b[i] = (uint8_t)rnd(r);
}

void rnd_mutate(struct rnd *r, uint8_t *buf, size_t len, unsigned most)
{
	for (uint64_t n = rnd_below(r, most) + 1; n && len; n--) {
		uint64_t v = rnd_value(r), size = UINT64_C(1) << rnd_below(r, 4);
		size_t at = rnd_below(r, len);

		if (rnd_one_in(r, 3))
			buf[at] ^= (uint8_t)(1 << rnd_below(r, 8));
		else
			memcpy(buf + at, &v, min_u64(size, len - at));
	}
}

static uint64_t seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec;
}

/* Async-signal-safe enough for a process that dies. */
static void last_words(void)
{
	char buf[4096];
	int n = snprintf(buf, sizeof(buf), "\n%s: FAILED in %s: replay with --seed %llu --runs 1\n",
			 now.f->name, atomic_load(&now.phase),
			 (unsigned long long)atomic_load(&now.seed));
	off_t end;

	n = (int)write(2, buf, (size_t)n);
	if (!now.chatter)
		return;
	end = lseek(fileno(now.chatter), 0, SEEK_END);
	n = (int)pread(fileno(now.chatter), buf, sizeof(buf), end > 2000 ? end - 2000 : 0);
	if (n > 0 && write(2, buf, (size_t)n) < 0)
		_exit(1);
}

static void on_abort(int sig)
{
	last_words();
	signal(sig, SIG_DFL);
	raise(sig);
}

void fuzz_fail(const char *file, int line, const char *what, const char *fmt, ...)
{
	va_list ap;

	dprintf(2, "%s:%d: not true: %s ", file, line, what);
	va_start(ap, fmt);
	vdprintf(2, fmt, ap);
	va_end(ap);
	abort();
}

void fuzz_phase(const char *what)
{
	atomic_store(&now.phase, what);
}

bool fuzz_verbose(void)
{
	return now.verbose;
}

static void *watchdog(void *opaque)
{
	for (;;) {
		uint64_t t;

		sleep(1);
		t = atomic_load(&now.started);
		if (t && seconds() > t + now.f->hang_s) {
			dprintf(2, "%s: hangs\n", now.f->name);
			abort();
		}
	}
	return NULL;
}

/* The sanitizers' runtime, when it is there, calls this before it ends the process. */
extern void __sanitizer_set_death_callback(void (*fn)(void)) __attribute__((weak));

/* Reports of dying guests go to a file: stderr (the stream, not the descriptor) points there. */
static void hide_chatter(void)
{
	now.chatter = tmpfile();
	if (!now.chatter)
		return;
	setvbuf(now.chatter, NULL, _IOLBF, 0);
	stderr = now.chatter;
}

static void forget_chatter(void)
{
	if (!now.chatter)
		return;
	rewind(now.chatter);
	if (ftruncate(fileno(now.chatter), 0))
		abort();
}

static void prepare(const struct fuzz *f)
{
	pthread_t t;

	now.f = f;
	fuzz_phase("start");
	if (!now.verbose)
		hide_chatter();
	signal(SIGABRT, on_abort);
	signal(SIGPIPE, SIG_IGN);
	if (__sanitizer_set_death_callback)
		__sanitizer_set_death_callback(last_words);
	if (pthread_create(&t, NULL, watchdog, NULL))
		abort();
	pthread_detach(t);
}

static void write_seed(const uint8_t *data, size_t size)
{
	char path[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%016llx", now.seeds,
		 (unsigned long long)atomic_load(&now.seed));
	f = fopen(path, "wb");
	if (!f || fwrite(data, 1, size, f) != size || fclose(f))
		fuzz_fail(__FILE__, __LINE__, "a seed can be written", "%s", path);
}

void fuzz_input(const uint8_t *data, size_t size)
{
	uint8_t *own;

	if (now.seeds) {
		write_seed(data, size);
		return;
	}
	own = malloc(size + !size); /* exactly as long, for the sanitizer */
	memcpy(own, data, size);
	now.f->target(own, size);
	free(own);
}

static uint8_t *read_file(const char *path, size_t *len)
{
	FILE *f = fopen(path, "rb");
	uint8_t *p = NULL;
	size_t cap = 0, got = 1;

	if (!f)
		fuzz_fail(__FILE__, __LINE__, "a corpus can be read", "%s", path);
	for (*len = 0; got; *len += got) {
		if (cap - *len < 65536)
			p = realloc(p, cap = 2 * cap + 65536);
		got = fread(p + *len, 1, cap - *len, f);
	}
	fclose(f);
	return p;
}

/* Members of an archive follow headers of 60 bytes, in which the size is decimal at 48 (ar(5)); names
 * are short enough that there is no table of them. */
#define AR_MAGIC "!<arch>\n"
#define AR_HEAD 60
#define AR_SIZE 48
static uint64_t play_corpus(const char *path)
{
	size_t len, at = sizeof(AR_MAGIC) - 1, size;
	uint8_t *p = read_file(path, &len);
	uint64_t n = 0;

	fuzz_phase(path);
	if (len < at || memcmp(p, AR_MAGIC, at)) {
		fuzz_input(p, len);
		free(p);
		return 1;
	}
	for (; len - at > AR_HEAD; at += size + (size & 1), n++) {
		size = strtoul((const char *)p + at + AR_SIZE, NULL, 10);
		at += AR_HEAD;
		fuzz_check(size + (size & 1) <= len - at, "%s is cut off", path);
		atomic_store(&now.seed, n);
		atomic_store(&now.started, seconds());
		fuzz_input(p + at, size);
		forget_chatter();
	}
	free(p);
	return n;
}

static const char *text(int argc, char **argv, const char *opt)
{
	for (int i = 1; i + 1 < argc; i++)
		if (!strcmp(argv[i], opt))
			return argv[i + 1];
	return NULL;
}

static uint64_t number(int argc, char **argv, const char *opt, uint64_t otherwise)
{
	const char *s = text(argc, argv, opt);

	return s ? strtoull(s, NULL, 0) : otherwise;
}

int fuzz_main(const struct fuzz *f, int argc, char **argv)
{
	uint64_t seed = number(argc, argv, "--seed", 1), done = 0, start = seconds();
	uint64_t limit = number(argc, argv, "--seconds", 0);
	uint64_t runs = number(argc, argv, "--runs", limit ? UINT64_MAX : f->runs);
	const char *corpus = NULL;
	struct rnd seeds = {seed};
	uint64_t played = 0;

	for (int i = 1; i < argc; i++)
		now.verbose |= !strcmp(argv[i], "--verbose");
	if (f->target) {
		corpus = text(argc, argv, "--corpus");
		now.seeds = text(argc, argv, "--seeds");
	}
	prepare(f);
	if (corpus)
		played = play_corpus(corpus);
	while (done < runs && !(limit && seconds() - start >= limit)) {
		/* The first case's seed is the one asked for. */
		struct rnd r = {done ? rnd(&seeds) : seed};

		atomic_store(&now.seed, r.s);
		atomic_store(&now.started, seconds());
		f->one(&r);
		done++;
		forget_chatter();
	}
	atomic_store(&now.started, 0);
	printf("%s: %llu passed, 0 failed\n", f->name, (unsigned long long)(played + done));
	return 0;
}
