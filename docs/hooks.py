"""Pages of the site that are derived from something else, so that they cannot differ from it; see mkdocs.yml.

The home page is README.md; the reference is derived from help texts and docstrings; files of the repository that a page
links to become pages as well, so that no link leads out of the site.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import mscon
from mscon.cli import command_parser
from mscon.method import catalogue

ROOT = Path(__file__).parent.parent
_LINK = re.compile(r"(!?\[[^\]]*\])\((?!https?://|mailto:|#)([^)#\s]+)(#[^)]*)?\)")
_CODE = re.compile(r"(```.*?```)", re.DOTALL)
_LANGUAGES = {".py": "python", ".toml": "toml", ".json": "json", ".csv": "text"}
# Page -> heading, and the modules whose public names it lists.
_TOPICS = {
    "losses": ("Losses in your own loop", ("mscon.method.loss", "mscon.method.pairs")),
    "similarities": ("Similarities", ("mscon.method.similarities.",)),
    "objectives": ("Objectives", ("mscon.method.objectives.",)),
    "weightings": ("Weightings", ("mscon.method.weightings.",)),
}
_KINDS = {"similarities": "similarity", "objectives": "objective", "weightings": "weighting"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the derived pages."""
    pages = {"index.md": (ROOT / "README.md").read_text("utf-8"), "decisions/index.md": _decisions()}
    pages |= {f"reference/{name}.md": text for name, text in _reference()}
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    waiting = list(files.documentation_pages())
    while waiting:
        page = waiting.pop()
        for target in _targets(_origin(page.src_uri), page.content_string):
            if files.get_file_from_path(path := _in_site(target)) is None:
                if path.endswith(".md"):
                    added = File.generated(config, path, content=_source_page(target))
                    waiting.append(added)
                else:
                    added = File.generated(config, path, abs_src_path=str(ROOT / target))
                files.append(added)
    return files


def on_post_build(config: MkDocsConfig) -> None:
    """Pages as Markdown beside them, to which llms.txt links."""
    for page in (ROOT / "docs").rglob("*.md"):
        target = Path(config.site_dir) / page.relative_to(ROOT / "docs")
        target.parent.mkdir(exist_ok=True)
        target.write_text(page.read_text("utf-8"), "utf-8")


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links out of docs/ lead to the pages that stand for their targets."""
    origin, here = _origin(page.file.src_uri), posixpath.dirname(page.file.src_uri)

    def moved(link: re.Match[str]) -> str:
        target = _target(origin, link[2])
        if target is None:
            # In a page: a mistake, which mkdocs reports. In other files: not part of the site, so the words alone.
            return link[0] if origin.startswith("docs/") else link[1].lstrip("!")[1:-1]
        return f"{link[1]}({posixpath.relpath(_in_site(target), here)}{link[3] or ''})"

    parts = _CODE.split(markdown)
    return "".join(part if number % 2 else _LINK.sub(moved, part) for number, part in enumerate(parts))


def _reference() -> Iterator[tuple[str, str]]:
    yield "commands", _commands()
    settings = ("schema", "data", "keep", "doubt")
    yield "recipes", _api("Settings of a recipe", (f"mscon.run.{name}" for name in settings), is_module=True)
    homes = {name: home for name, home in mscon._HOME.items() if name not in mscon._MODULES}
    topics = {name: topic for name in homes for topic, (_, rooms) in _TOPICS.items() if homes[name].startswith(rooms)}
    for topic, (heading, _) in _TOPICS.items():
        names = [f"{homes[name]}.{name}" for name in homes if topics.get(name) == topic]
        if kind := _KINDS.get(topic):
            parts = (catalogue.find(kind, name) for name in catalogue.names(kind))
            names += [f"{part.__module__}.{part.__qualname__}" for part in parts]
        yield topic, _api(heading, dict.fromkeys(names))
    heads = (catalogue.find("heads", name) for name in catalogue.names("heads"))
    yield "heads", _api("Heads", (f"{part.__module__}.{part.__qualname__}" for part in heads))
    rest = sorted(f"{homes[name]}.{name}" for name in homes if name not in topics)
    yield "functions", _api("Functions and classes", rest)
    yield "cores", _api("Cores of other systems", _public("mscon.method.cores", mscon.cores.__dict__))
    from mscon import testing

    yield "testing", _api("Contract tests", _public("mscon.testing", testing.__dict__))


def _public(package: str, names: dict[str, object]) -> Iterable[str]:
    homes = {name: getattr(value, "__module__", None) or "" for name, value in names.items() if name[0] != "_"}
    return (f"{home}.{name}" for name, home in sorted(homes.items()) if home.startswith(f"{package}."))


def _api(heading: str, names: Iterable[str], is_module: bool = False) -> str:
    options = "    options:\n      show_root_toc_entry: false\n      show_root_heading: false\n" if is_module else ""
    return "\n".join([f"# {heading}", "", *(f"::: {name}\n{options}" for name in names)])


def _commands() -> str:
    """Of each verb, the text that its --help prints."""
    os.environ["COLUMNS"] = "100"
    verbs = command_parser()[1].choices
    blocks = [f"## mscon {name}\n\n```text\n{verb.format_help()}```" for name, verb in verbs.items()]
    return "\n\n".join(["# Commands", "Every verb, as `mscon VERB --help` describes it.", *blocks]) + "\n"


def _decisions() -> str:
    titles = {path.name: path.read_text("utf-8").partition("\n")[0] for path in (ROOT / "docs/decisions").glob("0*.md")}
    lines = [f"- [{title.removeprefix('# ')}]({name})" for name, title in sorted(titles.items())]
    return "\n".join(["# Decisions", "", "What was decided, instead of what, and why.", "", *lines]) + "\n"


# Links --------------------------------------------------------------------------------------------


def _origin(page: str) -> str:
    """The file of the repository that a page shows, from the root."""
    return (
        "README.md"
        if page == "index.md"
        else page.removeprefix("repository/")
        if page[:11] == "repository/"
        else f"docs/{page}"
    )


def _in_site(target: str) -> str:
    """Where the site has a file of the repository."""
    if target == "README.md":
        return "index.md"
    if target.startswith("docs/"):
        return target.removeprefix("docs/")
    return f"repository/{target}{'.md' if Path(target).suffix in _LANGUAGES else ''}"


def _targets(origin: str, text: str) -> Iterator[str]:
    """What the links in a file lead to, from the root of the repository."""
    for part in _CODE.split(text)[::2]:
        for link in _LINK.finditer(part):
            if target := _target(origin, link[2]):
                yield target


def _target(origin: str, link: str) -> str | None:
    """A file, for a folder its README.md; None if there is none."""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(origin), link))
    if target == "docs/decisions":
        return f"{target}/index.md"
    if (ROOT / target).is_dir():
        target = f"{target}/README.md"
    return target if (ROOT / target).is_file() else None


def _source_page(target: str) -> str:
    """A file of the repository as a page that search leaves out."""
    text = (ROOT / target).read_text("utf-8")
    head = "---\nsearch:\n  exclude: true\n---\n\n"
    if target.endswith(".md"):
        return f"{head}{text}"
    return f"{head}# {target}\n\n````{_LANGUAGES[Path(target).suffix]}\n{text}\n````\n"
