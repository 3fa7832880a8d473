"""mscon export --to onnx: a graph for any number of images, kept only if it computes what torch does."""

from __future__ import annotations

import json

import numpy as np
import pytest

import mscon
from exports import needs_onnx
from mscon.cli import main
from mscon.deploy import onnx as exports
from mscon.deploy.onnx import export_onnx
from mscon.errors import RunError


@needs_onnx
def test_the_graph_computes_what_torch_does_for_any_number_of_images(run, tmp_path, pictures):
    import onnxruntime

    exported = export_onnx(run, tmp_path / "model.onnx", projections=True)
    assert exported.difference <= 1e-5
    assert exported.real and exported.images == 12
    session = onnxruntime.InferenceSession(str(exported.path), providers=["CPUExecutionProvider"])
    model = mscon.load(run.root)
    for count in (1, 2, 7):
        pixels = np.random.default_rng(count).integers(0, 256, (count, 1, 16, 16), dtype=np.uint8)
        features, projections = session.run(["features", "projections"], {"images": pixels})
        np.testing.assert_allclose(features, model.encode(pixels), rtol=1e-4, atol=1e-5)
        for number, similarity in enumerate(model.similarities):
            np.testing.assert_allclose(projections[:, number], model.encode(pixels, similarity), rtol=1e-4, atol=1e-5)


@needs_onnx
def test_metadata_say_how_to_make_such_images(run, tmp_path):
    import onnxruntime

    exported = export_onnx(run, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(exported.path), providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    assert (metadata["image_size"], metadata["channels"], metadata["white"]) == ("16", "1", "0.0")
    assert json.loads(metadata["mean"]) == [0.5] and json.loads(metadata["std"]) == [0.5]
    assert json.loads(metadata["similarities"]) == ["kind", "colour"]
    assert json.loads(metadata["model"])["features"] == 16
    (features,) = session.get_outputs()
    assert features.name == "features" and features.shape[1] == 16
    assert str(tmp_path).encode() not in exported.path.read_bytes()


@needs_onnx
def test_random_images_serve_where_those_of_the_run_are_gone(run, tmp_path, pictures):
    for picture in pictures.glob("*.png"):
        picture.unlink()
    assert not export_onnx(run, tmp_path / "model.onnx").real


@needs_onnx
def test_a_graph_that_computes_something_else_is_not_kept(run, tmp_path, monkeypatch, capsys):
    out = tmp_path / "model.onnx"
    earlier = export_onnx(run, out, projections=True).path.read_bytes()
    before = set(tmp_path.iterdir())
    apart = exports._apart
    monkeypatch.setattr(exports, "_apart", lambda one, other: apart(one, other * 1.01))
    assert main(["export", str(run.root), "--to", "onnx", "--out", str(out)]) == 2
    assert "differs from torch by 0.01, more than the tolerance of 0.0001" in capsys.readouterr().err
    assert out.read_bytes() == earlier
    assert set(tmp_path.iterdir()) == before
    assert main(["export", str(run.root), "--to", "onnx", "--out", str(out), "--tolerance", "0.1"]) == 0
    assert "largest difference to torch: 0.01 (tolerance 0.1), on 12 images of the run" in capsys.readouterr().out


@needs_onnx
def test_an_encoder_that_cannot_be_exported_is_one_message(run, tmp_path, monkeypatch):
    import torch

    def fails(*args, **kwargs):
        raise RuntimeError("no such operator\nwith a long story")

    monkeypatch.setattr(torch.onnx, "export", fails)
    with pytest.raises(RunError, match="'small_cnn' cannot be exported: no such operator") as raised:
        export_onnx(run, tmp_path / "model.onnx")
    assert "long story" not in str(raised.value)


def test_without_the_packages_the_message_names_the_extra(run, tmp_path, monkeypatch):
    monkeypatch.setattr(exports.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RunError, match=r'pip install "mscon\[onnx\]"'):
        export_onnx(run, tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()


@pytest.mark.parametrize("kind", ["onnx", "safetensors"])
def test_a_file_is_called_what_it_is(run, tmp_path, kind, capsys):
    assert main(["export", str(run.root), "--to", kind, "--out", str(tmp_path / "model.bin")]) == 2
    assert f"ends in .{kind}" in capsys.readouterr().err


def test_apart_is_a_share_of_the_largest_number():
    one = np.asarray([[10.0, 0.1]], dtype=np.float32)
    assert exports._apart(one, one + np.asarray([[0.0, 0.1]], dtype=np.float32)) == pytest.approx(0.01)
    assert exports._apart(one / 1000, one / 1000 + 0.01) == pytest.approx(1)
    assert exports._apart(one, one[:, :1]) == float("inf")
    assert exports._apart(one, one * np.float32("nan")) == float("inf")


def test_the_command_packs_a_run(run, tmp_path, pictures, capsys):
    out = tmp_path / "model.safetensors"
    assert main(["export", str(run.root), "--to", "safetensors", "--out", str(out), "--checkpoint", "best"]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    expected = mscon.load(run.root, checkpoint="best").embed(pictures / "1.png")
    np.testing.assert_array_equal(mscon.load(out).embed(pictures / "1.png"), expected)
