# SPDX-License-Identifier: Apache-2.0
"""Folders shared with Linux guests (-virtfs, virtio-9p)."""

import difflib
import hashlib
import os
import random
import re
import shutil
import subprocess

from harness import (IS_QEMU, KERNELS, ROOT, Linux, Process, Skipped, case, check, check_equal,
                     doppel_only, emulator, tmp)
from modules import initrd

MODULES = ["virtio_pci", "9pnet_virtio", "9p"]
SOURCE = os.path.join(ROOT, "tests/system/guest/fsops.c")
EXPECTED = os.path.join(ROOT, "tests/system/guest/fsops.txt")
# What Linux's client itself does otherwise than a disk: it has no folder without a name, and no parts
# of a second.
CLIENT = [r"current folder gone: (\.|list):", r"sizes: 111\.0"]


def need_root(model):
    if model != "mapped-xattr" and os.geteuid():
        raise Skipped(f"only root can give files to others, as security_model={model} does")


def compile_fsops():
    out = tmp("fsops")
    subprocess.run(["cc", "-static", "-O1", "-D_GNU_SOURCE", "-o", out, SOURCE], check=True)
    return out


def boot(folder, options, files=(), emulate=Linux, **more):
    guest = emulate("amd64", initrd=initrd("amd64", MODULES, files=files), append="quiet", options=[
        "-virtfs", f"local,path={folder},mount_tag=host,{options}"], **more)
    guest.wait_for_shell()
    guest.run("/modules/load && mkdir /mnt")
    return guest


def boot_reloading(folder, options, every, files=(), smp=1):
    """The same, and before each so many requests all open files are saved and loaded."""
    guest = Linux("amd64", smp=smp, initrd=initrd("amd64", MODULES, files=files), append="quiet",
                  options=["-fsdev", f"local,id=f,path={folder},{options}", "-device",
                           f"virtio-9p-pci,fsdev=f,mount_tag=host,x-reload={every}"])
    guest.wait_for_shell()
    guest.run("/modules/load && mkdir /mnt")
    return guest


def mount(guest, options="cache=none"):
    guest.run(f"mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,{options} host /mnt")


def folder(name="share"):
    path = tmp(name)
    os.mkdir(path)
    return path


def check_hard(guest, other=()):
    """Run fsops in the guest; what differs from a disk, but for CLIENT and other."""
    guest.run("mkdir /mnt/w; /fsops /mnt/w > /tmp/out 2>&1", timeout=300)
    got = guest.run("cat /tmp/out", timeout=120).strip("\n").split("\n")
    with open(EXPECTED) as f:
        want = f.read().rstrip("\n").split("\n")
    diff = [line for line in difflib.unified_diff(want, got, n=0, lineterm="")
            if re.match(r"[+-][^+-]", line)
            and not any(re.match(p, line[1:]) for p in (*CLIENT, *other))
            and not re.match(r"-sizes: 111\.", line)]
    check(not diff, "differs from a disk:\n" + "\n".join(diff))


@case("shared/hard/none", "none", "cache=none", cost=40)
@case("shared/hard/passthrough", "passthrough", "cache=loose", cost=40)
@case("shared/hard/mapped", "mapped-xattr", "cache=mmap", cost=40)
def hard_cases(model, options):
    """What file systems find hard, line by line as on a disk."""
    doppel_only("QEMU's files by path fail some of these")
    need_root(model)
    share = folder()
    guest = boot(share, f"security_model={model}", [("fsops", compile_fsops())])
    mount(guest, options)
    check_hard(guest)
    guest.poweroff()


def make_tree(top, seed):
    """Folders with files of many sizes, links, and modes."""
    rnd = random.Random(seed)
    dirs = [top]
    for i in range(30):
        path = os.path.join(rnd.choice(dirs), f"d{i}")
        os.mkdir(path)
        dirs.append(path)
    for i in range(200):
        path = os.path.join(rnd.choice(dirs), f"f {i}")
        size = rnd.choice([0, 1, 511, 4096, 4097, 70000, 300000])
        with open(path, "wb") as f:
            f.write(rnd.randbytes(size))
        os.chmod(path, rnd.choice([0o644, 0o600, 0o755, 0o444]))
        os.utime(path, (1000000000, rnd.randrange(10**9)))
    for i in range(20):
        os.symlink(rnd.choice(["nowhere", "../d1", "f 1", "/etc/passwd"]),
                   os.path.join(rnd.choice(dirs), f"l{i}"))


def describe(top):
    """{path: what it is} of a tree on this host."""
    found = {}
    for where, dirs, files in os.walk(top):
        for name in dirs + files:
            path = os.path.join(where, name)
            st = os.lstat(path)
            if os.path.islink(path):
                what = os.readlink(path)
            elif os.path.isdir(path):
                what = "folder"
            else:
                with open(path, "rb") as f:
                    what = (hashlib.md5(f.read()).hexdigest(), st.st_mode & 0o7777,
                            int(st.st_mtime))
            found[os.path.relpath(path, top)] = what
    return found


@case("shared/copies", cost=40)
def copies():
    """A tree from the host, copied by the guest by cp and by tar, and back through its memory."""
    need_root("none")
    share = folder()
    os.mkdir(os.path.join(share, "a"))
    make_tree(os.path.join(share, "a"), 1)
    want = describe(os.path.join(share, "a"))
    guest = boot(share, "security_model=none")
    mount(guest)
    guest.run("cp -a /mnt/a /mnt/b", timeout=200)
    guest.run("cd /mnt/a && tar cf ../a.tar . && mkdir ../c && tar xf ../a.tar -C ../c; cd /",
              timeout=200)
    guest.run("mkdir /x && tar xf /mnt/a.tar -C /x && cp -a /x /mnt/d", timeout=200)
    sums = guest.run("cd /mnt/a && find . -type f -exec md5sum {} + ; cd /", timeout=200)
    for copy in "bcd":
        check_equal(describe(os.path.join(share, copy)), want, f"copy {copy}")
    seen = {line[34:]: line[:32] for line in sums.split("\n") if re.match(r"[0-9a-f]{32}  ", line)}
    check_equal(seen, {"./" + p: w[0] for p, w in want.items() if isinstance(w, tuple)},
                "checksums in the guest")
    subprocess.run(["tar", "tf", os.path.join(share, "a.tar")], check=True,
                   stdout=subprocess.DEVNULL)
    guest.run("rm -r /mnt/b /mnt/c /mnt/d", timeout=200)
    check_equal(sorted(os.listdir(share)), ["a", "a.tar"], "what is left")
    # Unmounted, all is on the host; and it can be mounted again.
    guest.run("echo last > /mnt/last; umount /mnt")
    with open(os.path.join(share, "last")) as f:
        check_equal(f.read(), "last\n", "the last file")
    mount(guest, "cache=loose")
    check_equal(guest.run("cat /mnt/last"), "last\n", "the last file, again")
    guest.poweroff()


@case("shared/readonly", cost=20)
def readonly():
    share = folder()
    with open(os.path.join(share, "f"), "w") as f:
        f.write("text")
    guest = boot(share, "security_model=mapped-xattr,readonly=on")
    mount(guest)
    check_equal(guest.run("cat /mnt/f"), "text", "the file")
    for command in ("echo x > /mnt/f", "echo x > /mnt/g", "rm /mnt/f", "mkdir /mnt/d",
                    "mv /mnt/f /mnt/g", "ln -s x /mnt/l", "chmod 0 /mnt/f"):
        check("Read-only" in guest.run(command + " 2>&1", status=None), command)
    check_equal(os.listdir(share), ["f"], "the folder")
    guest.poweroff()


@case("shared/host-changes", cost=20)
def host_changes():
    """The host moves and removes what the guest has open, and puts links in its way."""
    doppel_only("QEMU doesn't show the host's links with mapped-xattr")
    share = folder()
    secret = tmp("secret")
    with open(secret, "w") as f:
        f.write("secret of the host")
    os.makedirs(os.path.join(share, "d/e"))
    with open(os.path.join(share, "d/e/f"), "w") as f:
        f.write("text\n")
    os.symlink(secret, os.path.join(share, "file"))
    os.symlink(tmp("."), os.path.join(share, "folder"))
    guest = boot(share, "security_model=mapped-xattr")
    mount(guest)
    # Links of the host lead to places in the guest, where there is no such thing.
    for path in ("file", "folder/secret"):
        text = guest.run(f"cat /mnt/{path} 2>&1", status=1)
        check("No such file" in text, f"{path}: {text!r}")
    guest.run("exec 5</mnt/d/e/f 6>>/mnt/d/e/f; cd /mnt/d/e")
    os.rename(os.path.join(share, "d"), os.path.join(share, "moved"))
    guest.run("echo more >&6")
    with open(os.path.join(share, "moved/e/f")) as f:
        check_equal(f.read(), "text\nmore\n", "a moved file")
    os.unlink(os.path.join(share, "moved/e/f"))
    check_equal(guest.run("cat <&5"), "text\nmore\n", "a removed file")
    guest.run("echo here > new")
    with open(os.path.join(share, "moved/e/new")) as f:
        check_equal(f.read(), "here\n", "a file in a moved folder")
    guest.run("exec 5<&- 6>&-; cd /")
    guest.poweroff()


@case("shared/many-clients", 0, cost=40)
@case("shared/reload/many-clients", 5, cost=60)
def many_clients(reload_every):
    """Processes that all work in one folder at once, on two processors."""
    if reload_every:
        doppel_only("QEMU can't save a machine with a folder mounted")
    share = folder()
    if reload_every:
        guest = boot_reloading(share, "security_model=mapped-xattr", reload_every, smp=2)
    else:
        guest = boot(share, "security_model=mapped-xattr", smp=2)
    mount(guest)
    guest.run("for i in 1 2 3 4 5 6; do (mkdir /mnt/$i; cp -r /bin/busybox /mnt/$i/b; "
              "for k in 1 2 3 4 5 6 7 8 9; do cp /mnt/$i/b /mnt/$i/c; mv /mnt/$i/c /mnt/$i/d; "
              "cmp /mnt/$i/b /mnt/$i/d || echo bad; done) & done; wait", timeout=300)
    sums = guest.run("md5sum /bin/busybox /mnt/*/* | cut -c1-32 | sort -u | wc -l", timeout=100)
    check_equal(sums.strip(), "1", "different contents")
    check_equal(sorted(os.listdir(share)), list("123456"), "folders")
    guest.poweroff()


@case("shared/reboot", cost=30)
def reboot():
    """A reset with files open and requests on their way; the next system starts afresh."""
    share = folder()
    guest = boot(share, "security_model=mapped-xattr")
    mount(guest)
    guest.run("(while :; do cp /bin/busybox /mnt/x; cat /mnt/x > /dev/null; done) & "
              "exec 5>/mnt/open; sleep 1")
    guest.send("reboot -f\n")
    guest.wait_for_shell()
    guest.run("/modules/load && mkdir /mnt")
    mount(guest)
    guest.run("rm /mnt/x; echo again > /mnt/open")
    with open(os.path.join(share, "open")) as f:
        check_equal(f.read(), "again\n", "the file")
    check_equal(os.listdir(share), ["open"], "the folder")
    guest.poweroff()


@case("shared/reload/hard", cost=60)
def reload_hard():
    """What file systems find hard, with all that is open saved and loaded again and again."""
    doppel_only("QEMU can't save a machine with a folder mounted")
    guest = boot_reloading(folder(), "security_model=mapped-xattr", 7, [("fsops", compile_fsops())])
    mount(guest)
    # The number of a removed file may be another's now.
    check_hard(guest, [r"unlinked: another"])
    guest.poweroff()


@case("shared/reload/copies", cost=40)
def reload_copies():
    """A tree copied, and listed, meanwhile."""
    doppel_only("QEMU can't save a machine with a folder mounted")
    share = folder()
    os.mkdir(os.path.join(share, "a"))
    make_tree(os.path.join(share, "a"), 2)
    for i in range(1500):
        os.mkdir(os.path.join(share, f"many-{i}"))
    guest = boot_reloading(share, "security_model=mapped-xattr", 30)
    mount(guest, "cache=loose")
    guest.run("cp -r /mnt/a /mnt/b && diff -r /mnt/a /mnt/b", timeout=200)
    check_equal(guest.run("ls /mnt | wc -l").strip(), "1502", "files in a long folder")
    guest.run("umount /mnt")
    copies = [{path: what[0] for path, what in describe(os.path.join(share, name)).items()
               if not os.path.basename(path).startswith("l")} for name in "ab"]
    check(copies[1] == copies[0], "the copy is another")
    guest.poweroff()


@case("shared/reload/open", cost=20)
def reload_open():
    """Files and a current folder that a shell keeps, whatever becomes of their names."""
    doppel_only("QEMU can't save a machine with a folder mounted")
    share = folder()
    os.makedirs(os.path.join(share, "d/e"))
    for name in ("d/e/f", "lost"):
        with open(os.path.join(share, name), "w") as f:
            f.write("text\n")
    guest = boot_reloading(share, "security_model=mapped-xattr", 1)
    mount(guest)
    guest.run("exec 5</mnt/d/e/f 6>>/mnt/d/e/f 7</mnt/lost; cd /mnt/d/e")
    guest.run("exec 8>/mnt/removed 9</mnt/removed; rm /mnt/removed")
    os.rename(os.path.join(share, "d"), os.path.join(share, "moved"))
    guest.run("echo more >&6; echo here > new")
    for name, text in (("moved/e/f", "text\nmore\n"), ("moved/e/new", "here\n")):
        with open(os.path.join(share, name)) as f:
            check_equal(f.read(), text, name)
    check_equal(guest.run("cat <&5"), "text\nmore\n", "a moved file")
    guest.run("echo one >&8; echo two >&8")
    check_equal(guest.run("cat <&9"), "one\ntwo\n", "a removed file")
    # What leaves the folder is lost, and that is all that happens.
    os.rename(os.path.join(share, "lost"), tmp("lost"))
    text = guest.run("cat <&7 2>&1", status=1)
    check("Stale file handle" in text, "a lost file can be read")
    check_equal(text.count("can't be used any more: lost (gone)"), 1, "warnings")
    guest.run("cat <&7 2>&1", status=1)
    guest.run("exec 5<&- 6>&- 7<&- 8>&- 9<&-; cd ..; ls e; cd /; umount /mnt")
    check_equal(sorted(os.listdir(share)), ["moved"], "the folder")
    guest.poweroff()


class QemuLinux(Linux):
    """The same guest in QEMU, whatever else is tested."""

    def __init__(self, kernel, initrd, append, options):
        self.smp = 1
        Process.__init__(self, [
            "qemu-system-x86_64", "-nodefaults", "-display", "none", "-accel", "tcg", "-m", "512M",
            "-serial", "stdio", "-kernel", KERNELS[kernel], "-initrd", initrd,
            "-append", f"console=ttyS0 {append}", *options])


LISTING = "cd /mnt && find . | sort | xargs stat -c '%n %f %u %g %t:%T %N'; cd /"


@case("shared/exchange", cost=60)
def exchange():
    """A folder with mapped owners and modes is the same in QEMU and here, whoever made it."""
    doppel_only("compares doppel with QEMU")
    if not shutil.which("qemu-system-x86_64"):
        raise Skipped("there is no QEMU")
    make = ("cd /mnt && mkdir {0} && cd {0} && echo x > f && chown 7:8 f && chmod 4751 f && "
            "mkdir -m 1777 d && ln -s ../target l && mknod c c 1 3 && mknod b b 259 7 && "
            "chown -h 5:6 l && ln f hard; cd /")
    share = folder()
    lists = []
    for name, emulate in (("doppel", Linux), ("qemu", QemuLinux), ("again", Linux)):
        guest = boot(share, "security_model=mapped-xattr,multidevs=remap", emulate=emulate)
        mount(guest)
        lists.append(guest.run(LISTING))
        guest.run(make.format(name))
        lists.append(guest.run(LISTING))
        guest.poweroff()
    check_equal(lists[2], lists[1], "what doppel made, in QEMU")
    check_equal(lists[4], lists[3], "what QEMU made, in doppel")
    check("/qemu/f" in lists[3] and " 89e9 7 8 " in lists[3], lists[3])


@case("shared/options")
def options():
    for text, wanted in (("local,path=/nonexistent,mount_tag=t,security_model=none", "nonexistent"),
                         ("local,path=/tmp,security_model=none", "mount_tag"),
                         ("local,path=/tmp,mount_tag=t", "security_model")):
        run = emulator("-virtfs", text)
        check(run.wait() != 0, f"-virtfs {text} is taken")
        check(IS_QEMU or wanted in run.output.decode(), run.output.decode())
