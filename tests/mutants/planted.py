"""Patches with one thing wrong, as data: what is replaced, by what, and what the verifier should blame.

The published mistakes of Adam ports and of those who add a clamp to one, then what only a patch can
get wrong: slots not written, reads that race with writes, samples of another step. Those of rules
beyond fixed bounds of the rate are in `planted_rules`.
"""

from __future__ import annotations

import planted_rules
from mutant import Mutant, Pairs

_UPDATE = "ops.multiply(m, alpha), ops.add(ops.sqrt(v), self.epsilon)"
_RATE = "ops.divide(alpha, ops.add(ops.sqrt(v), self.epsilon))"
_ALPHA = "alpha = lr * ops.sqrt(1 - beta_2_power) / (1 - beta_1_power)"
_LR = "lr = ops.cast(learning_rate, variable.dtype)"
_FIRST = "ops.multiply(ops.subtract(gradient, m), 1 - self.beta_1)"
_ROOT = "ops.add(ops.sqrt(v), self.epsilon)"
_BOUND = "self.rate, mask = clip(before, low, high)"
_PRODUCT = "self._with_decay(rate * self.direction)"
_LOW = "out = worlds.where(mask, low, out)"
_CLIP = "    out, mask = value, None\n"
_READ = "stock = kernel.read(x, new, kernel.alpha(x))"
_STATES = "{name: kernels.read_state(getattr(x, name), x.dtype, resource) for name in kernel.states}"
_WRITES = "writes = [kernels.write_state(getattr(x, name), new[name], x, resource) for name in kernel.states]"
_DEF = "\nclass _Bounding(object):"


def _denominator(new: str) -> Pairs:
    return ((_UPDATE, _UPDATE.replace(_ROOT, new)), (_RATE, _RATE.replace(_ROOT, new)))


def _rate_off(by: str) -> Mutant:
    return Mutant(f"lr off by {by}", "alpha", ((_LR, f"{_LR} * (1 + {by})"),))


MUTANTS: tuple[Mutant, ...] = (
    # -- the published mistakes
    Mutant("m_hat twice", "alpha", ((_ALPHA, _ALPHA + " / (1 - beta_1_power)"),)),
    Mutant("m without 1-b1", "m", ((_FIRST, "gradient - m * (1 - self.beta_1)"),)),
    Mutant(
        "denominator rounded to bfloat16",
        "rate",
        _denominator(f'ops.cast(ops.cast({_ROOT}, "bfloat16"), variable.dtype)'),
    ),
    Mutant("no bias correction of m", "alpha", ((_ALPHA, "alpha = lr * ops.sqrt(1 - beta_2_power)"),)),
    Mutant("no bias correction of v", "alpha", ((_ALPHA, "alpha = lr / (1 - beta_1_power)"),)),
    Mutant("no bias correction", "alpha", ((_ALPHA, "alpha = lr"),)),
    Mutant("t off by one", "alpha", (("self.iterations + 1", "self.iterations + 2"),)),
    Mutant(
        "stale m",
        "w",
        (
            (_ALPHA, _ALPHA + "\n    stale = ops.convert_to_tensor(m) + 0"),
            (_UPDATE, _UPDATE.replace("multiply(m,", "multiply(stale,")),
        ),
    ),
    Mutant(
        "stale v",
        "rate",
        (
            (_ALPHA, _ALPHA + "\n    stale = ops.convert_to_tensor(v) + 0"),
            *_denominator(_ROOT.replace("sqrt(v)", "sqrt(stale)")),
        ),
    ),
    Mutant(
        "betas swapped",
        "m",
        (("1 - self.beta_1)", "1 - self.beta_2)"), ("1 - self.beta_2\n", "1 - self.beta_1\n")),
    ),
    Mutant("eps inside the sqrt", "rate", _denominator("ops.sqrt(ops.add(v, self.epsilon))")),
    Mutant("eps squared", "rate", _denominator(_ROOT.replace("self.epsilon", "self.epsilon**2"))),
    Mutant("eps dropped", "rate", _denominator("ops.sqrt(v)")),
    Mutant("eps 1e-8 for 1e-7", "rate", _denominator(_ROOT.replace("self.epsilon", "1e-8"))),
    Mutant(
        "eps in the paper's position",
        "rate",
        _denominator(_ROOT.replace("self.epsilon", "self.epsilon * ops.sqrt(1 - beta_2_power)")),
    ),
    Mutant(
        "1-cast(beta)",
        "m",
        ((_FIRST, _FIRST.replace("self.beta_1", "ops.cast(self.beta_1, variable.dtype)")),),
    ),
    Mutant(
        "gradient through float16",
        "m",
        (("gradient = ops.cast(gradient,", 'gradient = ops.cast(ops.cast(gradient, "float16"),'),),
    ),
    _rate_off("1e-3"),
    _rate_off("1e-4"),
    _rate_off("1e-5"),
    _rate_off("1e-6"),
    Mutant("sign", "w", ((_UPDATE, _UPDATE.replace("multiply(m,", "multiply(-m,")),)),
    Mutant(
        "AMSGrad max dropped",
        "vhat",
        (("self.assign(v_hat, ops.maximum(v_hat, v))", "self.assign(v_hat, v)"),),
        variant="amsgrad",
    ),
    Mutant(
        "stale vhat",
        "rate",
        (
            ("self.assign(v_hat,", "stale = ops.convert_to_tensor(v_hat) + 0\n        self.assign(v_hat,"),
            ("        v = v_hat\n", "        v = stale\n"),
        ),
        variant="amsgrad",
    ),
    Mutant(
        "decay coupled",
        "m",
        body="""
def _apply_weight_decay(self, variables):
    pass

def update_step(self, gradient, variable, learning_rate):
    super().update_step(gradient + self.weight_decay * variable, variable, learning_rate)
""",
        optimizer="keras3-decay",
    ),
    Mutant(
        "decay after the update",
        "w",
        body="""
def _apply_weight_decay(self, variables):
    pass

def _backend_update_step(self, grads, trainable_variables, learning_rate):
    super()._backend_update_step(grads, trainable_variables, learning_rate)
    super()._apply_weight_decay(trainable_variables)
""",
        optimizer="keras3-decay",
    ),
    # -- the clamp
    Mutant(
        "clamp: lr off by 1e-4 with it",
        "w",
        ((_PRODUCT, _PRODUCT[:-1] + " * 1.0001)"),),
        "bounding",
        rule=True,
    ),
    Mutant(
        "clamp: low only",
        "rate",
        ((_BOUND, _BOUND.replace("low, high", "low, None")),),
        "bounding",
        rule=True,
    ),
    Mutant(
        "clamp: high only",
        "rate",
        ((_BOUND, _BOUND.replace("low, high", "None, high")),),
        "bounding",
        rule=True,
    ),
    Mutant(
        "clamp: off by 1e-6",
        "rate",
        ((_CLIP, _CLIP + "    low = None if low is None else low * (1 + 1e-6)\n"),),
        "bounding",
        rule=True,
    ),
    Mutant(
        "clamp: one step late",
        "rate",
        (
            (_BOUND, _BOUND.replace("clip(before,", "clip(_late(self.site, before),")),
            (
                _DEF,
                "\n_KEPT = {}\n\n\ndef _late(site, raw):\n    before = _KEPT.get(site.path, raw)\n"
                "    _KEPT[site.path] = raw\n    return before\n\n" + _DEF,
            ),
        ),
        "bounding",
        rule=True,
        compiled=False,
    ),
    Mutant(
        "clamp: on the update, not the rate",
        "w",
        (
            (
                _PRODUCT,
                'tf.clip_by_value(self.update, *_cast(_tightest(self._rules("rate")), self.dtype))',
            ),
        ),
        "bounding",
        rule=True,
    ),
    Mutant(
        "clamp: before the bias correction",
        "rate",
        (
            (f"rate=lambda: {_RATE}", f"rate=lambda: {_RATE.replace('alpha', 'lr')}"),
            ("direction=lambda: m,", "direction=lambda: m * (alpha / lr),"),
        ),
        rule=True,
    ),
    Mutant(
        "clamp: previous decision",
        "w",
        (
            (_BOUND, _BOUND + "\n        mask = _decided(self.site, mask)"),
            (
                _DEF,
                "\n_KEPT = {}\n\n\ndef _decided(site, mask):\n    before = _KEPT.get(site.path, mask)\n"
                "    _KEPT[site.path] = mask\n    return before\n\n" + _DEF,
            ),
        ),
        "bounding",
        rule=True,
        compiled=False,
    ),
    Mutant(
        "clamp: on every element",
        "w",
        ((f"worlds.where(self.clamped, {_PRODUCT}, self.update)", _PRODUCT),),
        "bounding",
        rule=True,
    ),
    Mutant(
        "clamp: NaN made finite",
        "rate",
        ((_LOW, "out = worlds.where(value >= low, out, low)"),),
        "bounding",
        rule=True,
    ),
    Mutant(
        "clamp: bounds through float16",
        "rate",
        (
            (
                _CLIP,
                _CLIP + "    low = None if low is None else tf.cast(tf.cast(low, tf.float16), low.dtype)\n",
            ),
        ),
        "bounding",
        rule=True,
    ),
    # -- the kernels taken apart, which a rule runs in place of the fused ones
    Mutant(
        "kernel: moments in the paper's order",
        "m",
        (
            (
                '"m": old["m"] + (x.grad - old["m"]) * (one - x.beta1),\n        "v": old["v"] + (tf',
                '"m": x.beta1 * old["m"] + (one - x.beta1) * x.grad,\n        "v": old["v"] + (tf',
            ),
        ),
        "kernels",
        optimizer="v2",
        rule=True,
        listed=False,
    ),
    Mutant(
        "kernel: rate times direction everywhere",
        "w",
        (
            (
                "alpha / root, direction, (direction * alpha) / root)",
                "alpha / root, direction, direction * (alpha / root))",
            ),
        ),
        "kernels",
        optimizer="v2",
        rule=True,
        listed=False,
    ),
    Mutant(
        "kernel: a NaN in AMSGrad's maximum",
        "vhat",
        (("return worlds.where(fresh > kept, fresh, kept)", "return tf.maximum(fresh, kept)"),),
        "kernels",
        optimizer="v2",
        variant="amsgrad",
        rule=True,
        listed=False,
    ),
    Mutant(
        "kernel: the second moment not written",
        "v",
        (
            (
                "x, resource) for name in kernel.states]\n        writes += outcome",
                "x, resource) for name in kernel.states[:1]]\n        writes += outcome",
            ),
        ),
        "fusing",
        optimizer="v2",
        rule=True,
        listed=False,
    ),
    # -- what is shown
    Mutant(
        "emission: alpha is the learning rate",
        "alpha",
        (("alpha=lambda: alpha,", "alpha=lambda: lr,"),),
        listed=False,
    ),
    Mutant(
        "emission: rate off by 1e-6",
        "rate",
        ((f"rate=lambda: {_RATE}", f"rate=lambda: {_RATE.replace('alpha', 'alpha * (1 + 1e-6)')}"),),
        listed=False,
    ),
    # -- races, in v1 graphs
    Mutant(
        "race: a kernel's slots read again beside their writes",
        "rate",
        (
            (_READ, f"{_WRITES}\n        again = {_STATES}\n        {_READ.replace('new', 'again')}"),
            (f"        {_WRITES}\n        writes += outcome", "        writes += outcome"),
        ),
        "fusing",
        optimizer="v1",
        rule=True,
        racy=True,
        listed=False,
    ),
    Mutant(
        "race: v read again beside its scatter",
        "rate",
        (("v_sqrt = math_ops.sqrt(v_t)", "v_sqrt = math_ops.sqrt(v)"),),
        "_apply_sparse_shared",
        optimizer="v1",
        racy=True,
        listed=False,
    ),
    Mutant(
        "race: alpha read beside the beta powers' writes",
        "beta_1_power",
        (("with tf.control_dependencies([alpha]):", "with tf.control_dependencies([]):"),),
        "fusing",
        optimizer="v1",
        racy=True,
        listed=False,
    ),
    Mutant(
        "race: the variable does not wait for its slots",
        "m",
        (
            (
                "with tf.control_dependencies([w for w in writes if w is not None]):",
                "with tf.control_dependencies([]):",
            ),
        ),
        "kernels",
        optimizer="v1",
        rule=True,
        racy=True,
        listed=False,
    ),
    *planted_rules.MUTANTS,
)
