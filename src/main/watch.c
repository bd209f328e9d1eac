/* SPDX-License-Identifier: Apache-2.0 */
#include "main/watch.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include "base/base.h"
#include "base/err.h"
#include "base/loop.h"
#include "machine/vm.h"

#define STATUS_TIMEOUT 124 /* as timeout(1) */

struct watch {
	struct loop *loop;
	const char *prog;
	struct vm *vm;
	sigset_t before;
	int signal_fd, timer_fd;
	struct loop_fd *signal_w, *timer_w;
};

static void watch_signal(void *opaque, uint32_t events)
{
	struct watch *w = opaque;
	struct signalfd_siginfo si;

	if (read(w->signal_fd, &si, sizeof(si)) != sizeof(si) || !w->vm)
		return;
	fprintf(stderr, "%s: terminating on signal %u%s\n", w->prog, si.ssi_signo,
		si.ssi_pid ? " from another process" : "");
	vm_quit_for(w->vm, 0, VM_CAUSE_HOST_SIGNAL);
}

static void watch_timer(void *opaque, uint32_t events)
{
	struct watch *w = opaque;
	uint64_t n;

	if (read(w->timer_fd, &n, sizeof(n)) != sizeof(n))
		return;
	fprintf(stderr, "%s: --timeout: time is up\n", w->prog);
	vm_quit(w->vm, STATUS_TIMEOUT);
}

int watch_create(struct watch **out, struct loop *loop, const char *prog, struct err **e)
{
	struct watch *w = xzalloc(sizeof(*w));
	sigset_t set;
	int r;

	w->loop = loop;
	w->prog = prog;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &set, &w->before);
	w->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	w->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (w->signal_fd >= 0)
		w->signal_w = loop_fd_add(loop, w->signal_fd, EPOLLIN, NULL, watch_signal, w);
	if (w->timer_fd >= 0)
		w->timer_w = loop_fd_add(loop, w->timer_fd, EPOLLIN, NULL, watch_timer, w);
	if (!w->signal_w || !w->timer_w) {
		r = err_set(e, errno, "cannot watch signals and time: %s", strerror(errno));
		watch_destroy(w);
		return r;
	}
	*out = w;
	return 0;
}

void watch_vm(struct watch *w, struct vm *vm, uint64_t timeout_ms)
{
	struct itimerspec at = {
		.it_value.tv_sec = (time_t)(timeout_ms / 1000),
		.it_value.tv_nsec = (long)(timeout_ms % 1000) * 1000000,
	};

	w->vm = vm;
	timerfd_settime(w->timer_fd, 0, &at, NULL);
}

void watch_destroy(struct watch *w)
{
	if (!w)
		return;
	loop_fd_remove(w->signal_w);
	loop_fd_remove(w->timer_w);
	if (w->signal_fd >= 0)
		close(w->signal_fd);
	if (w->timer_fd >= 0)
		close(w->timer_fd);
	pthread_sigmask(SIG_SETMASK, &w->before, NULL);
	free(w);
}
