/* SPDX-License-Identifier: Apache-2.0 */
/* Is it the same on both sides, and what is not? */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/loop.h"
#include "lockstep.h"
#include "machine/vm.h"
#include "mem/mem.h"
#include "mem/page.h"
#include "state/state.h"

#define PAGES_SHOWN 8
#define BYTES_SHOWN 16

static size_t kind_size(enum state_kind kind)
{
	return kind == STATE_U16 ? 2 : kind == STATE_U32 ? 4 : kind == STATE_U64 ? 8 : 1;
}

/* --- fields --- */
struct cursor {
	const char *names[2]; /* of the sides */
	bool print;
	unsigned differ;
};

static void print_value(const struct state_field *f, const void *v)
{
	uint64_t n = 0;

	if (f->kind == STATE_BYTES) {
		for (unsigned i = 0; i < BYTES_SHOWN; i++)
			printf("%02x", ((const uint8_t *)v)[i]);
		return;
	}
	memcpy(&n, v, kind_size(f->kind));
	printf("%#" PRIx64, n);
}

static void element(struct cursor *c, const char *path, const struct state_field *f, uint32_t i,
		    const char *a, const char *b, size_t size)
{
	if (!memcmp(a, b, size))
		return;
	c->differ++;
	if (!c->print)
		return;
	if (!*path && !strcmp(f->name, "gpr"))
		printf("  %s", trace_gpr(i));
	else if (f->count > 1)
		printf("  %s%s[%u]", path, f->name, i);
	else
		printf("  %s%s", path, f->name);
	printf(": %s ", c->names[REF]);
	print_value(f, a);
	printf(", %s ", c->names[TEST]);
	print_value(f, b);
	printf("\n");
}

static void fields(struct cursor *c, const char *path, const struct state_desc *d, const void *a,
		   const void *b)
{
	for (const struct state_field *f = d->fields; f->name; f++) {
		/* Registers of 16 bytes, several in a blob. */
		size_t size = f->kind == STATE_STRUCT  ? f->stride
			      : f->kind == STATE_BYTES ? BYTES_SHOWN
						       : kind_size(f->kind);
		uint32_t n = f->kind == STATE_BYTES ? f->count / BYTES_SHOWN : f->count;

		for (uint32_t i = 0; i < n; i++) {
			const char *x = (const char *)a + f->offset + i * size;
			const char *y = (const char *)b + f->offset + i * size;
			char sub[64];

			if (f->kind != STATE_STRUCT) {
				element(c, path, f, i, x, y, size);
				continue;
			}
			snprintf(sub, sizeof(sub), f->count > 1 ? "%s%s[%u]." : "%s%s.", path,
				 f->name, i);
			fields(c, sub, f->sub, x, y);
		}
	}
}

static unsigned state_fields(const struct pair *p, bool print)
{
	struct cursor c = {.names = {p->side[REF].name, p->side[TEST].name}, .print = print};

	fields(&c, "", &x86_state_desc, &p->side[REF].s, &p->side[TEST].s);
	return c.differ;
}

static uint64_t retired(const struct side *s)
{
	return s->ops->insns(s->ev);
}

bool same_state(const struct pair *p)
{
	const struct side *a = &p->side[REF], *b = &p->side[TEST];

	if (retired(a) != retired(b))
		return false;
	/* Bytes between fields may differ. */
	return !memcmp(&a->s, &b->s, sizeof(a->s)) || !state_fields(p, false);
}

void print_state(const struct pair *p)
{
	const struct side *a = &p->side[REF], *b = &p->side[TEST];

	state_fields(p, true);
	if (retired(a) != retired(b))
		printf("  instructions retired: %s %" PRIu64 ", %s %" PRIu64 "\n", a->name,
		       retired(a), b->name, retired(b));
}

/* --- memory --- */
static const uint8_t *page_of(const struct side *s, uint64_t n)
{
	return mem_ram_base(s->mem) + n * PAGE_SIZE;
}

static bool page_differs(const struct pair *p, uint64_t n)
{
	return memcmp(page_of(&p->side[REF], n), page_of(&p->side[TEST], n), PAGE_SIZE);
}

bool same_memory(struct pair *p, bool all)
{
	uint64_t n_pages = mem_ram_size(p->side[REF].mem) / PAGE_SIZE;
	const uint64_t *a = p->side[REF].dirty, *b = p->side[TEST].dirty;

	for (int i = 0; i < 2; i++)
		mem_dirty_take(p->side[i].mem, p->side[i].dirty);
	for (uint64_t w = 0; w * 64 < n_pages; w++) {
		uint64_t bits = all ? UINT64_MAX : a[w] | b[w];

		for (; bits; bits &= bits - 1) {
			uint64_t n = w * 64 + (uint64_t)__builtin_ctzll(bits);

			if (n < n_pages && page_differs(p, n))
				return false;
		}
	}
	return true;
}

static void print_page(const struct pair *p, uint64_t n)
{
	const uint8_t *bytes[2] = {page_of(&p->side[REF], n), page_of(&p->side[TEST], n)};
	unsigned first = 0, differ = 0;

	for (unsigned i = PAGE_SIZE; i-- > 0;)
		if (bytes[REF][i] != bytes[TEST][i]) {
			first = i;
			differ++;
		}
	printf("  memory: RAM offset %#" PRIx64 ", %u bytes of the page; first:",
	       n * PAGE_SIZE + first, differ);
	for (int side = 0; side < 2; side++) {
		printf(" %s ", p->side[side].name);
		for (unsigned i = first; i < first + BYTES_SHOWN && i < PAGE_SIZE; i++)
			printf("%02x", bytes[side][i]);
	}
	printf("\n");
}

void print_memory(const struct pair *p)
{
	uint64_t n_pages = mem_ram_size(p->side[REF].mem) / PAGE_SIZE, differ = 0;

	for (uint64_t n = 0; n < n_pages; n++)
		if (page_differs(p, n) && differ++ < PAGES_SHOWN)
			print_page(p, n);
	if (differ > PAGES_SHOWN)
		printf("  and %" PRIu64 " pages more\n", differ - PAGES_SHOWN);
}

/* --- devices --- */
static int64_t next_timer(const struct side *s)
{
	int64_t deadline;

	return timer_next(s->loop, s->clock, &deadline) ? deadline : -1;
}

static bool same_console(const struct pair *p)
{
	char *a = pair_console(&p->side[REF], 0), *b = pair_console(&p->side[TEST], 0);
	bool same = !strcmp(a, b);

	free(a);
	free(b);
	return same;
}

bool same_devices(const struct pair *p)
{
	return next_timer(&p->side[REF]) == next_timer(&p->side[TEST]) && same_console(p);
}

void print_devices(const struct pair *p)
{
	const struct side *a = &p->side[REF], *b = &p->side[TEST];

	if (next_timer(a) != next_timer(b))
		printf("  next timer: %s %" PRId64 " ns, %s %" PRId64 " ns\n", a->name,
		       next_timer(a), b->name, next_timer(b));
	if (!same_console(p))
		printf("  the text on the console differs\n");
}

/* --- exits --- */
static const char *exit_name(enum engine_exit why)
{
	static const char *const names[] = {
		[ENGINE_EXIT_KICK] = "kick",	      [ENGINE_EXIT_HALT] = "halt",
		[ENGINE_EXIT_SIPI] = "wait-for-SIPI", [ENGINE_EXIT_SHUTDOWN] = "shutdown",
		[ENGINE_EXIT_DEBUG] = "debug",	      [ENGINE_EXIT_DONE] = "done",
		[ENGINE_EXIT_ERROR] = "error",
	};

	return names[why];
}

void print_exits(const struct pair *p)
{
	if (p->done[REF] == p->done[TEST] && p->why[REF] == p->why[TEST])
		return;
	for (int i = 0; i < 2; i++)
		if (p->ran)
			printf("  %s: %" PRIu64 " instructions, then %s\n", p->side[i].name,
			       p->done[i], exit_name(p->why[i]));
		else
			printf("  %s: events, then %s\n", p->side[i].name, exit_name(p->why[i]));
}
