# SPDX-License-Identifier: Apache-2.0
"""-d logs, the report of a triple fault, and the counters."""

import os
import re

from harness import (accel, EMULATOR, IS_QEMU, Linux, assemble_bios, base_options, case, check,
                     check_equal, doppel_only, emulator, run_to_end, tmp)

# A software interrupt, a page fault's worth of work without pages, and a write to nothing.
WORK = """
    xor %ax, %ax
    mov %ax, %ds
    mov %ax, %ss
    mov $0x7000, %sp
    movw $handler, 0x80 * 4
    movw %cs, 0x80 * 4 + 2
    mov $100, %cx
1:  int $0x80
    loop 1b
    mov $0x501, %dx
    mov $3, %al
    outb %al, %dx
    hlt
handler: iret
"""


def log_of(items, source=WORK):
    path = tmp("log")
    guest = emulator("-bios", assemble_bios(source), "-d", items, "-D", path, "-serial", "null",
                     "-device", "isa-debug-exit,iobase=0x501,iosize=4")
    guest.check_exit(7, 30)
    with open(path, errors="replace") as f:
        return f.read()


@case("debug/log-int", cost=1)
def log_int():
    doppel_only("QEMU does not log software interrupts in real mode")
    text = log_of("int")
    check(len(re.findall(r"(?i)\b(?:INT n|vector) 80\b", text)) >= 100,
          f"100 software interrupts are not in the log: {text[:300]}")


@case("debug/log-in-asm", cost=1)
def log_in_asm():
    text = log_of("in_asm")
    for word in ("int", "iret", "loop"):
        check(re.search(rf"\b{word}", text), f"no {word} in the listing: {text[:400]}")


@case("debug/log-exec", cost=1)
def log_exec():
    text = log_of("exec")
    check(len(text.strip().split("\n")) >= 10, f"little in the log: {text[:300]}")


@case("debug/log-off", cost=1)
def log_off():
    check_equal(log_of("guest_errors"), "", "the log of a guest that does no wrong")


@case("debug/triple-fault", cost=1)
def triple_fault():
    """A guest that triple-faults is reported: registers, code bytes, the last exceptions."""
    bios = assemble_bios("""
        mov $0xbeef, %bx
        lidtl %cs:nothing
        int3
        hlt
    nothing: .word 0, 0, 0
    """)
    status, out, err = run_to_end(EMULATOR + base_options() + [
        "-bios", bios, "-no-reboot", "-serial", "null"], 20)
    if IS_QEMU:
        check_equal(status, 0, "exit status")
        return
    check(status in (0, 1), f"exit status {status}")
    check(re.search(r"(?i)triple[- ]fault", err), f"no triple fault in {err!r}")
    check("beef" in err.lower(), f"no registers in {err!r}")
    check(re.search(r"(?i)\bcc\b", err), f"no code bytes in {err!r}")
    check(re.search(r"#(?:GP|DF|BP)", err), f"no exceptions in {err!r}")


@case("debug/stats", cost=60)
def stats():
    """Linux to a shell, and the interpreter's rate, or the translator's counters. The bounds are
    generous: a loaded machine should not fail here; bench/boot measures."""
    doppel_only("QEMU does not count instructions")
    path = tmp("log")
    guest = Linux("cloud", "pc", 1, options=["-d", "stats", "-D", path])
    guest.wait_for_shell(200)
    guest.run("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done", 120)
    guest.poweroff()
    check(os.path.exists(path), "-d stats wrote nothing")
    with open(path) as f:
        text = f.read()
    if accel().startswith("dbt"):
        blocks = re.search(r"cpu 0: blocks (\d+), insns (\d+), .* links (\d+)", text)
        check(blocks, f"no counters of the translator in {text!r}")
        check(10000 < int(blocks[1]) < int(blocks[2]) < 1e8 and int(blocks[3]), blocks[0])
        return
    count = re.search(r"stats: (\d+) instructions in [\d.]+ s", text)
    rate = re.search(r"([\d.]+) M instructions/s", text)
    check(count and rate, f"no count of instructions, or no rate, in {text!r}")
    # A boot takes about 1.5 thousand million.
    check(3e8 < int(count[1]) < 3e10, f"{count[1]} instructions")
    check(float(rate[1]) > 5, f"only {rate[1]} million instructions a second")
