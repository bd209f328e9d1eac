# SPDX-License-Identifier: Apache-2.0
"""A whole Debian from its disk: GRUB, systemd, a login on the serial console, packages, ssh, a shared
folder, a clean end; with both firmwares on both boards."""

import fcntl
import gzip
import hashlib
import http.server
import os
import shutil
import socket
import subprocess
import threading

from harness import (EMULATOR, FRIENDLY, GUEST, ROOT, Process, Skipped, accel, at_end, case,
                     check, clean_terminal, doppel_only, run_to_end, tmp)

IMAGE = os.path.join(GUEST, "debian.qcow2")
CODE, VARS = "/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"
PROMPT = r"root@doppel:[^\r\n]*# "


def image():
    """The Debian image, made when it is missing (several tests may want it at once)."""
    with open(os.path.join(GUEST, "debian-disk.lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        status, _, err = run_to_end([os.path.join(ROOT, "tools", "mk-debian-disk")], 1800)
        check(not status, f"mk-debian-disk: {err[-500:]}")
    return IMAGE


def overlay():
    """A disk of the test's own over it."""
    path = tmp("disk.qcow2")
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", image(), path],
                   check=True)
    return path


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def firmware(name):
    if name == "seabios":
        return []
    if not os.path.exists(CODE):
        raise Skipped("OVMF is not installed")
    shutil.copyfile(VARS, tmp("vars.fd"))
    return ["-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={CODE}",
            "-drive", f"if=pflash,unit=1,format=raw,file={tmp('vars.fd')}"]


class Debian(Process):
    def __init__(self, disk, fw="seabios", machine="pc", options=(), interface="virtio"):
        super().__init__(EMULATOR + [
            "-nodefaults", "-display", "none", "-accel", accel(), "-machine", machine, "-m", "1G",
            "-smp", "2", "-serial", "stdio", *firmware(fw),
            "-drive", f"file={disk},if={interface},format=qcow2", *options])

    def login(self, timeout=300):
        self.expect("doppel login: ", timeout)
        self.send("root\n")
        self.expect("Password: ")
        self.send("doppel\n")
        self.expect(PROMPT)
        self.send("export TERM=dumb; bind 'set enable-bracketed-paste off'; dmesg -n 1\n")
        self.expect(PROMPT)

    def run(self, command, timeout=60, status=0):
        self.send(f'echo [""[; {command}; echo ]""$?]\n')
        match = self.expect(r"\[\[\r?\n(.*?)\](\d+)\]\r?\n", timeout)
        self.expect(PROMPT)
        check(int(match[2]) == status, f"{command!r} in the guest: {match[0][-800:]!r}")
        return clean_terminal(match[1])

    def poweroff(self):
        self.send("systemctl poweroff\n")
        self.check_exit(0, 120)


def package():
    """A Debian package of our own: a file and what it says."""
    root = tmp("pkg")
    os.makedirs(os.path.join(root, "DEBIAN"))
    os.makedirs(os.path.join(root, "usr", "bin"))
    with open(os.path.join(root, "DEBIAN", "control"), "w", encoding="ascii") as f:
        f.write("Package: doppel-greeting\nVersion: 1.0\nArchitecture: all\nMaintainer: doppel <doppel@localhost>\n"
                "Description: says hello\n")
    path = os.path.join(root, "usr", "bin", "doppel-greeting")
    with open(path, "w", encoding="ascii") as f:
        f.write("#!/bin/sh\necho greetings from a package\n")
    os.chmod(path, 0o755)
    deb = tmp("doppel-greeting_1.0_all.deb")
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", root, deb], check=True,
                   stdout=subprocess.DEVNULL)
    return deb


def repository():
    """The port of a server on the host with a flat apt repository of that package."""
    deb = package()
    with open(deb, "rb") as f:
        data = f.read()
    control = subprocess.run(["dpkg-deb", "-f", deb], check=True, stdout=subprocess.PIPE).stdout
    index = control + (f"Filename: ./{os.path.basename(deb)}\nSize: {len(data)}\n"
                       f"SHA256: {hashlib.sha256(data).hexdigest()}\n\n").encode()
    files = {"/Packages": index, "/Packages.gz": gzip.compress(index), f"/{os.path.basename(deb)}": data}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = files.get(os.path.normpath(self.path))
            self.send_response(200 if body is not None else 404)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    at_end(server.shutdown)
    return server.server_address[1]


def ssh(port, key, command):
    status, out, err = run_to_end(
        ["ssh", "-p", str(port), "-i", key, "-o", "StrictHostKeyChecking=no",
         "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "BatchMode=yes",
         "root@127.0.0.1", command], 60)
    check(not status, f"ssh {command!r}: {err}")
    return out


def work(guest, repo, port, shared):
    """What a person does with a machine."""
    guest.login()
    check(guest.run("nproc").strip() == "2", "the guest does not have two CPUs")
    guest.run(f"echo 'deb [trusted=yes] http://10.0.2.2:{repo}/ ./' >/etc/apt/sources.list.d/host.list")
    guest.run("apt-get -qq -o Dir::Etc::sourcelist=/dev/null update && "
              "apt-get -qq -y install doppel-greeting", 180)
    check("greetings from a package" in guest.run("doppel-greeting"), "the package does not run")
    key = tmp("key")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    with open(key + ".pub", encoding="ascii") as f:
        guest.run(f"mkdir -p -m 700 .ssh; echo '{f.read().strip()}' >.ssh/authorized_keys")
    check(ssh(port, key, "uname -m").strip() == "x86_64", "ssh says something else")
    data = os.urandom(300000)
    with open(os.path.join(shared, "from-host"), "wb") as f:
        f.write(data)
    guest.run("mount -t 9p -o trans=virtio,version=9p2000.L share /mnt")
    check(hashlib.sha256(data).hexdigest() in guest.run("sha256sum /mnt/from-host"),
          "a file of the host's is another one in the guest")
    guest.run("cp /mnt/from-host /mnt/from-guest && sync && umount /mnt")
    with open(os.path.join(shared, "from-guest"), "rb") as f:
        check(f.read() == data, "a file of the guest's is another one on the host")
    guest.poweroff()


@case("disk/seabios-pc", "seabios", "pc", cost=2)
@case("disk/ovmf-q35", "ovmf", "q35", cost=2)
@case("disk/seabios-q35", "seabios", "q35", cost=2, long=True)
@case("disk/ovmf-pc", "ovmf", "pc", cost=2, long=True)
def whole_debian(fw, machine):
    port, shared, disk = free_port(), tmp("shared"), overlay()
    os.mkdir(shared)
    guest = Debian(disk, fw, machine, [
        "-nic", f"user,model=virtio-net-pci,hostfwd=tcp:127.0.0.1:{port}-:22",
        "-virtfs", f"local,path={shared},mount_tag=share,security_model=mapped-xattr",
        "-device", "virtio-rng-pci"])
    work(guest, repository(), port, shared)
    status, out, err = run_to_end(["qemu-img", "check", disk])
    check(not status, f"qemu-img check: {out}{err}")


@case("disk/friendly", cost=2)
def friendly():
    """doppel run IMAGE, with the defaults."""
    doppel_only("a command of doppel's own")
    guest = Process([FRIENDLY, "run", "--engine", accel(), "--snapshot", image()], terminal=True)
    guest.expect("doppel login: ", 300)
    guest.send("root\r")
    guest.expect("Password: ")
    guest.send("doppel\r")
    guest.expect(PROMPT)
    # DHCP may not be through yet.
    guest.send("until ping -c 1 -W 1 10.0.2.2; do sleep 1; done; poweroff\r")
    guest.expect("64 bytes from 10.0.2.2")
    guest.check_exit(0, 120)
