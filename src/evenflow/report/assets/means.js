// Seeds of one algorithm: single curves step back behind their mean and the band that they fill.

/** The value of a curve at x, between its points on a straight line. */
function valueAt(series, x) {
  const at = series.x.findIndex((each) => each >= x);
  if (series.x[at] === x || at === 0) return series.y[at];
  const share = (x - series.x[at - 1]) / (series.x[at] - series.x[at - 1]);
  return series.y[at - 1] + share * (series.y[at] - series.y[at - 1]);
}

/** Mean, lowest and highest of curves, wherever all of them have begun and none has ended. */
function meanOf(curves) {
  const from = Math.max(...curves.map((series) => series.x[0]));
  const to = Math.min(...curves.map((series) => series.x.at(-1)));
  const every = new Set(curves.flatMap((series) => series.x));
  const x = [...every].filter((v) => v >= from && v <= to).sort((a, b) => a - b);
  const columns = x.map((v) => curves.map((series) => valueAt(series, v)));
  return {
    x,
    y: columns.map((values) => values.reduce((sum, v) => sum + v, 0) / values.length),
    low: columns.map((values) => Math.min(...values)),
    high: columns.map((values) => Math.max(...values)),
  };
}

/** The series with, for each algorithm of several seeds that are switched on, its mean. Curves of
 *  one `key` belong together. */
function withMeans(series) {
  const found = [];
  for (const variant of data.variants) {
    const own = series.filter((each) => variant.runs.includes(each.run));
    if (variant.runs.length < 2) {
      found.push(...own);
      continue;
    }
    for (const key of new Set(own.map((each) => each.key))) {
      const curves = own.filter((each) => each.key === key && !each.faint && !state.hidden.has(each.run) && each.x.length);
      found.push(...(curves.length > 1 ? curves.map((each) => ({ ...each, faint: true })) : curves));
      if (curves.length < 2) continue;
      const { low, high, ...mean } = meanOf(curves);
      const [first] = curves;
      const label = [variant.label, first.part, `mean of ${curves.length} seeds`].filter(Boolean).join(", ");
      const base = { run: first.run, x: mean.x, edge: true };
      if (!mean.x.length) continue;
      found.push({ ...base, y: low }, { ...base, y: high, band: true });
      const more = (x) => ` (${text(low[mean.x.indexOf(x)], first.percent)} … ${text(high[mean.x.indexOf(x)], first.percent)})`;
      found.push({ ...first, ...mean, label, more, mean: true });
    }
  }
  return found;
}
