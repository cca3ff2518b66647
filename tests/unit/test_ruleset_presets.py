"""The presets: each loads, says what it is for, and does what its numbers are said to do."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from adampatch.ruleset import Rule, Rules, list_presets
from adampatch.ruleset import presets as presets_module
from adampatch.ruleset.bounds import value
from adampatch.runtime.matching import matches

DOCS = Path(__file__).parents[2] / "docs/rules.md"
BETA_1, BETA_2 = 0.9, 0.999


def only(preset: str) -> Rule:
    (rule,) = Rules.load(preset).rules
    return rule


def adam(gradients: Iterator[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The rate of Adam over the learning rate, and m, at each update; epsilon is 0."""
    m = v = np.zeros(())
    for t, g in enumerate(gradients, 1):
        m, v = BETA_1 * m + (1 - BETA_1) * g, BETA_2 * v + (1 - BETA_2) * g * g
        yield math.sqrt(1 - BETA_2**t) / (1 - BETA_1**t) / np.sqrt(v), m


@pytest.mark.parametrize("preset", list_presets(), ids=lambda preset: preset.name)
def test_presets_load_and_say_what_they_are_for(preset: presets_module.Preset) -> None:
    rules = Rules.load(preset.name)
    assert rules.rules
    assert all(rule.id.startswith(preset.name) for rule in rules.rules)
    assert rules.observe.emit == "stats"
    assert preset.summary.endswith(".")
    assert "# Why " in preset.text()
    assert f"| `{preset.name}` |" in DOCS.read_text()


def test_presets() -> None:
    names = "adabound ceiling embeddings floor shadow slew stable-adamw warmup-guard"
    assert [preset.name for preset in list_presets()] == names.split()
    assert (only("ceiling").max, only("floor").min) == (1.0, 1e-4)


def test_adabound_is_that_of_the_paper() -> None:
    rule = only("adabound")
    assert rule.min is not None
    assert rule.max is not None
    for t in (1, 2, 1000, 10_000, 10**6):
        assert value(rule.min, t) == 0.1 * (1 - 1 / (1e-3 * t + 1))
        assert value(rule.max, t) == 0.1 * (1 + 1 / (1e-3 * t))
    assert (rule.quantity, rule.relative_to, rule.convention) == ("rate", "lr/lr0", "raw")


def test_slew_is_between_what_stock_does_at_most_and_standing_still() -> None:
    factor = only("slew").max_increase
    assert factor is not None
    assert round(math.log(2) / math.log(factor)) == 3466
    assert round(math.log(2) / math.log(BETA_2**-0.5)) == 1386
    assert round(factor**10_000, 1) == 7.4
    assert round(BETA_2 ** (-10_000 / 2)) == 149
    t = np.arange(1, 20_001)
    alpha = np.sqrt(1 - BETA_2**t) / (1 - BETA_1**t)
    rise = alpha[1:] / alpha[:-1] / math.sqrt(BETA_2)
    assert (round(float(rise.max()), 3), int(rise.argmax()) + 2) == (1.012, 29)
    assert int(np.nonzero(rise > 1.001)[0][-1]) + 2 == 694
    assert int(np.nonzero(rise > 1.0006)[0][-1]) + 2 < 2000
    assert np.all(rise > factor, where=t[1:] > 28)


def test_slew_lets_the_rates_of_steady_gradients_be_and_holds_those_that_rise() -> None:
    factor = only("slew").max_increase
    assert factor is not None
    random = np.random.default_rng(0)
    updates, size = 20_000, 400
    for smallest, at_10000, at_end in ((1.0, 1.0, 1.0), (0.1, 0.86, 1.0)):
        scales = (max(smallest, smallest ** (t / 10_000)) for t in range(1, updates + 1))
        applied, bound, ratios = None, [], {}
        for t, (rate, _) in enumerate(adam(random.normal(size=size) * scale for scale in scales), 1):
            applied = rate if applied is None else np.minimum(rate, applied * factor)
            bound.append(np.mean(applied < rate))
            ratios[t] = float(np.median(applied / rate))
        assert ratios[10_000] == pytest.approx(at_10000, abs=0.03)
        assert ratios[20_000] == pytest.approx(at_end, abs=2e-3)
        if smallest == 1.0:
            assert np.mean(bound[10_000:]) == pytest.approx(0.74, abs=0.03)


def test_warmup_guard_is_a_straight_line_that_lets_go() -> None:
    rule = only("warmup-guard")
    assert rule.max is not None
    assert (rule.quantity, rule.relative_to, rule.end) == ("update_rms", "lr", 2000)
    assert [value(rule.max, t) for t in range(1, 2001)] == pytest.approx([t / 2000 for t in range(1, 2001)])
    random = np.random.default_rng(0)
    for mean, last in ((0.0, 460), (1.0, 1450)):
        steps = adam(mean + random.normal(size=2000) for _ in range(2000))
        sizes = [float(np.sqrt(np.mean((rate * m) ** 2))) for rate, m in steps]
        assert sizes[0] == pytest.approx(1.0)  # the whole learning rate
        binds = [t for t, size in enumerate(sizes, 1) if size > value(rule.max, t)]
        assert binds[-1] == pytest.approx(last, abs=30)
        if mean == 0.0:
            assert np.mean(sizes[1000:]) == pytest.approx(0.23, abs=0.01)


def test_stable_adamw_acts_a_little_on_steady_gradients_and_fully_on_a_spike() -> None:
    rule = only("stable-adamw")
    assert (rule.quantity, rule.max, rule.relative_to) == ("rms_t", 1.0, "absolute")
    random = np.random.default_rng(0)
    gradients = [random.normal(size=500) for _ in range(3000)]
    gradients[-1] = gradients[-1] * 20
    sizes, v = [], np.zeros(())
    for t, g in enumerate(gradients, 1):
        v = BETA_2 * v + (1 - BETA_2) * g * g
        sizes.append(float(np.sqrt(np.mean(g * g / (v / (1 - BETA_2**t))))))
    assert max(sizes[:-1]) < 1.15
    assert np.mean(np.array(sizes[1000:-1]) > 1.0) == pytest.approx(0.5, abs=0.15)
    assert sizes[-1] > 10


def test_embeddings_are_found_by_the_names_that_keras_gives() -> None:
    rule = only("embeddings")
    names = ["model/embedding/embeddings", "bert/TokenEmbedding_1/weight", "wpe/position_embeddings"]
    assert all(any(matches(pattern, name) for pattern in rule.match) for name in names)
    assert not any(matches(pattern, "dense/kernel") for pattern in rule.match)
    # A row that wakes after a long sleep, g = 1: 3 lr at once, and about 30 lr in all while m fades.
    k = np.arange(200)
    moves = (1 - BETA_1) * BETA_1**k / np.sqrt((1 - BETA_2) * BETA_2**k)
    assert (round(float(moves[0]), 1), round(float(moves.sum()))) == (3.2, 32)


def test_shadow_only_counts() -> None:
    rules = Rules.load("shadow").rules
    assert [(rule.mode, rule.max) for rule in rules] == [("shadow", 1.0), ("shadow", 0.1), ("shadow", 10.0)]
    assert rules[0].normal_form()["mode"] == "shadow"


def test_presets_of_an_installed_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site-packages/adampatch"
    (package / "presets").mkdir(parents=True)
    (package / "presets/mine.toml").write_text("# Mine.\nversion = 1\n")
    monkeypatch.setattr(presets_module, "__file__", str(package / "ruleset/presets.py"))
    assert [(preset.name, preset.summary) for preset in list_presets()] == [("mine", "Mine.")]
