# SPDX-License-Identifier: Apache-2.0
"""Bridges and root ports as a Linux guest finds them, booted without firmware."""

import re

from harness import IS_QEMU, Linux, case, check, check_equal

BRIDGE, PORT, IOH = "1b36:0001", "1b36:000c", "8086:3420"

# In the order of the command line; then where each must be found, by the path of bus addresses.
PC = [("pci-bridge,id=b1,chassis_nr=1,addr=5", "05.0", BRIDGE),
      ("pci-bridge,id=b2,chassis_nr=2,bus=b1,addr=0x13", "05.0/13.0", BRIDGE),
      ("pci-bridge,id=b3,chassis_nr=3,bus=b2,addr=1.1", None, None),
      ("pci-bridge,id=b4,chassis_nr=4,bus=b2,addr=1,multifunction=on", "05.0/13.0/01.0", BRIDGE)]
Q35 = [("pcie-root-port,id=rp1,chassis=1,slot=1,addr=2,multifunction=on", "02.0", PORT),
       ("pcie-root-port,id=rp2,chassis=1,slot=2,addr=2.1", "02.1", PORT),
       ("ioh3420,id=rp3,chassis=1,slot=3,addr=3", "03.0", IOH),
       ("pci-bridge,id=b1,chassis_nr=1,bus=rp2,addr=0", "02.1/00.0", BRIDGE),
       ("pci-bridge,id=b2,chassis_nr=2,bus=b1,addr=7", "02.1/00.0/07.0", BRIDGE)]


def topology(guest):
    """{path of slots from the root: "vendor:device"}"""
    found = {}
    listing = guest.run("for d in /sys/bus/pci/devices/*; do "
                        "echo $(readlink -f $d) $(cat $d/vendor $d/device); done")
    for line in listing.strip().split("\n"):
        path, vendor, device = line.split()
        slots = re.findall(r"[0-9a-f]{4}:[0-9a-f]{2}:([0-9a-f]{2}\.\d)", path)
        found["/".join(slots)] = f"{vendor[2:]}:{device[2:]}"
    return found


@case("pci/bridges-pc", "pc", PC, cost=60)
@case("pci/bridges-q35", "q35", Q35, cost=60)
def bridges(machine, devices):
    options = [word for props, _, _ in devices for word in ("-device", props)]
    guest = Linux(machine=machine, options=options)
    guest.wait_for_shell()
    found = topology(guest)
    for props, path, ids in devices:
        if path:
            check_equal(found.get(path), ids, f"what is at {path}, for {props}")
    dmesg = guest.run("dmesg")
    bad = re.findall(r"(?im)^.*(?:pci\S* .*(?:can't|failed|invalid|conflict|no space|overlap)|"
                     r"ACPI.*(?:error|warning)).*$", dmesg)
    check(IS_QEMU or not bad, f"dmesg says {bad[:3]}")
    if machine == "q35":
        check_root_ports(guest)
    guest.poweroff()


def check_root_ports(guest):
    for port in ("02.0", "02.1", "03.0"):
        device = f"/sys/bus/pci/devices/0000:00:{port}"
        driver = guest.run(f"readlink {device}/driver").strip()
        check(driver.endswith("/pcieport"), f"the driver of {port} is {driver!r}")
        check(int(guest.run(f"ls {device}/msi_irqs | wc -l")) > 0, f"{port} uses no messages")
        config = guest.run(f"wc -c <{device}/config").strip()
        check_equal(config, "4096", f"configuration space of {port}")
    speed = guest.run("cat /sys/bus/pci/devices/0000:00:02.0/max_link_speed").strip()
    check(speed.startswith("16"), f"the fastest link of a port is {speed}")
