"""The notebooks as web pages: all there, linked to each other, and a link that leads nowhere is an error."""

import json
import re

import nbformat
import pytest
from bs4 import BeautifulSoup

from cycle_utils.paths import NOTEBOOKS
from cycle_utils.study import web_pages


def test_every_page_is_written_and_every_link_leads_somewhere(tmp_path):
    written = web_pages.build(tmp_path)
    assert {path.name for path in written} >= {"index.html", "glossary.html", "07_benchmarks.html"}
    assert not list(web_pages.broken(tmp_path))
    index = BeautifulSoup((tmp_path / "index.html").read_text(), "html.parser")
    assert {f"{path.stem}.html" for path in NOTEBOOKS.glob("*.ipynb")} <= {a["href"] for a in index.select("a[href]")}
    assert all(image["src"].startswith("data:") for image in index.select("img"))


@pytest.mark.parametrize("link", ["nowhere.ipynb", "glossary.md#no-such-term"])
def test_a_link_that_leads_nowhere_is_an_error(tmp_path, monkeypatch, link):
    folder = tmp_path / "notebooks"
    folder.mkdir()
    (folder / "glossary.md").write_text("# Glossary\n\n### Term\n")
    cell = nbformat.v4.new_markdown_cell(f"See [this]({link}), not `[that](nowhere.md)`.")
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), folder / "00_one.ipynb")
    found = {folder / "00_one.ipynb": "00_one.html", folder / "glossary.md": "glossary.html"}
    monkeypatch.setattr(web_pages, "sources", lambda: found)
    with pytest.raises(ValueError, match=rf"1 links lead nowhere: .*{link.split('.')[0]}"):
        web_pages.build(tmp_path / "html")


def test_every_figure_of_a_notebook_has_a_sentence_that_stands_for_it():
    for path in NOTEBOOKS.glob("[0-9]*.ipynb"):
        for cell in json.loads(path.read_text())["cells"]:
            text = "".join(cell["source"])
            if cell["cell_type"] == "code" and "figures.save(" in text:
                shown = re.search(r'figures\.show\([^"]*"([^"]+)"', text)
                assert shown and len(shown[1]) > 40, f"{path.name}: {text}"


def test_every_notebook_leads_to_the_glossary():
    for path in NOTEBOOKS.glob("[0-9]*.ipynb"):
        assert "(glossary.md" in path.read_text(), path.name
