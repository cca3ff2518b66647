"""What can be wrong with a rules file: the codes, one error, all errors of a file at once.
A code keeps its meaning for ever; a new kind of error gets a new one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from adampatch.errors import AdampatchError

# code -> what it means, for `adampatch explain`
CODES = {
    "AP301": "the rules file is not valid TOML or JSON",
    "AP302": "a field, table or setting that does not exist",
    "AP303": "a field that must be there is missing",
    "AP304": "a value of the wrong type",
    "AP305": "a value that the field does not allow",
    "AP306": "two rules have one id",
    "AP307": "a bound that is negative or not finite",
    "AP308": "min is greater than max",
    "AP309": "two rules on the same variables leave no value that satisfies both",
    "AP310": "a rule with no bound and no limit does nothing",
    "AP311": "a lower bound on the rate removes Adam's own step limit and needs consent",
    "AP312": "a pattern that cannot match",
    "AP313": "epochs that cannot be turned into updates",
    "AP314": "a window that ends before it starts",
    "AP315": "the numbers of a bound table do not fit together",
    "AP316": "fields of a rule that do not go together",
    "AP317": "a limit on how fast the rate falls can enlarge steps and needs consent",
}


@dataclass(frozen=True)
class RuleError:
    """One error. line: from 1, or None where the rules came from no file; rule_id: the rule's id, "#1"
    and so on where it has none, or None for an error outside all rules."""

    code: str
    file: str
    line: int | None
    rule_id: str | None
    what: str
    fix: str

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        rule = "" if self.rule_id is None else f'rule "{self.rule_id}": '
        return f"{where}: {rule}{self.what}; {self.fix}"


class RuleErrors(AdampatchError):
    """All errors of one rules file, in the order of their lines; `str()` has one line for each."""

    def __init__(self, errors: Sequence[RuleError]) -> None:
        self.errors: list[RuleError] = sorted(errors, key=lambda error: error.line or 0)
        super().__init__(None, "\n".join(str(error) for error in self.errors))
