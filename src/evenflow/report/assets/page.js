// The switches, the table of contents, and the first drawing.
function contents() {
  const list = document.getElementById("contents");
  for (const section of document.querySelectorAll("main > section")) {
    const title = section.querySelector("h2").textContent;
    list.append(make("li", {}, make("a", { href: `#${section.id}` }, title)));
  }
}

function redrawAll() {
  for (const redraw of redraws) redraw();
}

function showRuns() {
  for (const element of document.querySelectorAll("[data-run]")) {
    element.hidden = state.hidden.has(Number(element.dataset.run));
  }
  follow();
  if (data.variants.some((variant) => variant.runs.length > 1) || data.frontiers.length) redrawAll();
  showCases();
}

function switched(event) {
  const { name, value, checked } = event.target;
  if (name === "run") {
    state.hidden[checked ? "delete" : "add"](Number(value));
    showRuns();
  } else if (name === "axis") {
    state.axis = value;
    redrawAll();
  } else if (name === "smoothing") {
    state.smoothing = Number(value);
    redrawAll();
  } else if (name === "scale") {
    state.scale = value;
    redrawAll();
  } else if (name === "theme") {
    if (value) document.documentElement.dataset.theme = value;
    else delete document.documentElement.dataset.theme;
    redrawAll();
  }
}

const switches = document.getElementById("switches");
switches.reset(); // a browser may keep the choices of before a reload
switches.addEventListener("change", switched);
const watched = document.getElementById("watched");
if (watched) {
  // A page that opens itself again keeps what was chosen.
  const kept = history.state?.choices || [];
  const boxes = [...switches.elements].filter((box) => box.matches("input"));
  boxes.forEach((box, i) => {
    if (kept.length === boxes.length) box.checked = kept[i];
  });
  for (const box of boxes.filter((each) => each.type === "checkbox" && !each.checked)) state.hidden.add(Number(box.value));
  for (const { name, value } of boxes.filter((each) => each.type === "radio" && each.checked)) {
    if (name === "theme" && value) document.documentElement.dataset.theme = value;
    else state[name] = name === "smoothing" ? Number(value) : value;
  }
  switches.addEventListener("change", () => history.replaceState({ choices: boxes.map((box) => box.checked) }, ""));
  setTimeout(() => location.reload(), 1000 * Number(watched.dataset.seconds));
}
switches.addEventListener("submit", (event) => event.preventDefault());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redrawAll);
document.getElementById("differing")?.addEventListener("change", (event) => {
  document.querySelector("table.settings").classList.toggle("differing", event.target.checked);
});
for (const start of [contents, drawComparisons, drawFrontiers, drawSections, drawPassCurves, drawHistogram, caseStudy, redrawAll]) {
  try {
    start();
  } catch (error) {
    reportError(error); // what fails costs its own part alone
  }
}
if (state.hidden.size) showRuns();
if (data.cases.questions.length) toCases();
