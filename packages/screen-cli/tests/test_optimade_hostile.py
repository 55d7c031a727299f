"""OPTIMADE answers of a provider that is broken or hostile: one reason each, an end, and bounded work."""

from __future__ import annotations

import http.server
import json
import sys
import threading
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from screen_cli.crystal.structure import RejectedStructure, Structure
from screen_cli.errors import SourceError, StructureError
from screen_cli.sources.optimade import iterate_optimade
from screen_cli.sources.optimade.connection import same_host
from screen_cli.sources.optimade.entry import atoms_of

pytest.importorskip("requests", reason="needs screen-cli[optimade]")

SALT = {
    "lattice_vectors": [[0, 2.82, 2.82], [2.82, 0, 2.82], [2.82, 2.82, 0]],
    "cartesian_site_positions": [[0, 0, 0], [2.82, 2.82, 2.82]],
    "species_at_sites": ["Na", "Cl"],
    "species": [
        {"name": "Na", "chemical_symbols": ["Na"], "concentration": [1.0]},
        {"name": "Cl", "chemical_symbols": ["Cl"], "concentration": [1.0]},
    ],
    "nsites": 2,
    "nperiodic_dimensions": 3,
    "dimension_types": [1, 1, 1],
    "structure_features": [],
}


def entry(number, **changes):
    return {"id": f"e-{number}", "type": "structures", "attributes": SALT | changes}


class Provider:
    """A server on loopback whose ``answer(offset, base)`` gives a page, or (status, headers, body)."""

    def __init__(self, answer):
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *arguments):
                pass

            def do_GET(self):
                outer.requests += 1
                where = urlsplit(self.path)
                offset = int(dict(parse_qsl(where.query)).get("page_offset", 0))
                base = f"http://{self.headers['Host']}/v1/structures?page_offset="
                page = {"data": {"properties": {}}} if "/info" in where.path else answer(offset, base)
                status, headers, body = page if isinstance(page, tuple) else (200, {}, json.dumps(page).encode())
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

        self.requests = 0
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def read(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    started = []

    def run(answer, **options):
        provider = Provider(answer)
        started.append(provider.server)
        quick = {"requests_per_second": 1e4, "tries": 2, "first_wait": 0.01, "timeout": 10.0}
        found = iterate_optimade("own", provider.url, cache=str(tmp_path / "cache"), **(quick | options))
        return list(found), provider

    yield run
    for server in started:
        server.shutdown()
        server.server_close()


def page(*entries, following=None, **meta):
    return {"data": list(entries), "links": {"next": following}, "meta": meta}


BAD = {
    "null concentration": {"species": [{"name": "Na", "chemical_symbols": ["Na"], "concentration": [None]}]},
    "species of words": {"species": ["Na", "Cl"]},
    "species that is a word": {"species": "NaCl"},
    "features of objects": {"structure_features": [{"name": "disorder"}]},
    "features that are a number": {"structure_features": 3},
    "disorder": {"structure_features": ["disorder"]},
    "a layer by dimension types": {"nperiodic_dimensions": None, "dimension_types": [1, 1, 0]},
    "a layer by number": {"nperiodic_dimensions": 2, "dimension_types": None},
    "a layer that calls itself a crystal": {"nperiodic_dimensions": 3, "dimension_types": [1, 0, 1]},
    "dimension types of words": {"dimension_types": ["x", 1, 1]},
    "two lattice vectors": {"lattice_vectors": [[1, 0, 0], [0, 1, 0]]},
    "null lattice vectors": {"lattice_vectors": None},
    "null in a lattice vector": {"lattice_vectors": [[None, 0, 0], [0, 3, 0], [0, 0, 3]]},
    "infinite lattice vectors": {"lattice_vectors": [[float("inf"), 0, 0], [0, 3, 0], [0, 0, 3]]},
    "NaN positions": {"cartesian_site_positions": [[float("nan"), 0, 0], [1, 1, 1]]},
    "words for positions": {"cartesian_site_positions": [["a", "b", "c"], [1, 1, 1]]},
    "too few positions": {"cartesian_site_positions": [[0, 0, 0]]},
    "no sites": {"species_at_sites": [], "cartesian_site_positions": [], "nsites": 0},
    "sites that are numbers": {"species_at_sites": [1, 2]},
    "unknown species": {"species_at_sites": ["Xx", "Cl"]},
    "another count": {"nsites": 3},
    "20,000 sites": {"species_at_sites": ["Na"] * 20_000, "cartesian_site_positions": [[0, 0, 0]] * 20_000},
    "mass zero": {"species": [{"name": "Na", "chemical_symbols": ["Na"], "concentration": [1], "mass": [0.0]}]},
    "mass of a word": {"species": [{"name": "Na", "chemical_symbols": ["Na"], "concentration": [1], "mass": ["x"]}]},
    "flat cell": {"lattice_vectors": [[3, 0, 0], [6, 0, 0], [0, 0, 3]]},
    "attributes that are a list": None,
}


def test_each_bad_entry_is_one_reason_and_the_good_ones_are_taken(read):
    entries = [entry(number, **(changes or {})) for number, changes in enumerate(BAD.values())]
    entries[-1]["attributes"] = [1, 2]
    entries += ["no entry", None, {"id": ""}, entry(900)]
    found, _ = read(lambda offset, base: page(*entries))
    assert len(found) == len(entries)
    for item, name in zip(found, BAD, strict=False):
        assert isinstance(item, RejectedStructure), name
        assert len(item.reason) > 15, name
        assert "\n" not in item.reason
    assert isinstance(found[-1], Structure)
    assert found[-1].formula == "NaCl"


def test_a_species_mass_reaches_the_crystal(read):
    heavy = [{"name": "Na", "chemical_symbols": ["Na"], "concentration": [1.0], "mass": [22.0]}, SALT["species"][1]]
    alone = [{"name": "Na", "chemical_symbols": ["Na"], "concentration": [1.0], "mass": 22.0}, SALT["species"][1]]
    found, _ = read(lambda offset, base: page(entry(1, species=heavy), entry(2, species=alone), entry(3)))
    assert [round(float(item.atoms.get_masses()[0]), 2) for item in found] == [22.0, 22.0, 22.99]
    assert found[0].id == found[1].id != found[2].id
    assert found[2].masses is None


def test_an_empty_page_is_the_last(read):
    answer = lambda offset, base: page(  # noqa: E731
        *([entry(1)] if offset == 0 else []), following=f"{base}{offset + 1}", more_data_available=False
    )
    found, provider = read(answer)
    assert len(found) == 1
    assert provider.requests == 3  # info, one page, the empty one


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda o, b: page(entry(1), following=f"{b}{o + 1}"), "entries of an earlier page"),
        (
            lambda o, b: page(entry(1), following=b + "0") if o else page(entry(0), following=b + "1"),
            "earlier page|back",
        ),
        (
            lambda o, b: page(*([entry(1)] if not o else []), following=f"{b}{o + 1}", more_data_available=True),
            "is empty, though",
        ),
        (lambda o, b: page(entry(1), more_data_available=True), "gives no link"),
        (lambda o, b: page(entry(1), following="http://example.org/v1/structures?page_offset=1"), "another host"),
        (lambda o, b: page(entry(1), following="http://[::bad"), "no address"),
        (lambda o, b: (302, {"Location": "http://example.org/"}, b""), "redirects to another host"),
        (lambda o, b: (302, {"Location": b + "0"}, b""), "redirects more than"),
        (lambda o, b: (200, {}, b'{"data": "' + b"x" * 3_000_000 + b'"}'), "more than 1 MB"),
        (lambda o, b: (200, {}, b"[1, 2]"), "the answer is a list"),
        (lambda o, b: (200, {}, b"[" * 200_000), "failed 2 times"),
        (lambda o, b: (200, {}, b'{"data": {}}'), "no list 'data'"),
        (lambda o, b: (403, {}, b"\x1b[31mno\x1b[0m"), "403, .\\[31mno"),
        (lambda o, b: page(entry(o), following=f"{b}{o + 1}"), "more than 20 pages"),
    ],
)
def test_what_would_not_end_or_leads_away_stops_with_one_sentence(read, answer, words):
    with pytest.raises(SourceError, match=words) as caught:
        read(answer, max_page_megabytes=1.0, max_pages=20)
    assert "\x1b" not in str(caught.value)


def test_a_redirect_on_the_host_is_followed(read):
    def answer(offset, base):
        return page(entry(1)) if offset == 7 else (307, {"Location": f"{base}7"}, b"")

    found, _ = read(answer)
    assert [item.provider_id for item in found] == ["e-1"]


@pytest.mark.parametrize(
    ("url", "base", "same"),
    [
        ("https://a.org/v1/x", "https://a.org/v1", True),
        ("https://a.org:443/x", "https://a.org/v1", True),
        ("https://a.org/x", "http://a.org/v1", True),
        ("http://a.org/x", "https://a.org/v1", False),
        ("https://b.org/x", "https://a.org/v1", False),
        ("https://a.org:8443/x", "https://a.org/v1", False),
        ("https://a.org.evil.org/x", "https://a.org/v1", False),
        ("https://user@a.org@evil.org/x", "https://a.org/v1", False),
        ("file:///etc/passwd", "https://a.org/v1", False),
        ("https://[bad/x", "https://a.org/v1", False),
    ],
)
def test_hosts_are_compared_and_safety_is_not_lowered(url, base, same):
    assert same_host(url, base) is same


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(SALT)), _JSON)
def test_whatever_stands_in_a_field_gives_a_crystal_or_one_sentence(field, value):
    reason = ""
    try:
        atoms = atoms_of(SALT | {field: value}, 1.0, 100)
        assert np.isfinite(atoms.positions).all()
    except StructureError as error:
        reason = str(error)
    assert "\n" not in reason


def test_a_page_nested_without_end_is_refused_although_symfc_lets_python_recurse():
    """Symfc allows 100,000 calls within one another, which the stack does not hold."""
    import subprocess

    program = (
        "import sys; from screen_cli.store.reading import parse_json; sys.setrecursionlimit(1_000_000)\n"
        "try: parse_json('[' * 1_000_000)\n"
        "except ValueError as error: print(error, sys.getrecursionlimit())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "it is nested too deeply 1000000\n"
