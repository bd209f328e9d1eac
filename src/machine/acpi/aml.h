/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * ACPI Machine Language, written front to back into a byte string (ACPI 6.4 chapter 20).
 *
 * Terms that carry a package length (scopes, devices, methods, packages, buffers, ...) are opened
 * by a function that returns a mark and closed by aml_end(mark), innermost first; the length is put
 * in when it is known. Terms with arguments (Store, And, ...) are written as an opcode followed by
 * their arguments in order.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/bytes.h"

/* Where the package length of an open term goes. */
struct aml_mark {
	size_t at;
};

struct aml_mark aml_scope(struct bytes *b, const char *name);
struct aml_mark aml_device(struct bytes *b, const char *name);
struct aml_mark aml_method(struct bytes *b, const char *name, unsigned args, bool serialized);
struct aml_mark aml_package(struct bytes *b, uint8_t n);
struct aml_mark aml_field(struct bytes *b, const char *region); /* ByteAcc, NoLock, Preserve */
struct aml_mark aml_field_dword(struct bytes *b, const char *region); /* DWordAcc, NoLock, WriteAsZeros */
struct aml_mark aml_if(struct bytes *b); /* the predicate follows */
struct aml_mark aml_else(struct bytes *b);
void aml_end(struct bytes *b, struct aml_mark m);

/* aml_name - NameString: "\\_SB.PCI0", "FOO", segments of up to four characters. */
void aml_name(struct bytes *b, const char *path);
/* aml_name_op - Name (path, ...): the object follows. */
void aml_name_op(struct bytes *b, const char *path);
void aml_int(struct bytes *b, uint64_t v);
void aml_string(struct bytes *b, const char *s);
void aml_buffer(struct bytes *b, const uint8_t *p, size_t n);
/* aml_eisaid - the integer of EISAID ("PNP0A03"). */
void aml_eisaid(struct bytes *b, const char *id);
void aml_name_int(struct bytes *b, const char *path, uint64_t v);
void aml_name_eisaid(struct bytes *b, const char *path, const char *id);

void aml_region(struct bytes *b, const char *name, uint8_t space, uint64_t off, uint64_t len);
/* Entries of a field list. */
void aml_field_unit(struct bytes *b, const char *name, unsigned bits);
void aml_field_skip(struct bytes *b, unsigned bits);

/* Opcodes whose arguments follow. */
enum aml_op {
	AML_LOCAL0 = 0x60,
	AML_LOCAL1,
	AML_LOCAL2,
	AML_ARG0 = 0x68,
	AML_ARG1,
	AML_ARG2,
	AML_ARG3,
	AML_STORE = 0x70,
	AML_AND = 0x7b,
	AML_OR = 0x7d, /* operand operand target */
	AML_NOTIFY = 0x86, /* object, value */
	AML_CREATE_DWORD_FIELD = 0x8a, /* buffer, byte index, name */
	AML_LAND = 0x90,
	AML_LOR,
	AML_LNOT,
	AML_LEQUAL,
	AML_RETURN = 0xa4,
};
void aml_op(struct bytes *b, enum aml_op op);
void aml_null_target(struct bytes *b);

/* Regions' address spaces. */
enum { AML_SYSTEM_MEMORY, AML_SYSTEM_IO, AML_PCI_CONFIG };

/*
 * Resource templates (ACPI 6.4 6.4), built in a byte string of their own: aml_resources puts the
 * end tag and writes the whole as a Buffer, and frees r.
 */
void aml_resources(struct bytes *b, struct bytes *r);
void res_io(struct bytes *r, uint16_t min, uint16_t max, uint8_t align, uint8_t len);
void res_irq(struct bytes *r, uint16_t mask); /* edge, active high, exclusive */
/* res_interrupts - extended interrupt descriptor: level, active high, shared; n of them. */
void res_interrupts(struct bytes *r, const uint32_t *irqs, uint8_t n);
/* The same for one that is not shared: level or edge. */
void res_interrupt(struct bytes *r, uint32_t irq, bool level);
void res_memory32_fixed(struct bytes *r, bool writable, uint32_t base, uint32_t len);
/* Windows of a bridge: min..max inclusive. */
void res_bus_numbers(struct bytes *r, uint16_t min, uint16_t max);
void res_io_window(struct bytes *r, uint16_t min, uint16_t max);
void res_mem_window(struct bytes *r, uint32_t min, uint32_t max, bool cacheable);
void res_mem64_window(struct bytes *r, uint64_t min, uint64_t max);
