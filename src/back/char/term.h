/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The controlling terminal in raw mode, and back.  There is one terminal per process, so this is
 * the one place with state of the process: signal handlers have nothing else to go by.
 */
#include <stdbool.h>

/* term_enter - put the terminal fd into raw mode; with `signals` Ctrl-C, Ctrl-Z and Ctrl-\ keep
 * their meaning. Again with another `signals`: changes it.  0, or -errno (-ENOTTY: not a terminal,
 * nothing was done). From the first call on the terminal is restored by term_leave, at exit, and
 * when a signal ends or stops the process. */
int term_enter(int fd, bool signals);
/* term_leave - restore what term_enter found. */
void term_leave(void);
