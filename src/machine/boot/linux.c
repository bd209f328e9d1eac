/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linux x86 boot protocol (Documentation/x86/boot.rst of the kernel): a bzImage is real-mode setup
 * code, which we skip, whose header describes the protected-mode kernel behind it.  Kernels that
 * say so (XLF_KERNEL_64) are entered in 64-bit mode at load address + 0x200, others in 32-bit mode
 * at the load address.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/base.h"
#include "base/err.h"
#include "dev/fwcfg.h"
#include "machine/boot/boot_int.h"

/* Offsets in the file and, from 0x1f1 on, the same in boot_params. */
#define HDR_START 0x1f1
#define HDR_SETUP_SECTS 0x1f1
#define HDR_SYSSIZE 0x1f4
#define HDR_BOOT_FLAG 0x1fe
#define HDR_JUMP 0x200
#define HDR_VERSION 0x206
#define HDR_TYPE_OF_LOADER 0x210
#define HDR_LOADFLAGS 0x211
#define HDR_CODE32_START 0x214
#define HDR_RAMDISK_IMAGE 0x218
#define HDR_RAMDISK_SIZE 0x21c
#define HDR_CMD_LINE_PTR 0x228
#define HDR_INITRD_ADDR_MAX 0x22c
#define HDR_KERNEL_ALIGNMENT 0x230
#define HDR_RELOCATABLE 0x234
#define HDR_XLOADFLAGS 0x236
#define HDR_CMDLINE_SIZE 0x238
#define HDR_PREF_ADDRESS 0x258
#define HDR_INIT_SIZE 0x260
#define HDR_END_MAX 0x290

#define PARAMS_ACPI_RSDP 0x070
#define PARAMS_E820_ENTRIES 0x1e8
#define PARAMS_E820_TABLE 0x2d0
#define PARAMS_SIZE 4096

#define LOADED_HIGH BIT(0)
#define XLF_KERNEL_64 BIT(0)
#define LOADER_UNDEFINED 0xff

struct linux_header {
	uint8_t raw[HDR_END_MAX]; /* the first bytes of the file; zero past its end and past the
				     header's */
	uint16_t version;
	uint64_t setup_size, payload;
	uint64_t load; /* guest-physical address of the protected-mode kernel */
	uint64_t end; /* RAM it uses before it knows the memory map */
	uint64_t initrd_max, cmdline_max;
	bool entry64;
};

static int header_error(const struct image *k, struct err **e, const char *why)
{
	return err_set(e, EINVAL, "%s '%s' %s", k->what, k->path, why);
}

static int read_header(const struct image *k, struct linux_header *h, struct err **e)
{
	unsigned sects, end;
	int r;

	memset(h, 0, sizeof(*h));
	r = image_read(k, 0, h->raw, min_u64(k->size, sizeof(h->raw)), e);
	if (r)
		return r;
	if (get_le16(h->raw + HDR_BOOT_FLAG) != 0xaa55)
		return header_error(k, e, "has a damaged setup header (no boot flag)");
	h->version = get_le16(h->raw + HDR_VERSION);
	if (h->version < 0x0200)
		return header_error(k, e, "uses a boot protocol older than 2.00");
	if (!(h->raw[HDR_LOADFLAGS] & LOADED_HIGH))
		return header_error(k, e, "is a zImage; only bzImage kernels can be booted");
	sects = h->raw[HDR_SETUP_SECTS] ? h->raw[HDR_SETUP_SECTS] : 4;
	h->setup_size = (sects + 1) * 512ull;
	if (h->setup_size >= k->size)
		return header_error(k, e, "is truncated");
	h->payload = k->size - h->setup_size;
	if (h->version >= 0x0204 &&
	    get_le32(h->raw + HDR_SYSSIZE) * 16ull > align_up(h->payload, 16))
		return header_error(k, e, "is truncated");
	end = 0x202u + h->raw[HDR_JUMP + 1];
	if (end < HDR_END_MAX)
		memset(h->raw + end, 0, HDR_END_MAX - end);
	return 0;
}

/* Where it goes and how it is entered.  A relocatable kernel goes where it likes to be. */
static int interpret_header(const struct boot_config *cfg, struct linux_header *h, struct err **e)
{
	uint64_t init_size = h->payload;

	h->load = 0x100000;
	if (h->version >= 0x020a) {
		uint64_t pref = get_le64(h->raw + HDR_PREF_ADDRESS);

		init_size = max_u64(init_size, get_le32(h->raw + HDR_INIT_SIZE));
		if (h->raw[HDR_RELOCATABLE] && pref >= 0x100000 && pref < 4 * GiB)
			h->load = pref;
	}
	h->end = h->load + init_size;
	h->initrd_max = h->version >= 0x0203 ? get_le32(h->raw + HDR_INITRD_ADDR_MAX) : 0x37ffffff;
	h->cmdline_max = h->version >= 0x0206 ? get_le32(h->raw + HDR_CMDLINE_SIZE) : 255;
	h->entry64 = cfg->long_mode && h->version >= 0x020c &&
		     (get_le16(h->raw + HDR_XLOADFLAGS) & XLF_KERNEL_64);
	return boot_check_ram(cfg, h->load, init_size, e);
}

/* struct screen_info (linux include/uapi/linux/screen_info.h): a VGA in mode 3. */
static void fill_screen(uint8_t *p)
{
	p[0x06] = 3;  /* orig_video_mode */
	p[0x07] = 80; /* columns */
	p[0x0a] = 3;  /* orig_video_ega_bx: 256 KiB */
	p[0x0e] = 25; /* lines */
	p[0x0f] = 1;  /* isVGA */
	p[0x10] = 16; /* lines of a character */
}

static void fill_params(const struct boot_config *cfg, const struct linux_header *h, uint8_t *p,
			uint64_t initrd)
{
	memcpy(p + HDR_START, h->raw + HDR_START, HDR_END_MAX - HDR_START);
	p[HDR_TYPE_OF_LOADER] = LOADER_UNDEFINED;
	if (cfg->vga_text)
		fill_screen(p);
	put_le32(p + HDR_CODE32_START, (uint32_t)h->load);
	if (cfg->initrd) {
		put_le32(p + HDR_RAMDISK_IMAGE, (uint32_t)initrd);
		put_le32(p + HDR_RAMDISK_SIZE, (uint32_t)cfg->initrd->size);
	}
	put_le32(p + HDR_CMD_LINE_PTR, BOOT_CMDLINE);
	put_le64(p + PARAMS_ACPI_RSDP, cfg->rsdp);
	p[PARAMS_E820_ENTRIES] = (uint8_t)cfg->e820->n;
	memcpy(p + PARAMS_E820_TABLE, cfg->e820->e, cfg->e820->n * sizeof(cfg->e820->e[0]));
}

int boot_linux(const struct boot_config *cfg, struct x86_state *s, struct err **e)
{
	uint8_t params[PARAMS_SIZE] = { 0 };
	struct linux_header h;
	uint64_t initrd = 0;
	int r = read_header(cfg->kernel, &h, e);

	if (!r)
		r = interpret_header(cfg, &h, e);
	if (!r)
		r = boot_cmdline(cfg, "", h.cmdline_max, e);
	if (!r)
		r = image_load(cfg->kernel, h.setup_size, h.payload, cfg->mem, h.load, e);
	if (!r && cfg->initrd)
		r = boot_place_initrd(cfg, h.end, h.initrd_max, &initrd, e);
	if (!r)
		r = boot_tables(cfg, h.entry64, e);
	if (r)
		return r;
	fill_params(cfg, &h, params, initrd);
	if (h.entry64)
		boot_enter_64(s);
	else
		boot_enter_32(s);
	s->rip = h.load + (h.entry64 ? 0x200 : 0);
	s->gpr[X86_RSI] = BOOT_INFO;
	return boot_write(cfg, BOOT_INFO, params, sizeof(params), e);
}

/* Two items: the size in bytes, and [off, off + len) of a file. */
static int add_part(struct fwcfg *fw, uint16_t size_key, uint16_t data_key, const struct image *im,
		    uint64_t off, uint64_t len, struct err **e)
{
	void *data;
	int r;

	if (len > INT32_MAX)
		return err_set(e, EFBIG, "%s '%s' is too large for firmware", im->what, im->path);
	data = xzalloc(len);
	r = image_read(im, off, data, len, e);
	if (!r) {
		fwcfg_add_u32(fw, size_key, (uint32_t)len);
		fwcfg_add_key(fw, data_key, data, (uint32_t)len);
	}
	free(data);
	return r;
}

int boot_fw_items(const struct image *kernel, const struct image *initrd, const char *cmdline,
		  struct fwcfg *fw, struct err **e)
{
	uint32_t line = (uint32_t)strlen(cmdline) + 1;
	struct linux_header h;
	enum boot_kind kind;
	int r = boot_detect(kernel, &kind, e);

	if (!r && kind != BOOT_LINUX)
		r = header_error(kernel, e, "is not a bzImage, the only kind that firmware starts");
	if (!r)
		r = read_header(kernel, &h, e);
	if (!r)
		r = add_part(fw, FW_CFG_SETUP_SIZE, FW_CFG_SETUP_DATA, kernel, 0, h.setup_size, e);
	if (!r)
		r = add_part(fw, FW_CFG_KERNEL_SIZE, FW_CFG_KERNEL_DATA, kernel, h.setup_size,
			     h.payload, e);
	if (!r && initrd)
		r = add_part(fw, FW_CFG_INITRD_SIZE, FW_CFG_INITRD_DATA, initrd, 0, initrd->size, e);
	if (r)
		return r;
	fwcfg_add_u32(fw, FW_CFG_CMDLINE_SIZE, line);
	fwcfg_add_key(fw, FW_CFG_CMDLINE_DATA, cmdline, line);
	return 0;
}
