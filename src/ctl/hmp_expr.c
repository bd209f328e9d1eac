/* SPDX-License-Identifier: Apache-2.0 */
/* Expressions at a monitor: numbers, $registers, operators with C's precedence.  64 bits, unsigned.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include "ctl/hmp_int.h"
#include "x86/state.h"

#define MAX_NESTING 32

struct expr {
	struct hmp_call *h;
	const char *p, *why;
	unsigned depth, parens;
};

static uint64_t expr_or(struct expr *x);

struct x86_state *hmp_state(struct hmp_call *h)
{
	struct x86_state *s = xzalloc_aligned(64, sizeof(*s));
	struct engine_vm *ev;
	const struct engine_ops *engine = vm_engine(h->vm, &ev);

	engine->get(ev, *h->cpu, s);
	return s;
}

static bool reg_get(const struct x86_state *s, const char *name, uint64_t *v)
{
	static const char *const gprs[] = {"ax", "cx", "dx", "bx", "sp", "bp", "si", "di"};
	static const char *const segs[] = {"es", "cs", "ss", "ds", "fs", "gs"};
	bool wide = name[0] == 'r', narrow = name[0] == 'e';
	uint64_t mask = narrow ? UINT32_MAX : UINT64_MAX;

	for (unsigned i = 0; (wide || narrow) && i < ARRAY_SIZE(gprs); i++) {
		if (strcmp(name + 1, gprs[i]))
			continue;
		*v = s->gpr[i] & mask;
		return true;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(segs); i++) {
		if (strcmp(name, segs[i]))
			continue;
		*v = s->seg[i].sel;
		return true;
	}
	if (wide && isdigit((unsigned char)name[1])) {
		unsigned n = (unsigned)atoi(name + 1);

		*v = s->gpr[n < X86_GPR_COUNT ? n : 0];
		return n >= 8 && n < X86_GPR_COUNT;
	}
	if (!strcmp(name, "rip") || !strcmp(name, "eip") || !strcmp(name, "pc"))
		*v = s->rip & mask;
	else if (!strcmp(name, "rflags") || !strcmp(name, "eflags"))
		*v = s->rflags;
	else if (!strcmp(name, "cr0") || !strcmp(name, "cr2") || !strcmp(name, "cr3") ||
		 !strcmp(name, "cr4"))
		*v = (const uint64_t[]){s->cr0, 0, s->cr2, s->cr3, s->cr4}[name[2] - '0'];
	else
		return false;
	return true;
}

static uint64_t expr_register(struct expr *x)
{
	struct x86_state *s;
	char name[16];
	size_t len = 0;
	uint64_t v = 0;
	bool frozen;

	while (isalnum((unsigned char)x->p[len]) && len < sizeof(name) - 1) {
		name[len] = (char)tolower((unsigned char)x->p[len]);
		len++;
	}
	name[len] = 0;
	x->p += len;
	frozen = vm_freeze(x->h->vm);
	s = hmp_state(x->h);
	vm_thaw(x->h->vm, frozen);
	if (!reg_get(s, name, &v))
		x->why = "there is no such register";
	free(s);
	return v;
}

static void skip_space(struct expr *x)
{
	x->p += strspn(x->p, " \t");
}

static uint64_t expr_atom(struct expr *x)
{
	char *end;
	uint64_t v;

	skip_space(x);
	if (x->depth > MAX_NESTING)
		x->why = "too many levels";
	if (x->why)
		return 0;
	if (*x->p == '(' || *x->p == '-' || *x->p == '~' || *x->p == '+') {
		char op = *x->p++;

		x->depth++;
		x->parens += op == '(';
		v = op == '(' ? expr_or(x) : expr_atom(x);
		x->depth--;
		x->parens -= op == '(';
		if (op == '(')
			skip_space(x);
		if (op == '(' && *x->p++ != ')') {
			x->p--;
			x->why = "')' is missing";
		}
		return op == '-' ? -v : op == '~' ? ~v : v;
	}
	if (*x->p == '$') {
		x->p++;
		return expr_register(x);
	}
	if (!isdigit((unsigned char)*x->p)) {
		x->why = "a number is missing";
		return 0;
	}
	v = strtoull(x->p, &end, 0);
	x->p = end;
	return v;
}

/*
 * Does one of these operators follow?  Outside of parentheses a blank can end a number too, so that a
 * file's name may come behind: an operator with a blank before it has one after it.
 */
static bool expr_operator(struct expr *x, const char *ops)
{
	const char *p = x->p + strspn(x->p, " \t");
	bool blank = p != x->p;

	if (x->why || !*p || !strchr(ops, *p))
		return false;
	if (blank && !x->parens && p[1] != ' ' && p[1] != '\t')
		return false;
	x->p = p;
	return true;
}

static uint64_t expr_product(struct expr *x)
{
	uint64_t v = expr_atom(x);

	while (expr_operator(x, "*/%")) {
		char op = *x->p++;
		uint64_t w = expr_atom(x);

		if (op != '*' && !w)
			x->why = x->why ? x->why : "division by zero";
		else
			v = op == '*' ? v * w : op == '/' ? v / w : v % w;
	}
	return v;
}

static uint64_t expr_sum(struct expr *x)
{
	uint64_t v = expr_product(x);

	while (expr_operator(x, "+-")) {
		bool minus = *x->p++ == '-';
		uint64_t w = expr_product(x);

		v = minus ? v - w : v + w;
	}
	return v;
}

static uint64_t expr_or(struct expr *x)
{
	uint64_t v = expr_sum(x);

	while (expr_operator(x, "&|^")) {
		char op = *x->p++;
		uint64_t w = expr_sum(x);

		v = op == '&' ? v & w : op == '|' ? v | w : v ^ w;
	}
	return v;
}

bool hmp_number(struct hmp_call *h, const char *what, uint64_t *val)
{
	struct expr x = {.h = h, .p = h->args + strspn(h->args, " \t")};

	if (!*x.p) {
		hmp_error(h, "%s is missing", what);
		return false;
	}
	*val = expr_or(&x);
	if (x.why || (*x.p && *x.p != ' ' && *x.p != '\t')) {
		hmp_error(h, "%s: %s", what, x.why ? x.why : "not a number");
		return false;
	}
	h->args += x.p - h->args;
	return true;
}
