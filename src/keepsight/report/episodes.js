// The player of episodes. Without it every step stands below the one before; here one step is shown at a time, of all
// checkpoints side by side.

const PACE = 1200; // milliseconds a step is shown while playing
const episodeFilters = byId("episode-filters");
const cases = [...document.querySelectorAll("#episodes .case")];
const players = new Map(); // an opened case -> its player
let playing = null; // {player, timer}

// ---- one player --------------------------------------------------------------------------------------------------

function playerOf(node) {
  if (players.has(node)) return players.get(node);
  const tracks = [...node.querySelectorAll(".track")].map((track) => ({ node: track, steps: [...track.querySelectorAll(".step")] }));
  const player = { node, tracks, last: Math.max(0, ...tracks.map(({ steps }) => steps.length - 1)), at: 0 };
  players.set(node, player);
  if (player.last >= 0 && tracks.some(({ steps }) => steps.length)) build(player);
  return player;
}

function build(player) {
  for (const same of player.node.querySelectorAll("[data-asked]")) {
    const copy = byId(same.dataset.asked).cloneNode(true);
    copy.removeAttribute("id");
    same.replaceWith(copy);
  }
  const button = (text, label, onclick) => el("button", { type: "button", class: "plain", "aria-label": label, onclick }, text);
  player.back = button("←", "One step back", () => goToStep(player, player.at - 1));
  player.next = button("→", "One step forward", () => goToStep(player, player.at + 1));
  player.play = button("▶ Play", "Play the episode", () => (playing && playing.player === player ? pause() : play(player)));
  player.slide = el("input", { type: "range", min: 0, max: player.last, value: 0, "aria-label": "Step", oninput: () => goToStep(player, Number(player.slide.value)) });
  player.count = el("span", { class: "soft", role: "status" });
  const bar = el("div", { class: "controls" }, player.back, player.play, player.next, player.slide, player.count);
  player.node.querySelector(".tracks").before(bar);
  for (const track of player.tracks) {
    if (track.steps.length < 2) continue;
    track.chips = track.steps.map((step, place) => el("button", { type: "button", tabindex: -1, "data-sign": step.dataset.sign, "data-random": step.dataset.random === undefined ? null : true,
      title: step.querySelector(".head").textContent, "aria-label": `Step ${step.value}`, onclick: () => goToStep(player, place) }));
    track.node.querySelector(".steps").before(el("div", { class: "timeline" }, track.chips));
  }
  player.node.classList.add("player");
  show(player, 0);
}

function show(player, at) {
  player.at = Math.min(player.last, Math.max(0, at));
  for (const { node, steps, chips } of player.tracks) {
    const here = Math.min(player.at, steps.length - 1); // an episode that is over stays at its end
    steps.forEach((step, place) => step.classList.toggle("now", place === here));
    (chips || []).forEach((chip, place) => chip.toggleAttribute("aria-current", place === here));
    node.classList.toggle("over", player.at > here);
  }
  player.slide.value = player.at;
  player.back.setAttribute("aria-disabled", player.at === 0); // not disabled: then it would take no arrow keys any more
  player.next.setAttribute("aria-disabled", player.at === player.last);
  player.count.textContent = `${player.at + 1} of ${player.last + 1}`;
}

function goToStep(player, at) {
  pause();
  show(player, at);
  remember(player);
}

// The address names the episode that was looked at last.
function remember(player) {
  state.episode = { id: player.node.dataset.id, of: data.cols[Number(player.node.closest(".task").dataset.col)].name, step: player.at + 1 };
  saveAddress();
}

function readEpisode() {
  if (!state.episode) return;
  const { id, of, step } = state.episode;
  const node = cases.find((each) => each.dataset.id === id && data.cols[Number(each.closest(".task").dataset.col)].name === of);
  if (!node || !node.matches("details")) return;
  node.open = true;
  show(playerOf(node), step - 1);
  node.scrollIntoView();
}

function play(player) {
  pause();
  if (player.at === player.last) show(player, 0);
  const timer = setInterval(() => {
    show(player, player.at + 1);
    if (player.at === player.last) pause();
  }, PACE);
  playing = { player, timer };
  player.play.textContent = "❚❚ Pause";
  player.play.setAttribute("aria-label", "Pause the episode");
}

function pause() {
  if (!playing) return;
  clearInterval(playing.timer);
  playing.player.play.textContent = "▶ Play";
  playing.player.play.setAttribute("aria-label", "Play the episode");
  playing = null;
}

function onStepKey(event) {
  const node = event.target.closest(".case.player");
  if (!node || !node.open || event.ctrlKey || event.metaKey || event.altKey || event.target.type === "range") return;
  const player = players.get(node);
  const at = { ArrowLeft: player.at - 1, ArrowRight: player.at + 1, Home: 0, End: player.last }[event.key];
  if (at === undefined) return;
  event.preventDefault();
  goToStep(player, at);
}

// ---- the list ----------------------------------------------------------------------------------------------------

const chosen = (name) => (episodeFilters.elements[name] ? episodeFilters.elements[name].value : "");

function wordsOf(node) {
  return node.dataset.told.split(" ").map((token) => token.split(":"));
}

function fits(node) {
  const [show, row, set] = [chosen("show"), chosen("checkpoint"), chosen("set")];
  if (set !== "" && node.closest(".task").dataset.col !== set) return false;
  const words = wordsOf(node).filter(([at]) => row === "" || at === row).map(([, word]) => word);
  if (show === "lacking") return words.some((word) => word === "unsolved" || word === "cut_off");
  return words.length > 0 && (show === "" || words.includes(show));
}

function filterEpisodes() {
  for (const node of cases) node.hidden = !fits(node);
  for (const task of document.querySelectorAll("#episodes .task")) task.hidden = chosen("set") !== "" && task.dataset.col !== chosen("set");
  const narrowed = chosen("show") !== "" || chosen("checkpoint") !== "";
  for (const rest of document.querySelectorAll("#episodes .rest")) {
    if (narrowed) rest.open = true;
    rest.hidden = !rest.querySelector(".case:not([hidden])");
  }
  byId("episode-count").textContent = `${count(cases.filter((node) => !node.hidden).length)} of ${count(cases.length)} shown`;
}

function showEpisodes(row, col, show) {
  const wanted = { checkpoint: String(row), set: String(col), show };
  for (const [name, value] of Object.entries(wanted)) if (episodeFilters.elements[name]) episodeFilters.elements[name].value = value;
  filterEpisodes();
  byId("episodes").scrollIntoView();
}

function startEpisodes() {
  episodeFilters.hidden = false;
  episodeFilters.addEventListener("input", filterEpisodes);
  episodeFilters.addEventListener("submit", (event) => event.preventDefault());
  for (const node of cases) {
    if (!node.matches("details")) continue;
    node.querySelector("summary").addEventListener("click", () => { if (!node.open) remember(playerOf(node)); });
    node.addEventListener("toggle", () => (node.open ? playerOf(node) : pause()));
    if (node.open) playerOf(node);
  }
  byId("episodes").addEventListener("keydown", onStepKey);
  addEventListener("hashchange", readEpisode);
  filterEpisodes();
  readEpisode();
}

startEpisodes();
