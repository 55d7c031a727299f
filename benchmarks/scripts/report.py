"""The report at scale: time to make it, size of the page, and how fast it answers in a browser.

    python benchmarks/scripts/report.py [--crystals 5000] [--records 5000] [--output report.json] [--keep FOLDER]

A made-up run of that many crystals is written first. Needs Chromium for the second half. Peer: the same table of
rows as a plain HTML table without any script, opened in the same browser.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

sys.path.insert(0, str(Path(__file__).parents[2] / "packages" / "screen-cli" / "tests"))
from headless_browser import Browser, find_chromium
from screen_cli.report import Report, ReportOptions
from screen_cli.store.run_directory import RunDirectory
from synthetic_run import write_synthetic_run

ACTIONS = """
(async () => {
  const next = () => new Promise(done => requestAnimationFrame(() => setTimeout(done)));
  const pause = milliseconds => new Promise(done => setTimeout(done, milliseconds));
  const field = document.getElementById("search"), result = {};
  const time = async (name, work, waited = 0) => {
    const start = performance.now();
    await work();
    await next();
    result[name] = performance.now() - start - waited;
  };
  const search = async text => { field.value = text; field.dispatchEvent(new Event("input")); await pause(60); };
  const head = document.querySelector("#crystals thead button[data-column='kappa_total_w_mk']");
  await time("sort", () => head.click());
  await time("search and redraw all figures", () => search("kappa<1 has:Cs"), 60);
  await time("clear the search", () => search(""), 60);
  await time("scroll to the end", () => { document.querySelector(".scroll").scrollTop = 1e9; });
  const colours = document.querySelectorAll("#figure-kappa-msd .segments button");
  await time("colour by another property", () => colours[2].click());
  await time("open a crystal", async () => {
    document.querySelector(".scroll").scrollTop = 0;
    await next();
    location.hash = document.querySelector("#crystals tbody a").getAttribute("href");
    while (!document.querySelector("#crystal h1")) await next();
  });
  await time("and back", async () => {
    location.hash = "#crystals-section";
    while (document.getElementById("overview").hidden) await next();
  });
  return result;
})()
"""


def make_report(run: RunDirectory, folder: Path) -> dict[str, float]:
    """Seconds of processor time and of the clock, and megabytes."""
    start, clock = time.process_time(), time.perf_counter()
    report = Report(run, ReportOptions())
    read = time.process_time()
    report.write_page(run.root / "report.html")
    written = time.process_time()
    report.write_figures(folder / "figures")
    return {
        "read and prepare, t-SNE included (CPU s)": read - start,
        "write the page (CPU s)": written - read,
        "figures as PNG, SVG and PDF (CPU s)": time.process_time() - written,
        "all (s)": time.perf_counter() - clock,
        "page (MB)": (run.root / "report.html").stat().st_size / 1e6,
    }


def browse(page: Path) -> dict[str, float]:
    """Best of five for each action, ms."""
    with Browser(find_chromium() or "chromium", 1280, 900) as browser:
        loads = [1000 * browser.open(page) for _ in range(5)]
        rounds = [browser.run(ACTIONS) for _ in range(5)]
        heap = browser.run("performance.memory.usedJSHeapSize") / 1e6
        if browser.messages:
            raise SystemExit(f"the page complains: {browser.messages}")
    return {"load (ms)": min(loads), **{f"{k} (ms)": min(r[k] for r in rounds) for k in rounds[0]}, "memory (MB)": heap}


def plain_table(run: RunDirectory, path: Path) -> float:
    """Load the rows as a plain table; best of five, ms."""
    rows = run.rows()
    cells = "".join("<tr>" + "".join(f"<td>{value}</td>" for value in row.values()) + "</tr>" for row in rows)
    ready = "<script>document.documentElement.dataset.ready = 'yes'</script>"
    path.write_text(f"<!doctype html><p id=problem hidden></p><table>{cells}</table>{ready}")
    with Browser(find_chromium() or "chromium", 1280, 900) as browser:
        try:
            return min(1000 * browser.open(path) for _ in range(5))
        except TimeoutError:  # after a minute
            return float("inf")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crystals", type=int, default=5000)
    parser.add_argument("--records", type=int, help="crystals with records (default: all)")
    parser.add_argument("--keep", type=Path, help="write the run here and keep it; used again when it is there")
    parser.add_argument("--output", type=Path, default=Path("report.json"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = arguments.keep or Path(name)
        root = folder / "run"
        if (root / "manifest.json").exists():
            run = RunDirectory.open(root)
        else:
            run = write_synthetic_run(root, arguments.crystals, n_records=arguments.records)
        result = {"crystals": arguments.crystals, **make_report(run, folder)}
        if find_chromium():
            result |= browse(root / "report.html")
            result["plain table of the same rows, load (ms)"] = plain_table(run, folder / "plain.html")
        else:
            print("no Chromium: nothing measured in a browser", file=sys.stderr)
    for key, value in result.items():
        print(f"{key:<44}{value:10.1f}")
    arguments.output.write_text(json.dumps(result, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
