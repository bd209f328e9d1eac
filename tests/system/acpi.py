# SPDX-License-Identifier: Apache-2.0
"""What an ACPI table must be: its length and checksum right, and accepted by iasl."""

import os
import re
import shutil
import struct

from harness import IS_QEMU, check, check_equal, run_to_end, tmp

# Tables whose contents are byte code, which iasl compiles, warns about and counts.
AML = ("DSDT", "SSDT")


def check_header(name, data):
    """ACPI 6.4 5.2.6, System Description Table Header."""
    check(len(data) >= 8, f"{name} has {len(data)} bytes")
    check_equal(struct.unpack_from("<I", data, 4)[0], len(data), f"length of {name}")
    if data[:4] != b"FACS":
        check_equal(sum(data) & 0xff, 0, f"checksum of {name}")


def check_table(name, data):
    check_header(name, data)
    check(shutil.which("iasl"), "iasl (package acpica-tools) is needed")
    path = tmp(name + ".aml")
    with open(path, "wb") as f:
        f.write(data)
    status, out, err = run_to_end(["iasl", "-d", path])
    text = out + err
    check_equal(status, 0, f"iasl -d {name}")
    findings = re.findall(r"(?im)^.*(?:\berror\b|\bwarning\b|invalid|incorrect|truncat).*$", text)
    check(not findings, f"iasl -d {name} says {findings[:3]}")
    source = tmp(name + ".dsl")
    check(os.path.exists(source), f"iasl -d {name} wrote nothing")
    with open(source, encoding="latin-1") as f:
        listing = f.read()
    # iasl marks what it doubts with asterisks; a table of revision 1 is no fault.
    listing = re.sub(r"(?m)^.*\*{4} 32-bit table \(V1\).*$", "", listing)
    bad = re.findall(r"(?im)^.*(?:unknown|invalid|\*\*\*\*).*$", listing)
    check(not bad, f"the listing of {name} says {bad[:3]}")
    status, out, err = run_to_end(["iasl", "-p", tmp(name + "-again"), source])
    check_equal(status, 0, f"iasl on {name}'s listing")
    match = re.search(r"(\d+) Errors, (\d+) Warnings", out + err)
    if name.startswith(AML):
        check(match, f"iasl said nothing of {name}'s listing")
        check_equal(match[1], "0", f"errors in {name}")
        # QEMU's own DSDT draws warnings for methods that should be serialized.
        check(IS_QEMU or match[2] == "0", f"{match[2]} warnings in {name}: {out}{err}")
