// A crystal as balls in its conventional cell: drag or arrow keys turn it.
"use strict";

class StructureView {
  // cell: {n, c, p, name} of details.py; app: {radii: symbol to Å, symbols: atomic number to symbol, palette}. Elements have
  // the colours they have in the density of states: by atomic number.
  constructor(cell, app) {
    this.symbols = app.symbols;
    const species = [...new Set(cell.n)].sort((a, b) => a - b).map(number => this.symbols[number]);
    this.look = Object.fromEntries(species.map((symbol, rank) => [symbol, { colour: app.palette.categories[rank] ?? app.palette.other, radius: app.radii[symbol] }]));
    this.turn = [[1, 0, 0], [0, 1, 0], [0, 0, 1]];
    this.rotate(-0.42, 0.3);
    this.setUp(cell);
    this.canvas = h("canvas", { tabindex: 0, role: "img", "aria-label": "Crystal structure; drag or use the arrow keys to turn it" });
    const lengths = cell.c.map(row => Math.hypot(...row));
    const cubic = Math.max(...lengths) - Math.min(...lengths) < 1e-3;
    this.element = h("div.structure", {}, this.canvas, h("div.legend", {}, species.map(symbol => h("span.chip", {}, h("i", { style: `background:${this.look[symbol].colour}` }), symbol)),
      h("span.soft", {}, `${cell.name}: ${cubic ? `a = ${lengths[0].toFixed(3)} Å` : `a, b, c = ${lengths.map(x => x.toFixed(3)).join(", ")} Å`}`)));
    this.listen();
    new ResizeObserver(() => this.draw()).observe(this.canvas.parentElement);
  }

  // Atoms on faces, edges and corners appear on every side, so that the cell looks whole.
  setUp({ n, c, p }) {
    const place = f => [0, 1, 2].map(k => f[0] * c[0][k] + f[1] * c[1][k] + f[2] * c[2][k]);
    const centre = place([0.5, 0.5, 0.5]), shift = v => v.map((x, k) => x - centre[k]);
    this.atoms = [];
    p.forEach((fractional, index) => {
      const near = fractional.map(x => (Math.abs(x) < 0.02 || Math.abs(x - 1) < 0.02 ? [0, 1] : [0]));
      const base = fractional.map(x => (Math.abs(x - 1) < 0.02 ? x - 1 : x));
      for (const i of near[0]) for (const j of near[1]) for (const k of near[2])
        this.atoms.push({ symbol: this.symbols[n[index]], at: shift(place([base[0] + i, base[1] + j, base[2] + k])) });
    });
    const corners = [0, 1, 2, 3, 4, 5, 6, 7].map(bits => shift(place([bits & 1, (bits >> 1) & 1, bits >> 2])));
    this.edges = [];
    for (let a = 0; a < 8; a++) for (const bit of [1, 2, 4]) if (!(a & bit)) this.edges.push([corners[a], corners[a | bit]]);
    this.size = Math.max(...corners.map(corner => Math.hypot(...corner)));
    this.bonds = this.findBonds();
  }

  // Bonds: nearest neighbours of both kinds of atom, no longer than 1.25 covalent bonds.
  findBonds() {
    const pairs = [], nearest = {};
    for (let a = 0; a < this.atoms.length; a++) for (let b = a + 1; b < this.atoms.length; b++) {
      const [one, two] = [this.atoms[a], this.atoms[b]], distance = Math.hypot(...one.at.map((x, k) => x - two.at[k]));
      for (const { symbol } of [one, two]) nearest[symbol] = Math.min(nearest[symbol] ?? Infinity, distance);
      pairs.push([one, two, distance]);
    }
    return pairs.filter(([one, two, distance]) => distance < 1.12 * Math.max(nearest[one.symbol], nearest[two.symbol]) &&
      (one.symbol !== two.symbol || distance < 1.12 * nearest[one.symbol]) && distance < 1.25 * (this.look[one.symbol].radius + this.look[two.symbol].radius));
  }

  rotate(aboutX, aboutY) {
    const [cx, sx, cy, sy] = [Math.cos(aboutX), Math.sin(aboutX), Math.cos(aboutY), Math.sin(aboutY)];
    const step = [[cy, 0, -sy], [-sx * sy, cx, -sx * cy], [cx * sy, sx, cx * cy]];
    this.turn = step.map(row => [0, 1, 2].map(k => row[0] * this.turn[0][k] + row[1] * this.turn[1][k] + row[2] * this.turn[2][k]));
  }

  draw() {
    const width = this.canvas.parentElement.clientWidth, height = Math.min(width, 335), ratio = window.devicePixelRatio || 1;
    if (!width) return;
    Object.assign(this.canvas, { width: width * ratio, height: height * ratio });
    this.canvas.style.height = `${height}px`;
    const pen = this.canvas.getContext("2d"), scale = (Math.min(width, height) * 0.43) / (this.size + 0.6);
    pen.scale(ratio, ratio);
    pen.translate(width / 2, height / 2);
    pen.lineCap = "round";
    // c up, a to the right: z of the crystal is -y of the screen; z of the screen is towards the reader
    const project = v => { const [x, y, z] = [v[0], v[2], -v[1]]; return this.turn.map(row => (row[0] * x + row[1] * y + row[2] * z) * scale); };
    const things = [];
    for (const [from, to] of this.edges) { const [a, b] = [project(from), project(to)]; things.push({ z: (a[2] + b[2]) / 2 - 0.3 * scale, paint: () => this.line(pen, a, b, styleOf("--soft"), 1) }); }
    for (const [one, two] of this.bonds) {
      const [a, b] = [project(one.at), project(two.at)], middle = a.map((x, k) => (x + b[k]) / 2);
      things.push({ z: (a[2] + middle[2]) / 2, paint: () => this.line(pen, a, middle, this.look[one.symbol].colour, 0.16 * scale) });
      things.push({ z: (b[2] + middle[2]) / 2, paint: () => this.line(pen, b, middle, this.look[two.symbol].colour, 0.16 * scale) });
    }
    for (const atom of this.atoms) { const at = project(atom.at); things.push({ z: at[2], paint: () => this.ball(pen, at, this.look[atom.symbol], scale) }); }
    things.sort((a, b) => a.z - b.z).forEach(thing => thing.paint());
  }

  line(pen, a, b, colour, width) {
    pen.strokeStyle = colour;
    pen.lineWidth = Math.max(1, width);
    pen.beginPath();
    pen.moveTo(a[0], -a[1]);
    pen.lineTo(b[0], -b[1]);
    pen.stroke();
  }

  ball(pen, [x, y], { colour, radius }, scale) {
    const r = (0.22 + 0.2 * radius) * scale, light = pen.createRadialGradient(x - r * 0.35, -y - r * 0.35, r * 0.1, x, -y, r);
    light.addColorStop(0, "#ffffff");
    light.addColorStop(0.35, colour);
    light.addColorStop(1, `color-mix(in srgb, ${colour} 62%, black)`);
    pen.fillStyle = light;
    pen.beginPath();
    pen.arc(x, -y, r, 0, 7);
    pen.fill();
    pen.strokeStyle = "#00000055";
    pen.lineWidth = 0.7;
    pen.stroke();
  }

  listen() {
    let last = null;
    this.canvas.addEventListener("pointerdown", event => { last = [event.clientX, event.clientY]; this.canvas.setPointerCapture(event.pointerId); });
    this.canvas.addEventListener("pointerup", () => { last = null; });
    this.canvas.addEventListener("pointermove", event => {
      if (!last) return;
      this.rotate((event.clientY - last[1]) * -0.01, (event.clientX - last[0]) * -0.01);
      last = [event.clientX, event.clientY];
      this.draw();
    });
    this.canvas.addEventListener("keydown", event => {
      const turn = { ArrowLeft: [0, 0.1], ArrowRight: [0, -0.1], ArrowUp: [0.1, 0], ArrowDown: [-0.1, 0] }[event.key];
      if (!turn) return;
      event.preventDefault();
      this.rotate(...turn);
      this.draw();
    });
  }
}
