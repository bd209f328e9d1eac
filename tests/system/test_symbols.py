# SPDX-License-Identifier: Apache-2.0
"""Names of translated code: -accel dbt,perfmap=on,gdbjit=on."""

import contextlib
import os
import re
import shutil
import stat
import subprocess
import time

from harness import (EMULATOR, TIME_SCALE, VMLINUX, Linux, Process, Skipped, accel, assemble_bios,
                     at_end, case, check, check_equal, doppel_only, run_to_end, tmp)

KERNEL, USER = 0x10000, 0x10100		# where GUEST's code runs

# To protected mode, from ROM to RAM at KERNEL, to ring 3 at USER, and out by isa-debug-exit. There
# is a loop in each ring, and STAY is what a test puts before the end.
GUEST = """
    cli
    lgdtl %cs:gdtr
    mov %cr0, %eax
    or $1, %al
    mov %eax, %cr0
    ljmpl $8, $0xf0000 + flat
gdt:
    .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00cffb000000ffff, 0x00cff3000000ffff
gdtr:
    .word gdtr - gdt - 1
    .long 0xf0000 + gdt
.code32
flat:
    mov $0x10, %ax
    mov %ax, %ds
    mov %ax, %es
    mov %ax, %fs
    mov %ax, %gs
    mov %ax, %ss
    mov $0x7000, %esp
    mov $0xf0000 + ram, %esi
    mov $0x10000, %edi
    mov $ram_end - ram, %ecx
    rep movsb
    mov $0x10000, %eax
    jmp *%eax
ram:
    mov $1000, %ecx
1:  dec %ecx
    jnz 1b
    mov $0x23, %ax
    mov %ax, %ds
    mov %ax, %es
    mov %ax, %fs
    mov %ax, %gs
    push $0x23
    push $0x7000
    push $0x3002
    push $0x1b
    push $0x10100
    iret
    .org ram + 0x100
    mov $1000, %ecx
1:  dec %ecx
    jnz 1b
    STAY
    mov $0x501, %dx
    mov $3, %al
    outb %al, %dx
    hlt
ram_end:
.code16
"""
STATUS = 7


def translator(properties):
    """-accel with these properties, of the translator that is under test."""
    doppel_only("QEMU has other options for this")
    if not accel().startswith("dbt"):
        raise Skipped("only the translator has translated code")
    return f"{accel()},{properties}"


def options(properties, stay=""):
    bios = assemble_bios(GUEST.replace("STAY", stay))
    return ["-nodefaults", "-display", "none", "-accel", translator(properties), "-bios", bios,
            "-no-reboot", "-device", "isa-debug-exit,iobase=0x501,iosize=4"]


def map_path(pid):
    """Where the map of that process is; it is removed when the test ends."""
    path = f"/tmp/perf-{pid}.map"
    at_end(lambda: remove(path))
    return path


def remove(path):
    with contextlib.suppress(FileNotFoundError):
        os.rmdir(path) if os.path.isdir(path) else os.unlink(path)


def read_map(path):
    """[(start, size, name)], each line checked."""
    with open(path) as f:
        text = f.read()
    check(text.endswith("\n"), f"the last line is not whole: {text[-80:]!r}")
    out = []
    for line in text.splitlines():
        match = re.fullmatch(r"([0-9a-f]+) ([0-9a-f]+) "
                             r"(stub:\w+|guest:[0-9a-f]+:(?:user|kernel)(?::cold)?)", line)
        check(match, f"not a line of a perf map: {line!r}")
        out.append((int(match[1], 16), int(match[2], 16), match[3]))
    return out


def check_ranges(lines):
    """None is empty, and no two name the same address."""
    end, last = 0, None
    for start, size, name in sorted(lines):
        check(size, f"{name} is empty")
        check(start >= end, f"{name} overlaps {last}")
        end, last = start + size, name


def check_names(lines, wanted):
    names = {name for _, _, name in lines}
    for name in wanted:
        check(name in names, f"no {name} in {sorted(names)[:40]}")


NAMES = ["stub:enter", "stub:jump", f"guest:{KERNEL:x}:kernel", f"guest:{USER:x}:user"]


@case("symbols/perf-map", cost=1)
def perf_map():
    guest = Process(EMULATOR + options("perfmap=on"))
    path = map_path(guest.pid)
    guest.check_exit(STATUS)
    check_equal(stat.S_IMODE(os.stat(path).st_mode), 0o600, "mode of the map")
    lines = read_map(path)
    check_ranges(lines)
    check_names(lines, NAMES)
    # Code of the other ring is not called that.
    check(f"guest:{USER:x}:kernel" not in {name for _, _, name in lines}, "user code as kernel's")


@case("symbols/perf-map-off", cost=1)
def perf_map_off():
    guest = Process(EMULATOR + options("perfmap=off"))
    path = map_path(guest.pid)
    guest.check_exit(STATUS)
    check(not os.path.exists(path), f"{path} was written")


def through_shell(prepare, arguments):
    """doppel with its process id known to what prepares for it: (status, stderr, path)."""
    status, out, err = run_to_end(["sh", "-c", f"echo $$; map=/tmp/perf-$$.map; {prepare}; "
                                   'exec "$@"', "sh", *EMULATOR, *arguments], 20)
    return status, err, map_path(int(out.split()[0]))


@case("symbols/perf-map-link", cost=1)
def perf_map_link():
    """A link that waits at the map's path is replaced, what it leads to is left alone."""
    with open(tmp("victim"), "w") as f:
        f.write("precious")
    status, _, path = through_shell(f"ln -s {tmp('victim')} $map", options("perfmap=on"))
    check_equal(status, STATUS, "exit status")
    with open(tmp("victim")) as f:
        check_equal(f.read(), "precious", "what the link led to")
    check(stat.S_ISREG(os.lstat(path).st_mode), "the map is not a file")
    check_names(read_map(path), NAMES)


@case("symbols/perf-map-impossible", cost=1)
def perf_map_impossible():
    status, err, path = through_shell("mkdir $map", options("perfmap=on"))
    check_equal(status, 1, "exit status")
    check(path in err and "directory" in err, f"not a clear message: {err!r}")


@case("symbols/perf-map-linux", cost=60)
def perf_map_linux():
    """Two processors write one map while their caches are emptied now and then; it has what the
    kernel runs, by the kernel's symbols."""
    guest = Linux(smp=2, append="nokaslr", options=[
        "-accel", translator("perfmap=on,stress=small-cache"), "-d", "stats", "-D", tmp("stats")])
    path = map_path(guest.pid)
    guest.wait_for_shell()
    guest.run("for i in 1 2 3 4 5 6 7 8; do ls -lR /proc/sys | wc -l; done", 120)
    guest.poweroff()
    with open(tmp("stats")) as f:
        flushes = [int(n) for n in re.findall(r"code bytes \d+, cache flushes (\d+)", f.read())]
    check(len(flushes) == 2 and min(flushes), f"not each cache was emptied: {flushes}")
    lines = read_map(path)
    check_ranges(lines)
    check_equal([name for _, _, name in lines].count("stub:enter"), 2, "caches with stubs")
    # Whatever was translated last: some of it begins where a function does.
    text, functions = kernel_text()
    inside = {at for at in (int(name.split(":")[1], 16) for _, _, name in lines
                            if name.endswith(":kernel")) if at in text}
    check(len(inside & functions) > max(3, len(inside) / 20),
          f"of {len(inside)} blocks of the kernel only {len(inside & functions)} are functions'")


def kernel_text():
    """(addresses of the kernel's code, set of those where a function begins)"""
    out = subprocess.run(["nm", VMLINUX], stdout=subprocess.PIPE, text=True, check=True).stdout
    symbols = {name: int(at, 16) for at, _, name in
               (line.split() for line in out.splitlines() if line[0] != " ")}
    text = range(symbols["_stext"], symbols["_etext"])
    return text, {at for at in symbols.values() if at in text}


def gdb(*arguments):
    if not shutil.which("gdb"):
        raise Skipped("gdb is not installed")
    status, out, err = run_to_end(["gdb", "-nx", "-batch", *arguments], 60)
    return out + err


def address_of(name, path):
    """The host's, once the guest has come to it."""
    deadline = time.monotonic() + 30 * TIME_SCALE
    while time.monotonic() < deadline:
        if os.path.exists(path):
            for start, _, found in read_map(path):
                if found == name:
                    return start
        time.sleep(0.05)
    check(False, f"no {name} in {path}")


@case("symbols/gdb-attached", cost=3)
def gdb_attached():
    """A gdb that comes when the code is there already."""
    guest = Process(EMULATOR + options("perfmap=on,gdbjit=on", "jmp ."))
    wanted = [f"guest:{USER:x}:user", "stub:poll"]
    at = [address_of(name, map_path(guest.pid)) for name in wanted]
    out = gdb("-p", str(guest.pid), *(f"--eval-command=info symbol {a + 1}" for a in at))
    if "ptrace: Operation not permitted" in out:
        raise Skipped("this host lets nobody attach to a process")
    for name in wanted:
        check(f"{name} + 1 in section .text" in out, f"no {name} in {out!r}")


@case("symbols/gdb-from-start", cost=3)
def gdb_from_start():
    """A gdb that is there before the code is: it is told of it, of the cache's emptying (before the
    first block, with this stress), and of the end."""
    # gdb may not know the last blocks yet: more of them come behind those that are asked for.
    arguments = EMULATOR + options("perfmap=on,gdbjit=on,stress=flush", ".rept 20; jmp .+2; .endr")
    out = gdb("-ex", "set breakpoint pending on", "-ex", "break vm_destroy", "-ex", "run",
              "-ex", "info inferiors", "-ex", "info functions ^guest:", "-ex",
              "info functions ^stub:", "-ex", "delete", "-ex", "catch syscall exit_group",
              "-ex", "continue", "-ex", "echo --end\\n", "-ex", "info functions ^guest:",
              "-ex", "info functions ^stub:", "-ex", "kill", "--args", *arguments)
    pid = re.search(r"process (\d+)", out)
    check(pid, f"the guest did not run: {out!r}")
    lines = read_map(map_path(int(pid[1])))
    before, end = out.split("--end")
    check("vm_destroy" in before and "exit_group" in before, f"gdb did not stop: {before!r}")
    known = dict((name, int(at, 16)) for at, name in
                 re.findall(r"(?m)^0x([0-9a-f]+)  (\S+)$", before))
    for name in NAMES:
        at = [start for start, _, found in lines if found == name]
        check(known.get(name) in at, f"{name}: gdb has {known.get(name)}, the map has {at}")
    check(not re.search(r"0x[0-9a-f]+  (guest|stub):", end), f"gdb still knows code that is gone: {end!r}")
