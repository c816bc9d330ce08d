"""Names of photos in JSON and tables: readable in UTF-8, with a URI by which the file is found again.

A file name is a row of bytes, and these need not be UTF-8. Python stands for the others by lone surrogates, which
cannot be written as UTF-8.
"""

import os
import re
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes, urlsplit

_SURROGATE = re.compile("[\ud800-\udfff]")
URL_SCHEMES = ("http://", "https://")


def readable_name(name: str) -> str:
    """The name; bytes that are not UTF-8 are written as a backslash, x and two hexadecimal digits."""
    return _SURROGATE.sub(_escaped, name)


def _escaped(surrogate: re.Match[str]) -> str:
    code = ord(surrogate[0])
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


def photo_uri(name: str) -> str:
    """The URI of a photo: a URL as it is, `file://` and the percent-encoded path of a file, else the encoded name."""
    if name.startswith(URL_SCHEMES):
        return name
    return _absolute(name).as_uri() if Path(name).exists() else quote_from_bytes(os.fsencode(name))


def _absolute(name: str) -> Path:
    """The path of a file, without "..", so that a photo has one URI however it is named."""
    path = Path(os.path.abspath(name))
    if ".." in Path(name).parts and not (path.exists() and path.samefile(name)):
        return Path(name).absolute()  # after a link to a folder, ".." is another one
    return path


def same_uri(uri: str) -> str:
    """A URI as `photo_uri` makes it now; those of earlier versions hold the ".." of the user."""
    path = named_by(uri) if uri.startswith("file:") and "/../" in uri else ""
    return photo_uri(path) if path and Path(path).exists() else uri


def named_by(uri: str) -> str:
    """The URL or the absolute path that a URI of `photo_uri` leads to."""
    return uri if uri.startswith(URL_SCHEMES) else os.fsdecode(unquote_to_bytes(urlsplit(uri).path))


def name_of_photo(readable: str, uri: str) -> str:
    """The name that `readable_name` and `photo_uri` were made of; of a name that is not UTF-8, the absolute path."""
    if uri.startswith(URL_SCHEMES):
        return readable
    path = named_by(uri)
    return readable if readable_name(path) == path else path
