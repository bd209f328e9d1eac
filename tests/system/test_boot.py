# SPDX-License-Identifier: Apache-2.0
"""Unmodified Debian kernels: boot to a shell, what the guest then sees, poweroff and reboot."""

import base64
import re
import time

import acpi
from harness import IS_QEMU, Linux, case, check, check_equal, clean_terminal

# Regular expressions of what a healthy boot does not print.
BAD_DMESG = ["Call Trace", "unchecked MSR access", "WARNING:", "BUG:", r"\bOops", "Kernel panic",
             "general protection fault", "segfault", r"rcu: INFO", "soft lockup", "ACPI.* Error",
             "ACPI.* Warning", "APIC error", "[Ss]purious interrupt", "[Ll]ost interrupt",
             "nobody cared", "[Cc]an't find IRQ", "Marking clocksource", "timer doesn't work",
             "failed to (?:boot|come online)", "MP-BIOS bug", "ignoring broken"]


def check_dmesg(guest):
    dmesg = guest.run("dmesg")
    for bad in BAD_DMESG:
        lines = re.findall(f"(?m)^.*{bad}.*$", dmesg)
        check(not re.search(bad, dmesg), f"dmesg has {bad!r}: {lines[:3]}")
    check("ACPI: PM-Timer IO Port" in dmesg, "the kernel found no ACPI PM timer")
    check("Linux version 6.1" in dmesg, "dmesg lacks its first lines")
    if not IS_QEMU:
        check("Hypervisor detected: KVM" in dmesg, "the kernel did not find KVM's signature")
        check("kvm-clock: Using msrs" in dmesg, "kvm-clock is not in use")


def check_interrupts(guest):
    lines = guest.run("cat /proc/interrupts").strip().split("\n")
    check_equal(len(lines[0].split()), guest.smp, "CPUs in /proc/interrupts")
    counts = {}
    for line in lines[1:]:
        name, rest = line.split(":", 1)
        values = []
        for field in rest.split()[:guest.smp]:
            if not field.isdigit():
                break
            values.append(int(field))
        counts[name.strip()] = (values, rest)
    check(all(n > 0 for n in counts["LOC"][0]), f"local timer interrupts: {counts['LOC']}")
    serial = [v for v, rest in counts.values() if "ttyS0" in rest]
    check(serial and sum(serial[0]) > 0, "no interrupts from ttyS0")
    check_equal(counts["ERR"][0], [0], "APIC errors")
    if guest.smp > 1:
        calls = [sum(counts[kind][0]) for kind in ("CAL", "RES") if kind in counts]
        check(sum(calls) > 0, "no interprocessor interrupts")


def check_clock(guest):
    before = time.time()
    now = int(guest.run("date -u +%s"))
    check(before - 3 <= now <= time.time() + 3, f"date is {now - before:+.0f} s off")
    start = time.monotonic()
    guest.run("sleep 2")
    took = time.monotonic() - start
    check(1.9 < took < 10, f"sleep 2 took {took:.1f} s")


def check_work(guest):
    """A little of everything user space does: processes, pipes, integers, floating point."""
    check_equal(guest.run("seq 1 2000 | awk '{s+=$1*$1} END {print s}'").strip(),
                str(sum(i * i for i in range(2001))), "sum of squares")
    newton = "BEGIN {x=1; for (i=0; i<9; i++) x=(x+2/x)/2; printf \"%.17f\", x}"
    x = 1.0
    for _ in range(9):
        x = (x + 2 / x) / 2
    check_equal(guest.run(f"awk '{newton}'").strip(), f"{x:.17f}", "the root of 2")
    check_equal(guest.run("dd if=/dev/zero bs=64k count=16 2>/dev/null | md5sum").split()[0],
                "b6d81b360a5672d80c27430f39153e2c", "md5 of 1 MiB of zeros")
    check_equal(guest.run("echo data >/tmp/f; gzip -c /tmp/f | gunzip -c").strip(), "data", "gzip")
    check_equal(guest.run("false", status=1), "", "false")


def check_guest(guest):
    check_equal(guest.run("nproc").strip(), str(guest.smp), "nproc")
    check_clock(guest)
    check_interrupts(guest)
    check_work(guest)
    if guest.smp > 1:
        for cpu in range(guest.smp):
            out = guest.run(f"taskset {1 << cpu:x} awk '{{print $39}}' /proc/self/stat")
            check_equal(out.strip(), str(cpu), "the CPU a bound process runs on")
    source = guest.run("cat /sys/devices/system/clocksource/clocksource0/current_clocksource")
    if not IS_QEMU:
        check_equal(source.strip(), "kvm-clock", "the clock source")
    check_dmesg(guest)


def boot(kernel, machine, smp, memory="512M", options=()):
    guest = Linux(kernel, machine, smp, memory, options=options)
    guest.wait_for_shell()
    return guest


MATRIX = [(k, m, s) for k in ("cloud", "amd64") for m in ("pc", "q35") for s in (1, 2)]
# These have their boot in a test below that does more.
ELSEWHERE = [("cloud", "pc", 2), ("amd64", "q35", 1), ("cloud", "pc", 1), ("cloud", "q35", 2)]


def boot_and_poweroff(kernel, machine, smp):
    guest = boot(kernel, machine, smp)
    check_guest(guest)
    guest.poweroff()


for variant in MATRIX:
    if variant not in ELSEWHERE:
        case("boot/{}-{}-smp{}".format(*variant), *variant, cost=70)(boot_and_poweroff)


@case("boot/cloud-pc-smp1-acpi-tables", "pc", 1, "512M", cost=80)
@case("boot/cloud-q35-smp2-6G-acpi-tables", "q35", 2, "6G", cost=90)
def boot_and_check_tables(machine, smp, memory):
    guest = boot("cloud", machine, smp, memory)
    check_guest(guest)
    total = int(guest.run("awk '/MemTotal/ {print $2}' /proc/meminfo"))
    wanted = 6 << 20 if memory == "6G" else 512 << 10
    check(0.85 * wanted < total <= wanted, f"MemTotal is {total} kB")
    for name in guest.run("cd /sys/firmware/acpi/tables; ls -p | grep -v /; cd").split():
        text = guest.run(f"base64 /sys/firmware/acpi/tables/{name}")
        acpi.check_table(name, base64.b64decode("".join(text.split())))
    # An orderly shutdown this time: init stops the processes, then powers off.
    guest.send("poweroff\n")
    guest.check_exit(0, 120)


@case("boot/cloud-pc-smp2-reboot", cost=150)
def reboot_boots_again():
    guest = boot("cloud", "pc", 2)
    check_guest(guest)
    guest.run("echo kept >/tmp/file")
    guest.send("reboot -f\n")
    guest.wait_for_shell()
    guest.run("test ! -e /tmp/file")
    check_equal(guest.run("nproc").strip(), "2", "nproc")
    check_clock(guest)
    guest.poweroff()


@case("boot/amd64-q35-smp1-no-reboot", cost=75)
def no_reboot_exits():
    guest = boot("amd64", "q35", 1, options=["-no-reboot"])
    check_guest(guest)
    guest.send("reboot -f\n")
    guest.check_exit(0, 120)


@case("boot/686-pae-pc-smp2", cost=80)
def boot_i386():
    guest = boot("686-pae", "pc", 2)
    check_equal(guest.run("uname -m").strip(), "i686", "uname -m")
    check_guest(guest)
    guest.poweroff()


@case("boot/job-control", cost=60)
def job_control():
    guest = boot("cloud", "q35", 1)
    check_equal(guest.run("tty").strip(), "/dev/ttyS0", "tty")
    guest.send("sleep 1000\n")
    guest.expect("sleep 1000\r\n")
    time.sleep(1)
    guest.send("\x03")
    guest.expect(r"# ", 20)
    guest.send("sleep 1000\n")
    guest.expect("sleep 1000\r\n")
    time.sleep(1)
    guest.send("\x1a")
    match = guest.expect(r"(Stopped.*?)\r\n.*?# ", 20)
    check("sleep 1000" in clean_terminal(match[1]), "^Z did not stop the foreground job")
    guest.run("kill %1", status=None)
    # Long output and long input pass through a 16-byte FIFO without loss.
    text = "".join(chr(ord("a") + i * i % 26) for i in range(600))
    guest.run(f"echo {text} >/tmp/in")
    check_equal(re.sub(r"\s", "", guest.run("cat /tmp/in")), text, "a long line")
    out = guest.run("seq 1 20000 | md5sum; seq 1 3000")
    check_equal(out.split()[2:], [str(i) for i in range(1, 3001)], "long output")
    guest.poweroff()
