/* SPDX-License-Identifier: Apache-2.0 */
#include "base/hugemap.h"
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif

void *hugemap(int fd, size_t size, int prot)
{
	int flags = MAP_NORESERVE | (fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED);
	size_t room = size + HUGE_PAGE;
	uint8_t *whole, *at, *end;

	whole = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (whole == MAP_FAILED)
		return MAP_FAILED;
	at = (uint8_t *)align_up((uintptr_t)whole, HUGE_PAGE);
	end = at + align_up(size, (size_t)sysconf(_SC_PAGESIZE));
	if (mmap(at, size, prot, flags | MAP_FIXED, fd, 0) == MAP_FAILED) {
		munmap(whole, room);
		return MAP_FAILED;
	}
	if (at > whole)
		munmap(whole, (size_t)(at - whole));
	if (whole + room > end)
		munmap(end, (size_t)(whole + room - end));
	/* Only advice: a host without them has none. */
	madvise(at, size, MADV_HUGEPAGE);
	return at;
}

void hugemap_gather(void *at, size_t size)
{
	madvise(at, size, MADV_COLLAPSE);
}
