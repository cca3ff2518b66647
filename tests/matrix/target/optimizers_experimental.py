"""The new Keras 2 optimizers as TensorFlow 2.10 has them."""

import tensorflow as tf

FAMILY = "keras2"
FLOAT32_ONLY = ("experimental-Nadam",)  # its running product is float32
CASES = {
    "experimental-Adam": lambda: tf.keras.optimizers.experimental.Adam(0.02, jit_compile=False),
    "experimental-AMSGrad": lambda: tf.keras.optimizers.experimental.Adam(
        0.02, amsgrad=True, jit_compile=False
    ),
    "experimental-AdamW": lambda: tf.keras.optimizers.experimental.AdamW(
        0.02, weight_decay=0.01, jit_compile=False
    ),
    "experimental-Nadam": lambda: tf.keras.optimizers.experimental.Nadam(0.02, jit_compile=False),
    "experimental-Adamax": lambda: tf.keras.optimizers.experimental.Adamax(0.02, jit_compile=False),
}
