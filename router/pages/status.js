// The status page: reads the router's events and shows them. Everything from outside becomes text, never markup.
"use strict";

const SILENCE = 10000; // ms without an event after which the connection counts as lost; one comes each second
const SILENT = "silent"; // why such a connection is given up
const WAIT = 3000; // ms before another try
const ORDER_EVERY = 5000; // ms between two new orders of rows whose figures change
const byId = (id) => document.getElementById(id);

let state = { backends: new Map() };
let stream = null; // AbortController of the events that are read
let isPaused = false;
let again = 0; // timer of the next try
let lastEvent = 0;
let token = remembered();

function remembered() {
  try { return sessionStorage.getItem("token") || ""; } catch { return ""; }
}

function remember(text) {
  token = text;
  try { sessionStorage.setItem("token", text); } catch { /* then it lasts as long as the page */ }
}

function element(tag, attributes = {}, ...inner) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...inner);
  return made;
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text; // an unchanged text is not announced, and costs no layout
}

// Reading

function headers(more = {}) {
  return token ? { ...more, Authorization: `Bearer ${token}` } : more;
}

async function connect() {
  clearTimeout(again);
  if (stream || isPaused || document.hidden) return;
  const mine = stream = new AbortController();
  try {
    const answer = await fetch("status/events", { headers: headers(), signal: mine.signal, cache: "no-store" });
    if (answer.status === 401) return askForToken();
    if (!answer.ok) throw new Error(await whatItSays(answer));
    lastEvent = Date.now();
    await read(answer.body.getReader());
    throw new Error("the router has ended the connection");
  } catch (error) {
    if (mine.signal.reason === SILENT) lost(new Error("nothing has come for 10 s"));
    else if (!mine.signal.aborted) lost(error);
  } finally {
    if (stream === mine) stream = null;
  }
}

async function whatItSays(answer) {
  try { return (await answer.json()).error.message; } catch { return `status ${answer.status}`; }
}

async function read(reader) {
  const decoder = new TextDecoder();
  let held = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    held += decoder.decode(value, { stream: true });
    const events = held.split("\n\n");
    held = events.pop();
    for (const event of events) take(event);
  }
}

function take(event) {
  const fields = Object.fromEntries(event.split("\n").map((line) => {
    const at = line.indexOf(": ");
    return [line.slice(0, at), line.slice(at + 2)];
  }));
  if (!fields.data) return;
  lastEvent = Date.now();
  const told = JSON.parse(fields.data);
  if (fields.event === "whole") state = { backends: new Map() };
  const { backends, gone = [], ...rest } = told;
  Object.assign(state, rest);
  for (const each of backends) state.backends.set(each.name, each);
  for (const name of gone) state.backends.delete(name);
  if (fields.event === "whole") forget();
  show(rest, backends, gone);
}

function disconnect(reason) {
  clearTimeout(again);
  if (stream) stream.abort(reason);
  stream = null;
}

function lost(error) {
  setText(byId("link"), `Not connected: ${error.message || error}. What is shown may be old.`);
  byId("link").className = "lost";
  clearTimeout(again);
  again = setTimeout(connect, WAIT);
}

function askForToken() {
  setText(byId("link"), token ? "The token is wrong." : "A token is needed.");
  byId("asks").hidden = false;
  byId("shown").hidden = true;
  byId("token").focus();
}

// Showing

function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 0.01) return `${Math.round(value * 10000) / 10} ms`;
  if (value < 1) return `${Math.round(value * 1000)} ms`;
  return value < 100 ? `${value.toPrecision(2)} s` : `${Math.round(value)} s`;
}

function rate(value) {
  return `${value < 10 ? Math.round(value * 10) / 10 : Math.round(value)}/s`;
}

function span(value) {
  const days = Math.floor(value / 86400), hours = Math.floor(value / 3600) % 24, minutes = Math.floor(value / 60) % 60;
  return days ? `${days} d ${hours} h` : hours ? `${hours} h ${minutes} min` : minutes ? `${minutes} min` : `${value} s`;
}

function clock(at) {
  return new Date(at * 1000).toLocaleTimeString([], { hour12: false });
}

function show(news, backends, gone) {
  byId("asks").hidden = true;
  byId("shown").hidden = false;
  byId("config").hidden = !state.operators;
  byId("link").className = "";
  setText(byId("link"), isPaused ? "Paused." : "Live.");
  const workers = state.workers > 1 ? `, ${state.workers} workers` : "";
  setText(byId("facts"), `${state.version}, up for ${span(state.uptime)}${workers}, ${clock(state.time)}${state.draining ? ", draining" : ""}`);
  setText(byId("view"), state.workers > 1
    ? `Health and breaker as worker ${state.worker} sees them; in flight, tries, plots and errors of all ${state.workers} workers.`
    : "Tries, failures and first token: the last minute.");
  showFigures();
  if (news.plots) showPlots(news.plots);
  if (news.incidents) showIncidents(news.incidents);
  if (news.turns) showTurns(news.turns);
  showRows(backends, gone);
}

const FIGURES = [
  ["Backends usable", () => `${state.usable} of ${state.backends.size}`],
  ["Requests in flight", () => String(state.in_flight)],
  ["Requests, last minute", () => String(state.minute.requests)],
  ["Failed, last minute", () => String(state.minute.failed)],
  ["Sessions", sessions],
  ["Kept at their backend", () => state.sessions ? keptShare(state.sessions) : "–"],
];

function sessions() {
  return state.sessions ? `${state.sessions.active} of ${state.sessions.most}` : "off";
}

function keptShare({ kept, moved }) {
  return kept + moved ? `${Math.round(100 * kept / (kept + moved))} %` : "–";
}

function showFigures() {
  const list = byId("now");
  if (!list.children.length) {
    list.append(...FIGURES.map(([name]) => element("div", {}, element("dt", {}, name), element("dd"))));
  }
  FIGURES.forEach(([, text], number) => setText(list.children[number].lastChild, text()));
}

// Plots

const PLOTS = [
  { title: "Requests", unit: rate, lines: [["all", "requests"], ["failed", "failed"]] },
  { title: "Time to the first token", unit: seconds, lines: [["half within", "first_50"], ["95 % within", "first_95"]] },
  { title: "Whole answers", unit: seconds, lines: [["half within", "whole_50"], ["95 % within", "whole_95"]] },
];
const SVG = "http://www.w3.org/2000/svg";

function drawn(tag, attributes) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function makePlot({ title, lines }) {
  const svg = drawn("svg", { viewBox: "0 0 300 100", preserveAspectRatio: "none", class: "plot", role: "img" });
  const keys = lines.map(([name], number) => {
    const style = number ? "two" : "one";
    svg.append(drawn("path", { class: style }));
    const mark = drawn("svg", { viewBox: "0 0 32 8", "aria-hidden": "true" });
    mark.append(drawn("path", { class: style, d: "M0 4H32" }));
    return element("span", { class: "key" }, mark, `${name} `, element("span"));
  });
  const scale = element("div", { class: "scale" }, element("span", {}, "5 min ago"), element("span"), element("span", {}, "now"));
  return element("figure", {}, element("figcaption", {}, element("strong", {}, title), ...keys), svg, scale);
}

function showPlots(plots) {
  const place = byId("plots");
  if (!place.children.length) place.append(...PLOTS.map(makePlot));
  PLOTS.forEach(({ title, unit, lines }, number) => {
    const figure = place.children[number];
    const [caption, svg, scale] = figure.children;
    const most = Math.max(...lines.flatMap(([, key]) => plots[key].map((value) => value || 0)));
    const told = lines.map(([name, key], line) => {
      const values = plots[key];
      svg.children[line].setAttribute("d", path(values, most));
      const last = values.findLast((value) => value !== null);
      setText(caption.children[line + 1].lastChild, last === undefined ? "–" : unit(last));
      return `${name} ${last === undefined ? "not known" : unit(last)}`;
    });
    setText(scale.children[1], most ? `highest ${unit(most)}` : "nothing yet");
    svg.setAttribute("aria-label", `${title} over five minutes: now ${told.join(", ")}; highest ${unit(most)}.`);
  });
}

// A point alone is a short stroke, so that it can be seen.
function path(values, most) {
  const step = 300 / (values.length - 1);
  let text = "", wasThere = false;
  values.forEach((value, number) => {
    if (value !== null) {
      const x = (number * step).toFixed(1), y = (97 - (most ? value / most : 0) * 92).toFixed(1);
      text += wasThere ? `L${x} ${y}` : `M${x} ${y}h1`;
    }
    wasThere = value !== null;
  });
  return text;
}

// Backends

function condition(each) {
  if (each.drained) return ["drained", "warn"];
  if (each.health !== "up") return [each.held_for ? `${each.health}, held for ${each.held_for} s` : each.health, each.health === "down" ? "bad" : "warn"];
  if (!each.usable) return ["left alone", "bad"];
  if (each.resting_for) return [`resting for ${each.resting_for} s`, "warn"];
  if (each.busy) return ["busy", "warn"];
  return each.standing === "full" ? ["full", "warn"] : ["up", "good"];
}

// Why it is out, and since when, as far back as that is known. What is told of it is of now; the last change of its
// breaker may be no more than that a trial began, and who is drained has no other cause.
function reason(each) {
  const kind = each.drained ? "drain" : each.health !== "up" ? "health" : each.breaker !== "closed" ? "breaker" : "";
  const turn = kind && state.turns.find((turn) => turn.backend === each.name && turn.kind === kind);
  const cause = each.drained ? turn && turn.cause : each.cause || turn && turn.cause;
  return [cause && cause.replaceAll("_", " "), turn && `since ${clock(turn.at)}`].filter(Boolean).join(", ");
}

function load(each) {
  if (each.running === null || each.health === "down") return "–"; // what it told before it went is no load
  const cache = each.kv_usage === null ? "" : `, KV\u00a0${Math.round(each.kv_usage * 100)}\u00a0%`;
  return `${each.running} running, ${each.waiting ?? 0} waiting${cache}`;
}

// Each column: its head, what its cell tells (text, more in small, class), what it is ordered by, whether the greatest
// comes first.
const COLUMNS = [
  ["Backend", (each) => [each.name, [each.zone && `zone ${each.zone}`, each.url, each.models.join(", ")].filter(Boolean).join(" · ")], (each) => each.name],
  ["State", (each) => { const [text, look] = condition(each); return [text, reason(each), look]; }, (each) => condition(each)[0]],
  ["Breaker", (each) => [each.breaker.replaceAll("_", " "), "", each.breaker === "closed" ? "" : "bad"], (each) => each.breaker],
  ["In flight", (each) => [each.max_connections === null ? String(each.in_flight) : `${each.in_flight} of ${each.max_connections}`], (each) => each.in_flight, true],
  ["Load", (each) => [load(each)], (each) => (each.running ?? -1) + (each.waiting ?? 0), true],
  ["First token", (each) => [seconds(each.first)], (each) => each.first ?? -1, true],
  ["Tries", (each) => [String(each.tries)], (each) => each.tries, true],
  ["Failed", (each) => [String(each.failed), "", each.failed ? "bad" : ""], (each) => each.failed, true],
  ["Weight", (each) => [each.share === 1 ? String(each.weight) : `${each.weight}, ${Math.round(each.share * 100)}\u00a0% of it now`], (each) => each.weight * each.share, true],
  ["Dialect", (each) => [each.dialect ?? "–", each.profile ?? ""], (each) => `${each.dialect} ${each.profile ?? ""}`],
  ["Version", (each) => [each.version ?? "–"], (each) => each.version ?? ""],
];
const rows = new Map(); // name to { row, cells, button }
const view = { column: 0, isTurned: false, text: "", which: "all", ordered: 0 };

function makeHeads() {
  byId("heads").append(...COLUMNS.map(([head], number) => {
    const button = element("button", { type: "button" }, head);
    button.addEventListener("click", () => orderBy(number, view.column === number ? !view.isTurned : isTurnedFirst(number)));
    return element("th", { role: "columnheader", scope: "col" }, button);
  }), element("th", { role: "columnheader", scope: "col", id: "orders" }, "Orders"));
  markHeads();
}

function markHeads() {
  [...byId("heads").children].slice(0, COLUMNS.length).forEach((head, number) => {
    if (number === view.column) head.setAttribute("aria-sort", view.isTurned ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  });
}

function isTurnedFirst(column) {
  return COLUMNS[column][3] === true;
}

function orderBy(column, isTurned) {
  view.column = column;
  view.isTurned = isTurned;
  markHeads();
  arrange();
}

function makeRow(each) {
  const cells = COLUMNS.map(([head], number) => {
    const inner = [element("span"), element("span", { class: "more" })];
    return number ? element("td", { role: "cell", "data-name": head }, element("span", {}, ...inner))
      : element("th", { role: "rowheader", scope: "row" }, element("span", {}, ...inner));
  });
  const row = element("tr", { role: "row" }, ...cells);
  const made = { row, cells: cells.map((cell) => cell.firstChild), button: null };
  if (state.operators) {
    made.button = element("button", { type: "button" });
    made.button.addEventListener("click", () => order(each.name, made.button));
    row.append(element("td", { role: "cell" }, made.button));
  }
  return made;
}

function fillRow({ cells, button }, each) {
  COLUMNS.forEach(([, tell], number) => {
    const [text, more = "", look = ""] = tell(each);
    const [main, small] = cells[number].children;
    setText(main, text);
    setText(small, more);
    if (main.className !== look) main.className = look;
  });
  if (button) {
    const word = each.drained ? "Undrain" : "Drain";
    setText(button, word);
    button.setAttribute("aria-label", `${word} ${each.name}`);
  }
}

function forget() {
  // The same rows stay where they can: who stands on a button shall go on standing there.
  for (const [name, { row }] of rows) if (!state.backends.has(name)) { row.remove(); rows.delete(name); }
}

function showRows(backends, gone) {
  byId("orders").hidden = !state.operators;
  let isNew = false;
  for (const each of backends) {
    if (!rows.has(each.name)) { rows.set(each.name, makeRow(each)); isNew = true; }
    fillRow(rows.get(each.name), each);
  }
  for (const name of gone) { rows.get(name)?.row.remove(); rows.delete(name); }
  const table = byId("rows");
  const isInUse = table.contains(document.activeElement) || table.matches(":hover");
  if (isNew || gone.length || (backends.length && !isInUse && Date.now() - view.ordered > ORDER_EVERY)) arrange();
  else if (backends.length) sift();
}

function isShown(each) {
  const [text, look] = condition(each);
  if (view.which === "trouble" && look === "good" && each.breaker === "closed" && !each.failed) return false;
  if (view.which === "up" && each.health !== "up") return false;
  if (view.which === "down" && each.health !== "down") return false;
  if (view.which === "drained" && !each.drained) return false;
  if (!view.text) return true;
  return [each.name, each.zone, each.url, ...each.models, each.version, each.dialect, each.profile, text]
    .some((word) => word && word.toLowerCase().includes(view.text));
}

// Hides the rows that are not asked for; not the one that somebody stands on, who would stand nowhere then.
function sift() {
  let shown = 0;
  for (const each of state.backends.values()) {
    const { row } = rows.get(each.name);
    const isHidden = !isShown(each) && !row.contains(document.activeElement);
    if (row.hidden !== isHidden) row.hidden = isHidden;
    shown += isHidden ? 0 : 1;
  }
  const all = state.backends.size;
  setText(byId("count"), shown === all ? `${shown} backends` : `${shown} of ${all} backends`);
}

// Puts the rows in order; moves only what stands elsewhere.
function arrange() {
  view.ordered = Date.now();
  const key = COLUMNS[view.column][2];
  const sign = view.isTurned ? -1 : 1;
  const keyed = [...state.backends.values()].map((each) => [key(each), each.name]);
  keyed.sort(([one, name], [other, otherName]) =>
    sign * (typeof one === "string" ? one.localeCompare(other) : one - other) || name.localeCompare(otherName));
  const table = byId("rows");
  const focused = table.contains(document.activeElement) ? document.activeElement : null;
  let next = table.firstChild;
  for (const [, name] of keyed) {
    const { row } = rows.get(name);
    if (row === next) next = next.nextSibling;
    else table.insertBefore(row, next);
  }
  if (focused && document.activeElement !== focused) focused.focus({ preventScroll: true });
  sift();
}

async function order(name, button) {
  if (button.getAttribute("aria-disabled") === "true") return;
  const word = state.backends.get(name)?.drained ? "undrain" : "drain";
  button.setAttribute("aria-disabled", "true"); // not `disabled`, which would take the focus away
  try {
    const answer = await fetch(`admin/backends/${encodeURIComponent(name)}/${word}`, {
      method: "POST", headers: headers({ "Content-Type": "application/json" }),
    });
    if (!answer.ok) throw new Error(await whatItSays(answer));
    say((await answer.json()).message);
  } catch (error) {
    say(`${name}: ${error.message || error}`);
  } finally {
    button.removeAttribute("aria-disabled");
  }
}

let saying = 0;
function say(text) {
  setText(byId("said"), text);
  clearTimeout(saying);
  saying = setTimeout(() => setText(byId("said"), ""), 10000);
}

// What changed

const WORSE = new Set(["down", "open", "unauthorized", "forbidden"]);
const BETTER = new Set(["up", "closed", "serving"]);

function showTurns(turns) {
  byId("no-turns").hidden = turns.length > 0;
  byId("turns").hidden = !turns.length;
  byId("turn-rows").replaceChildren(...turns.map((each) => {
    const look = WORSE.has(each.after) ? "bad" : BETTER.has(each.after) ? "good" : "warn";
    const after = element("span", { class: look }, each.after.replaceAll("_", " "));
    const text = [`${each.kind} `, ...(each.before ? [`${each.before.replaceAll("_", " ")} → `] : []), after];
    const cell = (name, ...inner) => element("td", { role: "cell", "data-name": name }, element("span", {}, ...inner));
    return element("tr", { role: "row" }, cell("When", clock(each.at)), cell("Backend", each.backend), cell("What", ...text),
      cell("Why", each.cause.replaceAll("_", " ")));
  }));
}

// Errors

function what(each) {
  if (each.resumed && (each.outcome === "ok" || each.outcome === "client_gone")) return [`broke, finished elsewhere`, "warn"];
  return [each.outcome.replaceAll("_", " "), "bad"];
}

function showIncidents(incidents) {
  byId("no-incidents").hidden = incidents.length > 0;
  byId("incidents").hidden = !incidents.length;
  byId("incident-rows").replaceChildren(...incidents.map((each) => {
    const [text, look] = what(each);
    const facts = [each.status ? `status ${each.status}` : "", each.error ?? "", each.resumed ? `continued ${each.resumed} ×` : ""];
    const cell = (name, main, more = "", style = "") => element("td", { role: "cell", "data-name": name },
      element("span", {}, element("span", { class: style }, main), element("span", { class: "more" }, more)));
    return element("tr", { role: "row" },
      cell("When", clock(each.at)),
      cell("What", text, facts.filter(Boolean).join(", "), look),
      cell("Route", each.route, each.model ?? ""),
      cell("Took", seconds(each.seconds)),
      cell("Tries", each.tries.map(([backend, outcome]) => `${backend}: ${outcome.replaceAll("_", " ")}`).join("; ") || "none"),
      cell("Request id", each.id, "", "id"));
  }));
}

// Configuration

let config = [];

async function loadConfig() {
  if (!byId("config-details").open) return;
  try {
    const answer = await fetch("config", { headers: headers(), cache: "no-store" });
    if (!answer.ok) throw new Error(await whatItSays(answer));
    config = (await answer.json()).data;
    showConfig();
  } catch (error) {
    say(`The configuration: ${error.message || error}`);
  }
}

function showConfig() {
  const text = byId("config-find").value.trim().toLowerCase();
  const isSet = byId("config-set").checked;
  const shown = config.filter((entry) => (!isSet || entry.origin !== "default")
    && (!text || Object.values(entry).some((word) => word.toLowerCase().includes(text))));
  byId("config-rows").replaceChildren(...shown.map((entry) => element("tr", { role: "row" },
    element("th", { role: "rowheader", scope: "row" }, entry.key),
    element("td", { role: "cell", "data-name": "Value" }, entry.value),
    element("td", { role: "cell", "data-name": "From" }, entry.origin))));
  setText(byId("config-count"), `${shown.length} of ${config.length} values`);
}

// What people do

function begin() {
  makeHeads();
  byId("pause").addEventListener("click", () => {
    isPaused = !isPaused;
    byId("pause").setAttribute("aria-pressed", String(isPaused));
    setText(byId("link"), isPaused ? "Paused." : "Connecting …");
    if (isPaused) disconnect("paused"); else connect();
  });
  byId("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    remember(byId("token").value);
    byId("token").value = "";
    setText(byId("link"), "Connecting …");
    connect();
  });
  for (const form of ["tools", "config-tools"]) byId(form).addEventListener("submit", (event) => event.preventDefault());
  byId("find").addEventListener("input", () => { view.text = byId("find").value.trim().toLowerCase(); sift(); });
  byId("which").addEventListener("change", () => { view.which = byId("which").value; sift(); });
  byId("config-details").addEventListener("toggle", loadConfig);
  byId("config-find").addEventListener("input", showConfig);
  byId("config-set").addEventListener("change", showConfig);
  document.addEventListener("visibilitychange", () => { if (document.hidden) disconnect("hidden"); else connect(); });
  setInterval(() => { if (stream && lastEvent && Date.now() - lastEvent > SILENCE) stream.abort(SILENT); }, 1000);
  connect();
}

begin();
