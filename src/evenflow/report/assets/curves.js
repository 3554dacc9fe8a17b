// What is drawn: metrics over steps, pass@k over k, the histogram of importance weights.
const AXES = { step: "step", answers: "answers", minutes: "minutes" };
const UNCOUNTED = { step: "steps", answers: "counted its answers", minutes: "timed its steps" };

/** Exponential moving average, as if nothing came before the first value; counts[i] values have
 *  the mean values[i]. */
function smoothed(values, factor, counts) {
  let mean = 0;
  let weight = 0;
  return values.map((value, i) => {
    const kept = factor ** counts[i];
    mean = kept * mean + (1 - kept) * value;
    weight = kept * weight + (1 - kept);
    return mean / weight;
  });
}

function metricSeries(chart) {
  const factor = chart.noisy ? state.smoothing : 0;
  return withMeans(chart.curves.flatMap((curve) => curveSeries(chart, curve, factor)));
}

function curveSeries(chart, curve, factor) {
  const run = data.runs[curve.run];
  const across = run.axes[state.axis];
  if (!across) return [];
  const line = chart.lines[curve.line];
  const label = line.label ? `${run.name}, ${line.label}` : run.name;
  const places = (at) => at.map((i) => across[i]);
  const base = { run: curve.run, label, dash: line.dash, level: line.level, percent: chart.percent };
  const own = { ...base, key: `line ${curve.line}`, part: line.label };
  const raw = { ...base, x: places(curve.at), y: curve.v };
  if (!factor || curve.at.length < 4) return [{ ...own, ...raw }];
  // A thinned curve holds extremes: its average is of the means of its stretches.
  const { at, mean, count } = curve.stretches || { ...curve, mean: curve.v, count: curve.v.map(() => 1) };
  return [
    { ...raw, label: `${label} (raw)`, faint: true },
    { ...own, x: places(at), y: smoothed(mean, factor, count) },
  ];
}

function drawMetric(holder, chart) {
  draw(holder, {
    series: metricSeries(chart),
    percent: chart.percent,
    label: chart.title,
    place: (x) => `${AXES[state.axis]} ${text(x)}`,
    xTitle: AXES[state.axis],
    x: { values: (u, ticks) => ticks.map((v) => short(v)), ...(state.axis === "minutes" ? {} : { incrs: WHOLE }) },
    empty: `None of the runs with this metric has ${UNCOUNTED[state.axis]}.`,
  });
}

/** 15000 as 15k. */
function short(value) {
  return Math.abs(value) >= 1000 ? `${Number((value / 1000).toPrecision(4))}k` : text(value);
}

function drawSections() {
  for (const section of data.sections) {
    const target = document.querySelector(`[data-section="${section.key}"]`);
    for (const chart of section.charts) {
      const place = make("figure", {});
      target.append(place);
      const lines = chart.lines.some((line) => line.label) ? chart.lines : [];
      const holder = figure(place, chart.title, chart.meaning, lines);
      redraw(holder, () => drawMetric(holder, chart));
    }
  }
}

const redraws = [];

/** Draw at the start and at every change of axis, smoothing or colours. */
function redraw(holder, work) {
  redraws.push(() => attempt(holder, work));
}

/** "before", "after" or "step 40" of a training run, "" of an evaluation. */
const dashOf = (part) => (part === "before" ? [5, 4] : []);

function drawPassCurves() {
  const target = document.getElementById("pass-chart");
  if (!target) return;
  const parts = [...new Set(data.passCurves.map((curve) => curve.part))].filter(Boolean);
  const later = [
    parts.includes("after") && "after training",
    parts.some((part) => part.startsWith("step")) && "at the latest evaluation",
  ];
  const lines = [
    { label: parts.includes("before") && "before training", dash: dashOf("before") },
    { label: later.filter(Boolean).join(", or "), dash: dashOf("after") },
  ];
  const holder = figure(target, "pass@k over k", "", lines);
  const ks = [...new Set(data.passCurves.flatMap((curve) => curve.k))].filter((k) => Number.isInteger(Math.log2(k)));
  redraw(holder, () =>
    draw(holder, {
      series: withMeans(data.passCurves.map((curve) => ({
        run: curve.run,
        key: curve.part,
        part: curve.part,
        percent: true,
        label: data.runs[curve.run].name + (curve.part && `, ${curve.part}`),
        dash: dashOf(curve.part),
        x: curve.k,
        y: curve.v,
        more: (k) => interval(curve, curve.k.indexOf(k)),
      }))),
      percent: true,
      label: "pass@k",
      height: 300,
      place: (k) => `k ${k}`,
      xTitle: "k",
      scale: { distr: 3, log: 2 },
      x: { splits: (u, i, from, to) => ks.filter((k) => k >= from && k <= to), values: (u, ticks) => ticks.map(String), filter: (u, ticks) => ticks },
    }),
  );
}

function interval(curve, at) {
  if (at < 0 || curve.low[at] == null || curve.high[at] == null) return "";
  return ` [${text(curve.low[at], true)}, ${text(curve.high[at], true)}]`;
}

const BINS = 64; // of weights on each side of 1, sixteen to a factor of two

/** The value at the middle of bin k: 2^(k/16). */
const binValue = (k) => String(Number((2 ** (k / 16)).toPrecision(3)));

function drawHistogram() {
  const target = document.getElementById("histogram");
  if (!target) return;
  const holder = figure(
    target,
    "Importance weights",
    "Share of the answers by weight, sixteen bins to a factor of two. The outermost bins hold all beyond.",
  );
  const parts = { all: "all", first: "first quarter", last: "last quarter" };
  let part = "all";
  const radios = Object.entries(parts).map(([value, name]) => {
    const change = () => {
      part = value;
      attempt(holder, bars);
    };
    const input = { type: "radio", name: "histogram-part", value, checked: value === part };
    return make("label", {}, make("input", { ...input, onchange: change }), make("span", {}, name));
  });
  const legend = make("legend", {}, "Steps");
  holder.before(make("fieldset", { class: "choice" }, legend, ...radios));
  const filled = data.histograms.flatMap((entry) => entry.all.flatMap((v, i) => (v ? [i] : [])));
  const low = Math.max(0, Math.min(...filled) - 1);
  const high = Math.min(2 * BINS, Math.max(...filled) + 1);
  const bars = () =>
    draw(holder, {
      series: data.histograms.map((entry) => {
        const y = [...entry[part].slice(low, high + 1), 0];
        const x = y.map((_, i) => low + i - BINS - 0.5); // a bin's left edge, and the right one last
        return { run: entry.run, label: data.runs[entry.run].name, x, y, fill: true, steps: true };
      }),
      percent: true,
      label: "Importance weights",
      height: 240,
      place: (x) => `weight ${binValue(x + 0.5)}`,
      across: (x) => binValue(x + 0.5),
      xTitle: "weight",
      unit: "share of the answers",
      x: {
        splits: (u, i, from, to) => [-64, -32, -16, -8, -4, 0, 4, 8, 16, 32, 64].filter((k) => k >= from && k <= to),
        values: (u, ticks) => ticks.map(binValue),
      },
    });
  redraw(holder, bars);
}
