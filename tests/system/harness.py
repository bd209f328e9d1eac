# SPDX-License-Identifier: Apache-2.0
"""What the system tests share: the emulator under test, guests, expectations, test cases.

The emulator is build/doppel-system-x86_64, or the command in $DOPPEL. With
DOPPEL=qemu-system-x86_64 the tests that speak the common dialect run under QEMU, which shows
whether a test or doppel is wrong. Tests of doppel alone are then reported as skipped.

doppel's engine is what $DOPPEL_ACCEL gives to -accel, or the interpreter.
"""

import contextlib
import os
import pty
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests"))

import engines		# noqa: E402

BUILD = os.path.join(ROOT, "build")
GUEST = os.path.join(BUILD, "guest")
LOGS = os.environ.get("TEST_LOGS", os.path.join(BUILD, "test-logs"))

EMULATOR = shlex.split(os.environ.get("DOPPEL", os.path.join(BUILD, "doppel-system-x86_64")))
IS_QEMU = os.path.basename(EMULATOR[0]).startswith("qemu")
# The same executable, by its own name.
FRIENDLY = os.path.join(os.path.dirname(EMULATOR[0]), "doppel")
# A slow or loaded machine may need more time than an idle one.
TIME_SCALE = float(os.environ.get("TIME_SCALE", "1"))
BOOT_TIMEOUT = 300

KERNELS = {k: os.path.join(GUEST, k, "vmlinuz") for k in ("cloud", "amd64", "686-pae")}
VMLINUX = os.path.join(GUEST, "cloud", "vmlinux")
INITRD = os.path.join(GUEST, "initramfs-x86_64.img")
INITRD_I386 = os.path.join(GUEST, "initramfs-i386.img")

_engine = engines.ACCEL


def accel():
    """What -accel gets."""
    return "tcg" if IS_QEMU else _engine


class Failed(Exception):
    """An expectation that was not met."""


class Skipped(Exception):
    """A test that says nothing about this emulator, and why."""


def doppel_only(why):
    if IS_QEMU:
        raise Skipped(why)


def use_engine(name):
    """Take this engine, or stay with the default; fail if the emulator lacks it."""
    global _engine
    _engine = name or _engine
    if not IS_QEMU:
        why = engines.missing(EMULATOR, _engine)
        check(not why, why)


def check(condition, message):
    if not condition:
        raise Failed(message)


def check_equal(got, want, what):
    check(got == want, f"{what}: got {got!r}, expected {want!r}")


# --- test cases ------------------------------------------------------------------------------

class Case:
    def __init__(self, name, run, cost, long):
        self.name, self.run, self.cost, self.long = name, run, cost, long


CASES = []


def case(name, *args, cost=1, long=False):
    """Register a function, with its arguments, as a test. Cost is about its seconds: the longest
    are started first, so that they do not trail. Long ones are only run when asked for."""
    def register(function):
        CASES.append(Case(name, lambda: function(*args), cost, long))
        return function
    return register


_current = threading.local()


def plain_name(text):
    """A file's name for a test or an engine."""
    return re.sub(r"[^\w.-]+", "_", text)


def start_case(name):
    """Give the calling thread's test a log, and a directory of its own."""
    logs = os.path.join(LOGS, plain_name(accel()))
    os.makedirs(logs, exist_ok=True)
    _current.log = open(os.path.join(logs, plain_name(name) + ".log"), "wb")
    _current.dir = tempfile.mkdtemp(prefix="doppel-test-")
    _current.cleanup = contextlib.ExitStack()


def end_case():
    _current.cleanup.close()
    _current.log.close()
    shutil.rmtree(_current.dir, ignore_errors=True)


def log_tail(lines=25):
    _current.log.flush()
    with open(_current.log.name, "rb") as f:
        text = f.read().decode(errors="replace")
    return "\n".join(text.replace("\r", "").split("\n")[-lines:])


def at_end(function):
    """Call it when the running test has ended."""
    _current.cleanup.callback(function)


def tmp(name):
    """A path in the running test's own directory."""
    return os.path.join(_current.dir, name)


# --- processes -------------------------------------------------------------------------------

def clean_terminal(data):
    """What a person would read: without escape sequences and carriage returns."""
    data = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", data)
    return data.replace(b"\r", b"").decode(errors="replace")


# The leader of a session on the terminal that is standard input: it runs a command in the
# foreground, as a shell does, tells its process id and status on descriptor argv[1], and stays, so
# that the terminal does.
SESSION_LEADER = """
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
out = int(sys.argv[1])
pid = os.fork()
if not pid:
    os.close(out)
    os.execvp(sys.argv[2], sys.argv[2:])
os.write(out, b"%d\\n" % pid)
signal.signal(signal.SIGINT, signal.SIG_IGN)
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
os.write(out, b"%d\\n" % status)
signal.pause()
"""


class Process:
    """A command whose output is awaited and whose input is typed, over pipes or a terminal."""

    def __init__(self, command, terminal=False):
        self.command = command
        self.log = _current.log
        self.log.write(f"$ {shlex.join(command)}\n".encode())
        self.log.flush()
        self.output = b""
        self.master = None
        if terminal:
            self._start_on_terminal(command)
        else:
            self.popen = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                          stderr=subprocess.STDOUT, start_new_session=True,
                                          cwd=_current.dir)
            self.read_fd = self.popen.stdout.fileno()
            self.write_fd = self.popen.stdin.fileno()
            self.pid = self.popen.pid
        self.eof = False
        _current.cleanup.callback(self.close)

    def _start_on_terminal(self, command):
        self.master, self.slave = pty.openpty()
        self.terminal_before = self.terminal_mode()
        self.before = termios.tcgetattr(self.slave)
        self.report, report = os.pipe()
        leader = [sys.executable, "-c", SESSION_LEADER, str(report)] + command
        self.popen = subprocess.Popen(leader, stdin=self.slave, stdout=self.slave,
                                      stderr=self.slave, start_new_session=True,
                                      cwd=_current.dir, pass_fds=[report])
        os.close(report)
        self.read_fd = self.write_fd = self.master
        self.report_text = b""
        while b"\n" not in self.report_text:
            self._read_report(60)
        self.pid = int(self.report_text.split()[0])

    def terminal_mode(self):
        return termios.tcgetattr(self.slave)

    def _read_report(self, timeout):
        if select.select([self.report], [], [], timeout)[0]:
            data = os.read(self.report, 100)
            check(data, "the session's leader died")
            self.report_text += data

    def poll(self):
        """The exit status, or None while the command runs."""
        if self.master is None:
            return self.popen.poll()
        if self.report_text.count(b"\n") < 2:
            self._read_report(0)
        words = self.report_text.split()
        return int(words[1]) if self.report_text.count(b"\n") > 1 else None

    def close(self):
        if self.popen.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()
        for stream in (self.popen.stdin, self.popen.stdout):
            if stream:
                with contextlib.suppress(OSError):
                    stream.close()
        if self.master is not None:
            for fd in (self.master, self.slave, self.report):
                os.close(fd)
            self.master = None

    def pump(self, seconds):
        """Take in what there is, waiting up to so long for something."""
        if self.eof:
            return False
        ready, _, _ = select.select([self.read_fd], [], [], max(seconds, 0))
        if not ready:
            return False
        try:
            data = os.read(self.read_fd, 65536)
        except OSError:		# a terminal whose other side is closed
            data = b""
        if not data:
            self.eof = True
            return False
        self.log.write(data)
        self.log.flush()
        self.output += data
        return True

    def expect(self, pattern, timeout=60):
        """Wait for a regular expression in the output; what precedes and matches is used up."""
        deadline = time.monotonic() + timeout * TIME_SCALE
        while True:
            match = re.search(pattern.encode(), self.output, re.DOTALL)
            if match:
                self.output = self.output[match.end():]
                return match
            left = deadline - time.monotonic()
            if left <= 0:
                raise Failed(f"no {pattern!r} within {timeout * TIME_SCALE:.0f} s")
            if not self.pump(left) and (self.eof or self._exited_quietly()):
                raise Failed(f"no {pattern!r}: the command ended with {self.wait(10)}")

    def _exited_quietly(self):
        """On a terminal this test holds open there is no end of file."""
        return self.master is not None and self.poll() is not None and not self.pump(0.2)

    def send(self, text):
        data = text.encode()
        while data:
            data = data[os.write(self.write_fd, data):]

    def wait(self, timeout=60):
        """The exit status, once the command ends."""
        deadline = time.monotonic() + timeout * TIME_SCALE
        while self.poll() is None:
            if time.monotonic() > deadline:
                raise Failed(f"still running after {timeout * TIME_SCALE:.0f} s")
            self.pump(0.1)
            if self.eof:
                time.sleep(0.02)
        while self.pump(0.1):
            pass
        return self.poll()

    def check_exit(self, status=0, timeout=60):
        check_equal(self.wait(timeout), status, "exit status")


def base_options():
    return ["-nodefaults", "-display", "none", "-accel", accel()]


def emulator(*options, terminal=False):
    return Process(EMULATOR + base_options() + list(options), terminal)


def run_to_end(command, timeout=60):
    """(status, stdout, stderr) of a command that should end by itself."""
    _current.log.write(f"$ {shlex.join(command)}\n".encode())
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=timeout * TIME_SCALE,
                              cwd=_current.dir)
    except subprocess.TimeoutExpired as e:
        _current.log.write((e.stdout or b"") + (e.stderr or b""))
        raise Failed(f"still running after {timeout * TIME_SCALE:.0f} s") from None
    _current.log.write(done.stdout + done.stderr)
    return (done.returncode, done.stdout.decode(errors="replace"),
            done.stderr.decode(errors="replace"))


# --- Linux guests ----------------------------------------------------------------------------

class Linux(Process):
    """A Debian kernel with the busybox initramfs on the serial console."""

    def __init__(self, kernel="cloud", machine="pc", smp=1, memory="512M", append="", options=(),
                 initrd=None, environment=()):
        initrd = initrd or (INITRD_I386 if kernel == "686-pae" else INITRD)
        super().__init__(["env", *environment] + EMULATOR + base_options() + [
            "-machine", machine, "-m", memory, "-smp", str(smp), "-serial", "stdio",
            "-kernel", KERNELS[kernel], "-initrd", initrd,
            "-append", f"console=ttyS0 {append}".strip(), *options])
        self.smp = smp

    def wait_for_shell(self, timeout=BOOT_TIMEOUT):
        self.expect("doppel guest ready", timeout)
        self.expect(r"guest:[^\r\n]*# ")

    def run(self, command, timeout=60, status=0):
        """Type a command at the shell; what it prints, and by default check that it succeeds.

        The markers are typed with quotes in them, so that only what the command prints, not the
        terminal's echo of what is typed, matches them.
        """
        self.send(f'echo [""[; {command}; echo ]""$?]\n')
        match = self.expect(r"\[\[\r?\n(.*?)\](\d+)\]\r?\n", timeout)
        self.expect(r"# ")
        if status is not None:
            check_equal(int(match[2]), status, f"status of {command!r} in the guest")
        return clean_terminal(match[1])

    def poweroff(self, timeout=120):
        self.send("poweroff -f\n")
        self.check_exit(0, timeout)


# --- small guests of our own -----------------------------------------------------------------

def assemble_bios(source):
    """A 64 KiB firmware image that runs 16-bit code (gas, AT&T) from F000:0000 after reset."""
    check(shutil.which("as") and shutil.which("ld"), "binutils are needed")
    text = (".code16\n.globl _start\n_start:\n" + source +
            "\n.org 0xfff0\nljmp $0xf000, $0\n.org 0x10000\n")
    with open(tmp("bios.s"), "w") as f:
        f.write(text)
    subprocess.run(["as", "--32", "-o", tmp("bios.o"), tmp("bios.s")], check=True)
    subprocess.run(["ld", "-m", "elf_i386", "-Ttext", "0", "--oformat", "binary",
                    "-o", tmp("bios.bin"), tmp("bios.o")], check=True)
    return tmp("bios.bin")


# For assemble_bios: echoes what is typed on COM1, a letter up: 'a' comes back as 'b'.
ECHO = """
    mov $0x3f8, %dx
    mov $'!', %al
    outb %al, %dx
1:  mov $0x3fd, %dx
    inb %dx, %al
    test $1, %al
    jz 1b
    mov $0x3f8, %dx
    inb %dx, %al
    inc %al
    outb %al, %dx
    jmp 1b
"""
