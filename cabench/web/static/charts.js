"use strict";
// What all charts share: elements, scales, axes, and pointing at an arm by mouse, touch or keys.

const DATA = JSON.parse(document.getElementById("data").textContent);
const charts = [];

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value !== undefined && value !== null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function shape(name, attributes, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function element(name, attributes, ...children) {
  return fill(document.createElement(name), attributes, children);
}

// ---- numbers and scales ----

function short(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  for (const [unit, letter] of [[1e15, "P"], [1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "K"]]) {
    if (size >= unit) return trimmed(value / unit) + letter;
  }
  return trimmed(value);
}

function trimmed(value) {
  if (!value) return "0";
  const text = Math.abs(value) < 1e-4 ? value.toExponential(2) : String(+value.toPrecision(4));
  return text.replace("-", "−");
}

function ticks(low, high, count) {
  const raw = (high - low) / Math.max(count, 1);
  if (!(raw > 0)) return [low];
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw * 0.999);
  const first = Math.ceil(low / step - 1e-9);
  const list = [];
  for (let i = first; i * step <= high + step * 1e-9; i++) list.push(+(i * step).toPrecision(12));
  return list;
}

function logTicks(low, high, most) {
  for (const steps of [[1, 2, 5], [1, 3], [1]]) {
    const list = [];
    for (let k = Math.floor(Math.log10(low)); k <= Math.log10(high); k++) {
      for (const step of steps) {
        const tick = +(step * 10 ** k).toPrecision(6);
        if (tick >= low && tick <= high) list.push(tick);
      }
    }
    if (list.length > 1 && (list.length <= most || steps.length === 1)) return list;
  }
  return ticks(low, high, 3).filter((tick) => tick > 0);
}

function scale(low, high, from, to, log) {
  const f = log ? Math.log : (v) => v;
  const room = f(high) - f(low) || 1;
  return (value) => from + ((f(value) - f(low)) / room) * (to - from);
}

function extent(values, share) {
  const low = Math.min(...values);
  const high = Math.max(...values);
  const pad = share * (high - low || Math.abs(high) || 1);
  return [low - pad, high + pad];
}

const ruler = document.createElement("canvas").getContext("2d");
function textWidth(text, size = 12) {
  ruler.font = `${size}px system-ui, sans-serif`;
  return ruler.measureText(text).width;
}

// ---- arms: marks, colours, lines ----

const ARMS = Object.keys(DATA.arms || {});
const hues = {};
ARMS.filter((arm) => ["native", "alone"].includes(DATA.arms[arm])).forEach((arm, i) => {
  hues[arm] = i % 14;
});
const hidden = new Set();
const visible = (arm) => !hidden.has(arm);

function hue(arm) {
  return arm in hues ? `hue${hues[arm]}` : DATA.arms[arm];
}

function marker(group, x, y, filled, className) {
  const place = { class: `${className} ${filled ? "filled" : "open"}` };
  if (group === "native") return shape("circle", { ...place, cx: x, cy: y, r: 5 });
  const paths = {
    alone: "M0-6.5 6.5 0 0 6.5-6.5 0Z",
    baseline: "M-5-5H5V5H-5Z",
    bound: "M0 5.5-6-5H6Z",
  };
  return shape("path", { ...place, d: paths[group], transform: `translate(${x} ${y})` });
}

function legend(arms) {
  const list = element("ul", { class: "key" });
  for (const arm of arms) {
    const line = shape("line", { x1: 0, x2: 26, y1: 6, y2: 6, class: `line ${hue(arm)} ${DATA.arms[arm]}` });
    const swatch = shape("svg", { width: 26, height: 12, "aria-hidden": "true" }, line);
    const item = element("li", { "data-arm": arm }, swatch, ` ${arm}`);
    item.addEventListener("pointerenter", () => highlight(arm));
    item.addEventListener("pointerleave", () => highlight(null));
    list.append(item);
  }
  return list;
}

// ---- axes ----

function axes(plot, box, x, y) {
  for (const tick of y.ticks) {
    const at = y.scale(tick);
    plot.parts.push(shape("line", { class: "grid", x1: box.left, x2: box.right, y1: at, y2: at }));
    if (y.label !== false) plot.parts.push(text(box.left - 6, at + 4, y.format(tick), "end"));
  }
  for (const tick of x.ticks) {
    const at = x.scale(tick);
    plot.parts.push(
      shape("line", { class: "axis", x1: at, x2: at, y1: box.bottom, y2: box.bottom + 4 }),
      text(at, box.bottom + 17, x.format(tick), "middle"),
    );
  }
  plot.parts.push(
    shape("line", { class: "axis", x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom }),
  );
  if (x.title) plot.parts.push(text(box.right, box.bottom + 36, x.title, "end", "title"));
  if (y.title) plot.parts.push(text(0, 12, y.title, "start", "title"));
}

function text(x, y, content, anchor = "start", className = "") {
  return shape("text", { x, y, "text-anchor": anchor, class: className }, content);
}

// Names at the right of a chart, each near its point, `gap` pixels apart.
function spread(places, low, high, gap = 14) {
  const sorted = [...places].sort((a, b) => a.y - b.y);
  let last = low - gap;
  for (const place of sorted) last = place.at = Math.max(place.y, last + gap);
  let next = high + gap;
  for (const place of sorted.reverse()) next = place.at = Math.min(place.at, next - gap);
  return places;
}

// ---- a chart on the page ----

// `draw(width)` returns {height, parts, items, near}; an item is {arm, x, y, lines}.
function addChart(host, draw) {
  const chart = { host, draw, width: 0, chosen: null };
  charts.push(chart);
  new ResizeObserver(() => {
    if (Math.floor(host.clientWidth) !== chart.width) show(chart);
  }).observe(host);
  return chart;
}

function show(chart) {
  const width = (chart.width = Math.floor(chart.host.clientWidth));
  if (!width) return;
  const plot = chart.draw(width);
  chart.plot = plot;
  chart.chosen = null;
  const label = `${chart.host.dataset.label}. Arrow keys read the values.`;
  const box = { width, height: plot.height, viewBox: `0 0 ${width} ${plot.height}` };
  const role = { role: "application", "aria-roledescription": "chart", "aria-label": label };
  const svg = shape("svg", { ...box, ...role, tabindex: 0 }, ...plot.parts);
  svg.addEventListener("pointermove", (event) => point(chart, event));
  svg.addEventListener("pointerdown", (event) => point(chart, event));
  svg.addEventListener("pointerleave", () => choose(chart, null));
  svg.addEventListener("blur", () => choose(chart, null));
  svg.addEventListener("keydown", (event) => step(chart, event));
  const focused = chart.host.contains(document.activeElement);
  chart.host.replaceChildren(svg, ...(plot.below || []));
  if (focused) svg.focus();
}

function redraw() {
  charts.forEach(show);
}

function point(chart, event) {
  const frame = chart.host.firstChild.getBoundingClientRect();
  const [x, y] = [event.clientX - frame.left, event.clientY - frame.top];
  let best = null;
  let least = chart.plot.near === "row" ? 22 : 40;
  for (const item of chart.plot.items) {
    const far = chart.plot.near === "row" ? Math.abs(item.y - y) : Math.hypot(item.x - x, item.y - y);
    if (far < least) [best, least] = [item, far];
  }
  choose(chart, best);
}

function step(chart, event) {
  const moves = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] };
  if (event.key === "Escape") return choose(chart, null);
  if (!(event.key in moves) || !chart.plot.items.length) return;
  event.preventDefault();
  const items = chart.plot.items;
  if (!chart.chosen) return choose(chart, items[0]);
  const arms = [...new Set(items.map((item) => item.arm))];
  const own = items.filter((item) => item.arm === chart.chosen.arm);
  let [down, along] = moves[event.key];
  if (arms.length === items.length) [down, along] = [down || along, 0];
  const arm = arms[(arms.indexOf(chart.chosen.arm) + down + arms.length) % arms.length];
  const place = own.indexOf(chart.chosen) + along;
  const next = items.filter((item) => item.arm === arm);
  choose(chart, next[Math.min(Math.max(place, 0), next.length - 1)]);
}

function choose(chart, item) {
  const tip = document.getElementById("tip");
  if (chart.chosen === item && !tip.hidden === Boolean(item)) return;
  chart.chosen = item;
  chart.host.querySelector(".cursor")?.remove();
  highlight(item ? item.arm : null);
  tip.hidden = !item;
  if (!item) return;
  const svg = chart.host.firstChild;
  svg.append(shape("circle", { class: "cursor", cx: item.x, cy: item.y, r: 9 }));
  tip.replaceChildren(
    element("strong", {}, item.arm),
    ...item.lines.map((line) => element("span", {}, line)),
  );
  const frame = svg.getBoundingClientRect();
  const size = tip.getBoundingClientRect();
  const right = frame.left + item.x + 14;
  const fits = right + size.width < document.documentElement.clientWidth - 8;
  const left = fits ? right : frame.left + item.x - size.width - 14;
  const top = frame.top + item.y - size.height - 12;
  tip.style.left = `${Math.max(8, left)}px`;
  tip.style.top = `${top > 8 ? top : frame.top + item.y + 14}px`;
}

let highlighted = null;
function highlight(arm) {
  if (arm === highlighted) return;
  highlighted = arm;
  document.body.classList.toggle("pointing", arm !== null);
  for (const part of document.querySelectorAll("[data-arm]")) {
    part.classList.toggle("active", part.dataset.arm === arm);
  }
}
