"""Pages of an OPTIMADE query: from the disk where they were fetched before, else from the provider.

A folder of the cache holds one query::

    query.json              what was asked
    info.json               the provider's description of its fields
    page-000001.json.gz     a page as the provider sent it
    cursor.json             where to go on: next URL, pages so far, whether that was all

Pages and cursor are written whole, so a download that was cut off goes on behind its last page.
"""

from __future__ import annotations

import gzip
import json
import logging
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict, cast
from urllib.parse import urljoin, urlsplit

from screen_cli.errors import SourceError
from screen_cli.sources.optimade.connection import Connection, same_host
from screen_cli.sources.optimade.query import Manners, Query
from screen_cli.sources.readers.text import printable
from screen_cli.store.atomic_write import write_bytes, write_text
from screen_cli.store.keys import content_key
from screen_cli.store.reading import parse_json

logger = logging.getLogger(__name__)


class Page(TypedDict, total=False):
    """One answer of a provider; its entries, the link to the next page, and what it says of itself."""

    data: list[object]
    links: object
    meta: object


class _Cursor(TypedDict):
    """Where a download stands: the next page, how many are there, whether that is all."""

    next: str | None
    pages: int
    complete: bool


class PageReader:
    """Read the pages of one query.

    Parameters
    ----------
    query : Query
    cache : Path
        Folder of all cached queries.
    manners : Manners
    offline : bool
        Never use the network.
    """

    def __init__(self, query: Query, cache: Path, manners: Manners, *, offline: bool = False) -> None:
        self.query = query
        self.folder = query.folder(cache)
        self._manners = manners
        self._offline = offline
        self._connection = Connection(query, manners)

    def close(self) -> None:
        """Close the connection to the provider."""
        self._connection.close()

    def info(self) -> dict[str, object]:
        """Return the provider's description of the properties of structures; empty when it gives none."""
        path = self.folder / "info.json"
        if path.is_file():
            return _properties(cast("dict[str, object]", parse_json(path.read_bytes())))
        if self._offline:
            return {}
        try:
            answer = self._connection.get(f"{self.query.base}/info/structures")
        except SourceError as error:
            logger.warning("%s does not describe its fields (%s); units are assumed", self.query.name, error)
            return {}
        write_text(path, json.dumps(answer))
        return _properties(answer)

    def pages(self) -> Iterator[Page]:
        """Iterate over the pages, those on the disk first.

        Raises
        ------
        SourceError
            The provider fails for good, or offline the pages end before the query does.
        """
        cursor = self._cursor()
        known = {self.query.first_page}
        contents: set[str] = set()
        for number in range(1, cursor["pages"] + 1):
            page = self._stored(number)
            if page is None:  # lost or torn: everything behind it is fetched again
                cursor = {"next": self._next_before(number), "pages": number - 1, "complete": False}
                break
            known.add(str(_next_link(page, self.query.base)))
            contents.add(_content(page))
            yield page
        while not cursor["complete"]:
            page, following = self._next_page(cursor, known, contents)
            number = cursor["pages"] + 1
            write_bytes(self._path(number), gzip.compress(json.dumps(page).encode(), mtime=0))
            cursor = {"next": following, "pages": number, "complete": following is None}
            write_text(self.folder / "cursor.json", json.dumps(cursor))
            known.add(str(following))
            contents.add(_content(page))
            yield page

    def _next_page(self, cursor: _Cursor, known: set[str], contents: set[str]) -> tuple[Page, str | None]:
        """Fetch the page behind a cursor; with it the link to the next one, None behind the last."""
        number, name = cursor["pages"], self.query.name
        if self._offline:
            raise SourceError(
                f"{name}: {number} pages are on the disk ({self.folder}), which is not all, and this "
                "call may not use the network. Download with: screen-cli structures preview CONFIG --download"
            )
        if number >= self._manners.max_pages:
            raise SourceError(f"{name} gives more than {number} pages. Narrow the filter, or raise max_pages.")
        try:
            page = cast("Page", self._connection.get(str(cursor["next"])))
        except SourceError as error:
            raise SourceError(
                f"{error} The {number} pages fetched so far are kept in {self.folder}; the same command goes on behind "
                "them."
            ) from error
        if not isinstance(page.get("data"), list):
            raise SourceError(f"{name}: page {number + 1} has no list 'data' ({cursor['next']}).")
        following = _next_link(page, str(cursor["next"]))
        self._check_next(page, following, known)
        if page["data"] and _content(page) in contents:
            raise SourceError(f"{name}: page {number + 1} holds the entries of an earlier page; its paging is broken.")
        if not page["data"] and following is not None:
            if _table(page.get("meta")).get("more_data_available") is True:
                raise SourceError(f"{name}: page {number + 1} is empty, though it says that there is more.")
            following = None  # nothing comes behind an empty page
        return page, following

    def _cursor(self) -> _Cursor:
        """Where an earlier download stopped."""
        path = self.folder / "cursor.json"
        fresh: _Cursor = {"next": self.query.first_page, "pages": 0, "complete": False}
        if not path.is_file():
            if not self._offline:
                description = {"url": self.query.base, "filter": self.query.filter, "first_page": self.query.first_page}
                write_text(self.folder / "query.json", json.dumps(description, indent=1))
            return fresh
        try:
            cursor = cast("_Cursor", parse_json(path.read_bytes()))
            return cursor if {"next", "pages", "complete"} <= cursor.keys() else fresh
        except ValueError:
            return fresh

    def _path(self, number: int) -> Path:
        """File of a page, counted from 1."""
        return self.folder / f"page-{number:06d}.json.gz"

    def _stored(self, number: int) -> Page | None:
        """Read a page from the disk; None when it is missing or damaged."""
        limit = int(self._manners.max_page_megabytes * 2**20)
        try:
            with gzip.open(self._path(number)) as file:
                page = cast("Page", parse_json(file.read(limit)))
        except (OSError, EOFError, ValueError, zlib.error) as error:
            logger.warning("%s is missing or damaged (%s) and is fetched again", self._path(number), error)
            return None
        return page if isinstance(page.get("data") if isinstance(page, dict) else None, list) else None

    def _next_before(self, number: int) -> str:
        """URL of a page, as the page before it gave it."""
        if number == 1:
            return self.query.first_page
        page = self._stored(number - 1)
        return str(_next_link(page, self.query.base))

    def _check_next(self, page: Page, following: str | None, known: set[str]) -> None:
        """Refuse links that would not end, lead elsewhere, or are missing."""
        if following is None:
            if _table(page.get("meta")).get("more_data_available") is True:
                raise SourceError(f"{self.query.name} says that there is more, but gives no link to the next page.")
            return
        if following in known:
            raise SourceError(f"{self.query.name}: the link to the next page leads back to {following}.")
        if not same_host(following, self.query.base):
            raise SourceError(
                f"{self.query.name}: the next page lies on another host ({printable(following)}); it is not followed. "
                "If that is right, give that address as url."
            )


def _properties(answer: dict[str, object]) -> dict[str, object]:
    """Properties of an info answer, whatever shape it has."""
    data = answer.get("data")
    properties = data.get("properties") if isinstance(data, dict) else None
    return properties if isinstance(properties, dict) else {}


def _next_link(page: Page | None, current: str) -> str | None:
    """URL of the next page; None when this was the last. The scheme of ``current`` is kept on the same host."""
    link = None if page is None else _table(page.get("links")).get("next")
    if isinstance(link, dict):
        link = link.get("href")
    if not link:
        return None
    try:
        here, there = urlsplit(current), urlsplit(urljoin(current, str(link)))
    except ValueError as error:
        raise SourceError(f"the link to the next page, '{printable(str(link))}', is no address ({error}).") from error
    return (there._replace(scheme=here.scheme) if there.netloc == here.netloc else there).geturl()


def _content(page: Page) -> str:
    """Hash of the ids on a page."""
    return content_key([str(_table(entry).get("id")) for entry in page["data"]])


def _table(value: object) -> dict[str, object]:
    """Give a table of an answer; an empty one where something else stands."""
    return value if isinstance(value, dict) else {}
