"""The loss of three label columns, forward and backward, against other implementations.

    python benchmarks/loss.py                    every size; about half an hour, 20 GB of memory for the peers
    python benchmarks/loss.py --quick            128 and 512 rows, a minute
    python benchmarks/loss.py --loop             what the module costs in a loop of one's own, half a minute
    python benchmarks/loss.py --write            also writes benchmarks/results/loss.md and loss.json

Columns of 4, 5 and 20 classes, every row in two views, temperature 0.1, float32, random vectors of any
length. Each implementation scales them to unit length itself and gives the sum of the columns' means.

    mscon           `mscon.method.kernels.contrast`, what `MSConLoss` spends its time in
    MSConLoss       all of it: counting positives, floors, weights and the summary included
    PML             pytorch-metric-learning's SupConLoss, a call for each column
    masked          the formula of SupContrast's losses.py with its masks, a call for each column
    plain           masks, `log_softmax` and one `bmm` for all columns: as good as plain PyTorch gets
    compiled        the same through torch.compile

Up to 2,048 rows they take turns in one process; above, each has a process to itself, since the memory
that one leaves behind slows the next. Extra memory is the growth of the peak resident set of a process
that had computed a small loss before. The floor is the arithmetic that no exact method with symmetry can
do without, at the rates this machine shows: 4 N^2 d C operations of a matrix product and N^2 C exponentials.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from machine import machine, memory_gb
from torch import Tensor, nn
from torch.nn.functional import normalize

from mscon import MSConLoss
from mscon.method.kernels import contrast
from mscon.method.pairs import LazyPairs
from mscon.method.similarities.categorical import same_class
from mscon.run import atomic

RESULTS = Path(__file__).parent / "results"
CLASSES = (4, 5, 20)
TEMPERATURE = 0.1
SIZES = (128, 512, 2_048, 8_192, 16_384, 65_536)
DIMS = (128, 32)
PEERS = ("PML", "masked", "plain", "compiled")
NAMES = ("mscon", "MSConLoss", *PEERS)
MOST_INTERLEAVED = 2_048
MOST_COMPILED = 2_048  # compiling takes longer than any number above would tell
MOST_BFLOAT16 = 16_384

Loss = Callable[[], Tensor]


@dataclass
class Problem:
    """Vectors of three similarities and the labels of their rows; views one block after the other."""

    vectors: Tensor
    labels: Tensor

    @classmethod
    def draw(cls, rows: int, dim: int, device: torch.device | str = "cpu") -> Problem:
        generator = torch.Generator().manual_seed(0)
        labels = torch.stack([torch.randint(0, k, (rows // 2,), generator=generator).repeat(2) for k in CLASSES])
        vectors = torch.randn(len(CLASSES), rows, dim, generator=generator)
        return cls(vectors.to(device).requires_grad_(), labels.to(device))


def implementations(problem: Problem, names: Iterable[str]) -> dict[str, Loss]:
    x, labels = problem.vectors, problem.labels
    rows = labels.shape[1]

    def by_kernel() -> Loss:
        ids = torch.arange(rows, device=x.device)

        def loss() -> Tensor:
            pairs = [LazyPairs(same_class, y, y, ids, ids, True) for y in labels]  # a batch has pairs of its own
            return contrast(x, None, pairs, temperature=TEMPERATURE, cosine=True).mean(dim=1).sum()

        return loss

    def by_module() -> Loss:
        criterion = MSConLoss([f"column {i}" for i in range(len(CLASSES))], TEMPERATURE, "equal")
        views = x.detach().unflatten(1, (2, rows // 2)).transpose(1, 2).contiguous().requires_grad_()
        columns = labels[:, : rows // 2].T.contiguous()
        return lambda: criterion(views, columns)

    def by_pml() -> Loss:
        from pytorch_metric_learning.losses import SupConLoss

        criterion = SupConLoss(temperature=TEMPERATURE)
        return lambda: torch.stack([criterion(v, y) for v, y in zip(x, labels, strict=True)]).sum()

    def by_masks() -> Loss:
        return lambda: torch.stack([masked(v, y) for v, y in zip(x, labels, strict=True)]).sum()

    def by_plain() -> Loss:
        return lambda: plain(x, labels)

    def by_compiled() -> Loss:
        compiled = torch.compile(plain, dynamic=False)
        return lambda: compiled(x, labels)

    makers = dict(zip(NAMES, (by_kernel, by_module, by_pml, by_masks, by_plain, by_compiled), strict=True))
    return {name: makers[name]() for name in names}


def masked(vectors: Tensor, labels: Tensor) -> Tensor:
    """SupContrast's formula on one view a row: two masks, a detached maximum, log of a sum of exponentials."""
    z = normalize(vectors, dim=1)
    alike = (labels[:, None] == labels[None, :]).float()
    logits = z @ z.T / TEMPERATURE
    logits = logits - logits.max(dim=1, keepdim=True).values.detach()
    others = torch.ones_like(alike).fill_diagonal_(0)
    alike = alike * others
    log_prob = logits - torch.log((torch.exp(logits) * others).sum(dim=1, keepdim=True))
    count = alike.sum(dim=1)
    return -((alike * log_prob).sum(dim=1) / torch.where(count < 1e-6, 1.0, count)).mean()


def plain(vectors: Tensor, labels: Tensor) -> Tensor:
    """All columns at once with what torch has."""
    z = normalize(vectors, dim=2)
    own = torch.eye(vectors.shape[1], dtype=torch.bool, device=vectors.device)
    logits = (torch.bmm(z, z.mT) / TEMPERATURE).masked_fill(own, -torch.inf)
    alike = (labels[:, :, None] == labels[:, None, :]) & ~own
    total = torch.where(alike, logits.log_softmax(dim=2), 0.0).sum(dim=2)
    return -(total / alike.sum(dim=2).clamp_min(1)).mean(dim=1).sum()


def seconds(loss: Loss, repeats: int = 1) -> float:
    """Of one forward and backward."""
    start = time.perf_counter()
    for _ in range(repeats):
        loss().backward()
    return (time.perf_counter() - start) / repeats


def in_turns(rows: int, dim: int, names: list[str], budget: float) -> dict[str, list[float]]:
    """Seconds of each implementation in each round; at least three rounds, more while the budget lasts."""
    losses = implementations(Problem.draw(rows, dim), names)
    values = {name: loss().item() for name, loss in losses.items()}
    for name, value in values.items():
        assert abs(value - values["mscon"]) < 1e-3, f"{name} computes another number: {values}"
    once = {name: min(seconds(loss) for _ in range(2)) for name, loss in losses.items()}
    repeats = {name: max(1, int(0.02 / once[name])) for name in losses}
    rounds: dict[str, list[float]] = {name: [] for name in losses}
    start = time.perf_counter()
    while len(rounds["mscon"]) < 3 or (time.perf_counter() - start < budget and len(rounds["mscon"]) < 200):
        for name, loss in losses.items():
            rounds[name].append(seconds(loss, repeats[name]))
    return rounds


def added(budget: float) -> float:
    """Seconds that `MSConLoss` takes beyond its kernel at 128 samples: of calls in turns, each one's 5 % quantile.

    That quantile is the time of a call that nothing else on the machine got in the way of.
    """
    losses = implementations(Problem.draw(128, 128), ("mscon", "MSConLoss"))
    times: dict[str, list[float]] = {name: [] for name in losses}
    start = time.perf_counter()
    while len(times["mscon"]) < 500 or time.perf_counter() - start < budget:
        for name, loss in losses.items():
            times[name].append(seconds(loss))
    kernel, module = (statistics.quantiles(values[100:], n=20)[0] for values in times.values())
    return module - kernel


def breaks() -> int:
    """Breaks of the graph where torch.compile compiles a step with `MSConLoss` in it."""
    encoder, criterion = nn.Linear(8, 8), MSConLoss(["a", "b"], TEMPERATURE)
    labels = torch.randint(0, 4, (128, 2))

    def step(inputs: Tensor) -> Tensor:
        features = encoder(inputs).tanh()  # not relu, which leaves rows of zeros by chance
        return criterion(torch.stack([features, 2 * features]), labels) + features.square().mean()

    return int(torch._dynamo.explain(step)(torch.randn(128, 8)).graph_break_count)


def importing() -> float:
    """How many times as long as torch the loss takes to be imported: medians of fresh interpreters, processor time."""
    times: dict[str, list[float]] = {"import torch": [], "from mscon import MSConLoss": []}
    for _ in range(7):
        for statement, own in times.items():
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([sys.executable, "-c", statement], check=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            own.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    torch_alone, ours = (statistics.median(own) for own in times.values())
    return ours / torch_alone


def in_ones_own_loop(budget: float) -> str:
    """What using the module costs, in a sentence each."""
    return (
        f"`MSConLoss` adds {1e3 * added(budget):.2f} ms to its kernel at 128 samples. torch.compile breaks the graph "
        f"of a step {breaks()} time(s), at the loss. `from mscon import MSConLoss` takes {importing():.2f} times as "
        "long as `import torch`."
    )


def alone(rows: int, dim: int, name: str, budget: float) -> dict[str, float | list[float]]:
    """Seconds, and megabytes that the peak grew by, in this process, which has done nothing else of this size."""
    for loss in implementations(Problem.draw(256, dim), [name]).values():
        loss().backward()
    problem = Problem.draw(rows, dim)
    loss = implementations(problem, [name])[name]
    times: list[float] = []
    extra = extra_megabytes(lambda: times.append(seconds(loss)), problem)
    while sum(times) < budget and len(times) < 5:
        times.append(seconds(loss))
    return {"seconds": times[1:] or times, "extra_mb": extra}


def extra_megabytes(run: Callable[[], object], problem: Problem) -> float:
    """Megabytes that the peak of this process grows by while it first computes a loss and its gradient."""
    gradient_mb = problem.vectors.numel() * 4 / 1e6  # that of the vectors belongs to the caller
    gc.collect()
    # Linux starts a new peak at this; importing torch has left a higher one than most losses reach.
    Path("/proc/self/clear_refs").write_text("5", "ascii")
    before = _peak_mb()
    run()
    return max(0.0, _peak_mb() - before - gradient_mb)


def _peak_mb() -> float:
    """Largest resident set so far. Not `ru_maxrss`: that cannot be started anew."""
    status = Path("/proc/self/status").read_text("utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) * 1024 / 1e6


def in_fresh_process(what: str, threads: int, *arguments: object) -> dict | None:
    """What a function of this file says in a process of its own; None if that ran out of memory."""
    command = [sys.executable, __file__, "--threads", str(threads), "--child", what, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None


def needs_gb(name: str, rows: int) -> float:
    """Memory of a peer, whose graph holds five matrices of all pairs for each column."""
    return 0 if name not in PEERS else 5.5 * 4 * rows**2 * len(CLASSES) / 1024**3


def rates() -> tuple[float, float]:
    """Operations a second of a float32 product, and seconds of an exponential in cache."""
    a, small = torch.randn(2_048, 2_048), torch.randn(384, 384)
    out, small_out = torch.empty_like(a), torch.empty_like(small)

    def best(call: Callable[[], object], repeats: int) -> float:
        times = []
        for _ in range(7):
            start = time.perf_counter()
            for _ in range(repeats):
                call()
            times.append((time.perf_counter() - start) / repeats)
        return min(times)

    product = best(lambda: torch.mm(a, a, out=out), 3)
    return 2 * len(a) ** 3 / product, best(lambda: torch.exp(small, out=small_out), 300) / small.numel()


def bfloat16(rows: int, dim: int, budget: float) -> tuple[float, float]:
    """Median seconds of the loss of unit vectors in float32, and of the same in bfloat16."""
    problem = Problem.draw(rows, dim)
    ids = torch.arange(rows)
    pairs = [LazyPairs(same_class, y, y, ids, ids, True) for y in problem.labels]
    unit = normalize(problem.vectors.detach(), dim=2)
    rounds: dict[torch.dtype, list[float]] = {torch.float32: [], torch.bfloat16: []}
    inputs = {dtype: unit.to(dtype).requires_grad_() for dtype in rounds}
    start = time.perf_counter()
    while len(rounds[torch.float32]) < 4 or time.perf_counter() - start < budget:
        for dtype, vectors in inputs.items():
            rounds[dtype].append(seconds(lambda v=vectors: contrast(v, None, pairs, temperature=TEMPERATURE).mean()))
    narrow, wide = (statistics.median(rounds[dtype][1:]) for dtype in (torch.bfloat16, torch.float32))
    return wide, narrow


def step_parts(kind: str, rows: int, budget: float) -> float:
    """Median seconds of encoder and heads, forward, backward and SGD, of a batch of `rows` samples."""
    import timm

    from mscon.model.small_cnn import SmallCNN

    if kind == "ResNet-18, 32 px":
        encoder: nn.Module = timm.create_model("resnet18", num_classes=0)
        encoder.conv1, encoder.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
        images, width = torch.rand(rows, 3, 32, 32), 512
    elif kind == "small CNN, 32 px":
        encoder, images, width = SmallCNN(3), torch.rand(rows, 3, 32, 32), 128
    else:
        encoder, images, width = nn.Identity(), torch.rand(rows, 512), 512
    heads = nn.ModuleList(nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 128)) for _ in CLASSES)
    parameters = [*encoder.parameters(), *heads.parameters()]
    optimiser = torch.optim.SGD(parameters, lr=1e-3, momentum=0.9)
    times: list[float] = []
    while len(times) < 4 or (sum(times) < budget and len(times) < 50):
        start = time.perf_counter()
        features = encoder(images)
        torch.stack([head(features) for head in heads]).pow(2).mean().backward()
        optimiser.step()
        optimiser.zero_grad()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def measure(sizes: list[int], dims: list[int], threads: int, budget: float, with_compiled: bool) -> list[dict]:
    """A record for each size and dim."""
    flops, exp_seconds = rates()
    records = []
    for rows in sizes:
        for dim in dims:
            names = [
                name
                for name in NAMES
                if (name != "compiled" or (with_compiled and rows <= MOST_COMPILED))
                and needs_gb(name, rows) < memory_gb("MemAvailable")
            ]
            fresh = {name: in_fresh_process("alone", threads, rows, dim, name, budget) for name in names}
            extra = {name: done["extra_mb"] for name, done in fresh.items() if done}
            if rows <= MOST_INTERLEAVED:
                times = in_turns(rows, dim, names, budget)
            else:
                times = {name: done["seconds"] for name, done in fresh.items() if done}
            floor = 4 * rows**2 * dim * len(CLASSES) / flops + rows**2 * len(CLASSES) * exp_seconds
            record = {"rows": rows, "dim": dim, "seconds": times, "extra_mb": extra, "floor_seconds": floor}
            if MOST_INTERLEAVED <= rows <= MOST_BFLOAT16:
                record["bfloat16"] = bfloat16(rows, dim, budget / 4)
            records.append(record)
            print(row_of(record), flush=True)
    return records


HEADER = (
    "| rows | dim | "
    + " | ".join(f"{name}, ms" for name in NAMES)
    + " | mscon against "
    + " / ".join(PEERS)
    + " | over the floor | extra MB: "
    + " / ".join(NAMES)
    + " | bfloat16 |\n"
    + "|" + "---|" * (len(NAMES) + 6)
)  # fmt: skip


def row_of(record: dict) -> str:
    median = {name: statistics.median(times) for name, times in record["seconds"].items()}
    cells = [f"{1e3 * median[name]:,.3g}" if name in median else "" for name in NAMES]
    ratios = [f"{median[name] / median['mscon']:.1f}" if name in median else "-" for name in PEERS]
    extra = [f"{record['extra_mb'][name]:,.0f}" if name in record["extra_mb"] else "-" for name in NAMES]
    wide, narrow = record.get("bfloat16", (0, 0))
    return (
        f"| {record['rows']:,} | {record['dim']} | {' | '.join(cells)} | {' / '.join(ratios)} | "
        f"{median['mscon'] / record['floor_seconds']:.2f} | {' / '.join(extra)} | "
        f"{f'{wide / narrow:.2f}x' if wide else ''} |"
    )


def shares(records: list[dict], budget: float) -> list[str]:
    """Rows of the table of the loss's share of a step, at dim 128."""
    lines = []
    for kind, rows in (
        ("ResNet-18, 32 px", 128),
        ("small CNN, 32 px", 128),
        ("frozen features", 128),
        ("frozen features", 2_048),
    ):
        record = next((r for r in records if (r["rows"], r["dim"]) == (rows, 128)), None)
        if record is None:
            continue
        rest = step_parts(kind, rows, budget)
        median = {name: statistics.median(times) for name, times in record["seconds"].items()}
        cells = [f"{100 * t / (t + rest):.2g} %" if (t := median.get(name)) else "" for name in NAMES]
        lines.append(f"| {kind} | {rows:,} | {1e3 * rest:,.3g} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="rows, views counted")
    parser.add_argument("--dims", type=int, nargs="+", default=list(DIMS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--budget", type=float, default=10.0, help="seconds for each cell (default: 10)")
    parser.add_argument("--quick", action="store_true", help="128 and 512 rows, a second a cell, nothing compiled")
    parser.add_argument("--loop", action="store_true", help="only what using the module costs, half a minute")
    parser.add_argument("--write", action="store_true", help="write the tables under benchmarks/results")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.child:
        _, rows, dim, name, budget = arguments.child
        print(json.dumps(alone(int(rows), int(dim), name, float(budget))))
        return
    if arguments.loop:
        print(in_ones_own_loop(arguments.budget))
        return
    sizes = [128, 512] if arguments.quick else arguments.sizes
    budget = min(1.0, arguments.budget) if arguments.quick else arguments.budget
    where = machine()
    print(HEADER)
    records = measure(sizes, arguments.dims, arguments.threads, budget, not arguments.quick)
    steps = shares(records, budget)
    step_header = (
        "| encoder | samples | rest of the step, ms | " + " | ".join(NAMES) + " |\n|" + "---|" * (len(NAMES) + 3)
    )
    text = "\n".join(
        [
            "# The loss of three columns, forward and backward\n",
            HEADER,
            *map(row_of, records),
            "\nMedians. bfloat16: how much faster than float32 mscon is on unit vectors that are bfloat16.\n",
            "## Share of the loss in a training step, three heads of 128\n",
            step_header,
            *steps,
            "\n## In a loop of one's own\n",
            in_ones_own_loop(budget),
            f"\n{where}.\n\nMade by `python benchmarks/loss.py --write`; what the columns mean is said there.\n",
        ]
    )
    print("\n" + text)
    if arguments.write:
        atomic.write_text(RESULTS / "loss.md", text)
        record = {"machine": where, "classes": CLASSES, "temperature": TEMPERATURE, "results": records}
        atomic.write_text(RESULTS / "loss.json", json.dumps(record, indent=1, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
