# SPDX-License-Identifier: Apache-2.0
"""ATA disks and CD-ROM drives behind AHCI and PIIX IDE: in Linux, and by firmware's services."""

import hashlib
import os
import random
import shutil
import subprocess

from harness import ROOT, Linux, case, check, check_equal, emulator, tmp
from modules import initrd
from qmp import Qmp

SEABIOS = "/usr/share/seabios/bios-256k.bin"
OVMF = "/usr/share/ovmf/OVMF.fd"
GRUB_CFG = """\
serial --unit=0 --speed=115200
terminal_output serial
terminal_input serial
echo "grub is here: $grub_platform"
cat /hello.txt
"""


def disk(name, size):
    path = tmp(name)
    with open(path, "wb") as f:
        f.write(random.Random(size).randbytes(size))
    return path


def guest(machine, *modules, smp=1, options=(), params=None):
    g = Linux("amd64", machine, smp=smp, options=options,
              initrd=initrd("amd64", ["sd_mod", "sr_mod", *modules], params))
    g.wait_for_shell()
    g.run("/modules/load", 120)
    g.run("for i in $(seq 100); do [ -b /dev/sda ] && [ -b /dev/sr0 ] && break; "
          "sleep 0.2; done; [ -b /dev/sda ]")
    return g


def read_and_write(g, path, size):
    """What the guest reads is what the image has; what it writes gets there."""
    with open(path, "rb") as f:
        before = f.read()
    want = hashlib.md5(before).hexdigest()
    check(want in g.run("md5sum /dev/sda", 120), "the disk reads wrong")
    g.run("dd if=/dev/urandom of=/tmp/r bs=64k count=32 2>/dev/null && "
          "dd if=/tmp/r of=/dev/sda bs=64k seek=3 conv=notrunc 2>/dev/null && sync", 120)
    check_equal(g.run("echo 3 >/proc/sys/vm/drop_caches; dd if=/dev/sda bs=64k skip=3 count=32 "
                      "2>/dev/null | cmp - /tmp/r && echo same"),
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


@case("ata/linux-ahci", "q35", "ahci", 2, "XFER_UDMA_6", cost=60)
@case("ata/linux-piix", "pc", "ata_piix", 1, "XFER_MW_DMA_2", cost=60)
@case("ata/linux-piix-pio", "pc", "ata_piix", 1, "XFER_PIO_4", {"libata": "dma=0"}, cost=60)
def linux(machine, module, smp, mode, params=None):
    size = 8 << 20
    path, cd = disk("disk.img", size), disk("cd.img", 3 << 20)
    g = guest(machine, module, smp=smp, options=options(path, cd), params=params)
    check("DISK1" in g.run("cat /sys/block/sda/device/vpd_pg80 2>/dev/null | tr -d '\\0'; "
                           "dmesg | grep -i ata"), "no serial number")
    check_equal(g.run("cat /sys/class/ata_device/dev1.0/xfer_mode"), f"{mode}\n", "transfer mode")
    check_equal(g.run("cat /sys/block/sda/queue/rotational"), "0\n", "rotational")
    check_equal(g.run("cat /sys/block/sda/size"), f"{size // 512}\n", "size")
    with open(cd, "rb") as f:
        data = f.read()
    check(hashlib.md5(data).hexdigest() in g.run("md5sum /dev/sr0", 120), "the CD reads wrong")
    check("exception" not in g.run("dmesg | grep -E 'ata[0-9]' || true"), "libata complains")
    read_and_write(g, path, size)


def boot_sector(what):
    """The boot sector that uses the BIOS's services, as a disk of 1 MiB."""
    source = os.path.join(ROOT, "tests", "system", "guest", "services.S")
    subprocess.run(["gcc", "-m32", "-nostdlib", "-static",
                    "-Wl,--build-id=none,-Ttext=0x7c00,--oformat=binary",
                    "-o", tmp("services.bin"), source], check=True)
    with open(tmp("services.bin"), "rb") as f:
        data = bytearray(f.read())
    data[0x1f0] = what
    path = tmp("services.img")
    with open(path, "wb") as f:
        f.write(data + bytes((1 << 20) - len(data)))
    return path


@case("ata/services-pc", "pc", ["-device", "VGA"], 1, cost=10)
@case("ata/services-q35", "q35", ["-device", "VGA"], 1, cost=10)
@case("ata/services-no-screen", "pc", [], 0, cost=10)
def services(machine, options, what):
    check(os.path.exists(SEABIOS), f"{SEABIOS} (package seabios) is needed")
    g = emulator("-machine", machine, "-m", "128M", "-bios", SEABIOS, "-serial", "stdio",
                 "-drive", f"file={boot_sector(what)},format=raw", *options)
    groups = ["disk", "video", "clock", "keyboard"]
    if not what & 1:
        groups.remove("video")
    for group in groups:
        g.expect(f"{group}\\n|services failed[^\\n]*\\n", 120)
    g.expect(r"services ok\n", 60)
    g.popen.terminate()
    g.wait(20)


def press_qmp(monitor):
    monitor.run("send-key", keys=[{"type": "qcode", "data": "x"}])


def press_hmp(monitor):
    check_equal(monitor.hmp("sendkey shift-a"), "", "answer to sendkey")


@case("ata/services-key-qmp", "pc", press_qmp, "x2d", cost=10)
@case("ata/services-key-hmp", "q35", press_hmp, "A1e", cost=10)
def services_key(machine, press, want):
    """INT 16h returns character and scan code of a key that a monitor presses."""
    check(os.path.exists(SEABIOS), f"{SEABIOS} (package seabios) is needed")
    g = emulator("-machine", machine, "-m", "128M", "-bios", SEABIOS, "-serial", "stdio",
                 "-drive", f"file={boot_sector(2)},format=raw",
                 "-qmp", f"unix:{tmp('qmp')},server=on,wait=off")
    monitor = Qmp(tmp("qmp"))
    g.expect(r"press\n", 120)
    press(monitor)
    check_equal(g.expect(r"key (\w+)\n|services failed[^\n]*\n", 60)[1], want.encode(),
                "character and scan code")
    g.expect(r"services ok\n", 60)
    monitor.run("quit")
    g.check_exit(0, 20)


def rescue_iso():
    check(shutil.which("grub-mkrescue") and shutil.which("xorriso") and shutil.which("mformat"),
          "grub-mkrescue, xorriso and mtools are needed")
    os.makedirs(tmp("iso/boot/grub"))
    with open(tmp("iso/boot/grub/grub.cfg"), "w") as f:
        f.write(GRUB_CFG)
    with open(tmp("iso/hello.txt"), "w") as f:
        f.write("hello from the medium\n")
    subprocess.run(["grub-mkrescue", "-o", tmp("rescue.iso"), tmp("iso")], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return tmp("rescue.iso")


@case("ata/iso-pc", "pc", SEABIOS, "cdrom", "pc", cost=15)
@case("ata/iso-q35", "q35", SEABIOS, "cdrom", "pc", cost=15)
@case("ata/iso-as-disk", "q35", SEABIOS, "disk", "pc", cost=15)
@case("ata/iso-ovmf-pc", "pc", OVMF, "cdrom", "efi", cost=60)
@case("ata/iso-ovmf-q35", "q35", OVMF, "cdrom", "efi", cost=60)
def iso(machine, firmware, media, platform):
    check(os.path.exists(firmware), f"{firmware} (package seabios or ovmf) is needed")
    g = emulator("-machine", machine, "-m", "256M", "-bios", firmware, "-serial", "stdio",
                 "-drive", f"file={rescue_iso()},format=raw,media={media}", "-device", "VGA")
    g.expect(f"grub is here: {platform}", 300)
    g.expect("hello from the medium", 60)
    g.popen.terminate()
    g.wait(20)
