/* SPDX-License-Identifier: Apache-2.0 */
/* What "info" shows. */
#include <stdlib.h>
#include <string.h>
#include "ctl/hmp_int.h"
#include "ctl/qmp_int.h"
#include "mem/mem.h"
#include "x86/state.h"

static const char *member(struct json_object *o, const char *key)
{
	struct json_object *val;

	return json_object_object_get_ex(o, key, &val) ? json_object_get_string(val) : "";
}

void hmp_info_version(struct hmp_call *h)
{
	text_printf(h->out, "7.2.0 (doppel %s)\n", DOPPEL_VERSION);
}

void hmp_info_status(struct hmp_call *h)
{
	enum vm_state state = vm_state(h->vm);
	bool running = vm_running(h->vm);

	text_printf(h->out, "VM status: %s", running ? "running" : "paused");
	if (!running && state != VM_STATE_PAUSED)
		text_printf(h->out, " (%s)", vm_state_name(state));
	text_printf(h->out, "\n");
}

void hmp_info_name(struct hmp_call *h)
{
	bool ok;
	struct json_object *o = hmp_qmp(h, "query-name", NULL, &ok);

	if (*member(o, "name"))
		text_printf(h->out, "%s\n", member(o, "name"));
	json_object_put(o);
}

void hmp_info_uuid(struct hmp_call *h)
{
	bool ok;
	struct json_object *o = hmp_qmp(h, "query-uuid", NULL, &ok);

	text_printf(h->out, "%s\n", member(o, "UUID"));
	json_object_put(o);
}

void hmp_info_kvm(struct hmp_call *h)
{
	const char *engine = vm_engine(h->vm, NULL)->name;

	text_printf(h->out, "kvm support: %s (engine %s)\n",
		    !strcmp(engine, "kvm") ? "enabled" : "disabled", engine);
}

void hmp_info_history(struct hmp_call *h)
{
	for (unsigned i = 0; i < h->n_history; i++)
		text_printf(h->out, "%u: '%s'\n", i, h->history[i]);
}

void hmp_info_chardev(struct hmp_call *h)
{
	bool ok;
	struct json_object *list = hmp_qmp(h, "query-chardev", NULL, &ok);

	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct json_object *o = json_object_array_get_idx(list, i);

		text_printf(h->out, "%s: filename=%s\n", member(o, "label"), member(o, "filename"));
	}
	json_object_put(list);
}

static void out_line(void *opaque, const char *line)
{
	text_printf(opaque, "%s\n", line);
}

void hmp_info_registers(struct hmp_call *h)
{
	const char *word = hmp_word(h);
	bool all = word && !strcmp(word, "-a"), frozen;
	struct engine_vm *ev;
	const struct engine_ops *engine = vm_engine(h->vm, &ev);

	if (word && !all) {
		hmp_error(h, "'%s' is not -a", word);
		return;
	}
	frozen = vm_freeze(h->vm);
	for (unsigned i = all ? 0 : *h->cpu; i < (all ? vm_cpus(h->vm) : *h->cpu + 1); i++) {
		text_printf(h->out, "CPU#%u\n", i);
		engine->report(ev, i, out_line, h->out);
	}
	vm_thaw(h->vm, frozen);
}

void hmp_info_cpus(struct hmp_call *h)
{
	struct engine_vm *ev;
	const struct engine_ops *engine = vm_engine(h->vm, &ev);
	struct x86_state *s = xzalloc_aligned(64, sizeof(*s));
	bool frozen = vm_freeze(h->vm);

	for (unsigned i = 0; i < vm_cpus(h->vm); i++) {
		engine->get(ev, i, s);
		text_printf(h->out, "%c CPU #%u: thread_id=%d pc=0x%016llx%s\n",
			    i == *h->cpu ? '*' : ' ', i, vm_cpu_tid(h->vm, i),
			    (unsigned long long)(s->rip + s->seg[X86_CS].base),
			    s->mp_state == X86_MP_HALTED     ? " (halted)"
			    : s->mp_state != X86_MP_RUNNABLE ? " (not started)"
							     : "");
	}
	vm_thaw(h->vm, frozen);
	free(s);
}

void hmp_info_jit(struct hmp_call *h)
{
	struct engine_vm *ev;
	const struct engine_ops *engine = vm_engine(h->vm, &ev);
	bool frozen = vm_freeze(h->vm);
	uint64_t insns = engine->insns(ev);

	text_printf(h->out, "engine %s\n", engine->name);
	if (insns)
		text_printf(h->out, "instructions: %llu\n", (unsigned long long)insns);
	for (unsigned i = 0; i < vm_cpus(h->vm); i++)
		text_printf(h->out, "cpu %u: %.3f s of processor time\n", i,
			    vm_cpu_seconds(h->vm, i));
	engine->stats(ev, out_line, h->out);
	vm_thaw(h->vm, frozen);
}

static void mtree_range(struct hmp_call *h, const struct mem_range *r)
{
	static const char *const kinds[] = {
		[MEM_HOLE] = "",
		[MEM_RAM] = "ram",
		[MEM_ROM] = "rom",
		[MEM_IO] = "i/o",
	};

	if (r->kind == MEM_HOLE)
		return;
	text_printf(h->out, "  %016llx-%016llx %s", (unsigned long long)r->base,
		    (unsigned long long)(r->base + r->size - 1), kinds[r->kind]);
	if (r->kind == MEM_IO)
		text_printf(h->out, " %s", r->io->name);
	else
		text_printf(h->out, " @%llx", (unsigned long long)r->ram_off);
	if (r->kind == MEM_IO && r->io_off)
		text_printf(h->out, " +%llx", (unsigned long long)r->io_off);
	text_printf(h->out, "\n");
}

/* Ports that one region has one after the other. */
static void mtree_ports(struct hmp_call *h)
{
	const struct io_region *last = NULL;
	uint32_t from = 0;

	for (uint32_t port = 0; port <= 0x10000; port++) {
		const struct io_region *io =
			port < 0x10000 ? pio_user(vm_mem(h->vm), (uint16_t)port, 1) : NULL;

		if (io == last)
			continue;
		if (last)
			text_printf(h->out, "  %04x-%04x %s\n", from, port - 1, last->name);
		last = io;
		from = port;
	}
}

void hmp_info_mtree(struct hmp_call *h)
{
	uint64_t at = 0;
	struct mem_range r;

	lock_take(vm_devices(h->vm)->lock);
	text_printf(h->out, "memory\n");
	do {
		mem_lookup(vm_mem(h->vm), GPA(at), &r);
		mtree_range(h, &r);
		at = r.base + r.size;
	} while (at && r.size && at < BIT(52));
	text_printf(h->out, "ports\n");
	mtree_ports(h);
	lock_drop(vm_devices(h->vm)->lock);
}
