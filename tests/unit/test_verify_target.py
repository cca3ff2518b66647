"""What the worker's process finds of adampatch, and what is added for versions that are not known."""

import ast
import subprocess
import sys
import textwrap

import pytest

from adampatch.verify.target import Target

#: Keras 3's Adam in a version that has not been released
UNKNOWN = """
    from keras.src import ops
    from keras.src.optimizers import optimizer


    class Adam(optimizer.Optimizer):
        def update_step(self, gradient, variable, learning_rate):
            lr = ops.cast(learning_rate, variable.dtype)
            gradient = ops.cast(gradient, variable.dtype)
            step = ops.cast(self.iterations + 1, variable.dtype)
            power_1 = ops.power(ops.cast(self.beta_1, variable.dtype), step)
            power_2 = ops.power(ops.cast(self.beta_2, variable.dtype), step)
            first = self._momentums[self._get_variable_index(variable)]
            second = self._velocities[self._get_variable_index(variable)]
            scale = lr * ops.sqrt(1 - power_2) / (1 - power_1)
            self.assign_add(first, (gradient - first) * (1 - self.beta_1))
            self.assign_add(second, (ops.square(gradient) - second) * (1 - self.beta_2))
            self.assign_sub(variable, first * scale / (ops.sqrt(second) + self.epsilon))
"""


def table_in(target):
    text = (target.folder / "adampatch" / "runtime" / "stock_table.py").read_text()
    return {node.targets[0].id: ast.literal_eval(node.value) for node in ast.parse(text).body[1:]}


@pytest.fixture
def target(tmp_path):
    return Target(tmp_path / "target")


def test_only_the_target_side_is_there(target):
    code = (
        "import adampatch, adampatch.runtime, adampatch.verify.worker, importlib.util as u, sys\n"
        "print(adampatch.__file__)\n"
        "tool = ('rewrite', 'analysis', 'cli', 'project')\n"
        "sys.exit(any(u.find_spec('adampatch.' + name) for name in tool))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(target.folder)},
        cwd=target.folder.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(target.folder))


def test_edits_of_a_version_that_is_not_known_are_added(target, tmp_path):
    file = tmp_path / "adam.py"
    file.write_text(textwrap.dedent(UNKNOWN))
    before = table_in(target)
    source = {"file": str(file), "module": "keras.src.optimizers.adam", "class": "Adam", "frame": True}
    assert target.learn([dict(source, digests=["x" * 64])])
    after = table_in(target)
    (new,) = after["EDITS"].keys() - before["EDITS"].keys()
    assert "scale / (ops.sqrt(second) + self.epsilon)" in str(after["EDITS"][new])
    assert "x" * 64 not in after["PLAIN"], "an optimizer is never taken for a frame"
    assert not target.learn([dict(source, digests=["x" * 64])]), "there is nothing new to learn"


def test_a_frame_that_has_no_update_is_remembered_and_one_that_cannot_be_told_is_not(target, tmp_path):
    file = tmp_path / "wrapper.py"
    file.write_text("class Wrapper:\n    def apply(self, gradients): return self.inner.apply(gradients)\n")
    source = {"file": str(file), "module": "keras.src.optimizers.wrapper", "class": "Wrapper"}
    assert not target.learn([dict(source, frame=False, digests=["a" * 64])])
    assert target.learn([dict(source, frame=True, digests=["b" * 64])])
    assert "b" * 64 in table_in(target)["PLAIN"] and "a" * 64 not in table_in(target)["PLAIN"]
