/* SPDX-License-Identifier: Apache-2.0 */
/* The keyboard, through its controller. */
#include "dev_env.h"

#include "dev/legacy/i8042.h"

struct rig {
	struct test_env *t;
	struct test_wire irq, irq12;
	struct kbd *k;
};

static int setup(void **state)
{
	const struct irq_line none = {0};
	struct rig *r = xzalloc(sizeof(*r));

	r->t = env_open();
	r->k = i8042_keyboard(i8042_create(&r->t->env, wire(&r->irq), wire(&r->irq12), none));
	*state = r;
	return 0;
}

static int teardown(void **state)
{
	struct rig *r = *state;

	env_close(r->t);
	free(r);
	return 0;
}

/* ctr - the controller's command byte: 0x41 interrupts and translation, 0x01 without. */
static void ctr(struct rig *r, uint8_t v)
{
	outb(r->t, 0x64, 0x60);
	outb(r->t, 0x60, v);
}

static void key(struct rig *r, const char *name, bool down)
{
	int k = kbd_find(name);

	assert_true(k >= 0);
	lock_take(&r->t->lock);
	kbd_key(r->k, k, down);
	lock_drop(&r->t->lock);
}

/* bytes - all that there is to read, and nothing more. */
static void assert_bytes(struct rig *r, const void *want, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		assert_true(inb(r->t, 0x64) & 1);
		assert_int_equal(inb(r->t, 0x60), ((const uint8_t *)want)[i]);
	}
	assert_false(inb(r->t, 0x64) & 1);
}

#define BYTES(r, ...) \
	assert_bytes(r, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static void translated(void **state)
{
	struct rig *r = *state;

	ctr(r, 0x41);
	key(r, "a", true);
	assert_true(r->irq.level);
	assert_int_equal(inb(r->t, 0x64) & 0x21, 0x01);
	key(r, "a", false);
	BYTES(r, 0x1e, 0x9e);
	assert_false(r->irq.level);
	assert_int_equal(r->irq.rises, 2); /* one a byte */
	key(r, "up", true);
	key(r, "up", false);
	BYTES(r, 0xe0, 0x48, 0xe0, 0xc8);
	key(r, "pause", true);
	key(r, "pause", false);
	BYTES(r, 0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5);
	key(r, "print", true);
	key(r, "print", false);
	BYTES(r, 0xe0, 0x2a, 0xe0, 0x37, 0xe0, 0xb7, 0xe0, 0xaa);
	key(r, "f7", true);
	key(r, "sysrq", false);
	BYTES(r, 0x41, 0xd4);
}

static void untranslated(void **state)
{
	struct rig *r = *state;

	ctr(r, 0x01);
	key(r, "a", true);
	key(r, "a", false);
	key(r, "ctrl_r", false);
	key(r, "f7", true);
	BYTES(r, 0x1c, 0xf0, 0x1c, 0xe0, 0xf0, 0x14, 0x83);
	key(r, "pause", true);
	BYTES(r, 0xe1, 0x14, 0x77, 0xe1, 0xf0, 0x14, 0xf0, 0x77);
	/* Set 1 by the keyboard itself; no set 3. */
	outb(r->t, 0x60, 0xf0);
	BYTES(r, 0xfa);
	outb(r->t, 0x60, 0x01);
	BYTES(r, 0xfa);
	key(r, "a", true);
	key(r, "delete", false);
	BYTES(r, 0x1e, 0xe0, 0xd3);
	outb(r->t, 0x60, 0xf0);
	BYTES(r, 0xfa);
	outb(r->t, 0x60, 0x00);
	BYTES(r, 0xfa, 0x01);
	outb(r->t, 0x60, 0xf0);
	BYTES(r, 0xfa);
	outb(r->t, 0x60, 0x03);
	BYTES(r, 0xfe);
}

/* Each key's code of set 2, translated, is its code of set 1; all names and codes differ. */
static void table(void **state)
{
	struct rig *r = *state;
	static const struct {
		const char *name;
		uint16_t set1;
	} keys[] = {
#define KEY(name, set1, set2) {name, set1},
#include "dev/legacy/keys.def"
#undef KEY
	};

	ctr(r, 0x41);
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		uint8_t b[2] = {(uint8_t)(keys[i].set1 >> 8), (uint8_t)keys[i].set1};

		assert_int_equal(kbd_find(keys[i].name), i);
		assert_string_equal(kbd_name((int)i), keys[i].name);
		if (!strcmp(keys[i].name, "pause") || !strcmp(keys[i].name, "print"))
			continue;
		key(r, keys[i].name, true);
		assert_bytes(r, b + !b[0], 2 - !b[0]);
		key(r, keys[i].name, false);
		b[1] |= 0x80;
		assert_bytes(r, b + !b[0], 2 - !b[0]);
	}
	assert_int_equal(kbd_find("nonsense"), -1);
	assert_int_equal(kbd_find_code(0x1c), kbd_find("ret"));
	assert_int_equal(kbd_find_code(0xe01c), kbd_find("kp_enter"));
	assert_int_equal(kbd_find_code(0x7777), -1);
}

static void commands(void **state)
{
	struct rig *r = *state;

	ctr(r, 0x01);
	outb(r->t, 0x60, 0xff);
	BYTES(r, 0xfa, 0xaa);
	outb(r->t, 0x60, 0xf2);
	BYTES(r, 0xfa, 0xab, 0x83);
	outb(r->t, 0x60, 0xee);
	BYTES(r, 0xee);
	outb(r->t, 0x60, 0xed);
	BYTES(r, 0xfa);
	outb(r->t, 0x60, 0x05);
	BYTES(r, 0xfa);
	assert_int_equal(r->k->leds, 5);
	outb(r->t, 0x60, 0xf3);
	BYTES(r, 0xfa);
	outb(r->t, 0x60, 0x20);
	BYTES(r, 0xfa);
	/* A command instead of the parameter is a command. */
	outb(r->t, 0x60, 0xed);
	BYTES(r, 0xfa);
	outb(r->t, 0x60, 0xf4);
	BYTES(r, 0xfa);
	outb(r->t, 0x60, 0xfe);
	BYTES(r, 0xfa); /* again */
	outb(r->t, 0x60, 0x33);
	BYTES(r, 0xfe);
	/* Not scanning: keys are lost. */
	outb(r->t, 0x60, 0xf5);
	BYTES(r, 0xfa);
	key(r, "a", true);
	BYTES(r);
	outb(r->t, 0x60, 0xf4);
	BYTES(r, 0xfa);
	key(r, "a", true);
	BYTES(r, 0x1c);
	/* The identifier is translated, too. */
	ctr(r, 0x41);
	outb(r->t, 0x60, 0xf2);
	BYTES(r, 0xfa, 0xab, 0x41);
}

static void held_back(void **state)
{
	struct rig *r = *state;

	ctr(r, 0x41);
	/* A disabled interface keeps the bytes. */
	outb(r->t, 0x64, 0xad);
	key(r, "b", true);
	assert_false(inb(r->t, 0x64) & 1);
	outb(r->t, 0x64, 0xae);
	BYTES(r, 0x30);
	/* Interrupts off. */
	ctr(r, 0x40);
	key(r, "b", false);
	assert_false(r->irq.level);
	ctr(r, 0x41);
	assert_true(r->irq.level);
	BYTES(r, 0xb0);
	/* Too many keys: whole ones are lost, what is there stays in order. */
	for (unsigned i = 0; i < 100; i++)
		key(r, "up", true);
	for (unsigned i = 0; i < 100 && (inb(r->t, 0x64) & 1); i++)
		assert_int_equal(inb(r->t, 0x60), i & 1 ? 0x48 : 0xe0);
	assert_false(inb(r->t, 0x64) & 1);
	key(r, "esc", true);
	BYTES(r, 0x01);
}

static void saved(void **state)
{
	struct rig *r = *state;
	struct dev *d = r->t->env.devs;
	struct state_buf b = {0};
	struct err *e = NULL;
	size_t used;

	ctr(r, 0x41);
	outb(r->t, 0x60, 0xed);
	key(r, "up", true);
	state_save(&b, d->ops->state, d);
	lock_take(&r->t->lock);
	dev_reset_all(&r->t->env);
	lock_drop(&r->t->lock);
	BYTES(r);
	assert_int_equal(state_load(d->ops->state, d, b.data, b.len, &used, &e), 0);
	BYTES(r, 0xfa, 0xe0, 0x48);
	outb(r->t, 0x60, 0x02);
	BYTES(r, 0xfa);
	assert_int_equal(r->k->leds, 2);
	for (size_t i = 0; i < b.len; i++) {
		b.data[i] ^= 0xff;
		if (state_load(d->ops->state, d, b.data, b.len, &used, &e))
			err_free(&e);
		else
			key(r, "a", true);
		for (unsigned n = 0; n < 100; n++)
			inb(r->t, 0x60);
		b.data[i] ^= 0xff;
	}
	free(b.data);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(translated), T(untranslated), T(table), T(commands), T(held_back), T(saved),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
