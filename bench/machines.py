# SPDX-License-Identifier: Apache-2.0
"""Where workloads run, by bench/driver.c: natively in a chroot, or in a guest of an emulator."""

import contextlib
import os
import re
import select
import subprocess
import time
from dataclasses import dataclass

BENCH = os.path.dirname(os.path.abspath(__file__))
BOOT_TIMEOUT = 600
RUN_TIMEOUT = 300
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# The kernels must not turn into vector code, nor the compiler's mood into different sums.
CFLAGS = "-O2 -std=gnu17 -D_GNU_SOURCE -Wall -static -fno-tree-vectorize -ffp-contract=off".split()


def compile_static(output, sources):
    """A program for guests, of files in bench/."""
    sources = [os.path.join(BENCH, s) for s in sources]
    subprocess.run(["gcc", *CFLAGS, "-o", output, *sources, "-lm"], check=True)
    return output


class Broken(Exception):
    """A machine that stopped, or said nothing for too long."""


@dataclass
class Timing:
    clock: float	# seconds, by the machine's own clock
    host: float		# and by the host's, between the driver's lines
    status: int
    output: str

    def clocks_agree(self):
        """A line takes some time on its way here; but a clock may not run slow or fast."""
        return abs(self.host - self.clock) <= 0.1 + 0.03 * self.host

    def seconds(self):
        return self.clock if self.clocks_agree() else self.host


class Session:
    """A machine that runs: its driver reads commands and prints lines."""

    def __init__(self, command, log):
        self.log = log
        self.started = time.monotonic()
        self.popen = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      stderr=subprocess.STDOUT)
        self.pending = b""
        try:
            self._expect(r"@@ driver ready", BOOT_TIMEOUT)
        except BaseException:
            self.kill()
            raise
        self.boot_seconds = time.monotonic() - self.started

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            with contextlib.suppress(OSError):
                self.popen.stdin.write(b"quit\n")
                self.popen.stdin.flush()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.popen.communicate(timeout=60)
        self.kill()

    def kill(self):
        self.popen.kill()
        self.popen.wait()

    def _line(self, deadline):
        """The next line, and when it was complete."""
        while b"\n" not in self.pending:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.popen.stdout], [], [], left)[0]:
                raise Broken("it did not end in time")
            data = os.read(self.popen.stdout.fileno(), 65536)
            if not data:
                raise Broken(f"it stopped, with status {self.popen.wait()}")
            self.log.write(data)
            self.pending += data
        line, self.pending = self.pending.split(b"\n", 1)
        return line.decode(errors="replace").rstrip("\r"), time.monotonic()

    def _expect(self, pattern, timeout, other=None):
        """Wait for a line; hand those before it to other()."""
        deadline = time.monotonic() + timeout
        while True:
            line, when = self._line(deadline)
            match = re.search(pattern + "$", line)
            if match:
                return match, when
            if other and line.startswith("@| "):
                other(line[3:])

    def run(self, name, command):
        output = []
        self.popen.stdin.write(f"{name}\t{command}\n".encode())
        self.popen.stdin.flush()
        _, start = self._expect(f"@@ {name} start", RUN_TIMEOUT)
        match, end = self._expect(rf"@@ {name} end (\d+) (\d+)", RUN_TIMEOUT)
        self._expect(f"@@ {name} done", RUN_TIMEOUT, output.append)
        return Timing(int(match[1]) / 1e9, end - start, int(match[2]), "\n".join(output))


class Native:
    """This machine's kernel and processor, with the guest's files, in memory as there."""

    SCRIPT = f"""
        set -e
        mount -t tmpfs -o mode=755 none "$1"
        cd "$1"
        cpio -idmu --quiet --no-preserve-owner -f 'dev/*' <"$2"
        cpio -idmu --quiet --no-preserve-owner <"$3"
        mount -t proc none proc
        mount --rbind /dev dev
        mount -t tmpfs none tmp
        exec chroot . /usr/bin/env -i PATH={PATH} HOME=/root /bench/driver
    """

    def __init__(self, folder, image, overlay):
        self.root = os.path.join(folder, "root")
        self.image, self.overlay = image, overlay
        os.makedirs(self.root, exist_ok=True)
        self.command = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
        if os.geteuid():
            self.command.append("--map-root-user")

    def works(self):
        return subprocess.run(self.command + ["mount", "-t", "tmpfs", "none", self.root],
                              stderr=subprocess.DEVNULL).returncode == 0

    def start(self, log, cpus=1, small=False):
        """The small guest's workloads run in the large one's files as well."""
        allowed = sorted(os.sched_getaffinity(0))[-cpus:]
        return Session(["taskset", "-c", ",".join(map(str, allowed))] + self.command +
                       ["sh", "-c", self.SCRIPT, "sh", self.root, self.image, self.overlay], log)


class Guest:
    """An emulator, with the Debian userland or, small, busybox's."""

    def __init__(self, command, kernel, image, small_image, memory="3G"):
        self.command = command
        self.kernel, self.memory = kernel, memory
        self.images = {False: image, True: small_image}

    def start(self, log, cpus=1, small=False):
        return Session(self.command + [
            "-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio",
            "-m", "512M" if small else self.memory, "-smp", str(cpus), "-kernel", self.kernel,
            "-initrd", self.images[small],
            "-append", "console=ttyS0 doppel.cmd=/bench/driver;poweroff+-f"], log)
