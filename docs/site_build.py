"""What the site needs besides its pages: files from outside docs/, links that leave it, names and types of docstrings.

`mkdocs.yml` names this file as a hook of MkDocs and, for `PublicNames`, as an extension of Griffe, which reads the
docstrings for mkdocstrings.
"""

import importlib
import json
import logging
import posixpath
import re
from pathlib import Path

import griffe
from mkdocs.structure.files import File
from nbconvert import MarkdownExporter

ROOT = Path(__file__).resolve().parents[1]
log = logging.getLogger("mkdocs.hooks.site_build")  # a warning ends `mkdocs build --strict`

# Files outside docs/ that are pages of the site, and where. Links to other files there become plain text: the site has
# no such file, and no address of a code host is known.
PAGES_FROM_OUTSIDE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "src/farl_hf/cli/demo_photographs/README.md": "demo_photographs.md",
} | {
    path.relative_to(ROOT).as_posix(): f"cards/{path.parent.name}.md"
    for path in sorted(ROOT.glob("src/farl_hf/checkpoints/*/README.md"))
}
PAGES_FROM_OUTSIDE |= {
    f"notebooks/{path.name}": f"notebooks/{path.stem}.md" for path in ROOT.glob("notebooks/*.ipynb")
}
# Their names load on first use and stand in no import statement.
LAZY_PACKAGES = ("farl_hf.conversion", "farl_hf.data", "farl_hf")
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)")
# Pages must read without network: whatever a browser fetches by itself comes from the site.
_FETCHED = re.compile(
    r"<(?:script|link|img|iframe|source)\b(?![^>]*\brel=\"?canonical)[^>]*?\s(?:src|href)=\"?((?:https?:)?//[^\s\">]+)"
)


def on_files(files, config):
    """Adds the pages from outside."""
    for path, page in PAGES_FROM_OUTSIDE.items():
        is_notebook = path.endswith(".ipynb")
        made = pages_of_notebook(ROOT / path) if is_notebook else {page: (ROOT / path).read_text()}
        for name, content in made.items():
            files.append(File.generated(config, name, content=content))
    return files


def pages_of_notebook(path):
    """A notebook with its outputs as a page, and the pictures on it, each by its place on the site."""
    settings = {"output_files_dir": path.stem, "unique_key": path.stem}
    markdown, made = MarkdownExporter().from_filename(str(path), resources=settings)
    return {
        f"notebooks/{name}": content for name, content in ({f"{path.stem}.md": markdown} | made["outputs"]).items()
    }


def on_page_markdown(markdown, page, **_):
    """Points links to where the site has the file."""
    outside = {page: path for path, page in PAGES_FROM_OUTSIDE.items()}
    place = outside.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    return site_links(markdown, place, page.file.src_uri)


def site_links(markdown, place, page):
    """Links of a document, given by its `place` in the repository, as those of a `page` of the site."""

    def on_site(match):
        picture, text, target, anchor = match.groups()
        if picture and place.endswith(".ipynb"):
            return match[0]  # made beside the page
        path = posixpath.normpath(posixpath.join(posixpath.dirname(place), target))
        found = PAGES_FROM_OUTSIDE.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else None)
        if not found:
            return text
        return f"{picture}[{text}]({posixpath.relpath(found, posixpath.dirname(page) or '.')}{anchor or ''})"

    return _LINK.sub(on_site, markdown)


def fetched_addresses(html):
    """Web addresses that a browser would fetch by itself when it shows this page."""
    return _FETCHED.findall(html)


def on_post_page(output, page, **_):
    """Warns of pages that need the network."""
    for address in fetched_addresses(output):
        log.warning(f"{page.file.src_uri} fetches {address}")
    return output


class PublicNames(griffe.Extension):
    """Shows names of `farl_hf` under their public path, and docstrings of Transformers' style as Google's."""

    def on_package(self, *, pkg, **_):
        """Adds the names that `__getattr__` of a package finds."""
        if pkg.path != "farl_hf":
            return
        for package in LAZY_PACKAGES:
            module = pkg if package == pkg.path else pkg[package.removeprefix(f"{pkg.path}.")]
            for name, place in importlib.import_module(package)._MODULE_OF.items():
                module.set_member(name, griffe.Alias(name, f"{package}.{place}.{name}"))
        for thing in defined_in(pkg):
            if thing.docstring:
                thing.docstring.value = google_style(thing.docstring.value, signature_names(thing))
            elif thing.is_attribute and thing.parent.is_module and (comment := comment_above(thing)):
                thing.docstring = griffe.Docstring(comment, parent=thing)


def defined_in(thing):
    """Everything below a module or class, without what is imported."""
    for member in thing.members.values():
        if not member.is_alias:
            yield member
            yield from defined_in(member)


def comment_above(attribute):
    """The comment that stands over a table, or behind the first line of it."""
    lines = attribute.lines_collection[attribute.filepath]
    above = []
    for line in reversed(lines[: attribute.lineno - 1]):
        if not line.startswith("#"):
            break
        above.append(line.removeprefix("#").strip())
    behind = re.search(r"  # (.+)", lines[attribute.lineno - 1])
    return "\n".join(reversed(above)) or (behind[1] if behind else "")


_EXAMPLE = re.compile(r"^( *)Example:(?=\n +>>> )", re.MULTILINE)
_TYPED = re.compile(r"^( *[\w, ]*\w) \((.+?)\)(?=:[ \n])", re.MULTILINE)
_RETURNED = re.compile(r"^( *(?:Returns|Yields):\n +)([^\n]*?)(?=:[ \n])", re.MULTILINE)


def google_style(docstring, in_signature=()):
    """Types without backticks, defaults only of what no signature shows; [`Name`] as a link, if the name is public."""

    def typed(match):
        shown = match[1].strip() in in_signature
        return f"{match[1]} ({_plain_type(match[2].split(', *optional*')[0] if shown else match[2])})"

    docstring = _EXAMPLE.sub(r"\1Examples:", docstring)
    docstring = _TYPED.sub(typed, docstring)
    docstring = _RETURNED.sub(lambda match: match[1] + _plain_type(match[2]), docstring)
    return re.sub(r"\[`(\w+)`\](?!\[)", _link_to_name, docstring)


def signature_names(thing):
    """Parameters of a function or of a class's own constructor; fields of a dataclass."""
    if thing.is_class and any("dataclass" in str(decorator.value) for decorator in thing.decorators):
        return {*thing.members}
    function = thing.members.get("__init__", thing) if thing.is_class else thing
    return {parameter.name for parameter in function.parameters} if function.is_function else set()


def _plain_type(text):
    text = re.sub(
        r", \*optional\*(.*:.*)?", lambda match: "" if match[1] else ", optional", text
    )  # a colon ends a type
    return re.sub(r"\[`(\w+)`\]|`([^`]*)`", lambda match: match[1] or match[2], text)


def _link_to_name(match):
    name = match[1]
    paths = [f"{module}.{name}" for module, names in _inventory().items() if name in names]
    return f"[`{name}`][{paths[0]}]" if paths else f"`{name}`"


def _inventory():
    return json.loads((ROOT / "tests" / "public_api.json").read_text())
