// The scores of all models side by side, the comparison with the first, and accuracy by group.
function showHeader() {
  document.getElementById("protocol").textContent = DATA.protocol;
  document.title = `${DATA.protocol}: ${MODELS.map((model) => model.name).join(", ")}`;
  document.getElementById("selection").textContent = DATA.selection;
  document.getElementById("models").append(...MODELS.map((model, index) => {
    const text = `coverage: ${model.segments} of ${DATA.of}`, task = TASKS[TASKS.length - 1];
    return make("div", { class: "card", style: of(index) },
      make("div", {}, make("b", {}, model.name), make("br"),
        make("span", { class: model.segments < DATA.of ? "part" : "quiet" }, text)),
      make("div", { class: "main" }, percent(model.scores[`all_${task}_accuracy_at_1`]), make("small", {}, ` %`), make("br"), make("small", {}, task)));
  }));
}

const FIGURES = [
  ["top-1", (task) => `all_${task}_accuracy_at_1`],
  ["top-5", (task) => `all_${task}_accuracy_at_5`],
  ["unseen kitchens, top-1", (task) => `unseen_${task}_accuracy_at_1`],
  ["tail classes, top-1", (task) => `tail_${task}_accuracy_at_1`],
  ["class-mean accuracy", (task) => `class_mean_${task}_accuracy_at_1`],
  ["mean top-5 recall", (task) => `mean_${task}_recall_at_5`],
  ["calibration error", (task) => `${task}_calibration_error`],
];

function showScores() {
  const rows = FIGURES.filter(([, name]) => TASKS.some((task) => MODELS.some((model) => name(task) in model.scores)));
  const cell = (name) => make("td", {}, MODELS.map((model, index) => {
    if (!(name in model.scores)) return null;
    const value = model.scores[name], interval = model.intervals[name];
    return [
      make("div", { class: "figure" }, make("span", {}, MANY ? dot(index) : null, percent(value)),
        make("small", {}, interval ? `${percent(interval[0])} – ${percent(interval[1])}` : "")),
      track(index, value, interval),
    ];
  }));
  const videos = MODELS.map((model) => model.interval_videos);
  put("scores", 
    MANY ? legend() : null,
    make("div", { class: "wide" }, make("table", { class: "scores" },
      make("thead", {}, make("tr", {}, make("th", {}, "percent"), TASKS.map((task) => make("th", { scope: "col" }, task)))),
      make("tbody", {}, rows.map(([text, name]) =>
        make("tr", {}, make("th", { scope: "row" }, text), TASKS.map((task) => cell(name(task)))))))),
    make("p", { class: "quiet" }, Math.min(...videos) < 2
      ? "No intervals: all segments are of one video."
      : `Beside each figure: its 95 % interval, ${[...new Set(videos)].join(" / ")} videos resampled whole, because segments of one video are alike.`),
    MODELS.flatMap((model) => model.notes).filter((note, at, all) => all.indexOf(note) === at)
      .map((note) => make("p", { class: "quiet" }, note)));
}

function showComparison() {
  if (!DATA.comparisons.length) {
    document.getElementById("compare").remove();
    document.querySelector('nav a[href="#compare"]').remove();
    return;
  }
  const signed = (value) => (value >= 0 ? "+" : "−") + Math.abs(value).toFixed(2);
  const p = (value) => (value === null ? "" : value < 0.001 ? "< 0.001" : value.toFixed(3));
  const heads = ["figure", "first", "second", "points", "95 % interval", "bootstrap p", "right alone", "McNemar p", ""];
  for (const comparison of DATA.comparisons) {
    put("compare", 
      make("h3", {}, `${comparison.model} less ${MODELS[0].name}, ${comparison.segments} segments`),
      make("div", { class: "wide" }, make("table", {},
        make("thead", {}, make("tr", {}, heads.map((head) => make("th", { scope: "col" }, head)))),
        make("tbody", {}, comparison.rows.map((row) => make("tr", {},
          make("th", { scope: "row" }, row.name.replaceAll("_", " ")),
          make("td", {}, row.first.toFixed(2)), make("td", {}, row.second.toFixed(2)),
          make("td", { class: row.verdict }, signed(row.second - row.first)),
          make("td", {}, row.interval ? `${signed(row.interval[0])} to ${signed(row.interval[1])}` : ""),
          make("td", {}, p(row.p_bootstrap)),
          make("td", {}, row.only_first === null ? "" : `${row.only_first} / ${row.only_second}`),
          make("td", {}, p(row.p_mcnemar)),
          make("td", { class: row.verdict }, row.verdict)))))));
  }
  put("compare", make("p", { class: "quiet" },
    "A gain or a loss is a difference whose interval (videos resampled whole, both models on the same samples) leaves zero out. "
    + "McNemar’s exact test takes segments as independent and is the more easily impressed of the two."));
}

function showGroups() {
  const names = [...new Set(MODELS.flatMap((model) => Object.keys(model.groups)))];
  let name = names[0], task = TASKS[TASKS.length - 1];
  const place = make("div", { id: "groups-rows" });
  const show = () => {
    const groups = [...new Set(MODELS.flatMap((model) => Object.keys(model.groups[name] ?? {})))];
    place.replaceChildren(...groups.map((group) => {
      const figures = MODELS.map((model) => model.groups[name]?.[group]?.[task]);
      const sizes = [...new Set(figures.filter(Boolean).map((figure) => figure.segments))];
      return make("div", { class: "group" },
        make("div", {}, group, " ", make("small", {}, `${sizes.join(" / ") || "no"} segments`)),
        make("div", {}, figures.map((figure, index) => figure && make("div", { class: "line" },
          track(index, figure.top1, [0, figure.top1]), make("output", {}, percent(figure.top1))))));
    }));
  };
  put("groups", 
    make("div", { class: "bar" },
      choice("Group", names.map((value) => [value, value]), name, (value) => { name = value; show(); }),
      choice("Task", TASKS.map((value) => [value, value]), task, (value) => { task = value; show(); })),
    MANY ? legend() : null, place);
  show();
}
