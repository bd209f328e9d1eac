/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shared folders: virtio transport of 9P (device ID 9).
 *
 * One queue; a chain is a T-message to read and room for its R-message to write.  The 9P server
 * (back/fs/p9.h) answers it on its own threads, and from and into the chain's buffers; the reply is
 * pushed when the machine's lock is held again, on whatever thread that is.  A driver that sends
 * what is no message, or leaves no room for a reply, breaks its device.
 *
 * Saved state: what a client has open is saved by names and looked up again where the state is
 * loaded (back/fs/p9_save.c).  A load only checks it; the session that there is stays until the
 * guest goes on, with the first kick, and the other then takes its place.  So when a load fails,
 * here or in a part of the machine that comes later, nothing has to be found again: the bytes that
 * are put back are those of the session that is still there, and it goes on, with what has no name
 * any more.
 *
 * Version 1 had no sessions: a state that was saved while the folder was mounted is refused.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "back/fs/fsdev.h"
#include "back/fs/p9.h"
#include "base/err.h"
#include "dev/virtio/virtio.h"
#include "dev/virtio/virtio_9p.h"

#define VIRTIO_9P_F_MOUNT_TAG BIT(0)
#define QUEUE_SIZE 128
#define TAG_MAX 255
#define WORKERS 4
#define TREAD 116
#define RERROR_LEN 11 /* also an Rread of nothing */

struct virtio_9p {
	struct virtio_dev v;
	struct p9_queue *q;
	char *tag;
	uint32_t reload, n_kicked; /* for tests: every so many elements, or 0 */
	bool stopping; /* elements are given up, not handed back */
	/* Saved; session is only up to date, or there at all, from pre_save or post_load to the
	 * next message. */
	bool mounted; /* the driver has files of the folder in use */
	uint32_t n_session;
	uint8_t *session;
	/* The session that q has, in the same form and for the same time, when that may be another.
	 */
	uint32_t n_live;
	uint8_t *live;
	struct p9_saved *loaded; /* takes the place of q's with the next message */
};

struct v9_req {
	struct p9_req r;
	struct virtio_9p *d;
	struct virtq_elem *el;
};

static void v9_done(struct p9_req *r, int rc, uint32_t reply_len)
{
	struct v9_req *req = container_of(r, struct v9_req, r);
	struct virtio_9p *d = req->d;
	struct virtq_elem *el = req->el;
	struct virtq *q = el->q;

	/* A read that failed may have got some way. */
	if (r->type == TREAD && reply_len <= RERROR_LEN)
		el->touched = el->in_len;
	free(req);
	if (rc || d->stopping) {
		virtq_drop(el);
		if (rc == -EBADMSG && !d->stopping)
			virtio_error(&d->v, "not a 9P message, or no room for its reply");
		return;
	}
	virtq_push(el, reply_len);
	virtq_notify(q);
}

/* forget_saved - before anything happens to the session. */
static void forget_saved(struct virtio_9p *d)
{
	p9_saved_free(d->loaded);
	free(d->session);
	free(d->live);
	d->loaded = NULL;
	d->session = d->live = NULL;
	d->n_session = d->n_live = 0;
}

/* reload - for tests: as if the machine was saved and loaded here. */
static void reload(struct virtio_9p *d)
{
	struct p9_saved *v;
	uint8_t *data;
	uint32_t len = p9_queue_save(d->q, &data);

	bug_on(p9_saved_read(&v, data, len, NULL));
	p9_queue_load(d->q, v);
	p9_saved_free(v);
	free(data);
}

static void v9_kick(struct virtio_dev *v, unsigned n)
{
	struct virtio_9p *d = container_of(v, struct virtio_9p, v);
	struct virtq_elem *el;

	/* The end of the queue's threads lets others have the lock: too late for them. */
	if (d->stopping)
		return;
	if (d->loaded)
		p9_queue_load(d->q, d->loaded);
	forget_saved(d);
	while ((el = virtq_pop(virtio_queue(v, n)))) {
		struct v9_req *req = xzalloc(sizeof(*req));

		if (d->reload && ++d->n_kicked % d->reload == 0)
			reload(d);
		req->d = d;
		req->el = el;
		req->r.io = (struct p9_io){el->out, el->n_out, el->in, el->n_in};
		req->r.done = v9_done;
		p9_queue_submit(d->q, &req->r);
	}
}

static void v9_stop(struct virtio_dev *v, int q)
{
	struct virtio_9p *d = container_of(v, struct virtio_9p, v);

	d->stopping = true;
	if (q < 0) {
		p9_queue_reset(d->q);
		forget_saved(d);
	} else {
		p9_queue_cancel(d->q);
	}
	d->stopping = false;
}

static void v9_quiesce(struct virtio_dev *v)
{
	p9_queue_drain(container_of(v, struct virtio_9p, v)->q);
}

static void v9_unrealize(struct virtio_dev *v)
{
	struct virtio_9p *d = container_of(v, struct virtio_9p, v);

	d->stopping = true;
	p9_queue_destroy(d->q);
	virtio_fini(v);
	forget_saved(d);
	free(d->tag);
	free(d);
}

static uint64_t v9_features(struct virtio_dev *v)
{
	return VIRTIO_9P_F_MOUNT_TAG;
}

/* tag_len[2] tag[tag_len] */
static void v9_config_read(struct virtio_dev *v, uint32_t off, void *buf, uint32_t len)
{
	struct virtio_9p *d = container_of(v, struct virtio_9p, v);
	uint8_t config[2 + TAG_MAX];

	put_le16(config, (uint16_t)strlen(d->tag));
	memcpy(config + 2, d->tag, strlen(d->tag));
	memcpy(buf, config + off, len);
}

static void v9_pre_save(void *obj)
{
	struct virtio_9p *d = obj;

	/* What was loaded and not begun is what there is to save. */
	if (d->loaded)
		return;
	forget_saved(d);
	d->n_session = p9_queue_save(d->q, &d->session);
	d->mounted = p9_queue_in_use(d->q);
	d->n_live = d->n_session;
	d->live = memcpy(xrealloc(NULL, d->n_live), d->session, d->n_live);
}

static int v9_post_load(void *obj, struct err **e)
{
	struct virtio_9p *d = obj;
	struct p9_saved *v = NULL;
	int r;

	if (d->mounted && !d->n_session)
		return err_set(e, EINVAL,
			       "the guest had shared folder '%s' mounted when it was saved by an "
			       "older version, which did not save what is needed to go on",
			       d->tag);
	if (d->n_session != d->n_live || !d->live || memcmp(d->session, d->live, d->n_live)) {
		r = p9_saved_read(&v, d->session, d->n_session, e);
		if (r) {
			err_prefix(e, "'%s'", d->tag);
			return r;
		}
	}
	p9_saved_free(d->loaded);
	d->loaded = v;
	return 0;
}

static const struct state_field v9_fields[] = {
	STATE_FIELD(struct virtio_9p, mounted, STATE_BOOL),
	STATE_VARIES(struct virtio_9p, session, n_session, P9_SAVED_MAX, 2),
	STATE_END,
};

static const struct state_desc v9_state = {
	.name = "virtio-9p",
	.version = 2,
	.oldest = 1,
	.fields = v9_fields,
	.pre_save = v9_pre_save,
	.post_load = v9_post_load,
};

static const struct virtio_ops v9_ops = {
	.name = "virtio-9p",
	.id = VIRTIO_ID_9P,
	.features = v9_features,
	.config_read = v9_config_read,
	.kick = v9_kick,
	.stop = v9_stop,
	.quiesce = v9_quiesce,
	.unrealize = v9_unrealize,
	.state = &v9_state,
};

static int v9_check(const struct dev_opts *o, struct err **e)
{
	const char *tag = dev_opt_str(o, "mount_tag");

	if (!dev_opt_given(o, "fsdev"))
		return err_set(e, EINVAL, "fsdev= is needed");
	if (!tag || !*tag || strlen(tag) > TAG_MAX)
		return err_set(e, EINVAL, "mount_tag= of 1 to %d bytes is needed", TAG_MAX);
	return 0;
}

static int v9_create(const struct dev_place *p, const struct dev_opts *o, struct virtio_dev **out,
		     struct err **e)
{
	struct virtio_9p *d = xzalloc(sizeof(*d));

	d->tag = xstrdup(dev_opt_str(o, "mount_tag"));
	d->reload = (uint32_t)dev_opt_num(o, "x-reload");
	d->q = p9_queue_create(dev_opt_object(o, "fsdev"), p->env->lock, WORKERS);
	virtio_init(&d->v, &v9_ops, p->env, p->id, 1, QUEUE_SIZE, (uint32_t)(2 + strlen(d->tag)));
	*out = &d->v;
	return 0;
}

static const struct dev_prop v9_props[] = {
	{"fsdev", "name of an -fsdev", NULL, PROP_FSDEV, 0, NULL},
	{"mount_tag", "name by which the guest mounts it", NULL, PROP_STR, 0, NULL},
	{"x-reload", "for tests: before each Nth request, save and load all open files", "0",
	 PROP_UINT, UINT32_MAX, NULL},
	{0},
};

const struct virtio_type virtio_9p_type = {
	.name = "virtio-9p",
	.id = VIRTIO_ID_9P,
	.create = v9_create,
};

VIRTIO_CLASSES(virtio_9p, "virtio-9p", "a folder of the host (9P)", "Storage", virtio_9p_type,
	       v9_props, v9_check);
