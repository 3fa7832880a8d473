"""load(): from images in Python to the vectors that probes are fitted on, whatever form the images have."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

import mscon
from mscon.deploy import packed
from mscon.deploy.packed import pack
from mscon.errors import RecipeError, RunError, TableError
from mscon.evaluate.features import extract

OWN_ENCODER = "deploy_own_encoder:Pooled"


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    """A module of the user's own, which leaves a mark when it is imported."""
    folder = tmp_path / "own"
    folder.mkdir()
    mark = folder / "imported"
    (folder / "deploy_own_encoder.py").write_text(
        "import pathlib\nimport torch\n"
        f"pathlib.Path({str(mark)!r}).touch()\n"
        "class Pooled(torch.nn.Module):\n"
        "    mean = [0.25]\n"
        "    def __init__(self, width):\n"
        "        super().__init__()\n"
        "        self.filters = torch.nn.Conv2d(1, width, 3)\n"
        "    def forward(self, images):\n"
        "        return self.filters(images).mean(dim=(2, 3))\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(__import__("sys").modules, "deploy_own_encoder", raising=False)
    return mark


@pytest.fixture
def own_recipe():
    return [f"encoder.name={OWN_ENCODER}", "encoder.settings={width=5}"]


def test_vectors_are_those_that_the_probes_saw(run, pictures):
    extract(run, progress=False)
    model = mscon.load(run.root)
    paths = [pictures / f"{n}.png" for n in range(12)]
    np.testing.assert_array_equal(model.embed(paths), run.read_features())
    for number, similarity in enumerate(("kind", "colour")):
        np.testing.assert_array_equal(model.embed(paths, similarity), run.read_projections()[number])


def test_batches_change_nothing(run, pictures):
    model = mscon.load(run.root)
    paths = [str(pictures / f"{n}.png") for n in range(12)]
    np.testing.assert_allclose(model.embed(paths, batch_size=5), model.embed(paths), rtol=1e-5, atol=1e-6)


def test_an_image_may_come_as_path_picture_array_or_tensor(run, pictures):
    model = mscon.load(run.root)
    path = pictures / "3.png"
    with Image.open(path) as picture:
        picture.load()
    array = np.asarray(picture)
    tensor = torch.from_numpy(array.transpose(2, 0, 1).copy())
    expected = model.embed(path)
    assert expected.shape == (1, 16)
    for form in (str(path), picture, array, tensor, [path], array[None], tensor[None]):
        np.testing.assert_array_equal(model.embed(form), expected)
    mixed = model.embed([path, picture, array, tensor])
    np.testing.assert_allclose(mixed, np.repeat(expected, 4, axis=0), rtol=1e-5, atol=1e-6)


def test_grey_pixels_of_the_stored_size_are_taken_as_they_are(run):
    model = mscon.load(run.root)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 1, 16, 16), dtype=np.uint8)
    direct = model.encode(pixels)
    np.testing.assert_array_equal(model.embed(torch.from_numpy(pixels)), direct)
    np.testing.assert_array_equal(model.embed(list(pixels[:, 0])), direct)


def test_no_images_give_no_vectors(run):
    assert mscon.load(run.root).embed([]).shape == (0, 16)
    assert mscon.load(run.root).embed([], "kind").shape == (0, 6)


def test_projections_have_unit_length(run, pictures):
    vectors = mscon.load(run.root).embed([pictures / "0.png", pictures / "1.png"], "colour")
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)


def test_an_unknown_similarity_names_the_known(run):
    with pytest.raises(RunError, match=r"no similarity 'color'. Did you mean 'colour'.*\n.*'kind', 'colour'"):
        mscon.load(run.root).embed([], "color")


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (np.zeros((4, 4), dtype=np.float32), "is numpy|type float32|is float"),
        (torch.zeros(1, 3, 4, 4), "torch.float32; they must be uint8"),
        ([7], "picture 0 is int"),
        ([torch.zeros(5, 4, 4, dtype=torch.uint8)], r"shape \[5, 4, 4\]; a tensor must be"),
        ([np.zeros((4, 4, 2), dtype=np.uint8)], r"shape \[4, 4, 2\]; an array must be"),
    ],
)
def test_what_is_no_picture_is_refused(run, what, words):
    with pytest.raises(ValueError, match=words):
        mscon.load(run.root).embed(what)


def test_files_that_are_no_images_are_named(run, pictures, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    with pytest.raises(TableError, match=r"2 images cannot be used: .*broken.png' is not an image.*gone.png' does not"):
        mscon.load(run.root).embed([broken, pictures / "0.png", tmp_path / "gone.png"])


def test_a_batch_size_of_nothing_is_refused(run, pictures):
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        mscon.load(run.root).embed([pictures / "0.png"], batch_size=0)


def test_a_picture_is_left_as_it_was(run, pictures):
    with Image.open(pictures / "3.png") as picture:
        picture.load()
        before = picture.copy()
        mscon.load(run.root).embed(picture)
        assert (picture.mode, picture.size, picture.tobytes()) == (before.mode, before.size, before.tobytes())


def test_weights_that_broke_down_give_no_vectors(run, pictures):
    model = mscon.load(run.root)
    next(model.model.parameters()).data.fill_(float("nan"))
    with pytest.raises(RunError, match="not finite"):
        model.embed(pictures / "0.png")


def test_best_and_last_are_other_models(run):
    last, best = mscon.load(run.root), mscon.load(run.root, checkpoint="best")
    assert last.digest != best.digest
    assert (last.checkpoint, best.checkpoint) == ("last", "best")
    assert last.digest == mscon.load(run.root, checkpoint="last").digest


def test_nowhere_is_said_to_be_nowhere(tmp_path):
    with pytest.raises(RunError, match="not a run directory: it does not exist"):
        mscon.load(tmp_path / "nowhere")


# packed -------------------------------------------------------------------------------------------


def test_a_packed_model_computes_what_its_run_does_without_it(run, pictures, tmp_path):
    paths = [pictures / f"{n}.png" for n in range(12)]
    expected = mscon.load(run.root).embed(paths), mscon.load(run.root).embed(paths, "colour")
    config = pack(run, tmp_path / "model.safetensors")
    run.root.rename(tmp_path / "gone")
    for source in (tmp_path / "model.safetensors", tmp_path):
        model = mscon.load(source)
        np.testing.assert_array_equal(model.embed(paths), expected[0])
        np.testing.assert_array_equal(model.embed(paths, "colour"), expected[1])
    assert json.loads((tmp_path / "model.json").read_text()) == config
    assert config["similarities"] == ["kind", "colour"]
    assert (config["features"], config["projection"]) == (16, 6)


def test_a_packed_model_is_read_without_mscon(run, tmp_path):
    pack(run, tmp_path / "model.safetensors", "best")
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        config = json.loads(file.metadata()["mscon"])
        names = set(file.keys())
    assert config["checkpoint"] == "best"
    assert "encoder.backbone.stages.0.0.weight" in names
    assert not any("optimiser" in name for name in names)


def test_a_packed_model_tells_nothing_of_the_machine(run, pictures, tmp_path):
    pack(run, tmp_path / "model.safetensors")
    assert str(tmp_path).encode() not in (tmp_path / "model.safetensors").read_bytes()


def forged(path, run, **changes):
    """A packed file whose description says something else."""
    pack(run, path)
    with safe_open(path, "pt") as file:
        config = json.loads(file.metadata()["mscon"])
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    for key, value in changes.items():
        place = config
        *steps, last = key.split("__")
        for step in steps:
            place = place[step]
        place[last] = value
    metadata = {"mscon": json.dumps(config)}
    save_file(tensors, path, metadata={**metadata, "sha256": packed.checksum(metadata, tensors)})


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"format": "other"}, RunError, "is no packed model of mscon"),
        ({"version": 3}, RunError, "version 3 of the format, but this mscon reads versions 1 and 2"),
        ({"recipe": []}, RunError, "does not describe its model"),
        ({"recipe__encoder__name": "resnet81"}, RecipeError, "no encoder 'resnet81'"),
        ({"recipe__encoder__witdh": 3}, RecipeError, "no setting 'witdh'. Did you mean 'width'"),
        ({"recipe__encoder__width": 8}, RunError, "not of the model that it describes"),
        ({"recipe__data__image_size": 10**9}, RecipeError, "from 8 to 2048"),
        ({"recipe__encoder__name": None}, RecipeError, r"\[encoder\] name must be text"),
        ({"similarities": ["kind"]}, RunError, "not of the model"),
        (
            {"recipe__encoder__name": "hf-hub:someone/model"},
            RunError,
            "'hf-hub:someone/model'. To import is to execute",
        ),
        ({"recipe__heads": {"name": "os:system"}}, RunError, "code from outside mscon: 'os:system'"),
    ],
)
def test_a_forged_description_is_refused(run, tmp_path, changes, error, words):
    forged(tmp_path / "model.safetensors", run, **changes)
    with pytest.raises(error, match=words):
        mscon.load(tmp_path / "model.safetensors")


def test_weights_of_another_run_or_a_hub_are_not_asked_for(run, tmp_path):
    forged(tmp_path / "model.safetensors", run, recipe__encoder__start_from="nowhere", recipe__encoder__frozen=True)
    assert mscon.load(tmp_path / "model.safetensors").recipe.encoder.start_from == ""


@pytest.mark.parametrize("content", [b"", b"no tensors", b"\x00" * 64])
def test_what_is_no_safetensors_file_is_said_to_be_none(tmp_path, content):
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(RunError, match="not a safetensors file"):
        mscon.load(tmp_path / "model.safetensors")


def test_plain_tensors_are_no_packed_model(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(RunError, match="is no packed model"):
        mscon.load(tmp_path / "model.safetensors")


def test_a_packed_model_has_one_checkpoint(run, tmp_path):
    pack(run, tmp_path / "model.safetensors")
    with pytest.raises(RunError, match="one checkpoint only, so there is no 'best'"):
        mscon.load(tmp_path / "model.safetensors", checkpoint="best")


def test_a_packed_model_is_called_what_it_is(run, tmp_path):
    with pytest.raises(RunError, match=r"ends in \.safetensors"):
        pack(run, tmp_path / "model.bin")


# code from outside --------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["run", "packed", "folder"])
def test_code_from_outside_is_not_imported_unless_trusted(make_run, own_recipe, own_module, tmp_path, form):
    import sys

    run = make_run(*own_recipe)
    source = run.root
    if form != "run":
        (tmp_path / "folder").mkdir()
        pack(run, tmp_path / "folder" / packed.FILE_NAME)
        source = tmp_path / "folder" / (packed.FILE_NAME if form == "packed" else "")
    assert own_module.exists()
    own_module.unlink()
    del sys.modules["deploy_own_encoder"]
    with pytest.raises(RunError, match=f"code from outside mscon: '{OWN_ENCODER}'"):
        mscon.load(source)
    assert not own_module.exists()
    model = mscon.load(source, trust=True)
    assert own_module.exists()
    assert model.width() == 5
    assert model.model.encoder.mean.flatten().tolist() == [0.25]


@pytest.mark.parametrize("value", [3, None])
def test_what_is_neither_an_image_nor_several_is_refused(run, value):
    with pytest.raises(ValueError, match=f"not {type(value).__name__}"):
        mscon.load(run.root).embed(value)
