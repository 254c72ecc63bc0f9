// Confusion of verbs or nouns on a canvas: truth in rows, what was given in columns. Wheel, pinch, buttons and keys zoom.
function showConfusion() {
  const tasks = TASKS.filter((task) => task !== "action");
  const state = { model: 0, task: tasks[0], order: "segments", zoom: 1, x: 0, y: 0, at: null };
  const canvas = make("canvas", { id: "confusion-canvas", tabindex: "0", role: "img", "aria-label": "Confusion matrix; the list beside it holds its largest entries" });
  const frame = make("div", { class: "canvas" }, canvas);
  const says = make("p", { class: "says", id: "confusion-says" });
  const pairs = make("ol", { class: "pairs", id: "confusion-pairs" });
  let classes = [], place = new Map(), cells = [], totals = [];

  function arrange() {
    const found = MODELS[state.model].confusion[state.task], names = DATA.classes[state.task];
    const truth = new Map();
    for (const [row, , count] of found) truth.set(row, (truth.get(row) ?? 0) + count);
    classes = [...new Set(found.flatMap(([row, column]) => [row, column]))];
    const by = {
      segments: (a, b) => (truth.get(b) ?? 0) - (truth.get(a) ?? 0) || a - b,
      name: (a, b) => names[a].localeCompare(names[b]),
      number: (a, b) => a - b,
    };
    classes.sort(by[state.order]);
    place = new Map(classes.map((name, at) => [name, at]));
    totals = classes.map((name) => truth.get(name) ?? 0);
    cells = found.map(([row, column, count]) => [place.get(row), place.get(column), count]);
    const wrong = found.filter(([row, column]) => row !== column).sort((a, b) => b[2] - a[2]).slice(0, 14);
    pairs.replaceChildren(...wrong.map(([row, column, count]) => make("li", {}, make("button", { type: "button", onclick: () => look(row, column) },
      `${names[row]} → ${names[column]} `, make("small", {}, `${count} of ${truth.get(row)}`)))));
    reset();
  }
  const reset = () => { Object.assign(state, { zoom: 1, x: 0, y: 0, at: null }); say(); paint(); };

  // Room for names grows with the zoom: none at first where the cells are small.
  function layout() {
    const box = frame.getBoundingClientRect(), count = classes.length || 1;
    const least = Math.min(box.width, box.height) / count, margin = least * state.zoom >= 10 ? Math.min(110, box.width * 0.28) : 0;
    const size = Math.min(box.width - margin, box.height - margin) / count * state.zoom;
    return { box, margin, size, count };
  }
  function hold() {
    const { box, margin, size, count } = layout(), span = size * count;
    state.x = Math.max(0, Math.min(state.x, Math.max(0, span - (box.width - margin))));
    state.y = Math.max(0, Math.min(state.y, Math.max(0, span - (box.height - margin))));
    frame.style.touchAction = state.zoom > 1 ? "none" : "pan-y"; // a finger scrolls the page past an unzoomed matrix
  }
  function zoom(factor, centre) {
    const before = layout(), old = state.zoom;
    const point = centre ?? [before.margin + (before.box.width - before.margin) / 2, before.margin + (before.box.height - before.margin) / 2];
    const at = [(point[0] - before.margin + state.x) / before.size, (point[1] - before.margin + state.y) / before.size];
    state.zoom = Math.max(1, Math.min(classes.length / 4, old * factor));
    const after = layout();
    state.x = at[0] * after.size - (point[0] - after.margin);
    state.y = at[1] * after.size - (point[1] - after.margin);
    hold();
    paint();
  }
  function look(row, column) {
    state.zoom = Math.max(1, classes.length / 12);
    const { box, margin, size } = layout();
    state.x = (place.get(column) + 0.5) * size - (box.width - margin) / 2;
    state.y = (place.get(row) + 0.5) * size - (box.height - margin) / 2;
    state.at = [place.get(row), place.get(column)];
    hold();
    say();
    paint();
  }
  function say() {
    if (!state.at) {
      says.textContent = `${classes.length} ${state.task}s; truth in rows, given in columns. Point at a cell; wheel, pinch or + and − to zoom, drag to move.`;
      return;
    }
    const [row, column] = state.at, names = DATA.classes[state.task];
    const count = cells.find((cell) => cell[0] === row && cell[1] === column)?.[2] ?? 0, total = totals[row];
    says.textContent = `${names[classes[row]]}, given as ${names[classes[column]]}: ${count} of ${total}` + (total ? ` (${percent((100 * count) / total)} %)` : "");
  }

  function paint() {
    const { box, margin, size, count } = layout(), sharp = window.devicePixelRatio || 1;
    if (!box.width) return;
    canvas.width = Math.round(box.width * sharp);
    canvas.height = Math.round(box.height * sharp);
    const pen = canvas.getContext("2d"), style = getComputedStyle(document.documentElement), colour = (name) => style.getPropertyValue(name);
    pen.scale(sharp, sharp);
    pen.clearRect(0, 0, box.width, box.height);
    pen.save();
    pen.beginPath();
    pen.rect(margin, margin, box.width - margin, box.height - margin);
    pen.clip();
    pen.translate(margin - state.x, margin - state.y);
    pen.fillStyle = colour("--soft");
    pen.fillRect(0, 0, size * count, size * count);
    const gap = size > 6 ? 0.5 : 0;
    for (const [row, column, number] of cells) {
      const share = Math.sqrt(number / totals[row]);
      pen.fillStyle = `rgba(${colour(row === column ? "--cell" : "--cell-wrong")}, ${0.12 + 0.88 * share})`;
      pen.fillRect(column * size + gap, row * size + gap, size - 2 * gap, size - 2 * gap);
      if (size >= 26) {
        pen.fillStyle = share > 0.55 ? colour("--card") : colour("--ink");
        pen.font = "11px system-ui, sans-serif";
        pen.textAlign = "center";
        pen.textBaseline = "middle";
        pen.fillText(number, (column + 0.5) * size, (row + 0.5) * size);
      }
    }
    if (state.at) {
      pen.strokeStyle = colour("--ink");
      pen.lineWidth = 1.5;
      pen.strokeRect(state.at[1] * size, state.at[0] * size, size, size);
    }
    pen.restore();
    if (margin) labels(pen, box, margin, size, colour);
  }
  function labels(pen, box, margin, size, colour) {
    pen.fillStyle = colour("--ink");
    pen.font = `${Math.min(12, Math.max(9, size - 2))}px system-ui, sans-serif`;
    pen.textBaseline = "middle";
    classes.forEach((name, at) => {
      const text = DATA.classes[state.task][name], middle = (at + 0.5) * size;
      const down = margin + middle - state.y, along = margin + middle - state.x;
      pen.textAlign = "right";
      if (down > margin && down < box.height) pen.fillText(text, margin - 6, down, margin - 10);
      if (along > margin && along < box.width) {
        pen.save();
        pen.translate(along, margin - 6);
        pen.rotate(-Math.PI / 2);
        pen.textAlign = "left";
        pen.fillText(text, 0, 0, margin - 10);
        pen.restore();
      }
    });
  }

  const inside = (event) => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
  const fingers = new Map();
  canvas.addEventListener("wheel", (event) => { event.preventDefault(); zoom(Math.exp(-event.deltaY / 400), inside(event)); }, { passive: false });
  canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); fingers.set(event.pointerId, inside(event)); });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => fingers.delete(event.pointerId));
  canvas.addEventListener("pointermove", (event) => {
    const now = inside(event), before = fingers.get(event.pointerId);
    if (before && fingers.size === 1) {
      state.x -= now[0] - before[0];
      state.y -= now[1] - before[1];
      hold();
    } else if (before && fingers.size === 2) {
      const other = [...fingers].find(([id]) => id !== event.pointerId)[1];
      const distance = (point) => Math.hypot(point[0] - other[0], point[1] - other[1]);
      zoom(distance(now) / Math.max(1, distance(before)), [(now[0] + other[0]) / 2, (now[1] + other[1]) / 2]);
    }
    if (before) fingers.set(event.pointerId, now);
    const { margin, size, count } = layout();
    const at = [Math.floor((now[1] - margin + state.y) / size), Math.floor((now[0] - margin + state.x) / size)];
    state.at = at.every((index) => index >= 0 && index < count) && now.every((value) => value > margin) ? at : null;
    say();
    paint();
  });
  canvas.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: [-40, 0], ArrowRight: [40, 0], ArrowUp: [0, -40], ArrowDown: [0, 40] };
    if (event.key === "+" || event.key === "=") zoom(1.5);
    else if (event.key === "-") zoom(1 / 1.5);
    else if (event.key === "0") reset();
    else if (event.key in moves) { state.x += moves[event.key][0]; state.y += moves[event.key][1]; hold(); paint(); }
    else return;
    event.preventDefault();
  });
  const button = (text, label, act) => make("button", { type: "button", class: "plain", "aria-label": label, onclick: act }, text);
  put("confusion", 
    make("div", { class: "bar" },
      modelChoice(0, (value) => { state.model = value; arrange(); }),
      choice("Task", tasks.map((task) => [task, task]), state.task, (value) => { state.task = value; arrange(); }),
      choice("Order", [["segments", "by segments"], ["name", "by name"], ["number", "by number"]], "segments", (value) => { state.order = value; arrange(); }),
      make("span", {}, button("+", "Zoom in", () => zoom(1.5)), " ", button("−", "Zoom out", () => zoom(1 / 1.5)), " ", button("whole", "Show the whole matrix", reset))),
    make("div", { class: "split" }, make("div", {}, frame, says), make("div", {}, make("h3", {}, "Most often confused"), pairs)));
  new ResizeObserver(() => { hold(); paint(); }).observe(frame);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
  arrange();
  window.confusionState = state;
}
