"""Frame of a page: templates whose values are escaped, and the policy that lets a page load and run nothing else."""

from __future__ import annotations

import base64
import functools
import hashlib
from importlib import resources

import jinja2
from markupsafe import Markup


def file_text(package: str, *names: str) -> str:
    """A text file of a package, with line ends as the hash of the policy counts them."""
    return resources.files(package).joinpath(*names).read_text("utf-8").replace("\r\n", "\n")


@functools.cache  # it keeps templates as they were compiled
def environment(package: str, *folder: str, autoescape: bool = True) -> jinja2.Environment:
    """Templates that lie in a folder of a package; those of other files than HTML escape nothing."""
    return jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: file_text(package, *folder, name)),
        autoescape=autoescape,  # every text of a table, a recipe or a file name is a stranger's
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )


def trusted(text: str) -> Markup:
    """Text of this package that is to stand in a page as it is."""
    return Markup(text)


def content_policy(css: str, script: str | None = None, served: bool = False) -> str:
    """A Content-Security-Policy: nothing is loaded but pictures inside the file, no style or script but the page's own.

    Args:
        css: the page's style.
        script: the page's script; None for a page that runs none.
        served: whether the page may also ask the server that it comes from for data and pictures.
    """
    rules = [
        "default-src 'none'",
        "img-src 'self' data:; connect-src 'self'" if served else "img-src data:",
        f"style-src '{_hash(css)}'",
        *([] if script is None else [f"script-src '{_hash(script)}'"]),
        "base-uri 'none'",
        "form-action 'none'",
    ]
    return "; ".join(rules)


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode('ascii')}"
