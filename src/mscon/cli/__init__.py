"""The command line. Each verb loads what it needs when it is called, so that help comes at once."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence

import mscon
from mscon.cli import (
    deployment,
    doctor,
    evidence,
    experiments,
    explore,
    export,
    label_quality,
    list,
    predictions,
    search,
    tables,
    training,
)
from mscon.cli.arguments import process_number, started_by_torchrun
from mscon.cli.streams import open_streams
from mscon.cli.suggestions import suggestions
from mscon.errors import MSConError, OthersStopped, is_out_of_memory, nearest


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; a user's mistake is one message and exit status 2, without a traceback."""
    with open_streams():
        return _run(arguments)


def _run(arguments: Sequence[str] | None) -> int:
    words = sys.argv[1:] if arguments is None else [*arguments]
    # Half letters are what Python makes of other bytes. Runs, pages and tables hold names of files as UTF-8.
    if no_utf8 := [ascii(word) for word in words if any("\ud800" <= letter <= "\udfff" for letter in word)]:
        print(f"mscon: not UTF-8: {', '.join(no_utf8)}. Write it in UTF-8, or rename the file.", file=sys.stderr)
        return 2
    parsed = _parsed(words)
    if process_number() and not parsed.is_shared:
        return 0
    try:
        _take_sigterm_as_ctrl_c()
        parsed.verb(parsed)
        sys.stdout.flush()
    except MSConError as error:
        _print_once(error)
        return 2
    except BrokenPipeError:
        # The reader of standard output, such as `head`, has ended. Python would complain again as this process ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        where = "" if error.filename is None else f"'{error.filename}': "
        print(f"mscon: {where}{error.strerror or error}.", file=sys.stderr)
        return 2
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        reason = str(error).strip().partition("\n")[0] or "no reason was given"
        print(
            f"mscon: out of memory ({reason[:200]}).\n  Free some, or give it less at once: fewer rows in the table, "
            "a smaller data.image_size in the recipe, a smaller --batch-size of `mscon embed`.",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        # The process takes a moment to end, and a second signal would break into that, with a traceback.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        if not process_number():
            print("mscon: stopped.", file=sys.stderr)
        return 1
    return 0


def _take_sigterm_as_ctrl_c() -> None:
    """Schedulers send SIGTERM before they kill: verbs then end as after Ctrl-C. One that a caller handles stays."""
    is_main = threading.current_thread() is threading.main_thread()  # no other thread may set a handler
    if is_main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, signal.default_int_handler)


def _print_once(error: MSConError) -> None:
    """On standard error. What all processes that torchrun started find wrong is printed by one of them."""

    def write() -> None:
        print(f"mscon: {error}", file=sys.stderr, flush=True)

    if started_by_torchrun():
        from mscon.train.torchrun import by_one_process

        by_one_process(write, is_cause=not isinstance(error, OthersStopped))
    else:
        write()


def _parsed(words: Sequence[str]) -> argparse.Namespace:
    """The arguments; a mistake in them ends the process with status 2 and the usage of the verb that it concerns."""
    parser, verbs = command_parser()
    if words and not words[0].startswith("-") and words[0] not in verbs.choices:
        known = ", ".join(verbs.choices)
        parser.error(f"there is no verb '{words[0]}'.{nearest(words[0], verbs.choices)} Verbs: {known}.")
    parsed, unknown = parser.parse_known_args(words)
    if unknown:
        hints = suggestions(unknown, parsed.options, hasattr(parsed, "set"))
        verb = next(word for word in words if word in verbs.choices)  # options may stand before it
        verbs.choices[verb].error(f"unrecognized arguments: {' '.join(unknown)}.{hints}")
    return parsed


def command_parser() -> tuple[argparse.ArgumentParser, argparse._SubParsersAction[argparse.ArgumentParser]]:
    """The parser, and the verbs in it."""
    parser = argparse.ArgumentParser(
        prog="mscon",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Learn one embedding from several label columns of a table (multi-similarity contrastive\n"
        "learning).\n\n"
        "Each label column defines which rows are similar: by class, by number, by level of a\n"
        "hierarchy. Columns may be incomplete or noisy. mscon trains one encoder on all of them, weighs\n"
        "the columns against each other, and measures what the embedding is good for, also for\n"
        "tasks that it was not trained on.",
        epilog="start here:\n"
        "  mscon demo                                   try everything on rendered letters\n"
        "  mscon init shoes.csv --out shoes.toml        a recipe that fits a table; read and edit it\n"
        "  mscon check shoes.toml --table shoes.csv     what is in the table, and what is wrong\n"
        "  mscon train shoes.toml --table shoes.csv     then: mscon probe, report, explore",
    )
    parser.add_argument("-V", "--version", action="version", version=f"mscon {mscon.__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for verb in (
        experiments.demo,
        tables.init,
        tables.prepare,
        tables.check,
        training.train,
        training.resume,
        training.replay,
        experiments.compare,
        evidence.probe,
        evidence.affinity,
        evidence.report,
        label_quality.doubt,
        tables.cluster,
        explore.explore,
        search.search,
        deployment.embed,
        predictions.predict,
        export.export,
        evidence.card,
        deployment.push,
        experiments.reproduce,
        list.list_,
        doctor.doctor,
    ):
        verb.add_to(verbs)
    return parser, verbs
