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
    const cards = [], broad = figure => { figure.classList.add("broad"); return figure; };
    if (view.bands) cards.push(broad(bandFigure(view.bands, this.app.palette)));
    if (view.structure) cards.push(h("figure.card-structure", {}, h("div.figure-head", {}, h("h3", {}, "Structure")), new StructureView(view.structure, this.app).element));
    if (view.modes) { const modes = modeFigure(view.modes, this.app); this.figures.push(modes); cards.push(broad(modes.element)); }
    if (view.kappa) cards.push(kappaFigure(view.kappa, this.app.palette));
    const missing = [["structure", "structure"], ["bands", "bands"], ["kappa", "κ(T)"], ["modes", "modes"]].filter(([key]) => !view[key]).map(([, label]) => label);
    this.host.replaceChildren(
      this.head(row, name), h("h2.unseen", {}, "Figures"), h("div.figures", {}, cards),
      missing.length ? h("p.soft", {}, `Not in this page for this crystal: ${missing.join(", ")}${view.omitted ? " (left out to keep the page small; the records hold them)" : ""}.`) : "",
      this.values(row), h("div.two", {}, this.records(view, row), this.origin(view), this.family(row)));
    for (const figure of this.figures) figure.draw();
    this.host.querySelector("h1").focus({ preventScroll: true });
    scrollTo(0, 0);
  }

  head(row, name) {
    const { data, table } = this.app, place = table.rows.indexOf(row), state = data.state[row];
    const step = (by, label, sign) => {
      const other = table.rows[place + by];
      return place < 0 || other === undefined ? null : h("a.button", { href: this.app.address(other), title: `${label} crystal of the table`, "aria-label": `${label} crystal` }, sign);
    };
    const number = (label, name, spec) => {
      const value = data[name]?.[row] ?? null, column = this.app.columns.find(one => one.name === name);
      return value === null ? null : h("div.number", { title: column.hint }, h("b", {}, format(value, spec), " ", h("small", {}, column.unit)), h("span", {}, `${label}${column.hint.match(/, at [0-9.]+ K$/)?.[0].slice(1) ?? ""}`));
    };
    return h("header.crystal-head", {},
      h("nav", {}, h("a.button", { href: "#crystals-section", id: "back" }, "← All crystals"), step(-1, "Previous", "↑"), step(1, "Next", "↓")),
      h("h1", { tabindex: -1 }, formula(name)),
      h("p", {}, h(`span.state.${state}`, {}, state), data.space_group?.[row] ? ` space group ${data.space_group[row]}` : "", h("span.soft", {}, `  ${data.provider?.[row] ?? ""} ${data.provider_id?.[row] ?? ""} · id ${data.id[row]}`)),
      data.reason?.[row] ? h("p.reason", {}, `${data.stage?.[row] ? `${data.stage[row]}: ` : ""}${data.reason[row]}`) : "",
      h("div.numbers", {}, number("κ", "kappa_total_w_mk", "#.3g"), number("κ_C", "kappa_c_w_mk", "#.2g"), number("max MSD", "max_msd", ".3g"),
        number("V_s", "vs_m_s", ".0f"), number("c_v", "cv_j_mol_k", ".4g"), number("lowest ν", "min_frequency_thz", ".3f")));
  }

  // Meaning, name in filters, value and unit; what the head says already is left out.
  values(row) {
    const { data, columns } = this.app, said = new Set(["id", "formula", "state", "stage", "reason", "provider", "provider_id", "space_group"]);
    const known = columns.filter(({ name }) => !said.has(name) && data[name][row] !== null && data[name][row] !== "");
    const value = ({ name, format: form, unit }) => [format(data[name][row], name === "trusted" ? "yes" : /[efg]$/.test(form) ? ".5g" : form), unit ? h("span.soft", {}, ` ${unit}`) : null];
    return h("section", { style: "margin-top:2rem", id: "values" }, h("h2", {}, "All values"), h("div.listing", {}, h("table.values", {}, h("tbody", {}, known.map(column => h("tr", {},
      h("th", { scope: "row" }, column.hint, column.hint === column.name ? null : h("code", {}, column.name)), h("td", {}, value(column))))))));
  }

  records(view, row) {
    const link = (path, label) => h("li", {}, h("a", { href: this.app.root + path }, label));
    const files = Object.entries(view.files ?? {});
    const list = files.flatMap(([stage, path]) => link(path, `${stage.replaceAll("_", " ")} (JSON)`));
    if (this.app.data.state[row] === "failed") list.unshift(link(`failed/${this.app.data.id[row]}.json`, "failure with traceback"));
    return h("section", {}, h("h2", {}, "Records"), list.length ? h("ul.records", {}, list) : h("p.soft", {}, "None."),
      view.written ? h("p.soft", {}, `Written ${new Date(1000 * view.written).toISOString().slice(0, 16).replace("T", " ")} UTC`, (this.app.data.seconds?.[row] ?? null) === null ? "" : `, ${format(this.app.data.seconds[row], ".3g")} s in all stages`, `, with ${this.app.versions}.`) : null,
      h("p.soft", {}, "Beside each JSON lie the arrays as HDF5 under the same name; links work while this page lies in its run directory."));
  }

  // The undistorted crystal, and what became of this one along a soft mode: links where they stand in this page.
  family(row) {
    const { data } = this.app, own = data.id[row], value = name => data[name]?.[row] ?? "";
    const place = identity => identity ? data.id.indexOf(identity) : -1;
    const text = other => [...formula(data.formula?.[other] ?? data.id[other]), ` (${data.space_group?.[other] ?? "?"})`];
    const link = (identity, otherwise) => place(identity) < 0 ? otherwise : h("a", { href: this.app.address(place(identity)) }, text(place(identity)));
    const children = new Set(data.id.filter((identity, other) => identity !== own && data.parent_id?.[other] === own));
    if (value("child_id")) children.add(value("child_id"));
    const lines = [];
    if (value("parent_id") && value("parent_id") !== own) lines.push(h("li.parent", {}, "distorted from ", link(value("parent_id"), `${value("parent_formula")} (${value("parent_space_group")}), id ${value("parent_id")}`)));
    for (const child of children) {
      const here = child === value("child_id"), group = here && value("child_symbol") ? `${value("child_symbol")} (${value("child_space_group")})` : "";
      lines.push(h("li.child", {}, "distorts to ", link(child, here && group ? [...formula(value("formula")), `, id ${child}`] : child), here && group ? `, ${group}` : "", here && value("child_name") ? [": the known phase ", h("b", {}, value("child_name")), ", ", doi(value("child_doi"))] : ""));
    }
    if (value("known_children")) lines.push(h("li.known", {}, `known to distort to: ${value("known_children")}`));
    return lines.length ? h("section", { id: "family" }, h("h2", {}, "Family"), h("ul.records", {}, lines)) : "";
  }

  origin(view) {
    const facts = Object.entries(view.metadata ?? {});
    if (!facts.length) return "";
    return h("section", {}, h("h2", {}, "As the source gave it"), h("table.values", {}, h("tbody", {}, facts.map(([key, value]) => h("tr", {}, h("th", { scope: "row" }, key), h("td", {}, typeof value === "object" ? JSON.stringify(value) : String(value)))))));
  }
}
