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

/** How far apart two sides are on a question: in shares of right answers, then in solutions. */
function distance(left, right) {
  if (!left || !right) return [0, 0];
  const solutions = [left, right].map((found) => found.groups.filter((group) => group.verdict === "right").map((group) => group.label));
  const alone = solutions[0].filter((label) => !solutions[1].includes(label)).length + solutions[1].filter((label) => !solutions[0].includes(label)).length;
  return [Math.abs(left.right / left.n - right.right / right.n), alone];
}

/** All that is written of a question, in small letters: where a search looks. */
function wordsOf(i) {
  const { prompt, gold } = data.cases.questions[i];
  const groups = data.cases.sides.flatMap((side) => side.cases[i]?.groups || []);
  return [prompt, gold, ...groups.flatMap((group) => [group.label, ...group.texts.map((each) => each.text)])].join("\n").toLowerCase();
}

/** The question that the address names, #q=3 the third; null where it names none. */
function linked() {
  const match = /^#q=([0-9]{1,6})$/.exec(location.hash);
  return match && data.cases.questions[match[1] - 1] ? match[1] - 1 : null;
}

/** Where a link to a question leads, once everything above it is drawn. */
function toCases() {
  if (linked() !== null) document.getElementById("cases").scrollIntoView({ behavior: "instant" });
}

/** Show the case study anew: a run was switched on or off. */
let showCases = () => {};

function caseStudy() {
  const target = document.getElementById("case-study");
  if (!target) return;
  const { sides, questions } = data.cases;
  const pick = initialSides(sides);
  let differing = false;
  let question = -1;
  let sought = "";
  const search = make("input", {
    type: "search",
    id: "case-search",
    placeholder: "words of a question or an answer",
    oninput: (event) => {
      sought = event.target.value.trim().toLowerCase();
      render();
    },
  });
  const box = make("div", { class: "case" });
  const controls = make("div", { class: "pickers" });

  /** The questions that both sides answer (or one of them, if none is shared), and those of them
   *  on which they differ. */
  function asked() {
    const every = questions.map((_, i) => i);
    const shared = every.filter((i) => pick.every((side) => sides[side].cases[i]));
    const either = every.filter((i) => pick.some((side) => sides[side].cases[i]));
    const far = new Map(shared.map((i) => [i, distance(...pick.map((side) => sides[side].cases[i]))]));
    shared.sort((a, b) => far.get(b)[0] - far.get(a)[0] || far.get(b)[1] - far.get(a)[1]); // the furthest first
    const apart = shared.filter((i) => {
      const [left, right] = pick.map((side) => finding(sides[side].cases[i]));
      return left !== right;
    });
    return { all: shared.length ? shared : either, apart };
  }

  function render() {
    const { all, apart } = asked();
    const list = (differing ? apart : all).filter((i) => !sought || wordsOf(i).includes(sought));
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
    const title = (i) => `${i + 1}. ${questions[i].prompt.replace(/\s+/g, " ").slice(0, 90)}`;
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
      const words = sought ? "No question holds these words, nor its answers." : "There is no question on which they differ.";
      box.append(make("p", { class: "constant" }, words));
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
      make("div", { class: "sides" }, ...pick.map((side, i) => sideOf(sides[side], question, sides[pick[1 - i]]))),
    );
  }

  function choose(i) {
    question = i;
    history.replaceState(history.state, "", `#q=${i + 1}`);
    render();
  }

  /** Show the question of the address, on sides that have it. */
  function follow() {
    const wanted = linked();
    if (wanted === null) return;
    const having = sides.flatMap((side, i) => (side.cases[wanted] ? [i] : []));
    if (!pick.every((side) => having.includes(side))) {
      const last = [...new Map(having.map((i) => [sides[i].run, i])).values()];
      pick.splice(0, 2, ...(last.length > 1 ? last.slice(0, 2) : [having[0], having.at(-1)]));
    }
    question = wanted;
    differing = false;
    search.value = sought = "";
    render();
    toCases();
  }

  function setSide(which, i) {
    pick[which] = i;
    render();
  }

  const seek = make("label", { class: "pick seek" }, make("span", {}, "Search"), search);
  const setting = make("label", { class: "only" }, make("input", {
    type: "checkbox",
    id: "typeset",
    checked: true,
    onchange: (event) => {
      typeset = event.target.checked;
      render();
    },
  }), " formulas set");
  target.append(make("div", { class: "pickers" }, seek, typeof katex === "object" && setting), controls, box);
  showCases = render;
  render();
  follow();
  addEventListener("hashchange", follow);
}

/** Two runs at their ends that share a question, of different algorithms if there are such; of a
 *  single run its first and last evaluation. */
function initialSides(sides) {
  const ends = [...new Map(sides.map((side, i) => [side.run, i])).values()];
  const pairs = ends
    .flatMap((left) => ends.map((right) => [left, right]))
    .filter(([left, right]) => left < right && Object.keys(sides[left].cases).some((i) => sides[right].cases[i]));
  const other = pairs.find((pair) => placeOf(sides[pair[0]].run) !== placeOf(sides[pair[1]].run));
  if (pairs.length) return other || pairs[0];
  return ends.length > 1 ? [ends[0], ends[1]] : [0, sides.length - 1];
}

function sideOf(side, question, across) {
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
    ...listed(found, across === side ? null : across.cases[question]),
  );
}

/** Every right group, and the commonest of the others; the rest opens on demand. */
function listed(found, across) {
  const open = found.groups.filter((group) => group.verdict === "right");
  const others = found.groups.filter((group) => group.verdict !== "right");
  const shown = new Set([...open, ...others.slice(0, OTHERS)]);
  const rest = found.groups.filter((group) => !shown.has(group));
  const list = (groups) => make("ol", {}, ...groups.map((group) => groupOf(group, found.n, across)));
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

/** Whether the other side has a right solution, too. */
function elsewhere(group, across) {
  if (!across || group.verdict !== "right") return null;
  const same = across.groups.find((other) => other.verdict === "right" && other.label === group.label);
  return make("span", { class: same ? "both" : "alone" }, same ? `there ${same.count} of ${across.n}` : "only here");
}

function groupOf(group, n, across) {
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
      elsewhere(group, across),
      make("span", { class: "count" }, `${group.count} of ${n}`),
    ),
    make("div", { class: "track", "aria-hidden": "true" }, bar),
    alone
      ? folded(group.label)
      : make("div", {}, make("p", { class: "form" }, "solution ", make("code", {}, group.label)), ...spellings(group)),
    group.reason && make("p", { class: "form reason" }, `grader: ${group.reason}`),
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
  if (answer.length <= FOLD) return make("pre", {}, ...formulas(answer));
  return make(
    "details",
    {},
    make("summary", {}, make("pre", {}, `${answer.slice(0, FOLD - 40)}…`), make("span", {}, `all ${answer.length.toLocaleString("en")} characters`)),
    make("pre", {}, ...formulas(answer)),
  );
}

let typeset = true;
const FORMULA = /\$\$([\s\S]+?)\$\$|\\\[([\s\S]+?)\\\]|\\\(([\s\S]+?)\\\)|\$([^\s$](?:[^$\n]*[^\s$\\])?)\$(?!\d)|(\\boxed\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\})/g;

/** A text with its formulas set; one that cannot be set stands as it is written. */
function formulas(answer) {
  if (typeof katex !== "object" || !typeset) return [answer];
  const parts = [];
  let end = 0;
  for (const match of answer.matchAll(FORMULA)) {
    const [source, double, square, round, single, boxed] = match;
    const holder = make("span", { class: "formula", title: source });
    const options = { displayMode: (double ?? square) !== undefined, strict: "ignore", trust: false, maxSize: 20, maxExpand: 200 };
    try {
      katex.render(double ?? square ?? round ?? single ?? boxed, holder, options);
    } catch {
      continue;
    }
    parts.push(answer.slice(end, match.index), holder);
    end = match.index + source.length;
  }
  return [...parts, answer.slice(end)];
}
