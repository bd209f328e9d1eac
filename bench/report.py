# SPDX-License-Identifier: Apache-2.0
"""The benchmark's results: medians, ratios, geometric means, and how they compare with targets."""

import re
import statistics

from workloads import BOOT, SCALING_TARGET, TARGETS

SUBJECT, NATIVE, BASELINE = "doppel", "native", "tcg"


# What a kernel says of its time.
KERNEL_TIME = r"(?m)^ns (\d+)$"


def geomean(values):
    return statistics.geometric_mean(values) if values else None


class Results:
    """Times in seconds, by machine and workload, and what went wrong."""

    def __init__(self, workloads, machines):
        self.workloads, self.machines = workloads, machines
        self.times = {m: {w.name: [] for w in workloads} for m in machines}
        self.scaling = {m: [] for m in machines}
        self.clocks = {m: [0, 0] for m in machines}	# timings, those whose clocks disagreed
        self.outputs = {}
        self.errors = []

    def error(self, machine, workload, message):
        self.errors.append(f"{machine}: {workload.name}: {message}")

    def add(self, machine, workload, timing):
        self.clocks[machine][0] += 1
        self.clocks[machine][1] += not timing.clocks_agree()
        if timing.status:
            tail = " / ".join(timing.output.split("\n")[-3:])
            self.error(machine, workload, f"exit status {timing.status}: {tail}")
            return
        output = re.sub(KERNEL_TIME, "", timing.output)
        first, expected = self.outputs.setdefault(workload.name, (machine, output))
        if workload.same and output != expected:
            self.error(machine, workload, f"its output differs from that of {first}")
            return
        seconds = seconds_of(workload, timing)
        if seconds is None:
            self.error(machine, workload, "what it took is not in its output")
            return
        self.times[machine][workload.name].append(seconds)

    def median(self, machine, workload):
        times = self.times.get(machine, {}).get(workload.name)
        return statistics.median(times) if times else None

    def ratio(self, workload, against, machine=SUBJECT):
        """How many times as long the machine takes, or None."""
        mine, other = self.median(machine, workload), self.median(against, workload)
        return mine / other if mine and other else None

    def mean_ratio(self, chosen, against, machine=SUBJECT):
        ratios = [self.ratio(w, against, machine) for w in self.workloads if chosen(w)]
        return geomean([r for r in ratios if r])

    def verdicts(self):
        """(title, value, limit as text, whether it is met) of each target there are numbers for."""
        for target in TARGETS:
            value = self.mean_ratio(target.chosen, target.against)
            if value:
                yield (f"{target.title}, time / {target.against}'s", value,
                       f"<= {target.limit}", value <= target.limit)
        if self.scaling.get(SUBJECT):
            value = statistics.median(self.scaling[SUBJECT])
            yield ("two vCPUs, work / one's", value, f">= {SCALING_TARGET}",
                   value >= SCALING_TARGET)

    def slower(self):
        """Workloads that take longer than in the baseline, and how many times."""
        pairs = [(w, self.ratio(w, BASELINE)) for w in self.workloads]
        return [(w.name, r) for w, r in pairs if r and r > 1]

    def as_json(self):
        return {
            "machines": self.machines,
            "workloads": [{
                "name": w.name, "group": w.group, "kernel": w.kernel, "command": w.command,
                "amount": w.amount, "unit": w.unit,
                "seconds": {m: summary(self.times[m][w.name]) for m in self.machines
                            if self.times[m][w.name]},
            } for w in self.workloads],
            "scaling": {m: summary(values) for m, values in self.scaling.items() if values},
            "clocks": {m: {"timings": n, "disagreed": bad} for m, (n, bad) in self.clocks.items()},
            "targets": [{"title": title, "value": value, "target": limit, "met": met}
                        for title, value, limit, met in self.verdicts()],
            "slower_than_" + BASELINE: dict(self.slower()),
            "errors": self.errors,
        }


def seconds_of(workload, timing):
    """What counts, or None. A program's own measurement is good where the clock is."""
    pattern = workload.rate or (workload.kernel and KERNEL_TIME)
    if not pattern or not timing.clocks_agree():
        return timing.seconds()
    match = re.search(pattern, timing.output, re.MULTILINE)
    if not match:
        return None
    return workload.amount / float(match[1]) if workload.rate else int(match[1]) / 1e9


def summary(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values),
            "runs": values}


# --- the table -------------------------------------------------------------------------------

def duration(seconds):
    if seconds is None:
        return "-"
    return f"{seconds * 1000:.0f} ms" if seconds < 10 else f"{seconds:.1f} s"


def times(ratio):
    if ratio is None:
        return "-"
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:.1f}"


def comparisons(machines):
    """(machine, the one it is compared with): every one with native, doppel with the baseline."""
    pairs = [(m, NATIVE) for m in machines if m != NATIVE and NATIVE in machines]
    if SUBJECT in machines and BASELINE in machines:
        pairs.append((SUBJECT, BASELINE))
    return pairs


def table(results):
    """Lines of text."""
    machines, pairs = results.machines, comparisons(results.machines)
    head = f"{'':16}{'work':>24}" + "".join(f"{m:>12}" for m in machines)
    head += "".join(f"{a + '/' + b:>15}" for a, b in pairs)
    for group in dict.fromkeys(w.group for w in results.workloads):
        mine = [w for w in results.workloads if w.group == group]
        yield from ("", f"{group:16}{head[16:]}")
        for w in mine:
            work = f"{w.amount:,} {w.unit}"
            yield (f"{w.name:16}{work:>24}" +
                   "".join(f"{duration(results.median(m, w)):>12}" for m in machines) +
                   "".join(f"{times(results.ratio(w, b, a)):>15}" for a, b in pairs))
        subsets = [("geomean", lambda w: True), ("  of kernels", lambda w: w.kernel),
                   ("  of programs", lambda w: not w.kernel)]
        for title, chosen in subsets:
            means = [results.mean_ratio(lambda w: w in mine and chosen(w), b, a) for a, b in pairs]
            if any(means) and group != BOOT.group:
                yield (f"{title:40}{'':{12 * len(machines)}}" +
                       "".join(f"{times(m):>15}" for m in means))


def conclusions(results):
    """Lines of text: scaling, targets, what is slow, what went wrong."""
    yield ""
    for machine, values in results.scaling.items():
        if values:
            yield f"two CPUs do {statistics.median(values):.2f} times the work of one: {machine}"
    for machine, (count, bad) in results.clocks.items():
        yield f"clock: {bad} of {count} timings differ from the host's clock: {machine}"
    yield ""
    for title, value, limit, met in results.verdicts():
        yield f"{'met' if met else 'MISSED':8}{title:40}{times(value):>8}   target {limit}"
    for name, ratio in results.slower():
        yield f"SLOWER  {name} takes {times(ratio)} times as long as under {BASELINE}"
    for message in dict.fromkeys(results.errors):
        yield f"ERROR   {message}"
