/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as the saved state of a device: after the machine (rig.h) a byte says whose, and the
 * rest is the stream.  What is refused has changed nothing; what is taken is used: time passes, all
 * registers are read and some written, and the state that it then has can be saved and loaded.
 * STATE_CPU means the processor's.
 */
#include "base/err.h"
#include "rig.h"
#include "state.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void save(struct dev *d, struct state_buf *s)
{
	d->ops->quiesce(d);
	state_save(s, d->ops->state, d);
}

/* check_same - what was saved before is what would be saved now. */
static void check_same(struct dev *d, const struct state_buf *before)
{
	struct state_buf now = {0};

	save(d, &now);
	if (now.len != before->len || memcmp(now.data, before->data, now.len))
		abort();
	free(now.data);
}

static void check_loads(struct dev *d)
{
	struct state_buf s = {0};
	size_t used = 0;

	save(d, &s);
	if (state_load(d->ops->state, d, s.data, s.len, &used, NULL) || used != s.len)
		abort();
	free(s.data);
}

static bool load(struct rig *r, struct dev *d, const struct input *in)
{
	struct state_buf before = {0};
	size_t used = 0;
	bool ok;

	lock_take(&r->vm->dev_lock);
	save(d, &before);
	ok = !state_load(d->ops->state, d, in->p, (size_t)(in->end - in->p), &used, NULL);
	if (ok)
		check_loads(d);
	else
		check_same(d, &before);
	lock_drop(&r->vm->dev_lock);
	free(before.data);
	return ok;
}

/* Registers of everything that has some. */
static void touch(struct rig *r)
{
	static const uint64_t memory[] = {0xfec00000, 0xfed00000, 0xfeb00000,
					  0xfee00000, 0xa0000,	  0xfffe0000};

	for (uint32_t p = 0; p < 0x1000; p += p < 0x700 ? 1 : 8)
		if (p != 0xcf8)
			(void)pio_read(r->mem, (uint16_t)p, 1);
	for (unsigned i = 0; i < ARRAY_SIZE(memory); i++)
		for (unsigned off = 0; off < 0x200; off += 4)
			(void)mem_read(r->mem, GPA(memory[i] + off), 4);
	for (unsigned i = 0; i < r->n_functions; i++)
		for (unsigned reg = 0; reg < 256; reg += 4)
			(void)rig_config_read(r, r->functions[i], reg, 4);
	for (unsigned i = 0; i < r->n_functions; i++)
		for (unsigned bar = 0; bar < 6; bar++) {
			uint32_t at = rig_config_read(r, r->functions[i], 0x10 + 4 * bar, 4);

			for (unsigned off = 0; at && off < 64; off += 4)
				if (at & 1)
					(void)pio_read(r->mem, (uint16_t)((at & ~3u) + off), 4);
				else
					(void)mem_read(r->mem, GPA((at & ~15u) + off), 4);
		}
}

/* End of interrupt, a mask, a command, a divisor: what makes chips act on what they hold. */
static void nudge(struct rig *r)
{
	static const uint16_t writes[][2] = {
		{0x20, 0x20},  {0xa0, 0x20}, {0x21, 0},	    {0xa1, 0},	{0x43, 0xc2},
		{0x64, 0xae},  {0x60, 0xf4}, {0x70, 12},    {0x71, 0},	{0x3f9, 15},
		{0x3f8, 65},   {0x3fa, 7},   {0x1f7, 0xec}, {0x1ce, 4}, {0x1cf, 0x41},
		{0x3c0, 0x20}, {0x92, 0},    {0x511, 1},    {0x4d0, 0}, {0x0f, 0},
		{0x61, 3},     {0x3ce, 5},   {0x3cf, 0x40}, {0xcf9, 2},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(writes); i++)
		pio_write(r->mem, writes[i][0], writes[i][1], 1);
	for (unsigned i = 0; i < 8; i++)
		mem_write(r->mem, GPA(0xfeb00050 + 0x200 * i), 0, 4);
	mem_write(r->mem, GPA(0xfee000b0), 0, 4);
	vm_host_ops.intr_ack(r->vm, 0);
}

static void load_cpu(struct rig *r, const struct input *in)
{
	struct x86_state s, before;
	size_t used;
	uint64_t done;

	r->vm->engine->get(r->vm->ev, 0, &s);
	before = s;
	if (state_load(&x86_state_desc, &s, in->p, (size_t)(in->end - in->p), &used, NULL)) {
		if (memcmp(&s, &before, sizeof(s)))
			abort();
		return;
	}
	r->vm->engine->set(r->vm->ev, 0, &s);
	for (unsigned i = 0; i < 20; i++) {
		r->vm->engine->take_events(r->vm->ev, 0);
		if (r->vm->engine->run_insns(r->vm->ev, 0, 1, &done) != ENGINE_EXIT_DONE)
			break;
	}
}

void state_stream(const uint8_t *head, size_t len, unsigned which, struct state_buf *out)
{
	struct input in = {head, head + len};
	struct x86_state s;
	struct rig r;

	if (!rig_open(&r, &in))
		return;
	nudge(&r);
	lock_take(&r.vm->dev_lock);
	if (which == STATE_CPU) {
		r.vm->engine->get(r.vm->ev, 0, &s);
		state_save(out, &x86_state_desc, &s);
	} else {
		save(rig_device(&r, which), out);
	}
	lock_drop(&r.vm->dev_lock);
	rig_close(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, data + size};
	unsigned which;
	struct rig r;

	if (size < 5 || !rig_open(&r, &in))
		return 0;
	which = (unsigned)take(&in, 1);
	if (which == STATE_CPU) {
		load_cpu(&r, &in);
	} else if (load(&r, rig_device(&r, which), &in)) {
		touch(&r);
		rig_time(&r, 1000);
		nudge(&r);
		rig_time(&r, 1000000000);
		touch(&r);
		lock_take(&r.vm->dev_lock);
		for (struct dev *d = r.vm->env.devs; d; d = d->next)
			check_loads(d);
		lock_drop(&r.vm->dev_lock);
	}
	rig_close(&r);
	return 0;
}
