"""The notebooks as web pages: ``python -m cycle_utils.study.web_pages`` writes ``html/index.html`` and all it links to.

Executed copies under ``results/notebooks`` are taken where they are, else the notebooks themselves. Links from page to
page are turned into links to pages, and links to other files of the repository into links to copies of them. A link
that leads nowhere is an error.
"""

from __future__ import annotations

import argparse
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urldefrag

import nbformat
from bs4 import BeautifulSoup
from nbconvert import HTMLExporter

from cycle_utils.paths import NOTEBOOKS, ROOT, published_dir

_LINK = re.compile(r"(!?\[[^\]]*\]\()([^)\s]+)(\))")
_CODE = re.compile(r"(```.*?```|`[^`\n]*`)", re.DOTALL)


def sources() -> dict[Path, str]:
    """Each file of the repository that becomes a page, and the page's name."""
    pages = {path: f"{path.stem}.html" for path in sorted(NOTEBOOKS.glob("*.ipynb"))}
    pages |= {path: f"{path.stem}.html" for path in sorted(NOTEBOOKS.glob("*.md"))}
    pages[ROOT / "README.md"] = "index.html"
    for readme in (ROOT / "results", ROOT / "recipes", ROOT / "cycle_utils" / "execution"):
        pages[readme / "README.md"] = f"{readme.name}.html"
    return pages


def build(folder: Path) -> list[Path]:
    """Write all pages to ``folder``; the pages.

    Raises:
        ValueError: links that lead nowhere, each with its page.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pages = sources()
    for source, name in pages.items():
        notebook = _read(source)
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                cell.source = _relinked(cell.source, source, pages, folder)
        exporter = HTMLExporter(template_name="lab", embed_images=True)
        html, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": source.stem, "path": str(source.parent)}})
        (folder / name).write_text(html, encoding="utf-8")
    if missing := [f"{page}: {link}" for page, link in broken(folder)]:
        raise ValueError(f"{len(missing)} links lead nowhere: {'; '.join(missing)}")
    return [folder / name for name in pages.values()]


def _read(source: Path) -> nbformat.NotebookNode:
    if source.suffix == ".md":
        return nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(source.read_text(encoding="utf-8"))])
    executed = published_dir() / "notebooks" / source.name
    return nbformat.read(executed if executed.is_file() else source, as_version=4)


def _relinked(text: str, source: Path, pages: dict[Path, str], folder: Path) -> str:
    """Markdown with its links pointed at pages and at copies of files; what is in code stays as it is."""

    def link(match: re.Match) -> str:
        target, anchor = urldefrag(match[2])
        if not target or re.match(r"[a-z]+:", match[2]):
            return match[0]
        file = (source.parent / unquote(target)).resolve()
        if match[1].startswith("!") or not file.exists():  # embedded, or found missing later
            return match[0]
        page = pages.get(file) or _copied(file, folder)
        return f"{match[1]}{page}{'#' + anchor if anchor else ''}{match[3]}"

    return "".join(part if part.startswith("`") else _LINK.sub(link, part) for part in _CODE.split(text))


def _copied(file: Path, folder: Path) -> str:
    place = Path("copies") / file.relative_to(ROOT)
    (folder / place).parent.mkdir(parents=True, exist_ok=True)
    if file.is_dir():
        shutil.copytree(file, folder / place, dirs_exist_ok=True)
    else:
        shutil.copy(file, folder / place)
    return place.as_posix()


def broken(folder: Path) -> Iterator[tuple[str, str]]:
    """Links of the pages in ``folder`` to files or headings that are not there: page and link."""
    found = {
        path.name: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser") for path in folder.glob("*.html")
    }
    for page, soup in found.items():
        for tag in soup.select("a[href]"):
            target, anchor = urldefrag(tag["href"])
            if re.match(r"[a-z]+:", tag["href"]):
                continue
            file = folder / unquote(target) if target else folder / page
            inside = found.get(file.name) if file.parent == folder else None
            if not file.exists() or (anchor and inside and not inside.find(id=unquote(anchor))):
                yield page, tag["href"]


def main() -> None:
    """Command line of ``make html``."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "html")
    pages = build(parser.parse_args().folder)
    print(f"{len(pages)} pages; begin with {pages[0].with_name('index.html')}")


if __name__ == "__main__":
    main()
