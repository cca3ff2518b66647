"""The Adam family of TensorFlow Addons, and its wrappers around Adams."""

import tensorflow as tf
import tensorflow_addons as tfa
import training

FAMILY = "v2"
FLOAT32_ONLY = ("tfa-SWA",)  # so is its count of averages
CASES = {
    "tfa-RectifiedAdam": lambda: tfa.optimizers.RectifiedAdam(0.02, beta_2=0.99),
    "tfa-RectifiedAdam-decayed": lambda: tfa.optimizers.RectifiedAdam(0.02, beta_2=0.99, weight_decay=0.01),
    "tfa-LazyAdam": lambda: tfa.optimizers.LazyAdam(0.02),
    "tfa-LAMB": lambda: tfa.optimizers.LAMB(0.02),
    "tfa-AdaBelief": lambda: tfa.optimizers.AdaBelief(0.02, beta_2=0.99),
    "tfa-AdamW": lambda: tfa.optimizers.AdamW(weight_decay=0.01, learning_rate=0.02),
    "tfa-Lookahead": lambda: tfa.optimizers.Lookahead(tf.keras.optimizers.legacy.Adam(0.02), sync_period=3),
    "tfa-MovingAverage": lambda: tfa.optimizers.MovingAverage(
        tfa.optimizers.RectifiedAdam(0.02, beta_2=0.99)
    ),
    "tfa-opened": lambda: training.opened(
        tfa.optimizers.Lookahead(tfa.optimizers.RectifiedAdam(0.02, beta_2=0.99), sync_period=3)
    ),
    "tfa-SWA": lambda: tfa.optimizers.SWA(tfa.optimizers.LazyAdam(0.02), start_averaging=2, average_period=3),
}
