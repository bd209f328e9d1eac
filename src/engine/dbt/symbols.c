/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names of translated code for the host's profiler and debugger (docs/translator.md).
 *
 * perf: /tmp/perf-PID.map, a line "START SIZE NAME" for each block and stub.  perf does not know
 * when a line was written and takes any line that fits an address, so lines of blocks that are
 * dropped are taken out: the file is of what the caches hold.  It stays when doppel ends.
 *
 * gdb: its JIT interface ("JIT Compilation Interface" in its manual), a list of ELF objects in
 * memory.  An object here is a run of up to JIT_BATCH blocks, filled in place: a debugger that is
 * attached later reads all of it, and one that is there already reads it again each time that it
 * has grown by about an eighth.
 *
 * Threads: each vCPU adds and drops its own.  The file and gdb's list are the process's, by their
 * names, and under the lock.
 */
#include <elf.h>
#undef PF_W /* x86/state.h has another */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/err.h"
#include "engine/dbt/dbt_int.h"

#define NAME_SIZE 40
#define JIT_BATCH 1024

static struct lock lock = {PTHREAD_MUTEX_INITIALIZER, LOCK_RANK_SYMBOLS, "symbols"};

/* --- the perf map --- */
static struct {
	unsigned users; /* VMs */
	int fd; /* -1: writing failed */
} map;

static int map_create(struct err **e)
{
	char path[32];

	snprintf(path, sizeof(path), "/tmp/perf-%d.map", getpid());
	/* What is there is of an earlier process of that number, or somebody's trap. */
	if (unlink(path) < 0 && errno != ENOENT)
		return err_set(e, errno, "cannot replace %s: %s", path, strerror(errno));
	map.fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (map.fd < 0)
		return err_set(e, errno, "cannot create %s: %s", path, strerror(errno));
	return 0;
}

static void map_failed(void)
{
	fprintf(stderr, "doppel: warning: the perf map is not complete: %s\n", strerror(errno));
	close(map.fd);
	map.fd = -1;
}

static void map_write(const char *text, size_t len)
{
	while (len && map.fd >= 0) {
		ssize_t n = write(map.fd, text, len);

		if (n >= 0) {
			text += n;
			len -= (size_t)n;
		} else if (errno != EINTR) {
			map_failed();
		}
	}
}

/* The whole file, to be freed, or NULL; it ends in a 0. */
static char *map_read(size_t *len)
{
	struct stat st;
	char *text;

	if (fstat(map.fd, &st) < 0)
		return NULL;
	text = xzalloc((size_t)st.st_size + 1);
	for (*len = 0; *len < (size_t)st.st_size;) {
		ssize_t n = pread(map.fd, text + *len, (size_t)st.st_size - *len, (off_t)*len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			free(text);
			return NULL;
		}
		*len += (size_t)n;
	}
	return text;
}

/* Take out the lines that begin in a range. */
static void map_drop(uint64_t start, size_t size)
{
	char *text, *from, *to, *end;
	size_t len;

	if (map.fd < 0)
		return;
	text = map_read(&len);
	if (!text || ftruncate(map.fd, 0) < 0) {
		map_failed();
		free(text);
		return;
	}
	for (from = to = text; from < text + len; from = end) {
		end = strchrnul(from, '\n');
		end += *end != 0;
		if (strtoull(from, NULL, 16) - start < size)
			continue;
		memmove(to, from, (size_t)(end - from));
		to += end - from;
	}
	map_write(text, (size_t)(to - text));
	free(text);
}

static void map_add(const uint8_t *start, size_t size, const char *name)
{
	char line[NAME_SIZE + 40];
	int n = snprintf(line, sizeof(line), "%lx %zx %s\n", (uint64_t)start, size, name);

	map_write(line, (size_t)n);
}

/* --- gdb's interface: the names and layouts are its own --- */
struct jit_code_entry {
	struct jit_code_entry *next, *prev;
	const void *symfile_addr;
	uint64_t symfile_size;
};
enum { JIT_NOACTION, JIT_REGISTER_FN, JIT_UNREGISTER_FN };
struct jit_descriptor {
	uint32_t version;
	uint32_t action_flag;
	struct jit_code_entry *relevant_entry;
	struct jit_code_entry *first_entry;
};

struct jit_descriptor __jit_debug_descriptor = {.version = 1};
void __jit_debug_register_code(void);
/* gdb has a breakpoint here. */
__attribute__((noipa, used)) void __jit_debug_register_code(void)
{
	__asm__ volatile("" : : : "memory");
}

enum { SEC_NULL, SEC_TEXT, SEC_SYMTAB, SEC_STRTAB, SEC_COUNT };
#define SECTION_NAMES "\0.text\0.symtab\0.strtab"

struct jit_object {
	struct jit_object *next; /* the one before it */
	struct jit_code_entry entry;
	unsigned n;
	struct jit_elf {
		Elf64_Ehdr head;
		Elf64_Shdr section[SEC_COUNT];
		Elf64_Sym symbol[1 + JIT_BATCH]; /* the first is none */
		struct {
			char sections[sizeof(SECTION_NAMES)], names[JIT_BATCH][NAME_SIZE];
		} text;
	} elf;
};

static void jit_act(struct jit_object *o, uint32_t action)
{
	struct jit_descriptor *d = &__jit_debug_descriptor;
	struct jit_code_entry *j = &o->entry;

	if (action == JIT_REGISTER_FN) {
		j->prev = NULL;
		j->next = d->first_entry;
		d->first_entry = j;
	} else {
		*(j->prev ? &j->prev->next : &d->first_entry) = j->next;
	}
	if (j->next)
		j->next->prev = action == JIT_REGISTER_FN ? j : j->prev;
	d->relevant_entry = j;
	d->action_flag = action;
	__jit_debug_register_code();
	d->action_flag = JIT_NOACTION;
}

static struct jit_object *jit_create(const uint8_t *start)
{
	struct jit_object *o = xzalloc(sizeof(*o));
	struct jit_elf *f = &o->elf;

	o->entry.symfile_addr = f;
	o->entry.symfile_size = sizeof(*f);
	f->head = (Elf64_Ehdr){
		.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
			    EV_CURRENT},
		.e_type = ET_REL,
		.e_machine = EM_X86_64,
		.e_version = EV_CURRENT,
		.e_shoff = offsetof(struct jit_elf, section),
		.e_ehsize = sizeof(f->head),
		.e_shentsize = sizeof(*f->section),
		.e_shnum = SEC_COUNT,
		.e_shstrndx = SEC_STRTAB,
	};
	f->section[SEC_TEXT] = (Elf64_Shdr){
		.sh_name = 1,
		.sh_type = SHT_NOBITS,
		.sh_flags = SHF_ALLOC | SHF_EXECINSTR,
		.sh_addr = (uint64_t)start,
		.sh_addralign = 1,
	};
	f->section[SEC_SYMTAB] = (Elf64_Shdr){
		.sh_name = sizeof("\0.text"),
		.sh_type = SHT_SYMTAB,
		.sh_offset = offsetof(struct jit_elf, symbol),
		.sh_size = sizeof(*f->symbol),
		.sh_link = SEC_STRTAB,
		.sh_info = 1,
		.sh_addralign = 8,
		.sh_entsize = sizeof(*f->symbol),
	};
	f->section[SEC_STRTAB] = (Elf64_Shdr){
		.sh_name = sizeof("\0.text\0.symtab"),
		.sh_type = SHT_STRTAB,
		.sh_offset = offsetof(struct jit_elf, text),
		.sh_size = sizeof(f->text),
		.sh_addralign = 1,
	};
	memcpy(f->text.sections, SECTION_NAMES, sizeof(SECTION_NAMES));
	return o;
}

/* A debugger that stops this thread in between finds fewer symbols, but sound ones. */
static void jit_fill(struct jit_object *o, const uint8_t *start, size_t size, const char *name)
{
	struct jit_elf *f = &o->elf;
	uint64_t off = (uint64_t)start - f->section[SEC_TEXT].sh_addr;
	char *text = f->text.names[o->n];

	memcpy(text, name, strlen(name));
	f->symbol[++o->n] = (Elf64_Sym){
		.st_name = (uint32_t)(text - (char *)&f->text),
		.st_info = ELF64_ST_INFO(STB_GLOBAL, STT_FUNC),
		.st_shndx = SEC_TEXT,
		.st_value = off,
		.st_size = size,
	};
	f->section[SEC_TEXT].sh_size = max_u64(f->section[SEC_TEXT].sh_size, off + size);
	atomic_signal_fence(memory_order_release);
	f->section[SEC_SYMTAB].sh_size += sizeof(*f->symbol);
}

/* Is a debugger to read an object again when it has n symbols?  After each of the first 16, then
 * eight times until they are twice as many. */
static bool jit_due(unsigned n)
{
	return n < 16 || n == JIT_BATCH || !(n & ((1u << (28 - __builtin_clz(n))) - 1));
}

static void jit_add(struct dbt_cpu *v, const uint8_t *start, size_t size, const char *name)
{
	struct jit_object *o = v->jit;

	if (!o || o->n == JIT_BATCH) {
		o = jit_create(start);
		o->next = v->jit;
		v->jit = o;
	}
	jit_fill(o, start, size, name);
	if (!jit_due(o->n))
		return;
	if (o->n > 1)
		jit_act(o, JIT_UNREGISTER_FN);
	jit_act(o, JIT_REGISTER_FN);
}

static void jit_drop(struct dbt_cpu *v)
{
	struct jit_object *o;

	while ((o = v->jit)) {
		v->jit = o->next;
		jit_act(o, JIT_UNREGISTER_FN);
		free(o);
	}
}

/* --- what the translator calls --- */
static void add(struct dbt_cpu *v, const uint8_t *start, size_t size, const char *name)
{
	lock_take(&lock);
	if (v->symbols & DBT_SYMBOLS_PERF)
		map_add(start, size, name);
	if (v->symbols & DBT_SYMBOLS_GDB)
		jit_add(v, start, size, name);
	lock_drop(&lock);
}

/* gdb is told of the block alone: an object's code is one piece, and cold code lies elsewhere. */
void symbols_add_block(struct dbt_cpu *v, const struct tb *b, uint64_t lin, const uint8_t *cold,
		       size_t cold_len)
{
	const char *who = b->mode & DBT_MODE_CPL0 ? "kernel" : "user";
	char name[NAME_SIZE];

	fpu_claim();
	snprintf(name, sizeof(name), "guest:%lx:%s", lin, who);
	add(v, b->far, b->host_len, name);
	if (!(v->symbols & DBT_SYMBOLS_PERF) || !cold_len)
		return;
	snprintf(name, sizeof(name), "guest:%lx:%s:cold", lin, who);
	lock_take(&lock);
	map_add(cold, cold_len, name);
	lock_drop(&lock);
}

static const struct {
	const char *name;
	size_t off;
} stubs[] = {
#define STUB(name, field)                                       \
	{                                                       \
		"stub:" name, offsetof(struct dbt_stubs, field) \
	}
#define ALIGN_STUBS(name, n) STUB(name, align[1][n]), STUB(name "_saved", align[0][n])
	STUB("enter", enter),	   STUB("fault", fault[0]),	STUB("fault_saved", fault[1]),
	STUB("poll", poll),	   STUB("insn", insn),		STUB("fill_r", fill[0]),
	STUB("fill_w", fill[1]),   STUB("cross16", cross[0]),	STUB("cross32", cross[1]),
	ALIGN_STUBS("align2", 0),  ALIGN_STUBS("align4", 1),	ALIGN_STUBS("align8", 2),
	ALIGN_STUBS("align16", 3), ALIGN_STUBS("align32", 4),	ALIGN_STUBS("align10", 5),
	STUB("link", link[0]),	   STUB("link_saved", link[1]), STUB("jump", jump),
	STUB("call", call),	   STUB("return", ret),		STUB("return_empty", ret_empty),
#undef ALIGN_STUBS
#undef STUB
};

static const uint8_t *stub_at(const struct dbt_cpu *v, unsigned n)
{
	const uint8_t *at;

	memcpy(&at, (const char *)&v->cache.stub + stubs[n].off, sizeof(at));
	return at;
}

/* Each goes to the next one, or to the last one's end. */
void symbols_add_stubs(struct dbt_cpu *v)
{
	const struct dbt_cache *k = &v->cache;

	fpu_claim();
	for (unsigned n = 0; n < ARRAY_SIZE(stubs); n++) {
		const uint8_t *at = stub_at(v, n), *end = k->rw + k->rx + k->stubs;

		for (unsigned m = 0; m < ARRAY_SIZE(stubs); m++)
			if (stub_at(v, m) > at && stub_at(v, m) < end)
				end = stub_at(v, m);
		add(v, at, (size_t)(end - at), stubs[n].name);
	}
}

void symbols_drop_all(struct dbt_cpu *v)
{
	fpu_claim();
	lock_take(&lock);
	if (v->symbols & DBT_SYMBOLS_PERF)
		map_drop((uint64_t)(v->cache.rw + v->cache.rx), v->cache.size);
	jit_drop(v);
	lock_drop(&lock);
	symbols_add_stubs(v);
}

void symbols_fini(struct dbt_cpu *v)
{
	lock_take(&lock);
	jit_drop(v);
	lock_drop(&lock);
}

int symbols_open(unsigned symbols, struct err **e)
{
	int r = 0;

	if (!(symbols & DBT_SYMBOLS_PERF))
		return 0;
	lock_take(&lock);
	if (!map.users)
		r = map_create(e);
	map.users += !r;
	lock_drop(&lock);
	return r;
}

void symbols_close(unsigned symbols)
{
	if (!(symbols & DBT_SYMBOLS_PERF))
		return;
	lock_take(&lock);
	if (!--map.users && map.fd >= 0)
		close(map.fd);
	lock_drop(&lock);
}
