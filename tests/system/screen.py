# SPDX-License-Identifier: Apache-2.0
"""What a guest shows, read as text; keys for it; by a monitor for programs."""

import json
import os
import re
import socket
import time

from harness import EMULATOR, TIME_SCALE, Failed, Process, at_end, base_options, check, tmp

VGABIOS = "/usr/share/seabios/vgabios-stdvga.bin"
CELL_HEIGHT = 16


class Monitor:
    """A QMP client."""

    def __init__(self, path):
        deadline = time.monotonic() + 20 * TIME_SCALE
        while True:
            self.sock = socket.socket(socket.AF_UNIX)
            try:
                self.sock.connect(path)
                break
            except OSError:
                self.sock.close()
                check(time.monotonic() < deadline, f"nobody listens at {path}")
                time.sleep(0.05)
        self.sock.settimeout(60 * TIME_SCALE)
        self.lines = self.sock.makefile("r")
        json.loads(self.lines.readline())
        self.run("qmp_capabilities")
        at_end(self.sock.close)

    def answer(self, command, **arguments):
        message = {"execute": command, "arguments": arguments}
        self.sock.sendall(json.dumps(message).encode() + b"\n")
        while True:
            line = self.lines.readline()
            check(line, f"the monitor ended at {command}")
            answer = json.loads(line)
            if "return" in answer or "error" in answer:
                return answer

    def run(self, command, **arguments):
        answer = self.answer(command, **arguments)
        check("return" in answer, f"{command}: {answer.get('error')}")
        return answer["return"]


def read_ppm(path):
    """(width, height, bytes of red, green, blue)."""
    with open(path, "rb") as f:
        data = f.read()
    match = re.match(rb"P6\n(\d+) (\d+)\n255\n", data)
    check(match, f"{path} is no PPM")
    width, height = int(match[1]), int(match[2])
    pixels = data[match.end():]
    check(len(pixels) == width * height * 3, f"{path} is {len(pixels)} bytes of {width}x{height}")
    return width, height, pixels


def load_font():
    """{rows of a glyph: character} of the font in the VGA's option ROM."""
    check(os.path.exists(VGABIOS), f"{VGABIOS} (package seabios) is needed")
    with open(VGABIOS, "rb") as f:
        rom = f.read()
    face = bytes([0, 0, 0x7e, 0x81, 0xa5, 0x81, 0x81, 0xbd, 0x99, 0x81, 0x81, 0x7e])
    at = rom.find(bytes(CELL_HEIGHT) + face)
    check(at >= 0, "there is no font in the option ROM")
    return {rom[at + CELL_HEIGHT * c:at + CELL_HEIGHT * (c + 1)]: chr(c) if 32 <= c < 127 else "."
            for c in range(255, 31, -1)}


def text_of(picture, font):
    """The lines of a screen of 9x16 cells; what is no character is a question mark."""
    width, height, pixels = picture
    if width % 9 or height % CELL_HEIGHT:
        return []
    lines = []
    for top in range(0, height, CELL_HEIGHT):
        line = ""
        for left in range(0, width, 9):
            # The ninth dot is background in all but line graphics.
            glyph, other = bytearray(), bytearray()
            back = None
            for y in range(top, top + CELL_HEIGHT):
                at = (y * width + left) * 3
                dots = [pixels[at + 3 * x:at + 3 * x + 3] for x in range(9)]
                back = back or dots[8]
                row = sum(0x80 >> x for x in range(8) if dots[x] != back)
                glyph.append(row)
                other.append(row ^ 0xff)
            line += font.get(bytes(glyph)) or font.get(bytes(other)) or "?"
        lines.append(line.rstrip())
    return lines


class Screen(Process):
    """A guest with a VGA and a monitor."""

    def __init__(self, *options):
        path = tmp("qmp")
        if os.path.exists(path):
            os.unlink(path)
        super().__init__(EMULATOR + base_options() + [
            "-device", "VGA", "-qmp", f"unix:{path},server=on,wait=off", *options])
        self.monitor = Monitor(path)
        self.font = load_font()

    def picture(self):
        path = tmp("screen.ppm")
        self.monitor.run("screendump", filename=path)
        return read_ppm(path)

    def text(self):
        return "\n".join(text_of(self.picture(), self.font))

    def wait_for(self, pattern, timeout=60):
        """Wait for a regular expression on the screen; all of its text then."""
        deadline = time.monotonic() + timeout * TIME_SCALE
        while True:
            text = self.text()
            if re.search(pattern, text):
                return text
            if time.monotonic() > deadline:
                raise Failed(f"no {pattern!r} on the screen within {timeout * TIME_SCALE:.0f} s:\n"
                             + text)
            self.pump(0.2)

    def keys(self, *names):
        """Press keys one after another; "ctrl-alt-delete" together."""
        for name in names:
            self.monitor.run("send-key", keys=[{"type": "qcode", "data": k}
                                               for k in name.split("-")])

    def quit(self):
        self.monitor.run("quit")
        self.check_exit(0, 30)
