// The table of crystals: only the rows in view exist, so tens of thousands scroll as fast as ten.
"use strict";

class CrystalTable {
  // columns: [{name, title, format, hint, shown}]; data: {name: [value per row]}; app: {open, changed(matches)}.
  constructor(columns, data, count, app) {
    Object.assign(this, { columns, data, count, app, height: 31, sorting: null, ascending: true, selection: null });
    this.shown = columns.filter(column => column.shown);
    this.search = h("input", { id: "search", type: "search", spellcheck: "false", autocomplete: "off", "aria-label": "Search the table", placeholder: "Search, e.g.  Cs  has:Na,Cl  kappa<1  msd>=0.076  sg:225  state:failed" });
    this.status = h("span.soft", { id: "shown", role: "status" });
    this.chip = h("button.chip", { type: "button", hidden: true, title: "Forget this selection", onclick: () => this.select(null) });
    this.head = h("tr");
    this.body = h("tbody");
    this.table = h("table", { id: "crystals", "aria-rowcount": String(count + 1) }, h("thead", {}, this.head), this.body);
    this.view = h("div.scroll", { tabindex: 0, role: "region", "aria-label": "Crystals" }, this.table);
    this.element = h("div", {}, h("div.table-tools", {}, this.search, this.status, this.chip, h("span.grow"), this.columnMenu(),
      h("button", { type: "button", id: "save-csv", onclick: () => this.saveCsv() }, "Save as CSV")), this.view);
    let waiting;
    this.search.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(() => this.filter(), 60); });
    this.view.addEventListener("scroll", () => this.draw(), { passive: true });
    this.body.addEventListener("click", event => {
      const row = event.target.closest("tr[data-row]");
      if (row && !event.target.closest("a") && !String(getSelection())) app.open(Number(row.dataset.row));
    });
    addEventListener("resize", () => this.draw());
    this.layOut();
    this.filter();
  }

  columnMenu() {
    const list = h("div.menu", {}, this.columns.map(column => h("label", { title: column.hint }, h("input", {
      type: "checkbox", checked: column.shown,
      onchange: event => { column.shown = event.target.checked; this.shown = this.columns.filter(one => one.shown); this.layOut(); this.draw(); },
    }), ` ${column.title.replace(/\n/, " ")}`, column.title === column.name ? null : h("code.soft", {}, ` ${column.name}`))));
    return h("details.columns", {}, h("summary", {}, `Columns (${this.columns.length})`), list);
  }

  // Head and column widths, from a sample of the rows.
  layOut() {
    const stride = Math.max(1, Math.floor(this.count / 400));
    const widths = this.shown.map(column => {
      let longest = Math.max(...column.title.split("\n").map(line => 1.1 * line.length + 1.4), column.name === "state" ? 9 : 0, column.name === "trusted" ? 5 : 0);
      const wide = column.name === "formula" ? 1.15 : 1; // bold
      for (let row = 0; row < this.count; row += stride) longest = Math.max(longest, wide * format(this.data[column.name][row], column.format).length);
      return Math.round(Math.min(column.format === "" ? 46 : 16, longest + 1) * 7.9 + 20);
    });
    this.table.querySelector("colgroup")?.remove();
    this.table.prepend(h("colgroup", {}, widths.map(width => h("col", { style: `width:${width}px` }))));
    this.table.style.minWidth = `${widths.reduce((sum, width) => sum + width, 0)}px`;
    this.head.replaceChildren(...this.shown.map(column => h(column.format === "" ? "th.text" : "th", {
      scope: "col", title: column.hint, "aria-sort": column === this.sorting ? (this.ascending ? "ascending" : "descending") : null,
    }, h("button", { type: "button", "data-column": column.name, onclick: () => this.sort(column) }, column.title.split("\n").flatMap((line, index) => (index ? [h("br"), h("span.soft", {}, line)] : [line]))))));
  }

  filter() {
    const query = parseQuery(this.search.value, this.data);
    this.matches = new Uint8Array(this.count);
    this.rows = [];
    for (let row = 0; row < this.count; row++)
      if ((!this.selection || this.selection.has(row)) && query.test(row)) { this.matches[row] = 1; this.rows.push(row); }
    this.order();
    this.status.textContent = `${this.rows.length} of ${this.count}${query.problems.length ? ` (${query.problems.join(", ")})` : ""}`;
    this.view.scrollTop = 0;
    this.draw();
    this.app.changed(query.empty && !this.selection ? null : this.matches);
  }

  searchFor(text) {
    this.search.value = text;
    this.filter();
  }

  // Keep only some rows (a window of a figure); null forgets.
  select(name, rows = []) {
    this.selection = name === null ? null : new Set(rows);
    this.chip.hidden = name === null;
    this.chip.textContent = `window of “${name}” ×`;
    this.filter();
  }

  sort(column) {
    this.ascending = this.sorting === column ? !this.ascending : true;
    this.sorting = column;
    this.layOut();
    this.order();
    this.draw();
  }

  order() {
    const sign = this.ascending ? 1 : -1, column = this.sorting && this.data[this.sorting.name];
    if (!column) return void this.rows.sort((a, b) => a - b);
    const compare = typeof column.find(value => value !== null) === "number" ? (a, b) => a - b : new Intl.Collator("en", { numeric: true }).compare;
    this.rows.sort((a, b) => {
      const x = column[a], y = column[b];
      if (x === null || y === null) return (x === null) - (y === null) || a - b; // missing ones last, always
      return sign * compare(x, y) || a - b;
    });
  }

  draw(all = false) {
    const tall = this.view.clientHeight || 600;
    const first = all ? 0 : Math.max(0, Math.floor(this.view.scrollTop / this.height) - 8);
    const last = all ? Math.min(this.rows.length, 500) : Math.min(this.rows.length, first + Math.ceil(tall / this.height) + 16);
    const space = count => (count > 0 ? h("tr.space", { "aria-hidden": "true" }, h("td", { colspan: this.shown.length, style: `height:${count * this.height}px` })) : null);
    const empty = this.rows.length ? null : h("tr", {}, h("td.text.soft", { colspan: this.shown.length }, "No crystal fits."));
    const lines = this.rows.slice(first, last).map((row, index) => this.line(row, first + index));
    this.body.replaceChildren(...[space(first), ...lines, empty, space(this.rows.length - last)].filter(Boolean));
  }

  line(row, place) {
    return h("tr", { "data-row": row, "aria-rowindex": place + 2 }, this.shown.map(column => {
      const value = this.data[column.name][row];
      if (column.name === "formula") return h("td.text.name", {}, h("a", { href: this.app.address(row) }, formula(value ?? this.data.provider_id?.[row] ?? this.data.id[row])));
      if (column.name === "state") return h("td.text", {}, h(`span.state.${value}`, {}, value));
      if (column.name === "trusted") return h("td.text", {}, value === null ? "" : value ? "good" : "rough");
      const text = format(value, column.format);
      return column.format === "" ? h("td.text", { title: text.length > 24 ? text : null }, text) : h("td", {}, text);
    }));
  }

  saveCsv() {
    // text that a spreadsheet would compute gets an apostrophe, as in the files of screen-cli export
    const harmless = value => (typeof value === "string" && /^[=+\-@\t\r]/.test(value) && (value.trim() === "" || Number.isNaN(Number(value))) ? `'${value}` : value);
    const quote = value => (value === null ? "" : /[",\r\n]/.test(harmless(value)) ? `"${String(harmless(value)).replaceAll('"', '""')}"` : String(harmless(value)));
    const names = this.columns.map(column => column.name);
    save("crystals.csv", [this.columns.map(column => quote(column.full)).join(","), ...this.rows.map(row => names.map(name => quote(this.data[name][row])).join(","))].join("\n") + "\n", "text/csv");
  }
}
