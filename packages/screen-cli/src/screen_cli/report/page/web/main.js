// Start: unpack the data, draw the figures when they come into view, follow the address (#/crystal/ID).
"use strict";

async function start() {
  const payload = await unpack(document.getElementById("payload").textContent.trim());
  const overview = document.getElementById("overview"), page = document.getElementById("crystal");
  const detailText = document.getElementById("details").textContent;
  const rowOf = new Map(payload.data.id.map((id, row) => [id, row]));
  const app = {
    ...payload,
    matches: null,
    address: row => `#/crystal/${encodeURIComponent(payload.data.id[row])}`,
    open: row => { location.hash = app.address(row); },
    label: row => plainFormula(payload.data.formula[row]),
    details: async id => {
      const from = detailText.indexOf(`\n${id} `);
      return from < 0 ? {} : unpack(detailText.slice(from + id.length + 2, detailText.indexOf("\n", from + 1)));
    },
    search: text => { app.table.searchFor(text); location.hash = "#crystals-section"; document.getElementById("crystals-section").scrollIntoView(); },
    select: (name, rows) => { app.table.select(name, rows); document.getElementById("crystals-section").scrollIntoView(); },
    changed: matches => { app.matches = matches; redraw(); },
    tip: (spec, index) => {
      const row = spec.points[index], colouring = spec.colourings.map(one => [one.name, one.values[index]]);
      return [h("b", {}, formula(payload.data.formula[row])), h("div.soft", {}, payload.data.provider_id?.[row] ?? ""),
        spec.x.ticks === false ? null : h("div", {}, `x ${format(spec.x_values[index], ".3g")}, y ${format(spec.y_values[index], ".3g")}`),
        spec.y_bars?.[index]?.[0] ? h("div", {}, `y from ${format(spec.y_bars[index][0], ".3g")} to ${format(spec.y_bars[index][1], ".3g")} (one σ)`) : null,
        ...colouring.filter(([, value]) => value !== null).map(([name, value]) => h("div", {}, `${name}: ${format(value, ".3g")}`))].filter(Boolean);
    },
  };
  const figures = payload.figures.map(spec => (spec.cells ? new ElementMap(spec, app) : new Scatter(spec, app)));
  document.getElementById("figure-list").append(...figures.map(figure => figure.element));
  let waiting = 0;
  function redraw() {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(() => figures.forEach(figure => figure.draw()));
  }
  app.table = new CrystalTable(payload.columns, payload.data, payload.data.id.length, app);
  document.getElementById("table-place").replaceWith(app.table.element);
  app.table.draw();
  const crystal = new CrystalPage(page, app);

  async function follow() {
    const found = location.hash.match(/^#\/crystal\/(.+)$/), row = found ? rowOf.get(decodeURIComponent(found[1])) : undefined;
    const was = page.hidden;
    overview.hidden = row !== undefined;
    page.hidden = row === undefined;
    if (row !== undefined) return crystal.show(row);
    document.title = app.title;
    if (!was) { page.replaceChildren(); redraw(); app.table.draw(); document.getElementById("crystals-section").scrollIntoView(); }
  }
  addEventListener("hashchange", follow);

  for (const button of document.querySelectorAll("[data-query]"))
    button.addEventListener("click", () => app.search(button.dataset.query));
  setUpTheme(() => { redraw(); if (!page.hidden) follow(); });
  addEventListener("beforeprint", () => { app.table.draw(true); figures.forEach(figure => figure.draw(true)); });
  addEventListener("afterprint", () => app.table.draw());
  await follow();
  document.documentElement.dataset.ready = "yes";
}

// Light, dark, or as the system; printing is always light.
function setUpTheme(redraw) {
  const root = document.documentElement, button = document.getElementById("theme");
  const name = () => { button.textContent = isDark() ? "Light" : "Dark"; };
  let kept;
  button.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; name(); redraw(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { name(); redraw(); });
  addEventListener("beforeprint", () => { kept = root.dataset.theme; root.dataset.theme = "light"; });
  addEventListener("afterprint", () => { if (kept) root.dataset.theme = kept; else delete root.dataset.theme; redraw(); });
  name();
}

start().catch(error => {
  document.getElementById("problem").hidden = false;
  document.getElementById("problem").textContent = `This page could not be drawn: ${error.message}. It needs a browser of 2023 or newer.`;
  throw error;
});
