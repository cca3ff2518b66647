"""Makes the package's optimizer."""

import tensorflow as tf


def make():
    return tf.compat.v1.train.AdamOptimizer(0.02)
