"""Trains on from a meta graph and its checkpoint, and prints the rates where the graph shows them.

Knows the graph by its collections only; `adampatch graph apply` adds those that begin with "adampatch/".
"""

import argparse

import numpy as np
import tensorflow.compat.v1 as tf
from train import make_data, save_variables

tf.disable_v2_behavior()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("meta", metavar="MODEL.meta")
    parser.add_argument("--checkpoint", metavar="PREFIX", default="./model")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--weights", metavar="OUT.npz", help="save the final variables here")
    args = parser.parse_args()

    rng = np.random.default_rng(args.seed)
    data = make_data(rng, examples=20_000)
    saver = tf.train.import_meta_graph(args.meta)
    train_op, loss = tf.get_collection("train_op")[0], tf.get_collection("loss")[0]
    rates = tf.get_collection("adampatch/rate")
    with tf.Session() as sess:
        saver.restore(sess, args.checkpoint)
        for _ in range(args.steps):
            batch = rng.integers(len(data["likes"]), size=args.batch_size)
            feed = {name + ":0": column[batch] for name, column in data.items()}
            _, batch_loss, shown = sess.run([train_op, loss, rates], feed_dict=feed)
        print(f"loss {batch_loss:.4f} after {args.steps} more steps")
        for tensor, rate in zip(rates, shown):
            low, middle, high = np.percentile(rate, [0, 50, 100])
            print(f"{tensor.op.name}  {low:.3g} .. {middle:.3g} .. {high:.3g}")
        if args.weights:
            save_variables(args.weights, sess)


if __name__ == "__main__":
    main()
