"""Every fork in tests/fixtures/forks, as text: what `apply` writes, that it is stable, and comes out again.

A case is a folder with `before.py` and `after.py`; its name says what has to happen: `refused_*` and
`alone_*` stay as they are (the former with a reason, the latter without a word), `partial_*` are patched as
far as they are followed, all others are patched.
"""

import ast
import re
from pathlib import Path

import pytest

from adampatch.project.apply import planned
from adampatch.project.scan import scan
from adampatch.rewrite.source import unpatched

FORKS = Path(__file__).resolve().parent.parent / "fixtures" / "forks"
CASES = sorted(path.parent.name for path in FORKS.glob("*/before.py"))

REFUSALS = {
    "refused_clipped_step": "AP206",
    "refused_ftml": "AP208",
    "refused_functional": "AP227",
    "refused_getupdates_stale": "AP213",
    "refused_laprop": "AP204",
    "refused_moment_moves_after": "AP213",
    "refused_no_parity": "AP201",
    "refused_novograd": "AP204",
    "refused_own_protocol": "AP228",
    "refused_stale_moments": "AP213",
    "refused_step_called_twice": "AP209",
    "refused_two_quotients": "AP207",
    "refused_v1_discarded_assign": "AP213",
    "refused_v2_adopt": "AP204",
    "refused_v2_clipped_update": "AP206",
    "refused_v2_ftml": "AP208",
    "refused_v2_kernel_descent": "AP210",
    "refused_v2_kernel_momentum": "AP204",
    "refused_v2_no_sign": "AP201",
    "refused_v2_novograd": "AP204",
    "refused_v2_rows_from_elsewhere": "AP208",
    "refused_v2_two_steps": "AP209",
}


def read(case, name):
    return (FORKS / case / name).read_bytes().decode()


def applied(text, folder):
    """(the text after one apply, the scan) of a file that stands alone in `folder`."""
    (folder / "optimizer.py").write_bytes(text.encode())
    result = scan([str(folder)])
    outcome = planned(result)
    changed = [c.after.decode() for c in outcome.changes]
    assert len(changed) <= 1
    return (changed[0] if changed else text), result


def cases(*prefixes):
    """The cases whose names start so."""
    return [case for case in CASES if not prefixes or case.startswith(prefixes)]


def test_there_is_something_to_collect():
    assert len(CASES) > 110
    assert {c for c in CASES if c.startswith("refused_")} == set(REFUSALS)


@pytest.mark.parametrize("case", cases())
def test_what_is_written(case, tmp_path):
    text, _ = applied(read(case, "before.py"), tmp_path)
    assert text == read(case, "after.py")


@pytest.mark.parametrize("case", CASES)
def test_before_and_after_hold_together(case):
    before, after = read(case, "before.py"), read(case, "after.py")
    ast.parse(before)
    ast.parse(after)
    assert unpatched(after) == before
    assert (before == after) == case.startswith(("refused_", "alone_"))


@pytest.mark.parametrize("case", CASES)
def test_a_second_run_changes_nothing(case, tmp_path):
    text, _ = applied(read(case, "before.py"), tmp_path)
    again, _ = applied(text, tmp_path)
    assert again == text


@pytest.mark.parametrize(
    "case",
    cases("keras3_", "keras2_", "v1_", "v2_", "sonnet_", "getupdates_", "subclass_", "uses_"),
)
def test_nothing_is_refused(case, tmp_path):
    _, result = applied(read(case, "before.py"), tmp_path)
    assert result.refused == 0
    passed_over = {c.name for f in result.files for c in f.classes if c.status == "not_adam"}
    assert passed_over <= {"DecoupledDecay", "Shrinking"}  # a mixin without an update of its own


@pytest.mark.parametrize("case", cases("keras2_", "v2_", "sonnet_", "getupdates_"))
def test_the_family_is_told(case, tmp_path):
    _, result = applied(read(case, "before.py"), tmp_path)
    families = {c.family for f in result.files for c in f.classes if c.status != "not_adam"}
    assert families == {case.split("_")[0].replace("getupdates", "get_updates")}


@pytest.mark.parametrize(
    "case, name", [("keras2_base_of_the_project", "DecayingAdam"), ("v2_base_of_the_project", "Belief")]
)
def test_what_updates_through_a_base_of_the_project_is_inherited(case, name, tmp_path):
    _, result = applied(read(case, "before.py"), tmp_path)
    statuses = {c.name: c.status for f in result.files for c in f.classes}
    assert statuses.pop(name) == "inherited"
    assert set(statuses.values()) == {"patchable"}


@pytest.mark.parametrize("case", cases("refused_"))
def test_a_refusal_says_why(case, tmp_path):
    _, result = applied(read(case, "before.py"), tmp_path)
    (report,) = [c for f in result.files for c in f.classes]
    assert report.status == "refused"
    assert report.reason.startswith(REFUSALS[case] + ": ")
    assert report.reason.endswith(")") and "(line " in report.reason


@pytest.mark.parametrize("case, code, line", [("partial_table_of_steps", "AP236", 34)])
def test_what_is_not_followed_is_told(case, code, line, tmp_path):
    _, result = applied(read(case, "before.py"), tmp_path)
    (report,) = [c for f in result.files for c in f.classes]
    assert report.status == "partial" and report.reason.startswith(f"{code}: ")
    assert [s.line for s in report.sites if s.status == "refused"] == [line]


@pytest.mark.parametrize("case", cases("alone_"))
def test_what_is_no_adam_is_passed_over_in_silence(case, tmp_path):
    _, result = applied(read(case, "before.py"), tmp_path)
    assert result.refused == 0 and not result.unreadable
    assert not any(f.uses for f in result.files)
    assert {c.status for f in result.files for c in f.classes} <= {"not_adam"}
    assert not any(c.reason or c.sites for f in result.files for c in f.classes)


BASE = """\
import tensorflow as tf
from tf_keras.optimizers.legacy import Optimizer

EPS = 1e-7


class AdamBase(Optimizer):
    def _moments(self, grad, var):
        m, v = self.get_slot(var, "m"), self.get_slot(var, "v")
        return m.assign(0.9 * m + 0.1 * grad), v.assign(0.99 * v + 0.01 * grad * grad)

    def _denominator(self, v_t):
        return tf.sqrt(v_t) + EPS

    def _write(self, var, m_t, v_t):
        lr = self._decayed_lr(var.dtype)
        return var.assign_sub(lr * m_t / self._denominator(v_t))

    def _resource_apply_dense(self, grad, var, apply_state=None):
        return self._both(grad, var)

    def _both(self, grad, var):
        m_t, v_t = self._moments(grad, var)
        return self._write(var, m_t, v_t)
"""
METHOD = "\n\nclass X(AdamBase):\n    def _resource_apply_{}:\n{}"
SUBCLASSES = {
    "its own step over the base's helpers": (
        "patchable",
        METHOD.format(
            "dense(self, grad, var, apply_state=None)",
            "        m_t, v_t = self._moments(grad, var)\n"
            "        return var.assign_sub(0.01 * m_t / self._denominator(v_t) + 0.01 * var)\n",
        ),
    ),
    "the base writes, also for rows": (
        "inherited",
        METHOD.format(
            "sparse(self, grad, var, indices, apply_state=None)",
            "        return self._both(tf.convert_to_tensor(tf.IndexedSlices(grad, indices)), var)\n",
        ),
    ),
    "the base's method comes to a step of its own": (
        "patchable",
        "\n\nclass X(AdamBase):\n    def _write(self, var, m_t, v_t):\n"
        "        return var.assign_sub(0.5 * m_t / tf.sqrt(v_t))\n",
    ),
}


@pytest.mark.parametrize("how", SUBCLASSES)
def test_a_base_in_another_file_is_followed(how, tmp_path):
    status, subclass = SUBCLASSES[how]
    (tmp_path / "shared.py").write_text(BASE)
    (tmp_path / "fork.py").write_text("import tensorflow as tf\nfrom shared import AdamBase\n" + subclass)
    result = scan([str(tmp_path)])
    statuses = {c.name: c.status for f in result.files for c in f.classes}
    assert statuses == {"AdamBase": "patchable", "X": status}
    assert result.refused == 0
    texts = [c.after.decode() for c in planned(result).changes]
    steps = [text for text in texts if "class X(" in text and "_adampatch.step(" in text]
    assert len(steps) == (status == "patchable")
    assert all(unpatched(text).endswith(subclass) for text in steps)


def test_a_helper_of_another_file_that_writes_for_this_class_alone_is_refused(tmp_path):
    helper = BASE[: BASE.index("    def _resource_apply_dense")] + BASE[BASE.index("    def _both") :]
    (tmp_path / "shared.py").write_text(helper)
    body = "        m_t, v_t = self._moments(grad, var)\n        return self._write(var, m_t, v_t)\n"
    (tmp_path / "fork.py").write_text(
        "from shared import AdamBase\n" + METHOD.format("dense(self, grad, var, apply_state=None)", body)
    )
    result = scan([str(tmp_path)])
    (report,) = [c for f in result.files for c in f.classes if c.name == "X"]
    assert (report.status, report.reason[:6]) == ("refused", "AP224:")
    assert not planned(result).changes


def test_a_step_that_a_subclass_gives_another_meaning_is_patched_for_neither(tmp_path):
    """One text cannot name the parts of both: under a rule one of the two would get the other's rate."""
    text, name = read("keras3_operators", "before.py"), "Base"
    written = "alpha * m / (ops.sqrt(v) + self.epsilon)"
    assert text.count(written) == 1 and text.count("class ") == 1
    text = re.sub(r"class \w+\(", f"class {name}(", text).replace(written, "self._step(m, v, alpha)")
    method = "    def _step(self, m, v, alpha):\n        return {}\n"
    (tmp_path / "shared.py").write_text(f"{text.rstrip()}\n\n{method.format(written)}")
    subclass = f"from shared import {name}\n\n\nclass X({name}):\n{method}"

    (tmp_path / "fork.py").write_text(subclass.format("alpha * m / (v + 1e-3)"))
    result = scan([str(tmp_path)])
    found = {c.name: (c.status, c.reason[:6]) for f in result.files for c in f.classes}
    assert found == {name: ("refused", "AP216:"), "X": ("refused", "AP216:")}
    assert not planned(result).changes

    (tmp_path / "fork.py").write_text(subclass.format(written))
    result = scan([str(tmp_path)])
    assert {c.name: c.status for f in result.files for c in f.classes} == {
        name: "patchable",
        "X": "inherited",
    }
