"""Rare words: rows of an embedding that sleep for hundreds of updates and then wake up.

Adam's rate for a row that gets no gradient rises at every update, and the first gradient that
comes makes a large step. Prints how fast rates rose, and what the rules did about it:

    python examples/rare_words/train.py
    ADAMPATCH_RULES=rules/slew.toml python examples/rare_words/train.py
"""

import argparse

import keras
import numpy as np
import tensorflow as tf

import adampatch

WORDS, WIDTH, RARE = 40, 8, 4


def batches(updates, size, seed):
    """(words [size], labels [size]) of each update; the last RARE words come once in a hundred."""
    rng = np.random.RandomState(seed)
    for t in range(updates):
        words = rng.randint(0, WORDS - RARE, size)
        if t % 100 == 0:
            words[:RARE] = np.arange(WORDS - RARE, WORDS)
        yield words, (words % 2).astype("float32")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--updates", type=int, default=401)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    keras.utils.set_random_seed(args.seed)
    words = keras.layers.Embedding(WORDS, WIDTH, name="words")
    model = keras.Sequential([keras.Input((), dtype="int32"), words, keras.layers.Dense(1, name="score")])
    optimizer = adampatch.patched(keras.optimizers.Adam, emit="tensor", every=1)(0.01)
    optimizer.build(model.trainable_variables)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)

    @tf.function
    def step(words, labels):
        with tf.GradientTape() as tape:
            value = loss(labels[:, None], model(words))
        optimizer.apply_gradients(
            zip(
                tape.gradient(value, model.trainable_variables),
                model.trainable_variables,
                strict=True,
            )
        )
        return value

    table = words.embeddings.path
    before, rise, value = None, 1.0, 0.0
    for some, labels in batches(args.updates, 32, args.seed):
        value = float(step(tf.constant(some), tf.constant(labels)))
        rates = adampatch.effective_rates(optimizer)[table]
        if before is not None:
            rise = max(rise, float(np.max(rates / before)))
        before = rates

    shown = adampatch.snapshot(optimizer)
    print(f"loss {value:.4f} after {shown['step']} updates at learning rate {shown['lr']:g}")
    print(f"the rate of an element of {table} rose by a factor of {rise:.6f} at most in one update")
    for path, row in shown["variables"].items():
        for name, rule in row["rules"].items():
            share = rule["clamped_total"] / (rule["samples"] * row["elements"])
            print(f"rule {name} on {path}: {rule['clamped_total']} times, {share:.1%} of all rates")


if __name__ == "__main__":
    main()
