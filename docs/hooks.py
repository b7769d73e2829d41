"""Hooks of MkDocs: scripts of tutorials become pages and notebooks; equations become MathML, which needs no script."""

import re
from html import unescape
from pathlib import Path
from typing import Any

import jupytext
from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files

EQUATION = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.S)
TUTORIALS = Path(__file__).parent / "tutorials"


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
