# SPDX-License-Identifier: Apache-2.0
"""What the guests' initramfs images share: the archive format, and what runs at boot.

Kernel command line words that the guest understands:
    doppel.cmd=COMMAND   run COMMAND ('+' stands for a space) before the shell
"""

import stat
import subprocess

# name, major, minor: what the kernel and init open before devtmpfs is mounted
NODES = [("dev/console", 5, 1), ("dev/null", 1, 3)]

INITTAB = """\
::sysinit:/etc/rc
::respawn:/etc/shell
::ctrlaltdel:/sbin/reboot
"""

RC = """\
#!/bin/sh
export PATH={path}
mount -t devtmpfs none /dev
mount -t proc none /proc
mount -t sysfs none /sys
mkdir -p /dev/pts /dev/shm
mount -t devpts none /dev/pts
mount -t tmpfs none /run
mount -t tmpfs none /tmp
hostname guest
# Kernel chatter would land in the middle of what is typed; dmesg still has it.
echo 4 >/proc/sys/kernel/printk
for word in $(cat /proc/cmdline); do
	case $word in
	doppel.cmd=*) echo "${{word#doppel.cmd=}}" | tr + ' ' >/run/cmd ;;
	esac
done
[ ! -f /run/cmd ] || sh /run/cmd
echo "doppel guest ready"
"""

# cttyhack finds the real terminal behind /dev/console and makes it the controlling one, which
# job control and ^C need; init has given the process a session of its own already.
SHELL = """\
#!/bin/sh
export PATH={path} HOME=/root TERM=${{TERM:-vt100}} ENV=/etc/shrc
cd /root
exec cttyhack {shell}
"""

SHRC = "PS1='\\h:\\w# '\n"


def boot_files(path, shell):
    """{name: (mode, text)} of what busybox's init runs: the set-up, then a shell on the console."""
    return {
        "etc/inittab": (0o644, INITTAB),
        "etc/rc": (0o755, RC.format(path=path)),
        "etc/shell": (0o755, SHELL.format(path=path, shell=shell)),
        "etc/shrc": (0o644, SHRC),
    }


def applets(busybox):
    """The paths of busybox's applets, such as sbin/init, as it reports them."""
    out = subprocess.run([busybox, "--list-full"], check=True, stdout=subprocess.PIPE, text=True)
    return sorted({name for name in out.stdout.split() if name != "bin/busybox"})


class Cpio:
    """The newc format of cpio(5): a header of 8-digit hex fields, name, data, each padded to 4.

    The kernel unpacks several archives that follow each other in one initrd, each over the last.
    """

    def __init__(self, out):
        self.out = out
        self.ino = 0

    def add(self, name, mode, data=b"", rdev=(0, 0), mtime=0, owner=(0, 0), link=None):
        """Add a file. Names of one file share `link`: (a number of their own, how many they are);
        the first of them brings the data."""
        self.ino += 1
        ino, nlink = link or (self.ino, 2 if stat.S_ISDIR(mode) else 1)
        raw = name.encode(errors="surrogateescape") + b"\0"
        fields = (ino, mode, *owner, nlink, mtime, len(data), 0, 0, *rdev, len(raw), 0)
        head = b"070701" + b"".join(b"%08X" % f for f in fields)
        for part in (head + raw, data):
            self.out.write(part)
            self.out.write(b"\0" * (-len(part) % 4))

    def finish(self):
        self.ino = -1
        self.add("TRAILER!!!", 0)
