// A plot as SVG: for charts that uPlot cannot draw, and for every chart that is saved.

/** At most about `count` round values within [low, high]; powers of ten on a log scale. */
function roundValues(low, high, count, { whole, log } = {}) {
  if (log) {
    const first = Math.ceil(Math.log10(low) - 1e-9);
    const powers = Array.from({ length: Math.max(0, Math.floor(Math.log10(high) + 1e-9) - first + 1) }, (_, i) => 10 ** (first + i));
    return powers.length > 1 ? powers : roundValues(low, high, count);
  }
  const rough = (high - low) / count || 1;
  const size = 10 ** Math.floor(Math.log10(rough));
  let step = [1, 2, 5, 10].find((factor) => factor * size >= rough) * size;
  if (whole) step = Math.max(1, step);
  const from = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.floor(high / step + 1e-9) - from + 1 }, (_, i) => Number(((from + i) * step).toPrecision(12)));
}

/** [low, high] of values with a margin, as the scale's switch says. */
function extent(values, { percent, from0, log } = {}) {
  let low = Math.min(...values);
  let high = Math.max(...values);
  if (log && low > 0) return [low / 1.1, high * 1.1];
  const pad = (high - low || Math.abs(high) || 1) * 0.08;
  low = from0 ? Math.min(0, low) : low - pad;
  high += pad;
  return percent ? [Math.max(0, low), Math.min(1, high)] : [low, high];
}

const PLOT_FONT = "system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif";

/** Width of a text in the plot's type, in pixels. */
function textWidth(words, size = 11) {
  textWidth.canvas ||= document.createElement("canvas").getContext("2d");
  textWidth.canvas.font = `${size}px ${PLOT_FONT}`;
  return textWidth.canvas.measureText(words).width;
}

/**
 * spec: {width, height, title, x, y: {label, range, format, ticks, log, whole}, legend,
 * series: [{label, colour, dash, width, x, y, marks: [{x, y, r, hollow, words}], fill}],
 * bands: [{colour, x, low, high}], words: [{x, y, text, colour}]}
 */
function plot(spec) {
  const { width, height } = spec;
  const ticks = (axis, count) => axis.ticks || roundValues(...axis.range, count, axis);
  const [xTicks, yTicks] = [ticks(spec.x, Math.max(2, width / 90)), ticks(spec.y, Math.max(2, height / 55))];
  const yWidth = Math.max(...yTicks.map((v) => textWidth(spec.y.format(v))), 10);
  const shown = spec.legend ? spec.series.filter((series) => series.label) : [];
  const inner = {
    left: yWidth + 34,
    right: width - 18,
    top: spec.title ? 30 : 12,
    bottom: height - 40 - 16 * shown.length,
  };
  const place = (axis, from, to) => {
    const on = axis.log ? Math.log : Number;
    const [low, high] = axis.range.map((v) => on(v));
    return (v) => Number((from + ((on(v) - low) / (high - low || 1)) * (to - from)).toFixed(2));
  };
  const [px, py] = [place(spec.x, inner.left, inner.right), place(spec.y, inner.bottom, inner.top)];
  const ink = colour("--ink");
  const muted = colour("--muted");
  const label = (words, attributes) => {
    const element = svg("text", { fill: muted, "font-size": 11, "font-family": PLOT_FONT, ...attributes });
    element.textContent = words;
    return element;
  };
  const root = svg("svg", { xmlns: "http://www.w3.org/2000/svg", viewBox: `0 0 ${width} ${height}`, width, height, role: "img" });
  root.setAttribute("aria-label", spec.title || spec.label || "");
  root.append(svg("rect", { width, height, fill: colour("--card") }));
  if (spec.title) root.append(label(spec.title, { x: inner.left, y: 18, fill: ink, "font-size": 13, "font-weight": 600 }));
  const line = (x1, y1, x2, y2) => svg("line", { x1, y1, x2, y2, stroke: colour("--line") });
  for (const v of xTicks) {
    root.append(line(px(v), inner.top, px(v), inner.bottom));
    root.append(label(spec.x.format(v), { x: px(v), y: inner.bottom + 15, "text-anchor": "middle" }));
  }
  for (const v of yTicks) {
    root.append(line(inner.left, py(v), inner.right, py(v)));
    root.append(label(spec.y.format(v), { x: inner.left - 6, y: py(v) + 4, "text-anchor": "end" }));
  }
  const [middle, centre] = [(inner.left + inner.right) / 2, (inner.top + inner.bottom) / 2];
  root.append(label(spec.x.label, { x: middle, y: inner.bottom + 32, "text-anchor": "middle", class: "title" }));
  root.append(label(spec.y.label, { x: 12, y: centre, "text-anchor": "middle", transform: `rotate(-90 12 ${centre})`, class: "title" }));
  const clip = `clip-${(plot.count = (plot.count || 0) + 1)}`;
  const size = { width: Math.max(0, inner.right - inner.left), height: Math.max(0, inner.bottom - inner.top) };
  root.append(svg("clipPath", { id: clip }, svg("rect", { x: inner.left, y: inner.top, ...size })));
  const inside = svg("g", { "clip-path": `url(#${clip})` });
  const path = (xs, ys) => xs.map((v, i) => (ys[i] == null ? "" : `${i && ys[i - 1] != null ? "L" : "M"}${px(v)} ${py(ys[i])}`)).join("");
  for (const band of spec.bands || []) {
    const back = path([...band.x].reverse(), [...band.low].reverse()).replace("M", "L");
    inside.append(svg("path", { d: `${path(band.x, band.high)}${back}Z`, fill: band.colour, "fill-opacity": 0.14 }));
  }
  for (const series of spec.series) {
    const stroke = { stroke: series.colour, "stroke-width": series.width, "stroke-dasharray": (series.dash || []).join(" ") };
    inside.append(svg("path", { d: path(series.x, series.y), fill: "none", "stroke-opacity": series.faint ? 0.35 : 1, ...stroke }));
  }
  root.append(inside);
  for (const series of spec.series) {
    for (const mark of series.marks || []) {
      const fill = mark.hollow ? colour("--card") : series.colour;
      const dot = svg("circle", { cx: px(mark.x), cy: py(mark.y), r: mark.r, fill, stroke: series.colour, "stroke-width": 1.5 });
      if (mark.words) {
        const told = svg("title", {});
        told.textContent = mark.words;
        dot.append(told);
      }
      root.append(dot);
    }
  }
  let above = Infinity; // names lie apart, from the lowest up
  for (const word of [...(spec.words || [])].sort((a, b) => py(b.y) - py(a.y))) {
    const y = Math.min(py(word.y) - 8, above - 13);
    above = y;
    const half = textWidth(word.text) / 2;
    const x = Math.min(Math.max(px(word.x), inner.left + half), inner.right - half);
    root.append(label(word.text, { x, y: Math.max(y, 10), fill: word.colour, "text-anchor": "middle", class: "name" }));
  }
  shown.forEach((series, i) => {
    const y = inner.bottom + 46 + 16 * i;
    root.append(svg("line", { x1: inner.left, y1: y, x2: inner.left + 22, y2: y, stroke: series.colour, "stroke-width": 2, "stroke-dasharray": (series.dash || []).join(" ") }));
    root.append(label(series.label, { x: inner.left + 28, y: y + 4, fill: ink }));
  });
  return root;
}
