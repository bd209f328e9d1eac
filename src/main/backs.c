/* SPDX-License-Identifier: Apache-2.0 */
#include "main/backs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "back/block/block.h"
#include "back/fs/fsdev.h"
#include "back/net/net.h"
#include "base/base.h"
#include "base/err.h"
#include "base/kvjson.h"
#include "main/object.h"

struct backs {
	const struct cmdline *c;
	struct loop *loop;
	struct log *log;
	struct net_chardevs chardevs;
	struct blocks *blocks;
	struct netdev **netdevs;
	size_t n_netdevs;
	struct fsdev **fsdevs;
	size_t n_fsdevs;
	struct objects *objects;
	struct backs_part *nics, *folders;
	size_t n_nics, n_folders;
};

static void part_add(struct backs_part **list, size_t *n, char *driver, char *props)
{
	*list = xrealloc(*list, (*n + 1) * sizeof(**list));
	(*list)[(*n)++] = (struct backs_part){driver, props};
}

static void parts_free(struct backs_part *list, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(list[i].driver);
		free(list[i].props);
	}
	free(list);
}

/* for_each_use - open one after the other; a failure is blamed on the option. */
static int for_each_use(struct backs *b, const struct cmd_list *l,
			int (*open)(struct backs *b, const struct cmd_use *use, size_t i,
				    struct err **e),
			struct err **e)
{
	for (size_t i = 0; i < l->n; i++) {
		int r = open(b, &l->use[i], i, e);

		if (r) {
			cmd_blame(e, &l->use[i]);
			return r;
		}
	}
	return 0;
}

static int open_blockdev(struct backs *b, const struct cmd_use *use, size_t i, struct err **e)
{
	return block_open_node(b->blocks, use->arg, e);
}

static int open_drive(struct backs *b, const struct cmd_use *use, size_t i, struct err **e)
{
	struct block *drive;

	return block_open_drive(&drive, b->blocks, use->arg, e);
}

static int add_netdev(struct backs *b, const char *opts, struct err **e)
{
	struct netdev *nd;
	int r = netdev_open(&nd, b->loop, b->log, &b->chardevs, opts, e);

	if (!r && backs_netdev(b, netdev_id(nd))) {
		r = err_set(e, EEXIST, "there is another '%s'", netdev_id(nd));
		netdev_close(nd);
	}
	if (r)
		return r;
	b->netdevs = xrealloc(b->netdevs, (b->n_netdevs + 1) * sizeof(struct netdev *));
	b->netdevs[b->n_netdevs++] = nd;
	return 0;
}

static int open_netdev(struct backs *b, const struct cmd_use *use, size_t i, struct err **e)
{
	return add_netdev(b, use->arg, e);
}

static int open_nic(struct backs *b, const struct cmd_use *use, size_t i, struct err **e)
{
	const char *model = cmdline_virtio(b->c, "net");
	bool old = !strcmp(use->opt, "-net");
	struct net_nic nic;
	int r = old ? netdev_parse_net(&nic, use->arg, cmdline_net_number(b->c, i), model, e)
		    : netdev_parse_nic(&nic, use->arg, (unsigned)i, model, e);

	if (!r && nic.netdev)
		r = add_netdev(b, nic.netdev, e);
	if (!r && nic.driver) {
		part_add(&b->nics, &b->n_nics, nic.driver, nic.props);
		nic.driver = nic.props = NULL;
	}
	net_nic_free(&nic);
	return r;
}

static int add_fsdev(struct backs *b, struct fsdev *f, struct err **e)
{
	if (backs_fsdev(b, fsdev_id(f))) {
		int r = err_set(e, EEXIST, "there is another '%s'", fsdev_id(f));

		fsdev_close(f);
		return r;
	}
	b->fsdevs = xrealloc(b->fsdevs, (b->n_fsdevs + 1) * sizeof(struct fsdev *));
	b->fsdevs[b->n_fsdevs++] = f;
	return 0;
}

static int open_fsdev(struct backs *b, const struct cmd_use *use, size_t i, struct err **e)
{
	struct fsdev *f;
	int r = fsdev_open(&f, b->log, use->arg, e);

	return r ? r : add_fsdev(b, f, e);
}

static int open_virtfs(struct backs *b, const struct cmd_use *use, size_t i, struct err **e)
{
	struct kvlist kv = {0};
	struct fsdev *f;
	char *tag;
	int r = virtfs_open(&f, b->log, use->arg, &tag, e);

	if (r)
		return r;
	r = add_fsdev(b, f, e);
	if (!r) {
		kv_add(&kv, "fsdev", fsdev_id(f));
		kv_add(&kv, "mount_tag", tag);
		part_add(&b->folders, &b->n_folders, xstrdup(cmdline_virtio(b->c, "9p")),
			 kv_text(&kv, NULL));
		kv_free(&kv);
	}
	free(tag);
	return r;
}

static struct netdev *find_netdev(void *opaque, const char *id)
{
	return backs_netdev(opaque, id);
}

static int open_object(struct backs *b, const struct cmd_use *use, size_t i, struct err **e)
{
	return object_add(b->objects, use->arg, find_netdev, b, e);
}

int backs_open(struct backs **out, const struct cmdline *c, struct loop *loop, struct log *log,
	       const struct net_chardevs *chardevs, struct err **e)
{
	struct backs *b = xzalloc(sizeof(*b));
	int r;

	*out = b;
	b->c = c;
	b->loop = loop;
	b->log = log;
	b->chardevs = *chardevs;
	b->blocks = blocks_create(log);
	b->objects = objects_create();
	r = for_each_use(b, &c->blockdevs, open_blockdev, e);
	if (!r)
		r = for_each_use(b, &c->drives, open_drive, e);
	if (!r)
		r = for_each_use(b, &c->netdevs, open_netdev, e);
	if (!r)
		r = for_each_use(b, &c->nics, open_nic, e);
	if (!r)
		r = for_each_use(b, &c->fsdevs, open_fsdev, e);
	if (!r)
		r = for_each_use(b, &c->virtfs, open_virtfs, e);
	return r ? r : for_each_use(b, &c->objects, open_object, e);
}

void backs_close(struct backs *b)
{
	if (!b)
		return;
	objects_destroy(b->objects);
	for (size_t i = 0; i < b->n_fsdevs; i++)
		fsdev_close(b->fsdevs[i]);
	for (size_t i = 0; i < b->n_netdevs; i++)
		netdev_close(b->netdevs[i]);
	blocks_destroy(b->blocks);
	parts_free(b->nics, b->n_nics);
	parts_free(b->folders, b->n_folders);
	free(b->netdevs);
	free(b->fsdevs);
	free(b);
}

/* The back end keeps the memory as a file that has no name. */
int backs_add_disk(struct backs *b, const char *id, const void *data, size_t len, struct err **e)
{
	int fd = memfd_create(id, MFD_CLOEXEC), r = 0;
	struct block *drive;
	char *opts;

	if (fd < 0)
		return err_set(e, errno, "cannot make a disk in memory: %s", strerror(errno));
	for (size_t done = 0; done < len && !r;) {
		ssize_t n = write(fd, (const char *)data + done, len - done);

		if (n < 0)
			r = err_set(e, errno, "cannot make a disk in memory: %s", strerror(errno));
		else
			done += (size_t)n;
	}
	opts = xasprintf("file=/proc/self/fd/%d,format=raw,if=virtio,readonly=on,id=%s", fd, id);
	if (!r)
		r = block_open_drive(&drive, b->blocks, opts, e);
	free(opts);
	close(fd);
	return r;
}

struct block *backs_drive(struct backs *b, const char *id)
{
	return block_find(b->blocks, id);
}

struct netdev *backs_netdev(struct backs *b, const char *id)
{
	for (size_t i = 0; i < b->n_netdevs; i++)
		if (!strcmp(netdev_id(b->netdevs[i]), id))
			return b->netdevs[i];
	return NULL;
}

struct fsdev *backs_fsdev(struct backs *b, const char *id)
{
	for (size_t i = 0; i < b->n_fsdevs; i++)
		if (!strcmp(fsdev_id(b->fsdevs[i]), id))
			return b->fsdevs[i];
	return NULL;
}

void *backs_object(struct backs *b, const char *id)
{
	return object_find(b->objects, id);
}

struct blocks *backs_blocks(struct backs *b)
{
	return b->blocks;
}

void backs_each_netdev(struct backs *b, void (*fn)(void *arg, struct netdev *nd), void *arg)
{
	for (size_t i = 0; i < b->n_netdevs; i++)
		fn(arg, b->netdevs[i]);
}

size_t backs_nics(const struct backs *b, const struct backs_part **out)
{
	*out = b->nics;
	return b->n_nics;
}

size_t backs_folders(const struct backs *b, const struct backs_part **out)
{
	*out = b->folders;
	return b->n_folders;
}
