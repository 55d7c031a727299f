"""Answers of an OPTIMADE provider: polite, stubborn, and bounded in bytes and time; redirects stay on the host."""

from __future__ import annotations

import logging
import random
import time
from types import ModuleType
from typing import TYPE_CHECKING, cast
from urllib.parse import urljoin, urlsplit

from screen_cli.errors import MissingExtraError, SourceError
from screen_cli.sources.optimade.query import Manners, Query
from screen_cli.sources.readers.text import printable
from screen_cli.store.reading import parse_json

if TYPE_CHECKING:
    import requests

logger = logging.getLogger(__name__)

_TRY_AGAIN = {408, 425, 429, 500, 502, 503, 504}
_REDIRECTS = {301, 302, 303, 307, 308}
_MOST_REDIRECTS = 5
_LONGEST_WAIT = 120.0
_DRIP = 10.0  # times the timeout that one answer may take, however steadily it comes


class Connection:
    """The way to one provider.

    Parameters
    ----------
    query : Query
    manners : Manners
    """

    def __init__(self, query: Query, manners: Manners) -> None:
        self._query = query
        self._manners = manners
        self._session: requests.Session | None = None
        self._not_before = 0.0
        self._give_up = time.monotonic() + 3600.0 * manners.max_hours

    def close(self) -> None:
        """Close what is open to the provider; another request opens it again."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def get(self, url: str) -> dict[str, object]:
        """Get one JSON answer.

        Raises
        ------
        SourceError
            Refused, or failed as often as is tried, or the time is over.
        """
        requests = _import_requests()
        if self._session is None:
            self._session = requests.Session()
            self._session.headers["User-Agent"] = "screen-cli"
        name, problem = self._query.name, ""
        for attempt in range(self._manners.tries):
            time.sleep(max(0.0, self._not_before - time.monotonic()))
            if time.monotonic() > self._give_up:
                raise SourceError(f"{name}: the download took more than {self._manners.max_hours:g} h (max_hours).")
            self._not_before = time.monotonic() + 1.0 / self._manners.requests_per_second
            wait = min(self._manners.first_wait * 2**attempt, _LONGEST_WAIT) * random.uniform(0.75, 1.25)
            try:
                response = self._follow(self._session, url)
                if response.status_code in _TRY_AGAIN:
                    problem = f"status {response.status_code} ({_said(self._body(response))})"
                    wait = _retry_after(response) or wait
                elif not response.ok:
                    said = _said(self._body(response))
                    raise SourceError(f"{name} refuses {url}: {response.status_code}, {said}.")
                else:
                    return self._answer(self._body(response))
            except (requests.RequestException, ValueError) as error:
                problem = printable(f"{type(error).__name__}: {error}")
            if attempt + 1 < self._manners.tries:
                logger.info("%s: %s; next try in %.1f s", name, problem, wait)
                time.sleep(wait)
        raise SourceError(f"{name} failed {self._manners.tries} times at {url}: {problem}.")

    def _follow(self, session: requests.Session, url: str) -> requests.Response:
        """Ask, and follow redirects that stay on the host."""
        target = url
        for _ in range(_MOST_REDIRECTS + 1):
            response = session.get(target, timeout=self._manners.timeout, stream=True, allow_redirects=False)
            if response.status_code not in _REDIRECTS or not response.headers.get("Location"):
                return response
            response.close()
            target = urljoin(target, response.headers["Location"])
            if not same_host(target, self._query.base):
                raise SourceError(
                    f"{self._query.name} redirects to another host ({printable(target)}); it is not followed. If that "
                    "is right, give that address as url."
                )
        raise SourceError(f"{self._query.name} redirects more than {_MOST_REDIRECTS} times at {url}.")

    def _body(self, response: requests.Response) -> bytes:
        """Content of an answer, up to the limits of bytes and time."""
        most = int(self._manners.max_page_megabytes * 2**20)
        end = time.monotonic() + _DRIP * self._manners.timeout
        parts: list[bytes] = []
        size = 0
        for part in response.iter_content(2**16):
            parts.append(part)
            size += len(part)
            if size > most:
                response.close()
                raise SourceError(
                    f"{self._query.name}: an answer has more than {self._manners.max_page_megabytes:g} MB. Lower "
                    "page_limit, or raise max_page_megabytes."
                )
            if time.monotonic() > end:
                response.close()
                raise ValueError(f"the answer took more than {_DRIP * self._manners.timeout:g} s")
        return b"".join(parts)

    def _answer(self, body: bytes) -> dict[str, object]:
        """JSON of an answer, and the delay that it asks for."""
        answer = parse_json(body)
        if not isinstance(answer, dict):
            raise ValueError(f"the answer is a {type(answer).__name__}, expected a table")
        meta = answer.get("meta")
        delay = meta.get("request_delay") if isinstance(meta, dict) else None
        if isinstance(delay, (int, float)) and delay > 0:
            self._not_before += min(float(delay), _LONGEST_WAIT)
        return answer


def same_host(url: str, base: str) -> bool:
    """Whether an address lies on the host of another, and is not less safe (http behind https)."""
    try:
        here, there = urlsplit(base), urlsplit(url)
        ports = {"http": 80, "https": 443}
        upgraded = (here.scheme, there.scheme) == ("http", "https") and not (here.port or there.port)
        same_port = (there.port or ports.get(there.scheme)) == (here.port or ports.get(here.scheme))
    except ValueError:
        return False
    if there.scheme not in ports or (here.scheme == "https" and there.scheme == "http"):
        return False
    return there.hostname == here.hostname and (same_port or upgraded)


def _said(body: bytes) -> str:
    """Give what the provider says about an error."""
    try:
        errors = cast("dict[str, list[dict[str, str]]]", parse_json(body))["errors"]
        said = "; ".join(f"{error.get('title', '')}: {error.get('detail', '')}" for error in errors)
    except (ValueError, KeyError, TypeError, AttributeError):
        said = body[:200].decode("utf-8", "replace").strip()
    return printable(said) or "no explanation"


def _retry_after(response: requests.Response) -> float:
    """Seconds the provider asks to wait; 0 when it does not say."""
    try:
        return max(0.0, min(float(response.headers.get("Retry-After", 0)), _LONGEST_WAIT))
    except ValueError:  # a date
        return 0.0


def _import_requests() -> ModuleType:
    """Import the HTTP library of the extra."""
    try:
        import requests
    except ImportError as error:
        raise MissingExtraError(
            "source 'optimade' needs requests. Install it: pip install 'screen-cli[optimade]'."
        ) from error
    return requests
