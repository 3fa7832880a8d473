"""The command line. Each verb loads what it needs when it is called, so that help comes at once."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence

import mscon
from mscon.cli import deployment, evidence, experiments, explore, search, tables, training
from mscon.cli.arguments import process_number, started_by_torchrun
from mscon.errors import MSConError, OthersStopped


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; a user's mistake is one message and exit status 2, without a traceback."""
    parsed = _parser().parse_args(arguments)
    try:
        parsed.verb(parsed)
        sys.stdout.flush()
    except MSConError as error:
        _print_once(error)
        return 2
    except BrokenPipeError:
        # Whoever read our output, such as `head`, has seen enough. Python would complain again as it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        where = "" if error.filename is None else f"'{error.filename}': "
        print(f"mscon: {where}{error.strerror or error}.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        # The process takes a moment to end, and a second Ctrl-C would break into that, with a traceback.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if not process_number():
            print("mscon: stopped.", file=sys.stderr)
        return 1
    return 0


def _print_once(error: MSConError) -> None:
    """On standard error. What all processes that torchrun started find wrong is printed by one of them."""

    def write() -> None:
        print(f"mscon: {error}", file=sys.stderr, flush=True)

    if started_by_torchrun():
        from mscon.train.torchrun import by_one_process

        by_one_process(write, is_cause=not isinstance(error, OthersStopped))
    else:
        write()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mscon",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Learn one embedding from several notions of similarity at once.\n\n"
        "A table has one row per thing and several label columns, some coarse, some fine,\n"
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
    experiments.demo(verbs)
    tables.prepare(verbs)
    tables.check(verbs)
    training.train(verbs)
    training.resume(verbs)
    evidence.probe(verbs)
    evidence.report(verbs)
    explore.explore(verbs)
    search.search(verbs)
    deployment.embed(verbs)
    deployment.export(verbs)
    evidence.card(verbs)
    deployment.push(verbs)
    experiments.reproduce(verbs)
    experiments.list_(verbs)
    return parser
