# SPDX-License-Identifier: Apache-2.0
"""What the benchmark runs, and what its results should be.

A workload is a shell command for the guest, or natively for the same files in a chroot. It does a
fixed amount of work: 0.1 to 1 s natively, less where QEMU TCG takes very long. What is measured is
the time it takes, which our own kernels print; where a program runs for a fixed time instead,
`rate` finds in its output how much it did in a second, and the time is that of `amount`. The output
of the others must be the same on every machine. Everything runs on one processor.
"""

from dataclasses import dataclass

CORPUS = "/tmp/corpus"	# a real text: the first megabytes of Python's library
MAKE_CORPUS = f"[ -f {CORPUS} ] || cat /usr/lib/python3.11/*.py | head -c 10000000 >{CORPUS}"
REDIS = "/tmp/redis.sock"
START_REDIS = (f"redis-server --port 0 --unixsocket {REDIS} --save '' --daemonize yes >/dev/null; "
               f"until redis-cli -s {REDIS} ping >/dev/null 2>&1; do sleep 0.1; done")


@dataclass
class Workload:
    name: str
    group: str		# integer, fp-simd or system
    command: str
    unit: str		# of the work
    amount: float = 1	# of these units
    prepare: str = ""	# run before, not timed
    rate: str = ""	# a regular expression: units in a second
    same: bool = True	# the output must not differ between machines
    quick: bool = False	# part of --quick
    kernel: bool = False	# bench/kernels, not a real program


def kernel(name, group, scale, unit, quick=False):
    return Workload(name, group, f"exec /bench/kernel {name} {scale}", unit, scale,
                    quick=quick, kernel=True)


def openssl(name, group, what, rate, unit, amount):
    return Workload(name, group, f"openssl speed -seconds 1 -bytes 16384 {what}", unit, amount,
                    rate=rate, same=False)


WORKLOADS = [
    kernel("sieve", "integer", 100, "million", quick=True),
    kernel("qsort", "integer", 2000000, "numbers"),
    kernel("tree", "integer", 1000000, "searches", quick=True),
    kernel("sha256", "integer", 400000, "blocks", quick=True),
    kernel("lz", "integer", 15, "MiB"),
    kernel("bytecode", "integer", 250, "programs", quick=True),
    kernel("fib", "integer", 38, "th number", quick=True),
    kernel("virtual", "integer", 100000, "x 1024 calls"),
    kernel("queens", "integer", 14, "queens"),
    openssl("openssl-rsa", "integer", "rsa2048", r"rsa 2048 bits .* ([\d.]+) +[\d.]+$",
            "signatures", 100),
    # Not `7zr b`, which takes the longer the slower the machine: 17 s natively.
    Workload("7z", "integer", "cd /tmp && rm -f x.7z && "
             f"7zz a -bd -mmt1 -mx3 x.7z {CORPUS} >log && 7zz t -bd -mmt1 x.7z >log", "MB", 10,
             MAKE_CORPUS),
    Workload("gzip", "integer", f"gzip -nc {CORPUS} | sha256sum", "MB", 10, MAKE_CORPUS, quick=True),
    Workload("zstd", "integer", f"zstd -q -9 -c {CORPUS} | sha256sum", "MB", 10, MAKE_CORPUS),
    Workload("xz", "integer", f"head -c 2000000 {CORPUS} | xz -4 -T1 | sha256sum", "MB", 2,
             MAKE_CORPUS),
    Workload("shell", "integer", "i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done; echo $i",
             "turns", 400000),
    Workload("python", "integer", "python3 /bench/programs/pystone.py", "run", quick=True),
    Workload("python-json", "integer", "python3 /bench/programs/json_round.py", "run"),
    Workload("gcc", "integer", "cd /tmp && "
             "gcc -O2 -S /bench/kernels/*.c && cat *.s | sha256sum",
             "program"),
    Workload("sqlite3", "integer", "sqlite3 :memory: </bench/programs/tables.sql", "run"),
    Workload("node", "integer", "node /bench/programs/jit.js", "run"),

    kernel("matmul", "fp-simd", 30, "matrices", quick=True),
    kernel("nbody", "fp-simd", 1000000, "steps", quick=True),
    kernel("mandelbrot", "fp-simd", 1000, "squared points"),
    kernel("convert", "fp-simd", 20000000, "conversions"),
    kernel("matmul-avx2", "fp-simd", 6, "matrices", quick=True),
    kernel("saxpy-avx2", "fp-simd", 60000, "x 8192 floats", quick=True),
    kernel("bytes-avx2", "fp-simd", 100000, "x 64 KiB"),
    kernel("filter-sse2", "fp-simd", 20000, "x 8192 samples"),
    openssl("openssl-sha256", "fp-simd", "-evp sha256", r"(?i)^sha256 +([\d.]+)k", "KB", 200000),
    openssl("openssl-aes-gcm", "fp-simd", "-evp aes-128-gcm", r"(?i)^aes-128-gcm +([\d.]+)k",
            "KB", 1000000),

    kernel("getppid", "system", 1000000, "calls", quick=True),
    kernel("read-write", "system", 300000, "x 2 calls"),
    kernel("page-faults", "system", 102400, "pages", quick=True),
    kernel("pipe", "system", 50000, "round trips"),
    kernel("switch", "system", 100000, "switches"),
    kernel("fork-busybox", "system", 400, "processes", quick=True),
    kernel("fork-bash", "system", 150, "processes"),
    Workload("configure", "system", "sh /bench/programs/configure.sh", "run", quick=True),
    Workload("apt-install", "system", "apt-get -qq install -y /srv/hello_*.deb", "package",
             prepare="dpkg --purge hello", same=False),
    Workload("redis", "system", f"redis-benchmark -s {REDIS} -q -t set,get -n 15000 -c 20",
             "x 2 requests", 15000, START_REDIS, same=False),
]

# A guest with a busybox userland alone: from the emulator's start until its init is done.
BOOT = Workload("boot", "system", "", "kernel, to init", quick=True)

# Two vCPUs: one of these, then two at a time.
SCALING = "/bench/kernel sha256 600000"

FORKS = {"fork-busybox", "fork-bash"}
SYSCALLS = {"getppid", "read-write"}


@dataclass
class Target:
    """What the geometric mean of doppel's times, over another's, should not exceed."""
    title: str
    chosen: object	# a function of a workload
    against: str
    limit: float


TARGETS = [
    Target("scalar integer", lambda w: w.group == "integer", "native", 2.0),
    Target("scalar integer", lambda w: w.group == "integer", "tcg", 0.5),
    Target("FP and SIMD", lambda w: w.group == "fp-simd", "native", 2.5),
    Target("FP and SIMD", lambda w: w.group == "fp-simd", "tcg", 0.1),
    Target("kernel boot to init", lambda w: w.name == "boot", "tcg", 0.6),
    Target("fork and exec", lambda w: w.name in FORKS, "tcg", 0.6),
    Target("system calls", lambda w: w.name in SYSCALLS, "tcg", 0.6),
    Target("page faults", lambda w: w.name == "page-faults", "tcg", 0.6),
]
SCALING_TARGET = 1.8
