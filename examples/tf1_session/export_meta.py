"""Builds the recommender of train.py and writes it down without its source: model.meta and a checkpoint.

A graph that was trained for a while and exported is all that is left of many a model.
"""

import argparse

import numpy as np
import tensorflow.compat.v1 as tf
from train import build_graph, make_data


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--to", metavar="PREFIX", default="./model", help="of the files to write")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    rng = np.random.default_rng(args.seed)
    data = make_data(rng, examples=20_000)
    inputs, loss, train_op = build_graph(args.seed)
    tf.add_to_collection("train_op", train_op)
    tf.add_to_collection("loss", loss)
    saver = tf.train.Saver()
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        for _ in range(args.steps):
            batch = rng.integers(len(data["likes"]), size=args.batch_size)
            sess.run(train_op, feed_dict={inputs[name]: column[batch] for name, column in data.items()})
        saver.save(sess, args.to)
    print(f"{args.to}.meta and the checkpoint {args.to} after {args.steps} steps")


if __name__ == "__main__":
    main()
