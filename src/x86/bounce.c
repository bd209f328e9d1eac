/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bounce execution: theory of operation.
 *
 * The host speaks the guest's instruction set, so the meaning of `vfmadd213ps ymm1, ymm2, [rsi+8]`
 * is had by running it.  bounce_prepare() turns a decoded instruction into a stub, a few dozen
 * bytes of host code that load the guest's registers the instruction names, run it with its memory
 * operand rewritten to a pointer we give, and store what it wrote (bounce_emit.c).  bounce_exec()
 * checks that the state is enabled (CR0, CR4, XCR0), finds the operand, and calls the stub.
 *
 * Operand: when all of it lies in one page with a fast translation of the right kind, the stub
 * works on guest memory itself; otherwise on a buffer that is filled before (x86_read_block) or
 * written after (x86_write_block; probed before, so that a store fault commits nothing).
 * Element-wise instructions whose faults depend on a mask, and those that expose whole state
 * images, are written in C: bounce_mask.c, bounce_xsave.c, bounce_x87.c.  Plain vector moves need
 * no stub: bounce_move.c.
 *
 * What stays true: outside of a stub the thread has the host's MXCSR and an empty x87 stack; the
 * vector image in struct x86_cpu is complete (XSTATE_BV = 7, bounce_xsave_fill); a stub never
 * faults half done, since a faulting instruction commits nothing and the stub's stores come after
 * it.
 *
 * Code memory: a memfd mapped twice, once writable and once executable.  Stubs are shared by all
 * equal instructions of a vCPU: the key is the normalised encoding.  When the pool is full the
 * engine drops all.
 *
 * Threads: a pool belongs to one vCPU thread.  The signal handlers are the process's
 * (bounce_sig.c).
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/err.h"
#include "x86/bounce_int.h"

#define POOL_CODE_SIZE (2 * MiB)
#define POOL_STUBS 8192 /* power of two; three quarters are used */

struct bounce_pool {
	uint8_t *rw;
	const uint8_t *rx;
	size_t used;
	unsigned n;
	struct bounce_stub *stubs; /* POOL_STUBS */
	uint16_t hash[POOL_STUBS * 2]; /* index + 1 in stubs, 0: empty */
};

/* --- pool --- */

static int pool_map(struct bounce_pool *p, struct err **e)
{
	int fd = memfd_create("doppel-bounce", MFD_CLOEXEC), rc = 0;

	if (fd < 0)
		return err_set(e, errno, "cannot create memory for code: %s", strerror(errno));
	if (ftruncate(fd, POOL_CODE_SIZE) < 0)
		rc = -errno;
	p->rw = mmap(NULL, POOL_CODE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	p->rx = mmap(NULL, POOL_CODE_SIZE, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
	if (!rc && (p->rw == MAP_FAILED || p->rx == MAP_FAILED))
		rc = -errno;
	close(fd);
	if (rc)
		return err_set(e, -rc, "cannot map executable memory: %s", strerror(-rc));
	return 0;
}

int bounce_pool_create(struct bounce_pool **out, struct err **e)
{
	struct bounce_pool *p = xzalloc(sizeof(*p));
	int rc;

	p->rw = MAP_FAILED;
	p->rx = MAP_FAILED;
	rc = pool_map(p, e);
	if (rc) {
		bounce_pool_destroy(p);
		return rc;
	}
	p->stubs = xcalloc(POOL_STUBS, sizeof(*p->stubs));
	bounce_sig_install();
	*out = p;
	return 0;
}

void bounce_pool_destroy(struct bounce_pool *p)
{
	if (!p)
		return;
	if (p->rw != MAP_FAILED)
		munmap(p->rw, POOL_CODE_SIZE);
	if (p->rx != MAP_FAILED)
		munmap((void *)(uintptr_t)p->rx, POOL_CODE_SIZE);
	free(p->stubs);
	free(p);
}

void bounce_flush(struct bounce_pool *p)
{
	p->used = 0;
	p->n = 0;
	memset(p->hash, 0, sizeof(p->hash));
}

static uint32_t key_hash(const struct bounce_key *k)
{
	uint64_t h = 0x9e3779b97f4a7c15u, w;

	_Static_assert(sizeof(*k) % 8 == 0, "key is hashed by words");
	for (unsigned i = 0; i < sizeof(*k); i += 8) {
		memcpy(&w, (const uint8_t *)k + i, 8);
		h = (h ^ w) * 0xff51afd7ed558ccdu;
		h ^= h >> 32;
	}
	return (uint32_t)h;
}

/* --- faults --- */

void bounce_avail_fault(struct x86_cpu *c, const struct bounce_stub *s)
{
	bool em = c->s.cr0 & CR0_EM;

	switch ((enum bounce_avail)s->avail) {
	case BOUNCE_AV_NONE:
	case BOUNCE_AV_X87:
		break;
	case BOUNCE_AV_MMX:
		if (em)
			x86_raise(c, X86_UD);
		break;
	case BOUNCE_AV_SSE:
	case BOUNCE_AV_AVX:
	case BOUNCE_AV_XSAVE:
		if ((s->cr0_bad & c->s.cr0 & CR0_EM) || (~c->s.cr4 & s->cr4_need) ||
		    (~c->s.xcr0 & s->xcr0_need))
			x86_raise(c, X86_UD);
		break;
	}
	x86_raise(c, X86_NM);
}

void bounce_check_ac(struct x86_cpu *c, const struct bounce_stub *s, uint64_t lin)
{
	if ((c->mode & X86_MODE_CPL3) && s->ac && (lin & (s->ac - 1u)))
		x86_raise_err(c, X86_AC, 0);
}

void bounce_set_mem(struct bounce_stub *s, unsigned size, bool write)
{
	s->pub.ea = BOUNCE_EA_LIN;
	s->pub.lin_size = (uint16_t)size;
	s->pub.lin_write = write;
	/* Accesses of up to 8 bytes are checked, vectors are not (SDM 2 2.4). */
	s->ac = s->no_ac ? 0 : size == 10 ? 8 : is_pow2(size) && size <= 8 ? (uint8_t)size : 0;
}

void bounce_set_avail(struct bounce_stub *s, enum bounce_avail avail)
{
	s->avail = (uint8_t)avail;
	s->cr0_bad = CR0_TS;
	switch (avail) {
	case BOUNCE_AV_NONE:
		s->cr0_bad = 0;
		break;
	case BOUNCE_AV_X87:
	case BOUNCE_AV_MMX:
		s->cr0_bad |= CR0_EM;
		break;
	case BOUNCE_AV_SSE:
		s->cr0_bad |= CR0_EM;
		s->cr4_need = CR4_OSFXSR;
		break;
	case BOUNCE_AV_AVX:
		s->cr4_need = CR4_OSXSAVE;
		s->xcr0_need = XCR0_SSE | XCR0_AVX;
		break;
	case BOUNCE_AV_XSAVE:
		s->cr4_need = CR4_OSXSAVE;
		break;
	}
}

/* The stub's fault exit: the vector the host saw is the guest's. */
void bounce_run_fault(struct x86_cpu *c, unsigned code)
{
	unsigned vector = code & 0x1f;

	if (vector == X86_XM) {
		c->s.xsave.mxcsr = bounce_running.mxcsr & MXCSR_VALID;
		x86_raise(c, (c->s.cr4 & CR4_OSXMMEXCPT) ? X86_XM : X86_UD);
	}
	if (vector == X86_GP || vector == X86_AC || vector == X86_SS_FAULT)
		x86_raise_err(c, (uint8_t)vector, 0);
	x86_raise(c, (uint8_t)vector);
}

void bounce_xsave_fill(struct x86_xsave *x)
{
	if (!(x->xstate_bv & XCR0_X87)) {
		memset(x, 0, offsetof(struct x86_xsave, mxcsr));
		memset(x->st, 0, sizeof(x->st));
		x->fcw = 0x37f;
	}
	if (!(x->xstate_bv & XCR0_SSE))
		memset(x->xmm, 0, sizeof(x->xmm));
	if (!(x->xstate_bv & (XCR0_SSE | XCR0_AVX)))
		x->mxcsr = MXCSR_DEFAULT;
	if (!(x->xstate_bv & XCR0_AVX))
		memset(x->ymmh, 0, sizeof(x->ymmh));
	x->mxcsr &= MXCSR_VALID;
	x->xstate_bv = XCR0_X87 | XCR0_SSE | XCR0_AVX;
	x->xcomp_bv = 0;
}

/* --- execution --- */

static void exec_reg(struct x86_cpu *c, const struct bounce *b, uint64_t lin, uint64_t ea)
{
	const struct bounce_stub *s = bounce_stub_of(b);

	bounce_check_avail(c, s);
	bounce_run(c, s, NULL);
}

static void exec_read(struct x86_cpu *c, const struct bounce *b, uint64_t lin, uint64_t ea)
{
	const struct bounce_stub *s = bounce_stub_of(b);
	_Alignas(32) uint8_t buf[64];
	void *p;

	bounce_check_avail(c, s);
	bounce_check_align(c, s, lin);
	p = bounce_direct_rd(c, lin, s->size);
	if (unlikely(!p)) {
		x86_read_block(c, lin, buf, s->size);
		p = buf;
	}
	bounce_run(c, s, p);
}

static void exec_write(struct x86_cpu *c, const struct bounce *b, uint64_t lin, uint64_t ea)
{
	const struct bounce_stub *s = bounce_stub_of(b);
	_Alignas(32) uint8_t buf[64];
	void *p;

	bounce_check_avail(c, s);
	bounce_check_align(c, s, lin);
	p = bounce_direct_wr(c, lin, s->size);
	if (likely(p != NULL)) {
		bounce_run(c, s, p);
		return;
	}
	/* VCVTPS2PH has its exceptions and MXCSR flags before the store is tried. */
	if (!s->mxcsr)
		x86_probe(c, lin, s->size, X86_WRITE);
	if (s->mem_read)
		x86_read_block(c, lin, buf, s->size);
	bounce_run(c, s, buf);
	x86_write_block(c, lin, buf, s->size);
}

/* --- preparation --- */

unsigned bounce_reg_num(ZydisRegister r)
{
	switch (ZydisRegisterGetClass(r)) {
	case ZYDIS_REGCLASS_GPR8:
	case ZYDIS_REGCLASS_GPR16:
	case ZYDIS_REGCLASS_GPR32:
	case ZYDIS_REGCLASS_GPR64:
		r = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, r);
		break;
	default:
		break;
	}
	return (unsigned)ZydisRegisterGetId(r) & 15;
}

static bool reg_is_gpr(ZydisRegister r)
{
	ZydisRegisterClass cl = ZydisRegisterGetClass(r);

	return cl == ZYDIS_REGCLASS_GPR8 || cl == ZYDIS_REGCLASS_GPR16 ||
	       cl == ZYDIS_REGCLASS_GPR32 || cl == ZYDIS_REGCLASS_GPR64;
}

/* How a register is written in an encoding field; not-general ones are marked (bounce_emit.c). */
static uint8_t reg_field(struct bounce_key *k, ZydisRegister r)
{
	if (!reg_is_gpr(r))
		return (uint8_t)(0x80 | bounce_reg_num(r));
	if (r >= ZYDIS_REGISTER_AH && r <= ZYDIS_REGISTER_BH) {
		k->high = 1;
		return (uint8_t)(0x80 | (4 + r - ZYDIS_REGISTER_AH));
	}
	if (r >= ZYDIS_REGISTER_SPL && r <= ZYDIS_REGISTER_DIL)
		k->rex_low = 1;
	return (uint8_t)bounce_reg_num(r);
}

static void key_prefixes(struct bounce_key *k, const struct x86_decoded *d)
{
	const ZydisDecodedInstructionRaw *raw = &d->insn.raw;

	if (k->vex) {
		static const uint8_t rep[] = {0, 0, 0xf3, 0xf2};

		k->p66 = raw->vex.pp == 1;
		k->prep = rep[raw->vex.pp & 3];
		k->w = raw->vex.W;
		k->l = raw->vex.L;
		return;
	}
	k->w = d->insn.machine_mode == ZYDIS_MACHINE_MODE_LONG_64 && raw->rex.W;
	for (unsigned i = 0; i < raw->prefix_count; i++) {
		uint8_t v = raw->prefixes[i].value;

		if (raw->prefixes[i].type != ZYDIS_PREFIX_TYPE_MANDATORY)
			continue;
		if (v == 0x66)
			k->p66 = 1;
		else if (v == 0xf2 || v == 0xf3)
			k->prep = v;
	}
}

/* The normalised encoding: the same for every way to write the instruction. */
static void key_make(struct bounce_key *k, const struct x86_decoded *d)
{
	const ZydisDecodedInstruction *in = &d->insn;
	const ZydisDecodedInstructionRaw *raw = &in->raw;
	bool code64 = in->machine_mode == ZYDIS_MACHINE_MODE_LONG_64;
	bool gpr = false;

	k->mnemonic = (uint16_t)in->mnemonic;
	k->vex = in->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX;
	k->map = (uint8_t)in->opcode_map;
	k->opcode = in->opcode;
	k->has_modrm = !!(in->attributes & ZYDIS_ATTRIB_HAS_MODRM);
	k->modrm = (uint8_t)(raw->modrm.mod << 6 | raw->modrm.reg << 3 | raw->modrm.rm);
	k->mem = k->has_modrm && raw->modrm.mod != 3;
	if (k->mem)
		k->modrm = 0;
	k->code64 = code64;
	k->opsize = d->opsize;
	k->addrsize = d->addrsize;
	key_prefixes(k, d);
	k->reg = 0x80 | raw->modrm.reg;
	k->rm = k->mem ? 0 : 0x80 | raw->modrm.rm;
	k->vvvv = 0x80;
	for (unsigned i = 0; i < in->operand_count; i++) {
		const ZydisDecodedOperand *op = &d->op[i];

		if (op->type != ZYDIS_OPERAND_TYPE_REGISTER)
			continue;
		if (op->encoding != ZYDIS_OPERAND_ENCODING_NONE && reg_is_gpr(op->reg.value))
			gpr = true;
		switch (op->encoding) {
		case ZYDIS_OPERAND_ENCODING_MODRM_REG:
			k->reg = reg_field(k, op->reg.value);
			break;
		case ZYDIS_OPERAND_ENCODING_MODRM_RM:
			k->rm = reg_field(k, op->reg.value);
			break;
		case ZYDIS_OPERAND_ENCODING_NDSNDD:
			k->vvvv = reg_field(k, op->reg.value);
			break;
		case ZYDIS_OPERAND_ENCODING_IS4:
			k->has_is4 = 1;
			k->is4 = (uint8_t)bounce_reg_num(op->reg.value);
			break;
		default:
			break;
		}
	}
	if (!k->has_is4 && raw->imm[0].size) {
		k->imm_len = raw->imm[0].size / 8;
		memcpy(k->imm, d->bytes + raw->imm[0].offset, k->imm_len <= 4 ? k->imm_len : 4);
	}
	/* Outside of 64-bit mode VEX.W does not choose 64-bit general operands (SDM 2 2.3.5.5). */
	if (k->vex && !code64 &&
	    (gpr || (k->map == 1 && (k->opcode == 0x6e || k->opcode == 0x7e)) ||
	     (k->map == 1 && (k->opcode == 0x2a)) ||
	     (k->map == 3 && (k->opcode == 0x16 || k->opcode == 0x22))))
		k->w = 0;
}

void bounce_key_address(struct bounce_stub *s, const ZydisDecodedOperand *op, unsigned addrsize)
{
	struct bounce_key *k = &s->key;

	k->addrsize = (uint8_t)addrsize;
	k->seg = (uint8_t)ZydisRegisterGetId(op->mem.segment);
	k->base = op->mem.base == ZYDIS_REGISTER_NONE ? BOUNCE_NO_REG
		  : op->mem.base == ZYDIS_REGISTER_RIP || op->mem.base == ZYDIS_REGISTER_EIP
			  ? BOUNCE_NO_REG
			  : (uint8_t)bounce_reg_num(op->mem.base);
	k->index = op->mem.index == ZYDIS_REGISTER_NONE ? BOUNCE_NO_REG
							: (uint8_t)bounce_reg_num(op->mem.index);
	k->scale = op->mem.scale;
	k->disp = op->mem.disp.has_displacement ? (uint64_t)op->mem.disp.value : 0;
}

static void regs_vector(struct bounce_stub *s, const ZydisDecodedOperand *op, bool ymm)
{
	uint16_t bit = (uint16_t)BIT(bounce_reg_num(op->reg.value));
	bool rd = op->actions & ZYDIS_OPERAND_ACTION_MASK_READ;
	bool wr = op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;

	if (rd || !s->key.vex) /* a legacy destination may be written in part */
		s->regs.xmm_in |= bit;
	if (rd && ymm)
		s->regs.ymm_in |= bit;
	if (wr)
		s->regs.xmm_out |= bit;
	if (wr && ymm)
		s->regs.ymm_out |= bit;
}

/* Registers by class; false when there is one that a stub cannot place. */
static bool regs_make(struct bounce_stub *s, const struct x86_decoded *d)
{
	for (unsigned i = 0; i < d->insn.operand_count; i++) {
		const ZydisDecodedOperand *op = &d->op[i];

		if (op->type != ZYDIS_OPERAND_TYPE_REGISTER)
			continue;
		switch (ZydisRegisterGetClass(op->reg.value)) {
		case ZYDIS_REGCLASS_GPR8:
		case ZYDIS_REGCLASS_GPR16:
		case ZYDIS_REGCLASS_GPR32:
		case ZYDIS_REGCLASS_GPR64:
			s->regs.gpr |= (uint16_t)BIT(bounce_reg_num(op->reg.value));
			if (op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)
				s->regs.gpr_out |= (uint16_t)BIT(bounce_reg_num(op->reg.value));
			break;
		case ZYDIS_REGCLASS_XMM:
			regs_vector(s, op, false);
			break;
		case ZYDIS_REGCLASS_YMM:
			regs_vector(s, op, true);
			break;
		case ZYDIS_REGCLASS_FLAGS:
			s->regs.flags = true;
			break;
		case ZYDIS_REGCLASS_MMX:
		case ZYDIS_REGCLASS_X87:
			s->x87 = true;
			break;
		case ZYDIS_REGCLASS_INVALID: /* x87 status, control and tag words, MXCSR */
			break;
		default:
			return false;
		}
	}
	s->avx_upper = s->key.vex && (s->key.l || s->regs.ymm_in);
	return true;
}

/* Does it depend on MXCSR or set its flags?  By opcode: no integer instruction shares these. */
static bool uses_mxcsr(const struct bounce_key *k)
{
	switch (k->map) {
	case 1:
		return k->opcode == 0x51 || (k->opcode >= 0x58 && k->opcode <= 0x5f) ||
		       (k->opcode >= 0x2a && k->opcode <= 0x2f && k->opcode != 0x2b) ||
		       k->opcode == 0xc2 || k->opcode == 0xd0 || k->opcode == 0xe6 ||
		       k->opcode == 0x7c || k->opcode == 0x7d;
	case 2:
		return k->vex && ((k->opcode >= 0x96 && k->opcode <= 0xbf) || k->opcode == 0x13);
	case 3:
		return (k->opcode >= 0x08 && k->opcode <= 0x0b) || k->opcode == 0x40 ||
		       k->opcode == 0x41 || (k->vex && k->opcode == 0x1d);
	default:
		return false;
	}
}

/* Legacy SSE operands of 16 bytes are aligned but for these (SDM 2 table 2-16, exception types 1, 2
 * and 4); of VEX only the explicitly aligned moves are (SDM 1 14.9). */
static unsigned mem_alignment(const struct x86_decoded *d, bool vex)
{
	switch (d->insn.mnemonic) {
	case ZYDIS_MNEMONIC_MOVUPS:
	case ZYDIS_MNEMONIC_MOVUPD:
	case ZYDIS_MNEMONIC_MOVDQU:
	case ZYDIS_MNEMONIC_LDDQU:
	case ZYDIS_MNEMONIC_PCMPESTRI:
	case ZYDIS_MNEMONIC_PCMPESTRM:
	case ZYDIS_MNEMONIC_PCMPISTRI:
	case ZYDIS_MNEMONIC_PCMPISTRM:
		return 0;
	case ZYDIS_MNEMONIC_VMOVAPS:
	case ZYDIS_MNEMONIC_VMOVAPD:
	case ZYDIS_MNEMONIC_VMOVDQA:
	case ZYDIS_MNEMONIC_VMOVNTPS:
	case ZYDIS_MNEMONIC_VMOVNTPD:
	case ZYDIS_MNEMONIC_VMOVNTDQ:
	case ZYDIS_MNEMONIC_VMOVNTDQA:
		return d->mem_size;
	default:
		return !vex && d->mem_size == 16 ? 16 : 0;
	}
}

static bool isa_is_vector(ZydisISASet set)
{
	switch (set) {
	case ZYDIS_ISA_SET_SSE:
	case ZYDIS_ISA_SET_SSE2:
	case ZYDIS_ISA_SET_SSE2MMX:
	case ZYDIS_ISA_SET_SSE3:
	case ZYDIS_ISA_SET_SSE3X87:
	case ZYDIS_ISA_SET_SSE4:
	case ZYDIS_ISA_SET_SSE42:
	case ZYDIS_ISA_SET_SSSE3:
	case ZYDIS_ISA_SET_SSSE3MMX:
	case ZYDIS_ISA_SET_PENTIUMMMX:
	case ZYDIS_ISA_SET_AES:
	case ZYDIS_ISA_SET_PCLMULQDQ:
	case ZYDIS_ISA_SET_SHA:
	case ZYDIS_ISA_SET_GFNI:
	case ZYDIS_ISA_SET_AVX:
	case ZYDIS_ISA_SET_AVX2:
	case ZYDIS_ISA_SET_AVXAES:
	case ZYDIS_ISA_SET_AVX_GFNI:
	case ZYDIS_ISA_SET_AVX_VNNI:
	case ZYDIS_ISA_SET_VAES:
	case ZYDIS_ISA_SET_VPCLMULQDQ:
	case ZYDIS_ISA_SET_F16C:
	case ZYDIS_ISA_SET_FMA:
	case ZYDIS_ISA_SET_X87:
	case ZYDIS_ISA_SET_FCMOV:
		return true;
	default:
		return false;
	}
}

static bool mnemonic_is_integer(ZydisMnemonic m)
{
	switch (m) {
	case ZYDIS_MNEMONIC_ADCX:
	case ZYDIS_MNEMONIC_ADOX:
	case ZYDIS_MNEMONIC_ANDN:
	case ZYDIS_MNEMONIC_BEXTR:
	case ZYDIS_MNEMONIC_BLSI:
	case ZYDIS_MNEMONIC_BLSMSK:
	case ZYDIS_MNEMONIC_BLSR:
	case ZYDIS_MNEMONIC_BSF:
	case ZYDIS_MNEMONIC_BSR:
	case ZYDIS_MNEMONIC_BZHI:
	case ZYDIS_MNEMONIC_CMPXCHG:
	case ZYDIS_MNEMONIC_CMPXCHG8B:
	case ZYDIS_MNEMONIC_CMPXCHG16B:
	case ZYDIS_MNEMONIC_CRC32:
	case ZYDIS_MNEMONIC_DIV:
	case ZYDIS_MNEMONIC_IDIV:
	case ZYDIS_MNEMONIC_IMUL:
	case ZYDIS_MNEMONIC_LZCNT:
	case ZYDIS_MNEMONIC_MOVBE:
	case ZYDIS_MNEMONIC_MOVNTI:
	case ZYDIS_MNEMONIC_MUL:
	case ZYDIS_MNEMONIC_MULX:
	case ZYDIS_MNEMONIC_PDEP:
	case ZYDIS_MNEMONIC_PEXT:
	case ZYDIS_MNEMONIC_POPCNT:
	case ZYDIS_MNEMONIC_RDRAND:
	case ZYDIS_MNEMONIC_RDSEED:
	case ZYDIS_MNEMONIC_RORX:
	case ZYDIS_MNEMONIC_SARX:
	case ZYDIS_MNEMONIC_SHLD:
	case ZYDIS_MNEMONIC_SHLX:
	case ZYDIS_MNEMONIC_SHRD:
	case ZYDIS_MNEMONIC_SHRX:
	case ZYDIS_MNEMONIC_TZCNT:
	case ZYDIS_MNEMONIC_XADD:
		return true;
	default:
		return false;
	}
}

/* Not for stubs though their ISA set is taken: hints and fences are the engine's. */
static bool mnemonic_is_hint(ZydisMnemonic m)
{
	return m == ZYDIS_MNEMONIC_LFENCE || m == ZYDIS_MNEMONIC_SFENCE ||
	       m == ZYDIS_MNEMONIC_MFENCE;
}

static bool stub_integer(struct bounce_stub *s, const struct x86_decoded *d)
{
	if (!mnemonic_is_integer(d->insn.mnemonic) || (s->key.vex && s->key.l))
		return false;
	if (!s->key.vex && d->opsize == 2 && d->insn.mnemonic != ZYDIS_MNEMONIC_MOVNTI &&
	    d->insn.mnemonic != ZYDIS_MNEMONIC_CMPXCHG8B)
		s->key.p66 = 1;
	if (d->insn.mnemonic == ZYDIS_MNEMONIC_CMPXCHG16B)
		s->align = 16;
	return true;
}

static bool stub_vector(struct bounce_stub *s, const struct x86_decoded *d)
{
	bool xmm;

	if (!isa_is_vector(d->insn.meta.isa_set) || mnemonic_is_hint(d->insn.mnemonic))
		return false;
	xmm = s->regs.xmm_in | s->regs.xmm_out;
	bounce_set_avail(s, s->key.vex ? BOUNCE_AV_AVX : xmm ? BOUNCE_AV_SSE : BOUNCE_AV_MMX);
	s->wait = s->x87;
	s->mxcsr = uses_mxcsr(&s->key);
	s->align = (uint8_t)mem_alignment(d, s->key.vex);
	s->no_ac = d->insn.meta.isa_set ==
		   ZYDIS_ISA_SET_F16C; /* exception type 11 (SDM 2 2.4.10) */
	return true;
}

/* Fill s for a generated stub; false when d is none. */
static bool stub_prepare(struct bounce_stub *s, const struct x86_decoded *d)
{
	unsigned max = s->x87 ? 16 : 32;

	if (!regs_make(s, d) || (!stub_integer(s, d) && !stub_vector(s, d)))
		return false;
	if (s->key.map > 3 || s->key.imm_len > 4)
		return false;
	s->pub.exec = s->x87 ? bounce_exec_x87 : exec_reg;
	if (!s->key.mem)
		return true;
	if (d->mem < 0 || d->mem_size == 0 || d->mem_size > max)
		return false;
	s->mem_read = d->mem_read;
	s->mem_write = d->mem_write;
	s->size = (uint8_t)d->mem_size;
	if (s->x87) {
		bounce_x87_set_mem(s, d);
		return true;
	}
	bounce_set_mem(s, d->mem_size, d->mem_write);
	s->pub.exec = d->mem_write ? exec_write : exec_read;
	return true;
}

static bool encoding_known(const struct x86_decoded *d)
{
	return !d->lock && (d->insn.encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY ||
			    d->insn.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX);
}

/* Needs a stub when true; the parts in C do not. */
static bool prepare_any(struct bounce_stub *s, const struct x86_decoded *d, bool *code)
{
	*code = false;
	if (bounce_move_prepare(s, d) || bounce_mask_prepare(s, d) || bounce_xsave_prepare(s, d) ||
	    bounce_bcd_prepare(s, d))
		return true;
	*code = true;
	if (bounce_x87_prepare(s, d)) {
		*code = s->x87;
		return true;
	}
	return stub_prepare(s, d);
}

enum bounce_status bounce_prepare(struct bounce_pool *p, const struct x86_decoded *d,
				  const struct bounce **out)
{
	struct bounce_stub s;
	uint32_t h;
	unsigned len;
	bool code;

	if (!encoding_known(d))
		return BOUNCE_NO;
	memset(&s, 0, sizeof(s));
	key_make(&s.key, d);
	if (!prepare_any(&s, d, &code))
		return BOUNCE_NO;
	h = key_hash(&s.key);
	for (;; h++) {
		uint16_t i = p->hash[h % (POOL_STUBS * 2)];

		if (!i)
			break;
		if (!memcmp(&p->stubs[i - 1].key, &s.key, sizeof(s.key))) {
			*out = &p->stubs[i - 1].pub;
			return BOUNCE_OK;
		}
	}
	if (p->n >= POOL_STUBS || POOL_CODE_SIZE - p->used < BOUNCE_CODE_MAX)
		return BOUNCE_FULL;
	if (code) {
		len = bounce_emit(&s, p->rw + p->used, p->rx + p->used, BOUNCE_CODE_MAX);
		bug_on(len == 0);
		p->used += align_up(len, 16);
	}
	p->stubs[p->n] = s;
	p->hash[h % (POOL_STUBS * 2)] = (uint16_t)++p->n;
	*out = &p->stubs[p->n - 1].pub;
	return BOUNCE_OK;
}
