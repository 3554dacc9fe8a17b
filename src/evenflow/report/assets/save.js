// What a chart shows, to take away: PNG and SVG as it is drawn, CSV of its numbers.

function download(blob, name) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

/** Rows of a table as CSV; what holds a comma, a quote or a line break stands in quotes. */
function csv(rows) {
  const cell = (value) => (/[",\r\n]/.test(String(value)) ? `"${String(value).replaceAll('"', '""')}"` : String(value));
  return rows.map((row) => `${row.map(cell).join(",")}\r\n`).join("");
}

function saveSvg(root, name) {
  download(new Blob([new XMLSerializer().serializeToString(root)], { type: "image/svg+xml" }), `${name}.svg`);
}

/** Twice as many pixels as the page shows, for print. */
function savePng(root, name) {
  const image = new Image();
  const [width, height] = ["width", "height"].map((side) => 2 * Number(root.getAttribute(side)));
  image.onload = () => {
    const canvas = make("canvas", { width, height });
    canvas.getContext("2d").drawImage(image, 0, 0, width, height);
    canvas.toBlob((blob) => download(blob, `${name}.png`), "image/png");
  };
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(new XMLSerializer().serializeToString(root))}`;
}

/** The buttons of a chart. `holder.picture()` is its plot as SVG, `holder.rows()` its numbers. */
function saveButtons(holder, title) {
  const name = title.replace(/[^\p{L}\p{N}@_-]+/gu, "-");
  const kinds = {
    PNG: () => savePng(holder.picture(), name),
    SVG: () => saveSvg(holder.picture(), name),
    CSV: () => download(new Blob([csv(holder.rows())], { type: "text/csv" }), `${name}.csv`),
  };
  const button = ([kind, work]) =>
    make("button", { type: "button", "aria-label": `save ${title} as ${kind}`, onclick: () => holder.picture && work() }, kind);
  return make("div", { class: "save" }, ...Object.entries(kinds).map(button));
}
