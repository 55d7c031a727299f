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
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

from screen_cli.errors import MissingExtraError, SourceError
from screen_cli.store.atomic_write import write_bytes, write_text
from screen_cli.store.keys import content_key

logger = logging.getLogger(__name__)

_TRY_AGAIN = {408, 425, 429, 500, 502, 503, 504}
_LONGEST_WAIT = 120.0


@dataclass(frozen=True)
class Query:
    """One query of one provider.

    Parameters
    ----------
    name : str
        Provider, for messages and folders.
    url : str
        Base URL, without version.
    filter : str
        In OPTIMADE's language; empty: everything.
    response_fields : tuple of str
    page_limit : int
        Entries a page.
    """

    name: str
    url: str
    filter: str
    response_fields: tuple[str, ...]
    page_limit: int

    @property
    def first_page(self) -> str:
        """URL of the first page."""
        parameters = {"response_fields": ",".join(self.response_fields), "page_limit": str(self.page_limit)}
        if self.filter:
            parameters["filter"] = self.filter
        return f"{self.base}/structures?{urlencode(parameters)}"

    @property
    def base(self) -> str:
        """Versioned base URL."""
        url = self.url.rstrip("/")
        return url if url.endswith("/v1") else f"{url}/v1"

    def folder(self, cache: Path) -> Path:
        """Folder of the cache for this query."""
        key = content_key(self.base, self.filter, sorted(self.response_fields), self.page_limit)
        return cache / f"{self.name}-{key}"


@dataclass(frozen=True)
class Manners:
    """How to treat a provider.

    Parameters
    ----------
    requests_per_second : float
    tries : int
        Before a page is given up.
    timeout : float
        Seconds without an answer that count as a failure.
    first_wait : float
        Seconds before the second try; doubled with each further one.
    """

    requests_per_second: float = 2.0
    tries: int = 6
    timeout: float = 120.0
    first_wait: float = 1.0


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
        self._session: Any = None
        self._not_before = 0.0

    def info(self) -> dict[str, Any]:
        """Return the provider's description of the properties of structures; empty when it gives none."""
        path = self.folder / "info.json"
        if path.is_file():
            return _properties(json.loads(path.read_text(encoding="utf-8")))
        if self._offline:
            return {}
        try:
            answer = self._fetch(f"{self.query.base}/info/structures")
        except SourceError as error:
            logger.warning("%s does not describe its fields (%s); units are assumed", self.query.name, error)
            return {}
        write_text(path, json.dumps(answer))
        return _properties(answer)

    def pages(self) -> Iterator[dict[str, Any]]:
        """Iterate over the pages, those on the disk first.

        Raises
        ------
        SourceError
            The provider fails for good, or offline the pages end before the query does.
        """
        cursor = self._cursor()
        known = {self.query.first_page}
        for number in range(1, cursor["pages"] + 1):
            page = self._stored(number)
            if page is None:  # lost or torn: everything behind it is fetched again
                cursor = {"next": self._next_before(number), "pages": number - 1, "complete": False}
                break
            known.add(str(_next_link(page, self.query.base)))
            yield page
        number = cursor["pages"]
        while not cursor["complete"]:
            if self._offline:
                raise SourceError(
                    f"{self.query.name}: {number} pages are on the disk ({self.folder}), which is not all, and this "
                    "call may not use the network. Download with: screen-cli structures preview CONFIG --download"
                )
            page = self._fetch(cursor["next"])
            if not isinstance(page.get("data"), list):
                raise SourceError(f"{self.query.name}: page {number + 1} has no list 'data' ({cursor['next']}).")
            number += 1
            following = _next_link(page, cursor["next"])
            self._check_next(page, following, known)
            write_bytes(self._path(number), gzip.compress(json.dumps(page).encode(), mtime=0))
            cursor = {"next": following, "pages": number, "complete": following is None}
            write_text(self.folder / "cursor.json", json.dumps(cursor))
            known.add(str(following))
            yield page

    def _cursor(self) -> dict[str, Any]:
        """Where an earlier download stopped."""
        path = self.folder / "cursor.json"
        fresh = {"next": self.query.first_page, "pages": 0, "complete": False}
        if not path.is_file():
            if not self._offline:
                description = {"url": self.query.base, "filter": self.query.filter, "first_page": self.query.first_page}
                write_text(self.folder / "query.json", json.dumps(description, indent=1))
            return fresh
        try:
            cursor: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return cursor if {"next", "pages", "complete"} <= cursor.keys() else fresh
        except ValueError:
            return fresh

    def _path(self, number: int) -> Path:
        """File of a page, counted from 1."""
        return self.folder / f"page-{number:06d}.json.gz"

    def _stored(self, number: int) -> dict[str, Any] | None:
        """Read a page from the disk; None when it is missing or damaged."""
        try:
            page: dict[str, Any] = json.loads(gzip.decompress(self._path(number).read_bytes()))
        except (OSError, EOFError, ValueError) as error:
            logger.warning("%s is missing or damaged (%s) and is fetched again", self._path(number), error)
            return None
        return page

    def _next_before(self, number: int) -> str:
        """URL of a page, as the page before it gave it."""
        if number == 1:
            return self.query.first_page
        page = self._stored(number - 1)
        return str(_next_link(page or {}, self.query.base))

    def _check_next(self, page: dict[str, Any], following: str | None, known: set[str]) -> None:
        """Refuse links that would not end, lead elsewhere, or are missing."""
        if following is None:
            if (page.get("meta") or {}).get("more_data_available") is True:
                raise SourceError(f"{self.query.name} says that there is more, but gives no link to the next page.")
            return
        if following in known:
            raise SourceError(f"{self.query.name}: the link to the next page leads back to {following}.")
        if urlsplit(following).netloc != urlsplit(self.query.base).netloc:
            raise SourceError(
                f"{self.query.name}: the next page lies on another host ({following}); it is not followed. If that is "
                "right, give that address as url."
            )

    def _fetch(self, url: str) -> dict[str, Any]:
        """Get one JSON answer, politely and stubbornly."""
        requests = _import_requests()
        if self._session is None:
            self._session = requests.Session()
            self._session.headers["User-Agent"] = "screen-cli"
        problem = ""
        for attempt in range(self._manners.tries):
            time.sleep(max(0.0, self._not_before - time.monotonic()))
            self._not_before = time.monotonic() + 1.0 / self._manners.requests_per_second
            wait = min(self._manners.first_wait * 2**attempt, _LONGEST_WAIT) * random.uniform(0.75, 1.25)
            try:
                response = self._session.get(url, timeout=self._manners.timeout)
                if response.status_code in _TRY_AGAIN:
                    problem = f"status {response.status_code} ({_said(response)})"
                    wait = _retry_after(response) or wait
                elif not response.ok:
                    raise SourceError(f"{self.query.name} refuses {url}: {response.status_code}, {_said(response)}.")
                else:
                    answer: dict[str, Any] = response.json()
                    delay = (answer.get("meta") or {}).get("request_delay")
                    if isinstance(delay, (int, float)):
                        self._not_before += min(float(delay), _LONGEST_WAIT)
                    return answer
            except (requests.RequestException, ValueError, AttributeError) as error:
                problem = f"{type(error).__name__}: {error}"
            if attempt + 1 < self._manners.tries:
                logger.info("%s: %s; next try in %.1f s", self.query.name, problem, wait)
                time.sleep(wait)
        raise SourceError(
            f"{self.query.name} failed {self._manners.tries} times at {url}: {problem}. The {self._cursor()['pages']} "
            f"pages fetched so far are kept in {self.folder}; the same command goes on behind them."
        )


def _properties(answer: dict[str, Any]) -> dict[str, Any]:
    """Properties of an info answer, whatever shape it has."""
    data = answer.get("data")
    properties = data.get("properties") if isinstance(data, dict) else None
    return properties if isinstance(properties, dict) else {}


def _next_link(page: dict[str, Any], current: str) -> str | None:
    """URL of the next page; None when this was the last. The scheme of ``current`` is kept on the same host."""
    link = (page.get("links") or {}).get("next")
    if isinstance(link, dict):
        link = link.get("href")
    if not link:
        return None
    here, there = urlsplit(current), urlsplit(urljoin(current, str(link)))
    return (there._replace(scheme=here.scheme) if there.netloc == here.netloc else there).geturl()


def _said(response: Any) -> str:
    """What the provider says about an error."""
    try:
        errors = response.json()["errors"]
        return "; ".join(f"{error.get('title', '')}: {error.get('detail', '')}" for error in errors)
    except (ValueError, KeyError, TypeError, AttributeError):
        return str(response.text[:200].strip()) or "no explanation"


def _retry_after(response: Any) -> float:
    """Seconds the provider asks to wait; 0 when it does not say."""
    try:
        return min(float(response.headers.get("Retry-After", 0)), _LONGEST_WAIT)
    except ValueError:  # a date
        return 0.0


def _import_requests() -> Any:
    """Import the HTTP library of the extra."""
    try:
        import requests
    except ImportError as error:
        raise MissingExtraError(
            "source 'optimade' needs requests. Install it: pip install 'screen-cli[optimade]'."
        ) from error
    return requests
