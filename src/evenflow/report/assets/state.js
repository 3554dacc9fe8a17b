// The data, what the switches say, and small helpers.
const data = JSON.parse(document.getElementById("data").textContent);
const state = { hidden: new Set(), axis: "step", smoothing: 0.8, scale: "fit" };
const COLOURS = 8;

/** An element. Children that are strings become text nodes: nothing is ever parsed as HTML. */
function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null && child !== false));
  return element;
}

function svg(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** A CSS variable as the canvas understands it: light-dark() resolved. */
function colour(variable) {
  const probe = make("i", { style: `color: var(${variable})`, hidden: true });
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

/** The place of a run's colour: seeds of one algorithm share theirs. */
const placeOf = (run) => data.runs[run].colour;
const runColour = (run) => colour(`--run-${placeOf(run) % COLOURS}`);
const runDash = (run) => (placeOf(run) < COLOURS ? [] : [8, 3, 2, 3]);
const swatch = (run) =>
  make("i", {
    class: `swatch run-${placeOf(run) % COLOURS}${placeOf(run) < COLOURS ? "" : " again"}`,
    "aria-hidden": "true",
  });

function withAlpha(rgb, alpha) {
  const parts = rgb.match(/[\d.]+/g).slice(0, 3).join(", ");
  return `rgba(${parts}, ${alpha})`;
}

/** A value as a person reads it. */
function text(value, percent) {
  if (value == null) return "–";
  const shown = percent
    ? `${(100 * value).toFixed(1)} %`
    : Math.abs(value) >= 10000
      ? Math.round(value).toLocaleString("en")
      : String(Number(value.toPrecision(4)));
  return shown.replace("-", "−");
}

/** A count with its noun. */
const counted = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;
