/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Differential tests of single instructions: the same bytes with the same state on this host's
 * processor (native.c) and on an engine (soft.c); everything that comes out is compared.
 *
 * A case is a state and at most 16 bytes of code followed by INT3, run until an exception ends it:
 * usually that INT3.  Code, data and stack lie at the same linear addresses on both sides.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include "x86/decode.h"
#include "x86/state.h"

/* --- the arena: one memory file, pages at fixed linear addresses below 2 GiB on both sides --- */
#define ARENA_BASE UINT64_C(0x20000000)
#define CODE_BASE ARENA_BASE /* 2 pages, read and execute */
#define DATA_BASE (ARENA_BASE + 0x10000) /* 2 pages read-write, 1 read-only */
#define STACK_BASE (ARENA_BASE + 0x20000) /* 2 pages read-write */
#define ARENA_SPAN UINT64_C(0x30000)

enum { PG_CODE0, PG_CODE1, PG_DATA0, PG_DATA1, PG_RO, PG_STACK0, PG_STACK1, PG_COUNT };

struct arena_page {
	uint64_t va;
	bool write, exec;
};
extern const struct arena_page arena_pages[PG_COUNT];

/* --- a case --- */
struct istate {
	uint64_t gpr[16];
	uint64_t rip, rflags;
	uint64_t fs_base, gs_base;
	uint16_t cs; /* results only */
	struct x86_xsave x;
};

#define PATCH_MAX 1024
struct icase {
	const struct form *form;
	uint64_t seed;
	bool mode32;
	uint8_t bytes[16];
	unsigned len;
	struct x86_decoded d;
	struct istate in;
	uint64_t loose; /* flags that earlier instructions of a block left undefined */
	/* The arena's contents, and bytes that the case wants to be special on top of them. */
	const uint8_t (*template)[4096];
	uint64_t patch_va;
	unsigned patch_len;
	uint8_t patch[PATCH_MAX];
};

struct iresult {
	struct istate out;
	uint8_t vector;
	uint32_t error;
	uint64_t cr2;
	uint8_t mem[PG_COUNT][4096];
};

/* --- forms.c: what there is to test --- */
enum form_space { SPACE_LEGACY, SPACE_VEX };

struct form {
	uint8_t space, map, opcode;
	uint8_t prefix; /* 0, 66, F2, F3; VEX.pp for VEX */
	uint8_t w, l;
	bool mode32;
	bool has_modrm, mem;
	int8_t reg, rm; /* fixed ModRM fields, or -1 */
	uint16_t mnemonic;
	uint16_t group; /* ISA set */
	char name[120];
};

struct forms {
	struct form *f;
	unsigned n;
};

struct x86_cpuid;
void forms_make(struct forms *fs, const struct x86_cpuid *cpuid);
void forms_free(struct forms *fs);
/* form_mode - X86_MODE_* bits its code runs with. */
uint32_t form_mode(const struct form *f);

/* --- skip.c: instructions that cannot be compared --- */
enum skip_kind {
	SKIP_NO,
	SKIP_SHAPE, /* must complete on both sides with the same RIP; values differ */
	SKIP_ALL, /* not run at all */
};
enum skip_kind skip_form(const struct form *f, const char **why);
/* Which outputs of this case may differ, because the manual or the kernel leaves them open. */
struct slack {
	uint64_t flags; /* RFLAGS bits not compared */
	bool x87; /* x87 state not compared */
	bool vector; /* XMM, YMM and MXCSR not compared */
	bool mxcsr; /* exception flags of MXCSR not compared */
	bool mem; /* memory not compared */
	bool gpr; /* general registers not compared */
	bool rep_upper; /* upper halves of RCX, RSI, RDI not compared */
	bool ss_gp; /* #SS and #GP are the same */
	bool fault; /* any of #SS, #GP, #PF is as good as another */
	bool cr2; /* CR2 and the error code of #PF not compared */
};
void skip_slack(const struct icase *c, const struct iresult *native, struct slack *s);

/* --- gen.c --- */
struct rng {
	uint64_t s;
};
uint64_t rng_u64(struct rng *r);
unsigned rng_below(struct rng *r, unsigned n);
/* gen_case - the case of a form and a seed; false when none was found. */
bool gen_case(struct icase *c, const struct form *f, uint64_t seed, const struct x86_cpuid *cpuid);

/* For blocks: one instruction after the other on one state. */
struct gen {
	struct rng r;
	struct icase *c;
	const struct x86_cpuid *cpuid;
	bool block; /* operands seldom fault, and the stack is where it is */
};
/* gen_start - a random state.  gen_insn: an instruction of a form at c->in.rip; false when none was
 * found; changes of c->in are what its operands want. */
void gen_start(struct gen *g, bool mode32);
bool gen_insn(struct gen *g, const struct form *f);

/* --- block.c: random blocks of instructions --- */
#define BLOCK_INSNS 96
struct block {
	struct icase c; /* no bytes of its own: the code is in mem */
	uint8_t mem[PG_COUNT][4096];
	unsigned len, n;
	struct {
		uint16_t at; /* from c.in.rip */
		uint64_t loose; /* see struct icase */
	} insn[BLOCK_INSNS];
};
struct block_forms;
struct block_forms *block_forms_make(const struct forms *fs);
void block_forms_free(struct block_forms *bf);
void block_make(struct block *b, const struct block_forms *bf, uint64_t seed,
		const struct x86_cpuid *cpuid, const uint8_t (*template)[4096]);
/* block_end - point c.d and c.loose at the instruction where the native run ended. */
void block_end(struct block *b, const struct iresult *native, const struct x86_cpuid *cpuid);
void block_report(FILE *out, struct block *b, const struct iresult *native,
		  const struct iresult *soft, const struct x86_cpuid *cpuid, const char *what);
/* value.c */
uint64_t gen_int(struct rng *r);
void gen_vector(struct rng *r, uint8_t *v, unsigned len);
void gen_xstate(struct rng *r, struct x86_xsave *x);
void gen_xsave_image(struct rng *r, uint8_t *img, unsigned len);
void gen_x87_env(struct rng *r, uint8_t *img, unsigned len);
void gen_operand(struct rng *r, uint8_t *p, unsigned len);

/* --- the two sides --- */
bool native_init(const char **why);
void native_run(const struct icase *c, struct iresult *r);
uint8_t *native_page(unsigned pg);
void case_memory(uint8_t *page, unsigned pg, const struct icase *c);

struct soft;
struct engine_ops;
struct soft *soft_create(const struct engine_ops *ops);
void soft_destroy(struct soft *s);
/* False: the engine left guest code in an unexpected way (*why). */
bool soft_run(struct soft *s, const struct icase *c, struct iresult *r, const char **why);
/* soft_again - the same case on the code as it is, which the engine has seen. */
bool soft_again(struct soft *s, const struct icase *c, struct iresult *r, const char **why);
const struct x86_cpuid *soft_cpuid(const struct soft *s);

/* --- compare.c --- */
/* 0 when equal; else what differs first, in words. */
const char *compare_results(const struct icase *c, const struct iresult *native,
			    const struct iresult *soft, enum skip_kind kind);
void report_case(FILE *out, const struct icase *c, const struct iresult *native,
		 const struct iresult *soft, const char *what);
