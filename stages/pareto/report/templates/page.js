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

  const dark = matchMedia("(prefers-color-scheme: dark)");
  const draw = () => {
    for (const [name, spec] of Object.entries(specs)) {
      const place = document.getElementById("chart-" + name);
      if (!place) continue;
      const fresh = document.createElement("div");
      fresh.style.width = "100%";
      place.replaceChildren(fresh);
      // ast: expressions are interpreted, never compiled, so that the page needs no eval
      vegaEmbed(fresh, coloured(spec), {
        actions: false, renderer: "svg", ast: true, config: config(),
        tooltip: { theme: dark.matches ? "dark" : "light" },
      }).then(() => place.classList.add("drawn"), (problem) => console.error(name, problem));
    }
  };
  if (Object.keys(specs).length) {
    draw();
    dark.addEventListener("change", draw);
  }

  const table = document.getElementById("table-candidates");
  if (!table) return;
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const cell = (row, column) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();

  const sortBy = (column) => {
    const head = heads[column];
    const text = head.dataset.kind === "text";
    const next = head.getAttribute("aria-sort") === (text ? "ascending" : "descending");
    const direction = text ? (next ? -1 : 1) : (next ? 1 : -1);
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
    const rows = [...body.rows].sort((a, b) => {
      const [x, y] = [cell(a, column), cell(b, column)];
      if (x === "" || y === "") return (x === "") - (y === "");  // what has no value stays last
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

  const outcome = document.getElementById("filter-outcome");
  const text = document.getElementById("filter-text");
  const count = document.getElementById("filter-count");
  const filter = () => {
    const wanted = text.value.trim().toLowerCase();
    let shown = 0;
    for (const row of body.rows) {
      const fits = (!outcome.value || row.dataset.status === outcome.value)
        && row.cells[0].textContent.toLowerCase().includes(wanted);
      row.hidden = !fits;
      shown += fits;
    }
    count.textContent = shown + " of " + body.rows.length + " shown";
  };
  outcome.addEventListener("change", filter);
  text.addEventListener("input", filter);

  const quoted = (value) => '"' + value.replaceAll('"', '""') + '"';
  document.getElementById("export").addEventListener("click", () => {
    const rows = [...body.rows].filter((row) => !row.hidden);
    const lines = [heads.map((head) => quoted(head.textContent.trim()))];
    for (const row of rows) lines.push(heads.map((_, column) => quoted(cell(row, column))));
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([lines.map((line) => line.join(",")).join("\r\n")], { type: "text/csv" }));
    link.download = "candidates.csv";
    link.click();
    URL.revokeObjectURL(link.href);
  });
  document.querySelector(".tools").hidden = false;
  filter();
})();
