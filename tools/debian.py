# SPDX-License-Identifier: Apache-2.0
"""The system's Debian sources, for tools that make guests from its packages."""

import hashlib
import os
import subprocess

TOOLS = os.path.dirname(os.path.abspath(__file__))


def apt_settings():
    """The system's settings of how to download, such as proxies."""
    dump = subprocess.run(["apt-config", "dump", "Acquire"], check=True, stdout=subprocess.PIPE,
                          text=True).stdout
    return [line for line in dump.splitlines()
            if line.startswith(("Acquire::http", "Acquire::https", "Acquire::Check"))]


def sources():
    """Paths of the files that list them."""
    return subprocess.run([os.path.join(TOOLS, "debian-sources")], check=True,
                          stdout=subprocess.PIPE, text=True).stdout.split()


def inputs(packages, files):
    """What a guest is made of, as text."""
    lines = ["packages " + " ".join(packages)]
    for path in files:
        with open(path, "rb") as f:
            lines.append(f"{os.path.basename(path)} {hashlib.sha256(f.read()).hexdigest()}")
    return "\n".join(lines) + "\n"


def is_made(output, wanted):
    """Is there an output, made of what is wanted now?"""
    recipe = output + ".inputs"
    if not os.path.exists(output) or not os.path.exists(recipe):
        return False
    with open(recipe, encoding="utf-8") as f:
        return f.read() == wanted


def was_made(output, wanted):
    with open(output + ".inputs", "w", encoding="utf-8") as f:
        f.write(wanted)
