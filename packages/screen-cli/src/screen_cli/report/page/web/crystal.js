// The page of one crystal: #/crystal/ID.
"use strict";

class CrystalPage {
  // host: element to fill; app: {data, columns, palette, radii, symbols, root, table, details(id)}.
  constructor(host, app) {
    this.host = host;
    this.app = app;
  }

  async show(row) {
    const { data } = this.app, identity = data.id[row], view = await this.app.details(identity);
    const name = data.formula?.[row] ?? data.provider_id?.[row] ?? identity;
    document.title = `${name} · ${this.app.title}`;
    this.figures = [];
    const cards = [];
    if (view.structure) cards.push(h("figure.card-structure", {}, h("div.figure-head", {}, h("h3", {}, "Structure")), new StructureView(view.structure, this.app).element));
    if (view.bands) cards.push(bandFigure(view.bands, this.app.palette));
    if (view.kappa) cards.push(kappaFigure(view.kappa, this.app.palette));
    if (view.modes) { const modes = modeFigure(view.modes, this.app); this.figures.push(modes); cards.push(modes.element); }
    const missing = [["structure", "structure"], ["bands", "bands"], ["kappa", "κ(T)"], ["modes", "modes"]].filter(([key]) => !view[key]).map(([, label]) => label);
    this.host.replaceChildren(
      this.head(row, name), h("div.figures", {}, cards),
      missing.length ? h("p.soft", {}, `Not in this page for this crystal: ${missing.join(", ")}${view.omitted ? " (left out to keep the page small; the records hold them)" : ""}.`) : "",
      h("div.two", {}, this.records(view, row), this.origin(view), this.family(row)), this.values(row));
    for (const figure of this.figures) figure.draw();
    this.host.querySelector("h2").focus({ preventScroll: true });
    scrollTo(0, 0);
  }

  head(row, name) {
    const { data, table } = this.app, place = table.rows.indexOf(row), state = data.state[row];
    const step = (by, label, sign) => {
      const other = table.rows[place + by];
      return place < 0 || other === undefined ? null : h("a.button", { href: this.app.address(other), title: `${label} crystal of the table`, "aria-label": `${label} crystal` }, sign);
    };
    const number = (label, column, spec, unit) => (data[column]?.[row] ?? null) === null ? null : h("div.number", {}, h("b", {}, format(data[column][row], spec)), h("span", {}, `${label} ${unit}`));
    return h("header.crystal-head", {},
      h("nav", {}, h("a.button", { href: "#crystals-section", id: "back" }, "← All crystals"), step(-1, "Previous", "↑"), step(1, "Next", "↓")),
      h("h2", { tabindex: -1 }, formula(name)),
      h("p", {}, h(`span.state.${state}`, {}, state), data.space_group?.[row] ? ` space group ${data.space_group[row]}` : "", h("span.soft", {}, `  ${data.provider?.[row] ?? ""} ${data.provider_id?.[row] ?? ""} · id ${data.id[row]}`)),
      data.reason?.[row] ? h("p.reason", {}, `${data.stage?.[row] ? `${data.stage[row]}: ` : ""}${data.reason[row]}`) : "",
      h("div.numbers", {}, number("κ", "kappa_total_w_mk", "#.3g", "W/mK"), number("κ_C", "kappa_c_w_mk", "#.2g", "W/mK"), number("max MSD", "max_msd", ".3g", "Å²"),
        number("V_s", "vs_m_s", ".0f", "m/s"), number("c_v", "cv_j_mol_k", ".4g", "J/mol/K"), number("lowest ν", "min_frequency_thz", ".3f", "THz")));
  }

  values(row) {
    const { data, columns } = this.app;
    const known = columns.filter(column => data[column.name][row] !== null && data[column.name][row] !== "");
    return h("section", { style: "margin-top:2rem" }, h("h3", {}, "All values"), h("div.listing", {}, h("table.values", {}, h("tbody", {}, known.map(column => h("tr", { title: column.hint },
      h("th", { scope: "row" }, column.name), h("td", {}, format(data[column.name][row], column.format === "" ? "" : ".6g"))))))));
  }

  records(view, row) {
    const link = (path, label) => h("li", {}, h("a", { href: this.app.root + path }, label));
    const files = Object.entries(view.files ?? {});
    const list = files.flatMap(([stage, path]) => link(path, `${stage.replaceAll("_", " ")} (JSON)`));
    if (this.app.data.state[row] === "failed") list.unshift(link(`failed/${this.app.data.id[row]}.json`, "failure with traceback"));
    return h("section", {}, h("h3", {}, "Records"), list.length ? h("ul.records", {}, list) : h("p.soft", {}, "None."),
      h("p.soft", {}, "Beside each JSON lie the arrays as HDF5 under the same name; links work while this page lies in its run directory."));
  }

  // The undistorted crystal, and what became of this one along a soft mode: links where they stand in this page.
  family(row) {
    const { data } = this.app, own = data.id[row], parent = data.parent_id?.[row];
    const children = data.id.flatMap((identity, other) => data.parent_id?.[other] === own && identity !== own ? [other] : []);
    const child = data.child_id?.[row];
    if (child && !children.some(other => data.id[other] === child)) children.push(child);
    const link = other => typeof other === "number" ? h("a", { href: this.app.address(other) }, formula(data.formula?.[other] ?? data.id[other]), ` (${data.space_group?.[other] ?? "?"})`) : other;
    const lines = [];
    if (parent && parent !== own) { const place = data.id.indexOf(parent); lines.push(h("li", {}, "distorted from ", link(place >= 0 ? place : `${data.parent_formula?.[row] ?? ""} ${parent}`))); }
    for (const other of children) lines.push(h("li", {}, "distorts to ", link(other)));
    return lines.length ? h("section", {}, h("h3", {}, "Family"), h("ul.records", {}, lines)) : "";
  }

  origin(view) {
    const facts = Object.entries(view.metadata ?? {});
    if (!facts.length) return "";
    return h("section", {}, h("h3", {}, "From the source"), h("table.values", {}, h("tbody", {}, facts.map(([key, value]) => h("tr", {}, h("th", { scope: "row" }, key), h("td", {}, typeof value === "object" ? JSON.stringify(value) : String(value)))))));
  }
}
