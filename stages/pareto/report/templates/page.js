"use strict";
// Draws the charts in the page's colours, again when the colour scheme changes, and makes the table sort and filter.
(() => {
  const specs = JSON.parse(document.getElementById("specs").textContent);
  const variable = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();

  // "token:ink" → the colour that --ink has now
  const coloured = (node) => {
    if (typeof node === "string") return node.startsWith("token:") ? variable(node.slice(6)) : node;
    if (Array.isArray(node)) return node.map(coloured);
    if (node && typeof node === "object") {
      return Object.fromEntries(Object.entries(node).map(([key, value]) => [key, coloured(value)]));
    }
    return node;
  };

  const config = () => ({
    background: "transparent",
    font: "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif",
    axis: {
      labelColor: variable("muted"), titleColor: variable("muted"), gridColor: variable("grid"),
      domainColor: variable("grid"), tickColor: variable("grid"), labelFontSize: 12, titleFontSize: 12,
      titleFontWeight: "normal", titlePadding: 10,
    },
    axisY: { labelLimit: innerWidth < 560 ? 124 : 190 },
    view: { stroke: "transparent" },
  });

  // A phone sees the answer first.
  if (innerWidth < 760) document.querySelector("nav details").open = false;

  // A chart takes its width from its place, which has none while it is folded away.
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const draw = (within) => {
    for (const place of within.querySelectorAll(".chart")) {
      const name = place.id.slice("chart-".length);
      if (!specs[name] || place.closest("details:not([open])")) continue;
      const fresh = document.createElement("div");
      fresh.style.width = "100%";
      place.replaceChildren(fresh);
      // ast: expressions are interpreted, never compiled, so that the page needs no eval
      vegaEmbed(fresh, coloured(specs[name]), {
        actions: false, renderer: "svg", ast: true, config: config(),
        tooltip: { theme: dark.matches ? "dark" : "light" },
      }).then(() => place.classList.add("drawn"), (problem) => console.error(name, problem));
    }
  };
  draw(document);
  dark.addEventListener("change", () => draw(document));
  document.addEventListener("toggle", ({ target }) => { if (target.open) draw(target); }, true);

  // A link to a folded section opens it.
  const folds = [...document.querySelectorAll(".fold")];
  const reveal = (hash) => {
    const fold = hash && document.getElementById(hash.slice(1))?.querySelector(":scope > .fold");
    if (fold) fold.open = true;
  };
  reveal(location.hash);
  document.addEventListener("click", ({ target }) => reveal(target.closest("a[href^='#']")?.hash));
  const unfold = document.getElementById("unfold");
  unfold.hidden = folds.length === 0;
  unfold.addEventListener("click", () => { for (const fold of folds) fold.open = true; });

  const cell = (row, column) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();

  // A heading becomes a button: what has no value stays last whichever way is sorted.
  const sortable = (table) => {
    const body = table.tBodies[0];
    const heads = [...table.tHead.rows[0].cells];
    const sortBy = (column) => {
      const head = heads[column];
      const text = head.dataset.kind === "text";
      const next = head.getAttribute("aria-sort") === (text ? "ascending" : "descending");
      const direction = text ? (next ? -1 : 1) : (next ? 1 : -1);
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
      const rows = [...body.rows].sort((a, b) => {
        const [x, y] = [cell(a, column), cell(b, column)];
        if (x === "" || y === "") return (x === "") - (y === "");
        return direction * (text ? x.localeCompare(y, "en") : Number(x) - Number(y));
      });
      body.append(...rows);
    };
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      button.addEventListener("click", () => sortBy(column));
      head.append(button);
    });
  };
  for (const table of document.querySelectorAll("table.sortable")) sortable(table);

  const table = document.getElementById("table-candidates");
  if (!table) return;
  const rows = () => [...table.tBodies[0].rows];
  const heads = [...table.tHead.rows[0].cells].map((head) => head.textContent.trim());
  const outcome = document.getElementById("filter-outcome");
  const text = document.getElementById("filter-text");
  const filter = () => {
    const wanted = text.value.trim().toLowerCase();
    for (const row of rows()) {
      row.hidden = (outcome.value !== "" && row.dataset.status !== outcome.value)
        || !row.cells[0].textContent.toLowerCase().includes(wanted);
    }
    const shown = rows().filter((row) => !row.hidden).length;
    document.getElementById("filter-count").textContent = shown + " of " + rows().length + " shown";
  };
  outcome.addEventListener("change", filter);
  text.addEventListener("input", filter);

  // What is shown, in the order shown.
  const records = () => rows().filter((row) => !row.hidden)
    .map((row) => [row.dataset.id, ...heads.map((_, column) => cell(row, column))]);
  const save = (name, type, content) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([content], { type }));
    link.download = name;
    link.click();
    URL.revokeObjectURL(link.href);
  };
  const quoted = (value) => '"' + value.replaceAll('"', '""') + '"';
  const asCsv = () => [["Id", ...heads], ...records()].map((line) => line.map(quoted).join(",")).join("\r\n");
  const number = (value) => value !== "" && Number.isFinite(Number(value)) ? Number(value) : value || null;
  const asJson = () => JSON.stringify(records().map(([id, ...values]) => ({
    Id: id, ...Object.fromEntries(values.map((value, column) => [heads[column], number(value)])),
  })), null, 2);
  document.getElementById("export-csv").addEventListener("click", () => save("candidates.csv", "text/csv", asCsv()));
  document.getElementById("export-json").addEventListener("click", () => save("candidates.json", "application/json", asJson()));
  document.querySelector(".tools").hidden = false;
  filter();
})();
