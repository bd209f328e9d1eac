/* SPDX-License-Identifier: Apache-2.0 */
/* Commands about the life of the machine, its processors and memory. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/loop.h"
#include "ctl/qmp_int.h"
#include "mem/mem.h"

int qmp_query_status(struct qmp_call *call)
{
	call->ret = json_object_new_object();
	obj_str(call->ret, "status", vm_state_name(vm_state(call->vm)));
	obj_bool(call->ret, "singlestep", false);
	obj_bool(call->ret, "running", vm_running(call->vm));
	return 0;
}

int qmp_stop(struct qmp_call *call)
{
	vm_pause(call->vm);
	return 0;
}

int qmp_cont(struct qmp_call *call)
{
	enum vm_state state = vm_state(call->vm);

	if (state == VM_STATE_SHUTDOWN || state == VM_STATE_INTERNAL_ERROR)
		return qmp_fail(call, QMP_GENERIC, "Resetting the Virtual Machine is required");
	vm_resume(call->vm);
	return 0;
}

int qmp_quit(struct qmp_call *call)
{
	vm_quit_for(call->vm, 0, VM_CAUSE_HOST_QMP_QUIT);
	return 0;
}

int qmp_system_reset(struct qmp_call *call)
{
	vm_reset_for(call->vm, VM_CAUSE_HOST_QMP_RESET);
	return 0;
}

int qmp_system_powerdown(struct qmp_call *call)
{
	vm_powerdown(call->vm);
	return 0;
}

int qmp_system_wakeup(struct qmp_call *call)
{
	return qmp_fail(call, QMP_GENERIC, "Unable to wake up: guest is not in suspended state");
}

int qmp_inject_nmi(struct qmp_call *call)
{
	vm_nmi(call->vm);
	return 0;
}

/* There is no source of panics and no watchdog yet: only what nothing would follow from is taken.
 */
int qmp_set_action(struct qmp_call *call)
{
	const char *reboot = qmp_str(call, "reboot"), *shutdown = qmp_str(call, "shutdown");
	bool no_reboot, no_shutdown;

	if (qmp_get(call, "panic") || qmp_get(call, "watchdog"))
		return qmp_fail(
			call, QMP_GENERIC,
			"There is no panic device and no watchdog whose action could be set");
	vm_get_actions(call->vm, &no_reboot, &no_shutdown);
	if (reboot)
		no_reboot = !strcmp(reboot, "shutdown");
	if (shutdown)
		no_shutdown = !strcmp(shutdown, "pause");
	vm_set_actions(call->vm, no_reboot, no_shutdown);
	return 0;
}

int qmp_query_cpus_fast(struct qmp_call *call)
{
	call->ret = json_object_new_array();
	for (unsigned i = 0; i < vm_cpus(call->vm); i++) {
		struct json_object *o = json_object_new_object(), *props = json_object_new_object();
		char path[64];

		snprintf(path, sizeof(path), "/machine/unattached/device[%u]", i);
		obj_int(o, "thread-id", vm_cpu_tid(call->vm, i));
		obj_int(props, "core-id", i);
		obj_int(props, "thread-id", 0);
		obj_int(props, "socket-id", 0);
		json_object_object_add(o, "props", props);
		obj_str(o, "qom-path", path);
		obj_int(o, "cpu-index", i);
		obj_str(o, "target", "x86_64");
		json_object_array_add(call->ret, o);
	}
	return 0;
}

int qmp_query_memory_size_summary(struct qmp_call *call)
{
	call->ret = json_object_new_object();
	obj_int(call->ret, "base-memory", (int64_t)vm_ram_size(call->vm));
	obj_int(call->ret, "plugged-memory", 0);
	return 0;
}

/* Read len bytes of guest memory at val, which cpu sees there (-1: physical); 0 or -EFAULT. Frozen.
 */
static int read_guest(struct qmp_call *call, uint64_t val, uint8_t *buf, size_t len, int cpu)
{
	struct engine_vm *ev;
	const struct engine_ops *engine = vm_engine(call->vm, &ev);
	gpa at = GPA(val);

	if (cpu >= 0 && !engine->translate(ev, (unsigned)cpu, val, &at))
		return -EFAULT;
	return mem_dma_read(vm_mem(call->vm), at, buf, len);
}

static int save_memory(struct qmp_call *call, int cpu)
{
	uint64_t val = (uint64_t)qmp_int(call, "val", 0), end;
	int64_t size = qmp_int(call, "size", 0);
	const char *path = qmp_str(call, "filename");
	uint8_t page[PAGE_SIZE];
	int fd, r = 0;
	bool frozen;

	if (size < 0 || __builtin_add_overflow(val, (uint64_t)size, &end))
		return qmp_fail(call, QMP_GENERIC, "Invalid parameter 'size'");
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (fd < 0)
		return qmp_fail(call, QMP_GENERIC, "Could not open '%s': %s", path,
				strerror(errno));
	frozen = vm_freeze(call->vm);
	while (val < end && !r) {
		size_t n = min_u64(end - val, PAGE_SIZE - PAGE_OFFSET(val));

		if (read_guest(call, val, page, n, cpu))
			r = qmp_fail(call, QMP_GENERIC,
				     "Invalid addr 0x%016llx/size %lld specified",
				     (unsigned long long)val, (long long)size);
		else if (write(fd, page, n) != (ssize_t)n)
			r = qmp_fail(call, QMP_GENERIC, "Could not write '%s': %s", path,
				     strerror(errno));
		val += n;
	}
	vm_thaw(call->vm, frozen);
	if (close(fd) && !r)
		r = qmp_fail(call, QMP_GENERIC, "Could not write '%s': %s", path, strerror(errno));
	return r;
}

int qmp_memsave(struct qmp_call *call)
{
	int64_t cpu = qmp_int(call, "cpu-index", 0);

	if (cpu < 0 || cpu >= vm_cpus(call->vm))
		return qmp_fail(call, QMP_GENERIC, "Parameter 'cpu-index' expects a CPU number");
	return save_memory(call, (int)cpu);
}

int qmp_pmemsave(struct qmp_call *call)
{
	return save_memory(call, -1);
}

static void stats_engine_line(void *opaque, const char *line)
{
	json_object_array_add(opaque, json_object_new_string(line));
}

/* Counters of the engine are its vCPU threads' own: they are read while these stand still. */
static void stats_engine(struct qmp_call *call)
{
	struct json_object *lines = json_object_new_array();
	struct engine_vm *ev;
	const struct engine_ops *engine = vm_engine(call->vm, &ev);
	bool frozen = vm_freeze(call->vm);

	obj_int(call->ret, "instructions", (int64_t)engine->insns(ev));
	engine->stats(ev, stats_engine_line, lines);
	vm_thaw(call->vm, frozen);
	json_object_object_add(call->ret, "engine-lines", lines);
}

/* Bytes of a number in /proc/self/statm: resident memory of this process. */
static int64_t resident(void)
{
	char buf[128] = "";
	int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
	unsigned long total = 0, pages = 0;
	ssize_t n = fd >= 0 ? read(fd, buf, sizeof(buf) - 1) : -1;

	if (fd >= 0)
		close(fd);
	if (n <= 0 || sscanf(buf, "%lu %lu", &total, &pages) != 2)
		return 0;
	return (int64_t)pages * sysconf(_SC_PAGESIZE);
}

int qmp_stats(struct qmp_call *call)
{
	struct json_object *cpus = json_object_new_array();

	call->ret = json_object_new_object();
	obj_str(call->ret, "name", vm_name(call->vm));
	obj_str(call->ret, "engine", vm_engine(call->vm, NULL)->name);
	obj_str(call->ret, "machine", vm_machine(call->vm));
	obj_str(call->ret, "status", vm_state_name(vm_state(call->vm)));
	obj_int(call->ret, "guest-time-ns", vclock_now(vm_clock(call->vm)));
	obj_int(call->ret, "memory", (int64_t)vm_ram_size(call->vm));
	obj_int(call->ret, "resident", resident());
	for (unsigned i = 0; i < vm_cpus(call->vm); i++)
		json_object_array_add(cpus, json_object_new_double(vm_cpu_seconds(call->vm, i)));
	json_object_object_add(call->ret, "cpu-seconds", cpus);
	if (qmp_bool(call, "engine", false))
		stats_engine(call);
	return 0;
}
