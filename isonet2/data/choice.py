"""Which maps a training reads, and by which method: what the settings say, and else what the STAR file has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from isonet2.data.sources import Choice, deconvolved_map, halves, map_in, one_map
from isonet2.errors import UserError
from isonet2.io.star import COLUMNS, TomogramRow
from isonet2.job.models import Refine, Training
from isonet2.job.training import OF_HALVES

Method = Literal["n2n", "isonet2", "isonet2-n2n"]


def method_of(training: Training, rows: Sequence[TomogramRow]) -> Method:
    """The method of a training: of denoise always n2n; of refine as named, as its other settings imply, or as the maps
    in the STAR file allow. UserError where they allow both."""
    if not isinstance(training, Refine):
        return "n2n"
    if training.method is not None:
        return training.method
    if training.input_column is not None or training.with_deconv or any(training.noise_level):
        return "isonet2"
    with_halves = [row.half1 is not None for row in rows]
    with_map = [row.tomogram is not None for row in rows]
    if all(with_halves) and all(with_map):
        raise UserError(
            "refine.method: the STAR file has halves and full tomograms: choose isonet2-n2n (learns from the halves) "
            "or isonet2 (from the full tomograms)"
        )
    return "isonet2-n2n" if all(with_halves) else "isonet2"


def maps_for(method: str, training: Training) -> Choice:
    """The maps that this method reads."""
    column = getattr(training, "input_column", None)
    return maps_of_method(method, corrects_ctf=training.CTF_mode is not None, column=column)


def column_read(method: str, training: Training, rows: Sequence[TomogramRow]) -> str | None:
    """The column of the STAR file whose maps this training reads; None if it reads halves. UserError if, for want of a
    name, it would be another one for some tomograms than for others."""
    column: str | None = getattr(training, "input_column", None)
    if column not in (None, COLUMNS["deconvolved"]) or method in OF_HALVES:
        return column
    without = [row.name for row in rows if row.deconvolved is None]
    if (training.CTF_mode is not None and column is None) or len(without) == len(rows):
        return COLUMNS["tomogram"]
    if without:
        raise UserError(
            f"{without[0]} has no deconvolved tomogram, and others have: run deconv for all, or set input_column"
        )
    return COLUMNS["deconvolved"]


def maps_of_method(method: str, *, corrects_ctf: bool, column: str | None) -> Choice:
    """Halves, for methods that compare them; else the map in `column`; else the full tomogram, deconvolved if there is
    such a one and the network is not to correct the CTF itself."""
    if column is not None:
        return map_in(column)
    if method in OF_HALVES:
        return halves
    return one_map if corrects_ctf else deconvolved_map
