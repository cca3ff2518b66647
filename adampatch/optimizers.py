"""Patched stock optimizers of the installed Keras: Adam, AdamW, Nadam, Adamax.

Names only; each is `adampatch.patched(tf.keras.optimizers.<name>)`, made on first use.
"""

__all__ = ["Adam", "AdamW", "Adamax", "Nadam"]


def __getattr__(name):
    if name not in __all__:
        raise AttributeError("module {!r} has no attribute {!r}".format(__name__, name))
    import tensorflow as tf

    from adampatch import patched

    return patched(getattr(tf.keras.optimizers, name))


def __dir__():
    return sorted(list(globals()) + __all__)
