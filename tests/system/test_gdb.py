# SPDX-License-Identifier: Apache-2.0
"""The GDB remote stub, used by the real gdb with the kernel's symbols."""

import re
import shutil
import socket
import time

from harness import (BOOT_TIMEOUT, TIME_SCALE, VMLINUX, EMULATOR, Linux, assemble_bios,
                     base_options, Process, case, check, check_equal, tmp)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def gdb(commands, guest, symbols=None, timeout=BOOT_TIMEOUT):
    """Run gdb in batch mode, while taking in what the guest prints. Returns gdb's output, cut at
    the "--NAME" lines that the commands echo."""
    check(shutil.which("gdb"), "gdb is needed")
    script = tmp("commands.gdb")
    with open(script, "w") as f:
        f.write("set pagination off\nset confirm off\nset width 0\nset tcp auto-retry on\n")
        f.write("set tcp connect-timeout 20\nset remotetimeout 60\n" + commands)
    debugger = Process(["gdb", "-nx", "-batch", "-x", script] + ([symbols] if symbols else []))
    deadline = time.monotonic() + timeout * TIME_SCALE
    while not debugger.eof:
        check(time.monotonic() < deadline, f"gdb still runs: {debugger.output[-500:]}")
        guest.pump(0.05)
        debugger.pump(0.05)
    out = debugger.output.decode(errors="replace")
    check_equal(debugger.wait(), 0, "exit status of gdb")
    parts = re.split(r"(?m)^--(\w+)$", out)
    return dict(zip(parts[1::2], parts[2::2]))


KERNEL_COMMANDS = """
target remote {target}
echo --threads\\n
info threads
hbreak start_kernel
continue
echo --start\\n
info registers rip cs
x/s (char *)&linux_banner
x/2i $pc
p/x $cr0
p/x $cr3
p/x $efer
delete
echo --step\\n
stepi
p/x $pc
p/x (unsigned long)&__fentry__
stepi
bt 2
echo --software\\n
break rest_init
continue
p/x $pc
p/x (unsigned long)&rest_init
delete
echo --watch\\n
watch *(unsigned long *)&jiffies_64
continue
delete
echo --memory\\n
set $saved = *(unsigned long *)&linux_banner
set {{unsigned long}}&linux_banner = 0x1122334455667788
p/x *(unsigned long *)&linux_banner
set {{unsigned long}}&linux_banner = $saved
x/s (char *)&linux_banner
echo --registers\\n
set $saved = $r15
set $r15 = 0xfedcba9876543210
p/x $r15
set $r15 = $saved
p $xmm0.v4_int32
p $st0
thread 2
info registers rip
echo --late\\n
thread 1
break __x64_sys_sethostname
continue
p/x $pc
p/x (unsigned long)&__x64_sys_sethostname
p/x $cs
delete
detach
echo --end\\n
"""


def number(text, index=0):
    """The index-th value that "p/x" printed."""
    return int(re.findall(r"\$\d+ = 0x([0-9a-f]+)", text)[index], 16)


@case("gdb/kernel-symbols-2-cpus", cost=120)
def kernel():
    port = free_port()
    guest = Linux("cloud", "q35", 2, append="nokaslr",
                  options=["-S", "-gdb", f"tcp:127.0.0.1:{port}"])
    check(not guest.pump(1), "the guest ran, in spite of -S")
    out = gdb(KERNEL_COMMANDS.format(target=f"127.0.0.1:{port}"), guest, VMLINUX)
    check_equal(len(re.findall(r"(?m)^[* ] +\d+ +Thread", out["threads"])), 2, "threads")
    check(re.search(r"Breakpoint 1, 0x\w+ in start_kernel", out["threads"]), "hbreak start_kernel")
    check(re.search(r"rip\s+0xffffffff8\w+\s.*start_kernel", out["start"]), "rip at start_kernel")
    check("Linux version 6.1" in out["start"], "linux_banner")
    check("<start_kernel>:" in out["start"], "disassembly of start_kernel")
    check_equal(number(out["start"], 0) & 0x80000001, 0x80000001, "CR0.PG and CR0.PE")
    check(number(out["start"], 1) != 0, "CR3 is 0")
    check_equal(number(out["start"], 2) & 0x500, 0x500, "EFER.LME and EFER.LMA")
    check("in __fentry__" in out["step"] or "start_kernel" in out["step"], "stepi")
    check(number(out["step"], 0) != 0, "pc after stepi")
    check_equal(number(out["software"], 0), number(out["software"], 1), "pc at rest_init")
    match = re.search(r"Old value = (\d+)\nNew value = (\d+)", out["watch"])
    check(match and int(match[2]) == int(match[1]) + 1, f"watch jiffies: {out['watch']}")
    check_equal(number(out["memory"]), 0x1122334455667788, "written memory")
    check("Linux version 6.1" in out["memory"], "restored memory")
    check_equal(number(out["registers"]), 0xfedcba9876543210, "written register")
    check(re.search(r"= \{[-\d]+, [-\d]+, [-\d]+, [-\d]+\}", out["registers"]), "xmm0")
    check(re.search(r"rip\s+0x", out["registers"]), "the second CPU's registers")
    check_equal(number(out["late"], 0), number(out["late"], 1), "pc at __x64_sys_sethostname")
    check_equal(number(out["late"], 2), 0x10, "cs in the kernel")
    check("end" in out, "gdb detached")
    # Left by gdb, the guest goes on as if nothing had been.
    guest.wait_for_shell()
    check_equal(guest.run("nproc").strip(), "2", "nproc")
    guest.poweroff()


@case("gdb/unix-socket-real-mode", cost=5)
def real_mode():
    """Attach to a running guest over a Unix socket; interrupt, change memory, let it go on."""
    bios = assemble_bios("""
        xor %ax, %ax
        mov %ax, %ds
        movw $0, 0x500
    1:  incw %bx
        cmpw $0x1234, 0x500
        jne 1b
        mov $0x21, %al
        mov $0x501, %dx
        outb %al, %dx
        hlt
    """)
    path = tmp("gdb.sock")
    guest = Process(EMULATOR + base_options() + [
        "-bios", bios, "-gdb", f"unix:{path},server=on,wait=off",
        "-device", "isa-debug-exit,iobase=0x501,iosize=4"])
    guest.pump(1.0 * TIME_SCALE)
    out = gdb(f"""
target remote {path}
echo --first\\n
p/x $cs
p/x $eflags
set $before = $rbx
stepi
stepi
stepi
stepi
stepi
stepi
p $rbx != $before
set {{unsigned short}}0x500 = 0x1234
x/hx 0x500
detach
echo --end\\n
""", guest, timeout=60)
    check_equal(number(out["first"], 0), 0xf000, "cs")
    check(re.search(r"= 1\n", out["first"]), "bx did not change over six steps")
    check("0x1234" in out["first"], "memory written")
    guest.check_exit(0x21 << 1 | 1, 30)
