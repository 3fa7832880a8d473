"""Verbs that run many trainings at once, and list what there is."""

from __future__ import annotations

import argparse
from pathlib import Path

from mscon.cli.arguments import Verbs, add_verb, positive

_LISTS = ("similarities", "objectives", "weightings", "heads", "encoders", "sources", "recipes")


def demo(verbs: Verbs) -> None:
    parser = add_verb(
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
    parser.add_argument("--seeds", type=positive, default=3, metavar="N", help="runs of each method (default: 3)")
    parser.add_argument(
        "--jobs", type=positive, default=None, metavar="N", help="runs side by side (default: one a core, at most 8)"
    )
    parser.add_argument("--quick", action="store_true", help="one seed and two epochs; the numbers mean nothing")
    parser.add_argument("--overwrite", action="store_true", help="train again what is there already")


def _run_demo(arguments: argparse.Namespace) -> None:
    from mscon_paper import demo

    demo.demo(
        arguments.out, seeds=arguments.seeds, jobs=arguments.jobs, quick=arguments.quick, overwrite=arguments.overwrite
    )


def reproduce(verbs: Verbs) -> None:
    parser = add_verb(
        verbs,
        "reproduce",
        _run_reproduce,
        "run an experiment and set the paper's numbers beside ours",
        "Trains and probes every run of the experiment that is not there yet, several side by\n"
        "side, then writes OUT/EXPERIMENT: table.md, results.json, figure.svg, figure.png and\n"
        "report.html. A run counts as there if it has the very recipe and table; so what was\n"
        "stopped goes on and loses only what was under way, and experiments share what they\n"
        "have in common.\n"
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
    parser.add_argument("--seeds", type=positive, metavar="N", help="runs of each method (default: the experiment's)")
    parser.add_argument("--quick", action="store_true", help="one seed and two epochs; the numbers are no evidence")
    parser.add_argument(
        "--jobs", type=positive, default=None, metavar="N", help="runs side by side (default: one a core, at most 8)"
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
    from mscon_paper import reproduce

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


def list_(verbs: Verbs) -> None:
    parser = add_verb(
        verbs,
        "list",
        _run_list,
        "name what a recipe can be made of",
        "Every name here can stand in a recipe; settings are shown with their defaults.\n"
        "A class of your own is written 'pkg.mod:Class' and needs no registration. Its module must\n"
        "lie in an installed package or in a folder on PYTHONPATH; the current folder is not\n"
        "looked in.",
        "  mscon list\n  mscon list weightings\n  mscon list recipes glyphs > mine.toml     # prints that recipe",
        "exit status: 0, or 2 for an unknown name.",
    )
    parser.add_argument("kind", metavar="KIND", nargs="?", choices=_LISTS, help=", ".join(_LISTS) + " (default: all)")
    parser.add_argument("name", metavar="NAME", nargs="?", help="with recipes: print that recipe")


def _run_list(arguments: argparse.Namespace) -> None:
    from mscon.cli import list

    if arguments.name and arguments.kind == "recipes":
        print(list.recipe_text(arguments.name), end="")
        return
    for kind in [arguments.kind] if arguments.kind else _LISTS:
        print(list.of(kind))
