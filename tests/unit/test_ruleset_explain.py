"""What rules say of themselves: per rule in words, and per variable in a table."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

import adampatch
from adampatch.errors import AdampatchError
from adampatch.ruleset import Rules
from adampatch.ruleset.wording import meaning

RULES = """
version = 1
[[rule]]
id = "ceiling"
exclude = ["**/bias"]
quantity = "rate"
max = 1.0
[[rule]]
id = "closing"
match = ["dense/*"]
quantity = "rate"
min = { kind = "adabound", final = 0.1, gamma = 1e-3 }
max = { kind = "adabound", final = 0.1, gamma = 1e-3 }
relative_to = "lr/lr0"
accept_unbounded_step = true
max_increase = 1.5
[[rule]]
id = "early"
match = ["dense/*"]
quantity = "update_rms"
max = { kind = "linear", from = 1, to = 0, end = 11 }
mode = "shadow"
start = 6
end = 300
"""

TABLE = """\
variable             rule            quantity    when                 bounds
dense/kernel         ceiling         rate        always               at most 1
                     closing         rate        always               \
9.99e-05 to 100.1 at 1; 0.009091 to 1.1 at 100; 0.09091 to 0.11 at 10000; times lr/lr0; \
rises by a factor of 1.5 per update at most
                     early (shadow)  update_rms  at updates 6 to 300  \
at most 0.5 at 6; at most 0 at 100; at most 0 at 300
dense/bias           closing         rate        always               \
9.99e-05 to 100.1 at 1; 0.009091 to 1.1 at 100; 0.09091 to 0.11 at 10000; times lr/lr0; \
rises by a factor of 1.5 per update at most
                     early (shadow)  update_rms  at updates 6 to 300  \
at most 0.5 at 6; at most 0 at 100; at most 0 at 300
encoder/norm/bias    -                                                no rule
"""


def rules(tmp_path: Path, text: str = RULES) -> Rules:
    path = tmp_path / "rules.toml"
    path.write_text(text)
    return Rules.load(path)


def one(tmp_path: Path, *fields: str) -> Rules:
    return rules(tmp_path, "\n".join(("version = 1", "[[rule]]", 'id = "a"', *fields)))


def test_the_table_is_printed_and_given_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = rules(tmp_path).explain(["dense/kernel", "dense/bias", "encoder/norm/bias"])
    printed = capsys.readouterr().out
    assert printed == f"{found}\n"
    assert [" ".join(line.split()) for line in printed.splitlines()] == [
        " ".join(line.split()) for line in TABLE.splitlines()
    ]
    columns = {
        line.index(word) for line in printed.splitlines() for word in ("ceiling ", "closing ") if word in line
    }
    assert len(columns) == 1
    assert [(row.variable, row.rule.id) for row in found.rows] == [
        ("dense/kernel", "ceiling"),
        ("dense/kernel", "closing"),
        ("dense/kernel", "early"),
        ("dense/bias", "closing"),
        ("dense/bias", "early"),
    ]
    assert found.rows[2].bounds == ((6, None, 0.5), (100, None, 0.0), (300, None, 0.0))
    assert repr(found) == "<Explanation: 5 bounds on 3 variables>"


def test_patterns_that_match_nothing_are_named_with_the_five_nearest(tmp_path: Path) -> None:
    names = [f"block_{i}/dense/kernel" for i in range(9)]
    found = one(tmp_path, 'quantity = "rate"', "max = 1.0", 'match = ["blok_7/**", "**/kernel"]').explain(
        names
    )
    (missed,) = found.unmatched
    assert (missed.rule, missed.pattern, missed.nearest[0], len(missed.nearest)) == (
        "a",
        "blok_7/**",
        "block_7/dense/kernel",
        5,
    )
    assert str(found).endswith(
        "rule \"a\": 'blok_7/**' matches no variable, and training would not start; the nearest are "
        + ", ".join(missed.nearest)
    )


class Optimizer:
    """What an optimizer looks like: no framework is needed to tell."""

    def __init__(self, inner: object = None) -> None:
        self.inner_optimizer = inner

    def apply_gradients(self, pairs: object) -> None: ...


class Adam(Optimizer): ...


@pytest.mark.parametrize(
    ("given", "paths", "optimizer"),
    [
        ("a/b", ["a/b"], None),
        (["a", SimpleNamespace(path="b/c", name="c"), SimpleNamespace(name="d:0")], ["a", "b/c", "d"], None),
        ((name for name in ("a", "b")), ["a", "b"], None),
        (SimpleNamespace(trainable_variables=("a",), trainable_weights=["z"]), ["a"], None),
        (SimpleNamespace(trainable_weights=["a"], optimizer="adam"), ["a"], None),
        (SimpleNamespace(trainable_variables=["a"], optimizer=Adam()), ["a"], "Adam"),
        (SimpleNamespace(trainable_variables=["a"], optimizer=Optimizer(Adam())), ["a"], "Adam"),
        (SimpleNamespace(name="w:0", assign=None), ["w"], None),
    ],
)
def test_what_can_be_explained(
    given: object, paths: list[str], optimizer: str | None, tmp_path: Path
) -> None:
    found = one(tmp_path, 'quantity = "rate"', "max = 1.0").explain(given)
    assert (list(found.variables), found.optimizer) == (paths, optimizer)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "the list has no trainable variables yet; build it, or pass a list of paths"),
        (SimpleNamespace(trainable_variables=[]), "SimpleNamespace has no trainable variables yet; "),
        (
            3,
            "int does not say its variables; pass a model that is built, or a list of variables or of their "
            "paths",
        ),
        (Adam(), "Adam does not say its variables; "),
        ([1], "the list does not say its variables; "),
    ],
)
def test_what_cannot_be_explained(given: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(AdampatchError) as caught:
        one(tmp_path, 'quantity = "rate"', "max = 1.0").explain(given)
    assert str(caught.value).startswith(f"explain: {message}")


def test_rules_for_other_optimizers_are_left_out_once_the_optimizer_is_known(tmp_path: Path) -> None:
    loaded = one(tmp_path, 'quantity = "rate"', "max = 1.0", 'optimizer = "Nadam"', 'match = ["x"]')
    model = SimpleNamespace(trainable_variables=["x", "y"], optimizer=Adam())
    assert [row.variable for row in loaded.explain(["x", "y"]).rows] == ["x"]
    found = loaded.explain(model)
    assert (found.rows, found.unmatched) == ((), ())
    assert "no rule" in str(found)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (['quantity = "rate"', "max = 1"], "the rate of each element is at most 1; all variables"),
        (
            ['quantity = "alpha"', "min = 0.1", "max = 2", 'relative_to = "lr"', "start = 5"],
            "alpha is at least 0.1, and at most 2, times the learning rate; from update 5; all variables",
        ),
        (
            ['quantity = "rate"', "max = 3", 'relative_to = "lr0"', "lr0 = 1e-3", 'mode = "shadow"'],
            "counts only: the rate of each element is at most 3, times the learning rate at the start "
            "(0.001); all variables",
        ),
        (
            ['quantity = "rate"', "max_increase = 1.0002", "max_decrease = 2", "allow_slow_fall = true"],
            "the rate of each element rises by a factor of 1.0002 per update at most; "
            "falls by a factor of 2 per update at most; all variables",
        ),
        (
            [
                'quantity = "rate"',
                "max = 1",
                'convention = "corrected"',
                'match = ["a", "b/*"]',
                'exclude = ["c"]',
            ],
            "the rate of each element is at most 1, as what multiplies m/(1 - beta_1^t); variables a or b/*, "
            "but not c",
        ),
        (
            [
                'quantity = "update_rms"',
                'max = { kind = "piecewise", boundaries = [9], values = [1, 0.5] }',
                "end = 99",
                'optimizer = "Adam*"',
            ],
            "the root mean square of each variable's update is at most 1 up to update 9, 0.5 after; "
            "up to update 99; all variables, of optimizers Adam*",
        ),
        (
            ['quantity = "update"', 'max = { kind = "exp", from = 1, to = 0.5, end = 9 }'],
            "the size of each element's update is at most 1, falling to 0.5 on a logarithmic scale between "
            "updates 1 and 9; all variables",
        ),
    ],
)
def test_meanings(fields: list[str], words: str, tmp_path: Path) -> None:
    (rule,) = one(tmp_path, *fields).rules
    assert meaning(rule) == words


@pytest.mark.tensorflow
def test_models_of_both_keras_as_they_are(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    tf_keras = pytest.importorskip("tf_keras")
    loaded = one(tmp_path, 'quantity = "rate"', "max = 1.0", 'match = ["**/kernel"]', 'optimizer = "Adam"')
    for module, prefix in ((keras, "net/"), (tf_keras, "")):
        layers = [
            module.layers.Input((3,)),
            module.layers.Dense(2, name="one"),
            module.layers.Dense(1, name="two"),
        ]
        model = module.Sequential(layers, name="net")
        model.compile(adampatch.patched(module.optimizers.Adam)(1e-3))
        found = loaded.explain(model)
        assert found.variables == tuple(
            f"{prefix}{layer}/{name}" for layer in ("one", "two") for name in ("kernel", "bias")
        )
        assert [row.variable for row in found.rows] == [f"{prefix}one/kernel", f"{prefix}two/kernel"]
        assert (found.optimizer, found.unmatched) == ("Adam", ())
    optimizer = keras.optimizers.Adam()
    optimizer.build(
        keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2, name="d")]).trainable_variables
    )
    assert loaded.explain(optimizer).optimizer == "Adam"
    assert [row.variable.rsplit("/", 1)[1] for row in loaded.explain(optimizer).rows] == ["kernel"]
