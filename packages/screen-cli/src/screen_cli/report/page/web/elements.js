// A mean per element as a periodic table.
"use strict";

class ElementMap {
  // spec: an ElementMap of figure.py with cells {symbol: [row, column, mean, count] or [row, column]}; app.search(text).
  constructor(spec, app) {
    const found = Object.entries(spec.cells).filter(([, cell]) => cell.length > 2);
    const means = found.map(([, cell]) => cell[2]).sort((a, b) => a - b);
    const scale = new Scale({ log: true }, means);
    scale.range = [scale.forward(means[0]), scale.forward(means[means.length - 1]) + 1e-9];
    const table = h("div.periodic", { role: "group", "aria-label": spec.label });
    for (const [symbol, [row, column, mean, count]] of Object.entries(spec.cells)) {
      const place = `grid-row:${row > 7 ? row + 1 : row};grid-column:${column}`;
      if (mean === undefined) { table.append(h("span.cell.absent", { style: place }, symbol)); continue; }
      const colour = shade(app.palette.sequential, scale.at(mean));
      table.append(h("button.cell", {
        type: "button", style: `${place};background:${colour};color:${inkOn(colour)}`,
        title: `${symbol}: ${format(mean, ".3g")} Å² over ${count} crystals; click to list them`,
        onclick: () => app.search(`has:${symbol}`),
      }, h("b", {}, symbol), h("small", {}, mean >= 0.1 ? mean.toFixed(2) : mean.toFixed(3).replace(/^0/, ""))));
    }
    const ramp = h("span.ramp", {}, h("span.soft", {}, spec.label), format(means[0], ".2g"),
      h("i", { style: `background:linear-gradient(90deg, ${app.palette.sequential.join(", ")})` }), format(means[means.length - 1], ".2g"));
    this.element = h("figure.wide", { id: `figure-${spec.name}` }, h("div.figure-head", {}, h("h3", {}, spec.title)),
      table, h("div.legend", {}, ramp), h("figcaption", {}, spec.caption));
  }

  draw() {}
}
