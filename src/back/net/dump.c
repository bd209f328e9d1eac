/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames into a pcap file (draft-ietf-opsawg-pcap: 24 bytes of header, 16 before each frame, all
 * little-endian, microseconds).  The file is written through a buffer that is flushed when it is 64
 * KiB long and when the dump is closed; a write error ends the dump with one line.
 *
 * Large segments and frames whose checksum is left to the peer are recorded as they pass, as a
 * capture on a host with offloads shows them.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "back/net/netdev_int.h"
#include "base/err.h"

#define DUMP_BUF (64 * KiB)
#define DUMP_MAXLEN 65536
#define PCAP_MAGIC 0xa1b2c3d4
#define LINKTYPE_ETHERNET 1

struct netdump {
	struct netdev *nd; /* NULL: it is gone */
	struct netdump *next;
	int fd;
	uint32_t maxlen;
	uint8_t *buf;
	size_t used;
};

static void dump_flush(struct netdump *d)
{
	size_t done = 0;

	while (done < d->used && d->fd >= 0) {
		ssize_t n = write(d->fd, d->buf + done, d->used - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			log_printf(d->nd->log,
				   "filter-dump: cannot write: %s; no more is recorded\n",
				   strerror(errno));
			close(d->fd);
			d->fd = -1;
			break;
		}
		done += (size_t)n;
	}
	d->used = 0;
}

static void dump_one(struct netdump *d, const struct iovec *iov, unsigned n, size_t len)
{
	size_t part = min_u64(len, d->maxlen);
	struct timespec ts;
	uint8_t *h;

	if (d->fd < 0)
		return;
	if (d->used + 16 + part > DUMP_BUF + DUMP_MAXLEN)
		dump_flush(d);
	clock_gettime(CLOCK_REALTIME, &ts);
	h = d->buf + d->used;
	put_le32(h, (uint32_t)ts.tv_sec);
	put_le32(h + 4, (uint32_t)(ts.tv_nsec / 1000));
	put_le32(h + 8, (uint32_t)part);
	put_le32(h + 12, (uint32_t)len);
	d->used += 16 + net_iov_copy(h + 16, part, iov, n, 0);
	if (d->used >= DUMP_BUF)
		dump_flush(d);
}

void netdump_frame(struct netdump *d, const struct iovec *iov, unsigned n, size_t len)
{
	for (; d; d = d->next)
		dump_one(d, iov, n, len);
}

void netdump_gone(struct netdump *d)
{
	while (d) {
		struct netdump *next = d->next;

		dump_flush(d);
		d->nd = NULL;
		d->next = NULL;
		d = next;
	}
}

int netdump_open(struct netdump **out, struct netdev *nd, const char *file, uint32_t maxlen,
		 struct err **e)
{
	struct netdump *d;
	int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0)
		return err_set(e, errno, "cannot open '%s': %s", file, strerror(errno));
	d = xzalloc(sizeof(*d));
	*d = (struct netdump){.nd = nd, .fd = fd, .maxlen = maxlen, .next = nd->dumps};
	d->buf = xzalloc(DUMP_BUF + DUMP_MAXLEN + 16);
	put_le32(d->buf, PCAP_MAGIC);
	put_le16(d->buf + 4, 2);
	put_le16(d->buf + 6, 4);
	put_le32(d->buf + 16, maxlen);
	put_le32(d->buf + 20, LINKTYPE_ETHERNET);
	d->used = 24;
	nd->dumps = d;
	*out = d;
	return 0;
}

int netdump_create(struct netdump **out, const char *opts,
		   struct netdev *(*find)(void *opaque, const char *id), void *opaque,
		   struct err **e)
{
	struct kvlist l = {0};
	const char *id, *file;
	uint64_t maxlen = DUMP_MAXLEN;
	struct netdev *nd;
	int r = kv_parse(&l, opts, "qom-type", e);

	if (r)
		goto out;
	kv_get(&l, "qom-type");
	kv_get(&l, "id");
	kv_get(&l, "queue"); /* all is recorded, both ways */
	id = kv_get(&l, "netdev");
	file = kv_get(&l, "file");
	r = kv_uint(&l, "maxlen", 1, DUMP_MAXLEN, &maxlen, e);
	if (!r)
		r = kv_finish(&l, e);
	if (!r && !id)
		r = err_set(e, EINVAL, "'netdev' is missing");
	if (!r && !file)
		r = err_set(e, EINVAL, "'file' is missing");
	if (r)
		goto out;
	nd = find(opaque, id);
	r = nd ? netdump_open(out, nd, file, (uint32_t)maxlen, e)
	       : err_set(e, ENOENT, "no netdev '%s'", id);
out:
	if (r)
		err_prefix(e, "filter-dump");
	kv_free(&l);
	return r;
}

void netdump_close(struct netdump *d)
{
	if (!d)
		return;
	if (d->nd) {
		dump_flush(d);
		for (struct netdump **p = &d->nd->dumps; *p; p = &(*p)->next) {
			if (*p != d)
				continue;
			*p = d->next;
			break;
		}
	}
	if (d->fd >= 0)
		close(d->fd);
	free(d->buf);
	free(d);
}
