# SPDX-License-Identifier: Apache-2.0
"""Modules of Debian's amd64 kernel, and other files, for a guest's initramfs."""

import glob
import gzip
import io
import os
import re
import stat
import sys

from harness import GUEST, INITRD, ROOT, check, tmp

sys.path.insert(0, os.path.join(ROOT, "tools"))

from initramfs import Cpio		# noqa: E402


def closure(names):
    """Files of modules and of what they need, in the order to insert them. Unknown: built in."""
    pattern = os.path.join(GUEST, "amd64/root/lib/modules/*/kernel/**/*.ko")
    files = {os.path.basename(f)[:-3].replace("-", "_"): f
             for f in glob.glob(pattern, recursive=True)}
    check(files, "the amd64 guest kernel is missing (tools/make-guests)")
    order = []

    def add(name):
        path = files.get(name.replace("-", "_"))
        if not path or path in order:
            return
        with open(path, "rb") as f:
            depends = re.search(rb"\0depends=([^\0]*)\0", f.read())
        for need in depends[1].decode().split(",") if depends else []:
            if need:
                add(need)
        order.append(path)

    for name in names:
        add(name)
    return order


def initrd_with(modules, files=()):
    """An initrd with modules in /mods, /mods/load to insert them, and (name, path) files."""
    paths = closure(modules)
    out = io.BytesIO()
    cpio = Cpio(out)
    cpio.add("mods", stat.S_IFDIR | 0o755)
    for path in paths:
        with open(path, "rb") as f:
            cpio.add("mods/" + os.path.basename(path), stat.S_IFREG | 0o644, f.read())
    load = "#!/bin/sh\nset -e\n" + "".join(f"insmod /mods/{os.path.basename(p)}\n" for p in paths)
    cpio.add("mods/load", stat.S_IFREG | 0o755, load.encode())
    for name, path in files:
        with open(path, "rb") as f:
            cpio.add(name, stat.S_IFREG | 0o755, f.read())
    cpio.finish()
    with open(INITRD, "rb") as f:
        image = f.read() + gzip.compress(out.getvalue(), 1)
    name = tmp("initrd")
    with open(name, "wb") as f:
        f.write(image)
    return name
