# SPDX-License-Identifier: Apache-2.0
"""fio with verify on every kind of disk, and disks whose machine is killed while fio writes.

A machine has two disks of a kind, raw and qcow2. For the kill, a disk is cut into regions. fio runs
jobs that fill a region each, flush, and say so on the console; they say so, too, when they begin, so
that a region is known to have what its last job wrote unless another one had begun. Every block
carries its place, its job's seed and a checksum (--verify), so that no older or foreign block passes
for it. When enough is told the machine is killed; it starts again with the same images, reads what is
known, goes on to write, and is killed again.
"""

import random
import re
import shutil
import subprocess
import time

from harness import Linux, case, check, check_equal, tmp
from modules import initrd, program

MIB = 1 << 20
SIZE = 128 * MIB
REGION = 4 * MIB
LEAKS = 3		# exit status of qemu-img check

# Of each kind: board, kernel modules, -device without its drive.
KINDS = {
    "virtio": ("q35", ["virtio_pci", "virtio_blk"],
               ["virtio-blk-pci,num-queues=2", "virtio-blk-pci,packed=on"]),
    "ahci": ("q35", ["ahci", "sd_mod"], ["ide-hd,bus=ide.0", "ide-hd,bus=ide.1"]),
    "piix": ("pc", ["ata_piix", "sd_mod"], ["ide-hd,bus=ide.0", "ide-hd,bus=ide.1"]),
}
FORMATS = ["raw", "qcow2"]

# Drives come up in any order. Their serial numbers tell which is /dev/raw and which /dev/qcow2.
FIND = """\
for i in $(seq 100); do for d in /sys/block/[sv]d?; do
s=$(cat $d/serial 2>/dev/null || tr -cd a-z0-9 <$d/device/vpd_pg80)
ln -sf /dev/${d##*/} /dev/$s; done; [ -b /dev/raw -a -b /dev/qcow2 ] && break; sleep 0.1; done
[ -b /dev/raw -a -b /dev/qcow2 ]
"""

COMMON = """\
[global]
direct=1
ioengine=libaio
verify=crc32c
verify_fatal=1
allow_file_create=0
"""


def make_disks():
    check(shutil.which("qemu-img"), "qemu-img (package qemu-utils) is needed")
    for name in FORMATS:
        subprocess.run(["qemu-img", "create", "-q", "-f", name, tmp(f"disk.{name}"), str(SIZE)],
                       check=True)


def start(kind, jobs, cache="writeback"):
    """A machine with the disks, fio, and these job files in /jobs: {name: text}."""
    machine, modules, devices = KINDS[kind]
    options = []
    for name, device in zip(FORMATS, devices):
        options += ["-drive", f"if=none,id={name},format={name},file={tmp('disk.' + name)},"
                    f"cache={cache},discard=unmap",
                    "-device", f"{device},drive={name},serial={name}"]
    files = program("fio")
    for name, text in {**jobs, "find": FIND}.items():
        with open(tmp(name), "w", encoding="ascii") as f:
            f.write(text)
        files.append((f"jobs/{name}", tmp(name)))
    guest = Linux("amd64", machine, smp=2, memory="768M", options=options,
                  initrd=initrd("amd64", modules, files=files))
    guest.wait_for_shell()
    guest.run("/modules/load", 120)
    guest.run("sh /jobs/find")
    guest.run("dmesg -n 1")
    return guest


def fio(guest, job, timeout):
    out = guest.run(f"cd /tmp && fio /jobs/{job}", timeout, status=None)
    check("err= 0" in out and not re.search(r"err=(?! 0)|verify:|fio: ", out), f"fio: {out[-1500:]}")


def check_images():
    out = subprocess.run(["qemu-img", "check", tmp("disk.qcow2")], capture_output=True, text=True,
                         timeout=300)
    check(out.returncode in (0, LEAKS) and "ERROR" not in out.stdout + out.stderr,
          f"qemu-img check: {out.stdout[-1000:]}{out.stderr[-1000:]}")
    return out.returncode


def check_dmesg(guest):
    lines = guest.run("dmesg | grep -E 'I/O error|exception|Call Trace|timeout' || true")
    check(not lines.strip(), f"the guest's kernel complains: {lines[-500:]}")


# --- verify ----------------------------------------------------------------------------------

def verify_jobs(mib):
    """Jobs side by side, each in a quarter of the disks at most: small and large blocks, deep
    queues, flushes, blocks that are discarded and written again; read back while others are
    written and once more at the end."""
    text = COMMON + f"size={mib}m\nverify_backlog=64\n"
    for name in FORMATS:
        text += f"""
[small-{name}]
filename=/dev/{name}
rw=randrw
bs=4k
iodepth=32
[mixed-{name}]
filename=/dev/{name}
offset={mib}m
rw=randrw
bsrange=512-64k
blockalign=512
iodepth=8
verify_backlog=0
[large-{name}]
filename=/dev/{name}
offset={2 * mib}m
rw=write
bs=1m
iodepth=4
fsync=5
[discarded-{name}]
filename=/dev/{name}
offset={3 * mib}m
rw=randtrimwrite
bs=64k
iodepth=4
"""
    return text


def verify(kind, mib):
    make_disks()
    guest = start(kind, {"verify": verify_jobs(mib)})
    fio(guest, "verify", 600)
    check_dmesg(guest)
    guest.poweroff()
    check_equal(check_images(), 0, "qemu-img check")


# --- kill ------------------------------------------------------------------------------------

class Regions:
    """Which job wrote each region of each disk last, and whether it had flushed by then."""

    def __init__(self):
        self.seed = 0
        self.queues = []			# seeds in order, of the jobs of this start
        self.began, self.flushed = {}, {}	# (disk, region): seed
        self.jobs = {}				# seed: (disk, region, options)

    def new_job(self, rng, disk, queue):
        """Queues have regions of their own: blocks of two jobs must not mix."""
        self.seed += 1
        region = rng.randrange(SIZE // REGION // 2) * 2 + queue
        bs = rng.choice(["bs=4k", "bs=64k", "bs=256k", "bs=16k", "bs=4k\nfsync=100"])
        self.jobs[self.seed] = (disk, region, f"{bs}\nrw={rng.choice(['write', 'randwrite'])}\n"
                                f"iodepth={rng.choice([1, 8, 32])}\n")
        return self.seed

    def text(self, seed):
        disk, region, options = self.jobs[seed]
        return (f"[j{seed}]\nfilename=/dev/{disk}\noffset={region * REGION}\nsize={REGION}\n"
                f"randseed={seed}\n{options}")

    def told(self, output):
        for what, seed in re.findall(rb"@(began|flushed) (\d+)@", output):
            seed = int(seed)
            (self.began if what == b"began" else self.flushed)[self.jobs[seed][:2]] = seed
        # What a job says as it begins may still have been on its way.
        for queue in self.queues:
            told = [i for i, seed in enumerate(queue) if seed in self.began.values()]
            first = told[-1] + 1 if told else 0
            for seed in queue[first:first + 2]:
                self.began[self.jobs[seed][:2]] = seed

    def known(self):
        """Seeds of the jobs whose regions must be as these left them."""
        return [seed for place, seed in sorted(self.flushed.items()) if self.began[place] == seed]


def queue_text(regions, rng, disk, queue, n):
    """Jobs of one disk, one after the other. fio redirects a command's output itself."""
    text = COMMON + "do_verify=0\nend_fsync=1\n"
    regions.queues.append([regions.new_job(rng, disk, queue) for _ in range(n)])
    for seed in regions.queues[-1]:
        text += regions.text(seed) + "stonewall\n" + "".join(
            f"exec_{when}=echo @{what} {seed}@ >/dev/ttyS0 && true\n"
            for when, what in (("prerun", "began"), ("postrun", "flushed")))
    return text


def write_jobs(regions, rng):
    """Two queues for each disk, which write at once."""
    regions.queues = []
    return {f"{name}-{queue}": queue_text(regions, rng, name, queue, 40)
            for name in FORMATS for queue in (0, 1)}


def write_and_die(guest, regions, queues, seconds):
    """Let the queues begin, and kill the machine after so many seconds."""
    guest.send("cd /tmp; " + "".join(f"fio /jobs/{queue} >/dev/null & " for queue in queues) + "\n")
    before, deadline = guest.output, time.monotonic() + 120
    while guest.output.count(b"@flushed") < len(queues) and time.monotonic() < deadline:
        guest.pump(1)
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        guest.pump(left)
    check(guest.poll() is None, "the machine ended by itself")
    guest.popen.kill()
    guest.wait(20)
    regions.told(guest.output[len(before):])


def read_jobs(regions):
    text = COMMON + "verify_only=1\n"
    return text + "".join(regions.text(seed) + "stonewall\n" for seed in regions.known())


def kill(kind, kills, seconds, cache="writeback"):
    make_disks()
    rng, regions = random.Random(kind), Regions()
    for i in range(kills + 1):
        jobs = write_jobs(regions, rng) if i < kills else {}
        guest = start(kind, {**jobs, "back": read_jobs(regions)}, cache)
        if i:
            fio(guest, "back", 600)
        if i < kills:
            write_and_die(guest, regions, list(jobs), seconds)
            check_images()
            for name in FORMATS:
                check(any(regions.jobs[seed][0] == name for seed in regions.known()),
                      f"nothing is known of {name}")
    check_dmesg(guest)
    guest.poweroff()


for kind_name in KINDS:
    case(f"fio/verify-{kind_name}", kind_name, 8, cost=20)(verify)
    case(f"fio/kill-{kind_name}", kind_name, 1, 1, cost=20)(kill)
    case(f"fio/verify-{kind_name}-long", kind_name, 32, cost=300, long=True)(verify)
    case(f"fio/kill-{kind_name}-long", kind_name, 20, 4, cost=300, long=True)(kill)
    case(f"fio/kill-{kind_name}-direct", kind_name, 10, 2, "none", cost=200, long=True)(kill)
