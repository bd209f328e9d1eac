/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Decoding guest instructions: Zydis, with what this vCPU's CPUID hides made undefined and the
 * known faults of Zydis 4.0.0 mended.  Stateless; any thread.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <Zydis/Zydis.h>

struct x86_cpuid;

#define X86_INSN_MAX 15 /* longest legal instruction (SDM 2 2.3.11) */

enum x86_decode_status {
	X86_DECODE_OK,
	X86_DECODE_MORE, /* the instruction goes on past the bytes given */
	X86_DECODE_UD, /* undefined here: #UD; len is the bytes looked at, or 1 */
	X86_DECODE_LONG, /* longer than 15 bytes: #GP(0) */
};

struct x86_decoded {
	ZydisDecodedInstruction insn;
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT]; /* insn.operand_count are valid */
	uint8_t bytes[X86_INSN_MAX];
	uint8_t len;
	uint8_t opsize; /* effective operand size: 2, 4 or 8 bytes (1 for byte forms) */
	uint8_t addrsize; /* effective address size: 2, 4 or 8 bytes */
	int8_t mem; /* index in op of the ModRM or moffs memory operand (AGEN too), or -1 */
	uint16_t mem_size; /* its size in bytes (0 for AGEN) */
	bool mem_read, mem_write;
	bool lock; /* LOCK prefix (valid here) */
	bool rep, repne; /* F3, F2 as a repeat prefix of a string instruction */
};

/* x86_decode - decode the instruction at bytes[0..len), len 1..15 (more are ignored), for code of
 * the given mode (X86_MODE_* bits of struct x86_cpu) and CPUID model (NULL: everything the engines
 * know). What was decoded is in *d only after X86_DECODE_OK; d->bytes and d->len also after _UD. */
enum x86_decode_status x86_decode(struct x86_decoded *d, const struct x86_cpuid *cpuid,
				  uint32_t mode, const uint8_t *bytes, size_t len);

/* The same, remembering what was decoded (decode_memo.c): one for each user, of one CPUID model, which
 * must outlive it.  Not for more than one thread at a time.  What is in d->bytes behind d->len is
 * not defined. */
struct x86_decode_memo;
struct x86_decode_memo *x86_decode_memo_create(const struct x86_cpuid *cpuid);
void x86_decode_memo_free(struct x86_decode_memo *m);
enum x86_decode_status x86_decode_memoized(struct x86_decode_memo *m, struct x86_decoded *d,
					   uint32_t mode, const uint8_t *bytes, size_t len);

/* x86_disasm - the instruction as text (Intel syntax) for logs; returns out. */
const char *x86_disasm(const struct x86_decoded *d, uint64_t rip, char *out, size_t size);
