// The case study: a question, two sides, their answers grouped by solution.
const MARKS = { right: ["✓", "right"], wrong: ["✗", "wrong"], unknown: ["?", "unknown"] };
const FOLD = 280; // characters of an answer that stand unfolded
const OTHERS = 4; // groups that are not right and stand unfolded

function select(id, label, options, value, change) {
  const box = make("select", { id, onchange: (event) => change(Number(event.target.value)) });
  for (const [i, name] of options) box.append(make("option", { value: i }, name));
  box.value = value;
  return make("label", { class: "pick" }, make("span", {}, label), box);
}

/** What a side says of its right answers: how many, and which solutions. */
function finding(found) {
  if (!found) return "";
  const right = found.groups.filter((group) => group.verdict === "right");
  return JSON.stringify([found.right, right.map((group) => group.label).sort()]);
}

/** Show the case study anew: a run was switched on or off. */
let showCases = () => {};

function caseStudy() {
  const target = document.getElementById("case-study");
  if (!target) return;
  const { sides, questions } = data.cases;
  const pick = initialSides(sides);
  let differing = false;
  let question = 0;
  const box = make("div", { class: "case" });
  const controls = make("div", { class: "pickers" });

  /** The questions that both sides answer (or one of them, if none is shared), and those of them
   *  on which they differ. */
  function asked() {
    const every = questions.map((_, i) => i);
    const shared = every.filter((i) => pick.every((side) => sides[side].cases[i]));
    const either = every.filter((i) => pick.some((side) => sides[side].cases[i]));
    const apart = shared.filter((i) => {
      const [left, right] = pick.map((side) => finding(sides[side].cases[i]));
      return left !== right;
    });
    return { all: shared.length ? shared : either, apart };
  }

  function render() {
    const { all, apart } = asked();
    const list = differing ? apart : all;
    if (!list.includes(question)) question = list[0] ?? -1;
    const place = list.indexOf(question);
    const step = (by) => make(
      "button",
      {
        type: "button",
        id: by > 0 ? "case-next" : "case-previous",
        "aria-label": by > 0 ? "next question" : "previous question",
        // Not `disabled`: the focus would be lost at the last question.
        "aria-disabled": String(list[place + by] === undefined),
        onclick: () => list[place + by] !== undefined && choose(list[place + by]),
      },
      by > 0 ? "›" : "‹",
    );
    const sideOptions = sides.map((side, i) => [i, side.label]);
    const title = (i) => `${list.indexOf(i) + 1}. ${questions[i].prompt.replace(/\s+/g, " ").slice(0, 90)}`;
    const focused = document.activeElement?.id;
    controls.replaceChildren(
      make(
        "div",
        { class: "steps" },
        select("case-question", "Question", list.map((i) => [i, title(i)]), question, choose),
        step(-1),
        step(1),
      ),
      select("case-left", "Left", sideOptions, pick[0], (i) => setSide(0, i)),
      select("case-right", "Right", sideOptions, pick[1], (i) => setSide(1, i)),
      make(
        "label",
        { class: "only" },
        make("input", {
          type: "checkbox",
          id: "differing-cases",
          checked: differing,
          onchange: (event) => {
            differing = event.target.checked;
            render();
          },
        }),
        ` only questions where their right answers differ (${apart.length} of ${all.length})`,
      ),
    );
    if (focused) document.getElementById(focused)?.focus(); // the controls were made anew
    box.replaceChildren();
    if (question < 0) {
      box.append(make("p", { class: "constant" }, "There is no question on which they differ."));
      return;
    }
    const { prompt, gold } = questions[question];
    box.append(
      make(
        "div",
        { class: "question" },
        folded(prompt),
        gold != null && make("p", { class: "gold" }, "Gold answer: ", make("b", {}, gold)),
      ),
      make("div", { class: "sides" }, ...pick.map((side) => sideOf(sides[side], question))),
    );
  }

  function choose(i) {
    question = i;
    render();
  }

  function setSide(which, i) {
    pick[which] = i;
    render();
  }

  target.append(controls, box);
  showCases = render;
  render();
}

/** Two runs at their ends that share a question; of a single run its first and last evaluation. */
function initialSides(sides) {
  const ends = [...new Map(sides.map((side, i) => [side.run, i])).values()];
  for (const left of ends) {
    for (const right of ends) {
      const shared = Object.keys(sides[left].cases).some((i) => sides[right].cases[i]);
      if (left < right && shared) return [left, right];
    }
  }
  return ends.length > 1 ? [ends[0], ends[1]] : [0, sides.length - 1];
}

function sideOf(side, question) {
  const found = side.cases[question];
  const heading = make("h3", {}, swatch(side.run), side.label);
  const alone = (words) => make("div", { class: "side" }, heading, make("p", { class: "constant" }, words));
  if (state.hidden.has(side.run)) return alone("This run is switched off above.");
  if (!found) return alone("It has no answer to this question.");
  const facts = [
    `${found.right} of ${found.n} right`,
    found.solutions > 1 && `${found.solutions} different (effectively ${found.effective})`,
    found.unknown && `${found.unknown} could not be judged`,
    found.cut && `${found.cut} cut off at the limit`,
  ];
  return make(
    "div",
    { class: "side" },
    heading,
    make("p", { class: "summary" }, facts.filter(Boolean).join(" · ")),
    found.asked != null && make("div", { class: "asked" }, make("p", { class: "form" }, "asked in these words"), folded(found.asked)),
    ...listed(found),
  );
}

/** Every right group, and the commonest of the others; the rest opens on demand. */
function listed(found) {
  const open = found.groups.filter((group) => group.verdict === "right");
  const others = found.groups.filter((group) => group.verdict !== "right");
  const shown = new Set([...open, ...others.slice(0, OTHERS)]);
  const rest = found.groups.filter((group) => !shown.has(group));
  const list = (groups) => make("ol", {}, ...groups.map((group) => groupOf(group, found.n)));
  const answers = rest.reduce((sum, group) => sum + group.count, 0);
  return [
    list(found.groups.filter((group) => shown.has(group))),
    rest.length > 0 &&
      make(
        "details",
        { class: "rest" },
        make("summary", {}, `${counted(answers, "further answer")} in ${counted(rest.length, "group")}, none right`),
        list(rest),
      ),
  ];
}

function groupOf(group, n) {
  const [mark, word] = MARKS[group.verdict] || MARKS.unknown;
  const bar = make("span", { class: "share" });
  bar.style.width = `${(100 * group.count) / n}%`;
  const alone = !group.texts.length; // its label is its only text
  const beyond = alone ? 0 : group.spellings - group.texts.length;
  return make(
    "li",
    { class: `group ${group.verdict}` },
    make(
      "p",
      { class: "head" },
      make("span", { class: "mark" }, `${mark} ${word}`),
      make("span", { class: "count" }, `${group.count} of ${n}`),
    ),
    make("div", { class: "track", "aria-hidden": "true" }, bar),
    alone
      ? folded(group.label)
      : make("div", {}, make("p", { class: "form" }, "solution ", make("code", {}, group.label)), ...spellings(group)),
    beyond > 0 && make("p", { class: "beyond" }, `and ${counted(beyond, "further text")} of it`),
  );
}

function spellings(group) {
  return group.texts.map((spelled) =>
    make(
      "div",
      { class: "spelling" },
      group.texts.length > 1 && make("span", { class: "times" }, `${spelled.count} ×`),
      folded(spelled.text),
    ),
  );
}

/** A text as it is, line breaks kept; a long one opens on demand. */
function folded(answer) {
  if (!answer.trim()) return make("p", { class: "empty" }, "(empty)");
  if (answer.length <= FOLD) return make("pre", {}, answer);
  return make(
    "details",
    {},
    make("summary", {}, make("pre", {}, `${answer.slice(0, FOLD - 40)}…`), make("span", {}, `all ${answer.length.toLocaleString("en")} characters`)),
    make("pre", {}, answer),
  );
}
