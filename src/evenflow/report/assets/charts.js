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
      if (!series.show || of.faint || at == null) return [];
      const value = text(u.data[i + 1][at], spec.percent) + (of.more ? of.more(u.data[0][at]) : "");
      const place = make("span", { class: "at" }, spec.place(u.data[0][at]));
      return [make("li", {}, swatch(of.run), make("span", {}, of.label), make("b", {}, value), place)];
    });
    box.replaceChildren(make("ul", {}, ...rows));
    box.hidden = !rows.length;
    const right = left > u.over.clientWidth / 2;
    box.style.left = right ? "" : `${left + 12}px`;
    box.style.right = right ? `${u.over.clientWidth - left + 12}px` : "";
  }
  return { hooks: { init: (u) => u.over.append(box), setCursor: show } };
}

/**
 * Draw a chart into `holder`, anew at every call.
 * spec: {series: [{run, label, dash, x, y, faint, fill, steps, level, more}], percent, place(x),
 * x: axis options, label, empty: what to say where there is no series}
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
  const options = {
    width: holder.clientWidth || 300,
    height: spec.height || 190,
    legend: { show: false },
    plugins: [tooltip(spec)],
    scales: { x: { time: false, ...spec.scale }, y: spec.percent ? { range: shareRange } : {} },
    cursor: {
      dataIdx: (u, series, at) => (series ? nearest(u.data[series], at) : at),
      points: { size: 7 },
      drag: { x: true, y: false },
    },
    axes: [
      { ...axis, size: 28, ...spec.x },
      { ...axis, size: 50, values: (u, ticks) => ticks.map((v) => tick(v, spec.percent)) },
    ],
    series: [
      {},
      ...spec.series.map((series) => {
        const stroke = runColour(series.run);
        return {
          label: series.label,
          stroke: series.faint ? withAlpha(stroke, 0.22) : stroke,
          fill: series.fill ? withAlpha(stroke, 0.12) : undefined,
          width: series.faint ? 1 : 1.75,
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

/** Take the chart away, and whatever was said in its place. */
function clear(holder) {
  holder.chart?.destroy();
  holder.chart = null;
  holder.runs = [];
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
  if (series.faint || series.steps) return false;
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
    .filter((series) => !series.faint && series.y.length)
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
function figure(target, title, meaning, lines) {
  const keys = (lines || []).filter((line) => line.label && line.used !== false);
  const holder = make("div", { class: "chart" });
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
  );
  return holder;
}

function stroke(line) {
  const dash = line.dash.join(" ");
  const path = svg("line", { x1: 0, y1: 4, x2: 24, y2: 4, "stroke-dasharray": dash });
  return svg("svg", { width: 24, height: 8, "aria-hidden": "true" }, path);
}
