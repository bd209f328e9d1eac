/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* fw_cfg: items for firmware at ports 0x510-0x511, with the DMA interface at 0x514. */
#include "dev/dev.h"

/* Well-known keys. */
#define FW_CFG_SIGNATURE 0x00
#define FW_CFG_ID 0x01
#define FW_CFG_UUID 0x02
#define FW_CFG_RAM_SIZE 0x03
#define FW_CFG_NOGRAPHIC 0x04
#define FW_CFG_NB_CPUS 0x05
#define FW_CFG_MACHINE_ID 0x06
#define FW_CFG_KERNEL_ADDR 0x07
#define FW_CFG_KERNEL_SIZE 0x08
#define FW_CFG_INITRD_ADDR 0x0a
#define FW_CFG_INITRD_SIZE 0x0b
#define FW_CFG_BOOT_MENU 0x0e
#define FW_CFG_MAX_CPUS 0x0f
#define FW_CFG_KERNEL_ENTRY 0x10
#define FW_CFG_KERNEL_DATA 0x11
#define FW_CFG_INITRD_DATA 0x12
#define FW_CFG_CMDLINE_ADDR 0x13
#define FW_CFG_CMDLINE_SIZE 0x14
#define FW_CFG_CMDLINE_DATA 0x15
#define FW_CFG_SETUP_ADDR 0x16
#define FW_CFG_SETUP_SIZE 0x17
#define FW_CFG_SETUP_DATA 0x18
#define FW_CFG_FILE_DIR 0x19

struct fwcfg;

/* fwcfg_create - with signature and ID items. */
struct fwcfg *fwcfg_create(struct dev_env *env);
/* fwcfg_add_file - add (or replace) a file; data is copied; name at most 55 bytes.  The
 * directory is kept sorted by name.  Before the VM runs, or with env->lock held. */
void fwcfg_add_file(struct fwcfg *f, const char *name, const void *data, uint32_t len);
/* fwcfg_on_select - the guest is about to read this file, which exists: refresh may replace it by one of
 * the same length.  For what tells of things that firmware sets up before it asks.  The files keep
 * what they had last across reset. */
void fwcfg_on_select(struct fwcfg *f, const char *name, void (*refresh)(void *opaque),
		     void *opaque);
/* fwcfg_add_key - set the item of a fixed key below 0x20; the numeric forms store little-endian. */
void fwcfg_add_key(struct fwcfg *f, uint16_t key, const void *data, uint32_t len);
void fwcfg_add_u16(struct fwcfg *f, uint16_t key, uint16_t v);
void fwcfg_add_u32(struct fwcfg *f, uint16_t key, uint32_t v);
void fwcfg_add_u64(struct fwcfg *f, uint16_t key, uint64_t v);
