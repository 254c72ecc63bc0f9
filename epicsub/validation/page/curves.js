// Curves of the runs, and reliability.
const WIDE = { width: 900, height: 300, left: 52, right: 14, top: 10, bottom: 26 };
const SQUARE = { width: 280, height: 260, left: 34, right: 8, top: 8, bottom: 30 };

// Axes of a plot, and functions from values to places in it.
function plot(size, [lowX, highX], [lowY, highY], labels = [short, short]) {
  const x = (value) => size.left + ((value - lowX) / (highX - lowX || 1)) * (size.width - size.left - size.right);
  const y = (value) => size.height - size.bottom - ((value - lowY) / (highY - lowY || 1)) * (size.height - size.top - size.bottom);
  const node = draw("svg", { viewBox: `0 0 ${size.width} ${size.height}`, role: "img" },
    ticks(lowY, highY).map((value) => [
      draw("line", { class: "axis", x1: size.left, x2: size.width - size.right, y1: y(value), y2: y(value) }),
      draw("text", { x: size.left - 6, y: y(value) + 4, "text-anchor": "end" }, labels[1](value)),
    ]),
    ticks(lowX, highX).map((value) =>
      draw("text", { x: x(value), y: size.height - size.bottom + 16, "text-anchor": "middle" }, labels[0](value))));
  return { node, x, y };
}

function showCurves() {
  const names = [...new Set(MODELS.flatMap((model) => Object.keys(model.curves)))];
  if (!names.length) {
    put("curves", make("p", { class: "quiet" }, "No curves: none of the targets is a run with a metrics.jsonl beside its checkpoint."));
    return;
  }
  let name = names.find((value) => value.includes("loss")) ?? names[0];
  const place = make("div"), says = make("p", { class: "says quiet" });
  const show = () => {
    const lines = MODELS.map((model) => model.curves[name] ?? []);
    const all = lines.flat(), range = (at) => [Math.min(...all.map((point) => point[at])), Math.max(...all.map((point) => point[at]))];
    const steps = range(0), values = range(1);
    if (values[0] > 0 && values[0] < 0.5 * values[1]) values[0] = 0;
    const { node, x, y } = plot(WIDE, steps, values);
    lines.forEach((line, index) => node.append(draw("polyline", {
      class: "curve", style: of(index), points: line.map((point) => `${x(point[0])},${y(point[1])}`).join(" "),
    })));
    const rule = draw("line", { class: "axis", y1: WIDE.top, y2: WIDE.height - WIDE.bottom, visibility: "hidden" });
    node.append(rule);
    node.addEventListener("pointermove", (event) => {
      const box = node.getBoundingClientRect();
      const step = steps[0] + (((event.clientX - box.left) / box.width) * WIDE.width - WIDE.left) / (WIDE.width - WIDE.left - WIDE.right) * (steps[1] - steps[0]);
      const near = lines.map((line) => line.reduce((best, point) => (Math.abs(point[0] - step) < Math.abs(best[0] - step) ? point : best), line[0]));
      const first = near.find(Boolean);
      fill(rule, { x1: x(first[0]), x2: x(first[0]), visibility: "visible" }, []);
      says.textContent = near.map((point, index) => point && `${MANY ? MODELS[index].name + ": " : ""}step ${point[0]}, ${short(point[1])}`).filter(Boolean).join("   ");
    });
    node.setAttribute("aria-label", name);
    says.textContent = "";
    place.replaceChildren(node);
  };
  const select = make("select", { "aria-label": "Figure", onchange: (event) => { name = event.target.value; show(); } },
    names.map((value) => make("option", { value, selected: value === name ? "" : null }, value)));
  put("curves", make("div", { class: "bar" }, select, MANY ? legend() : null), place, says);
  show();
}

function showCalibration() {
  const ends = [0, 1], words = (value) => `${Math.round(100 * value)}`;
  const plots = TASKS.map((task) => {
    const { node, x, y } = plot(SQUARE, ends, ends, [words, words]);
    node.setAttribute("aria-label", `Reliability, ${task}`);
    node.append(draw("line", { class: "ideal", x1: x(0), y1: y(0), x2: x(1), y2: y(1) }));
    MODELS.forEach((model, index) => {
      const points = model.reliability[task] ?? [], most = Math.max(...points.map((point) => point.segments));
      for (const point of MANY ? [] : points) {
        const tall = (0.3 * point.segments) / most;
        node.append(draw("rect", { class: "count", style: of(index), x: x(point.confidence) - 6, width: 12, y: y(tall), height: y(0) - y(tall) }));
      }
      node.append(draw("polyline", { class: "curve", style: of(index), points: points.map((point) => `${x(point.confidence)},${y(point.accuracy)}`).join(" ") }));
      for (const point of points) {
        node.append(draw("circle", { class: "point", style: of(index), cx: x(point.confidence), cy: y(point.accuracy), r: 1.5 + 4 * Math.sqrt(point.segments / most) },
          draw("title", {}, `${model.name}: ${point.segments} segments, sure ${percent(100 * point.confidence)} %, right ${percent(100 * point.accuracy)} %`)));
      }
    });
    node.append(draw("text", { x: SQUARE.width / 2, y: SQUARE.height - 2, "text-anchor": "middle" }, "confidence, %"));
    const errors = MODELS.map((model, index) => make("span", {}, MANY ? dot(index) : null, `${percent(model.scores[`${task}_calibration_error`])} %`));
    return make("div", {}, make("h3", {}, task), node, make("div", { class: "legend quiet" }, "calibration error ", errors));
  });
  put("calibration", 
    make("p", { class: "quiet" }, "How often the first choice is right, by how sure the model was of it, in 15 equal steps. On the dashed line it is right as often as it says; below, it is too sure. A point is as large as its segments are many."),
    MANY ? legend() : null, make("div", { class: "plots" }, plots));
}
