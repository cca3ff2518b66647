"""What the interpretation does not come to is told, with a line; what is no part of the update is not."""

import pytest

from adampatch.project.scan import scan

HEAD = """\
import functools
import keras
import tensorflow as tf
from keras import ops
from tensorflow.python.ops import state_ops
from tensorflow.python.training import adam, training_ops
from elsewhere import adam_step, wrap
"""
KERAS = """

class A(keras.optimizers.Optimizer):
    def update_step(self, gradient, variable, learning_rate):
        i = self._get_variable_index(variable)
        m, v = self._m[i], self._v[i]
        self.assign_add(m, (gradient - m) * 0.1)
        self.assign_add(v, (ops.square(gradient) - v) * 0.01)
"""
STEP = "        self.assign_sub(variable, learning_rate * m / (ops.sqrt(v) + 1e-7))\n"
V1 = """

class A(tf.compat.v1.train.AdamOptimizer):
"""
KERNEL = "training_ops.resource_apply_adam(v.handle, m.handle, n.handle, a, b, c, d, e, f, g)"
UPDATE = """\
        m, v = self.get_slot(var, "m"), self.get_slot(var, "v")
        m_t = state_ops.assign(m, 0.9 * m + 0.1 * grad)
        v_t = state_ops.assign(v, 0.99 * v + 0.01 * grad * grad)
        return state_ops.assign_sub(var, self._lr_t * m_t / (tf.sqrt(v_t) + 1e-8))
"""

#: what is not followed -> (code, status of the class); `# here` marks the line that is named
TOLD = {
    "a loop of TensorFlow calls the function that writes": (
        KERAS
        + "        if self.slow:\n            def body(k):\n"
        + "                self.assign_sub(variable, m)  # here\n                return k + 1\n"
        + "            tf.while_loop(lambda k: k < 3, body, [0])\n        else:\n    "
        + STEP,
        "AP237",
        "partial",
    ),
    "a fused kernel in a method that nothing calls": (
        f"{KERAS}{STEP}\n    def _other(self, m, n, v, a, b, c, d, e, f, g):\n        {KERNEL}  # here\n",
        "AP237",
        "partial",
    ),
    "the method is wrapped by a decorator that may do anything": (
        KERAS + "        self._go(variable, learning_rate * m / (ops.sqrt(v) + 1e-7))\n\n    @wrap\n"
        "    def _go(self, w, step):\n        self.assign_sub(w, step)  # here\n\n"
        "    def _sparse(self, m, v, variable, learning_rate):\n" + STEP + "\n"
        "    def apply_gradients(self, pairs):\n        for gradient, variable in pairs:\n"
        "            m, v = self._m[0], self._v[0]\n"
        "            m.assign_add((gradient - m) * 0.1)\n"
        "            v.assign_add((gradient * gradient - v) * 0.01)\n"
        "            variable.assign_sub(0.1 * m / (ops.sqrt(v) + 1e-7))\n",
        "AP237",
        "partial",
    ),
    "a function of another package is given variable and moments": (
        f"{KERAS}        if self.fast:\n            adam_step(variable, m, v)  # here\n"
        f"        else:\n    {STEP}",
        "AP236",
        "partial",
    ),
    "what it is given is in a partial": (
        f"{KERAS}        if self.fast:\n            wrap(functools.partial(self._x, variable), m)  # here\n"
        f"        else:\n    {STEP}",
        "AP236",
        "partial",
    ),
    "nothing but a function of another package": (
        f"{KERAS}        adam_step(variable, m, v)  # here\n",
        "AP236",
        "refused",
    ),
    "a base of another package has the method": (
        "\n\nclass A(wrap.Optimizer):\n    def _resource_apply_dense(self, grad, var, apply_state=None):\n"
        + UPDATE
        + "\n    def _resource_apply_sparse(self, grad, var, indices, apply_state=None):\n"
        "        return self._rows(grad, var, indices)  # here\n",
        "AP236",
        "partial",
    ),
    "a training kernel that is no Adam's": (
        f"{V1}    def _resource_apply_dense(self, grad, var):\n"
        "        return training_ops.resource_apply_ftrl(var.handle, a, b, grad, lr, 0, 0, -1)  # here\n",
        "AP236",
        "partial",
    ),
    "a method that looks like an update and that no update method names": (
        V1 + "    def _rows(self, grad, var):\n" + UPDATE.replace("1e-8))", "1e-8))  # here"),
        "AP237",
        "partial",
    ),
    "a kernel in a class that is no optimizer": (
        f"\n\nclass A:\n    def go(self, m, n, v, a, b, c, d, e, f, g):\n        {KERNEL}  # here\n",
        "AP237",
        "refused",
    ),
}


def report(text, folder):
    (folder / "optimizer.py").write_text(text)
    return {c.name: c for f in scan([str(folder)]).files for c in f.classes}.get("A")


@pytest.mark.parametrize("how", TOLD)
def test_what_is_not_followed_is_a_refused_site(how, tmp_path):
    body, code, status = TOLD[how]
    text = HEAD + body
    found = report(text, tmp_path)
    (line,) = [number for number, written in enumerate(text.splitlines(), 1) if "# here" in written]
    assert found.status == status
    assert found.reason.startswith(code + ": ") and found.reason.endswith(f"(line {line})")
    assert [s.line for s in found.sites if s.status == "refused"] == [line]


#: what stands beside a step that is followed, and is not part of the update
BESIDE = {
    "a branch that cannot be taken": "        if gradient is None:\n"
    "            self.assign_sub(variable, m)\n",
    "after a return": "        return\n        self.assign_sub(variable, m)\n",
    "averages of the weights": "\n    def average(self, variable, slow):\n"
    "        slow.assign_add((variable - slow) * 0.1)\n        variable.assign(slow)\n",
    "the step counter": "\n    def _finish(self, counter):\n        counter.assign_add(1)\n",
    "a dictionary": "\n    def get_config(self, config):\n"
    "        config.update(a=1)\n        return config\n",
    "norms and shapes": "        ops.norm(variable - m)\n        ops.reshape(m, variable.shape)\n",
    "what the base has": "        self._clip_gradients([gradient], variable)\n",
    "a message": "        print(variable, m)\n",
    "its own way to add to rows": "\n    def _resource_scatter_add(self, x, i, v):\n"
    "        state_ops.scatter_add(x, i, v)\n",
}


@pytest.mark.parametrize("what", BESIDE)
def test_what_is_no_part_of_the_update_is_passed_over(what, tmp_path):
    found = report(HEAD + KERAS + STEP + BESIDE[what], tmp_path)
    assert (found.status, found.reason) == ("patchable", None)


STARS = {
    "passed on": "        return self._go(*args, **kwargs)\n",
    "taken apart": "        grad, var = args\n        return self._go(grad, var)\n",
    "by position": "        return self._go(var=args[1], grad=args[0])\n",
}


@pytest.mark.parametrize("how", STARS)
def test_gradient_and_variable_behind_a_star(how, tmp_path):
    methods = f"    def _resource_apply_dense(self, *args, **kwargs):\n{STARS[how]}"
    helper = f"\n    def _go(self, grad, var, apply_state=None):\n{UPDATE}"
    found = report(f"{HEAD}\n\nclass A(tf.compat.v1.train.AdamOptimizer):\n{methods}{helper}", tmp_path)
    assert (found.status, found.reason, len(found.sites)) == ("patchable", None, 1)


#: methods over which a stock class's own update goes on -> the names of the sites
CALLED = {
    "by the stock class": ("", {"_apply_sparse_shared"}),
    "by the stock class, through what overrides it": (
        "\n    def _apply_sparse(self, grad, var):\n        return super()._apply_sparse(grad, var)\n"
        "\n    def _resource_apply_sparse(self, grad, var, indices):\n"
        "        return super()._resource_apply_sparse(grad, var, indices)\n",
        {"_apply_sparse_shared"},
    ),
    "by the class itself": (
        "\n    def _apply_sparse(self, grad, var):\n"
        "        return self._apply_sparse_shared(grad.values, var, grad.indices, state_ops.scatter_add)\n"
        "\n    def _resource_apply_sparse(self, grad, var, indices):\n"
        "        return self._apply_sparse_shared(grad, var, indices, self._resource_scatter_add)\n",
        {"_apply_sparse"},
    ),
}
SHARED = """\
    def _apply_sparse_shared(self, grad, var, indices, scatter_add):
        m, v = self.get_slot(var, "m"), self.get_slot(var, "v")
        m_t = scatter_add(m, indices, 0.1 * (grad - tf.gather(m, indices)))
        v_t = scatter_add(v, indices, 0.01 * (grad * grad - tf.gather(v, indices)))
        m_rows, v_rows = tf.gather(m_t, indices), tf.gather(v_t, indices)
        return scatter_add(var, indices, -self._lr_t * m_rows / tf.sqrt(v_rows))
"""


@pytest.mark.parametrize("how", CALLED)
@pytest.mark.parametrize("base", ["tf.compat.v1.train.AdamOptimizer", "adam.AdamOptimizer"])
def test_what_stock_classes_call_is_an_update_method(how, base, tmp_path):
    methods, sites = CALLED[how]
    found = report(f"{HEAD}\n\nclass A({base}):\n{SHARED}{methods}", tmp_path)
    assert (found.status, found.reason) == ("patchable", None)
    assert {s.method for s in found.sites} == sites
    assert len(found.wrapped_bases) == 1


@pytest.mark.parametrize(
    "imported, base",
    [
        ("import tensorflow as tf", "tf.contrib.opt.{}"),
        ("from tensorflow.contrib import opt", "opt.{}"),
        ("from tensorflow.contrib.opt.python.training import {0}", "{0}.{1}"),
        ("from tensorflow_core.contrib.opt.python.training.{0} import {1}", "{1}"),
    ],
)
@pytest.mark.parametrize(
    "file, name",
    [
        ("adam_gs_optimizer", "AdamGSOptimizer"),
        ("lazy_adam_gs_optimizer", "LazyAdamGSOptimizer"),
        ("lazy_adam_optimizer", "LazyAdamOptimizer"),
        ("nadam_optimizer", "NadamOptimizer"),
        ("weight_decay_optimizers", "AdamWOptimizer"),
    ],
)
def test_contribs_classes_are_stock_in_every_spelling(imported, base, file, name, tmp_path):
    spelled = base.format(name) if base.count("{") == 1 and "{}" in base else base.format(file, name)
    text = f"{imported.format(file, name)}\n\n\nclass A({spelled}):  # Adam\n    pass\n"
    found = report(text, tmp_path)
    assert (found.status, found.family) == ("inherited", "v1")
    assert len(found.wrapped_bases) == 1
