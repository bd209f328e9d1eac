/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A lock against a second writer, understood by QEMU and its tools and by us.
 *
 * An image's users say what they do with it and what they bear from others by read locks (of the
 * open file description, fcntl F_OFD_SETLK) on single bytes of the file: byte 100 + i, "I do i";
 * byte 200 + i, "no other may do i", with i of enum below.  Nobody takes a write lock; whether
 * another holds a read lock there is found by asking for a write lock with F_OFD_GETLK.
 */
#include <stdbool.h>

struct err;

/* permlock_take - for a reader or a writer of the file: other writers are not borne.  0; -EAGAIN
 * with *e when the file is in use; 0 as well where the file system knows no locks. */
int permlock_take(int fd, bool write, const char *filename, struct err **e);
