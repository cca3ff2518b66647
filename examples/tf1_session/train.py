"""A recommender in TensorFlow 1 style: user and item embeddings, a dense layer, a session, Adam.

The data are synthetic: hidden user and item factors decide which items a user likes. Items are
drawn with a long tail, as in real logs, so some rows of the embeddings are hit in every batch and
others hardly ever.
"""

import argparse

import numpy as np
import tensorflow.compat.v1 as tf

tf.disable_v2_behavior()

USERS, ITEMS, FACTORS, WIDTH = 200, 500, 4, 16


def make_data(rng, examples):
    user_factors = rng.normal(size=(USERS, FACTORS))
    item_factors = rng.normal(size=(ITEMS, FACTORS))
    users = rng.integers(USERS, size=examples)
    popularity = 1.0 / np.arange(1, ITEMS + 1)
    items = rng.choice(ITEMS, size=examples, p=popularity / popularity.sum())
    affinity = np.sum(user_factors[users] * item_factors[items], axis=1)
    likes = affinity + rng.normal(size=examples) > 0.0
    return {"users": users, "items": items, "likes": likes}


def build_graph(seed):
    tf.set_random_seed(seed)
    inputs = {
        "users": tf.placeholder(tf.int32, [None], name="users"),
        "items": tf.placeholder(tf.int32, [None], name="items"),
        "likes": tf.placeholder(tf.float32, [None], name="likes"),
    }

    initializer = tf.random_normal_initializer(stddev=0.1)
    user_table = tf.get_variable("user_embedding", [USERS, WIDTH], initializer=initializer)
    item_table = tf.get_variable("item_embedding", [ITEMS, WIDTH], initializer=initializer)
    kernel = tf.get_variable("dense/kernel", [WIDTH, 1], initializer=initializer)
    bias = tf.get_variable("dense/bias", [1], initializer=tf.zeros_initializer())

    # The gradient of a lookup is an IndexedSlices: only the rows of the batch have one.
    user = tf.nn.embedding_lookup(user_table, inputs["users"])
    item = tf.nn.embedding_lookup(item_table, inputs["items"])
    logits = tf.squeeze(tf.matmul(user * item, kernel) + bias, axis=1)
    cross_entropy = tf.nn.sigmoid_cross_entropy_with_logits(labels=inputs["likes"], logits=logits)
    loss = tf.reduce_mean(cross_entropy)

    train_op = tf.train.AdamOptimizer(1e-2).minimize(loss)
    return inputs, loss, train_op


def save_variables(path, sess):
    """Save every variable, the optimizer's slots among them, one array per name."""
    values = sess.run({variable.op.name: variable for variable in tf.global_variables()})
    np.savez(path, **values)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--weights", metavar="OUT.npz", help="save the final variables here")
    args = parser.parse_args()

    rng = np.random.default_rng(args.seed)
    data = make_data(rng, examples=20_000)
    inputs, loss, train_op = build_graph(args.seed)

    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        for step in range(1, args.steps + 1):
            batch = rng.integers(len(data["likes"]), size=args.batch_size)
            feed = {inputs[name]: column[batch] for name, column in data.items()}
            batch_loss, _ = sess.run([loss, train_op], feed_dict=feed)
            if step == 1 or step % 50 == 0:
                print(f"step {step:4d}  loss {batch_loss:.4f}")

        final_loss = sess.run(loss, feed_dict={inputs[name]: column for name, column in data.items()})
        print(f"loss on all examples {final_loss:.4f}")
        if args.weights:
            save_variables(args.weights, sess)


if __name__ == "__main__":
    main()
