# SPDX-License-Identifier: Apache-2.0
"""Programs that drive QEMU, unchanged: Debian's debvm and autopkgtest. They find the emulator through
PATH, as qemu-system-x86_64."""

import fcntl
import os
import shutil

from harness import EMULATOR, GUEST, ROOT, Process, case, check, check_equal, run_to_end, tmp
from test_disk import free_port, image

EMULATOR_NAME = "qemu-system-x86_64"
# The Debian disk starts a root shell on its second serial port when it is told so.
ROOT_SHELL = "-smbios type=11,value=io.systemd.credential:root-shell=on"


def need(program, package):
    check(shutil.which(program), f"{program} (package {package}) is needed")


def with_emulator(*command):
    """A command that finds the emulator under test where it looks for QEMU."""
    os.makedirs(tmp("bin"), exist_ok=True)
    link = tmp(f"bin/{EMULATOR_NAME}")
    if not os.path.lexists(link):
        os.symlink(shutil.which(EMULATOR[0]), link)
    return ["env", f"PATH={tmp('bin')}:{os.environ['PATH']}", f"TMPDIR={tmp('')}", *command]


def debvm_image():
    """Its path, once it is made (several tests may want it at once); the key is beside it."""
    path = os.path.join(GUEST, "debvm.ext4")
    with open(os.path.join(GUEST, "debvm.lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        status, _, err = run_to_end([os.path.join(ROOT, "tools", "mk-debvm-image")], 1800)
        check(not status, f"mk-debvm-image: {err[-1500:]}")
    return path


@case("clients/debvm", cost=100)
def debvm():
    """debvm-create made the image; debvm-run boots it to a shell; debvm-waitssh finds its ssh."""
    need("debvm-run", "debvm")
    path, port = debvm_image(), free_port()
    guest = Process(with_emulator("debvm-run", "-i", path, "-s", str(port), "--", "-snapshot"))
    guest.expect(r"testvm login: root \(automatic login\)", 300)
    guest.expect(r"root@testvm:[^\r\n]*# ", 60)
    status, _, err = run_to_end(["debvm-waitssh", "-t", "120", str(port)], 150)
    check(not status, f"debvm-waitssh: {err}")
    status, out, err = run_to_end(
        ["ssh", "-i", path + ".key", "-p", str(port), "-o", "StrictHostKeyChecking=no", "-o",
         "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "BatchMode=yes",
         "root@127.0.0.1", "findmnt -no SOURCE /; dd if=/dev/hwrng bs=1 count=8 status=none | wc -c; "
         "systemctl poweroff"], 60)
    check_equal((status, out), (0, "/dev/vda\n8\n"), f"ssh ({err.strip()})")
    guest.check_exit(0, 120)


# --- autopkgtest -----------------------------------------------------------------------------

SOURCE_PACKAGE = {
    "debian/changelog": """doppel-tested (1.0) unstable; urgency=low

  * Tests only.

 -- doppel <doppel@localhost>  Thu, 01 Jan 2026 00:00:00 +0000
""",
    "debian/control": """Source: doppel-tested
Section: misc
Priority: optional
Maintainer: doppel <doppel@localhost>

Package: doppel-tested
Architecture: all
Description: tests only
""",
    "debian/files": "",		# it is built, so no package has to be fetched for building it
    "debian/tests/control": """Tests: plain
Depends:

Tests: fails
Depends:

Tests: reboot
Depends:
Restrictions: needs-root, needs-reboot, isolation-machine
""",
    "debian/tests/plain": """#!/bin/sh -e
grep -q doppel-tested debian/control
echo "plain: $(uname -m)"
""",
    "debian/tests/fails": """#!/bin/sh
echo "this one is to fail"
exit 3
""",
    "debian/tests/reboot": """#!/bin/sh -e
boot=$(cat /proc/sys/kernel/random/boot_id)
case "$AUTOPKGTEST_REBOOT_MARK" in
"")	echo $boot >/var/tmp/before
	/tmp/autopkgtest-reboot once ;;
once)	[ "$boot" != "$(cat /var/tmp/before)" ]
	echo "reboot: done" ;;
esac
""",
}


def source_package():
    for name, text in SOURCE_PACKAGE.items():
        path = tmp("source/" + name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="ascii") as f:
            f.write(text)
        os.chmod(path, 0o755 if text.startswith("#!") else 0o644)
    return tmp("source")


@case("clients/autopkgtest", cost=60)
def autopkgtest():
    """A package's tests in a testbed; one needs a reboot, one is to fail, and does so by itself."""
    need("autopkgtest", "autopkgtest")
    command = with_emulator(
        "autopkgtest", "--no-built-binaries", "-o", tmp("out"), source_package(), "--", "qemu",
        "-q", EMULATOR_NAME, "--timeout-reboot", "300", "--qemu-options", ROOT_SHELL, image())
    # It takes pieces of what a terminal says for whole lines and waits for ever when, on a busy host, two
    # arrive as one: status 16. That is so with QEMU, too.
    for _ in range(3):
        shutil.rmtree(tmp("out"), ignore_errors=True)
        status = Process(command).wait(900)
        if status != 16:
            break
    check_equal(status, 4, "autopkgtest's exit status (4: a test failed)")
    with open(tmp("out/summary"), encoding="utf-8") as f:
        results = dict(line.split(None, 1) for line in f.read().splitlines())
    check_equal({k: v.strip() for k, v in results.items()},
                {"plain": "PASS", "fails": "FAIL non-zero exit status 3", "reboot": "PASS"},
                "results")
    for name, text in (("plain", "plain: x86_64\n"), ("reboot", "reboot: done\n")):
        with open(tmp(f"out/{name}-stdout"), encoding="utf-8") as f:
            check_equal(f.read(), text, f"what {name} printed")
