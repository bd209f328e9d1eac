# SPDX-License-Identifier: Apache-2.0
"""Modules of the amd64 kernel, for guests whose devices it has no built-in driver for."""

import io
import os
import re
import stat
import sys

from harness import GUEST, INITRD, ROOT, check, tmp

sys.path.insert(0, os.path.join(ROOT, "tools"))

from initramfs import Cpio		# noqa: E402


def _files():
    top = os.path.join(GUEST, "amd64", "root", "lib", "modules")
    found = {}
    for path, _, names in os.walk(top):
        for name in names:
            if name.endswith(".ko"):
                found[name[:-3].replace("-", "_")] = os.path.join(path, name)
    return found


def closure(wanted):
    """[(name, contents)] of modules and all they depend on, in an order to load them."""
    files, done = _files(), {}

    def visit(name):
        name = name.replace("-", "_")
        if name in done:
            return
        check(name in files, f"the amd64 kernel has no module {name}")
        with open(files[name], "rb") as f:
            data = f.read()
        done[name] = None
        for need in filter(None, re.search(rb"\0depends=([^\0]*)\0", data)[1].decode().split(",")):
            visit(need)
        del done[name]
        done[name] = data

    for name in wanted:
        visit(name)
    return list(done.items())


def initrd(*wanted, params=None):
    """The x86-64 initramfs with these modules in /modules, and /modules/load, which loads them with
    {module: parameters}."""
    out = io.BytesIO()
    cpio = Cpio(out)
    order = closure(wanted)
    cpio.add("modules", stat.S_IFDIR | 0o755)
    for name, data in order:
        cpio.add(f"modules/{name}.ko", stat.S_IFREG | 0o644, data)
    params = params or {}
    load = "#!/bin/sh\n" + "".join(
        f"insmod /modules/{name}.ko {params.get(name, '')} || exit 1\n" for name, _ in order)
    cpio.add("modules/load", stat.S_IFREG | 0o755, load.encode())
    cpio.finish()
    path = tmp("initrd")
    with open(path, "wb") as f, open(INITRD, "rb") as base:
        data = base.read()
        f.write(data + b"\0" * (-len(data) % 4) + out.getvalue())
    return path
