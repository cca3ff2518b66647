"""A test on raw bytes that tells which files are worth parsing; the words are a table.
It may let too much through, never too little: add a word here for each spelling that was missed."""

from __future__ import annotations

import re

# Names of the Adam family and of its relatives; lower case, the test ignores case.
# "adam" also finds AdamW, Nadam, RAdam, AMSGrad's users, LazyAdam, Padam, QHAdam, ...
FAMILY_WORDS: tuple[bytes, ...] = (
    b"adam",
    b"ademamix",
    b"adabelief",
    b"adabound",
    b"adamod",
    b"adan",
    b"amsgrad",
    b"amsbound",
    b"novograd",
    b"ranger",
    b"yogi",
)

# What an optimizer must define or call to change a variable, in each generation. A fork that
# never says "adam" still says one of these.
METHOD_WORDS: tuple[bytes, ...] = (
    b"update_step",  # Keras 2.11+ and 3
    b"_apply_dense",  # V1
    b"_apply_sparse",
    b"resource_apply",  # V1 and V2 methods, and the fused kernels
    b"resource_scatter",
    b"apply_gradients",
    b"get_updates",  # Keras before V2
    b"training_ops",
    b"beta_1",
    b"beta1",
    b"optimizer",  # base classes (Sonnet's too), registries, compile(optimizer=...)
)

WORDS: tuple[bytes, ...] = FAMILY_WORDS + METHOD_WORDS

# A plain substring test would take every "lambda" for LAMB.
_LAMB = re.compile(rb"lamb(?!da)")


def mentions_adam(data: bytes, extra_names: frozenset[bytes] = frozenset()) -> bool:
    """True if a file of these bytes could hold an Adam-family class or a use of one.

    `extra_names` are names found elsewhere in the project (a subclass of a project's own class need
    not contain "adam"); they are matched exactly, case included.
    """
    lowered = data.lower()
    if b"\0" in lowered:  # UTF-16 and UTF-32 say "a\0d\0a\0m"
        lowered = lowered.replace(b"\0", b"")
    if any(word in lowered for word in WORDS) or _LAMB.search(lowered) is not None:
        return True
    return any(name in data for name in extra_names)
