"""Sections of a recipe that are plain values: what each setting means, its default, and which values it may have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

from msgspec import Meta

from mscon.run.ranges import AtLeast1, NotNegative, Positive, Probability, Seed, Share


@dataclass(frozen=True, slots=True)
class Encoder:
    """The network that turns an input into features.

    Attributes:
        name: for images "small_cnn", "efficientnet_lite0" (needs the extra `pretrained`), "efficientnet_lite1" or
            "efficientnet_lite2" (whose weights are packages of their own), or any timm model; for vectors, columns and
            text "mlp", "linear" or "identity"; or a torch module of your own, "pkg.mod:Class", which gets a batch of
            images or vectors and returns one feature vector per row.
        pretrained: start from published weights.
        width: channels of the first stage of small_cnn; other encoders ignore it.
        settings: arguments of your own class, of a timm model (such as drop_path_rate), of mlp (units = 256,
            layers = 2) or of linear (units = 256).
        mean, std: per channel; images in [0, 1] are normalised to (image - mean) / std. Empty for the values that a
            timm model was trained with, for the attributes of these names of your own class, else 0.5.
        start_from: a run directory whose encoder weights training starts from, relative to the current folder.
        weights: a file of weights that the encoder starts from, .safetensors or .pth (tensors only; nothing in it is
            executed), relative to the current folder. Of a timm model in its own or its publisher's names; else in the
            names of the class. A classifier in the file is left out.
        frozen: do not train the encoder, and keep its normalisation layers in evaluation mode; only its adapter, heads,
            objective and weighting learn.
        adapter: a network that learns behind a frozen encoder of images: { name = "mlp", units = 256, layers = 2 } or
            { name = "linear", units = 256 }; empty for none, and then features stay those of the frozen encoder.
        stored_views: views of each image whose features a frozen encoder computes once and stores in the cache folder;
            batches then draw from these, and training reads no images. 0 to encode new views in every step.
        lora: rank of LoRA adapters on the linear layers, which learn in place of the weights; 0 to train the weights.
    """

    name: str = "small_cnn"
    pretrained: bool = False
    width: Annotated[int, Meta(ge=4, le=1024)] = 32
    settings: Mapping[str, Any] = field(default_factory=dict)
    mean: tuple[Annotated[float, Meta(ge=0, le=1, description="a number from 0 (black) to 1 (white)")], ...] = ()
    std: tuple[Positive, ...] = ()
    start_from: str = ""
    weights: str = ""
    frozen: bool = False
    adapter: Mapping[str, Any] = field(default_factory=dict)
    stored_views: Annotated[int, Meta(ge=0, le=256)] = 0
    lora: Annotated[int, Meta(ge=0, le=1024, description="0 (no adapters) or a rank up to 1024")] = 0

    @property
    def bare(self) -> Encoder:
        """The same network without weights to start from, for those of a checkpoint to be loaded."""
        return replace(self, pretrained=False, start_from="", weights="")


@dataclass(frozen=True, slots=True)
class Views:
    """Random views (augmentations) of a row. Each row of a batch draws its own random values.

    `corrupt` and `noise` are for inputs that are vectors; `crop` and everything below it for images.

    Attributes:
        count: views of each row in a batch; contrastive objectives need 2.
        corrupt: probability that a number of a vector is replaced by that of another training row; 0.6 in the SCARF
            paper. With 0 here and for `noise` all views of a row are equal.
        noise: standard deviation of the noise added to a vector, as a multiple of that of each dimension.
        crop: smallest and largest share of the area that a random crop keeps.
        aspect: largest ratio of the sides of a crop (and smallest 1 / aspect); 1 keeps squares.
        flip: probability of mirroring the image left to right.
        rotate: largest rotation either way, in degrees.
        shear: largest shear angle either way, in degrees.
        translate: largest shift either way, as a share of the side.
        brightness, contrast, saturation: largest relative change; 0 for none.
        hue: largest turn of the colour circle.
        colour_probability: probability that brightness, contrast, saturation and hue are changed at all.
        grey: probability of removing colour.
        blur: probability of blurring.
        blur_sigma: range of the blur's standard deviation, as a share of the side.
    """

    count: Annotated[int, Meta(ge=1, le=16)] = 2
    corrupt: Annotated[float, Meta(ge=0, lt=1, description="a probability below 1")] = 0.3
    noise: NotNegative = 0.0
    crop: tuple[float, float] = (0.2, 1.0)
    aspect: Annotated[float, Meta(ge=1, le=4)] = 4 / 3
    flip: Probability = 0.5
    rotate: Annotated[float, Meta(ge=0, le=180, description="a number from 0 to 180 (degrees)")] = 0.0
    shear: Annotated[float, Meta(ge=0, lt=90, description="a number from 0 to below 90 (degrees)")] = 0.0
    translate: Annotated[float, Meta(ge=0, lt=1, description="a share of the side, from 0 to below 1")] = 0.0
    brightness: Share = 0.4
    contrast: Share = 0.4
    saturation: Share = 0.4
    hue: Annotated[float, Meta(ge=0, le=0.5)] = 0.1
    colour_probability: Probability = 0.8
    grey: Probability = 0.2
    blur: Probability = 0.0
    blur_sigma: tuple[float, float] = (0.005, 0.02)

    def __post_init__(self) -> None:
        for name, (first, second), limit in (("crop", self.crop, 1.0), ("blur_sigma", self.blur_sigma, 0.5)):
            if not 0 < first <= second <= limit:
                must = f"{name} must be two shares with 0 < first <= second <= {limit:g}"
                raise ValueError(f"{must}, got {[first, second]}.")


@dataclass(frozen=True, slots=True)
class Candidates:
    """Which samples an anchor is compared with. The names are those of `MSConLoss`.

    Attributes:
        gather_across_devices: where several processes share a batch, compare with the samples of all of them, so that
            the number of processes changes nothing; false to compare only within each process.
        memory_size: also compare with this many samples of past batches (cross-batch memory, XBM); 0 for none. They
            get no gradient, and a row is never compared with its own past samples.
        warm_up: steps during which the memory fills but is not used, since projections still change quickly.
    """

    gather_across_devices: bool = True
    memory_size: Annotated[int, Meta(ge=0, description="0 (no memory) or a larger whole number")] = 0
    warm_up: Annotated[int, Meta(ge=0)] = 0


@dataclass(frozen=True, slots=True)
class Train:
    """How long to train, with which optimiser, and in which precision.

    Attributes:
        epochs: passes over the training rows. With 0 nothing is trained: the run holds the weights that training would
            start from, to be probed and compared with.
        batch_size: rows of a step; each row gives `views.count` samples. With [triplets] it counts triplets.
        mini_batch_size: rows that go through the encoder at once; 0 for the whole batch. The loss still compares the
            whole batch (gradient caching), at the cost of a second forward pass of the encoder.
        optimiser: "adamw" or "sgd".
        learning_rate: largest learning rate of encoder and heads.
        layer_decay: each layer of a timm encoder learns at this multiple of the next layer's rate; the last layer and
            the heads learn at learning_rate. 1 for one rate. 0.65 to 0.9 is usual for pretrained transformers.
        weighting_learning_rate: of the log-variances of a learned weighting, which have no weight decay.
        vicreg: weight of the variance and covariance terms of VICReg on the features, which keep them from collapsing;
            0 for none. 25 gives the weights of its paper.
        sigreg: weight of SIGReg on the features, their distance from a standard normal distribution; 0 for none.
        momentum: of sgd.
        weight_decay: of matrices and filters; biases and normalisation layers have none.
        schedule: of the learning rate: "one_cycle", "cosine" or "constant", per step.
        precision: "auto" chooses "float32" or "bfloat16" by the hardware.
        channels_last: "auto" chooses "yes" or "no" by the hardware and the encoder.
        checkpoint: which weights the probes use: those of the "last" epoch, or the "best" on the validation rows.
        validate_every: epochs between validations.
        checkpoint_minutes: minutes between checkpoints within an epoch; 0 to write one at the end of each epoch only.
        seed: of everything random.
    """

    epochs: Annotated[int, Meta(ge=0, description="0 (nothing is trained) or a larger whole number")] = 24
    batch_size: Annotated[
        int, Meta(ge=2, description="a whole number of at least 2: one row has nothing to be compared with")
    ] = 64
    mini_batch_size: Annotated[int, Meta(ge=0, description="0 (the whole batch) or a larger whole number")] = 0
    optimiser: Literal["adamw", "sgd"] = "adamw"
    learning_rate: Positive = 6e-3
    layer_decay: Annotated[float, Meta(gt=0, le=1)] = 1.0
    weighting_learning_rate: Positive = 1e-2
    vicreg: NotNegative = 0.0
    sigreg: NotNegative = 0.0
    momentum: Annotated[float, Meta(ge=0, lt=1)] = 0.9
    weight_decay: NotNegative = 1e-4
    schedule: Literal["one_cycle", "cosine", "constant"] = "one_cycle"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    channels_last: Literal["auto", "yes", "no"] = "auto"
    checkpoint: Literal["last", "best"] = "last"
    validate_every: AtLeast1 = 1
    checkpoint_minutes: NotNegative = 10.0
    seed: Seed = 0


@dataclass(frozen=True, slots=True)
class Sampler:
    """Which rows make a batch. A row comes at most once an epoch.

    Attributes:
        name: "shuffled" for random batches; or "balanced", where each class that is in a batch has at least
            `at_least` rows in it, so that they find positives.
        at_least: rows of each class in a batch; for numbers, rows of near values. For "balanced" only.
        columns: similarities for which this must hold; empty for all.
        short: what to do with rows for which no such batch can be formed: "leave_out" of the epoch, and report how
            many; or "keep", so that every row comes once and `at_least` holds as far as it can.
    """

    name: Literal["shuffled", "balanced"] = "shuffled"
    at_least: Annotated[int, Meta(ge=2, description="a whole number of at least 2: a single row finds no positive")] = 2
    columns: tuple[str, ...] = ()
    short: Literal["leave_out", "keep"] = "leave_out"


@dataclass(frozen=True, slots=True)
class Triplets:
    """Batches of triplets (anchor, near, far) in place of batches of rows. `train.batch_size` then counts triplets.

    Attributes:
        count: triplets of an epoch, drawn from the training rows by train.seed and the same in all epochs; 0 for
            batches of rows. With `folder` the most that are read of its lists, 0 for all.
        validation: the same for the validation rows.
        folder: folder with `filenames.json` and `tripletlists/`, the files of the authors of CSN, relative to the
            folder of the images; "" to draw triplets.
        lists: name of the list of a column where it is not the column's own name (column = name).
    """

    count: Annotated[int, Meta(ge=0, description="0 (batches of rows) or a larger whole number")] = 0
    validation: Annotated[int, Meta(ge=0)] = 1_000
    folder: str = ""
    lists: Mapping[str, str] = field(default_factory=dict)

    @property
    def used(self) -> bool:
        return self.count > 0 or self.folder != ""


@dataclass(frozen=True, slots=True)
class Probe:
    """What is predicted from the frozen features to evaluate them.

    Attributes:
        columns: label columns to probe besides those trained on: tasks that training never saw.
        largest: for a column, keep only this many of its largest classes (column = number).
        neighbours: columns scored by nearest neighbours; empty for all probed columns that have labels in those rows.
        neighbours_among: the rows that are compared with one another: those of split "unseen", whose groups training
            never saw, or those of "test".
        kinds: the kind of a column that was not trained on and has no classes: column = "continuous", or with settings
            column = { name = "ordinal", levels = ["low", "high"] }.
        draws: bootstrap draws of an interval.
    """

    columns: tuple[str, ...] = ()
    largest: Mapping[str, Annotated[int, Meta(ge=2)]] = field(default_factory=dict)
    neighbours: tuple[str, ...] = ()
    neighbours_among: Literal["unseen", "test"] = "unseen"
    kinds: Mapping[str, str | Mapping[str, Any]] = field(default_factory=dict)
    draws: Annotated[int, Meta(ge=100)] = 1_000

    def __post_init__(self) -> None:
        for column, kind in self.kinds.items():
            if not isinstance(kind, str) and not isinstance(kind.get("name"), str):
                must = 'must be a name, or a table such as { name = "continuous" }'
                raise ValueError(f"kinds.{column} {must}, got {kind!r}.")


@dataclass(frozen=True, slots=True)
class Log:
    """Where the log goes besides the run's log.jsonl, which is always written.

    Attributes:
        to: "tensorboard", "wandb" (offline unless the environment variable WANDB_MODE is set), or both; both come with
            the extra `tracking`.
    """

    to: tuple[Literal["tensorboard", "wandb"], ...] = ()
