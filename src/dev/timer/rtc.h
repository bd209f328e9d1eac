/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Motorola MC146818 real-time clock with 128 bytes of CMOS at ports 0x70-0x71, and 128 more
 * bytes at 0x72-0x73. */
#include "dev/dev.h"

struct rtc;

/* rtc_create - time of day starts at the host's UTC clock. `irq`: IRQ 8. */
struct rtc *rtc_create(struct dev_env *env, struct irq_line irq);
/* rtc_cmos_set - put a byte of CMOS (0x0e-0x7f), e.g. the memory sizes that firmware reads. */
void rtc_cmos_set(struct rtc *r, uint8_t index, uint8_t val);
/* rtc_cmos_set_memory - the bytes for base, extended, above-16M and above-4G memory
 * (0x15-0x18, 0x30-0x31, 0x34-0x35, 0x5b-0x5d); sizes in bytes of RAM below and above 4 GiB. */
void rtc_cmos_set_memory(struct rtc *r, uint64_t below_4g, uint64_t above_4g);
