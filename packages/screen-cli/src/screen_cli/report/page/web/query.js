// The search language of the table: words, column<number, column:value, has:Element, !not.
"use strict";

const SHORT_NAMES = { kappa: "kappa_total_w_mk", msd: "max_msd", sg: "space_group", k: "kappa_total_w_mk" };
const TEXT_COLUMNS = ["formula", "id", "provider", "provider_id", "state", "stage", "reason", "prototype"];

// Turn text into test(row number) -> boolean; problems lists what was not understood.
function parseQuery(text, data) {
  const tests = [], problems = [];
  for (const token of text.match(/[^\s"]*"[^"]*"|\S+/g) ?? []) {
    const negated = token.startsWith("!"), test = parseToken((negated ? token.slice(1) : token).replaceAll('"', ""), data, problems);
    if (test) tests.push(negated ? row => !test(row) : test);
  }
  return { test: row => tests.every(test => test(row)), empty: tests.length === 0, problems };
}

function parseToken(token, data, problems) {
  const found = token.match(/^([A-Za-z_]\w*)(<=|>=|!=|<|>|=|:)(.*)$/);
  if (!found) return token ? containsWord(token.toLowerCase(), data) : null;
  const [, name, sign, value] = found;
  if (name === "has") {
    const wanted = value.split(",");
    return row => { const elements = elementsOf(data.formula?.[row]); return wanted.every(symbol => elements.includes(symbol)); };
  }
  const column = data[SHORT_NAMES[name.toLowerCase()] ?? name];
  if (!column) { problems.push(`no column '${name}'`); return null; }
  if (value === "") return null; // still being typed
  if (value === "none") return row => (column[row] === null) === (sign !== "!=");
  const numbers = value.split(",").map(Number);
  if (["<", ">", "<=", ">="].includes(sign)) {
    const limit = numbers[0];
    if (Number.isNaN(limit)) { problems.push(`'${value}' is no number`); return null; }
    const compare = { "<": x => x < limit, ">": x => x > limit, "<=": x => x <= limit, ">=": x => x >= limit }[sign];
    return row => column[row] !== null && compare(column[row]);
  }
  const texts = value.toLowerCase().split(",");
  const equal = cell => cell !== null && (typeof cell === "number" ? numbers.includes(cell) : sign === ":" ? texts.some(part => String(cell).toLowerCase().includes(part)) : texts.includes(String(cell).toLowerCase()));
  return sign === "!=" ? row => !equal(column[row]) : row => equal(column[row]);
}

function containsWord(word, data) {
  const columns = TEXT_COLUMNS.filter(name => data[name]).map(name => data[name]);
  return row => columns.some(column => column[row] !== null && String(column[row]).toLowerCase().includes(word));
}
