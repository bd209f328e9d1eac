/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * ATA disks and ATAPI CD-ROMs (ATA8-ACS, MMC-5), as a controller sees them: struct ata_dev takes
 * the contents of its registers, runs a command, moves its data by what struct ata_host offers, and
 * says when it is done.  The controllers are ahci.c and piix_ide.c; a person names the drives
 * ide-hd and ide-cd.  Everything runs with env->lock held.
 */
#include "back/block/block.h"
#include "dev/dev.h"

#define ATA_SECTOR 512u
#define ATA_CD_SECTOR 2048u
#define ATA_RAW_SECTOR 2352u
#define ATA_BUF (64 * 1024u)
#define ATA_TAGS 32

/* Status register (ATA8-ACS 6.2). */
#define ATA_ERR 0x01 /* ATAPI: CHK */
#define ATA_DRQ 0x08
#define ATA_DSC 0x10
#define ATA_DF 0x20
#define ATA_DRDY 0x40
#define ATA_BSY 0x80

/* Error register. */
#define ATA_ABRT 0x04
#define ATA_IDNF 0x10
#define ATA_UNC 0x40

struct ata_dev;
struct pci_bus;
struct pci_dev;
struct pci_place;

/*
 * A register file.  16-bit registers hold the newer write in the low byte and the one before it in
 * the high byte; lba holds 24 bits of newer writes, and above them 24 of those before.
 */
struct ata_regs {
	uint8_t command, device, status, error;
	uint16_t feature, count;
	uint64_t lba;
};

/* What a command waits for. */
enum ata_phase {
	ATA_IDLE, /* there is none */
	ATA_IO, /* the block layer */
	ATA_PIO, /* the host is to move [pos, drq_end) of the drive's buffer (register host) */
	ATA_DMA_WAIT, /* ata_dma_go (register host) */
	ATA_PHASES,
};

/* What its data are. */
enum ata_src {
	ATA_SRC_BUF, /* the drive's buffer, all of them */
	ATA_SRC_DISK, /* sectors of the medium */
	ATA_SRC_RAW, /* sectors of a CD with headers and ECC area around them */
	ATA_SRC_CDB, /* a packet to come */
	ATA_SRCS,
};

/* A command in execution. */
struct ata_cmd {
	struct ata_dev *dev;
	struct ata_regs r;
	uint8_t phase, src;
	bool out; /* data go to the drive */
	bool dma; /* the command's protocol is DMA (sg hosts move all data by it) */
	bool failed;
	bool fua;
	bool queued; /* NCQ */
	uint8_t tag;
	uint32_t unit; /* bytes of a sector as transferred */
	uint64_t sector; /* first sector */
	uint64_t total, done; /* bytes of the data phase */
	/* Within the buffer: valid bytes, next byte, end of the DRQ block, its usual size. */
	uint32_t len, pos, drq_end, drq_size;
	void (*then)(struct ata_cmd *c, int rc); /* after block I/O that is no data phase */
	uint32_t step; /* of a list: where it is */

	struct block_req req;
	struct iovec *iov;
	unsigned n_iov, cap_iov;
	/* The controller's: place in its scatter list (entry, byte of data at which the entry
	 * begins), and the list itself. */
	uint32_t sg_entry, sg_count;
	uint64_t sg_at, sg_table;
};

/* What a controller offers; made by it, one for each of its buses. */
struct ata_host {
	bool sg; /* a scatter list is there from the start for any data (AHCI); else PIO by
		    registers */
	bool sata;
	/* Register host: a DRQ block is ready in the buffer (irq: interrupt). */
	void (*drq)(void *host, struct ata_cmd *c, bool irq);
	/* Register host: a DMA data phase begins: ata_dma_go when the engine runs, now or later. */
	void (*dma)(void *host, struct ata_cmd *c);
	/*
	 * Next entry of the scatter list: *addr and *len (> 0) of the guest memory for the data
	 * that begin at byte `off` of the phase, which is c->done or follows the last answer.  0;
	 * -ENOSPC: the list has ended; -EFAULT: it cannot be read.
	 */
	int (*sg_next)(void *host, struct ata_cmd *c, uint64_t off, uint64_t *addr, uint64_t *len);
	/* DMA cannot go on: rc as above, or -EFAULT for data outside of RAM.  The command is
	 * dropped unless the host keeps it (phase ATA_DMA_WAIT). */
	void (*dma_fault)(void *host, struct ata_cmd *c, int rc);
	/* The command has ended: c->r has status and error. */
	void (*done)(void *host, struct ata_cmd *c);
};

/* A bus of one (SATA) or two drives. */
struct ata_bus {
	struct dev_env *env;
	const struct ata_host *ops;
	void *host;
	unsigned n_units;
	unsigned index; /* of all buses of the machine: for default serial numbers */
	/* For paths of boot devices: function, its Open Firmware name, channel or port in it. */
	struct pci_dev *pci;
	const char *fw_name;
	unsigned channel;
	struct ata_dev *unit[2];
	/* A drive came (or went: no drive) at run time or before; may be NULL. */
	void (*plugged)(void *host, unsigned unit);
	char *name; /* owned */
};

/* ata_bus_init - enter a bus for -device: "ID.CHANNEL", or with id NULL "ide.N", where N counts all buses;
 * ata_bus_fini: drives are gone before. */
void ata_bus_init(struct ata_bus *b, struct pci_dev *pci, const char *fw_name, const char *id,
		  unsigned channel, unsigned n_units, const struct ata_host *ops, void *host);
void ata_bus_fini(struct ata_bus *b);

struct ata_config {
	struct block *block; /* NULL: a CD drive that never has a medium */
	bool atapi;
	const char *serial, *model, *version; /* NULL: default */
	uint64_t wwn;
	char *boot_path; /* in the boot order; NULL: not; becomes the drive's */
	uint32_t phys_block; /* bytes; 0: what the image says */
	uint16_t rotation; /* 0 not told, 1 solid state, rpm */
	int write_cache; /* 1, 0, or 2: what the image says */
};

/* ata_dev_create - a drive on unit `unit` of a bus; id outlives it.  0 or -errno with *e. */
int ata_dev_create(struct ata_bus *b, unsigned unit, const struct ata_config *cfg, const char *id,
		   struct err **e);

/*
 * For controllers.  ata_exec runs the command in c->r (c is ata_dev_cmd, or a queued one that the
 * host owns, with c->queued and c->tag set): ATAPI packets are taken from cdb when given (sg
 * hosts). ata_is_queued: is it a command with a tag?
 */
struct ata_cmd *ata_dev_cmd(struct ata_dev *d);
bool ata_dev_atapi(const struct ata_dev *d);
bool ata_is_queued(uint8_t command);
void ata_exec(struct ata_dev *d, struct ata_cmd *c, const uint8_t *cdb);
/* ata_cmd_reject - end a command that was not run: aborted. */
void ata_cmd_reject(struct ata_cmd *c);
/* ata_dma_go - the DMA engine runs: move the data of a command in ATA_DMA_WAIT. */
void ata_dma_go(struct ata_cmd *c);
/* ata_pio_ptr - the bytes [pos, drq_end) of the present DRQ block; ata_pio_done when pos has come
 * to its end. */
uint8_t *ata_pio_ptr(struct ata_cmd *c);
void ata_pio_done(struct ata_cmd *c);
/* ata_poll - at the end of whatever began commands or went on with them, but not in a callback of
 * theirs: takes in what the block layer has done meanwhile.  d may be NULL. */
void ata_poll(struct ata_dev *d);
/* ata_abort - nothing of the drive's commands is in flight after this, none ends with host->done.
 */
void ata_abort(struct ata_dev *d);
/* ata_soft_reset - SRST, or (hard) COMRESET and power-on: abort, settings back, signature in the
 * registers. */
void ata_soft_reset(struct ata_dev *d, bool hard);
/* ata_signature - the register values after a reset. */
void ata_signature(const struct ata_dev *d, struct ata_regs *r);
void ata_cmd_fini(struct ata_cmd *c);
/* ata_ends_quietly - did it end with a PIO data block to the host, after which no interrupt comes?
 */
bool ata_ends_quietly(const struct ata_cmd *c);
/* ata_queue_error - remember what READ LOG EXT page 10h tells of a queued command that failed. */
void ata_queue_error(struct ata_dev *d, const struct ata_cmd *c);

/* The controllers.  ahci_create: n_ports 1..32; buses "ide.N" from the next free number on. */
struct ahci;
struct ahci *ahci_create(struct pci_bus *bus, uint8_t devfn, unsigned n_ports, const char *id);
/* ahci_create_at - for -device. */
void ahci_create_at(struct pci_place *pl, unsigned n_ports);
struct ata_bus *ahci_bus(struct ahci *h, unsigned port);
struct gsi;
struct piix_ide;
struct piix_ide *piix_ide_create(struct pci_bus *bus, uint8_t devfn, struct gsi *gsi);
struct ata_bus *piix_ide_bus(struct piix_ide *p, unsigned channel);
