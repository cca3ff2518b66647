"""From what two runs of a graph left to a verdict: the same questions as of a training, for each update."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from adampatch.verify import judge as judging
from adampatch.verify.ball import Accuracy, Ball
from adampatch.verify.cases import Case
from adampatch.verify.clamps import bounded
from adampatch.verify.findings import Findings, apart, count, first_of, where_emitted
from adampatch.verify.formats import FORMATS, Array
from adampatch.verify.graph_replay import Replay
from adampatch.verify.graph_subject import Run, Update
from adampatch.verify.judge import Verdict
from adampatch.verify.record import Record, format_of
from adampatch.verify.references import Gradient
from adampatch.verify.ruling import ruled

Arrays = Mapping[str, Array]


@dataclass
class Recorded:
    """What runs of one graph wrote down, each {STEP/VARIABLE, STEP/fetched/NAME: bits}: ``stock`` and, of
    the patched one, ``free`` on its own, ``cross`` from each of stock's states, ``ruled`` the same under
    rules."""

    stock: Arrays
    free: Arrays = field(default_factory=dict)
    cross: Arrays = field(default_factory=dict)
    ruled: Arrays = field(default_factory=dict)

    def variables(self, t: int) -> Iterator[tuple[str, Array]]:
        """(name, bits) of what stock's variables held after a step."""
        for key, bits in self.stock.items():
            head, _, name = key.partition("/")
            if head == str(t) and not name.startswith("fetched/"):
                yield name, bits


def differs(
    recorded: Recorded, run: str, steps: int, but: frozenset[str] = frozenset()
) -> tuple[dict[str, Any] | None, float]:
    """(the first difference to stock's bits, the greatest distance in units in the last place); ``but``:
    variables that may differ."""
    arrays, first, most = getattr(recorded, run), None, 0.0
    for t in range(steps + 1):
        for name, theirs in sorted(recorded.variables(t)):
            ours = arrays.get(f"{t}/{name}")
            if name in but:
                continue
            if ours is None or ours.shape != theirs.shape:
                return {"run": run, "step": t, "quantity": name, "observed": "missing"}, math.inf
            off, ulps = apart(_form(theirs), theirs, ours)
            most = max(most, ulps)
            if first is None and np.any(off):
                at = first_of(off)
                pair = {"expected": _plain(theirs, at), "observed": _plain(ours, at)}
                first = {"run": run, "step": t, "quantity": name, "element": list(at), **pair}
    return first, most


def _form(bits: Array) -> Any:
    return FORMATS[f"float{8 * bits.itemsize}"] if bits.dtype.kind == "u" and bits.itemsize > 1 else None


def _plain(bits: Array, at: tuple[int, ...]) -> float:
    if bits.dtype.kind != "u" or bits.itemsize < 2:
        return float(bits[at])
    return float(format_of(_form(bits), bits).decode(bits[at]))


class SiteRecord(Record):
    """One update of a graph in the shape of a training of one variable; ``replay``: None where what it is
    made of was not written down. ``first``: the number that the graph gives its first update."""

    def __init__(
        self, case: Case, update: Update, replay: Replay | None, recorded: Recorded, accuracy: Accuracy
    ) -> None:
        w = update.variable
        start = recorded.stock.get(f"0/{w}")
        shape = () if start is None else start.shape
        case = replace(case, dtype=update.dtype, shapes=(shape,))
        self.replay, self.recorded, self.update = replay, recorded, update
        super().__init__(
            case, _named(update, replay, recorded, case.steps), {"rates": {}, "said": {}}, accuracy
        )
        self._balls: dict[int, dict[str, Ball]] = {}
        self.first = 1
        self.rates = dict.fromkeys(range(1, case.steps + 1), math.nan)
        if replay is not None:
            self._take_scalars(replay)

    def _take_scalars(self, replay: Replay) -> None:
        for t in range(1, self.case.steps + 1):
            balls = self.balls(t)
            for name, into in (("lr", self.rates), ("alpha", self.alphas)):
                if name in balls and balls[name].mid.size == 1:
                    into[t] = float(balls[name].mid.reshape(()))
        clock = replay.clock
        if clock is not None:
            said = self.recorded.stock[f"1/fetched/{clock.exponent or clock.power}"]
            if clock.exponent:
                self.first = int(_plain(said.reshape(-1), (0,)))
            else:
                said = self._before(1).get(replay.power(), said)
                self.first = round(math.log(_plain(said.reshape(-1), (0,))) / math.log(clock.base))
        if "power" in self.balls(1) and self.first == 1:
            options = {"beta_1": float(self.balls(1)["power"].mid.reshape(()))}
            self.case = replace(self.case, options=options)

    def _before(self, t: int) -> dict[str, Array]:
        return dict(self.recorded.variables(t - 1))

    def balls(self, t: int) -> dict[str, Ball]:
        """The parts of the update of a step, from stock's state before it."""
        assert self.replay is not None
        if t not in self._balls:
            head = f"{t}/fetched/"
            fetched = {k[len(head) :]: x for k, x in self.recorded.stock.items() if k.startswith(head)}
            with np.errstate(all="ignore"):
                self._balls[t] = self.replay.balls(self.field, self._before(t), fetched)
        return self._balls[t]

    def wanted(self, reference: Any, t: int, i: int, run: str) -> Mapping[str, Ball]:
        found = self.balls(t)
        return {
            name: found[name]
            for name in ("alpha", "m", "v", "vhat", "rate", "direction", "decay", "w")
            if name in found
        }

    def gradient(self, t: int, i: int) -> Gradient:
        balls = {} if self.replay is None else self.balls(t)
        total = balls.get("gradient", self.field.exact(np.full(self.case.shapes[0], np.nan)))
        return Gradient(total, total * total, total.abs())


def _named(update: Update, replay: Replay | None, recorded: Recorded, steps: int) -> dict[str, Array]:
    """The bits of one update under a record's names: its variable and states, its rate."""
    names = {"w": update.variable} | (replay.moments() if replay is not None else {})
    found: dict[str, Array] = {}
    for run in ("stock", "free", "cross", "ruled"):
        arrays = getattr(recorded, run)
        run = "bounded" if run == "ruled" else run
        for t in range(steps + 1):
            for quantity, name in names.items():
                if f"{t}/{name}" in arrays and update.site.kind != "slices":
                    found[f"{t}/{run}/{quantity}/0"] = arrays[f"{t}/{name}"]
            rate = arrays.get(f"{t}/fetched/{rate_of(update)}")
            if rate is not None:
                found[f"{t}/{run}/rate/0"] = rate
    return found


def rate_of(update: Update) -> str:
    """What the rate of an update is fetched as."""
    return "rate of " + update.name


def replayed(case: Case, record: SiteRecord) -> Findings:
    """Each step of stock, and the rate that the patched graph shows of it, against their balls."""
    found = Findings()
    for t in range(1, case.steps + 1):
        balls = record.balls(t)
        for run, names in (("stock", ("m", "v", "vhat", "w")), ("cross", ("rate",))):
            for quantity in names:
                observed = record.values(t, run, quantity + "/0")
                if quantity not in balls or observed is None:
                    continue
                ball = where_emitted(balls[quantity], observed) if quantity == "rate" else balls[quantity]
                where = {"run": run, "step": t, "variable": record.update.variable, "quantity": quantity}
                found.see(ball.excess(observed), ball, observed, **where)
        count(found, record.state(t - 1, "stock", 0)["w"], balls["w"], record.values(t, "stock", "w/0"))
    return found


def judge_graph(
    case: Case,
    recorded: Recorded,
    updates: list[Update],
    replays: Mapping[str, Replay],
    bounds: Mapping[str, Any],
    accuracies: Mapping[str, Accuracy],
    run: Run,
) -> Verdict:
    """The verdict on one run of a graph, which makes ``updates``. ``replays``: {update: how it is evaluated
    here}, ``bounds``: those of each update's rates where the case has no rule of the user's; both by the
    names of updates."""
    shown = Verdict(judging.PASS_BITWISE)
    elements = vacuous = 0
    records = {}
    for update in updates:
        accuracy = accuracies.get(update.dtype, Accuracy())
        record = SiteRecord(case, update, replays.get(update.name), recorded, accuracy)
        records[update.name] = record
        if record.replay is None:
            continue
        found = replayed(case, record)
        before, shown.error = shown.error, max(shown.error, found.error)
        elements, vacuous = elements + found.elements, vacuous + found.vacuous
        where = found.divergence
        alone = update.site.kind == "fused" and run.shared.isdisjoint(
            [update.variable, *record.replay.moments().values()]
        )
        if where is not None and where["run"] == "stock" and not alone:
            # what is written is more than the update: that it is compared with stock is all there is
            records[update.name] = SiteRecord(case, update, None, recorded, accuracy)
            shown.error, shown.reason = before, f"the write of {update.variable} is more than its update"
        elif found.divergence is not None:
            blame = judging.MODEL_INVALID if found.divergence["run"] == "stock" else judging.FAIL
            return replace_verdict(shown, blame, found.divergence)
    shown.vacuous = vacuous / max(elements, 1)
    for which in ("free", "cross"):
        divergence, ulps = differs(recorded, which, case.steps)
        shown.ulps = max(shown.ulps, ulps)
        if divergence is not None:
            return replace_verdict(shown, judging.FAIL, divergence)
    if not recorded.ruled:
        return shown
    own = {update.variable for update in updates if update.variable is not None} | run.followers
    exact = all(record.exact for record in records.values())
    idle = case.binds_nothing and exact
    if not exact:  # an approximate operation differs with its place: these are judged by their balls
        own |= {name for replay in replays.values() for name in replay.moments().values()}
    divergence, _ = differs(recorded, "ruled", case.steps, frozenset() if idle else frozenset(own))
    if divergence is not None:
        return replace_verdict(shown, judging.FAIL, divergence)
    if idle:
        return shown
    return _ruled(case, shown, updates, records, bounds, run.shared)


def _ruled(
    case: Case,
    shown: Verdict,
    updates: list[Update],
    records: Mapping[str, SiteRecord],
    bounds: Mapping[str, Any],
    shared: frozenset[str],
) -> Verdict:
    hits = 0
    shown.verdict = judging.PASS_BOUND
    for update in updates:
        record = records[update.name]
        reference: Any = record.replay
        if case.forms:
            if record.replay is None and any(map(asks_for_more, case.forms)):
                continue
            hit, divergence, error = ruled(record, reference)
        else:
            record.case = replace(record.case, bounds=bounds.get(update.name, case.bounds))
            hit, divergence, error = bounded(record, reference) if record.case.bounds else (0, None, 0.0)
            if record.replay is None and divergence is None and update.variable not in shared:
                found = by_share(record)
                error, divergence = found.error, found.divergence
        shown.error, hits = max(shown.error, error), hits + hit
        if divergence is not None:
            return replace_verdict(shown, judging.FAIL, divergence | {"variable": update.variable})
    if not hits and case.rule is not None:
        shown.reason = f"nothing reached the rule {case.rule}"
    elif not hits and not case.binds_nothing:
        shown.verdict, shown.reason = judging.INCONCLUSIVE, "no rate was out of bounds"
    return shown


def by_share(record: SiteRecord) -> Findings:
    """Clamped steps of an update that cannot be evaluated here: as many times stock's own step, which its
    variable shows, as the rate is stock's. Nothing is said where there is decay, which no rule scales."""
    found = Findings()
    separation = record.update.site.separation
    if separation is None or separation.decay is not None:
        return found
    unit = record.form.unit
    for t in range(1, record.case.steps + 1):
        names = (("stock", "w"), ("bounded", "w"), ("cross", "rate"), ("bounded", "rate"))
        free, after, raw, rate = (record.values(t, run, name + "/0") for run, name in names)
        before = record.values(t - 1, "stock", "w/0")
        if free is None or after is None or raw is None or rate is None or before is None:
            continue
        if raw.shape != free.shape:
            continue
        with np.errstate(all="ignore"):
            share = rate / raw
            step = share * (before - free)
            rad = unit * (share * np.abs(free) + np.abs(after) + 16 * np.abs(step)) + record.form.smallest
        ball = Ball(before - step, np.where(np.isfinite(rad), rad, np.inf), record.field)
        where = {"run": "bounded", "step": t, "variable": record.update.variable, "quantity": "w"}
        found.see(ball.excess(after), ball, after, **where)
    return found


def is_timed(form: Mapping[str, Any]) -> bool:
    """Whether a rule asks for the number of the update."""
    moving = any(isinstance(form.get(side), Mapping) for side in ("min", "max"))
    windowed = any(form.get(key) not in (None, 1) for key in ("start", "end"))
    return moving or windowed or form.get("convention") == "corrected"


def asks_for_more(form: Mapping[str, Any]) -> bool:
    """Whether a rule asks for more of an update than its rates."""
    relative = form.get("relative_to", "absolute") != "absolute"
    return form["quantity"] != "rate" or relative or is_timed(form)


def replace_verdict(shown: Verdict, verdict: str, divergence: dict[str, Any]) -> Verdict:
    """The same numbers under another verdict."""
    return replace(shown, verdict=verdict, divergence=divergence)
