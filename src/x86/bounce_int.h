/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Bounce execution, inside: the prepared instruction, the pool, and what the parts offer each
 * other. */
#include "base/base.h"
#include "x86/bounce.h"
#include "x86/mmu.h"
#include "x86/sys.h"

/* Which processor state an instruction needs to be switched on (SDM 3A 2.5, 13.1; SDM 2 2.4). */
enum bounce_avail {
	BOUNCE_AV_NONE,
	BOUNCE_AV_X87, /* CR0.EM or TS: #NM */
	BOUNCE_AV_MMX, /* CR0.EM: #UD; TS: #NM */
	BOUNCE_AV_SSE, /* CR0.EM, !CR4.OSFXSR: #UD; TS: #NM */
	BOUNCE_AV_AVX, /* !CR4.OSXSAVE, !XCR0[2:1]: #UD; TS: #NM */
	BOUNCE_AV_XSAVE, /* !CR4.OSXSAVE: #UD; TS: #NM */
};

/* Everything that makes one prepared instruction different from another; compared as bytes. */
struct bounce_key {
	uint16_t mnemonic;
	uint8_t vex, map, opcode, modrm;
	uint8_t p66, prep; /* 66 prefix; 0, F2 or F3 */
	uint8_t w, l;
	uint8_t has_modrm, mem;
	uint8_t reg, rm, vvvv, is4; /* register numbers; reg and rm may be opcode bits */
	uint8_t has_is4, imm_len;
	uint8_t rex_low; /* SPL, BPL, SIL or DIL is used: a REX prefix must be there */
	uint8_t high; /* AH, CH, DH or BH is used: no REX prefix */
	uint8_t code64, opsize;
	uint8_t seg,
		addrsize; /* these and below: only for instructions that form addresses inside */
	uint8_t base, index, scale;
	uint8_t pad[5];
	uint8_t imm[4];
	uint64_t disp;
};

#define BOUNCE_NO_REG 0xff

/* Registers by number: what a stub loads and stores. */
struct bounce_regs {
	uint16_t gpr, gpr_out; /* used; written */
	uint16_t xmm_in, ymm_in; /* loaded (ymm_in is a subset of xmm_in) */
	uint16_t xmm_out, ymm_out; /* stored; ymm_out: with the upper half */
	bool flags;
};

struct bounce_stub {
	struct bounce pub;
	struct bounce_key key;
	struct bounce_regs regs;
	uint32_t cr0_bad, cr4_need, xcr0_need; /* fast form of avail */
	uint8_t avail; /* enum bounce_avail */
	uint8_t align; /* of the memory operand, or 0 */
	uint8_t ac; /* alignment that #AC asks for, or 0 */
	uint8_t size; /* of the memory operand in bytes, <= 32 (x87 environments have their own) */
	bool x87; /* uses x87 or MMX state: FXRSTOR and FXSAVE around it */
	bool wait; /* checks for a pending x87 exception first */
	bool mxcsr; /* depends on MXCSR */
	bool no_ac; /* never alignment-checked */
	bool avx_upper; /* leaves host upper halves dirty */
	bool mem_read, mem_write;
	bool pointers; /* x87: FIP, FDP and FOP may be recorded */
	bool cond_store; /* x87 store that an unmasked exception suppresses */
	uint8_t elem; /* gathers and masked moves: element size */
	uint16_t fop, host_fop;
	uint64_t insn_ip; /* host address of the instruction in the stub */
	const uint8_t *code, *code_end, *fault_exit;
};

/* A stub: 0, or BOUNCE_FAULT | vector when the host faulted. */
typedef unsigned (*bounce_code)(struct x86_cpu *c, void *mem);
#define BOUNCE_FAULT 0x100u

static inline const struct bounce_stub *bounce_stub_of(const struct bounce *b)
{
	return container_of(b, const struct bounce_stub, pub);
}

/* The stub that runs on this thread, for the signal handler; and what the handler leaves behind. */
struct bounce_running {
	const struct bounce_stub *volatile stub;
	volatile uint32_t mxcsr; /* at the fault */
};
extern __thread struct bounce_running bounce_running __attribute__((tls_model("initial-exec")));

/* --- bounce_sig.c --- */
void bounce_sig_install(void);

/* --- bounce_emit.c: generate the code of s at rw, to run at rx; bytes used, or 0 when room is
 * short --- */
#define BOUNCE_CODE_MAX 512
unsigned bounce_emit(struct bounce_stub *s, uint8_t *rw, const uint8_t *rx, size_t room);

/* --- bounce.c --- */
void bounce_avail_fault(struct x86_cpu *c, const struct bounce_stub *s)
	__attribute__((noreturn, cold));
void bounce_x87_pending(struct x86_cpu *c);
void bounce_run_fault(struct x86_cpu *c, unsigned code) __attribute__((noreturn, cold));

/* bounce_check_ac - alignment checks of CPL 3 (SDM 3A 6.15, #AC). */
void bounce_check_ac(struct x86_cpu *c, const struct bounce_stub *s, uint64_t lin);

static inline void bounce_check_avail(struct x86_cpu *c, const struct bounce_stub *s)
{
	if (unlikely((c->s.cr0 & s->cr0_bad) | (~c->s.cr4 & s->cr4_need) |
		     (~c->s.xcr0 & s->xcr0_need)))
		bounce_avail_fault(c, s);
	if (unlikely(s->wait && (c->s.xsave.fsw & 0x80)))
		bounce_x87_pending(c);
}

static inline void bounce_check_align(struct x86_cpu *c, const struct bounce_stub *s, uint64_t lin)
{
	if (unlikely(s->align && (lin & (s->align - 1u))))
		x86_raise_err(c, X86_GP, 0);
	if (unlikely(c->align_check))
		bounce_check_ac(c, s, lin);
}

static inline void bounce_run(struct x86_cpu *c, const struct bounce_stub *s, void *mem)
{
	unsigned r;

	bounce_running.stub = s;
	r = ((bounce_code)(uintptr_t)s->code)(c, mem);
	bounce_running.stub = NULL;
	if (unlikely(r))
		bounce_run_fault(c, r);
}

/* Host address when [lin, lin+size) may be accessed directly, else NULL (no faults, no TLB fill).
 */
static inline void *bounce_direct_rd(struct x86_cpu *c, uint64_t lin, unsigned size)
{
	struct x86_tlb_entry *e = x86_tlb_slot(c->tlb, lin);

	return likely(e->rd == ((lin + size - 1) & ~(PAGE_SIZE - 1))) ? (void *)(lin + e->addend)
								      : NULL;
}

static inline void *bounce_direct_wr(struct x86_cpu *c, uint64_t lin, unsigned size)
{
	struct x86_tlb_entry *e = x86_tlb_slot(c->tlb, lin);

	return likely(e->wr == ((lin + size - 1) & ~(PAGE_SIZE - 1))) ? (void *)(lin + e->addend)
								      : NULL;
}

/* Element-wise addresses: offset -> linear with the operand's segment. */
static inline uint64_t bounce_elem_lin(struct x86_cpu *c, const struct bounce_stub *s, uint64_t off,
				       unsigned size, bool write)
{
	if (s->key.addrsize < 8)
		off &= mask_size(s->key.addrsize);
	return x86_lin(c, (enum x86_sreg)s->key.seg, off, size, write);
}

/*
 * Parts that take instructions by mnemonic: each looks at d and, when the instruction is its own,
 * fills s->pub and what its exec function needs, and returns true.  s->key is complete but for the
 * address fields (bounce_key_address adds them).
 */
bool bounce_move_prepare(struct bounce_stub *s, const struct x86_decoded *d);
bool bounce_mask_prepare(struct bounce_stub *s, const struct x86_decoded *d);
bool bounce_x87_prepare(struct bounce_stub *s, const struct x86_decoded *d);
bool bounce_xsave_prepare(struct bounce_stub *s, const struct x86_decoded *d);
bool bounce_bcd_prepare(struct bounce_stub *s, const struct x86_decoded *d);
void bounce_key_address(struct bounce_stub *s, const ZydisDecodedOperand *op, unsigned addrsize);
/* bounce_set_mem - the caller gives a linear address of an operand of size bytes. */
void bounce_set_mem(struct bounce_stub *s, unsigned size, bool write);
void bounce_set_avail(struct bounce_stub *s, enum bounce_avail avail);
/* Number 0..15 of a general, vector, MMX or x87 register. */
unsigned bounce_reg_num(ZydisRegister r);
/* bounce_x87_set_mem - the memory operand is one of an x87 or MMX instruction. */
void bounce_x87_set_mem(struct bounce_stub *s, const struct x86_decoded *d);
void bounce_exec_x87(struct x86_cpu *c, const struct bounce *b, uint64_t lin, uint64_t ea);

#define MXCSR_VALID 0xffffu /* bits a guest may set: MISALIGNSSE (bit 17) is never offered */
#define MXCSR_DEFAULT 0x1f80u
