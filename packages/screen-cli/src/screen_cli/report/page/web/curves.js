// Curves of one crystal: dispersion with density of states, κ(T).
"use strict";

// Redraw into an SVG whenever its size changes; paint(layer, width, height) draws; height is the least.
function responsive(title, height, paint, legend = null) {
  const layer = svg("svg", { class: "axes curves", role: "img", "aria-label": title });
  const host = h("div.plot", { style: `min-height:${height}px` }, layer);
  const draw = () => {
    const width = host.clientWidth, tall = host.clientHeight;
    if (!width) return;
    layer.setAttribute("viewBox", `0 0 ${width} ${tall}`);
    layer.replaceChildren();
    paint(layer, width, tall);
  };
  new ResizeObserver(draw).observe(host);
  return h("figure", {}, h("div.figure-head", {}, h("h3", {}, title)), host, legend);
}

function path(points) {
  return points.map(([x, y], index) => `${index ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");
}

function bandFigure(view, palette) {
  const bands = view.f.map(band => sums(band, view.step)), low = Math.min(0, ...bands.map(band => Math.min(...band))), high = Math.max(...bands.map(band => Math.max(...band)));
  const floor = low < -0.02 * high ? low * 1.08 : 0;
  const y = new Scale({ label: "frequency (THz)", low: floor, high: high * 1.05 }, [0]);
  const parts = Object.entries(view.dos?.parts ?? {});
  const legend = parts.length ? h("div.legend", {}, h("span.chip", {}, h("i", { style: "background:var(--soft)" }), "total DOS"), parts.map(([symbol], rank) => h("span.chip", {}, h("i", { style: `background:${palette.categories[rank]}` }), symbol))) : null;
  return responsive(view.dos ? "Phonon bands and density of states" : "Phonon bands", 340, (layer, width, height) => {
    const side = view.dos ? Math.max(90, width * 0.2) : 0, gap = view.dos ? 10 : 0;
    const box = { left: 58, top: 8, width: width - 58 - side - gap - 12, height: height - 46 };
    const x = new Scale({ label: "", low: view.x[0], high: view.x[view.x.length - 1], ticks: false }, [0]);
    drawAxes(layer, x, y, box);
    const px = value => box.left + x.at(value) * box.width, py = value => box.top + (1 - y.at(value)) * box.height;
    if (floor < 0) layer.append(svg("rect", { x: box.left, y: py(0), width: width - box.left - 12, height: box.top + box.height - py(0), class: "imaginary" }));
    for (const [place, label] of view.ticks) {
      layer.append(svg("line", { x1: px(place), x2: px(place), y1: box.top, y2: box.top + box.height, class: "tick" }));
      layer.append(svg("text", { x: px(place), y: box.top + box.height + 17, "text-anchor": "middle" }, bandLabel(label)));
    }
    const lines = view.starts.slice(1).map((stop, index) => [view.starts[index], stop]);
    for (const band of bands) layer.append(svg("path", { class: "band", d: lines.map(([from, to]) => path(view.x.slice(from, to).map((q, k) => [px(q), py(band[from + k])]))).join("") }));
    layer.append(svg("text", { x: box.left + box.width / 2, y: height - 6, "text-anchor": "middle", class: "axis" }, "wave vector"));
    if (view.dos) drawDos(layer, view.dos, palette, { left: box.left + box.width + gap, top: box.top, width: side, height: box.height }, py);
  }, legend);
}

// Labels come as LaTeX: $\Gamma$, $\mathrm{X}$, $\mathrm{B}_{1}$; two names at a jump of the path.
function bandLabel(label) {
  const plain = label.replace(/\\mathrm\{([^}]*)\}/g, "$1").replace(/\\?GAMMA|\\Gamma|\bG\b/g, "Γ").replace(/\\?SIGMA|\\Sigma/g, "Σ").replace(/\\?DELTA|\\Delta/g, "Δ");
  return plain.replace(/_\{?(\d)\}?/g, (_, digit) => "₀₁₂₃₄₅₆₇₈₉"[digit]).replace(/[$\\{}]/g, "");
}

function drawDos(layer, dos, palette, box, py) {
  const curve = differences => sums(differences, 1 / 500).map((value, index) => [box.left + value * box.width * 0.94, py(dos.low + index * dos.pitch)]).filter(([, y]) => y >= box.top && y <= box.top + box.height + 0.5);
  const total = curve(dos.total);
  layer.append(svg("path", { class: "dos", d: `M${box.left} ${total[0][1]}${path(total).replace("M", "L")}L${box.left} ${total[total.length - 1][1]}Z` }));
  Object.values(dos.parts).forEach((part, rank) => layer.append(svg("path", { class: "line", style: `stroke:${palette.categories[rank]}`, d: path(curve(part)) })));
  layer.append(svg("rect", { x: box.left, y: box.top, width: box.width, height: box.height, class: "frame" }));
  layer.append(svg("text", { x: box.left + box.width / 2, y: box.top + box.height + 17, "text-anchor": "middle", class: "axis" }, "DOS"));
}

function kappaFigure(view, palette) {
  const curves = [["p", "populations κ_P", 0], ["c", "coherences κ_C", 1], ["total", "total", 2]].filter(([key]) => view[key] && (key !== "total" || view.c));
  const values = curves.flatMap(([key]) => view[key]), log = values.every(value => value > 0);
  const x = new Scale({ label: "temperature (K)", log: log && view.t.length > 1 }, view.t), y = new Scale({ label: "κ (W m⁻¹ K⁻¹)", log }, values);
  const colour = rank => (rank === 2 ? "var(--ink)" : palette.categories[rank]);
  const legend = h("div.legend", {}, curves.map(([, label, rank]) => h("span.chip", {}, h("i", { style: `background:${colour(rank)}` }), label)));
  return responsive("Thermal conductivity", 320, (layer, width, height) => {
    const box = { left: 58, top: 8, width: width - 70, height: height - 54 };
    drawAxes(layer, x, y, box);
    for (const [key, label, rank] of curves) {
      const points = view.t.map((kelvin, index) => [box.left + x.at(kelvin) * box.width, box.top + (1 - y.at(view[key][index])) * box.height]);
      layer.append(svg("path", { class: "line", style: `stroke:${colour(rank)}`, d: path(points) }));
      points.forEach(([cx, cy], index) => layer.append(svg("circle", { cx, cy, r: 3.6, style: `fill:${colour(rank)}` }, svg("title", {}, `${label} at ${view.t[index]} K: ${format(view[key][index])} W/mK`))));
    }
  }, legend);
}

// Lifetimes against frequency: area κ_P, colour share of coherences (Fig. 7 of the SDNNFF paper).
function modeFigure(view, app) {
  const frequency = sums(view.f, view.step), tau = view.tau.map(value => 10 ** (value / 100));
  const [low, high] = [Math.min(...frequency), Math.max(...frequency)];
  const grid = Array.from({ length: 40 }, (_, index) => low * (high / low) ** (index / 39));
  return new Scatter({
    name: "modes", title: `Lifetimes of the modes at ${view.kelvin} K`, x: { label: "frequency (THz)", low: 0 }, y: { label: "lifetime τ (ps)", log: true },
    x_values: frequency, y_values: tau, sizes: view.size, points: frequency.map((_, index) => index), facts: [], aspect: 0.62,
    caption: `Area: κ_P of the mode. ${view.tau.length < view.of ? `The ${view.tau.length} of ${view.of} modes that carry most heat.` : `${view.of} modes.`}`,
    colourings: [{ name: "coherences (%)", kind: "linear", values: view.share }],
    guides: [
      { label: "Wigner limit 1/Δω", x: null, y: [view.limit, view.limit] },
      { label: "Ioffe–Regel τω = 1", x: grid, y: grid.map(f => 1 / (2 * Math.PI * f)), dashed: true, in_view: false },
    ],
  }, { palette: app.palette, tip: (spec, index) => [h("b", {}, `${format(frequency[index])} THz`), h("div", {}, `τ ${format(tau[index], ".3g")} ps`), h("div", {}, `coherences ${view.share[index]} %`)] });
}
