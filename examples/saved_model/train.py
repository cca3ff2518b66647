"""Trains a SavedModel by its signature `train`, whoever wrote it, and prints what the signature returns.

After `adampatch graph apply model patched --outputs` the signature returns the rates as well.
"""

import argparse

import numpy as np
import tensorflow as tf


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", metavar="SAVED_MODEL")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--weights", metavar="OUT.npz", help="save the final variables here")
    args = parser.parse_args()

    random = np.random.default_rng(args.seed)
    truth = random.normal(size=(8, 2))
    model = tf.saved_model.load(args.path)
    train = model.signatures["train"]
    for _ in range(args.steps):
        x = random.normal(size=(32, 8))
        y = x @ truth + 0.1 * random.normal(size=(32, 2))
        returned = train(x=tf.constant(x, tf.float32), y=tf.constant(y, tf.float32))
    print(f"loss {float(returned['loss']):.4f} after {args.steps} steps")
    for name in sorted(set(returned) - {"loss"}):
        rates = returned[name].numpy()
        print(f"{name}  {rates.min():.3g} .. {np.median(rates):.3g} .. {rates.max():.3g}")
    if args.weights:
        np.savez(args.weights, kernel=model.kernel.numpy(), bias=model.bias.numpy())


if __name__ == "__main__":
    main()
