// One chart: uPlot with a tooltip, our colours, and series that follow the shared legend.
const drawn = new Set();

/** The nearest place at or around `at` where the values are numbers. */
function nearest(values, at) {
  for (let off = 0; off < values.length; off++) {
    if (values[at - off] != null) return at - off;
    if (values[at + off] != null) return at + off;
  }
  return null;
}

function tooltip(spec) {
  const box = make("div", { class: "tooltip", hidden: true });
  function show(u) {
    const { left, idx } = u.cursor;
    if (left < 0 || idx == null) {
      box.hidden = true;
      return;
    }
    const rows = u.series.slice(1).flatMap((series, i) => {
      const of = spec.series[i];
      const at = u.cursor.idxs[i + 1];
      if (!series.show || of.faint || of.edge || at == null) return [];
      const value = text(u.data[i + 1][at], spec.percent) + (of.more ? of.more(u.data[0][at]) : "");
      const place = make("span", { class: "at" }, spec.place(u.data[0][at]));
      return [make("li", {}, swatch(of.run), make("span", {}, of.label), make("b", {}, value), place)];
    });
    box.replaceChildren(make("ul", {}, ...rows));
    box.hidden = !rows.length;
    // It lies above everything, and within the window rather than within the card.
    const { left: x, top: y } = u.over.getBoundingClientRect();
    const { offsetWidth: wide, offsetHeight: high } = box;
    const [across, down] = [document.documentElement.clientWidth, document.documentElement.clientHeight];
    const beside = x + left + 12 + wide > across ? x + left - 12 - wide : x + left + 12;
    box.style.left = `${Math.max(4, Math.min(beside, across - wide - 4))}px`;
    box.style.top = `${Math.max(4, Math.min(y + 4, down - high - 4))}px`;
  }
  return { hooks: { init: () => document.body.append(box), setCursor: show, destroy: () => box.remove() } };
}

/** How the y axis of a chart runs: as the switch says, where the values allow it. */
function scaleOf(spec) {
  const values = spec.series.flatMap((series) => series.y).filter((value) => value != null);
  if (state.scale === "log" && values.every((value) => value > 0)) return { distr: 3, log: 10 };
  if (state.scale === "zero") return { range: (u, low, high) => (low == null ? [0, 1] : fromZero(low, high, spec.percent)) };
  return spec.percent ? { range: shareRange } : {};
}

function fromZero(low, high, percent) {
  const pad = 0.05 * (Math.max(0, high) - Math.min(0, low) || 1);
  return [low < 0 ? low - pad : 0, high <= 0 ? 0 : percent ? Math.min(1, high + pad) : high + pad];
}

const WHOLE = Array.from({ length: 16 }, (_, i) => [1, 2, 5].map((v) => v * 10 ** i)).flat();

/** Room for the widest of an axis' labels, so that none is cut. */
function roomFor(u, labels) {
  return labels ? Math.ceil(Math.max(...labels.map((label) => textWidth(label ?? "")), 8)) + 14 : 40;
}

/**
 * Draw a chart into `holder`, anew at every call.
 * spec: {series: [{run, label, dash, x, y, faint, fill, steps, level, more}], percent, place(x),
 * across(x): what x stands for, if not itself, x: axis options, label, empty: what to say where there
 * is no series}
 */
function draw(holder, spec) {
  clear(holder);
  if (!spec.series.length) return say(holder, spec.empty);
  const ink = colour("--muted");
  const ground = colour("--card");
  const grid = { stroke: colour("--line"), width: 1 };
  const font = `11px ${getComputedStyle(document.body).fontFamily}`;
  const axis = { stroke: ink, grid, ticks: { show: false }, font };
  const single = spec.series.length === 1;
  const whole = spec.series.every((series) => series.y.every((value) => value == null || Number.isInteger(value)));
  const height = spec.height || 224;
  const title = (label) => ({ label, labelSize: 18, labelFont: font, labelGap: 0 });
  const yTitle = [spec.unit, spec.label].find((words) => words && textWidth(words) < height - 70) || "value";
  const options = {
    width: holder.clientWidth || 300,
    height,
    padding: [10, 18, 0, 0],
    legend: { show: false },
    plugins: [tooltip(spec)],
    scales: { x: { time: false, ...spec.scale }, y: scaleOf(spec) },
    cursor: {
      dataIdx: (u, series, at) => (series ? nearest(u.data[series], at) : at),
      points: { size: 7 },
      drag: { x: true, y: false },
    },
    axes: [
      { ...axis, size: 26, ...title(spec.xTitle), ...spec.x },
      {
        ...axis,
        ...title(yTitle),
        size: roomFor,
        ...(whole && !spec.percent && state.scale !== "log" ? { incrs: WHOLE } : {}),
        values: (u, ticks) => ticks.map((v) => (v == null ? null : tick(v, spec.percent))),
      },
    ],
    bands: spec.series.flatMap((series, i) => (series.band ? [{ series: [i + 1, i], fill: withAlpha(runColour(series.run), 0.14) }] : [])),
    series: [
      {},
      ...spec.series.map((series) => {
        const stroke = runColour(series.run);
        return {
          label: series.label,
          stroke: series.edge ? "transparent" : series.faint ? withAlpha(stroke, series.key ? 0.35 : 0.22) : stroke,
          fill: series.fill ? withAlpha(stroke, 0.12) : undefined,
          width: series.faint ? 1 : series.mean ? 2.25 : 1.75,
          dash: series.dash?.length ? series.dash : runDash(series.run),
          show: !state.hidden.has(series.run),
          paths: series.steps ? uPlot.paths.stepped({ align: 1 }) : undefined,
          points: { show: marked(series), size: 5, stroke, fill: ground },
        };
      }),
    ],
  };
  const tables = spec.series.map((series) => [series.x, series.y]);
  const values = single ? tables[0] : uPlot.join(tables);
  holder.chart = new uPlot(options, values, holder);
  holder.runs = spec.series.map((series) => series.run);
  holder.series = spec.series;
  holder.picture = () => pictureOf(holder.chart, spec, yTitle);
  holder.rows = () => [
    ["series", spec.xTitle, spec.unit || spec.label],
    ...spec.series
      .filter((series) => !series.edge && !state.hidden.has(series.run))
      .flatMap((series) => (series.steps ? series.x.slice(0, -1) : series.x) // a last step is an edge alone
        .map((x, i) => [series.label, spec.across ? spec.across(x) : x, series.y[i] ?? ""])),
  ];
  holder.setAttribute("role", "img");
  holder.setAttribute("aria-label", described(spec));
  drawn.add(holder);
  if (!holder.watched) {
    holder.watched = new ResizeObserver(() => {
      const width = holder.clientWidth;
      if (holder.chart && width && width !== holder.chart.width) {
        holder.chart.setSize({ width, height: holder.chart.height });
      }
    });
    holder.watched.observe(holder);
  }
}

/** What a chart shows now, as SVG: as far as it is zoomed, without what is switched off. */
function pictureOf(chart, spec, yTitle) {
  const axis = (scale, label, format, ticks) => ({ range: [chart.scales[scale].min, chart.scales[scale].max], log: chart.scales[scale].distr === 3, label, format, ticks });
  const shown = spec.series.filter((series) => !state.hidden.has(series.run));
  const { min, max } = chart.scales.x;
  const xTicks = spec.x?.splits && spec.x.splits(chart, 0, min, max);
  const names = xTicks && spec.x.values(chart, xTicks);
  const bands = shown.flatMap((series, i) => (series.band ? [{ colour: runColour(series.run), x: series.x, low: shown[i - 1].y, high: series.y }] : []));
  const drawn = shown.filter((series) => !series.edge).map((series) => ({
    label: series.faint ? "" : series.label,
    colour: runColour(series.run),
    dash: series.dash?.length ? series.dash : runDash(series.run),
    width: series.faint ? 1 : 2,
    faint: series.faint,
    ...(series.steps ? stairs(series) : { x: series.x, y: series.y }),
    marks: marked(series) ? series.x.map((x, i) => ({ x, y: series.y[i], r: 2.5 })).filter(({ x }) => x >= min && x <= max) : [],
  }));
  return plot({
    width: 760,
    height: 420 + 16 * drawn.filter((series) => series.label).length,
    title: spec.label,
    legend: true,
    series: drawn,
    bands,
    x: axis("x", spec.xTitle, (v) => (names ? names[xTicks.indexOf(v)] : short(v)), xTicks),
    y: axis("y", yTitle, (v) => tick(v, spec.percent)),
  });
}

/** The corners of values each of which holds up to the next. */
function stairs({ x, y }) {
  return { x: x.flatMap((v, i) => (i ? [v, v] : v)), y: y.flatMap((v, i) => (i < y.length - 1 ? [v, v] : v)) };
}

/** Take the chart away, and whatever was said in its place. */
function clear(holder) {
  holder.chart?.destroy();
  holder.chart = null;
  holder.runs = [];
  holder.picture = holder.rows = null;
  drawn.delete(holder);
  for (const name of ["role", "aria-label"]) holder.removeAttribute(name);
  holder.replaceChildren();
}

/** Words instead of a chart. */
function say(holder, words) {
  clear(holder);
  holder.append(make("p", { class: "constant" }, words));
}

/** Draw; what fails costs its own chart alone. */
function attempt(holder, work) {
  try {
    work();
  } catch (error) {
    reportError(error);
    say(holder, "This chart could not be drawn.");
  }
}

/** Whether the points of a series are few enough to be marked: a lone one is all there is to see.
 *  The ends of a level line are no measurements. */
function marked(series) {
  if (series.faint || series.steps || series.edge) return false;
  return series.x.length === 1 || (!series.level && series.x.length < 40);
}

/** A scale of shares does not leave 0 … 1, and never shows less than a point. */
function shareRange(u, low, high) {
  if (low == null) return [0, 1];
  const pad = Math.max(0.005, 0.08 * (high - low));
  return [Math.max(0, low - pad), Math.min(1, high + pad)];
}

function tick(value, percent) {
  if (percent) return `${Number((100 * value).toPrecision(3))} %`;
  const size = Math.abs(value);
  const far = size >= 10000 || (size && size < 0.001);
  const digits = String(Number(value.toPrecision(4)));
  return (far ? Number(value.toPrecision(4)).toExponential() : digits).replaceAll("-", "−");
}

/** What the chart says to those who do not see it: the last value of each line. */
function described(spec) {
  const last = spec.series
    .filter((series) => !series.faint && !series.edge && series.y.length)
    .map((series) => `${series.label}: last ${text(series.y.at(-1), spec.percent)}`);
  return `${spec.label}. ${last.join("; ")}`;
}

/** Hide and show series as the legend says. */
function follow() {
  for (const holder of drawn) {
    holder.chart.batch(() => {
      holder.runs.forEach((run, i) => {
        const show = !state.hidden.has(run);
        if (holder.chart.series[i + 1].show !== show) holder.chart.setSeries(i + 1, { show });
      });
    });
  }
}

/** A figure with its title, one sentence, the keys of its lines, and the place of the chart. */
function figure(target, title, meaning, lines, kind = "chart") {
  const keys = (lines || []).filter((line) => line.label && line.used !== false);
  const holder = make("div", { class: kind });
  target.append(
    make(
      "figcaption",
      {},
      make("h3", {}, title),
      meaning && make("p", {}, meaning),
      keys.length > 0 &&
        make("ul", { class: "keys" }, ...keys.map((line) => make("li", {}, stroke(line), line.label))),
    ),
    holder,
    saveButtons(holder, title),
  );
  return holder;
}

function stroke(line) {
  const dash = line.dash.join(" ");
  const path = svg("line", { x1: 0, y1: 4, x2: 24, y2: 4, "stroke-dasharray": dash });
  return svg("svg", { width: 24, height: 8, "aria-hidden": "true" }, path);
}
