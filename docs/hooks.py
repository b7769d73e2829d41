"""Hooks of MkDocs: scripts of tutorials become pages and notebooks; equations become MathML, which needs no script."""

import re
import tempfile
from html import unescape
from pathlib import Path
from typing import Any

import jupytext
from latex2mathml.converter import convert
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files

EQUATION = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.S)
TUTORIALS = Path(__file__).parent / "tutorials"


PACKAGE = tempfile.TemporaryDirectory(prefix="embodia-docs-")
"""Holds a link to the checkout under the package's name, by which the reference finds its modules."""


@event_priority(100)  # before mkdocstrings reads its configuration
def on_config(config: Any) -> Any:
    """Show the reference where the package is."""
    link = Path(PACKAGE.name) / "embodia"
    if not link.exists():
        link.symlink_to(TUTORIALS.parents[1], target_is_directory=True)
    config.plugins["mkdocstrings"].config.handlers["python"]["paths"] = [PACKAGE.name]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add a page and a notebook for each script of `docs/tutorials`."""
    for path in sorted(TUTORIALS.glob("*.py")):
        notebook = jupytext.read(path)
        name = f"tutorials/{path.stem}"
        link = f"[Notebook]({path.stem}.ipynb) of this page.\n"
        page = jupytext.writes(notebook, fmt="md").split("---\n", 2)[-1].lstrip()
        files.append(File.generated(config, f"{name}.md", content=f"{page}\n\n{link}"))
        files.append(File.generated(config, f"{name}.ipynb", content=jupytext.writes(notebook, fmt="ipynb")))
    return files


def on_page_content(html: str, **_: Any) -> str:
    """Replace the LaTeX of equations."""
    return EQUATION.sub(lambda found: convert(unescape(found[2]), "inline" if found[1] == "span" else "block"), html)
