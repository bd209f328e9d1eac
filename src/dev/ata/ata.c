/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A drive: its life, how commands begin and end, reset, saved state.
 *
 * One command at a time runs in d->cmd; queued ones (NCQ) run in structures of the host, any number
 * up to 32, and share nothing but the medium.  All that is asynchronous is the block layer's: a
 * command in phase ATA_IO has one request there.  ata_abort waits for these and lets them end
 * unseen.
 *
 * Saved: after block_drain what is still in ATA_IO is held by the block layer (an error stopped the
 * guest).  A register host's drive does that piece again when guest time runs after a load; an sg
 * host fetches its commands again itself, so nothing of them is kept here.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "dev/ata/ata_int.h"
#include "dev/bootindex.h"
#include "dev/class.h"
#include "dev/pci/pci.h"

#define CD_MAX (UINT64_C(1) << 32) /* sectors that READ CAPACITY can tell */
#define DISK_MAX (UINT64_C(1) << 48)

struct ata_cmd *ata_dev_cmd(struct ata_dev *d)
{
	return &d->cmd;
}

bool ata_dev_atapi(const struct ata_dev *d)
{
	return d->atapi;
}

bool ata_ends_quietly(const struct ata_cmd *c)
{
	return c->r.command != 0xa0 && !c->dma && !c->out && c->total && !c->failed;
}

static void end(struct ata_cmd *c)
{
	c->phase = ATA_IDLE;
	if (c->r.command == 0xa0)
		c->r.count = 3;
	ata_host_of(c->dev)->done(c->dev->bus->host, c);
}

void ata_ok(struct ata_cmd *c)
{
	c->r.status = ATA_DRDY | ATA_DSC;
	c->r.error = 0;
	end(c);
}

void ata_fail(struct ata_cmd *c, uint8_t error)
{
	c->failed = true;
	c->r.status = ATA_DRDY | ATA_DSC | ATA_ERR;
	c->r.error = error;
	end(c);
}

void ata_cmd_reject(struct ata_cmd *c)
{
	c->total = c->done = 0;
	ata_fail(c, ATA_ABRT);
}

/* ata_io_error - the block layer could not: the first sector of the piece is named. */
void ata_io_error(struct ata_cmd *c, int rc)
{
	uint64_t at = c->sector + (c->unit ? c->done / c->unit : 0);

	if (c->dev->atapi) {
		atapi_fail(c, rc == -ENOMEDIUM ? SENSE_NO_MEDIUM : SENSE_READ_ERROR);
		return;
	}
	if (ata_addr48(c->r.command)) {
		c->r.lba = at & bits_get(~UINT64_C(0), 47, 0);
	} else {
		c->r.lba = at & 0xffffff;
		c->r.device = (uint8_t)((c->r.device & 0xf0) | (at >> 24 & 0xf));
	}
	ata_fail(c, c->out || rc == -ENOSPC ? ATA_ABRT : ATA_UNC);
}

void ata_exec(struct ata_dev *d, struct ata_cmd *c, const uint8_t *cdb)
{
	bug_on(c->phase != ATA_IDLE);
	c->dev = d;
	c->total = c->done = 0;
	c->unit = ATA_SECTOR;
	c->out = c->dma = c->fua = c->failed = false;
	c->then = NULL;
	c->step = 0;
	c->src = ATA_SRC_BUF;
	c->r.error = 0;
	c->r.status = ATA_BSY;
	if (d->atapi && c->r.command == 0xa0)
		atapi_start(c, cdb);
	else
		ata_command(c);
}

void ata_poll(struct ata_dev *d)
{
	if (!d || !d->submitted)
		return;
	d->submitted = false;
	block_poll(d->blk);
}

void ata_abort(struct ata_dev *d)
{
	bool before = d->aborting;

	d->aborting = true;
	if (d->blk) {
		block_drain(d->blk);
		block_cancel_held(d->blk);
	}
	d->aborting = before;
	d->cmd.phase = ATA_IDLE;
}

void ata_signature(const struct ata_dev *d, struct ata_regs *r)
{
	*r = (struct ata_regs){
		.error = 1, /* diagnostics passed */
		.status = d->atapi ? 0 : ATA_DRDY | ATA_DSC,
		.count = 1,
		.lba = d->atapi ? 0xeb1401 : 0x000001,
	};
}

void ata_soft_reset(struct ata_dev *d, bool hard)
{
	ata_abort(d);
	ata_signature(d, &d->cmd.r);
	d->multiple = d->atapi ? 0 : ATA_MULTIPLE_MAX;
	d->nq_valid = false;
	if (hard) {
		ata_settings_reset(d);
		atapi_reset(d);
	}
}

/* take_info - size of the medium as the guest sees it. */
static void take_info(struct ata_dev *d)
{
	if (!d->blk)
		return;
	block_info(d->blk, &d->info);
	if (d->atapi)
		d->sectors = d->info.has_medium ? min_u64(d->info.size / ATA_CD_SECTOR, CD_MAX) : 0;
	else
		d->sectors = min_u64(d->info.size / ATA_SECTOR, DISK_MAX);
}

static void resized(void *opaque)
{
	take_info(opaque);
}

static void media_changed(void *opaque)
{
	struct ata_dev *d = opaque;

	take_info(d);
	if (d->atapi)
		atapi_media_changed(d);
}

static void dev_reset(struct dev *dev)
{
	struct ata_dev *d = container_of(dev, struct ata_dev, dev);

	ata_soft_reset(d, true);
	d->attention = d->atapi;
	d->attention_sense = SENSE_RESET;
}

static void dev_quiesce(struct dev *dev)
{
	struct ata_dev *d = container_of(dev, struct ata_dev, dev);

	if (d->blk)
		block_drain(d->blk);
}

static void dev_free(struct ata_dev *d)
{
	timer_destroy(d->restart);
	free(d->boot_path);
	ata_cmd_fini(&d->cmd);
	free(d);
}

static void dev_unrealize(struct dev *dev)
{
	struct ata_dev *d = container_of(dev, struct ata_dev, dev);

	ata_abort(d);
	if (d->attached)
		block_detach(d->blk);
	if (d->boot_path)
		dev_bootindex_remove(dev->env, d->boot_path);
	d->bus->unit[d->unit] = NULL;
	if (d->bus->plugged)
		d->bus->plugged(d->bus->host, d->unit);
	dev_free(d);
}

static void restart(void *opaque)
{
	struct ata_dev *d = opaque;
	struct ata_cmd *c = &d->cmd;

	if (c->phase != ATA_IO)
		return;
	if (c->src == ATA_SRC_DISK || c->src == ATA_SRC_RAW) {
		ata_xfer_resume(c);
	} else if (c->r.command == 0x06 && c->total) {
		ata_dsm_list(c, 0);
	} else {
		c->phase = ATA_IDLE;
		ata_exec(d, c, NULL);
	}
	ata_poll(d);
}

static int bad(struct ata_dev *d, struct err **e, const char *what)
{
	return err_set(e, EINVAL, "saved state of %s: impossible %s", d->dev.ops->name, what);
}

/* cmd_check - a command that was saved must stay within its buffer and its medium. */
static int cmd_check(struct ata_dev *d, struct err **e)
{
	struct ata_cmd *c = &d->cmd;

	c->dev = d;
	if (c->phase >= ATA_PHASES || c->src >= ATA_SRCS || c->tag >= ATA_TAGS)
		return bad(d, e, "command");
	c->sg_at = c->sg_table;
	c->sg_entry = 0;
	if (c->phase == ATA_IDLE || ata_host_of(d)->sg) {
		c->phase = ATA_IDLE;
		return 0;
	}
	if (c->pos > c->drq_end || c->drq_end > c->len || c->len > ATA_BUF || !c->unit ||
	    c->done > c->total || c->sg_table > c->done)
		return bad(d, e, "command");
	if (c->phase == ATA_PIO &&
	    (c->pos == c->drq_end || !c->drq_size || c->len > c->total - c->done))
		return bad(d, e, "data block");
	if (c->src != ATA_SRC_DISK && c->src != ATA_SRC_RAW) {
		c->then = c->src == ATA_SRC_BUF && c->out && c->r.command == 0x06 ? ata_dsm_list
			  : c->src == ATA_SRC_BUF && c->out			  ? atapi_select
										  : NULL;
		return c->total > ATA_BUF || (c->src == ATA_SRC_CDB && !d->atapi)
			       ? bad(d, e, "command")
			       : 0;
	}
	if (c->unit != (c->src == ATA_SRC_RAW ? ATA_RAW_SECTOR
			: d->atapi	      ? ATA_CD_SECTOR
					      : ATA_SECTOR) ||
	    (d->atapi && c->out) || c->total % c->unit || c->done % c->unit || c->len % c->unit ||
	    (c->phase == ATA_PIO && !c->len) || (c->phase == ATA_IO && c->done == c->total) ||
	    (c->phase == ATA_IO && c->out && !c->dma && !c->len) ||
	    !range_fits(c->sector, c->total / c->unit, d->sectors))
		return bad(d, e, "sectors");
	return 0;
}

static int post_load(void *obj, struct err **e)
{
	struct ata_dev *d = obj;
	int rc;

	take_info(d);
	if (!d->heads || d->heads > 16 || !d->secs || d->secs > 255)
		return bad(d, e, "geometry");
	if (d->multiple > ATA_MULTIPLE_MAX || d->event > 3 || d->nq_tag >= ATA_TAGS)
		return bad(d, e, "settings");
	rc = cmd_check(d, e);
	if (rc)
		return rc;
	if (d->blk)
		block_set_write_cache(d->blk, d->write_cache);
	if (d->blk && d->atapi)
		block_set_tray_open(d->blk, d->tray_open);
	if (d->cmd.phase == ATA_IO)
		timer_arm(d->restart, vclock_now(d->dev.env->clock));
	return 0;
}

static const struct state_field regs_fields[] = {
	STATE_FIELD(struct ata_regs, command, STATE_U8),
	STATE_FIELD(struct ata_regs, device, STATE_U8),
	STATE_FIELD(struct ata_regs, status, STATE_U8),
	STATE_FIELD(struct ata_regs, error, STATE_U8),
	STATE_FIELD(struct ata_regs, feature, STATE_U16),
	STATE_FIELD(struct ata_regs, count, STATE_U16),
	STATE_FIELD(struct ata_regs, lba, STATE_U64),
	STATE_END,
};

static const struct state_desc regs_state = {
	.name = "ata-registers",
	.version = 1,
	.fields = regs_fields,
};

static const struct state_field cmd_fields[] = {
	STATE_SUB(struct ata_cmd, r, regs_state),
	STATE_FIELD(struct ata_cmd, phase, STATE_U8),
	STATE_FIELD(struct ata_cmd, src, STATE_U8),
	STATE_FIELD(struct ata_cmd, out, STATE_BOOL),
	STATE_FIELD(struct ata_cmd, dma, STATE_BOOL),
	STATE_FIELD(struct ata_cmd, fua, STATE_BOOL),
	STATE_FIELD(struct ata_cmd, failed, STATE_BOOL),
	STATE_FIELD(struct ata_cmd, tag, STATE_U8),
	STATE_FIELD(struct ata_cmd, unit, STATE_U32),
	STATE_FIELD(struct ata_cmd, sector, STATE_U64),
	STATE_FIELD(struct ata_cmd, total, STATE_U64),
	STATE_FIELD(struct ata_cmd, done, STATE_U64),
	STATE_FIELD(struct ata_cmd, len, STATE_U32),
	STATE_FIELD(struct ata_cmd, pos, STATE_U32),
	STATE_FIELD(struct ata_cmd, drq_end, STATE_U32),
	STATE_FIELD(struct ata_cmd, drq_size, STATE_U32),
	STATE_FIELD(struct ata_cmd, sg_table, STATE_U64),
	STATE_END,
};

static const struct state_desc cmd_state = {
	.name = "ata-command",
	.version = 1,
	.fields = cmd_fields,
};

static const struct state_field dev_fields[] = {
	STATE_FIELD(struct ata_dev, heads, STATE_U16),
	STATE_FIELD(struct ata_dev, secs, STATE_U16),
	STATE_FIELD(struct ata_dev, multiple, STATE_U8),
	STATE_FIELD(struct ata_dev, mode, STATE_U8),
	STATE_FIELD(struct ata_dev, standby, STATE_U8),
	STATE_FIELD(struct ata_dev, write_cache, STATE_BOOL),
	STATE_FIELD(struct ata_dev, read_ahead, STATE_BOOL),
	STATE_FIELD(struct ata_dev, smart, STATE_BOOL),
	STATE_FIELD(struct ata_dev, nq_valid, STATE_BOOL),
	STATE_FIELD(struct ata_dev, nq_tag, STATE_U8),
	STATE_SUB(struct ata_dev, nq, regs_state),
	STATE_FIELD(struct ata_dev, sense, STATE_U32),
	STATE_FIELD(struct ata_dev, attention, STATE_BOOL),
	STATE_FIELD(struct ata_dev, attention_sense, STATE_U32),
	STATE_FIELD(struct ata_dev, event, STATE_U8),
	STATE_FIELD(struct ata_dev, locked, STATE_BOOL),
	STATE_FIELD(struct ata_dev, tray_open, STATE_BOOL),
	STATE_BLOB(struct ata_dev, cdb),
	STATE_SUB(struct ata_dev, cmd, cmd_state),
	STATE_BLOB(struct ata_dev, buf),
	STATE_END,
};

static const struct state_desc dev_state = {
	.name = "ata-drive",
	.version = 1,
	.fields = dev_fields,
	.post_load = post_load,
};

static const struct dev_ops hd_ops = {
	.name = "ide-hd",
	.unrealize = dev_unrealize,
	.reset = dev_reset,
	.quiesce = dev_quiesce,
	.state = &dev_state,
};

static const struct dev_ops cd_ops = {
	.name = "ide-cd",
	.unrealize = dev_unrealize,
	.reset = dev_reset,
	.quiesce = dev_quiesce,
	.state = &dev_state,
};

/* text - cut or padded with spaces, as ATA strings are. */
static void text(uint8_t *out, size_t n, const char *s)
{
	size_t len = strnlen(s, n);

	memset(out, ' ', n);
	memcpy(out, s, len);
}

static void configure(struct ata_dev *d, const struct ata_config *cfg)
{
	char serial[24];

	snprintf(serial, sizeof(serial), "QM%05u", (d->bus->index * 2 + d->unit + 1) % 100000);
	text((uint8_t *)d->serial, sizeof(d->serial), cfg->serial ? cfg->serial : serial);
	text((uint8_t *)d->model, sizeof(d->model),
	     cfg->model ? cfg->model
	     : d->atapi ? "QEMU DVD-ROM"
			: "QEMU HARDDISK");
	text((uint8_t *)d->version, sizeof(d->version), cfg->version ? cfg->version : "2.5+");
	d->wwn = cfg->wwn;
	d->rotation = cfg->rotation;
	d->phys_block = cfg->phys_block ? cfg->phys_block : d->info.phys_block;
	if (d->phys_block < ATA_SECTOR || !is_pow2(d->phys_block))
		d->phys_block = ATA_SECTOR;
	d->write_cache_def = cfg->write_cache == 2 ? d->info.write_cache : cfg->write_cache == 1;
}

static int attach(struct ata_dev *d, struct err **e)
{
	struct block_front f = {
		.lock = d->dev.env->lock,
		.resized = resized,
		.media_changed = media_changed,
		.opaque = d,
		.name = d->dev.id,
		.polls = true,
	};
	int rc;

	if (!d->blk)
		return 0;
	if (d->atapi) {
		f.tray_locked = atapi_locked;
		f.eject_request = atapi_eject_request;
	}
	rc = block_attach(d->blk, &f, !d->atapi, e);
	d->attached = !rc;
	if (rc)
		return rc;
	take_info(d);
	if (!d->atapi && !d->sectors)
		return err_set(e, EINVAL, "a disk of less than one sector");
	if (d->info.align > (d->atapi ? ATA_CD_SECTOR : ATA_SECTOR))
		return err_set(e, EINVAL, "the image wants requests of %u bytes", d->info.align);
	return 0;
}

int ata_dev_create(struct ata_bus *b, unsigned unit, const struct ata_config *cfg, const char *id,
		   struct err **e)
{
	struct ata_dev *d;
	int rc;

	bug_on(unit >= b->n_units || b->unit[unit]);
	if (!cfg->block && !cfg->atapi)
		return err_set(e, EINVAL, "it needs a drive");
	d = xzalloc(sizeof(*d));
	d->bus = b;
	d->unit = unit;
	d->atapi = cfg->atapi;
	d->blk = cfg->block;
	d->cmd.dev = d;
	d->dev.env = b->env;
	d->dev.id = id;
	rc = attach(d, e);
	if (rc) {
		if (d->attached)
			block_detach(d->blk);
		free(d);
		return rc;
	}
	configure(d, cfg);
	d->boot_path = cfg->boot_path;
	d->restart = timer_new(b->env->loop, b->env->clock, b->env->lock, restart, d);
	dev_add(&d->dev, d->atapi ? &cd_ops : &hd_ops, id, b->env);
	b->unit[unit] = d;
	dev_reset(&d->dev);
	if (b->plugged)
		b->plugged(b->host, unit);
	return 0;
}

static int bus_place(void *opaque, const char *addr, unsigned *place, struct err **e)
{
	struct ata_bus *b = opaque;
	char *end_p;
	unsigned long n;

	if (!addr) {
		for (unsigned i = 0; i < b->n_units; i++) {
			if (b->unit[i])
				continue;
			*place = i;
			return 0;
		}
		return err_set(e, ENOSPC, "bus '%s' is full", b->name);
	}
	n = strtoul(addr, &end_p, 0);
	if (end_p == addr || *end_p || *addr == '-' || n >= b->n_units)
		return err_set(e, EINVAL, "bus '%s' has no unit '%s'", b->name, addr);
	if (b->unit[n])
		return err_set(e, EBUSY, "unit %lu of bus '%s' is taken", n, b->name);
	*place = (unsigned)n;
	return 0;
}

static unsigned next_index(struct dev_env *env)
{
	unsigned n = 0;

	for (const struct dev_bus *b = env->buses; b; b = b->next)
		n += b->kind == BUS_IDE || b->kind == BUS_SATA;
	return n;
}

void ata_bus_init(struct ata_bus *b, struct pci_dev *pci, const char *fw_name, const char *id,
		  unsigned channel, unsigned n_units, const struct ata_host *ops, void *host)
{
	*b = (struct ata_bus){
		.env = pci->dev.env,
		.ops = ops,
		.host = host,
		.n_units = n_units,
		.index = next_index(pci->dev.env),
		.pci = pci,
		.fw_name = fw_name,
		.channel = channel,
	};
	b->name = id ? xasprintf("%s.%u", id, channel) : xasprintf("ide.%u", b->index);
	dev_bus_add(b->env, b->name, n_units == 1 ? BUS_SATA : BUS_IDE, b, bus_place);
}

void ata_bus_fini(struct ata_bus *b)
{
	bug_on(b->unit[0] || b->unit[1]);
	dev_bus_remove(b->env, b);
	free(b->name);
}
