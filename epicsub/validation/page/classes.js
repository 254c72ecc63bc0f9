// One row a class; a column sorts by a click on its head, a word or a part of the frequencies filters.
const SHOWN = 150;

function showClasses() {
  const state = { model: 0, task: TASKS[0], sort: "segments", down: true, words: "", part: "all", all: false };
  const columns = [
    ["name", "class"], ["part", "part"], ["training", "in training"], ["segments", "segments"],
    ["top1", "top-1"], ["top5", "top-5 recall"], ["precision", "precision"], ["taken", "most often taken for"],
  ];
  const place = make("div", { class: "wide" }), count = make("small", { id: "classes-count" });
  const more = make("button", { type: "button", class: "plain", onclick: () => { state.all = true; show(); } });

  function rows() {
    const names = DATA.classes[state.task], parts = DATA.parts[state.task] ?? {}, training = DATA.training[state.task];
    return MODELS[state.model].tables[state.task].map(([name, segments, top1, top5, precision, taken]) => ({
      name: names[name], part: parts[name] ?? "", training: training ? training[name] ?? 0 : null,
      segments, top1, top5, precision: precision ?? null, taken: taken === undefined || taken === null || taken < 0 ? "" : names[taken],
    }));
  }
  function sorted(found) {
    const key = state.sort, sign = state.down ? -1 : 1;
    const empty = (value) => value === null || value === "";
    return found.sort((a, b) => empty(a[key]) - empty(b[key]) // what has no figure comes last either way
      || sign * (typeof a[key] === "string" ? a[key].localeCompare(b[key]) : a[key] - b[key]) || a.name.localeCompare(b.name));
  }
  function show() {
    const every = rows(), words = state.words.toLowerCase();
    const found = sorted(every.filter((row) => (row.name.toLowerCase().includes(words) || row.taken.toLowerCase().includes(words))
      && (state.part === "all" || row.part === state.part)));
    const used = columns.filter(([key]) => every.some((row) => row[key] !== null && row[key] !== ""));
    const shown = state.all ? found : found.slice(0, SHOWN);
    const leftward = (key) => (["part", "taken"].includes(key) ? "words" : null);
    const head = ([key, text]) => make("th", { class: leftward(key), scope: "col", "aria-sort": key === state.sort ? (state.down ? "descending" : "ascending") : null },
      make("button", { type: "button", "data-sort": key, onclick: () => {
        state.down = key === state.sort ? !state.down : !["name", "part", "taken"].includes(key);
        state.sort = key;
        show();
      } }, text));
    const cell = (row, [key]) => {
      const value = row[key], figure = ["top1", "top5", "precision"].includes(key);
      if (key === "name") return make("th", { scope: "row" }, value);
      return make("td", { class: leftward(key) }, value === null ? "" : figure ? percent(value) : String(value));
    };
    place.replaceChildren(make("table", { id: "classes-table" },
      make("thead", {}, make("tr", {}, used.map(head))),
      make("tbody", {}, shown.map((row) => make("tr", {}, used.map((column) => cell(row, column)))))));
    count.textContent = `${found.length} of ${every.length} classes`;
    more.textContent = `show all ${found.length}`;
    more.hidden = shown.length === found.length;
  }
  put("classes", 
    make("div", { class: "bar" },
      modelChoice(0, (value) => { state.model = value; show(); }),
      choice("Task", TASKS.map((task) => [task, task]), state.task, (value) => { Object.assign(state, { task: value, all: false }); show(); }),
      Object.keys(DATA.parts).length
        ? choice("Part", ["all", "head", "middle", "tail"].map((part) => [part, part]), "all", (value) => { state.part = value; show(); }) : null,
      make("input", { type: "search", id: "classes-filter", placeholder: "filter, e.g. cut", "aria-label": "Filter classes", oninput: (event) => { state.words = event.target.value; show(); } }),
      count),
    place, more);
  show();
}
