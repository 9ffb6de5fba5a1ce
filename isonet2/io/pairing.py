"""Which files in several folders belong to the same tomogram: by their names, never by their order."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from isonet2.errors import UserError
from isonet2.io.star import half_of, name_without_half
from isonet2.job.container import missing_hint

TOMOGRAMS = (".mrc", ".rec", ".map")
COORDINATES = (".txt", ".coords", ".csv", ".star", ".mod")
TILTS = (".tlt", ".rawtlt", ".txt")
_HALVES = {"full": None, "even": 1, "odd": 2}


def list_files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """The files with these suffixes, in the order of their names, without hidden ones. UserError if there are none."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder{missing_hint(os.environ)}")
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in suffixes and path.name[0] != ".")
    if not files:
        raise UserError(f"{folder}: no {', '.join(suffixes)} files")
    return files


def pair_by_name(folders: Mapping[str, Path]) -> dict[str, dict[str, Path]]:
    """{name: {role: file}} in the order of the names; roles as in `folders`, among "full", "even" and "odd".

    Where roles share a folder, the words for the halves in the files' names (EVN, ODD, half1 …) tell them apart.
    UserError if two files of a role have one name, or if a file of one role has no partner in another.
    """
    found = {role: _of_role(role, folders) for role in folders}
    names = sorted(set().union(*found.values()))
    missing = [f"{name} (no {role})" for name in names for role, files in found.items() if name not in files]
    if missing:
        where = ", ".join(f"{role} {folder}" for role, folder in folders.items())
        raise UserError(
            f"{where}: files without a partner: {_some(missing)}; names must agree but for EVN/ODD; "
            "to go on without these, move them out of the folder"
        )
    return {name: {role: files[name] for role, files in found.items()} for name in names}


def _of_role(role: str, folders: Mapping[str, Path]) -> dict[str, Path]:
    """{name: file} of one role."""
    files = list_files(folders[role], TOMOGRAMS)
    if sum(folder.resolve() == folders[role].resolve() for folder in folders.values()) > 1:
        files = [path for path in files if half_of(path) == _HALVES[role]]
    if not files:
        raise UserError(f"{folders[role]}: no file name tells that it is {role}; take folders of their own")
    even, odd = ({name_without_half(path) for path in files if half_of(path) == half} for half in (1, 2))
    if role == "full" and (both := sorted(even & odd)):
        raise UserError(
            f"{folders[role]}: both halves of {_some(both)} lie there, and would count as tomograms: name it as even "
            "and odd (as full too, if whole ones lie there)"
        )
    named: dict[str, Path] = {}
    for path in files:
        other = named.setdefault(path.stem if role == "full" else name_without_half(path), path)
        if other is not path:
            raise UserError(f"{folders[role]}: {other.name} and {path.name} have the same base name; rename one")
    return named


def one_for_each(names: Sequence[str], folder: Path, suffixes: tuple[str, ...], *, word: str) -> list[Path]:
    """For each tomogram its file in `folder`, called NAME or NAME_word. UserError if it has none, or several."""
    files = list_files(folder, suffixes)
    fitting = [[path for path in files if path.stem in (name, f"{name}_{word}")] for name in names]
    missing = [name for name, paths in zip(names, fitting, strict=True) if not paths]
    if missing:
        raise UserError(
            f"{folder}: no file for {_some(missing)}; call it NAME or NAME_{word} with {', '.join(suffixes)}"
        )
    for name, paths in zip(names, fitting, strict=True):
        if len(paths) > 1:
            raise UserError(f"{folder}: {_some([path.name for path in paths])} all fit {name}; leave one")
    return [paths[0] for paths in fitting]


def _some(names: Sequence[str]) -> str:
    """The first few of many."""
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
