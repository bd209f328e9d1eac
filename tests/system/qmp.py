# SPDX-License-Identifier: Apache-2.0
"""A small client of monitors for programs (QMP)."""

import json
import os
import socket
import time

from harness import TIME_SCALE, Failed, Process, check, tmp


class Qmp:
    """One connection to a Unix socket."""

    def __init__(self, path, timeout=20, negotiate=True):
        self.events = []
        self.history = []
        self.buffer = b""
        deadline = time.monotonic() + timeout * TIME_SCALE
        while True:
            self.socket = socket.socket(socket.AF_UNIX)
            try:
                self.socket.connect(path)
                break
            except OSError as e:
                self.socket.close()
                if time.monotonic() > deadline:
                    raise Failed(f"cannot connect to {path}: {e}") from None
                time.sleep(0.05)
        self.greeting = self.message()
        if negotiate:
            self.run("qmp_capabilities")

    def close(self):
        self.socket.close()

    def message(self, timeout=20):
        """The next message, whatever it is; None when the other side hung up."""
        self.socket.settimeout(timeout * TIME_SCALE)
        while b"\n" not in self.buffer:
            try:
                data = self.socket.recv(65536)
            except TimeoutError:
                raise Failed(f"no message within {timeout * TIME_SCALE:.0f} s") from None
            except ConnectionResetError:
                return None
            if not data:
                return None
            self.buffer += data
        line, _, self.buffer = self.buffer.partition(b"\n")
        return json.loads(line)

    def send(self, text):
        self.socket.sendall(text if isinstance(text, bytes) else text.encode())

    def answer(self):
        """The next message that is no event."""
        while True:
            message = self.message()
            check(message is not None, "the monitor hung up")
            if "event" not in message:
                return message
            self.remember(message)

    def remember(self, message):
        self.events.append(message)
        self.history.append((message["event"], message.get("data")))

    def ask(self, command, **arguments):
        """The whole answer to a command; underscores in arguments' names are hyphens."""
        message = {"execute": command}
        if arguments:
            message["arguments"] = {k.replace("_", "-"): v for k, v in arguments.items()}
        self.send(json.dumps(message) + "\n")
        return self.answer()

    def run(self, command, **arguments):
        answer = self.ask(command, **arguments)
        check("return" in answer, f"{command}: {answer}")
        return answer["return"]

    def hmp(self, line):
        return self.run("human-monitor-command", command_line=line)

    def event(self, name, timeout=20):
        """Wait for an event, which may have come already."""
        while True:
            for i, event in enumerate(self.events):
                if event["event"] == name:
                    del self.events[:i + 1]
                    return event
            message = self.message(timeout)
            check(message is not None, f"the monitor hung up before {name}")
            check("event" in message, f"{message} instead of {name}")
            self.remember(message)


def machine(command, *options):
    """A process and its monitor."""
    path = tmp(f"qmp-{os.path.basename(command[0])}")
    process = Process(list(command) + ["-qmp", f"unix:{path},server=on,wait=off", *options])
    return process, Qmp(path)
