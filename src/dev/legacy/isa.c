/* SPDX-License-Identifier: Apache-2.0 */
/* Ports of devices on the ISA bus. */
#include <errno.h>

#include "base/base.h"
#include "base/err.h"
#include "dev/class.h"

int isa_ports_check(uint64_t base, uint64_t size, struct err **e)
{
	if (!size || !range_fits(base, size, 0x10000))
		return err_set(e, EINVAL, "ports 0x%llx..+%llu are outside of the port space",
			       (unsigned long long)base, (unsigned long long)size);
	return 0;
}

int isa_ports_free(const struct dev_env *env, uint64_t base, uint64_t size, struct err **e)
{
	const struct io_region *io = pio_user(env->mem, (uint16_t)base, (uint32_t)size);

	return io ? err_set(e, EBUSY, "ports 0x%llx..+%llu are in use by '%s'",
			    (unsigned long long)base, (unsigned long long)size, io->name) : 0;
}
