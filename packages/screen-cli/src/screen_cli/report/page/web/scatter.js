// Scatter plots: points on a canvas, axes and guides in SVG over it; hover, click, zoom, colouring, keyboard.
"use strict";

class Scatter {
  // spec: a Scatter of figure.py as JSON. app: {palette, label(row), tip(row), open(row), matches, select(name, rows)}.
  constructor(spec, app) {
    this.spec = spec;
    this.app = app;
    this.count = spec.x_values.length;
    this.colouring = spec.colourings[0] ?? null;
    this.hidden = new Set();
    this.hovered = -1;
    const ends = axis => spec.guides.filter(guide => guide[axis] && guide.in_view !== false).flatMap(guide => guide[axis]);
    this.x = new Scale(spec.x, [...spec.x_values, ...ends("x")]);
    this.y = new Scale(spec.y, [...spec.y_values, ...ends("y"), ...(spec.y_bars ?? []).flat()]);
    this.build();
    new ResizeObserver(() => this.draw()).observe(this.plot);
    new IntersectionObserver(entries => {
      this.near = entries[entries.length - 1].isIntersecting;
      if (this.near && this.stale) this.draw();
    }, { rootMargin: "400px" }).observe(this.element);
  }

  build() {
    this.canvas = h("canvas", { tabindex: 0, role: "img", "aria-label": `${this.spec.title}: ${this.count} points; arrow keys walk through them, Enter opens one` });
    this.axes = svg("svg", { class: "axes", "aria-hidden": "true" });
    this.tip = h("div.tip", { hidden: true });
    this.plot = h("div.plot", {}, this.axes, this.canvas, this.tip);
    this.legend = h("div.legend");
    this.reset = h("button.small", { type: "button", hidden: true, onclick: () => this.zoomOut() }, "Reset zoom");
    this.pick = h("button.small", { type: "button", hidden: true, onclick: () => this.selectWindow() }, "");
    const buttons = this.spec.colourings.length > 1 ? this.colourButtons() : null;
    this.element = h("figure", { id: `figure-${this.spec.name}` },
      h("div.figure-head", {}, h("h3", {}, this.spec.title), h("span.grow"), this.pick, this.reset),
      buttons, this.plot, this.legend, factTable(this.spec.facts), h("figcaption", {}, this.spec.caption));
    this.listen();
  }

  colourButtons() {
    const group = h("div.segments", { role: "group", "aria-label": "Colour by" }, h("span.soft", {}, "Colour by"));
    for (const colouring of this.spec.colourings)
      group.append(h("button", {
        type: "button", "aria-pressed": String(colouring === this.colouring),
        onclick: event => {
          this.colouring = colouring;
          this.hidden.clear();
          for (const button of group.querySelectorAll("button")) button.setAttribute("aria-pressed", String(button === event.target));
          this.draw();
        },
      }, colouring.name.replace(/ \(.*/, "")));
    return group;
  }

  // -- drawing -------------------------------------------------------------------------------

  // Far from the window nothing is drawn until it comes near, unless forced; its place is kept, so that nothing jumps.
  draw(forced = false) {
    const width = this.plot.clientWidth;
    const height = Math.round(Math.max(260, Math.min(430, width * (this.spec.aspect ?? 0.68))));
    if (width) this.plot.style.height = `${height}px`;
    this.drawLegend();
    this.stale = !width || !(this.near || forced);
    if (this.stale) return;
    const bare = this.spec.x.ticks === false;
    this.box = { left: bare ? 28 : 58, top: 8, width: width - (bare ? 40 : 70), height: height - (bare ? 36 : 54) };
    this.axes.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.axes.replaceChildren();
    drawAxes(this.axes, this.x, this.y, this.box);
    if (bare) for (const text of this.axes.querySelectorAll("text.axis")) text.setAttribute("y", text.hasAttribute("x") ? height - 8 : 0);
    this.drawGuides();
    this.drawPoints(width, height);
  }

  place(index) {
    const { left, top, width, height } = this.box;
    return [left + this.x.at(this.spec.x_values[index]) * width, top + height - this.y.at(this.spec.y_values[index]) * height];
  }

  drawGuides() {
    const { left, top, width, height } = this.box, clip = `clip-${this.spec.name}`;
    this.axes.append(svg("clipPath", { id: clip }, svg("rect", { x: left, y: top, width, height })));
    this.spec.guides.forEach((guide, number) => {
      const xs = guide.x ? guide.x.map(value => this.x.at(value)) : [0, 1];
      const ys = guide.y ? guide.y.map(value => this.y.at(value)) : [0, 1];
      const points = xs.map((x, index) => `${left + x * width},${top + height - ys[index] * height}`).join(" ");
      this.axes.append(svg("polyline", { points, class: `guide g${number % 4}${guide.dashed ? " dashed" : ""}`, "clip-path": `url(#${clip})` }));
    });
  }

  drawPoints(width, height) {
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = width * ratio;
    this.canvas.height = height * ratio;
    const pen = this.canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const { left, top } = this.box;
    pen.beginPath();
    pen.rect(left, top, this.box.width, this.box.height);
    pen.clip();
    this.radius = this.count > 2000 ? 2.4 : this.count > 300 ? 3.2 : this.count > 40 ? 4.2 : 5.5;
    const colours = this.colours(), faded = styleOf("--faded"), paper = styleOf("--paper");
    const dimmed = index => !this.visible(index);
    this.drawBars(pen, styleOf("--soft"), faded);
    for (const pass of [true, false])
      for (let index = 0; index < this.count; index++) {
        if (dimmed(index) !== pass) continue;
        const [x, y] = this.place(index);
        if (x < left - 9 || x > left + this.box.width + 9 || y < top - 9 || y > top + this.box.height + 9) continue;
        pen.globalAlpha = pass ? 0.5 : this.count > 300 ? 0.72 : 0.9;
        pen.beginPath();
        pen.arc(x, y, this.spec.sizes ? 1.4 + this.spec.sizes[index] * 0.075 : this.radius, 0, 7);
        const colour = pass ? faded : colours[index];
        if (this.spec.open_points?.[index]) {
          pen.strokeStyle = colour;
          pen.lineWidth = 1.4;
          pen.stroke();
        } else {
          pen.fillStyle = colour;
          pen.fill();
          if (!pass && this.count <= 300) { pen.globalAlpha = 1; pen.strokeStyle = paper; pen.lineWidth = 0.8; pen.stroke(); }
        }
      }
    pen.globalAlpha = 1;
    if (this.count <= 40 && this.app.label && !this.spec.sizes) this.drawNames(pen);
    if (this.hovered >= 0) {
      const [x, y] = this.place(this.hovered);
      pen.beginPath();
      pen.arc(x, y, this.radius + 4, 0, 7);
      pen.strokeStyle = styleOf("--ink");
      pen.lineWidth = 2;
      pen.stroke();
    }
  }

  // One standard deviation of a committee, under the points.
  drawBars(pen, colour, faded) {
    const { top, height } = this.box;
    pen.lineWidth = 1.2;
    (this.spec.y_bars ?? []).forEach((ends, index) => {
      if (ends.some(end => end === null)) return;
      const [x] = this.place(index), [low, high] = ends.map(end => top + height - this.y.at(end) * height);
      pen.globalAlpha = this.visible(index) ? 0.8 : 0.4;
      pen.strokeStyle = this.visible(index) ? colour : faded;
      pen.beginPath();
      for (const y of [low, high]) { pen.moveTo(x - 3, y); pen.lineTo(x + 3, y); }
      pen.moveTo(x, low);
      pen.lineTo(x, high);
      pen.stroke();
    });
    pen.globalAlpha = 1;
  }

  // Write names beside points where they touch neither a point nor another name.
  drawNames(pen) {
    pen.font = "12px system-ui, sans-serif";
    pen.fillStyle = styleOf("--ink");
    const r = this.radius, taken = [], { left, top } = this.box;
    for (let index = 0; index < this.count; index++) {
      const [x, y] = this.place(index);
      taken.push([x - r, y - r, x + r, y + r]);
      const ends = this.spec.y_bars?.[index] ?? [null];
      if (!ends.includes(null)) {
        const [low, high] = ends.map(end => top + this.box.height * (1 - this.y.at(end)));
        taken.push([x - 1, high, x + 1, low]);
      }
    }
    const free = ([a, b, c, d]) => a >= left + 2 && c <= left + this.box.width - 2 && b >= top + 2 && d <= top + this.box.height - 2 &&
      taken.every(([e, f, g, i]) => a > g || c < e || b > i || d < f);
    for (let index = 0; index < this.count; index++) {
      if (!this.visible(index)) continue;
      const [x, y] = this.place(index), text = this.app.label(this.spec.points[index]), wide = pen.measureText(text).width;
      for (const [dx, dy] of [[r + 3, 4], [-wide - r - 3, 4], [-wide / 2, -r - 4], [-wide / 2, r + 12], [r, -r - 1], [-wide - r, -r - 1], [r, r + 11], [-wide - r, r + 11]]) {
        const rect = [x + dx - 1, y + dy - 10, x + dx + wide + 1, y + dy + 3];
        if (free(rect)) { pen.fillText(text, x + dx, y + dy); taken.push(rect); break; }
      }
    }
  }

  // -- colours ----------------------------------------------------------------------------------

  colours() {
    const { categories, other } = this.app.palette, sequential = ramp(this.app.palette), colouring = this.colouring;
    if (!colouring) return Array(this.count).fill(categories[0]);
    if (colouring.kind === "category") {
      const known = new Map(this.categories().map(([name], rank) => [name, categories[rank] ?? other]));
      return colouring.values.map(value => (value === null ? other : known.get(value)));
    }
    const scale = this.colourScale();
    return colouring.values.map(value => (value === null ? other : shade(sequential, scale.at(value))));
  }

  // [name, count], most frequent first.
  categories() {
    const counts = new Map();
    for (const value of this.colouring.values) if (value !== null) counts.set(value, (counts.get(value) ?? 0) + 1);
    return [...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
  }

  // From the 2nd to the 98th percentile, so that one outlier does not take all the colours.
  colourScale() {
    const values = this.colouring.values.filter(value => value !== null).sort((a, b) => a - b);
    const at = share => values[Math.round(share * (values.length - 1))];
    const scale = new Scale({ log: this.colouring.kind === "log" }, [at(0.02), at(0.98)]);
    scale.range = [scale.forward(at(0.02)), scale.forward(at(0.98)) + 1e-12];
    return scale;
  }

  drawLegend() {
    this.legend.replaceChildren();
    const colouring = this.colouring, { categories, other } = this.app.palette, sequential = ramp(this.app.palette);
    if (colouring?.kind === "category") {
      const all = this.categories(), shown = all.slice(0, categories.length);
      for (const [rank, [name, count]] of shown.entries())
        this.legend.append(h("button.chip", {
          type: "button", "aria-pressed": String(!this.hidden.has(name)), title: "Show or fade",
          onclick: () => { this.hidden.has(name) ? this.hidden.delete(name) : this.hidden.add(name); this.draw(); },
        }, h("i", { style: `background:${categories[rank]}` }), name, h("span.soft", {}, ` ${count}`)));
      const rest = all.slice(categories.length).reduce((sum, [, count]) => sum + count, 0);
      if (rest) this.legend.append(h("span.chip", {}, h("i", { style: `background:${other}` }), `${all.length - shown.length} others`, h("span.soft", {}, ` ${rest}`)));
    } else if (colouring) {
      const scale = this.colourScale(), value = place => (scale.log ? 10 ** place : place);
      this.legend.append(h("span.ramp", {}, h("span.soft", {}, colouring.name), format(value(scale.range[0]), ".3g"),
        h("i", { style: `background:linear-gradient(90deg, ${sequential.join(", ")})` }), format(value(scale.range[1]), ".3g")));
    }
    this.spec.guides.forEach((guide, number) => this.legend.append(h("span.chip", {},
      svg("svg", { class: "key", viewBox: "0 0 26 8" }, svg("line", { x1: 0, y1: 4, x2: 26, y2: 4, class: `guide g${number % 4}${guide.dashed ? " dashed" : ""}` })), guide.label)));
    if (this.spec.open_points?.some(Boolean)) this.legend.append(h("span.chip", {}, h("i.open"), "fit not trusted"));
  }

  // -- reacting ---------------------------------------------------------------------------------

  visible(index) {
    if (this.colouring?.kind === "category" && this.hidden.has(this.colouring.values[index])) return false;
    return !this.app.matches || this.spec.sizes || this.app.matches[this.spec.points[index]] === 1;
  }

  inside(index) {
    const x = this.x.at(this.spec.x_values[index]), y = this.y.at(this.spec.y_values[index]);
    return x >= 0 && x <= 1 && y >= 0 && y <= 1;
  }

  listen() {
    let start = null;
    const where = event => { const rect = this.canvas.getBoundingClientRect(); return [event.clientX - rect.left, event.clientY - rect.top]; };
    const band = h("div.zoom-band", { hidden: true });
    this.plot.append(band);
    this.canvas.addEventListener("pointerdown", event => { if (event.button === 0) { start = where(event); this.canvas.setPointerCapture(event.pointerId); } });
    this.canvas.addEventListener("pointermove", event => {
      const [x, y] = where(event);
      if (!start) return this.hover(this.nearest(x, y));
      const [left, top] = [Math.min(x, start[0]), Math.min(y, start[1])];
      band.hidden = Math.abs(x - start[0]) + Math.abs(y - start[1]) < 8;
      Object.assign(band.style, { left: `${left}px`, top: `${top}px`, width: `${Math.abs(x - start[0])}px`, height: `${Math.abs(y - start[1])}px` });
    });
    this.canvas.addEventListener("pointerup", event => {
      const end = where(event), from = start;
      start = null;
      band.hidden = true;
      if (!from) return;
      if (Math.abs(end[0] - from[0]) > 8 && Math.abs(end[1] - from[1]) > 8) this.zoomIn(from, end);
      else { const hit = this.nearest(...end); if (hit >= 0 && this.app.open) this.app.open(this.spec.points[hit]); }
    });
    this.canvas.addEventListener("pointerleave", () => this.hover(-1));
    this.canvas.addEventListener("dblclick", () => this.zoomOut());
    this.canvas.addEventListener("blur", () => this.hover(-1));
    this.canvas.addEventListener("keydown", event => this.walk(event));
  }

  nearest(x, y) {
    let best = -1, distance = 14 ** 2;
    for (let index = 0; index < this.count; index++) {
      if (!this.visible(index)) continue;
      const [px, py] = this.place(index), d = (px - x) ** 2 + (py - y) ** 2;
      if (d < distance) [best, distance] = [index, d];
    }
    return best;
  }

  hover(index) {
    if (index === this.hovered) return;
    if (!this.box) this.draw(true);
    this.hovered = index;
    this.drawPoints(this.plot.clientWidth, this.plot.clientHeight);
    this.tip.hidden = index < 0;
    if (index < 0) return;
    const [x, y] = this.place(index);
    this.tip.replaceChildren(...this.app.tip(this.spec, index));
    const right = x > this.plot.clientWidth * 0.6;
    Object.assign(this.tip.style, { top: `${Math.max(0, y - 20)}px`, left: right ? "" : `${x + 14}px`, right: right ? `${this.plot.clientWidth - x + 14}px` : "" });
  }

  // Left and right walk along x; Enter opens.
  walk(event) {
    if (event.key === "Enter" && this.hovered >= 0 && this.app.open) return this.app.open(this.spec.points[this.hovered]);
    if (event.key === "Escape") return this.zoomOut();
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    if (!this.box) this.draw(true);
    this.order ??= [...this.spec.x_values.keys()].sort((a, b) => this.spec.x_values[a] - this.spec.x_values[b]);
    const seen = this.order.filter(index => this.visible(index) && this.inside(index));
    if (!seen.length) return;
    const place = seen.indexOf(this.hovered);
    this.hover(seen[place < 0 ? (step > 0 ? 0 : seen.length - 1) : (place + step + seen.length) % seen.length]);
  }

  zoomIn([x1, y1], [x2, y2]) {
    const { left, top, width, height } = this.box, cut = value => Math.max(0, Math.min(1, value));
    this.x.zoom(cut((Math.min(x1, x2) - left) / width), cut((Math.max(x1, x2) - left) / width));
    this.y.zoom(cut((top + height - Math.max(y1, y2)) / height), cut((top + height - Math.min(y1, y2)) / height));
    this.reset.hidden = false;
    const seen = this.window().length;
    this.pick.hidden = !this.app.select;
    this.pick.textContent = `Show these ${seen} in the table`;
    this.draw();
  }

  zoomOut() {
    this.x.reset();
    this.y.reset();
    this.reset.hidden = this.pick.hidden = true;
    this.draw();
  }

  window() {
    return [...this.spec.x_values.keys()].filter(index => this.visible(index) && this.inside(index));
  }

  selectWindow() {
    this.app.select(this.spec.title, this.window().map(index => this.spec.points[index]));
  }
}

function factTable(facts) {
  if (!facts?.length) return null;
  const paper = facts.some(fact => fact.paper);
  return h("table.facts", {},
    paper ? h("thead", {}, h("tr", {}, h("th", {}), h("th", {}, "this run"), h("th", {}, "paper"))) : null,
    h("tbody", {}, facts.map(fact => h("tr", {}, h("th", { scope: "row" }, fact.label), h("td", {}, fact.here), paper ? h("td", {}, fact.paper) : null))));
}
