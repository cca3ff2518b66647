"""`python modes.py MODE...`: trains a small Keras 3 model in each mode, and prints the bits it ends with."""

import hashlib
import sys

import keras
import numpy as np

schedules = keras.optimizers.schedules
RATE, SIZE, BATCH, EPOCHS = 1e-2, 96, 8, 2


def scheduled():
    """{name: a schedule that moves within the 24 updates}."""
    return {
        "exponential": schedules.ExponentialDecay(RATE, 7, 0.5),
        "staircase": schedules.ExponentialDecay(RATE, 7, 0.5, staircase=True),
        "piecewise": schedules.PiecewiseConstantDecay([5, 11], [RATE, RATE / 3, RATE / 7]),
        "polynomial": schedules.PolynomialDecay(RATE, 9, RATE / 10, power=2.0, cycle=True),
        "inverse": schedules.InverseTimeDecay(RATE, 5, 0.7),
        "inverse_staircase": schedules.InverseTimeDecay(RATE, 5, 0.7, staircase=True),
        "cosine": schedules.CosineDecay(1e-4, 20, alpha=0.1, warmup_target=RATE, warmup_steps=6),
        "restarts": schedules.CosineDecayRestarts(RATE, 6),
    }


#: {mode: (arguments of Adam, arguments of compile, dtype policy)}
MODES = {
    "plain": ({}, {}, None),
    "jit": ({}, {"jit_compile": True}, None),
    "many": ({}, {"steps_per_execution": 4}, None),
    "many_jit": ({}, {"steps_per_execution": 4, "jit_compile": True}, None),
    "float16": ({}, {}, "mixed_float16"),
    "bfloat16": ({}, {}, "mixed_bfloat16"),
    "accumulation": ({"gradient_accumulation_steps": 3}, {}, None),
    "ema": ({"use_ema": True, "ema_momentum": 0.9, "ema_overwrite_frequency": 5}, {}, None),
    "clipnorm": ({"clipnorm": 1e-3}, {}, None),
    "global_clipnorm": ({"global_clipnorm": 1e-3}, {}, None),
    "clipvalue": ({"clipvalue": 1e-3}, {}, None),
    "decay": ({"weight_decay": 0.01}, {}, None),
    "decay_jit": ({"weight_decay": 0.01, "clipnorm": 1e-3, "use_ema": True}, {"jit_compile": True}, None),
    "amsgrad": ({"amsgrad": True}, {}, None),
}
for _name in scheduled():
    MODES[_name] = ({"learning_rate": _name}, {}, None)
MODES["cosine_jit"] = ({"learning_rate": "cosine"}, {"jit_compile": True}, None)


def trained(mode):
    """The model after its training."""
    keras.utils.set_random_seed(1)
    given, compiled, policy = MODES[mode]
    given = dict({"learning_rate": RATE}, **given)
    if isinstance(given["learning_rate"], str):
        given["learning_rate"] = scheduled()[given["learning_rate"]]
    layers = [keras.layers.Dense(3, name="a", dtype=policy), keras.layers.Dense(1, name="b", dtype=policy)]
    model = keras.Sequential([keras.Input((4,)), *layers], name=mode)
    optimizer = keras.optimizers.Adam(**given)
    if policy == "mixed_float16":
        optimizer = keras.mixed_precision.LossScaleOptimizer(optimizer, initial_scale=1024.0)
    model.compile(optimizer, "mse", **dict({"jit_compile": False}, **compiled))
    x, y = np.random.rand(SIZE, 4).astype("float32"), np.random.rand(SIZE, 1).astype("float32")
    model.fit(x, y, batch_size=BATCH, epochs=EPOCHS, verbose=0, shuffle=False)
    return model


if __name__ == "__main__":
    kept = []  # an optimizer that is gone may lend its id to the next
    for mode in sys.argv[1:]:
        model = trained(mode)
        kept.append(model)
        variables = model.variables + model.optimizer.variables
        print(mode, hashlib.sha256(b"".join(np.asarray(v).tobytes() for v in variables)).hexdigest())
