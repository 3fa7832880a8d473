"""Verbs of the command line. Each loads what it needs when it is called, so that help comes at once."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import mscon
from mscon.errors import MSConError, OthersStopped

if TYPE_CHECKING:
    from mscon.recipe import Recipe
    from mscon.run import Run

_EXIT = """exit status: 0 done, 1 stopped on the way, 2 the recipe, the table or the run is at fault
(nothing was written)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; a user's mistake is one message and exit status 2, without a traceback."""
    parsed = _parser().parse_args(arguments)
    try:
        parsed.verb(parsed)
    except MSConError as error:
        # What all processes find wrong is said once. torchrun ends the others as soon as one has failed, so whoever
        # waits here is only heard if the first process found nothing wrong.
        time.sleep(2 * (_process() > 0) + 4 * isinstance(error, OthersStopped))
        print(f"mscon: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        if not _process():
            print("mscon: stopped.", file=sys.stderr)
        return 1
    return 0


def _process() -> int:
    """The number of this process among those that torchrun started; 0 without it."""
    return int(os.environ["RANK"]) if "TORCHELASTIC_RUN_ID" in os.environ else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mscon",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Learn one embedding from several notions of similarity at once.\n\n"
        "A table has one row per image and several label columns, some coarse, some fine,\n"
        "some noisy, some with holes. mscon trains one encoder on all of them, learns how\n"
        "much to trust each, and shows what the embedding is worth, also for tasks that it\n"
        "never saw.",
        epilog="start here:\n"
        "  mscon demo                                   the whole job on real glyphs, minutes\n"
        "  mscon list recipes                           recipes to start from\n"
        "  mscon check shoes.toml --table shoes.csv     is my table all right?\n"
        "  mscon train shoes.toml --table shoes.csv",
    )
    parser.add_argument("-V", "--version", action="version", version=f"mscon {mscon.__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    _demo(verbs)
    _prepare(verbs)
    _check(verbs)
    _train(verbs)
    _resume(verbs)
    _probe(verbs)
    _report(verbs)
    _embed(verbs)
    _export(verbs)
    _card(verbs)
    _push(verbs)
    _reproduce(verbs)
    _list(verbs)
    return parser


# What add_subparsers gives has no public name, and takes a type argument for type checkers only.
if TYPE_CHECKING:
    Verbs = argparse._SubParsersAction[argparse.ArgumentParser]
else:
    Verbs = argparse._SubParsersAction


def _verb(
    verbs: Verbs,
    name: str,
    run: Callable[[argparse.Namespace], None],
    summary: str,
    body: str,
    examples: str,
    status: str = _EXIT,
) -> argparse.ArgumentParser:
    parser = verbs.add_parser(
        name,
        help=summary,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=f"{summary[0].upper()}{summary[1:]}.\n\n{body}",
        epilog=f"examples:\n{examples}\n\n{status}",
    )
    parser.set_defaults(verb=run)
    return parser


# demo ---------------------------------------------------------------------------------------------


def _demo(verbs: Verbs) -> None:
    parser = _verb(
        verbs,
        "demo",
        _run_demo,
        "compare MSCon with its baselines on rendered glyphs",
        "Renders the installed font packages to a table of glyphs with five label columns,\n"
        "trains every method of the comparison on three of them, probes the frozen features\n"
        "on all five, and writes a report. Runs that are there already are not run again.\n"
        'Needs the fonts: pip install "mscon[fonts]".',
        "  mscon demo\n"
        "  mscon demo --seeds 5 --jobs 4 --out runs/demo5\n"
        "  mscon demo --quick        # one seed, a few epochs: does it work here?",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/demo"),
        metavar="DIR",
        help="where runs and report go (default: runs/demo)",
    )
    parser.add_argument("--seeds", type=_positive, default=3, metavar="N", help="runs of each method (default: 3)")
    parser.add_argument(
        "--jobs", type=_positive, default=None, metavar="N", help="runs side by side (default: one a core, at most 8)"
    )
    parser.add_argument("--quick", action="store_true", help="one seed and two epochs; the numbers mean nothing")
    parser.add_argument("--overwrite", action="store_true", help="train again what is there already")


def _run_demo(arguments: argparse.Namespace) -> None:
    from mscon import demo

    demo.demo(
        arguments.out, seeds=arguments.seeds, jobs=arguments.jobs, quick=arguments.quick, overwrite=arguments.overwrite
    )


# prepare ------------------------------------------------------------------------------------------


def _prepare(verbs: Verbs) -> None:
    parser = _verb(
        verbs,
        "prepare",
        _run_prepare,
        "turn a public data set into a table",
        "Writes a CSV table; `mscon train` takes it like any other. `mscon list sources` tells\n"
        "which data sets are known, with their settings.\n\n"
        "glyphs     renders installed fonts into ROOT: size, characters, per_family, seed,\n"
        "           families, unseen_families\n"
        "medic      reads the unpacked archive in ROOT; images stay where they are.\n"
        "             table=FILE.csv              where the table goes (default: beside the data)\n"
        "zappos50k  reads the unpacked archives in ROOT; images stay where they are.\n"
        "             rule=mask | strict          of category, closure and gender a cell counts if\n"
        "                                         it has one value, and one of the paper's; else the\n"
        "                                         cell is left empty, or the row left out\n"
        "             split_by=image | product    drawn for 70, 10, 20 %: images, as the paper, or\n"
        "                                         products, so that no shoe is in two splits\n"
        "             split_seed=0                of that draw\n"
        "             brands=20                   so many largest brands are kept; 0 keeps all\n"
        "             images=NAME                 which images' folder, where there are two\n"
        "             table=FILE.csv              as above\n\n"
        "What became of rows and cells is told on standard error, the table's path on standard\n"
        "output. Nothing is downloaded: where files are missing, it says where they come from.",
        "  mscon prepare glyphs data/glyphs\n"
        "  mscon prepare zappos50k data/zappos --set rule=strict --set split_by=product\n"
        "  mscon prepare medic data/MEDIC --set table=medic.csv      # then --images data/MEDIC",
        "exit status: 0 done, 2 the data is not there or not as it should be (nothing was written).",
    )
    parser.add_argument("source", metavar="SOURCE", help="name of the data set")
    parser.add_argument("root", metavar="ROOT", type=Path, help="folder with the data, or to make it in")
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], help="a setting of the data set; repeatable"
    )


def _run_prepare(arguments: argparse.Namespace) -> None:
    from mscon import settings
    from mscon.data import sources
    from mscon.errors import TableError

    prepare = sources.find(arguments.source)
    known = settings.of_function(prepare, ("root",))
    given = dict(settings.assignment(text) for text in arguments.set)
    settings.refuse_unknown(given, known, arguments.source, "")
    values = {
        key: settings.typed(value, known[key].hint, f"[{arguments.source}] {key}") for key, value in given.items()
    }
    try:
        print(prepare(arguments.root, **values))
    except ValueError as error:  # a setting of the right type that makes no sense
        raise TableError(f"{arguments.source}: {error}") from None


# check --------------------------------------------------------------------------------------------


def _check(verbs: Verbs) -> None:
    parser = _verb(
        verbs,
        "check",
        _run_check,
        "say what a recipe will see in a table, and what is wrong with it",
        "Reads everything, writes nothing: rows per split, kind, values and missing cells of every\n"
        "column, columns that tell each other, images that cannot be read, duplicates and leaks\n"
        "across splits, and what a batch of the recipe's sampler will hold: how many rows find\n"
        "another that is alike, and what would help. All complaints come at once.",
        "  mscon check shoes.toml --table shoes.csv\n  mscon check shoes.toml --table shoes.csv --json > shoes.json",
        "exit status: 0 all right, 2 something is at fault.",
    )
    _recipe_and_table(parser)
    parser.add_argument("--json", action="store_true", help="the same as JSON")


def _run_check(arguments: argparse.Namespace) -> None:
    from mscon.data.check import describe
    from mscon.data.images import ImageStore
    from mscon.data.inputs import open_inputs
    from mscon.data.rows import select_rows
    from mscon.data.table import read_table
    from mscon.data.unpacked import images_root

    recipe = _read_recipe(arguments)
    table = read_table(arguments.table)
    rows = select_rows(table, recipe, arguments.images)
    root, vectors = images_root(table, recipe.data, arguments.images), table.vectors.get(recipe.data.vectors)
    inputs = open_inputs(rows, root, recipe.data, table.name, vectors=vectors)
    description = describe(rows, recipe, table, inputs if isinstance(inputs, ImageStore) else None, root=root)
    if arguments.json:
        import json

        print(json.dumps(description.to_json(), indent=2, ensure_ascii=False))
    else:
        print(description.to_text())


# train --------------------------------------------------------------------------------------------


def _train(verbs: Verbs) -> None:
    parser = _verb(
        verbs,
        "train",
        _run_train,
        "train an encoder on every similarity that a recipe names",
        "Reads one row per image, vector or text from TABLE, writes a run directory\n"
        "holding the resolved recipe, the log, and the checkpoints. `mscon probe` and\n"
        "`mscon report` take that directory and need nothing else but the images.",
        "  mscon train shoes.toml --table shoes.csv\n"
        "  mscon train shoes.toml --table shoes.csv --set weighting.name=equal --out runs/equal\n"
        "  mscon train shoes.toml --table shoes.csv --dry-run     # checks all, takes one step\n"
        "  torchrun --nproc-per-node 2 -m mscon train shoes.toml --table shoes.csv --out runs/shoes",
    )
    _recipe_and_table(parser)
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="run directory; must not exist yet (default: runs/<recipe>-<date>)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a run that is there")
    parser.add_argument(
        "--dry-run", action="store_true", help="read and build everything, take one step, write nothing"
    )


def _run_train(arguments: argparse.Namespace) -> None:
    from mscon.data.table import read_table
    from mscon.train.fit import fit

    recipe = _read_recipe(arguments)
    table = read_table(arguments.table)
    out = arguments.out or _default_out(arguments.recipe)
    run = fit(recipe, table, out, images=arguments.images, overwrite=arguments.overwrite, dry_run=arguments.dry_run)
    if _process():  # the first process speaks for all
        return
    if run is None:
        print("One step taken, nothing written: this will train.")
        return
    print(f"{run.root}\nnext: mscon probe {run.root} && mscon report {run.root}")


def _default_out(recipe: Path) -> Path:
    from datetime import datetime

    return Path("runs") / f"{recipe.stem}-{datetime.now():%Y%m%d-%H%M%S}"


# resume -------------------------------------------------------------------------------------------


def _resume(verbs: Verbs) -> None:
    parser = _verb(
        verbs,
        "resume",
        _run_resume,
        "go on with a run that was stopped",
        "Continues from the last checkpoint to the epochs that the run's recipe says. The\n"
        "result is the one that an uninterrupted run would have had on the same machine.",
        "  mscon resume runs/shoes",
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="run directory")


def _run_resume(arguments: argparse.Namespace) -> None:
    from mscon.train.fit import resume

    run = resume(_open(arguments.run))
    if not _process():
        print(run.root)


# probe --------------------------------------------------------------------------------------------


def _probe(verbs: Verbs) -> None:
    parser = _verb(
        verbs,
        "probe",
        _run_probe,
        "ask the frozen features of a run about every column",
        "Fits a linear classifier per column on the training rows, scores it on the test\n"
        "rows with bootstrap intervals, and asks nearest neighbours among rows of groups\n"
        "that training never saw. Columns: those trained on, and [probe] columns.",
        "  mscon probe runs/shoes\n  mscon probe runs/*",
    )
    _runs(parser)


def _run_probe(arguments: argparse.Namespace) -> None:
    from mscon.evaluate.probe import probe

    for run in [_open(path) for path in arguments.runs]:
        probe(run)
        print(_scores(run))


def _scores(run: Run) -> str:
    lines = [f"{run.root}"]
    for score in run.probe["linear"]:
        value, role = score["accuracy"], "trained" if score["trained"] else "never seen"
        lines.append(
            f"  {score['column']:<16} accuracy {100 * value['value']:5.1f} %  "
            f"[{100 * value['low']:.1f}, {100 * value['high']:.1f}]  majority {100 * score['majority']:.1f} %  {role}"
        )
    for score in run.probe["neighbours"]:
        value = score["precision_at_1"]
        lines.append(
            f"  {score['column']:<16} neighbour {100 * value['value']:5.1f} %  "
            f"[{100 * value['low']:.1f}, {100 * value['high']:.1f}]  chance {100 * score['chance']:.1f} %  unseen rows"
        )
    lines += [f"  {s['column']:<16} not probed ({s['probe']}): {s['reason']}" for s in run.probe["skipped"]]
    return "\n".join(lines)


# report -------------------------------------------------------------------------------------------


def _report(verbs: Verbs) -> None:
    parser = _verb(
        verbs,
        "report",
        _run_report,
        "write one page that shows what runs have learned",
        "One self-contained HTML file: comparison with paired intervals, curves, maps of the\n"
        "features, nearest neighbours. Runs of one title are seeds of one method.",
        "  mscon report runs/shoes\n  mscon report runs/equal runs/uncertainty --out comparison.html",
    )
    _runs(parser)
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: report.html in the run, or beside the runs")


def _run_report(arguments: argparse.Namespace) -> None:
    from mscon.report.page import build_report

    runs = [_open(path) for path in arguments.runs]
    folder = runs[0].root if len(runs) == 1 else runs[0].root.parent
    print(build_report(runs, arguments.out or folder / "report.html"))


# embed --------------------------------------------------------------------------------------------


def _embed(verbs: Verbs) -> None:
    parser = _verb(
        verbs,
        "embed",
        _run_embed,
        "write the vectors of a new table of images",
        "Writes a row per image with its line, its path as written, and its features, or with\n"
        "--similarity its projection of that similarity, scaled to unit length. A killed job\n"
        "goes on where it was: finished parts lie in OUT.shards, and are known again by the\n"
        "weights, the rows, and the size and time of change of the images. Under torchrun each\n"
        "process takes its part. MODEL is a run, a packed model (`mscon export`), or hf:owner/name.",
        "  mscon embed runs/shoes --table new.csv --out new.parquet\n"
        "  mscon embed runs/shoes --table new.csv --out new.npz --similarity closure\n"
        "  mscon embed hf:owner/shoes --table new.csv --out new.parquet --shard-rows 100000\n"
        "  torchrun --nproc-per-node 2 -m mscon embed runs/shoes --table new.csv --out new.parquet",
        "exit status: 0 done, 1 stopped on the way, 2 the model, the table or an image is at fault\n"
        "(OUT was not written).",
    )
    parser.add_argument("model", metavar="MODEL", help="run directory, packed model, or hf:owner/name")
    parser.add_argument(
        "--table",
        metavar="TABLE",
        type=Path,
        required=True,
        help="file or folder, one row per thing; README: your own table",
    )
    parser.add_argument("--out", metavar="OUT", type=Path, required=True, help="a name that ends in .parquet or .npz")
    parser.add_argument("--similarity", metavar="NAME", help="its projection (default: features)")
    parser.add_argument(
        "--images",
        metavar="DIR",
        type=Path,
        help="folder that image paths, or a file of vectors, are relative to (default: the table's)",
    )
    parser.add_argument(
        "--missing-images",
        choices=("error", "drop"),
        default="error",
        help="drop: leave out rows whose image cannot be read, and say which (default: error)",
    )
    parser.add_argument(
        "--shard-rows",
        type=_positive,
        metavar="N",
        help="leave the output in files of N rows, in the folder OUT.shards",
    )
    parser.add_argument(
        "--batch-size", type=_positive, default=256, metavar="N", help="images in memory at a time (default: 256)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it is there")
    _trust(parser)


def _run_embed(arguments: argparse.Namespace) -> None:
    from mscon.data.table import read_table
    from mscon.deploy.embedder import load
    from mscon.deploy.shards import embed_table

    made = embed_table(
        load(arguments.model, trust=arguments.trust),
        read_table(arguments.table),
        arguments.out,
        images=arguments.images,
        similarity=arguments.similarity,
        shard_rows=arguments.shard_rows,
        missing_images=arguments.missing_images,
        batch_size=arguments.batch_size,
        overwrite=arguments.overwrite,
        process=(_process(), int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 1),
    )
    if made is not None:
        print(made)


# export -------------------------------------------------------------------------------------------


def _export(verbs: Verbs) -> None:
    parser = _verb(
        verbs,
        "export",
        _run_export,
        "write the model of a run as one file for elsewhere",
        "safetensors  encoder and heads, with JSON beside it that says how to build them;\n"
        "             mscon.load(FILE) reads it without the run.\n"
        "onnx         a graph from uint8 images to features, of any number of images at a time;\n"
        "             it is run beside torch, and not kept if the two differ. Needs the extra:\n"
        '             pip install "mscon[onnx]"',
        "  mscon export runs/shoes --to safetensors --out shoes.safetensors\n"
        "  mscon export runs/shoes --to onnx --out shoes.onnx --projections",
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="run directory")
    parser.add_argument("--to", choices=("onnx", "safetensors"), required=True, help="which kind of file")
    parser.add_argument(
        "--out", metavar="FILE", type=Path, required=True, help="where it goes; replaced if it is there"
    )
    _checkpoint(parser)
    parser.add_argument("--projections", action="store_true", help="onnx: also the projections, as a second output")
    parser.add_argument(
        "--tolerance",
        type=_share,
        metavar="X",
        help="onnx: largest difference to torch that passes, as a share of the largest number (default: 1e-4)",
    )


def _run_export(arguments: argparse.Namespace) -> None:
    run = _open(arguments.run)
    if arguments.to == "safetensors":
        from mscon.deploy.packed import pack

        pack(run, arguments.out, arguments.checkpoint)
        print(arguments.out)
        return
    from mscon.deploy.onnx import TOLERANCE, export_onnx

    tolerance = TOLERANCE if arguments.tolerance is None else arguments.tolerance
    done = export_onnx(
        run, arguments.out, checkpoint=arguments.checkpoint, projections=arguments.projections, tolerance=tolerance
    )
    print(
        f"{done.path}\nlargest difference to torch: {done.difference:.2g} (tolerance {tolerance:.2g}), on "
        f"{done.images} {'images of the run' if done.real else 'random inputs'}"
    )


# card, push ---------------------------------------------------------------------------------------


def _card(verbs: Verbs) -> None:
    parser = _verb(
        verbs,
        "card",
        _run_card,
        "write the model card of a run, with the evidence for it",
        "Markdown: how to load the model, scores of the probes with intervals, counts of the\n"
        "data, the recipe, what to cite. Licences and intended use are left for you to fill in;\n"
        "`mscon push` takes the card as you leave it.",
        "  mscon card runs/shoes                     # writes runs/shoes/README.md\n"
        "  mscon card runs/shoes --out card.md",
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="run directory")
    parser.add_argument("--out", metavar="FILE", type=Path, help="default: README.md in the run")
    parser.add_argument("--overwrite", action="store_true", help="replace a card that is there")


def _run_card(arguments: argparse.Namespace) -> None:
    from mscon import whole
    from mscon.errors import RunError
    from mscon.report.card import model_card

    run = _open(arguments.run)
    text = model_card(run)
    if arguments.out is not None and arguments.out.exists() and not arguments.overwrite:
        raise RunError(f"'{arguments.out}' exists. Choose another --out, or pass --overwrite.")
    if arguments.out is not None:
        whole.write_text(arguments.out, text)
        print(arguments.out)
        return
    if run.card is not None and not arguments.overwrite:
        raise RunError(f"run '{run.root}' has a card, which you may have edited. Pass --overwrite to write it anew.")
    print(run.write_card(text))


def _push(verbs: Verbs) -> None:
    parser = _verb(
        verbs,
        "push",
        _run_push,
        "put the model of a run on the Hugging Face hub, with its card",
        "Uploads weights (safetensors), how to build them (JSON) and the model card: the one in\n"
        "the run (`mscon card`), else a new one. Neither images nor labels nor paths of the\n"
        "table go along. Log in first with `hf auth login`, or set HF_TOKEN.\n"
        'Then mscon.load("hf:OWNER/NAME") loads it anywhere.',
        "  mscon push runs/shoes owner/shoes --dry-run upload     # what would be sent, in a folder\n"
        "  mscon push runs/shoes owner/shoes --private",
        "exit status: 0 done, 1 stopped on the way, 2 the run is at fault, or the hub refuses.",
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="run directory")
    parser.add_argument("repository", metavar="OWNER/NAME", help="repository on the hub; made if it is not there")
    _checkpoint(parser)
    parser.add_argument("--private", action="store_true", help="make a private repository")
    parser.add_argument("--dry-run", type=Path, metavar="DIR", help="write what would be sent to DIR; send nothing")


def _run_push(arguments: argparse.Namespace) -> None:
    from mscon.deploy import hub
    from mscon.report.card import model_card

    run = _open(arguments.run)
    card = (run.card or model_card(run)).replace("hf:owner/name", f"hf:{arguments.repository}")
    if arguments.dry_run is not None:
        print(hub.lay_out(run, card, arguments.dry_run, arguments.checkpoint))
        return
    print(hub.push(run, arguments.repository, card, private=arguments.private, checkpoint=arguments.checkpoint))


# reproduce ----------------------------------------------------------------------------------------


def _reproduce(verbs: Verbs) -> None:
    parser = _verb(
        verbs,
        "reproduce",
        _run_reproduce,
        "run an experiment and set the paper's numbers beside ours",
        "Trains and probes every run of the experiment that is not there yet, several side by\n"
        "side, then writes OUT/EXPERIMENT: table.md, results.json, figure.svg, figure.png. A\n"
        "run counts as there if it has the very recipe and table; so what was stopped goes on\n"
        "and loses only what was under way, and experiments share what they have in common.\n"
        "Without a name it lists all experiments: how many runs, how many epochs in all.",
        "  mscon reproduce\n"
        "  mscon reproduce glyphs/table3 --jobs 4\n"
        "  mscon reproduce zappos50k/table1 --data data/zappos --seeds 5\n"
        "  mscon reproduce glyphs/figure3 --quick     # one seed, two epochs: does it work here?",
        "exit status: 0 done, 1 stopped on the way, 2 a name, the data or a recipe is at fault;\n"
        "finished runs are kept whatever happens.",
    )
    parser.add_argument("experiment", metavar="EXPERIMENT", nargs="?", help="such as glyphs/table3 (default: list all)")
    parser.add_argument("--data", type=Path, metavar="ROOT", help="folder of the data set, or its table")
    parser.add_argument("--seeds", type=_positive, metavar="N", help="runs of each method (default: the experiment's)")
    parser.add_argument("--quick", action="store_true", help="one seed and two epochs; the numbers are no evidence")
    parser.add_argument(
        "--jobs", type=_positive, default=None, metavar="N", help="runs side by side (default: one a core, at most 8)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/reproduce"),
        metavar="DIR",
        help="where runs and results go (default: runs/reproduce)",
    )
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="change every run, such as encoder.pretrained=false; then it is no longer that experiment",
    )


def _run_reproduce(arguments: argparse.Namespace) -> None:
    from mscon import reproduce

    if arguments.experiment is None:
        print(reproduce.listed())
        return
    reproduce.reproduce(
        arguments.experiment,
        data=arguments.data,
        seeds=arguments.seeds,
        quick=arguments.quick,
        jobs=arguments.jobs,
        out=arguments.out,
        overrides=arguments.set,
    )


# list ---------------------------------------------------------------------------------------------

_LISTS = ("similarities", "objectives", "weightings", "heads", "encoders", "sources", "recipes")


def _list(verbs: Verbs) -> None:
    parser = _verb(
        verbs,
        "list",
        _run_list,
        "name what a recipe can be made of",
        "Every name here can stand in a recipe; settings are shown with their defaults.\n"
        "A class of your own is written 'pkg.mod:Class' and needs no registration.",
        "  mscon list\n  mscon list weightings\n  mscon list recipes glyphs > mine.toml     # prints that recipe",
        "exit status: 0, or 2 for an unknown name.",
    )
    parser.add_argument("kind", metavar="KIND", nargs="?", choices=_LISTS, help=", ".join(_LISTS) + " (default: all)")
    parser.add_argument("name", metavar="NAME", nargs="?", help="with recipes: print that recipe")


def _run_list(arguments: argparse.Namespace) -> None:
    from mscon import listing

    if arguments.name and arguments.kind == "recipes":
        print(listing.recipe_text(arguments.name), end="")
        return
    for kind in [arguments.kind] if arguments.kind else _LISTS:
        print(listing.of(kind))


# shared -------------------------------------------------------------------------------------------


def _recipe_and_table(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "recipe", metavar="RECIPE", type=Path, help="TOML file; `mscon list recipes` names some to start from"
    )
    parser.add_argument(
        "--table",
        metavar="TABLE",
        type=Path,
        required=True,
        help="file or folder, one row per thing; README: your own table",
    )
    parser.add_argument(
        "--images",
        metavar="DIR",
        type=Path,
        help="folder that image paths, or a file of vectors, are relative to (default: the table's)",
    )
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="override one recipe value, such as train.epochs=12; repeatable; the key must exist",
    )


def _checkpoint(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--checkpoint", choices=("last", "best"), help="whose weights (default: the one that the run's recipe names)"
    )


def _trust(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--trust", action="store_true", help="also import classes from outside mscon that the model names"
    )


def _runs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", metavar="RUN", type=Path, nargs="+", help="run directories")


def _read_recipe(arguments: argparse.Namespace) -> Recipe:
    from mscon import recipe

    return recipe.read(arguments.recipe, arguments.set)


def _open(path: Path) -> Run:
    from mscon.run import Run

    return Run.open(path)


def _positive(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number above 0, got '{text}'")
    return number


def _share(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number, 0 or above, got '{text}'")
    return number


if __name__ == "__main__":
    sys.exit(main())
