# SPDX-License-Identifier: Apache-2.0
"""OVMF, as Debian ships it: to its shell and boot manager on both boards; variables stay."""

import os
import shutil

from harness import BOOT_TIMEOUT, Linux, case, check, emulator, tmp
from screen import Screen

CODE = "/usr/share/OVMF/OVMF_CODE_4M.fd"
VARS = "/usr/share/OVMF/OVMF_VARS_4M.fd"
SINGLE = "/usr/share/ovmf/OVMF.fd"
GUID = "4d6f2a34-9a1b-4c5d-8e7f-0123456789ab"


def flash(variables):
    check(os.path.exists(CODE), f"{CODE} (package ovmf) is needed")
    return ["-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={CODE}",
            "-drive", f"if=pflash,unit=1,format=raw,file={variables}"]


def fresh_variables():
    shutil.copyfile(VARS, tmp("vars.fd"))
    return tmp("vars.fd")


def to_shell(guest):
    guest.expect("Press .*ESC", BOOT_TIMEOUT)
    guest.send("\x1b")
    guest.expect("Shell> ", BOOT_TIMEOUT)


def type_line(guest, line, pattern):
    """The terminal driver of OVMF takes a key at a time from a FIFO: whole lines fit."""
    guest.send(line + "\r")
    return guest.expect(pattern, 60)


@case("ovmf/pc", "pc", cost=20)
@case("ovmf/q35", "q35", cost=20)
def variables_stay(machine):
    variables = fresh_variables()
    options = ["-machine", machine, "-m", "256M", "-serial", "stdio", *flash(variables)]
    guest = emulator(*options)
    to_shell(guest)
    type_line(guest, f"setvar Doppel -nv -bs -guid {GUID} =0xcafe42", "Shell> ")
    type_line(guest, "reset -s", "")
    guest.check_exit(0, 60)
    with open(variables, "rb") as f:
        check("Doppel".encode("utf-16le") in f.read(), "the variable is not in the file")
    guest = emulator(*options)
    to_shell(guest)
    type_line(guest, f"setvar Doppel -guid {GUID}", "42 FE CA")
    type_line(guest, "exit", "Boot Manager")
    guest.popen.terminate()
    guest.wait(20)


@case("ovmf/screen", cost=20)
def screen():
    """The picture is of the size that the monitor likes; keys reach the shell."""
    guest = Screen("-m", "256M", "-serial", "stdio", *flash(fresh_variables()))
    guest.expect("Press .*ESC", BOOT_TIMEOUT)
    guest.keys("esc")
    guest.expect("Shell> ", BOOT_TIMEOUT)
    width, height, pixels = guest.picture()
    check((width, height) == (1280, 800), f"the screen is {width}x{height}")
    check(any(pixels), "the screen is black")
    guest.keys("v", "e", "r", "ret")
    guest.expect("UEFI Interactive Shell v")
    guest.quit()


@case("ovmf/single-file", cost=20)
def single_file():
    guest = emulator("-m", "256M", "-serial", "stdio", "-bios", SINGLE)
    to_shell(guest)
    guest.popen.terminate()
    guest.wait(20)


def nodes(variables):
    """The same as flash, by nodes and properties of the machine."""
    return ["-blockdev", f"driver=file,node-name=code-file,read-only=on,filename={CODE}",
            "-blockdev", "driver=raw,node-name=code,read-only=on,file=code-file",
            "-blockdev", f"driver=raw,node-name=vars,file.driver=file,file.filename={variables}",
            "-machine", "pflash0=code,pflash1=vars"]


@case("ovmf/kernel-flash", "pc", flash, cost=15)
@case("ovmf/kernel-nodes", "q35", nodes, cost=15)
def kernel(machine, options):
    """Firmware takes kernel, initrd and command line out of fw_cfg; a reset does so again."""
    variables = fresh_variables()
    before = os.stat(variables).st_mtime_ns
    guest = Linux(machine=machine, append="tag=by-firmware", options=options(variables))
    for _ in range(2):
        guest.expect("EFI v", BOOT_TIMEOUT)
        guest.wait_for_shell()
        check("tag=by-firmware" in guest.run("cat /proc/cmdline"), "another command line")
        guest.run("[ -d /sys/firmware/efi ]")
        guest.send("reboot -f\n")
    check(os.stat(variables).st_mtime_ns != before, "variables are not those of the file")


@case("ovmf/read-only-variables", cost=20)
def read_only():
    """Variables that cannot be written stop nothing."""
    options = flash(VARS)
    guest = emulator("-m", "256M", "-serial", "stdio", *options[:2], "-drive",
                     f"if=pflash,unit=1,format=raw,readonly=on,file={VARS}")
    to_shell(guest)
    guest.popen.terminate()
    guest.wait(20)
