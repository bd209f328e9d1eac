# SPDX-License-Identifier: Apache-2.0
"""Debian's programs at work: each job must print in the guest what it prints on this machine, run on
the same files. Stressors that check themselves must find nothing."""

import fcntl
import os
import re
import subprocess
import sys
import threading
from dataclasses import dataclass

from harness import GUEST, ROOT, Failed, Linux, Skipped, case, check, check_equal, tmp

IMAGE = os.path.join(GUEST, "debian.img")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass
class Job:
    name: str
    script: str		# for sh, in an empty folder; what it prints must not depend on the machine
    quick: bool = True	# in make check
    native: bool = True	# compare; else only the status counts


PYTHON = r"""
python3 - <<'END'
import hashlib, json, random, re, zlib
random.seed(7)
words = ["".join(random.choices("abcdef", k=random.randint(1, 9))) for _ in range(20000)]
text = json.dumps({w: [len(w), w[::-1], i / 7] for i, w in enumerate(words)})
back = json.loads(text)
packed = zlib.compress(text.encode(), 6)
print(len(back), hashlib.sha256(packed).hexdigest(), zlib.crc32(packed))
print(len(re.findall(r"(a[bc]+d|fe{1,3})", text)), pow(3, 20001, 10**40 + 121))
x = 0.5
for i in range(100000):
    x = 3.9 * x * (1 - x) + (x * x) ** 0.5 / 1e6
print(repr(x), sum(i * i % 7 for i in range(200000)))
END
"""

GCC = r"""
cat >sieve.c <<'END'
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
struct node { struct node *l, *r; uint32_t k; };
static struct node *put(struct node *n, uint32_t k)
{
	if (!n) { n = calloc(1, sizeof *n); n->k = k; }
	else if (k < n->k) n->l = put(n->l, k);
	else if (k > n->k) n->r = put(n->r, k);
	return n;
}
static uint64_t sum(struct node *n, unsigned d)
{
	return n ? sum(n->l, d + 1) + (uint64_t)n->k * d + sum(n->r, d + 1) : 0;
}
int main(void)
{
	static uint8_t s[1000000];
	static double m[64][64], p[64][64];
	unsigned c = 0;
	struct node *t = 0;
	for (unsigned i = 2; i < sizeof s; i++) {
		c += !s[i];
		for (unsigned j = 2 * i; !s[i] && j < sizeof s; j += i) s[j] = 1;
	}
	for (uint32_t i = 0, k = 1; i < 30000; i++) t = put(t, k = k * 1664525 + 1013904223);
	for (int i = 0; i < 64; i++) for (int j = 0; j < 64; j++) m[i][j] = (i * 7 + j * 3) % 11 - 5;
	for (int i = 0; i < 64; i++) for (int j = 0; j < 64; j++) for (int k = 0; k < 64; k++)
		p[i][j] += m[i][k] * m[k][j];
	printf("%u %llu %.17g\n", c, (unsigned long long)sum(t, 1), p[3][5] + p[63][0]);
}
END
for o in -O0 -O2 "-O3 -mavx2"; do
	gcc $o -Wall -o sieve sieve.c && ./sieve && gcc $o -S -o - sieve.c | sha256sum
done
"""

GIT = r"""
export GIT_AUTHOR_DATE='2024-01-02T03:04:05Z' GIT_COMMITTER_DATE='2024-01-02T03:04:05Z'
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b HOME=$PWD
git init -q -b main repo && cd repo
for i in 1 2 3 4 5 6 7 8; do
	seq $i 700 >file$i; cp -r /usr/lib/git-core/mergetools d$i 2>/dev/null; git add .
	git commit -q -m "change $i"
done
git checkout -q -b side HEAD~3 && seq 5 9000 >side && git add side && git commit -q -m side
git checkout -q main && git merge -q --no-edit side && git gc -q
git log --format='%H %s' | head -4; git fsck --full; cd ..
git clone -q repo copy && git -C copy log -1 --format=%T
"""

OPENSSL = r"""
cat /usr/lib/python3.11/*.py | head -c 1000000 >text
for d in sha256 sha512 sha3-256 md5 blake2b512; do openssl dgst -$d text; done
for c in aes-256-cbc aes-128-ctr chacha20 camellia-128-cbc; do
	openssl enc -$c -K 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff \
		-iv 000102030405060708090a0b0c0d0e0f -in text -out out 2>/dev/null
	sha256sum out
done
openssl genrsa -out key 1024 2>/dev/null && openssl rsa -in key -pubout -out pub 2>/dev/null
openssl dgst -sha256 -sign key -out sig text && openssl dgst -sha256 -verify pub -signature sig text
openssl ecparam -genkey -name prime256v1 -noout -out ec && openssl ec -in ec -pubout -out ecpub 2>/dev/null
openssl dgst -sha256 -sign ec -out sig text && openssl dgst -sha256 -verify ecpub -signature sig text
"""

NODE = r"""
cat >work.js <<'END'
class V { constructor(x, y) { this.x = x; this.y = y; } add(o) { return new V(this.x + o.x, this.y ^ o.y); } }
function fib(n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }
let v = new V(0, 0), m = new Map(), h = 0, f = 0.1;
for (let i = 0; i < 300000; i++) {
	v = v.add(new V(i % 13, i * 31 | 0));
	m.set("k" + i % 997, (m.get("k" + i % 997) || 0) + i);
	h = Math.imul(h ^ i, 16777619) >>> 0;
	f = f * 1.0000001 + (i & 3) / 7;
}
const a = new Float64Array(4096).map((_, i) => (i * 7919 % 4093) / 3);
a.sort();
const big = (2n ** 521n - 1n) % 1000000007n;
const s = "abc".repeat(5000).replace(/b(c)/g, (_, c) => c.toUpperCase());
console.log(fib(24), v.x, v.y, h, f, m.size, m.get("k5"), a[17], a[4000], big, s.length);
for (let round = 0; round < 20; round++)
	h ^= new Function("x", `let y = x; for (let i = 0; i < 5000; i++) y = Math.imul(y, ${round + 3}) + i | 0; return y`)(h);
console.log(h);
END
node work.js
"""

DPKG = r"""
export DEBIAN_FRONTEND=noninteractive
dpkg -i /srv/hello_*.deb >/dev/null 2>&1 && hello && dpkg -s hello | grep ^Status
dpkg --purge hello >/dev/null 2>&1; command -v hello
apt-get -qq -y install /srv/hello_*.deb >/dev/null 2>&1 && hello -g again && dpkg -V hello | grep -v ' /usr/share/'
dpkg -l | grep -c ^ii
"""

PACKERS = r"""
cat /usr/lib/python3.11/[a-m]*.py | head -c 600000 >text
for p in "gzip -9n" "bzip2" "xz -2" "zstd -q -7"; do
	$p -c <text >packed; sha256sum <packed; ${p%% *} -dc <packed | cmp - text && echo same
done
7zz a -bd -mmt1 -mx3 x.7z text >/dev/null && 7zz t x.7z | grep -c Ok
"""

SQLITE = r"""
sqlite3 db <<'END'
create table t(a integer primary key, b text, c real);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 20000)
	insert into t select i, printf('%08x', i * 2654435761 % 4294967296), i / 7.0 from n;
create index tb on t(b);
select count(*), sum(a * 3 % 101), max(b), round(sum(c), 6) from t where b > '4';
update t set c = c * 2 where a % 3 = 0; delete from t where b like '%7f%';
select count(*), round(avg(c), 9), group_concat(b) from (select * from t order by b limit 9);
pragma integrity_check;
END
"""


def program(name):
    """One of tests/system/guest, compiled and run there."""
    with open(os.path.join(ROOT, "tests", "system", "guest", name + ".c"), encoding="utf-8") as f:
        return (f"cat >{name}.c <<'END'\n{f.read()}END\n"
                f"gcc -O2 -mno-red-zone -o {name} {name}.c && ./{name}\n")


def stress(name, options, seconds=4, quick=True):
    return Job(f"stress-{name}", f"stress-ng --quiet --verify --timeout {seconds} {options} 2>&1",
               quick, native=False)


JOBS = [
    Job("python", PYTHON),
    Job("gcc", GCC),
    Job("git", GIT),
    Job("openssl", OPENSSL),
    Job("node", NODE),
    Job("dpkg", DPKG),
    Job("sqlite", SQLITE),
    Job("packers", PACKERS),
    Job("returns", program("returns")),
    Job("direct", program("direct")),
    Job("files", "find /usr/lib/python3.11 -type f | sort | xargs sha256sum | sha256sum"),
    Job("all-files", "find /usr -xdev -type f | sort | xargs sha256sum | sha256sum", quick=False),
    stress("cpu", "--cpu 2 --cpu-method fft --cpu-ops 20"),
    stress("icache", "--icache 1"),
    stress("vm", "--vm 1 --vm-bytes 32M"),
    stress("memory", "--memthrash 1 --matrix 1 --atomic 2"),
    stress("signals", "--sigfpe 1 --sigsegv 1 --switch 2"),
    stress("cpu-all", "--cpu 2 --cpu-method all", 60, quick=False),
    stress("vm-all", "--vm 2 --vm-bytes 256M --vm-method all", 60, quick=False),
    stress("mixed", "--bsearch 1 --qsort 1 --funccall 1 --vecmath 1 --fp-error 1 --longjmp 1 "
           "--fork 1 --futex 2 --mmap 1 --mremap 1 --poll 1 --tsc 1", 30, quick=False),
]

# This machine's kernel and processor with the guest's files.
NATIVE = f"""
set -e
mount -t tmpfs -o mode=755 none "$1"
cd "$1"
cpio -idmu --quiet --no-preserve-owner -f 'dev/*' <"$2"
mount -t proc none proc
mount --rbind /dev dev
mount -t tmpfs none tmp
exec chroot . /usr/bin/env -i PATH={PATH} HOME=/root /bin/sh
"""


def wrapped(job):
    """A job as a shell sees it: its output between markers that are not in the text itself."""
    return (f"mkdir -p /tmp/{job.name} && cd /tmp/{job.name} && cat >job <<'END-OF-JOB'\n"
            f"{job.script}\nEND-OF-JOB\n"
            f'sh job >out.log 2>&1 </dev/null; s=$?; echo "@""@ {job.name}"; cat out.log; '
            f'echo "@""@ end $s"; '
            f"cd /; rm -rf /tmp/{job.name}\n")


def parse(text, name):
    match = re.search(rf"@@ {name}\r?\n(.*?)@@ end (\d+)", text, re.DOTALL)
    check(match, f"no output of {name} in {text[-300:]!r}")
    return match[1].replace("\r", ""), int(match[2])


_lock = threading.Lock()
_expected = {}


def expected(jobs):
    """{name: (output, status)} of this machine; worked out once."""
    with _lock:
        wanted = [j for j in jobs if j.native and j.name not in _expected]
        if wanted:
            os.mkdir(tmp("root"))
            command = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
            if os.geteuid():
                command.append("--map-root-user")
            done = subprocess.run(command + ["sh", "-c", NATIVE, "sh", tmp("root"), IMAGE],
                                  input="".join(map(wrapped, wanted)), text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            for job in wanted:
                _expected[job.name] = parse(done.stdout, job.name)
        return _expected


def make_image():
    """One at a time, across processes too."""
    with _lock, open(os.path.join(GUEST, "debian.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run([os.path.join(ROOT, "tools", "mk-debian-guest")], check=True)


class Debian(Linux):
    """The cloud kernel with Debian's userland."""

    def __init__(self, smp, environment):
        super().__init__("cloud", "q35", smp, "3G", initrd=IMAGE, environment=environment)

    def job(self, job, timeout):
        self.send(wrapped(job))
        match = self.expect(rf"@@ {job.name}\r?\n.*?@@ end \d+", timeout)
        self.expect("# ")
        return parse(match[0].decode(errors="replace"), job.name)


def problem(job, got, want):
    if got == want:
        return None
    return f"{job.name}: status {got[1]}, output {got[0][-600:]!r}; expected {want}"


QUICK = [j for j in JOBS if j.quick]
WINDOWS = [j for j in JOBS if j.name in ("returns", "direct", "python", "gcc", "node", "stress-signals")]


@case("userland/smp1", 1, QUICK, cost=200)
@case("userland/smp2", 2, QUICK, cost=200)
@case("userland/windows", 2, WINDOWS, "DOPPEL_DBT_STRESS=windows", cost=80)
@case("userland/direct", 2, WINDOWS, "DOPPEL_DBT_STRESS=direct", cost=80)
@case("userland/long-smp1", 1, JOBS, cost=1500, long=True)
@case("userland/long-smp2", 2, JOBS, cost=1500, long=True)
def userland(smp, jobs, *environment):
    make_image()
    want = expected(jobs)
    for job in jobs:
        check(not job.native or want[job.name][1] == 0, f"{job.name} here: {want.get(job.name)}")
    guest = Debian(smp, environment)
    guest.wait_for_shell(600)
    guest.send("stty -echo; PS1='# '\n")
    guest.expect("# $")
    problems = []
    for job in jobs:
        try:
            got = guest.job(job, 1800 if jobs is JOBS else 300)
        except Failed as e:
            problems.append(f"{job.name}: {e}")
            break
        problems.append(problem(job, got, want[job.name] if job.native else ("", 0)))
    problems = [p for p in problems if p]
    check(not problems, "\n".join(problems))
    dmesg = guest.run("dmesg")
    for bad in ("BUG:", "Oops", "WARNING:", "soft lockup", "rcu: INFO", "general protection"):
        check(bad not in dmesg, f"dmesg has {bad!r}")
    guest.poweroff()


def stats_of(commands, what, *environment):
    """A number of -d stats while a guest's shell did that."""
    stats = tmp(f"stats{len(os.listdir(tmp('')))}")
    guest = Linux(machine="q35", options=["-d", "stats", "-D", stats], environment=environment)
    guest.wait_for_shell()
    for command in commands:
        guest.run(command, 300)
    guest.poweroff()
    with open(stats, encoding="utf-8") as f:
        return int(re.search(what, f.read())[1])


LOOP = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done"


@case("userland/windows-policy", cost=20)
def windows_policy():
    def opened(commands, stress):
        return stats_of(commands, r"windows (\d+), fills", f"DOPPEL_DBT_STRESS={stress}")

    grow = "x=$(head -c 40000000 /dev/zero | tr '\\0' x); x="
    check_equal(opened([LOOP], "no-windows"), 0, "switched off")
    usual = opened([LOOP, LOOP], "no-direct")
    check(usual >= 1, "a program that runs for long had none")
    check(opened([LOOP, grow, LOOP, LOOP], "no-direct") > usual, "a program that grew kept its windows")


def may_trace():
    """Can a process here be traced by its parent, as containers may forbid?"""
    return subprocess.run([sys.executable, "-c", "import ctypes; "
                           "raise SystemExit(ctypes.CDLL(None).ptrace(0, 0, 0, 0) != 0)"],
                          check=False).returncode == 0


@case("userland/direct-policy", cost=15)
def direct_policy():
    if not may_trace():
        raise Skipped("ptrace is not allowed here")
    programs, calls = r"direct: programs (\d+)", r"direct: .*system calls (\d+)"
    check_equal(stats_of([LOOP], programs, "DOPPEL_DBT_STRESS=no-direct"), 0, "switched off")
    check(stats_of([LOOP], programs) >= 1, "a program that computes was not run directly")
    chatty = "dd if=/dev/zero of=/dev/null bs=1 count=1000000"
    check(stats_of([chatty], calls) < 200000, "a program that mostly calls the kernel was")
