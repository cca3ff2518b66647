"""Modules rewritten as they are imported: what is read for all of a project."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from adampatch.analysis.module import Module
from adampatch.project import importing

FORK = """import tensorflow as tf
from pkg import {others}
class Adam{number}(tf.compat.v1.train.Optimizer):
    def _apply_dense(self, grad, var):
        m = self.get_slot(var, "m")
        v = self.get_slot(var, "v")
        m_t = m.assign(self.beta1 * m + (1 - self.beta1) * grad)
        v_t = v.assign(self.beta2 * v + (1 - self.beta2) * grad * grad)
        return var.assign_sub(self.lr * m_t / (tf.sqrt(v_t) + self.epsilon))
"""


@pytest.fixture
def package(tmp_path: Path) -> list[Path]:
    """Modules with an optimizer each that all import one another."""
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "__init__.py").write_text("")
    files = [tmp_path / "pkg" / f"adam{number}.py" for number in range(6)]
    for number, file in enumerate(files):
        others = ", ".join(other.stem for other in files if other != file)
        file.write_text(FORK.format(others=others, number=number))
    return files


def test_a_package_is_read_once_for_all_of_its_modules(
    package: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: Counter[str] = Counter()
    parse = Module.parse

    def counted(text: str, path: str, *arguments: Any) -> Module:
        read[Path(path).name] += "class Adam" in text  # and not one of its expressions
        return parse(text, path, *arguments)

    monkeypatch.setattr(Module, "parse", counted)
    rewriter = importing.Rewriter([str(package[0].parents[1])])
    for file in package:
        assert rewriter.rewritten(str(file)) is not None
    assert rewriter.patched == {str(file): 1 for file in package}
    assert not rewriter.refused and not rewriter.failed
    # to be asked for, for its imports, and looked into
    assert max(read.values()) <= 3


def test_a_module_that_has_changed_is_looked_into_as_it_is_now(package: list[Path]) -> None:
    rewriter = importing.Rewriter([str(package[0].parents[1])])
    assert rewriter.rewritten(str(package[0])) is not None
    package[1].write_text(package[1].read_text().replace("self.lr", "self.rate"))
    found = rewriter.rewritten(str(package[1]))
    assert found is not None and "self.rate" in found.text and "self.lr" not in found.text
