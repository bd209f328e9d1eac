# SPDX-License-Identifier: Apache-2.0
"""doppel run --user, --ssh-key, -v: what a guest gets to read."""

import os

from harness import (FRIENDLY, GUEST, KERNELS, Linux, Process, accel, case, check, check_equal,
                     doppel_only, tmp)
from modules import initrd
from test_virtio import MODULES, load_modules

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA me@here"


class Friendly(Linux):
    def __init__(self, options):
        Process.__init__(self, [FRIENDLY, "run", "--engine", accel(), "--kernel",
                                KERNELS["cloud"], *options], terminal=True)


def boot(*options):
    doppel_only("doppel run")
    guest = Friendly(["--initrd", initrd("cloud", MODULES + ["isofs"]), *options])
    guest.wait_for_shell()
    load_modules(guest)
    return guest


@case("seed/pc", "pc")
@case("seed/microvm", "microvm")
def seed(machine):
    key = tmp("key.pub")
    with open(key, "w") as f:
        f.write(KEY + "\n")
    guest = boot("--machine", machine, "--user", "alice", "--ssh-key", key, "--name", f"seeded-{machine}",
                 "-v", f"{os.path.dirname(key)}:/mnt")
    guest.run("mkdir /tmp/seed && mount -t iso9660 -o ro /dev/vda /tmp/seed")
    check_equal(guest.run("ls /tmp/seed").split(), ["meta-data", "user-data"], "files")
    data = guest.run("cat /tmp/seed/user-data")
    check(data.startswith("#cloud-config\n"), f"user-data begins with {data[:40]!r}")
    for want in (f'\nssh_authorized_keys:\n  - "{KEY}"\n', '  - name: "alice"\n',
                 " -- '/mnt' '/mnt'"):
        check(want in data, f"no {want!r} in {data}")
    check('local-hostname: "seeded-' in guest.run("cat /tmp/seed/meta-data"), "no host name")
    check_equal(guest.run("cat /sys/block/vda/ro").strip(), "1", "read-only")
    credential = guest.run("strings /sys/firmware/dmi/entries/11-0/raw | grep credential | "
                           "cut -d = -f 2- | base64 -d")
    check_equal(credential.strip(), KEY, "the credential")
    guest.poweroff()


@case("seed/none")
def none():
    """Without a seed the folders of -v are for the person to mount."""
    doppel_only("doppel run")
    guest = Friendly(["--initrd", os.path.join(GUEST, "initramfs-x86_64.img"),
                      "-v", f"{os.path.dirname(tmp('x'))}:/mnt"])
    guest.expect(r"in the guest: mount -t 9p -o trans=virtio\S* /mnt /mnt")
    guest.wait_for_shell()
    guest.poweroff()
