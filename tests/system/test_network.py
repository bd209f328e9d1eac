# SPDX-License-Identifier: Apache-2.0
"""Networks with Linux's own driver: to the host by user networking and tap, between two machines."""

import contextlib
import hashlib
import http.server
import os
import random
import socket
import struct
import subprocess
import threading

from harness import IS_QEMU, Linux, Skipped, at_end, case, check, check_equal, tmp
from modules import initrd
from test_virtio import check_dmesg

MODULES = ["virtio_pci", "virtio_net", "8021q"]


def boot(address, *options, **more):
    guest = Linux(options=options, initrd=initrd("cloud", MODULES), **more)
    guest.wait_for_shell()
    guest.run("/modules/load")
    guest.run(f"ip link set lo up; ip link set eth0 up; ip addr add {address}/24 dev eth0")
    return guest


def md5(data):
    return hashlib.md5(data).hexdigest()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


DATA = random.Random(5).randbytes(6 << 20)


def web_server(address="127.0.0.1"):
    """The port of a server on the host that gives DATA."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(DATA)))
            self.end_headers()
            self.wfile.write(DATA)

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer((address, 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    at_end(server.shutdown)
    return server.server_address[1]


def receive(listener, into):
    with listener.accept()[0] as s:
        while len(into) < len(DATA) and (part := s.recv(1 << 16)):
            into += part


def transfer(guest, host, address="127.0.0.1"):
    """The same bytes must arrive, both ways."""
    got = guest.run(f"wget -q -O /tmp/data http://{host}:{web_server(address)}/ && "
                    "md5sum </tmp/data")
    check_equal(got.split()[0], md5(DATA), "what the guest received")
    with socket.create_server((address, 0)) as listener:
        listener.settimeout(60)
        arrived = bytearray()
        thread = threading.Thread(target=receive, args=(listener, arrived), daemon=True)
        thread.start()
        guest.run(f"nc {host} {listener.getsockname()[1]} </tmp/data")
        thread.join(60)
    check_equal(md5(arrived), md5(DATA), "what the host received")


def fetch_from_guest(port):
    with socket.create_connection(("127.0.0.1", port), timeout=60) as s:
        s.sendall(b"GET /data HTTP/1.0\r\n\r\n")
        with s.makefile("rb") as f:
            reply = f.read()
    check_equal(md5(reply.split(b"\r\n\r\n", 1)[1]), md5(DATA), "what came from the guest")


def user(machine, device, props, smp=1, netdev=""):
    forwarded = free_port()
    guest = boot("10.0.2.15", "-netdev",
                 f"user,id=n0,hostfwd=tcp:127.0.0.1:{forwarded}-:80{netdev}",
                 "-device", f"{device},netdev=n0,mac=52:54:00:01:02:03{props}",
                 machine=machine, smp=smp)
    check_equal(guest.run("cat /sys/class/net/eth0/address").strip(), "52:54:00:01:02:03", "MAC")
    guest.run("ping -c 2 10.0.2.2")
    transfer(guest, "10.0.2.2")
    guest.run("httpd -p 80 -h /tmp")
    fetch_from_guest(forwarded)
    lease = guest.run("udhcpc -n -q -i eth0 -s /bin/true 2>&1")
    check("lease of 10.0.2." in lease, f"udhcpc says {lease!r}")
    features = guest.run("cat /sys/class/net/eth0/device/features").strip()
    check_dmesg(guest)
    guest.poweroff()
    return features


@case("network/user-pc")
def user_pc():
    features = user("pc", "virtio-net-pci", "")
    if IS_QEMU: # whose user network takes no offloads
        return
    for bit, name in ((0, "CSUM"), (11, "HOST_TSO4"), (15, "MRG_RXBUF"), (32, "VERSION_1")):
        check_equal(features[bit], "1", name)


@case("network/user-q35-packed-mq")
def user_packed():
    # Only here does a user network have more than one pair; QEMU ignores mq=on.
    features = user("q35", "virtio-net-pci-non-transitional", ",packed=on,mq=on", smp=2)
    check_equal(features[34], "1", "packed rings")


@case("network/user-legacy-plain")
def user_plain():
    features = user("pc", "virtio-net-pci",
                    ",disable-modern=on,mrg_rxbuf=off,csum=off,guest_csum=off,event_idx=off")
    check_equal(features[32], "0", "VERSION_1")
    check_equal(features[11], "0", "HOST_TSO4")


@case("network/guestfwd-chardev", cost=2)
def guestfwd_chardev():
    """A chardev that comes later on the command line; more than buffers hold, both ways."""
    if IS_QEMU:
        raise Skipped("its machine stands still while the host does not read")
    path = tmp("forwarded")
    guest = boot("10.0.2.15", "-netdev",
                 "user,id=n0,guestfwd=tcp:10.0.2.100:1234-chardev:c0",
                 "-device", "virtio-net-pci,netdev=n0",
                 "-chardev", f"socket,id=c0,path={path},server=on,wait=off")
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(path)
        s.settimeout(60)
        guest.run("echo hello | timeout 1 nc 10.0.2.100 1234; true")
        check_equal(s.recv(100), b"hello\n", "what the host received")
        guest.run(f"(nc 10.0.2.100 1234 </dev/zero | head -c {len(DATA)} | md5sum >/tmp/sum) "
                  ">/dev/null 2>&1 & true")
        # What comes before a connection would be the earlier one's.
        got = len(s.recv(1 << 16))
        sent = threading.Thread(target=s.sendall, args=(DATA,), daemon=True)
        sent.start()
        while got < len(DATA):
            got += len(part := s.recv(1 << 16))
            check(part and not part.strip(b"\0"), "zeroes came")
        sent.join(60)
        guest.run("while ! test -s /tmp/sum; do sleep 0.1; done")
        check_equal(guest.run("cat /tmp/sum").split()[0], md5(DATA), "what the guest received")
    guest.poweroff()


def pcap_frames(path):
    with open(path, "rb") as f:
        data = f.read()
    check_equal(struct.unpack("<IHH", data[:8]), (0xa1b2c3d4, 2, 4), "the file's beginning")
    at, frames = 24, []
    while at < len(data):
        _, _, got, length = struct.unpack("<IIII", data[at:at + 16])
        check(got <= length and at + 16 + got <= len(data), "a frame is cut off")
        frames.append(data[at + 16:at + 16 + got])
        at += 16 + got
    return frames


@case("network/two-machines-vlan-dump", cost=2)
def two_machines():
    path, dump = tmp("wire"), tmp("dump.pcap")
    nic = "virtio-net-pci,netdev=n0,mac=52:54:00:00:00:0"
    a = boot("10.1.1.1", "-netdev", f"stream,id=n0,server=on,addr.type=unix,addr.path={path}",
             "-device", nic + "1", "-object", f"filter-dump,id=d0,netdev=n0,file={dump}")
    b = boot("10.1.1.2", "-netdev", f"stream,id=n0,server=off,addr.type=unix,addr.path={path}",
             "-device", nic + "2")
    for guest, n in ((a, 1), (b, 2)):
        guest.run("vconfig add eth0 7; ip link set eth0.7 up; "
                  f"ip addr add 10.7.7.{n}/24 dev eth0.7")
    a.run("ping -c 2 10.1.1.2; ping -c 2 10.7.7.2")
    a.run("dd if=/dev/urandom of=/tmp/data bs=1M count=6 2>/dev/null; httpd -p 80 -h /tmp")
    want = a.run("md5sum </tmp/data").split()[0]
    for host in ("10.1.1.1", "10.7.7.1"):
        got = b.run(f"wget -q -O - http://{host}/data | md5sum").split()[0]
        check_equal(got, want, f"what came from {host}")
    b.poweroff()
    a.run("i=0; while [ $(cat /sys/class/net/eth0/carrier) = 1 -a $i -lt 50 ]; do "
          "sleep 0.1; i=$((i + 1)); done; [ $(cat /sys/class/net/eth0/carrier) = 0 ]")
    check_dmesg(a)
    a.poweroff()
    frames = pcap_frames(dump)
    check(any(f[12:16] == b"\x81\x00\x00\x07" for f in frames), "the dump has no tagged frame")
    check(sum(len(f) for f in frames) > 12 << 20, "the dump lacks frames")


def tap_make(name):
    """An interface of the host that this process owns: with 10.77.0.1/24, or Skipped."""
    made = subprocess.run(["ip", "tuntap", "add", name, "mode", "tap"], stderr=subprocess.PIPE)
    if made.returncode:
        raise Skipped(f"no tap interface can be made here: {made.stderr.decode().strip()}")
    at_end(lambda: subprocess.run(["ip", "link", "delete", name], check=False))
    subprocess.run(["ip", "addr", "add", "10.77.0.1/24", "dev", name], check=True)
    subprocess.run(["ip", "link", "set", name, "up"], check=True)


@case("network/tap")
def tap():
    with contextlib.suppress(FileNotFoundError):
        name = f"dop{os.getpid() % 100000}"
        tap_make(name)
        guest = boot("10.77.0.2", "-nic",
                     f"tap,ifname={name},script=no,downscript=no,model=virtio-net-pci")
        guest.run("ping -c 2 10.77.0.1")
        transfer(guest, "10.77.0.1", "10.77.0.1")
        check_dmesg(guest)
        guest.poweroff()
        return
    raise Skipped("there is no 'ip' command")
