"""Sections of a recipe that are plain values: what each setting means, its default, and what it may be."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from mscon.errors import RecipeError


@dataclass(frozen=True, slots=True)
class Data:
    """What is read from the table, what of it is encoded, and how images are stored.

    Attributes:
        input: what is encoded of a row: "image"; "vectors", made elsewhere; "columns" of the table itself; or "text".
        image: the column with image paths, relative to the table (or to --images).
        vectors: a .npy or .safetensors file beside the table (or in --images) with a vector for each row of it, in
            order; or a column of lists of numbers.
        numbers, categories: columns that are encoded where `input` is "columns".
        text: the column that is encoded where `input` is "text", by a frozen sentence encoder.
        text_model: which: "" for the one that comes with the extra `text`, else a name or folder that
            sentence-transformers takes.
        image_size: side in pixels of the stored square images.
        channels: 1 grey, 3 colour.
        split: column that says train, validation, test or unseen. A table without it is split here.
        split_by: column whose groups must stay together in a split made here; "" for by row.
        split_shares: train, validation, test shares of a split made here.
        split_seed: seed of a split made here. Not train.seed, so that runs of several seeds are tested on
            the same rows and can be compared row by row.
        missing_images: "error", or "drop" to leave out rows whose image cannot be read.
    """

    input: Literal["image", "vectors", "columns", "text"] = "image"
    image: str = "image"
    vectors: str = ""
    numbers: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    text: str = "text"
    text_model: str = ""
    image_size: int = 64
    channels: int = 3
    split: str = "split"
    split_by: str = ""
    split_shares: tuple[float, ...] = (0.7, 0.1, 0.2)
    split_seed: int = 0
    missing_images: Literal["error", "drop"] = "error"

    @property
    def encoded(self) -> tuple[str, ...]:
        """Columns of text or numbers that the encoder reads."""
        return {"columns": (*self.numbers, *self.categories), "text": (self.text,)}.get(self.input, ())


@dataclass(frozen=True, slots=True)
class Encoder:
    """Attributes:
    name: "small_cnn", "efficientnet_lite0" (its weights come with the extra `pretrained`), any timm model; for
        inputs that are vectors "mlp", "linear" or "identity"; or a torch module of your own as "pkg.mod:Class": images
        or vectors in, one vector of features a row out.
    pretrained: start from published weights.
    width: channels of the first stage of small_cnn; others ignore it.
    settings: arguments of a class of your own, of a timm model, such as drop_path_rate, or of mlp (units = 256,
        layers = 2) and linear (units).
    mean, std: of each channel, of images in [0, 1], which the encoder is to see as (image - mean) / std; empty for
        what it expects: timm knows, a class of your own may have attributes of these names, else 0.5.
    start_from: a run directory whose encoder's weights to begin with, relative to where mscon is started; "" for none.
    frozen: leave the encoder as it began, its norms in evaluation mode; only heads, objective and weighting learn.
    """

    name: str = "small_cnn"
    pretrained: bool = False
    width: int = 32
    settings: Mapping[str, Any] = field(default_factory=dict)
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    start_from: str = ""
    frozen: bool = False


@dataclass(frozen=True, slots=True)
class Views:
    """Random views of a row, each row drawing for itself. What a data set can bear is said here.

    `corrupt` and `noise` are for inputs that are vectors, `crop` and all below it for images.

    Attributes:
        count: views of each row in a batch; contrastive objectives want 2.
        corrupt: probability that a column of a vector is exchanged for that of another training row. SCARF has 0.6.
            With 0 here and for `noise`, views of a row are equal.
        noise: standard deviation of what is added to a vector, in those of each dimension.
        crop: least and greatest share of the area that is kept.
        aspect: greatest ratio of sides of a crop, and its inverse the least; 1 keeps squares.
        flip: probability of a mirror image. A glyph must not be mirrored.
        rotate: greatest angle either way, degrees.
        shear: greatest shear angle either way, degrees.
        translate: greatest shift either way, as a share of the side.
        brightness, contrast, saturation: greatest relative change, 0 for none.
        hue: greatest turn of the colour circle, at most 0.5.
        colour_probability: share of views whose colours are changed at all.
        grey: probability of dropping colour.
        blur: probability of blurring.
        blur_sigma: range of its standard deviation, as a share of the side.
    """

    count: int = 2
    corrupt: float = 0.3
    noise: float = 0.0
    crop: tuple[float, ...] = (0.2, 1.0)
    aspect: float = 4 / 3
    flip: float = 0.5
    rotate: float = 0.0
    shear: float = 0.0
    translate: float = 0.0
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.1
    colour_probability: float = 0.8
    grey: float = 0.2
    blur: float = 0.0
    blur_sigma: tuple[float, ...] = (0.005, 0.02)


@dataclass(frozen=True, slots=True)
class Candidates:
    """What anchors are compared with. The names are those of `MSConLoss`.

    Attributes:
        gather_across_devices: where several processes share a batch, compare with all of it, so that their number
            changes nothing; else each process compares its own part only, which needs no exchange of projections.
            One process has it all either way.
        memory_size: compare with so many samples of past batches too (XBM); 0 for none. They carry no gradient, and
            a row never meets its own past.
        warm_up: steps during which the memory fills but is not used: projections of an untrained network are soon
            out of date.
    """

    gather_across_devices: bool = True
    memory_size: int = 0
    warm_up: int = 0


@dataclass(frozen=True, slots=True)
class Train:
    """How long and how fast.

    Attributes:
        epochs: passes over the training rows.
        batch_size: rows a step; each gives `views.count` samples. With [triplets] it is triplets, of three rows.
        mini_batch_size: rows that the encoder holds at once; 0 for the whole batch. The loss still compares the
            whole batch, for one more forward pass of the encoder (cached gradients).
        optimiser: "adamw" or "sgd".
        learning_rate: greatest learning rate of encoder and heads.
        layer_decay: each layer of a timm encoder learns at so many times the rate of the next, the last one and the
            heads at learning_rate; 1 for all alike. 0.65 to 0.9 is usual for pretrained transformers.
        weighting_learning_rate: of the log-variances of a learned weighting, which get no decay.
        momentum: of sgd.
        weight_decay: of matrices and filters; biases and norms get none.
        schedule: "one_cycle", "cosine" or "constant", per step.
        precision: "auto" resolves once, by hardware, to "float32" or "bfloat16".
        channels_last: "auto" likewise to "yes" or "no".
        checkpoint: "last", or "best" on the validation rows: which weights the probes use.
        validate_every: epochs between validations.
        seed: of everything random.
    """

    epochs: int = 24
    batch_size: int = 64
    mini_batch_size: int = 0
    optimiser: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = 6e-3
    layer_decay: float = 1.0
    weighting_learning_rate: float = 1e-2
    momentum: float = 0.9
    weight_decay: float = 1e-4
    schedule: Literal["one_cycle", "cosine", "constant"] = "one_cycle"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    channels_last: Literal["auto", "yes", "no"] = "auto"
    checkpoint: Literal["last", "best"] = "last"
    validate_every: int = 1
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Sampler:
    """Which rows make a batch.

    Attributes:
        name: "shuffled", by chance; or "balanced", where a class that is in a batch is there with enough rows, so that
            its rows find positives. Either way a row comes at most once an epoch.
        at_least: rows of a class in a batch that has any of it; of numbers, rows of near values. For "balanced" only.
        columns: for which similarities; empty for all.
        short: rows for which no batch can hold enough of each of their classes: "leave_out" of the epoch, and say how
            many; or "keep", so that every row comes once and floors hold as far as they can.
    """

    name: Literal["shuffled", "balanced"] = "shuffled"
    at_least: int = 2
    columns: tuple[str, ...] = ()
    short: Literal["leave_out", "keep"] = "leave_out"


@dataclass(frozen=True, slots=True)
class Triplets:
    """Batches of triplets (anchor, near, far) in place of batches of rows. Then `train.batch_size` counts triplets.

    Attributes:
        count: triplets of an epoch, the same in all epochs, drawn by train.seed from the training rows; 0 for
            batches of rows. The paper has 10,000. With `folder` the most that are taken of its lists, 0 for all.
        validation: the same of the validation rows.
        folder: in which `filenames.json` and `tripletlists/` lie, the files of CSN's authors; relative to the folder
            of the images. "" to draw triplets.
        lists: name of the list of a column where that is not the column's own (column = name).
    """

    count: int = 0
    validation: int = 1_000
    folder: str = ""
    lists: Mapping[str, str] = field(default_factory=dict)

    @property
    def used(self) -> bool:
        return self.count > 0 or self.folder != ""


@dataclass(frozen=True, slots=True)
class Probe:
    """What is asked of the frozen features.

    Attributes:
        columns: label columns to probe besides those trained on: the tasks the run never saw.
        largest: for a column, keep only its so many largest classes (column = number).
        neighbours: columns asked of nearest neighbours among the rows of unseen groups; empty for
            all probed columns that have labels there.
        kinds: the kind of a column that was not trained on, if it is not classes: column = "continuous", or with
            settings column = { name = "ordinal", levels = ["low", "high"] }.
        draws: bootstrap draws of an interval.
    """

    columns: tuple[str, ...] = ()
    largest: Mapping[str, int] = field(default_factory=dict)
    neighbours: tuple[str, ...] = ()
    kinds: Mapping[str, Any] = field(default_factory=dict)
    draws: int = 1_000


@dataclass(frozen=True, slots=True)
class Log:
    """Where the log goes besides the run's log.jsonl, which is always written.

    Attributes:
        to: "tensorboard", "wandb" (offline unless the environment variable WANDB_MODE says otherwise), or both;
            both come with the extra `tracking`.
    """

    to: tuple[Literal["tensorboard", "wandb"], ...] = ()


@dataclass(frozen=True, slots=True)
class Derived:
    """A label column made from another, for this run only; the table is left as it is.

    Attributes:
        column: name of the new column, which no column of the table may have.
        of: the column it is made from: one of the table, or one derived before.
        redraw: share of its labels that are drawn anew, each uniformly over all classes of the training
            rows, so that some are drawn as they were. 0 is a copy. Which rows a larger share takes holds
            those that a smaller one does.
        rows: whose labels: "train", as if only they had been labelled carelessly, or "all", which makes
            a column that goes along with the other.
        seed: of the draw. Not train.seed, so that runs of several seeds see the same labels.
    """

    column: str
    of: str
    redraw: float = 0.0
    rows: Literal["train", "all"] = "train"
    seed: int = 0


# What must hold of each setting, and how it is said.
_RANGES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "data.image_size": (lambda v: 8 <= v <= 2048, "from 8 to 2048 pixels"),
    "data.channels": (lambda v: v in (1, 3), "1 or 3"),
    "data.split_shares": (
        lambda v: len(v) == 3 and all(s >= 0 for s in v) and v[0] > 0 and abs(sum(v) - 1) < 1e-6,
        "three shares (train, validation, test) that sum to 1, the first above 0",
    ),
    "encoder.width": (lambda v: 4 <= v <= 1024, "from 4 to 1024"),
    "encoder.mean": (lambda v: all(0 <= m <= 1 for m in v), "shares of white, from 0 to 1 (or empty)"),
    "encoder.std": (lambda v: all(0 < s < float("inf") for s in v), "above 0 (or empty)"),
    "views.count": (lambda v: 1 <= v <= 16, "from 1 to 16"),
    "views.corrupt": (lambda v: 0 <= v < 1, "a probability below 1"),
    "views.noise": (lambda v: 0 <= v < float("inf"), "0 or above"),
    "views.crop": (lambda v: len(v) == 2 and 0 < v[0] <= v[1] <= 1, "two shares with 0 < first <= second <= 1"),
    "views.aspect": (lambda v: 1 <= v <= 4, "from 1 to 4"),
    "views.flip": (lambda v: 0 <= v <= 1, "a probability"),
    "views.grey": (lambda v: 0 <= v <= 1, "a probability"),
    "views.blur": (lambda v: 0 <= v <= 1, "a probability"),
    "views.colour_probability": (lambda v: 0 <= v <= 1, "a probability"),
    "views.rotate": (lambda v: 0 <= v <= 180, "from 0 to 180 degrees"),
    "views.shear": (lambda v: 0 <= v < 90, "from 0 to 90 degrees"),
    "views.translate": (lambda v: 0 <= v < 1, "a share of the side below 1"),
    "views.brightness": (lambda v: 0 <= v <= 1, "from 0 to 1"),
    "views.contrast": (lambda v: 0 <= v <= 1, "from 0 to 1"),
    "views.saturation": (lambda v: 0 <= v <= 1, "from 0 to 1"),
    "views.hue": (lambda v: 0 <= v <= 0.5, "from 0 to 0.5"),
    "views.blur_sigma": (
        lambda v: len(v) == 2 and 0 < v[0] <= v[1] <= 0.5,
        "two shares of the side, 0 < first <= second",
    ),
    "sampler.at_least": (lambda v: v >= 2, "at least 2: one row of a class has no other to be alike to"),
    "triplets.count": (lambda v: v >= 0, "0 (batches of rows) or more"),
    "triplets.validation": (lambda v: v >= 0, "0 or more"),
    "candidates.memory_size": (lambda v: v >= 0, "0 (no memory) or more samples"),
    "candidates.warm_up": (lambda v: v >= 0, "0 or more steps"),
    "train.epochs": (lambda v: v >= 1, "at least 1"),
    "train.batch_size": (lambda v: v >= 2, "at least 2: one row has nothing to be compared with"),
    "train.mini_batch_size": (lambda v: v >= 0, "0 (the whole batch) or more"),
    "train.learning_rate": (lambda v: 0 < v < float("inf"), "above 0"),
    "train.layer_decay": (lambda v: 0 < v <= 1, "above 0, at most 1"),
    "train.weighting_learning_rate": (lambda v: 0 < v < float("inf"), "above 0"),
    "train.momentum": (lambda v: 0 <= v < 1, "from 0 to below 1"),
    "train.weight_decay": (lambda v: 0 <= v < float("inf"), "0 or above"),
    "train.validate_every": (lambda v: v >= 1, "at least 1"),
    "train.seed": (lambda v: 0 <= v < 2**32, "from 0 to 2^32 - 1"),
    "derived.redraw": (lambda v: 0 <= v <= 1, "a share from 0 to 1"),
    "derived.seed": (lambda v: 0 <= v < 2**32, "from 0 to 2^32 - 1"),
    "probe.draws": (lambda v: v >= 100, "at least 100"),
    "probe.kinds": (
        lambda v: all(isinstance(k.get("name") if isinstance(k, dict) else k, str) for k in v.values()),
        'for each column a name, or a table with a name, such as { price = "continuous" }',
    ),
    "probe.largest": (lambda v: all(n >= 2 for n in v.values()), "at least 2 classes for each column"),
}


def in_range(section: Any, name: str, where: str) -> Any:
    """The section itself, if every value is one that can be meant.

    Raises:
        RecipeError: for the first that cannot, with what is allowed.
    """
    for f in dataclasses.fields(section):
        rule = _RANGES.get(f"{name}.{f.name}")
        got = getattr(section, f.name)
        if rule and not rule[0](got):
            raise RecipeError(f"{where}[{name}] {f.name} must be {rule[1]}, got {got!r}.")
    return section
