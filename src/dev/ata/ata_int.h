/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Inside a drive. */
#include "dev/ata/ata.h"

struct timer;

/* Sense data: key << 16 | ASC << 8 | ASCQ (SPC-3 4.5.6). */
#define SENSE_NONE 0x000000u
#define SENSE_NOT_READY_OPEN 0x023a02u
#define SENSE_NO_MEDIUM 0x023a01u
#define SENSE_READ_ERROR 0x031100u
#define SENSE_BAD_OPCODE 0x052000u
#define SENSE_OUT_OF_RANGE 0x052100u
#define SENSE_BAD_FIELD 0x052400u
#define SENSE_BAD_PARAMETER 0x052600u
#define SENSE_LOCKED 0x055302u
#define SENSE_BAD_MODE 0x056400u /* illegal mode for this track */
#define SENSE_MEDIUM_CHANGED 0x062800u
#define SENSE_RESET 0x062900u

#define ATA_MULTIPLE_MAX 16

struct ata_dev {
	struct dev dev;
	struct ata_bus *bus;
	unsigned unit;
	bool atapi;
	struct block *blk; /* NULL: a CD drive without a back end */
	struct block_info info;
	uint64_t sectors; /* of 512 or 2048 bytes; 0: no medium */
	char serial[20], model[40], version[8];
	uint64_t wwn;
	uint32_t phys_block;
	uint16_t rotation;
	uint8_t write_cache_def;
	char *boot_path; /* owned; NULL: none */
	struct timer *restart; /* goes on after a load, when guest time runs */
	bool aborting;
	bool submitted; /* since the last ata_poll */
	bool attached;

	/* Geometry: CHS translation in force. */
	uint16_t heads, secs;
	/* Settings. */
	uint8_t multiple; /* sectors; 0: off */
	uint8_t mode; /* transfer mode as in SET FEATURES 03h; 0: default */
	uint8_t standby;
	bool write_cache, read_ahead, smart;
	/* Page 10h: the last queued command that failed. */
	bool nq_valid;
	uint8_t nq_tag;
	struct ata_regs nq;

	/* ATAPI. */
	uint32_t sense; /* of the last command that failed */
	bool attention; /* UNIT ATTENTION to be told */
	uint32_t attention_sense;
	uint8_t event; /* media event to be told: 0 none, 1 eject request, 2 new, 3 removal */
	bool locked, tray_open;
	uint8_t cdb[16];

	struct ata_cmd cmd;
	uint8_t buf[ATA_BUF];
};

static inline struct ata_host *ata_host_of(const struct ata_dev *d)
{
	return (struct ata_host *)d->bus->ops;
}

/* ata.c: ends of a command. */
void ata_ok(struct ata_cmd *c);
void ata_fail(struct ata_cmd *c, uint8_t error);
/* ata_data_* - begin the data phase: n bytes of the buffer; sectors of the disk; bytes wanted from
 * the guest, then `then` is called. block: usual size of a DRQ block. */
void ata_data_in(struct ata_cmd *c, uint32_t n, uint32_t block);
void ata_data_out(struct ata_cmd *c, uint32_t n, uint32_t block,
		  void (*then)(struct ata_cmd *c, int rc));
void ata_data_disk(struct ata_cmd *c, enum ata_src src, uint64_t sector, uint64_t n,
		   uint32_t block);
/* ata_submit - block I/O apart from data: `then` is called with its result. */
void ata_submit(struct ata_cmd *c, enum block_op op, uint64_t off, uint64_t len,
		void (*then)(struct ata_cmd *c, int rc));
void ata_io_error(struct ata_cmd *c, int rc);

/* xfer.c */
void ata_xfer_resume(struct ata_cmd *c);

/* disk.c: commands of disks, and those both kinds have. */
void ata_command(struct ata_cmd *c);
bool ata_addr48(uint8_t command);
void ata_settings_reset(struct ata_dev *d);
/* identify.c */
void ata_identify(struct ata_dev *d, uint8_t out[512]);
void ata_identify_packet(struct ata_dev *d, uint8_t out[512]);
/* log.c: SMART, READ LOG */
void ata_smart(struct ata_cmd *c);
void ata_read_log(struct ata_cmd *c);
/* trim.c */
void ata_dsm(struct ata_cmd *c);
void ata_dsm_list(struct ata_cmd *c, int rc);

/* atapi.c */
void atapi_start(struct ata_cmd *c, const uint8_t *cdb);
void atapi_packet(struct ata_cmd *c);
void atapi_select(struct ata_cmd *c, int rc); /* the parameters of MODE SELECT have come */
void atapi_fail(struct ata_cmd *c, uint32_t sense);
void atapi_reset(struct ata_dev *d);
void atapi_media_changed(void *opaque);
bool atapi_locked(void *opaque);
void atapi_eject_request(void *opaque);
bool atapi_has_medium(const struct ata_dev *d);
/* atapi_info.c: what is answered from tables; bytes in the buffer, or 0 with *sense. */
uint32_t atapi_inquiry(struct ata_dev *d, const uint8_t *cdb, uint32_t *sense);
uint32_t atapi_mode_sense(struct ata_dev *d, const uint8_t *cdb, uint32_t *sense);
uint32_t atapi_toc(struct ata_dev *d, const uint8_t *cdb, uint32_t *sense);
uint32_t atapi_config(struct ata_dev *d, const uint8_t *cdb, uint32_t *sense);
uint32_t atapi_disc_info(struct ata_dev *d, const uint8_t *cdb, uint32_t *sense);
uint32_t atapi_track_info(struct ata_dev *d, const uint8_t *cdb, uint32_t *sense);
uint32_t atapi_event(struct ata_dev *d, const uint8_t *cdb, uint32_t *sense);
uint32_t atapi_mechanism(struct ata_dev *d, const uint8_t *cdb, uint32_t *sense);

static inline void put_be16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static inline void put_be32(uint8_t *p, uint32_t v)
{
	put_be16(p, (uint16_t)(v >> 16));
	put_be16(p + 2, (uint16_t)v);
}

static inline uint16_t get_be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t get_be32(const uint8_t *p)
{
	return (uint32_t)get_be16(p) << 16 | get_be16(p + 2);
}
