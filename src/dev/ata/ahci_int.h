/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Between the registers of an AHCI controller (ahci.c) and the engine of a port (ahci_port.c). */
#include "dev/ata/ata.h"
#include "dev/pci/pci.h"

#define AHCI_PORTS_MAX 32
#define AHCI_SLOTS 32

/* PxIS (AHCI 1.3 3.3.5). */
#define PXIS_DHRS BIT(0)
#define PXIS_PSS BIT(1)
#define PXIS_DSS BIT(2)
#define PXIS_SDBS BIT(3)
#define PXIS_PCS BIT(6) /* SERR.DIAG.X */
#define PXIS_PRCS BIT(22) /* SERR.DIAG.N */
#define PXIS_OFS BIT(24)
#define PXIS_IFS BIT(27)
#define PXIS_HBFS BIT(29)
#define PXIS_TFES BIT(30)
#define PXIS_ALL 0xfdc000ffu
#define PXIS_W1C (PXIS_ALL & ~(uint32_t)(PXIS_PCS | PXIS_PRCS | BIT(4)))

#define PXCMD_ST BIT(0)
#define PXCMD_SUD BIT(1)
#define PXCMD_POD BIT(2)
#define PXCMD_CLO BIT(3)
#define PXCMD_FRE BIT(4)
#define PXCMD_FR BIT(14)
#define PXCMD_CR BIT(15)
#define PXCMD_KEPT (PXCMD_ST | PXCMD_FRE | BIT(24) | BIT(25) | BIT(26) | BIT(27))
#define PXCMD_FIXED (PXCMD_SUD | PXCMD_POD)

#define SERR_DIAG_N BIT(16)
#define SERR_DIAG_X BIT(26)

struct ahci;

struct ahci_port {
	struct ahci *h;
	unsigned n;
	struct ata_bus bus;
	/* Registers. */
	uint64_t clb, fb;
	uint32_t is, ie, cmd, tfd, sig, ssts, sctl, serr, sact, ci;
	bool unsigned_yet; /* the drive's signature waits for FRE */
	bool halted; /* an error: nothing more is fetched until ST is cleared */
	bool srst; /* a soft reset is in force */
	uint8_t slot; /* of the command that is not queued; AHCI_SLOTS: none */
	uint8_t last; /* slot fetched last */
	uint32_t queued; /* tags that the drive works on */
	bool running; /* port_run is on the stack */
	struct ata_cmd *tags; /* AHCI_SLOTS of them, when there is a disk */
};

struct ahci {
	struct pci_dev pci;
	const char *bus_id; /* names its buses; NULL: they are the board's */
	unsigned n_ports;
	uint32_t ghc, is;
	uint32_t index; /* of the index/data pair */
	struct io_region mem, idp;
	struct timer *restart;
	struct ahci_port ports[AHCI_PORTS_MAX];
};

/* ahci_port_is - PxIS; two of its bits follow PxSERR. */
static inline uint32_t ahci_port_is(const struct ahci_port *p)
{
	return p->is | (uint32_t)(p->serr & SERR_DIAG_X ? PXIS_PCS : 0) |
	       (uint32_t)(p->serr & SERR_DIAG_N ? PXIS_PRCS : 0);
}

/* ahci_irq - interrupt status of ports goes to HBA and PCI. */
void ahci_irq(struct ahci *h);

extern const struct ata_host ahci_host;
void ahci_port_init(struct ahci_port *p, struct ahci *h, unsigned n);
void ahci_port_fini(struct ahci_port *p);
/* ahci_port_reset - power-on (registers too) or COMRESET. */
void ahci_port_reset(struct ahci_port *p, bool power_on);
uint32_t ahci_port_read(struct ahci_port *p, unsigned off);
void ahci_port_write(struct ahci_port *p, unsigned off, uint32_t val);
/* ahci_port_run - fetch what may be fetched.  ahci_port_restart: after a load. */
void ahci_port_run(struct ahci_port *p);
void ahci_port_restart(struct ahci_port *p);
int ahci_port_check(struct ahci_port *p, struct err **e);
void ahci_port_poll(struct ahci_port *p);
