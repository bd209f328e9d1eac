# SPDX-License-Identifier: Apache-2.0
"""Monitors: the same dialogue with doppel and QEMU, the life of a machine, consoles that are shared."""

import json
import shutil
import socket

from harness import (ECHO, EMULATOR, IS_QEMU, Linux, Process, Skipped, accel, assemble_bios,
                     base_options, case, check, check_equal, doppel_only, emulator, tmp)
from qmp import Qmp, machine

QEMU = "qemu-system-x86_64"

# Sleeps for ever.
HALT = """
    cli
1:  hlt
    jmp 1b
"""
# Resets the machine through port 0x92, unless CMOS byte 0x60 says it has done so.
RESET_ONCE = """
    mov $0x60, %al
    outb %al, $0x70
    inb $0x71, %al
    cmp $0x5a, %al
    je 1f
    mov $0x60, %al
    outb %al, $0x70
    mov $0x5a, %al
    outb %al, $0x71
    mov $1, %al
    outb %al, $0x92
1:  hlt
    jmp 1b
"""


# --- doppel and QEMU -------------------------------------------------------------------------

def shape(value):
    """Names and types, without values; a list has the shape of its first element."""
    if isinstance(value, dict):
        return {k: shape(v) for k, v in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__


def outline(answer):
    """What clients go by: the shape of an answer, or class and text of an error."""
    if "error" in answer:
        return answer["error"]
    return shape(answer["return"])


# What is asked of both.  Texts are sent as they are.
DIALOGUE = [
    {"execute": "query-status"},
    {"execute": "query-version"},
    {"execute": "query-name"},
    {"execute": "query-uuid"},
    {"execute": "query-kvm"},
    {"execute": "query-target"},
    {"execute": "query-cpus-fast"},
    {"execute": "query-memory-size-summary"},
    {"execute": "query-chardev"},
    {"execute": "query-chardev-backends"},
    {"execute": "query-pci"},
    {"execute": "query-iothreads"},
    {"execute": "query-commands"},
    {"execute": "query-command-line-options", "arguments": {"option": "frob"}},
    {"execute": "query-block"},
    {"execute": "query-blockstats"},
    {"execute": "ringbuf-write", "arguments": {"device": "r", "data": "abc"}},
    {"execute": "ringbuf-read", "arguments": {"device": "r", "size": 10}},
    {"execute": "ringbuf-read", "arguments": {"device": "r", "size": 0}},
    {"execute": "ringbuf-read", "arguments": {"device": "r", "size": "3"}},
    {"execute": "ringbuf-read", "arguments": {"device": "r"}},
    {"execute": "ringbuf-read", "arguments": {"device": "x", "size": 1}},
    {"execute": "ringbuf-read", "arguments": {"device": "s", "size": 1}},
    {"execute": "ringbuf-read", "arguments": {"device": "r", "size": 1, "format": "x"}},
    {"execute": "ringbuf-read", "arguments": {"device": "r", "size": 1, "colour": "red"}},
    {"execute": "system_wakeup"},
    {"execute": "set-action", "arguments": {"reboot": "x"}},
    {"execute": "set-action", "arguments": {"reboot": "reset", "shutdown": "poweroff"}},
    {"execute": "set_link", "arguments": {"name": "x", "up": True}},
    {"execute": "eject", "arguments": {"device": "x"}},
    {"execute": "eject"},
    {"execute": "block_resize", "arguments": {"device": "x", "size": 512}},
    {"execute": "blockdev-del", "arguments": {"node-name": "x"}},
    {"execute": "blockdev-change-medium", "arguments": {"id": "x", "filename": "y"}},
    {"execute": "human-monitor-command", "arguments": {"command-line": "frob"}},
    {"execute": "human-monitor-command", "arguments": {"command-line": "info frob"}},
    {"execute": "human-monitor-command", "arguments": {"command-line": "info name"}},
    {"execute": "human-monitor-command", "arguments": {"command-line": "info status"}},
    {"execute": "human-monitor-command", "arguments": {"command-line": "info uuid"}},
    {"execute": "human-monitor-command", "arguments": {"command-line": "p 1+2*3"}},
    {"execute": "human-monitor-command", "arguments": {"command-line": "xp/2xw 0xfffffff0"}},
    {"execute": "human-monitor-command"},
    {"execute": "qmp_capabilities"},
    {"execute": "frobnicate"},
    {"execute": "stop", "arguments": {"x": 1}},
    {"execute": "stop", "x": 1},
    {"execute": "stop", "arguments": []},
    {"execute": "stop", "arguments": None},
    {"execute": 1},
    {},
    [],
    [{"execute": "stop"}],
    "12\n",
    "{'execute':'query-status'}\n",
    "{\"execute\":\"query-status\",\"id\":{\"a\":[1,null]}}\n",
    {"execute": "inject-nmi"},
    {"execute": "system_reset"},
    {"execute": "query-status"},
    {"execute": "system_powerdown"},
]


def talk(command):
    options = ["-machine", "pc", "-m", "64M", "-S", "-name", "twin", "-smp", "2",
               "-uuid", "12345678-1234-5678-9abc-def012345678", "-chardev", "ringbuf,id=r",
               "-chardev", "null,id=s", "-serial", "chardev:s", "-bios", assemble_bios(HALT)]
    process, qmp = machine(command, *options)
    answers = [outline({"return": qmp.greeting["QMP"]["version"]})]
    for question in DIALOGUE:
        qmp.send(question if isinstance(question, str) else json.dumps(question) + "\n")
        answer = qmp.answer()
        answers.append(outline(answer))
        if isinstance(question, dict) and str(question).count("human-monitor-command") and \
                "return" in answer and isinstance(answer["return"], str):
            answers[-1] = answer["return"]
        if "id" in answer:
            answers.append(answer["id"])
    qmp.event("POWERDOWN")
    qmp.run("quit")
    qmp.event("SHUTDOWN")
    process.check_exit(0, 20)
    return answers, qmp.history


@case("monitor/differential", cost=8)
def differential():
    """Names, types, classes of errors and their texts, and events, are those of QEMU."""
    doppel_only("it is what doppel is compared with")
    if not shutil.which(QEMU):
        raise Skipped(f"there is no {QEMU}")
    ours, our_events = talk(EMULATOR + base_options())
    theirs, their_events = talk([QEMU, "-nodefaults", "-display", "none", "-accel", "tcg"])
    check_equal(len(ours), len(theirs), "number of answers")
    wrong = [f"{question}: {a!r}, QEMU {b!r}"
             for question, a, b in zip(["greeting"] + DIALOGUE, ours, theirs) if a != b]
    check(not wrong, "\n".join(wrong))
    check_equal(our_events, their_events, "events")


@case("monitor/malformed", cost=2)
def malformed():
    """Text that is no message gets an error each, and nothing else happens."""
    process, qmp = machine(EMULATOR + base_options(), "-bios", assemble_bios(HALT))
    for text in ["hello\n", "{\"execute\" \"stop\"}\n", "{\"execute\":\"stop\",}\n",
                 "{execute:\"stop\"}\n", "{\"execute\":\"st\x01op\"}\n", "}\n",
                 "{\"execute\":\"stop\"]\n"]:
        qmp.send(text)
        answer = qmp.answer()
        check_equal(answer.get("error", {}).get("class"), "GenericError", f"answer to {text!r}")
        while not IS_QEMU and qmp.buffer:
            raise AssertionError(f"more than one answer to {text!r}: {qmp.buffer!r}")
        if IS_QEMU:		# it answers some of these twice
            qmp.send(b"\xff")
    if not IS_QEMU:
        check_equal(qmp.run("query-status")["status"], "running", "state")
        check_equal(qmp.events, [], "events")


# --- the life of a machine -------------------------------------------------------------------

@case("monitor/life", cost=3)
def life():
    process, qmp = machine(EMULATOR + base_options(), "-bios", assemble_bios(HALT), "-S")
    check_equal(qmp.run("query-status")["status"], "prelaunch", "state at first")
    qmp.run("cont")
    qmp.event("RESUME")
    check_equal(qmp.run("query-status")["status"], "running", "state")
    qmp.run("stop")
    qmp.event("STOP")
    check_equal(qmp.run("query-status")["status"], "paused", "state")
    qmp.run("system_reset")
    check_equal(qmp.event("RESET")["data"], {"guest": False, "reason": "host-qmp-system-reset"},
                "reset")
    qmp.run("quit")
    check_equal(qmp.event("SHUTDOWN")["data"], {"guest": False, "reason": "host-qmp-quit"},
                "shutdown")
    process.check_exit(0, 20)


@case("monitor/guest-reset", [], "RESET", cost=3)
@case("monitor/no-reboot", ["-no-reboot"], "SHUTDOWN", cost=3)
@case("monitor/no-reboot-no-shutdown", ["-no-reboot", "-no-shutdown"], "STOP", cost=3)
@case("monitor/action", ["-action", "reboot=shutdown,shutdown=pause"], "STOP", cost=3)
def guest_reset(options, last):
    process, qmp = machine(EMULATOR + base_options(), "-bios", assemble_bios(RESET_ONCE), "-S",
                           *options)
    qmp.run("cont")
    if last == "RESET":
        check_equal(qmp.event("RESET")["data"], {"guest": True, "reason": "guest-reset"}, "reset")
        qmp.run("quit")
    else:
        check_equal(qmp.event("SHUTDOWN")["data"], {"guest": True, "reason": "guest-reset"},
                    "shutdown")
    if last == "STOP":
        qmp.event("STOP")
        check_equal(qmp.run("query-status")["status"], "shutdown", "state")
        answer = qmp.ask("cont")
        check_equal(answer.get("error", {}).get("desc"),
                    "Resetting the Virtual Machine is required", "cont")
        qmp.run("system_reset")
        qmp.run("quit")
    process.check_exit(0, 20)


@case("monitor/signal", cost=2)
def terminated():
    process, qmp = machine(EMULATOR + base_options(), "-bios", assemble_bios(HALT))
    qmp.run("query-status")
    process.popen.terminate()
    check_equal(qmp.event("SHUTDOWN")["data"], {"guest": False, "reason": "host-signal"},
                "shutdown")
    process.check_exit(0, 20)


@case("monitor/clients-come-and-go", cost=2)
def come_and_go():
    """Each connection negotiates anew; one that breaks off in a message harms nobody."""
    path = tmp("m")
    emulator("-bios", assemble_bios(HALT), "-qmp", f"unix:{path},server=on,wait=off")
    for _ in range(5):
        qmp = Qmp(path)
        qmp.run("query-status")
        qmp.send("{\"execute\":\"st")
        qmp.close()
    check_equal(Qmp(path).run("query-status")["status"], "running", "state")


@case("monitor/several", cost=3)
def several():
    """Two for programs, one pretty, and one for people, at once."""
    a, b, person = tmp("a"), tmp("b"), tmp("c")
    emulator("-bios", assemble_bios(HALT), "-qmp", f"unix:{a},server=on,wait=off",
             "-chardev", f"socket,id=b,path={b},server=on,wait=off",
             "-mon", "chardev=b,mode=control",
             "-monitor", f"unix:{person},server=on,wait=off")
    one, other = Qmp(a), Qmp(b)
    s = socket.socket(socket.AF_UNIX)
    s.connect(person)
    s.settimeout(20)
    text = b""
    while b"(qemu) " not in text:
        text += s.recv(4096)
    s.sendall(b"stop\n")
    one.event("STOP")
    other.event("STOP")
    text = b""
    s.sendall(b"info status\n")
    while b"VM status: paused" not in text:
        text += s.recv(4096)
    one.run("cont")
    other.event("RESUME")


# --- consoles --------------------------------------------------------------------------------

@case("monitor/shared-console", ["-serial", "mon:stdio"], cost=4)
@case("monitor/shared-chardev", ["-chardev", "stdio,mux=on,id=c,signal=off", "-serial",
                                 "chardev:c", "-mon", "chardev=c"], cost=4)
@case("monitor/nographic", ["-nographic"], cost=4)
def shared_console(options):
    """Ctrl-a c goes from the guest's serial port to the monitor and back."""
    command = [o for o in base_options() if o != "-nodefaults" or "-nographic" not in options]
    command = [o for o in command if o not in ("-display", "none") or "-nographic" not in options]
    guest = Process(EMULATOR + command + ["-bios", assemble_bios(ECHO)] + options, terminal=True)
    guest.expect("!", 20)
    guest.send("a")
    guest.expect("b", 10)
    guest.send("\x01c")
    guest.expect(r"monitor - type 'help'", 10)
    guest.expect(r"\(qemu\) ", 10)
    guest.send("info statu\t\r")
    guest.expect(r"VM status: running", 10)
    guest.send("stop\r")
    guest.send("info status\r")
    guest.expect(r"VM status: paused", 10)
    guest.send("cont\r\x01c")
    guest.send("x")
    guest.expect("y", 10)
    guest.send("\x01cquit\r")
    guest.check_exit(0, 20)
    check_equal(guest.terminal_mode(), guest.terminal_before, "terminal settings afterwards")


@case("monitor/memory", cost=2)
def memory():
    """x, xp and pmemsave show what the firmware image has."""
    bios = assemble_bios(HALT)
    process, qmp = machine(EMULATOR + base_options(), "-bios", bios)
    with open(bios, "rb") as f:
        image = f.read()
    check("hlt" in qmp.hmp("xp/3i 0xf0000"), "no hlt")
    words = " ".join(f"0x{b:02x}" for b in image[:8])
    check(words in qmp.hmp("xp/8bx 0xf0000"), f"not {words}")
    qmp.run("pmemsave", val=0xf0000, size=65536, filename=tmp("dump"))
    with open(tmp("dump"), "rb") as f:
        check(f.read() == image, "pmemsave wrote something else")


@case("monitor/qtree", cost=2)
def qtree():
    """Devices are on the buses that they were put on, with what they were given."""
    doppel_only("QEMU shows all properties")
    with open(tmp("disk"), "wb") as f:
        f.truncate(1 << 20)
    process, qmp = machine(
        EMULATOR + base_options(), "-machine", "q35", "-m", "64M", "-S", "-bios", assemble_bios(HALT),
        "-device", "pcie-root-port,id=port", "-device", "ahci,id=sata,bus=port",
        "-drive", f"file={tmp('disk')},format=raw,if=none,id=d",
        "-device", "ide-hd,drive=d,bus=sata.3,id=disk,werror=stop", "-device", "isa-debug-exit")
    tree, bus = {}, None
    for line in qmp.hmp("info qtree").splitlines():
        words = line.split()
        if words[0] == "bus:":
            bus = tree.setdefault(words[1], [])
        elif not line.startswith("  type"):
            bus.append(" ".join(words))
    check('dev: hpet, id "hpet"' in tree["main-system-bus"], f"no HPET: {tree}")
    check_equal(tree["pcie.0"], ['dev: pcie-root-port, id "port"'], "pcie.0")
    check_equal(tree["port"], ['dev: ahci, id "sata"'], "port")
    check_equal(tree["sata.3"], ['dev: ide-hd, id "disk"', 'drive = "d"', 'werror = "stop"'], "sata.3")
    check_equal(tree["isa.0"], ['dev: isa-debug-exit, id ""'], "isa.0")
    check_equal(tree["ide.5"], [], "ide.5")
    check("ide.6" not in tree, "the second controller's buses have two names")
    qmp.run("quit")
    process.check_exit(0, 20)


@case("monitor/guest-shutdown", cost=60)
def guest_shutdown():
    """A guest that powers off: with -no-shutdown the machine stays, and only a reset helps."""
    path = tmp("qmp")
    guest = Linux(options=["-qmp", f"unix:{path},server=on,wait=off", "-no-shutdown"])
    guest.wait_for_shell()
    qmp = Qmp(path)
    guest.send("poweroff -f\n")
    check_equal(qmp.event("SHUTDOWN", 60)["data"], {"guest": True, "reason": "guest-shutdown"},
                "shutdown")
    qmp.event("STOP")
    check_equal(qmp.run("query-status"),
                {"status": "shutdown", "running": False, "singlestep": False}, "state")
    qmp.run("system_reset")
    qmp.event("RESET")
    check_equal(qmp.run("query-status")["status"], "prelaunch", "state")
    qmp.run("cont")
    guest.wait_for_shell()
    check("RIP" in qmp.hmp("info registers"), "no registers")
    qmp.run("quit")
    guest.check_exit(0, 20)
