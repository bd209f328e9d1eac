# SPDX-License-Identifier: Apache-2.0
"""The terminal: it is raw while a guest has it, its escape keys work, and it is always restored."""

import os
import signal
import termios

from harness import (ECHO, EMULATOR, FRIENDLY, INITRD, KERNELS, Process, accel, assemble_bios,
                     case, check, check_equal, doppel_only)


def start_echo():
    bios = assemble_bios(ECHO)
    guest = Process(EMULATOR + ["-nodefaults", "-accel", accel(), "-nographic", "-bios", bios,
                                "-serial", "mon:stdio"], terminal=True)
    guest.expect("!", 20)
    return guest


def check_restored(guest):
    check_equal(guest.terminal_mode(), guest.terminal_before, "terminal settings afterwards")


@case("console/echo-and-leave", cost=4)
def echo_and_leave():
    guest = start_echo()
    raw = guest.terminal_mode()
    check(raw != guest.terminal_before, "the terminal's settings are as before")
    check(not raw[3] & (termios.ICANON | termios.ECHO), "the terminal is not raw")
    guest.send("a")
    guest.expect("b", 10)
    guest.send("\x03")		# ^C is the guest's
    guest.expect("\x04", 10)
    guest.send("\x01\x01")	# Ctrl-a Ctrl-a is one Ctrl-a for the guest
    guest.expect("\x02", 10)
    guest.send("\x01h")
    guest.expect(r"(?i)C-a x|ctrl-a x", 10)
    guest.send("y")
    guest.expect("z", 10)
    guest.send("\x01x")
    guest.check_exit(0, 20)
    check_restored(guest)


@case("console/restored-after-SIGTERM", signal.SIGTERM, cost=3)
@case("console/restored-after-SIGHUP", signal.SIGHUP, cost=3)
@case("console/restored-after-SIGINT", signal.SIGINT, cost=3)
def restored_after_signal(sig):
    guest = start_echo()
    os.kill(guest.pid, sig)
    guest.wait(20)
    check_restored(guest)


@case("console/restored-after-bad-option", cost=1)
def restored_after_error():
    guest = Process(EMULATOR + ["-accel", accel(), "-nographic", "-kernel", "/nonexistent"],
                    terminal=True)
    check_equal(guest.wait(20), 1, "exit status")
    check_restored(guest)


@case("console/friendly-run", cost=60)
def friendly_run():
    """doppel run tells how to leave, and leaves."""
    doppel_only("doppel run has no counterpart in QEMU")
    guest = Process([FRIENDLY, "run", "--kernel", KERNELS["cloud"], "--initrd", INITRD,
                     "--append", "console=ttyS0", "-m", "512M", "-c", "2", "--engine", accel()],
                    terminal=True)
    guest.expect(r"(?i)ctrl-a x", 20)
    guest.expect("doppel guest ready", 300)
    guest.expect("# ")
    guest.send("nproc\n")
    guest.expect(r"\n2\r+\n", 30)
    guest.send("\x01x")
    guest.check_exit(0, 20)
    check_restored(guest)
