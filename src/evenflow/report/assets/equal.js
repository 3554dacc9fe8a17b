// Curves of a comparison: the mean of seeds, and the band from the lowest to the highest.
function drawComparisons() {
  for (const target of document.querySelectorAll("[data-comparison]")) {
    const study = data.comparisons[Number(target.dataset.comparison)];
    const place = make("figure", { class: "wide frontier" });
    target.append(place);
    const title = `Curves of ${study.title}`;
    const holder = figure(place, title, "", [], "plot");
    let measure = study.measures[0];
    const work = () => comparison(holder, measure, title);
    const radios = study.measures.map((each) => {
      const change = () => {
        measure = each;
        attempt(holder, work);
      };
      const input = { type: "radio", name: `comparison-${target.dataset.comparison}`, value: each.key, checked: each === measure, onchange: change };
      return make("label", {}, make("input", input), make("span", {}, each.name));
    });
    holder.before(make("fieldset", { class: "choice" }, make("legend", {}, "Measure"), ...radios));
    redraw(holder, work);
    new ResizeObserver(() => holder.clientWidth !== holder.drawnAt && attempt(holder, work)).observe(holder);
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
