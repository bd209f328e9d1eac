// SPDX-License-Identifier: Apache-2.0
/* What the operating system does for programs; scale is the number of operations. */
#include <fcntl.h>
#include <sched.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernels.h"

static uint64_t run_getppid(unsigned long scale)
{
	for (unsigned long i = 0; i < scale; i++)
		syscall(SYS_getppid);
	return scale;
}

/* A byte read from one device and written to another. */
static uint64_t run_read_write(unsigned long scale)
{
	int in = open("/dev/zero", O_RDONLY), out = open("/dev/null", O_WRONLY);
	char byte;

	if (in < 0 || out < 0)
		die("/dev/zero, /dev/null");
	for (unsigned long i = 0; i < scale; i++) {
		if (read(in, &byte, 1) != 1 || write(out, &byte, 1) != 1)
			die("read, write");
	}
	close(in);
	close(out);
	return scale;
}

/* The first touch of scale pages of fresh memory, REGION of them mapped at a time. */
#define PAGE 4096ul
#define REGION 4096ul

static uint64_t run_page_faults(unsigned long scale)
{
	for (unsigned long done = 0; done < scale; done += REGION) {
		char *p = mmap(NULL, REGION * PAGE, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (p == MAP_FAILED)
			die("mmap");
		/* Each page by a fault of its own. */
		madvise(p, REGION * PAGE, MADV_NOHUGEPAGE);
		for (unsigned long i = 0; i < REGION; i++)
			*(volatile char *)(p + i * PAGE) = 1;
		munmap(p, REGION * PAGE);
	}
	return scale;
}

/* Have this process and its children on one processor, so that each wait is a switch. */
static void use_one_cpu(void)
{
	cpu_set_t set;
	int cpu = sched_getcpu();

	CPU_ZERO(&set);
	CPU_SET(cpu < 0 ? 0 : cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("sched_setaffinity");
}

static void wait_for(pid_t child)
{
	int status;

	if (waitpid(child, &status, 0) != child || status)
		die("a child failed");
}

/* A byte there and back between two processes. */
static uint64_t run_pipe(unsigned long scale)
{
	int there[2], back[2];
	char byte = 0;

	use_one_cpu();
	if (pipe(there) || pipe(back))
		die("pipe");
	pid_t child = fork();
	if (!child) {
		for (unsigned long i = 0; i < scale; i++) {
			if (read(there[0], &byte, 1) != 1 || write(back[1], &byte, 1) != 1)
				_exit(1);
		}
		_exit(0);
	}
	for (unsigned long i = 0; i < scale; i++) {
		if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
			die("pipe");
	}
	wait_for(child);
	return scale;
}

/* A turn that two processes hand each other by semaphores (futexes): a switch for each hand-over.
 */
static uint64_t run_switch(unsigned long scale)
{
	sem_t *turns = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	use_one_cpu();
	if (turns == MAP_FAILED || sem_init(&turns[0], 1, 1) || sem_init(&turns[1], 1, 0))
		die("sem_init");
	pid_t child = fork();
	int mine = child == 0;
	for (unsigned long i = 0; i < scale / 2; i++) {
		if (sem_wait(&turns[mine]) || sem_post(&turns[!mine]))
			die("a semaphore");
	}
	if (!child)
		_exit(0);
	wait_for(child);
	munmap(turns, PAGE);
	return scale;
}

static void spawn(char *const argv[])
{
	pid_t child = fork();

	if (!child) {
		execv(argv[0], argv);
		_exit(127);
	}
	wait_for(child);
}

/* A static program, a dynamically linked one. */
static uint64_t run_fork_busybox(unsigned long scale)
{
	char *const argv[] = {"/bin/busybox", "true", NULL};

	for (unsigned long i = 0; i < scale; i++)
		spawn(argv);
	return scale;
}

static uint64_t run_fork_bash(unsigned long scale)
{
	char *const argv[] = {"/bin/bash", "-c", ":", NULL};

	for (unsigned long i = 0; i < scale; i++)
		spawn(argv);
	return scale;
}

const struct kernel system_kernels[] = {
	{"getppid", run_getppid, 2000000},	  {"read-write", run_read_write, 1000000},
	{"page-faults", run_page_faults, 204800}, {"pipe", run_pipe, 60000},
	{"switch", run_switch, 100000},		  {"fork-busybox", run_fork_busybox, 600},
	{"fork-bash", run_fork_bash, 200},	  {0},
};
