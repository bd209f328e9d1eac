/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Shared mappings of what is large and used all over, in huge pages where the host has them. */
#include <stddef.h>

/*
 * hugemap_file - map the file's first `size` bytes (a multiple of the page size) shared, with the
 * protection `prot` (PROT_*), at an address that huge pages can be mapped at, and ask for them.
 * Returns MAP_FAILED with errno set on failure.  munmap() of the same size releases it.
 */
void *hugemap_file(int fd, size_t size, int prot);
