"""Which optimizer a name in the experiments stands for, and with what settings it is made."""

import functools

import keras
from optimizers import AdaBelief, LayerwiseAdam

OPTIMIZERS = {
    "adabelief": AdaBelief,
    "adam": keras.optimizers.Adam,
    "adamw": functools.partial(keras.optimizers.AdamW, weight_decay=0.01),
    "layerwise": functools.partial(LayerwiseAdam, multipliers={"logits": 0.5}, warmup_steps=20),
    "sgd": functools.partial(keras.optimizers.SGD, momentum=0.9),
}


def make(name, learning_rate, default=keras.optimizers.Adam):
    """The optimizer that is registered under a name, `default` where none is."""
    return OPTIMIZERS.get(name, default)(learning_rate=learning_rate)
