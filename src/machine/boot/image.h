/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* A file that is loaded into a guest.  It stays open, so that a reset loads the same file again. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct mem;

struct image {
	int fd; /* -1: none */
	uint64_t size;
	char *path;
	const char *what; /* "kernel", "initrd", "firmware": for messages */
};

/* image_open - a regular file that is not empty; 0 or -errno with *e.  image_close: also of one
 * never opened (fd -1). */
int image_open(struct image *im, const char *what, const char *path, struct err **e);
void image_close(struct image *im);
/* image_read - exactly len bytes from off; -EINVAL with *e when the file is shorter. */
int image_read(const struct image *im, uint64_t off, void *buf, uint64_t len, struct err **e);
/* image_load - copy [off, off+len) of the file to guest RAM at addr; the caller has checked that
 * RAM is there
 * (-EFAULT with *e otherwise). */
int image_load(const struct image *im, uint64_t off, uint64_t len, struct mem *mem, uint64_t addr,
	       struct err **e);
