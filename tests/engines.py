# SPDX-License-Identifier: Apache-2.0
"""Which engines an emulator has, so that no test runs on another one than it was told."""

import os
import subprocess

# What -accel takes: an engine's name, and its properties.
ACCEL = os.environ.get("DOPPEL_ACCEL") or "interp"


def available(emulator):
    """The names that -accel help lists; emulator is a command with its first arguments."""
    # The program may be there by its other name, of which it speaks no dialect.
    out = subprocess.run(["doppel-system-x86_64", *emulator[1:], "-accel", "help"],
                         executable=emulator[0], stdout=subprocess.PIPE, check=True,
                         stdin=subprocess.DEVNULL, text=True).stdout
    return {line.split()[0] for line in out.splitlines()[1:] if line.strip()} - {"auto"}


def missing(emulator, accel):
    """None, or why this value of -accel would not be what runs."""
    name = accel.split(",")[0]
    names = available(emulator)
    if name in names:
        return None
    return f"no engine {name!r} in {emulator[0]} (it has {', '.join(sorted(names))})"
