# SPDX-License-Identifier: Apache-2.0
"""What the command line prints about itself, and small things it does."""

import re

from harness import (EMULATOR, FRIENDLY, IS_QEMU, assemble_bios, case, check, check_equal,
                     doppel_only, emulator, run_to_end)


def succeed(command):
    status, out, err = run_to_end(command, 20)
    check_equal(status, 0, f"exit status of {command}")
    check_equal(err, "", "stderr")
    return out


@case("cli/version", "-version", cost=0.5)
@case("cli/long-version", "--version", cost=0.5)
def version(option):
    out = succeed(EMULATOR + [option])
    check(re.search(r"\d+\.\d+", out), f"no version in {out!r}")
    if not IS_QEMU:
        check("doppel" in out, f"no name in {out!r}")


@case("cli/help", "-help", cost=0.5)
@case("cli/long-help", "--help", cost=0.5)
def usage(option):
    out = succeed(EMULATOR + [option])
    for name in ("-accel", "-machine", "-cpu", "-m ", "-smp", "-kernel", "-initrd", "-append",
                 "-bios", "-nographic", "-nodefaults", "-display", "-serial", "-chardev",
                 "-debugcon", "-device", "-no-reboot", "-S", "-d ", "-D ", "-name", "-version",
                 "-gdb", "-s "):
        check(re.search(rf"(?m)^\s*{name}\b" if name[-1] != " " else rf"(?m)^\s*{name}", out),
              f"-help does not have {name}")


@case("cli/machine-help", "-machine", ["pc", "q35"], cost=0.5)
@case("cli/device-help", "-device", ["isa-debug-exit"], cost=0.5)
@case("cli/cpu-help", "-cpu", ["max", "qemu64"], cost=0.5)
@case("cli/log-help", "-d", ["int", "mmu", "exec", "in_asm", "guest_errors"], cost=0.5)
def lists(option, names):
    if option == "-d":
        doppel_only("QEMU exits with status 1 after the list")
    out = succeed(EMULATOR + [option, "help"])
    for name in names:
        check(re.search(rf"\b{name}\b", out), f"{option} help does not list {name}")


@case("cli/friendly-help", cost=0.5)
def friendly_help():
    doppel_only("doppel run has no counterpart in QEMU")
    for arguments in (["--help"], ["run", "--help"]):
        out = succeed([FRIENDLY] + arguments)
        check("run" in out, f"{arguments} does not mention run")
    for name in ("--kernel", "--initrd", "--append", "-m", "-c"):
        check(name in out, f"run --help does not have {name}")


# Leaves through isa-debug-exit, whose status is twice the value and one.
EXIT_WITH = """
    mov $0x501, %dx
    mov ${}, %al
    outb %al, %dx
    hlt
"""


@case("cli/isa-debug-exit", 0, 1, cost=1)
@case("cli/isa-debug-exit-33", 16, 33, cost=1)
def debug_exit(value, status):
    guest = emulator("-bios", assemble_bios(EXIT_WITH.format(value)), "-name", "exiting",
                     "-device", "isa-debug-exit,iobase=0x501,iosize=4", "-serial", "null")
    guest.check_exit(status, 20)


@case("cli/reset-line-no-reboot", cost=1)
def keyboard_reset():
    """The i8042's reset line: with -no-reboot it ends the emulator, with status 0."""
    bios = assemble_bios("mov $0xfe, %al\nout %al, $0x64\nhlt\n")
    emulator("-bios", bios, "-no-reboot").check_exit(0, 20)


@case("cli/port-cf9-reset", cost=1)
def reset_control():
    bios = assemble_bios("mov $0xcf9, %dx\nmov $6, %al\nout %al, %dx\nhlt\n")
    emulator("-bios", bios, "-no-reboot", "-machine", "q35").check_exit(0, 20)
