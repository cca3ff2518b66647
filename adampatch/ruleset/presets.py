"""The presets: short commented rules files that users copy and edit.
They are files in `rules/` of the repository and in `adampatch/presets` of an installed wheel."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

from adampatch.errors import AdampatchError


@dataclass(frozen=True)
class Preset:
    """name: what `--rules` takes; summary: the first comment line of the file."""

    name: str
    summary: str
    path: Path

    def text(self) -> str:
        return self.path.read_text("utf-8")


def preset_directory() -> Path:
    """Where the presets are: in the package once installed, else in the checkout around it."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "presets"
    return installed if installed.is_dir() else package.parent / "rules"


def list_presets() -> list[Preset]:
    """All presets, by name."""
    presets = []
    for path in sorted(preset_directory().glob("*.toml")):
        with path.open(encoding="utf-8") as file:
            presets.append(Preset(path.stem, file.readline().lstrip("# ").strip(), path))
    return presets


def find_preset(name: str) -> Preset:
    """Raises `AdampatchError`, with the nearest name and all of them, where there is no such preset."""
    presets = {preset.name: preset for preset in list_presets()}
    if name in presets:
        return presets[name]
    near = difflib.get_close_matches(name, presets, 1)
    hint = f'did you mean "{near[0]}"? ' if near else ""
    names = ", ".join(presets) or "missing from this installation"
    raise AdampatchError(
        None,
        f'there is no preset "{name}"; {hint}presets are {names}; '
        "a file is named with a / or ends in .toml or .json",
    )
