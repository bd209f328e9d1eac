# SPDX-License-Identifier: Apache-2.0
"""Kernel modules, and other files, for guests whose devices Debian's kernels have no built-in driver
for."""

import functools
import io
import os
import re
import shutil
import stat
import subprocess
import sys

from harness import GUEST, INITRD, ROOT, check, tmp

sys.path.insert(0, os.path.join(ROOT, "tools"))

from initramfs import Cpio		# noqa: E402


def plain(name):
    return name.replace("-", "_")


@functools.cache
def module_tree(kernel):
    """{module: file} of a kernel of tools/make-guests, and the names of those that are built in."""
    found, built_in = {}, set()
    for path, _, names in os.walk(os.path.join(GUEST, kernel, "root", "lib", "modules")):
        found.update((plain(n[:-3]), os.path.join(path, n)) for n in names if n.endswith(".ko"))
        if "modules.builtin" in names:
            with open(os.path.join(path, "modules.builtin"), encoding="ascii") as f:
                built_in.update(plain(os.path.basename(line.strip())[:-3]) for line in f)
    check(found, f"the {kernel} guest kernel is missing (tools/make-guests)")
    return found, built_in


def closure(kernel, wanted):
    """[(name, contents)] of modules and all they depend on, in an order to load them."""
    files, built_in = module_tree(kernel)
    done = {}

    def visit(name):
        name = plain(name)
        if name in done or name in built_in:
            return
        check(name in files, f"the {kernel} kernel has no module {name}")
        with open(files[name], "rb") as f:
            data = f.read()
        for need in filter(None, re.search(rb"\0depends=([^\0]*)\0", data)[1].decode().split(",")):
            visit(need)
        done[name] = data

    for name in wanted:
        visit(name)
    return list(done.items())


def archive(kernel, wanted, params=None, files=()):
    """A cpio archive of these modules in /modules, and /modules/load, which loads them with
    {module: parameters} and fails if one will not be; and of (name, path) files."""
    out, params = io.BytesIO(), params or {}
    cpio, order = Cpio(out), closure(kernel, wanted)
    folders = {"modules"}
    for name, _ in files:
        while name := os.path.dirname(name):
            folders.add(name)
    for name in sorted(folders):
        cpio.add(name, stat.S_IFDIR | 0o755)
    for name, data in order:
        cpio.add(f"modules/{name}.ko", stat.S_IFREG | 0o644, data)
    load = "#!/bin/sh\nstatus=0\n" + "".join(
        f"insmod /modules/{name}.ko {params.get(name, '')} || status=1\n"
        for name, _ in order) + "exit $status\n"
    cpio.add("modules/load", stat.S_IFREG | 0o755, load.encode())
    for name, path in files:
        with open(path, "rb") as f:
            cpio.add(name, stat.S_IFREG | 0o755, f.read())
    cpio.finish()
    return out.getvalue()


def initrd(kernel, wanted, params=None, files=()):
    """The x86-64 initramfs with what archive() has in it, which is not worth compressing."""
    path = tmp("initrd")
    with open(path, "wb") as f, open(INITRD, "rb") as base:
        f.write(base.read())
        f.write(b"\0" * (-f.tell() % 512))	# an archive starts at a multiple of four
        f.write(archive(kernel, wanted, params, files))
    return path


def program(name):
    """[(name, path)] for archive(): a program of this machine's, and the libraries it needs."""
    path = shutil.which(name)
    check(path, f"there is no {name} (tools/install-deps check)")
    out = subprocess.run(["ldd", path], check=True, stdout=subprocess.PIPE, text=True).stdout
    libraries = re.findall(r"(?m)(?:=> |^\s+)(/\S+) \(", out)
    return [(f"bin/{name}", path)] + [(library[1:], library) for library in libraries]
