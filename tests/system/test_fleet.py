# SPDX-License-Identifier: Apache-2.0
"""Machines that run beside each other: doppel ps, top, console, stop, qmp; run --detach."""

import json
import os
import signal
import time

from harness import (FRIENDLY, Process, accel, assemble_bios, at_end, case, check, check_equal,
                     doppel_only, run_to_end, tmp)

HALT = """
    cli
1:  hlt
    jmp 1b
"""
ECHO = """
1:  mov $0x3fd, %dx
    inb %dx, %al
    test $1, %al
    jz 1b
    mov $0x3f8, %dx
    inb %dx, %al
    inc %al
    outb %al, %dx
    jmp 1b
"""


class Fleet:
    """Commands with a runtime directory of their own."""

    def __init__(self):
        doppel_only("these commands have no counterpart in QEMU")
        self.dir = tmp("runtime")
        os.mkdir(self.dir, 0o700)
        at_end(self.end)

    def command(self, *words):
        return ["env", f"XDG_RUNTIME_DIR={self.dir}", FRIENDLY, *words]

    def call(self, *words, status=0, timeout=60):
        got, out, err = run_to_end(self.command(*words), timeout)
        check_equal(got, status, f"exit status of {words}: {out}{err}")
        return out, err

    def run(self, *options, code=HALT, **more):
        return self.call("run", "--bios", assemble_bios(code), "--engine", accel(), "-m", "32M",
                         "--detach", *options, **more)

    def list(self):
        return {m["name"]: m for m in json.loads(self.call("ps", "--json")[0])}

    def end(self):
        for machine in self.list().values():
            os.kill(machine["pid"], signal.SIGKILL)


@case("fleet/life", cost=5)
def life():
    fleet = Fleet()
    check_equal(fleet.list(), {}, "machines at first")
    fleet.run("--name", "web", "-c", "2")
    fleet.run("--name", "a/b c")
    machines = fleet.list()
    check_equal(sorted(machines), ["a_b_c", "web"], "machines")
    check_equal(machines["web"]["status"], "running", "state")
    check_equal(machines["web"]["cpus"], 2, "CPUs")
    check_equal(machines["web"]["memory"], 32 << 20, "memory")
    out, err = fleet.run("--name", "web", status=1)
    check("'web' is running" in err, f"no word of it: {err}")
    check_equal(json.loads(fleet.call("qmp", "web", "query-name")[0]), {"name": "web"}, "name")
    fleet.call("qmp", "web", '{"execute":"stop"}')
    check_equal(fleet.list()["web"]["status"], "paused", "state")
    check("paused" in fleet.call("ps")[0], "ps does not show the state")
    out, err = fleet.call("qmp", "web", "frob", status=1)
    check("frob" in err, f"no word of it: {err}")
    fleet.call("stop", "web", "--now")
    check_equal(sorted(fleet.list()), ["a_b_c"], "machines")
    out, err = fleet.call("stop", "web", status=1)
    check("no machine named 'web'" in err, f"no word of it: {err}")
    fleet.run("--name", "web")		# the name is free
    out, err = fleet.call("stop", "web", "--time", "1")
    check("switching it off" in err, f"no word of it: {err}")


@case("fleet/killed", cost=3)
def killed():
    """What a killed machine leaves is cleaned up, and hinders nobody."""
    fleet = Fleet()
    fleet.run("--name", "web")
    os.kill(fleet.list()["web"]["pid"], signal.SIGKILL)
    time.sleep(0.3)
    fleet.run("--name", "web")
    os.kill(fleet.list()["web"]["pid"], signal.SIGKILL)
    time.sleep(0.3)
    check_equal(fleet.list(), {}, "machines")
    check_equal(os.listdir(os.path.join(fleet.dir, "doppel")), [], "left over")


@case("fleet/console", cost=5)
def console():
    fleet = Fleet()
    fleet.run("--name", "web", code=ECHO)
    for _ in range(2):		# it can be left and attached again
        person = Process(fleet.command("console", "web"), terminal=True)
        person.expect(r"Ctrl-\] leaves", 20)
        person.send("a")
        person.expect("b", 20)
        person.send("\x01c")
        person.expect(r"\(qemu\) ", 20)
        person.send("info name\r")
        person.expect("web", 20)
        person.send("\x01c")
        person.send("\x1d")
        person.check_exit(0, 20)
        check_equal(person.terminal_mode(), person.terminal_before, "terminal afterwards")
    person = Process(fleet.command("console"), terminal=True)	# the only one
    person.expect(r"Ctrl-\] leaves", 20)
    fleet.call("stop", "web", "--now")
    person.expect("has ended", 20)
    person.check_exit(0, 20)


@case("fleet/top", cost=4)
def top():
    fleet = Fleet()
    fleet.run("--name", "busy", code=ECHO)
    fleet.run("--name", "idle")
    machines = {m["name"]: m for m in json.loads(fleet.call("top", "--once", "--json")[0])}
    check_equal(sorted(machines), ["busy", "idle"], "machines")
    check(machines["busy"]["cpu-percent"] > 1, f"{machines['busy']}")
    check(machines["idle"]["cpu-percent"] < 50, f"{machines['idle']}")
    check_equal(machines["idle"]["memory"], 32 << 20, "memory")
    screen = Process(fleet.command("top"), terminal=True)
    screen.expect("busy.*idle", 20)
    screen.send("q")
    screen.check_exit(0, 20)
    check_equal(screen.terminal_mode(), screen.terminal_before, "terminal afterwards")


@case("fleet/on-a-terminal", cost=3)
def on_a_terminal():
    """A machine in the foreground is listed too; its console is where it was started."""
    fleet = Fleet()
    guest = Process(fleet.command("run", "--name", "here", "--bios", assemble_bios(HALT), "--engine",
                                  accel(), "-m", "32M"), terminal=True)
    guest.expect("Ctrl-a x leaves", 20)
    check_equal(fleet.list()["here"]["console"], None, "console")
    out, err = fleet.call("console", "here", status=1)
    check("on the terminal" in err, f"no word of it: {err}")
    guest.send("\x01x")
    guest.check_exit(0, 20)
    check_equal(fleet.list(), {}, "machines")


@case("fleet/bad-words", cost=2)
def bad_words():
    fleet = Fleet()
    for words in (["ps", "x"], ["ps", "--frob"], ["stop"], ["stop", "a", "b"], ["qmp"], ["qmp", "a"],
                  ["top", "--time"], ["console", "a", "b"], ["stop", "--time"]):
        out, err = fleet.call(*words, status=2)
        check("usage:" in err, f"{words}: {err}")
    for words in (["stop", "a", "--time", "soon"], ["console", "a"], ["console"],
                  ["qmp", "a", "{"], ["top", "--time", "0"]):
        out, err = fleet.call(*words, status=1)
        check(err.startswith(f"doppel {words[0]}: "), f"{words}: {err}")


@case("fleet/daemonize", cost=2)
def daemonize():
    """-daemonize of the dialect: the command ends when the machine runs, and tells why if not."""
    fleet = Fleet()
    dialect = os.path.join(os.path.dirname(FRIENDLY), "doppel-system-x86_64")
    pidfile = tmp("pid")
    options = ["-nodefaults", "-display", "none", "-accel", accel(), "-bios", assemble_bios(HALT),
               "-daemonize", "-pidfile", pidfile]
    status, out, err = run_to_end([dialect, *options], 20)
    check_equal((status, out, err), (0, "", ""), "daemonize")
    with open(pidfile) as f:
        pid = int(f.read())
    os.kill(pid, signal.SIGTERM)
    for _ in range(100):
        if not os.path.exists(pidfile):
            break
        time.sleep(0.05)
    check(not os.path.exists(pidfile), "it does not end")
    status, out, err = run_to_end([dialect, *options, "-serial", "stdio"], 20)
    check_equal(status, 1, "with stdio")
    check("terminal" in err, f"no word of it: {err}")
