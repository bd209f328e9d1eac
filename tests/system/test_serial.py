# SPDX-License-Identifier: Apache-2.0
"""Serial ports on every back end, and exit statuses, with guests of a few instructions."""

import os
import re
import socket
import termios
import time
import tty

from harness import (IS_QEMU, TIME_SCALE, assemble_bios, case, check, check_equal, emulator, tmp)

# Prints "ready", then sends back what it receives until it has got a 'q', and exits with 0x21.
ECHO = """
    .set PORT, 0x3f8
    mov $msg, %si
2:  cs lodsb
    test %al, %al
    jz 1f
    mov $PORT, %dx
    outb %al, %dx
    jmp 2b
1:  mov $PORT + 5, %dx
    inb %dx, %al
    test $1, %al
    jz 1b
    mov $PORT, %dx
    inb %dx, %al
    outb %al, %dx
    cmp $'q', %al
    jne 1b
    mov $0x501, %dx
    mov $0x10, %al
    outb %al, %dx
    hlt
msg: .asciz "ready\\n"
"""
EXIT = ["-device", "isa-debug-exit,iobase=0x501,iosize=4"]
STATUS = 0x10 << 1 | 1


def read_until(read, wanted, timeout=30):
    data = b""
    deadline = time.monotonic() + timeout * TIME_SCALE
    while wanted not in data:
        check(time.monotonic() < deadline, f"no {wanted!r}, only {data!r}")
        data += read()
    return data


def start(*options, source=ECHO):
    return emulator("-bios", assemble_bios(source), *EXIT, *options)


def wait_for(path, guest):
    deadline = time.monotonic() + 20 * TIME_SCALE
    while not os.path.exists(path):
        check(time.monotonic() < deadline, f"{path} did not appear")
        guest.pump(0.05)


@case("serial/stdio", cost=2)
def stdio():
    guest = start("-serial", "stdio")
    guest.expect("ready\n", 20)
    text = "".join(chr(33 + i % 80) for i in range(2000)).replace("q", "Q")
    guest.send(text)
    guest.expect(re.escape(text), 30)
    guest.send("q")
    guest.check_exit(STATUS, 20)


@case("serial/unix-socket", ["-serial", "unix:{path},server=on,wait=off"], cost=2)
@case("serial/chardev-socket", ["-chardev", "socket,id=c0,path={path},server=on,wait=off",
                                "-serial", "chardev:c0"], cost=2)
def unix_socket(options):
    path = tmp("serial.sock")
    guest = start(*[o.format(path=path) for o in options])
    wait_for(path, guest)
    # A peer that goes away does not disturb the guest; the next one is served.
    for last in (False, True):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(20 * TIME_SCALE)
            s.connect(path)
            s.sendall(b"hello\n")
            read_until(lambda: s.recv(100), b"hello\n")
            if last:
                s.sendall(b"q")
                guest.check_exit(STATUS, 20)


@case("serial/unix-socket-waits", cost=2)
def unix_socket_waits():
    path = tmp("serial.sock")
    guest = start("-serial", f"unix:{path},server=on")
    wait_for(path, guest)
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(20 * TIME_SCALE)
        s.connect(path)
        # The guest starts only now, so nothing of what it says is lost.
        check(read_until(lambda: s.recv(100), b"ready\n").startswith(b"ready"), "first bytes")
        s.sendall(b"q")
        guest.check_exit(STATUS, 20)


@case("serial/unix-socket-client", cost=2)
def unix_socket_client():
    path = tmp("listener.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(1)
        listener.settimeout(20 * TIME_SCALE)
        guest = start("-serial", f"unix:{path}")
        with listener.accept()[0] as s:
            s.settimeout(20 * TIME_SCALE)
            read_until(lambda: s.recv(100), b"ready\n")
            s.sendall(b"q")
            guest.check_exit(STATUS, 20)


@case("serial/pty", cost=2)
def pseudo_terminal():
    guest = start("-serial", "pty")
    path = guest.expect(r"(/dev/pts/\d+)", 20)[1].decode()
    fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(fd, termios.TCSANOW)
    time.sleep(1.2)		# QEMU looks for a peer once a second
    os.write(fd, b"hello\n")
    read_until(lambda: os.read(fd, 100), b"hello\n")
    os.write(fd, b"q")
    guest.check_exit(STATUS, 20)
    os.close(fd)


WRITER = """
    mov $msg, %si
2:  cs lodsb
    test %al, %al
    jz 1f
    mov $0x3f8, %dx
    outb %al, %dx
    jmp 2b
1:  mov $0x501, %dx
    mov $3, %al
    outb %al, %dx
    hlt
msg: .asciz "to a file\\n"
"""


@case("serial/file", "file:{path}", cost=2)
@case("serial/chardev-file", None, cost=2)
def file(spec):
    path = tmp("serial.txt")
    options = ["-serial", spec.format(path=path)] if spec else [
        "-chardev", f"file,id=f0,path={path}", "-serial", "chardev:f0"]
    start(*options, source=WRITER).check_exit(7, 20)
    with open(path) as f:
        check_equal(f.read(), "to a file\n", "the file")


@case("serial/null", cost=2)
def null():
    guest = start("-serial", "null", source=WRITER)
    guest.check_exit(7, 20)
    check_equal(guest.output, b"", "what it printed")


@case("serial/two-ports", cost=2)
def two_ports():
    """The second -serial is COM2."""
    path = tmp("com2.txt")
    start("-serial", "null", "-serial", f"file:{path}",
          source=WRITER.replace("0x3f8", "0x2f8")).check_exit(7, 20)
    with open(path) as f:
        check_equal(f.read(), "to a file\n", "the file")


@case("serial/debugcon", cost=2)
def debugcon():
    path = tmp("debugcon.txt")
    source = WRITER.replace("0x3f8", "0x402")
    options = ["-debugcon", f"file:{path}"]
    if IS_QEMU:
        options += ["-global", "isa-debugcon.iobase=0x402"]
    start(*options, source=source).check_exit(7, 20)
    with open(path) as f:
        check_equal(f.read(), "to a file\n", "the file")
