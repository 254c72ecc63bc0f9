"use strict";
// Helpers that every part of the page uses. Text goes in by textContent only: no name can become markup.
const DATA = JSON.parse(document.getElementById("data").textContent);
const TASKS = DATA.tasks, MODELS = DATA.models, MANY = MODELS.length > 1;

function make(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}
function draw(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}
function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.flat(9).filter((child) => child !== null && child !== undefined && child !== ""));
  return node;
}
const put = (id, ...children) => fill(document.querySelector(`#${id} .body`), {}, children);
const of = (index) => `--of: var(--m${index % 6})`;
const dot = (index) => make("span", { class: "dot", style: of(index), "aria-hidden": "true" });
const legend = () => make("div", { class: "legend" }, MODELS.map((model, index) => make("span", {}, dot(index), model.name)));
const percent = (value) => (value === undefined || value === null ? "" : value.toFixed(1));

// A row of buttons of which one is pressed. `names` are [value, text] pairs.
function choice(label, names, chosen, act) {
  const buttons = names.map(([value, text]) =>
    make("button", { type: "button", "data-value": value, "aria-pressed": String(value === chosen), onclick: () => {
      buttons.forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.value === String(value))));
      act(value);
    } }, text));
  return make("div", { class: "choice", role: "group", "aria-label": label }, buttons);
}
const modelChoice = (chosen, act) =>
  MANY ? choice("Model", MODELS.map((model, index) => [index, model.name]), chosen, act) : null;

// Where a figure lies from 0 to 100, with its interval.
function track(index, value, interval) {
  const width = (low, high) => `left:${low}%;width:${Math.max(0.4, high - low)}%`;
  return make("div", { class: "track", style: of(index) },
    interval ? make("i", { style: width(interval[0], interval[1]) }) : null,
    make("b", { style: `left:${value}%` }));
}

// Round numbers between low and high, about `count` of them.
function ticks(low, high, count = 5) {
  const rough = (high - low) / count || 1, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step / 1e6; at += step) found.push(Number(at.toPrecision(12)));
  return found;
}
const short = (value) => Math.abs(value) >= 1e6 || (value !== 0 && Math.abs(value) < 1e-3)
  ? value.toExponential(1) : String(Number(value.toPrecision(5)));
