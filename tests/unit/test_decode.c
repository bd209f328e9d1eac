/* SPDX-License-Identifier: Apache-2.0 */
/* The decoder: what CPUID hides, prefixes and lengths, and the faults of Zydis that it mends. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "base/err.h"
#include "x86/cpu.h"
#include "x86/cpuid.h"
#include "x86/decode.h"

#define MODE_64 (X86_MODE_PE | X86_MODE_LMA | X86_MODE_CS64 | X86_MODE_FLAT | X86_MODE_PG)
#define MODE_32 (X86_MODE_PE | X86_MODE_CS32 | X86_MODE_SS32 | X86_MODE_FLAT)
#define MODE_REAL 0

static struct x86_decoded d;

#define BYTES(...) (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__})

static enum x86_decode_status decode_as(const struct x86_cpuid *m, uint32_t mode,
					const uint8_t *bytes, size_t len)
{
	memset(&d, 0xa5, sizeof(d));
	return x86_decode(&d, m, mode, bytes, len);
}

static struct x86_cpuid *model(const char *spec)
{
	struct x86_cpuid *m = NULL;
	struct err *e = NULL;

	assert_int_equal(x86_cpuid_create(&m, spec, 1, 1000000, &e), 0);
	return m;
}

static void test_operands(void **state)
{
	/* mov [rbx+rcx*4+0x10], eax */
	assert_int_equal(decode_as(NULL, MODE_64, BYTES(0x89, 0x44, 0x8b, 0x10)), X86_DECODE_OK);
	assert_int_equal(d.len, 4);
	assert_int_equal(d.mem, 0);
	assert_int_equal(d.mem_size, 4);
	assert_true(d.mem_write && !d.mem_read);
	assert_int_equal(d.opsize, 4);
	assert_int_equal(d.addrsize, 8);
	/* lea: an address, no access */
	assert_int_equal(decode_as(NULL, MODE_64, BYTES(0x48, 0x8d, 0x03)), X86_DECODE_OK);
	assert_int_equal(d.mem, 1);
	assert_int_equal(d.mem_size, 0);
	/* mov al, [moffs] */
	assert_int_equal(decode_as(NULL, MODE_32, BYTES(0xa0, 1, 2, 3, 4)), X86_DECODE_OK);
	assert_int_equal(d.mem, 1);
	assert_int_equal(d.op[1].mem.disp.value, 0x04030201);
	/* push: its memory operand is hidden */
	assert_int_equal(decode_as(NULL, MODE_64, BYTES(0x50)), X86_DECODE_OK);
	assert_int_equal(d.mem, -1);
	assert_int_equal(d.opsize, 8);
}

static void test_prefixes(void **state)
{
	assert_int_equal(decode_as(NULL, MODE_64, BYTES(0xf3, 0xa4)), X86_DECODE_OK);
	assert_true(d.rep && !d.repne);
	/* The last one counts. */
	assert_int_equal(decode_as(NULL, MODE_64, BYTES(0xf3, 0xf2, 0xa6)), X86_DECODE_OK);
	assert_true(d.repne && !d.rep);
	/* LOCK: with a memory destination of some instructions only. */
	assert_int_equal(decode_as(NULL, MODE_64, BYTES(0xf0, 0x01, 0x03)), X86_DECODE_OK);
	assert_true(d.lock);
	assert_int_equal(decode_as(NULL, MODE_64, BYTES(0xf0, 0x01, 0xc3)), X86_DECODE_UD);
	assert_int_equal(decode_as(NULL, MODE_64, BYTES(0xf0, 0x03, 0x03)), X86_DECODE_UD);
	assert_int_equal(decode_as(NULL, MODE_64, BYTES(0xf0, 0x39, 0x03)), X86_DECODE_UD);
	assert_int_equal(decode_as(NULL, MODE_64, BYTES(0xf0, 0x90)), X86_DECODE_UD);
	/* A near jump's operand size is fixed in 64-bit mode. */
	assert_int_equal(decode_as(NULL, MODE_64, BYTES(0x66, 0xe9, 0, 0, 0, 0)), X86_DECODE_OK);
	assert_int_equal(d.len, 6);
	assert_int_equal(decode_as(NULL, MODE_32, BYTES(0x66, 0xe9, 0, 0)), X86_DECODE_OK);
	assert_int_equal(d.len, 4);
	assert_int_equal(d.opsize, 2);
}

static void test_lengths(void **state)
{
	uint8_t b[16];

	memset(b, 0x66, sizeof(b));
	b[14] = 0x90;
	assert_int_equal(decode_as(NULL, MODE_64, b, 15), X86_DECODE_OK);
	assert_int_equal(d.len, 15);
	b[14] = 0x66;
	b[15] = 0x90;
	assert_int_equal(decode_as(NULL, MODE_64, b, 16), X86_DECODE_LONG);
	assert_int_equal(decode_as(NULL, MODE_64, b, 14), X86_DECODE_MORE);
	assert_int_equal(decode_as(NULL, MODE_64, BYTES(0x48, 0xb8, 1, 2)), X86_DECODE_MORE);
	assert_int_equal(decode_as(NULL, MODE_64, b, 0), X86_DECODE_MORE);
}

/* What a model does not show is undefined, or what the bytes were before. */
static void test_hidden(void **state)
{
	struct x86_cpuid *max = model("max"), *old = model("qemu64");
	static const struct {
		uint8_t bytes[8], len;
		enum x86_feature needs;
	} cases[] = {
		{{0xc5, 0xf8, 0x28, 0xc1}, 4, X86_FEAT_AVX}, /* vmovaps */
		{{0xc4, 0xe2, 0x7d, 0x59, 0xc1}, 5, X86_FEAT_AVX2}, /* vpbroadcastq */
		{{0x0f, 0x38, 0xf0, 0x03}, 4, X86_FEAT_MOVBE},
		{{0x0f, 0xc7, 0xf0}, 3, X86_FEAT_RDRAND},
		{{0xc4, 0xe2, 0x78, 0xf2, 0xc1}, 5, X86_FEAT_BMI1}, /* andn */
		{{0xf3, 0x0f, 0xae, 0xc0}, 4, X86_FEAT_FSGSBASE}, /* rdfsbase */
		{{0x0f, 0x01, 0xca}, 3, X86_FEAT_SMAP}, /* clac */
		{{0x66, 0x0f, 0x38, 0xdb, 0xc1}, 5, X86_FEAT_AES}, /* aesimc */
	};

	for (size_t n = 0; n < sizeof(cases) / sizeof(cases[0]); n++) {
		assert_false(x86_cpuid_has(old, cases[n].needs));
		assert_int_equal(decode_as(old, MODE_64, cases[n].bytes, cases[n].len),
				 X86_DECODE_UD);
		if (x86_cpuid_has(max, cases[n].needs))
			assert_int_equal(decode_as(max, MODE_64, cases[n].bytes, cases[n].len),
					 X86_DECODE_OK);
	}
	/* TZCNT and LZCNT were BSF and BSR with a prefix that says nothing. */
	assert_int_equal(decode_as(old, MODE_64, BYTES(0xf3, 0x0f, 0xbc, 0xc1)), X86_DECODE_OK);
	assert_int_equal(d.insn.mnemonic, ZYDIS_MNEMONIC_BSF);
	assert_int_equal(decode_as(old, MODE_64, BYTES(0xf3, 0x0f, 0xbd, 0xc1)), X86_DECODE_OK);
	assert_int_equal(d.insn.mnemonic, ZYDIS_MNEMONIC_BSR);
	/* ENDBR64 and RDSSPQ are NOPs without CET. */
	assert_int_equal(decode_as(max, MODE_64, BYTES(0xf3, 0x0f, 0x1e, 0xfa)), X86_DECODE_OK);
	assert_int_equal(d.insn.mnemonic, ZYDIS_MNEMONIC_NOP);
	assert_int_equal(decode_as(max, MODE_64, BYTES(0xf3, 0x48, 0x0f, 0x1e, 0xc8)),
			 X86_DECODE_OK);
	assert_int_equal(d.insn.mnemonic, ZYDIS_MNEMONIC_NOP);
	x86_cpuid_destroy(max);
	x86_cpuid_destroy(old);
}

static void test_never(void **state)
{
	/* AVX-512, XOP, 3DNow!, TSX, VMX other than VMCALL, MONITOR. */
	assert_int_equal(decode_as(NULL, MODE_64, BYTES(0x62, 0xf1, 0x7c, 0x48, 0x28, 0xc1)),
			 X86_DECODE_UD);
	assert_int_equal(decode_as(NULL, MODE_64, BYTES(0x8f, 0xe9, 0x78, 0x01, 0xc8)),
			 X86_DECODE_UD);
	assert_int_equal(decode_as(NULL, MODE_64, BYTES(0x0f, 0x0f, 0xc1, 0x9e)), X86_DECODE_UD);
	assert_int_equal(decode_as(NULL, MODE_64, BYTES(0xc7, 0xf8, 0, 0, 0, 0)), X86_DECODE_UD);
	assert_int_equal(decode_as(NULL, MODE_64, BYTES(0x0f, 0x01, 0xc2)), X86_DECODE_UD);
	assert_int_equal(decode_as(NULL, MODE_64, BYTES(0x0f, 0x01, 0xc1)), X86_DECODE_OK);
	assert_int_equal(decode_as(NULL, MODE_64, BYTES(0x0f, 0x01, 0xd9)), X86_DECODE_OK);
	assert_int_equal(decode_as(NULL, MODE_64, BYTES(0x0f, 0x01, 0xc8)), X86_DECODE_UD);
	/* MOV to CS, and to CR1. */
	assert_int_equal(decode_as(NULL, MODE_64, BYTES(0x8e, 0xc8)), X86_DECODE_UD);
	assert_int_equal(decode_as(NULL, MODE_64, BYTES(0x0f, 0x22, 0xc8)), X86_DECODE_UD);
}

static void test_modes(void **state)
{
	/* VEX: not in real and virtual-8086 mode, where C5 is LDS (C5 F8 is no LDS either). */
	assert_int_equal(decode_as(NULL, MODE_32, BYTES(0xc5, 0xf8, 0x28, 0xc1)), X86_DECODE_OK);
	assert_int_equal(decode_as(NULL, MODE_REAL, BYTES(0xc5, 0xf8, 0x28, 0xc1)), X86_DECODE_UD);
	assert_int_equal(decode_as(NULL, MODE_REAL, BYTES(0xc5, 0x07)), X86_DECODE_OK);
	assert_int_equal(d.insn.mnemonic, ZYDIS_MNEMONIC_LDS);
	/* 40..4F: INC and DEC, or REX. */
	assert_int_equal(decode_as(NULL, MODE_32, BYTES(0x40)), X86_DECODE_OK);
	assert_int_equal(d.insn.mnemonic, ZYDIS_MNEMONIC_INC);
	assert_int_equal(decode_as(NULL, MODE_64, BYTES(0x40)), X86_DECODE_MORE);
	/* AAA: not in 64-bit mode. */
	assert_int_equal(decode_as(NULL, MODE_64, BYTES(0x37)), X86_DECODE_UD);
}

/* Zydis 4.0.0 takes r13d for the base of [disp32 + index] with REX.B and 32-bit addresses. */
/* What a memo gives is what decoding gives, whatever it was asked before. */
static void compare_memo(struct x86_decode_memo *m, const uint8_t *bytes, size_t len)
{
	static struct x86_decoded memoized;
	enum x86_decode_status st = decode_as(NULL, MODE_64, bytes, len);

	memset(&memoized, 0x5a, sizeof(memoized));
	assert_int_equal(x86_decode_memoized(m, &memoized, MODE_64, bytes, len), st);
	if (st != X86_DECODE_OK)
		return;
	assert_memory_equal(&memoized.insn, &d.insn, sizeof(d.insn));
	assert_memory_equal(memoized.op, d.op, d.insn.operand_count * sizeof(d.op[0]));
	assert_memory_equal(memoized.bytes, d.bytes, d.len);
	assert_true(memoized.len == d.len && memoized.opsize == d.opsize &&
		    memoized.addrsize == d.addrsize && memoized.mem == d.mem &&
		    memoized.mem_size == d.mem_size && memoized.mem_read == d.mem_read &&
		    memoized.mem_write == d.mem_write && memoized.lock == d.lock &&
		    memoized.rep == d.rep && memoized.repne == d.repne);
}

extern const char __executable_start[], etext[];

static void test_memo(void **state)
{
	struct x86_decode_memo *m = x86_decode_memo_create(NULL);
	uint64_t seed = 1;

	/* Code of this program, from every byte on. */
	for (const char *at = __executable_start; at + X86_INSN_MAX < etext; at++)
		compare_memo(m, (const uint8_t *)at, 15 - (uintptr_t)at % 5);
	/* Few beginnings, and any values. */
	for (unsigned n = 0; n < 1000000; n++) {
		uint8_t b[15];

		for (unsigned k = 0; k < sizeof(b); k++) {
			seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
			b[k] = (uint8_t)(seed >> 56);
		}
		if (n & 1)
			b[0] = 0x48 | (b[0] & 7);
		if (n & 2)
			b[1] = b[1] & 0x33;
		compare_memo(m, b, 15 - (n & 4 ? b[14] % 15 : 0));
	}
	x86_decode_memo_free(m);
}

static void test_no_base(void **state)
{
	/* cmp dword [r12d*1 + 0x44332211], 0x78563412 */
	static const uint8_t b[] = {0x67, 0x47, 0x81, 0x3c, 0x25, 0x11, 0x22,
				    0x33, 0x44, 0x12, 0x34, 0x56, 0x78};

	assert_int_equal(decode_as(NULL, MODE_64, b, sizeof(b)), X86_DECODE_OK);
	assert_int_equal(d.len, sizeof(b));
	assert_int_equal(d.op[0].mem.base, ZYDIS_REGISTER_NONE);
	assert_int_equal(d.op[0].mem.index, ZYDIS_REGISTER_R12D);
	assert_int_equal(d.op[0].mem.disp.value, 0x44332211);
	/* With a displacement in ModRM there is a base. */
	assert_int_equal(decode_as(NULL, MODE_64, BYTES(0x67, 0x43, 0x8b, 0x44, 0x25, 0x08)),
			 X86_DECODE_OK);
	assert_int_equal(d.op[1].mem.base, ZYDIS_REGISTER_R13D);
	assert_int_equal(d.op[1].mem.disp.value, 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_operands), cmocka_unit_test(test_prefixes),
		cmocka_unit_test(test_lengths),	 cmocka_unit_test(test_hidden),
		cmocka_unit_test(test_never),	 cmocka_unit_test(test_modes),
		cmocka_unit_test(test_no_base),	 cmocka_unit_test(test_memo),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
