# SPDX-License-Identifier: Apache-2.0
"""Bad input gets one clear line that names it, and exit status 1, before any guest runs."""

import os
import socket
import struct

from harness import (FRIENDLY, EMULATOR, INITRD, IS_QEMU, KERNELS, Skipped, base_options, case,
                     check, check_equal, doppel_only, run_to_end, tmp)

KERNEL = KERNELS["cloud"]


def check_rejected(command, mentions):
    status, out, err = run_to_end(command, 20)
    check_equal(status, 1, f"exit status (stderr: {err!r})")
    lines = err.rstrip("\n").split("\n")
    check(len(lines) == 1 and lines[0], f"stderr is not one line: {err!r}")
    check_equal(out, "", "stdout")
    for word in mentions:
        check(word.lower() in err.lower(), f"{err!r} does not mention {word!r}")


def rejected(name, options, mentions, qemu=True):
    def run():
        if IS_QEMU and not qemu:
            raise Skipped("QEMU sees it otherwise")
        made = options() if callable(options) else options
        words = [w.format(tmp=tmp("")) for w in mentions]
        check_rejected(EMULATOR + base_options() + made, words)
    case(f"badinput/{name}", cost=0.5)(run)


def file_of(data, name="file"):
    path = tmp(name)
    with open(path, "wb") as f:
        f.write(data)
    return path


def kernel_start(length):
    with open(KERNEL, "rb") as f:
        return f.read(length)


def elf(machine=183, bits=2):
    """The ELF header of an executable; 183 is EM_AARCH64."""
    ident = b"\x7fELF" + bytes([bits, 1, 1]) + bytes(9)
    return ident + struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, 0x1000, 64, 0, 0, 64, 56, 1, 0,
                               0, 0) + struct.pack("<IIQQQQQQ", 1, 5, 0, 0, 0, 64, 64, 4096)


def sparse(size):
    path = tmp("large")
    with open(path, "wb") as f:
        f.truncate(size)
    return path


def patched_kernel(offset, data):
    image = bytearray(kernel_start(os.path.getsize(KERNEL)))
    image[offset:offset + len(data)] = data
    return file_of(bytes(image))


# Kernels. QEMU boots what it can of a damaged image, or runs firmware with it.
rejected("kernel-missing", ["-kernel", "/nonexistent/vmlinuz"], ["/nonexistent/vmlinuz"])
rejected("kernel-directory", ["-kernel", "/usr"], ["/usr"], qemu=False)
rejected("kernel-empty", lambda: ["-kernel", file_of(b"")], ["{tmp}file"], qemu=False)
rejected("kernel-text", lambda: ["-kernel", file_of(b"not a kernel\n" * 5000)], ["{tmp}file"],
         qemu=False)
rejected("kernel-truncated-header", lambda: ["-kernel", file_of(kernel_start(0x210))],
         ["{tmp}file"], qemu=False)
rejected("kernel-truncated-setup", lambda: ["-kernel", file_of(kernel_start(4096))],
         ["{tmp}file", "truncated"], qemu=False)
rejected("kernel-truncated", lambda: ["-kernel", file_of(kernel_start(1 << 20))],
         ["{tmp}file", "truncated"], qemu=False)
rejected("kernel-other-machine", lambda: ["-kernel", file_of(elf())], ["{tmp}file"], qemu=False)
rejected("kernel-elf-truncated", lambda: ["-kernel", file_of(elf(62)[:70])], ["{tmp}file"],
         qemu=False)
rejected("kernel-elf-no-pvh", lambda: ["-kernel", file_of(elf(62))], ["{tmp}file"], qemu=False)
rejected("kernel-larger-than-memory", ["-kernel", KERNEL, "-m", "16M"], ["vmlinuz", "-m"], qemu=False)
rejected("kernel-lying-size", lambda: ["-kernel", patched_kernel(0x260, b"\xff" * 4)],
         ["{tmp}file", "-m"], qemu=False)

# What goes with a kernel.
rejected("initrd-missing", ["-kernel", KERNEL, "-initrd", "/nonexistent/initrd"],
         ["/nonexistent/initrd"])
rejected("initrd-larger-than-memory",
         lambda: ["-kernel", KERNEL, "-m", "512M", "-initrd", sparse(600 << 20)], ["initrd"],
         qemu=False)
rejected("initrd-without-kernel", ["-initrd", INITRD], ["-initrd", "-kernel"])
rejected("append-without-kernel", ["-append", "quiet"], ["-append", "-kernel"])
rejected("append-too-long", ["-kernel", KERNEL, "-append", "x" * 70000], ["command line"],
         qemu=False)
rejected("bios-missing", ["-bios", "/nonexistent/bios.bin"], ["/nonexistent/bios.bin"])
rejected("bios-empty", lambda: ["-bios", file_of(b"")], ["{tmp}file"])
rejected("bios-odd-size", lambda: ["-bios", file_of(b"x" * 1000)], ["{tmp}file"], qemu=False)
rejected("bios-too-large", lambda: ["-bios", sparse(64 << 20)], ["{tmp}large"], qemu=False)

# Sizes and counts.
rejected("memory-4M", ["-m", "4", "-kernel", KERNEL], ["vmlinuz", "-m"], qemu=False)
rejected("memory-zero", ["-m", "0"], ["0"], qemu=False)
rejected("memory-word", ["-m", "lots"], ["lots"], qemu=False)
rejected("memory-unit", ["-m", "512Q"], ["512Q"], qemu=False)
rejected("memory-negative", ["-m", "-5"], ["-5"], qemu=False)
rejected("memory-huge", ["-m", "99999999999G"], ["99999999999G"], qemu=False)
rejected("smp-zero", ["-smp", "0"], ["smp"], qemu=False)
rejected("smp-word", ["-smp", "two"], ["two"], qemu=False)
rejected("smp-too-many", ["-smp", "100000"], ["100000"])
rejected("smp-negative", ["-smp", "-1"], ["-1"], qemu=False)
rejected("smp-unknown-key", ["-smp", "cpus=2,colour=red"], ["colour"])
rejected("device-port-in-use", ["-device", "isa-debug-exit,iobase=0x70"], ["rtc"], qemu=False)

# Names.
rejected("unknown-option", ["-frobnicate"], ["-frobnicate"])
rejected("incoming", ["-incoming", "tcp:0:4444"], ["-incoming", "not there yet"], qemu=False)
rejected("loadvm", ["-loadvm", "yesterday"], ["-loadvm", "not there yet"], qemu=False)
rejected("unknown-device", ["-device", "frobnicator"], ["frobnicator"])
rejected("unknown-device-property", ["-device", "isa-debug-exit,colour=red"], ["colour"])
rejected("bad-device-property", ["-device", "isa-debug-exit,iobase=here"], ["here"], qemu=False)
rejected("unknown-machine", ["-machine", "toaster"], ["toaster"], qemu=False)
rejected("unknown-cpu", ["-cpu", "abacus"], ["abacus"])
rejected("unknown-cpu-feature", ["-cpu", "max,+frobnication"], ["frobnication"], qemu=False)
rejected("unknown-log-item", ["-d", "frobnication"], ["frobnication"], qemu=False)
rejected("unknown-chardev", ["-serial", "chardev:nowhere"], ["nowhere"])
rejected("unknown-serial-backend", ["-serial", "carrier-pigeon"], ["carrier-pigeon"], qemu=False)
rejected("unknown-chardev-backend", ["-chardev", "pigeon,id=a"], ["pigeon"])
rejected("chardev-without-id", ["-chardev", "null"], ["id"])
rejected("chardev-twice", ["-chardev", "null,id=a", "-chardev", "null,id=a"], ["a"])
rejected("unknown-display", ["-display", "hologram"], ["hologram"], qemu=False)
rejected("option-without-value", ["-m"], ["-m"])
rejected("stray-argument-missing-file", ["stray.img"], ["stray.img"])

# Places.
rejected("serial-file-unwritable", ["-serial", "file:/nonexistent/log"], ["/nonexistent/log"],
         qemu=False)
rejected("log-file-unwritable", ["-d", "int", "-D", "/nonexistent/log"], ["/nonexistent/log"],
         qemu=False)
rejected("socket-nobody-listens", lambda: ["-serial", f"unix:{tmp('nobody')}"], ["nobody"],
         qemu=False)
rejected("socket-path-too-long", ["-serial", "unix:/tmp/" + "x" * 200 + ",server=on,wait=off"],
         ["path"], qemu=False)
rejected("gdb-port-bad", ["-gdb", "tcp:127.0.0.1:99999999"], ["99999999"], qemu=False)
rejected("chardev-in-use", ["-chardev", "null,id=a", "-serial", "chardev:a",
                            "-serial", "chardev:a"], ["a"], qemu=False)
rejected("guestfwd-unknown-chardev",
         ["-netdev", "user,id=n0,guestfwd=tcp:10.0.2.100:80-chardev:nowhere"], ["nowhere"])
rejected("guestfwd-chardev-in-use",
         ["-netdev", "user,id=n0,guestfwd=tcp:10.0.2.100:80-chardev:a,"
                     "guestfwd=tcp:10.0.2.100:81-chardev:a", "-chardev", "null,id=a"],
         ["10.0.2.100:81", "'a'"], qemu=False)
rejected("guestfwd-chardev-in-use-elsewhere",
         ["-netdev", "user,id=n0,guestfwd=tcp:10.0.2.100:80-chardev:a",
          "-chardev", "null,id=a", "-mon", "chardev=a,mode=control"], ["'a'"], qemu=False)
rejected("guestfwd-address-taken",
         ["-netdev", "user,id=n0,guestfwd=tcp:10.0.2.100:80-null,guestfwd=tcp:10.0.2.100:80-null"],
         ["10.0.2.100:80-null"], qemu=False)


# Firmware.
rejected("kernel-with-bios", ["-bios", "/usr/share/seabios/bios.bin", "-kernel", KERNEL],
         ["firmware does not start kernels"], qemu=False)
rejected("flash-node-unknown", ["-machine", "pflash0=nowhere"], ["pflash0", "nowhere"], qemu=False)
rejected("flash-unit-twice", lambda: [
    "-blockdev", f"driver=file,node-name=n,filename={sparse(1 << 20)}", "-drive",
    f"if=pflash,format=raw,file={file_of(bytes(1 << 20))}", "-machine", "pflash0=n"],
         ["pflash0", "taken"], qemu=False)
rejected("disk-policy-word", ["-device", "virtio-blk-pci,drive=d,rerror=enospc"],
         ["rerror", "enospc"], qemu=False)


@case("badinput/firmware-not-installed", cost=1)
def firmware_not_installed():
    doppel_only("QEMU has directories of its own")
    for machine, name in (("pc", "bios-256k.bin"), ("microvm", "bios-microvm.bin")):
        check_rejected(["env", f"DOPPEL_FIRMWARE_PATH={tmp('')}:/nonexistent"] + EMULATOR +
                       base_options() + ["-machine", machine],
                       [f"firmware '{name}' is not installed (Debian package seabios)", "-bios"])


@case("badinput/unknown-accelerator", cost=1)
def unknown_accelerator():
    check_rejected(EMULATOR + ["-nodefaults", "-display", "none", "-accel", "warp"], ["warp"])


@case("badinput/gdb-port-in-use", cost=1)
def gdb_port_in_use():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen(1)
        port = s.getsockname()[1]
        check_rejected(EMULATOR + base_options() + ["-gdb", f"tcp:127.0.0.1:{port}"],
                       [] if IS_QEMU else [str(port)])


@case("badinput/socket-path-in-use", cost=1)
def socket_path_in_use():
    doppel_only("QEMU takes over another program's socket")
    path = tmp("busy.sock")
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(path)
        s.listen(1)
        check_rejected(EMULATOR + base_options() + ["-serial", f"unix:{path},server=on,wait=off"],
                       [path])
        check(os.path.exists(path), "another program's socket was removed")


FRIENDLY_CASES = [
    ("nothing", ["run"], []),
    ("unknown-command", ["frobnicate"], ["frobnicate"]),
    ("unknown-option", ["run", "--frobnicate"], ["--frobnicate"]),
    ("kernel-missing", ["run", "--kernel", "/nonexistent/k"], ["/nonexistent/k"]),
    ("no-cpus", ["run", "--kernel", KERNEL, "-c", "0"], ["0"]),
    ("bad-memory", ["run", "--kernel", KERNEL, "-m", "lots"], ["lots"]),
]


def friendly(arguments, mentions):
    doppel_only("doppel run has no counterpart in QEMU")
    check_rejected([FRIENDLY] + arguments, mentions)


for name, arguments, mentions in FRIENDLY_CASES:
    case(f"badinput/friendly-{name}", arguments, mentions, cost=0.5)(friendly)
