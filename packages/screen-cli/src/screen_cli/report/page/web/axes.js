// Axes: scales, ticks and their drawing in SVG. Used by every plot.
"use strict";

class Scale {
  // values: what must be inside; spec: {label, log, low, high, ticks}; keeps its full range for resetting a zoom.
  constructor(spec, values) {
    this.spec = spec;
    this.log = spec.log;
    let low = Infinity, high = -Infinity;
    for (const value of values) {
      if (!Number.isFinite(value) || (this.log && value <= 0)) continue;
      if (value < low) low = value;
      if (value > high) high = value;
    }
    if (low > high) [low, high] = this.log ? [0.1, 10] : [0, 1];
    let [a, b] = [this.forward(low), this.forward(high)];
    const margin = Math.max((b - a) * 0.05, this.log ? 0.04 : (Math.abs(b) || 1) * 1e-3);
    a = spec.low === null || spec.low === undefined ? a - margin : this.forward(spec.low);
    b = spec.high === null || spec.high === undefined ? b + margin : this.forward(spec.high);
    this.full = [a, b];
    this.range = [a, b];
  }

  forward(value) { return this.log ? Math.log10(value) : value; }

  // Fraction of the axis, 0 to 1 inside the window.
  at(value) { return (this.forward(value) - this.range[0]) / (this.range[1] - this.range[0]); }

  // Zoom to fractions of the present window.
  zoom(from, to) {
    const [a, b] = this.range;
    this.range = [a + from * (b - a), a + to * (b - a)];
  }

  reset() { this.range = [...this.full]; }

  // Major ticks [value, label] and minor tick values.
  ticks(room) {
    if (this.spec.ticks === false) return { major: [], minor: [] };
    return this.log ? this.logTicks(room) : this.linearTicks(room);
  }

  linearTicks(room) {
    const span = this.range[1] - this.range[0];
    const raw = span / Math.max(2, room);
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = power * [1, 2, 5, 10].find(factor => factor * power >= raw);
    const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    const major = [];
    for (let n = Math.ceil(this.range[0] / step - 1e-9); n * step <= this.range[1] + 1e-9 * span; n++)
      major.push([n * step, (n * step).toFixed(digits).replace("-", "−")]);
    return { major, minor: [] };
  }

  logTicks(room) {
    const [a, b] = this.range, decades = b - a;
    if (decades < 0.35) return this.shortLogTicks(room);
    const every = Math.ceil(decades / Math.max(2, room)), steps = decades < 0.9 ? [1, 2, 3, 4, 5, 7] : decades < room / 3 ? [1, 2, 5] : [1];
    const major = [], minor = [];
    for (let decade = Math.floor(a); decade <= Math.ceil(b); decade++)
      for (let digit = 1; digit < 10; digit++) {
        const value = digit * 10 ** decade, place = Math.log10(value);
        if (place < a - 1e-9 || place > b + 1e-9) continue;
        if (steps.includes(digit) && decade % every === 0) major.push([value, Scale.power(digit, decade)]);
        else if (every === 1) minor.push(value);
      }
    return { major, minor };
  }

  shortLogTicks(room) {
    const linear = new Scale({ ...this.spec, log: false }, []);
    linear.range = this.range.map(place => 10 ** place);
    return linear.linearTicks(room);
  }

  static power(digit, decade) {
    if (decade >= -3 && decade <= 3) return String(Number((digit * 10 ** decade).toPrecision(6)));
    const exponent = String(decade).replace("-", "−").replace(/./g, c => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["−0123456789".indexOf(c)]);
    return (digit === 1 ? "" : `${digit}·`) + "10" + exponent;
  }
}

// Draw frame, ticks and labels; box = {left, top, width, height} in pixels.
function drawAxes(layer, x, y, box) {
  const bottom = box.top + box.height, right = box.left + box.width;
  const line = (x1, y1, x2, y2, kind) => layer.append(svg("line", { x1, y1, x2, y2, class: kind }));
  const text = (label, attributes) => layer.append(svg("text", attributes, label));
  const xTicks = x.ticks(Math.floor(box.width / 70)), yTicks = y.ticks(Math.floor(box.height / 42));
  for (const [value, label] of xTicks.major) {
    const place = box.left + x.at(value) * box.width;
    line(place, box.top, place, bottom, "grid");
    text(label, { x: place, y: bottom + 16, "text-anchor": "middle" });
  }
  for (const [value, label] of yTicks.major) {
    const place = bottom - y.at(value) * box.height;
    line(box.left, place, right, place, "grid");
    text(label, { x: box.left - 7, y: place + 4, "text-anchor": "end" });
  }
  for (const value of xTicks.minor) line(box.left + x.at(value) * box.width, bottom, box.left + x.at(value) * box.width, bottom - 4, "tick");
  for (const value of yTicks.minor) line(box.left, bottom - y.at(value) * box.height, box.left + 4, bottom - y.at(value) * box.height, "tick");
  layer.append(svg("rect", { x: box.left, y: box.top, width: box.width, height: box.height, class: "frame" }));
  text(x.spec.label, { x: box.left + box.width / 2, y: bottom + 36, "text-anchor": "middle", class: "axis" });
  fit(layer.lastChild, box.left + box.width);
  text(y.spec.label, { transform: `translate(14 ${box.top + box.height / 2}) rotate(-90)`, "text-anchor": "middle", class: "axis" });
  fit(layer.lastChild, box.height + 40);
}

// Make a label smaller when it is longer than its room.
function fit(text, room) {
  const long = text.getComputedTextLength();
  if (long > room) text.style.fontSize = `${Math.max(8, (13 * room) / long)}px`;
}
