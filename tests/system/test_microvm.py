# SPDX-License-Identifier: Apache-2.0
"""The board without PCI: what Linux finds on it, and how it leaves."""

import re
import socket

from harness import (Linux, assemble_bios, case, check, check_equal, doppel_only, emulator,
                     tmp)
from test_virtio import boot, check_dmesg, disk, use_disk


def tables(guest):
    return set(guest.run("ls /sys/firmware/acpi/tables").split()) - {"data", "dynamic"}


@case("microvm/devices", cost=40)
def devices():
    doppel_only("a kernel without firmware's help finds no clock under QEMU's emulation")
    path = disk("disk.img", 64 << 20)
    guest = boot("-drive", f"if=virtio,format=raw,file={path},discard=unmap",
                 "-object", "rng-builtin,id=r", "-device", "virtio-rng-device,rng=r",
                 "-device", "virtio-balloon-device,bus=virtio-mmio-bus.3",
                 machine="microvm", smp=2)
    check_equal(guest.run("ls /sys/bus | grep -c '^pci$'; ls /sys/bus/pci/devices | wc -l"),
                "1\n0\n", "the PCI bus and its devices")
    check_equal(tables(guest), {"APIC", "DSDT", "FACP"}, "ACPI tables")
    check_equal(guest.run("nproc").strip(), "2", "processors")
    use_disk(guest, path)
    check("virtio_rng" in guest.run("cat /sys/class/misc/hw_random/rng_current"), "no virtio_rng")
    where = guest.run("cat /proc/iomem")
    check(re.search(r"feb00600-feb007ff : LNRO0005", where), "the balloon is not in slot 3")
    check(re.search(r"feb02e00-feb02fff : LNRO0005", where), "the disk is not in the last slot")
    interrupts = guest.run("cat /proc/interrupts")
    for pattern in (r"IO-APIC +\d+-fasteoi +virtio\d", r"IO-APIC +4-edge +ttyS0",
                    r"IO-APIC +9-edge +ACPI:Ged", r"IO-APIC +8-edge +rtc0"):
        check(re.search(pattern, interrupts), f"no {pattern!r} in {interrupts}")
    check_dmesg(guest)
    guest.poweroff()


@case("microvm/reboot")
def reboot():
    doppel_only("see microvm/devices")
    guest = Linux(machine="microvm")
    guest.wait_for_shell()
    guest.send("reboot -f\n")
    guest.wait_for_shell()
    guest.poweroff()


@case("microvm/one-ioapic")
def one_ioapic():
    doppel_only("see microvm/devices")
    path = disk("disk.img", 8 << 20)
    guest = boot("-drive", f"if=virtio,format=raw,file={path}", machine="microvm,ioapic2=off")
    interrupts = guest.run("cat /proc/interrupts")
    check(re.search(r"IO-APIC +(1[6-9]|2[0-3])-fasteoi +virtio0", interrupts),
          f"no slot at GSI 16 to 23: {interrupts}")
    guest.poweroff()


@case("microvm/bare")
def bare():
    """Without any chip that can be left out."""
    doppel_only("see microvm/devices")
    guest = Linux(machine="microvm,pic=off,pit=off,rtc=off")
    guest.wait_for_shell()
    interrupts = guest.run("cat /proc/interrupts")
    check("rtc0" not in interrupts, "there is a clock")
    guest.poweroff()


SECTOR = """
	mov $0x3f8, %dx
	mov $message, %si
	add $0x7c00, %si
1:	cs lodsb
	out %al, %dx
	test %al, %al
	jnz 1b
2:	hlt
	jmp 2b
message:
	.asciz "the sector runs"
"""


@case("microvm/seabios")
def seabios():
    """Firmware finds the tables and a disk in a slot."""
    doppel_only("under QEMU the firmware does not start this disk")
    with open(assemble_bios(SECTOR), "rb") as f:
        code = f.read(510)
    path = tmp("disk.img")
    with open(path, "wb") as f:
        f.write(code + b"\x55\xaa")
        f.truncate(1 << 20)
    guest = emulator("-machine", "microvm", "-serial", "stdio", "-drive",
                     f"if=virtio,format=raw,file={path}")
    guest.expect("SeaBIOS", 30)
    guest.expect("the sector runs", 30)


@case("microvm/power-button")
def power_button():
    """The generic event device tells the kernel, whose input device gets a key."""
    doppel_only("see microvm/devices")
    path = tmp("qmp")
    guest = Linux(machine="microvm", options=("-monitor", f"unix:{path},server=on,wait=off"))
    guest.wait_for_shell()
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(path)
        s.recv(1000)
        s.sendall(b"system_powerdown\n")
        s.recv(1000)
    guest.run("n=0; until grep -q 'Ged' /proc/interrupts && "
              "awk '/Ged/ {exit !($2 > 0)}' /proc/interrupts || [ $n = 20 ]; "
              "do n=$((n + 1)); sleep 0.2; done")
    count = guest.run("awk '/Ged/ {print $2}' /proc/interrupts").strip()
    check_equal(count, "1", "interrupts of the generic event device")
    guest.poweroff()


@case("microvm/no-acpi")
def no_acpi():
    """The kernel of Debian knows neither MP tables nor devices of the command line: it is told."""
    doppel_only("see microvm/devices")
    path = disk("disk.img", 8 << 20)
    guest = boot("-drive", f"if=virtio,format=raw,file={path}", machine="microvm,acpi=off",
                 append="reboot=t")
    check_equal(guest.run("ls /sys/firmware | grep -c acpi", status=None).strip(), "0", "ACPI")
    line = guest.run("cat /proc/cmdline")
    check(re.search(r" virtio_mmio.device=512@0xfeb00[0-9a-f]00:\d+$", line.strip()),
          f"command line {line!r}")
    guest.send("reboot -f\n")
    guest.wait_for_shell()


UUID = "01234567-89ab-cdef-0123-456789abcdef"
SMBIOS = [("type=0,vendor=Acme,version=1.2,date=02/03/2024,release=3.7,uefi=on", {
              "bios_vendor": "Acme", "bios_version": "1.2", "bios_date": "02/03/2024",
              "bios_release": "3.7"}),
          (f"type=1,manufacturer=Makers,product=Box,version=v2,serial=S1,uuid={UUID},sku=K,family=F", {
              "sys_vendor": "Makers", "product_name": "Box", "product_version": "v2",
              "product_serial": "S1", "product_uuid": UUID, "product_sku": "K",
              "product_family": "F"}),
          ("type=2,manufacturer=Boards,product=B,version=b1,serial=bs,asset=ba,location=bl", {
              "board_vendor": "Boards", "board_name": "B", "board_version": "b1",
              "board_serial": "bs", "board_asset_tag": "ba"}),
          ("type=3,manufacturer=Cases,version=c1,serial=cs,asset=ca,sku=ck", {
              "chassis_vendor": "Cases", "chassis_version": "c1", "chassis_serial": "cs",
              "chassis_asset_tag": "ca"})]


@case("smbios/pc", "pc")
@case("smbios/microvm", "microvm")
def smbios(machine):
    """The kernel's own view of the fields, and the OEM strings as systemd reads credentials."""
    if machine == "microvm":
        doppel_only("QEMU's has no SMBIOS tables")
    path = tmp("credential")
    with open(path, "w") as f:
        f.write("io.systemd.credential:two=from, a file")
    options = [word for props, _ in SMBIOS for word in ("-smbios", props)]
    guest = Linux(machine=machine, options=options + [
        "-smbios", f"type=11,value=io.systemd.credential:one=1,,2,path={path}",
        "-smbios", "type=4,sock_pfx=Socket,manufacturer=Cpus,max-speed=3000,current-speed=2500",
        "-smbios", "type=17,loc_pfx=Slot,bank=Bank,manufacturer=Dimms,serial=ds,speed=2400"])
    guest.wait_for_shell()
    for _, fields in SMBIOS:
        for name, want in fields.items():
            check_equal(guest.run(f"cat /sys/class/dmi/id/{name}").strip(), want, name)
    strings = guest.run("strings /sys/firmware/dmi/entries/11-0/raw").split("\n")
    for want in ("io.systemd.credential:one=1,2", "io.systemd.credential:two=from, a file"):
        check(want in strings, f"no {want!r} in {strings}")
    strings = guest.run("strings /sys/firmware/dmi/tables/DMI").split("\n")
    for want in ("Socket", "Cpus", "Slot", "Bank", "Dimms"):
        check(any(s.startswith(want) for s in strings), f"no {want!r} in {strings}")
    guest.poweroff()
