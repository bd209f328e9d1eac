# SPDX-License-Identifier: Apache-2.0
"""What firmware, memtest86+ and Linux show on a VGA, and keys pressed for them."""

import os
import time

from harness import (BOOT_TIMEOUT, INITRD, KERNELS, TIME_SCALE, case, check, check_equal,
                     doppel_only, tmp)
from screen import Screen

MEMTEST = "/boot/memtest86+x64.bin"


@case("screen/seabios-pc", "pc", cost=10)
@case("screen/seabios-q35", "q35", cost=10)
def seabios(machine):
    guest = Screen("-machine", machine, "-m", "64M")
    text = guest.wait_for("No bootable device", BOOT_TIMEOUT)
    check(text.startswith("SeaBIOS (version "), f"no banner in:\n{text}")
    guest.quit()


@case("screen/seabios-menu", cost=10)
def seabios_menu():
    guest = Screen("-m", "64M", "-boot", "menu=on,splash-time=5000")
    guest.wait_for("Press ESC for boot menu", BOOT_TIMEOUT)
    guest.keys("esc")
    guest.wait_for("Select boot device:")
    # Control, alt and delete begin anew; the menu's prompt goes by itself when nothing is pressed.
    guest.keys("ctrl-alt-delete")
    guest.wait_for(r"(?s)\A(?!.*Select).*Press ESC for boot menu")
    guest.wait_for("No bootable device")
    guest.quit()


@case("screen/pictures", cost=5)
def pictures():
    guest = Screen("-m", "64M", "-S")
    monitor = guest.monitor
    monitor.run("screendump", filename=tmp("a.png"), format="png")
    with open(tmp("a.png"), "rb") as f:
        check_equal(f.read(8), b"\x89PNG\r\n\x1a\n", "start of a PNG")
    monitor.run("human-monitor-command", **{"command-line": f"screendump {tmp('b.ppm')}"})
    check(os.path.exists(tmp("b.ppm")), "HMP's screendump wrote no file")
    for arguments in ({"filename": "/nonexistent/x.ppm"},
                      {"filename": tmp("c.ppm"), "device": "nonsense"}):
        check("error" in monitor.answer("screendump", **arguments), f"taken: {arguments}")
    check(not os.path.exists(tmp("c.ppm")), "a failed screendump left a file")
    for keys in ([{"type": "qcode", "data": "nonsense"}], [{"type": "number"}], ["ret"]):
        check("error" in monitor.answer("send-key", keys=keys), f"taken: {keys}")
    guest.quit()


@case("screen/memtest", "pc", 1, cost=20)
@case("screen/memtest-q35-smp2", "q35", 2, cost=20)
def memtest(machine, cpus):
    """It starts, finds its memory and processors, takes keys, tests without an error."""
    check(os.path.exists(MEMTEST), f"{MEMTEST} (package memtest86+) is needed")
    doppel_only("a kernel started without firmware")
    guest = Screen("-machine", machine, "-smp", str(cpus), "-m", "64M", "-kernel", MEMTEST)
    guest.wait_for("Press .F1. to configure", BOOT_TIMEOUT)
    guest.keys("f1")
    guest.wait_for("Test selection")
    guest.keys("f10")
    text = guest.wait_for(r"Test #[3-9]", 300)
    check("Memtest86+ v" in text and "Errors: 0" in text, f"the screen is:\n{text}")
    check(f"{cpus} Cores" in text, f"not {cpus} CPUs:\n{text}")
    guest.quit()


@case("screen/memtest-pass", cost=300, long=True)
def memtest_pass():
    doppel_only("a kernel started without firmware")
    guest = Screen("-m", "48M", "-kernel", MEMTEST)
    start = time.monotonic()
    while True:
        text = guest.wait_for(r"Pass: +[01]", 60)
        check("Errors: 0" in text, f"errors after {time.monotonic() - start:.0f} s:\n{text}")
        if "Pass:  1" in text:
            break
        check(time.monotonic() - start < 1200 * TIME_SCALE, f"not done:\n{text}")
        guest.pump(2)
    guest.quit()


@case("screen/linux-vgacon", cost=15)
def linux_console():
    doppel_only("a kernel started without firmware")
    guest = Screen("-m", "256M", "-kernel", KERNELS["amd64"], "-initrd", INITRD, "-append",
                   "console=tty0")
    text = guest.wait_for(r"guest:.*# ?", BOOT_TIMEOUT)
    check("doppel guest ready" in text, f"the screen is:\n{text}")
    guest.quit()
