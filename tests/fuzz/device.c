/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The devices of both boards under random traffic, with no vCPU running: ports, device memory,
 * PCI configuration (base addresses, PCIEXBAR, PAM and all else move), fw_cfg DMA, local APICs by
 * page and by MSR, paravirtual calls, timers that fire, interrupts that are acknowledged.  Between
 * whiles every device is saved and loaded, as it was and damaged, and all go on.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "back/char/chardev.h"
#include "base/err.h"
#include "base/loop.h"
#include "code.h"
#include "machine/vm_int.h"
#include "state/state.h"

struct board {
	struct rnd *r;
	struct log *log;
	struct loop *loop;
	struct vm *vm;
	struct mem *mem;
};

static unsigned any_cpu(struct board *b)
{
	return (unsigned)rnd_below(b->r, vm_cpus(b->vm));
}

static unsigned any_size(struct board *b)
{
	return rnd_one_in(b->r, 4) ? 1 + (unsigned)rnd_below(b->r, 8) : 1u << rnd_below(b->r, 4);
}

static void port_access(struct board *b)
{
	uint16_t port = code_port(b->r);
	unsigned size = 1u << rnd_below(b->r, 3);

	if (rnd_one_in(b->r, 2))
		pio_read(b->mem, port, size);
	else
		pio_write(b->mem, port, (uint32_t)rnd_value(b->r), size);
}

static void memory_access(struct board *b)
{
	gpa a = GPA(code_address(b->r));
	unsigned size = any_size(b);

	if (rnd_one_in(b->r, 2))
		mem_read(b->mem, a, size);
	else
		mem_write(b->mem, a, rnd_value(b->r), size);
}

static void pci_config(struct board *b)
{
	static const uint8_t devfn[] = {0, 0, 8, 9, 11, 0x18, 0x28, 0x30, 0xf8, 0xfa, 0xfb};
	static const uint8_t regs[] = {0,    4,	   0x10, 0x14, 0x18, 0x1c, 0x20, 0x24,
				       0x28, 0x2c, 0x30, 0x34, 0x38, 0x3c, 0x3e, 0x40, 0x44, 0x48, 0x58, 0x59, 0x5a,
				       0x5c, 0x60, 0x64, 0x68, 0x70, 0x72, 0x80, 0x90,
				       0x9d, 0xa0, 0xac, 0xb2, 0xd0, 0xd4, 0xf0};
	uint32_t fn = rnd_one_in(b->r, 8) ? (uint32_t)rnd_below(b->r, 256) : RND_PICK(b->r, devfn);
	uint32_t reg = rnd_one_in(b->r, 8) ? (uint32_t)rnd_below(b->r, 256) : RND_PICK(b->r, regs);
	uint32_t val = rnd_one_in(b->r, 3)
			       ? (uint32_t)code_address(b->r) | (uint32_t)rnd_below(b->r, 8)
			       : (uint32_t)rnd_value(b->r);
	unsigned size = 1u << rnd_below(b->r, 3);

	fn |= rnd_one_in(b->r, 3) ? (uint32_t)rnd_below(b->r, 4) << 8 : 0; /* the bus */
	pio_write(b->mem, 0xcf8, 0x80000000 | fn << 8 | (reg & 0xfc), 4);
	if (rnd_one_in(b->r, 4))
		pio_read(b->mem, (uint16_t)(0xcfc + (reg & 3)), size);
	else
		pio_write(b->mem, (uint16_t)(0xcfc + (reg & 3)), val, size);
	if (rnd_one_in(b->r, 8))
		mem_write(b->mem, GPA(0xb0000000 + (fn << 12) + reg), val, size);
}

/* A DMA request of fw_cfg in RAM, perhaps over itself or over nothing. */
static void fw_cfg_dma(struct board *b)
{
	uint64_t at = rnd_one_in(b->r, 8) ? code_address(b->r) : 0x20000 + rnd_below(b->r, 4096);
	uint32_t key = rnd_one_in(b->r, 2) ? 0x20 + (uint32_t)rnd_below(b->r, 24)
					   : (uint32_t)rnd_value(b->r);
	uint8_t q[16];
	uint64_t where = __builtin_bswap64(rnd_one_in(b->r, 4) ? at : code_address(b->r));

	put_le32(q, __builtin_bswap32(key << 16 | (uint32_t)rnd_below(b->r, 32)));
	put_le32(q + 4, __builtin_bswap32((uint32_t)rnd_value(b->r)));
	put_le64(q + 8, where);
	mem_dma_write(b->mem, GPA(at), q, sizeof(q));
	pio_write(b->mem, 0x514, __builtin_bswap32((uint32_t)(at >> 32)), 4);
	pio_write(b->mem, 0x518, __builtin_bswap32((uint32_t)at), 4);
}

static void apic_traffic(struct board *b)
{
	const struct x86_host_ops *h = &vm_host_ops;
	uint32_t msr = rnd_one_in(b->r, 3) ? 0x1b : 0x800 + (uint32_t)rnd_below(b->r, 0x40);
	unsigned cpu = any_cpu(b), size = 1u << rnd_below(b->r, 3);
	uint64_t v = rnd_value(b->r);

	switch (rnd_below(b->r, 9)) {
	case 0:
		h->apic_rdmsr(b->vm, cpu, msr, &v);
		break;
	case 1:
		if (msr == 0x1b && rnd_one_in(b->r, 2))
			v = 0xfee00000 | rnd_below(b->r, 16) << 8;
		h->apic_wrmsr(b->vm, cpu, rnd_one_in(b->r, 6) ? 0x6e0 : msr, v);
		break;
	case 2:
		h->apic_read(b->vm, cpu, (uint32_t)rnd_below(b->r, 0x1000) & ~(size - 1), size);
		break;
	case 3:
		h->tpr_set(b->vm, cpu, (uint8_t)rnd_below(b->r, 16));
		h->tpr_get(b->vm, cpu);
		break;
	case 4:
		h->pv_eoi(b->vm, cpu, rnd_one_in(b->r, 2) ? 0 : code_address(b->r));
		break;
	case 5:
		h->pv_ipi(b->vm, v, rnd_value(b->r), (uint32_t)rnd_value(b->r),
			  (uint32_t)rnd_value(b->r));
		break;
	case 6:
		h->pv_kick(b->vm, (uint32_t)rnd_value(b->r));
		break;
	case 7:
		h->apic_write(b->vm, cpu, (uint32_t)rnd_below(b->r, 0x40) << 4, (uint32_t)v, 4);
		break;
	default:
		h->intr_ack(b->vm, cpu);
	}
}

/* What is saved can be loaded; what is damaged is refused or harmless. */
static void save_and_load(struct board *b)
{
	lock_take(&b->vm->dev_lock);
	for (struct dev *d = b->vm->env.devs; d; d = d->next) {
		struct state_buf s = {0};
		struct err *e = NULL;
		size_t used = 0;

		d->ops->quiesce(d);
		state_save(&s, d->ops->state, d);
		if (state_load(d->ops->state, d, s.data, s.len, &used, &e))
			fuzz_fail(__FILE__, __LINE__, "a saved device can be loaded", "%s",
				  err_msg(e));
		fuzz_check(used == s.len, "%zu of %zu", used, s.len);
		if (rnd_one_in(b->r, 2)) {
			rnd_mutate(b->r, s.data, s.len, 4);
			state_load(d->ops->state, d, s.data,
				   rnd_one_in(b->r, 8) ? s.len / 2 : s.len, &used, &e);
		}
		err_free(&e);
		free(s.data);
	}
	lock_drop(&b->vm->dev_lock);
}

static void step(struct board *b)
{
	switch (rnd_below(b->r, 64)) {
	case 0:
		save_and_load(b);
		break;
	case 1:
		loop_once(b->loop, 1);
		break;
	case 2:
		lock_take(&b->vm->dev_lock);
		dev_reset_all(&b->vm->env);
		lock_drop(&b->vm->dev_lock);
		break;
	case 3:
		vm_powerdown(b->vm);
		break;
	case 4 ... 7:
		fw_cfg_dma(b);
		break;
	case 8 ... 15:
		pci_config(b);
		break;
	case 16 ... 27:
		apic_traffic(b);
		break;
	case 28 ... 35:
		loop_once(b->loop, 0);
		break;
	case 36 ... 45:
		memory_access(b);
		break;
	default:
		port_access(b);
	}
}

static struct chardev *serial(struct board *b, int *peer)
{
	struct chardev *cd = NULL;
	struct err *e = NULL;

	if (chardev_open(&cd, b->loop, "serial0", "pty", &e))
		fuzz_fail(__FILE__, __LINE__, "a pty", "%s", err_msg(e));
	*peer = -1;
	if (chardev_where(cd) && strstr(chardev_where(cd), "/dev/"))
		*peer = open(strstr(chardev_where(cd), "/dev/"), O_RDWR | O_NOCTTY | O_NONBLOCK);
	return cd;
}

static int kernel_file(char path[static 32])
{
	const uint32_t head[9] = {0x1badb002, 0x10003,	0u - 0x1badb002 - 0x10003,
				  0x100000,   0x100000, 0,
				  0,	      0x100020, 0xfeebf4fa};
	int fd = memfd_create("kernel", 0);

	if (fd < 0 || write(fd, head, sizeof(head)) != sizeof(head))
		abort();
	snprintf(path, 32, "/proc/self/fd/%d", fd);
	return fd;
}

static void one(struct rnd *r)
{
	/* Two conventional bridges in a row; on q35 also root ports with a bridge behind. */
	static const struct vm_device_opt devices[] = {
		{"isa-debug-exit", "iobase=0xf4,iosize=4"},
		{"pci-bridge", "id=b1,chassis_nr=1,addr=5"},
		{"pci-bridge", "id=b2,chassis_nr=2,bus=b1,addr=3"},
		{"pcie-root-port", "id=rp1,addr=6"},
		{"ioh3420", "id=rp2,addr=3"},
		{"pci-bridge", "chassis_nr=3,bus=rp1"},
	};
	char path[32], junk[64];
	int fd = kernel_file(path), peer;
	bool q35 = rnd_one_in(r, 2);
	struct board b = {.r = r, .log = log_create(), .loop = loop_create()};
	struct vm_config cfg = {
		.machine = q35 ? "q35" : "pc",
		.mem_size = (16 + rnd_below(r, 3) * 16) * MiB,
		.n_cpus = 1 + (unsigned)rnd_below(r, 3),
		.kernel = path,
		.devices = devices,
		.n_devices = q35 ? ARRAY_SIZE(devices) : 3,
		.no_shutdown = true,
		.start_paused = true,
		.log = b.log,
		.loop = b.loop,
	};
	struct err *e = NULL;

	fuzz_phase("create");
	cfg.serial[0] = serial(&b, &peer);
	if (vm_create(&b.vm, &cfg, &e))
		fuzz_fail(__FILE__, __LINE__, "vm_create", "%s", err_msg(e));
	close(fd);
	b.mem = vm_mem(b.vm);
	vclock_start(b.vm->clock);
	fuzz_phase("traffic");
	for (uint64_t n = rnd_below(r, 3000) + 100; n; n--) {
		step(&b);
		if (peer >= 0 && rnd_one_in(r, 50)) {
			rnd_bytes(r, junk, sizeof(junk));
			if (write(peer, junk, 1 + rnd_below(r, sizeof(junk))) < 0 ||
			    read(peer, junk, sizeof(junk)) < 0)
				loop_once(b.loop, 0);
		}
	}
	fuzz_phase("destroy");
	vclock_stop(b.vm->clock);
	vm_destroy(b.vm);
	chardev_close(cfg.serial[0]);
	if (peer >= 0)
		close(peer);
	loop_destroy(b.loop);
	log_destroy(b.log);
}

int main(int argc, char **argv)
{
	const struct fuzz f = {.name = "fuzz-device", .runs = 120, .hang_s = 30, .one = one};

	return fuzz_main(&f, argc, argv);
}
