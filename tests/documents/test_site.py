"""What a strict build does not say: names without a place, pages out of the navigation, fetched addresses."""

import importlib.util
import json
import re
import tomllib
from collections import Counter

import griffe
import pytest
import yaml
from document_blocks import ROOT
from mkdocs.commands.build import build
from mkdocs.config import load_config

DOCS = ROOT / "docs"
SETTINGS = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
INVENTORY = json.loads((ROOT / "tests" / "public_api.json").read_text())
PLACES = [
    path
    for page in sorted(DOCS.glob("reference/*.md"))
    for path in re.findall(r"^::: (\S+)$", page.read_text(), re.MULTILINE)
]


@pytest.fixture(scope="module")
def site_build():
    spec = importlib.util.spec_from_file_location("site_build", DOCS / "site_build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pages_of(nav):
    for entry in nav:
        for value in entry.values() if isinstance(entry, dict) else [entry]:
            yield from pages_of(value) if isinstance(value, list) else [value]


@pytest.mark.parametrize("module", INVENTORY)
def test_every_public_name_has_a_place_in_the_reference(module):
    for name in INVENTORY[module]:
        offered_by = [other for other, names in INVENTORY.items() if name in names]
        places = [f"{other}.{name}" for other in offered_by if f"{other}.{name}" in PLACES]
        assert len(places) == 1, f"{module}.{name}"


def test_the_reference_shows_nothing_twice():
    assert [path for path, count in Counter(PLACES).items() if count > 1] == []


def test_every_page_is_in_the_navigation_once(site_build):
    listed = list(pages_of(SETTINGS["nav"]))
    written = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    assert sorted(listed) == sorted(written | {*site_build.PAGES_FROM_OUTSIDE.values()})


def test_every_extra_has_a_row():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    table = (DOCS / "installation.md").read_text()
    assert set(re.findall(r"^\| `([\w-]+)` \|", table, re.MULTILINE)) == set(extras)


def test_a_page_fetches_nothing_from_the_web(site_build, tmp_path):
    """A page with the theme and the settings of the site, and the style sheets that come with it."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("# Page\n\n```python\nprint(1)\n```\n\n[link](https://example.org/)\n")
    folders = {"docs_dir": str(tmp_path / "docs"), "site_dir": str(tmp_path / "site")}
    build(load_config(str(ROOT / "mkdocs.yml"), nav=None, hooks=[], plugins=["search"], watch=[], **folders))
    page = (tmp_path / "site" / "index.html").read_text()
    assert "example.org" in page
    assert site_build.fetched_addresses(page) == []
    for sheet in (tmp_path / "site").rglob("*.css"):
        assert not re.search(r"@import|url\([\"']?(?:https?:)?//", sheet.read_text()), sheet


@pytest.mark.parametrize(
    ("html", "found"),
    [
        ('<link rel=stylesheet href="https://fonts.example/css">', ["https://fonts.example/css"]),
        ("<script async src=//cdn.example/a.js></script>", ["//cdn.example/a.js"]),
        ('<img alt=a src="https://a.example/a.png">', ["https://a.example/a.png"]),
        ('<a href="https://a.example/"><img src=a.png></a><script src=assets/b.js></script>', []),
    ],
)
def test_what_a_browser_would_fetch_is_found(site_build, html, found):
    assert site_build.fetched_addresses(html) == found


@pytest.mark.parametrize(
    ("markdown", "place", "page", "expected"),
    [
        ("[a](docs/usage.md#models)", "README.md", "index.md", "[a](usage.md#models)"),
        ("![a](docs/images/group.jpg)", "README.md", "index.md", "![a](images/group.jpg)"),
        ("[a](../CONTRIBUTING.md)", "docs/datasets.md", "datasets.md", "[a](contributing.md)"),
        ("[a](../usage.md)", "docs/howto/lora.md", "howto/lora.md", "[a](../usage.md)"),
        ("[`a`](../src/farl_hf/photos.py)", "docs/photos.md", "photos.md", "`a`"),
        ("[a](https://a.example/) [b](#c)", "docs/photos.md", "photos.md", "[a](https://a.example/) [b](#c)"),
    ],
)
def test_links_lead_to_pages_of_the_site_or_become_text(site_build, markdown, place, page, expected):
    assert site_build.site_links(markdown, place, page) == expected


def test_types_of_docstrings_are_read(site_build):
    docstring = """Faces.

    Args:
        points (`torch.Tensor` of shape `(F, 5, 2)`, *optional*, defaults to `None`): Points.
        size (`int`, *optional*, defaults to 448): Of `**kwargs`, so no signature shows it.
        model ([`FaRLModel`] or `str`):
            A model; see [`FaRLModel`] and [`not_public`].

    Returns:
        `list[dict]`: Faces.

    Example:
        >>> 1 + 1  # doctest: +SKIP
    """
    text = site_build.google_style(griffe.Docstring(docstring).value, {"points", "model"})
    sections = {s.kind.value: s.value for s in griffe.parse_google(griffe.Docstring(text), returns_named_value=False)}
    assert [(p.name, str(p.annotation)) for p in sections["parameters"]] == [
        ("points", "torch.Tensor of shape (F, 5, 2)"),
        ("size", "int, optional, defaults to 448"),
        ("model", "FaRLModel or str"),
    ]
    described = sections["parameters"][2].description.strip()
    assert described == "A model; see [`FaRLModel`][farl_hf.FaRLModel] and `not_public`."
    assert [str(item.annotation) for item in sections["returns"]] == ["list[dict]"]
    assert "1 + 1" in sections["examples"][0][1]
