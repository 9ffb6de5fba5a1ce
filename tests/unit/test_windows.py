"""Attention in shifted windows, against sums over pairs of tokens."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from isonet2.models.vtunet import PatchExpanding
from isonet2.models.windows import (
    PatchMerging,
    TransformerBlock,
    WindowAttention,
    Windows,
    transformer_blocks,
)

WINDOW = 4
CHANNELS = 32  # two heads


def slow_attention(
    layer: WindowAttention, tokens: np.ndarray, source: np.ndarray, *, size: int, shift: int
) -> np.ndarray:
    """For (s, s, s, C), token by token: those see each other that lie between the same window borders, which stand at
    shift, shift + size, …: no rolling, no padding."""
    weights = {name: value.detach().double().numpy() for name, value in layer.state_dict().items()}
    places = list(itertools.product(range(len(tokens)), repeat=3))
    flat, seen = tokens.reshape(-1, CHANNELS), source.reshape(-1, CHANNELS)
    q = flat @ weights["queries.weight"].T + weights["queries.bias"]
    k = seen @ weights["keys.weight"].T
    v = seen @ weights["values.weight"].T + weights["values.bias"]
    table = weights["bias"].reshape(layer.heads, *[2 * WINDOW - 1] * 3)
    d = CHANNELS // layer.heads
    mixed = np.zeros_like(flat)
    for a, here in enumerate(places):
        window = [math.floor((p - shift) / size) for p in here]
        others = [b for b, there in enumerate(places) if [math.floor((p - shift) / size) for p in there] == window]
        for head in range(layer.heads):
            of_head = slice(head * d, (head + 1) * d)
            steps = [tuple(p - r + WINDOW - 1 for p, r in zip(here, places[b], strict=True)) for b in others]
            scores = np.array([q[a, of_head] @ k[b, of_head] / math.sqrt(d) for b in others])
            scores += [table[(head, *step)] for step in steps]
            share = np.exp(scores) / np.exp(scores).sum()
            mixed[a, of_head] = share @ v[others][:, of_head]
    result: np.ndarray = (mixed @ weights["together.weight"].T + weights["together.bias"]).reshape(tokens.shape)
    return result


@pytest.mark.parametrize(
    ("side", "shifted", "size", "shift"),
    [
        (4, True, 4, 0),  # one window has nothing to be shifted against
        (3, False, 3, 0),
        (8, False, 4, 0),
        (8, True, 4, 2),
        (6, True, 3, 1),
        (5, False, 3, 0),  # padded to 6
        (5, True, 3, 1),
        (7, True, 4, 2),
    ],
)
def test_attention_is_the_sum_over_the_tokens_between_the_same_borders(
    side: int, shifted: bool, size: int, shift: int
) -> None:
    torch.manual_seed(0)
    layer = WindowAttention(CHANNELS, WINDOW, shifted=shifted).double()
    layer.bias.data.normal_()
    tokens, source = torch.randn(2, 1, side, side, side, CHANNELS, dtype=torch.float64)
    for seen in (tokens, source):
        found = layer(tokens, None if seen is tokens else seen)[0].detach().numpy()
        expected = slow_attention(layer, tokens[0].numpy(), seen[0].numpy(), size=size, shift=shift)
        assert np.abs(found - expected).max() < 1e-10


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize("side", range(1, 14))
def test_every_cube_is_cut_into_small_windows_and_joined_again(side: int, shifted: bool) -> None:
    windows = Windows(side, WINDOW, shifted=shifted)
    tokens = torch.arange(2.0 * side**3 * 3).reshape(2, side, side, side, 3)
    cut = windows.cut(tokens)
    assert cut.shape == (2, windows.count**3, windows.size**3, 3)
    assert windows.size <= WINDOW
    assert windows.padding < windows.count
    assert torch.equal(windows.join(cut), tokens)


def reach(block: torch.nn.Module, place: tuple[int, int, int]) -> list[tuple[int, int]]:
    """First and last token along each axis that change when the one at `place` of 8³ does."""
    torch.manual_seed(1)
    tokens = torch.randn(1, 8, 8, 8, 16, dtype=torch.float64)
    moved = tokens.clone()
    moved[(0, *place)] += 1
    with torch.no_grad():
        changed = (block(moved) - block(tokens)).abs().amax(-1)[0].nonzero()
    return list(zip(changed.amin(0).tolist(), changed.amax(0).tolist(), strict=True))


def test_shifted_windows_carry_what_a_token_says_to_the_windows_beside_its_own() -> None:
    assert reach(TransformerBlock(16, WINDOW, shifted=False).double(), (1, 5, 3)) == [(0, 3), (4, 7), (0, 3)]
    assert reach(TransformerBlock(16, WINDOW, shifted=True).double(), (1, 5, 3)) == [(0, 1), (2, 5), (2, 5)]
    both = transformer_blocks(16, 2, WINDOW).double()
    assert reach(both, (1, 5, 3)) == [(0, 5), (2, 7), (0, 5)]


def test_a_cube_that_moves_by_whole_windows_moves_what_is_made_of_it() -> None:
    torch.manual_seed(0)
    tokens = torch.randn(1, 8, 8, 8, 16, dtype=torch.float64)
    block = TransformerBlock(16, WINDOW, shifted=False).double()
    by = {"shifts": (4, 0, 4), "dims": (1, 2, 3)}
    assert torch.allclose(block(tokens.roll(**by)), block(tokens).roll(**by), atol=1e-12)
    assert not torch.allclose(block(tokens.roll(1, 1)), block(tokens).roll(1, 1), atol=1e-3)


def test_merging_puts_the_eight_tokens_of_each_cube_side_by_side() -> None:
    merging = PatchMerging(2, 16)
    merging.normalise = torch.nn.Identity()
    torch.nn.init.eye_(merging.reduce.weight)
    tokens = torch.randn(1, 4, 4, 4, 2)
    found = merging(tokens)
    corners = list(itertools.product((0, 1), repeat=3))
    for n, (z, y, x) in enumerate(corners):
        assert torch.equal(found[..., 2 * n : 2 * n + 2], tokens[:, z::2, y::2, x::2])


def test_expanding_is_the_inverse_of_merging() -> None:
    merging, expanding = PatchMerging(2, 16), PatchExpanding(16, 2)
    for layer in (merging, expanding):
        layer.normalise.forward = torch.nn.Identity().forward
    for linear in (merging.reduce, expanding.widen):
        torch.nn.init.eye_(linear.weight)
    tokens = torch.randn(2, 4, 4, 4, 2)
    assert torch.equal(expanding(merging(tokens)), tokens)
