"""What settings are made of: a field with its sentence, its unit and its other spellings, in a frozen section."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.fields import FieldInfo


def _as_list(value: Any) -> Any:
    """`96,192,192` and a bare number are lists too."""
    if isinstance(value, str):
        return [part for part in value.strip("[]() ").replace(",", " ").split() if part]
    return value if isinstance(value, list | tuple) else [value]


def _none_as_nothing(value: Any) -> Any:
    """A key without a value is an empty list."""
    return () if value is None else value


def _as_texts(value: Any) -> Any:
    """A bare text is a list of one."""
    return [value] if isinstance(value, str) else value


def _or_nothing(value: Any) -> Any:
    """IsoNet2's scripts write the absence of a value as a word."""
    return None if isinstance(value, str) and value.strip().lower() == "none" else value


def _as_whole(value: Any) -> Any:
    """A choice between numbers, from a command line, is text."""
    return int(value) if isinstance(value, str) and value.strip().isdecimal() else value


def _readable(network: str) -> str:
    if network.lower().endswith((".h5", ".hdf5", ".keras")):
        raise ValueError(
            f"{network} is a network of IsoNet 1, of TensorFlow, which cannot be read here: train one with refine, "
            "or take a .pt file of IsoNet2"
        )
    return network


FromText = BeforeValidator(_as_whole)
Network = Annotated[str, AfterValidator(_readable)]
Absent = BeforeValidator(_or_nothing)
Numbers = Annotated[tuple[float, ...], BeforeValidator(_as_list)]
NumbersOrNone = Annotated[Numbers, BeforeValidator(_none_as_nothing)]
Whole = Annotated[tuple[int, ...], BeforeValidator(_as_list)]
Texts = Annotated[tuple[str, ...], BeforeValidator(_as_texts)]
Sizes = Annotated[tuple[int, int, int], BeforeValidator(_as_list)]


def option(
    default: Any,
    help: str,
    *,
    unit: str | None = None,
    aliases: tuple[str, ...] = (),
    positional: bool = False,
    **limits: Any,
) -> Any:
    """A field: its sentence for `--help` and the README, its unit, its other spellings, its limits (ge, gt, le, lt)."""
    extra: dict[str, Any] = {"unit": unit, "aliases": list(aliases), "positional": positional}
    field: FieldInfo = Field(default=default, description=help, json_schema_extra=extra, **limits)
    return field


class WithoutEffect(ValueError):  # noqa: N818
    """Settings that were changed and do nothing beside the others: a mistake in a job file, left out of a command."""

    def __init__(self, reasons: Mapping[str, str]) -> None:
        """`reasons`: of each name, why, and the cure."""
        super().__init__("\n".join(f"{name} has no effect: {reason}" for name, reason in reasons.items()))
        self.reasons = reasons


class Section(BaseModel):
    """One stage's settings: frozen, and strict about names."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True, allow_inf_nan=False)
