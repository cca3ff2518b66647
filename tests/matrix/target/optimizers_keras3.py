"""The Adam family of Keras 3."""

import keras

FAMILY = "keras3"
CASES = {
    "keras3-Adam": lambda: keras.optimizers.Adam(0.02),
    "keras3-AMSGrad": lambda: keras.optimizers.Adam(0.02, amsgrad=True),
    "keras3-AdamW": lambda: keras.optimizers.AdamW(0.02, weight_decay=0.01),
    "keras3-Nadam": lambda: keras.optimizers.Nadam(0.02),
    "keras3-Adamax": lambda: keras.optimizers.Adamax(0.02),
    "keras3-Lamb": lambda: keras.optimizers.Lamb(0.02),
}
