# SPDX-License-Identifier: Apache-2.0
"""virtio devices with Linux's own drivers: every transport, ring format and machine."""

import hashlib
import os
import re
import socket
import time

from harness import IS_QEMU, Linux, case, check, check_equal, tmp
from modules import initrd
from qmp import Qmp

MODULES = ["virtio_pci", "virtio_mmio", "virtio_blk", "virtio_console", "virtio-rng", "virtio_balloon"]
MIB = 1 << 20


def load_modules(guest):
    guest.run("/modules/load", status=None)	# those of a bus that the machine lacks will not load


def boot(*options, **more):
    guest = Linux(options=options, initrd=initrd("cloud", MODULES), **more)
    guest.wait_for_shell()
    load_modules(guest)
    return guest


def check_dmesg(guest):
    dmesg = guest.run("dmesg")
    for bad in ("Call Trace", "WARNING:", "BUG:", "I/O error", "id .* is not a head",
                "nobody cared", "broken"):
        lines = re.findall(f"(?m)^.*{bad}.*$", dmesg)
        check(not lines, f"dmesg has {bad!r}: {lines[:3]}")


def disk(name, size):
    path = tmp(name)
    with open(path, "wb") as f:
        f.truncate(size)
    return path


def md5_of(path, start, length):
    with open(path, "rb") as f:
        f.seek(start)
        return hashlib.md5(f.read(length)).hexdigest()


def use_disk(guest, path, dev="vda"):
    """Write, read back, compare on both sides, discard."""
    guest.run(f"dd if=/dev/urandom of=/tmp/data bs=1M count=8 2>/dev/null; "
              f"dd if=/tmp/data of=/dev/{dev} bs=1M seek=3 conv=fsync 2>/dev/null")
    ours = guest.run("md5sum </tmp/data").split()[0]
    guest.run("echo 3 >/proc/sys/vm/drop_caches")
    back = guest.run(f"dd if=/dev/{dev} bs=64k skip=48 count=128 2>/dev/null | md5sum")
    check_equal(back.split()[0], ours, "what was read back")
    guest.run(f"dd if=/dev/{dev} of=/dev/null bs=4k count=2000 iflag=direct 2>/dev/null")
    check_equal(md5_of(path, 3 * MIB, 8 * MIB), ours, "what is in the image")
    after = md5_of(path, 4 * MIB, 7 * MIB)
    guest.run(f"blkdiscard -o {3 * MIB} -l {MIB} /dev/{dev}")
    check_equal(md5_of(path, 3 * MIB, MIB), hashlib.md5(bytes(MIB)).hexdigest(), "the discarded")
    check_equal(md5_of(path, 4 * MIB, 7 * MIB), after, "what was not discarded")


def blk(machine, device, props, smp=1):
    path = disk("disk.img", 64 * MIB)
    guest = boot("-drive", f"if=none,id=d,format=raw,file={path},discard=unmap",
                 "-device", f"{device},drive=d,serial=doppel-1{props}", machine=machine, smp=smp)
    check_equal(guest.run("cat /sys/block/vda/size").strip(), str(64 * MIB // 512), "sectors")
    check_equal(guest.run("cat /sys/block/vda/serial").strip(), "doppel-1", "serial number")
    use_disk(guest, path)
    features = guest.run("cat /sys/block/vda/device/features").strip()
    check_dmesg(guest)
    guest.poweroff()
    return features


@case("virtio/blk-pc-transitional")
def blk_pc():
    features = blk("pc", "virtio-blk-pci", "")
    check_equal(features[32], "1", "VERSION_1")


@case("virtio/blk-q35-packed-mq")
def blk_q35():
    features = blk("q35", "virtio-blk-pci-non-transitional", ",packed=on,num-queues=2", smp=2)
    check_equal(features[34], "1", "packed rings")
    check_equal(features[12], "1", "multi-queue")


@case("virtio/blk-pc-intx")
def blk_intx():
    features = blk("pc", "virtio-blk-pci-transitional", ",vectors=0,event_idx=off")
    check_equal(features[29], "0", "event index")


@case("virtio/blk-pc-legacy-only")
def blk_legacy_only():
    features = blk("pc", "virtio-blk-pci", ",disable-modern=on")
    check_equal(features[32], "0", "VERSION_1")


# --- entropy, console, balloon ----------------------------------------------------------------

def rng(machine, props):
    guest = boot("-object", "rng-builtin,id=r", "-device", f"virtio-rng-pci,rng=r{props}",
                 machine=machine)
    check("virtio_rng" in guest.run("cat /sys/class/misc/hw_random/rng_current"), "no virtio_rng")
    got = guest.run("dd if=/dev/hwrng bs=1k count=16 iflag=fullblock 2>/dev/null | gzip -c | wc -c")
    check(int(got) > 16 * 1024, f"16 KiB of random bytes compress to {got}")
    check_dmesg(guest)
    guest.poweroff()


@case("virtio/rng-pc")
def rng_pc():
    rng("pc", "")


@case("virtio/rng-q35-packed")
def rng_q35():
    rng("q35", ",packed=on,max-bytes=4096,period=100")


def serial(machine, props):
    path = tmp("port.sock")
    out = tmp("console.txt")
    guest = boot("-device", f"virtio-serial-pci{props},id=vs",
                 "-chardev", f"file,id=c,path={out}", "-device", "virtconsole,chardev=c",
                 "-chardev", f"socket,id=p,path={path},server=on,wait=off",
                 "-device", "virtserialport,bus=vs.0,chardev=p,name=org.doppel.test,nr=5",
                 machine=machine)
    guest.run("for i in 1 2 3 4 5 6 7 8 9; do [ -e /dev/vport0p5 ] && break; sleep 0.2; done; "
              "ls -l /dev/hvc0 /dev/vport0p5")
    check_equal(guest.run("cat /sys/class/virtio-ports/vport0p5/name").strip(), "org.doppel.test",
                "the port's name")
    guest.run("stty -F /dev/hvc0 raw 2>/dev/null; seq 1 5000 >/dev/hvc0")
    host = socket.socket(socket.AF_UNIX)
    host.connect(path)
    # From the host: to a reader that comes late.
    sent = os.urandom(300000)
    host.settimeout(60)
    guest.send("sleep 1; dd if=/dev/vport0p5 bs=1000 iflag=fullblock count=300 2>/dev/null"
               " | md5sum >/tmp/sum &\n")
    host.sendall(sent)
    time.sleep(1)
    guest.run("for i in $(seq 1 50); do [ -s /tmp/sum ] && break; sleep 0.2; done; kill %1; true")
    sums = guest.run("cat /tmp/sum")
    check_equal(sums.split()[0], hashlib.md5(sent).hexdigest(), "what the guest read")
    # From the guest: more than any buffer holds, to a reader that takes its time.
    guest.run("dd if=/dev/urandom of=/tmp/big bs=64k count=48 2>/dev/null")
    want = guest.run("md5sum </tmp/big").split()[0]
    guest.send("cat /tmp/big >/dev/vport0p5 &\n")
    time.sleep(1)
    got = b""
    while len(got) < 48 * 65536:
        part = host.recv(65536)
        check(part, "the port closed")
        got += part
    check_equal(hashlib.md5(got).hexdigest(), want, "what the host read")
    host.close()
    check_dmesg(guest)
    guest.poweroff()
    with open(out) as f:
        text = f.read().replace("\r", "")
    check_equal(text, "".join(f"{i}\n" for i in range(1, 5001)), "the console's output")


@case("virtio/serial-pc")
def serial_pc():
    serial("pc", "")


@case("virtio/serial-q35-packed")
def serial_q35():
    serial("q35", ",packed=on,vectors=64")


class Monitor:
    """A person's monitor on a Unix socket."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(path)
        self._until_prompt()

    def _until_prompt(self):
        got = b""
        while not got.endswith((b"(qemu) ", b"(qemu) \x1b[K")):
            part = self.sock.recv(4096)
            check(part, "the monitor closed")
            got += part
        return got.decode(errors="replace")

    def run(self, command):
        self.sock.sendall(command.encode() + b"\n")
        return self._until_prompt()


def resident(pid):
    with open(f"/proc/{pid}/status") as f:
        return int(re.search(r"VmRSS:\s+(\d+)", f.read())[1]) // 1024


def balloon(machine, props):
    path = tmp("monitor.sock")
    guest = boot("-device", f"virtio-balloon-pci,guest-stats-polling-interval=1{props}",
                 "-monitor", f"unix:{path},server=on,wait=off",
                 "-qmp", f"unix:{path}.qmp,server=on,wait=off", machine=machine, memory="512M")
    monitor, qmp = Monitor(path), Qmp(path + ".qmp")
    check("actual=512" in monitor.run("info balloon"), "the guest does not have all")
    # Memory that the guest has used, and frees.
    guest.run("mkdir -p /mnt; mount -t tmpfs -o size=400M none /mnt; dd if=/dev/zero of=/mnt/x bs=1M count=300 "
              "2>/dev/null; rm /mnt/x; umount /mnt")
    before = resident(guest.pid)
    monitor.run("balloon 200")
    for _ in range(100):
        if "actual=200" in monitor.run("info balloon"):
            break
        time.sleep(0.2)
    info = monitor.run("info balloon")
    check("actual=200" in info, f"the balloon does not fill: {info}")
    told = []
    while not told or told[-1] != 200 * MIB:
        told.append(qmp.event("BALLOON_CHANGE")["data"]["actual"])
    # The driver gives 1 MiB at a time.
    check(told == sorted(told, reverse=True) and len(told) < 100, f"told of: {told}")
    after = resident(guest.pid)
    check(after < before - 150, f"{before} MiB resident before, {after} after")
    time.sleep(1.5)
    total = IS_QEMU or re.search(r"total memory: (\d+)", monitor.run("info balloon"))
    check(total and (IS_QEMU or int(total[1]) > 100 * MIB), "no statistics")
    check(int(guest.run("grep MemTotal /proc/meminfo").split()[1]) < 220 * 1024, "MemTotal")
    monitor.run("balloon 512")
    for _ in range(100):
        if "actual=512" in monitor.run("info balloon"):
            break
        time.sleep(0.2)
    guest.run("mkdir -p /mnt; mount -t tmpfs -o size=400M none /mnt; dd if=/dev/urandom of=/mnt/x bs=1M count=200 "
              "2>/dev/null; md5sum /mnt/x /mnt/x | uniq | wc -l")
    check_dmesg(guest)
    guest.poweroff()


@case("virtio/balloon-pc")
def balloon_pc():
    balloon("pc", "")


@case("virtio/balloon-q35-packed")
def balloon_q35():
    balloon("q35", ",packed=on")


@case("virtio/balloon-reporting")
def balloon_reporting():
    guest = boot("-device", "virtio-balloon-pci,free-page-reporting=on", memory="512M")
    guest.run("mkdir -p /mnt; mount -t tmpfs -o size=400M none /mnt; dd if=/dev/zero of=/mnt/x bs=1M count=300 "
              "2>/dev/null")
    before = resident(guest.pid)
    guest.run("rm /mnt/x; sync; echo 3 >/proc/sys/vm/drop_caches; sleep 8")
    after = resident(guest.pid)
    check(after < before - 150, f"{before} MiB resident before, {after} after")
    check_dmesg(guest)
    guest.poweroff()


# --- disks that change, guests that are reset --------------------------------------------------

@case("virtio/blk-resize")
def blk_resize():
    image, path = disk("disk.img", 8 * MIB), tmp("monitor.sock")
    guest = boot("-drive", f"if=none,id=d,format=raw,file={image}", "-device",
                 "virtio-blk-pci,drive=d", "-monitor", f"unix:{path},server=on,wait=off")
    Monitor(path).run("block_resize d 24M")
    guest.run("for i in 1 2 3 4 5 6 7 8 9; do [ $(cat /sys/block/vda/size) = 49152 ] && break; "
              "sleep 0.2; done")
    check_equal(guest.run("cat /sys/block/vda/size").strip(), "49152", "sectors")
    guest.run("dd if=/dev/zero of=/dev/vda bs=1M count=1 seek=23 conv=fsync 2>/dev/null")
    check_dmesg(guest)
    guest.poweroff()


@case("virtio/reset-in-use")
def reset_in_use():
    """The guest is reset while requests are in flight, twice, and starts again with the devices."""
    path = disk("disk.img", 64 * MIB)
    guest = boot("-drive", f"if=none,id=d,format=raw,file={path},discard=unmap",
                 "-device", "virtio-blk-pci,drive=d,num-queues=2,packed=on",
                 "-device", "virtio-rng-pci", "-device", "virtio-balloon-pci",
                 "-chardev", "null,id=c", "-device", "virtio-serial-pci",
                 "-device", "virtconsole,chardev=c", machine="q35", smp=2)
    for _ in range(2):
        guest.run("for i in 1 2 3 4; do (while :; do dd if=/dev/vda of=/dev/null bs=64k count=400 "
                  "iflag=direct skip=$i 2>/dev/null; done) & done; cat /dev/hwrng >/dev/null & "
                  "(while :; do dd if=/dev/zero of=/dev/hvc0 bs=64k count=10 2>/dev/null; done) & "
                  "sleep 1")
        guest.send("reboot -f\n")
        guest.wait_for_shell()
        load_modules(guest)
    use_disk(guest, path)
    check_dmesg(guest)
    guest.poweroff()
