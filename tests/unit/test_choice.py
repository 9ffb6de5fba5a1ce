"""Which method a training has, and which maps it reads, for every kind of list of tomograms."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from isonet2.data.choice import maps_for, maps_of_method, method_of
from isonet2.errors import UserError
from isonet2.io.star import TomogramRow
from isonet2.job.models import Denoise, Refine

BARE = TomogramRow(
    index=1, pixel_size_angstrom=10.0, tilt_min_deg=-60.0, tilt_max_deg=60.0, number_subtomos=1,
    extra={"rlnOther": "None"},
)  # fmt: skip
FULL = replace(BARE, tomogram="full.mrc")
HALVES = replace(BARE, half1="even/t.mrc", half2="odd/t.mrc")
BOTH = replace(HALVES, tomogram="full.mrc")
DECONVOLVED = replace(FULL, deconvolved="deconv.mrc")
ALL = replace(BOTH, deconvolved="deconv.mrc", extra={"rlnOther": "other.mrc"})


@pytest.mark.parametrize(
    ("rows", "method"),
    [
        ([FULL], "isonet2"),
        ([HALVES], "isonet2-n2n"),
        ([HALVES, BOTH], "isonet2-n2n"),
        ([BOTH, FULL], "isonet2"),
        ([FULL, DECONVOLVED], "isonet2"),
    ],
)
def test_what_the_list_allows_decides_where_nothing_is_said(rows: list[TomogramRow], method: str) -> None:
    assert method_of(Refine(), rows) == method


def test_where_the_list_allows_both_one_has_to_be_chosen() -> None:
    with pytest.raises(
        UserError, match=r"refine\.method: the STAR file has halves and full tomograms: choose"
    ) as caught:
        method_of(Refine(), [BOTH, ALL])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("rows", [[FULL], [HALVES], [BOTH], [HALVES, FULL]])
@pytest.mark.parametrize("named", ["isonet2", "isonet2-n2n"])
def test_a_method_that_is_named_holds_whatever_the_list_has(rows: list[TomogramRow], named: Any) -> None:
    assert method_of(Refine(method=named), rows) == named


@pytest.mark.parametrize(
    "settings", [{"noise_level": 0.2}, {"noise_level": (0.0, 0.1), "noise_start_iter": (1, 5)},
                 {"input_column": "rlnOther"}, {"with_deconv": True}]
)  # fmt: skip
@pytest.mark.parametrize("rows", [[FULL], [HALVES], [BOTH]])
def test_settings_of_one_map_alone_choose_isonet2(settings: dict[str, Any], rows: list[TomogramRow]) -> None:
    assert method_of(Refine(**settings), rows) == "isonet2"


@pytest.mark.parametrize("rows", [[FULL], [HALVES], [BOTH]])
def test_denoise_is_always_noise2noise(rows: list[TomogramRow]) -> None:
    assert method_of(Denoise(), rows) == "n2n"


HALF_MAPS = ("even/t.mrc", "odd/t.mrc")
REFUSED = {
    "halves": "two halves are needed, and the STAR file has none: run prepare_star with --even and --odd",
    "full": "a full tomogram is needed, and the STAR file has only halves: run prepare_star with --create_average",
    "column": "rlnOther is empty in the STAR file: choose another input_column",
}


@pytest.mark.parametrize(
    ("method", "corrects_ctf", "column", "maps"),
    [
        # of FULL, HALVES, BOTH, DECONVOLVED, ALL
        ("n2n", False, None, ["halves", HALF_MAPS, HALF_MAPS, "halves", HALF_MAPS]),
        ("n2n", True, None, ["halves", HALF_MAPS, HALF_MAPS, "halves", HALF_MAPS]),
        ("isonet2-n2n", False, None, ["halves", HALF_MAPS, HALF_MAPS, "halves", HALF_MAPS]),
        ("isonet2-n2n", True, None, ["halves", HALF_MAPS, HALF_MAPS, "halves", HALF_MAPS]),
        ("isonet2", False, None, ["full.mrc", "full", "full.mrc", "deconv.mrc", "deconv.mrc"]),
        ("isonet2", True, None, ["full.mrc", "full", "full.mrc", "full.mrc", "full.mrc"]),
        ("isonet2", False, "rlnOther", ["column", "column", "column", "column", "other.mrc"]),
        ("isonet2", True, "rlnOther", ["column", "column", "column", "column", "other.mrc"]),
        ("n2n", False, "rlnOther", ["column", "column", "column", "column", "other.mrc"]),
        ("isonet2", True, "rlnDeconvTomoName", ["full.mrc", None, "full.mrc", "deconv.mrc", "deconv.mrc"]),
    ],
)
def test_the_maps_of_a_method(method: str, corrects_ctf: bool, column: str | None, maps: list[Any]) -> None:
    choice = maps_of_method(method, corrects_ctf=corrects_ctf, column=column)
    for row, expected in zip((FULL, HALVES, BOTH, DECONVOLVED, ALL), maps, strict=True):
        if expected in REFUSED or expected is None:
            with pytest.raises(UserError, match=rf"^{row.name}: {REFUSED.get(expected, 'rlnDeconvTomoName is empty')}"):
                choice(row)
        else:
            assert choice(row) == (expected if isinstance(expected, tuple) else (expected,))


def test_a_training_reads_what_its_settings_say() -> None:
    assert maps_for("isonet2", Refine(method="isonet2"))(ALL) == ("deconv.mrc",)
    assert maps_for("isonet2", Refine(method="isonet2", CTF_mode="network"))(ALL) == ("full.mrc",)
    assert maps_for("isonet2", Refine(method="isonet2", input_column="rlnOther"))(ALL) == ("other.mrc",)
    assert maps_for("isonet2", Refine(method="isonet2", with_deconv=True))(ALL) == ("deconv.mrc",)
    assert maps_for("n2n", Denoise(CTF_mode="wiener"))(ALL) == HALF_MAPS
