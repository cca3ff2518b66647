"""What is found in optimizers with `get_updates`: through which imports, under which signatures, and what is
left alone.
"""

import pytest

from adampatch.project.apply import planned
from adampatch.project.scan import scan

ADAM = """\
{imports}


class GraphAdam({base}):
    def get_updates({signature}):
        grads = self.get_gradients(loss, params)
        ms = [K.zeros(K.int_shape(p)) for p in params]
        vs = [K.zeros(K.int_shape(p)) for p in params]
        self.updates = [K.update_add(self.iterations, 1)]
        for p, g, m, v in zip(params, grads, ms, vs):
            m_t = 0.9 * m + 0.1 * g
            v_t = 0.99 * v + 0.01 * K.square(g)
{update}
        return self.updates
"""
UPDATE = """\
            self.updates.append(K.update(m, m_t))
            self.updates.append(K.update(v, v_t))
            p_t = p - self.lr * m_t / (K.sqrt(v_t) + 1e-7)
            self.updates.append(K.update(p, p_t))"""
IMPORTS = "from keras import backend as K\nfrom keras.optimizers import Optimizer"


def adam(imports=IMPORTS, base="Optimizer", signature="self, loss, params", update=UPDATE):
    return ADAM.format(imports=imports, base=base, signature=signature, update=update)


def scanned(folder, **files):
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return scan([str(folder)])


def outcomes(result):
    return {c.name: (c.family, c.status) for f in result.files for c in f.classes}


FOUND = {"GraphAdam": ("get_updates", "patchable")}


@pytest.mark.parametrize(
    "imports",
    [
        IMPORTS,
        "import keras\nfrom keras import backend as K\nOptimizer = keras.optimizers.Optimizer",
        "import tensorflow as tf\nfrom tensorflow.keras.optimizers import Optimizer\nK = tf.keras.backend",
        "from tensorflow.python.keras import backend as K\n"
        "from tensorflow.python.keras.optimizers import Optimizer\nfrom six.moves import zip",
        "import tensorflow.compat.v1.keras.backend as K\n"
        "from tf_keras.src.optimizers.optimizer_v1 import Optimizer",
    ],
)
def test_the_backend_is_known_by_its_imports(imports, tmp_path):
    assert outcomes(scanned(tmp_path, fork=adam(imports))) == FOUND


@pytest.mark.parametrize(
    "signature", ["self, loss, params", "self, params, loss", "self, params, constraints, loss"]
)
def test_the_order_of_the_arguments_is_free(signature, tmp_path):
    assert outcomes(scanned(tmp_path, fork=adam(signature=signature))) == FOUND


COMPAT = """\
import os

if os.environ.get("TF_KERAS"):
    from tensorflow import keras
else:
    import keras

backend = keras.backend
optimizers = keras.optimizers
"""


def test_a_backend_is_followed_through_a_module_of_the_project(tmp_path):
    imports = "from .compat import keras\nfrom .compat import backend as K"
    fork = adam(imports, base="keras.optimizers.Optimizer")
    result = scanned(tmp_path, pkg__compat=COMPAT, pkg__fork=fork, pkg____init__="")
    assert outcomes(result) == FOUND
    (change,) = planned(result).changes
    assert "rate=lambda: self.lr / (K.sqrt(v_t) + 1e-07)" in change.after.decode()


def test_a_stock_base_is_wrapped_through_a_module_of_the_project(tmp_path):
    fork = "from .compat import optimizers\n\n\nclass Ours(optimizers.Adam):\n    pass\n"
    result = scanned(tmp_path, pkg__compat=COMPAT, pkg__fork=fork, pkg____init__="")
    assert {name: status for name, (_, status) in outcomes(result).items()} == {"Ours": "inherited"}
    (change,) = planned(result).changes
    assert "class Ours(_adampatch.patched(optimizers.Adam)):" in change.after.decode()


def test_a_module_that_binds_a_name_in_two_ways_is_not_trusted(tmp_path):
    compat = COMPAT + "\n\ndef backend():\n    pass\n"
    imports = "from .compat import keras\nfrom .compat import backend as K"
    fork = adam(imports, base="keras.optimizers.Optimizer")
    result = scanned(tmp_path, pkg__compat=compat, pkg__fork=fork, pkg____init__="")
    assert outcomes(result) == {"GraphAdam": ("get_updates", "refused")}


@pytest.mark.parametrize(
    "module", ["tensorflow.python.keras.optimizer_v1", "tf_keras.src.optimizers.optimizer_v1"]
)
def test_stock_classes_of_the_family_are_bases_and_uses(module, tmp_path):
    text = f"from {module} import Adam\n\n\nclass Ours(Adam):\n    pass\n\n\nmade = Adam(0.01)\n"
    result = scanned(tmp_path, fork=text)
    assert outcomes(result) == {"Ours": ("get_updates", "inherited")}
    assert [u.status for f in result.files for u in f.uses] == ["patchable"]


WRITES = {
    "pairs": """\
            self.updates += [(m, m_t), (v, v_t)]
            self.updates.append((p, p - self.lr * m_t / (K.sqrt(v_t) + 1e-7)))""",
    "a step that is taken off": """\
            self.updates.extend([K.update(m, m_t), K.update(v, v_t)])
            self.updates.append(K.update_sub(p, self.lr * m_t / (K.sqrt(v_t) + 1e-7)))""",
    "a constraint in one expression": """\
            self.updates += [K.update(m, m_t), K.update(v, v_t)]
            new_p = p - self.lr * m_t / (K.sqrt(v_t) + 1e-7)
            self.updates.append(K.update(p, p.constraint(new_p) if p.constraint is not None else new_p))""",
    "a number that is 0 or 1 chooses": """\
            due = K.cast(K.equal(self.iterations % 2, 0), "float32")
            p_t = p - self.lr * m_t / (K.sqrt(v_t) + 1e-7)
            if p.constraint is not None:
                p_t = p.constraint(p_t)
            self.updates += [K.update(m, (1 - due) * m + due * m_t), K.update(v, (1 - due) * v + due * v_t)]
            self.updates.append(K.update(p, p_t * due + p * (1 - due)))""",
    "averages": """\
            m_t = K.moving_average_update(m, g, 0.9)
            v_t = K.moving_average_update(v, K.square(g), momentum=0.99)
            self.updates.append(K.update(p, p - self.lr * m_t / (K.sqrt(v_t) + 1e-7)))""",
}


@pytest.mark.parametrize("how", WRITES)
def test_writes_are_found_however_they_are_spelled(how, tmp_path):
    assert outcomes(scanned(tmp_path, fork=adam(update=WRITES[how]))) == FOUND


LEFT = {
    "the moment is read before it is written": ("AP213", UPDATE.replace("* m_t /", "* m /")),
    "the second moment is read after it was written": ("AP213", UPDATE.replace("sqrt(v_t)", "sqrt(v)")),
    "another function has the last word": (
        "AP208",
        UPDATE.replace("K.update(p, p_t)", "K.update(p, last(p_t))"),
    ),
    "a share of a constrained value is taken": (
        "AP206",
        UPDATE.replace(
            "K.update(p, p_t)", "K.update(p, (1 - self.share) * p + self.share * p.constraint(p_t))"
        ),
    ),
    "the rate follows the variable": ("AP201", UPDATE.replace("1e-7", "K.abs(p) + p")),
}


@pytest.mark.parametrize("why", LEFT)
def test_what_cannot_be_proved_is_refused_with_its_reason(why, tmp_path):
    code, update = LEFT[why]
    result = scanned(tmp_path, fork=adam(update=update))
    (report,) = [c for f in result.files for c in f.classes]
    assert (report.status, str(report.reason)[:5]) == ("refused", code)
    assert not planned(result).changes


def test_two_states_that_one_helper_makes_are_two(tmp_path):
    text = adam().replace("[K.zeros(K.int_shape(p)) for p in params]", "states(params)")
    text += "\n\ndef states(params):\n    return [K.zeros(K.int_shape(p)) for p in params]\n"
    result = scanned(tmp_path, fork=text)
    assert outcomes(result) == FOUND
    (site,) = [s for f in result.files for c in f.classes for s in c.sites]
    assert site.rate == "lr/(sqrt(0.99*v+0.01*grad^2)+1e-07)"
    assert site.direction == "0.9*m+0.1*grad"
