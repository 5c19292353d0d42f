// The page: filter and order of tables, records, settings that survive a reload, refreshing.

// ---- tables ----

function addSorting(table) {
  const body = table.tBodies[0];
  const original = [...body.rows];
  [...table.tHead.rows[0].cells].forEach((head, i) => {
    if ("fixed" in head.dataset) return;
    const button = element("button", { type: "button", class: "sort" });
    button.append(...head.childNodes);
    head.append(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const next = { none: "ascending", ascending: "descending", descending: "none" };
      const order = next[head.getAttribute("aria-sort")];
      for (const other of table.tHead.rows[0].cells) {
        if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
      }
      head.setAttribute("aria-sort", order);
      body.append(...ordered(original, i, order));
    });
  });
}

// Rows by their cell's number, else its text; rows without a number come last.
function ordered(rows, column, order) {
  if (order === "none") return rows;
  const sign = order === "ascending" ? 1 : -1;
  const key = (row) => row.cells[column].dataset.key ?? row.cells[column].textContent.trim();
  const numeric = rows.some((row) => row.cells[column].dataset.key);
  return [...rows].sort((a, b) => {
    const [one, two] = [key(a), key(b)];
    if (!numeric) return sign * one.localeCompare(two, "en", { numeric: true });
    if (one === "" || two === "") return (one === "") - (two === "");
    return sign * (Number(one) - Number(two));
  });
}

function addFilter() {
  const table = document.getElementById("arms-table");
  const words = document.getElementById("filter");
  const group = document.getElementById("group");
  const apply = () => {
    const parts = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const rows = [...table.tBodies[0].rows];
    hidden.clear();
    for (const row of rows) {
      const has = parts.every((part) => row.dataset.words.toLowerCase().includes(part));
      const belongs = !group.value || row.dataset.group === group.value;
      row.hidden = !(has && belongs);
      if (row.hidden) hidden.add(row.dataset.arm);
    }
    const count = rows.length - hidden.size;
    document.getElementById("shown").textContent = `${count} of ${rows.length} arms`;
    redraw();
  };
  words.addEventListener("input", apply);
  group.addEventListener("change", apply);
  for (const row of table.tBodies[0].rows) {
    row.addEventListener("pointerenter", () => highlight(row.dataset.arm));
    row.addEventListener("pointerleave", () => highlight(null));
  }
  return apply;
}

// A table of a site: its rows are filtered by their text and by the columns that have a choice.
function addRowFilter(form) {
  const table = document.getElementById(form.dataset.filters);
  const count = form.querySelector("[role=status]");
  const rows = [...table.tBodies[0].rows];
  for (const select of form.querySelectorAll("select")) {
    const column = Number(select.dataset.column);
    const values = [...new Set(rows.map((row) => row.cells[column].textContent.trim()))].sort();
    for (const value of values) select.append(element("option", { value }, value));
  }
  const apply = () => {
    const parts = form.querySelector("input").value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      const chosen = [...form.querySelectorAll("select")].every(
        (select) => !select.value || row.cells[Number(select.dataset.column)].textContent.trim() === select.value,
      );
      row.hidden = !(chosen && parts.every((part) => text.includes(part)));
    }
    count.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows`;
  };
  form.addEventListener("input", apply);
  form.addEventListener("change", apply);
  apply();
}

// ---- records ----

let unpacked = null;
function records() {
  unpacked ??= (async () => {
    const bytes = Uint8Array.from(atob(DATA.records), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  })();
  return unpacked;
}

function addRecords() {
  const dialog = document.getElementById("record");
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-record]");
    if (!button) return;
    const key = button.dataset.record;
    const content = JSON.stringify((await records())[key], null, 1);
    document.getElementById("record-title").textContent = button.getAttribute("aria-label");
    document.getElementById("record-text").textContent = content;
    const save = document.getElementById("record-save");
    save.href = `data:application/json;charset=utf-8,${encodeURIComponent(content)}`;
    save.download = `${key}.json`;
    dialog.showModal();
  });
  document.getElementById("record-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
}

// ---- settings that survive a reload, and refreshing ----

const storage = {
  get: (name) => {
    try { return sessionStorage.getItem(`${location.pathname} ${name}`); } catch { return null; }
  },
  set: (name, value) => {
    try { sessionStorage.setItem(`${location.pathname} ${name}`, value); } catch { /* not allowed */ }
  },
};

function keepSettings() {
  for (const control of document.querySelectorAll("[data-keep]")) {
    const value = storage.get(control.id);
    if (control.type === "checkbox") {
      if (value !== null) control.checked = value === "true";
    } else if (value !== null && (control.tagName !== "SELECT" || [...control.options].some((o) => o.value === value))) {
      control.value = value;
    }
  }
  document.addEventListener("change", remember);
  document.addEventListener("input", remember);
}

function remember(event) {
  const control = event.target;
  if ("keep" in control.dataset) storage.set(control.id, control.type === "checkbox" ? control.checked : control.value);
}

// Reload when the server has another version than the page was drawn from, and can draw it.
function refresh({ live, version }) {
  setInterval(async () => {
    if (!(document.getElementById("refresh")?.checked ?? true) || document.querySelector("dialog[open]")) return;
    try {
      const answer = await fetch(live, { cache: "no-store" });
      if (!answer.ok || (await answer.text()) === version) return;
      if ((await fetch(location.pathname, { method: "HEAD" })).ok) location.reload();
    } catch { /* the server has stopped */ }
  }, 3000);
}

// ---- start ----

if (DATA.metrics) addCharts();
if (DATA.viewer) addViewer();
const apply = document.getElementById("arms-table") ? addFilter() : null;
keepSettings();
document.querySelectorAll("table[data-sortable]").forEach(addSorting);
document.querySelectorAll("[data-filters]").forEach(addRowFilter);
document.addEventListener("change", (event) => {
  if (event.target.matches("[data-metrics], #cost-kind, #curve-kind")) redraw();
});
if (DATA.weights?.length) document.getElementById("weight-measure").dispatchEvent(new Event("change"));
if (DATA.viewer) drawPanels();
if (apply) apply();
if (DATA.records) addRecords();
if (document.body.dataset.live) refresh(document.body.dataset);
