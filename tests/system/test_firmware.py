# SPDX-License-Identifier: Apache-2.0
"""SeaBIOS, as Debian ships it, finds the board and gives up for want of a disk."""

import os
import time

from harness import BOOT_TIMEOUT, IS_QEMU, TIME_SCALE, case, check, emulator, tmp

SEABIOS = "/usr/share/seabios/bios.bin"
SEABIOS_256K = "/usr/share/seabios/bios-256k.bin"

# In this order: the firmware found fw_cfg and its E820, PCI, the CPUs, and has tried to boot.
MILESTONES = ["SeaBIOS (version ", "Found QEMU fw_cfg", "qemu/e820:", "PCI: init bdf=00:00.0",
              "Found {cpus} cpu(s)", "e820 map has", "No bootable device."]


@case("firmware/seabios-pc", "pc", 1, SEABIOS, cost=20)
@case("firmware/seabios-q35-smp2", "q35", 2, SEABIOS_256K, cost=20)
def seabios(machine, cpus, image):
    check(os.path.exists(image), f"{image} (package seabios) is needed")
    log = tmp("debugcon")
    options = ["-machine", machine, "-smp", str(cpus), "-m", "128M", "-bios", image,
               "-debugcon", f"file:{log}"]
    if IS_QEMU:		# doppel's debug console is at SeaBIOS' port from the start
        options += ["-global", "isa-debugcon.iobase=0x402"]
    guest = emulator(*options)
    deadline = time.monotonic() + BOOT_TIMEOUT * TIME_SCALE
    text = ""
    while "No bootable device." not in text:
        check(time.monotonic() < deadline, f"SeaBIOS did not finish: {text[-600:]}")
        check(guest.popen.poll() is None, f"the emulator ended: {guest.output.decode()}")
        guest.pump(0.3)
        if os.path.exists(log):
            with open(log, errors="replace") as f:
                text = f.read()
    at = 0
    for milestone in MILESTONES:
        milestone = milestone.format(cpus=cpus)
        found = text.find(milestone, at)
        check(found >= 0, f"no {milestone!r} in its place in: {text}")
        at = found
    guest.popen.terminate()
    guest.wait(20)
