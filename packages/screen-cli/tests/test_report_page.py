"""The report itself: figures, page, and what a reader does with it in a real browser."""

from __future__ import annotations

import csv
import itertools
import json
import re
from pathlib import Path
from urllib.request import url2pathname

import numpy as np
import pytest
from headless_browser import Browser, find_axe, find_chromium

from screen_cli.report import Report, ReportOptions
from screen_cli.report.figures.drawing import draw
from screen_cli.report.figures.specification import Missing, Scatter
from screen_cli.report.page.packing import unpack


def figure(report, name):
    return next(one for one in report.figures if one.name == name)


def facts(report, name):
    return {fact.label: fact for fact in figure(report, name).facts}


def payload_of(text):
    """What the scripts of a page start from."""
    return unpack(re.search(r'id="payload" type="text/plain">([^<]+)<', text)[1])


# -- the figures -----------------------------------------------------------------------------------


def test_line_and_gate_are_those_of_the_trusted_crystals(made_up_run, made_up_report):
    rows = [one for one in made_up_run.rows("kappa_total_w_mk > 0") if one["trusted"]]
    msd, kappa = (np.array([one[name] for one in rows]) for name in ("max_msd", "kappa_total_w_mk"))
    shown = facts(made_up_report, "kappa-msd")
    slope = float(shown["slope of ln κ against ln MSD"].here.split()[0].replace("−", "-"))
    assert slope == pytest.approx(np.polyfit(np.log(msd), np.log(kappa), 1)[0], abs=0.006)
    low, passed = kappa < 1, msd >= 0.076
    hits = (low & passed).sum()
    assert shown["recall: of κ < 1, past the gate"].here.startswith(f"{100 * hits / low.sum():.1f} % (")
    assert shown["precision: past the gate, κ < 1"].here.startswith(f"{100 * hits / passed.sum():.1f} % (")
    assert shown["past the gate"].here == f"{passed.sum()} of {len(rows)}"
    assert shown["recall: of κ < 1, past the gate"].paper == "66 %"
    assert shown["precision: past the gate, κ < 1"].paper == "95.4 %"


def test_the_line_of_a_reference_stands_beside_that_of_the_run(made_up_run, tmp_path):
    rows = made_up_run.rows("kappa_total_w_mk > 0")
    path = tmp_path / "reference.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "max_msd", "kappa_total_w_mk"])
        writer.writerows([one["id"], one["max_msd"], 0.1 * one["max_msd"] ** -2] for one in rows)
    report = Report(made_up_run, ReportOptions(reference=path, max_megabytes=0))
    shown = facts(report, "kappa-msd")
    assert shown["slope of the reference"].here.startswith("−2.00")
    assert shown["line of the reference at the gate"].here == f"{0.1 * 0.076**-2:.2f} W/mK"
    assert any(guide.label == "reference's fit" for guide in figure(report, "kappa-msd").guides)


def test_coherence_share(made_up_run, made_up_report):
    rows = made_up_run.rows("kappa_total_w_mk > 0")
    drawn = figure(made_up_report, "coherence-share")
    np.testing.assert_allclose(drawn.y_values, [100 * one["kappa_c_w_mk"] / one["kappa_total_w_mk"] for one in rows])
    assert any(guide.y == (50.0, 50.0) for guide in drawn.guides)


def test_mean_msd_of_each_element(made_up_run, made_up_report):
    symbol, (mean, count) = next(iter(figure(made_up_report, "msd-by-element").values.items()))
    found = []
    for one in made_up_run.rows("stable"):
        data = made_up_run.store.find(one["id"], "harmonic", json.loads(one["keys"])["harmonic"]).data
        found += [data["msd_by_element"][symbol]] if symbol in data["msd_by_element"] else []
    assert count == len(found)
    assert mean == pytest.approx(np.mean(found))


def test_page_and_paper_draw_the_same_numbers(made_up_report, tmp_path):
    made_up_report.write_page(tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    payload = payload_of(text)
    names = ["x"] * len(made_up_report.material.rows)
    for spec in payload["figures"]:
        made = figure(made_up_report, spec["name"])
        canvas = draw(made, names)
        if isinstance(made, Scatter):
            drawn = np.concatenate([np.asarray(one.get_offsets()) for one in canvas.axes[0].collections])
            page = np.column_stack([spec["x_values"], spec["y_values"]])
            assert len(drawn) == len(page)
            assert all(np.isclose(page, point, rtol=1e-3, atol=1e-4).all(axis=1).any() for point in drawn)
            assert canvas.axes[0].get_xlabel() == spec["x"]["label"]
        else:
            texts = {text.get_text() for text in canvas.axes[0].texts}
            assert {symbol for symbol, cell in spec["cells"].items() if len(cell) > 2} <= texts


def test_figures_for_papers(made_up_report, tmp_path):
    files = made_up_report.write_figures(tmp_path / "figures")
    names = {"kappa-msd", "coherence-share", "msd-by-element", "bonding-map", "descriptor-map"}
    first = {".png": b"\x89PNG", ".svg": b"<?xm", ".pdf": b"%PDF"}
    assert {path.name for path in files} == {f"{name}{suffix}" for name in names for suffix in (*first, ".csv")}
    for path in files:
        if path.suffix in first:
            assert path.stat().st_size > 4000
            assert path.read_bytes()[:4] == first[path.suffix]
    drawn = figure(made_up_report, "kappa-msd")
    with (tmp_path / "figures" / "kappa-msd.csv").open(encoding="utf-8") as file:
        headings, *rows = csv.reader(file)
    assert headings[1:3] == [drawn.x.label, drawn.y.label]
    np.testing.assert_allclose([[float(row[1]), float(row[2])] for row in rows], np.c_[drawn.x_values, drawn.y_values])


def test_kappa_of_a_committee_has_bars_on_page_and_paper(tmp_path):
    from synthetic_run import write_synthetic_run

    run = write_synthetic_run(tmp_path / "run", 60, committee=True, descriptors=False)
    rows = run.rows("kappa_total_w_mk > 0")
    reference = tmp_path / "reference.csv"
    reference.write_text("id,kappa,max_msd\n" + "".join(f"{one['id']},1.0,0.05\n" for one in rows))
    report = Report(run, ReportOptions(reference=reference, max_megabytes=0))
    report.write_page(tmp_path / "report.html")
    drawn = {spec["name"]: spec for spec in payload_of((tmp_path / "report.html").read_text())["figures"]}
    assert {name for name, spec in drawn.items() if spec.get("y_bars")} == {"kappa-msd", "parity"}
    for name in ("kappa-msd", "parity"):
        made = figure(report, name)
        expected = [
            [
                one["kappa_total_w_mk"] / one["kappa_interval_factor"],
                one["kappa_total_w_mk"] * one["kappa_interval_factor"],
            ]
            if one.get("kappa_interval_factor")
            else [np.nan, np.nan]
            for one in rows
        ]
        np.testing.assert_allclose(made.y_bars, expected)
        assert np.isnan(made.y_bars).any()
        assert np.isfinite(made.y_bars).any()
        assert made.caption.endswith("Bars: one standard deviation of ln κ over the committee.")
        assert len(drawn[name]["y_bars"]) == len(rows)
        lines = [c for c in draw(made, ["x"] * 60).axes[0].collections if type(c).__name__ == "LineCollection"]
        ends = np.array([segment[:, 1] for segment in lines[0].get_segments()])
        np.testing.assert_allclose(ends, np.array(expected)[np.isfinite(expected).all(axis=1)])


def test_parity_counts_what_it_compares(made_up_run, tmp_path):
    rows = made_up_run.rows("kappa_total_w_mk > 0")
    path = tmp_path / "reference.csv"
    lines = [
        f"{one['id']},{one['kappa_total_w_mk'] * factor}"
        for one, factor in zip(rows, itertools.cycle((1, 10)), strict=False)
    ]
    path.write_text("id,kappa\n" + "\n".join([*lines, "elsewhere,1.0"]) + "\n")
    report = Report(made_up_run, ReportOptions(reference=path, max_megabytes=0, where="kappa_total_w_mk > 0"))
    shown = facts(report, "parity")
    assert len(figure(report, "parity").points) == len(rows)
    assert shown["crystals compared"].here == f"{len(rows)}, matched by id"
    trusted = [index for index, one in enumerate(rows) if one["trusted"]]
    expected = np.mean([index % 2 for index in trusted])
    assert float(shown["mean |log₁₀ ratio|"].here) == pytest.approx(expected, abs=6e-4)
    assert shown["entries of the file without a crystal here"].here == "1"


def test_what_cannot_be_drawn_says_what_it_needs(made_up_run, tmp_path):
    from synthetic_run import write_synthetic_run

    run = write_synthetic_run(tmp_path / "bare", 12, descriptors=False, bonding=False)
    missing = {one.name: one.reason for one in Report(run).figures if isinstance(one, Missing)}
    assert set(missing) >= {"parity", "bonding-map", "descriptor-map"}
    assert "--descriptors FILE" in missing["descriptor-map"]
    assert "LOBSTER" in missing["bonding-map"]


def test_a_gate_at_another_temperature_is_not_scored(made_up_run, monkeypatch):
    from screen_cli.report.figures.conductivity import kappa_against_msd
    from screen_cli.report.material import Material

    monkeypatch.setattr(Material, "msd_kelvin", 600.0)
    report = Report(made_up_run, ReportOptions(max_megabytes=0, where="kappa_total_w_mk > 0"))
    (drawn,) = kappa_against_msd(report.material)
    assert not any("gate" in guide.label for guide in drawn.guides)
    assert any("600 K" in fact.here for fact in drawn.facts)


def test_curves_fill_their_room_and_no_more(made_up_run, tmp_path):
    sizes = {}
    for room in (0, 0.05, 2):
        report = Report(made_up_run, ReportOptions(max_megabytes=room))
        report.write_page(tmp_path / "report.html")
        curves = [index for index, one in enumerate(report.material.crystals) if "bands" in views_of(one)]
        kappas = [made_up_run.rows()[index]["kappa_total_w_mk"] for index in curves]
        sizes[room] = (tmp_path / "report.html").stat().st_size, len(curves), kappas
    assert sizes[0][1] == 0
    assert 0 < sizes[0.05][1] < sizes[2][1]
    assert 50_000 < sizes[0.05][0] - sizes[0][0] < 65_000
    assert sizes[0][0] < 0.6 * sizes[2][0]
    lowest = sorted(kappa for kappa in sizes[2][2] if kappa is not None)
    assert sorted(sizes[0.05][2]) == lowest[: sizes[0.05][1]]


def views_of(crystal):
    """Return what the page of a crystal shows."""
    return unpack(crystal.packed) if crystal.packed else {}


@pytest.mark.parametrize(("asked", "seen"), [(None, False), (True, True), (False, False)])
def test_the_paper_stands_beside_hundreds_of_crystals_or_where_it_is_asked_for(made_up_run, tmp_path, asked, seen):
    report = Report(made_up_run, ReportOptions(max_megabytes=0, with_paper=asked))
    report.write_page(tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert ("“Paper” is Rodriguez et al., Commun. Mater. 4, 61 (2023)" in text) is seen
    assert ("(paper: 35.1 %)" in text) is seen
    assert any(fact.paper for fact in figure(report, "kappa-msd").facts) is seen


def test_an_empty_run_still_has_a_report(tmp_path):
    from synthetic_run import write_synthetic_run

    report = Report(write_synthetic_run(tmp_path / "run", 0))
    report.write_page(tmp_path / "report.html")
    assert all(isinstance(one, Missing) for one in report.figures)
    text = (tmp_path / "report.html").read_text()
    assert {"stable", "kappa_total_w_mk"} <= payload_of(text)["data"].keys()
    assert "0 crystals" in (tmp_path / "report.html").read_text()


def test_damaged_and_missing_records_leave_gaps_only(tmp_path):
    from synthetic_run import write_synthetic_run

    run = write_synthetic_run(tmp_path / "run", 12, seed=3)
    row, other = run.rows("kappa_total_w_mk > 0")[:2]
    run.store.path(row["id"], "harmonic", "00", "hdf5").write_bytes(b"damaged")
    (run.store.folder(other["id"]) / "structure.json").unlink()
    report = Report(run)
    crystals = {one["id"]: crystal for one, crystal in zip(report.material.rows, report.material.crystals, strict=True)}
    view = unpack(crystals[row["id"]].packed)
    assert "bands" not in view
    assert view["kappa"]["t"] == [100, 200, 300, 400, 600, 800]
    assert crystals[other["id"]].packed == ""
    report.write_page(tmp_path / "report.html")


def test_command(made_up_run, tmp_path, capsys, monkeypatch):
    from screen_cli.cli import main

    monkeypatch.setattr("screen_cli.report.figures.style.FORMATS", ("svg",))  # all three are drawn above

    page = tmp_path / "page.html"
    reference = tmp_path / "reference.csv"
    reference.write_text("id,kappa\nelsewhere,1\n")
    arguments = ["report", str(made_up_run.root), "--output", str(page), "-f", "kappa_total_w_mk < 3"]
    assert main([*arguments, "--figures", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    assert printed.out.split()[0] == str(page)
    assert str(tmp_path / "kappa-msd.svg") in printed.out
    assert len(payload_of(page.read_text())["data"]["id"]) == len(made_up_run.rows("kappa_total_w_mk < 3"))
    assert main([*arguments, "--reference", str(reference)]) == 2
    assert "names none of the run's crystals" in capsys.readouterr().err


# -- in a browser ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def page(made_up_report, tmp_path_factory):
    """Return the report opened in a headless Chromium."""
    executable = find_chromium()
    if executable is None:
        pytest.skip("no Chromium or Chrome here; install one (apt install chromium) or set CHROMIUM")
    path = tmp_path_factory.mktemp("page") / "report.html"
    made_up_report.write_page(path)
    with Browser(executable) as browser:
        browser.open(path)
        yield browser


@pytest.fixture
def overview(page):
    """Return the page on its overview, nothing searched."""
    page.run("location.hash = '#funnel'")
    page.wait_for("!document.getElementById('overview').hidden")
    search(page, "")
    assert shown(page) == "90 of 90"
    return page


def search(browser, text):
    """Put text into the search field and wait for the table."""
    put = "(field => { field.value = TEXT; field.dispatchEvent(new Event('input')); })"
    browser.run(f"{put.replace('TEXT', json.dumps(text))}(document.getElementById('search'))")
    browser.run("new Promise(done => setTimeout(done, 150))")


def shown(browser):
    """Return what the table says about its length."""
    return browser.run("document.getElementById('shown').textContent")


def cells(browser, column):
    """Texts of a column of the table, as seen."""
    heads = browser.run("[...document.querySelectorAll('#crystals thead button')].map(head => head.dataset.column)")
    return browser.run(
        "[...document.querySelectorAll('#crystals tbody tr[data-row]')]"
        f".map(row => row.cells[{heads.index(column)}].textContent)"
    )


def test_page_asks_for_nothing_and_says_no_error(page):
    assert page.messages == []
    assert {address.split(":")[0] for address in page.requests} <= {"file", "data", "about"}
    assert page.run("document.querySelectorAll('#figure-list figure').length") == 5


def test_sort_by_clicking(overview):
    overview.click("#crystals thead button[data-column='kappa_total_w_mk']")
    overview.run("document.querySelector('.scroll').scrollTop = 0")
    values = [float(text) for text in cells(overview, "kappa_total_w_mk") if text]
    assert len(values) > 5
    assert values == sorted(values)
    overview.click("#crystals thead button[data-column='kappa_total_w_mk']")
    first = cells(overview, "kappa_total_w_mk")[:5]
    assert "" not in first, "crystals without κ come last either way"
    assert [float(text) for text in first] == sorted(map(float, first), reverse=True)
    assert overview.run("document.querySelector('th[aria-sort]').getAttribute('aria-sort')") == "descending"


def test_search_words_numbers_and_elements(overview, made_up_run):
    overview.run("document.getElementById('search').focus()")
    overview.type("kappa<5 sg:225")
    expected = len(made_up_run.rows("kappa_total_w_mk < 5 and space_group == 225"))
    overview.wait_for(f"document.getElementById('shown').textContent === '{expected} of 90'")
    assert set(cells(overview, "space_group")) == {"225"}
    search(overview, "has:Cs")
    with_caesium = sum("Cs" in re.findall("[A-Z][a-z]?", one["formula"]) for one in made_up_run.rows())
    assert shown(overview) == f"{with_caesium} of 90"
    search(overview, "!has:Cs")
    assert shown(overview) == f"{90 - with_caesium} of 90"
    search(overview, "nonsense<3")
    assert "no column 'nonsense'" in shown(overview)


def test_every_step_and_loss_of_the_funnel_lists_its_crystals(overview):
    buttons = overview.run(
        "[...document.querySelectorAll('.funnel [data-query]')].map(button => { const line = button.closest('li') ??"
        " button.closest('.label').nextElementSibling.nextElementSibling;"
        " return [button.dataset.query, line.querySelector('b').textContent]; })"
    )
    assert len(buttons) >= 9
    for query, count in buttons:
        search(overview, query)
        assert shown(overview) == f"{count.strip('−')} of 90", query


def test_open_a_crystal_turn_it_and_come_back(overview, made_up_run):
    search(overview, "kappa>0")
    assert shown(overview) == f"{len(made_up_run.rows('kappa_total_w_mk > 0'))} of 90"
    overview.click("#crystals tbody tr[data-row] td:nth-child(2)")
    overview.wait_for("document.querySelectorAll('#crystal figure').length === 4")
    assert overview.run("location.hash").startswith("#/crystal/")
    assert overview.run("document.getElementById('overview').hidden") is True
    assert overview.run("document.querySelectorAll('#crystal path.band').length") >= 6
    links = overview.run("[...document.querySelectorAll('.records a')].map(link => link.href)")
    assert len(links) == 4
    assert all(Path(url2pathname(link.removeprefix("file://"))).is_file() for link in links)
    before = overview.run("document.querySelector('.structure canvas').toDataURL()")
    overview.run("document.querySelector('.structure canvas').focus()")
    overview.press("ArrowRight")
    assert overview.run("document.querySelector('.structure canvas').toDataURL()") != before
    first = overview.run("document.querySelector('.crystal-head h1').textContent")
    overview.click(".crystal-head a[aria-label='Next crystal']")
    overview.wait_for(f"document.querySelector('.crystal-head h1').textContent !== {json.dumps(first)}")
    overview.click("#back")
    overview.wait_for("!document.getElementById('overview').hidden")
    assert overview.messages == []


def test_records_behind_the_links_exist(made_up_report, made_up_run, tmp_path):
    made_up_report.write_page(made_up_run.root / "report.html")
    for crystal in made_up_report.material.crystals:
        for link in unpack(crystal.packed).get("files", {}).values() if crystal.packed else ():
            assert (made_up_run.root / link).is_file()


def test_keyboard_walks_through_a_figure_and_opens(overview):
    overview.run("document.querySelector('#figure-kappa-msd canvas').focus()")
    overview.press("ArrowRight")
    overview.press("ArrowRight")
    assert overview.run("document.querySelector('#figure-kappa-msd .tip').hidden") is False
    overview.press("Enter")
    overview.wait_for("!document.getElementById('crystal').hidden")


def test_zoom_selects_rows(overview):
    overview.run("document.querySelector('#figure-kappa-msd').scrollIntoView({block: 'center', behavior: 'instant'})")
    x, y, width, height = overview.run(
        "(box => [box.x, box.y, box.width, box.height])"
        "(document.querySelector('#figure-kappa-msd canvas').getBoundingClientRect())"
    )
    places = [(x + across * width, y + down * height) for across, down in ((0.2, 0.1), (0.5, 0.4), (0.7, 0.6))]
    for kind, place in zip(("mousePressed", "mouseMoved", "mouseReleased"), places, strict=True):
        overview.mouse(kind, *place)
    button = "[...document.querySelectorAll('#figure-kappa-msd .figure-head button')].find(one => !one.hidden)"
    count = int(re.search(r"\d+", overview.run(f"{button}.textContent"))[0])
    overview.run(f"{button}.click()")
    assert shown(overview) == f"{count} of 90"
    assert 0 < count < 90
    overview.click(".table-tools button.chip")
    assert shown(overview) == "90 of 90"


OVERLAPS = """
(() => {
  let bad = [];
  for (const layer of document.querySelectorAll("svg.axes")) {
    const texts = [...layer.querySelectorAll("text")].map(text => [text.textContent, text.getBoundingClientRect()]);
    const touch = (a, b) => a.x < b.right - 1 && b.x < a.right - 1 && a.y < b.bottom - 1 && b.y < a.bottom - 1;
    for (const [one, a] of texts) for (const [two, b] of texts) if (one < two && touch(a, b)) bad.push([one, two]);
  }
  return bad;
})()
"""


def test_themes_widths_and_labels(overview):
    for width in (1280, 1920, 700, 420):
        overview.resize(width, 5000)  # everything in view, so everything drawn
        overview.wait_for(
            "[...document.querySelectorAll('#figure-list svg.axes')].every(layer =>"
            " layer.querySelector('text') && Math.abs(layer.viewBox.baseVal.width - layer.clientWidth) < 2)"
        )
        assert overview.run("document.documentElement.scrollWidth - innerWidth") <= 0, f"sideways scrolling at {width}"
        assert overview.run(OVERLAPS) == [], f"labels touch at {width}"
    overview.resize(1280, 900)
    before = overview.run("getComputedStyle(document.body).backgroundColor")
    overview.click("#theme")
    assert overview.run("getComputedStyle(document.body).backgroundColor") != before
    overview.click("#theme")
    assert overview.run("getComputedStyle(document.body).backgroundColor") == before


@pytest.mark.skipif(find_axe() is None, reason="needs axe-core-python")
@pytest.mark.parametrize("width", [1400, 420])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nobody_is_kept_out(overview, made_up_run, theme, width):
    overview.resize(width, 5000)
    overview.run(f"document.documentElement.dataset.theme = '{theme}'; dispatchEvent(new Event('resize'))")
    assert overview.accessibility_errors() == []
    crystal = made_up_run.rows("kappa_total_w_mk > 0")[0]["id"]
    overview.run(f"location.hash = '#/crystal/{crystal}'")
    overview.wait_for("document.querySelectorAll('#crystal figure').length === 4")
    overview.run("new Promise(done => setTimeout(done, 300))")
    assert overview.accessibility_errors() == []
    assert overview.run("document.documentElement.scrollWidth - innerWidth") <= 0
    assert overview.run(OVERLAPS) == []
    overview.run("delete document.documentElement.dataset.theme")
    overview.resize(1280, 900)


def test_values_have_meanings_and_units(overview, made_up_run):
    crystal = made_up_run.rows("kappa_total_w_mk > 0")[0]
    overview.run(f"location.hash = '#/crystal/{crystal['id']}'")
    overview.wait_for("document.querySelectorAll('#values tr').length > 5")
    lines = overview.run("[...document.querySelectorAll('#values tr')].map(row => row.textContent)")
    (kappa,) = [line for line in lines if "kappa_total_w_mk" in line]
    assert kappa.startswith("κ_P + κ_C, at 300 K")
    assert kappa.endswith("W m⁻¹ K⁻¹")
    assert any(line.startswith("whether nothing speaks against the fit") and line.endswith("yes") for line in lines)
    assert "screen-cli" in overview.run("document.querySelector('#crystal').textContent")


def test_prints(overview, tmp_path):
    overview.print(tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").stat().st_size > 50_000


def test_parent_and_child_link_to_each_other(tmp_path):
    from synthetic_run import write_synthetic_run

    executable = find_chromium()
    if executable is None:
        pytest.skip("no Chromium or Chrome here; install one (apt install chromium) or set CHROMIUM")
    run = write_synthetic_run(tmp_path / "run", 6)
    parent, child, lonely = (one["id"] for one in run.rows()[:3])
    known = {
        "child_symbol": "I4/mcm",
        "child_space_group": 140,
        "child_name": "tetragonal",
        "child_doi": "10.1000/x(1)",
    }
    told = {"known_children": "I4/mcm (140), tetragonal"}
    index = run.index()
    index.update(parent, "done", scalars={"child_id": child, **known, **told})
    index.update(child, "done", scalars={"parent_id": parent, "parent_formula": "AB", "parent_space_group": 221})
    index.update(lonely, "done", scalars={"child_id": "elsewhere", "child_symbol": "R3m", "child_space_group": 160})
    index.close()
    Report(run).write_page(tmp_path / "report.html")
    lines = "[...document.querySelectorAll('#family li')].map(line => line.textContent)"
    with Browser(executable) as browser:
        browser.open(tmp_path / "report.html")
        browser.run(f"location.hash = '#/crystal/{parent}'")
        browser.wait_for("document.querySelectorAll('#family li').length === 2")
        distorts, listed = browser.run(lines)
        assert "I4/mcm (140): the known phase tetragonal, doi:10.1000/x(1)" in distorts
        assert listed == "known to distort to: I4/mcm (140), tetragonal"
        assert browser.run("document.querySelector('#family .child a[rel]').href") == "https://doi.org/10.1000/x(1)"
        browser.click("#family .child a")
        browser.wait_for(f"location.hash === '#/crystal/{child}' && document.querySelector('#family .parent') !== null")
        assert browser.run(lines)[0].startswith("distorted from ")
        browser.click("#family .parent a")
        browser.wait_for(f"location.hash === '#/crystal/{parent}' && document.querySelector('#family .child') !== null")
        browser.run(f"location.hash = '#/crystal/{lonely}'")
        browser.wait_for("document.querySelectorAll('#family li').length === 1")
        (line,) = browser.run(lines)
        assert line.endswith(", id elsewhere, R3m (160)")
        assert browser.run("document.querySelector('#family a')") is None
        assert browser.messages == []
