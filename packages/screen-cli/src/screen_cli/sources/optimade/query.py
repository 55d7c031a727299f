"""One query of an OPTIMADE provider, and how the provider is treated."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from screen_cli.store.keys import content_key


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
    max_pages : int
        Pages of one query.
    max_page_megabytes : float
        Of one answer, after decompression.
    max_hours : float
        Of one download.
    """

    requests_per_second: float = 2.0
    tries: int = 6
    timeout: float = 120.0
    first_wait: float = 1.0
    max_pages: int = 100_000
    max_page_megabytes: float = 64.0
    max_hours: float = 48.0
