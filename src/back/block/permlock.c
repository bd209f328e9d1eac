/* SPDX-License-Identifier: Apache-2.0 */
#include "back/block/permlock.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include "base/base.h"
#include "base/err.h"

enum { PERM_READ, PERM_WRITE, PERM_WRITE_UNCHANGED, PERM_RESIZE, PERM_COUNT };

#define PERM_DOES 100
#define PERM_FORBIDS 200

static int lock_byte(int fd, int cmd, short type, off_t at)
{
	struct flock fl = {.l_whence = SEEK_SET, .l_start = at, .l_len = 1, .l_type = type};

	if (fcntl(fd, cmd, &fl) < 0)
		return -errno;
	return cmd == F_OFD_GETLK && fl.l_type != F_UNLCK ? -EAGAIN : 0;
}

static int busy(const char *filename, bool write, struct err **e)
{
	return err_set(e, EAGAIN, "'%s': image is in use by another process%s", filename,
		       write ? "; it cannot be opened for writing" : ", which writes to it");
}

int permlock_take(int fd, bool write, const char *filename, struct err **e)
{
	unsigned does = BIT(PERM_READ) | (write ? BIT(PERM_WRITE) | BIT(PERM_RESIZE) : 0);
	unsigned forbids = BIT(PERM_WRITE) | BIT(PERM_RESIZE);

	for (int i = 0; i < PERM_COUNT; i++) {
		int r = 0;

		if (does & BIT(i))
			r = lock_byte(fd, F_OFD_SETLK, F_RDLCK, PERM_DOES + i);
		if (!r && forbids & BIT(i))
			r = lock_byte(fd, F_OFD_SETLK, F_RDLCK, PERM_FORBIDS + i);
		if (r == -EAGAIN || r == -EACCES)
			return busy(filename, write, e);
		if (r)
			return 0; /* no locks here: NFS without lockd and the like */
	}
	for (int i = 0; i < PERM_COUNT; i++)
		if ((does & BIT(i) && lock_byte(fd, F_OFD_GETLK, F_WRLCK, PERM_FORBIDS + i)) ||
		    (forbids & BIT(i) && lock_byte(fd, F_OFD_GETLK, F_WRLCK, PERM_DOES + i)))
			return busy(filename, write, e);
	return 0;
}
