"""The optimizer of the V1 family that every TensorFlow has, in two spellings."""

import tensorflow as tf

FAMILY = "v1"
CASES = {
    "Adam": lambda: tf.compat.v1.train.AdamOptimizer(0.02),
    "Adam-eps": lambda: tf.compat.v1.train.AdamOptimizer(learning_rate=0.02, beta1=0.8, epsilon=1e-3),
}
