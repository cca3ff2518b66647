"""AP3xx: what is wrong with a rules file, beside the titles that ``ruleset`` reports. Data."""

from __future__ import annotations

from adampatch.codes.entry import Code
from adampatch.ruleset.errors import CODES as TITLES


def _rule(*lines: str, id: str = "ceiling") -> str:
    """A rule on the rate that ends with ``lines``."""
    return "".join(
        f"{line}\n" for line in ("version = 1", "", "[[rule]]", f'id = "{id}"', 'quantity = "rate"', *lines)
    )


#: code -> (meaning, example, remedy)
_ENTRIES: dict[str, tuple[str, str, str]] = {
    "AP301": (
        "The file cannot be read as TOML, or, where its name ends in .json, as JSON. No rule is applied.",
        'version = 1\n\n[[rule]\nid = "ceiling"\n',
        "correct the line that is named; https://toml.io has the grammar",
    ),
    "AP302": (
        "Every field that is not known is an error, so that a misspelt bound is not one that is missing.",
        _rule("maximum = 1.0"),
        "correct the name; the message names one that is close, if any is",
    ),
    "AP303": (
        "A rules file says its version, and each rule its id and the quantity it is about.",
        '[[rule]]\nid = "ceiling"\nquantity = "rate"\nmax = 1.0\n',
        "add the field that is named",
    ),
    "AP304": (
        "Numbers, texts, lists and tables are not converted into one another.",
        _rule('max = "1.0"'),
        "write the value as the message says",
    ),
    "AP305": (
        "The value has the right type, but the field takes only some values.",
        _rule("max = 1.0", id="My Rule"),
        "write one of the values that the message names",
    ),
    "AP306": (
        "Reports and the run time name rules by their id, so that each needs its own.",
        _rule("max = 1.0") + '\n[[rule]]\nid = "ceiling"\nquantity = "rate"\nmax = 2.0\n',
        "give each rule an id of its own",
    ),
    "AP307": (
        "What is bounded is never negative, and a bound of infinity or nan bounds nothing.",
        _rule("max = -1.0"),
        "write a number from 0, or leave the bound out",
    ),
    "AP308": (
        "No value is at least min and at most max. Of bounds that move, the first update is named at which "
        "they have crossed.",
        _rule(
            'max = { kind = "linear", from = 1.0, to = 0.1, end = 1000 }',
            "min = 0.5",
            "accept_unbounded_step = true",
        ),
        "lower min or raise max, or end the rule before",
    ),
    "AP309": (
        "Each of the rules can be kept, but not all of them where they meet.",
        _rule("max = 1.0")
        + '\n[[rule]]\nid = "floor"\nquantity = "rate"\nmin = 2.0\naccept_unbounded_step = true\n',
        "change one of the bounds, or keep the variables apart with match and exclude",
    ),
    "AP310": (
        "A rule bounds a quantity, or how fast it changes: with neither it would be observed and never bind.",
        _rule(),
        "add max, or min, or max_increase, or remove the rule",
    ),
    "AP311": (
        "Adam's step stays near the learning rate because the rate falls where gradients grow. With a "
        "lower bound on the rate the step grows with the gradient.",
        _rule("min = 0.001"),
        "add accept_unbounded_step = true if that is what you want",
    ),
    "AP312": (
        "A pattern of match or exclude is empty, is no regular expression, or can be no variable's path.",
        _rule("max = 1.0", "match = []"),
        'correct the pattern; "**" is for all variables',
    ),
    "AP313": (
        "Moments may be written in epochs where the file says how many updates an epoch has, and where that "
        "comes to a whole number of updates.",
        _rule("max = 1.0", 'start = "3 epochs"'),
        "add steps_per_epoch before the first table, or write the number of updates",
    ),
    "AP314": (
        "A rule holds from the update `start` to the update `end`, both counted from 1 and both within.",
        _rule("max = 1.0", "start = 100", "end = 50"),
        "exchange or correct the two",
    ),
    "AP315": (
        "A bound that moves must end after it starts; a piecewise one has boundaries that rise, and one "
        "value more than boundaries.",
        _rule('max = { kind = "piecewise", boundaries = [1000], values = [1.0] }'),
        "write the table as the message says",
    ),
    "AP316": (
        "Each field is right for itself, but not beside the others: limits on changes and `convention` are "
        "for the rate, `relative_to` multiplies min and max, `lr0` is for bounds relative to it, and "
        "`rms_t` has no min.",
        _rule("max_increase = 1.01", 'relative_to = "lr"'),
        "leave one of the fields out, or bound another quantity",
    ),
    "AP317": (
        "Where a large gradient comes, Adam's rate falls at once, and that alone keeps the step small. With "
        "a limit on falling the biggest step was measured to be 76 to 379 times larger.",
        _rule("max_decrease = 2.0"),
        "add allow_slow_fall = true if that is what you want, or limit the rise with max_increase",
    ),
}

CODES: dict[str, Code] = {code: Code(title, *_ENTRIES[code]) for code, title in TITLES.items()}
