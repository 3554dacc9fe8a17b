// Curves of a comparison: the mean of seeds, and the band from the lowest to the highest.
function drawComparisons() {
  for (const target of document.querySelectorAll("[data-comparison]")) {
    const place = target.dataset.comparison;
    const { title: study, measures } = data.comparisons[Number(place)];
    const title = `Curves of ${study}`;
    const draw = (holder, key) => comparison(holder, measures.find((each) => each.key === key), title);
    switchedPlot(target, title, [], `comparison-${place}`, "Measure", measures.map((each) => [each.key, each.name]), draw);
  }
}

function comparison(holder, measure, title) {
  holder.drawnAt = holder.clientWidth;
  const { curves, percent, name } = measure;
  const from0 = state.scale === "zero";
  const tint = (i) => colour(`--run-${i % COLOURS}`);
  const axis = (values, shares, label) => ({ range: extent(values, { percent: shares, from0 }), format: (v) => tick(v, shares), label });
  const spec = {
    label: title,
    x: axis(curves.flatMap((curve) => curve.x), true, "accuracy"),
    y: axis(curves.flatMap((curve) => [...curve.low, ...curve.high]), percent, name),
    series: curves.map(({ label, x, y }, i) => ({ label, x, y, colour: tint(i), dash: i < COLOURS ? [] : [8, 3, 2, 3], width: 2.25 })),
    bands: curves.map(({ x, low, high }, i) => ({ colour: tint(i), x, low, high })),
    legend: true,
  };
  const width = holder.clientWidth || 600;
  const tall = (high) => high + 16 * curves.length;
  holder.replaceChildren(plot({ ...spec, width, height: tall(Math.min(440, Math.max(300, width * 0.5))) }));
  holder.series = spec.series;
  holder.picture = () => plot({ ...spec, title, width: 760, height: tall(460) });
  holder.rows = () => [
    ["algorithm", "accuracy", name, "lowest", "highest"],
    ...curves.flatMap(({ label, x, y, low, high }) => x.map((v, i) => [label, v, y[i], low[i], high[i]])),
  ];
}
