// Accuracy against diversity: a curve a run over its evaluations, the mean of seeds, dials dotted.
function drawFrontiers() {
  const target = document.getElementById("frontiers");
  for (const [i, chart] of target ? data.frontiers.entries() : []) {
    const title = `Accuracy and diversity on ${chart.title}`;
    const draw = (holder, measure) => frontier(holder, chart, measure, title);
    switchedPlot(target, title, frontierKeys(chart), `frontier-${i}`, "Diversity", chart.measures, draw);
  }
}

/** A plot below a switch of its measures, [[key, words]]: `draw(holder, key)`, and again where the width changes. */
function switchedPlot(target, title, keys, name, legend, measures, draw) {
  const place = make("figure", { class: "wide frontier" });
  target.append(place);
  const holder = figure(place, title, "", keys, "plot");
  let measure = measures[0][0];
  const work = () => draw(holder, measure);
  const radios = measures.map(([value, words]) => {
    const change = () => {
      measure = value;
      attempt(holder, work);
    };
    const input = { type: "radio", name, value, checked: value === measure, onchange: change };
    return make("label", {}, make("input", input), make("span", {}, words));
  });
  holder.before(make("fieldset", { class: "choice" }, make("legend", {}, legend), ...radios));
  redraw(holder, work);
  new ResizeObserver(() => holder.clientWidth !== holder.drawnAt && attempt(holder, work)).observe(holder);
}

function frontierKeys(chart) {
  const seeds = data.variants.some((variant) => variant.runs.length > 1);
  return [
    seeds && { label: "mean of seeds; thin: single seeds", dash: [] },
    chart.dials.length > 0 && { label: "one setting turned, at the end of training", dash: [1, 4] },
  ].filter(Boolean);
}

/** The points at which all runs were evaluated, with the means of their scores. */
function meanPath(paths) {
  const [first, ...others] = paths;
  return first.flatMap((point) => {
    const same = others.map((path) => path.find((other) => other.step === point.step));
    if (same.some((other) => !other)) return [];
    const all = [point, ...same];
    const average = (name) => all.reduce((sum, each) => sum + each[name], 0) / all.length;
    const names = Object.keys(point).filter((name) => all.every((each) => each[name] != null));
    return [Object.fromEntries(names.map((name) => [name, average(name)]))];
  });
}

/** What is drawn of a chart: [{run, label, points, faint, end}]. */
function frontierPaths(chart, measure) {
  const usable = chart.paths
    .filter((path) => !state.hidden.has(path.run))
    .map((path) => ({ ...path, points: path.points.filter((point) => point[measure] != null) }))
    .filter((path) => path.points.length);
  return data.variants.flatMap((variant, place) => {
    const own = usable.filter((path) => variant.runs.includes(path.run));
    const named = own.map((path) => ({ ...path, place, label: data.runs[path.run].name }));
    if (named.length < 2) return named;
    const points = meanPath(own.map((path) => path.points));
    const seeds = named.map((path) => ({ ...path, faint: true }));
    if (!points.length) return seeds;
    return [...seeds, { run: own[0].run, place, label: `${variant.label}, mean of ${own.length} seeds`, short: variant.label, points }];
  });
}

function frontier(holder, chart, measure, title) {
  const name = chart.measures.find(([key]) => key === measure)[1];
  const paths = frontierPaths(chart, measure);
  holder.drawnAt = holder.clientWidth;
  const every = paths.flatMap((path) => path.points);
  if (!every.length) return say(holder, "All runs with these scores are switched off above.");
  const percent = measure.startsWith("pass@");
  const how = { from0: state.scale === "zero", log: state.scale === "log" };
  const log = how.log && every.every((point) => point.accuracy > 0 && point[measure] > 0);
  const axis = (values, shares, label) => ({ range: extent(values, { percent: shares, ...how, log }), format: (v) => tick(v, shares), label, log });
  const told = (path) => (point) => ({
    x: point.accuracy,
    y: point[measure],
    r: point === path.points.at(-1) ? 5 : point.step === 0 ? 4 : 2.5,
    hollow: point.step === 0,
    words: `${path.label}, step ${point.step}: accuracy ${text(point.accuracy, true)}, ${name} ${text(point[measure], percent)}` +
      (point.finished < 1 ? `, ${text(point.finished, true)} of the answers finished` : ""),
  });
  const drawn = paths.map((path) => ({
    run: path.run,
    label: path.label,
    colour: runColour(path.run),
    dash: runDash(path.run),
    width: path.faint ? 1 : 2.25,
    faint: path.faint,
    x: path.points.map((point) => point.accuracy),
    y: path.points.map((point) => point[measure]),
    marks: path.faint ? [] : path.points.map(told(path)),
  }));
  const ends = new Map(paths.filter((path) => !path.faint).map((path) => [path.place, path.points.at(-1)]));
  const turned = chart.dials.flatMap((dial) => {
    const there = dial.variants.flatMap((place, i) => (ends.has(place) ? [[ends.get(place), dial.values[i]]] : []));
    if (there.length < 2) return [];
    const label = `${dial.algorithm}: ${dial.setting} ${there.map(([, value]) => value).join(", ")}`;
    const [x, y] = ["accuracy", measure].map((key) => there.map(([point]) => point[key]));
    return [{ label, colour: colour("--muted"), dash: [1, 4], width: 2, x, y, dial: true }];
  });
  const labelled = paths.filter((path) => !path.faint);
  const spec = {
    label: title,
    x: axis(every.map((point) => point.accuracy), true, "accuracy"),
    y: axis(every.map((point) => point[measure]), percent, name),
    series: [...drawn, ...turned],
    words: labelled.length > 8 ? [] : labelled.map((path) => ({
      x: path.points.at(-1).accuracy,
      y: path.points.at(-1)[measure],
      text: path.short || path.label,
      colour: runColour(path.run),
    })),
  };
  const width = holder.clientWidth || 600;
  holder.replaceChildren(plot({ ...spec, width, height: Math.min(440, Math.max(300, width * 0.5)) }));
  holder.series = spec.series;
  holder.picture = () => plot({ ...spec, title, width: 760, height: 460 + 16 * spec.series.length, legend: true });
  holder.rows = () => [
    ["run", "step", "accuracy", name],
    ...paths.flatMap((path) => path.points.map((point) => [path.label, point.step, point.accuracy, point[measure]])),
  ];
}
