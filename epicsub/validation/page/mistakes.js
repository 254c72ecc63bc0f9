// Wrong segments that a model was surest of, with their clip's middle frame.
function showMistakes() {
  const heads = TASKS.filter((task) => task !== "action");
  const place = make("div", { class: "shots" });
  const line = (head, mistake) => {
    const found = mistake[head];
    if (found.right) return make("p", {}, make("span", { class: "right" }, "✓ "), make("b", {}, found.true), " ", make("small", {}, head));
    return make("p", {}, make("span", { class: "wrong" }, "✗ "), make("b", {}, found.given), make("small", {}, ` ${percent(100 * found.p_given)}\u00a0%, is `),
      make("b", {}, found.true), make("small", {}, ` ${percent(100 * found.p_true)}\u00a0%`));
  };
  const shot = (mistake) => {
    const picture = DATA.pictures[mistake.id];
    return make("article", { class: "shot" },
      picture?.startsWith("data:")
        ? make("img", { src: picture, alt: `Middle frame of ${mistake.id}` })
        : make("div", { class: "none" }, picture ?? "no picture"),
      make("div", { class: "text" }, heads.map((head) => line(head, mistake)),
        make("p", { class: "quiet" }, `${mistake.id}${mistake.seconds === null ? "" : `, ${mistake.seconds.toFixed(1)} s`}, sure ${percent(100 * mistake.confidence)}\u00a0%`)));
  };
  const show = (index) => {
    const found = MODELS[index].mistakes;
    place.replaceChildren(...(found.length ? found.map(shot) : [make("p", { class: "quiet" }, "None: every segment is right.")]));
  };
  put("mistakes", make("div", { class: "bar" }, modelChoice(0, show)), place);
  show(0);
}
