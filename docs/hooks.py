"""What mkdocs cannot do by itself: pages made from the code, links to the repository, and a look for foreign hosts.

Here: the command line's page (from typer), the settings' page (from pydantic), the notebook as a page, the repository's
own Markdown files as pages. Not here: the Python API, which mkdocstrings makes, and anything that fetches something.
"""

from __future__ import annotations

import importlib
import json
import logging
import posixpath
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pydantic import BaseModel

log = logging.getLogger("mkdocs.plugins.groundplan")  # a warning of it fails a strict build

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ("notebooks/library.ipynb", "notebooks/results.ipynb")
BESIDE = {  # files of the repository that are pages of the site, too
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/README.md": "benchmarks-commands.md",
}
LINK = re.compile(r"(?P<bang>!?)\[(?P<text>[^\]\n]+)\]\((?P<target>[^)#\s]+)(?P<anchor>#[^)\s]*)?\)")
FETCHED = re.compile(r"<(?:script|img|iframe|source|link)\b[^>]*?\b(?:src|href)=[\"']?(?:https?:)?//[^\"'\s>]+", re.I)
NOT_FETCHED = re.compile(r"rel=[\"']?(?:canonical|prev|next)\b")


# --- mkdocs calls these -----------------------------------------------------------------------------------------------


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie elsewhere, or are no Markdown yet."""
    for path, page in BESIDE.items():
        files.append(File.generated(config, page, content=(ROOT / path).read_text("utf-8")))
    for path in NOTEBOOKS:
        page = path.removesuffix(".ipynb") + ".md"
        text = (ROOT / "docs" / path).read_text("utf-8")
        files.append(File.generated(config, page, content=notebook_page(json.loads(text), posixpath.basename(path))))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fill in what is generated, and turn links that leave `docs/` into what a reader of the site can use."""
    for marker, make in GENERATED.items():
        if marker in markdown:
            markdown = markdown.replace(marker, make())
    if "```mermaid" in markdown:
        log.warning("%s: the theme would fetch mermaid from another host; draw with text", page.file.src_uri)
    lies = {site: repository for repository, site in BESIDE.items()}.get(page.file.src_uri)
    here = posixpath.dirname(lies if lies is not None else f"docs/{page.file.src_uri}")
    return LINK.sub(lambda link: _reachable(link, here, page), markdown)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """A page that would ask another host for something fails the build: readers may be offline, and are not watched."""
    for tag in FETCHED.findall(output):
        if not NOT_FETCHED.search(tag):
            log.warning("%s would fetch from another host: %s", page.file.src_uri, tag)
    return output


# --- links ------------------------------------------------------------------------------------------------------------


def _reachable(link: re.Match[str], here: str, page: Page) -> str:
    """A link as it is where it stays within the site; the path in the repository where it leads out of `docs/`."""
    target = link["target"]
    if re.match(r"[a-z]+:", target) or target.startswith("/"):
        return link[0]
    path = posixpath.normpath(posixpath.join(here, target))
    if path in BESIDE:
        inside = BESIDE[path]
    elif path.startswith("docs/"):
        inside = path.removeprefix("docs/")
        as_page = inside.removesuffix(".ipynb") + ".md"
        if inside in NOTEBOOKS and page.file.src_uri != as_page:  # the page itself offers the file
            inside = as_page
    elif (ROOT / path).exists():
        return link["text"] if link["text"].strip("`") == path else f"{link['text']} (`{path}`)"
    else:
        log.warning("%s links to %s, which is not in the repository", page.file.src_uri, target)
        return link[0]
    up = posixpath.relpath(inside, posixpath.dirname(page.file.src_uri) or ".")
    return f"{link['bang']}[{link['text']}]({up}{link['anchor'] or ''})"


# --- the command line -------------------------------------------------------------------------------------------------


def cli_page() -> str:
    """Every command with its arguments and options, as typer itself documents them."""
    from typer.cli import get_docs_for_click
    from typer.main import get_command

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    module = project["scripts"]["groundplan"].partition(":")[0]
    command = get_command(importlib.import_module(module).app)
    context = command.make_context("groundplan", [], resilient_parsing=True)
    text = get_docs_for_click(obj=command, ctx=context, name="groundplan")
    text = re.sub(r"\A# `groundplan`\n", "", text)
    return re.sub(r"\*\*Commands\*\*:\n\n(?:\* .*\n)+", "", text)  # cut short there; the contents list them


# --- the settings -----------------------------------------------------------------------------------------------------


def settings_page() -> str:
    """Every section of groundplan.toml: what it is for, and each key with type, default, limits and variable."""
    from groundplan.config import Settings

    lines = []
    own = {name: field for name, field in Settings.model_fields.items() if not _is_section(field.annotation)}
    if own:
        lines += ["## Without a section", "", *_table("", own), ""]
    for name, field in Settings.model_fields.items():
        if _is_section(field.annotation):
            section: type[BaseModel] = field.annotation  # type: ignore[assignment]
            lines += [f"## `[{name}]`", "", section.__doc__ or "", "", *_table(name, section.model_fields), ""]
    return "\n".join(lines)


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _table(section: str, fields: dict[str, Any]) -> Iterator[str]:
    yield "| key | type | default | limits | meaning | in the environment |"
    yield "|---|---|---|---|---|---|"
    for name, field in fields.items():
        default = "required" if field.is_required() else f"`{field.default!r}`"
        variable = "GROUNDPLAN_" + "__".join(filter(None, (section, name))).upper()
        cells = (f"`{name}`", _type(field.annotation), default, _limits(field), field.description or "")
        yield "| " + " | ".join((*(cell.replace("|", "\\|") for cell in cells), f"`{variable}`")) + " |"


def _type(annotation: Any) -> str:
    text = annotation.__name__ if type(annotation) is type else str(annotation)
    text = re.sub(r"(?:\w+\.)+(?=\w)", "", text)  # modules
    text = re.sub(r"Annotated\[(\w+), FieldInfo\(.*?\]\)\]", r"\1", text)
    return f"`{text.replace('NoneType', 'None').replace(' | ', ' or ')}`"


SIGNS = {
    "gt": "> {}",
    "ge": "≥ {}",
    "lt": "< {}",
    "le": "≤ {}",
    "min_length": "at least {}",
    "max_length": "at most {}",
}


def _limits(field: Any) -> str:
    found = [SIGNS[name].format(value) for rule in field.metadata for name, value in _values(rule) if name in SIGNS]
    return ", ".join(found)


def _values(rule: Any) -> Iterator[tuple[str, Any]]:
    for name in SIGNS:
        if getattr(rule, name, None) is not None:
            yield name, getattr(rule, name)


GENERATED = {"<!-- made from the command line -->": cli_page, "<!-- made from the settings -->": settings_page}


# --- notebooks --------------------------------------------------------------------------------------------------------


def notebook_page(notebook: dict[str, Any], name: str) -> str:
    """A notebook as Markdown with the outputs that it was saved with; pictures are inside the page."""
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
        elif cell["cell_type"] == "code":
            parts.append(f"```python\n{source}\n```")
            parts += filter(None, map(_output, cell["outputs"]))
    title, *rest = parts
    return "\n\n".join([title, f"The notebook itself: [{name}]({name}).", *rest]) + "\n"


def _output(output: dict[str, Any]) -> str:
    data = output.get("data", {})
    for kind in ("image/png", "image/jpeg"):
        if kind in data:
            return f"![output](data:{kind};base64,{''.join(data[kind]).strip()})"
    text = "".join(data.get("text/plain", output.get("text", "")))
    return f"```text\n{text.rstrip()}\n```" if text.strip() else ""
