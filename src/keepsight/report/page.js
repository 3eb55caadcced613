"use strict";
// The page's script. Everything that models or users wrote is placed as a text node, never as markup.

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const root = document.documentElement;
const filters = byId("filters");
const FIELDS = ["show", "checkpoint", "set", "class", "tag", "q"];
const PAGE = 48; // cards drawn at once
const FEW = 12; // cards in the panel of a cell
const LONG = 600; // characters shown of a prompt before it folds

// What the address holds: reference, open cell [row, column], open picture [column, place], open episode {id, of, step}.
const state = { reference: "base", cell: null, card: null, episode: null };
let found = []; // what the gallery shows: {col, place, row, other}
let drawn = 0;
let returnTo = null; // what had the focus before a picture or the panel opened

// ---- making elements -------------------------------------------------------------------------------------------

function el(name, attributes, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
}

function svg(name, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

const bdi = (text) => el("bdi", { dir: "auto" }, text);
const nameOf = (text) => el("bdi", { dir: "auto", class: text.length <= 24 ? "whole" : null }, text);

function table(heads, rows, kind) {
  const head = heads.map((text, i) => el("th", { scope: "col", class: i && heads.numbers ? "number" : null }, text));
  return el("table", { class: kind }, el("thead", {}, el("tr", {}, head)), el("tbody", {}, rows));
}

// ---- writing figures, as in wording.py ---------------------------------------------------------------------------

const minus = (text) => text.replace("-", "−");
const count = (n) => n.toLocaleString("en-US");
const percent = (share, digits = 1) => (share === null ? "–" : (100 * share).toFixed(digits));
const figure = (value, share) => (value === null ? "–" : share ? percent(value) : minus(String(Number(value.toPrecision(3)))));
const points = (d) => (d === null ? "–" : minus((100 * d).toFixed(1).replace(/^-0\.0$/, "0.0")));
const probability = (p) => (p === null ? "–" : p < 0.001 ? "< 0.001" : p.toFixed(3));
const kindOf = (key) => (Object.hasOwn(data.kinds, key) ? data.kinds[key] : null);
const rowTitle = (row) => data.rows[row].title;
const colTitle = (col) => data.cols[col].title;
const dropOf = (row, col) => (data.drops[state.reference] || {})[`${row}.${col}`];

// ---- the matrix --------------------------------------------------------------------------------------------------

const cells = [...document.querySelectorAll("[data-cell]")];
const placeOf = (button) => button.dataset.cell.split(".").map(Number);
const buttonAt = (row, col) => cells[row * data.cols.length + col];

function shadeOf(drop) {
  if (!drop || drop.difference === null) return 0;
  let steps = data.shades.filter((least) => Math.abs(drop.difference) >= least).length;
  if (drop.verdict === "no evidence") steps = Math.min(steps, 1);
  return drop.difference > 0 ? -steps : steps;
}

function changeText(drop) {
  if (!drop || drop.difference === null) return "";
  const size = (100 * Math.abs(drop.difference)).toFixed(1);
  if (Number(size) === 0) return "= 0.0";
  const [lost, gained] = drop.verdict === "no evidence" ? "▽△" : "▼▲";
  return `${drop.difference > 0 ? lost : gained} ${size}`;
}

function showReference(key) {
  state.reference = key;
  for (const input of document.querySelectorAll("[name=reference]")) input.checked = input.value === key;
  for (const button of cells) {
    const [row, col] = placeOf(button);
    const change = button.querySelector(".change");
    if (!change) continue;
    const drop = dropOf(row, col);
    button.closest("td").dataset.shade = shadeOf(drop);
    change.textContent = changeText(drop);
    change.dataset.verdict = drop ? drop.verdict : "";
    const cell = data.cells[`${row}.${col}`];
    const told = drop ? `; ${drop.verdict}, ${points(drop.difference)} points lost against ${rowTitle(drop.from)}` : "";
    button.setAttribute("aria-label", `${rowTitle(row)} on ${colTitle(col)}: ${cellFigure(cell, col)}${told}`);
  }
  fillGallery();
  if (state.cell) openCell(...state.cell);
}

function cellFigure(cell, col) {
  const metric = cell.metrics && cell.metrics[0];
  if (!metric) return cell.missing || "no figure";
  const share = data.cols[col].share;
  return `${figure(metric.value, share)}, interval ${figure(metric.low, share)} to ${figure(metric.high, share)}, n ${count(metric.n)}`;
}

function focusCell(row, col) {
  for (const button of cells) button.tabIndex = -1;
  const button = buttonAt(row, col);
  button.tabIndex = 0;
  button.focus();
  button.scrollIntoView({ block: "nearest", inline: "nearest" });
}

const STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

function moveInMatrix(event) {
  const button = event.target.closest("[data-cell]");
  if (!button || event.ctrlKey || event.metaKey || event.altKey) return;
  let [row, col] = placeOf(button);
  if (event.key === "Home") col = 0;
  else if (event.key === "End") col = data.cols.length - 1;
  else if (STEPS[event.key]) {
    row = Math.min(data.rows.length - 1, Math.max(0, row + STEPS[event.key][0]));
    col = Math.min(data.cols.length - 1, Math.max(0, col + STEPS[event.key][1]));
  } else return;
  event.preventDefault();
  focusCell(row, col);
  if (state.cell) openCell(row, col);
}

// ---- the panel of one cell ---------------------------------------------------------------------------------------

function openCell(row, col) {
  state.cell = [row, col];
  for (const button of cells) button.removeAttribute("aria-expanded");
  buttonAt(row, col).setAttribute("aria-expanded", "true");
  byId("panel-title").replaceChildren(bdi(rowTitle(row)), " on ", bdi(colTitle(col)));
  byId("panel-body").replaceChildren(...panelOf(row, col));
  byId("panel").hidden = false;
  byId("panel").scrollTop = 0;
  document.body.classList.add("with-panel");
  buttonAt(row, col).scrollIntoView({ block: "nearest", inline: "nearest" });
  saveAddress();
}

function closeCell() {
  if (!state.cell) return;
  const [row, col] = state.cell;
  state.cell = null;
  byId("panel").hidden = true;
  document.body.classList.remove("with-panel");
  buttonAt(row, col).removeAttribute("aria-expanded");
  focusCell(row, col);
  saveAddress();
}

function panelOf(row, col) {
  const cell = data.cells[`${row}.${col}`];
  if (cell.missing) return [el("p", { class: "warning" }, `No result: ${cell.missing}`)];
  const drop = dropOf(row, col);
  const change = drop && data.changes[`${row}.${col}.${drop.from}`];
  const parts = [
    el("p", { class: "sentence" }, ...sentence(row, col, drop)),
    drop ? versus(drop, col) : null,
    drop ? drop.n ? testTable(drop) : null : null,
    change && change.flow.length ? part("What was said before → what is said now", flowTable(change)) : null,
    cell.figures.length ? part("Episodes", episodeLinks(row, col, drop)) : drop ? part("Right before, wrong now", cellCards(row, col, drop)) : null,
    change && change.classes.length > 1 ? part("Class by class", classTable(change, row, col)) : null,
    Object.keys(cell.categories).length ? part("Kinds of answer", kindTable(cell)) : null,
    cell.leaks.length ? part("What each true class is called now", leakTable(cell)) : null,
    part("Every metric", cell.figures.length ? figureTable(cell) : metricTable(cell, col)),
    part("The run", factList(cell)),
  ];
  return parts.filter(Boolean);
}

function part(title, ...content) {
  return el("div", {}, el("h3", {}, title), ...content);
}

function sentence(row, col, drop) {
  const there = data.tuned[row] === col ? " (the set it was tuned on)" : "";
  if (data.rows.length < 2) return ["The only checkpoint here: there is nothing to compare it with."];
  if (row === 0 && !drop) return ["This is the reference that the others are compared with by default."];
  if (!drop) {
    const why = data.references[state.reference].why_not;
    return [why || (state.reference === "best" ? "No earlier checkpoint was better here." : "There is nothing to compare this cell with.")];
  }
  if (!drop.n) return [`No sample was scored both here and at `, bdi(rowTitle(drop.from)), ", so nothing can be said."];
  const share = data.cols[col].share;
  const moved = drop.difference > 0 ? "lost" : "gained";
  const size = minus((100 * Math.abs(drop.difference)).toFixed(1));
  const ends = drop.difference > 0 ? [drop.low, drop.high] : [-drop.high, -drop.low];
  const words = { forgotten: "Forgotten: ", improved: "Improved: ", "no evidence": "No evidence of a change: " };
  return [
    el("strong", {}, words[drop.verdict]),
    `${figure(drop.before, share)} → ${figure(drop.now, share)}${there}; ${size} points ${moved} against `,
    bdi(rowTitle(drop.from)),
    `, corrected interval ${points(ends[0])} to ${points(ends[1])}.`,
  ];
}

// Reference and current as two marks on one axis.
function versus(drop, col) {
  if (!data.cols[col].share || drop.before === null) return null;
  const x = (share) => 6 + 468 * share;
  const colour = drop.difference > 0 ? "var(--lost)" : "var(--gained)";
  const label = (share, text, y, anchor) => svg("text", { x: x(share), y, "text-anchor": anchor, "font-size": 11, fill: "var(--soft)" }, text);
  const [left, right] = drop.before < drop.now ? ["end", "start"] : ["start", "end"];
  return svg("svg", { viewBox: "0 0 480 40", class: "versus", role: "img", "aria-label": `${percent(drop.before)} before, ${percent(drop.now)} now` },
    svg("line", { x1: 6, x2: 474, y1: 26, y2: 26, stroke: "var(--rule-strong)" }),
    svg("line", { x1: x(drop.before), x2: x(drop.now), y1: 26, y2: 26, stroke: colour, "stroke-width": 4 }),
    svg("circle", { cx: x(drop.before), cy: 26, r: 5, fill: "var(--surface)", stroke: "var(--ink)", "stroke-width": 2 }),
    svg("circle", { cx: x(drop.now), cy: 26, r: 5.5, fill: colour }),
    label(drop.before, `before ${percent(drop.before)}`, 13, drop.before > 0.15 && drop.before < 0.85 ? left : drop.before > 0.5 ? "end" : "start"),
    label(drop.now, `now ${percent(drop.now)}`, Math.abs(drop.before - drop.now) < 0.25 ? 39 : 13, drop.now > 0.15 && drop.now < 0.85 ? right : drop.now > 0.5 ? "end" : "start"));
}

const METHODS = { mcnemar: "exact McNemar test", bootstrap: "paired bootstrap", "sign flip": "sign-flip test on clusters" };

function testTable(drop) {
  const facts = [
    ["pairs", count(drop.n) + (drop.unpaired ? ` (${count(drop.unpaired)} more not scored in both)` : "")],
    ["right before, wrong now", count(drop.lost)],
    ["wrong before, right now", count(drop.gained)],
    [`p, ${METHODS[drop.method] || drop.method.replaceAll("_", " ")}`, probability(drop.p)],
    ["p, Holm-adjusted", probability(drop.adjusted)],
    ["level of this interval", `${Number((100 * drop.level).toPrecision(5))} %`],
  ];
  return el("table", {}, el("tbody", {}, facts.map(([name, value]) => el("tr", {}, el("th", { scope: "row" }, name), el("td", { class: "number" }, value)))));
}

function flowTable(change) {
  const most = change.flow[0][2];
  const rows = change.flow.map(([before, now, n, right]) =>
    el("tr", {}, el("td", {}, bdi(before)), el("td", { class: "arrow", "aria-label": "became" }, "→"), el("td", { "data-right": right }, bdi(now)),
      el("td", { class: "tally" }, svg("svg", { viewBox: "0 0 100 9", preserveAspectRatio: "none", "aria-hidden": "true" }, svg("rect", { width: (100 * n) / most, height: 9 }))),
      el("td", { class: "number" }, count(n))));
  const left = change.flow_left ? el("p", { class: "hint" }, `${count(change.flow_left)} more answers changed, in ways not listed.`) : null;
  return el("div", {}, el("table", { class: "flow" }, el("tbody", {}, rows)), left);
}

function classTable(change, row, col) {
  const heads = Object.assign(["Class", "n", "before", "now", "lost", "gained"], { numbers: true });
  const rows = change.classes.map(([label, n, before, now, lost, gained, verdict]) =>
    el("tr", {},
      el("th", { scope: "row" }, el("a", { href: addressOf({ checkpoint: data.rows[row].name, set: data.cols[col].name, class: label }) }, bdi(label))),
      el("td", { class: "number" }, count(n)), el("td", { class: "number" }, percent(before)),
      el("td", { class: "number", "data-right": verdict === "forgotten" ? "no" : verdict === "improved" ? "yes" : null, title: verdict }, percent(now)),
      el("td", { class: "number" }, count(lost)), el("td", { class: "number" }, count(gained))));
  const left = change.classes_left ? el("p", { class: "hint" }, `${count(change.classes_left)} classes with smaller drops are not listed.`) : null;
  return el("div", {}, table(heads, rows), el("p", { class: "hint" }, "Coloured where the class's own interval, corrected over the classes, excludes zero."), left);
}

function kindTable(cell) {
  const row = (name, n, title, kind) =>
    el("tr", { title }, el("th", { scope: "row" }, kind ? el("i", { class: "key", "data-kind": kind }) : null, name), el("td", { class: "number" }, count(n)), el("td", { class: "number" }, percent(n / cell.n)));
  const kinds = Object.entries(data.kinds).filter(([key]) => cell.categories[key]).map(([key, kind]) => row(kind.title, cell.categories[key], kind.meaning, key));
  const flags = Object.entries(cell.flags).map(([flag, n]) => row(flag.replaceAll("_", " "), n));
  const statuses = Object.entries(cell.statuses).map(([status, n]) => row(`status ${status.replace("_", " ")}`, n));
  return table(Object.assign(["Kind, flag or status", "answers", `% of ${count(cell.n)}`], { numbers: true }), [...kinds, ...flags, ...statuses]);
}

function leakTable(cell) {
  const rows = cell.leaks.map((leak) =>
    el("tr", {}, el("th", { scope: "row" }, bdi(leak.truth)),
      el("td", {}, leak.answers.flatMap(([answer, n], i) => [i ? ", " : "", el("span", { "data-right": answer === leak.truth ? "yes" : null }, bdi(answer)), ` ${percent(n / leak.n)} %`])),
      el("td", { class: "number" }, count(leak.n))));
  const left = cell.leaks_left ? el("p", { class: "hint" }, `${count(cell.leaks_left)} more classes are not listed.`) : null;
  return el("div", {}, table(["True class", "Commonest answers and their shares", "n"], rows), left);
}

function metricTable(cell, col) {
  const share = data.cols[col].share;
  const rows = cell.metrics.map((metric, i) => {
    const left = Object.entries(metric.not_ok).map(([status, n]) => `${n} ${status.replace("_", " ")}`).join(", ");
    const shown = i === 0 ? share : metric.value === null || (metric.value >= 0 && metric.value <= 1);
    return el("tr", {}, el("th", { scope: "row" }, metric.name.replaceAll("_", " ")), el("td", { class: "number" }, figure(metric.value, shown)),
      el("td", { class: "number" }, `${figure(metric.low, shown)}–${figure(metric.high, shown)}`), el("td", { class: "number" }, `${count(metric.n)} of ${count(metric.total)}`), el("td", {}, left || "all read"));
  });
  return table(Object.assign(["Metric", "value", "95 % interval", "n", "not ok"], { numbers: true }), rows);
}

function figureTable(cell) {
  const rows = cell.figures.map(([name, value, ends, n]) => el("tr", {}, el("th", { scope: "row" }, name), ...[value, ends, n].map((text) => el("td", { class: "number" }, text))));
  return table(Object.assign(["Figure", "value", "95 % interval", "n"], { numbers: true }), rows);
}

function episodeLinks(row, col, drop) {
  const link = (text, show) => el("button", { type: "button", class: "plain", onclick: () => { closeCell(); showEpisodes(row, col, show); } }, text);
  return el("p", { class: "choices" }, link("all", ""), drop && drop.lost ? link(`solved before, not now: ${count(drop.lost)}`, "lost") : null, link("not solved", "lacking"), link("illegal or unreadable", "illegal"));
}

function factList(cell) {
  const rows = Object.entries(cell.facts).map(([name, value]) => el("tr", {}, el("th", { scope: "row" }, name.replace("_", " ")), el("td", { class: "raw" }, bdi(value))));
  if (cell.path) rows.push(el("tr", {}, el("th", { scope: "row" }, "directory"), el("td", { class: "raw" }, el("a", { href: fileLink(cell.path) }, cell.path))));
  return el("table", {}, el("tbody", {}, rows));
}

// A relative link cannot carry a scheme: every part is encoded and it starts with a dot.
const fileLink = (path) => `./${path.split("/").map(encodeURIComponent).join("/")}`;

function cellCards(row, col, drop) {
  const here = samplesLost(row, col, drop).map((place) => ({ col, place, row, other: drop.from }));
  if (!here.length) return el("p", { class: "hint" }, drop.lost ? `None of the ${count(drop.lost)} is embedded in this page.` : "None.");
  const shown = here.slice(0, FEW);
  const all = addressOf({ ref: state.reference === "base" ? "" : state.reference, checkpoint: data.rows[row].name, set: data.cols[col].name });
  const rest = here.length < drop.lost ? `; this page carries ${count(here.length)}, the run's files all` : "";
  return el("div", {},
    el("p", { class: "hint" }, `${count(shown.length)} of ${count(drop.lost)} shown${rest}. `, el("a", { href: all, onclick: closeCell }, "Open in the gallery")),
    el("div", { class: "cards" }, shown.map((item, i) => cardOf(item, i, here))));
}

// ---- pictures ----------------------------------------------------------------------------------------------------

function valueOf(sample, row) {
  const word = sample.said[row];
  const cell = word && data.cells[`${row}.${sample.col}`];
  const score = cell && word.scores[cell.facts.scorer];
  return score ? score.value : null;
}

function fell(before, now) {
  return before !== null && now !== null && before > now;
}

function samplesLost(row, col, drop) {
  const places = data.samples[col].keys();
  return [...places].filter((place) => fell(valueOf(data.samples[col][place], drop.from), valueOf(data.samples[col][place], row)));
}

function disputed(word) {
  const values = Object.entries(word.scores).filter(([name, score]) => name !== "taxonomy" && score.value !== null).map(([, score]) => score.value);
  return new Set(values).size > 1;
}

const classOf = (sample) => sample.target.join(", ");
const tagsOf = (word) => [word.error ? "error" : null, (word.scores.taxonomy || {}).why, ...((word.scores.taxonomy || {}).tags || [])].filter(Boolean);

// The checkpoints at which a sample is what the filter asks for: [row, reference row].
function momentsOf(sample, wanted) {
  const rows = wanted.checkpoint === "" ? Object.keys(sample.said).map(Number) : [Number(wanted.checkpoint)];
  return rows.flatMap((row) => {
    const word = sample.said[row];
    const drop = dropOf(row, sample.col);
    if (!word || (wanted.tag && !tagsOf(word).includes(wanted.tag))) return [];
    if (wanted.show === "disputed") return disputed(word) ? [[row, drop ? drop.from : row]] : [];
    if (!drop) return [];
    const [before, now] = [valueOf(sample, drop.from), valueOf(sample, row)];
    return (wanted.show === "lost" ? fell(before, now) : fell(now, before)) ? [[row, drop.from]] : [];
  });
}

function haystack(sample) {
  const words = Object.values(sample.said).flatMap((word) => [word.text, word.error || "", ...tagsOf(word)]);
  return [sample.id, ...sample.target, colTitle(sample.col), ...words].join("\n").toLowerCase();
}

function wantedNow() {
  return Object.fromEntries(FIELDS.map((name) => [name, filters.elements[name].value]));
}

function fillGallery() {
  const wanted = wantedNow();
  const q = wanted.q.trim().toLowerCase();
  found = [];
  for (const col of wanted.set === "" ? data.cols.keys() : [Number(wanted.set)]) {
    data.samples[col].forEach((sample, place) => {
      if (wanted.class && classOf(sample) !== wanted.class) return;
      if (q && !haystack(sample).includes(q)) return;
      const moments = momentsOf(sample, wanted);
      if (moments.length) found.push({ col, place, row: moments[moments.length - 1][0], other: moments[moments.length - 1][1] });
    });
  }
  if (wanted.set === "") found = inTurn(found);
  drawn = 0;
  byId("cards").replaceChildren();
  drawMore();
  byId("gallery-count").textContent = countText(wanted);
  byId("gallery-title").textContent = { lost: "Right before, wrong now", gained: "Wrong before, right now", disputed: "Where judges disagree" }[wanted.show];
}

// One picture of every set after the other, so that the first screen shows them all.
function inTurn(items) {
  const turn = new Map();
  return items
    .map((item) => ({ item, place: turn.set(item.col, (turn.get(item.col) || 0) + 1).get(item.col) }))
    .sort((a, b) => a.place - b.place || a.item.col - b.item.col)
    .map(({ item }) => item);
}

function drawMore() {
  const next = found.slice(drawn, drawn + PAGE).map((item, i) => cardOf(item, drawn + i, found));
  byId("cards").append(...next);
  drawn += next.length;
  if (!found.length) byId("cards").replaceChildren(el("p", { class: "empty" }, emptyText()));
  byId("more").hidden = drawn >= found.length;
}

function emptyText() {
  const some = Object.values(data.samples).some((samples) => samples.length);
  return some ? "No embedded picture matches. Clear a filter, or choose another checkpoint." : "This audit lost no answer that could be shown.";
}

function countText(wanted) {
  const narrowed = wanted.class || wanted.tag || wanted.q.trim();
  const total = totalOf(wanted);
  const where = `${wanted.checkpoint === "" ? "any checkpoint" : rowTitle(Number(wanted.checkpoint))}, ${wanted.set === "" ? "any set" : colTitle(Number(wanted.set))}`;
  const cap = wanted.show === "disputed" ? data.caps.disputed : wanted.show === "gained" ? data.caps.gained : data.caps.lost;
  const carried = `the page carries about ${cap} per cell, chosen by rule`;
  if (narrowed || total === null) return `${count(found.length)} embedded pictures match (${where}); ${carried}.`;
  return `${count(found.length)} of ${count(total)} shown (${where}, against ${data.references[state.reference].label})${found.length < total ? `; ${carried}` : ""}.`;
}

function totalOf(wanted) {
  if (wanted.show === "disputed") return null;
  const drops = data.drops[state.reference] || {};
  if (wanted.checkpoint === "") {
    if (wanted.show !== "lost") return null;
    const lost = data.lost_by_any[state.reference];
    return wanted.set === "" ? lost.reduce((a, b) => a + b, 0) : lost[Number(wanted.set)];
  }
  const cols = wanted.set === "" ? [...data.cols.keys()] : [Number(wanted.set)];
  return cols.reduce((sum, col) => sum + ((drops[`${wanted.checkpoint}.${col}`] || {})[wanted.show] || 0), 0);
}

function pictureOf(place, alt) {
  const uri = place === undefined ? "" : data.pictures[place];
  if (!uri) return el("span", { class: "soft" }, place === undefined ? "no picture" : "picture cannot be shown");
  const image = el("img", { src: uri, alt, decoding: "async" });
  image.addEventListener("load", () => image.classList.toggle("pixels", Math.max(image.naturalWidth, image.naturalHeight) <= 96));
  return image;
}

function saidText(word) {
  if (!word) return "(not asked)";
  return word.error ? `(nothing generated: ${word.error})` : word.text || "(empty answer)";
}

const mark = (value) => (value === null || value === undefined ? "open" : value >= 1 ? "yes" : "no");

function cardOf(item, place, list) {
  const sample = data.samples[item.col][item.place];
  const [before, now] = [sample.said[item.other], sample.said[item.row]];
  const judges = Object.entries(now.scores).filter(([name]) => name !== "taxonomy");
  const compared = item.other !== item.row;
  const truth = sample.target.join(", ") || "no target";
  return el("button", { type: "button", class: "card", "data-place": place, onclick: () => openCard(list, place) },
    el("span", { class: "frame" }, pictureOf(sample.pictures[0], `Picture ${sample.id}, true answer ${truth}`)),
    el("span", { class: "truth", title: truth }, bdi(truth)),
    compared ? el("span", { class: `said ${mark(valueOf(sample, item.other))}`, title: saidText(before) }, bdi(saidText(before))) : null,
    el("span", { class: `said ${mark(valueOf(sample, item.row))}`, title: saidText(now) }, bdi(saidText(now))),
    judges.length > 1 ? el("span", { class: "judges" }, judges.map(([name, score], i) => [i ? " " : "", el("span", { class: mark(score.value), title: score.status || "" }, name)])) : null,
    el("span", { class: "where" }, nameOf(colTitle(item.col)), " · ", nameOf(rowTitle(item.row))));
}

function openCard(list, place) {
  const item = list[place];
  const sample = data.samples[item.col][item.place];
  const dialog = byId("card");
  if (!dialog.open) returnTo = document.activeElement;
  state.card = { list, place };
  byId("card-title").replaceChildren(bdi(sample.target.join(", ") || sample.id), ` · ${place + 1} of ${count(list.length)}`);
  byId("card-body").replaceChildren(...sampleView(sample, item));
  byId("card-back").disabled = place === 0;
  byId("card-next").disabled = place === list.length - 1;
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  saveAddress();
}

function stepCard(step) {
  const next = state.card.place + step;
  if (next >= 0 && next < state.card.list.length) openCard(state.card.list, next);
}

function sampleView(sample, item) {
  const pictures = sample.pictures.map((place) => pictureOf(place, `Picture ${sample.id}`));
  const notes = sample.pictures.filter((place) => data.picture_notes[place]).map((place) => el("p", { class: "hint" }, data.picture_notes[place]));
  const prompt = data.texts[sample.prompt];
  const folded = prompt.length > LONG ? el("details", {}, el("summary", {}, `${prompt.slice(0, 160)} … (${count(prompt.length)} characters)`), el("p", { class: "words" }, bdi(prompt))) : el("span", { class: "words" }, bdi(prompt));
  const facts = [["truth", bdi(sample.target.join(", ") || "–")], ["asked", folded], ["set", bdi(data.cols[sample.col].name)], ["sample", el("span", { class: "raw" }, bdi(sample.id))]];
  if (sample.group) facts.push(["group", bdi(String(sample.group))]);
  const path = data.cells[`${item.row}.${item.col}`].path;
  return [
    el("div", { class: "sample" },
      el("div", { class: "frame" }, pictures.length ? pictures : el("span", { class: "soft" }, "no picture"), notes),
      el("dl", {}, facts.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]))),
    el("div", { class: "scroll" }, historyTable(sample, item)),
    el("details", {}, el("summary", {}, "Raw record"),
      path ? el("p", { class: "hint" }, "In full: ", el("a", { href: fileLink(`${path}/outputs.jsonl`) }, `${path}/outputs.jsonl`), `, doc_id ${sample.id}`) : null,
      el("pre", {}, JSON.stringify(rawRecord(sample, item), null, 2))),
  ];
}

function historyTable(sample, item) {
  const scorers = [...new Set(Object.values(sample.said).flatMap((word) => Object.keys(word.scores)))];
  const judges = scorers.filter((name) => name !== "taxonomy");
  const rows = Object.entries(sample.said).map(([row, word]) => {
    const kind = kindOf((word.scores.taxonomy || {}).why);
    return el("tr", { "aria-current": Number(row) === item.row ? "true" : null },
      el("th", { scope: "row" }, nameOf(rowTitle(row))),
      el("td", { class: "words" }, bdi(saidText(word)), word.stop === "length" ? el("span", { class: "soft" }, " (cut at the length limit)") : null),
      judges.map((name) => judgeCell(word.scores[name])),
      scorers.includes("taxonomy") ? el("td", {}, kind ? kind.title : "–", el("div", { class: "soft" }, ((word.scores.taxonomy || {}).tags || []).map((tag) => tag.replaceAll("_", " ")).join(", "))) : null);
  });
  return table(["Checkpoint", "Raw answer", ...judges.map(nameOf), ...(scorers.includes("taxonomy") ? ["Kind"] : [])], rows);
}

function judgeCell(score) {
  if (!score) return el("td", { class: "soft" }, "not asked");
  const read = score.answer === undefined ? "" : score.answer;
  return el("td", { title: score.why || "" }, el("span", { class: mark(score.value) }, bdi(read)), score.status ? el("div", { class: "soft" }, score.status.replace("_", " ")) : null);
}

function rawRecord(sample, item) {
  const { col, prompt, choices, pictures, said, ...rest } = sample;
  return { task: data.cols[sample.col].name, ...rest, prompt: data.texts[prompt], choices: data.texts[choices], checkpoint: data.rows[item.row].name, output: said[item.row], reference: data.rows[item.other].name, reference_output: said[item.other] };
}

function moveInCards(event) {
  const card = event.target.closest(".card");
  if (!card || !STEPS[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
  const all = [...card.parentElement.querySelectorAll(".card")];
  const perLine = all.filter((other) => other.offsetTop === all[0].offsetTop).length;
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -perLine, ArrowDown: perLine }[event.key];
  const next = all[all.indexOf(card) + step];
  event.preventDefault();
  if (next) next.focus();
}

// ---- filters -----------------------------------------------------------------------------------------------------

function option(value, text) {
  return el("option", { value }, text.length > 60 ? `${text.slice(0, 60)}…` : text);
}

function fillFilters() {
  data.rows.forEach((row, i) => (i || data.rows.length === 1 ? filters.elements.checkpoint.append(option(i, row.title)) : null));
  data.cols.forEach((col, i) => filters.elements.set.append(option(i, col.title)));
  const words = Object.values(data.samples).flat().flatMap((sample) => Object.values(sample.said));
  const tags = [...new Set(words.flatMap(tagsOf))].sort();
  for (const tag of tags) if (tag !== "correct") filters.elements.tag.append(option(tag, kindOf(tag) ? kindOf(tag).title : tag.replaceAll("_", " ")));
  fillClasses();
}

function fillClasses() {
  const select = filters.elements.class;
  const chosen = select.value;
  const set = filters.elements.set.value;
  const samples = set === "" ? Object.values(data.samples).flat() : data.samples[Number(set)];
  const labels = [...new Set(samples.map(classOf))].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
  select.replaceChildren(option("", "any"), ...labels.map((label) => option(label, label)));
  select.value = labels.includes(chosen) ? chosen : "";
}

// ---- the address: everything that is open or chosen, by name, so that a link survives a new row --------------------

function addressOf(parts) {
  const kept = Object.entries(parts).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return `#${new URLSearchParams(kept)}`;
}

function saveAddress() {
  const wanted = wantedNow();
  const shown = state.card && state.card.list[state.card.place];
  const parts = {
    ref: state.reference === "base" ? "" : state.reference,
    cell: state.cell ? data.rows[state.cell[0]].name : "",
    set: state.cell ? data.cols[state.cell[1]].name : wanted.set === "" ? "" : data.cols[Number(wanted.set)].name,
    checkpoint: wanted.checkpoint === "" ? "" : data.rows[Number(wanted.checkpoint)].name,
    show: wanted.show === "lost" ? "" : wanted.show,
    class: wanted.class, tag: wanted.tag, q: wanted.q,
    sample: shown ? data.samples[shown.col][shown.place].id : "",
    of: shown ? data.cols[shown.col].name : state.episode ? state.episode.of : "",
    episode: state.episode ? state.episode.id : "",
    step: state.episode ? state.episode.step : "",
  };
  const address = addressOf(parts);
  if (address !== "#" || location.hash.includes("=")) history.replaceState(null, "", address === "#" ? location.pathname + location.search : address);
}

function readAddress() {
  if (!location.hash.includes("=")) return;
  const parts = new URLSearchParams(location.hash.slice(1));
  state.episode = parts.has("episode") ? { id: parts.get("episode"), of: parts.get("of") || "", step: Number(parts.get("step")) || 1 } : null;
  const row = (name) => data.rows.findIndex((r) => r.name === name);
  const col = data.cols.findIndex((c) => c.name === parts.get("set"));
  const reference = parts.get("ref");
  const wanted = { set: parts.has("set") && !parts.has("cell") && col >= 0 ? String(col) : "", checkpoint: parts.has("checkpoint") && row(parts.get("checkpoint")) >= 0 ? String(row(parts.get("checkpoint"))) : "" };
  filters.elements.set.value = wanted.set;
  fillClasses();
  filters.elements.checkpoint.value = wanted.checkpoint;
  for (const name of ["show", "class", "tag", "q"]) filters.elements[name].value = parts.get(name) || (name === "show" ? "lost" : "");
  const cell = parts.has("cell") ? row(parts.get("cell")) : -1;
  const usable = Object.hasOwn(data.references, reference) && !data.references[reference].why_not;
  showReference(usable ? reference : "base");
  if (cell >= 0 && col >= 0) openCell(cell, col);
  const sample = parts.get("sample");
  if (sample) openSample(sample, parts.get("of"));
  else if (cell < 0 && (parts.has("class") || parts.has("checkpoint") || parts.has("q") || parts.has("tag") || parts.has("show"))) byId("gallery").scrollIntoView();
}

function openSample(id, task) {
  const same = (item) => data.samples[item.col][item.place].id === id && data.cols[item.col].name === task;
  const place = found.findIndex(same);
  if (place >= 0) return openCard(found, place);
  // The filters hide it: show it alone, at its last checkpoint.
  const all = Object.entries(data.samples).flatMap(([col, samples]) => samples.map((sample, at) => ({ col: Number(col), place: at, row: Math.max(...Object.keys(sample.said)), other: 0 })));
  const hidden = all.find(same);
  if (hidden && data.samples[hidden.col][hidden.place].said[0]) openCard([hidden], 0);
}

// ---- theme, help, keys -------------------------------------------------------------------------------------------

function toggleTheme() {
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
}

function nextReference() {
  const inputs = [...document.querySelectorAll("[name=reference]:not(:disabled)")];
  const at = inputs.findIndex((input) => input.value === state.reference);
  if (inputs.length > 1) showReference(inputs[(at + 1) % inputs.length].value);
  saveAddress();
}

function goTo(id, target) {
  byId(id).scrollIntoView();
  if (target) target.focus({ preventScroll: true });
}

const KEYS = {
  "/": () => { goTo("gallery"); filters.elements.q.focus({ preventScroll: true }); filters.elements.q.select(); },
  "?": () => byId("help").showModal(),
  m: () => goTo("matrix", cells.find((button) => button.tabIndex === 0)),
  g: () => goTo("gallery", document.querySelector("#cards .card")),
  r: nextReference,
  t: toggleTheme,
  Escape: closeCell,
};

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (byId("help").open) return;
  if (byId("card").open) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step) { event.preventDefault(); stepCard(step); }
    return;
  }
  const typing = event.target.closest("input:not([type=radio]), select, textarea");
  if (typing && event.key === "Escape") return event.target.blur();
  if (typing || !KEYS[event.key]) return;
  event.preventDefault();
  KEYS[event.key]();
}

function chooseFilter(event) {
  if (event.target.name === "set") fillClasses();
  fillGallery();
  saveAddress();
}

function onClick(event) {
  const cell = event.target.closest("[data-cell]");
  const square = event.target.closest(".heat tbody td");
  const dot = event.target.closest("[data-row]");
  if (cell) {
    const place = placeOf(cell);
    focusCell(...place);
    openCell(...place);
    if (matchMedia("(max-width: 640px)").matches) byId("panel-close").focus();
  } else if (square) {
    const row = square.cellIndex - 1; // the first cell of a line is the class
    const { col } = square.closest("table").dataset;
    location.hash = addressOf({ checkpoint: row ? data.rows[row].name : "", set: data.cols[col].name, class: square.parentElement.dataset.class });
  } else if (dot) openCell(Number(dot.dataset.row), Number(dot.dataset.col));
}

function start() {
  Object.entries(data.samples).forEach(([col, samples]) => samples.forEach((sample) => (sample.col = Number(col))));
  fillFilters();
  if (cells.length) cells[0].tabIndex = 0;
  document.addEventListener("click", onClick);
  document.addEventListener("keydown", onKey);
  byId("matrix").addEventListener("keydown", moveInMatrix);
  document.addEventListener("keydown", moveInCards);
  byId("reference").addEventListener("change", (event) => { showReference(event.target.value); saveAddress(); });
  filters.addEventListener("input", chooseFilter);
  filters.addEventListener("submit", (event) => event.preventDefault());
  filters.addEventListener("reset", () => setTimeout(() => { fillClasses(); fillGallery(); saveAddress(); }));
  byId("more").addEventListener("click", drawMore);
  byId("theme").addEventListener("click", toggleTheme);
  byId("help-open").addEventListener("click", () => byId("help").showModal());
  byId("help-close").addEventListener("click", () => byId("help").close());
  byId("panel-close").addEventListener("click", closeCell);
  byId("card-close").addEventListener("click", () => byId("card").close());
  byId("card-back").addEventListener("click", () => stepCard(-1));
  byId("card-next").addEventListener("click", () => stepCard(1));
  byId("card").addEventListener("close", () => { state.card = null; saveAddress(); if (returnTo) returnTo.focus(); });
  byId("card").addEventListener("click", (event) => { if (event.target === byId("card")) byId("card").close(); });
  const seeDisputed = byId("see-disputed");
  if (seeDisputed) seeDisputed.addEventListener("click", () => { filters.reset(); filters.elements.show.value = "disputed"; setTimeout(() => goTo("gallery")); });
  addEventListener("hashchange", readAddress);
  fillGallery();
  readAddress();
}

start();
