from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from mscon.model.small_cnn import SmallCNN
from mscon.run.recipe import Train
from mscon.train import environment

WITH_UNITS = {"amx_bf16", "amx_tile", "avx512f"}
NARROW, WIDE = SmallCNN(1), nn.Conv2d(3, 512, 3)
GROUPED = nn.Sequential(nn.Conv2d(3, 512, 1), nn.Conv2d(512, 512, 3, groups=512))
FLAT = nn.Linear(3, 3)


def resolved(monkeypatch, encoder, flags=WITH_UNITS, device="cpu", vendor="GenuineIntel", **values):
    monkeypatch.setattr(environment, "cpu_info", {"flags": " ".join(flags), "vendor_id": vendor}.get)
    settings = environment.resolve(replace(Train(), **values), encoder, device)
    return settings.precision, settings.channels_last


@pytest.mark.parametrize(
    ("encoder", "expected"),
    [
        (NARROW, ("bfloat16", "yes")),
        (WIDE, ("bfloat16", "yes")),
        (GROUPED, ("float32", "yes")),
        (FLAT, ("bfloat16", "yes")),
    ],
    ids=["narrow", "wide", "grouped", "flat"],
)
def test_a_cpu_with_matrix_units_uses_them_but_not_for_grouped_filters(monkeypatch, encoder, expected):
    assert resolved(monkeypatch, encoder) == expected


@pytest.mark.parametrize("flags", [set(), {"avx512f", "avx512_bf16"}])
@pytest.mark.parametrize(
    ("encoder", "layout"),
    [(NARROW, "yes"), (WIDE, "no"), (GROUPED, "yes"), (FLAT, "no")],
    ids=["narrow", "wide", "grouped", "flat"],
)
def test_a_cpu_without_them_trains_in_float32(monkeypatch, encoder, layout, flags):
    assert resolved(monkeypatch, encoder, flags) == ("float32", layout)


@pytest.mark.parametrize(
    ("encoder", "expected"),
    [(NARROW, ("bfloat16", "yes")), (GROUPED, ("float32", "yes"))],
    ids=["narrow", "grouped"],
)
def test_amds_avx512_bfloat16_pays_where_intels_does_not(monkeypatch, encoder, expected):
    flags = {"avx512f", "avx512_bf16"}
    assert resolved(monkeypatch, encoder, flags, vendor="AuthenticAMD") == expected
    assert resolved(monkeypatch, encoder, {"avx512f"}, vendor="AuthenticAMD") == ("float32", "yes")


@pytest.mark.parametrize(
    ("capability", "expected"),
    [((7, 5), ("float32", "no")), ((8, 0), ("bfloat16", "yes")), ((9, 0), ("bfloat16", "yes"))],
)
def test_a_gpu_uses_bfloat16_from_ampere_on(monkeypatch, capability, expected):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    assert resolved(monkeypatch, GROUPED, device="cuda") == expected


def test_apples_gpu_is_left_in_float32(monkeypatch):
    assert resolved(monkeypatch, NARROW, device="mps") == ("float32", "no")


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("channels_last", ["yes", "no"])
def test_what_the_recipe_says_is_kept(monkeypatch, precision, channels_last):
    for encoder in (NARROW, GROUPED):
        assert resolved(monkeypatch, encoder, precision=precision, channels_last=channels_last) == (
            precision,
            channels_last,
        )


def test_resolving_twice_changes_nothing(monkeypatch):
    monkeypatch.setattr(environment, "cpu_info", lambda key: " ".join(WITH_UNITS))
    once = environment.resolve(Train(), NARROW, "cpu")
    monkeypatch.setattr(environment, "cpu_info", lambda key: "")
    assert environment.resolve(once, NARROW, "cpu") == once


def test_an_unresolved_precision_does_not_start():
    with pytest.raises(ValueError, match="call resolve"):
        environment.start(Train(precision="auto"), "cpu")


def test_starting_says_nothing(capfd):
    fabric = environment.start(replace(Train(), precision="bfloat16"), "cpu")
    with fabric.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
    out = capfd.readouterr()
    assert (out.out, out.err) == ("", "")


def test_random_numbers_follow_from_the_seed_and_the_callers_go_on():
    torch.manual_seed(1)
    torch.rand(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    torch.rand(1)
    drawn = []
    for _ in range(2):
        with environment.repeatable(7, "cpu"):
            assert torch.backends.cudnn.deterministic
            drawn.append(torch.rand(3))
    assert torch.equal(*drawn)
    assert torch.equal(torch.rand(1), expected)
    assert not torch.backends.cudnn.deterministic
