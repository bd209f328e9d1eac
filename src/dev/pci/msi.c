/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Message-signalled interrupts (PCI Local Bus 3.0 6.8).
 *
 * MSI lives in configuration space: control (2), address (4, 8), data (0xc), mask (0x10) and
 * pending bits (0x14), as the capability with 64-bit addresses and per-vector masking has them.
 * MSI-X has a table of {address, data, vector control} and an array of pending bits in a memory
 * BAR.
 *
 * A vector that is raised while it is masked becomes pending; whatever may unmask (vector control,
 * the mask register, function mask, enabling) is followed by a look at the pending ones.  A pending
 * bit is cleared when its message goes out, which needs bus mastering: without, the message is
 * lost, pending or not, as a real function has nowhere to keep it.  Masked and pending vectors live
 * through a switch-off and on again of the capability.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "dev/pci/pci.h"
#include "dev/pci/pci_int.h"

#define CONTROL 2
#define MSI_ENABLE BIT(0)
#define MSI_ADDR 4
#define MSI_DATA 0xc
#define MSI_MASK 0x10
#define MSI_PENDING 0x14
#define MSI_LEN 0x18
#define MSI_64BIT BIT(7)
#define MSI_MASKING BIT(8)
#define MSIX_ENABLE BIT(15)
#define MSIX_FUNCTION_MASK BIT(14)
#define MSIX_TABLE 4
#define MSIX_PBA 8
#define MSIX_LEN 12
#define ENTRY 16
#define ENTRY_DATA 8
#define ENTRY_CONTROL 12
#define ENTRY_MASKED 1
#define MSIX_BAR_MIN (4 * KiB)

static void send(const struct pci_dev *d, uint64_t addr, uint32_t data)
{
	const struct dev_env *env = d->dev.env;

	if (pci_dev_is_master(d) && env->msi)
		env->msi(env->msi_opaque, pci_dev_requester(d), addr, data);
}

static uint16_t control(const struct pci_dev *d, unsigned cap)
{
	return get_le16(d->config + cap + CONTROL);
}

bool pci_msix_enabled(const struct pci_dev *d)
{
	return d->msix.cap && (control(d, d->msix.cap) & MSIX_ENABLE);
}

bool pci_msi_enabled(const struct pci_dev *d)
{
	return d->msi.cap && (control(d, d->msi.cap) & MSI_ENABLE);
}

static bool entry_masked(const struct pci_dev *d, unsigned v)
{
	return (control(d, d->msix.cap) & MSIX_FUNCTION_MASK) ||
	       (d->msix.table[v * ENTRY + ENTRY_CONTROL] & ENTRY_MASKED);
}

static void entry_send(struct pci_dev *d, unsigned v)
{
	const uint8_t *entry = d->msix.table + v * ENTRY;

	d->msix.pba[v / 8] &= (uint8_t) ~(1u << (v & 7));
	send(d, get_le64(entry) & ~UINT64_C(3), get_le32(entry + ENTRY_DATA));
}

void pci_msix_notify(struct pci_dev *d, unsigned v)
{
	if (v >= d->msix.n || !pci_msix_enabled(d))
		return;
	if (entry_masked(d, v))
		d->msix.pba[v / 8] |= (uint8_t)(1u << (v & 7));
	else
		entry_send(d, v);
}

/* msix_flush - send vector v if it is pending and may go. */
static void msix_flush(struct pci_dev *d, unsigned v)
{
	if ((d->msix.pba[v / 8] >> (v & 7) & 1) && pci_msix_enabled(d) && !entry_masked(d, v))
		entry_send(d, v);
}

static uint64_t msix_read(void *opaque, uint64_t off, unsigned size)
{
	struct pci_msix *x = &((struct pci_dev *)opaque)->msix;
	uint64_t val = 0;

	if (range_fits(off, size, x->table_len))
		memcpy(&val, x->table + off, size);
	else if (off >= x->pba_off && range_fits(off - x->pba_off, size, x->pba_len))
		memcpy(&val, x->pba + (off - x->pba_off), size);
	return val;
}

static void msix_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
	struct pci_dev *d = opaque;
	struct pci_msix *x = &d->msix;

	if (!range_fits(off, size, x->table_len))
		return;
	if (off % ENTRY == ENTRY_CONTROL)
		val &= ENTRY_MASKED;
	memcpy(x->table + off, &val, size);
	msix_flush(d, (unsigned)(off / ENTRY));
}

static const struct io_ops msix_ops = {
	.read = msix_read,
	.write = msix_write,
	.min = 4,
	.max = 4,
};

static void msix_mask_all(struct pci_msix *x)
{
	for (unsigned v = 0; v < x->n; v++)
		x->table[v * ENTRY + ENTRY_CONTROL] = ENTRY_MASKED;
}

void pci_msix_init(struct pci_dev *d, unsigned n, unsigned bar)
{
	struct pci_msix *x = &d->msix;
	uint64_t size = MSIX_BAR_MIN;

	bug_on(x->cap || !n || n > 2048 || bar >= PCI_NUM_BARS);
	while (size < 2ull * n * ENTRY)
		size *= 2;
	x->n = n;
	x->table_len = n * ENTRY;
	x->pba_len = (n + 63) / 64 * 8;
	x->pba_off = (uint32_t)(size / 2);
	x->table = xzalloc(x->table_len);
	x->pba = xzalloc(x->pba_len);
	msix_mask_all(x);
	x->io = (struct io_region){.name = "msi-x",
				   .ops = &msix_ops,
				   .opaque = d,
				   .lock = d->dev.env->lock,
				   .size = size};
	pci_dev_bar(d, bar, 0, &x->io);
	x->cap = (uint8_t)pci_dev_cap(d, PCI_CAP_ID_MSIX, 0, MSIX_LEN);
	put_le16(d->config + x->cap + CONTROL, (uint16_t)(n - 1));
	put_le16(d->wmask + x->cap + CONTROL, (uint16_t)(MSIX_ENABLE | MSIX_FUNCTION_MASK));
	put_le32(d->config + x->cap + MSIX_TABLE, bar);
	put_le32(d->config + x->cap + MSIX_PBA, x->pba_off | bar);
}

/* allowed - vectors that the guest gave MSI, a power of two. */
static unsigned allowed(const struct pci_dev *d)
{
	unsigned n = 1u << (control(d, d->msi.cap) >> 4 & 7);

	return n < d->msi.n ? n : d->msi.n;
}

static void msi_send(struct pci_dev *d, unsigned v)
{
	uint8_t *cap = d->config + d->msi.cap;

	put_le32(cap + MSI_PENDING, get_le32(cap + MSI_PENDING) & ~(1u << v));
	send(d, get_le64(cap + MSI_ADDR), (get_le16(cap + MSI_DATA) & ~(allowed(d) - 1u)) | v);
}

void pci_msi_notify(struct pci_dev *d, unsigned v)
{
	uint8_t *cap = d->config + d->msi.cap;

	if (v >= d->msi.n || !pci_msi_enabled(d))
		return;
	v &= allowed(d) - 1;
	if (get_le32(cap + MSI_MASK) >> v & 1)
		put_le32(cap + MSI_PENDING, get_le32(cap + MSI_PENDING) | 1u << v);
	else
		msi_send(d, v);
}

void pci_msi_init(struct pci_dev *d, unsigned n)
{
	unsigned cap = pci_dev_cap(d, PCI_CAP_ID_MSI, 0, MSI_LEN);
	uint32_t vectors = (uint32_t)(BIT(n) - 1);

	bug_on(d->msi.cap || n > 32 || !is_pow2(n));
	d->msi = (struct pci_msi){.cap = (uint8_t)cap, .n = (uint8_t)n};
	put_le16(d->config + cap + CONTROL,
		 (uint16_t)(MSI_64BIT | MSI_MASKING | (unsigned)__builtin_ctz(n) << 1));
	put_le16(d->wmask + cap + CONTROL, (uint16_t)(MSI_ENABLE | 7u << 4));
	put_le64(d->wmask + cap + MSI_ADDR, ~UINT64_C(3));
	put_le16(d->wmask + cap + MSI_DATA, 0xffff);
	put_le32(d->wmask + cap + MSI_MASK, vectors);
	put_le32(d->live + cap + MSI_PENDING, vectors);
}

static void flush(struct pci_dev *d)
{
	const uint8_t *cap = d->config + d->msi.cap;

	for (unsigned v = 0; pci_msi_enabled(d) && v < allowed(d); v++)
		if ((get_le32(cap + MSI_PENDING) & ~get_le32(cap + MSI_MASK)) >> v & 1)
			msi_send(d, v);
	for (unsigned v = 0; pci_msix_enabled(d) && v < d->msix.n; v++)
		msix_flush(d, v);
}

static bool overlaps(unsigned off, unsigned size, unsigned cap, unsigned len)
{
	return cap && off < cap + len && cap < off + size;
}

void pci_msi_config_written(struct pci_dev *d, unsigned off, unsigned size)
{
	if (!overlaps(off, size, d->msi.cap, MSI_LEN) &&
	    !overlaps(off, size, d->msix.cap, MSIX_LEN))
		return;
	pci_dev_intx_update(d);
	flush(d);
}

void pci_msi_reset(struct pci_dev *d)
{
	struct pci_msix *x = &d->msix;

	if (!x->cap)
		return;
	memset(x->table, 0, x->table_len);
	memset(x->pba, 0, x->pba_len);
	msix_mask_all(x);
}

/* What no guest could have brought about is refused. */
int pci_msi_post_load(struct pci_dev *d, struct err **e)
{
	struct pci_msix *x = &d->msix;

	for (unsigned v = 0; v < x->n; v++)
		if (get_le32(x->table + v * ENTRY + ENTRY_CONTROL) > ENTRY_MASKED)
			return err_set(e, EINVAL,
				       "MSI-X vector %u: reserved bits of its control are set", v);
	for (unsigned v = x->n; v < x->pba_len * 8; v++)
		if (x->pba[v / 8] >> (v & 7) & 1)
			return err_set(e, EINVAL, "MSI-X vector %u is pending, and does not exist",
				       v);
	return 0;
}

void pci_msi_fini(struct pci_dev *d)
{
	free(d->msix.table);
	free(d->msix.pba);
	d->msix = (struct pci_msix){0};
}
