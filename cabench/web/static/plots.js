// The charts of a study: forest plot, quality against cost, curves.

function metricOf(id) {
  const name = document.getElementById(id).value;
  return DATA.metrics.find((metric) => metric.name === name) || DATA.metrics[0];
}

function estimateLines(title, estimate, p) {
  const seeds = estimate.n === 1 ? "1 seed" : `${estimate.n} seeds`;
  return [`${title}: ${estimate.text}`, [p, seeds].filter(Boolean).join(", ")];
}

// ---- forest plot ----

function forest(width) {
  const metric = metricOf("effect-metric");
  const arms = ARMS.filter((arm) => DATA.arms[arm] !== "baseline" && visible(arm));
  const stacked = width < 620;
  const numbers = width >= 860;
  const row = stacked ? 42 : 25;
  const names = Math.max(40, ...arms.map((arm) => textWidth(arm, 13)));
  const box = {
    left: stacked ? 8 : names + 16,
    right: width - (numbers ? 210 : 10),
    top: 8,
    bottom: 12 + row * arms.length,
  };
  const plot = { height: box.bottom + 44, parts: [], items: [], near: "row" };
  const [low, high] = metric.limits;
  const x = scale(low, high, box.left, box.right);
  const better = metric.higher ? "better →" : "← better";
  axes(plot, box, {
    ticks: ticks(low, high, (box.right - box.left) / 90),
    scale: x,
    format: trimmed,
    title: `difference in ${metric.title.replace(/\s[↓↑]$/, "")}  (${better})`,
  }, { ticks: [] });
  plot.parts.push(shape("line", { class: "zero", x1: x(0), x2: x(0), y1: box.top, y2: box.bottom }));
  arms.forEach((arm, i) => {
    const y = box.top + row * i + (stacked ? 28 : 13);
    plot.parts.push(forestRow(plot, metric, arm, x, y, box, stacked, numbers));
  });
  return plot;
}

function forestRow(plot, metric, arm, x, y, box, stacked, numbers) {
  const group = DATA.arms[arm];
  const { effect, p, decided } = metric.rows[arm];
  const part = shape("g", { "data-arm": arm, class: `row ${group}` });
  part.append(
    shape("line", { class: "grid", x1: box.left, x2: box.right, y1: y, y2: y }),
    stacked ? text(box.left, y - 13, arm, "start", "name") : text(box.left - 12, y + 4, arm, "end", "name"),
  );
  if (!effect) {
    part.append(text(box.left + 6, y + 4, "no result", "start", "faint"));
    return part;
  }
  const clip = (value) => Math.min(Math.max(x(value), box.left), box.right);
  for (const [[low, high], bar] of [[effect.joint, "bar thin"], [[effect.low, effect.high], "bar"]]) {
    if (low === null) continue;
    part.append(shape("line", { class: bar, x1: clip(low), x2: clip(high), y1: y, y2: y }));
    if (x(low) < box.left) part.append(tip(box.left, y, -1));
    if (x(high) > box.right) part.append(tip(box.right, y, 1));
  }
  for (const value of Object.values(effect.seeds)) {
    if (x(value) >= box.left && x(value) <= box.right) {
      part.append(shape("circle", { class: "seed-dot", cx: x(value), cy: y - 7, r: 1.8 }));
    }
  }
  const outside = x(effect.mean) < box.left ? -1 : x(effect.mean) > box.right ? 1 : 0;
  if (outside) {
    const at = outside < 0 ? box.left + 10 : box.right - 10;
    part.append(tip(outside < 0 ? box.left : box.right, y, outside));
    if (!numbers) part.append(text(at, y - 7, effect.text, outside < 0 ? "start" : "end", "outside"));
  } else {
    part.append(marker(group, x(effect.mean), y, decided, "point"));
  }
  if (numbers) part.append(text(box.right + 14, y + 4, effect.text, "start", "value"));
  const lines = estimateLines(metric.title, effect, p);
  if (effect.text.includes("[")) lines.push(metric.brackets);
  plot.items.push({ arm, x: clip(effect.mean), y, lines });
  return part;
}

function tip(x, y, side) {
  return shape("path", { class: "tip", d: `M${x} ${y}l${-7 * side}-4v8Z` });
}

// ---- quality against cost ----

const UNITS = { macs: "MACs", params: "parameters", time: "s per 1,000 images" };

function costChart(width) {
  const metric = metricOf("cost-metric");
  const kind = document.getElementById("cost-kind").value;
  const points = ARMS.filter((arm) => visible(arm) && DATA.costs[arm][kind] && metric.rows[arm].level)
    .map((arm) => ({ arm, cost: DATA.costs[arm][kind], ...metric.rows[arm].level }));
  const plot = { height: Math.min(460, Math.max(320, width * 0.55)), parts: [], items: [], near: "point" };
  if (!points.length) return none(plot, "No arm has both a score and this cost.");
  const judged = points.filter((point) => DATA.arms[point.arm] !== "bound");
  const values = (judged.length ? judged : points).flatMap((p) => [p.mean, p.low ?? p.mean, p.high ?? p.mean]);
  const [low, high] = extent(values, 0.07);
  const costs = points.map((point) => point.cost);
  const log = Math.max(...costs) > 4 * Math.min(...costs);
  const [least, most] = log
    ? [Math.min(...costs) * 0.85, Math.max(...costs) * 1.2]
    : extent(costs, 0.08);
  const marks = ticks(low, high, 6);
  const room = Math.max(...marks.map((tick) => textWidth(trimmed(tick))));
  const box = { left: room + 10, right: width - 12, top: 28, bottom: plot.height - 44 };
  const x = scale(least, most, box.left, box.right, log);
  const y = scale(low, high, box.bottom, box.top);
  axes(plot, box, {
    ticks: log ? logTicks(least, most, width / 70) : ticks(least, most, width / 110),
    scale: x,
    format: short,
    title: document.querySelector(`#cost-kind option[value=${kind}]`).textContent,
  }, { ticks: marks, scale: y, format: trimmed, title: `${metric.title}  (${metric.higher ? "up" : "down"} is better)` });
  const front = metric.fronts[kind].filter(visible);
  const corners = front.map((arm) => points.find((point) => point.arm === arm)).filter(Boolean);
  plot.parts.push(shape("path", { class: "front", d: stairs(corners, x, y, box, metric.higher) }));
  const taken = [];
  for (const point of points) {
    const at = { x: x(point.cost), y: y(point.mean) };
    const inside = point.mean >= low && point.mean <= high;
    if (!inside) at.y = point.mean > high ? box.top : box.bottom;
    const group = DATA.arms[point.arm];
    const part = shape("g", { "data-arm": point.arm, class: `row ${group}` });
    if (!inside) {
      part.append(shape("path", { class: "tip", d: `M${at.x} ${at.y}l-4 ${point.mean > high ? 7 : -7}h8Z` }));
    } else {
      const span = { y1: y(Math.max(point.low ?? point.mean, low)), y2: y(Math.min(point.high ?? point.mean, high)) };
      part.append(shape("line", { class: "bar thin", x1: at.x, x2: at.x, ...span }));
      part.append(marker(group, at.x, at.y, true, "point"));
    }
    plot.parts.push(part);
    taken.push({ left: at.x - 6, right: at.x + 6, top: at.y - 6, bottom: at.y + 6 });
    const cost = `${short(point.cost)} ${UNITS[kind]}`;
    plot.items.push({
      arm: point.arm, ...at,
      lines: [...estimateLines(metric.title, point), front.includes(point.arm) ? `${cost}; on the front` : cost],
    });
  }
  nameThem(plot, box, taken, front, width);
  return plot;
}

function none(plot, message) {
  plot.height = 60;
  plot.parts.push(text(8, 30, message, "start", "faint"));
  return plot;
}

// From the cheapest arm to the best: level until the next arm is better.
function stairs(corners, x, y, box) {
  if (!corners.length) return "";
  let path = "";
  corners.forEach((point, i) => {
    path += i ? `H${x(point.cost)}V${y(point.mean)}` : `M${x(point.cost)} ${y(point.mean)}`;
  });
  return `${path}H${box.right}`;
}

// Names beside their points where they overlap nothing; those of the front first.
function nameThem(plot, box, taken, front, width) {
  const order = [...plot.items].sort((a, b) => front.includes(b.arm) - front.includes(a.arm));
  for (const item of order) {
    const bold = front.includes(item.arm);
    if (!bold && width < 560) continue;
    const size = textWidth(item.arm, bold ? 12.5 : 12) + 2;
    const spots = [[10, 4], [-10 - size, 4], [-size / 2, -11], [-size / 2, 20], [8, -9], [8, 17], [-8 - size, -9], [-8 - size, 17]];
    for (const [dx, dy] of spots) {
      const area = { left: item.x + dx, right: item.x + dx + size, top: item.y + dy - 10, bottom: item.y + dy + 3 };
      const free = taken.every((t) => area.right < t.left || area.left > t.right || area.bottom < t.top || area.top > t.bottom);
      if (free && area.left >= box.left && area.right <= box.right + 10 && area.top > 14 && area.bottom < box.bottom) {
        const name = text(area.left, item.y + dy, item.arm, "start", bold ? "name bold" : "name");
        name.dataset.arm = item.arm;
        plot.parts.push(name);
        taken.push(area);
        break;
      }
    }
  }
}

// ---- lines over images seen, length or MACs ----

// lines: by arm {x, y, seeds?} or points {x, mean, low, high, text}
function lineChart(width, options) {
  const arms = ARMS.filter((arm) => visible(arm) && options.lines[arm]);
  const height = options.height || Math.min(460, Math.max(300, width * 0.5));
  const plot = { height, parts: [], items: [], near: "point" };
  const all = ARMS.filter((arm) => options.lines[arm]).map((arm) => options.lines[arm]);
  const xs = all.flatMap((line) => line.x);
  const [least, most] = [options.logX ? Math.min(...xs) : 0, Math.max(...xs)];
  const ranged = ARMS.filter((arm) => options.lines[arm] && DATA.arms[arm] !== "bound").map((arm) => options.lines[arm]);
  const late = (ranged.length ? ranged : all).flatMap((line) =>
    [...line.y, ...(line.ends || [])].filter((_, i) => options.all || line.x[i % line.x.length] >= most / 3));
  const logY = options.logY && late.some((v) => v > 0);
  const positive = late.filter((v) => v > Math.max(...late) / 1e4);
  let [low, high] = logY ? [Math.min(...positive) / 1.3, Math.max(...positive) * 1.3] : extent(late, 0.05);
  const marks = logY ? logTicks(low, high, 5) : ticks(low, high, height / 60);
  const named = options.names && width >= 640;
  const right = named ? Math.max(...arms.map((arm) => textWidth(arm)), 0) + 26 : 14;
  const room = Math.max(...marks.map((tick) => textWidth(trimmed(tick))), 20);
  const box = { left: room + 10, right: width - right, top: options.title ? 28 : 12, bottom: height - (options.x ? 44 : 24) };
  const pad = options.logX ? 1.04 : 1;
  const x = scale(least / pad, most * pad, box.left, box.right, options.logX);
  const y = scale(low, high, box.bottom, box.top, logY);
  axes(plot, box, {
    ticks: options.xTicks || ticks(least, most, width / 110), scale: x, format: short, title: options.x,
  }, { ticks: marks, scale: y, format: trimmed, title: options.title });
  const id = `clip${charts.length}-${Math.random().toString(36).slice(2)}`;
  const frame = { x: box.left, y: box.top - 6, width: box.right - box.left + 6, height: box.bottom - box.top + 7 };
  plot.parts.push(shape("clipPath", { id }, shape("rect", frame)));
  const inner = shape("g", { "clip-path": `url(#${id})` });
  if (low < 0 && high > 0 && !logY) {
    inner.append(shape("line", { class: "zero", x1: box.left, x2: box.right, y1: y(0), y2: y(0) }));
  }
  const ends = [];
  for (const arm of arms) inner.append(oneLine(plot, arm, options, x, y, box, ends));
  plot.parts.push(inner);
  if (named) {
    for (const end of spread(ends, box.top, box.bottom)) {
      const name = text(box.right + 20, end.at + 4, end.arm, "start", `name ${hue(end.arm)}`);
      const lead = shape("line", { class: `lead ${hue(end.arm)}`, x1: end.x + 2, y1: end.y, x2: box.right + 17, y2: end.at });
      plot.parts.push(shape("g", { "data-arm": end.arm }, lead, name));
    }
  } else if (options.names) {
    plot.below = [legend(arms)];
  }
  return plot;
}

function oneLine(plot, arm, options, x, y, box, ends) {
  const line = options.lines[arm];
  const part = shape("g", { "data-arm": arm });
  const path = (points) => points.map(([a, b], i) => `${i ? "L" : "M"}${x(a).toFixed(1)} ${y(b).toFixed(1)}`).join("");
  const style = `${hue(arm)} ${DATA.arms[arm]}`;
  for (const seed of line.seeds || []) part.append(shape("path", { class: `line thin ${style}`, d: path(seed) }));
  const points = line.x.map((a, i) => [a, line.y[i]]).filter(([, b]) => b !== null && !(options.logY && b <= 0));
  part.append(shape("path", { class: `line ${style}`, d: path(points) }));
  for (const point of line.bars || []) {
    part.append(shape("line", { class: `line bars ${style}`, x1: x(point.x), x2: x(point.x), y1: y(point.low), y2: y(point.high) }));
  }
  points.forEach(([a, b], i) => {
    const at = { x: x(a), y: y(b) };
    if (line.dots) part.append(shape("circle", { class: `dot ${hue(arm)}`, cx: at.x, cy: at.y, r: 3 }));
    if (at.y < box.top - 6 || at.y > box.bottom + 1) return;
    const said = line.texts ? line.texts[i] : trimmed(b);
    plot.items.push({ arm, ...at, lines: [`${options.says || options.title}: ${said}`, `${short(a)} ${options.unit || "images seen"}`] });
  });
  const last = points[points.length - 1];
  if (last) ends.push({ arm, x: x(last[0]), y: Math.min(Math.max(y(last[1]), box.top), box.bottom) });
  return part;
}

function measured(points) {
  return Object.fromEntries(Object.entries(points).map(([arm, list]) => [arm, {
    x: list.map((p) => p.x),
    y: list.map((p) => p.mean),
    ends: list.flatMap((p) => (p.low === null || p.high === null ? [p.mean, p.mean] : [p.low, p.high])),
    bars: list.filter((p) => p.low !== null && p.high !== null),
    texts: list.map((p) => p.text),
    dots: true,
  }]));
}

// ---- on the page ----

function options(select, titles) {
  titles.forEach((title, i) => select.append(element("option", { value: i }, title)));
}

function addCharts() {
  for (const select of document.querySelectorAll("[data-metrics]")) {
    for (const metric of DATA.metrics) select.append(element("option", { value: metric.name }, metric.title));
  }
  addChart(document.getElementById("forest"), forest);
  addChart(document.getElementById("cost-chart"), costChart);
  const kind = document.getElementById("curve-kind");
  if (kind) {
    options(kind, DATA.curves.map((curve) => curve.title));
    addChart(document.getElementById("curves"), (width) => {
      const { title, lines } = DATA.curves[kind.value || 0];
      return lineChart(width, { lines, title, x: "images seen", names: true });
    });
  }
  for (const part of DATA.over || []) addOver(part);
  if (DATA.weights.length) addWeights();
}

function addOver(part) {
  const host = document.getElementById("over");
  const parts = [["effect", `${part.title}: ${part.difference}`], ["level", part.title]];
  for (const [name, title] of parts.filter(([name]) => part[name])) {
    const chart = element("div", { class: "chart", "data-label": `${title} over ${part.x}` });
    const lines = measured(part[name]);
    const unit = part.x;
    const xs = [...new Set(Object.values(lines).flatMap((line) => line.x))];
    const xTicks = xs.length < 8 && unit === "training images" ? xs : logTicks(Math.min(...xs), Math.max(...xs), 6);
    host.append(element("figure", {}, chart, element("figcaption", {}, `${title}, over ${unit}; bars: ${part.bars[name]}.`)));
    const short = name === "effect" ? part.difference : part.title; // fits a narrow screen
    addChart(chart, (width) => lineChart(width, { lines, title: short, says: part.title, x: unit, unit, logX: true, xTicks, all: true, names: true }));
  }
}

function addWeights() {
  const select = document.getElementById("weight-measure");
  options(select, DATA.weights.map((measure) => measure.title));
  const host = document.getElementById("weight-panels");
  const fillPanels = () => {
    for (let i = charts.length - 1; i >= 0; i--) if (charts[i].ofWeights) charts.splice(i, 1);
    const measure = DATA.weights[select.value || 0];
    host.replaceChildren();
    for (const panel of measure.panels) {
      const chart = element("div", { class: "chart", "data-label": `${measure.title} of ${panel.site}` });
      host.append(element("figure", {}, element("figcaption", { class: "above" }, panel.site), chart));
      addChart(chart, (width) => lineChart(width, {
        lines: panel.lines, says: measure.title, height: 210, logY: measure.log, all: true, x: "images seen",
      })).ofWeights = true;
    }
    const arms = ARMS.filter((arm) => measure.panels.some((panel) => panel.lines[arm]));
    host.append(legend(arms));
  };
  select.addEventListener("change", fillPanels);
  fillPanels();
}
