// Small things every part of the page uses: elements, numbers, colours, unpacking.
"use strict";

// Make an HTML element: h("a.soft", {href: "#"}, "text", child, ...); on* attributes are listeners.
function h(tag, attributes = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const element = document.createElement(name);
  if (classes.length) element.className = classes.join(" ");
  return fill(element, attributes, children);
}

function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter(child => child !== null && child !== undefined));
  return element;
}

// Link to a paper.
function doi(name) {
  return h("a", { href: `https://doi.org/${encodeURI(name)}`, rel: "noreferrer" }, `doi:${name}`);
}

// Undo pack() of packing.py: base64, raw deflate, JSON.
async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), character => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Response(stream).json();
}

// Undo differences() of packing.py.
function sums(differences, step) {
  let total = 0;
  return differences.map(difference => (total += difference) * step);
}

// Write a number as Python's format specification says (d, .2f, .3g, .2e), or "yes" for true and false; minus is a real minus.
function format(value, spec = ".4g") {
  if (value === null || value === undefined || value === "") return "";
  if (spec === "yes") return value ? "yes" : "no";
  if (typeof value !== "number") return String(value);
  const digits = Number((spec.match(/\.(\d+)/) ?? [0, 4])[1]);
  let text;
  if (spec.endsWith("d") || spec === "") text = String(value);
  else if (spec.endsWith("f")) text = value.toFixed(digits);
  else if (spec.endsWith("e")) text = value.toExponential(digits);
  else {
    const size = Math.abs(value);
    const trailing = spec.startsWith("#") && size >= 1e-4 && size < 10 ** digits; // zeros that are known are shown
    text = trailing ? value.toPrecision(digits) : size !== 0 && (size < 1e-4 || size >= 1e5) ? value.toExponential(Math.max(digits - 2, 1)) : String(Number(value.toPrecision(digits)));
  }
  if (Number(text) === 0) text = text.replace("-", "");
  return text.replace("-", "−").replace(/e\+?(−|-)?/, (_, sign) => `e${sign ? "−" : ""}`);
}

// NaCl2 with subscripts.
function formula(text) {
  return (text ?? "").split(/(\d+)/).map((part, index) => (index % 2 ? h("sub", {}, part) : part));
}

// The same as plain text, for a canvas.
function plainFormula(text) {
  return (text ?? "").replace(/\d/g, digit => "₀₁₂₃₄₅₆₇₈₉"[digit]);
}

function elementsOf(text) {
  return (text ?? "").match(/[A-Z][a-z]?/g) ?? [];
}

function styleOf(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function isDark() {
  const theme = document.documentElement.dataset.theme;
  return theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

// The sequential colours that stand out from the present background.
function ramp(palette) {
  return isDark() ? palette.sequential_dark : palette.sequential;
}

// Colour of t in [0, 1] on the sequential scale.
function shade(scale, t) {
  return scale[Math.max(0, Math.min(scale.length - 1, Math.round(t * (scale.length - 1))))];
}

// Black or white, whichever contrasts more with a #rrggbb background (WCAG's relative luminance).
function inkOn(colour) {
  const [r, g, b] = [1, 3, 5].map(start => parseInt(colour.slice(start, start + 2), 16) / 255).map(part => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.185 ? "#14181e" : "#ffffff";
}

function save(name, text, type) {
  const link = h("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
  link.click();
  URL.revokeObjectURL(link.href);
}
