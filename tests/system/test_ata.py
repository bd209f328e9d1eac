# SPDX-License-Identifier: Apache-2.0
"""ATA disks and CD-ROM drives in Linux guests, behind AHCI and PIIX IDE."""

import os
import random

from harness import Linux, case, check, check_equal, tmp
from modules import initrd


def disk(name, size):
    path = tmp(name)
    with open(path, "wb") as f:
        f.write(random.Random(size).randbytes(size))
    return path


def guest(machine, *modules, smp=1, options=(), append=""):
    g = Linux("amd64", machine, smp=smp, options=options, append=append,
              initrd=initrd("sd_mod", "sr_mod", *modules))
    g.wait_for_shell()
    g.run("/modules/load", 120)
    g.run("for i in $(seq 100); do [ -b /dev/sda ] && [ -b /dev/sr0 ] && break; sleep 0.2; done; [ -b /dev/sda ]")
    return g


def read_and_write(g, path, size):
    """What the guest reads is what the image has; what it writes gets there."""
    with open(path, "rb") as f:
        before = f.read()
    import hashlib
    want = hashlib.md5(before).hexdigest()
    check(want in g.run("md5sum /dev/sda", 120), "the disk reads wrong")
    g.run("dd if=/dev/urandom of=/tmp/r bs=64k count=32 2>/dev/null && "
          "dd if=/tmp/r of=/dev/sda bs=64k seek=3 conv=notrunc 2>/dev/null && sync", 120)
    check_equal(g.run("echo 3 >/proc/sys/vm/drop_caches; "
                      "dd if=/dev/sda bs=64k skip=3 count=32 2>/dev/null | cmp - /tmp/r && echo same"),
                "same\n", "what was written")
    sum_in_guest = g.run("md5sum </dev/sda", 120).split()[0]
    g.poweroff()
    with open(path, "rb") as f:
        after = f.read()
    check_equal(hashlib.md5(after).hexdigest(), sum_in_guest, "image after power-off")
    check_equal(len(after), size, "size of the image")


def options(path, cd):
    return ["-drive", f"file={path},format=raw,if=none,id=d0",
            "-device", "ide-hd,drive=d0,bus=ide.0,serial=DISK1,rotation_rate=1",
            "-drive", f"file={cd},format=raw,if=none,id=c0,media=cdrom",
            "-device", "ide-cd,drive=c0,bus=ide.1"]


@case("ata/linux-ahci", "q35", "ahci", 2, "ahci", cost=60)
@case("ata/linux-piix", "pc", "ata_piix", 1, "ata_piix", cost=60)
@case("ata/linux-piix-pio", "pc", "ata_piix", 1, "ata_piix", "libata.dma=0", cost=60)
def linux(machine, module, smp, driver, append=""):
    size = 8 << 20
    path, cd = disk("disk.img", size), disk("cd.img", 3 << 20)
    g = guest(machine, module, smp=smp, options=options(path, cd), append=append)
    check("DISK1" in g.run("cat /sys/block/sda/device/vpd_pg80 2>/dev/null | tr -d '\\0'; "
                           "dmesg | grep -i ata"), "no serial number")
    check_equal(g.run("cat /sys/block/sda/queue/rotational"), "0\n", "rotational")
    check_equal(g.run("cat /sys/block/sda/size"), f"{size // 512}\n", "size")
    with open(cd, "rb") as f:
        data = f.read()
    import hashlib
    check(hashlib.md5(data).hexdigest() in g.run("md5sum /dev/sr0", 120), "the CD reads wrong")
    check("exception" not in g.run("dmesg | grep -E 'ata[0-9]' || true"), "libata complains")
    read_and_write(g, path, size)
