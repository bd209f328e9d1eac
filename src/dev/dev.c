/* SPDX-License-Identifier: Apache-2.0 */
/* The list of a machine's devices. */
#include "dev/dev.h"

void dev_add(struct dev *d, const struct dev_ops *ops, const char *id, struct dev_env *env)
{
	struct dev **tail = &env->devs;

	bug_on(!ops->unrealize || !ops->reset || !ops->quiesce || !ops->state);
	d->ops = ops;
	d->id = id;
	d->env = env;
	d->next = NULL;
	while (*tail)
		tail = &(*tail)->next;
	*tail = d;
}

void dev_reset_all(struct dev_env *env)
{
	for (struct dev *d = env->devs; d; d = d->next)
		d->ops->reset(d);
}

/* reverse - the list turned round, so that users go before what they use. */
static struct dev *reverse(struct dev *d)
{
	struct dev *out = NULL;

	while (d) {
		struct dev *next = d->next;

		d->next = out;
		out = d;
		d = next;
	}
	return out;
}

void dev_destroy_all(struct dev_env *env)
{
	struct dev *d = reverse(env->devs);

	env->devs = NULL;
	while (d) {
		struct dev *next = d->next;

		d->ops->unrealize(d);
		d = next;
	}
}

void dev_quiesce_none(struct dev *d)
{
}
