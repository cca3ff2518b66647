"""From a file, a preset's name or a normal form to `Rules`, and back to the normal form.
Reading and parsing only; what is allowed is in `schema` and `check`."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adampatch.errors import AdampatchError
from adampatch.ruleset.check import Check
from adampatch.ruleset.errors import RuleError, RuleErrors
from adampatch.ruleset.explain import Explanation, explanation
from adampatch.ruleset.model import Observe, Rule
from adampatch.ruleset.positions import Positions
from adampatch.ruleset.presets import find_preset
from adampatch.ruleset.schema import VERSION

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class Rules:
    """Validated rules.

    compile: the compiled island, "auto", True or False; None where the file says nothing.
    source: the file they came from, if any; two `Rules` that say the same are equal whatever their source.
    """

    rules: tuple[Rule, ...] = ()
    observe: Observe = field(default_factory=Observe)
    compile: str | bool | None = None
    source: Path | None = field(default=None, compare=False)

    @classmethod
    def load(cls, path_or_preset: str | os.PathLike[str]) -> Rules:
        """Loads a rules file (TOML, or the normal form as JSON) or a preset.

        A value with a "/" or ending in .toml or .json is a file, anything else a preset's name; a
        `pathlib.Path` is always a file.

        Raises `RuleErrors` with every error of the file at once, and `AdampatchError` where there is no
        such file or preset.
        """
        path = path_for(path_or_preset)
        try:
            text = path.read_bytes().decode("utf-8-sig")
        except FileNotFoundError as error:
            raise AdampatchError(path, "there is no such rules file; name one, or a preset") from error
        except OSError as error:
            raise AdampatchError(path, f"cannot be read ({error.strerror}); name a rules file") from error
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            raise _invalid(path, line, "the file is not UTF-8", "save it as UTF-8") from error
        is_json = path.suffix == ".json"
        document = _parse_json(path, text) if is_json else _parse_toml(path, text)
        positions = Positions.of_json(text) if is_json else Positions.of_toml(text)
        return _checked(document, Check(str(path), positions, "rules" if is_json else "rule", is_json), path)

    @classmethod
    def from_normal_form(
        cls, document: Mapping[str, Any], source: str | os.PathLike[str] | None = None
    ) -> Rules:
        """The inverse of `normal_form`; checks as `load` does, without line numbers."""
        path = None if source is None else Path(source)
        check = Check("<rules>" if path is None else str(path), Positions(), "rules", consented=True)
        return _checked(dict(document) if isinstance(document, Mapping) else document, check, path)

    def normal_form(self) -> dict[str, Any]:
        """Plain data, with nothing left out that a rule means; what `_adampatch.py` embeds."""
        return {
            "version": VERSION,
            "observe": self.observe.normal_form(),
            "runtime": {} if self.compile is None else {"compile": self.compile},
            "rules": [rule.normal_form() for rule in self.rules],
        }

    def explain(self, model_or_variables: object) -> Explanation:
        """Prints variable x rules x bounds, and returns the same as data.

        model_or_variables: a Keras model, a layer, an optimizer that is built, or a list of variables or of
        their paths. Bounds that move are shown at updates 1, 100 and 10000. A rule that matches no variable
        is named with the five nearest. Raises `AdampatchError` where no variables can be found.
        """
        found = explanation(self.rules, model_or_variables)
        print(found)
        return found

    def to_json(self) -> str:
        return json.dumps(self.normal_form(), indent=2, ensure_ascii=False) + "\n"


def path_for(path_or_preset: str | os.PathLike[str]) -> Path:
    """The file that a `--rules` value names. Raises `AdampatchError` for an unknown preset."""
    if not isinstance(path_or_preset, str):
        return Path(path_or_preset)
    if "/" in path_or_preset or os.sep in path_or_preset or path_or_preset.endswith((".toml", ".json")):
        return Path(path_or_preset)
    return find_preset(path_or_preset).path


def _checked(document: object, check: Check, source: Path | None) -> Rules:
    check.run(document)
    if check.errors:
        raise RuleErrors(check.errors)
    return Rules(tuple(check.rules), check.observe, check.compile, source)


def _parse_toml(path: Path, text: str) -> object:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"at line (\d+)", str(error))
        line = int(found.group(1)) if found else max(1, len(text.rstrip("\n").split("\n")))
        said = re.sub(r"\s*\(at [^)]*\)$", "", str(error))
        raise _invalid(path, line, f"not valid TOML ({said})", "correct it, see https://toml.io") from error
    except RecursionError as error:
        raise _invalid(path, 1, "the tables are nested too deeply", "rules need one level") from error


def _parse_json(path: Path, text: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise _invalid(path, error.lineno, f"not valid JSON ({error.msg})", "correct it") from error
    except (RecursionError, ValueError) as error:
        raise _invalid(path, 1, f"not valid JSON ({error})", "correct it") from error


def _invalid(path: Path, line: int, what: str, fix: str) -> RuleErrors:
    return RuleErrors([RuleError("AP301", str(path), line, None, what, fix)])
