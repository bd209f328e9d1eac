# SPDX-License-Identifier: Apache-2.0
"""Disk images and processes that are killed.

block-tool writes to an image at random, through the block layer, and tells a journal what has been
flushed. It is killed at a random moment; then qemu-img may find leaks in the image and nothing else,
and what was flushed is there. Again and again with the same image.
"""

import os
import random
import shutil
import subprocess
import tempfile
import time

from harness import BUILD, Failed, Skipped, case, check, doppel_only

TOOL = os.path.join(BUILD, "tests", "tools", "block-tool")
LEAKS = 3		# exit status of qemu-img check


def tool(*args, **kw):
    return subprocess.run([TOOL, *args], capture_output=True, text=True, timeout=300, **kw)


def kill_once(rng, image, drive, journal):
    load = subprocess.Popen([TOOL, "load", drive, "4711", journal], stderr=subprocess.PIPE, text=True)
    try:
        time.sleep(rng.uniform(0.05, 0.6))
        check(load.poll() is None, "the load ended by itself: " + (load.stderr.read() if load.poll() else ""))
    finally:
        load.kill()
        load.wait()
    out = subprocess.run(["qemu-img", "check", image], capture_output=True, text=True, timeout=300)
    check(out.returncode in (0, LEAKS), f"qemu-img check: {out.stdout[-2000:]}{out.stderr[-500:]}")
    check("ERROR" not in out.stdout + out.stderr, f"qemu-img check: {out.stderr[-500:]}")
    # Before the first flush there is nothing to compare with.
    if os.path.exists(journal) and os.path.getsize(journal) >= 24:
        out = tool("check", f"file={image},format=qcow2,readonly=on", journal)
        check(out.returncode == 0, f"contents: {out.stdout}{out.stderr}")


@case("images/kill-64k", "cluster_size=64k", "discard=unmap", cost=10)
@case("images/kill-4k", "cluster_size=4k", "discard=unmap,l2-cache-size=64K", cost=10)
@case("images/kill-512", "cluster_size=512,refcount_bits=64", "l2-cache-size=16K", cost=10)
@case("images/kill-extended", "extended_l2=on", "discard=unmap", cost=10)
@case("images/kill-v2", "compat=0.10", "cache=writethrough", cost=10)
def killed(create, options):
    doppel_only("it is doppel's block layer that is tested")
    if not shutil.which("qemu-img") or not os.path.exists(TOOL):
        raise Skipped("qemu-img or block-tool is missing")
    rng = random.Random(create + options)
    with tempfile.TemporaryDirectory(prefix="doppel-images-", dir="/var/tmp") as where:
        image, journal = os.path.join(where, "disk.qcow2"), os.path.join(where, "journal")
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-o", create, image, "48M"], check=True)
        drive = f"file={image},format=qcow2,{options}"
        for _ in range(8):
            kill_once(rng, image, drive, journal)
        # And it goes on: all of it is read once more after a clean end.
        out = tool("write", drive, "0", "64K", "1")
        check(out.returncode == 0, f"write after a kill: {out.stderr}")
        out = subprocess.run(["qemu-img", "check", image], capture_output=True, text=True, timeout=300)
        if out.returncode not in (0, LEAKS):
            raise Failed(out.stdout)
