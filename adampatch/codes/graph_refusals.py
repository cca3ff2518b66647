"""AP238 to AP243: what `graph apply` and `adampatch.graph.patch` leave alone, and why. Data."""

from __future__ import annotations

from adampatch.codes.entry import Code

CODES: dict[str, Code] = {
    "AP238": Code(
        "the variable is updated twice in one run",
        "Two updates of one variable run together, so that what bounds each of them does not bound what "
        "they do to it. Both are left alone. Updates on two sides of a branch, or those of train ops that "
        "nothing runs together, are patched.",
        "",
        "give each variable one optimizer, or export a graph for each train op",
        how="make two `tf.compat.v1.train.AdamOptimizer` minimize one loss, `tf.group` their train ops, "
        "write the graph and run `adampatch graph apply` on it",
    ),
    "AP239": Code(
        "a function updates several variables that the rules bound differently",
        "The update is in a function that is called for each of these variables, and one bound is written "
        "into it.",
        "",
        "write rules that treat these variables alike, or export the graph without the function",
        how="put an update into a `tf.function` that takes the variable, call it for two variables of one "
        "shape, and apply rules that match one of them",
    ),
    "AP240": Code(
        "the update is in a branch, a loop or a function of a live graph",
        "Operations cannot be added there once it is built.",
        "",
        "write the graph with `tf.compat.v1.train.export_meta_graph` and patch the file with "
        "`adampatch graph apply`",
        how="call `optimizer.apply_gradients` inside of `tf.compat.v1.cond`, then `adampatch.graph.patch`",
    ),
    "AP241": Code(
        "a part of the update cannot be named or written as nodes",
        "The variable is not to be told, or rate, direction or decay need what is computed inside of a "
        "function or by an operation that is not known, and is not to be had outside.",
        "",
        "pass values to the function, not variables, or export the graph without it",
        how="let a `tf.function` that takes the moments as variables give the step, and subtract it outside",
    ),
    "AP242": Code(
        "no tensor is seen to be the gradient of the update",
        "The step divides by a root and follows from several variables, as one of the Adam family does, but "
        "no tensor is found that feeds two moments, or the update follows from too much of the graph.",
        "",
        "if it is an optimizer of the Adam family, please report the graph",
        how="step a variable by the quotient of one variable and the root of another that are fed from two "
        "different gradients",
    ),
    "AP243": Code(
        "a rule asks for what the graph does not show or hold",
        "A bound that moves in time needs the number of the update, one that is relative the learning rate "
        "or alpha. They are looked for in the update itself: the exponent of its decay rates, the powers "
        "that are multiplied on, what alpha is made of. Some updates show none of them. What a rule "
        "remembers (limits on changes, the learning rate at the start) has no place in the checkpoints of a "
        "graph that is there.",
        "",
        "write the rule with plain numbers (`lr0` too), or patch the source instead of the graph",
        how="apply a rule with `start = 10` to a graph whose update has no bias correction",
    ),
}
