/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ACPI fixed hardware (ACPI 6.4 4.8.3, 4.8.4).
 *
 *   PM1_STS  0 timer, 5 global, 8 power button, 10 RTC, 15 wake; written ones clear
 *   PM1_EN   the same bits except wake
 *   PM1_CNT  0 SCI_EN, 12:10 SLP_TYP, 13 SLP_EN (write only)
 *   PM_TMR   24 bits at 3.579545 MHz; TMR_STS is set whenever bit 23 changes
 *   GPE0     status bytes, then as many enable bytes
 *
 * SCI is high while an enabled status bit is set and SCI_EN is on.  TMR_STS is found out when
 * somebody looks; a host timer runs only while it could raise SCI.
 */
#include "dev/acpi/pm.h"

#include <errno.h>

#include "base/err.h"

#define STS_TMR BIT(0)
#define STS_PWRBTN BIT(8)
#define STS_ALL (BIT(0) | BIT(5) | BIT(8) | BIT(10) | BIT(15))
#define EN_ALL (BIT(0) | BIT(5) | BIT(8) | BIT(10))
#define CNT_SCI_EN BIT(0)
#define CNT_SLP_TYP(v) bits_get(v, 12, 10)
#define CNT_SLP_EN BIT(13)
#define CNT_ALL 0x1c03u
#define HALF_WRAP 23
#define NS_PER_S 1000000000

static uint64_t ticks(const struct acpi_pm *pm)
{
	uint64_t ns = (uint64_t)vclock_now(pm->env->clock);

	return (uint64_t)((unsigned __int128)ns * ACPI_PM_FREQ / NS_PER_S) + pm->tick_off;
}

uint32_t acpi_pm_timer(struct acpi_pm *pm)
{
	return ticks(pm) & 0xffffff;
}

static void pm_update(struct acpi_pm *pm)
{
	uint64_t half = ticks(pm) >> HALF_WRAP, next;
	bool level;

	if (half != pm->half_seen)
		pm->pm1_sts |= STS_TMR;
	pm->half_seen = half;
	level = (pm->pm1_cnt & CNT_SCI_EN) &&
		((pm->pm1_sts & pm->pm1_en & EN_ALL) || (pm->gpe_sts & pm->gpe_en));
	irq_set(&pm->sci, level);
	if ((pm->pm1_en & STS_TMR) && !(pm->pm1_sts & STS_TMR)) {
		next = ((half + 1) << HALF_WRAP) - pm->tick_off;
		timer_arm(pm->overflow,
			  (int64_t)(((unsigned __int128)next * NS_PER_S + ACPI_PM_FREQ - 1) /
				    ACPI_PM_FREQ));
	} else {
		timer_cancel(pm->overflow);
	}
}

static void overflow_due(void *opaque)
{
	pm_update(opaque);
}

/* write_part - reg (of 16 bits each, side by side in *val) with an access of size bytes at off
 * replaced. */
static uint32_t write_part(uint32_t old, unsigned off, uint64_t val, unsigned size)
{
	uint32_t mask = (uint32_t)mask_size(size) << (8 * off);

	return (old & ~mask) | ((uint32_t)(val << (8 * off)) & mask);
}

uint64_t acpi_pm1_evt_read(struct acpi_pm *pm, unsigned off, unsigned size)
{
	pm_update(pm);
	return ((uint32_t)pm->pm1_en << 16 | pm->pm1_sts) >> (8 * off) & mask_size(size);
}

void acpi_pm1_evt_write(struct acpi_pm *pm, unsigned off, uint64_t val, unsigned size)
{
	uint32_t clear = write_part(0, off, val, size);
	uint32_t both = write_part((uint32_t)pm->pm1_en << 16, off, val, size);

	pm_update(pm);
	pm->pm1_sts &= (uint16_t)~clear;
	pm->pm1_en = (uint16_t)(both >> 16) & EN_ALL;
	pm_update(pm);
}

uint64_t acpi_pm1_cnt_read(struct acpi_pm *pm, unsigned off, unsigned size)
{
	return (uint64_t)pm->pm1_cnt >> (8 * off) & mask_size(size);
}

void acpi_pm1_cnt_write(struct acpi_pm *pm, unsigned off, uint64_t val, unsigned size)
{
	uint32_t v = write_part(pm->pm1_cnt, off, val, size);

	pm->pm1_cnt = v & CNT_ALL;
	if (v & CNT_SLP_EN) {
		if (CNT_SLP_TYP(v) == ACPI_SLP_TYP_S5)
			pm->env->request_poweroff(pm->env->opaque);
		else
			LOGF(pm->env->log, GUEST_ERRORS, "acpi: sleep type %u is not offered\n",
			     (unsigned)CNT_SLP_TYP(v));
	}
	pm_update(pm);
}

uint64_t acpi_pm_block_read(struct acpi_pm *pm, unsigned off, unsigned size)
{
	switch (off & ~3u) {
	case 0:
		return acpi_pm1_evt_read(pm, off, size);
	case 4:
		return acpi_pm1_cnt_read(pm, off - 4, size);
	case 8:
		return acpi_pm_timer(pm) >> (8 * (off - 8)) & mask_size(size);
	default:
		return 0;
	}
}

void acpi_pm_block_write(struct acpi_pm *pm, unsigned off, uint64_t val, unsigned size)
{
	if (off < 4)
		acpi_pm1_evt_write(pm, off, val, size);
	else if (off < 8)
		acpi_pm1_cnt_write(pm, off - 4, val, size);
}

uint8_t acpi_gpe_read(struct acpi_pm *pm, unsigned off)
{
	unsigned half = pm->gpe_len / 2u;

	if (off >= pm->gpe_len)
		return 0xff;
	return (uint8_t)(off < half ? pm->gpe_sts >> (8 * off) : pm->gpe_en >> (8 * (off - half)));
}

void acpi_gpe_write(struct acpi_pm *pm, unsigned off, uint8_t val)
{
	unsigned half = pm->gpe_len / 2u, shift;

	if (off >= pm->gpe_len)
		return;
	if (off < half) {
		pm->gpe_sts &= ~((uint64_t)val << (8 * off));
	} else {
		shift = 8 * (off - half);
		pm->gpe_en = bits_set(pm->gpe_en, shift + 7, shift, val);
	}
	pm_update(pm);
}

void acpi_pm_gpe(struct acpi_pm *pm, unsigned n)
{
	bug_on(n >= pm->gpe_len * 4u);
	pm->gpe_sts |= BIT(n);
	pm_update(pm);
}

void acpi_pm_power_button(struct acpi_pm *pm)
{
	pm->pm1_sts |= STS_PWRBTN;
	pm_update(pm);
}

void acpi_pm_enable(struct acpi_pm *pm, bool on)
{
	pm->pm1_cnt = on ? pm->pm1_cnt | CNT_SCI_EN : pm->pm1_cnt & (uint16_t)~CNT_SCI_EN;
	pm_update(pm);
}

/* SMI command and status: there is no SMM, the chip itself does what firmware's handler would. */
static uint64_t apm_read(void *opaque, uint64_t off, unsigned size)
{
	struct acpi_pm *pm = opaque;

	return off ? pm->apm_sts : pm->apm_cnt;
}

static void apm_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
	struct acpi_pm *pm = opaque;

	if (off) {
		pm->apm_sts = (uint8_t)val;
		return;
	}
	pm->apm_cnt = (uint8_t)val;
	if (val == ACPI_CMD_ENABLE || val == ACPI_CMD_DISABLE)
		acpi_pm_enable(pm, val == ACPI_CMD_ENABLE);
}

static const struct io_ops apm_ops = { .read = apm_read, .write = apm_write, .min = 1, .max = 1 };

void acpi_pm_init(struct acpi_pm *pm, struct dev_env *env, struct irq_line sci, uint8_t gpe_len)
{
	bug_on(gpe_len > 16 || (gpe_len & 1));
	pm->env = env;
	pm->sci = sci;
	pm->gpe_len = gpe_len;
	pm->overflow = timer_new(env->loop, env->clock, env->lock, overflow_due, pm);
	pm->apm_io = (struct io_region){ .name = "apm", .ops = &apm_ops, .opaque = pm,
		.lock = env->lock, .size = 2 };
	pm->apm_map = pio_map(env->mem, ACPI_SMI_CMD, &pm->apm_io, 0);
	acpi_pm_reset(pm);
}

void acpi_pm_fini(struct acpi_pm *pm)
{
	timer_destroy(pm->overflow);
	pio_unmap(pm->env->mem, pm->apm_map);
}

void acpi_pm_reset(struct acpi_pm *pm)
{
	pm->pm1_sts = pm->pm1_en = pm->pm1_cnt = 0;
	pm->gpe_sts = pm->gpe_en = 0;
	pm->apm_cnt = pm->apm_sts = 0;
	pm->half_seen = ticks(pm) >> HALF_WRAP;
	pm_update(pm);
}

static void pm_pre_save(void *obj)
{
	struct acpi_pm *pm = obj;

	pm_update(pm);
	pm->saved_ticks = ticks(pm);
}

static int pm_post_load(void *obj, struct err **e)
{
	struct acpi_pm *pm = obj;

	if ((pm->pm1_sts & ~STS_ALL) || (pm->pm1_en & ~EN_ALL) || (pm->pm1_cnt & ~CNT_ALL))
		return err_set(e, EINVAL, "saved state of acpi-pm: impossible value");
	pm->saved_ticks &= BIT(48) - 1;
	pm->tick_off = 0;
	pm->tick_off = pm->saved_ticks - ticks(pm);
	pm->half_seen = ticks(pm) >> HALF_WRAP;
	pm_update(pm);
	return 0;
}

static const struct state_field pm_fields[] = {
	STATE_FIELD(struct acpi_pm, pm1_sts, STATE_U16),
	STATE_FIELD(struct acpi_pm, pm1_en, STATE_U16),
	STATE_FIELD(struct acpi_pm, pm1_cnt, STATE_U16),
	STATE_FIELD(struct acpi_pm, gpe_sts, STATE_U64),
	STATE_FIELD(struct acpi_pm, gpe_en, STATE_U64),
	STATE_FIELD(struct acpi_pm, apm_cnt, STATE_U8),
	STATE_FIELD(struct acpi_pm, apm_sts, STATE_U8),
	STATE_FIELD(struct acpi_pm, saved_ticks, STATE_U64),
	STATE_END,
};

const struct state_desc acpi_pm_state = {
	.name = "acpi-pm", .version = 1, .fields = pm_fields, .post_load = pm_post_load,
	.pre_save = pm_pre_save,
};
