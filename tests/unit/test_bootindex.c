/* SPDX-License-Identifier: Apache-2.0 */
/* What firmware shall boot from: order, paths. */
#include "dev_env.h"
#include "pci_card.h"

#include <errno.h>

#include "dev/bootindex.h"

static unsigned map_irq(unsigned slot, unsigned pin)
{
	return pin;
}

static void set_pirq(void *opaque, unsigned n, bool level)
{
}

static void assert_list(struct dev_env *env, const char *want)
{
	char *list = dev_bootindex_list(env);

	assert_string_equal(list, want);
	free(list);
}

static void order(void **state)
{
	struct test_env *t = env_open();
	struct err *e = NULL;

	assert_list(&t->env, "");
	assert_int_equal(dev_bootindex_add(&t->env, 5, "/b", &e), 0);
	assert_int_equal(dev_bootindex_add(&t->env, 0, "/a", &e), 0);
	assert_int_equal(dev_bootindex_add(&t->env, INT32_MAX, "/c", &e), 0);
	assert_int_equal(dev_bootindex_add(&t->env, BOOTINDEX_NONE, "/no", &e), 0);
	assert_list(&t->env, "/a\n/b\n/c");
	assert_int_equal(dev_bootindex_add(&t->env, 5, "/d", &e), -EINVAL);
	assert_non_null(strstr(err_msg(e), "bootindex 5"));
	err_free(&e);
	dev_bootindex_remove(&t->env, "/b");
	dev_bootindex_remove(&t->env, "/b");
	assert_list(&t->env, "/a\n/c");
	env_close(t);
}

static void paths(void **state)
{
	struct test_env *t = env_open();
	struct pci_bus *b = pci_bus_create(&t->env, "pci.0", false, map_irq, set_pirq, NULL);
	struct card *c = card_new(b, PCI_DEVFN(0x1f, 0)), *f = card_new(b, PCI_DEVFN(0x1f, 2));
	char *path;

	pci_dev_ready(&c->pci);
	pci_dev_ready(&f->pci);
	path = dev_bootindex_pci(&c->pci, "scsi", "/disk@0,0");
	assert_string_equal(path, "/pci@i0cf8/scsi@1f/disk@0,0");
	free(path);
	path = dev_bootindex_pci(&f->pci, "ethernet", "");
	assert_string_equal(path, "/pci@i0cf8/ethernet@1f,2");
	free(path);
	env_close(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(order), cmocka_unit_test(paths)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
