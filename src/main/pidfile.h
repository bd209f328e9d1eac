/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
struct err;

/* pidfile_create - write our process id to path and keep it locked: -EBUSY with *e when another
 * running process has it.  *fd is for pidfile_remove. */
int pidfile_create(const char *path, int *fd, struct err **e);
void pidfile_remove(const char *path, int fd);
