// The sample viewer: arms side by side, by class and seed, enlarged without smoothing.

const images = new Map();
const CELL = 96; // pixels of an image's side to begin with

function loaded(source) {
  if (!images.has(source)) {
    const image = new Image();
    image.src = source;
    images.set(source, image.decode().then(() => image));
  }
  return images.get(source);
}

// Draw cells [column, row] of a grid, `across` of them in a line, pixel for pixel.
function drawCells(canvas, entry, cells, across) {
  const layout = DATA.viewer.layouts[entry.layout];
  canvas.width = Math.min(across, cells.length) * layout.width;
  canvas.height = Math.ceil(cells.length / across) * layout.height;
  loaded(entry.image).then((image) => {
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    cells.forEach(([column, row], i) => {
      const to = [(i % across) * layout.width, Math.floor(i / across) * layout.height];
      context.drawImage(
        image, column * layout.width, row * layout.height, layout.width, layout.height,
        ...to, layout.width, layout.height,
      );
    });
  });
}

function addViewer() {
  const viewer = DATA.viewer;
  const [seed, column, zoom] = ["view-seed", "view-column", "view-zoom"].map((id) => document.getElementById(id));
  const seeds = [...new Set(Object.values(viewer.sheets).flatMap((of) => Object.keys(of)))];
  seeds.sort((a, b) => a - b);
  for (const value of seeds) seed.append(element("option", { value }, value));
  column.append(element("option", { value: "" }, "all"));
  viewer.columns.forEach((name, i) => column.append(element("option", { value: i }, name)));
  document.getElementById("view-column-label").firstChild.textContent =
    viewer.kind === "prompt" ? "Prompt " : "Class ";
  document.getElementById("view-notes").textContent = viewer.notes;
  const arms = ARMS.filter((arm) => viewer.sheets[arm]);
  const first = [DATA.baseline, ...bestFirst(arms)].filter((arm) => arms.includes(arm));
  const chosen = new Set([...new Set(first)].slice(0, 3));
  const picks = document.getElementById("view-arms");
  arms.forEach((arm, i) => {
    const box = element("input", { type: "checkbox", id: `view-arm${i}`, "data-keep": "" });
    box.checked = chosen.has(arm);
    box.addEventListener("change", () => drawPanels());
    box.dataset.pick = arm;
    picks.append(element("label", { "data-arm": arm }, box, ` ${arm}`));
  });
  for (const control of [seed, column, zoom]) control.addEventListener("change", () => drawPanels());
  column.value = viewer.columns.length ? 0 : "";
  const cell = viewer.layouts[0].width;
  zoom.value = [...zoom.options].map((option) => option.value)
    .reduce((a, b) => (Math.abs(b * cell - CELL) < Math.abs(a * cell - CELL) ? b : a));
}

// Arms by the mean of the primary metric, the best first; lower bounds are left out.
function bestFirst(arms) {
  const metric = DATA.metrics[0];
  const mean = (arm) => metric.rows[arm].level.mean * (metric.higher ? -1 : 1);
  return arms.filter((arm) => metric.rows[arm].level && DATA.arms[arm] !== "bound").sort((a, b) => mean(a) - mean(b));
}

function drawPanels() {
  const viewer = DATA.viewer;
  const seed = document.getElementById("view-seed").value;
  const column = document.getElementById("view-column").value;
  const zoom = Number(document.getElementById("view-zoom").value);
  const panels = document.getElementById("view-panels");
  panels.replaceChildren();
  const arms = [...document.querySelectorAll("[data-pick]")].filter((box) => box.checked).map((box) => box.dataset.pick);
  const reals = new Set();
  for (const arm of arms) {
    const entry = viewer.sheets[arm]?.[seed];
    if (entry?.real && viewer.real[entry.real]) reals.add(entry.real);
  }
  for (const data of reals) panels.append(panel("real images", viewer.real[data], column, zoom, "Real images"));
  for (const arm of arms) {
    const entry = viewer.sheets[arm]?.[seed];
    if (!entry) {
      panels.append(element("figure", { class: "panel" }, element("figcaption", {}, arm), `No images of seed ${seed}.`));
      continue;
    }
    const figure = panel(arm, entry, column, zoom, `Samples of ${arm}, seed ${seed}`);
    const level = DATA.metrics[0].rows[arm].level;
    if (level) {
      figure.firstChild.append(element("small", {}, `${DATA.metrics[0].title} ${level.text}`));
    }
    const near = viewer.near[arm]?.[seed];
    if (near) figure.append(nearest(arm, near, zoom, seed, parseInt(figure.querySelector("canvas").style.width)));
    panels.append(figure);
  }
  if (!arms.length) panels.append(element("p", { class: "hint" }, "Choose an arm above."));
}

function panel(name, entry, column, zoom, about) {
  const layout = DATA.viewer.layouts[entry.layout];
  const names = DATA.viewer.columns;
  const one = column !== "" && Number(column) < layout.columns;
  const cells = [];
  if (one) {
    for (let row = 0; row < layout.rows; row++) cells.push([Number(column), row]);
  } else {
    for (let row = 0; row < layout.rows; row++) for (let c = 0; c < layout.columns; c++) cells.push([c, row]);
  }
  const across = one ? Math.min(4, layout.rows) : layout.columns;
  const what = one ? `${DATA.viewer.kind} ${names[column] ?? column}` : `all columns: ${names.join(", ")}`;
  const canvas = element("canvas", { class: "pixels", role: "img", "aria-label": `${about}, ${what}: ${cells.length} images` });
  drawCells(canvas, entry, cells, across);
  const frame = element("div", { class: "frame" }, canvas);
  enlarge(canvas, zoom);
  canvas.addEventListener("pointermove", (event) => {
    const box = canvas.getBoundingClientRect();
    const place = [
      Math.floor(((event.clientX - box.left) / box.width) * across),
      Math.floor(((event.clientY - box.top) / box.height) * Math.ceil(cells.length / across)),
    ];
    markPlace(place, across, Math.ceil(cells.length / across));
  });
  canvas.addEventListener("pointerleave", () => markPlace(null));
  return element("figure", { class: "panel", "data-panel": name }, element("figcaption", {}, element("strong", {}, name)), frame);
}

function enlarge(canvas, zoom) {
  canvas.style.width = `${canvas.width * zoom}px`;
  canvas.style.height = `${canvas.height * zoom}px`;
}

// A frame around the image at the same place in every panel.
function markPlace(place, across, down) {
  for (const frame of document.querySelectorAll("#view-panels .frame")) {
    frame.querySelector(".place")?.remove();
    const canvas = frame.querySelector("canvas");
    if (!place) continue;
    const mark = element("span", { class: "place" });
    const [width, height] = [canvas.offsetWidth / across, canvas.offsetHeight / down];
    mark.style.left = `${place[0] * width}px`;
    mark.style.top = `${place[1] * height}px`;
    mark.style.width = `${width}px`;
    mark.style.height = `${height}px`;
    frame.append(mark);
  }
}

// The samples nearest to a training image, above that image.
function nearest(arm, entry, zoom, seed, width) {
  const layout = DATA.viewer.layouts[entry.layout];
  const cells = [];
  for (let row = 0; row < layout.rows; row++) for (let c = 0; c < layout.columns; c++) cells.push([c, row]);
  const label = `The samples of ${arm}, seed ${seed}, that are nearest to a training image, above that image`;
  const canvas = element("canvas", { class: "pixels", role: "img", "aria-label": label });
  drawCells(canvas, entry, cells, layout.columns);
  enlarge(canvas, Math.max(Math.min(zoom, 2), Math.floor(width / canvas.width)));
  const frame = element("div", { class: "strip" }, canvas);
  const about = element("p", { class: "hint" }, `Top: the samples nearest to a training image; below: that image. ${entry.text}.`);
  return element("div", { class: "near" }, frame, about);
}
