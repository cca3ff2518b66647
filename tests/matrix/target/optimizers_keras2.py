"""The new Keras 2 optimizers as TensorFlow 2.15 has them."""

import tensorflow as tf

FAMILY = "keras2"
FLOAT32_ONLY = ("keras2-Nadam",)  # its running product is float32
CASES = {
    "keras2-Adam": lambda: tf.keras.optimizers.Adam(0.02, jit_compile=False),
    "keras2-AMSGrad": lambda: tf.keras.optimizers.Adam(0.02, amsgrad=True, jit_compile=False),
    "keras2-AdamW": lambda: tf.keras.optimizers.AdamW(0.02, weight_decay=0.01, jit_compile=False),
    "keras2-Nadam": lambda: tf.keras.optimizers.Nadam(0.02, jit_compile=False),
    "keras2-Adamax": lambda: tf.keras.optimizers.Adamax(0.02, jit_compile=False),
}
