"""What several tests of the run time share: comparing bits, patching a class."""


def same(left, right):
    """Bit for bit: the sign of a zero and the payload of a NaN count."""
    return len(left) == len(right) and all(
        a.tobytes() == b.tobytes() for a, b in zip(left, right, strict=True)
    )


def wrapping(rules=None, **settings):
    """A function that patches a class under rules and settings of its own."""
    from adampatch.runtime import bind

    return lambda cls: bind(rules).patched(cls, **settings)
